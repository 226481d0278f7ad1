//! Equality of mathematical answers, in LaTeX or plain notation.
//!
//! A gold and an answer are parsed to trees (`reading`: `lexer`, `parser`, `primary`, `brackets`, `calls`; `layout`
//! repairs answers that rely on spacing). Trees are compared by shape (`compare`): tuples and matrices part by part
//! (`collections`), lists and sets by `lists`, definitions by their names (`definitions`), equations and inequalities
//! by `relations`, dates and times by `calendar`, units by `units`, `\approx` by `approximate`. The parts of a
//! container are compared by shape again, through `work`, which also holds the remaining budgets of the comparison.
//! `question` decides whether a list has an order, and whether its elements are coordinates. Values are equal by normal
//! form (`canonical`, `polynomial`, `power`), otherwise by exact evaluation at seeded rational points (`points`),
//! otherwise by balls of many digits (`ball`, `evaluate`), which refute equality when they are disjoint. `rounding`
//! decides whether a decimal represents a value. `limits` bounds everything.
//!
//! The verifier does not support calculus (integrals, limits, derivatives) and piecewise functions, and cannot choose
//! between several readings of a question. If a comparison needs such knowledge, the outcome is undecided, never equal.

mod approximate;
mod ball;
mod brackets;
mod calendar;
mod calls;
mod canonical;
mod collections;
mod commands;
mod compare;
mod complex;
mod currency;
mod definitions;
mod evaluate;
mod expression;
mod glyphs;
mod layout;
mod lexer;
pub(super) mod limits;
mod lists;
mod marks;
mod numerals;
mod outcome;
mod parser;
mod points;
mod polynomial;
mod power;
mod primary;
mod question;
mod reading;
mod relations;
mod rounding;
mod scalars;
mod sets;
mod shapes;
mod squash;
mod tables;
mod texts;
mod token;
mod undone;
mod unit_table;
mod unit_text;
mod unit_words;
mod units;
mod work;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod kinds_tests;

use dashu_ratio::RBig;

use expression::Expression;
use question::Asked;
use reading::parse;

/// Compares an answer to a question with its gold. The question, which may be empty, decides whether a list has an
/// order and whether its elements are coordinates.
pub(super) fn equal_for(question: &str, gold: &str, answer: &str) -> Outcome {
    if squash::same_text(gold, answer) {
        return Outcome::Equal("string_equal");
    }
    if let Some(outcome) = calendar::compare(gold, answer) {
        return outcome;
    }
    let has_parts = |text: &str| {
        text.contains([',', ';', '\u{3001}', '(', '_'])
            || text.contains("and")
            || text.contains(r"\q")
            || text.contains(r"\\")
    };
    let asked = if has_parts(gold) || has_parts(answer) { question::read(question) } else { Asked::default() };
    let outcome = equal_trees(gold, answer, asked);
    if matches!(outcome, Outcome::Equal(_)) {
        return outcome;
    }
    // `1000,99` is the decimal 1000.99 or a list. The gold decides, if it is a decimal or a text with decimal commas.
    if (gold.contains('.') || squash::shows_decimal_commas(gold))
        && let Some(rewritten) = squash::decimal_comma(answer)
        && let Outcome::Equal(_) = equal_trees(gold, &rewritten, asked)
    {
        return Outcome::Equal("decimal_comma");
    }
    // `{58,500}`: braces around an answer print nothing, and a comma inside them may separate thousands.
    if let Some(inner) = squash::unbraced(answer)
        && let Outcome::Equal(rule) = equal_trees(gold, inner, asked)
    {
        return Outcome::Equal(rule);
    }
    match (outcome, without_labels(gold, answer, asked)) {
        (_, Outcome::Equal(rule)) => Outcome::Equal(rule),
        // `C. {x \mid -3 < x < 4}` can be parsed only as a label and a set.
        (Outcome::UnreadableGold, different @ Outcome::Different(_)) => different,
        (outcome, _) => outcome,
    }
}

/// Compares an answer with a gold, both as text without surrounding prose.
pub(super) fn equal(gold: &str, answer: &str) -> Outcome {
    equal_for("", gold, answer)
}

/// Compares texts, one of which has a choice's label before its value: `(B) 12`.
fn without_labels(gold: &str, answer: &str, asked: Asked) -> Outcome {
    let equal = |gold: &str, answer: &str| {
        if squash::same_text(gold, answer) { Outcome::Equal("string_equal") } else { equal_trees(gold, answer, asked) }
    };
    let (labelled_gold, labelled_answer) = (squash::label(gold), squash::label(answer));
    match (labelled_gold, labelled_answer) {
        (None, Some((label, value))) => {
            if squash::same_text(gold, label) {
                Outcome::Equal("same_label")
            } else {
                equal(gold, value)
            }
        }
        (Some((label, value)), None) => {
            if squash::same_text(label, answer) {
                Outcome::Equal("same_label")
            } else {
                equal(value, answer)
            }
        }
        (Some((_, gold)), Some((_, answer))) => equal(gold, answer),
        (None, None) => Outcome::Undecided,
    }
}

fn equal_trees(gold: &str, answer: &str, asked: Asked) -> Outcome {
    let gold_tree = match parse(gold) {
        Ok(tree) => currency::with_currency(gold, tree),
        Err(Fault::OverBudget) => return Outcome::OverBudget,
        Err(_) => return statements(gold, answer, asked),
    };
    match parse(answer) {
        Ok(tree) => compare::compare(&gold_tree, &currency::with_currency(answer, tree), asked),
        Err(Fault::OverBudget) => Outcome::OverBudget,
        Err(Fault::UnknownCommand) => match squash::conclusion(answer).map(parse) {
            Some(Ok(tree)) => compare::compare(&gold_tree, &currency::with_currency(answer, tree), asked),
            _ => Outcome::UnreadableAnswer,
        },
        Err(_) => Outcome::Different("unreadable_answer"),
    }
}

/// Compares words followed by a value (`concave up on (0, 1)`): both the words and the value must be equal.
fn statements(gold: &str, answer: &str, asked: Asked) -> Outcome {
    let Some((gold_words, gold_value)) = texts::statement(gold) else { return Outcome::UnreadableGold };
    let gold_tree = match parse(gold_value) {
        Ok(Expression::Text(_)) | Err(_) => return Outcome::UnreadableGold,
        Ok(tree) => tree,
    };
    let Some((words, value)) = texts::statement(answer) else { return Outcome::Different("statement_differs") };
    if gold_words != words {
        return Outcome::Different("statement_differs");
    }
    match parse(value) {
        Ok(tree) => compare::compare(&gold_tree, &tree, asked),
        Err(Fault::OverBudget) => Outcome::OverBudget,
        Err(_) => Outcome::Different("unreadable_answer"),
    }
}

/// Returns whether a gold has no content that an answer could equal.
pub(super) fn is_blank(gold: &str) -> bool {
    squash::is_blank(gold)
}

/// Returns whether a gold can be parsed; an unparsed gold can equal answers only as a text.
pub(super) fn is_parsed(gold: &str) -> bool {
    let is_statement =
        || texts::statement(gold).is_some_and(|(_, value)| !matches!(parse(value), Ok(Expression::Text(_)) | Err(_)));
    let is_labelled = || squash::label(gold).is_some_and(|(_, value)| parse(value).is_ok());
    parse(gold).is_ok() || calendar::compare(gold, gold).is_some() || is_statement() || is_labelled()
}

/// Returns whether a word after a number is a unit, or part of one.
pub(super) fn is_unit_word(word: &str) -> bool {
    let lower = word.to_lowercase();
    units::is_known(word)
        || units::is_known(&lower)
        || units::is_letter(word)
        || matches!(
            lower.as_str(),
            "degrees"
                | "degree"
                | "percent"
                | "am"
                | "pm"
                | "a.m"
                | "p.m"
                | "square"
                | "cubic"
                | "squared"
                | "cubed"
                | "per"
        )
}

/// Returns the text after the last equals sign outside brackets.
pub(super) fn last_side_text(text: &str) -> &str {
    let mut depth = 0usize;
    let mut last = 0;
    for (at, character) in text.char_indices() {
        match character {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '=' if depth == 0 => last = at + 1,
            _ => {}
        }
    }
    text.get(last..).unwrap_or(text)
}

/// Returns the exact value of a text that is a rational number.
pub(super) fn rational(text: &str) -> Result<RBig, Fault> {
    let tree = shapes::last_side(parse(text)?);
    canonical::canonical(&tree, &mut polynomial::Budget::new())?.rational().ok_or(Fault::Unsupported)
}

pub(super) use glyphs::superscript;
pub(super) use outcome::{Fault, Outcome};
pub(super) use reading::{is_ratio, is_readable, is_wordless, is_words};
pub(super) use rounding::{is_noise, rounds_to_gold};
pub(super) use squash::{same_text, same_typesetting};
pub(super) use undone::{is_irreducible, leaves_work};
