//! Compares two trees, shape by shape.
//!
//! Tuples and intervals match in order, lists and sets by the rules of `lists`; a bare list is not a tuple. A bare
//! value equals an equation that defines it (`x = 3` and `3`), and no other equation. `relations` compares two
//! equations or inequalities, `sets` compares sets of real numbers, `collections` several answers, `scalars` single
//! values, and `approximate` answers with `\approx`. Units are compared if both are known (`units`).

use dashu_ratio::RBig;

use super::approximate::{Readings, is_false, readings};
use super::calls::named_values;
use super::collections::{collection_and_other, matrices, ordered};
use super::definitions::written_out;
use super::expression::{Bracket, Domain, Expression, Operation, Relation};
use super::lists::{self, Repeats, elements, unordered};
use super::outcome::Outcome;
use super::question::Asked;
use super::scalars::{exact, scalars, times};
use super::shapes::{Named, Side, fold_matrix, function_letter, is_measure, split_name, without_parameters};
use super::units::{self, Agreement};
use super::work::Work;
use super::{relations, sets, texts};

/// Returns the state at the start of a comparison of answers.
pub(super) fn begin(asked: Asked) -> Work {
    Work::new(asked, shape)
}

/// Compares an answer with a gold.
pub(super) fn compare(gold: &Expression, answer: &Expression, asked: Asked) -> Outcome {
    let mut work = begin(asked);
    let prepared = |expression: &Expression| written_out(named_values(expression.clone()));
    let (gold, answer) = (prepared(gold), prepared(answer));
    let gold_readings = readings(&gold, &mut work);
    let answer_readings = readings(&answer, &mut work);
    if matches!(answer_readings, Readings::Contradiction) || is_false(&answer, &mut work) {
        return Outcome::Different("contradicts_itself");
    }
    if gold == answer {
        return Outcome::Equal("same_expression");
    }
    let listed = |plain: &Expression, readings: Readings| match readings {
        Readings::Both(exact, rounded) => vec![without_signs(exact), without_signs(rounded)],
        _ => vec![without_signs(plain.clone())],
    };
    let (golds, answers) = (listed(&gold, gold_readings), listed(&answer, answer_readings));
    let mut outcome = None;
    for gold in &golds {
        for answer in &answers {
            let (gold, answer) = without_parameters(gold, answer);
            let next = shape(&gold, &answer, &mut work);
            if matches!(next, Outcome::Equal(_)) {
                return next;
            }
            outcome = outcome.or(Some(next));
        }
    }
    outcome.unwrap_or(Outcome::Undecided)
}

/// Replaces the remaining `\approx` signs, within tuples and sets, by equality.
fn without_signs(expression: Expression) -> Expression {
    let mut found = false;
    expression.walk(&mut |part| {
        found |= matches!(part, Expression::Relation { signs, .. } if signs.contains(&Relation::Approx));
    });
    if !found {
        return expression;
    }
    expression.map(&|part| match part {
        Expression::Relation { sides, signs } => {
            let equal = |sign: Relation| if sign == Relation::Approx { Relation::Equal } else { sign };
            Expression::Relation { sides, signs: signs.into_iter().map(equal).collect() }
        }
        other => other,
    })
}

/// Compares two answers of any shape.
pub(super) fn shape(gold: &Expression, answer: &Expression, work: &mut Work) -> Outcome {
    if work.exact.spend(1).is_err() {
        return Outcome::OverBudget;
    }
    if gold == answer {
        return Outcome::Equal("same_expression");
    }
    if let Some(outcome) = relations::congruences(gold, answer, work) {
        return outcome;
    }
    let related = relations::relations(gold, answer, work);
    if matches!(related, Some(Outcome::Equal(_) | Outcome::OverBudget)) {
        return related.unwrap_or(Outcome::OverBudget);
    }
    if let Some(outcome) = sets::compare(gold, answer, work) {
        return outcome;
    }
    let (gold_named, answer_named) = (split_name(gold, Side::Gold), split_name(answer, Side::Answer));
    let answer_named = aligned(&gold_named, answer_named);
    if let (Some(left), Some(right)) = (&gold_named.name, &answer_named.name)
        && !names_agree(left, right, gold_named.value.has_variable(), work)
    {
        return Outcome::Different("names_differ");
    }
    match values(&gold_named.value, &answer_named.value, work) {
        // Two relations that are not definitions.
        Outcome::Different("shape_differs") if related.is_some() => related.unwrap_or(Outcome::Undecided),
        outcome => outcome,
    }
}

/// Returns whether two functions have the same arguments. A variable in small letters may have another name; an event
/// or a number may not: `P(A)`, `P(X = 1)`.
fn same_arguments(left: &Expression, right: &Expression) -> bool {
    let arguments = |name: &Expression| match name {
        Expression::Product(parts) | Expression::Call(_, parts) => {
            parts.iter().skip(usize::from(matches!(name, Expression::Product(_)))).cloned().collect::<Vec<_>>()
        }
        _ => Vec::new(),
    };
    let (left, right) = (arguments(left), arguments(right));
    let is_variable = |part: &Expression| matches!(part, Expression::Symbol(name) if name.starts_with(|c: char| c.is_ascii_lowercase()));
    left == right || (left.len() == right.len() && left.iter().chain(&right).all(is_variable))
}

/// Reorders a tuple of definitions by the gold's order of the names.
fn aligned(gold: &Named, answer: Named) -> Named {
    let names = |named: &Named| match &named.name {
        Some(Expression::Group { items, .. }) => Some(items.clone()),
        _ => None,
    };
    let (Some(order), Some(written)) = (names(gold), names(&answer)) else { return answer };
    let Expression::Group { open, close, items } = &answer.value else { return answer };
    if order == written || order.len() != written.len() || items.len() != written.len() {
        return answer;
    }
    let sorted: Option<Vec<Expression>> = order
        .iter()
        .map(|name| written.iter().position(|other| other == name).and_then(|at| items.get(at).cloned()))
        .collect();
    match sorted {
        Some(items) => {
            Named { name: gold.name.clone(), value: Expression::Group { open: *open, close: *close, items } }
        }
        None => answer,
    }
}

/// Returns whether two names agree. Different variables define different things, and so do different functions,
/// different lengths or their ratios; `y` is the name of any function, whatever its argument's name.
fn names_agree(left: &Expression, right: &Expression, is_function: bool, work: &mut Work) -> bool {
    match (left, right) {
        (Expression::Symbol(left), Expression::Symbol(right)) => {
            left == right || (is_function && (left == "y" || right == "y"))
        }
        (Expression::Call(..), Expression::Call(..)) => lists::same_name(left, right, work),
        _ if function_letter(left).is_some() && function_letter(right).is_some() => {
            let lower = |name: &Expression| function_letter(name).map(str::to_lowercase);
            lower(left) == lower(right) && same_arguments(left, right)
        }
        _ => !is_measure(left) || !is_measure(right) || lists::same_name(left, right, work),
    }
}

/// Compares two answers without names.
fn values(gold: &Expression, answer: &Expression, work: &mut Work) -> Outcome {
    if let Some(outcome) = quantities(gold, answer, work) {
        return outcome;
    }
    if let (Some(gold), Some(answer)) = (fold_matrix(gold), fold_matrix(answer)) {
        return matrices(&gold, &answer, work);
    }
    // A matrix and a single value.
    if (fold_matrix(gold).is_some() && is_single(answer)) || (fold_matrix(answer).is_some() && is_single(gold)) {
        return Outcome::Different("shape_differs");
    }
    // Answers without brackets: one or several.
    let (gold_items, answer_items) = (elements(gold), elements(answer));
    match (&gold_items, &answer_items) {
        (Some(left), Some(right)) => return lists::collections((gold, left), (answer, right), work),
        (Some(left), None) => return collection_and_other(left, gold, answer, work),
        (None, Some(right)) => return collection_and_other(right, answer, gold, work),
        (None, None) => {}
    }
    match (gold, answer) {
        (Expression::Text(_), _) | (_, Expression::Text(_)) => texts::compare(gold, answer),
        (
            Expression::Group { open: left_open, close: left_close, items: left },
            Expression::Group { open: right_open, close: right_close, items: right },
        ) => {
            // Brackets around three or more elements cannot be an interval, so their shape does not matter.
            let is_interval = left.len() == 2 && right.len() == 2;
            if is_interval && (left_open, left_close) != (right_open, right_close) {
                return Outcome::Different("brackets_differ");
            }
            ordered(left, right, work)
        }
        (Expression::Group { items, .. }, other) | (other, Expression::Group { items, .. }) => {
            group_and_other(gold, items, other, work)
        }
        (Expression::Union(left), Expression::Union(right)) => unordered(left, right, Repeats::Dropped, work),
        (Expression::Operation(left_operation, left), Expression::Operation(right_operation, right)) => {
            if left_operation != right_operation {
                return Outcome::Different("shape_differs");
            }
            match left_operation {
                Operation::Ratio => ratios(left, right, work),
                Operation::Extent => unordered(left, right, Repeats::Kept, work),
                Operation::Intersection | Operation::Difference => ordered(left, right, work),
            }
        }
        (Expression::Operation(Operation::Ratio, parts), other)
        | (other, Expression::Operation(Operation::Ratio, parts)) => ratio_and_value(gold, parts, other, work),
        (Expression::Union(_) | Expression::Operation(..) | Expression::Builder(..), _)
        | (_, Expression::Union(_) | Expression::Operation(..) | Expression::Builder(..)) => {
            // Sets may be equal in other ways than part by part; a set is not a number.
            if is_set(gold) && is_set(answer) { Outcome::Undecided } else { Outcome::Different("shape_differs") }
        }
        // An equation that is not a definition does not equal one of its sides.
        (Expression::Relation { .. }, _) | (_, Expression::Relation { .. }) => Outcome::Different("shape_differs"),
        (Expression::Domain(_), _) | (_, Expression::Domain(_)) => Outcome::Different("shape_differs"),
        (Expression::Based { .. }, _) | (_, Expression::Based { .. }) => based(gold, answer, work),
        _ => scalars(gold, answer, work),
    }
}

/// Returns whether an answer is one number, formula or word.
fn is_single(expression: &Expression) -> bool {
    matches!(
        expression,
        Expression::Number { .. }
            | Expression::Symbol(_)
            | Expression::Sum(_)
            | Expression::Negate(_)
            | Expression::Product(_)
            | Expression::Quotient(..)
            | Expression::Power(..)
            | Expression::Call(..)
            | Expression::Percent(_)
            | Expression::Degree(_)
            | Expression::Infinity
            | Expression::Relation { .. }
            | Expression::Text(_)
    )
}

/// Compares values if at least one has a unit; `None` if neither has.
fn quantities(gold: &Expression, answer: &Expression, work: &mut Work) -> Option<Outcome> {
    let (gold_value, gold_unit) = split_unit(gold);
    let (answer_value, answer_unit) = split_unit(answer);
    if gold_unit.is_empty() && answer_unit.is_empty() {
        return None;
    }
    // Letters that form a word have no unit: `ACF even` is not `ACF`.
    let spells = |value: &Expression| matches!(value, Expression::Text(_));
    let is_number = |value: &Expression| matches!(value, Expression::Number { .. });
    if (spells(&gold_value) && !is_number(&answer_value)) || (spells(&answer_value) && !is_number(&gold_value)) {
        return Some(Outcome::Different("text_differs"));
    }
    // Degrees measure an angle, and radians are its natural measure; angles and percentages have no other unit.
    let angle = |value: &Expression, unit: &str, other: &str| {
        unit.is_empty() && (is_angle(value) || is_share(value)) && !units::is_temperature(other)
    };
    let mixed = angle(&gold_value, &gold_unit, &answer_unit) || angle(&answer_value, &answer_unit, &gold_unit);
    let is_turn = is_angle(&gold_value) || is_angle(&answer_value);
    if mixed && is_turn && (units::is_radian(&gold_unit) || units::is_radian(&answer_unit)) {
        return Some(exact(&gold_value, &answer_value, work));
    }
    if mixed && (units::is_no_angle(&gold_unit) || units::is_no_angle(&answer_unit)) {
        return Some(Outcome::Different("units_differ"));
    }
    Some(match units::agreement(&gold_unit, &answer_unit) {
        Agreement::Conflict => Outcome::Different("units_differ"),
        Agreement::Factor(factor) => match values(&gold_value, &times(&answer_value, &factor), work) {
            Outcome::Equal(_) => Outcome::Equal("unit_converted"),
            other => other,
        },
        Agreement::Affine(factor, shift) => {
            let shift = Expression::Number { value: shift, places: None };
            let converted = Expression::Sum(vec![times(&answer_value, &factor), shift]);
            match values(&gold_value, &converted, work) {
                Outcome::Equal(_) => Outcome::Equal("unit_converted"),
                other => other,
            }
        }
        Agreement::Either(factor) => match values(&gold_value, &answer_value, work) {
            Outcome::Equal(rule) => Outcome::Equal(rule),
            _ => match values(&gold_value, &times(&answer_value, &factor), work) {
                Outcome::Equal(_) => Outcome::Equal("unit_converted"),
                other => other,
            },
        },
        Agreement::Silent => {
            let outcome = values(&gold_value, &answer_value, work);
            let as_product = |value: &Expression, unit: &str| {
                let symbol = Expression::Symbol(if unit == "ohm" { "Omega" } else { unit }.to_owned());
                (units::is_letter(unit) || unit == "ohm").then(|| Expression::Product(vec![value.clone(), symbol]))
            };
            // The single letter may be a variable, not a unit.
            match (outcome, as_product(&gold_value, &gold_unit), as_product(&answer_value, &answer_unit)) {
                (Outcome::Equal(_), ..) => outcome,
                (_, Some(gold), None) if answer_value.has_variable() => values(&gold, &answer_value, work),
                (_, None, Some(answer)) if gold_value.has_variable() => values(&gold_value, &answer, work),
                _ => outcome,
            }
        }
    })
}

/// Splits the unit off a value; amounts in several units of one kind are added in the first unit.
fn split_unit(expression: &Expression) -> (Expression, String) {
    match expression {
        Expression::Quantity(value, unit) => ((**value).clone(), unit.clone()),
        Expression::Sum(parts) if parts.iter().all(|part| matches!(part, Expression::Quantity(..))) => {
            let mut sum = Vec::new();
            let mut first: Option<&str> = None;
            for part in parts {
                let Expression::Quantity(value, unit) = part else { continue };
                let base = *first.get_or_insert(unit);
                match units::agreement(base, unit) {
                    Agreement::Silent => sum.push((**value).clone()),
                    Agreement::Factor(factor) => sum.push(times(value, &factor)),
                    Agreement::Either(_) | Agreement::Affine(..) | Agreement::Conflict => {
                        return (expression.clone(), String::new());
                    }
                }
            }
            (Expression::Sum(sum), first.unwrap_or("").to_owned())
        }
        Expression::Negate(inner) => {
            let (value, unit) = split_unit(inner);
            (if unit.is_empty() { expression.clone() } else { Expression::Negate(Box::new(value)) }, unit)
        }
        other => (other.clone(), String::new()),
    }
}

/// Returns whether a value is a percentage.
fn is_share(expression: &Expression) -> bool {
    match expression {
        Expression::Percent(_) => true,
        Expression::Negate(inner) => is_share(inner),
        _ => false,
    }
}

/// Returns whether a value has a degree mark.
fn is_angle(expression: &Expression) -> bool {
    match expression {
        Expression::Degree(_) => true,
        Expression::Negate(inner) => is_angle(inner),
        Expression::Sum(terms) => terms.iter().all(is_angle),
        _ => false,
    }
}

fn is_set(expression: &Expression) -> bool {
    matches!(
        expression,
        Expression::Union(_)
            | Expression::Operation(..)
            | Expression::Group { .. }
            | Expression::Set(_)
            | Expression::Builder(..)
            | Expression::Domain(Domain::Reals)
    )
}

/// Compares a tuple with another shape: a row, a column, a sum of unit vectors.
fn group_and_other(gold: &Expression, items: &[Expression], other: &Expression, work: &mut Work) -> Outcome {
    let flat = match fold_matrix(other) {
        Some(rows) if rows.len() == 1 || rows.iter().all(|row| row.len() == 1) => {
            Some(rows.into_iter().flatten().collect())
        }
        Some(rows) => {
            // `[[1,2],[3,4]]`.
            let groups = rows.into_iter().map(|items| Expression::Group {
                open: Bracket::Square,
                close: Bracket::Square,
                items,
            });
            Some(groups.collect::<Vec<_>>())
        }
        None => super::shapes::components(other, items.len()),
    };
    match flat {
        Some(flat) if matches!(gold, Expression::Group { .. }) => ordered(items, &flat, work),
        Some(flat) => ordered(&flat, items, work),
        None => Outcome::Different("shape_differs"),
    }
}

/// Compares ratios, which are equal if their parts are proportional.
fn ratios(gold: &[Expression], answer: &[Expression], work: &mut Work) -> Outcome {
    let outcome = ordered(gold, answer, work);
    let (Some(gold_first), Some(answer_first)) = (gold.first(), answer.first()) else { return outcome };
    if gold.len() != answer.len() || matches!(outcome, Outcome::Equal(_)) {
        return outcome;
    }
    let product = |left: &Expression, right: &Expression| Expression::Product(vec![left.clone(), right.clone()]);
    let left: Vec<Expression> = gold.iter().map(|part| product(part, answer_first)).collect();
    let right: Vec<Expression> = answer.iter().map(|part| product(part, gold_first)).collect();
    match ordered(&left, &right, work) {
        Outcome::Equal(_) => Outcome::Equal("ratio_equal"),
        other => other,
    }
}

/// Compares a ratio of two numbers, as their quotient, with a value.
fn ratio_and_value(gold: &Expression, parts: &[Expression], other: &Expression, work: &mut Work) -> Outcome {
    let [above, below] = parts else { return Outcome::Different("shape_differs") };
    let quotient = Expression::Quotient(Box::new(above.clone()), Box::new(below.clone()));
    let outcome = match gold {
        Expression::Operation(..) => scalars(&quotient, other, work),
        _ => scalars(other, &quotient, work),
    };
    match outcome {
        Outcome::Equal(_) => Outcome::Equal("ratio_equal"),
        _ => Outcome::Different("shape_differs"),
    }
}

/// Compares digits in a base. They equal the same digits with or without the gold's base. A gold without a base equals
/// the value of the answer's digits, and the same digits if the question names a base.
fn based(gold: &Expression, answer: &Expression, work: &Work) -> Outcome {
    let same = |left: &str, right: &str| {
        let trimmed = |digits: &str| digits.trim_start_matches('0').to_ascii_lowercase();
        trimmed(left) == trimmed(right)
    };
    let plain = |value: &RBig| value.to_string();
    match (gold, answer) {
        (
            Expression::Based { digits: left, base: left_base },
            Expression::Based { digits: right, base: right_base },
        ) => match (base(left_base), base(right_base)) {
            (Some(left_base), Some(right_base)) if left_base == right_base && same(left, right) => {
                Outcome::Equal("same_digits")
            }
            _ => Outcome::Different("digits_differ"),
        },
        (Expression::Based { digits, .. }, Expression::Number { value, places: None }) => {
            if same(digits, &plain(value)) {
                Outcome::Equal("same_digits")
            } else {
                Outcome::Different("digits_differ")
            }
        }
        (Expression::Number { value, places: None }, Expression::Based { digits, base: name }) => {
            let converted = base(name).and_then(|base| RBig::from_str_radix(digits, base).ok());
            if work.asked.base && same(digits, &plain(value)) {
                Outcome::Equal("same_digits")
            } else if converted.is_some_and(|converted| converted == *value) {
                Outcome::Equal("base_converted")
            } else {
                Outcome::Different("digits_differ")
            }
        }
        _ => Outcome::Different("shape_differs"),
    }
}

fn base(name: &str) -> Option<u32> {
    let value = match name {
        "two" => 2,
        "three" => 3,
        "four" => 4,
        "five" => 5,
        "six" => 6,
        "seven" => 7,
        "eight" => 8,
        "nine" => 9,
        "ten" => 10,
        digits => digits.parse().ok()?,
    };
    (2..=36).contains(&value).then_some(value)
}
