//! A wiring with a known deadlock, for the simulation to find: the stream of justifications polls the stream of
//! decisions.
//!
//! While the outer buffer is full, the inner one is not polled. Futures in the inner buffer may own permits (of ledger
//! reads, of places in the ledger's queues, of a server's slots) that they do not use, while futures in the outer
//! buffer wait for those permits for ever. The real wiring ([`super::stages`]) avoids this: its queries are tasks,
//! joined by bounded channels, and are polled whatever the next stage does.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures::stream::{FuturesUnordered, StreamExt, TryStreamExt};

use super::context::Context;
use super::error::RunError;
use super::limits::{self, SHARDS_CLOSING_MAX};
use super::publish;
use super::stages::intake_rows;
use super::steps::{Stage, decide, justify};

/// Settles all rows of the open shards and publishes each shard when its last row is settled, unless it deadlocks.
///
/// # Errors
/// The first [`RunError`] of a query or a shard.
pub(super) async fn work_through(context: &Arc<Context>, open: Vec<u64>) -> Result<(), RunError> {
    let rows_of = |&index: &u64| (index, context.run.shard_range(index).count() as u64);
    let mut unsettled: BTreeMap<u64, u64> = open.iter().map(rows_of).collect();
    let settled = intake_rows(Arc::clone(context), open)
        .map_ok(|row| decide(Arc::clone(context), row))
        .try_buffer_unordered(limits::sampling_queries_max(&context.run.settings))
        .map_ok(|stage| ordinal(Arc::clone(context), stage))
        .try_buffer_unordered(limits::judging_queries_max(&context.run.settings));
    let mut settled = std::pin::pin!(settled);
    let deadline = async {
        context.stop.cancelled().await;
        context.actors.policy.drain();
        tokio::time::sleep(limits::drain_deadline(&context.run.settings)).await;
    };
    let mut deadline = std::pin::pin!(deadline);
    let mut failure = None;
    let mut note = |error: RunError| {
        context.stop.cancel();
        if failure.is_none() || matches!(failure, Some(RunError::Stopped)) {
            failure = Some(error);
        }
    };
    let (mut closing, mut complete, mut is_input_over) = (FuturesUnordered::new(), VecDeque::new(), false);
    loop {
        while closing.len() < SHARDS_CLOSING_MAX
            && let Some(index) = complete.pop_front()
        {
            closing.push(publish::publish(Arc::clone(context), index));
        }
        tokio::select! {
            biased;
            () = &mut deadline => break,
            Some(closed) = closing.next(), if !closing.is_empty() => {
                if let Err(error) = closed {
                    note(error);
                }
            }
            next = settled.next(), if !is_input_over => match next {
                None => is_input_over = true,
                Some(Err(error)) => note(error),
                Some(Ok(ordinal)) => {
                    let index = ordinal / context.run.record.queries_per_shard;
                    let left = unsettled.entry(index).or_default();
                    *left = left.saturating_sub(1);
                    if *left == 0 {
                        unsettled.remove(&index);
                        complete.push_back(index);
                    }
                }
            },
            () = std::future::ready(()), if is_input_over && closing.is_empty() => break,
        }
    }
    let is_closed = closing.is_empty() && complete.is_empty();
    match failure {
        Some(error) => Err(error),
        None if unsettled.is_empty() && is_closed => Ok(()),
        None => Err(RunError::Stopped),
    }
}

/// Gets a query's justification, if it needs one, and returns its ordinal.
async fn ordinal(context: Arc<Context>, stage: Stage) -> Result<u64, RunError> {
    let settled = match stage {
        Stage::Judge(pending) => justify(context, *pending).await?,
        stage => stage,
    };
    match settled {
        Stage::Settled(ordinal) => Ok(ordinal),
        Stage::Judge(_) | Stage::Suspect(_) => Err(RunError::Internal("this wiring has no suspects".to_owned())),
    }
}
