//! The routes `POST /v1/chat/completions`, `GET /v1/models` and `GET /v1/models/{id}`.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::answer;
use super::app::App;
use super::error::{ApiError, json_response};
use super::stream::Format;
use super::turns::Kind;
use super::wire::{ChatRequest, Checked, Sampling, parse};
use crate::domain::Mode;
use crate::policy::{Preset, RenderedPrompt};

/// Handles `GET /v1/models`.
pub(super) async fn models(State(app): State<Arc<App>>) -> Response {
    json_response(StatusCode::OK, &json!({"object": "list", "data": [model_of(&app)]}))
}

/// Handles `GET /v1/models/{id}`.
pub(super) async fn model(
    State(app): State<Arc<App>>,
    asked: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let served = &app.policy.identity().model;
    // A path that does not decode to UTF-8 names no model.
    let Ok(Path(asked)) = asked else { return Err(ApiError::no_model("in this path", served)) };
    if asked != *served {
        return Err(ApiError::no_model(&asked, served));
    }
    Ok(json_response(StatusCode::OK, &model_of(&app)))
}

fn model_of(app: &App) -> Value {
    let identity = app.policy.identity();
    json!({
        "id": identity.model,
        "object": "model",
        "created": app.started_s,
        "owned_by": "thinkloom",
        "max_model_len": app.policy.engine().capacity(),
        "revision": identity.revision,
    })
}

/// A checked and tokenized request.
struct Prepared {
    checked: Checked,
    rendered: RenderedPrompt,
    tokens: Vec<u32>,
    with_logprobs: bool,
}

/// Handles `POST /v1/chat/completions`.
pub(super) async fn respond(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let too_large = |bytes_max| {
        let message =
            format!("the body has more than {bytes_max} bytes, and no prompt of that length fits the model's context");
        ApiError::too_long("messages", message)
    };
    let body = app.common.memory.read(request, app.chat_bytes_max, too_large).await?;
    app.check_room()?;
    let kind = if body.is_small() { Kind::Quick } else { Kind::Slow };
    let Prepared { mut checked, rendered, tokens, with_logprobs } =
        app.off_workers(kind, move |app| prepare(app, body.bytes())).await?;
    let grammar = app.grammar(checked.schema.take()).await?;
    let mut hold = app.hold(checked.choices)?;
    // The server rejected the request, so do not count it as cancelled by its client.
    let specs = app.specs(tokens, Some(&rendered), &checked, grammar.as_ref()).inspect_err(|_| hold.finish())?;
    answer::respond(app, hold, specs, &checked, Format::Chat { with_logprobs }).await
}

/// Parses, checks, renders and tokenizes the request. The time is proportional to the size of the body.
fn prepare(app: &App, body: &[u8]) -> Result<Prepared, ApiError> {
    let request: ChatRequest<'_> = parse(body)?;
    let mut sampling: Sampling<'_> = parse(body)?;
    app.check_model(sampling.model.as_deref())?;
    sampling.max_tokens = request.max_completion_tokens.or(sampling.max_tokens);
    let with_logprobs = request.check_logprobs()?;
    let checked = sampling.check()?;
    let rendered = render(app, &request)?;
    if rendered.close.is_some() && checked.schema.is_some() {
        let message = "a forced mode tag and response_format exclude each other";
        return Err(ApiError::invalid("response_format", message));
    }
    let engine = app.policy.engine();
    let tokens = engine.vocabulary().encode_within(&rendered.text, engine.config().context);
    let tokens = tokens.map_err(|error| ApiError::engine(&error))?;
    Ok(Prepared { checked, rendered, tokens, with_logprobs })
}

/// Renders the conversation to a prompt with the model's chat template.
fn render(app: &App, request: &ChatRequest<'_>) -> Result<RenderedPrompt, ApiError> {
    let messages = request.conversation(app.policy.engine().config().context, app.text_bytes_max)?;
    let (opening, before) = match messages.split_last() {
        Some((last, before)) if request.continue_final_message && last.role == "assistant" => {
            (last.content.as_str(), before)
        }
        _ if request.continue_final_message => {
            let message = "continue_final_message requires a last message with the role assistant";
            return Err(ApiError::invalid("continue_final_message", message));
        }
        _ => ("", messages.as_slice()),
    };
    let prompter = app.policy.prompter();
    let rendered = prompter.render_chat(before, request.asked_mode().unwrap_or(Mode::ThinkOn));
    let mut text = rendered.map_err(|error| ApiError::invalid("messages", error.to_string()))?;
    text.push_str(opening);
    // A request without the switch lets the model choose its mode.
    let forced = request.asked_mode().filter(|_| prompter.preset() == Preset::Structured);
    if forced.is_some() && request.continue_final_message {
        let message = "a forced mode tag and continue_final_message exclude each other: write the tag into the message";
        return Err(ApiError::invalid("chat_template_kwargs", message));
    }
    Ok(match forced {
        Some(mode) => prompter.structured(text, mode),
        None => RenderedPrompt::plain(text),
    })
}
