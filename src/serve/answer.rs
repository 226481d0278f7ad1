//! Answers a completion request, chat or text: as a stream, or as one body after all its sequences are sampled.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use futures::future::try_join_all;
use serde_json::{Value, json};

use super::app::App;
use super::error::{ApiError, json_text};
use super::generate::Hold;
use super::reply::{chat_logprobs, finish_name, head, text_logprobs, usage_of};
use super::stream::{self, Format};
use super::wire::Checked;
use crate::engine::{Completion, SequenceSpec};

/// Samples the sequences and returns the response, streamed if the request asks for a stream.
///
/// # Errors
/// The engine's errors. A streamed response reports errors after its first event as an event.
pub(super) async fn respond(
    app: Arc<App>,
    mut hold: Hold,
    specs: Vec<SequenceSpec>,
    checked: &Checked,
    format: Format,
) -> Result<Response, ApiError> {
    if checked.is_streamed {
        return stream::respond(app, hold, specs, checked, format).await;
    }
    let engine = app.policy.engine();
    let completions: Vec<Completion> = try_join_all(specs.into_iter().map(|spec| engine.sample(spec)))
        .await
        .map_err(|error| ApiError::engine(&error))?;
    hold.finish();
    let choices = checked.choices;
    let (Format::Chat { with_logprobs } | Format::Text { with_logprobs }) = format;
    let text = app.written(with_logprobs, move |app| body_text(app, &completions, choices, format)).await?;
    Ok(json_text(StatusCode::OK, text))
}

fn body_text(app: &App, completions: &[Completion], choices: usize, format: Format) -> String {
    let vocabulary = app.policy.engine().vocabulary();
    let choice = |(index, completion): (usize, &Completion)| {
        let finish_reason = finish_name(completion.finish_reason);
        match format {
            Format::Chat { with_logprobs } => json!({
                "index": index,
                "message": {"role": "assistant", "content": completion.text, "refusal": null},
                "logprobs": with_logprobs.then(|| chat_logprobs(&completion.tokens, vocabulary)),
                "finish_reason": finish_reason,
            }),
            Format::Text { with_logprobs } => json!({
                "index": index,
                "text": completion.text,
                "logprobs": with_logprobs.then(|| text_logprobs(&completion.tokens, vocabulary)),
                "finish_reason": finish_reason,
            }),
        }
    };
    let object = match format {
        Format::Chat { .. } => "chat.completion",
        Format::Text { .. } => "text_completion",
    };
    let mut body = head(app, object);
    body.insert("choices".to_owned(), completions.iter().enumerate().map(choice).collect());
    body.insert("usage".to_owned(), usage_of(completions, choices));
    Value::Object(body).to_string()
}
