//! The judge behind an OpenAI-compatible HTTP API.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use secrecy::SecretString;
use serde_json::{Map, Value};

use crate::config::Streaming;
use crate::http::CallFailure;
use crate::http::client::{Admission, ChatClient, ClientError, ClientOptions, Delivery, TIMEOUT_DEFAULT};

use super::{Attempt, Cap, Judge, JudgeRequest, MAX_TOKENS_DEFAULT, RawReply, TEMPERATURE_DEFAULT};

/// Body keys that `extra` may not set: this program depends on their values.
const RESERVED_KEYS: [&str; 5] = ["model", "messages", "stream", "n", "stream_options"];
/// Bytes of a request body per token, for pacing only; low for prose, so that the estimate errs upwards.
const BYTES_PER_TOKEN: usize = 3;

/// What an [`OpenAiJudge`] is built from.
#[derive(Debug, Clone)]
pub struct OpenAiOptions {
    /// Addresses up to, not including, `/chat/completions`; the first one is the judge's identity.
    pub base_urls: Vec<String>,
    /// The model to ask for.
    pub model: String,
    /// The key; `None` for servers that want none.
    pub api_key: Option<SecretString>,
    /// Requests in flight at once to each address.
    pub concurrency_max: usize,
    /// 0: no limit known.
    pub requests_per_minute: u32,
    /// 0: no limit known.
    pub tokens_per_minute: u32,
    /// Time allowed for one attempt, from send to last byte.
    pub timeout: Duration,
    /// Whether replies are streamed.
    pub streaming: Streaming,
    /// Longest reply, in tokens.
    pub max_tokens: u32,
    /// Sampling temperature.
    pub temperature: f64,
    /// Extra body keys, for example `thinking`; they win over `temperature`, `max_tokens` and `response_format`.
    pub extra: Option<Map<String, Value>>,
    /// Whether the server is asked for its JSON mode.
    pub json_mode: JsonMode,
}

/// Whether a server is asked for its JSON mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonMode {
    /// `response_format` says `json_object`.
    On,
    /// Only the prompt asks for JSON, for servers that know no `response_format`.
    Off,
}

impl OpenAiOptions {
    /// Returns the default options for an address and a model: no key, 64 requests in flight, no rate limits.
    #[must_use]
    pub fn new(base_url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            base_urls: vec![base_url.into()],
            model: model.into(),
            api_key: None,
            concurrency_max: 64,
            requests_per_minute: 0,
            tokens_per_minute: 0,
            timeout: TIMEOUT_DEFAULT,
            streaming: Streaming::Auto,
            max_tokens: MAX_TOKENS_DEFAULT,
            temperature: TEMPERATURE_DEFAULT,
            extra: None,
            json_mode: JsonMode::On,
        }
    }
}

/// Why an [`OpenAiJudge`] cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenAiJudgeError {
    /// The client cannot be built.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// An extra body key is one that this program sets itself.
    #[error("set the extra body key \"{key}\": it is set by thinkloom itself")]
    ReservedKey {
        /// The key.
        key: String,
    },
}

impl OpenAiJudgeError {
    /// Returns what a person can do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Client(error) => error.hint(),
            Self::ReservedKey { .. } => "remove it from the judge's extra body keys",
        }
    }
}

/// A judge behind an OpenAI-compatible HTTP API.
#[derive(Debug)]
pub struct OpenAiJudge {
    client: ChatClient,
    model: String,
    delivery: Delivery,
    max_tokens: u32,
    temperature: f64,
    extra: Option<Map<String, Value>>,
}

impl OpenAiJudge {
    /// Builds the judge; connects to nothing.
    ///
    /// # Errors
    /// [`OpenAiJudgeError`] if an address, the key or an extra body key cannot be used.
    pub fn new(options: OpenAiOptions) -> Result<Self, OpenAiJudgeError> {
        let mut keys = options.extra.iter().flat_map(Map::keys);
        if let Some(key) = keys.find(|key| RESERVED_KEYS.contains(&key.as_str())) {
            return Err(OpenAiJudgeError::ReservedKey { key: key.clone() });
        }
        let client = ChatClient::new(&ClientOptions {
            base_urls: options.base_urls,
            api_key: options.api_key,
            concurrency_max: options.concurrency_max,
            requests_per_minute: options.requests_per_minute,
            tokens_per_minute: options.tokens_per_minute,
            timeout: options.timeout,
        })?;
        let mut extra = options.extra.unwrap_or_default();
        if options.json_mode == JsonMode::On && !extra.contains_key("response_format") {
            extra.insert("response_format".to_owned(), serde_json::json!({"type": "json_object"}));
        }
        let is_streamed = options.streaming.is_wanted(options.max_tokens);
        Ok(Self {
            client,
            model: options.model,
            delivery: if is_streamed { Delivery::Stream } else { Delivery::Whole },
            max_tokens: options.max_tokens,
            temperature: options.temperature,
            extra: (!extra.is_empty()).then_some(extra),
        })
    }
}

impl Judge for OpenAiJudge {
    fn identity(&self) -> &str {
        self.client.base_url()
    }

    fn model(&self) -> &str {
        &self.model
    }

    fn max_tokens(&self) -> u32 {
        self.max_tokens
    }

    fn temperature(&self) -> f64 {
        self.temperature
    }

    fn extra(&self) -> Option<&Map<String, Value>> {
        self.extra.as_ref()
    }

    fn admit<'a>(&'a self, request: &'a JudgeRequest) -> BoxFuture<'a, Admission> {
        // Providers count max_tokens against the tokens per minute before they know the reply's length.
        let prompt_tokens = request.text(Cap::AsAsked).len() / BYTES_PER_TOKEN;
        let tokens = u32::try_from(prompt_tokens).unwrap_or(u32::MAX).saturating_add(self.max_tokens);
        self.client.admit(tokens).boxed()
    }

    fn call<'a>(
        &'a self,
        request: &'a JudgeRequest,
        attempt: Attempt,
        admission: Admission,
    ) -> BoxFuture<'a, Result<RawReply, CallFailure>> {
        async move {
            let text = request.text(attempt.cap);
            self.client.post_chat(&text, self.delivery, admission).await.map(|body| RawReply { body })
        }
        .boxed()
    }
}
