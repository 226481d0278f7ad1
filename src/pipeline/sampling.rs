//! Samples the missing responses of a query concurrently. Each response is durable as soon as it is complete.

use std::sync::Arc;

use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};

use super::attempts::{Earlier, Look, Obtained, SampleStop, Sampler};
use super::context::Context;
use super::error::RunError;
use super::plan;
use crate::domain::{QueryId, RawReply, RolloutKey};
use crate::ledger::{Fact, Reader, RolloutFailure};
use crate::policy::reply::READER;
use crate::policy::{Policy, RolloutTask};

/// Samples the missing responses of a query, until each is stored or given up.
///
/// # Errors
/// [`SampleStop`] if one ends the run, or the query is suspect; the other responses are finished and stored first.
pub(super) async fn sample_all(
    context: &Arc<Context>,
    query_id: &QueryId,
    missing: Vec<RolloutTask>,
) -> Result<(), SampleStop> {
    let samples: FuturesUnordered<_> = missing.into_iter().map(|missing| sample(context, query_id, missing)).collect();
    // All are awaited even if one fails, so that running ones are finished and stored.
    let results: Vec<Result<(), SampleStop>> = samples.collect().await;
    // An error that ends the run takes precedence over a suspect query.
    let (ends, others): (Vec<_>, Vec<_>) =
        results.into_iter().partition(|result| matches!(result, Err(SampleStop::Run(_))));
    ends.into_iter().chain(others).collect()
}

async fn sample(context: &Arc<Context>, query_id: &QueryId, task: RolloutTask) -> Result<(), SampleStop> {
    let mode = task.mode;
    let sampler = Sampler {
        caller: context.caller(),
        flights: &context.actors.flights,
        ledger: &context.stores.ledger,
        progress: Some(&context.progress),
    };
    let look = async |task: RolloutTask| {
        let look = earlier(context, &task).await?;
        if matches!(look, Look::Missing(_)) {
            context.thinking.check(&context.run, &context.stores, &context.actors.policy).await?;
        }
        Ok(look)
    };
    let ledger = context.stores.ledger.clone();
    let record = move |rollout_key: &RolloutKey, failure: RolloutFailure, body: Option<String>| {
        let (ledger, rollout_key) = (ledger.clone(), rollout_key.clone());
        let commit = async move {
            let (attempt, reply) = (failure.attempt, body.map(|body| RawReply { reader: READER, body }));
            // The reply may be paid for, so it is stored although it gave no response.
            let reply = reply.map(|reply| Fact::RolloutReply { rollout_key: rollout_key.clone(), attempt, reply });
            let facts = reply.into_iter().chain([Fact::RolloutFailure { rollout_key, failure }]);
            Ok(ledger.commit(facts.collect()).await?)
        };
        commit.boxed()
    };
    match sampler.get(query_id, task, look, &record, |rollout| plan::observe(rollout).mode).await? {
        Obtained::Stored(()) | Obtained::GivenUp(_) => return Ok(()),
        Obtained::Response(_) | Obtained::TooLong => {}
    }
    context.progress.sampled();
    let (run, stores, policy) = (&context.run, &context.stores, &context.actors.policy);
    Ok(context.thinking.recorded(run, stores, policy, mode).await?)
}

/// Returns whether a response from a server is stored, and its failed attempts.
async fn earlier(context: &Arc<Context>, task: &RolloutTask) -> Result<Look<()>, RunError> {
    if matches!(context.actors.policy, Policy::Candle(_)) {
        return Ok(Look::Missing(Earlier::default()));
    }
    let task = task.clone();
    let look = move |reader: &Reader| {
        let failures = reader.rollout_failures(&task.key)?;
        let counted = u32::try_from(failures.len()).unwrap_or(u32::MAX);
        let latest = reader.latest_rollout_failure(&task.key)?;
        let earlier = Earlier { counted, latest, refused: plan::refusals(&failures) };
        Ok(if reader.rollout_at(task.addresses())?.is_some() { Look::Stored(()) } else { Look::Missing(earlier) })
    };
    context.stores.read(look).await
}
