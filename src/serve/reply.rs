//! The common parts of responses: their first fields, token counts, log-probabilities, finish reasons.

use serde_json::{Value, json};

use super::app::App;
use crate::domain::FinishReason;
use crate::engine::{Completion, SampledToken, Vocabulary};
use crate::sys::entropy::random_u64;

/// Returns the token counts of a request. Each prompt counts once for all its choices.
pub(super) fn usage_of(completions: &[Completion], choices: usize) -> Value {
    let prompt: u64 = completions.iter().step_by(choices.max(1)).map(|one| u64::from(one.prompt_tokens)).sum();
    usage(prompt, completions.iter().map(|one| u64::from(one.completion_tokens)).sum())
}

/// Returns the `usage` object of a request.
pub(super) fn usage(prompt: u64, completion: u64) -> Value {
    json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
}

/// Returns log-probabilities in the format of text completions.
pub(super) fn text_logprobs(tokens: &[SampledToken], vocabulary: &Vocabulary) -> Value {
    let text = |token: &SampledToken| String::from_utf8_lossy(vocabulary.token_bytes(token.token)).into_owned();
    let texts: Vec<String> = tokens.iter().map(text).collect();
    let logprobs: Vec<f32> = tokens.iter().map(|token| token.log_probability).collect();
    json!({"tokens": texts, "token_logprobs": logprobs, "top_logprobs": null})
}

/// Returns the name of a finish reason in OpenAI's format.
pub(super) fn finish_name(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
    }
}

/// Returns log-probabilities in the format of chat completions.
pub(super) fn chat_logprobs(tokens: &[SampledToken], vocabulary: &Vocabulary) -> serde_json::Value {
    let entry = |token: &SampledToken| {
        let bytes = vocabulary.token_bytes(token.token);
        serde_json::json!({
            "token": String::from_utf8_lossy(bytes),
            "bytes": bytes,
            "logprob": token.log_probability,
            "top_logprobs": [],
        })
    };
    serde_json::json!({"content": tokens.iter().map(entry).collect::<Vec<_>>(), "refusal": null})
}

/// Returns the first fields of every response and of every chunk of a stream.
pub(super) fn head(app: &App, object: &str) -> serde_json::Map<String, serde_json::Value> {
    let id = format!("{}-{:016x}", if object.starts_with("chat") { "chatcmpl" } else { "cmpl" }, random_u64());
    let fields = serde_json::json!({
        "id": id,
        "object": object,
        "created": crate::sys::clock::unix_ms() / 1000,
        "model": app.policy.identity().model,
        "system_fingerprint": format!("{}-{}", app.policy.engine().numerics(), app.policy.identity().revision.get(..12).unwrap_or_default()),
    });
    match fields {
        serde_json::Value::Object(fields) => fields,
        _ => serde_json::Map::new(),
    }
}
