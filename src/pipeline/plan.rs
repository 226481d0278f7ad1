//! What is left to do for one query: a pure function of settings, query and facts.
//!
//! The live run and the building of shards both come through here, so that a shard built after any number of crashes
//! holds what an uninterrupted run would have decided (I6).

use sha2::{Digest, Sha256};

use crate::config::{OnRejected, Settings};
use crate::difficulty::{self, Difficulty};
use crate::domain::{
    AttemptOutcome, ByMode, Decision, Exclusion, ExclusionReason, Kind, Mode, Query, Rollout, Verdict, VerdictOutcome,
};
use crate::http::retry::says_context_overflow;
use crate::judge::check::Rejection;
use crate::judge::prompt::JudgeCase;
use crate::judge::{Conversation, Judge, Judged, Justification};
use crate::ledger::RolloutFailure;
use crate::policy::RolloutTask;
use crate::select::{self, Candidate, NoDecision};
use crate::template::{ObservedResponse, ResponseBody, StructuredResponse, find_tag, read_response, render};
use crate::verify;

/// One rollout that a query asks for, with the facts about it.
#[derive(Debug, Clone)]
pub struct Cell {
    /// What is asked for.
    pub task: RolloutTask,
    /// The response, once sampled.
    pub rollout: Option<Rollout>,
    /// The verdict, once made.
    pub verdict: Option<Verdict>,
    /// Attempts at the response that brought none, in order.
    pub failures: Vec<RolloutFailure>,
}

impl Cell {
    /// Returns why the response will not be asked for again, if so: the server refused it, or failed too often.
    fn given_up(&self, attempts_max: u32) -> Option<(ExclusionReason, String)> {
        if self.rollout.is_some() {
            return None;
        }
        let last = self.failures.last()?;
        let is_refused = self.failures.iter().any(|failure| failure.outcome == AttemptOutcome::Rejected);
        let attempts = self.failures.len();
        if !is_refused && attempts < attempts_max as usize {
            return None;
        }
        let reason = if is_refused && says_context_overflow(None, &last.detail) {
            ExclusionReason::PromptTooLong
        } else {
            ExclusionReason::PolicyFailed
        };
        let Self { task, .. } = self;
        Some((reason, format!("{} response {} in {attempts} attempts: {}", task.mode, task.sample_index, last.detail)))
    }
}

/// A response with its verdict, as it was read.
#[derive(Debug, Clone)]
pub struct Graded<'a> {
    /// The response.
    pub rollout: &'a Rollout,
    /// What it shows.
    pub observed: ObservedResponse,
    /// The verdict.
    pub verdict: &'a Verdict,
}

/// What a query needs next.
#[derive(Debug)]
pub enum Next<'a> {
    /// These rollouts are missing.
    Sample(Vec<&'a Cell>),
    /// These responses have no verdict yet.
    Verify(Vec<&'a Rollout>),
    /// A mode and a response are chosen.
    Justify(Box<Chosen<'a>>),
    /// The rules leave nothing to choose.
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

/// Returns the key of a verdict: everything that can change it. `conditions` are those under which programs are run.
#[must_use]
pub fn verdict_key(query: &Query, rollout: &Rollout, conditions: &serde_json::Value) -> String {
    let mut identity = serde_json::json!({
        "verifier": verify::VERSION,
        "rollout": rollout.key.0,
        "kind": query.kind.name(),
        "gold": query.gold,
        "choices": query.choices,
        "tests": query.tests,
    });
    if query.kind == Kind::Code {
        identity["question"] = query.question.as_str().into();
        identity["test_imports"] = query.test_imports.clone().into();
        identity["entry_point"] = query.entry_point.clone().into();
        identity["conditions"] = conditions.clone();
    }
    hex::encode(Sha256::digest(identity.to_string().as_bytes()))
}

/// Reads a stored response: the prefill belongs to it.
#[must_use]
pub fn observe(rollout: &Rollout) -> ObservedResponse {
    let response = format!("{}{}", rollout.prefill, rollout.text);
    read_response(&response, rollout.mode, rollout.finish_reason)
}

/// Returns a stored response to a query of kind `code`, ready to be run with its tests.
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
pub fn judge_response(query: &Query, rollout: &Rollout) -> Verdict {
    let observed = observe(rollout);
    verify::verify(&verify::Case {
        kind: query.kind,
        gold: &query.gold,
        choices: &query.choices,
        response: &observed.answer,
    })
}

/// Returns what a query needs next.
#[must_use]
pub fn next<'a>(query: &Query, cells: &'a ByMode<Vec<Cell>>, settings: &Settings) -> Next<'a> {
    let all = || cells.on.iter().chain(&cells.off);
    if let Some((reason, detail)) = all().find_map(|cell| cell.given_up(settings.policy.attempts_max)) {
        return Next::Excluded(reason, detail);
    }
    let missing: Vec<&Cell> = all().filter(|cell| cell.rollout.is_none()).collect();
    if !missing.is_empty() {
        return Next::Sample(missing);
    }
    let unjudged: Vec<&Rollout> =
        all().filter(|cell| cell.verdict.is_none()).filter_map(|cell| cell.rollout.as_ref()).collect();
    if !unjudged.is_empty() {
        return Next::Verify(unjudged);
    }
    let graded = ByMode::from_fn(|mode| grade(&cells[mode]));
    let candidates = ByMode::from_fn(|mode| graded[mode].iter().map(candidate).collect::<Vec<_>>());
    match select::decide(&query.id, &candidates, &settings.select, settings.sampling.seed) {
        Ok(decision) => {
            let chosen = graded[decision.mode].iter().find(|graded| graded.rollout.key == decision.chosen);
            let Some(chosen) = chosen.cloned() else {
                return Next::Excluded(ExclusionReason::Unsolved, "the chosen response is not stored".to_owned());
            };
            let difficulty = difficulty::rate(&decision.counts, &settings.difficulty);
            Next::Justify(Box::new(Chosen { decision, graded: chosen, difficulty }))
        }
        Err(NoDecision::Unsolved) => unsolved(&graded),
        Err(NoDecision::NotRenderable(mode)) => Next::Excluded(
            ExclusionReason::TemplateCollision,
            format!("no correct {mode} response shows that mode and is free of the response template's tags"),
        ),
    }
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

fn candidate(graded: &Graded<'_>) -> Candidate {
    let Graded { rollout, observed, verdict } = graded;
    let is_tag_free = find_tag(&observed.answer).is_none()
        && observed.thinking.as_ref().is_none_or(|thinking| find_tag(thinking).is_none());
    Candidate {
        key: rollout.key.clone(),
        is_correct: verdict.is_correct(),
        is_renderable: is_tag_free && observed.mode == rollout.mode,
        completion_tokens: rollout.completion_tokens,
        sample_index: rollout.sample_index,
    }
}

/// Tells queries that nothing solved from queries that nothing could judge.
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
    let detail = match unverifiable {
        0 => format!("none of {total} responses is correct"),
        count => format!("none of {total} responses is correct; {count} of them could not be verified"),
    };
    Next::Excluded(ExclusionReason::Unsolved, detail)
}

/// Begins the conversation that justifies a decided query.
///
/// # Errors
/// If the judge's prompt template fails, which a test excludes.
pub fn conversation(
    judge: &dyn Judge,
    query: &Query,
    chosen: &Chosen<'_>,
    attempts_max: u32,
) -> Result<Conversation, minijinja::Error> {
    let question = query.user_text();
    let case = JudgeCase {
        question: &question,
        gold: &query.gold,
        choices: &query.choices,
        mode: chosen.decision.mode,
        reason: chosen.decision.reason,
        thinking: chosen.graded.observed.thinking.as_deref(),
        answer: &chosen.graded.observed.answer,
    };
    Conversation::new(judge, &case, attempts_max)
}

/// What became of a decided query's justification.
#[derive(Debug, Clone)]
pub enum Justified {
    /// Nobody judges.
    None,
    /// It was accepted.
    Accepted(Justification),
    /// No text was accepted, and the sample is kept without one.
    Rejected(Rejection),
}

impl Justified {
    /// Decides what a settled conversation means for its query.
    ///
    /// # Errors
    /// The exclusion's reason and detail.
    pub fn new(judged: Judged, on_rejected: OnRejected) -> Result<Self, (ExclusionReason, String)> {
        match judged {
            Judged::Accepted(justification) => Ok(Self::Accepted(justification)),
            Judged::Rejected { rejection, .. } if on_rejected == OnRejected::Keep => Ok(Self::Rejected(rejection)),
            Judged::Rejected { rejection, attempts } => Err((
                ExclusionReason::JustificationRejected,
                format!("{rejection}: the last text of {attempts} attempts was refused, for {}", rejection.advice()),
            )),
            Judged::GaveUp { detail, .. } => Err((ExclusionReason::JudgeFailed, detail)),
        }
    }

    /// Returns the justification, if there is one.
    #[must_use]
    pub const fn justification(&self) -> Option<&Justification> {
        match self {
            Self::Accepted(justification) => Some(justification),
            Self::None | Self::Rejected(_) => None,
        }
    }

    /// Returns the value of the column `justification_status`.
    #[must_use]
    pub fn status(&self) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::Accepted(_) => "accepted".to_owned(),
            Self::Rejected(rejection) => format!("rejected:{rejection}"),
        }
    }
}

/// Renders the structured response of a decided query.
///
/// # Errors
/// The exclusion's reason and detail if a part cannot be rendered; [`next`] and the judge's reader exclude it.
pub fn completion(
    chosen: &Chosen<'_>,
    justification: Option<&Justification>,
) -> Result<String, (ExclusionReason, String)> {
    let ObservedResponse { thinking, answer, .. } = chosen.graded.observed.clone();
    let body = match chosen.decision.mode {
        Mode::ThinkOn => ResponseBody::ThinkOn { thinking: thinking.unwrap_or_default(), answer },
        Mode::ThinkOff => ResponseBody::ThinkOff { answer },
    };
    let justification = justification.map(|justification| justification.text.clone()).unwrap_or_default();
    render(&StructuredResponse { justification, body })
        .map_err(|collision| (ExclusionReason::TemplateCollision, collision.to_string()))
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
