//! Equality of mathematical answers, written in LaTeX or plainly.
//!
//! A gold and an answer are read into trees (`lexer`, `parser`, `primary`), and trees are compared by shape (`compare`):
//! tuples, intervals, sets, lists, matrices, equations and inequalities part by part, dates and times by `calendar`, units by
//! `units`. Values are equal by normal form (`canonical`, `polynomial`, `power`), else by exact evaluation at seeded rational
//! points (`points`), else by balls of many digits (`ball`, `evaluate`), which refute as soon as they part. `rounding` says
//! when a decimal stands for a value. Everything is bounded by `limits`.
//!
//! What it does not know: calculus (integrals, limits, derivatives), piecewise functions, and which of several readings a
//! question meant. Where such knowledge would be needed, the outcome is undecided, never equal.

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
mod evaluate;
mod expression;
mod glyphs;
mod layout;
mod lexer;
pub(super) mod limits;
mod lists;
mod marks;
mod numerals;
mod parser;
mod points;
mod polynomial;
mod power;
mod primary;
mod question;
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

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod kinds_tests;

use dashu_ratio::RBig;

use question::Asked;

/// Why an expression has no exact value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The text is no mathematics this module reads.
    Unreadable,
    /// The text holds a command that is not known here: what it says is open.
    UnknownCommand,
    /// A bound was reached.
    OverBudget,
    /// The expression is no single number.
    Unsupported,
    /// Division by zero.
    Undefined,
}

/// What a comparison found; each carries the rule's stable name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Equal, and why.
    Equal(&'static str),
    /// Different, and why.
    Different(&'static str),
    /// Both sides were read; no rule decided.
    Undecided,
    /// A bound was reached before a decision.
    OverBudget,
    /// The gold could not be read.
    UnreadableGold,
    /// The answer holds notation that is not known here.
    UnreadableAnswer,
}

/// Compares an answer to a question with its gold; the question tells whether a list has an order and whether its
/// elements are coordinates. It may be empty.
pub(super) fn equal_for(question: &str, gold: &str, answer: &str) -> Outcome {
    if squash::same_text(gold, answer) {
        return Outcome::Equal("string_equal");
    }
    if let Some(outcome) = calendar::compare(gold, answer) {
        return outcome;
    }
    let has_parts = |text: &str| {
        text.contains([',', ';', '\u{3001}', '('])
            || text.contains("and")
            || text.contains(r"\q")
            || text.contains(r"\\")
    };
    let asked = if has_parts(gold) || has_parts(answer) { question::read(question) } else { Asked::default() };
    let outcome = equal_trees(gold, answer, asked);
    if matches!(outcome, Outcome::Equal(_)) {
        return outcome;
    }
    // `1000,99` is the decimal 1000.99 or a list: the gold tells, being a decimal or a text with such commas.
    if (gold.contains('.') || squash::shows_decimal_commas(gold))
        && let Some(rewritten) = squash::decimal_comma(answer)
        && let Outcome::Equal(_) = equal_trees(gold, &rewritten, asked)
    {
        return Outcome::Equal("decimal_comma");
    }
    // `{58,500}`: braces around an answer print nothing, and a comma in them need not list.
    if let Some(inner) = squash::unbraced(answer)
        && let Outcome::Equal(rule) = equal_trees(gold, inner, asked)
    {
        return Outcome::Equal(rule);
    }
    match (outcome, without_labels(gold, answer, asked)) {
        (_, Outcome::Equal(rule)) => Outcome::Equal(rule),
        // `C. {x \mid -3 < x < 4}` is read as a label and a set only.
        (Outcome::UnreadableGold, different @ Outcome::Different(_)) => different,
        (outcome, _) => outcome,
    }
}

/// Compares an answer with a gold, both as text without surrounding prose.
pub(super) fn equal(gold: &str, answer: &str) -> Outcome {
    equal_for("", gold, answer)
}

/// Compares texts of which one has the label of a choice in front of its value: `(B) 12`.
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

/// Reads a text as a tree; `Eq(left, right)` is an equation.
fn parse(text: &str) -> Result<expression::Expression, Fault> {
    match squash::equation_call(text) {
        Some((left, right)) => {
            let sides = vec![parser::parse(left)?, parser::parse(right)?];
            Ok(expression::Expression::Relation { sides, signs: vec![expression::Relation::Equal] })
        }
        None => parser::parse(text),
    }
}

/// Compares words with a value behind them (`concave up on (0, 1)`): the same words, and the same value.
fn statements(gold: &str, answer: &str, asked: Asked) -> Outcome {
    let Some((gold_words, gold_value)) = texts::statement(gold) else { return Outcome::UnreadableGold };
    let gold_tree = match parse(gold_value) {
        Ok(expression::Expression::Text(_)) | Err(_) => return Outcome::UnreadableGold,
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

/// Returns whether a gold holds nothing that any answer could equal.
pub(super) fn is_blank(gold: &str) -> bool {
    squash::is_blank(gold)
}

/// Returns whether a gold is read at all; one that is not can equal answers as a text only.
pub(super) fn is_parsed(gold: &str) -> bool {
    let is_statement = || {
        texts::statement(gold)
            .is_some_and(|(_, value)| !matches!(parse(value), Ok(expression::Expression::Text(_)) | Err(_)))
    };
    let is_labelled = || squash::label(gold).is_some_and(|(_, value)| parse(value).is_ok());
    parse(gold).is_ok() || calendar::compare(gold, gold).is_some() || is_statement() || is_labelled()
}

/// Returns whether a text reads as mathematics: no prose, and not words alone.
pub(super) fn is_readable(text: &str) -> bool {
    matches!(parse(text), Ok(tree) if !matches!(tree, expression::Expression::Text(_)))
}

/// Returns whether a text reads as mathematics and holds no words but names of signs and functions.
pub(super) fn is_wordless(text: &str) -> bool {
    let is_prose = |word: &str| {
        word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_alphabetic()) && tables::plain_name(word).is_none()
    };
    if text.split_whitespace().any(is_prose) {
        return false;
    }
    let Ok(tree) = parse(text) else { return false };
    let mut wordless = true;
    tree.walk(&mut |part| wordless &= !matches!(part, expression::Expression::Text(_)));
    wordless
}

/// Returns whether a word is a unit, or part of one, when it stands behind a number.
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

/// Returns whether a gold is words and no mathematics: `\text{even}`.
pub(super) fn is_words(text: &str) -> bool {
    match parser::parse(text) {
        Ok(tree) => matches!(tree, expression::Expression::Text(_)),
        Err(_) => !text.contains(|c: char| c.is_ascii_digit() || matches!(c, '^' | '=' | '+')) && text.contains(' '),
    }
}

/// Returns whether a gold is a ratio: `3:5`.
pub(super) fn is_ratio(text: &str) -> bool {
    text.contains(':')
        && matches!(parser::parse(text), Ok(expression::Expression::Operation(expression::Operation::Ratio, _)))
}

/// Returns the text behind the last equals sign that stands outside of brackets.
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

/// Returns the exact value of a text, if it reads as a rational number.
pub(super) fn rational(text: &str) -> Result<RBig, Fault> {
    let tree = shapes::last_side(parse(text)?);
    canonical::canonical(&tree, &mut polynomial::Budget::new())?.rational().ok_or(Fault::Unsupported)
}

pub(super) use glyphs::superscript;
pub(super) use rounding::{is_noise, rounds_to_gold};
pub(super) use squash::{same_text, same_typesetting};
pub(super) use undone::{is_irreducible, leaves_work};
