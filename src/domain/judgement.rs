//! What a judge call leaves behind.

use super::stable_names;

/// How one judge attempt ended, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttemptOutcome {
    /// A reply came and holds a usable justification.
    Usable,
    /// A reply came, but nothing usable is in it.
    Unusable,
    /// The server answered with an error status that may pass.
    HttpError,
    /// Sent, but no complete answer: reset, torn, timed out.
    TransportError,
    /// No connection was made, so nothing was sent; does not count as an attempt.
    Unreachable,
    /// The account was refused (key, balance, quota); does not count as an attempt, for nothing can have been charged.
    Refused,
    /// The request itself was rejected and never can succeed.
    Rejected,
}

stable_names!(AttemptOutcome {
    Usable => "usable",
    Unusable => "unusable",
    HttpError => "http_error",
    TransportError => "transport_error",
    Unreachable => "unreachable",
    Refused => "refused",
    Rejected => "rejected",
});

/// The raw reply of a judge, stored before anything is read from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgeReply {
    /// Content address of the request: base URL, model and whole body.
    pub request_key: String,
    /// 1-based attempt that brought it.
    pub attempt: u32,
    /// The response body, byte for byte (lossy UTF-8).
    pub body: String,
}
