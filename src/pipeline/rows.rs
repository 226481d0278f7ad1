//! Builds the published rows from facts.

use std::sync::Arc;

use super::actors::Actors;
use super::error::RunError;
use super::identity::Run;
use super::journal;
use super::judging::PendingJudgement;
use super::justified::{self, Justified};
use super::options::Facts;
use super::outcome::{Outcome, Sample};
use super::plan::{self, Cell, Chosen, Next};
use super::posed::Posed;
use super::replies::{align_lengths, stored_rollout};
use super::sensitivity::Sensitivity;
use crate::category::category;
use crate::config::PolicyBackend;
use crate::domain::{ByMode, Exclusion, ExclusionReason, Mode, Query};
use crate::judge::check::Neighbours;
use crate::judge::{Conversation, Judge, Judged, Step};
use crate::ledger::{IntakeRow, Reader};
use crate::policy::{Policy, PolicyError};
use crate::shards::{ExclusionRow, MessageRow, RolloutRow, SampleRow};

/// A settled input row: its outcome and all its responses.
#[derive(Debug, Clone)]
pub struct SettledRow {
    /// Its outcome.
    pub outcome: Outcome,
    /// Its responses.
    pub rollouts: Vec<RolloutRow>,
}

/// Reads the facts about a query's rollouts.
///
/// # Errors
/// [`RunError`] if the ledger cannot be read or the chat template refuses the query.
pub(super) fn load_cells(
    run: &Run,
    actors: &Actors,
    reader: &Reader,
    posed: &Posed,
) -> Result<ByMode<Vec<Cell>>, RunError> {
    let Posed { query, .. } = posed;
    let tasks = posed.tasks(&actors.policy)?;
    let mut cells = ByMode { on: Vec::new(), off: Vec::new() };
    let _snapshot = reader.snapshot()?;
    for (mode, tasks) in [(Mode::ThinkOn, tasks.on), (Mode::ThinkOff, tasks.off)] {
        for task in tasks {
            let mut rollout = stored_rollout(reader, &task)?;
            let failures = match (&rollout, run.settings.policy.backend) {
                (Some(_), PolicyBackend::Candle) => Vec::new(),
                (Some(rollout), PolicyBackend::Openai) => reader.rollout_failures(&rollout.key)?,
                (None, _) => reader.rollout_failures(&task.key)?,
            };
            // Sampled when `attempts_max` was higher; the current limit would have stopped earlier, so the response is
            // ignored.
            if failures.len() >= run.settings.policy.attempts_max as usize {
                rollout = None;
            }
            let verdict = match &rollout {
                Some(rollout) => reader.verdict(&plan::verdict_key(query, rollout, actors.programs.conditions()))?,
                None => None,
            };
            let longer_than = if rollout.is_none() { reader.rollout_longer_than(&task.key)? } else { None };
            cells[mode].push(Cell { task, rollout, verdict, failures, longer_than });
        }
    }
    align_lengths(&mut cells, run.settings.sampling.budget);
    Ok(cells)
}

/// Returns the reason if a query's rollouts cannot be sampled at all.
///
/// # Errors
/// [`RunError::Policy`] if the KV memory is too small, which is not the query's fault.
pub(super) fn unsampleable(policy: &Policy, cells: &ByMode<Vec<Cell>>) -> Result<Option<String>, RunError> {
    for cell in cells.on.first().into_iter().chain(cells.off.first()) {
        match policy.check_fit(&cell.task) {
            Ok(()) => {}
            Err(error) if error.is_too_long() => return Ok(Some(error.to_string())),
            Err(error) => return Err(PolicyError::from(error).into()),
        }
    }
    Ok(None)
}

/// Settles a query from facts alone, without a comparison with its neighbours' justifications.
///
/// # Errors
/// [`RunError::Internal`] if facts are missing: the caller settles rows only after their work is done.
pub(super) fn settle(run: &Run, actors: &Actors, reader: &Reader, posed: &Arc<Posed>) -> Result<Outcome, RunError> {
    let cells = load_cells(run, actors, reader, posed)?;
    conclude(run, actors, reader, posed, &cells)
}

/// The state of an input row among its neighbours.
pub(super) enum Settling {
    /// The row is settled.
    Done(SettledRow),
    /// The justification nearly repeats a neighbour's, and the judge may be called again.
    Pending(Box<PendingJudgement>),
}

/// Settles an input row from facts alone. Its justification must not nearly repeat its neighbours'. Adds the outcome
/// under other settings to `sensitivity`.
///
/// # Errors
/// As [`settle`], except for a missing justification.
pub(super) fn settle_among(
    run: &Run,
    actors: &Actors,
    reader: &Reader,
    row: IntakeRow,
    neighbours: Option<&Arc<Neighbours>>,
    sensitivity: Option<&mut Sensitivity>,
) -> Result<Settling, RunError> {
    let posed = match row {
        IntakeRow::Excluded(exclusion) => {
            return Ok(Settling::Done(SettledRow { outcome: Outcome::Excluded(exclusion), rollouts: Vec::new() }));
        }
        IntakeRow::Query(query) => Arc::new(Posed::new(query)),
    };
    let query = &posed.query;
    let cells = load_cells(run, actors, reader, &posed)?;
    let outcome = match conclude_among(run, actors, reader, &posed, &cells, neighbours)? {
        Concluded::Done(outcome) => outcome,
        Concluded::Pending(pending) => return Ok(Settling::Pending(pending)),
        Concluded::Lacks(what) => return Err(missing(query, what.name())),
    };
    if let Some(sensitivity) = sensitivity {
        sensitivity.add(query, &cells, &run.settings);
    }
    let cells = plan::drawn(query, cells, &run.settings);
    Ok(Settling::Done(SettledRow { outcome, rollouts: rollout_rows(&actors.policy, query, &cells) }))
}

/// The facts that a query lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// Responses.
    Responses,
    /// Verdicts on stored responses.
    Verdicts,
    /// An accepted justification.
    Justification,
}

impl Lack {
    /// Returns the missing facts, in words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Responses => "complete set of rollouts",
            Self::Verdicts => "complete set of verdicts",
            Self::Justification => "justification",
        }
    }
}

/// The state of an input row by the present facts.
#[derive(Debug, Clone)]
pub enum Standing {
    /// The row is settled.
    Settled {
        /// Its outcome, with its responses if they are wanted.
        row: SettledRow,
        /// The number of responses that count.
        responses: u64,
    },
    /// Work is left.
    Open {
        /// The query.
        query: Box<Query>,
        /// The facts that it lacks next.
        lack: Lack,
        /// The responses with a verdict.
        rollouts: Vec<RolloutRow>,
    },
}

/// Whether responses are wanted beside outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Responses {
    /// With responses.
    Wanted,
    /// Without responses, which takes less time.
    LeftOut,
}

/// Returns the state of an input row, whatever it lacks. Its justification must not nearly repeat its neighbours'.
///
/// # Errors
/// [`RunError`] if the ledger cannot be read or the chat template rejects the query.
pub(super) fn standing(
    run: &Run,
    actors: &Actors,
    reader: &Reader,
    row: IntakeRow,
    neighbours: &Arc<Neighbours>,
    responses: Responses,
) -> Result<Standing, RunError> {
    let posed = match row {
        IntakeRow::Excluded(exclusion) => {
            let row = SettledRow { outcome: Outcome::Excluded(exclusion), rollouts: Vec::new() };
            return Ok(Standing::Settled { row, responses: 0 });
        }
        IntakeRow::Query(query) => Arc::new(Posed::new(query)),
    };
    let query = &posed.query;
    let cells = load_cells(run, actors, reader, &posed)?;
    let lack = match conclude_among(run, actors, reader, &posed, &cells, Some(neighbours))? {
        Concluded::Done(outcome) => {
            let cells = plan::drawn(query, cells, &run.settings);
            let is_graded = |cell: &&Cell| cell.rollout.is_some() && cell.verdict.is_some();
            let count = cells.on.iter().chain(&cells.off).filter(is_graded).count() as u64;
            let rollouts = match responses {
                Responses::Wanted => rollout_rows(&actors.policy, query, &cells),
                Responses::LeftOut => Vec::new(),
            };
            return Ok(Standing::Settled { row: SettledRow { outcome, rollouts }, responses: count });
        }
        Concluded::Pending(_) => Lack::Justification,
        Concluded::Lacks(lack) => lack,
    };
    let rollouts =
        if responses == Responses::Wanted { rollout_rows(&actors.policy, query, &cells) } else { Vec::new() };
    Ok(Standing::Open { query: Box::new(query.clone()), lack, rollouts })
}

/// The conclusion about a query among its neighbours.
enum Concluded {
    Done(Outcome),
    Pending(Box<PendingJudgement>),
    Lacks(Lack),
}

/// Returns the conclusion about a query from facts alone, without a comparison with its neighbours' justifications.
///
/// # Errors
/// [`RunError::Internal`] if facts are missing, unless the run reads stored facts only.
pub(super) fn conclude(
    run: &Run,
    actors: &Actors,
    reader: &Reader,
    posed: &Arc<Posed>,
    cells: &ByMode<Vec<Cell>>,
) -> Result<Outcome, RunError> {
    let query = &posed.query;
    match conclude_among(run, actors, reader, posed, cells, None)? {
        Concluded::Done(outcome) => Ok(outcome),
        Concluded::Pending(_) => Err(missing(query, Lack::Justification.name())),
        Concluded::Lacks(lack) => Err(missing(query, lack.name())),
    }
}

fn conclude_among(
    run: &Run,
    actors: &Actors,
    reader: &Reader,
    posed: &Arc<Posed>,
    cells: &ByMode<Vec<Cell>>,
    neighbours: Option<&Arc<Neighbours>>,
) -> Result<Concluded, RunError> {
    let query = &posed.query;
    let excluded = |reason, detail| Outcome::Excluded(plan::exclude(query, reason, detail));
    let outcome = match plan::next(query, cells, &run.settings) {
        Next::Sample(wanted) if run.facts == Facts::Stored => {
            excluded(ExclusionReason::NotStored, not_stored(wanted.len()))
        }
        Next::Sample(_) => match unsampleable(&actors.policy, cells)? {
            Some(detail) => excluded(ExclusionReason::PromptTooLong, detail),
            None => return Ok(Concluded::Lacks(Lack::Responses)),
        },
        Next::Verify(_) => return Ok(Concluded::Lacks(Lack::Verdicts)),
        Next::Excluded(reason, detail) => excluded(reason, detail),
        Next::Justify(chosen) => {
            let justified = match &actors.judge {
                None => Ok(Justified::None),
                Some(judge) => match judged(run, reader, judge.as_ref(), query, &chosen, neighbours)? {
                    Ok(judged) => Justified::new(judged, run.settings.judge.on_rejected),
                    Err(_) if !run.asks_judge() => Ok(Justified::Outstanding),
                    Err(conversation) => {
                        let (posed, judge) = (Arc::clone(posed), Arc::clone(judge));
                        return Ok(Concluded::Pending(Box::new(PendingJudgement { posed, conversation, judge })));
                    }
                },
            };
            match justified {
                Ok(justified) => finish(run, &actors.policy, query, &chosen, &justified),
                Err((reason, detail)) => excluded(reason, detail),
            }
        }
    };
    Ok(Concluded::Done(outcome))
}

fn missing(query: &Query, what: &str) -> RunError {
    RunError::Internal(format!("query {} has no {what} yet", query.id))
}

/// Returns the detail of an exclusion for missing responses in a run over stored facts.
#[must_use]
pub(super) fn not_stored(missing: usize) -> String {
    format!("{missing} of the responses that a decision needs are not stored")
}

/// Replays a query's conversation from stored attempts, and returns the conversation if they do not settle it.
pub(super) fn judged(
    run: &Run,
    reader: &Reader,
    judge: &dyn Judge,
    query: &Query,
    chosen: &Chosen<'_>,
    neighbours: Option<&Arc<Neighbours>>,
) -> Result<Result<Judged, Conversation>, RunError> {
    let mut conversation = plan::conversation(judge, query, chosen, run.settings.judge.attempts_max)
        .map_err(|error| RunError::Internal(error.to_string()))?;
    if let Some(neighbours) = neighbours {
        conversation = conversation.among(Arc::clone(neighbours));
    }
    loop {
        let history = journal::history(reader, &conversation.request().key, run.charging())?;
        match conversation.advance(judge, &history) {
            Step::Settled(judged) => return Ok(Ok(judged)),
            Step::Next => {}
            Step::Call(_) => return Ok(Err(conversation)),
        }
    }
}

/// Builds the outcome of a decided query.
#[must_use]
pub(super) fn finish(run: &Run, policy: &Policy, query: &Query, chosen: &Chosen<'_>, justified: &Justified) -> Outcome {
    match justified::completion(chosen, justified.justification()) {
        Ok(completion) => {
            let row = sample_row(run, policy, query, chosen, justified, completion);
            Outcome::Sample(Sample { mode: chosen.decision.mode, row: Box::new(row) })
        }
        Err((reason, detail)) => Outcome::Excluded(plan::exclude(query, reason, detail)),
    }
}

fn sample_row(
    run: &Run,
    policy: &Policy,
    query: &Query,
    chosen: &Chosen<'_>,
    justified: &Justified,
    completion: String,
) -> SampleRow {
    let justification = justified.justification();
    let counts = chosen.decision.counts;
    let prompt = query.user_text();
    let message = |role: &str, content: &str| MessageRow { role: role.to_owned(), content: content.to_owned() };
    let identity = policy.identity();
    let observed = &chosen.graded.observed;
    SampleRow {
        query_id: query.id.0.clone(),
        ordinal: signed(query.ordinal),
        source: query.source.clone(),
        kind: query.kind.to_string(),
        question: query.question.clone(),
        gold: query.gold.clone(),
        mode: chosen.decision.mode.to_string(),
        mode_reason: chosen.decision.reason.to_string(),
        pass_rate_on: counts.on.pass_rate(),
        pass_rate_off: counts.off.pass_rate(),
        sampled_on: narrow(counts.on.sampled),
        sampled_off: narrow(counts.off.sampled),
        correct_on: narrow(counts.on.correct),
        correct_off: narrow(counts.off.correct),
        other_mode_on: narrow(counts.on.other_mode),
        other_mode_off: narrow(counts.off.other_mode),
        difficulty: chosen.difficulty.label.to_string(),
        difficulty_score: chosen.difficulty.score,
        difficulty_low: chosen.difficulty.low,
        difficulty_high: chosen.difficulty.high,
        justification: justification.map(|justification| justification.text.clone()),
        judge_model: justification.map(|justification| justification.judge_model.clone()),
        justification_status: justified.status(),
        thinking: if chosen.decision.mode == Mode::ThinkOn { observed.thinking.clone() } else { None },
        answer: observed.answer.clone(),
        messages: vec![message("user", &prompt), message("assistant", &completion)],
        prompt,
        completion,
        completion_tokens: narrow(chosen.graded.rollout.completion_tokens),
        policy_model: identity.model.clone(),
        policy_revision: identity.revision.clone(),
        prompt_version: run.prompt_version.clone(),
        seed: signed(chosen.graded.rollout.seed),
        subject: query.labels.subject.clone(),
        category: Some(category(query).to_owned()),
        variant_of: query.labels.variant_of.as_ref().map(|id| id.0.clone()),
        extra: query.labels.extra.clone(),
    }
}

fn rollout_rows(policy: &Policy, query: &Query, cells: &ByMode<Vec<Cell>>) -> Vec<RolloutRow> {
    let graded = plan::grade(&cells.on).into_iter().chain(plan::grade(&cells.off));
    graded
        .map(|graded| RolloutRow {
            query_id: query.id.0.clone(),
            ordinal: signed(query.ordinal),
            mode: graded.rollout.mode.to_string(),
            sample_index: narrow(graded.rollout.sample_index),
            seed: signed(graded.rollout.seed),
            prompt: graded.rollout.prompt.clone(),
            text: graded.rollout.text.clone(),
            thinking: graded.observed.thinking,
            answer: graded.observed.answer,
            finish_reason: graded.rollout.finish_reason.to_string(),
            verdict: graded.verdict.outcome.to_string(),
            extracted: graded.verdict.extracted.clone(),
            verdict_reason: graded.verdict.reason.clone(),
            prompt_tokens: narrow(graded.rollout.prompt_tokens),
            completion_tokens: narrow(graded.rollout.completion_tokens),
            policy_model: policy.identity().model.clone(),
            observed_mode: graded.observed.mode.to_string(),
            forced_close: graded.rollout.forced_close.map(|cause| cause.to_string()),
            logprob_sum: graded.rollout.logprob_sum,
            length_estimated: graded.rollout.reading.length_estimated,
        })
        .collect()
}

/// Builds the published row of an exclusion.
#[must_use]
pub fn exclusion_row(exclusion: Exclusion) -> ExclusionRow {
    ExclusionRow {
        query_id: exclusion.query_id.map(|id| id.0),
        ordinal: signed(exclusion.ordinal),
        source: exclusion.source,
        line: signed(exclusion.origin.line),
        reason: exclusion.reason.to_string(),
        detail: exclusion.detail,
        file: exclusion.origin.file,
    }
}

/// Returns a signed integer, as Arrow's are. Ordinals, lines and seeds never reach the sign bit.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn narrow(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
