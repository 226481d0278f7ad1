//! Compares answers in words.
//!
//! Words are equal if their letters and digits are equal. A number in words equals the number, and a phrase for a set
//! or for no answer (`no solution`, `all real numbers`) equals the object that it describes.

use dashu_ratio::RBig;

use super::expression::{Domain, Expression};
use super::outcome::Outcome;
use crate::words;

/// Phrases that deny an answer.
const NOTHING: &[&str] = &[
    "no solution",
    "no real solution",
    "no integer solution",
    "no real root",
    "no root",
    "no such",
    "none",
    "nothing",
    "empty set",
    "the empty set",
    "null set",
    "\u{65e0}\u{89e3}",
    "\u{7a7a}\u{96c6}",
];
const REALS: &[&str] = &["all real numbers", "all reals", "real numbers", "the real numbers", "any real number"];
const UNDEFINED: &[&str] = &["dne", "does not exist", "undefined", "not defined"];

/// Compares two answers of which at least one is a text.
pub(super) fn compare(gold: &Expression, answer: &Expression) -> Outcome {
    let equal = match (gold, answer) {
        (Expression::Text(left), Expression::Text(right)) => {
            squeeze(left) == squeeze(right)
                || (says_nothing(left) && says_nothing(right))
                || [REALS, UNDEFINED]
                    .iter()
                    .any(|phrases| phrases.contains(&left.as_str()) && phrases.contains(&right.as_str()))
                || words::number(left).is_some_and(|number| words::number(right) == Some(number))
        }
        (Expression::Text(text), other) | (other, Expression::Text(text)) => stands_for(text, other),
        _ => false,
    };
    if equal { Outcome::Equal("same_text") } else { Outcome::Different("text_differs") }
}

/// Returns whether words deny an answer: `There are no solutions.`
fn says_nothing(text: &str) -> bool {
    let mut bare = text.trim_end_matches('.').trim();
    for opening in ["there are ", "there is ", "it has ", "has "] {
        bare = bare.strip_prefix(opening).unwrap_or(bare);
    }
    for ending in [" exists", " exist", "(s)"] {
        bare = bare.strip_suffix(ending).unwrap_or(bare);
    }
    NOTHING.contains(&bare) || bare.strip_suffix('s').is_some_and(|singular| NOTHING.contains(&singular))
}

fn stands_for(text: &str, other: &Expression) -> bool {
    match other {
        Expression::Set(items) if items.is_empty() => says_nothing(text),
        Expression::Domain(Domain::Reals) => REALS.contains(&text),
        Expression::Number { value, .. } => words::number(text).is_some_and(|number| RBig::from(number) == *value),
        Expression::Infinity => text == "infinitely many" || text == "infinite",
        Expression::Quantity(inner, _) if matches!(**inner, Expression::Number { .. }) => stands_for(text, inner),
        // `yes` in plain letters is parsed as a product of variables.
        Expression::Product(factors) => {
            let letters: Option<String> = factors
                .iter()
                .map(|factor| match factor {
                    Expression::Symbol(name) if name.len() == 1 => Some(name.as_str()),
                    _ => None,
                })
                .collect();
            letters.is_some_and(|letters| letters.to_lowercase() == squeeze(text))
        }
        Expression::Symbol(name) => name.to_lowercase() == squeeze(text),
        _ => false,
    }
}

fn squeeze(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).collect()
}

/// Most bytes of the words of a statement.
const STATEMENT_BYTES_MAX: usize = 120;

/// Splits a statement into its words, in lower case and without joining words, and the value after them.
pub(super) fn statement(text: &str) -> Option<(String, &str)> {
    let text = text.trim().trim_matches('$').trim();
    let mut rest = text;
    let mut words = String::new();
    let mut is_wrapped = false;
    while let Some(first) = rest.chars().next() {
        if first.is_alphabetic() || first == ' ' || (first == '-' && !words.is_empty()) || first == ',' {
            words.push(first);
            rest = rest.get(first.len_utf8()..)?;
        } else if let Some(inner) =
            ["\\text{", "\\textbf{", "\\mathrm{"].iter().find_map(|open| rest.strip_prefix(open))
        {
            is_wrapped = true;
            rest = inner;
        } else if first == '}' && is_wrapped {
            is_wrapped = false;
            rest = rest.get(1..)?;
        } else {
            break;
        }
        if words.len() > STATEMENT_BYTES_MAX {
            return None;
        }
    }
    let lower = words.to_lowercase();
    let kept: Vec<&str> = lower
        .split(|c: char| !c.is_alphabetic())
        .filter(|word| !matches!(*word, "" | "on" | "is" | "the" | "are" | "for" | "in" | "it" | "and"))
        .collect();
    let is_prose = kept.iter().any(|word| word.chars().count() >= 4);
    (is_prose && !rest.trim().is_empty() && !is_wrapped).then(|| (kept.join(" "), rest))
}
