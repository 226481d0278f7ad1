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
//! incorrect, as in the selection. Only the verdict `correct` counts as correct. This module runs no program: it returns the program as a case for the
//! caller to run. A verdict that does not depend on the response gives a [`RowFault`] in place of a reward: an
//! unreadable gold, tests that can decide nothing, a missing or failed sandbox.

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
    pub completion_tokens: Option<u32>,
    #[serde(borrow)]
    verdict: Option<Cow<'a, str>>,
    #[serde(borrow)]
    observed_mode: Option<Cow<'a, str>>,
    thinking: Option<String>,
    answer: Option<String>,
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
    let judge_end = row.completion.as_deref().zip(read).map(|(completion, read)| read.judge_end(completion));
    // The mode of the body, where one was asked for: a response that thought in Think-off has not answered in Think-off.
    let shown = match forced {
        Some(_) => observed.as_ref().map(|observed| observed.mode),
        None => mode_of("observed_mode", &row.observed_mode)?,
    };
    let shows_asked_mode = shown.is_none_or(|shown| mode == shown.into());
    let may_be_correct = shows_asked_mode || rules.other_mode == OtherMode::AsVerified;
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
mod tests {
    use super::*;
    use ShownMode::{None, ThinkOff, ThinkOn};

    const RULES: GradeRules = GradeRules { evaluated: Evaluated::Required, other_mode: OtherMode::Incorrect };
    const ON: &str = "<judge>\nWhy.\n</judge>\n\n<think_on>\n<think>\n2+2\n</think>\n\n<answer>\n4\n</answer>";

    fn of(mode: ShownMode, is_correct: bool, is_well_formed: bool) -> Response {
        Response { mode, is_correct, is_well_formed, completion_tokens: Option::None }
    }

    fn ready(json: serde_json::Value) -> Graded {
        let text = json.to_string();
        match grade(serde_json::from_str(&text).unwrap(), RULES).unwrap() {
            Grading::Ready(graded) => graded,
            Grading::Program(..) => unreachable!("no program was asked for"),
        }
    }

    fn fault(json: serde_json::Value) -> String {
        let text = json.to_string();
        grade(serde_json::from_str(&text).unwrap(), RULES).unwrap_err().to_string()
    }

    #[test]
    fn what_is_given_is_taken() {
        let graded = ready(serde_json::json!({"query_id": 7, "mode": "think_off", "correct": 1, "format_ok": false}));
        assert_eq!(
            (graded.response, graded.judge_end, graded.verdict),
            (of(ThinkOff, true, false), Option::None, Option::None)
        );
        let graded = ready(serde_json::json!({"mode": "think_off", "correct": false, "completion": ON}));
        assert_eq!(graded.response, of(ThinkOff, false, true));
        let given = serde_json::json!({"mode": "none", "correct": false, "format_ok": 0, "completion_tokens": 7});
        assert_eq!(ready(given).response, Response { completion_tokens: Some(7), ..of(None, false, false) });
        let counted = serde_json::json!({"completion": ON, "correct": true, "token_ids": [1, 2, 3]});
        assert_eq!(ready(counted).response.completion_tokens, Some(3));
    }

    #[test]
    fn what_is_not_given_is_read_from_the_completion_and_verified() {
        let graded = ready(serde_json::json!({"completion": ON, "kind": "numeric", "gold": 4}));
        assert_eq!(graded.response, of(ThinkOn, true, true));
        assert_eq!(&ON[..graded.judge_end.unwrap()], "<judge>\nWhy.\n</judge>\n\n<think_on>");
        assert_eq!(graded.verdict.unwrap().outcome, VerdictOutcome::Correct);
        // The answer is right, the form is wrong: one byte after the end is enough.
        let graded = ready(serde_json::json!({"completion": format!("{ON}\n"), "gold": "4"}));
        assert_eq!(graded.response, of(ThinkOn, true, false));
        // An answer inside the thinking does not count.
        let cut = "<judge>W</judge><think_on><think>It is 4";
        let graded = ready(serde_json::json!({"completion": cut, "gold": "4", "finish_reason": "length"}));
        assert_eq!(graded.response, of(ThinkOn, false, false));
        let graded = ready(serde_json::json!({"completion": "<think_off><answer>B</answer>", "gold": "B",
            "choices": ["one", "two"]}));
        assert!(graded.response.is_correct);
    }

    #[test]
    fn after_a_forced_mode_tag_the_rest_of_the_structured_response_is_well_formed() {
        let row = |mode: &str, completion: &str| {
            ready(serde_json::json!({"forced_mode": mode, "completion": completion, "gold": "4"})).response
        };
        let (_, on) = ON.split_once("<think_on>\n").unwrap();
        let off = "<answer>\n4\n</answer>";
        assert_eq!(row("think_on", on), of(ThinkOn, true, true));
        assert_eq!(row("think_off", off), of(ThinkOff, true, true));
        // The other mode's body, a second judge block, and a byte too many are not what follows the tag; and an answer in
        // the other mode is none in this one.
        assert_eq!(row("think_off", on), of(ThinkOff, false, false));
        assert_eq!(row("think_off", ON), of(ThinkOff, false, false));
        assert_eq!(row("think_on", off), of(ThinkOn, false, false));
        assert_eq!(row("think_on", ON), of(ThinkOn, true, false));
        assert_eq!(row("think_off", &format!("{off}\n")), of(ThinkOff, true, false));
        let cut = "<think>\nIt is 4";
        assert_eq!(row("think_on", cut), of(ThinkOn, false, false));
        let without = ready(serde_json::json!({"completion": off, "gold": "4"})).response;
        assert!(!without.is_well_formed, "without a forced mode, judge block and mode tag are missing");
        assert!(fault(serde_json::json!({"forced_mode": "on", "completion": off})).contains("forced_mode"));
        let both = serde_json::json!({"forced_mode": "think_on", "mode": "think_off", "completion": off, "gold": "4"});
        assert!(fault(both).contains("forced_mode is think_on"));
        let graded = ready(serde_json::json!({"forced_mode": "think_on", "completion": on, "gold": "4"}));
        assert_eq!(graded.judge_end, Some(0), "no token of the completion belongs to the judge block");
    }

    #[test]
    fn a_response_that_was_cut_before_it_showed_a_mode_is_of_none() {
        let mode = |completion: &str, finish_reason: &str| {
            let row = serde_json::json!({"completion": completion, "finish_reason": finish_reason, "gold": "4"});
            ready(row).response.mode
        };
        for looping in ["<judge>\nThis is This is", "This is This is", "<judge>Why.</judge>", ""] {
            assert_eq!(mode(looping, "length"), None, "{looping}");
        }
        for unfinished in ["<judge>\nThis is", "<judge>Why.</judge>\n", " "] {
            assert_eq!(mode(unfinished, "stop"), None, "{unfinished}");
        }
        assert_eq!(mode("4", "stop"), ThinkOff);
        assert_eq!(mode("<judge>Why.</judge><think_off>", "length"), ThinkOff);
        assert_eq!(mode("<think>a a a", "length"), ThinkOn);
        assert_eq!(mode("<judge>Why.</judge><think>a</think>4", "stop"), ThinkOn);
    }

    #[test]
    fn rows_of_a_run_are_well_formed_if_they_could_be_rendered() {
        let row = |observed: &str, answer: &str, verdict: &str| {
            ready(serde_json::json!({"mode": "think_off", "observed_mode": observed, "answer": answer,
                "verdict": verdict, "thinking": null}))
            .response
        };
        assert_eq!(row("think_off", "4", "correct"), of(ThinkOff, true, true));
        assert_eq!(row("think_on", "4", "correct"), of(ThinkOff, false, false), "it thought in Think-off");
        assert_eq!(row("think_off", "<answer>4", "unverifiable"), of(ThinkOff, false, false));
    }

    #[test]
    fn programs_come_back_as_cases() {
        let text = serde_json::json!({"completion": ON, "kind": "code", "tests": ["assert f(1) == 2"]}).to_string();
        let grading = grade(serde_json::from_str(&text).unwrap(), RULES);
        let Ok(Grading::Program(graded, case)) = grading else { unreachable!("it is a program") };
        assert_eq!((case.response.as_str(), graded.response.is_correct), ("4", false));
        let passed = Verdict { outcome: VerdictOutcome::Correct, extracted: Option::None, reason: String::new() };
        assert!(graded.clone().with_verdict(passed).unwrap().response.is_correct);
        for cause in [
            UnverifiableCause::NoTests,
            UnverifiableCause::TestsUnusable,
            UnverifiableCause::NoSandbox,
            UnverifiableCause::SandboxFailed,
        ] {
            let fault =
                graded.clone().with_verdict(Verdict::unverifiable(cause, Option::None)).unwrap_err().to_string();
            assert!(fault.contains(cause.name()), "{fault}");
        }
        let undecided = Verdict::unverifiable(UnverifiableCause::Undecided, Option::None);
        assert!(!graded.with_verdict(undecided).unwrap().response.is_correct, "that is the response's own");
    }

    #[test]
    fn golds_and_tests_that_decide_nothing_are_faults_and_no_rewards() {
        let gold = fault(serde_json::json!({"completion": ON, "kind": "numeric", "gold": "many"}));
        assert!(gold.contains("unreadable_gold") && gold.contains("many"), "{gold}");
        let gold = fault(serde_json::json!({"completion": ON, "gold": "C", "choices": ["one", "two"]}));
        assert!(gold.contains("unreadable_gold"), "{gold}");
        let tests = fault(serde_json::json!({"completion": ON, "kind": "code", "tests": []}));
        assert!(tests.contains("no_tests"), "{tests}");
        let tests = serde_json::json!({"completion": ON, "tests": {"inputs": ["1"], "outputs": []}});
        assert!(fault(tests).contains("tests_unusable"));
    }

    #[test]
    fn what_is_missing_or_malformed_is_named() {
        let json = |json| fault(json);
        assert!(json(serde_json::json!({"correct": true, "format_ok": true})).contains("no mode"));
        assert!(json(serde_json::json!({"mode": "on"})).contains("think_on, think_off"));
        assert!(json(serde_json::json!({"mode": "think_on", "correct": true})).contains("no format_ok"));
        assert!(json(serde_json::json!({"mode": "think_on", "format_ok": true})).contains("no correct"));
        assert!(json(serde_json::json!({"completion": ON})).contains("no gold"));
        let half = serde_json::json!({"mode": "think_on", "format_ok": 0.5, "correct": 1});
        assert!(json(half).contains("format_ok is 0.5"));
        assert!(json(serde_json::json!({"completion": ON, "verdict": "right"})).contains("verdict"));
    }
}
