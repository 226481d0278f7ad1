//! Joins a streamed chat reply into the body that the same reply would have had in one piece.
//!
//! Only the first choice by index is used. The reply is complete after a finish reason or `[DONE]`; a stream that ends
//! earlier was interrupted, and its received part is kept ([`Joined::fragment`]). Chunks without choices (usage) are
//! stored unchanged. An error event makes the body an error object, as a server that replies in one piece sends it,
//! together with the received part. Deltas are joined field by field, whatever the fields are, so that a later reader
//! of the body has everything that was paid for; a text that arrives in two fields at once is kept in both.

use serde_json::{Map, Value, json};

use super::sse::{Event, SseParser};
use super::wire::{FRAGMENT, choice_index};

/// The part received so far.
#[derive(Debug, Default)]
pub struct Joined {
    model: Option<Value>,
    /// The choice that is used: the lowest index so far.
    index: Option<u64>,
    message: Map<String, Value>,
    text_len: usize,
    is_begun: bool,
    finish_reason: Option<Value>,
    native_finish_reason: Option<Value>,
    provider_fields: Option<Value>,
    usage: Option<Value>,
    error: Option<Value>,
    is_done: bool,
}

/// An event's data is not a chunk of a chat stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stream holds what is no JSON object: {problem}")]
pub struct NoChunk {
    /// The parser's error text.
    pub problem: String,
}

impl Joined {
    /// Adds the next event.
    ///
    /// # Errors
    /// [`NoChunk`] if the event's data is neither a JSON object nor `[DONE]`.
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
        self.is_begun = true;
        self.take_chunk(chunk);
        Ok(())
    }

    fn take_chunk(&mut self, mut chunk: Map<String, Value>) {
        let mut field = |name: &str| chunk.remove(name).filter(|value| !value.is_null());
        if let Some(error) = field("error") {
            self.error = Some(error);
        }
        // Servers that send running totals send the complete total at the end.
        self.usage = field("usage").or_else(|| self.usage.take());
        if self.model.is_none() {
            // Some gateways begin with a chunk of their own, which names no model.
            self.model = field("model").filter(|model| model.as_str().is_some_and(|name| !name.trim().is_empty()));
        }
        let Some(Value::Array(choices)) = field("choices") else { return };
        for (position, mut choice) in choices.into_iter().enumerate() {
            let index = choice_index(&choice, position);
            if self.index.is_some_and(|lowest| index > lowest) {
                continue;
            }
            if self.index.replace(index).is_some_and(|lowest| index < lowest) {
                // The part so far belongs to another choice.
                self.message.clear();
                (self.finish_reason, self.native_finish_reason, self.provider_fields) = (None, None, None);
            }
            let mut of_choice = |name: &str| choice.get_mut(name).map(Value::take).filter(|value| !value.is_null());
            if let Some(Value::Object(delta)) = of_choice("delta").or_else(|| of_choice("message")) {
                self.text_len += delta.values().map(text_len).sum::<usize>();
                let is_new = |name: &&String| !self.message.contains_key(*name);
                self.text_len += delta.keys().filter(is_new).map(String::len).sum::<usize>();
                join_objects(&mut self.message, delta);
            }
            self.finish_reason = of_choice("finish_reason").or_else(|| self.finish_reason.take());
            let native = of_choice("native_finish_reason");
            self.native_finish_reason = native.or_else(|| self.native_finish_reason.take());
            self.provider_fields = of_choice("provider_specific_fields").or_else(|| self.provider_fields.take());
            self.error = of_choice("error").or_else(|| self.error.take());
        }
    }

    /// Returns the bytes of text so far, in all fields.
    #[must_use]
    pub fn text_len(&self) -> usize {
        self.text_len
    }

    /// Returns whether a chunk has arrived.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.is_begun
    }

    /// Returns whether nothing more is expected.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.is_done || self.error.is_some()
    }

    /// Returns whether the reply is complete, whatever happens to the stream.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.is_done() || self.finish_reason.as_ref().is_some_and(says_an_end)
    }

    /// Returns whether the reply is complete and reported its usage: no relevant chunk can follow.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.is_done() || (self.is_whole() && self.usage.is_some())
    }

    /// Returns the body of a complete reply; `None` if the stream ended too early.
    #[must_use]
    pub fn into_body(self) -> Option<String> {
        self.is_whole().then(|| self.body("chat.completion"))
    }

    /// Returns the received part of an interrupted reply, as a body without an end; `None` if no text arrived.
    #[must_use]
    pub fn fragment(&self) -> Option<String> {
        let is_text = |(name, value): (&String, &Value)| name != "role" && !value.is_null() && value != "";
        self.message.iter().any(is_text).then(|| self.body(FRAGMENT))
    }

    fn body(&self, object: &str) -> String {
        let mut message = self.message.clone();
        message.entry("role").or_insert_with(|| json!("assistant"));
        message.entry("content").or_insert(Value::Null);
        let mut choice = json!({"index": 0, "finish_reason": self.finish_reason, "message": message});
        if let Some(choice) = choice.as_object_mut() {
            let fields = [
                ("provider_specific_fields", &self.provider_fields),
                ("native_finish_reason", &self.native_finish_reason),
            ];
            let given = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)));
            choice.extend(given);
        }
        let body = json!({
            "object": object, "model": self.model, "choices": [choice], "usage": self.usage,
        });
        match &self.error {
            None => body.to_string(),
            Some(error) if self.fragment_is_empty() => json!({ "error": error }).to_string(),
            Some(error) => {
                // The error is the first key, where a check of a body's beginning finds it.
                let rest = body.to_string();
                format!("{{\"error\":{error},{}", rest.strip_prefix('{').unwrap_or_default())
            }
        }
    }

    fn fragment_is_empty(&self) -> bool {
        self.message.iter().all(|(name, value)| name == "role" || value.is_null() || value == "")
    }
}

/// Parses a body that is a stream by its text, whatever its content type: events, or one chunk per line. `None` if the
/// body is neither, or ends too early.
#[must_use]
pub fn joined_text(text: &str) -> Option<String> {
    let (mut joined, mut is_stream) = (Joined::default(), true);
    let begins_with = |word: &str| text.trim_start().starts_with(word);
    if begins_with("data:") || begins_with("event:") || begins_with(":") {
        let mut parser = SseParser::default();
        let mut take = |event: Event| is_stream &= joined.is_done() || joined.take(&event).is_ok();
        let read = parser.push(text.as_bytes(), &mut take).and_then(|()| parser.end(&mut take));
        is_stream &= read.is_ok();
    } else {
        for line in text.lines() {
            is_stream &= joined.take(&Event { name: String::new(), data: line.to_owned() }).is_ok();
        }
        // An object over several lines, or with text after it, is not a stream.
        is_stream &= joined.is_begun();
    }
    if is_stream || joined.is_whole() { joined.into_body() } else { None }
}

/// Returns whether a finish reason marks the end of the reply: some servers send an empty reason, or the word `null`,
/// with every chunk.
fn says_an_end(reason: &Value) -> bool {
    match reason {
        Value::String(name) => !matches!(name.trim(), "" | "null" | "None" | "none"),
        Value::Number(_) | Value::Object(_) => true,
        Value::Null | Value::Bool(_) | Value::Array(_) => false,
    }
}

/// The size that a value in a list counts for in addition to its text, in bytes.
const NODE_BYTES: usize = 4;

/// Returns the approximate size of a value in memory.
fn text_len(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(parts) => parts.iter().map(|part| text_len(part) + NODE_BYTES).sum(),
        Value::Object(object) => object.iter().map(|(name, value)| name.len() + text_len(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// Joins a delta to the earlier part: texts are concatenated, lists are extended, any other value replaces the earlier
/// one; null is ignored.
fn join_objects(into: &mut Map<String, Value>, delta: Map<String, Value>) {
    for (name, piece) in delta {
        match into.get_mut(&name) {
            Some(so_far) => join(&name, so_far, piece),
            None => {
                into.insert(name, piece);
            }
        }
    }
}

/// Fields of a delta or part that hold a name, not a piece of a text.
const NAMES: &[&str] = &["role", "type", "id", "name", "format", "signature", "index"];

fn join(name: &str, so_far: &mut Value, piece: Value) {
    match (&mut *so_far, piece) {
        (_, Value::Null) => {}
        (Value::String(text), Value::String(more)) if !NAMES.contains(&name) => text.push_str(&more),
        (Value::Array(parts), Value::Array(more)) => more.into_iter().for_each(|part| join_part(parts, part)),
        // A text that continues as parts, or parts that continue as a text.
        (Value::String(text), Value::Array(more)) => {
            let mut parts = Vec::new();
            if !text.is_empty() {
                parts.push(json!({"type": "text", "text": text}));
            }
            more.into_iter().for_each(|part| join_part(&mut parts, part));
            *so_far = Value::Array(parts);
        }
        (Value::Array(parts), Value::String(more)) => {
            if !more.is_empty() {
                join_part(parts, json!({"type": "text", "text": more}));
            }
        }
        (Value::Object(object), Value::Object(more)) => join_objects(object, more),
        (so_far, piece) => *so_far = piece,
    }
}

/// Joins a part to the last part if it continues that part, and appends it otherwise.
fn join_part(parts: &mut Vec<Value>, part: Value) {
    let is_more = |last: &Value| {
        let same = |name: &str| last.get(name) == part.get(name);
        last.is_object() && part.is_object() && same("type") && same("index") && same("id") && same("thought")
    };
    match (parts.last_mut().filter(|last| is_more(last)), part) {
        (Some(Value::Object(last)), Value::Object(more)) => join_objects(last, more),
        (_, part) => parts.push(part),
    }
}

#[cfg(test)]
#[path = "joined_tests.rs"]
mod tests;
