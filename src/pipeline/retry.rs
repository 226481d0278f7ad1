//! Repeats everything that failed (`run --retry-failed`).
//!
//! Facts are not changed: a failure stays stored. A round adds facts that list the attempts which no longer count, so
//! that the excluded queries have work left. Those facts are part of what decides the data: the run's identity has the
//! number of rounds, and all shards are published again.

use std::sync::Arc;

use super::actors::Actors;
use super::context::Context;
use super::error::RunError;
use super::identity::Run;
use super::limits::INTAKE_PAGE_ROWS;
use super::plan::{self, Next};
use super::posed::Posed;
use super::{journal, rows};
use crate::domain::{ExclusionReason, Query};
use crate::judge::{Judged, Step};
use crate::ledger::{Fact, IntakeRow, Reader};

/// The excluded queries that are tried again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retried {
    /// Queries whose policy calls failed or were refused.
    pub of_policy: u64,
    /// Queries whose judge calls failed or were refused.
    pub of_judge: u64,
}

/// Key of a response or of a judge request, and the latest attempt that no longer counts.
type Forgiven = (String, u32);

/// Marks the attempts that excluded queries as no longer counting. The caller owns the only handle to the context.
pub async fn retry_failed(context: &mut Arc<Context>) -> Result<Retried, RunError> {
    let mut retried = Retried::default();
    let round = context.read(|_, reader| Ok(reader.retry_rounds()?)).await? + 1;
    let mut start = 0;
    while start < context.run.rows {
        let end = (start + INTAKE_PAGE_ROWS).min(context.run.rows);
        let page = context.read(move |context, reader| failed_in(&context.run, &context.actors, reader, start, end));
        let page = context.until_stop(page).await?;
        retried.of_policy += page.retried.of_policy;
        retried.of_judge += page.retried.of_judge;
        let facts = page.forgiven.into_iter().map(|(key, attempt)| Fact::Forgiven { round, key, attempt });
        let facts: Vec<Fact> = facts.collect();
        if !facts.is_empty() {
            context.stores.ledger.commit(facts).await?;
        }
        start = end;
    }
    if retried != Retried::default() {
        let context = Arc::get_mut(context)
            .ok_or_else(|| RunError::Internal("cannot retry failures in a run that has begun".to_owned()))?;
        context.run.identity = context.run.identity.clone().with_retries(round);
        context.run.record.fingerprint = context.run.identity.fingerprint();
        context.run.record.identity = context.run.identity.to_json();
    }
    Ok(retried)
}

#[derive(Default)]
struct Page {
    retried: Retried,
    forgiven: Vec<Forgiven>,
}

fn failed_in(run: &Run, actors: &Actors, reader: &Reader, start: u64, end: u64) -> Result<Page, RunError> {
    let mut page = Page::default();
    for row in reader.intake(&run.record.input_digest, start, end)? {
        let IntakeRow::Query(query) = row else { continue };
        let posed = Posed::new(query);
        let query = &posed.query;
        let cells = rows::load_cells(run, actors, reader, &posed)?;
        match plan::next(query, &cells, &run.settings) {
            Next::Excluded(
                ExclusionReason::PolicyFailed | ExclusionReason::PromptTooLong | ExclusionReason::ServerFailedOnIt,
                _,
            ) => {
                page.retried.of_policy += 1;
                let lacking = cells.on.iter().chain(&cells.off).filter(|cell| cell.rollout.is_none());
                for cell in lacking {
                    let latest = cell.failures.last().map(|failure| (cell.task.key.0.clone(), failure.attempt));
                    page.forgiven.extend(latest);
                }
            }
            Next::Justify(chosen) => {
                let forgiven = failed_requests(run, actors, reader, query, &chosen)?;
                page.retried.of_judge += u64::from(!forgiven.is_empty());
                page.forgiven.extend(forgiven);
            }
            Next::Excluded(..) | Next::Sample(_) | Next::Verify(_) => {}
        }
    }
    Ok(page)
}

/// Returns the failed requests of a conversation, with their latest attempts; none if the conversation succeeded.
fn failed_requests(
    run: &Run,
    actors: &Actors,
    reader: &Reader,
    query: &Query,
    chosen: &plan::Chosen<'_>,
) -> Result<Vec<Forgiven>, RunError> {
    let Some(judge) = &actors.judge else { return Ok(Vec::new()) };
    let mut conversation = plan::conversation(judge.as_ref(), query, chosen, run.settings.judge.attempts_max)
        .map_err(|error| RunError::Internal(error.to_string()))?;
    let mut requests = Vec::new();
    loop {
        let key = conversation.request().key.clone();
        let history = journal::history(reader, &key, run.charging())?;
        requests.extend(history.last().map(|past| (key, past.attempt)));
        match conversation.advance(judge.as_ref(), &history) {
            Step::Next => {}
            Step::Settled(Judged::GaveUp { .. } | Judged::ServerFell { .. }) => return Ok(requests),
            Step::Settled(Judged::Accepted(_) | Judged::Rejected { .. }) | Step::Call(_) => return Ok(Vec::new()),
        }
    }
}
