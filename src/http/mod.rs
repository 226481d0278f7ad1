//! Talking to OpenAI-compatible servers over HTTP, one attempt at a time.
//!
//! [`client::ChatClient`] lets requests through to one of several endpoints and returns the raw reply or a
//! [`CallFailure`]. Each `endpoint` has its own [`aimd`] limit of requests in flight and its own [`pacing`] of requests
//! and tokens per minute, and heeds what the server's [`headers`] ask for; a streamed reply ([`sse`]) is [`joined`].
//! [`batch`] is the client of a
//! provider's batch API. [`retry`] holds the one table that says what a failure means; [`wire`] reads replies leniently; [`transport`] holds
//! what every HTTP client of the program shares. This room never retries, never stores anything and does not know what a
//! reply is for: loops, budgets and the ledger belong to its callers.

pub mod aimd;
pub mod batch;
pub mod client;
mod endpoint;
pub mod headers;
pub mod joined;
pub mod pacing;
pub mod retry;
pub mod sse;
#[cfg(test)]
pub(crate) mod testing;
pub mod transport;
pub mod wire;

use std::time::Duration;

/// Why one attempt brought no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallFailure {
    /// What to do about it.
    pub class: retry::Class,
    /// The HTTP status, where one came.
    pub status: Option<u16>,
    /// How long the server asked to wait, at most [`retry::RETRY_AFTER_MAX`].
    pub retry_after: Option<Duration>,
    /// One line of at most [`DETAIL_CHARS_MAX`] characters; never holds a header, a key or a request body.
    pub detail: String,
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
