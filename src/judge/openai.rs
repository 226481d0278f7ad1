//! The judge behind an OpenAI-compatible HTTP API.

use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Map, Value};

use crate::config::Streaming;
use crate::http::breaker::Probe;
use crate::http::client::{Admission, ChatClient, ClearText, ClientError, ClientOptions, Delivery, TIMEOUT_DEFAULT};
use crate::http::left_out::{LeftOut, Recorder, Side};
use crate::http::{CallFailure, one_line};

use super::{Attempt, Cap, Judge, JudgeRequest, MAX_TOKENS_DEFAULT, RawReply, TEMPERATURE_DEFAULT, canonical};

/// Body keys that `extra` may not set, because thinkloom depends on their values.
const RESERVED_KEYS: [&str; 5] = ["model", "messages", "stream", "n", "stream_options"];
/// Bytes of a request body per token, for pacing only; low for prose, so that the estimate is too high rather than too
/// low.
const BYTES_PER_TOKEN: usize = 3;
/// The maximum length of a model name in log lines, in characters.
const NAME_CHARS_MAX: usize = 200;

/// The settings of an [`OpenAiJudge`].
#[derive(Debug, Clone)]
pub struct OpenAiOptions {
    /// The addresses and their limits; the first address is the judge's identity.
    pub client: ClientOptions,
    /// The name of the model in requests.
    pub model: String,
    /// Whether replies are streamed.
    pub streaming: Streaming,
    /// The maximum length of a reply, in tokens.
    pub max_tokens: u32,
    /// Sampling temperature.
    pub temperature: f64,
    /// Extra body keys, for example `thinking`; they override `temperature`, `max_tokens` and `response_format`.
    pub extra: Option<Map<String, Value>>,
    /// Whether requests ask for the server's JSON mode.
    pub json_mode: JsonMode,
    /// Body keys that requests omit.
    pub omit: Vec<String>,
}

/// Whether requests ask for a server's JSON mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonMode {
    /// `response_format` is `json_object`.
    On,
    /// Only the prompt asks for JSON, for servers without `response_format`.
    Off,
}

impl OpenAiOptions {
    /// Returns the default options for an address and a model: no key, 64 requests in flight, no rate limits.
    #[must_use]
    pub fn new(base_url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            client: ClientOptions {
                base_urls: vec![base_url.into()],
                api_key: None,
                clear_text: ClearText::Refused,
                concurrency_max: 64,
                requests_per_minute: 0,
                tokens_per_minute: 0,
                timeout: TIMEOUT_DEFAULT,
            },
            model: model.into(),
            streaming: Streaming::Auto,
            max_tokens: MAX_TOKENS_DEFAULT,
            temperature: TEMPERATURE_DEFAULT,
            extra: None,
            json_mode: JsonMode::On,
            omit: Vec::new(),
        }
    }
}

/// Why an [`OpenAiJudge`] cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenAiJudgeError {
    /// The client cannot be built.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// An extra body key is reserved for thinkloom.
    #[error("extra body key \"{key}\" is not allowed: thinkloom sets it itself")]
    ReservedKey {
        /// The key.
        key: String,
    },
}

impl OpenAiJudgeError {
    /// Returns advice to the user.
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
    client: Arc<ChatClient>,
    model: String,
    delivery: Delivery,
    max_tokens: u32,
    temperature: f64,
    extra: Option<Map<String, Value>>,
    omit: Vec<String>,
    left_out: LeftOut,
    /// The model that served the latest reply.
    served: Mutex<Option<String>>,
}

impl OpenAiJudge {
    /// Builds the judge; opens no connection.
    pub fn new(options: OpenAiOptions) -> Result<Self, OpenAiJudgeError> {
        Self::over(options, ChatClient::new)
    }

    /// Builds the judge over a client that `client` builds from the options; opens no connection.
    ///
    /// # Errors
    /// The errors of [`OpenAiJudge::new`], and the errors of `client`.
    pub fn over(
        options: OpenAiOptions,
        client: impl FnOnce(&ClientOptions) -> Result<ChatClient, ClientError>,
    ) -> Result<Self, OpenAiJudgeError> {
        let mut keys = options.extra.iter().flat_map(Map::keys);
        if let Some(key) = keys.find(|key| RESERVED_KEYS.contains(&key.as_str())) {
            return Err(OpenAiJudgeError::ReservedKey { key: key.clone() });
        }
        let client = Arc::new(client(&options.client)?);
        let own = options.extra.iter().flat_map(Map::keys);
        let left_out = LeftOut::new(Side::Judge, (client.base_url(), &options.model), &options.omit, own);
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
            omit: options.omit,
            left_out,
            served: Mutex::default(),
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

    fn omitted(&self) -> &[String] {
        &self.omit
    }

    fn wire_text(&self, request: &JudgeRequest, cap: Cap) -> bytes::Bytes {
        let text = request.text(cap);
        if self.left_out.learnt().is_empty() {
            return text;
        }
        // thinkloom itself wrote the text, so it is valid JSON.
        let mut body: Map<String, Value> = serde_json::from_slice(&text).unwrap_or_default();
        self.left_out.apply(&mut body);
        canonical(&Value::Object(body)).into()
    }

    fn left_out(&self) -> Vec<String> {
        self.left_out.keys()
    }

    fn heed(&self, failure: CallFailure) -> BoxFuture<'_, Result<(), CallFailure>> {
        self.left_out.heed(failure).boxed()
    }

    fn note_served(&self, name: &str) {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = served.replace(name.to_owned()).filter(|before| before != name) {
            tracing::warn!(
                "the judge's replies now come from the model {:?}, and came from {:?} before; the column judge_model \
                 names the model of each justification",
                one_line(name, NAME_CHARS_MAX),
                one_line(&before, NAME_CHARS_MAX)
            );
        }
    }

    fn remember(&self, refused: Vec<String>, recorder: Option<Recorder>) {
        self.left_out.remember(refused, recorder);
    }

    fn admit<'a>(&'a self, request: &'a JudgeRequest) -> BoxFuture<'a, Admission> {
        // Providers count max_tokens against the tokens per minute before they know the reply's length.
        let prompt_tokens = request.text(Cap::AsAsked).len() / BYTES_PER_TOKEN;
        let tokens = u32::try_from(prompt_tokens).unwrap_or(u32::MAX).saturating_add(self.max_tokens);
        self.client.admit(tokens).boxed()
    }

    fn probe(&self) -> Option<Probe> {
        let (client, model) = (Arc::clone(&self.client), self.model.clone());
        Some(Arc::new(move || {
            let (client, model) = (Arc::clone(&client), model.clone());
            async move { client.probe(&model).await }.boxed()
        }))
    }

    fn call<'a>(
        &'a self,
        request: &'a JudgeRequest,
        attempt: Attempt,
        admission: Admission,
    ) -> BoxFuture<'a, Result<RawReply, CallFailure>> {
        async move {
            let mut admission = Some(admission);
            // A request that is refused because of one of its keys counts as no attempt: each iteration omits one more
            // key.
            loop {
                let text = self.wire_text(request, attempt.cap);
                let delivery = self.left_out.delivery(self.delivery);
                let leave = match admission.take() {
                    Some(admission) => admission,
                    None => self.admit(request).await,
                };
                match self.client.post_chat(&text, delivery, leave).await {
                    Ok(body) => {
                        self.left_out.succeeded();
                        return Ok(RawReply::new(body));
                    }
                    Err(failure) => self.left_out.heed(failure).await?,
                }
            }
        }
        .boxed()
    }
}
