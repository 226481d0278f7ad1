//! The remaining work under a configuration, and its expected cost. Both are computed from facts; no work is done.
//!
//! Counts are exact if facts decide them. Whether a query will need a justification is unknown until its responses are
//! stored: such queries are counted separately, as `judge_calls_open`. Expectations use measurements of this directory:
//! mean lengths and speed of stored responses, usage of stored replies.

use super::actors::Actors;
pub use super::change_report::Outlook;
use super::error::RunError;
use super::forecast::{JUSTIFICATION_TOKENS, judge_prompt_tokens};
use super::identity::Run;
use super::limits::INTAKE_PAGE_ROWS;
use super::plan::{self, Next};
use super::posed::Posed;
use super::rows;
use crate::config::{BudgetPolicy, JudgeBackend, Transport};
use crate::domain::{ByMode, Kind, Query};
use crate::judge::cost::{Usage, Way, cost_max_usd};
use crate::judge::reply;
use crate::ledger::{IntakeRow, Reader};

/// Number of stored replies whose mean usage is expected of the next ones.
const REPLIES_MEASURED: u64 = 256;

/// Computes the outlook over every query of a run. Blocks; memory does not grow with the number of queries.
///
/// # Errors
/// [`RunError`] if the ledger cannot be read or a chat template rejects a query.
pub fn look_ahead(run: &Run, actors: &Actors, reader: &Reader) -> Result<Outlook, RunError> {
    let mut outlook = Outlook::default();
    let mut first_query = None;
    for start in (0..run.rows).step_by(usize::try_from(INTAKE_PAGE_ROWS).unwrap_or(usize::MAX)) {
        let end = (start + INTAKE_PAGE_ROWS).min(run.rows);
        for row in reader.intake(&run.record.input_digest, start, end)? {
            let IntakeRow::Query(query) = row else { continue };
            let posed = Posed::new(query);
            outlook.add(run, actors, reader, &posed)?;
            first_query.get_or_insert(posed.query);
        }
    }
    outlook.expect_sampling(reader)?;
    outlook.expect_judging(run, actors, reader, first_query.as_ref())?;
    Ok(outlook)
}

impl Outlook {
    fn add(&mut self, run: &Run, actors: &Actors, reader: &Reader, posed: &Posed) -> Result<(), RunError> {
        self.queries += 1;
        let query = &posed.query;
        let mut cells = rows::load_cells(run, actors, reader, posed)?;
        for cell in cells.on.iter_mut().chain(&mut cells.off) {
            let Some(rollout) = &cell.rollout else { continue };
            self.rollouts_kept += 1;
            if cell.verdict.is_none() {
                self.verdicts += 1;
                // Cheap and pure, and the next step is known afterwards. Programs are not run here.
                if query.kind != Kind::Code {
                    cell.verdict = Some(plan::judge_response(query, rollout, run.settings.verify.evaluated));
                }
            }
        }
        match plan::next(query, &cells, &run.settings) {
            Next::Sample(_) if rows::unsampleable(&actors.policy, &cells)?.is_some() => {}
            Next::Sample(wanted) => {
                let missing = if run.settings.sampling.budget == BudgetPolicy::Full {
                    ByMode::from_fn(|mode| wanted.iter().filter(|wanted| wanted.cell.task.mode == mode).count() as u64)
                } else {
                    ByMode::from_fn(|mode| cells[mode].iter().filter(|cell| cell.rollout.is_none()).count() as u64)
                };
                self.rollouts_on += missing.on;
                self.rollouts_off += missing.off;
                self.judge_calls_open += u64::from(actors.judge.is_some());
            }
            Next::Verify(_) => self.judge_calls_open += u64::from(actors.judge.is_some()),
            Next::Excluded(..) => {}
            Next::Justify(chosen) => {
                if let Some(judge) = &actors.judge {
                    let judged = rows::judged(run, reader, judge.as_ref(), query, &chosen, None)?;
                    self.judge_calls += u64::from(judged.is_err());
                }
            }
        }
        Ok(())
    }

    fn expect_sampling(&mut self, reader: &Reader) -> Result<(), RunError> {
        let totals = reader.totals()?;
        let tokens = |missing: u64, totals: &crate::ledger::ModeTotals| match (missing, totals.rollouts) {
            (0, _) => Some(0.0),
            (_, 0) => None,
            (missing, stored) => Some(missing as f64 * totals.completion_tokens as f64 / stored as f64),
        };
        let both = (tokens(self.rollouts_on, &totals.think_on), tokens(self.rollouts_off, &totals.think_off));
        self.tokens = both.0.zip(both.1).map(|(on, off)| on + off);
        self.sampling_s = match self.tokens {
            Some(0.0) => Some(0.0),
            tokens => tokens.zip(reader.tokens_per_second()?).map(|(tokens, speed)| tokens / speed),
        };
        Ok(())
    }

    fn expect_judging(
        &mut self,
        run: &Run,
        actors: &Actors,
        reader: &Reader,
        first_query: Option<&Query>,
    ) -> Result<(), RunError> {
        let calls = self.judge_calls + self.judge_calls_open;
        if calls == 0 {
            self.judge_usd = Some(0.0);
            return Ok(());
        }
        let (mut measured, mut prompt, mut completion) = (0, 0, 0);
        for body in reader.latest_replies(REPLIES_MEASURED)? {
            if let Some(usage) = reply::usage(&body) {
                (measured, prompt, completion) =
                    (measured + 1, prompt + usage.prompt_tokens, completion + usage.completion_tokens);
            }
        }
        self.judge_tokens_per_call = match (measured, first_query) {
            (0, None) => None,
            (0, Some(query)) => Some((judge_prompt_tokens(actors, query)?, JUSTIFICATION_TOKENS)),
            (measured, _) => Some((prompt / measured, completion / measured)),
        };
        self.judge_usd = match (run.settings.judge.backend, self.judge_tokens_per_call) {
            (JudgeBackend::Openai, Some((prompt, completion))) => {
                let usage = Usage {
                    prompt_tokens: calls * prompt,
                    cache_hit_tokens: None,
                    completion_tokens: calls * completion,
                };
                let judge = &run.settings.judge;
                let way = if judge.transport == Transport::Batch { Way::Batch } else { Way::Call };
                cost_max_usd(&usage, &judge.prices_usd_per_mtok, way)
            }
            (JudgeBackend::Openai, None) => None,
            _ => Some(0.0),
        };
        Ok(())
    }
}
