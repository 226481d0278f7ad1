//! Comparison of two trees, shape by shape.
//!
//! Lists and sets match without order, tuples and intervals with it; a bare list equals a tuple of the same order. A
//! bare value equals an equation that defines it (`x = 3` and `3`); two equations are equal if one is a multiple of
//! the other; inequalities likewise, or as intervals. A percent sign may stand or be missing: `33.5%` equals both
//! `0.335` and `33.5`, but `0.5%` is not `0.5`. Degree marks and units are dropped.

use dashu_ratio::RBig;

use super::canonical::canonical;
use super::expression::{Bracket, Expression, Operation, Relation};
use super::float::{self, Separation};
use super::limits::ELEMENTS_MAX;
use super::polynomial::{Budget, Fraction};
use super::rounding::{places, rounds_to_float, rounds_to_gold, writes_out};
use super::shapes::{expand_plus_minus, fold_matrix, interval, split_name};
use super::{Fault, Outcome};

/// Compares an answer with a gold.
pub(super) fn compare(gold: &Expression, answer: &Expression) -> Outcome {
    let mut budget = Budget::new();
    shape(gold, answer, &mut budget)
}

fn shape(gold: &Expression, answer: &Expression, budget: &mut Budget) -> Outcome {
    if budget.spend(1).is_err() {
        return Outcome::OverBudget;
    }
    if gold == answer {
        return Outcome::Equal("same_expression");
    }
    if let (Some(gold), Some(answer)) = (relation(gold), relation(answer)) {
        let outcome = relations(gold, answer, budget);
        if matches!(outcome, Outcome::Equal(_) | Outcome::OverBudget) {
            return outcome;
        }
    }
    let (gold_named, answer_named) = (split_name(gold), split_name(answer));
    let names = (&gold_named.name, &answer_named.name);
    if let (Some(left), Some(right)) = names
        && !names_agree(left, right)
    {
        return Outcome::Different("names_differ");
    }
    let gold = interval(&gold_named.value).unwrap_or(gold_named.value);
    let answer = interval(&answer_named.value).unwrap_or(answer_named.value);
    values(&gold, &answer, budget)
}

/// Two different variable names define different things; function names and `y` are interchangeable.
fn names_agree(left: &Expression, right: &Expression) -> bool {
    match (left, right) {
        (Expression::Symbol(left), Expression::Symbol(right)) => left == right || left == "y" || right == "y",
        _ => true,
    }
}

fn relation(expression: &Expression) -> Option<(&[Expression], &[Relation])> {
    match expression {
        Expression::Relation { sides, signs } => Some((sides, signs)),
        _ => None,
    }
}

/// Compares two equations or inequalities of two sides each: their differences must be proportional.
fn relations(
    (gold, gold_signs): (&[Expression], &[Relation]),
    (answer, answer_signs): (&[Expression], &[Relation]),
    budget: &mut Budget,
) -> Outcome {
    let ([gold_left, gold_right], [gold_sign]) = (gold, gold_signs) else { return Outcome::Undecided };
    let ([answer_left, answer_right], [answer_sign]) = (answer, answer_signs) else { return Outcome::Undecided };
    let mut difference = |left: &Expression, right: &Expression| -> Result<Fraction, Fault> {
        let right = canonical(right, budget)?.negated()?;
        canonical(left, budget)?.plus(&right, budget)
    };
    let differences =
        difference(gold_left, gold_right).and_then(|gold| Ok((gold, difference(answer_left, answer_right)?)));
    let (gold, answer) = match differences {
        Ok(differences) => differences,
        Err(Fault::OverBudget) => return Outcome::OverBudget,
        Err(_) => return Outcome::Undecided,
    };
    match proportion(&gold, &answer, budget) {
        Ok(Some(factor)) => {
            let sign = if factor < RBig::ZERO { answer_sign.flipped() } else { *answer_sign };
            if sign == *gold_sign { Outcome::Equal("proportional") } else { Outcome::Different("relation_differs") }
        }
        Ok(None) => Outcome::Different("relation_differs"),
        Err(_) => Outcome::OverBudget,
    }
}

/// Returns the rational number by which the answer's numerator is a multiple of the gold's.
fn proportion(gold: &Fraction, answer: &Fraction, budget: &mut Budget) -> Result<Option<RBig>, Fault> {
    // A denominator that is no number may be negative, so only numbers are multiplied away.
    let plain = |fraction: &Fraction| fraction.denominator.rational().is_some_and(|value| value > RBig::ZERO);
    if !plain(gold) || !plain(answer) {
        return Ok(None);
    }
    let first = |fraction: &Fraction| fraction.numerator.terms.values().next().cloned();
    let (Some(gold_first), Some(answer_first)) = (first(gold), first(answer)) else { return Ok(None) };
    let factor = answer_first / gold_first;
    let scaled = gold.numerator.scaled(&-factor.clone())?;
    let rest = scaled.plus(&answer.numerator, budget)?;
    Ok(rest.is_zero().then_some(factor))
}

fn values(gold: &Expression, answer: &Expression, budget: &mut Budget) -> Outcome {
    if let (Some(gold), Some(answer)) = (fold_matrix(gold), fold_matrix(answer)) {
        return matrices(&gold, &answer, budget);
    }
    // Answers without brackets: one or several.
    let (gold_items, answer_items) = (elements(gold), elements(answer));
    match (&gold_items, &answer_items) {
        (Some(left), Some(right)) => return unordered(left, right, budget),
        (Some(left), None) => return collection_and_other(left, gold, answer, budget),
        (None, Some(right)) => {
            return match collection_and_other(right, answer, gold, budget) {
                Outcome::UnreadableGold => Outcome::Different("shape_differs"),
                other => other,
            };
        }
        (None, None) => {}
    }
    match (gold, answer) {
        (Expression::Text(_), _) | (_, Expression::Text(_)) => texts(gold, answer),
        (
            Expression::Group { open: left_open, close: left_close, items: left },
            Expression::Group { open: right_open, close: right_close, items: right },
        ) => {
            if (left_open, left_close) != (right_open, right_close) {
                return Outcome::Different("brackets_differ");
            }
            ordered(left, right, budget)
        }
        (Expression::Group { items, .. }, matrix) | (matrix, Expression::Group { items, .. }) => {
            match fold_matrix(matrix) {
                Some(rows) if rows.len() == 1 || rows.iter().all(|row| row.len() == 1) => {
                    let flat: Vec<Expression> = rows.into_iter().flatten().collect();
                    ordered(items, &flat, budget)
                }
                _ => Outcome::Different("shape_differs"),
            }
        }
        (Expression::Union(left), Expression::Union(right)) => unordered(left, right, budget),
        (Expression::Operation(left_operation, left), Expression::Operation(right_operation, right)) => {
            if left_operation != right_operation {
                return Outcome::Different("shape_differs");
            }
            ordered(left, right, budget)
        }
        (Expression::Operation(Operation::Ratio, _), _) | (_, Expression::Operation(Operation::Ratio, _)) => {
            Outcome::Different("shape_differs")
        }
        (Expression::Union(_) | Expression::Operation(..), _)
        | (_, Expression::Union(_) | Expression::Operation(..)) => {
            // Sets may be equal in other ways than part by part; a set is no number.
            if is_set(gold) && is_set(answer) { Outcome::Undecided } else { Outcome::Different("shape_differs") }
        }
        (Expression::Relation { .. }, _) | (_, Expression::Relation { .. }) => Outcome::Different("shape_differs"),
        (
            Expression::Based { digits: left, base: left_base },
            Expression::Based { digits: right, base: right_base },
        ) => {
            if left == right && left_base == right_base {
                Outcome::Equal("same_digits")
            } else {
                Outcome::Different("digits_differ")
            }
        }
        (Expression::Based { digits, .. }, other) | (other, Expression::Based { digits, .. }) => based(digits, other),
        _ => scalars(gold, answer, budget),
    }
}

fn is_set(expression: &Expression) -> bool {
    matches!(
        expression,
        Expression::Union(_) | Expression::Operation(..) | Expression::Group { .. } | Expression::Set(_)
    )
}

/// Digits in a base and a plain number: equal if the digits are, because the question often names the base.
fn based(digits: &str, other: &Expression) -> Outcome {
    let Expression::Number { value, places: None } = other else { return Outcome::Different("shape_differs") };
    if digits.trim_start_matches('0') == value.to_string().trim_start_matches('0') {
        Outcome::Equal("same_digits")
    } else {
        Outcome::Different("digits_differ")
    }
}

fn texts(gold: &Expression, answer: &Expression) -> Outcome {
    match (gold, answer) {
        (Expression::Text(left), Expression::Text(right)) if squeeze(left) == squeeze(right) => {
            Outcome::Equal("same_text")
        }
        _ => Outcome::Different("text_differs"),
    }
}

fn squeeze(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).collect()
}

/// Returns the elements of a list or set, with `\pm` written out; `None` for anything else.
fn elements(expression: &Expression) -> Option<Vec<Expression>> {
    match expression {
        Expression::List(items) | Expression::Set(items) => {
            let mut all = Vec::new();
            for item in items {
                match item {
                    // Lists of sets stay lists of sets; lists within lists are one list.
                    Expression::List(_) => all.extend(elements(item)?),
                    _ => all.extend(expand_plus_minus(item)),
                }
            }
            Some(all)
        }
        other => {
            let expanded = expand_plus_minus(other);
            (expanded.len() > 1).then_some(expanded)
        }
    }
}

/// Compares a collection with something that is none: a tuple of the same order, or its only element.
fn collection_and_other(
    items: &[Expression],
    collection: &Expression,
    other: &Expression,
    budget: &mut Budget,
) -> Outcome {
    if let Expression::Group { open: Bracket::Round, close: Bracket::Round, items: tuple } = other
        && matches!(collection, Expression::List(_))
        && items.len() == tuple.len()
    {
        return ordered(items, tuple, budget);
    }
    if let Expression::Union(parts) = other
        && matches!(collection, Expression::List(_))
    {
        // `x < 2 or x > 3`.
        let intervals: Option<Vec<Expression>> = items.iter().map(interval).collect();
        return intervals.map_or(Outcome::Different("shape_differs"), |intervals| unordered(&intervals, parts, budget));
    }
    // Elements that are all the same value are that value, given twice: `15\frac{39}{40}` or `\frac{639}{40}`.
    if items.is_empty() || items.len() > ELEMENTS_MAX {
        return Outcome::Different("count_differs");
    }
    let mut outcome = Outcome::Different("count_differs");
    for item in items {
        outcome = shape(item, other, budget);
        match outcome {
            Outcome::Equal(_) => {}
            Outcome::Different(_) if items.len() > 1 => return Outcome::Different("count_differs"),
            other => return other,
        }
    }
    outcome
}

fn ordered(gold: &[Expression], answer: &[Expression], budget: &mut Budget) -> Outcome {
    if gold.len() != answer.len() {
        return Outcome::Different("count_differs");
    }
    let mut worst = Outcome::Equal("elements_equal");
    for (gold, answer) in gold.iter().zip(answer) {
        match shape(gold, answer, budget) {
            Outcome::Equal(_) => {}
            Outcome::Different(_) => return Outcome::Different("element_differs"),
            other => worst = other,
        }
    }
    worst
}

fn matrices(gold: &[Vec<Expression>], answer: &[Vec<Expression>], budget: &mut Budget) -> Outcome {
    if gold.len() != answer.len() {
        return Outcome::Different("count_differs");
    }
    let mut worst = Outcome::Equal("elements_equal");
    for (gold, answer) in gold.iter().zip(answer) {
        match ordered(gold, answer, budget) {
            Outcome::Equal(_) => {}
            Outcome::Different(rule) => return Outcome::Different(rule),
            other => worst = other,
        }
    }
    worst
}

/// Matches elements without order. Repeated elements count once, as in a set.
fn unordered(gold: &[Expression], answer: &[Expression], budget: &mut Budget) -> Outcome {
    if gold.len() > ELEMENTS_MAX || answer.len() > ELEMENTS_MAX {
        return Outcome::OverBudget;
    }
    let mut matched = vec![false; answer.len()];
    let mut worst = Outcome::Equal("elements_equal");
    for gold in gold {
        let mut best = Outcome::Different("element_differs");
        for (answer, matched) in answer.iter().zip(matched.iter_mut()) {
            match shape(gold, answer, budget) {
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

/// Takes percent and degree marks off a value.
fn bare(expression: &Expression) -> (Expression, bool) {
    match expression {
        Expression::Percent(inner) => (bare(inner).0, true),
        Expression::Degree(inner) => bare(inner),
        Expression::Negate(inner) => {
            let (inner, percent) = bare(inner);
            (Expression::Negate(Box::new(inner)), percent)
        }
        Expression::Product(factors)
            if matches!(factors.last(), Some(Expression::Percent(_) | Expression::Degree(_))) =>
        {
            // The mark covers the whole product: `2x^\circ`.
            let mut factors = factors.clone();
            let last = factors.pop().map(|last| bare(&last));
            let percent = last.as_ref().is_some_and(|(_, percent)| *percent);
            factors.extend(last.map(|(value, _)| value));
            (Expression::Product(factors), percent)
        }
        other => (other.clone(), false),
    }
}

fn scalars(gold: &Expression, answer: &Expression, budget: &mut Budget) -> Outcome {
    let (gold, gold_percent) = bare(gold);
    let (answer, answer_percent) = bare(answer);
    let outcome = exact(&gold, &answer, budget);
    if gold_percent == answer_percent {
        return outcome;
    }
    // A missing sign is forgiven where the number can only be meant as a percentage.
    if matches!(outcome, Outcome::Equal(_)) && float::real_value(&gold).is_some_and(|value| value.abs() >= 1.0) {
        return outcome;
    }
    let hundredth =
        |part: &Expression| Expression::Quotient(Box::new(part.clone()), Box::new(Expression::integer(100)));
    let (gold, answer) = if gold_percent { (hundredth(&gold), answer) } else { (gold, hundredth(&answer)) };
    match exact(&gold, &answer, budget) {
        Outcome::Equal(_) => Outcome::Equal("percent_equal"),
        other => other,
    }
}

fn exact(gold: &Expression, answer: &Expression, budget: &mut Budget) -> Outcome {
    if let Some(signs) = infinities(gold, answer) {
        return if signs { Outcome::Equal("infinity") } else { Outcome::Different("infinity_differs") };
    }
    let gold_value = canonical(gold, budget);
    let answer_value = canonical(answer, budget);
    let mut fault = None;
    match (&gold_value, &answer_value) {
        (Ok(left), Ok(right)) => {
            if let (Some(left), Some(right)) = (left.rational(), right.rational()) {
                return rationals(gold, &left, answer, &right);
            }
            match left.difference(right, budget) {
                Ok(difference) if difference.is_zero() => return Outcome::Equal("algebraic_equal"),
                Ok(difference) if difference.is_independent() => {
                    return if rounds_to_float(gold, answer) {
                        Outcome::Equal("rounded_equal")
                    } else {
                        Outcome::Different("algebraic_differs")
                    };
                }
                Ok(_) => {}
                Err(error) => fault = Some(error),
            }
        }
        (Ok(_), Err(Fault::Unsupported | Fault::Undefined)) => return Outcome::Different("answer_has_no_value"),
        (Err(error), _) | (_, Err(error)) => fault = Some(*error),
    }
    match (float::separate(gold, answer), fault) {
        (Separation::Separated, _) if !rounds_to_float(gold, answer) => Outcome::Different("float_differs"),
        (Separation::Separated, _) => Outcome::Equal("rounded_equal"),
        (_, Some(Fault::OverBudget)) => Outcome::OverBudget,
        _ => Outcome::Undecided,
    }
}

/// Compares two values of which one is infinite; `None` if none is.
fn infinities(gold: &Expression, answer: &Expression) -> Option<bool> {
    let sign = |expression: &Expression| match expression {
        Expression::Infinity => Some(true),
        Expression::Negate(inner) if **inner == Expression::Infinity => Some(false),
        _ => None,
    };
    match (sign(gold), sign(answer)) {
        (None, None) => None,
        (left, right) => Some(left == right),
    }
}

fn rationals(gold: &Expression, gold_value: &RBig, answer: &Expression, answer_value: &RBig) -> Outcome {
    if gold_value == answer_value {
        return Outcome::Equal("rational_equal");
    }
    if rounds_to_gold(gold_value, places(gold), answer_value, places(answer))
        || writes_out(gold_value, places(gold), answer_value, places(answer))
    {
        return Outcome::Equal("rounded_equal");
    }
    Outcome::Different("rational_differs")
}
