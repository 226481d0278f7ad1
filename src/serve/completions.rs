//! The route `POST /v1/completions`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;

use super::answer;
use super::app::App;
use super::error::ApiError;
use super::limits::BODY_BYTES_MAX;
use super::stream::Format;
use super::turns::Kind;
use super::wire::{Checked, CompletionsRequest, Sampling, WirePrompt, WirePrompts, parse};

/// The default of `max_tokens`, the same as OpenAI's.
const TOKENS_MAX: u32 = 16;

/// A checked and tokenized request.
struct Prepared {
    checked: Checked,
    prompts: Vec<Vec<u32>>,
    with_logprobs: bool,
}

/// Handles `POST /v1/completions`.
pub(super) async fn respond(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let body = app.common.memory.read(request, BODY_BYTES_MAX, ApiError::too_large).await?;
    app.check_room()?;
    let kind = if body.is_small() { Kind::Quick } else { Kind::Slow };
    let Prepared { mut checked, prompts, with_logprobs } =
        app.off_workers(kind, move |app| prepare(app, body.bytes())).await?;
    let grammar = app.grammar(checked.schema.take()).await?;
    let mut hold = app.hold(checked.choices * prompts.len())?;
    let mut specs = Vec::new();
    for prompt in prompts {
        // The server rejected the request, so do not count it as cancelled by its client.
        specs.extend(app.specs(prompt, None, &checked, grammar.as_ref()).inspect_err(|_| hold.finish())?);
    }
    answer::respond(app, hold, specs, &checked, Format::Text { with_logprobs }).await
}

/// Parses, checks and tokenizes the request. The time is proportional to the size of the body.
fn prepare(app: &App, body: &[u8]) -> Result<Prepared, ApiError> {
    let request: CompletionsRequest<'_> = parse(body)?;
    let mut sampling: Sampling<'_> = parse(body)?;
    app.check_model(sampling.model.as_deref())?;
    if request.echo {
        return Err(ApiError::invalid("echo", "echo is not supported"));
    }
    if request.logprobs.is_some_and(|count| count > 0) {
        let message = "logprobs above 0 is not supported: only sampled tokens have a logprob";
        return Err(ApiError::invalid("logprobs", message));
    }
    sampling.max_tokens.get_or_insert(TOKENS_MAX);
    let checked = sampling.check()?;
    let with_logprobs = request.logprobs.is_some();
    let WirePrompts(prompts) = request.prompt;
    app.check_count(checked.choices * prompts.len())?;
    if prompts.is_empty() {
        return Err(ApiError::invalid("prompt", "prompt is an empty list"));
    }
    let prompts = prompts.into_iter().map(|prompt| tokens(app, prompt)).collect::<Result<_, _>>()?;
    Ok(Prepared { checked, prompts, with_logprobs })
}

fn tokens(app: &App, prompt: WirePrompt<'_>) -> Result<Vec<u32>, ApiError> {
    let engine = app.policy.engine();
    let (vocabulary, context) = (engine.vocabulary(), engine.config().context);
    let tokens = match prompt {
        WirePrompt::Text(text) => match vocabulary.encode_within(&text, context) {
            Err(error) if error.is_too_long() => return Err(ApiError::too_long("prompt", error.to_string())),
            tokens => tokens.map_err(|error| ApiError::engine(&error))?,
        },
        WirePrompt::Tokens(tokens) => tokens,
    };
    if tokens.is_empty() {
        return Err(ApiError::invalid("prompt", "a prompt has no tokens"));
    }
    if tokens.len() >= context {
        let message = format!("a prompt has {} tokens, but the model's context has only {context}", tokens.len());
        return Err(ApiError::too_long("prompt", message));
    }
    if !tokens.iter().all(|token| (*token as usize) < vocabulary.size()) {
        return Err(ApiError::invalid("prompt", format!("a token id is not below {}", vocabulary.size())));
    }
    Ok(tokens)
}
