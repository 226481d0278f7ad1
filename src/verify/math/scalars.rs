//! Compares single values: numbers and algebraic expressions, with percent and degree marks.
//!
//! A percent sign may be missing: `33.5%` equals both `0.335` and `33.5`, but `0.5%` is not `0.5`. Degree marks may be
//! missing; an angle in degrees equals the same angle in radians if the angle in radians contains pi.
//!
//! Equality is decided by normal form first, then by exact evaluation (`points`), then by evaluation with balls
//! (`evaluate`). If none of them decides, the comparison is undecided.

use dashu_ratio::RBig;

use super::canonical::canonical;
use super::evaluate::{self, Separation};
use super::expression::Expression;
use super::outcome::{Fault, Outcome};
use super::points;
use super::rounding::{is_noise, is_noisy, places, rounds_exactly, rounds_to_gold, rounds_to_value, writes_out};
use super::work::Work;

/// Returns an expression times a number.
pub(super) fn times(expression: &Expression, factor: &RBig) -> Expression {
    if factor.is_one() {
        return expression.clone();
    }
    let factor = Expression::Number { value: factor.clone(), places: None };
    Expression::Product(vec![expression.clone(), factor])
}

/// The marks on a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Marks {
    percent: bool,
    degree: bool,
}

/// Removes percent and degree marks from a value.
fn bare(expression: &Expression) -> (Expression, Marks) {
    match expression {
        Expression::Percent(inner) => (bare(inner).0, Marks { percent: true, degree: false }),
        Expression::Degree(inner) => (bare(inner).0, Marks { percent: false, degree: true }),
        Expression::Negate(inner) => {
            let (inner, marks) = bare(inner);
            (Expression::Negate(Box::new(inner)), marks)
        }
        // A mixed number: the mark applies to the whole number.
        Expression::Sum(terms) if matches!(terms.last(), Some(Expression::Percent(_) | Expression::Degree(_))) => {
            let mut terms = terms.clone();
            let last = terms.pop().map(|last| bare(&last));
            let marks = last.as_ref().map(|(_, marks)| *marks).unwrap_or_default();
            let is_mixed = terms.len() == 1 && matches!(terms.first(), Some(Expression::Number { .. }));
            if !is_mixed {
                return (expression.clone(), Marks::default());
            }
            terms.extend(last.map(|(value, _)| value));
            (Expression::Sum(terms), marks)
        }
        Expression::Product(factors)
            if matches!(factors.last(), Some(Expression::Percent(_) | Expression::Degree(_))) =>
        {
            // The mark applies to the whole product: `2x^\circ`.
            let mut factors = factors.clone();
            let last = factors.pop().map(|last| bare(&last));
            let marks = last.as_ref().map(|(_, marks)| *marks).unwrap_or_default();
            factors.extend(last.map(|(value, _)| value));
            (Expression::Product(factors), marks)
        }
        other => (other.clone(), Marks::default()),
    }
}

/// Compares two single values.
pub(super) fn scalars(gold: &Expression, answer: &Expression, work: &mut Work) -> Outcome {
    // Degrees with minutes and seconds are sums of angles.
    let is_composed = |part: &Expression| match part {
        Expression::Negate(inner) => matches!(**inner, Expression::Sum(_)) && has_degree(inner),
        part => matches!(part, Expression::Sum(_)) && has_degree(part),
    };
    if (is_composed(gold) && has_degree(answer)) || (is_composed(answer) && has_degree(gold)) {
        return exact(gold, answer, work);
    }
    let renamed = same_constant(gold, answer);
    let (gold, answer) = renamed.as_ref().map_or((gold, answer), |(gold, answer)| (gold, answer));
    let (gold, gold_marks) = bare(gold);
    let (answer, answer_marks) = bare(answer);
    let outcome = exact(&gold, &answer, work);
    if gold_marks == answer_marks {
        return outcome;
    }
    if gold_marks.percent == answer_marks.percent {
        return angles(outcome, (&gold, gold_marks), (&answer, answer_marks), work);
    }
    // A missing percent sign is allowed if the number can only be a percentage.
    let is_percentage = |work: &mut Work| {
        evaluate::real(&gold, &mut work.evaluation).is_some_and(|(_, value)| value.rough().abs() >= 1.0)
    };
    if matches!(outcome, Outcome::Equal(_)) && is_percentage(work) {
        return outcome;
    }
    let hundredth =
        |part: &Expression| Expression::Quotient(Box::new(part.clone()), Box::new(Expression::integer(100)));
    let (gold, answer) = if gold_marks.percent { (hundredth(&gold), answer) } else { (gold, hundredth(&answer)) };
    match exact(&gold, &answer, work) {
        Outcome::Equal(_) => Outcome::Equal("percent_equal"),
        other => other,
    }
}

/// Renames the constants of two integrals to one name: `\frac{x^2}{2} + C` and `\frac{x^2}{2} - c_1`. Such a constant
/// is a separate term, occurs nowhere else, and is a capital on at least one side; a letter that both sides use is not
/// renamed.
fn same_constant(gold: &Expression, answer: &Expression) -> Option<(Expression, Expression)> {
    let (gold_name, gold_rest) = constant_term(gold)?;
    let (answer_name, answer_rest) = constant_term(answer)?;
    let is_capital = |name: &str| name.starts_with(['C', 'K']);
    let is_free = |name: &str, rest: &Expression| !rest.variables().contains(name);
    let free = is_free(&gold_name, &gold_rest)
        && is_free(&answer_name, &gold_rest)
        && is_free(&gold_name, &answer_rest)
        && is_free(&answer_name, &answer_rest);
    (free && (is_capital(&gold_name) || is_capital(&answer_name)) && gold_rest.has_variable())
        .then_some((gold_rest, answer_rest))
}

/// Splits the constant of integration off a sum.
fn constant_term(expression: &Expression) -> Option<(String, Expression)> {
    let Expression::Sum(terms) = expression else { return None };
    let name = |term: &Expression| match term {
        Expression::Symbol(name) => Some(name.clone()),
        Expression::Negate(inner) => match &**inner {
            Expression::Symbol(name) => Some(name.clone()),
            _ => None,
        },
        _ => None,
    };
    let is_constant = |term: &Expression| {
        name(term).is_some_and(|name| {
            let (letter, index) = name.split_once('_').unwrap_or((&name, ""));
            matches!(letter, "C" | "c" | "K" | "k") && index.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    let mut constants = terms.iter().filter(|term| is_constant(term));
    let (Some(constant), None) = (constants.next(), constants.next()) else { return None };
    let rest: Vec<Expression> = terms.iter().filter(|term| !is_constant(term)).cloned().collect();
    Some((name(constant)?, Expression::Sum(rest)))
}

fn has_degree(expression: &Expression) -> bool {
    let mut found = false;
    expression.walk(&mut |part| found |= matches!(part, Expression::Degree(_)));
    found
}

/// Compares an angle in degrees with an angle in radians that contains pi.
fn angles(
    plain: Outcome,
    (gold, gold_marks): (&Expression, Marks),
    (answer, answer_marks): (&Expression, Marks),
    work: &mut Work,
) -> Outcome {
    let has_pi = |expression: &Expression| {
        let mut found = false;
        expression.walk(&mut |part| found |= matches!(part, Expression::Symbol(name) if name == "pi"));
        found
    };
    let turned = |inner: &Expression| Expression::Degree(Box::new(inner.clone()));
    // A multiple of pi without a mark is in radians.
    if gold_marks.degree && has_pi(answer) && has_pi(gold) {
        return exact(&turned(gold), answer, work);
    }
    if answer_marks.degree && has_pi(gold) && has_pi(answer) {
        return exact(gold, &turned(answer), work);
    }
    let radians = if gold_marks.degree && has_pi(answer) && !has_pi(gold) {
        exact(&turned(gold), answer, work)
    } else if answer_marks.degree && has_pi(gold) && !has_pi(answer) {
        exact(gold, &turned(answer), work)
    } else {
        return plain;
    };
    if let Outcome::Equal(_) = radians { Outcome::Equal("angle_equal") } else { plain }
}

/// Compares two values without marks, or with marks that belong to the values.
pub(super) fn exact(gold: &Expression, answer: &Expression, work: &mut Work) -> Outcome {
    if let Some(signs) = infinities(gold, answer) {
        return if signs { Outcome::Equal("infinity") } else { Outcome::Different("infinity_differs") };
    }
    let gold_value = canonical(gold, &mut work.exact);
    let answer_value = canonical(answer, &mut work.exact);
    let mut fault = None;
    match (&gold_value, &answer_value) {
        (Ok(left), Ok(right)) => {
            if let (Some(left), Some(right)) = (left.rational(), right.rational()) {
                return rationals(gold, &left, answer, &right);
            }
            match left.difference(right, &mut work.exact) {
                Ok(difference) if difference.is_zero() => return Outcome::Equal("algebraic_equal"),
                Ok(difference) if difference.is_independent() => {
                    return rounded(gold, answer, "algebraic_differs", work);
                }
                Ok(_) => {}
                Err(error) => fault = Some(error),
            }
        }
        (Ok(_), Err(Fault::Unsupported | Fault::Undefined)) => return Outcome::Different("answer_has_no_value"),
        (Err(error), _) | (_, Err(error)) => fault = Some(*error),
    }
    match points::identical(gold, answer, &mut work.evaluation) {
        Some(true) => return Outcome::Equal("points_equal"),
        Some(false) => return Outcome::Different("points_differ"),
        None => {}
    }
    match evaluate::separate(gold, answer, &mut work.evaluation) {
        Separation::Separated => rounded(gold, answer, "value_differs", work),
        Separation::Agreed => Outcome::Equal("sixty_digits_equal"),
        Separation::Unknown if fault == Some(Fault::OverBudget) => Outcome::OverBudget,
        Separation::Unknown => Outcome::Undecided,
    }
}

/// Compares unequal values by rounding, if the gold or the answer is a rounded decimal.
fn rounded(gold: &Expression, answer: &Expression, difference: &'static str, work: &mut Work) -> Outcome {
    if rounds_to_value(gold, answer, work) || rounds_exactly(gold, answer, work) || is_noisy(gold, answer, work) {
        Outcome::Equal("rounded_equal")
    } else {
        Outcome::Different(difference)
    }
}

/// Compares two values if one is infinite; `None` if neither is.
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
        || is_noise(gold_value, places(gold), answer_value, places(answer))
    {
        return Outcome::Equal("rounded_equal");
    }
    Outcome::Different("rational_differs")
}
