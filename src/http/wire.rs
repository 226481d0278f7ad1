//! The parts of the OpenAI chat format that are used, read leniently.
//!
//! Replies differ between servers: `content` may be null or a list of parts, thinking may stand in
//! `reasoning_content` or `reasoning`, errors may be nested under `error` or lie flat, and blank keep-alive lines may
//! come first. A field of an unexpected type is read as absent; only a body that is not a JSON object is refused.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One message of a chat request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// The text.
    pub content: String,
}

impl Message {
    /// Builds a message with role `system`.
    #[must_use]
    pub fn system(content: impl Into<String>) -> Self {
        Self { role: "system".to_owned(), content: content.into() }
    }

    /// Builds a message with role `assistant`.
    #[must_use]
    pub fn assistant(content: impl Into<String>) -> Self {
        Self { role: "assistant".to_owned(), content: content.into() }
    }

    /// Builds a message with role `user`.
    #[must_use]
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: "user".to_owned(), content: content.into() }
    }
}

/// Why a body cannot be read at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Nothing but white space came.
    #[error("the body is blank")]
    Blank,
    /// The body is not a JSON object.
    #[error("the body is not a JSON object: {problem}")]
    NotJson {
        /// What the parser says.
        problem: String,
    },
}

/// A server's error, in whichever shape it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorInfo {
    /// The text for a person; may be empty.
    pub message: String,
    /// `code` where it is a name, else `type`.
    pub code: Option<String>,
}

/// Token counts of one reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WireUsage {
    /// Tokens of the prompt, cached ones included.
    pub prompt_tokens: u64,
    /// Prompt tokens read from the provider's cache; `None` where the provider does not say.
    pub cached_tokens: Option<u64>,
    /// Generated tokens, reasoning included.
    pub completion_tokens: u64,
}

/// A chat reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatReply {
    /// The error, if the body is one.
    pub error: Option<ErrorInfo>,
    /// The model that served the request.
    pub model: Option<String>,
    /// The first choice.
    pub choice: Option<Choice>,
    /// Token counts.
    pub usage: Option<WireUsage>,
}

/// The first choice of a reply.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Choice {
    /// The answer's text.
    pub content: Option<String>,
    /// The thinking that a server split off; never part of the answer.
    pub reasoning: Option<String>,
    /// Why generation ended.
    pub finish_reason: Option<String>,
}

impl ChatReply {
    /// Reads a body.
    ///
    /// # Errors
    /// [`WireError`] if the body is blank or not a JSON object.
    pub fn parse(body: &str) -> Result<Self, WireError> {
        let trimmed = body.trim_start_matches('\u{feff}').trim();
        if trimmed.is_empty() {
            return Err(WireError::Blank);
        }
        let value: Value =
            serde_json::from_str(trimmed).map_err(|error| WireError::NotJson { problem: error.to_string() })?;
        if !value.is_object() {
            return Err(WireError::NotJson { problem: "the outermost value is no object".to_owned() });
        }
        let choice = value.get("choices").and_then(|choices| choices.get(0));
        Ok(Self {
            error: error_info(&value).or_else(|| choice.and_then(nested_error)),
            model: text(&value, "model").filter(|model| !model.trim().is_empty()),
            choice: choice.map(Choice::read),
            usage: value.get("usage").and_then(WireUsage::read),
        })
    }
}

impl Choice {
    fn read(choice: &Value) -> Self {
        let Some(message) = choice.get("message") else {
            return Self { finish_reason: finish_reason(choice), ..Self::default() };
        };
        Self {
            content: message.get("content").and_then(content_text),
            reasoning: text(message, "reasoning_content").or_else(|| text(message, "reasoning")),
            finish_reason: finish_reason(choice),
        }
    }
}

/// Returns why generation ended. A gateway may say `stop` for a server's `insufficient_system_resource` and put the
/// server's own word beside it.
fn finish_reason(choice: &Value) -> Option<String> {
    let native = choice.get("provider_specific_fields").and_then(|fields| text(fields, "native_finish_reason"));
    let is_cut = |finish: &String| matches!(finish.as_str(), "insufficient_system_resource" | "aborted");
    native.filter(is_cut).or_else(|| text(choice, "finish_reason"))
}

impl WireUsage {
    fn read(usage: &Value) -> Option<Self> {
        let count = |name: &str| usage.get(name).and_then(Value::as_u64);
        let hit = count("prompt_cache_hit_tokens");
        let miss = count("prompt_cache_miss_tokens");
        let prompt_tokens = count("prompt_tokens").or_else(|| Some(hit? + miss?))?;
        let cached = usage.get("prompt_tokens_details").and_then(|details| details.get("cached_tokens")?.as_u64());
        let cached_tokens = hit.or(cached).or_else(|| prompt_tokens.checked_sub(miss?));
        Some(Self {
            prompt_tokens,
            cached_tokens: cached_tokens.map(|cached| cached.min(prompt_tokens)),
            completion_tokens: count("completion_tokens").unwrap_or(0),
        })
    }
}

/// Returns the tokens that a reply's usage adds up to, if the body has one. Reads nothing else of it.
#[must_use]
pub fn tokens_used(body: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct OnlyUsage {
        usage: Option<Value>,
    }
    let only: OnlyUsage = serde_json::from_str(body.trim()).ok()?;
    let usage = only.usage.as_ref().and_then(WireUsage::read)?;
    Some(usage.prompt_tokens.saturating_add(usage.completion_tokens))
}

/// Reads an error body of a failed request; `None` if the body is no error that is known.
#[must_use]
pub fn parse_error(body: &str) -> Option<ErrorInfo> {
    error_info(&serde_json::from_str(body.trim()).ok()?)
}

/// Finds an error in either shape: under `error`, or flat (`{"object": "error", "message": ...}`, `{"detail": ...}`).
fn error_info(value: &Value) -> Option<ErrorInfo> {
    if let Some(error) = nested_error(value) {
        return Some(error);
    }
    if text(value, "object").as_deref() == Some("error") || value.get("choices").is_none() {
        let message = text(value, "message").or_else(|| text(value, "detail"))?;
        return Some(ErrorInfo { message, code: code_of(value) });
    }
    None
}

fn nested_error(value: &Value) -> Option<ErrorInfo> {
    match value.get("error")? {
        Value::Null | Value::Bool(false) => None,
        Value::String(message) => Some(ErrorInfo { message: message.clone(), code: code_of(value) }),
        error @ Value::Object(_) => {
            let message = text(error, "message").unwrap_or_else(|| error.to_string());
            Some(ErrorInfo { message, code: code_of(error) })
        }
        other => Some(ErrorInfo { message: other.to_string(), code: None }),
    }
}

/// Returns `code` where it is a name (some servers put the HTTP status there), else `type`.
fn code_of(error: &Value) -> Option<String> {
    text(error, "code").filter(|code| code.parse::<u16>().is_err()).or_else(|| text(error, "type"))
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).map(str::to_owned)
}

/// Returns the text of a `content` that is a string or a list of parts, of which only those of type `text` count.
fn content_text(content: &Value) -> Option<String> {
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            let texts: Vec<String> = parts
                .iter()
                .filter(|part| text(part, "type").as_deref() == Some("text"))
                .filter_map(|part| text(part, "text"))
                .collect();
            Some(texts.concat())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> ChatReply {
        ChatReply::parse(body).unwrap()
    }

    #[test]
    fn blank_keep_alive_lines_before_the_json_are_skipped() {
        let reply = parse("\n\r\n \n{\"model\":\"m\",\"choices\":[{\"message\":{\"content\":\"hi\"}}]}\n");
        assert_eq!(reply.model.as_deref(), Some("m"));
        assert_eq!(reply.choice.unwrap().content.as_deref(), Some("hi"));
    }

    #[test]
    fn blank_bodies_and_other_things_than_objects_are_refused() {
        assert_eq!(ChatReply::parse(" \n\n"), Err(WireError::Blank));
        for body in ["<html>busy</html>", "[]", "null", "\"text\"", "{\"choices\":", "data: {}"] {
            assert!(matches!(ChatReply::parse(body), Err(WireError::NotJson { .. })), "{body}");
        }
    }

    #[test]
    fn odd_types_are_read_as_absent() {
        let reply = parse(r#"{"model":7,"choices":{"a":1},"usage":"none","error":null}"#);
        assert_eq!(reply, ChatReply { error: None, model: None, choice: None, usage: None });
        let reply = parse(r#"{"choices":[{"message":{"content":null,"reasoning":"r"},"finish_reason":null}]}"#);
        assert_eq!(reply.choice, Some(Choice { content: None, reasoning: Some("r".to_owned()), finish_reason: None }));
        assert_eq!(parse(r#"{"choices":[]}"#).choice, None);
        assert_eq!(parse(r#"{"choices":[{"finish_reason":"stop"}]}"#).choice.unwrap().content, None);
    }

    #[test]
    fn a_gateways_stop_does_not_hide_that_the_server_gave_up() {
        let finish = |native: &str| {
            let fields = format!(r#"{{"native_finish_reason":"{native}"}}"#);
            let body = format!(
                r#"{{"choices":[{{"message":{{}},"finish_reason":"stop","provider_specific_fields":{fields}}}]}}"#
            );
            parse(&body).choice.unwrap().finish_reason.unwrap()
        };
        assert_eq!(finish("insufficient_system_resource"), "insufficient_system_resource");
        assert_eq!(finish("end_turn"), "stop");
    }

    #[test]
    fn used_tokens_are_prompt_and_completion() {
        assert_eq!(tokens_used("\n{\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4},\"x\":[1]}"), Some(7));
        assert_eq!(tokens_used("{\"usage\":null}"), None);
        assert_eq!(tokens_used("busy"), None);
    }

    #[test]
    fn content_parts_are_joined_without_thinking_parts() {
        let body = r#"{"choices":[{"message":{"content":[{"type":"thinking","text":"no"},
            {"type":"text","text":"a"},{"type":"text","text":"b"}]}}]}"#;
        assert_eq!(parse(body).choice.unwrap().content.as_deref(), Some("ab"));
    }

    #[test]
    fn errors_are_found_in_every_shape() {
        let cases = [
            (
                r#"{"error":{"message":"no funds","type":"insufficient_quota","code":null}}"#,
                "no funds",
                Some("insufficient_quota"),
            ),
            (r#"{"error":{"message":"m","type":"t","code":"c"}}"#, "m", Some("c")),
            (r#"{"error":{"message":"m","type":"t","code":"403"}}"#, "m", Some("t")),
            (
                r#"{"object":"error","message":"too long","type":"BadRequestError","code":400}"#,
                "too long",
                Some("BadRequestError"),
            ),
            (r#"{"error":"model not found"}"#, "model not found", None),
            (r#"{"detail":"Not Found"}"#, "Not Found", None),
            (r#"{"error":{"code":"busy"}}"#, r#"{"code":"busy"}"#, Some("busy")),
            (r#"{"choices":[{"error":{"message":"inner"}}]}"#, "inner", None),
        ];
        for (body, message, code) in cases {
            let error = parse(body).error;
            assert_eq!(error, Some(ErrorInfo { message: message.to_owned(), code: code.map(str::to_owned) }), "{body}");
        }
        assert_eq!(parse(r#"{"message":"hello","choices":[]}"#).error, None);
        assert_eq!(parse_error("<html>"), None);
    }

    #[test]
    fn cached_tokens_are_read_in_both_dialects() {
        let usage = |json: &str| parse(&format!("{{\"usage\":{json}}}")).usage;
        let expect = |prompt_tokens, cached_tokens, completion_tokens| {
            Some(WireUsage { prompt_tokens, cached_tokens, completion_tokens })
        };
        assert_eq!(usage(r#"{"prompt_tokens":10,"completion_tokens":3}"#), expect(10, None, 3));
        assert_eq!(
            usage(
                r#"{"prompt_tokens":10,"prompt_cache_hit_tokens":4,"prompt_cache_miss_tokens":6,"completion_tokens":3}"#
            ),
            expect(10, Some(4), 3)
        );
        assert_eq!(usage(r#"{"prompt_cache_hit_tokens":4,"prompt_cache_miss_tokens":6}"#), expect(10, Some(4), 0));
        assert_eq!(usage(r#"{"prompt_tokens":10,"prompt_cache_miss_tokens":6}"#), expect(10, Some(4), 0));
        assert_eq!(
            usage(r#"{"prompt_tokens":10,"prompt_tokens_details":{"cached_tokens":8},"completion_tokens":3}"#),
            expect(10, Some(8), 3)
        );
        assert_eq!(
            usage(r#"{"prompt_tokens":10,"prompt_tokens_details":{"cached_tokens":99}}"#),
            expect(10, Some(10), 0)
        );
        assert_eq!(usage(r#"{"prompt_tokens":10,"prompt_tokens_details":null}"#), expect(10, None, 0));
        assert_eq!(usage(r#"{"completion_tokens":3}"#), None);
        assert_eq!(usage("null"), None);
    }
}
