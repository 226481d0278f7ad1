//! Compares a collection with a single value, and tuples and matrices with each other; `lists` compares two
//! collections.

use super::definitions::{by_name, names_its_parts};
use super::expression::{Bracket, Expression, Join};
use super::limits::ELEMENTS_MAX;
use super::outcome::Outcome;
use super::work::Work;

/// Compares a collection with another expression: a tuple of the same order, or the collection's only element.
pub(super) fn collection_and_other(
    items: &[Expression],
    collection: &Expression,
    other: &Expression,
    work: &mut Work,
) -> Outcome {
    if let Expression::Group { open, close, items: tuple } = other
        && let Expression::List(_, join) = collection
    {
        let named = names_its_parts(items);
        let is_tuple = items.len() == tuple.len()
            && ((*open, *close) == (Bracket::Round, Bracket::Round) || tuple.len() > 2)
            && (named || *join == Join::Braces || work.asked.coordinates);
        return if is_tuple { ordered(&by_name(items), tuple, work) } else { Outcome::Different("shape_differs") };
    }
    if items.is_empty() && matches!(other, Expression::Text(_)) {
        return super::texts::compare(&Expression::Set(Vec::new()), other);
    }
    // A list has all of its answers, unless they are alternatives: `15\frac{39}{40}` or `\frac{639}{40}`.
    let is_list = matches!(collection, Expression::List(_, join) if *join != Join::Or);
    if items.is_empty() || items.len() > ELEMENTS_MAX || is_list {
        return Outcome::Different("count_differs");
    }
    let mut outcome = Outcome::Different("count_differs");
    for item in items {
        outcome = work.compare(item, other);
        match outcome {
            Outcome::Equal(_) => {}
            Outcome::Different(_) if items.len() > 1 => return Outcome::Different("count_differs"),
            other => return other,
        }
    }
    outcome
}

/// Compares element by element.
pub(super) fn ordered(gold: &[Expression], answer: &[Expression], work: &mut Work) -> Outcome {
    if gold.len() != answer.len() {
        return Outcome::Different("count_differs");
    }
    let mut worst = Outcome::Equal("elements_equal");
    for (gold, answer) in gold.iter().zip(answer) {
        match work.compare(gold, answer) {
            Outcome::Equal(_) => {}
            Outcome::Different(_) => return Outcome::Different("element_differs"),
            other => worst = other,
        }
    }
    worst
}

/// Compares cell by cell.
pub(super) fn matrices(gold: &[Vec<Expression>], answer: &[Vec<Expression>], work: &mut Work) -> Outcome {
    if gold.len() != answer.len() {
        return Outcome::Different("count_differs");
    }
    let mut worst = Outcome::Equal("elements_equal");
    for (gold, answer) in gold.iter().zip(answer) {
        match ordered(gold, answer, work) {
            Outcome::Equal(_) => {}
            Outcome::Different(rule) => return Outcome::Different(rule),
            other => worst = other,
        }
    }
    worst
}
