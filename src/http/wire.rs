//! The used parts of the OpenAI chat format, parsed leniently.
//!
//! Replies differ between servers: texts are in different fields ([`super::message`]), ends have many names
//! ([`super::finish`]), counts may be strings or floats and may exclude the thinking, errors may be nested under
//! `error` or flat, and blank keep-alive lines may come first. A field of an unexpected type counts as absent; only a
//! body that is not a JSON object is rejected. An error next to a complete choice (text and a normal end, or the token
//! limit) came too late and is ignored.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::finish::{Ending, ending};
use super::message::{Texts, texts};

/// The `object` of the body of an interrupted stream.
pub const FRAGMENT: &str = "chat.completion.fragment";

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

/// Why a body cannot be parsed at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The body holds only white space.
    #[error("the body is blank")]
    Blank,
    /// The body is not a JSON object.
    #[error("the body is not a JSON object: {problem}")]
    NotJson {
        /// The parser's error text.
        problem: String,
    },
}

/// A server's error, from any known shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorInfo {
    /// The text for people; may be empty.
    pub message: String,
    /// `code` if it is a name, else `type`.
    pub code: Option<String>,
}

/// Token counts of one reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WireUsage {
    /// Tokens of the prompt, cached ones included.
    pub prompt_tokens: u64,
    /// Prompt tokens read from the provider's cache; `None` if the provider does not report them.
    pub cached_tokens: Option<u64>,
    /// Generated tokens, reasoning included; 0 if the server does not report them.
    pub completion_tokens: u64,
    /// Reasoning tokens, if the server reports them.
    pub reasoning_tokens: Option<u64>,
}

/// A chat reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatReply {
    /// The error, if the body is an error.
    pub error: Option<ErrorInfo>,
    /// The model that served the request.
    pub model: Option<String>,
    /// The first choice: the one with the lowest index, at any position.
    pub choice: Option<Choice>,
    /// Token counts.
    pub usage: Option<WireUsage>,
    /// Whether the body is the received part of an interrupted stream.
    pub is_fragment: bool,
}

/// The first choice of a reply.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Choice {
    /// The answer's text.
    pub content: Option<String>,
    /// The thinking that the server separated; never part of the answer.
    pub reasoning: Option<String>,
    /// Why generation ended.
    pub finish_reason: Option<String>,
}

impl ChatReply {
    /// Parses a body.
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
        let choices = value.get("choices").and_then(Value::as_array).into_iter().flatten().enumerate();
        let first = choices.min_by_key(|(position, choice)| (choice_index(choice, *position), *position));
        let raw_choice = first.map(|(_, choice)| choice);
        let choice = raw_choice.map(Choice::read);
        let error = error_info(&value).or_else(|| raw_choice.and_then(nested_error));
        Ok(Self {
            error: error.filter(|_| !choice.as_ref().is_some_and(Choice::is_whole)),
            model: text(&value, "model").filter(|model| !model.trim().is_empty()),
            choice,
            usage: value.get("usage").and_then(WireUsage::read),
            is_fragment: text(&value, "object").as_deref() == Some(FRAGMENT),
        })
    }
}

/// Returns the index of a choice; its position in the list if it has no valid index.
pub(super) fn choice_index(choice: &Value, position: usize) -> u64 {
    choice.get("index").and_then(number).unwrap_or(position as u64)
}

impl Choice {
    fn read(choice: &Value) -> Self {
        let finish_reason = finish_reason(choice);
        let Some(message) = choice.get("message") else {
            return Self { content: text(choice, "text"), finish_reason, ..Self::default() };
        };
        let Texts { content, reasoning } = texts(message);
        Self { content, reasoning, finish_reason }
    }

    /// Returns the meaning of the finish reason.
    #[must_use]
    pub fn ending(&self) -> Ending {
        ending(self.finish_reason.as_deref())
    }

    /// Returns whether the choice holds text and has a normal end, so that later errors are ignored.
    fn is_whole(&self) -> bool {
        let has_text = self.content.as_ref().is_some_and(|content| !content.trim().is_empty());
        has_text && self.finish_reason.is_some() && matches!(self.ending(), Ending::Stop | Ending::Length)
    }
}

/// Returns the finish reason. A gateway may report `stop` although the server's own field next to it reports a failure,
/// the limit or a filter; the server's field wins.
fn finish_reason(choice: &Value) -> Option<String> {
    let name = |value: &Value, name: &str| match value.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let beside = choice.get("provider_specific_fields").and_then(|fields| name(fields, "native_finish_reason"));
    let native = beside.or_else(|| name(choice, "native_finish_reason"));
    let says_more = |native: &String| matches!(ending(Some(native)), Ending::Cut | Ending::Length | Ending::Filtered);
    let said = name(choice, "finish_reason");
    let is_plain = ending(said.as_deref()) == Ending::Stop;
    native.filter(|native| is_plain && says_more(native)).or(said)
}

impl WireUsage {
    fn read(usage: &Value) -> Option<Self> {
        let count = |name: &str| usage.get(name).and_then(number);
        let hit = count("prompt_cache_hit_tokens");
        let miss = count("prompt_cache_miss_tokens");
        let prompt_tokens =
            count("prompt_tokens").or_else(|| count("input_tokens")).or_else(|| Some(hit?.saturating_add(miss?)))?;
        let detail = |details: &str, name: &str| usage.get(details).and_then(|details| number(details.get(name)?));
        let cached = detail("prompt_tokens_details", "cached_tokens");
        let cached_tokens = hit.or(cached).or_else(|| prompt_tokens.checked_sub(miss?));
        let reasoning_tokens =
            detail("completion_tokens_details", "reasoning_tokens").or_else(|| count("reasoning_tokens"));
        let said = count("completion_tokens").or_else(|| count("output_tokens")).unwrap_or(0);
        let total = count("total_tokens");
        let beside = Beside { prompt: prompt_tokens, cached: cached_tokens, total, reasoning: reasoning_tokens };
        Some(Self {
            prompt_tokens,
            cached_tokens: cached_tokens.map(|cached| cached.min(prompt_tokens)),
            completion_tokens: with_reasoning(said, &beside),
            reasoning_tokens,
        })
    }
}

/// Returns the number of generated tokens if a server may count the reasoning separately: the total decides, and a
/// reasoning count above the completion count is not part of it. The rest of the total may be cached prompt tokens, and
/// never counts more than the reasoning if the server reports it.
fn with_reasoning(said: u64, beside: &Beside) -> u64 {
    let Beside { prompt, cached, total, reasoning } = *beside;
    let most = reasoning.map_or(u64::MAX, |reasoning| reasoning.saturating_add(said));
    let by_total = total.and_then(|total| total.checked_sub(prompt)).filter(|all| *all > said);
    let by_total =
        by_total.filter(|all| cached.is_none_or(|cached| cached == 0 || *all != said.saturating_add(cached)));
    let by_part = reasoning.filter(|reasoning| *reasoning > said).map(|_| most);
    by_total.map(|all| all.min(most)).or(by_part).unwrap_or(said)
}

/// The other counts in a usage object.
struct Beside {
    prompt: u64,
    cached: Option<u64>,
    total: Option<u64>,
    reasoning: Option<u64>,
}

/// The maximum accepted count: no model reads or writes as many tokens in one reply. A larger count is ignored.
const COUNT_MAX: u64 = 1_000_000_000;

/// Returns a count: a whole number, a float, or a string.
fn number(value: &Value) -> Option<u64> {
    let rounded = |number: f64| (0.0..=COUNT_MAX as f64).contains(&number).then(|| number.round() as u64);
    let count = match value {
        Value::Number(count) => count.as_u64().or_else(|| rounded(count.as_f64()?)),
        Value::String(text) => text.trim().parse().ok().or_else(|| rounded(text.trim().parse().ok()?)),
        _ => None,
    };
    count.filter(|count| *count <= COUNT_MAX)
}

/// Returns the total tokens in a reply's usage, if the body has one. Parses nothing else.
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

/// Parses the error body of a failed request; `None` if the body is not a known error shape.
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

/// Returns `code` if it is a name (some servers put the HTTP status there), else `type`.
fn code_of(error: &Value) -> Option<String> {
    text(error, "code").filter(|code| code.parse::<u16>().is_err()).or_else(|| text(error, "type"))
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
