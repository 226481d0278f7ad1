//! `POST /v1/completions`

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use futures::future::try_join_all;
use serde_json::{Value, json};

use super::App;
use super::chat::usage_of;
use super::error::{ApiError, json_response};
use super::generate::{finish_name, head};
use super::stream::{self, Format};
use super::wire::{CompletionsRequest, WirePrompt, parse};
use crate::engine::{Completion, SampledToken, Vocabulary};

/// Tokens of a completion where the request does not say, as OpenAI has it.
const TOKENS_MAX: u32 = 16;

/// `POST /v1/completions`
pub(super) async fn respond(State(app): State<Arc<App>>, body: Bytes) -> Result<Response, ApiError> {
    let mut request: CompletionsRequest = parse(&body)?;
    app.check_model(request.sampling.model.as_deref())?;
    if request.echo {
        return Err(ApiError::invalid("echo", "echo is not supported"));
    }
    if request.logprobs.is_some_and(|count| count > 0) {
        let message = "logprobs above 0 is not supported: only the tokens that were picked have a logprob";
        return Err(ApiError::invalid("logprobs", message));
    }
    request.sampling.max_tokens.get_or_insert(TOKENS_MAX);
    let checked = request.sampling.check()?;
    let with_logprobs = request.logprobs.is_some();
    let prompts = tokens(app.policy.engine().vocabulary(), request.prompt)?;
    let mut hold = app.hold(checked.choices * prompts.len())?;
    let mut specs = Vec::new();
    for prompt in prompts {
        // A request that is refused was not left by its client.
        specs.extend(app.specs(prompt, &checked).inspect_err(|_| hold.finish())?);
    }
    if checked.is_streamed {
        return stream::respond(app, hold, specs, &checked, Format::Text { with_logprobs }).await;
    }
    let engine = app.policy.engine();
    let completions: Vec<Completion> = try_join_all(specs.into_iter().map(|spec| engine.sample(spec)))
        .await
        .map_err(|error| ApiError::engine(&error))?;
    hold.finish();
    let choice = |(index, completion): (usize, &Completion)| {
        let logprobs = with_logprobs.then(|| text_logprobs(&completion.tokens, engine.vocabulary()));
        json!({
            "index": index,
            "text": completion.text,
            "logprobs": logprobs,
            "finish_reason": finish_name(completion.finish_reason),
        })
    };
    let mut body = head(&app, "text_completion");
    body.insert("choices".to_owned(), completions.iter().enumerate().map(choice).collect());
    body.insert("usage".to_owned(), usage_of(&completions, checked.choices));
    Ok(json_response(StatusCode::OK, &Value::Object(body)))
}

fn tokens(vocabulary: &Vocabulary, prompt: WirePrompt) -> Result<Vec<Vec<u32>>, ApiError> {
    let encode = |text: &String| vocabulary.encode(text).map_err(|error| ApiError::engine(&error));
    let prompts: Vec<Vec<u32>> = match prompt {
        WirePrompt::Text(text) => vec![encode(&text)?],
        WirePrompt::Texts(texts) => texts.iter().map(encode).collect::<Result<_, _>>()?,
        WirePrompt::Tokens(tokens) => vec![tokens],
        WirePrompt::TokenLists(lists) => lists,
    };
    let is_known = |token: &u32| (*token as usize) < vocabulary.size();
    if prompts.is_empty() || prompts.iter().any(Vec::is_empty) {
        return Err(ApiError::invalid("prompt", "a prompt is empty"));
    }
    if !prompts.iter().flatten().all(is_known) {
        return Err(ApiError::invalid("prompt", format!("a token is not below {}", vocabulary.size())));
    }
    Ok(prompts)
}

/// Returns log-probabilities in the shape of text completions.
pub(super) fn text_logprobs(tokens: &[SampledToken], vocabulary: &Vocabulary) -> Value {
    let text = |token: &SampledToken| String::from_utf8_lossy(vocabulary.token_bytes(token.token)).into_owned();
    let texts: Vec<String> = tokens.iter().map(text).collect();
    let logprobs: Vec<f32> = tokens.iter().map(|token| token.log_probability).collect();
    json!({"tokens": texts, "token_logprobs": logprobs, "top_logprobs": null})
}
