//! Sampling what a query lacks: side by side, each response durable as soon as it is there.
//!
//! A response from this process comes or the run ends. Over HTTP an attempt may fail: by the retry table it ends the
//! run, or is recorded and made again, at most `policy.attempts_max` times over all restarts; what the server refuses is
//! not asked for again. Whether a response is given up is [`plan`]'s to say.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};

use super::context::Context;
use super::error::RunError;
use super::plan;
use crate::domain::{AttemptOutcome, QueryId};
use crate::http::CallFailure;
use crate::http::retry::{Backoff, Class, hint};
use crate::ledger::{Fact, RolloutFailure};
use crate::policy::{Policy, RolloutTask, SampleError};

/// How often one response is tried to be sent to servers that cannot be connected to.
const UNREACHABLE_TRIES_MAX: u32 = 5;

/// Samples the missing rollouts of a query, until each is there or given up.
///
/// # Errors
/// [`RunError`] if one ends the run; the others are finished and kept first.
pub async fn sample_all(context: &Arc<Context>, query_id: &QueryId, missing: Vec<RolloutTask>) -> Result<(), RunError> {
    let samples: FuturesUnordered<_> = missing.into_iter().map(|missing| sample(context, query_id, missing)).collect();
    // All are awaited even if one fails: what runs is finished and kept.
    let results: Vec<Result<(), RunError>> = samples.collect().await;
    results.into_iter().collect()
}

async fn sample(context: &Arc<Context>, query_id: &QueryId, task: RolloutTask) -> Result<(), RunError> {
    // Two queries may ask the same. This process gives both the same text; a server may not, and facts do not change.
    let _flight = context.flights.begin(&task.key.0).await;
    let (is_there, mut attempts) = earlier(context, &task).await?;
    if is_there {
        return Ok(());
    }
    let mut unreachable = 0;
    loop {
        let failure = match context.policy.sample(&task).await {
            Ok(rollout) => {
                let observed_mode = plan::observe(&rollout).mode;
                let fact = Fact::Rollout { query_id: query_id.clone(), rollout, observed_mode };
                return context.ledger.commit(vec![fact]).await.map_err(RunError::from);
            }
            Err(SampleError::TooLong) => {
                let longer_than = task.useful_tokens_max.unwrap_or(0);
                let fact = Fact::RolloutCut { rollout_key: task.key.clone(), longer_than };
                return context.ledger.commit(vec![fact]).await.map_err(RunError::from);
            }
            Err(SampleError::Draining) => return Err(RunError::Stopped),
            Err(SampleError::Policy(error)) => return Err(error.into()),
            Err(SampleError::Call(failure)) => failure,
        };
        let delay = match failure.class {
            Class::FatalRun => {
                let (status, hint) = (failure.status, hint(failure.status).to_owned());
                return Err(RunError::PolicyServer { status, message: failure.detail, hint });
            }
            Class::Unreachable => {
                unreachable += 1;
                if unreachable == UNREACHABLE_TRIES_MAX {
                    let message = format!("no server can be reached ({})", failure.detail);
                    return Err(RunError::PolicyServer { status: None, message, hint: hint(None).to_owned() });
                }
                // From half a second, doubling: as long as a judge is waited for.
                Duration::from_millis(250) * 2_u32.pow(unreachable)
            }
            Class::FatalRequest | Class::Transient | Class::Length => {
                attempts += 1;
                record(context, &task, attempts, &failure).await?;
                if failure.class == Class::FatalRequest || attempts >= context.settings.policy.attempts_max {
                    return Ok(());
                }
                failure.retry_after.unwrap_or_else(|| Backoff::default().delay(attempts, &task.key.0))
            }
        };
        tokio::select! {
            biased;
            () = context.stop.cancelled() => return Err(RunError::Stopped),
            () = tokio::time::sleep(delay) => {}
        }
    }
}

/// Returns whether a response from a server is there already, and how many attempts at it failed.
async fn earlier(context: &Arc<Context>, task: &RolloutTask) -> Result<(bool, u32), RunError> {
    if matches!(context.policy, Policy::Candle(_)) {
        return Ok((false, 0));
    }
    let key = task.key.clone();
    context
        .read(move |_, reader| {
            let attempts = reader.rollout_failures(&key)?.last().map_or(0, |failure| failure.attempt);
            Ok((reader.rollout(&key)?.is_some(), attempts))
        })
        .await
}

async fn record(
    context: &Arc<Context>,
    task: &RolloutTask,
    attempt: u32,
    failure: &CallFailure,
) -> Result<(), RunError> {
    let CallFailure { class, status, detail, .. } = failure;
    let outcome = match (class, status) {
        (Class::FatalRequest, _) => AttemptOutcome::Rejected,
        (_, Some(_)) => AttemptOutcome::HttpError,
        (_, None) => AttemptOutcome::TransportError,
    };
    tracing::debug!(attempt, %outcome, %detail, "a response did not come");
    let failure = RolloutFailure { attempt, outcome, status: *status, detail: detail.clone() };
    let fact = Fact::RolloutFailure { rollout_key: task.key.clone(), failure };
    Ok(context.ledger.commit(vec![fact]).await?)
}
