//! Extracts the text and the thinking of a chat message, from any field in which a server puts them.
//!
//! The content is a string, a part, or a list of parts; parts of a thinking kind (`type` with "think", "reason" or
//! "thought" in it, or `thought: true`) are thinking. Outside the content, servers put thinking in one of several
//! fields, and some put the same text in two: the first field that is not blank counts.

use serde_json::Value;

/// Fields that hold thinking, in order of priority.
pub const THINKING_FIELDS: &[&str] = &[
    "reasoning_content",
    "reasoning",
    "reasoning_details",
    "thinking",
    "thinking_content",
    "thinking_blocks",
    "thought",
    "thoughts",
    "reasoning_text",
    "analysis_content",
];

/// Keys of the text in a text object, in order of priority.
const TEXT_KEYS: &[&str] = &["text", "thinking", "reasoning", "thought", "content", "summary"];

/// The texts of a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Texts {
    /// The answer text; `None` if the message has no such text at all.
    pub content: Option<String>,
    /// The thinking; `None` if there is none, or only blanks.
    pub reasoning: Option<String>,
}

/// Extracts the texts of a message.
#[must_use]
pub fn texts(message: &Value) -> Texts {
    let mut in_parts = String::new();
    let content = message.get("content").filter(|content| !content.is_null()).or_else(|| message.get("parts"));
    let content = content.and_then(|content| said(content, &mut in_parts));
    let is_blank = |text: &str| text.trim().is_empty();
    let beside = THINKING_FIELDS
        .iter()
        .filter_map(|name| message.get(*name).map(all_text))
        .chain([in_parts])
        .find(|text| !is_blank(text));
    let refusal = || message.get("refusal").and_then(Value::as_str).map(str::to_owned).filter(|text| !is_blank(text));
    let content = match content {
        Some(content) if !is_blank(&content) => Some(content),
        blank => refusal().or(blank),
    };
    Texts { content, reasoning: beside }
}

/// Returns the answer text of a content, and appends its thinking to `thinking`.
fn said(content: &Value, thinking: &mut String) -> Option<String> {
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Object(_) => Some(said_in_part(content, thinking)),
        Value::Array(parts) => Some(parts.iter().map(|part| said_in_part(part, thinking)).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

fn said_in_part(part: &Value, thinking: &mut String) -> String {
    if let Value::String(text) = part {
        return text.clone();
    }
    let kind = part.get("type").and_then(Value::as_str).unwrap_or("text").to_ascii_lowercase();
    let is_thought = part.get("thought").and_then(Value::as_bool).unwrap_or(false)
        || ["think", "reason", "thought"].iter().any(|word| kind.contains(word));
    if is_thought {
        thinking.push_str(&all_text(part));
        return String::new();
    }
    // Images, calls and similar parts hold no answer text.
    let is_text = matches!(kind.as_str(), "text" | "output_text" | "refusal" | "answer" | "response");
    let text = part.get("text").or_else(|| part.get("content")).or_else(|| part.get("refusal"));
    text.filter(|_| is_text).map(all_text).unwrap_or_default()
}

/// Returns all text in a value: a string, the text of an object, or the texts of a list, concatenated.
fn all_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(all_text).collect(),
        Value::Object(part) => {
            let texts = TEXT_KEYS.iter().filter_map(|key| part.get(*key)).map(all_text);
            texts.into_iter().find(|text| !text.is_empty()).unwrap_or_default()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(message: Value) -> (Option<String>, Option<String>) {
        let Texts { content, reasoning } = texts(&message);
        (content, reasoning)
    }

    fn both(content: &str, reasoning: &str) -> (Option<String>, Option<String>) {
        (Some(content.to_owned()), Some(reasoning.to_owned()))
    }

    #[test]
    fn thinking_is_found_in_every_field_and_the_first_that_is_not_blank_counts() {
        for field in THINKING_FIELDS {
            assert_eq!(read(json!({"content": "5", *field: "why"})), both("5", "why"), "{field}");
            assert_eq!(read(json!({"content": "5", *field: ""})), (Some("5".to_owned()), None), "{field}");
        }
        for blank in [json!(null), json!(""), json!(" \n"), json!([]), json!({}), json!(7)] {
            let message = json!({"content": "5", "reasoning_content": blank, "reasoning": "why"});
            assert_eq!(read(message), both("5", "why"), "{blank}");
        }
        assert_eq!(read(json!({"content": "5", "reasoning_content": "a", "reasoning": "b"})), both("5", "a"));
    }

    #[test]
    fn lists_of_details_and_blocks_are_joined() {
        let details = json!([{"type": "reasoning.summary", "summary": "a "}, {"type": "reasoning.text", "text": "b"},
                             {"type": "reasoning.encrypted", "data": "xyz"}]);
        assert_eq!(read(json!({"content": "5", "reasoning_details": details})), both("5", "a b"));
        let blocks = json!([{"type": "thinking", "thinking": "c", "signature": "s"}]);
        assert_eq!(read(json!({"content": "5", "thinking_blocks": blocks})), both("5", "c"));
    }

    #[test]
    fn parts_say_or_think() {
        let cases = [
            json!([{"type": "thinking", "thinking": [{"type": "text", "text": "why"}]}, {"type": "text", "text": "5"}]),
            json!([{"type": "thinking", "thinking": "why"}, {"type": "text", "text": "5"}]),
            json!([{"type": "thinking", "text": "why"}, {"type": "output_text", "text": "5"}]),
            json!([{"type": "reasoning", "reasoning": "why"}, {"text": "5"}]),
            json!([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "why"}]}, "5"]),
            json!([{"text": "why", "thought": true}, {"text": "5"}]),
            json!([{"type": "thought", "content": "why"}, {"type": "text", "text": "5"}, {"type": "image_url"}]),
            json!([{"type": "redacted_thinking", "data": "x"}, {"type": "thinking", "thinking": "why"}, {"text": "5"}]),
        ];
        for content in cases {
            assert_eq!(read(json!({"content": content.clone()})), both("5", "why"), "{content}");
        }
        assert_eq!(read(json!({"content": {"type": "text", "text": "5"}})), (Some("5".to_owned()), None));
        assert_eq!(read(json!({"parts": [{"text": "why", "thought": true}, {"text": "5"}]})), both("5", "why"));
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(read(json!({"content": null})), (None, None));
        assert_eq!(read(json!({"content": 7})), (None, None));
        assert_eq!(read(json!({"content": ""})), (Some(String::new()), None));
        assert_eq!(read(json!({"content": null, "refusal": "I will not."})), (Some("I will not.".to_owned()), None));
        assert_eq!(read(json!("text")), (None, None));
    }
}
