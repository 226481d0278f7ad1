//! Answers in words.
//!
//! Words are equal if their letters and digits are. A number in words equals the number, and the phrases that stand
//! for a set or for nothing (`no solution`, `all real numbers`) equal what they stand for.

use dashu_ratio::RBig;

use super::Outcome;
use super::expression::{Domain, Expression};
use crate::verify::words;

/// Phrases that say that there is no answer.
const NOTHING: &[&str] = &[
    "no solution",
    "no solutions",
    "no real solution",
    "no real solutions",
    "no such",
    "none",
    "empty set",
    "the empty set",
    "\u{65e0}\u{89e3}",
];
const REALS: &[&str] = &["all real numbers", "all reals", "real numbers", "the real numbers", "any real number"];
const UNDEFINED: &[&str] = &["dne", "does not exist", "undefined", "not defined"];

/// Compares two answers of which at least one is a text.
pub(super) fn compare(gold: &Expression, answer: &Expression) -> Outcome {
    let equal = match (gold, answer) {
        (Expression::Text(left), Expression::Text(right)) => {
            squeeze(left) == squeeze(right)
                || [NOTHING, REALS, UNDEFINED]
                    .iter()
                    .any(|phrases| phrases.contains(&left.as_str()) && phrases.contains(&right.as_str()))
                || words::number(left).is_some_and(|number| words::number(right) == Some(number))
        }
        (Expression::Text(text), other) | (other, Expression::Text(text)) => stands_for(text, other),
        _ => false,
    };
    if equal { Outcome::Equal("same_text") } else { Outcome::Different("text_differs") }
}

fn stands_for(text: &str, other: &Expression) -> bool {
    match other {
        Expression::Set(items) if items.is_empty() => NOTHING.contains(&text),
        Expression::Domain(Domain::Reals) => REALS.contains(&text),
        Expression::Number { value, places: None } => {
            words::number(text).is_some_and(|number| RBig::from(number) == *value)
        }
        Expression::Infinity => text == "infinitely many" || text == "infinite",
        Expression::Quantity(inner, _) => stands_for(text, inner),
        // `yes` in plain letters is a product of variables.
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
