//! A streamed chat reply, joined into the body that the same reply would have had in one piece.
//!
//! Only the first choice is read. The reply is whole once a finish reason or `[DONE]` came; a stream that ends before
//! was interrupted. Chunks without choices (usage) are taken as they are; an error event makes the body an error
//! object, as a server that answers in one piece sends it.

use serde_json::{Map, Value, json};

use super::sse::Event;

/// What has come so far.
#[derive(Debug, Default)]
pub struct Joined {
    model: Option<Value>,
    content: Option<String>,
    reasoning: Option<String>,
    finish_reason: Option<Value>,
    provider_fields: Option<Value>,
    usage: Option<Value>,
    error: Option<Value>,
    is_done: bool,
}

/// An event's data is not what a chat stream holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stream holds what is no JSON object: {problem}")]
pub struct NoChunk {
    /// What the parser says.
    pub problem: String,
}

impl Joined {
    /// Takes the next event.
    ///
    /// # Errors
    /// [`NoChunk`] if its data is neither a JSON object nor `[DONE]`.
    pub fn take(&mut self, event: &Event) -> Result<(), NoChunk> {
        let data = event.data.trim();
        if data.is_empty() {
            return Ok(());
        }
        if data == "[DONE]" {
            self.is_done = true;
            return Ok(());
        }
        let parsed: Result<Map<String, Value>, _> = serde_json::from_str(data);
        let mut chunk = match parsed {
            Ok(chunk) => chunk,
            Err(_) if event.name == "error" => Map::from_iter([("error".to_owned(), json!(data))]),
            Err(error) => return Err(NoChunk { problem: error.to_string() }),
        };
        if event.name == "error" && !chunk.contains_key("error") {
            chunk = Map::from_iter([("error".to_owned(), Value::Object(chunk))]);
        }
        self.take_chunk(chunk);
        Ok(())
    }

    fn take_chunk(&mut self, mut chunk: Map<String, Value>) {
        let mut field = |name: &str| chunk.remove(name).filter(|value| !value.is_null());
        if let Some(error) = field("error") {
            self.error = Some(error);
        }
        // Servers that send running totals send the whole at the end.
        self.usage = field("usage").or_else(|| self.usage.take());
        if self.model.is_none() {
            self.model = field("model");
        }
        let Some(Value::Array(choices)) = field("choices") else { return };
        let is_first = |choice: &Value| choice.get("index").and_then(Value::as_u64).unwrap_or(0) == 0;
        for mut choice in choices.into_iter().filter(is_first) {
            if let Some(delta) = choice.get("delta").or_else(|| choice.get("message")) {
                append(&mut self.content, delta.get("content"));
                append(&mut self.reasoning, delta.get("reasoning_content").or_else(|| delta.get("reasoning")));
            }
            let mut of_choice = |name: &str| choice.get_mut(name).map(Value::take).filter(|value| !value.is_null());
            self.finish_reason = of_choice("finish_reason").or_else(|| self.finish_reason.take());
            self.provider_fields = of_choice("provider_specific_fields").or_else(|| self.provider_fields.take());
            self.error = of_choice("error").or_else(|| self.error.take());
        }
    }

    /// Returns the bytes of text so far.
    #[must_use]
    pub fn text_len(&self) -> usize {
        self.content.as_ref().map_or(0, String::len) + self.reasoning.as_ref().map_or(0, String::len)
    }

    /// Returns whether nothing more is to be waited for.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.is_done || self.error.is_some()
    }

    /// Returns the body, once the stream has ended; `None` if it ended too early.
    #[must_use]
    pub fn into_body(self) -> Option<String> {
        if let Some(error) = self.error {
            return Some(json!({ "error": error }).to_string());
        }
        if !self.is_done && self.finish_reason.is_none() {
            return None;
        }
        let mut message = json!({"role": "assistant", "content": self.content});
        let mut choice = json!({"index": 0, "finish_reason": self.finish_reason});
        if let (Some(reasoning), Some(message)) = (self.reasoning, message.as_object_mut()) {
            message.insert("reasoning_content".to_owned(), json!(reasoning));
        }
        if let Some(choice) = choice.as_object_mut() {
            choice.insert("message".to_owned(), message);
            choice.extend(self.provider_fields.map(|fields| ("provider_specific_fields".to_owned(), fields)));
        }
        let body = json!({
            "object": "chat.completion", "model": self.model, "choices": [choice], "usage": self.usage,
        });
        Some(body.to_string())
    }
}

fn append(text: &mut Option<String>, piece: Option<&Value>) {
    if let Some(piece) = piece.and_then(Value::as_str) {
        text.get_or_insert_with(String::new).push_str(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::ChatReply;
    use super::*;

    fn joined(data: &[&str]) -> Option<String> {
        let mut joined = Joined::default();
        for data in data {
            joined.take(&Event { name: String::new(), data: (*data).to_owned() }).unwrap();
        }
        joined.into_body()
    }

    #[test]
    fn deltas_are_joined_to_the_reply_they_are_part_of() {
        let body = joined(&[
            r#"{"model":"m","choices":[{"index":0,"delta":{"role":"assistant","reasoning":"why"}}]}"#,
            r#"{"model":"m","choices":[{"index":0,"delta":{"content":"a "}}]}"#,
            r#"{"choices":[{"index":1,"delta":{"content":"other"},"finish_reason":"length"}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"b"},"finish_reason":null}]}"#,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#,
            "[DONE]",
        ]);
        let reply = ChatReply::parse(&body.unwrap()).unwrap();
        let choice = reply.choice.unwrap();
        assert_eq!((reply.model.as_deref(), reply.usage.unwrap().prompt_tokens), (Some("m"), 3));
        assert_eq!(choice.content.as_deref(), Some("a b"));
        assert_eq!(choice.reasoning.as_deref(), Some("why"));
        assert_eq!(choice.finish_reason.as_deref(), Some("stop"));
    }

    #[test]
    fn a_stream_without_an_end_gives_no_body() {
        assert_eq!(joined(&[]), None);
        assert_eq!(joined(&[r#"{"choices":[{"delta":{"content":"a"}}]}"#]), None);
        assert!(joined(&["[DONE]"]).is_some());
        assert!(joined(&[r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#]).is_some());
    }

    #[test]
    fn content_that_never_came_is_null_and_not_empty() {
        let body = joined(&[r#"{"choices":[{"delta":{"reasoning_content":"r"},"finish_reason":"length"}]}"#]).unwrap();
        assert!(body.contains(r#""content":null"#), "{body}");
    }

    #[test]
    fn errors_end_the_stream_in_every_shape() {
        let mut named = Joined::default();
        named.take(&Event { name: "error".to_owned(), data: r#"{"message":"busy","code":403}"#.to_owned() }).unwrap();
        assert!(named.is_done());
        let mut text = Joined::default();
        text.take(&Event { name: "error".to_owned(), data: "busy".to_owned() }).unwrap();
        let plain = joined(&[r#"{"error":{"message":"busy"}}"#]);
        let inner = joined(&[r#"{"choices":[{"error":{"message":"busy"}}]}"#]);
        for body in [named.into_body(), text.into_body(), plain, inner] {
            let reply = ChatReply::parse(&body.unwrap()).unwrap();
            assert_eq!(reply.error.unwrap().message, "busy");
        }
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for data in ["<html>", "[1]", "{\"choices\":", "null"] {
            let event = Event { name: String::new(), data: data.to_owned() };
            assert!(Joined::default().take(&event).is_err(), "{data}");
        }
    }
}
