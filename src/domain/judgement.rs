//! How attempts of the judge end.

use super::stable_names;

/// How a judge attempt without a reply ended, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttemptOutcome {
    /// The server answered with a transient error status.
    HttpError,
    /// The request was sent, but no complete answer arrived: the connection was reset, torn or timed out.
    TransportError,
    /// No connection was made, so nothing was sent; does not count as an attempt.
    Unreachable,
    /// The server refused the account (key, balance, quota). Does not count as an attempt, because nothing can have
    /// been charged.
    Refused,
    /// The server rejected the request itself, which can never succeed.
    Rejected,
    /// The server, or a proxy in front of it, failed as a whole. Does not count as an attempt.
    ServerDown,
    /// The server crashed again when it processed this request alone. The request is never sent again.
    ServerFell,
    /// The batch of the request ended (expired, cancelled) before the server answered the request.
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
