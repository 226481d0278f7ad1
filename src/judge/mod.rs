//! Asks a judge model to justify the choice of mode.
//!
//! This room turns one case (a query with its chosen mode) into one justification. It knows neither the ledger nor the
//! order of the pipeline's stages: a caller passes a [`Journal`] and the budget.
//!
//! # Files
//!
//! | file | role |
//! |---|---|
//! | `mod.rs` | [`JudgeRequest`] with its content address; the traits [`Judge`] and [`Journal`] |
//! | `kind.rs` | [`JudgeKind`]: API judge or local judge |
//! | `prompt.rs`, `analysis.rs` | renders the messages; the JSON object that an API judge returns |
//! | `conversation.rs` | [`Conversation`]: decides what the stored attempts lead to, without I/O |
//! | `ask.rs`, `flights.rs` | [`ask()`]: the attempt loop; [`Flights`]: identical requests share one call |
//! | `openai.rs`, `policy.rs` | the two judges: an OpenAI-compatible server, the local policy model |
//! | `batch.rs` | the request lines and result lines of a batch |
//! | `reply.rs`, `json.rs`, `usage.rs` | parse a raw reply: text, almost valid JSON, token counts |
//! | `check/` | rejects texts that reveal the answer, argue for the other mode, copy, ... |
//! | `cost.rs`, `overrun.rs` | prices, the budget, and usage beyond the limits of a call |
//! | `error.rs` | [`AskError`]: errors that concern the whole run |
//!
//! # From a request to a stored reply
//!
//! 1. [`Judge::messages`] renders the case (see [`prompt`]), and [`Conversation::new`] builds the [`JudgeRequest`]. The
//!    request's key is the SHA-256 of the judge's identity, the model and the body, so that equal cases share one
//!    reply.
//! 2. [`ask()`] takes the [`Flights`] turn of the key, and reads [`Journal::history`].
//! 3. [`Conversation::advance`] decides over the stored attempts: settled, the next request of the conversation, or
//!    another [`Attempt`]. A stored usable reply settles the conversation without a call.
//! 4. Before a call, `ask` waits for leave from the [`Breaker`](crate::http::breaker::Breaker), for room in the
//!    [`Budget`](cost::Budget), and for a slot ([`Judge::admit`]). Then [`Journal::begin`] stores the attempt.
//! 5. [`Judge::call`] makes one wire attempt.
//! 6. A failure goes to the breaker, which decides whether the server or the request is at fault; then
//!    [`Journal::failed`] stores the end. A reply is stored by [`Journal::reply`] before it is parsed.
//! 7. `advance` runs again: [`reply::parse`] extracts the text, and [`check::check()`] accepts or rejects it. For an
//!    API judge, a rejection continues the conversation with the text and the reason.
//!
//! # Invariants
//!
//! The journal holds an attempt before its call, and a raw reply before it is parsed. A stored usable reply is never
//! requested again. Attempts are bounded over all restarts. `Conversation` alone decides what stored attempts lead to;
//! `ask` and the building of shards both follow it.
//!
//! # Formats
//!
//! This room owns the request key and the canonical request body ([`JudgeRequest`]), the custom ids of batch lines
//! ([`batch`]), and the schema of an API judge's reply (`schemas/judge_reply.schema.json`).
//! [`check::CHECKS_VERSION`] and [`prompt::prompt_hash`] are part of a run's identity.

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

use crate::domain::digest::PartsHasher;
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
pub use reply::RawReply;

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
    /// The body as it is sent and hashed, serialized once.
    text: Bytes,
}

/// How one attempt is made: a function of the earlier attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// 1-based; unique within a request.
    pub number: u32,
    /// The token limit.
    pub cap: Cap,
}

/// The token limit of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cap {
    /// The limit that the request states.
    AsAsked,
    /// A larger limit (see [`raised_cap`]), because an earlier reply was truncated by the stated limit.
    Raised,
}

impl JudgeRequest {
    /// Builds the request that sends `messages` to `judge`.
    ///
    /// Extra body keys override `temperature` and `max_tokens`; an extra `max_completion_tokens` replaces `max_tokens`,
    /// for servers that reject both together.
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

    /// Returns the maximum number of tokens in a reply under a token limit; 0 if the request states no limit.
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
    PartsHasher::of([identity, model, body]).hex()
}

/// Writes JSON with sorted keys: whether `serde_json` keeps the insertion order depends on the features that other
/// crates of the build enable.
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

/// A model that justifies decisions: a server behind an HTTP API, or the local policy model.
pub trait Judge: Send + Sync {
    /// Returns the judge's identity: the base URL, or `policy:<model>`; part of request keys.
    fn identity(&self) -> &str;

    /// Returns the name of the model in requests.
    fn model(&self) -> &str;

    /// Returns the length limit of a reply, in tokens.
    fn max_tokens(&self) -> u32;

    /// Returns the sampling temperature.
    fn temperature(&self) -> f64 {
        TEMPERATURE_DEFAULT
    }

    /// Returns the kind of the judge.
    fn kind(&self) -> JudgeKind {
        JudgeKind::Api
    }

    /// Returns the extra body keys: the keys of the config, and the keys that the reply format requires.
    fn extra(&self) -> Option<&Map<String, Value>>;

    /// Returns the keys that the settings omit from the request's body.
    fn omitted(&self) -> &[String] {
        &[]
    }

    /// Returns a request's body as it is sent now: without the keys that the server has refused. The request and its
    /// key depend on the settings alone, so that no stored reply is lost when a server is repaired or another server
    /// refuses more keys.
    fn wire_text(&self, request: &JudgeRequest, cap: Cap) -> Bytes {
        request.text(cap)
    }

    /// Returns the keys that are omitted from requests, by the settings or because a server refused them; sorted.
    fn left_out(&self) -> Vec<String> {
        Vec::new()
    }

    /// Decides how to react to a refused key in a batch result, see `http::left_out`: `Ok` if the same request is to be
    /// sent again.
    fn heed(&self, failure: CallFailure) -> BoxFuture<'_, Result<(), CallFailure>> {
        std::future::ready(Err(failure)).boxed()
    }

    /// Takes the name of the served model of a reply, and logs a warning when the name changes.
    fn note_served(&self, model: &str) {
        let _ = model;
    }

    /// Sets the keys that servers refused in earlier starts, in the order of their refusal, and the recorder of further
    /// refusals.
    fn remember(&self, refused: Vec<String>, recorder: Option<Recorder>) {
        let _ = (refused, recorder);
    }

    /// Returns the messages that ask about a case.
    fn messages(&self, case: &prompt::JudgeCase<'_>) -> Result<Vec<Message>, minijinja::Error> {
        prompt::messages(case)
    }

    /// Waits until `request` may be sent: a free slot, pacing, pauses. Cancel-safe, because nothing is sent.
    ///
    /// The caller holds the admission until the call ends. The default admits at once.
    fn admit<'a>(&'a self, request: &'a JudgeRequest) -> BoxFuture<'a, Admission> {
        let _ = request;
        async { Admission::default() }.boxed()
    }

    /// Returns a probe, which requests one token to see whether the judge replies; `None` if the judge cannot be
    /// probed.
    fn probe(&self) -> Option<Probe> {
        None
    }

    /// Makes one wire attempt, without inner retries; releases the admission's slot at the end.
    ///
    /// Not cancel-safe: a dropped call may have been charged.
    fn call<'a>(
        &'a self,
        request: &'a JudgeRequest,
        attempt: Attempt,
        admission: Admission,
    ) -> BoxFuture<'a, Result<RawReply, CallFailure>>;
}

/// A durable record of attempts.
///
/// For every attempt the caller first calls `begin`, and then exactly one of `reply` and `failed`, or neither if the
/// process died.
pub trait Journal: Send + Sync {
    /// Returns all attempts of a request, of all runs, in order.
    fn history<'a>(&'a self, key: &'a str) -> BoxFuture<'a, anyhow::Result<Vec<PastAttempt>>>;

    /// Records that an attempt is about to be made; returns after the record is durable.
    fn begin<'a>(
        &'a self,
        request: &'a JudgeRequest,
        query_id: &'a QueryId,
        attempt: Attempt,
    ) -> BoxFuture<'a, anyhow::Result<()>>;

    /// Records the raw reply of an attempt; returns after the record is durable.
    fn reply<'a>(&'a self, key: &'a str, attempt: u32, reply: &'a RawReply) -> BoxFuture<'a, anyhow::Result<()>>;

    /// Records that an attempt brought no reply; returns after the record is durable.
    fn failed<'a>(
        &'a self,
        key: &'a str,
        attempt: u32,
        outcome: AttemptOutcome,
        status: Option<u16>,
        detail: &'a str,
    ) -> BoxFuture<'a, anyhow::Result<()>>;
}

/// One stored attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastAttempt {
    /// 1-based.
    pub attempt: u32,
    /// How the attempt ended; `None` if the process died during the call, which counts as an attempt.
    pub end: Option<AttemptEnd>,
}

impl PastAttempt {
    /// Whether the server refused the attempt.
    fn is_refusal(&self) -> bool {
        matches!(&self.end, Some(AttemptEnd::Failed { status, .. }) if is_refusal(*status))
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptEnd {
    /// A reply.
    Reply(RawReply),
    /// No reply arrived.
    Failed {
        /// The kind of the failure.
        outcome: AttemptOutcome,
        /// The HTTP status, if there was one.
        status: Option<u16>,
        /// One line: the server's error text, or the local error.
        detail: String,
    },
    /// The failure was forgiven later: the attempt does not count.
    Forgiven,
}
