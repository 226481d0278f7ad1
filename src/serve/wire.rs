//! Requests as clients send them.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::ApiError;
use crate::engine::OrderedSchema;
use crate::policy::ChatMessage;

/// Most responses that one request may ask for.
const CHOICES_MAX: usize = 128;
/// Most stop strings of a request.
const STOPS_MAX: usize = 16;

/// What both kinds of completions say of sampling.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Sampling {
    pub(super) model: Option<String>,
    pub(super) n: Option<usize>,
    pub(super) stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    pub(super) seed: Option<i64>,
    stop: Option<OneOrMany>,
    pub(super) max_tokens: Option<u32>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<i64>,
    min_p: Option<f32>,
    frequency_penalty: Option<f64>,
    presence_penalty: Option<f64>,
    logit_bias: Option<Map<String, Value>>,
    response_format: Option<OrderedSchema>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
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
    /// The schema that texts must follow.
    pub(super) schema: Option<Value>,
}

impl Sampling {
    pub(super) fn check(&self) -> Result<Checked, ApiError> {
        let choices = self.n.unwrap_or(1);
        if !(1..=CHOICES_MAX).contains(&choices) {
            return Err(ApiError::invalid("n", format!("n is {choices}; allowed: 1 to {CHOICES_MAX}")));
        }
        let stops = match &self.stop {
            None => Vec::new(),
            Some(OneOrMany::One(stop)) => vec![stop.clone()],
            Some(OneOrMany::Many(stops)) => stops.clone(),
        };
        if stops.len() > STOPS_MAX || stops.iter().any(String::is_empty) {
            let message = format!("stop holds an empty text or more than {STOPS_MAX} texts");
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
        // Other servers know -1 as "all".
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
        if self.logit_bias.as_ref().is_some_and(|bias| !bias.is_empty()) {
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
            schema: schema(self.response_format.as_ref().map(|format| &format.0))?,
        })
    }
}

/// Reads `response_format`.
fn schema(format: Option<&Value>) -> Result<Option<Value>, ApiError> {
    let Some(format) = format else { return Ok(None) };
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

/// `POST /v1/chat/completions`
#[derive(Debug, Deserialize)]
pub(super) struct ChatRequest {
    pub(super) messages: Vec<WireMessage>,
    #[serde(flatten)]
    pub(super) sampling: Sampling,
    pub(super) max_completion_tokens: Option<u32>,
    #[serde(default)]
    pub(super) logprobs: Option<bool>,
    #[serde(default)]
    pub(super) top_logprobs: Option<u32>,
    #[serde(default)]
    tools: Option<Value>,
    #[serde(default)]
    pub(super) chat_template_kwargs: Map<String, Value>,
    /// The last message is the beginning of the response.
    #[serde(default)]
    pub(super) continue_final_message: bool,
}

/// A message as a client sends it.
#[derive(Debug, Deserialize)]
pub(super) struct WireMessage {
    role: String,
    #[serde(default)]
    content: Value,
}

impl ChatRequest {
    /// Returns the conversation.
    pub(super) fn conversation(&self) -> Result<Vec<ChatMessage>, ApiError> {
        if self.messages.is_empty() {
            return Err(ApiError::invalid("messages", "messages is empty"));
        }
        if self.tools.as_ref().is_some_and(|tools| tools.as_array().is_none_or(|tools| !tools.is_empty())) {
            return Err(ApiError::invalid("tools", "tools are not supported"));
        }
        self.messages.iter().enumerate().map(|(index, message)| message.read(index)).collect()
    }

    /// Refuses log-probabilities of tokens that were not picked.
    pub(super) fn check_logprobs(&self) -> Result<bool, ApiError> {
        if self.top_logprobs.is_some_and(|count| count > 0) {
            let message = "top_logprobs above 0 is not supported: only the tokens that were picked have a logprob";
            return Err(ApiError::invalid("top_logprobs", message));
        }
        Ok(self.logprobs.unwrap_or(false))
    }
}

impl WireMessage {
    fn read(&self, index: usize) -> Result<ChatMessage, ApiError> {
        let fault = |what: &str| Err(ApiError::invalid("messages", format!("messages[{index}]: {what}")));
        let role = match self.role.as_str() {
            "developer" => "system",
            role @ ("system" | "user" | "assistant") => role,
            _ => return fault("allowed roles: system, developer, user, assistant"),
        };
        let content = match &self.content {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            Value::Array(parts) => {
                let text = |part: &Value| {
                    let is_text = part.get("type").and_then(Value::as_str) == Some("text");
                    part.get("text").and_then(Value::as_str).filter(|_| is_text).map(str::to_owned)
                };
                match parts.iter().map(text).collect::<Option<Vec<String>>>() {
                    Some(texts) => texts.concat(),
                    None => return fault("only parts of type text are supported"),
                }
            }
            _ => return fault("content is neither a text nor a list of parts"),
        };
        Ok(ChatMessage { role: role.to_owned(), content })
    }
}

/// `POST /v1/completions`
#[derive(Debug, Deserialize)]
pub(super) struct CompletionsRequest {
    pub(super) prompt: WirePrompt,
    #[serde(flatten)]
    pub(super) sampling: Sampling,
    #[serde(default)]
    pub(super) echo: bool,
    #[serde(default)]
    pub(super) logprobs: Option<u32>,
}

/// One prompt or several, as text or as tokens.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum WirePrompt {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<u32>),
    TokenLists(Vec<Vec<u32>>),
}

/// Reads a body.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::invalid("", format!("the body is no such request: {error}")))
}
