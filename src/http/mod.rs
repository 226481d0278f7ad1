//! Sends chat requests to OpenAI-compatible servers over HTTP, one attempt at a time.
//!
//! This room returns the raw reply of one attempt, or a [`CallFailure`] that classifies the failure. It stores nothing
//! and does not interpret replies: retry loops, budgets and the ledger belong to the callers (`judge::ask`, and the
//! sampler of the policy).
//!
//! # Files
//!
//! | file | role |
//! |---|---|
//! | `mod.rs` | [`CallFailure`]: the end of an attempt without a reply |
//! | [`client`] | the client of one model: admits requests and chooses an endpoint |
//! | `endpoint.rs` | one endpoint: its slots, its health, one POST |
//! | [`aimd`], [`pacing`], [`headers`] | an endpoint's limits: in flight; per minute; by the server's own headers |
//! | `backoff.rs`, [`retry`] | the wait before a retry; the one table that classifies each end of an attempt |
//! | [`breaker`] | holds requests back in an outage, and decides whether the server or the request is at fault |
//! | [`carrier`], [`transport`] | the network or a simulation; TLS, proxies and bounded bodies for every HTTP client |
//! | [`sse`], [`joined`], [`streamed`] | server-sent events; a streamed reply joined into one body; its bounds |
//! | [`wire`], [`message`], [`finish`], `overflow.rs` | lenient parsing: bodies, texts, finish reasons, context errors |
//! | [`refused_keys`], [`left_out`] | finds the body key that an error refuses, and reacts to the refusal |
//! | [`redact`] | replaces any echo of the API key |
//! | [`batch`] | the client of a provider's batch API |
//!
//! # One request with its retries
//!
//! 1. The caller waits for leave from its [`breaker::Breaker`], which holds requests back while the server is down.
//! 2. [`client::ChatClient::admit`] admits the requests one by one, in order of arrival: it waits for an endpoint with
//!    a free slot ([`aimd::Aimd`]) whose [`pacing::Pacing`] allows the request.
//! 3. [`client::ChatClient::post_chat`] sends the body over a [`carrier::Carrier`]. If no connection is made, it tries
//!    the next endpoint within the same attempt, because nothing was sent.
//! 4. The endpoint reads the reply in one piece, or as a stream through [`streamed::Streamed`]; it redacts echoes of
//!    the key, follows the rate-limit headers, and updates its limits and its health.
//! 5. For a failure, [`retry::classify`] returns a [`retry::Class`]. A refused body key goes to
//!    [`left_out::LeftOut::heed`], which may allow the same request again without the key, as part of the same attempt.
//! 6. The caller reports the end to the breaker. After a failure, the breaker waits until other requests or its probe
//!    show whether the server is at fault ([`breaker::Blame`]); only a fault of the request counts as an attempt.
//! 7. The caller stores the end, waits ([`retry::Backoff::wait`]), and begins again at step 1, within its bound of
//!    attempts.
//!
//! # Formats
//!
//! This room owns the canonical failure line ([`CallFailure::detail`]: one line, at most [`DETAIL_CHARS_MAX`]
//! characters, without header, key or request body), and the body of an interrupted stream, whose `object` is
//! [`wire::FRAGMENT`].

#![warn(clippy::indexing_slicing)] // what is read here comes from anywhere

pub mod aimd;
mod backoff;
pub mod batch;
pub mod breaker;
pub mod carrier;
pub mod client;
mod endpoint;
pub mod finish;
#[cfg(any(test, feature = "testing"))]
pub mod fuzz;
pub mod headers;
pub mod joined;
pub mod left_out;
pub mod message;
mod overflow;
pub mod pacing;
pub mod redact;
pub mod refused_keys;
pub mod retry;
pub mod sse;
pub mod streamed;
#[cfg(test)]
pub(crate) mod testing;
pub mod transport;
pub mod wire;

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::AttemptOutcome;

/// Why one attempt brought no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallFailure {
    /// How to react to the failure.
    pub class: retry::Class,
    /// The HTTP status, if there was one.
    pub status: Option<u16>,
    /// How long the server asked to wait; only a [`breaker`] waits longer than [`retry::RETRY_AFTER_MAX`].
    pub retry_after: Option<Duration>,
    /// One line of at most [`DETAIL_CHARS_MAX`] characters; never holds a header, a key or a request body.
    pub detail: String,
    /// The received part of a reply, if there is one: it may have been charged.
    pub body: Option<String>,
    /// The key of the request's body that the server refuses, if the error names one.
    pub refused: Option<Box<RefusedKey>>,
}

/// A key of a request's body that a server refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedKey {
    /// The key.
    pub key: String,
    /// Advice to the user; empty until a caller has decided how to react.
    pub hint: String,
}

impl CallFailure {
    /// Returns the recorded outcome of an attempt that failed through its own fault: a refusal that a retry cannot
    /// change, or a failure that may pass.
    #[must_use]
    pub fn own_outcome(&self) -> AttemptOutcome {
        let is_final = retry::says_about_this_request(self.status, &self.detail) || !retry::is_refusal(self.status);
        match self.class {
            retry::Class::FatalRequest if is_final => AttemptOutcome::Rejected,
            _ if self.status.is_some() => AttemptOutcome::HttpError,
            _ => AttemptOutcome::TransportError,
        }
    }

    /// Returns advice to the user.
    #[must_use]
    pub fn hint(&self) -> String {
        match &self.refused {
            Some(refused) if !refused.hint.is_empty() => refused.hint.clone(),
            _ => retry::hint(self.status).to_owned(),
        }
    }
}

/// Longest `detail` of a [`CallFailure`], in characters.
pub const DETAIL_CHARS_MAX: usize = 500;

/// Returns `text` as one line of at most `chars_max` characters; control characters and runs of blanks become one
/// space.
#[must_use]
pub fn one_line(text: &str, chars_max: usize) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
    let line = words.join(" ");
    if line.chars().count() <= chars_max {
        return line;
    }
    line.chars().take(chars_max.saturating_sub(3)).chain("...".chars()).collect()
}

/// Waits for a change, until some time at the latest.
async fn wait(changed: impl Future<Output = ()>, until: Option<Instant>) {
    match until {
        None => changed.await,
        Some(until) => {
            tokio::select! {
                biased;
                () = changed => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_joins_lines_and_bounds_characters() {
        assert_eq!(one_line(" a\r\n b\u{0}c\t", 500), "a b c");
        assert_eq!(one_line("abcde", 5), "abcde");
        assert_eq!(one_line("abcdef", 5), "ab...");
        let long = "\u{e9}".repeat(2000);
        assert_eq!(one_line(&long, 500).chars().count(), 500);
        assert!(one_line(&long, 500).ends_with("..."));
    }
}
