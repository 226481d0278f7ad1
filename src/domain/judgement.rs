//! What a judge call leaves behind.

use super::stable_names;

/// How a judge attempt that brought no reply ended, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttemptOutcome {
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
    /// The server, or what stands before it, failed as a whole; does not count as an attempt.
    ServerDown,
    /// The server fell again when this was asked alone; it is not asked again.
    ServerFell,
    /// The batch that held it ended (expired, cancelled) before it was answered.
    Unanswered,
}

stable_names!(AttemptOutcome {
    HttpError => "http_error",
    TransportError => "transport_error",
    Unreachable => "unreachable",
    Refused => "refused",
    Rejected => "rejected",
    ServerDown => "server_down",
    ServerFell => "server_fell",
    Unanswered => "unanswered",
});
