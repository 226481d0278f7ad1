//! Why the judge returned no justification.

use crate::http::breaker::Denied;

/// Why `ask` returned no justification.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No request of this run can succeed.
    #[error("judge request failed: {message}")]
    FatalRun {
        /// The HTTP status of the server's response, if there was one.
        status: Option<u16>,
        /// The server's error text.
        message: String,
        /// Advice to the user.
        hint: String,
    },
    /// No connection to the server can be made; the run can be resumed later.
    #[error("judge not reachable at {url}")]
    Unreachable {
        /// The judge's identity.
        url: String,
        /// Advice to the user.
        hint: String,
    },
    /// The server returned no reply for longer than the run waits; the run can be resumed later.
    #[error("judge request failed: {message}")]
    Outage {
        /// Since when, and the server's last error text.
        message: String,
    },
    /// The server fell repeatedly while this query was asked: the query is asked alone, after all others.
    #[error("judge request failed: the server fell repeatedly during this query")]
    Suspect,
    /// Another call could cost more than the rest of the budget.
    #[error(
        "judge budget reached: ${spent_usd:.4} of ${limit_usd} are spent, and another call might cost more than is \
         left{overrun}"
    )]
    Budget {
        /// The cost of the stored replies, in USD.
        spent_usd: f64,
        /// The budget, in USD.
        limit_usd: f64,
        /// By how much the provider exceeded the limits of calls, after a semicolon; empty if it did not.
        overrun: String,
    },
    /// A batch ended, and its results cannot be read yet.
    #[error("cannot read the results of batch {batch}: {problem}")]
    ResultsMissing {
        /// The provider's id of the batch.
        batch: String,
        /// The missing part.
        problem: String,
    },
    /// The journal failed.
    #[error("cannot record a judge attempt in the ledger")]
    Journal(#[source] anyhow::Error),
    /// The caller cancelled; no request is in flight.
    #[error("judge request cancelled")]
    Cancelled,
}

impl From<Denied> for AskError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Outage { message, .. } => Self::Outage { message },
            Denied::Refused { status, message, hint } => Self::FatalRun { status, message, hint },
            Denied::Suspect | Denied::Fells(_) => Self::Suspect,
        }
    }
}
