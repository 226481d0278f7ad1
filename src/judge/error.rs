//! Why a judge brought no justification.

use crate::http::breaker::Denied;

/// Why `ask` brought no justification.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No request of this run can succeed.
    #[error("ask the judge: {message}")]
    FatalRun {
        /// The status that the server answered with, if one did.
        status: Option<u16>,
        /// What the server says.
        message: String,
        /// What a person can do.
        hint: String,
    },
    /// The server cannot be connected to; the run can be resumed later.
    #[error("reach the judge at {url}")]
    Unreachable {
        /// The judge's identity.
        url: String,
        /// What a person can do.
        hint: String,
    },
    /// The server brought nothing for longer than the run waits; the run can be resumed later.
    #[error("ask the judge: {message}")]
    Outage {
        /// Since when, and what it said last.
        message: String,
    },
    /// The server fell again and again while this query was asked: it is to be asked alone, last.
    #[error("ask the judge: its server falls again and again")]
    Suspect,
    /// Another call could cost more than is left of the budget.
    #[error(
        "stay within the budget: ${spent_usd:.4} of ${limit_usd} are spent, and another call might cost more than is \
         left{overrun}"
    )]
    Budget {
        /// What stored replies cost, in USD.
        spent_usd: f64,
        /// What may be spent, in USD.
        limit_usd: f64,
        /// How the provider used more than calls were allowed, behind a semicolon; empty if it did not.
        overrun: String,
    },
    /// A batch is over, and what it brought cannot be read yet.
    #[error("read the results of batch {batch}: {problem}")]
    ResultsMissing {
        /// The provider's id of it.
        batch: String,
        /// What is missing.
        problem: String,
    },
    /// The journal failed.
    #[error("record a judge attempt")]
    Journal(#[source] anyhow::Error),
    /// The caller asked to stop; nothing is in flight.
    #[error("finish asking the judge: stopped")]
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
