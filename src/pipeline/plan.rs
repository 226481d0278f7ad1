//! The next step of one query: a pure function of settings, query and facts.
//!
//! A live run and the building of shards both call this module, so that a shard built after any number of crashes has
//! the rows that an uninterrupted run would have decided (I6).

use super::programs::Conditions;
use crate::config::{BudgetPolicy, EvaluatedRule, Settings};
use crate::difficulty::{self, Difficulty, DifficultyLabel};
use crate::domain::digest::sha256;
use crate::domain::{
    AttemptOutcome, ByMode, Decision, Exclusion, ExclusionReason, Kind, Mode, OtherMode, PassCounts, Query, Rollout,
    Verdict, VerdictOutcome,
};
use crate::http::retry::{REFUSED_TRIES, is_refusal, says_context_overflow};
use crate::judge::prompt::JudgeCase;
use crate::judge::{Conversation, Judge};
use crate::ledger::RolloutFailure;
use crate::policy::RolloutTask;
use crate::select::curtail::{Reasons, Replay, Rule, Seen, Wish, replay};
use crate::select::{self, Candidate, NoDecision};
use crate::template::{JUDGE_OPENING, ObservedResponse, find_tag, read_first, read_response, read_structured};
use crate::verify;

/// One response that a query needs, with its facts.
#[derive(Debug, Clone)]
pub struct Cell {
    /// The request.
    pub task: RolloutTask,
    /// The response, once sampled.
    pub rollout: Option<Rollout>,
    /// The verdict, once made.
    pub verdict: Option<Verdict>,
    /// Failed attempts at the response, in order.
    pub failures: Vec<RolloutFailure>,
    /// If sampling was abandoned: a length in tokens that the response is known to exceed.
    pub longer_than: Option<u32>,
}

/// A missing response.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The request, with its facts.
    pub cell: &'a Cell,
    /// The number of completion tokens beyond which the response is useless, if there is such a bound.
    pub useful_tokens_max: Option<u32>,
}

impl Wanted<'_> {
    /// Returns the request, with the bound of its useful length.
    #[must_use]
    pub fn task(&self) -> RolloutTask {
        let mut task = self.cell.task.clone();
        task.useful_tokens_max = self.useful_tokens_max;
        task
    }
}

impl Cell {
    /// Returns the response as the mode rule sees it, once it has a verdict.
    #[must_use]
    pub fn candidate(&self, rule: OtherMode) -> Option<Candidate> {
        let (rollout, verdict) = (self.rollout.as_ref()?, self.verdict.as_ref()?);
        let observed = observe(rollout);
        let shows_other_mode = observed.mode != rollout.mode;
        let is_correct = rule.counts(verdict.is_correct(), shows_other_mode);
        let is_tag_free = || {
            find_tag(&observed.answer).is_none()
                && observed.thinking.as_ref().is_none_or(|thinking| find_tag(thinking).is_none())
        };
        Some(Candidate {
            key: rollout.key.clone(),
            is_correct,
            shows_other_mode,
            // Needed for correct responses only.
            is_renderable: is_correct && !shows_other_mode && is_tag_free(),
            completion_tokens: rollout.reading.compared_tokens.unwrap_or(rollout.completion_tokens),
            sample_index: rollout.sample_index,
        })
    }

    /// Returns why a response is given up, if it is: the server rejected the request, or failed too often.
    fn given_up(&self, attempts_max: u32) -> Option<(ExclusionReason, String)> {
        if self.rollout.is_some() {
            return None;
        }
        let last = self.failures.last()?;
        let is = |outcome| self.failures.iter().any(|failure| failure.outcome == outcome);
        let is_refused = is(AttemptOutcome::Rejected) || refusals(&self.failures) >= REFUSED_TRIES;
        let fells = is(AttemptOutcome::ServerFell);
        let attempts = self.failures.len();
        if !is_refused && !fells && attempts < attempts_max as usize {
            return None;
        }
        let reason = if fells {
            ExclusionReason::ServerFailedOnIt
        } else if is_refused && says_context_overflow(None, &last.detail) {
            ExclusionReason::PromptTooLong
        } else {
            ExclusionReason::PolicyFailed
        };
        let Self { task, .. } = self;
        // Without the number of attempts, which depends on accidents of the run (I6).
        Some((reason, format!("{} response {}: {}", task.mode, task.sample_index, last.detail)))
    }
}

/// Returns how many failed attempts at a response the server refused for a reason that may have passed.
#[must_use]
pub fn refusals(failures: &[RolloutFailure]) -> usize {
    let is_refused =
        |failure: &&RolloutFailure| failure.outcome == AttemptOutcome::HttpError && is_refusal(failure.status);
    failures.iter().filter(is_refused).count()
}

/// A parsed response with its verdict.
#[derive(Debug, Clone)]
pub struct Graded<'a> {
    /// The response.
    pub rollout: &'a Rollout,
    /// The parsed response.
    pub observed: ObservedResponse,
    /// The verdict.
    pub verdict: &'a Verdict,
}

/// The next step of a query.
#[derive(Debug)]
pub enum Next<'a> {
    /// Sample these missing responses.
    Sample(Vec<Wanted<'a>>),
    /// Verify these responses.
    Verify(Vec<&'a Rollout>),
    /// Mode and response are chosen; get the justification.
    Justify(Box<Chosen<'a>>),
    /// The rules exclude the query: reason and detail.
    Excluded(ExclusionReason, String),
}

/// A decided query.
#[derive(Debug, Clone)]
pub struct Chosen<'a> {
    /// Mode, reason and counts.
    pub decision: Decision,
    /// The chosen response.
    pub graded: Graded<'a>,
    /// The label.
    pub difficulty: Difficulty,
}

/// Returns the key of a verdict: a hash over everything that can change it. `conditions` are the settings of the
/// verifier and of the sandbox.
#[must_use]
pub fn verdict_key(query: &Query, rollout: &Rollout, conditions: &Conditions) -> String {
    let mut identity = serde_json::json!({
        "verifier": verify::VERSION,
        "rollout": rollout.key.0,
        "kind": query.kind.name(),
        "question": query.question,
        "gold": query.gold,
        "choices": query.choices,
        "tests": query.tests,
    });
    if query.kind == Kind::Code {
        identity["test_imports"] = query.test_imports.clone().into();
        identity["entry_point"] = query.entry_point.clone().into();
        identity["conditions"] = conditions.programs.clone();
    } else {
        identity["evaluated"] = serde_json::json!(conditions.evaluated);
    }
    // The verdict is about the answer. The answer is part of the key only if a later reader parses it differently than
    // the first did, so that earlier verdicts stay valid.
    let observed = observe(rollout);
    if rollout.reading.is_reread || read_first(&response(rollout), rollout.mode, rollout.finish_reason) != observed {
        identity["answer"] = sha256(&observed.answer).into();
    }
    sha256(identity.to_string())
}

/// Returns a stored response, its prefill included.
#[must_use]
pub fn response(rollout: &Rollout) -> String {
    format!("{}{}", rollout.prefill, rollout.text)
}

/// Parses a stored response, its prefill included. A response that opens with a judge block (preset `structured`) is read
/// from the end of its first mode tag on, which was forced.
#[must_use]
pub fn observe(rollout: &Rollout) -> ObservedResponse {
    let response = response(rollout);
    let is_structured = rollout.prefill.contains(JUDGE_OPENING);
    let body = if is_structured { read_structured(&response).body } else { &response };
    read_response(body, rollout.mode, rollout.finish_reason)
}

/// Returns whether a response with this verdict counts as correct in the mode that was asked for.
#[must_use]
pub fn counts_as_correct(rollout: &Rollout, verdict: &Verdict, rule: OtherMode) -> bool {
    // Parsed for correct responses only.
    verdict.is_correct() && rule.counts(true, observe(rollout).mode != rollout.mode)
}

/// Returns a stored response to a query of kind `code` as a program with its tests.
#[must_use]
pub fn code_case(query: &Query, rollout: &Rollout) -> verify::CodeCase {
    verify::CodeCase {
        tests: query.tests.clone(),
        test_imports: query.test_imports.clone(),
        entry_point: query.entry_point.clone(),
        question: query.question.clone(),
        response: observe(rollout).answer,
    }
}

/// Verifies a stored response to a query of any kind but `code`.
#[must_use]
pub fn judge_response(query: &Query, rollout: &Rollout, evaluated: EvaluatedRule) -> Verdict {
    let observed = observe(rollout);
    verify::verify(&verify::Case {
        kind: query.kind,
        gold: &query.gold,
        choices: &query.choices,
        response: &observed.answer,
        question: &query.question,
        evaluated: evaluated_of(evaluated),
    })
}

/// Returns the verifier's name of a setting.
#[must_use]
pub const fn evaluated_of(rule: EvaluatedRule) -> verify::Evaluated {
    match rule {
        EvaluatedRule::Required => verify::Evaluated::Required,
        EvaluatedRule::Any => verify::Evaluated::Any,
    }
}

/// Returns the next step of a query.
#[must_use]
pub fn next<'a>(query: &Query, cells: &'a ByMode<Vec<Cell>>, settings: &Settings) -> Next<'a> {
    let standing = standing(query, cells, settings);
    let Standing { given_up, missing, unjudged, decided, .. } = standing;
    if let Some((reason, detail)) = given_up {
        return Next::Excluded(reason, detail);
    }
    if !missing.is_empty() {
        return Next::Sample(missing);
    }
    if !unjudged.is_empty() {
        return Next::Verify(unjudged);
    }
    let graded = ByMode::from_fn(|mode| grade(&cells[mode]));
    match decided {
        Some(Ok((decision, label))) => {
            let chosen = graded[decision.mode].iter().find(|graded| graded.rollout.key == decision.chosen);
            let Some(chosen) = chosen.cloned() else {
                return Next::Excluded(ExclusionReason::Unsolved, "the chosen response is not stored".to_owned());
            };
            let rated = difficulty::rate(&decision.counts, &settings.difficulty);
            Next::Justify(Box::new(Chosen { decision, graded: chosen, difficulty: Difficulty { label, ..rated } }))
        }
        Some(Err(NoDecision::NotRenderable(mode))) => Next::Excluded(
            ExclusionReason::TemplateCollision,
            format!("no correct {mode} response shows that mode and is free of the response template's tags"),
        ),
        Some(Err(NoDecision::Unsolved)) | None => unsolved(&graded),
    }
}

/// Returns the cells whose responses count for a query: all of them, or under a curtailed budget the requested ones
/// with a verdict, whatever else is stored.
#[must_use]
pub fn drawn(query: &Query, cells: ByMode<Vec<Cell>>, settings: &Settings) -> ByMode<Vec<Cell>> {
    if settings.sampling.budget == BudgetPolicy::Full {
        return cells;
    }
    let drawn = standing(query, &cells, settings).drawn;
    let ByMode { on, off } = cells;
    let keep = |cells: Vec<Cell>, indices: &[u32]| {
        cells.into_iter().filter(|cell| indices.contains(&cell.task.sample_index)).collect()
    };
    ByMode { on: keep(on, &drawn.on), off: keep(off, &drawn.off) }
}

/// The facts about a query's responses, summed up.
struct Standing<'a> {
    given_up: Option<(ExclusionReason, String)>,
    missing: Vec<Wanted<'a>>,
    unjudged: Vec<&'a Rollout>,
    /// Sample indices of the responses that count.
    drawn: ByMode<Vec<u32>>,
    decided: Option<Result<(Decision, DifficultyLabel), NoDecision>>,
}

fn standing<'a>(query: &Query, cells: &'a ByMode<Vec<Cell>>, settings: &Settings) -> Standing<'a> {
    let (mut given_up, mut missing, mut unjudged) = (None, Vec::new(), Vec::new());
    let mut look = |wish: Wish| {
        let cell = cells[wish.mode].get(wish.sample_index as usize)?;
        if let Some(rollout) = &cell.rollout {
            if wish.tokens_max.is_some_and(|useful| rollout.completion_tokens > useful) {
                return Some(Seen::TooLong);
            }
            let candidate = cell.candidate(settings.select.other_mode);
            if candidate.is_none() {
                unjudged.push(rollout);
            }
            return candidate.map(Seen::Whole);
        }
        if wish.tokens_max.is_some_and(|useful| cell.longer_than.is_some_and(|tokens| tokens >= useful)) {
            return Some(Seen::TooLong);
        }
        match cell.given_up(settings.policy.attempts_max) {
            Some(reason) => drop(given_up.get_or_insert(reason)),
            None => missing.push(Wanted { cell, useful_tokens_max: wish.tokens_max }),
        }
        None
    };
    let label = |counts: &ByMode<PassCounts>| difficulty::label(counts, &settings.difficulty);
    let seed = settings.sampling.seed;
    let (drawn, decided) = match settings.sampling.budget {
        BudgetPolicy::Curtailed | BudgetPolicy::Frugal => {
            let rule = Rule {
                query_id: &query.id,
                samples_per_mode: settings.sampling.samples_per_mode,
                settings: &settings.select,
                seed,
                reasons: match settings.sampling.budget {
                    BudgetPolicy::Frugal => Reasons::Coarse,
                    BudgetPolicy::Curtailed | BudgetPolicy::Full => Reasons::Exact,
                },
                label,
            };
            let Replay { drawn, settled } = replay(&rule, look);
            (drawn, settled)
        }
        BudgetPolicy::Full => {
            let all = |mode: Mode, look: &mut dyn FnMut(Wish) -> Option<Seen>| -> Vec<Candidate> {
                let indices = 0..u32::try_from(cells[mode].len()).unwrap_or(u32::MAX);
                let seen = indices.filter_map(|sample_index| look(Wish { mode, sample_index, tokens_max: None }));
                seen.filter_map(|seen| if let Seen::Whole(candidate) = seen { Some(candidate) } else { None }).collect()
            };
            let drawn = ByMode { on: all(Mode::ThinkOn, &mut look), off: all(Mode::ThinkOff, &mut look) };
            let decided = select::decide(&query.id, &drawn, &settings.select, seed);
            let decided = decided.map(|decision| {
                let label = label(&decision.counts);
                (decision, label)
            });
            (drawn, Some(decided))
        }
    };
    let indices = |mode: Mode| drawn[mode].iter().map(|candidate| candidate.sample_index).collect();
    Standing { given_up, missing, unjudged, drawn: ByMode::from_fn(indices), decided }
}

/// Returns the graded responses among cells, in order of sample index.
#[must_use]
pub fn grade(cells: &[Cell]) -> Vec<Graded<'_>> {
    cells
        .iter()
        .filter_map(|cell| {
            let (rollout, verdict) = (cell.rollout.as_ref()?, cell.verdict.as_ref()?);
            Some(Graded { rollout, observed: observe(rollout), verdict })
        })
        .collect()
}

/// Returns the exclusion of an unsolved query: incorrect responses, or no possible verdict.
fn unsolved<'a>(graded: &ByMode<Vec<Graded<'_>>>) -> Next<'a> {
    let all = || graded.on.iter().chain(&graded.off);
    let unverifiable = all().filter(|graded| graded.verdict.outcome == VerdictOutcome::Unverifiable).count();
    let total = all().count();
    if unverifiable == total {
        let mut causes: Vec<&str> = all().map(|graded| graded.verdict.reason.as_str()).collect();
        causes.sort_unstable();
        causes.dedup();
        return Next::Excluded(ExclusionReason::Unverifiable, format!("no verdict is possible: {}", causes.join(", ")));
    }
    let mut detail = format!("none of {total} responses is correct");
    if unverifiable > 0 {
        detail.push_str(&format!("; {unverifiable} of them could not be verified"));
    }
    let is_other = |graded: &&Graded<'_>| graded.verdict.is_correct() && graded.observed.mode != graded.rollout.mode;
    let other = all().filter(is_other).count();
    if other > 0 {
        detail.push_str(&format!("; {other} with a correct answer show the other mode than was asked for"));
    }
    Next::Excluded(ExclusionReason::Unsolved, detail)
}

/// Returns the verifier's value of a gold, which no justification may reveal.
#[must_use]
pub fn gold_value(kind: Kind, gold: &str) -> String {
    match kind {
        // The answer of a worked solution is its end.
        Kind::Math | Kind::Numeric => verify::gold_text(gold),
        Kind::Choice | Kind::Text | Kind::Code => gold.to_owned(),
    }
}

/// Begins the conversation that justifies a decided query.
///
/// # Errors
/// If the judge's prompt template fails, which a test rules out.
pub fn conversation(
    judge: &dyn Judge,
    query: &Query,
    chosen: &Chosen<'_>,
    attempts_max: u32,
) -> Result<Conversation, minijinja::Error> {
    let question = query.user_text();
    let gold = gold_value(query.kind, &query.gold);
    let case = JudgeCase {
        question: &question,
        gold: &gold,
        choices: &query.choices,
        mode: chosen.decision.mode,
        reason: chosen.decision.reason,
        thinking: chosen.graded.observed.thinking.as_deref(),
        answer: &chosen.graded.observed.answer,
    };
    Conversation::new(judge, &case, attempts_max)
}

/// Builds the exclusion of a query.
#[must_use]
pub fn exclude(query: &Query, reason: ExclusionReason, detail: String) -> Exclusion {
    Exclusion {
        query_id: Some(query.id.clone()),
        ordinal: query.ordinal,
        source: query.source.clone(),
        origin: query.origin.clone(),
        reason,
        detail,
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
