//! Verification: decides whether a response's answer equals the reference answer.
//!
//! [`verify`] is pure and deterministic, never panics, and is bounded in time and memory for any input: answers over a
//! few kilobytes, deep nesting, huge numbers and long computations end in a verdict. It executes nothing.
//!
//! # Files
//! | file | role |
//! |---|---|
//! | `extract` | the answer part of a response, and the places in it where an answer may be |
//! | `boxes`, `phrases` | boxed answers; announced answers (`phrases` owns the announcements in all languages) |
//! | `find`, `strategy` | the order of these places; the names of the strategies that find an answer |
//! | `statement/` | the quantities that a sentence states; `lexicon` holds its words |
//! | `claims` | the texts that a sentence gives as an answer in words |
//! | `math/` | equality of mathematics; `tables` and `unit_table` hold commands and units, `limits` its bounds |
//! | `numeric`, `choice/`, `text` | equality of numbers, of choices, of short texts |
//! | `restate` | detects answers that repeat the task |
//! | `characters`, `words` | plain forms of characters; numbers in words |
//! | `code/` | programs with their tests, and the harness that runs them |
//! | `sandbox/` | untrusted programs, each isolated; `calls` lists the allowed system calls |
//! | `fuzz` | invariants for any text, shared by `tests/fuzz` and the property tests |
//!
//! # One verdict
//! 1. [`verify`] receives a [`Case`]. `extract` keeps the answer part of [`Case::response`], and `characters` converts
//!    it to plain characters.
//! 2. The gold is parsed: of a worked solution, its box or the text after `####` ([`gold_text`]). An unreadable gold
//!    gives the verdict `unreadable_gold`; [`check_gold`] rejects an empty gold, a missing number and an unknown choice
//!    before any response.
//! 3. `find` searches for the answer in the order below, and uses `statement` to parse sentences. Without an answer, the
//!    verdict is `no_answer`.
//! 4. The verifier of the kind compares: `math`, `numeric`, `choice` or `text` decides whether gold and answer are
//!    equal, and by which rule. If there are several answers, each is compared, and so is their list.
//! 5. An equal formula or number must also be fully computed, and must not only repeat the task (`math::undone`,
//!    `restate`), unless the case has [`Evaluated::Any`].
//! 6. Outcome, strategy and rule become the [`Verdict`]; an undecided comparison is `unverifiable`, with its
//!    [`UnverifiableCause`].
//!
//! # One verdict on code
//! 1. [`CodePool::submit`] queues a [`CodeCase`]; a thread of the pool passes it to [`CodeVerifier::verify`].
//! 2. `code::blocks` finds the program texts of the response, `code::shape` parses the tests: a program, calls, or
//!    inputs and outputs. [`check_tests`] parses tests without a response.
//! 3. A [`sandbox::Sandbox`] runs a job: the harness chooses the block, and the tests and the program run in one
//!    process each; or the program runs alone, once for each input.
//! 4. `code::story` interprets the job's results, and names the rule by which the job ended; `code::outputs` compares a
//!    program's output with the expected output.
//! 5. Strategy and rule become the [`Verdict`]; a failure of the machine is a [`sandbox::SandboxFault`] and gives no
//!    verdict.
//!
//! # Formats and names of this room
//! The names of strategies and rules in reasons; [`VERSION`], a part of the ledger's keys; the messages to the harness
//! and between the processes of a job (`code/harness/wire.py`); the case tables `fixtures/verify/*.tsv`
//! (`table_tests`).
//!
//! # The place of the answer
//! The answer regions, in this order (the first region with a statement counts, and in it the last statement):
//!
//! 1. the **box**: `\boxed{...}` and its variants, or the tokens that some models use in its place; boxes side by side
//!    or joined by "and", "or", a comma are one list;
//! 2. the **announcing sentence** ("the answer is ...", "Answer: ...", and translations) or the **hash line** (`####
//!    5`), whichever comes later;
//! 3. the **whole** response, if it is only the answer;
//! 4. the **bold line**: bold words in the last four lines, without labels and headings;
//! 5. the **last line** with a statement, and in it the last sentence.
//!
//! The verifiers never pick the last number of a sentence: `statement` determines the quantities that the sentence
//! states. A quantity that the sentence denies, bounds, assumes, or transforms ("the square root of 9") is not stated
//! (`not_stated`, incorrect). Several answers joined by a sentence are a list, which does not equal a single gold.
//! Several quantities without a stated choice between them are `ambiguous` if one of them would be correct. No number
//! is cut out of a formula, a word, a reference or a unit.
//!
//! # The form of the answer
//! `characters` converts golds and choices in the same way as responses. With [`Evaluated::Required`], an answer is
//! incorrect in spite of its correct value if it leaves arithmetic undone (`work_left_undone`), or repeats the
//! expression that the question asks to transform (`restates_the_question`).
//!
//! Reasons have the form `strategy:rule` (`boxed:rational_equal`); both parts are stable names. The reason of an
//! `unverifiable` verdict is its cause.
//!
//! [`verify`] has no sandbox, so code gives `unverifiable` with the cause `no_sandbox`.
//!
//! This room does not judge the reasoning, and knows no synonyms.

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests use files and clocks as they are")
)]

mod boxes;
mod characters;
mod choice;
mod claims;
mod code;
mod extract;
mod find;
#[cfg(any(test, feature = "testing"))]
pub mod fuzz;
mod math;
mod numeric;
mod phrases;
mod restate;
pub mod sandbox;
mod statement;
mod strategy;
mod text;
mod words;

#[cfg(test)]
mod table_tests;
#[cfg(test)]
mod tests;

pub use code::{CodeCase, CodePool, CodeVerifier, Pending, TestsFault, check_tests};
pub use find::find_answer;

use math::Outcome;
use statement::Stated;
use strategy::Strategy;
use thinkloom_domain::{Kind, UnverifiableCause, Verdict, VerdictOutcome};

/// The version of the rules; part of ledger keys. Raise it whenever any verdict can change.
pub const VERSION: u32 = 6;

/// One response to verify.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The kind of the expected answer.
    pub kind: Kind,
    /// The reference answer.
    pub gold: &'a str,
    /// The choices in order; empty unless the kind is `choice`.
    pub choices: &'a [String],
    /// The answer part of a response; the text up to a last `</think>` is skipped.
    pub response: &'a str,
    /// The question; empty if unknown. It decides whether a list has an order, and detects answers that only restate
    /// the task.
    pub question: &'a str,
    /// The arithmetic that an answer may leave undone.
    pub evaluated: Evaluated,
}

impl Default for Case<'_> {
    /// A case with an empty gold and an empty response.
    fn default() -> Self {
        Self { kind: Kind::Math, gold: "", choices: &[], response: "", question: "", evaluated: Evaluated::Required }
    }
}

/// The arithmetic that an answer may leave undone: `verify.evaluated`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Evaluated {
    /// None if the gold is a rational number, and no answer may restate the task.
    #[default]
    Required,
    /// Any: `1/2+1/4` meets `3/4`.
    Any,
}

/// Returns the verdict on one response.
#[must_use]
pub fn verify(case: &Case<'_>) -> Verdict {
    let response = extract::answer_part(case.response);
    let plain = characters::plain(response);
    match case.kind {
        Kind::Math => verify_math(case, &plain),
        Kind::Numeric => verify_numeric(case, &plain),
        Kind::Choice => verify_choice(case.gold, case.choices, &plain),
        Kind::Text => verify_text(case.gold, response),
        Kind::Code => Verdict::unverifiable(UnverifiableCause::NoSandbox, code::last_block(response)),
    }
}

/// Checks that a gold can be parsed as its kind requires.
///
/// # Errors
/// Returns the fault in words: a missing gold, a numeric gold without a number, a choice gold that names no choice, or
/// a gold for mathematics without a letter, digit or sign of mathematics. Other golds for mathematics are never
/// rejected: a gold that the parser cannot read may still equal an answer as text.
pub fn check_gold(kind: Kind, gold: &str, choices: &[String]) -> Result<(), String> {
    if gold.trim().is_empty() {
        return if kind == Kind::Code { Ok(()) } else { Err("the answer is empty".to_owned()) };
    }
    match kind {
        Kind::Numeric => match numeric::read(gold_answer(&characters::plain(gold)).as_str()) {
            Ok(_) => Ok(()),
            Err(numeric::Problem::NoNumber) => Err(format!("the answer {gold:?} is no number")),
            Err(numeric::Problem::Several(_)) => Err(format!("the answer {gold:?} holds several numbers")),
            Err(numeric::Problem::OverBudget) => Err(format!("the answer {gold:?} is too large a number")),
        },
        Kind::Choice if !names_choice(gold, choices) => {
            Err(format!("the answer {gold:?} names none of the {} choices", choices.len()))
        }
        Kind::Math if math::is_blank(&gold_answer(&characters::plain(gold))) => {
            Err(format!("the answer {gold:?} holds nothing to compare"))
        }
        Kind::Text if text::allowed(gold).is_empty() => Err(format!("the answer {gold:?} holds no text")),
        Kind::Choice | Kind::Math | Kind::Text | Kind::Code => Ok(()),
    }
}

fn same_choice(choices: &[String], left: usize, right: usize) -> bool {
    let text = |index: usize| choices.get(index).map(|choice| choice.trim()).filter(|text| !text.is_empty());
    text(left).is_some() && text(left) == text(right)
}

fn names_choice(gold: &str, choices: &[String]) -> bool {
    choice::gold(&characters::plain(gold), &characters::plain_each(choices)).is_some()
}

/// Returns the text that the verifier parses as the gold: of a worked solution, the content of its box.
#[must_use]
pub fn gold_text(gold: &str) -> String {
    gold_answer(&characters::plain(gold))
}

/// Returns whether a gold that [`check_gold`] accepts is only a text to its verifier: a gold for mathematics that the
/// parser cannot read, and that therefore equals only the same text.
#[must_use]
pub fn is_text_only(kind: Kind, gold: &str) -> bool {
    kind == Kind::Math && !math::is_parsed(&gold_answer(&characters::plain(gold)))
}

fn verdict(outcome: VerdictOutcome, strategy: Strategy, rule: &str, extracted: String) -> Verdict {
    Verdict { outcome, extracted: Some(extracted), reason: format!("{}:{rule}", strategy.name()) }
}

fn no_answer() -> Verdict {
    Verdict { outcome: VerdictOutcome::Incorrect, extracted: None, reason: "no_answer".to_owned() }
}

/// Returns the answer of a gold with its solution: the boxed part, or the text after `####`.
fn gold_answer(gold: &str) -> String {
    let boxed = boxes::boxed(gold).filter(|content| !content.is_empty());
    let marked = || gold.rsplit_once("####").map(|(_, answer)| answer.trim()).filter(|answer| !answer.is_empty());
    boxed.unwrap_or_else(|| marked().unwrap_or(gold.trim()).to_owned())
}

fn verify_math(case: &Case<'_>, response: &str) -> Verdict {
    let gold = gold_answer(&characters::plain(case.gold));
    if math::is_words(&gold) {
        return verify_words(case, &gold, response);
    }
    let Some((strategy, stated)) = find::math(&gold, response) else { return no_answer() };
    let compare = |answer: &str| math_verdict(case, &gold, strategy, answer);
    state(strategy, &stated, &compare, ", ")
}

/// Compares an answer with a gold for mathematics.
fn math_verdict(case: &Case<'_>, gold: &str, strategy: Strategy, answer: &str) -> Verdict {
    let answer_text = answer.to_owned();
    let mut outcome = math::equal_for(case.question, gold, answer);
    if matches!(outcome, Outcome::Different(_)) {
        // "How many million": the scale may be missing on one side.
        let bare = |text| words::without_asked_scale(case.question, text);
        outcome = match (bare(gold), bare(answer)) {
            (None, Some(answer)) => math::equal_for(case.question, gold, answer),
            (Some(gold), None) => math::equal_for(case.question, gold, answer),
            _ => outcome,
        };
    }
    match outcome {
        Outcome::Equal(rule) => match undone(case, gold, answer) {
            Some(reason) => verdict(VerdictOutcome::Incorrect, strategy, reason, answer_text),
            None => verdict(VerdictOutcome::Correct, strategy, rule, answer_text),
        },
        Outcome::Different(rule) => verdict(VerdictOutcome::Incorrect, strategy, rule, answer_text),
        Outcome::Undecided => Verdict::unverifiable(UnverifiableCause::Undecided, Some(answer_text)),
        Outcome::OverBudget => Verdict::unverifiable(UnverifiableCause::OverBudget, Some(answer_text)),
        Outcome::UnreadableGold => Verdict::unverifiable(UnverifiableCause::UnreadableGold, Some(answer_text)),
        Outcome::UnreadableAnswer => Verdict::unverifiable(UnverifiableCause::UnreadableAnswer, Some(answer_text)),
    }
}

/// Returns why an answer that equals its gold does not count: it leaves work undone.
fn undone(case: &Case<'_>, gold: &str, answer: &str) -> Option<&'static str> {
    if case.evaluated == Evaluated::Any {
        return None;
    }
    if math::leaves_work(gold, answer) {
        return Some("work_left_undone");
    }
    restate::restates(case.question, gold, answer).then_some("restates_the_question")
}

/// Converts the statement of a response to a verdict, by comparing each possible answer.
fn state(strategy: Strategy, stated: &Stated, compare: &dyn Fn(&str) -> Verdict, join: &str) -> Verdict {
    match stated {
        Stated::One(answer) => compare(answer),
        Stated::Several(answers) => {
            let list = compare(&answers.join(join));
            if list.is_correct() {
                return list;
            }
            // "1/2, or 0.5": one answer in several notations. Two answers in the same notation remain two.
            let is_repeated =
                answers.iter().enumerate().any(|(at, answer)| answers.iter().take(at).any(|before| before == answer));
            if is_repeated {
                return list;
            }
            let each: Vec<Verdict> = answers.iter().map(|answer| compare(answer)).collect();
            match each.into_iter().find(|verdict| !verdict.is_correct()) {
                None => compare(answers.first().map_or("", String::as_str)),
                Some(_) if list.outcome == VerdictOutcome::Incorrect => list,
                Some(_) => verdict(VerdictOutcome::Incorrect, strategy, "several_answers", answers.join(join)),
            }
        }
        Stated::Open(answers) => {
            let text = answers.join(join);
            let could_be = answers.iter().any(|answer| compare(answer).outcome != VerdictOutcome::Incorrect);
            if could_be {
                Verdict::unverifiable(UnverifiableCause::Ambiguous, Some(text))
            } else {
                verdict(VerdictOutcome::Incorrect, strategy, "several_quantities", text)
            }
        }
        Stated::Denied => {
            let reason = format!("{}:not_stated", strategy.name());
            Verdict { outcome: VerdictOutcome::Incorrect, extracted: None, reason }
        }
        Stated::Nothing => no_answer(),
    }
}

fn verify_numeric(case: &Case<'_>, response: &str) -> Verdict {
    let gold_text = gold_answer(&characters::plain(case.gold));
    let gold = match numeric::read(&gold_text) {
        Ok(gold) => gold,
        Err(numeric::Problem::OverBudget) => return Verdict::unverifiable(UnverifiableCause::OverBudget, None),
        Err(_) => return Verdict::unverifiable(UnverifiableCause::UnreadableGold, None),
    };
    let Some((strategy, stated)) = find::numeric(response) else { return no_answer() };
    let compare = |answer: &str| {
        let answer_text = answer.to_owned();
        match numeric::read(answer) {
            Ok(number) => match numeric::equal(case.question, &gold, &number) {
                Some(rule) => match undone(case, &gold_text, answer) {
                    Some(reason) => verdict(VerdictOutcome::Incorrect, strategy, reason, answer_text),
                    None => verdict(VerdictOutcome::Correct, strategy, rule, answer_text),
                },
                None => verdict(VerdictOutcome::Incorrect, strategy, "rational_differs", answer_text),
            },
            Err(numeric::Problem::NoNumber) => {
                verdict(VerdictOutcome::Incorrect, strategy, "unreadable_answer", answer_text)
            }
            Err(numeric::Problem::OverBudget) => {
                Verdict::unverifiable(UnverifiableCause::OverBudget, Some(answer_text))
            }
            Err(numeric::Problem::Several(numbers)) => {
                let is_listed = answer.contains([',', ';'])
                    || answer.contains(" and ")
                    || answer.contains(" or ")
                    || answer.contains("{or}")
                    || answer.contains(" or}");
                if !is_listed && numbers.iter().any(|number| numeric::equal(case.question, &gold, number).is_some()) {
                    Verdict::unverifiable(UnverifiableCause::Ambiguous, Some(answer_text))
                } else {
                    verdict(VerdictOutcome::Incorrect, strategy, "several_numbers", answer_text)
                }
            }
        }
    };
    state(strategy, &stated, &compare, " and ")
}

fn verify_choice(gold: &str, choices: &[String], response: &str) -> Verdict {
    // Both sides need the same typing: an apostrophe of a gold must match the response's.
    let choices = characters::plain_each(choices);
    let Some(gold) = choice::gold(&characters::plain(gold), &choices) else {
        return Verdict::unverifiable(UnverifiableCause::UnreadableGold, None);
    };
    let Some((strategy, answer, named)) = find::choice(&choices, response) else { return no_answer() };
    match named {
        // Two choices with the same text are one answer.
        choice::Named::One(index) if index == gold || same_choice(&choices, index, gold) => {
            verdict(VerdictOutcome::Correct, strategy, "same_choice", answer)
        }
        choice::Named::One(_) => verdict(VerdictOutcome::Incorrect, strategy, "other_choice", answer),
        choice::Named::Several => verdict(VerdictOutcome::Incorrect, strategy, "several_choices", answer),
        choice::Named::Contradiction => verdict(VerdictOutcome::Incorrect, strategy, "contradicts_itself", answer),
        choice::Named::Nothing => verdict(VerdictOutcome::Incorrect, strategy, "no_choice", answer),
    }
}

/// Compares the texts that a response gives with a gold in words.
fn find_words(response: &str, is_equal: &dyn Fn(&str) -> bool) -> Verdict {
    let regions = find::word_regions(response);
    for (strategy, text) in &regions {
        let is_announced = matches!(strategy, Strategy::AnswerIs | Strategy::FinalAnswer | Strategy::HashMark);
        let mut claims = if *strategy == Strategy::Bold { vec![text.clone()] } else { claims::of(text) };
        claims.extend(claims::subject(text).filter(|_| is_announced).map(str::to_owned));
        claims.extend(statement::phrase(text).map(str::to_owned));
        if claims.iter().any(|claim| is_equal(claim)) {
            return verdict(VerdictOutcome::Correct, *strategy, "same_text", text.clone());
        }
    }
    match regions.last() {
        Some((strategy, text)) => verdict(VerdictOutcome::Incorrect, *strategy, "text_differs", text.clone()),
        None => no_answer(),
    }
}

/// Verifies a response against a gold for mathematics in words: `\text{even}`.
fn verify_words(case: &Case<'_>, gold: &str, response: &str) -> Verdict {
    let is_equal = |claim: &str| {
        let claim = claim.trim();
        let noun = ["the ", "a ", "an "].iter().find_map(|article| claim.strip_prefix(article)).unwrap_or(claim);
        let bare = noun.trim().trim_matches('$');
        matches!(math::equal_for(case.question, gold, bare), Outcome::Equal(_)) || math::same_text(gold, bare)
    };
    find_words(response, &is_equal)
}

fn verify_text(gold: &str, response: &str) -> Verdict {
    let gold = characters::plain(gold);
    let response = characters::plain(response);
    let allowed = text::allowed(&gold);
    if allowed.is_empty() {
        return Verdict::unverifiable(UnverifiableCause::UnreadableGold, None);
    }
    let is_equal = |claim: &str| {
        [text::normalise(&text::unwrap_latex(claim)), text::normalise(claim)].iter().any(|text| allowed.contains(text))
    };
    find_words(&response, &is_equal)
}
