//! `\approx`: a value and its rounded form.
//!
//! `x = \frac53 \approx 1.67` has two readings, the exact value and the rounded value. The answer equals every gold
//! that either reading equals. If the second value is not the first one, rounded or truncated, the answer contradicts
//! itself.

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::evaluate;
use super::expression::{Expression, Relation};
use super::polynomial::Budget;
use super::rounding::{literal, places};
use super::shapes::is_name;
use super::units::{self, Agreement};
use super::work::Work;

/// The readings of an answer with `\approx`.
#[derive(Debug)]
pub(super) enum Readings {
    /// The answer contains no such sign.
    Plain,
    /// The exact answer, and the rounded one.
    Both(Expression, Expression),
    /// The two sides are different numbers.
    Contradiction,
}

/// Returns the readings of an answer: one relation, or a list of relations.
pub(super) fn readings(expression: &Expression, work: &mut Work) -> Readings {
    match expression {
        Expression::Relation { sides, signs } if signs.contains(&Relation::Approx) => of_relation(sides, signs, work),
        Expression::List(items, join) => {
            let mut is_plain = true;
            let (mut exact, mut rounded) = (Vec::new(), Vec::new());
            for item in items {
                match readings(item, work) {
                    Readings::Plain => {
                        exact.push(item.clone());
                        rounded.push(item.clone());
                    }
                    Readings::Both(left, right) => {
                        is_plain = false;
                        exact.push(left);
                        rounded.push(right);
                    }
                    Readings::Contradiction => return Readings::Contradiction,
                }
            }
            if is_plain {
                Readings::Plain
            } else {
                Readings::Both(Expression::List(exact, *join), Expression::List(rounded, *join))
            }
        }
        _ => Readings::Plain,
    }
}

fn of_relation(sides: &[Expression], signs: &[Relation], work: &mut Work) -> Readings {
    let Some(at) = signs.iter().position(|sign| *sign == Relation::Approx) else { return Readings::Plain };
    let (Some(value), Some(last)) = (sides.get(at), sides.last()) else { return Readings::Plain };
    // `x \approx 3` gives no exact value.
    if at == 0 && is_name(value) {
        let mut signs = signs.to_vec();
        if let Some(sign) = signs.first_mut() {
            *sign = Relation::Equal;
        }
        let equation = Expression::Relation { sides: sides.to_vec(), signs };
        return match readings(&equation, work) {
            Readings::Plain => Readings::Both(equation.clone(), equation),
            other => other,
        };
    }
    // `15 meters (about 49 feet)`: the same value in another unit is not a second answer.
    let mut is_converted = false;
    for rounded in sides.iter().skip(at + 1) {
        let size = match units::agreement(unit(value), unit(rounded)) {
            _ if unit(value).is_empty() || unit(rounded).is_empty() => RBig::ONE,
            Agreement::Factor(factor) => factor,
            Agreement::Conflict => return Readings::Contradiction,
            // Temperatures are not checked.
            Agreement::Affine(..) | Agreement::Either(_) => {
                is_converted = true;
                continue;
            }
            Agreement::Silent => RBig::ONE,
        };
        is_converted |= !size.is_one();
        if !agrees(value, rounded, &RBig::ONE, work) && !agrees(bare(value), bare(rounded), &size, work) {
            return Readings::Contradiction;
        }
    }
    // A unit after the decimal is the unit of both values.
    let exact_value = match (value, last) {
        (Expression::Quantity(..), _) => value.clone(),
        (_, Expression::Quantity(_, unit)) => Expression::Quantity(Box::new(value.clone()), unit.clone()),
        _ => value.clone(),
    };
    let last = if is_converted { &exact_value } else { last };
    if at == 0 {
        return Readings::Both(exact_value.clone(), last.clone());
    }
    let with = |end: Expression| {
        let mut kept: Vec<Expression> = sides.iter().take(at).cloned().collect();
        kept.push(end);
        Expression::Relation { sides: kept, signs: signs.iter().take(at).copied().collect() }
    };
    Readings::Both(with(exact_value.clone()), with(last.clone()))
}

/// Returns whether a chain of equalities between numbers is false: `7 = 6`. A last side may be rounded.
pub(super) fn is_false(expression: &Expression, work: &mut Work) -> bool {
    let Expression::Relation { sides, signs } = expression else { return false };
    if !signs.iter().all(|sign| *sign == Relation::Equal) || sides.iter().any(Expression::has_variable) {
        return false;
    }
    let one = RBig::ONE;
    sides.iter().zip(sides.iter().skip(1)).any(|(left, right)| {
        let size = match units::agreement(unit(left), unit(right)) {
            Agreement::Factor(factor) if !unit(left).is_empty() && !unit(right).is_empty() => factor,
            Agreement::Affine(..) | Agreement::Either(_) => return false,
            _ => one.clone(),
        };
        let is_number = |part: &Expression| evaluate::real(bare(part), &mut Budget::new()).is_some();
        is_number(left)
            && is_number(right)
            && !agrees(left, right, &one, work)
            && !agrees(bare(left), bare(right), &size, work)
            && !agrees(bare(right), bare(left), &(one.clone() / size), work)
    })
}

fn bare(expression: &Expression) -> &Expression {
    match expression {
        Expression::Quantity(inner, _) | Expression::Degree(inner) | Expression::Percent(inner) => bare(inner),
        other => other,
    }
}

fn unit(expression: &Expression) -> &str {
    match expression {
        Expression::Quantity(_, unit) => unit,
        _ => "",
    }
}

/// Returns whether a decimal, in units of `size`, is a value rounded or truncated at some place; true if neither can be
/// computed.
fn agrees(value: &Expression, rounded: &Expression, size: &RBig, work: &mut Work) -> bool {
    let Some(decimal) = literal(rounded) else {
        // `1523 \approx 1.5 \times 10^3`.
        let mut rough = |part: &Expression| evaluate::real(part, &mut work.evaluation).map(|(_, value)| value.rough());
        return match (rough(value), rough(rounded)) {
            (Some(left), Some(right)) if size.is_one() => (left - right).abs() <= 0.05 * left.abs().max(right.abs()),
            _ => true,
        };
    };
    if value.has_variable() {
        return true;
    }
    let mut unit = match places(rounded) {
        Some(places) => {
            RBig::from_parts(IBig::ONE, UBig::from(10u8).pow(usize::try_from(places.min(500)).unwrap_or(0)))
        }
        None => {
            // Zeros at the end of a whole number may replace digits that were rounded away.
            let digits = decimal.numerator().to_string();
            let zeros = digits.len() - digits.trim_end_matches('0').len();
            RBig::from(IBig::from(10).pow(zeros.min(digits.len().saturating_sub(1)).min(500)))
        }
    };
    if decimal.is_zero() {
        unit = RBig::ONE;
    }
    // A distance of a whole unit makes another number: 7 does not truncate to 6.
    let most = unit * size * RBig::from_parts(IBig::from(999), UBig::from(1_000u32));
    evaluate::is_within(value, &(decimal * size), &most, &mut work.evaluation) != Some(false)
}
