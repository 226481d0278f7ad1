//! Gets the justification of one decided query, by single calls or through batches.

use std::sync::Arc;
use std::time::Duration;

use super::context::Context;
use super::error::RunError;
use super::journal::{Charging, LedgerJournal, unwrapped};
use super::posed::Posed;
use crate::config::Transport;
use crate::http::retry::Backoff;
use crate::judge::{AskError, AskOptions, Conversation, Judge, ask};

/// A decided query that needs a call to its judge.
pub(super) struct PendingJudgement {
    /// The query.
    pub posed: Arc<Posed>,
    /// The state of its conversation.
    pub conversation: Conversation,
    /// The judge.
    pub judge: Arc<dyn Judge>,
}

/// The result of a request for a justification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// The conversation is settled.
    Settled,
    /// The judge's server failed repeatedly during this query's requests: the query must be judged alone, at the end.
    Suspect,
}

/// Calls the judge until the conversation is settled.
///
/// # Errors
/// [`RunError::Stopped`] if the run must stop; [`RunError::Outage`] or [`RunError::Ask`] if it cannot continue.
pub(super) async fn judge(context: &Arc<Context>, pending: &mut PendingJudgement) -> Result<Asked, RunError> {
    let PendingJudgement { posed, conversation, judge } = pending;
    let query = &posed.query;
    let journal = LedgerJournal {
        ledger: context.stores.ledger.clone(),
        charging: context.run.charging(),
        progress: Arc::clone(&context.progress),
        prices: context.run.settings.judge.prices_usd_per_mtok.clone(),
        batches: context.actors.batches.clone(),
    };
    let mut options = AskOptions::new(context.stop.clone());
    options.flights = context.actors.flights.clone();
    options.budget = context.actors.budget.clone();
    options.breaker = context.actors.judge_breaker.clone();
    if context.run.charging() == Charging::Free {
        // A local model needs no pause: it is never overloaded, and its next attempt gives another text.
        options.backoff = Backoff { base: Duration::ZERO, cap: Duration::ZERO };
    }
    let batches = context.actors.batches.as_ref().filter(|_| context.run.settings.judge.transport == Transport::Batch);
    let judged = match batches {
        Some(batches) => batches.ask(judge.as_ref(), &journal, &query.id, conversation, &options).await,
        None => ask(judge.as_ref(), &journal, &query.id, conversation, &options).await,
    };
    match judged.map_err(unwrapped) {
        Ok(_) => Ok(Asked::Settled),
        Err(AskError::Suspect) => Ok(Asked::Suspect),
        Err(AskError::Outage { message }) => Err(RunError::Outage { side: "judge", message }),
        Err(AskError::Cancelled) => Err(RunError::Stopped),
        // A draining engine rejects the requests of a local judge.
        Err(AskError::FatalRun { .. }) if context.stop.is_cancelled() => Err(RunError::Stopped),
        Err(error) => Err(RunError::Ask(error)),
    }
}
