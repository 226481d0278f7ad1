//! One rollout in a file or a request: given fields are used, missing fields are read from the completion.
//!
//! | field | given as | otherwise |
//! |---|---|---|
//! | mode | `mode` (`none`: it shows no mode) | `forced_mode`, the mode tag of `completion`, or the mode that the body shows |
//! | correct | `correct` (true, false, 1, 0) | `verdict`; otherwise the completion is verified against `gold` |
//! | well-formed | `format_ok` | `completion` parses as a structured response; for rows of a run's rollouts table: the response shows the requested mode and can be rendered as a structured response |
//!
//! `forced_mode` tells that the prompt ends with this mode's tag, so that the completion begins after it: it is
//! well-formed if the tag and the completion are the end of a structured response.
//!
//! A response of the other mode than was asked for (`forced_mode`, or the requested `mode` of a run's rollouts) counts as
//! incorrect, as in the selection. Only the verdict `correct` counts as correct. This module runs no program: it returns
//! the program as a case for the caller to run. A verdict that does not depend on the response gives a [`RowFault`] in
//! place of a reward: an unreadable gold, tests that can decide nothing, a missing or failed sandbox.

use std::borrow::Cow;

use serde::Deserialize;

use super::Response;
use crate::template::{self, ResponseBody, StructuredReading, StructuredResponse, find_tag, read_structured, render};
use thinkloom_domain::{FinishReason, Kind, Mode, OtherMode, ShownMode, UnverifiableCause, Verdict, VerdictOutcome};
use thinkloom_verify::{self as verify, Case, CodeCase, Evaluated, TestsFault};

/// Keys that a rollout may have; other keys are ignored.
pub const KEYS: &[&str] = &[
    "query_id",
    "mode",
    "forced_mode",
    "correct",
    "format_ok",
    "completion",
    "finish_reason",
    "kind",
    "gold",
    "choices",
    "tests",
    "test_imports",
    "entry_point",
    "question",
    "token_ids",
    "completion_tokens",
    "verdict",
    "observed_mode",
    "thinking",
    "answer",
];

/// The fault of a row of unknown length, if the rule needs the length.
pub const LENGTH_MISSING: &str =
    "length_weight needs the number of tokens: the row has neither completion_tokens nor token_ids";

/// A rollout that a trainer sends to be rewarded.
#[derive(Debug, Clone, Default, Deserialize)]
// The name in serde's error messages.
#[serde(default, rename = "RolloutRow")]
pub struct RewardRow<'a> {
    /// The group's name: a text or a whole number.
    #[serde(borrow)]
    pub query_id: Option<Name<'a>>,
    #[serde(borrow)]
    mode: Option<Cow<'a, str>>,
    /// The mode whose tag ends the prompt.
    #[serde(borrow)]
    forced_mode: Option<Cow<'a, str>>,
    correct: Option<Flag>,
    format_ok: Option<Flag>,
    /// The structured response.
    #[serde(borrow)]
    pub completion: Option<Cow<'a, str>>,
    #[serde(borrow)]
    finish_reason: Option<Cow<'a, str>>,
    #[serde(borrow)]
    kind: Option<Cow<'a, str>>,
    gold: Option<Gold>,
    choices: Option<Vec<String>>,
    tests: Option<Texts>,
    test_imports: Option<Texts>,
    entry_point: Option<String>,
    question: Option<String>,
    /// The sampled tokens, if the trainer knows them.
    pub token_ids: Option<Vec<u32>>,
    /// The number of tokens of the completion.
    #[serde(deserialize_with = "whole_number")]
    pub completion_tokens: Option<u32>,
    #[serde(borrow)]
    verdict: Option<Cow<'a, str>>,
    #[serde(borrow)]
    observed_mode: Option<Cow<'a, str>>,
    thinking: Option<String>,
    answer: Option<String>,
}

/// Reads a count that may be written as a floating-point number: tables with empty cells have no other numbers.
fn whole_number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let Some(number) = Option::<f64>::deserialize(deserializer)? else { return Ok(None) };
    let is_whole = (0.0..=f64::from(u32::MAX)).contains(&number) && number.fract() == 0.0;
    let fault = || serde::de::Error::custom(format!("completion_tokens is {number}, expected a whole number"));
    if is_whole { Ok(Some(number as u32)) } else { Err(fault()) }
}

/// A text, or a whole number that represents its digits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Name<'a> {
    /// A number.
    Number(i64),
    /// A text.
    Text(#[serde(borrow)] Cow<'a, str>),
}

impl Name<'_> {
    /// Returns the name as text.
    #[must_use]
    pub fn into_text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.into_owned(),
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Flag {
    Bool(bool),
    Number(f64),
}

impl Flag {
    fn read(self, key: &'static str) -> Result<bool, RowFault> {
        match self {
            Self::Bool(is_set) => Ok(is_set),
            Self::Number(number) if number == 0.0 || number == 1.0 => Ok(number == 1.0),
            Self::Number(number) => Err(RowFault(format!("{key} is {number}, expected true, false, 1 or 0"))),
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Gold {
    Text(String),
    Other(serde_json::Number),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Many(Vec<serde_json::Value>),
    Table(serde_json::Map<String, serde_json::Value>),
}

impl Texts {
    /// Returns the list's texts; objects as JSON.
    fn into_list(texts: Option<Self>) -> Vec<String> {
        let text = |value: serde_json::Value| match value {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        match texts {
            None => Vec::new(),
            Some(Self::One(one)) => vec![one],
            Some(Self::Many(many)) => many.into_iter().map(text).collect(),
            Some(Self::Table(table)) => vec![serde_json::Value::Object(table).to_string()],
        }
    }
}

/// Why a row is not a usable rollout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RowFault(pub String);

impl RowFault {
    fn missing(what: &str) -> Self {
        Self(format!("the row has no {what}"))
    }
}

/// A rollout with all inputs of the reward rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Graded {
    /// The mode, the correctness and the format.
    pub response: Response,
    /// The byte of the completion at which the judge block ends; `None` if the row has no completion.
    pub judge_end: Option<usize>,
    /// Whether the response shows the mode that was asked for; true if none was.
    pub shows_asked_mode: bool,
    /// Whether the response counts as correct if its verdict does.
    may_be_correct: bool,
    /// The verdict, if this module computed it.
    pub verdict: Option<Verdict>,
}

/// A graded rollout, or one that waits for the verdict on its program.
#[derive(Debug)]
pub enum Grading {
    /// The rollout is graded.
    Ready(Graded),
    /// The caller must run the program and pass its verdict to [`Graded::with_verdict`].
    Program(Graded, Box<CodeCase>),
}

impl Graded {
    /// Adds a verdict, and rejects one that does not depend on the response.
    pub fn with_verdict(mut self, verdict: Verdict) -> Result<Self, RowFault> {
        let cause = match verdict.outcome {
            VerdictOutcome::Unverifiable => verdict.reason.parse().ok(),
            VerdictOutcome::Correct | VerdictOutcome::Incorrect => None,
        };
        if let Some(what) = cause.and_then(beside_the_response) {
            return Err(RowFault(format!("the response cannot be verified ({}): {what}", verdict.reason)));
        }
        self.response.is_correct = verdict.is_correct() && self.may_be_correct;
        self.verdict = Some(verdict);
        Ok(self)
    }
}

/// Returns the cause in words, if the verdict does not depend on the response.
const fn beside_the_response(cause: UnverifiableCause) -> Option<&'static str> {
    match cause {
        UnverifiableCause::UnreadableGold => Some("the gold cannot be read"),
        UnverifiableCause::NoTests => Some("none of the tests can fail"),
        UnverifiableCause::TestsUnusable => Some("the tests cannot be run"),
        UnverifiableCause::NoSandbox => Some("no sandbox for programs is available; `thinkloom doctor` explains why"),
        UnverifiableCause::SandboxFailed => Some("the machine failed to run the program"),
        UnverifiableCause::UnreadableAnswer
        | UnverifiableCause::Undecided
        | UnverifiableCause::OverBudget
        | UnverifiableCause::Ambiguous => None,
    }
}

impl<'a> RewardRow<'a> {
    /// Returns this row with another completion. A row without a name gets its group's number as its name.
    #[must_use]
    pub fn with_completion(&self, completion: Option<String>, group: usize) -> Self {
        let query_id = self.query_id.clone().unwrap_or_else(|| Name::Text(Cow::Owned(group.to_string())));
        Self { query_id: Some(query_id), completion: completion.map(Cow::Owned), ..self.clone() }
    }
}

impl RewardRow<'_> {
    /// Returns whether the row itself gives its mode, its correctness, its format and its length.
    #[must_use]
    pub fn gives(&self) -> [bool; 4] {
        let has_verdict = self.correct.is_some() || self.verdict.is_some();
        [self.mode.is_some(), has_verdict, self.format_ok.is_some(), self.completion_tokens.is_some()]
    }
}

/// The rules by which rows are graded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GradeRules {
    /// How much arithmetic an answer may leave undone.
    pub evaluated: Evaluated,
    /// What a response of the other mode than was asked for counts as.
    pub other_mode: OtherMode,
}

/// Reads the inputs of the reward rule from a row.
///
/// # Errors
/// [`RowFault`] if an input is neither given nor readable, or if the row's gold or tests can decide nothing.
pub fn grade(row: RewardRow<'_>, rules: GradeRules) -> Result<Grading, RowFault> {
    let finish_reason: FinishReason = match row.finish_reason.as_deref() {
        None => FinishReason::Stop,
        Some(name) => name.parse().map_err(|error| RowFault(format!("finish_reason: {error}")))?,
    };
    let mode_of = |key: &str, name: &Option<Cow<'_, str>>| -> Result<Option<Mode>, RowFault> {
        name.as_deref().map(str::parse).transpose().map_err(|error| RowFault(format!("{key}: {error}")))
    };
    let forced = mode_of("forced_mode", &row.forced_mode)?;
    let read = row.completion.as_deref().map(|completion| {
        let read = read_structured(completion);
        StructuredReading { mode: read.mode.or(forced), ..read }
    });
    let observed = read.map(|read| read.observe(finish_reason));
    let given: Option<ShownMode> = match row.mode.as_deref() {
        Some("none") => Some(ShownMode::None),
        _ => mode_of("mode", &row.mode)?.map(ShownMode::from),
    };
    if let (Some(mode), Some(forced)) = (given, forced)
        && mode != forced.into()
    {
        return Err(RowFault(format!("mode is {mode}, and forced_mode is {forced}: a forced mode is the row's mode")));
    }
    let mode: ShownMode = match (given.or(forced.map(ShownMode::from)), &read) {
        (Some(mode), _) => mode,
        (None, Some(read)) => read.shown_mode(finish_reason),
        _ => return Err(RowFault::missing("mode and no completion to read it from")),
    };
    let is_well_formed = match (row.format_ok, &row.completion) {
        (Some(flag), _) => flag.read("format_ok")?,
        (None, Some(completion)) => match forced {
            Some(mode) => template::parse_body(completion, mode).is_ok(),
            None => template::parse(completion).is_ok(),
        },
        (None, None) => is_renderable(&row, mode)?,
    };
    // After a forced tag every token belongs to the answer's part.
    let judge_end =
        |completion, read: StructuredReading<'_>| if forced.is_some() { 0 } else { read.judge_end(completion) };
    let judge_end = row.completion.as_deref().zip(read).map(|(completion, read)| judge_end(completion, read));
    // The mode of the body, where one was asked for: a response that thought in Think-off has not answered in Think-off.
    let of_body = || observed.as_ref().filter(|_| forced.is_some()).map(|observed| observed.mode);
    let shown = mode_of("observed_mode", &row.observed_mode)?.or_else(of_body);
    let shows_asked_mode = mode == ShownMode::None || shown.is_none_or(|shown| mode == shown.into());
    let may_be_correct = rules.other_mode.counts(true, !shows_asked_mode);
    let counted = row.token_ids.as_ref().map(|ids| u32::try_from(ids.len()).unwrap_or(u32::MAX));
    let completion_tokens = row.completion_tokens.or(counted);
    let graded = |is_correct| Graded {
        response: Response { mode, is_correct: is_correct && may_be_correct, is_well_formed, completion_tokens },
        judge_end,
        shows_asked_mode,
        may_be_correct,
        verdict: None,
    };
    if let Some(flag) = row.correct {
        return Ok(Grading::Ready(graded(flag.read("correct")?)));
    }
    if let Some(name) = &row.verdict {
        let outcome: VerdictOutcome = name.parse().map_err(|error| RowFault(format!("verdict: {error}")))?;
        return Ok(Grading::Ready(graded(outcome == VerdictOutcome::Correct)));
    }
    let Some(observed) = observed else { return Err(RowFault::missing("correct, no verdict and no completion")) };
    verify_answer(row, observed.answer, graded(false), rules.evaluated)
}

/// Returns whether a row of a run's rollouts table, whose response is not structured yet, can become a structured
/// response.
fn is_renderable(row: &RewardRow<'_>, mode: ShownMode) -> Result<bool, RowFault> {
    let (Some(observed), Some(answer)) = (&row.observed_mode, &row.answer) else {
        return Err(RowFault::missing("format_ok and no completion to read it from"));
    };
    let observed: Mode = observed.parse().map_err(|error| RowFault(format!("observed_mode: {error}")))?;
    let answer = answer.clone();
    let body = match mode {
        ShownMode::ThinkOn => ResponseBody::ThinkOn { thinking: row.thinking.clone().unwrap_or_default(), answer },
        ShownMode::ThinkOff => ResponseBody::ThinkOff { answer },
        ShownMode::None => return Ok(false),
    };
    let response = StructuredResponse { justification: String::new(), body };
    let is_tag_free = row.thinking.as_deref().is_none_or(|thinking| find_tag(thinking).is_none());
    Ok(mode == observed.into() && is_tag_free && render(&response).is_ok())
}

fn verify_answer(
    row: RewardRow<'_>,
    answer: String,
    graded: Graded,
    evaluated: Evaluated,
) -> Result<Grading, RowFault> {
    let choices = row.choices.unwrap_or_default();
    let kind: Kind = match row.kind.as_deref() {
        Some("multiple_choice") => Kind::Choice,
        Some(name) => name.parse().map_err(|error| RowFault(format!("kind: {error}")))?,
        None if !choices.is_empty() => Kind::Choice,
        None if row.tests.is_some() => Kind::Code,
        None => Kind::Math,
    };
    if kind == Kind::Code {
        let case = CodeCase {
            tests: Texts::into_list(row.tests),
            test_imports: Texts::into_list(row.test_imports),
            entry_point: row.entry_point,
            question: row.question.unwrap_or_default(),
            response: answer,
        };
        let cause = match verify::check_tests(&case.tests) {
            Ok(()) => None,
            Err(TestsFault::None) => Some(UnverifiableCause::NoTests),
            Err(TestsFault::Unusable) => Some(UnverifiableCause::TestsUnusable),
        };
        if let Some(cause) = cause {
            // Running the program would give the same verdict.
            return graded.with_verdict(Verdict::unverifiable(cause, None)).map(Grading::Ready);
        }
        return Ok(Grading::Program(graded, Box::new(case)));
    }
    let gold = match row.gold {
        Some(Gold::Text(text)) => text,
        Some(Gold::Other(number)) => number.to_string(),
        None => return Err(RowFault::missing("correct, no verdict and no gold to verify the completion against")),
    };
    verify::check_gold(kind, &gold, &choices)
        .map_err(|problem| RowFault(format!("the response cannot be verified (unreadable_gold): {problem}")))?;
    let verdict = verify::verify(&Case {
        kind,
        gold: &gold,
        choices: &choices,
        response: &answer,
        question: row.question.as_deref().unwrap_or_default(),
        evaluated,
    });
    graded.with_verdict(verdict).map(Grading::Ready)
}

#[cfg(test)]
#[path = "row_tests.rs"]
mod tests;
