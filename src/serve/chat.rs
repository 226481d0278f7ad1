//! `POST /v1/chat/completions`, `GET /v1/models`

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures::future::try_join_all;
use serde_json::{Value, json};

use super::App;
use super::error::{ApiError, json_response};
use super::generate::{Hold, chat_logprobs, finish_name, head};
use super::stream::{self, Format};
use super::wire::{ChatRequest, Checked, parse};
use crate::domain::Mode;
use crate::engine::{Completion, SequenceSpec};

/// `GET /v1/models`
pub(super) async fn models(State(app): State<Arc<App>>) -> Response {
    let identity = app.policy.identity();
    let model = json!({
        "id": identity.model,
        "object": "model",
        "created": app.started_s,
        "owned_by": "thinkloom",
        "max_model_len": app.policy.engine().capacity(),
        "revision": identity.revision,
    });
    json_response(StatusCode::OK, &json!({"object": "list", "data": [model]}))
}

/// `POST /v1/chat/completions`
pub(super) async fn respond(State(app): State<Arc<App>>, body: Bytes) -> Result<Response, ApiError> {
    let mut request: ChatRequest = parse(&body)?;
    app.check_model(request.sampling.model.as_deref())?;
    request.sampling.max_tokens = request.max_completion_tokens.or(request.sampling.max_tokens);
    let with_logprobs = request.check_logprobs()?;
    let checked = request.sampling.check()?;
    let prompt = render(&app, &request)?;
    let mut hold = app.hold(checked.choices)?;
    let tokens = app.policy.engine().vocabulary().encode(&prompt).map_err(|error| ApiError::engine(&error));
    // A request that is refused was not left by its client.
    let specs = tokens.and_then(|tokens| app.specs(tokens, &checked)).inspect_err(|_| hold.finish())?;
    if checked.is_streamed {
        return stream::respond(app, hold, specs, &checked, Format::Chat { with_logprobs }).await;
    }
    whole(app, hold, specs, &checked, with_logprobs).await
}

/// Renders the conversation. The model thinks unless its template's switch is told otherwise.
fn render(app: &App, request: &ChatRequest) -> Result<String, ApiError> {
    let messages = request.conversation()?;
    let switch = ["enable_thinking", "thinking"].iter().find_map(|name| request.chat_template_kwargs.get(*name));
    let mode = if switch.and_then(Value::as_bool) == Some(false) { Mode::ThinkOff } else { Mode::ThinkOn };
    let (opening, before) = match messages.split_last() {
        Some((last, before)) if request.continue_final_message && last.role == "assistant" => {
            (last.content.as_str(), before)
        }
        _ if request.continue_final_message => {
            let message = "continue_final_message needs a last message of the assistant";
            return Err(ApiError::invalid("continue_final_message", message));
        }
        _ => ("", messages.as_slice()),
    };
    let rendered = app.policy.prompter().render_chat(before, mode);
    let mut prompt = rendered.map_err(|error| ApiError::invalid("messages", error.to_string()))?;
    prompt.push_str(opening);
    Ok(prompt)
}

async fn whole(
    app: Arc<App>,
    mut hold: Hold,
    specs: Vec<SequenceSpec>,
    checked: &Checked,
    with_logprobs: bool,
) -> Result<Response, ApiError> {
    let engine = app.policy.engine();
    let completions: Vec<Completion> = try_join_all(specs.into_iter().map(|spec| engine.sample(spec)))
        .await
        .map_err(|error| ApiError::engine(&error))?;
    hold.finish();
    let choice = |(index, completion): (usize, &Completion)| {
        let logprobs = with_logprobs.then(|| chat_logprobs(&completion.tokens, engine.vocabulary()));
        json!({
            "index": index,
            "message": {"role": "assistant", "content": completion.text, "refusal": null},
            "logprobs": logprobs,
            "finish_reason": finish_name(completion.finish_reason),
        })
    };
    let mut body = head(&app, "chat.completion");
    body.insert("choices".to_owned(), completions.iter().enumerate().map(choice).collect());
    body.insert("usage".to_owned(), usage_of(&completions, checked.choices));
    Ok(json_response(StatusCode::OK, &Value::Object(body)).into_response())
}

/// Adds up the tokens of a request: each prompt once, for all its choices.
pub(super) fn usage_of(completions: &[Completion], choices: usize) -> Value {
    let prompt: u64 = completions.iter().step_by(choices.max(1)).map(|one| u64::from(one.prompt_tokens)).sum();
    usage(prompt, completions.iter().map(|one| u64::from(one.completion_tokens)).sum())
}

/// Returns the token counts of a request.
pub(super) fn usage(prompt: u64, completion: u64) -> Value {
    json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
}
