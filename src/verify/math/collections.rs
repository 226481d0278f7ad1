//! Many answers at once: lists, sets, tuples, matrices.

use super::Outcome;
use super::compare::{Work, shape};
use super::expression::{Bracket, Expression, Relation};
use super::limits::ELEMENTS_MAX;
use super::shapes::expand_plus_minus;

/// Returns the elements of a list or set, with `\pm` written out; `None` for anything else.
pub(super) fn elements(expression: &Expression) -> Option<Vec<Expression>> {
    match expression {
        Expression::List(items, _) | Expression::Set(items) => {
            let mut all = Vec::new();
            for item in items {
                match item {
                    // Lists of sets stay lists of sets; lists within lists are one list.
                    Expression::List(..) => all.extend(elements(item)?),
                    _ => all.extend(expand_plus_minus(item)),
                }
            }
            Some(all)
        }
        Expression::Union(parts) if parts.iter().all(|part| matches!(part, Expression::Set(_))) => {
            let parts: Option<Vec<Vec<Expression>>> = parts.iter().map(elements).collect();
            Some(parts?.into_iter().flatten().collect())
        }
        other => {
            let expanded = expand_plus_minus(other);
            (expanded.len() > 1).then_some(expanded)
        }
    }
}

/// Compares a collection with something that is none: a tuple of the same order, or its only element.
pub(super) fn collection_and_other(
    items: &[Expression],
    collection: &Expression,
    other: &Expression,
    work: &mut Work,
) -> Outcome {
    if let Expression::Group { open, close, items: tuple } = other
        && matches!(collection, Expression::List(..))
        && items.len() == tuple.len()
        && ((*open, *close) == (Bracket::Round, Bracket::Round) || tuple.len() > 2)
    {
        return ordered(&by_name(items), tuple, work);
    }
    // Elements that are all the same value are that value, given twice: `15\frac{39}{40}` or `\frac{639}{40}`.
    if items.is_empty() && matches!(other, Expression::Text(_)) {
        return super::texts::compare(&Expression::Set(Vec::new()), other);
    }
    if items.is_empty() || items.len() > ELEMENTS_MAX {
        return Outcome::Different("count_differs");
    }
    let mut outcome = Outcome::Different("count_differs");
    for item in items {
        outcome = shape(item, other, work);
        match outcome {
            Outcome::Equal(_) => {}
            Outcome::Different(_) if items.len() > 1 => return Outcome::Different("count_differs"),
            other => return other,
        }
    }
    outcome
}

/// Sorts definitions by the names they define, as a tuple of their values would be.
fn by_name(items: &[Expression]) -> Vec<Expression> {
    let name = |item: &Expression| match item {
        Expression::Relation { sides, signs } if signs.as_slice() == [Relation::Equal] => match sides.first() {
            Some(Expression::Symbol(name)) => Some(name.clone()),
            _ => None,
        },
        _ => None,
    };
    let mut sorted = items.to_vec();
    if sorted.iter().all(|item| name(item).is_some()) {
        sorted.sort_by_key(name);
    }
    sorted
}

/// Compares element by element.
pub(super) fn ordered(gold: &[Expression], answer: &[Expression], work: &mut Work) -> Outcome {
    if gold.len() != answer.len() {
        return Outcome::Different("count_differs");
    }
    let mut worst = Outcome::Equal("elements_equal");
    for (gold, answer) in gold.iter().zip(answer) {
        match shape(gold, answer, work) {
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

/// Matches elements without order. Repeated elements count once, as in a set.
pub(super) fn unordered(gold: &[Expression], answer: &[Expression], work: &mut Work) -> Outcome {
    if gold.len() > ELEMENTS_MAX || answer.len() > ELEMENTS_MAX {
        return Outcome::OverBudget;
    }
    let mut matched = vec![false; answer.len()];
    let mut worst = Outcome::Equal("elements_equal");
    for gold in gold {
        let mut best = Outcome::Different("element_differs");
        for (answer, matched) in answer.iter().zip(matched.iter_mut()) {
            match shape(gold, answer, work) {
                Outcome::Equal(rule) => {
                    best = Outcome::Equal(rule);
                    *matched = true;
                }
                Outcome::OverBudget => return Outcome::OverBudget,
                Outcome::Undecided if matches!(best, Outcome::Different(_)) => {
                    best = Outcome::Undecided;
                    *matched = true;
                }
                _ => {}
            }
        }
        match best {
            Outcome::Equal(_) => {}
            Outcome::Different(rule) => return Outcome::Different(rule),
            other => worst = other,
        }
    }
    if matched.iter().any(|matched| !matched) { Outcome::Different("count_differs") } else { worst }
}
