//! The wire format of requests, and the checks of their fields.
//!
//! The parser never builds a tree whose size the client decides: it skips unknown fields, and keeps a field of any
//! shape as text until its length is checked. A body is parsed once per struct (`parse`); this costs less than the
//! buffers of flattened structs.

#![warn(clippy::indexing_slicing)] // requests are untrusted input

use std::borrow::Cow;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::error::ApiError;
use super::limits::{CHOICES_MAX, SCHEMA_BYTES_MAX, STOP_BYTES_MAX, STOPS_MAX};
use crate::domain::Mode;
use crate::engine::OrderedSchema;
use crate::policy::Message;

/// The sampling fields that chat and text completions share.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Sampling<'a> {
    pub(super) model: Option<String>,
    n: Option<usize>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    seed: Option<i64>,
    stop: Option<Stops>,
    pub(super) max_tokens: Option<u32>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<i64>,
    min_p: Option<f32>,
    frequency_penalty: Option<f64>,
    presence_penalty: Option<f64>,
    #[serde(borrow)]
    logit_bias: Option<&'a RawValue>,
    #[serde(borrow)]
    response_format: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StreamOptions {
    include_usage: bool,
}

/// One stop string or a list of them.
#[derive(Debug, Clone, Default)]
struct Stops(Vec<String>);

impl<'de> Deserialize<'de> for Stops {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StopsVisitor)
    }
}

struct StopsVisitor;

impl<'de> Visitor<'de> for StopsVisitor {
    type Value = Stops;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "stop: a text, or a list of at most {STOPS_MAX} texts")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Stops, E> {
        Ok(Stops(vec![text.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Stops, A::Error> {
        let mut stops = Vec::new();
        while let Some(stop) = access.next_element::<String>()? {
            if stops.len() == STOPS_MAX {
                return Err(A::Error::custom(format!("stop has more than {STOPS_MAX} texts")));
            }
            stops.push(stop);
        }
        Ok(Stops(stops))
    }
}

/// A list of at most `N` items; parsing stops with an error at the next item.
#[derive(Debug)]
pub(super) struct AtMost<T, const N: usize>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for AtMost<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(AtMostVisitor(PhantomData))
    }
}

struct AtMostVisitor<T, const N: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for AtMostVisitor<T, N> {
    type Value = AtMost<T, N>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "a list of at most {N} items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            if items.len() == N {
                return Err(A::Error::custom(format!("a list has more than {N} items; split the request")));
            }
            items.push(item);
        }
        Ok(AtMost(items))
    }
}

/// Sampling settings within their ranges.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub(super) choices: usize,
    pub(super) stops: Vec<String>,
    pub(super) temperature: f32,
    pub(super) top_p: f32,
    pub(super) top_k: u32,
    pub(super) min_p: f32,
    pub(super) tokens_max: Option<u32>,
    pub(super) seed: Option<i64>,
    pub(super) is_streamed: bool,
    pub(super) includes_usage: bool,
    /// The schema that constrains the response.
    pub(super) schema: Option<Value>,
}

impl Sampling<'_> {
    pub(super) fn check(&self) -> Result<Checked, ApiError> {
        let choices = self.n.unwrap_or(1);
        if !(1..=CHOICES_MAX).contains(&choices) {
            return Err(ApiError::invalid("n", format!("n is {choices}; allowed: 1 to {CHOICES_MAX}")));
        }
        let stops = self.stop.clone().unwrap_or_default().0;
        if stops.iter().any(|stop| !(1..=STOP_BYTES_MAX).contains(&stop.len())) {
            let message = format!("stop has a text that is empty, or longer than {STOP_BYTES_MAX} bytes");
            return Err(ApiError::invalid("stop", message));
        }
        let within = |name: &str, value: f32, is_allowed: bool, allowed: &str| {
            if is_allowed {
                Ok(value)
            } else {
                Err(ApiError::invalid(name, format!("{name} is {value}; allowed: {allowed}")))
            }
        };
        let temperature = self.temperature.unwrap_or(1.0);
        let temperature = within("temperature", temperature, (0.0..=2.0).contains(&temperature), "0 to 2")?;
        let top_p = self.top_p.unwrap_or(1.0);
        let top_p = within("top_p", top_p, top_p > 0.0 && top_p <= 1.0, "above 0, up to 1")?;
        let min_p = self.min_p.unwrap_or(0.0);
        let min_p = within("min_p", min_p, (0.0..1.0).contains(&min_p), "0 to below 1")?;
        // Other servers accept -1 for "all tokens".
        let top_k = u32::try_from(self.top_k.unwrap_or(0).max(0)).unwrap_or(u32::MAX);
        if self.max_tokens == Some(0) {
            return Err(ApiError::invalid("max_tokens", "max_tokens is 0; allowed: 1 and more"));
        }
        for (name, value) in
            [("frequency_penalty", self.frequency_penalty), ("presence_penalty", self.presence_penalty)]
        {
            if value.is_some_and(|value| value != 0.0) {
                return Err(ApiError::invalid(name, format!("{name} is not supported")));
            }
        }
        if self.logit_bias.is_some_and(|bias| !is_empty(bias)) {
            return Err(ApiError::invalid("logit_bias", "logit_bias is not supported"));
        }
        Ok(Checked {
            choices,
            stops,
            temperature,
            top_p,
            top_k,
            min_p,
            tokens_max: self.max_tokens,
            seed: self.seed,
            is_streamed: self.stream.unwrap_or(false),
            includes_usage: self.stream_options.as_ref().is_some_and(|options| options.include_usage),
            schema: schema(self.response_format)?,
        })
    }
}

/// Returns whether a value is an empty object or an empty list.
fn is_empty(value: &RawValue) -> bool {
    let mut letters = value.get().bytes().filter(|byte| !byte.is_ascii_whitespace());
    matches!(
        (letters.next(), letters.next(), letters.next()),
        (Some(b'{'), Some(b'}'), None) | (Some(b'['), Some(b']'), None)
    )
}

/// Returns the schema that `response_format` requests.
fn schema(format: Option<&RawValue>) -> Result<Option<Value>, ApiError> {
    let Some(format) = format else { return Ok(None) };
    let fault = |message: String| ApiError::invalid("response_format", message);
    if format.get().len() > SCHEMA_BYTES_MAX {
        return Err(fault(format!("response_format has {} bytes; allowed: {SCHEMA_BYTES_MAX}", format.get().len())));
    }
    let OrderedSchema(format) = serde_json::from_str(format.get()).map_err(|error| fault(error.to_string()))?;
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(serde_json::json!({"type": "object"}))),
        Some("json_schema") => match format.pointer("/json_schema/schema") {
            Some(schema) => Ok(Some(schema.clone())),
            None => Err(ApiError::invalid("response_format", "response_format.json_schema has no schema")),
        },
        _ => Err(ApiError::invalid("response_format", "response_format.type: allowed: text, json_object, json_schema")),
    }
}

/// The body of `POST /v1/chat/completions`, without its sampling fields.
#[derive(Debug, Deserialize)]
pub(super) struct ChatRequest<'a> {
    #[serde(borrow)]
    messages: Vec<WireMessage<'a>>,
    pub(super) max_completion_tokens: Option<u32>,
    logprobs: Option<bool>,
    top_logprobs: Option<u32>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow)]
    chat_template_kwargs: Option<TemplateSwitch<'a>>,
    /// Whether the last message is the beginning of the response.
    #[serde(default)]
    pub(super) continue_final_message: bool,
}

/// The switch of the chat template for thinking, under either of its names.
#[derive(Debug, Deserialize)]
struct TemplateSwitch<'a> {
    #[serde(borrow)]
    enable_thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    thinking: Option<&'a RawValue>,
}

/// A message in OpenAI's format.
#[derive(Debug, Deserialize)]
struct WireMessage<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

/// A part of a message's content.
#[derive(Debug, Deserialize)]
struct WirePart<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    text: Cow<'a, str>,
}

impl ChatRequest<'_> {
    /// Returns the conversation.
    ///
    /// # Errors
    /// [`ApiError`] if a message is invalid, or if the conversation has more than `tokens_max` messages or `bytes_max`
    /// bytes of text.
    pub(super) fn conversation(&self, tokens_max: usize, bytes_max: usize) -> Result<Vec<Message>, ApiError> {
        if self.messages.is_empty() {
            return Err(ApiError::invalid("messages", "messages is empty"));
        }
        if self.tools.is_some_and(|tools| !(tools.get().starts_with('[') && is_empty(tools))) {
            return Err(ApiError::invalid("tools", "tools are not supported"));
        }
        let count = self.messages.len();
        if count > tokens_max {
            let message = format!("messages has {count} items, but the model's context has only {tokens_max} tokens");
            return Err(ApiError::too_long("messages", message));
        }
        let mut bytes = 0_usize;
        let mut conversation = Vec::with_capacity(count);
        for (index, message) in self.messages.iter().enumerate() {
            let message = message.read(index)?;
            bytes += message.content.len();
            if bytes > bytes_max {
                let message =
                    format!("the messages have more bytes than the model's context of {tokens_max} tokens can hold");
                return Err(ApiError::too_long("messages", message));
            }
            conversation.push(message);
        }
        Ok(conversation)
    }

    /// Returns the mode that the switch of the chat template asks for, if the request has one.
    pub(super) fn asked_mode(&self) -> Option<Mode> {
        let switch = self.chat_template_kwargs.as_ref().and_then(|switch| switch.enable_thinking.or(switch.thinking));
        switch.map(|switch| if switch.get() == "false" { Mode::ThinkOff } else { Mode::ThinkOn })
    }

    /// Returns whether log-probabilities are requested; rejects a request for those of tokens that were not sampled.
    pub(super) fn check_logprobs(&self) -> Result<bool, ApiError> {
        if self.top_logprobs.is_some_and(|count| count > 0) {
            let message = "top_logprobs above 0 is not supported: only sampled tokens have a logprob";
            return Err(ApiError::invalid("top_logprobs", message));
        }
        Ok(self.logprobs.unwrap_or(false))
    }
}

impl WireMessage<'_> {
    fn read(&self, index: usize) -> Result<Message, ApiError> {
        let fault = |what: &str| Err(ApiError::invalid("messages", format!("messages[{index}]: {what}")));
        let role = match self.role.as_ref() {
            "developer" => "system",
            role @ ("system" | "user" | "assistant") => role,
            _ => return fault("allowed roles: system, developer, user, assistant"),
        };
        let content = self.content.map_or("null", RawValue::get);
        let content = match content.bytes().next() {
            Some(b'"') => match serde_json::from_str(content) {
                Ok(text) => text,
                Err(_) => return fault("content is not a valid text"),
            },
            Some(b'n') => String::new(),
            Some(b'[') => match serde_json::from_str::<Vec<WirePart<'_>>>(content) {
                Ok(parts) if parts.iter().all(|part| part.kind == "text") => {
                    parts.iter().map(|part| part.text.as_ref()).collect()
                }
                _ => return fault("only parts of type text are supported"),
            },
            _ => return fault("content is neither a text nor a list of parts"),
        };
        Ok(Message { role: role.to_owned(), content })
    }
}

/// The body of `POST /v1/completions`, without its sampling fields.
#[derive(Debug, Deserialize)]
pub(super) struct CompletionsRequest<'a> {
    #[serde(borrow)]
    pub(super) prompt: WirePrompts<'a>,
    #[serde(default)]
    pub(super) echo: bool,
    #[serde(default)]
    pub(super) logprobs: Option<u32>,
}

/// One or several prompts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WirePrompts<'a>(pub(super) Vec<WirePrompt<'a>>);

/// A prompt, as text or as tokens.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WirePrompt<'a> {
    Text(Cow<'a, str>),
    Tokens(Vec<u32>),
}

/// The maximum number of prompts that the parser accepts; the number of permits is a lower limit.
const PROMPTS_MAX: usize = 1 << 16;

impl<'de: 'a, 'a> Deserialize<'de> for WirePrompts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PromptsVisitor)
    }
}

struct PromptsVisitor;

impl<'de> Visitor<'de> for PromptsVisitor {
    type Value = WirePrompts<'de>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("prompt: a text, a list of token ids, or a list of either")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(WirePrompts(vec![WirePrompt::Text(Cow::Borrowed(text))]))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(WirePrompts(vec![WirePrompt::Text(Cow::Owned(text.to_owned()))]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let (mut prompts, mut tokens) = (Vec::new(), Vec::new());
        while let Some(item) = access.next_element::<PromptItem<'de>>()? {
            match item {
                PromptItem::Token(token) => tokens.push(token),
                PromptItem::Prompt(prompt) => prompts.push(prompt),
            }
            if !tokens.is_empty() && !prompts.is_empty() {
                return Err(A::Error::custom("prompt mixes token ids with texts or lists"));
            }
            if prompts.len() > PROMPTS_MAX {
                return Err(A::Error::custom(format!("prompt has more than {PROMPTS_MAX} items")));
            }
        }
        if !tokens.is_empty() {
            prompts.push(WirePrompt::Tokens(tokens));
        }
        Ok(WirePrompts(prompts))
    }
}

enum PromptItem<'a> {
    Token(u32),
    Prompt(WirePrompt<'a>),
}

impl<'de> Deserialize<'de> for PromptItem<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PromptItemVisitor)
    }
}

struct PromptItemVisitor;

impl<'de> Visitor<'de> for PromptItemVisitor {
    type Value = PromptItem<'de>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a text, a token id or a list of token ids")
    }

    fn visit_u64<E: Error>(self, token: u64) -> Result<Self::Value, E> {
        u32::try_from(token).map(PromptItem::Token).map_err(|_| E::custom(format!("{token} is not a token id")))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(PromptItem::Prompt(WirePrompt::Text(Cow::Borrowed(text))))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(PromptItem::Prompt(WirePrompt::Text(Cow::Owned(text.to_owned()))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut tokens = Vec::new();
        while let Some(token) = access.next_element()? {
            tokens.push(token);
        }
        Ok(PromptItem::Prompt(WirePrompt::Tokens(tokens)))
    }
}

/// Parses the fields of `T` from a body; skips all other fields.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    // Serde also accepts a list in place of a struct, but no request is a list.
    if body.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|first| *first != b'{') {
        return Err(ApiError::invalid("", "the body is not a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| ApiError::invalid("", format!("invalid request: {error}")))
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
