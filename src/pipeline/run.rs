//! The run itself: a stream of input rows through sampling, verifying and judging, and shards out of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures::Stream;
use futures::stream::{FuturesUnordered, StreamExt, TryStreamExt};
use tokio_util::sync::CancellationToken;

use super::context::{Context, Facts};
use super::error::RunError;
use super::judging::{self, PendingJudgement};
use super::limits::{self, INTAKE_PAGE_ROWS, SHARDS_CLOSING_MAX};
use super::plan::{self, Next};
use super::publish;
use super::rows::{self, Outcome};
use super::sampling::sample_all;
use crate::domain::{ExclusionReason, Kind, Mode, Query, Rollout, Verdict};
use crate::ledger::{Fact, IntakeRow};
use crate::policy::{Policy, RolloutTask};
use crate::shards::{Counts, Table};

/// What a finished run holds.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Rows by table and exclusions by reason.
    pub counts: Counts,
    /// Exclusions that something was wrong with, as opposed to rules that worked as intended.
    pub error_exclusions: u64,
}

/// Runs or resumes to the end.
///
/// # Errors
/// [`RunError`]; what was committed is kept, and the same call goes on from there.
pub async fn run(context: &Arc<Context>) -> Result<Summary, RunError> {
    // Where nothing is sampled, the kernels stay those of the responses that are there.
    let is_stored = context.facts == Facts::Stored;
    let own = if is_stored { "" } else { context.policy.numerics() };
    let others = context.read(move |_, reader| Ok(reader.other_numerics(own)?)).await?;
    let numerics = if is_stored { others.last().map_or("server", String::as_str) } else { own };
    if !others.is_empty() && !is_stored {
        tracing::warn!(
            "rollouts of this directory were sampled with {} kernels, now it is {numerics}: those that are still \
             missing may get other texts than on the machine before",
            others.join(" and ")
        );
    }
    let start = Fact::Start { fingerprint: context.run.fingerprint.clone(), numerics: numerics.to_owned() };
    let mut facts = vec![Fact::Run(context.run.clone()), start];
    if let Some(prompter) = context.policy.prompter() {
        let source = serde_json::to_string(&prompter).map_err(|error| RunError::Internal(error.to_string()))?;
        facts.push(Fact::Prompter { hash: context.policy.identity().prompts.clone(), source });
    }
    context.ledger.commit(facts).await?;
    let published = context.read(publish::published).await?;
    resume_progress(context, &published).await?;
    let open: Vec<u64> = (0..context.shard_count()).filter(|index| published.binary_search(index).is_err()).collect();
    work_through(context, open).await?;
    let counts = publish::finish(context).await?;
    let is_error = |name: &str| name.parse::<ExclusionReason>().map_or(true, ExclusionReason::is_error);
    let errors = counts.exclusions_by_reason.iter().filter(|(name, _)| is_error(name)).map(|(_, count)| count);
    Ok(Summary { error_exclusions: errors.sum(), counts })
}

/// Counts what earlier starts have published.
async fn resume_progress(context: &Arc<Context>, published: &[u64]) -> Result<(), RunError> {
    for &index in published {
        let modes = context
            .read(move |context, _| {
                let name = Table::Samples.file_name(u32::try_from(index).unwrap_or(u32::MAX));
                Ok(context.publisher.read_columns(&name, &["mode"])?)
            })
            .await?;
        let think_on =
            modes.iter().filter(|row| row.first().is_some_and(|mode| mode.as_deref() == Some(Mode::ThinkOn.name())));
        let range = context.shard_range(index);
        context.progress.resume(range.end - range.start, modes.len() as u64, think_on.count() as u64);
    }
    Ok(())
}

/// Settles all rows of the open shards and publishes each shard when its last row is settled.
async fn work_through(context: &Arc<Context>, open: Vec<u64>) -> Result<(), RunError> {
    let rows_of = |&index: &u64| (index, context.shard_range(index).count() as u64);
    let mut unsettled: BTreeMap<u64, u64> = open.iter().map(rows_of).collect();
    let decided = intake_rows(Arc::clone(context), open)
        .map_ok(|row| decide(Arc::clone(context), row))
        .try_buffer_unordered(limits::sampling_queries_max(&context.settings));
    let over = futures::stream::poll_fn(|_| {
        if let Some(batches) = &context.batches {
            batches.input_is_over();
        }
        std::task::Poll::Ready(None::<Result<Stage, RunError>>)
    });
    let settled = decided
        .chain(over)
        .map_ok(|stage| justify(Arc::clone(context), stage))
        .try_buffer_unordered(limits::judging_queries_max(&context.settings));
    let mut settled = std::pin::pin!(settled);
    let deadline = async {
        context.stop.cancelled().await;
        context.policy.drain();
        tokio::time::sleep(limits::drain_deadline(&context.settings)).await;
    };
    let mut deadline = std::pin::pin!(deadline);
    let refused = CancellationToken::new();
    let mut landed = std::pin::pin!(calls_landed(context, &refused));
    let mut failure = None;
    // The first error stops the run; what is under way is finished and committed within the deadline.
    let mut note = |error: RunError| {
        context.stop.cancel();
        if error.is_refused_account() {
            refused.cancel();
        }
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
        // In this order, so that a run is a function of what it meets. `settled` is always looked after: what rests in it may
        // hold the slots that a closing shard waits for.
        let next = tokio::select! {
            biased;
            () = &mut deadline => break,
            () = &mut landed => break,
            Some(closed) = closing.next(), if !closing.is_empty() => {
                if let Err(error) = closed {
                    note(error);
                }
                continue;
            }
            next = settled.next(), if !is_input_over => next,
            () = std::future::ready(()), if is_input_over && closing.is_empty() => break,
        };
        match next {
            None => is_input_over = true,
            Some(Ok(ordinal)) => {
                let index = ordinal / context.run.queries_per_shard;
                let left = unsettled.entry(index).or_default();
                *left = left.saturating_sub(1);
                if *left == 0 {
                    unsettled.remove(&index);
                    complete.push_back(index);
                }
            }
            Some(Err(error)) => note(error),
        }
    }
    let is_closed = closing.is_empty() && complete.is_empty();
    match failure {
        Some(error) => Err(error),
        None if unsettled.is_empty() && is_closed => Ok(()),
        None => Err(RunError::Stopped),
    }
}

/// Waits, once the judge's account is refused, until no judge call is in flight: what is paid for is kept. Responses
/// of this process are not waited for, for they cost nothing to sample again.
async fn calls_landed(context: &Context, refused: &CancellationToken) {
    refused.cancelled().await;
    if !matches!(context.policy, Policy::Candle(_)) {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(limits::REFUSED_GRACE).await;
    while context.progress.judge_calls_in_flight() > 0 {
        tokio::time::sleep(limits::REFUSED_GRACE / 10).await;
    }
}

/// Streams the input rows of the open shards in order, page by page, until the run is to stop.
fn intake_rows(context: Arc<Context>, open: Vec<u64>) -> impl Stream<Item = Result<IntakeRow, RunError>> {
    let stop = context.stop.clone();
    let ranges = open.into_iter().map(|index| context.shard_range(index)).collect::<Vec<_>>();
    let pages = ranges.into_iter().flat_map(|range| {
        let page = usize::try_from(INTAKE_PAGE_ROWS).unwrap_or(usize::MAX);
        let end = range.end;
        range.step_by(page).map(move |start| (start, (start + INTAKE_PAGE_ROWS).min(end)))
    });
    futures::stream::iter(pages)
        .then(move |(start, end)| {
            let context = Arc::clone(&context);
            async move {
                context.read(move |context, reader| Ok(reader.intake(&context.run.input_digest, start, end)?)).await
            }
        })
        .map_ok(|rows| futures::stream::iter(rows.into_iter().map(Ok)))
        .try_flatten()
        .take_until(stop.cancelled_owned())
}

/// Where a row stands after sampling and verifying.
enum Stage {
    /// It has its outcome.
    Settled(u64),
    /// It is decided and needs its justification.
    Judge(Box<PendingJudgement>),
}

/// What one look at the facts leads to.
enum Step {
    Sample(Vec<RolloutTask>),
    Verify(Vec<Rollout>),
    Done(Stage),
}

/// Samples and verifies one query until it is decided.
async fn decide(context: Arc<Context>, row: IntakeRow) -> Result<Stage, RunError> {
    let query = match row {
        IntakeRow::Excluded(exclusion) => {
            let ordinal = exclusion.ordinal;
            context.progress.settled(&Outcome::Excluded(exclusion));
            return Ok(Stage::Settled(ordinal));
        }
        IntakeRow::Query(query) => query,
    };
    loop {
        let looked_at = query.clone();
        let step = context.read(move |context, reader| look(context, reader, looked_at)).await?;
        match step {
            Step::Done(stage) => return Ok(stage),
            Step::Sample(missing) => sample_all(&context, &query.id, missing).await?,
            Step::Verify(rollouts) => verify_all(&context, &query, rollouts).await?,
        }
    }
}

fn look(context: &Context, reader: &crate::ledger::Reader, query: Query) -> Result<Step, RunError> {
    let cells = rows::load_cells(context, reader, &query)?;
    let settle = |outcome: Outcome| {
        context.progress.settled(&outcome);
        Ok(Step::Done(Stage::Settled(query.ordinal)))
    };
    let excluded = |reason, detail| Outcome::Excluded(plan::exclude(&query, reason, detail));
    match plan::next(&query, &cells, &context.settings) {
        Next::Sample(missing) if context.facts == Facts::Stored => {
            settle(excluded(ExclusionReason::NotStored, rows::not_stored(missing.len())))
        }
        Next::Sample(missing) => match rows::unsampleable(context, &cells)? {
            Some(detail) => settle(excluded(ExclusionReason::PromptTooLong, detail)),
            None => Ok(Step::Sample(missing.iter().map(plan::Wanted::task).collect())),
        },
        Next::Verify(rollouts) => Ok(Step::Verify(rollouts.into_iter().cloned().collect())),
        Next::Excluded(reason, detail) => settle(excluded(reason, detail)),
        Next::Justify(chosen) => {
            let Some(judge) = &context.judge else {
                return settle(rows::finish(context, &query, &chosen, &plan::Justified::None));
            };
            if !context.asks_judge() {
                return settle(rows::conclude(context, reader, &query, &cells)?);
            }
            let attempts_max = context.settings.judge.attempts_max;
            let conversation = plan::conversation(judge.as_ref(), &query, &chosen, attempts_max)
                .map_err(|error| RunError::Internal(error.to_string()))?;
            let judge = Arc::clone(judge);
            Ok(Step::Done(Stage::Judge(Box::new(PendingJudgement { query, conversation, judge }))))
        }
    }
}

/// Makes the missing verdicts of a query; each is durable as soon as it is there.
async fn verify_all(context: &Arc<Context>, query: &Query, rollouts: Vec<Rollout>) -> Result<(), RunError> {
    if query.kind == Kind::Code {
        let runs: FuturesUnordered<_> = rollouts
            .into_iter()
            .map(|rollout| async move {
                let verdict = context.programs.verify(plan::code_case(query, &rollout)).await?;
                record_verdicts(context, query, vec![(rollout, verdict)]).await
            })
            .collect();
        let results: Vec<Result<(), RunError>> = runs.collect().await;
        return results.into_iter().collect();
    }
    let (judged_query, evaluated) = (query.clone(), context.settings.verify.evaluated);
    let verify = move || -> Vec<(Rollout, Verdict)> {
        let judge = |rollout: Rollout| {
            let verdict = plan::judge_response(&judged_query, &rollout, evaluated);
            (rollout, verdict)
        };
        rollouts.into_iter().map(judge).collect()
    };
    let verdicts = context.blocking.run(verify).await?;
    record_verdicts(context, query, verdicts).await
}

async fn record_verdicts(context: &Context, query: &Query, verdicts: Vec<(Rollout, Verdict)>) -> Result<(), RunError> {
    let mut facts = Vec::with_capacity(verdicts.len());
    for (rollout, verdict) in verdicts {
        context.progress.verified(rollout.mode, &verdict);
        facts.push(Fact::Verdict {
            key: plan::verdict_key(query, &rollout, context.programs.conditions()),
            rollout_key: rollout.key.clone(),
            verdict,
        });
    }
    Ok(context.ledger.commit(facts).await?)
}

/// Gets the justification of a decided query, from the facts or from the judge; returns the row's ordinal.
async fn justify(context: Arc<Context>, stage: Stage) -> Result<u64, RunError> {
    let mut pending = match stage {
        Stage::Settled(ordinal) => return Ok(ordinal),
        Stage::Judge(pending) => pending,
    };
    judging::judge(&context, &mut pending).await?;
    let query = pending.query;
    let ordinal = query.ordinal;
    let outcome = context
        .read(move |context, reader| Ok(rows::settle(context, reader, IntakeRow::Query(query))?.outcome))
        .await?;
    context.progress.settled(&outcome);
    Ok(ordinal)
}
