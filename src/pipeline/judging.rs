//! Having one decided query justified, by single calls or through batches.

use std::sync::Arc;
use std::time::Duration;

use super::context::Context;
use super::error::RunError;
use super::journal::{Charging, LedgerJournal, unwrapped};
use crate::config::Transport;
use crate::domain::Query;
use crate::http::retry::Backoff;
use crate::judge::{AskError, AskOptions, Conversation, Judge, ask};

/// A decided query that needs a call to its judge.
pub struct PendingJudgement {
    /// The query.
    pub query: Query,
    /// Where its conversation stands.
    pub conversation: Conversation,
    /// Who is asked.
    pub judge: Arc<dyn Judge>,
}

/// Asks until the conversation is settled.
///
/// # Errors
/// [`RunError::Stopped`] if the run is to stop; [`RunError::Ask`] if it cannot go on.
pub async fn judge(context: &Arc<Context>, pending: &mut PendingJudgement) -> Result<(), RunError> {
    let PendingJudgement { query, conversation, judge } = pending;
    let journal = LedgerJournal {
        ledger: context.ledger.clone(),
        charging: context.charging,
        progress: Arc::clone(&context.progress),
        prices: context.settings.judge.prices_usd_per_mtok.clone(),
        batches: context.batches.clone(),
    };
    let mut options = AskOptions::new(context.stop.clone());
    options.flights = context.flights.clone();
    options.budget = context.budget.clone();
    if context.charging == Charging::Free {
        // The local model is not overloaded, and says something else at the next attempt at once.
        options.backoff = Backoff { base: Duration::ZERO, cap: Duration::ZERO };
    }
    let batches = context.batches.as_ref().filter(|_| context.settings.judge.transport == Transport::Batch);
    let judged = match batches {
        Some(batches) => batches.ask(judge.as_ref(), &journal, &query.id, conversation, &options).await,
        None => ask(judge.as_ref(), &journal, &query.id, conversation, &options).await,
    };
    match judged.map_err(unwrapped) {
        Ok(_) => Ok(()),
        Err(AskError::Cancelled) => Err(RunError::Stopped),
        // A local judge is refused its turn when the engine drains.
        Err(AskError::FatalRun { .. }) if context.stop.is_cancelled() => Err(RunError::Stopped),
        Err(error) => Err(RunError::Ask(error)),
    }
}
