//! Compares lists and sets: the number of elements, their repetitions, their order, and their names.
//!
//! A list has a length and may repeat elements; a set, or a list compared with a set, does not. A list is unordered
//! unless the question requires an order. Elements that are definitions (`AB = 3, CD = 4`) must agree in name; a list
//! of definitions and a list of bare values are compared in the written order.

use super::canonical::canonical;
use super::collections::ordered;
use super::definitions::{Definition, by_name, distinct, is_enumerated, names};
use super::expression::{Expression, Join};
use super::limits::ELEMENTS_MAX;
use super::outcome::Outcome;
use super::relations;
use super::shapes::expand_plus_minus;
use super::work::Work;

/// Returns the elements of a list or set, with `\pm` expanded; `None` for any other expression.
pub(super) fn elements(expression: &Expression) -> Option<Vec<Expression>> {
    match expression {
        Expression::List(items, _) | Expression::Set(items) => {
            let mut all = Vec::new();
            for item in items {
                match item {
                    // Lists of sets remain lists of sets; nested lists become one list.
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

/// Returns whether repeated elements of a collection count once.
fn is_set(expression: &Expression) -> bool {
    matches!(expression, Expression::Set(_) | Expression::Union(_) | Expression::List(_, Join::Braces))
}

/// Compares two collections; `gold` and `answer` are the expressions that contain the elements.
pub(super) fn collections(
    (gold, gold_items): (&Expression, &[Expression]),
    (answer, answer_items): (&Expression, &[Expression]),
    work: &mut Work,
) -> Outcome {
    if gold_items.len() > ELEMENTS_MAX || answer_items.len() > ELEMENTS_MAX {
        return Outcome::OverBudget;
    }
    // A list of sets is not the set of their elements.
    let holds_sets =
        |items: &[Expression]| items.iter().any(|item| matches!(item, Expression::Set(_) | Expression::Builder(..)));
    if holds_sets(gold_items) != holds_sets(answer_items) {
        return Outcome::Different("shape_differs");
    }
    if is_set(gold) || is_set(answer) {
        return unordered(gold_items, answer_items, Repeats::Dropped, work);
    }
    // A tuple is a solution; a repeated solution counts once.
    let is_tuple = |item: &Expression| matches!(item, Expression::Group { .. });
    let once = without_repeats(answer_items);
    let answer_items =
        if answer_items.iter().all(is_tuple) && once.len() == gold_items.len() { &once } else { answer_items };
    if gold_items.len() != answer_items.len() {
        return Outcome::Different("count_differs");
    }
    let (gold_names, answer_names) = (names(gold_items), names(answer_items));
    let none = |names: &[Option<Definition>]| names.iter().all(Option::is_none);
    if distinct(&gold_names) && none(&answer_names) {
        return ordered(gold_items, answer_items, work);
    }
    if distinct(&answer_names) && none(&gold_names) && !is_enumerated(&answer_names) {
        let axes = answer_names.iter().flatten().all(|definition| {
            matches!(&definition.name, Expression::Symbol(name) if matches!(name.as_str(), "x" | "y" | "z"))
        });
        return if axes {
            ordered(gold_items, &by_name(answer_items), work)
        } else {
            ordered(gold_items, answer_items, work)
        };
    }
    if work.asked.order && (none(&gold_names) || none(&answer_names)) {
        return ordered(gold_items, answer_items, work);
    }
    unordered(gold_items, answer_items, Repeats::Kept, work)
}

fn without_repeats(items: &[Expression]) -> Vec<Expression> {
    let mut once: Vec<Expression> = Vec::with_capacity(items.len());
    for item in items {
        if !once.contains(item) {
            once.push(item.clone());
        }
    }
    once
}

/// Whether repeated elements count separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeats {
    Kept,
    Dropped,
}

/// Matches elements without regard to order.
pub(super) fn unordered(gold: &[Expression], answer: &[Expression], repeats: Repeats, work: &mut Work) -> Outcome {
    if gold.len() > ELEMENTS_MAX || answer.len() > ELEMENTS_MAX {
        return Outcome::OverBudget;
    }
    if repeats == Repeats::Kept && gold.len() != answer.len() {
        return Outcome::Different("count_differs");
    }
    let (gold_names, answer_names) = (names(gold), names(answer));
    let by_words = words_are_names(gold, answer);
    let mut equal = vec![vec![false; answer.len()]; gold.len()];
    let mut open = vec![vec![false; answer.len()]; gold.len()];
    for (row, (gold, gold_name)) in gold.iter().zip(&gold_names).enumerate() {
        for (column, (answer, answer_name)) in answer.iter().zip(&answer_names).enumerate() {
            let outcome = if by_words && words(gold) != words(answer) {
                Outcome::Different("names_differ")
            } else {
                element((gold, gold_name.as_ref()), (answer, answer_name.as_ref()), work)
            };
            let cell = |table: &mut Vec<Vec<bool>>| {
                if let Some(cell) = table.get_mut(row).and_then(|cells| cells.get_mut(column)) {
                    *cell = true;
                }
            };
            match outcome {
                Outcome::Equal(_) => {
                    cell(&mut equal);
                    cell(&mut open);
                }
                Outcome::OverBudget => return Outcome::OverBudget,
                Outcome::Undecided => cell(&mut open),
                _ => {}
            }
        }
        if !open.get(row).is_some_and(|cells| cells.contains(&true)) {
            return Outcome::Different("element_differs");
        }
    }
    let covers = |table: &[Vec<bool>]| match repeats {
        Repeats::Kept => is_matched(table),
        Repeats::Dropped => {
            table.iter().all(|cells| cells.contains(&true))
                && (0..answer.len()).all(|column| table.iter().any(|cells| cells.get(column) == Some(&true)))
        }
    };
    if covers(&equal) {
        Outcome::Equal("elements_equal")
    } else if covers(&open) {
        Outcome::Undecided
    } else {
        Outcome::Different("count_differs")
    }
}

/// Returns the words after a value, which name the counted things.
fn words(item: &Expression) -> Option<&str> {
    match item {
        Expression::Quantity(_, words) => Some(words),
        _ => None,
    }
}

/// Returns whether both sides count the same different things: `3 boys, 4 girls`.
fn words_are_names(gold: &[Expression], answer: &[Expression]) -> bool {
    let sorted = |items: &[Expression]| -> Option<Vec<String>> {
        let mut all: Option<Vec<String>> = items.iter().map(|item| words(item).map(str::to_owned)).collect();
        all.iter_mut().for_each(|all| all.sort());
        all
    };
    let (Some(left), Some(right)) = (sorted(gold), sorted(answer)) else { return false };
    left == right && left.windows(2).all(|pair| pair.first() != pair.last())
}

/// Compares two elements; definitions with different names differ.
fn element(
    (gold, gold_name): (&Expression, Option<&Definition>),
    (answer, answer_name): (&Expression, Option<&Definition>),
    work: &mut Work,
) -> Outcome {
    let (Some(left), Some(right)) = (gold_name, answer_name) else {
        // Conditions on different unknowns: `x > 2` and `y > 2`.
        if let (Expression::Relation { .. }, Expression::Relation { .. }) = (gold, answer) {
            let (left, right) = (gold.variables(), answer.variables());
            if !left.is_empty() && !right.is_empty() && left.is_disjoint(&right) {
                return Outcome::Different("names_differ");
            }
        }
        return work.compare(gold, answer);
    };
    if same_name(&left.name, &right.name, work) {
        return work.compare(&left.value, &right.value);
    }
    // `x = 2y` and `y = \frac{x}{2}` are one equation.
    if left.value.has_variable() && right.value.has_variable() {
        return relations::relations(gold, answer, work).unwrap_or(Outcome::Different("names_differ"));
    }
    Outcome::Different("names_differ")
}

/// Returns whether two names are the same: `AB` and `BA`.
pub(super) fn same_name(left: &Expression, right: &Expression, work: &mut Work) -> bool {
    if left == right {
        return true;
    }
    // `BA` is `AB`; a symbol is only itself.
    if matches!((left, right), (Expression::Symbol(_), Expression::Symbol(_))) {
        return false;
    }
    let (Ok(left), Ok(right)) = (canonical(left, &mut work.exact), canonical(right, &mut work.exact)) else {
        return false;
    };
    left.difference(&right, &mut work.exact).is_ok_and(|difference| difference.is_zero())
}

/// Returns whether every row can be assigned its own column (augmenting paths; at most 64 rows).
fn is_matched(table: &[Vec<bool>]) -> bool {
    let columns = table.first().map_or(0, Vec::len);
    let mut owner: Vec<Option<usize>> = vec![None; columns];
    (0..table.len()).all(|row| {
        let mut tried = vec![false; columns];
        place(row, table, &mut owner, &mut tried)
    })
}

fn place(row: usize, table: &[Vec<bool>], owner: &mut [Option<usize>], tried: &mut [bool]) -> bool {
    let Some(cells) = table.get(row) else { return false };
    for (column, fits) in cells.iter().enumerate() {
        if !fits || tried.get(column) != Some(&false) {
            continue;
        }
        if let Some(mark) = tried.get_mut(column) {
            *mark = true;
        }
        let before = owner.get(column).copied().flatten();
        if before.is_none_or(|before| place(before, table, owner, tried)) {
            if let Some(cell) = owner.get_mut(column) {
                *cell = Some(row);
            }
            return true;
        }
    }
    false
}
