//! The steps of one query in each stage: sample, verify, decide, justify, settle.

use std::sync::Arc;

use futures::stream::{FuturesUnordered, StreamExt};

use super::attempts::SampleStop;
use super::context::Context;
use super::error::RunError;
use super::judging::{self, Asked, PendingJudgement};
use super::justified::Justified;
use super::options::Facts;
use super::outcome::Outcome;
use super::plan::{self, Next};
use super::posed::Posed;
use super::rows;
use super::sampling::sample_all;
use super::watchdog::Place;
use crate::domain::{ExclusionReason, Kind, Query, Rollout, Verdict};
use crate::ledger::{Fact, IntakeRow, Reader};
use crate::policy::RolloutTask;

/// The state of a row after a stage.
pub(super) enum Stage {
    /// The row is settled; its ordinal.
    Settled(u64),
    /// The query is decided and needs its justification.
    Judge(Box<PendingJudgement>),
    /// A server failed repeatedly during this query's requests: the query must be processed alone, at the end.
    Suspect(Box<Query>),
}

/// The next step by the facts.
enum Step {
    Sample(Vec<RolloutTask>),
    Verify(Vec<Rollout>),
    Done(Stage),
}

/// Samples and verifies one query until it is decided.
pub(super) async fn decide(context: Arc<Context>, row: IntakeRow) -> Result<Stage, RunError> {
    let posed = match row {
        IntakeRow::Excluded(exclusion) => {
            let ordinal = exclusion.ordinal;
            context.progress.settled(&Outcome::Excluded(exclusion));
            return Ok(Stage::Settled(ordinal));
        }
        IntakeRow::Query(query) => Arc::new(Posed::new(query)),
    };
    let query = &posed.query;
    loop {
        let looked_at = Arc::clone(&posed);
        let step = context.until_stop(context.read(move |context, reader| look(context, reader, looked_at))).await?;
        match step {
            Step::Done(stage) => return Ok(stage),
            Step::Sample(missing) => match sample_all(&context, &query.id, missing).await {
                Ok(()) => {}
                Err(SampleStop::Suspect) => return Ok(Stage::Suspect(Box::new(query.clone()))),
                Err(SampleStop::Run(error)) => return Err(error),
            },
            Step::Verify(rollouts) => verify_all(&context, &posed, rollouts).await?,
        }
    }
}

fn look(context: &Context, reader: &Reader, posed: Arc<Posed>) -> Result<Step, RunError> {
    let (run, actors, query) = (&context.run, &context.actors, &posed.query);
    let cells = rows::load_cells(run, actors, reader, &posed)?;
    let settle = |outcome: Outcome| {
        context.progress.settled(&outcome);
        Ok(Step::Done(Stage::Settled(query.ordinal)))
    };
    let excluded = |reason, detail| Outcome::Excluded(plan::exclude(query, reason, detail));
    match plan::next(query, &cells, &run.settings) {
        Next::Sample(missing) if run.facts == Facts::Stored => {
            settle(excluded(ExclusionReason::NotStored, rows::not_stored(missing.len())))
        }
        Next::Sample(missing) => match rows::unsampleable(&actors.policy, &cells)? {
            Some(detail) => settle(excluded(ExclusionReason::PromptTooLong, detail)),
            None => Ok(Step::Sample(missing.iter().map(plan::Wanted::task).collect())),
        },
        Next::Verify(rollouts) => Ok(Step::Verify(rollouts.into_iter().cloned().collect())),
        Next::Excluded(reason, detail) => settle(excluded(reason, detail)),
        Next::Justify(chosen) => {
            let Some(judge) = &actors.judge else {
                return settle(rows::finish(run, &actors.policy, query, &chosen, &Justified::None));
            };
            if !run.asks_judge() {
                return settle(rows::conclude(run, actors, reader, &posed, &cells)?);
            }
            let attempts_max = run.settings.judge.attempts_max;
            let conversation = plan::conversation(judge.as_ref(), query, &chosen, attempts_max)
                .map_err(|error| RunError::Internal(error.to_string()))?;
            let judge = Arc::clone(judge);
            Ok(Step::Done(Stage::Judge(Box::new(PendingJudgement { posed, conversation, judge }))))
        }
    }
}

/// Makes the missing verdicts of a query. Each is durable as soon as it is made.
async fn verify_all(context: &Arc<Context>, posed: &Arc<Posed>, rollouts: Vec<Rollout>) -> Result<(), RunError> {
    let query = &posed.query;
    if query.kind == Kind::Code {
        let runs: FuturesUnordered<_> = rollouts
            .into_iter()
            .map(|rollout| async move {
                let case = plan::code_case(query, &rollout);
                let verdict = context.until_stop(context.actors.programs.verify(case));
                let verdict = context.progress.at(Place::Verdict, verdict).await?;
                record_verdicts(context, query, vec![(rollout, verdict)]).await
            })
            .collect();
        let results: Vec<Result<(), RunError>> = runs.collect().await;
        return results.into_iter().collect();
    }
    let (judged, evaluated) = (Arc::clone(posed), context.run.settings.verify.evaluated);
    let verify = move || -> Vec<(Rollout, Verdict)> {
        let judge = |rollout: Rollout| {
            let verdict = plan::judge_response(&judged.query, &rollout, evaluated);
            (rollout, verdict)
        };
        rollouts.into_iter().map(judge).collect()
    };
    let verdicts = context.progress.at(Place::Verdict, context.until_stop(context.actors.blocking.run(verify))).await?;
    record_verdicts(context, query, verdicts).await
}

async fn record_verdicts(context: &Context, query: &Query, verdicts: Vec<(Rollout, Verdict)>) -> Result<(), RunError> {
    let mut facts = Vec::with_capacity(verdicts.len());
    for (rollout, verdict) in verdicts {
        let rule = context.run.settings.select.other_mode;
        context.progress.verified(rollout.mode, plan::counts_as_correct(&rollout, &verdict, rule));
        facts.push(Fact::Verdict {
            key: plan::verdict_key(query, &rollout, context.actors.programs.conditions()),
            rollout_key: rollout.key.clone(),
            verdict,
        });
    }
    Ok(context.stores.ledger.commit(facts).await?)
}

/// Gets the justification of a decided query from the judge.
pub(super) async fn justify(context: Arc<Context>, mut pending: PendingJudgement) -> Result<Stage, RunError> {
    match context.progress.at(Place::Judge, judging::judge(&context, &mut pending)).await? {
        Asked::Settled => {}
        Asked::Suspect => return Ok(Stage::Suspect(Box::new(pending.posed.query.clone()))),
    }
    let posed = pending.posed;
    let ordinal = posed.query.ordinal;
    let settle = context.read(move |context, reader| rows::settle(&context.run, &context.actors, reader, &posed));
    let outcome = context.until_stop(settle).await?;
    context.progress.settled(&outcome);
    Ok(Stage::Settled(ordinal))
}

/// Gets the justification of a query that was decided before and waited for its turn.
pub(super) async fn judge_again(context: Arc<Context>, query: Query) -> Result<Stage, RunError> {
    match decide(Arc::clone(&context), IntakeRow::Query(query)).await? {
        Stage::Judge(pending) => justify(context, *pending).await,
        stage => Ok(stage),
    }
}

/// Settles a suspect query, while no other request is in progress.
pub(super) async fn settle_alone(context: Arc<Context>, query: Query) -> Result<Stage, RunError> {
    let _alone: Vec<_> = context.actors.breakers().map(|breaker| breaker.alone(&query.id.0)).collect();
    judge_again(Arc::clone(&context), query).await
}
