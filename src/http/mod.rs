//! Talking to OpenAI-compatible servers over HTTP, one attempt at a time.
//!
//! [`client::ChatClient`] lets requests through to one of several endpoints and returns the raw reply or a
//! [`CallFailure`]. Each `endpoint` has its own [`aimd`] limit of requests in flight and its own [`pacing`] of requests
//! and tokens per minute, and heeds what the server's [`headers`] ask for; a [`streamed`] reply ([`sse`]) is [`joined`].
//! A [`breaker`] stands before them all: it holds requests back in an outage, and says whose fault a failure is.
//! [`refused_keys`] finds the body key that an error refuses, and [`left_out`] says what is done about it. [`batch`] is the
//! client of a provider's batch API. [`retry`] holds the one table that says what a failure means; [`wire`] reads replies
//! leniently, with [`message`] for texts and [`finish`] for the names of ends; [`redact`] blots out what echoes the key,
//! and [`transport`] holds what every HTTP client of the program shares. Chats go over a
//! [`carrier`], so that a simulation can stand in for the network. This room never retries, never stores anything and does
//! not know what a reply is for: loops, budgets and the ledger belong to its callers.

pub mod aimd;
mod backoff;
pub mod batch;
pub mod breaker;
pub mod carrier;
pub mod client;
mod endpoint;
pub mod finish;
#[cfg(any(test, fuzzing))]
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

use crate::domain::AttemptOutcome;

/// Why one attempt brought no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallFailure {
    /// What to do about it.
    pub class: retry::Class,
    /// The HTTP status, where one came.
    pub status: Option<u16>,
    /// How long the server asked to wait; longer than [`retry::RETRY_AFTER_MAX`] only a [`breaker`] waits.
    pub retry_after: Option<Duration>,
    /// One line of at most [`DETAIL_CHARS_MAX`] characters; never holds a header, a key or a request body.
    pub detail: String,
    /// What came of a reply, if anything did: it may have been paid for.
    pub body: Option<String>,
    /// The key of the request's body that the server refuses, if that is what it says.
    pub refused: Option<Box<RefusedKey>>,
}

/// A key of a request's body that a server refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedKey {
    /// The key.
    pub key: String,
    /// What a person can do about it; empty as long as nobody has decided what it leads to.
    pub hint: String,
}

impl CallFailure {
    /// Returns what is recorded of an attempt that failed by its own fault: refused for what it is, and not to be asked
    /// again, or for a reason that may pass.
    #[must_use]
    pub fn own_outcome(&self) -> AttemptOutcome {
        let is_final = retry::says_about_this_request(self.status, &self.detail) || !retry::is_refusal(self.status);
        match self.class {
            retry::Class::FatalRequest if is_final => AttemptOutcome::Rejected,
            _ if self.status.is_some() => AttemptOutcome::HttpError,
            _ => AttemptOutcome::TransportError,
        }
    }

    /// Returns what a person can do about it.
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

/// Returns `text` as one line of at most `chars_max` characters, control characters and runs of blanks made one space.
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
