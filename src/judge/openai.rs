//! The judge behind an OpenAI-compatible HTTP API.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use secrecy::SecretString;
use serde_json::{Map, Value};

use crate::http::CallFailure;
use crate::http::client::{Admission, Endpoint, EndpointError, EndpointOptions, TIMEOUT_DEFAULT};

use super::{Judge, JudgeRequest, MAX_TOKENS_DEFAULT, RawReply, TEMPERATURE_DEFAULT};

/// Body keys that `extra` may not set: this program depends on their values.
const RESERVED_KEYS: [&str; 4] = ["model", "messages", "stream", "n"];
/// Bytes of a request body per token, for pacing only; low for prose, so that the estimate errs upwards.
const BYTES_PER_TOKEN: usize = 3;

/// What an [`OpenAiJudge`] is built from.
#[derive(Debug, Clone)]
pub struct OpenAiOptions {
    /// Address up to, not including, `/chat/completions`.
    pub base_url: String,
    /// The model to ask for.
    pub model: String,
    /// The key; `None` for servers that want none.
    pub api_key: Option<SecretString>,
    /// Requests in flight at once.
    pub concurrency_max: usize,
    /// 0: no limit known.
    pub requests_per_minute: u32,
    /// 0: no limit known.
    pub tokens_per_minute: u32,
    /// Time allowed for one attempt, from send to last byte.
    pub timeout: Duration,
    /// Longest reply, in tokens.
    pub max_tokens: u32,
    /// Sampling temperature.
    pub temperature: f64,
    /// Extra body keys, for example `thinking`; they win over `temperature` and `max_tokens`.
    pub extra: Option<Map<String, Value>>,
}

impl OpenAiOptions {
    /// Returns the default options for an address and a model: no key, 64 requests in flight, no rate limits.
    #[must_use]
    pub fn new(base_url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            model: model.into(),
            api_key: None,
            concurrency_max: 64,
            requests_per_minute: 0,
            tokens_per_minute: 0,
            timeout: TIMEOUT_DEFAULT,
            max_tokens: MAX_TOKENS_DEFAULT,
            temperature: TEMPERATURE_DEFAULT,
            extra: None,
        }
    }
}

/// Why an [`OpenAiJudge`] cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenAiJudgeError {
    /// The endpoint cannot be used.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
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
            Self::Endpoint(error) => error.hint(),
            Self::ReservedKey { .. } => "remove it from the judge's extra body keys",
        }
    }
}

/// A judge behind an OpenAI-compatible HTTP API.
#[derive(Debug)]
pub struct OpenAiJudge {
    endpoint: Endpoint,
    model: String,
    max_tokens: u32,
    temperature: f64,
    extra: Option<Map<String, Value>>,
}

impl OpenAiJudge {
    /// Builds the judge; connects to nothing.
    ///
    /// # Errors
    /// [`OpenAiJudgeError`] if the address, the key or an extra body key cannot be used.
    pub fn new(options: OpenAiOptions) -> Result<Self, OpenAiJudgeError> {
        let mut keys = options.extra.iter().flat_map(Map::keys);
        if let Some(key) = keys.find(|key| RESERVED_KEYS.contains(&key.as_str())) {
            return Err(OpenAiJudgeError::ReservedKey { key: key.clone() });
        }
        let endpoint = Endpoint::new(EndpointOptions {
            base_url: options.base_url,
            api_key: options.api_key,
            concurrency_max: options.concurrency_max,
            requests_per_minute: options.requests_per_minute,
            tokens_per_minute: options.tokens_per_minute,
            timeout: options.timeout,
        })?;
        Ok(Self {
            endpoint,
            model: options.model,
            max_tokens: options.max_tokens,
            temperature: options.temperature,
            extra: options.extra,
        })
    }
}

impl Judge for OpenAiJudge {
    fn identity(&self) -> &str {
        self.endpoint.base_url()
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
        let prompt_tokens = request.body.to_string().len() / BYTES_PER_TOKEN;
        let tokens = u32::try_from(prompt_tokens).unwrap_or(u32::MAX).saturating_add(self.max_tokens);
        self.endpoint.admit(tokens).boxed()
    }

    fn call<'a>(&'a self, request: &'a JudgeRequest, _attempt: u32) -> BoxFuture<'a, Result<RawReply, CallFailure>> {
        async move { self.endpoint.post_chat(&request.body).await.map(|body| RawReply { body }) }.boxed()
    }
}
