//! Verification: whether a response's answer equals the reference answer.
//!
//! [`verify`] is pure and deterministic, never panics, and is bounded in time and memory whatever the input: answers
//! over a few kilobytes, deep nesting, huge numbers and long computations end in a verdict. It executes nothing.
//! `extract` finds the answer, one module per kind compares it. Bounds stand in `math::limits`.
//!
//! Reasons read `strategy:rule` (`boxed:rational_equal`); both parts are stable names. An `unverifiable` verdict's
//! reason is its cause.
//!
//! Code is the exception to all of that: [`CodeVerifier`] runs it, in the [`sandbox`], on the threads of a [`CodePool`].
//! Given to [`verify`], which has no sandbox, it is `unverifiable`, cause `no_sandbox`.
//!
//! What this room does not know: whether the reasoning is sound, what the question was, and synonyms.

mod boxes;
mod characters;
mod choice;
mod code;
mod extract;
#[doc(hidden)]
pub mod fuzz;
mod math;
mod numeric;
mod phrases;
pub mod sandbox;
mod text;
mod words;

#[cfg(test)]
mod table_tests;
#[cfg(test)]
mod tests;

pub use code::{CodeCase, CodePool, CodeVerifier, Pending};

use crate::domain::{Kind, UnverifiableCause, Verdict, VerdictOutcome};
use extract::Strategy;
use math::Outcome;

/// Version of the rules; part of ledger keys. Raise it when any verdict can change.
pub const VERSION: u32 = 4;

/// Longest response that is read as a whole answer, in bytes.
const WHOLE_BYTES_MAX: usize = 400;

/// One response to verify.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// What kind of answer is expected.
    pub kind: Kind,
    /// The reference answer.
    pub gold: &'a str,
    /// The choices in order; empty unless the kind is `choice`.
    pub choices: &'a [String],
    /// The answer part of a response; text up to a last `</think>` is passed over.
    pub response: &'a str,
    /// The question; empty if it is unknown. It tells whether a list has an order, and what would only restate the task.
    pub question: &'a str,
    /// Which arithmetic an answer may leave to be done.
    pub evaluated: Evaluated,
}

impl Default for Case<'_> {
    /// An empty response to nothing.
    fn default() -> Self {
        Self { kind: Kind::Math, gold: "", choices: &[], response: "", question: "", evaluated: Evaluated::Required }
    }
}

/// Which arithmetic an answer may leave to be done: `verify.evaluated`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Evaluated {
    /// None where the gold is a rational number, and no answer may restate the task.
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
        Kind::Numeric => verify_numeric(&characters::plain(case.gold), &plain),
        Kind::Choice => verify_choice(case.gold, case.choices, &plain),
        Kind::Text => verify_text(case.gold, response),
        Kind::Code => Verdict::unverifiable(UnverifiableCause::NoSandbox, code::last_block(response)),
    }
}

/// Checks that a gold can be read at all as its kind demands.
///
/// # Errors
/// Returns why not: a numeric gold that is no number, a choice gold that names no choice, a missing gold, a gold for
/// mathematics without a single letter, digit or sign of mathematics. Other golds for mathematics are never refused:
/// what the parser cannot read may still equal an answer as text.
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
        Kind::Choice if choice::gold(gold, choices).is_none() => {
            Err(format!("the answer {gold:?} names none of the {} choices", choices.len()))
        }
        Kind::Math if math::is_blank(&gold_answer(&characters::plain(gold))) => {
            Err(format!("the answer {gold:?} holds nothing to compare"))
        }
        Kind::Text if text::allowed(gold).is_empty() => Err(format!("the answer {gold:?} holds no text")),
        Kind::Choice | Kind::Math | Kind::Text | Kind::Code => Ok(()),
    }
}

/// Returns the text that the verifier reads as a gold's value: of a worked solution the content of its box.
#[must_use]
pub fn gold_text(gold: &str) -> String {
    gold_answer(&characters::plain(gold))
}

/// Why tests can decide nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestsFault {
    /// There is none, or none that can fail.
    None,
    /// They cannot be run: unbalanced inputs and outputs, no Python, several shapes at once.
    Unusable,
}

/// Checks, without running anything, that tests of kind `code` can fail and can be run at all.
///
/// # Errors
/// Returns why not.
pub fn check_tests(tests: &[String]) -> Result<(), TestsFault> {
    code::check_tests(tests)
}

/// Returns whether a gold that [`check_gold`] lets pass is only a text to its verifier: a gold for mathematics that no rule
/// of mathematics can read, and that therefore equals the same text alone.
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

/// A reference answer may come with its solution: then the boxed part counts.
fn gold_answer(gold: &str) -> String {
    boxes::boxed(gold).filter(|content| !content.is_empty()).unwrap_or_else(|| gold.trim().to_owned())
}

fn verify_math(case: &Case<'_>, response: &str) -> Verdict {
    let gold = gold_answer(&characters::plain(case.gold));
    let Some((strategy, answer)) = find_math(&gold, response) else { return no_answer() };
    match math::equal_for(case.question, &gold, &answer) {
        Outcome::Equal(rule) => verdict(VerdictOutcome::Correct, strategy, rule, answer),
        Outcome::Different(rule) => verdict(VerdictOutcome::Incorrect, strategy, rule, answer),
        Outcome::Undecided => Verdict::unverifiable(UnverifiableCause::Undecided, Some(answer)),
        Outcome::OverBudget => Verdict::unverifiable(UnverifiableCause::OverBudget, Some(answer)),
        Outcome::UnreadableGold => Verdict::unverifiable(UnverifiableCause::UnreadableGold, Some(answer)),
        Outcome::UnreadableAnswer => Verdict::unverifiable(UnverifiableCause::UnreadableAnswer, Some(answer)),
    }
}

fn find_math(gold: &str, response: &str) -> Option<(Strategy, String)> {
    if let Some(answer) = boxes::boxed(response) {
        return Some((Strategy::Boxed, within_box(answer)));
    }
    if math::same_text(gold, response) {
        return Some((Strategy::Whole, response.to_owned()));
    }
    if let Some((strategy, sentence)) = phrases::announced(response) {
        return Some((strategy, within_sentence(gold, sentence)));
    }
    if response.len() <= WHOLE_BYTES_MAX && math::is_wordless(response) {
        return Some((Strategy::Whole, response.to_owned()));
    }
    // What stands last counts: a number behind the last formula is nearer to the end.
    let has_number = |after: &str| after.contains(|c: char| c.is_ascii_digit());
    if let Some((span, after)) = extract::last_span(response).filter(|(span, _)| math::is_readable(span)) {
        let number = Some(after).filter(|after| has_number(after)).and_then(extract::last_number);
        return Some(number.map_or((Strategy::MathSpan, span.to_owned()), |number| (Strategy::LastNumber, number)));
    }
    extract::last_number(response).map(|number| (Strategy::LastNumber, number))
}

/// Takes the answer out of a box that holds a sentence.
fn within_box(content: String) -> String {
    if content.len() > WHOLE_BYTES_MAX || math::is_readable(&content) {
        return content;
    }
    let sentence = content.replace("\\text{", " ").replace("\\textbf{", " ").replace(['{', '}'], "");
    match phrases::announced(&sentence) {
        Some((_, answer)) => answer.to_owned(),
        None => content,
    }
}

/// Takes the answer out of the sentence that announced it.
fn within_sentence(gold: &str, sentence: &str) -> String {
    let claim = phrases::without_reason(sentence);
    for text in [sentence, claim] {
        if math::is_readable(text) || math::same_text(gold, text) {
            return text.to_owned();
        }
    }
    if let Some((span, _)) = extract::last_span(claim) {
        return span.to_owned();
    }
    extract::last_number(claim).unwrap_or_else(|| claim.to_owned())
}

fn verify_numeric(gold: &str, response: &str) -> Verdict {
    let gold = match numeric::read(&gold_answer(gold)) {
        Ok(gold) => gold,
        Err(numeric::Problem::OverBudget) => return Verdict::unverifiable(UnverifiableCause::OverBudget, None),
        Err(_) => return Verdict::unverifiable(UnverifiableCause::UnreadableGold, None),
    };
    let Some((strategy, answer)) = find_number(response) else { return no_answer() };
    match numeric::read(&answer) {
        Ok(number) => match numeric::equal(&gold, &number) {
            Some(rule) => verdict(VerdictOutcome::Correct, strategy, rule, answer),
            None => verdict(VerdictOutcome::Incorrect, strategy, "rational_differs", answer),
        },
        Err(numeric::Problem::NoNumber) => verdict(VerdictOutcome::Incorrect, strategy, "unreadable_answer", answer),
        Err(numeric::Problem::OverBudget) => Verdict::unverifiable(UnverifiableCause::OverBudget, Some(answer)),
        Err(numeric::Problem::Several(numbers)) => {
            if numbers.iter().any(|number| numeric::equal(&gold, number).is_some()) {
                Verdict::unverifiable(UnverifiableCause::Ambiguous, Some(answer))
            } else {
                verdict(VerdictOutcome::Incorrect, strategy, "several_numbers", answer)
            }
        }
    }
}

fn find_number(response: &str) -> Option<(Strategy, String)> {
    if let Some(answer) = boxes::boxed(response) {
        return Some((Strategy::Boxed, answer));
    }
    if let Some((strategy, sentence)) = phrases::announced(response).filter(|(_, s)| numeric::holds_number(s)) {
        let claim = phrases::without_reason(sentence);
        let claim = if claim.contains(|c: char| c.is_ascii_digit()) { claim } else { sentence };
        let answer = match numeric::read(claim) {
            Err(numeric::Problem::NoNumber) => extract::last_number(claim)?,
            Err(numeric::Problem::Several(_)) => numeric::leading_quantity(claim).unwrap_or(claim).to_owned(),
            _ => claim.to_owned(),
        };
        return Some((strategy, answer));
    }
    if numeric::is_bare(response) {
        return Some((Strategy::Whole, response.to_owned()));
    }
    // A span counts only if no number follows it: a lone dollar sign may be a price.
    if let Some((span, after)) = extract::last_span(response)
        && !after.contains(|c: char| c.is_ascii_digit())
        && numeric::read(span).is_ok()
    {
        return Some((Strategy::MathSpan, span.to_owned()));
    }
    extract::last_number(response).map(|number| (Strategy::LastNumber, number))
}

fn verify_choice(gold: &str, choices: &[String], response: &str) -> Verdict {
    let Some(gold) = choice::gold(gold, choices) else {
        return Verdict::unverifiable(UnverifiableCause::UnreadableGold, None);
    };
    let Some((strategy, answer, named)) = find_choice(choices, response) else { return no_answer() };
    match named {
        choice::Named::One(index) if index == gold => verdict(VerdictOutcome::Correct, strategy, "same_choice", answer),
        choice::Named::One(_) => verdict(VerdictOutcome::Incorrect, strategy, "other_choice", answer),
        choice::Named::Several => Verdict::unverifiable(UnverifiableCause::Ambiguous, Some(answer)),
        choice::Named::Nothing => verdict(VerdictOutcome::Incorrect, strategy, "no_choice", answer),
    }
}

fn find_choice(choices: &[String], response: &str) -> Option<(Strategy, String, choice::Named)> {
    let named = |strategy: Strategy, text: &str| {
        let text = phrases::trim_decoration(text);
        (strategy, text.to_owned(), choice::read(text, choices))
    };
    if let Some(answer) = boxes::boxed(response) {
        return Some(named(Strategy::Boxed, &answer));
    }
    let readable = |found: &(Strategy, String, choice::Named)| found.2 != choice::Named::Nothing;
    if let Some(found) = phrases::announced(response).map(|(s, sentence)| named(s, sentence)).filter(readable) {
        return Some(found);
    }
    let short = |text: &&str| text.len() <= WHOLE_BYTES_MAX;
    let whole = Some(response).filter(short).map(|text| named(Strategy::Whole, text)).filter(readable);
    let last = extract::last_line(response).filter(short).map(|line| named(Strategy::LastLine, line)).filter(readable);
    // Lines before the last may weigh several choices.
    let is_one = |found: &(Strategy, String, choice::Named)| matches!(found.2, choice::Named::One(_));
    if let Some(found) = whole.clone().filter(is_one).or(last).or(whole) {
        return Some(found);
    }
    choice::last_marked_letter(response, choices)
        .map(|(index, letter)| (Strategy::LastLetter, letter, choice::Named::One(index)))
}

fn verify_text(gold: &str, response: &str) -> Verdict {
    let allowed = text::allowed(gold);
    if allowed.is_empty() {
        return Verdict::unverifiable(UnverifiableCause::UnreadableGold, None);
    }
    let announced = phrases::announced(response);
    let candidates = [
        boxes::boxed(response).map(|answer| (Strategy::Boxed, answer)),
        announced.map(|(strategy, sentence)| (strategy, sentence.to_owned())),
        Some((Strategy::Whole, response.to_owned())).filter(|_| response.len() <= WHOLE_BYTES_MAX),
        extract::last_line(response).map(|line| (Strategy::LastLine, line.to_owned())),
    ];
    // A box or an announcement is final; without either, the whole response or its last line may be the answer.
    let marked = candidates.iter().take(2).flatten().next();
    let tried: Vec<&(Strategy, String)> = match marked {
        Some(candidate) => vec![candidate],
        None => candidates.iter().skip(2).flatten().filter(|(_, answer)| !answer.is_empty()).collect(),
    };
    let is_equal = |answer: &str| {
        let claim = phrases::without_reason(answer);
        // "Paris, the capital of France": what follows a comma explains.
        let named = claim.split([',', '(', ';']).next().unwrap_or(claim);
        [answer, claim, named].iter().any(|text| {
            allowed.contains(&text::normalise(&text::unwrap_latex(text))) || allowed.contains(&text::normalise(text))
        })
    };
    if let Some((strategy, answer)) = tried.iter().find(|(_, answer)| is_equal(answer)) {
        return verdict(VerdictOutcome::Correct, *strategy, "same_text", answer.clone());
    }
    match tried.last() {
        Some((strategy, answer)) => verdict(VerdictOutcome::Incorrect, *strategy, "text_differs", answer.clone()),
        None => no_answer(),
    }
}
