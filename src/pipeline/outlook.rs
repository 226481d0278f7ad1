//! What is left to do under a configuration, and what that is expected to take: facts looked at, nothing done.
//!
//! Counts are exact where facts decide them. Which queries will need a justification is not known before their
//! responses are there: those are counted apart, as `judge_calls_open`. Expectations rest on what the directory itself
//! has measured: mean lengths and speed of stored responses, usage of stored replies.

use serde::Serialize;

use super::context::Context;
use super::error::RunError;
use super::forecast::{JUSTIFICATION_TOKENS, judge_prompt_tokens};
use super::limits::INTAKE_PAGE_ROWS;
use super::plan::{self, Next};
use super::rows;
use crate::config::{BudgetPolicy, JudgeBackend, Transport};
use crate::domain::{ByMode, Kind, Query};
use crate::judge::cost::{Usage, Way, cost_max_usd};
use crate::judge::reply;
use crate::ledger::{IntakeRow, Reader};

/// Stored replies whose usage is taken for that of the next ones.
const REPLIES_MEASURED: u64 = 256;

/// What is left to do, and what it is expected to take.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Outlook {
    /// Queries of the run; rows that are none are left out.
    pub queries: u64,
    /// Stored responses that apply.
    pub rollouts_kept: u64,
    /// Think-on responses to be sampled; the most that there can be under a curtailed budget.
    pub rollouts_on: u64,
    /// Think-off responses to be sampled; the most that there can be under a curtailed budget.
    pub rollouts_off: u64,
    /// Stored responses to be verified.
    pub verdicts: u64,
    /// Judge requests that apply and are not answered yet: at least one call each.
    pub judge_calls: u64,
    /// Queries that have to be sampled or run first, and then may need a judge call each.
    pub judge_calls_open: u64,
    /// Completion tokens to be sampled, at the mean lengths so far; absent if there are none to go by.
    pub tokens: Option<f64>,
    /// Seconds of sampling at the speed so far; absent if there is none to go by.
    pub sampling_s: Option<f64>,
    /// Prompt and completion tokens of one judge call.
    pub judge_tokens_per_call: Option<(u64, u64)>,
    /// What all judge calls may cost in USD, the open ones included; absent if a price is unknown.
    pub judge_usd: Option<f64>,
}

/// Looks at every query of a run. Blocks; memory does not grow with their number.
///
/// # Errors
/// [`RunError`] if the ledger cannot be read or a chat template refuses a query.
pub fn look_ahead(context: &Context, reader: &Reader) -> Result<Outlook, RunError> {
    let mut outlook = Outlook::default();
    let mut first_query = None;
    for start in (0..context.rows).step_by(usize::try_from(INTAKE_PAGE_ROWS).unwrap_or(usize::MAX)) {
        let end = (start + INTAKE_PAGE_ROWS).min(context.rows);
        for row in reader.intake(&context.run.input_digest, start, end)? {
            let IntakeRow::Query(query) = row else { continue };
            outlook.add(context, reader, &query)?;
            first_query.get_or_insert(query);
        }
    }
    outlook.expect_sampling(reader)?;
    outlook.expect_judging(context, reader, first_query.as_ref())?;
    Ok(outlook)
}

impl Outlook {
    fn add(&mut self, context: &Context, reader: &Reader, query: &Query) -> Result<(), RunError> {
        self.queries += 1;
        let mut cells = rows::load_cells(context, reader, query)?;
        for cell in cells.on.iter_mut().chain(&mut cells.off) {
            let Some(rollout) = &cell.rollout else { continue };
            self.rollouts_kept += 1;
            if cell.verdict.is_none() {
                self.verdicts += 1;
                // Cheap and pure, and what it leads to is known then. Programs are not run here.
                if query.kind != Kind::Code {
                    cell.verdict = Some(plan::judge_response(query, rollout, context.settings.verify.evaluated));
                }
            }
        }
        match plan::next(query, &cells, &context.settings) {
            Next::Sample(_) if rows::unsampleable(context, &cells)?.is_some() => {}
            Next::Sample(wanted) => {
                let missing = if context.settings.sampling.budget == BudgetPolicy::Full {
                    ByMode::from_fn(|mode| wanted.iter().filter(|wanted| wanted.cell.task.mode == mode).count() as u64)
                } else {
                    ByMode::from_fn(|mode| cells[mode].iter().filter(|cell| cell.rollout.is_none()).count() as u64)
                };
                self.rollouts_on += missing.on;
                self.rollouts_off += missing.off;
                self.judge_calls_open += u64::from(context.judge.is_some());
            }
            Next::Verify(_) => self.judge_calls_open += u64::from(context.judge.is_some()),
            Next::Excluded(..) => {}
            Next::Justify(chosen) => {
                if let Some(judge) = &context.judge {
                    let judged = rows::judged(context, reader, judge.as_ref(), query, &chosen, None)?;
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
        context: &Context,
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
            (0, Some(query)) => Some((judge_prompt_tokens(context, query)?, JUSTIFICATION_TOKENS)),
            (measured, _) => Some((prompt / measured, completion / measured)),
        };
        self.judge_usd = match (context.settings.judge.backend, self.judge_tokens_per_call) {
            (JudgeBackend::Openai, Some((prompt, completion))) => {
                let usage = Usage {
                    prompt_tokens: calls * prompt,
                    cache_hit_tokens: None,
                    completion_tokens: calls * completion,
                };
                let judge = &context.settings.judge;
                let way = if judge.transport == Transport::Batch { Way::Batch } else { Way::Call };
                cost_max_usd(&usage, &judge.prices_usd_per_mtok, way)
            }
            (JudgeBackend::Openai, None) => None,
            _ => Some(0.0),
        };
        Ok(())
    }

    /// Returns the outlook as lines for people, each indented by two blanks.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self { rollouts_on, rollouts_off, rollouts_kept, verdicts, judge_calls, judge_calls_open, .. } = self;
        let mut text = String::new();
        let mut line = |name: &str, what: String| text.push_str(&format!("  {name:<9} {what}\n"));
        let missing = rollouts_on + rollouts_off;
        line(
            "sample",
            match missing {
                0 => format!("nothing; {rollouts_kept} stored responses are used again"),
                _ => {
                    let tokens = self
                        .tokens
                        .map_or_else(|| "an unknown number of".to_owned(), |tokens| format!("about {tokens:.0}"));
                    let time = self.sampling_s.map_or_else(String::new, |seconds| format!(", about {seconds:.0} s"));
                    format!(
                        "{missing} responses (think-on {rollouts_on}, think-off {rollouts_off}): {tokens} tokens{time}; \
                         {rollouts_kept} stored ones are used again"
                    )
                }
            },
        );
        line("verify", format!("{verdicts} stored responses"));
        let open = match judge_calls_open {
            0 => String::new(),
            open => format!(", and up to {open} more once their responses are there"),
        };
        let tokens = match self.judge_tokens_per_call {
            Some((prompt, completion)) if judge_calls + judge_calls_open > 0 => {
                format!("; about {prompt} + {completion} tokens each")
            }
            _ => String::new(),
        };
        line("judge", format!("{judge_calls} calls{open}{tokens}"));
        line(
            "money",
            match self.judge_usd {
                None => "unknown: set judge.prices_usd_per_mtok".to_owned(),
                Some(0.0) => "none".to_owned(),
                Some(usd) if *judge_calls_open > 0 => format!("up to about ${usd:.4}"),
                Some(usd) => format!("about ${usd:.4}"),
            },
        );
        text
    }
}
