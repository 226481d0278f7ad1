//! Asking a judge model to justify the choice of mode.
//!
//! `prompt` renders the messages, [`JudgeRequest`] gives them a content address, [`ask()`] runs attempts over the facts
//! in a [`Journal`], a [`Judge`] makes one wire attempt, `reply` reads the raw body, `check` judges what it says, `cost`
//! prices it and keeps the budget.
//!
//! What holds at every moment, crashes included: an attempt is in the journal before its call, and a raw reply before
//! it is read; a usable reply that is stored is never asked for again; attempts are bounded over all restarts.
//! What stored attempts lead to is decided by [`Conversation`] alone, over facts; `ask` itself goes by it.
//! This room knows neither the ledger nor the order of the pipeline's stages.

mod analysis;
mod ask;
pub mod batch;
pub mod check;
mod conversation;
pub mod cost;
mod error;
mod flights;
mod json;
mod kind;
pub mod openai;
pub mod overrun;
pub mod policy;
pub mod prompt;
pub mod reply;
mod usage;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::domain::{AttemptOutcome, QueryId};
use crate::http::breaker::Probe;
use crate::http::client::Admission;
use crate::http::left_out::Recorder;
use crate::http::retry::{is_refusal, raised_cap};
use crate::http::wire::Message;

pub use crate::http::CallFailure;
pub use ask::{AskOptions, ask};
pub use conversation::{Conversation, Judged, Justification, Step};
pub use error::AskError;
pub use flights::Flights;
pub use kind::JudgeKind;

/// Default length limit of a justification, in tokens.
pub const MAX_TOKENS_DEFAULT: u32 = 400;
/// Default sampling temperature of a judge.
pub const TEMPERATURE_DEFAULT: f64 = 0.2;

/// One request to a judge.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgeRequest {
    /// Content address: SHA-256 in hex over the judge's identity, the model and the whole body.
    pub key: String,
    /// The OpenAI chat body: `model`, `messages`, `max_tokens`, `temperature`, and the extra keys.
    pub body: Value,
    /// The body as it is sent, and as it is hashed: written once.
    text: Bytes,
}

/// How one attempt at a request is made; a function of the attempts before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// 1-based; never repeats for a request.
    pub number: u32,
    /// The token limit.
    pub cap: Cap,
}

/// The token limit of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cap {
    /// What the request says.
    AsAsked,
    /// More (see [`raised_cap`]), because an earlier reply was cut off by it.
    Raised,
}

impl JudgeRequest {
    /// Builds the request that asks `judge` with `messages`.
    ///
    /// Extra body keys win over `temperature` and `max_tokens`; an extra `max_completion_tokens` takes the place of
    /// `max_tokens`, for servers that refuse both together.
    #[must_use]
    pub fn new(judge: &dyn Judge, messages: &[Message]) -> Self {
        let mut body = Map::new();
        body.insert("model".to_owned(), json!(judge.model()));
        body.insert("messages".to_owned(), json!(messages));
        if !judge.extra().is_some_and(|extra| extra.contains_key("max_completion_tokens")) {
            body.insert("max_tokens".to_owned(), json!(judge.max_tokens()));
        }
        body.insert("temperature".to_owned(), json!(judge.temperature()));
        for (key, value) in judge.extra().into_iter().flatten() {
            body.insert(key.clone(), value.clone());
        }
        for key in judge.omitted() {
            body.remove(key);
        }
        let body = Value::Object(body);
        let text = canonical(&body);
        Self { key: request_key(judge.identity(), judge.model(), &text), body, text: text.into() }
    }

    /// Returns the most tokens that a reply can have under a token limit; 0 if the request states none.
    #[must_use]
    pub fn tokens_max(&self, cap: Cap) -> u64 {
        let asked = ["max_completion_tokens", "max_tokens"].iter().find_map(|name| self.body.get(*name)?.as_u64());
        let asked = u32::try_from(asked.unwrap_or(0)).unwrap_or(u32::MAX);
        u64::from(if cap == Cap::Raised { raised_cap(asked) } else { asked })
    }

    /// Returns the body as it is sent under a token limit.
    #[must_use]
    pub fn text(&self, cap: Cap) -> Bytes {
        if cap == Cap::AsAsked {
            return self.text.clone();
        }
        let mut body = self.body.clone();
        for name in ["max_tokens", "max_completion_tokens"] {
            if let Some(limit) = body.get_mut(name) {
                let asked = limit.as_u64().and_then(|limit| u32::try_from(limit).ok());
                *limit = asked.map_or(limit.take(), |asked| json!(raised_cap(asked)));
            }
        }
        canonical(&body).into()
    }
}

/// Returns the content address of a request with a canonical body.
fn request_key(identity: &str, model: &str, body: &str) -> String {
    let mut hash = Sha256::new();
    for part in [identity, model, body] {
        // The length before each part keeps neighbours apart.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(hash.finalize())
}

/// Writes JSON with sorted keys: whether `serde_json` keeps insertion order depends on what else is in the build.
fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    text
}

fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            for (index, (key, value)) in entries.into_iter().enumerate() {
                text.push(if index == 0 { '{' } else { ',' });
                text.push_str(&serde_json::to_string(key).expect("a string is JSON"));
                text.push(':');
                write_canonical(value, text);
            }
            text.push_str(if map.is_empty() { "{}" } else { "}" });
        }
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_canonical(item, text);
            }
            text.push(']');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}

/// A model that justifies decisions: behind an HTTP API, or the local policy model.
pub trait Judge: Send + Sync {
    /// Returns what tells this judge from others: the base URL, or `policy:<model>`; part of request keys.
    fn identity(&self) -> &str;

    /// Returns the model to ask for.
    fn model(&self) -> &str;

    /// Returns the length limit of a reply, in tokens.
    fn max_tokens(&self) -> u32;

    /// Returns the sampling temperature.
    fn temperature(&self) -> f64 {
        TEMPERATURE_DEFAULT
    }

    /// Returns what sort of judge this is.
    fn kind(&self) -> JudgeKind {
        JudgeKind::Api
    }

    /// Returns extra body keys: those of the config, and what the reply's format wants.
    fn extra(&self) -> Option<&Map<String, Value>>;

    /// Returns the keys that the settings leave out of the request's body.
    fn omitted(&self) -> &[String] {
        &[]
    }

    /// Returns a request's body as it is sent now: without keys that the server was found to refuse. The request and its
    /// key stay those of the settings, so that no reply is lost when a server is mended or another one refuses more.
    fn wire_text(&self, request: &JudgeRequest, cap: Cap) -> Bytes {
        request.text(cap)
    }

    /// Returns the keys that are left out of its requests, as set or because a server refuses them; sorted.
    fn left_out(&self) -> Vec<String> {
        Vec::new()
    }

    /// Decides what a refused key that was found in a batch leads to, see `http::left_out`: `Ok` if the same request is
    /// to be sent again.
    fn heed(&self, failure: CallFailure) -> BoxFuture<'_, Result<(), CallFailure>> {
        std::future::ready(Err(failure)).boxed()
    }

    /// Looks at which model a reply is from, and warns of a change.
    fn note_served(&self, body: &str) {
        let _ = body;
    }

    /// Takes which keys earlier starts found to be refused, in that order, and who records further ones.
    fn remember(&self, refused: Vec<String>, recorder: Option<Recorder>) {
        let _ = (refused, recorder);
    }

    /// Returns the conversation that asks about a case.
    ///
    /// # Errors
    /// An error of the template engine; the built-in templates give none.
    fn messages(&self, case: &prompt::JudgeCase<'_>) -> Result<Vec<Message>, minijinja::Error> {
        prompt::messages(case)
    }

    /// Waits until `request` may be sent: a free slot, pacing, pauses. Cancel-safe, for nothing was sent yet.
    ///
    /// The admission is held until the call is over. The default admits at once.
    fn admit<'a>(&'a self, request: &'a JudgeRequest) -> BoxFuture<'a, Admission> {
        let _ = request;
        async { Admission::default() }.boxed()
    }

    /// Returns what asks the judge for one token, to see whether it answers; `None` if it cannot be asked so.
    fn probe(&self) -> Option<Probe> {
        None
    }

    /// Makes one wire attempt, without retries inside; gives the admission's slot back when it is over.
    ///
    /// Not cancel-safe: a dropped call may have been charged.
    fn call<'a>(
        &'a self,
        request: &'a JudgeRequest,
        attempt: Attempt,
        admission: Admission,
    ) -> BoxFuture<'a, Result<RawReply, CallFailure>>;
}

/// A judge's reply, unread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawReply {
    /// The response body.
    pub body: String,
}

/// Where attempts are recorded durably.
///
/// For every attempt `begin` comes first, then exactly one of `reply` and `failed`, or neither if the process died.
pub trait Journal: Send + Sync {
    /// Returns all attempts of a request, of all runs, in order.
    fn history<'a>(&'a self, key: &'a str) -> BoxFuture<'a, anyhow::Result<Vec<PastAttempt>>>;

    /// Records that an attempt is about to be made; returns once that is durable.
    fn begin<'a>(
        &'a self,
        request: &'a JudgeRequest,
        query_id: &'a QueryId,
        attempt: Attempt,
    ) -> BoxFuture<'a, anyhow::Result<()>>;

    /// Records the raw reply of an attempt; returns once that is durable.
    fn reply<'a>(&'a self, key: &'a str, attempt: u32, body: &'a str) -> BoxFuture<'a, anyhow::Result<()>>;

    /// Records that an attempt brought no reply; returns once that is durable.
    fn failed<'a>(
        &'a self,
        key: &'a str,
        attempt: u32,
        outcome: AttemptOutcome,
        status: Option<u16>,
        detail: &'a str,
    ) -> BoxFuture<'a, anyhow::Result<()>>;
}

/// One attempt as the journal knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastAttempt {
    /// 1-based.
    pub attempt: u32,
    /// How it ended; `None`: the process died during the call, which counts as an attempt.
    pub end: Option<AttemptEnd>,
}

impl PastAttempt {
    /// Whether the server refused it.
    fn is_refusal(&self) -> bool {
        matches!(&self.end, Some(AttemptEnd::Failed { status, .. }) if is_refusal(*status))
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptEnd {
    /// A reply came; this is its raw body.
    Reply(String),
    /// No reply came.
    Failed {
        /// What happened.
        outcome: AttemptOutcome,
        /// The HTTP status, where one came.
        status: Option<u16>,
        /// One line: what the server said, or what went wrong.
        detail: String,
    },
    /// Whatever became of it: it was made good, and does not count.
    Forgiven,
}
