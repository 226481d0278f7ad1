//! Detects undone work: an uncomputed operation is not the number that it gives.
//!
//! A rational gold that is written as a number needs an answer in lowest form of its kind: an integer, a fraction that
//! is not whole, a decimal, a power of ten with or without a factor, a percentage, or a mixed number. `37 \cdot 41` is
//! not `1517`: rewarding it would teach the model to skip the work. A gold that is itself such an operation accepts the
//! same kind of operation. An irrational gold accepts every closed form without a sum or product sign. The rule checks
//! each element, coordinate and bound separately; it ignores expressions whose variables do not cancel.

use super::compare;
use super::expression::{Expression, Relation};
use super::outcome::Outcome;
use super::question::Asked;
use super::scalars::scalars;
use super::{parser, shapes};

/// Most parts of one answer that are checked.
const PARTS_MAX: usize = 64;

/// Returns whether an answer that equals its gold leaves arithmetic undone.
pub(crate) fn leaves_work(gold: &str, answer: &str) -> bool {
    let (Ok(gold), Ok(answer)) = (parser::parse(gold), parser::parse(answer)) else { return false };
    // In a chain of equalities, the last side counts.
    let last = shapes::last_side(answer.clone());
    if has_series(&last) && !has_series(&gold) {
        return true;
    }
    let (mut of_gold, mut of_answer) = (Vec::new(), Vec::new());
    parts(&gold, &mut of_gold);
    parts(&answer, &mut of_answer);
    let mut work = compare::begin(Asked::default());
    of_answer.iter().filter(|part| !is_lowest(part) && is_rational(part)).any(|part| {
        let mut met_by_number = false;
        for gold in &of_gold {
            if !matches!(scalars(gold, part, &mut work), Outcome::Equal(_)) {
                continue;
            }
            if !is_lowest(gold) && kind(gold) == kind(part) {
                return false;
            }
            met_by_number |= is_rational(gold);
        }
        met_by_number
    })
}

/// Returns whether an answer is a number in lowest form, a name, or a tuple of these.
pub(crate) fn is_irreducible(answer: &str) -> bool {
    let Ok(tree) = parser::parse(answer) else { return false };
    let mut found = Vec::new();
    parts(&tree, &mut found);
    found.iter().all(|part| {
        is_lowest(part) || shapes::is_name(part) || matches!(part, Expression::Symbol(_) | Expression::Infinity)
    })
}

fn has_series(expression: &Expression) -> bool {
    let mut found = false;
    expression.walk(&mut |part| found |= matches!(part, Expression::Series { .. }));
    found
}

/// Collects the single values of an answer; in a chain of equalities, those of the last side.
fn parts(expression: &Expression, found: &mut Vec<Expression>) {
    if found.len() >= PARTS_MAX {
        return;
    }
    match expression {
        Expression::List(items, _)
        | Expression::Set(items)
        | Expression::Union(items)
        | Expression::Operation(_, items)
        | Expression::Group { items, .. } => items.iter().for_each(|item| parts(item, found)),
        Expression::Matrix(rows) => rows.iter().flatten().for_each(|cell| parts(cell, found)),
        Expression::Relation { sides, signs } if signs.iter().all(|sign| *sign == Relation::Equal) => {
            sides.iter().rev().take(1).for_each(|side| parts(side, found));
        }
        Expression::Relation { sides, .. } => sides.iter().for_each(|side| parts(side, found)),
        Expression::Quantity(inner, _) | Expression::Degree(inner) | Expression::Percent(inner) => parts(inner, found),
        Expression::Modulo(value, modulus) => {
            parts(value, found);
            parts(modulus, found);
        }
        Expression::Builder(_, conditions) => conditions.iter().for_each(|condition| parts(condition, found)),
        // `5 feet 3 inches`, degrees and minutes: one quantity in two units.
        Expression::Sum(terms) if terms.iter().all(is_measured) => terms.iter().for_each(|term| parts(term, found)),
        Expression::PlusMinus { left: None, right, .. } => parts(right, found),
        Expression::PlusMinus { .. } => found.extend(shapes::expand_plus_minus(expression)),
        Expression::Negate(inner) if matches!(**inner, Expression::Quantity(..) | Expression::Degree(_)) => {
            parts(inner, found)
        }
        other => found.push(other.clone()),
    }
}

fn is_measured(term: &Expression) -> bool {
    matches!(term, Expression::Quantity(..) | Expression::Degree(_))
}

/// Returns whether a value is a number in lowest form.
fn is_lowest(expression: &Expression) -> bool {
    match expression {
        Expression::Negate(inner) => !matches!(**inner, Expression::Negate(_)) && is_unsigned(inner),
        other => is_unsigned(other),
    }
}

fn is_unsigned(expression: &Expression) -> bool {
    match expression {
        Expression::Number { .. } | Expression::Based { .. } => true,
        Expression::Percent(inner) => is_lowest(inner),
        Expression::Quotient(above, below) => is_fraction(above, below),
        Expression::Power(..) => is_power_of_ten(expression),
        Expression::Product(factors) => match factors.as_slice() {
            [mantissa, power] => is_literal(mantissa) && is_power_of_ten(power),
            _ => false,
        },
        _ => false,
    }
}

/// Returns whether two whole numbers form a fraction that is not whole.
fn is_fraction(above: &Expression, below: &Expression) -> bool {
    let (Some(above), Some(below)) = (literal(above), literal(below)) else { return false };
    above.is_int() && below.is_int() && !below.is_zero() && !(above / below).is_int()
}

fn literal(expression: &Expression) -> Option<dashu_ratio::RBig> {
    match expression {
        Expression::Number { value, places: None } => Some(value.clone()),
        Expression::Negate(inner) => match &**inner {
            Expression::Number { value, places: None } => Some(-value.clone()),
            _ => None,
        },
        _ => None,
    }
}

fn is_literal(expression: &Expression) -> bool {
    matches!(expression, Expression::Number { .. })
}

fn is_power_of_ten(expression: &Expression) -> bool {
    let Expression::Power(base, exponent) = expression else { return false };
    let is_ten = matches!(&**base, Expression::Number { value, places: None } if *value == dashu_ratio::RBig::from(10));
    let is_whole = match &**exponent {
        Expression::Number { value, .. } => value.is_int(),
        Expression::Negate(inner) => matches!(&**inner, Expression::Number { value, .. } if value.is_int()),
        _ => false,
    };
    is_ten && is_whole
}

fn is_rational(expression: &Expression) -> bool {
    super::canonical::canonical(expression, &mut super::polynomial::Budget::new())
        .is_ok_and(|value| value.rational().is_some())
}

/// Returns the kind of an undone operation.
fn kind(expression: &Expression) -> &str {
    let mut counts = false;
    expression.walk(&mut |part| {
        counts |= matches!(part, Expression::Call(name, _) if matches!(name.as_str(), "factorial" | "binom" | "permutations"));
    });
    if counts {
        return "count";
    }
    match expression {
        Expression::Sum(_) | Expression::PlusMinus { .. } => "sum",
        Expression::Negate(inner) => kind(inner),
        Expression::Power(_, exponent) if matches!(&**exponent, Expression::Quotient(..)) => "root",
        Expression::Product(_) | Expression::Quotient(..) | Expression::Power(..) => "product",
        Expression::Call(name, _) => name,
        Expression::Series { name, .. } => name,
        _ => "number",
    }
}
