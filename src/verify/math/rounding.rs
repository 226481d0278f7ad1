//! When a decimal stands for a value.
//!
//! An answer with more decimals than a decimal gold of at least three significant digits is equal if it rounds to the
//! gold. A decimal answer with at least four decimals and four significant digits is equal to a gold that has no
//! finite decimal form if it is that gold, rounded. Nothing else is approximate.

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::expression::Expression;
use super::float;

/// Fewest significant digits of a decimal gold to which an answer may be rounded.
const GOLD_DIGITS_MIN: usize = 3;
/// Fewest decimals of a decimal answer that stands for an exact gold.
const ANSWER_DIGITS_MIN: u32 = 4;
/// Fewest significant digits of such an answer.
const ANSWER_SIGNIFICANT_MIN: usize = 4;

/// Returns whether a longer decimal answer rounds to a decimal gold of at least three significant digits.
pub(in crate::verify) fn rounds_to_gold(
    gold: &RBig,
    gold_places: Option<u32>,
    answer: &RBig,
    answer_places: Option<u32>,
) -> bool {
    match (gold_places, answer_places) {
        (Some(places), Some(answer_places)) => {
            let is_whole = gold.is_int();
            places > 0
                && !is_whole
                && answer_places > places
                && significant(gold, places) >= GOLD_DIGITS_MIN
                && within_half_unit(gold, answer, places)
        }
        _ => false,
    }
}

/// Returns the number of decimals of a signed decimal literal.
pub(super) fn places(expression: &Expression) -> Option<u32> {
    match expression {
        Expression::Number { places, .. } => *places,
        Expression::Negate(inner) => places(inner),
        _ => None,
    }
}

fn significant(value: &RBig, places: u32) -> usize {
    let scaled = value * RBig::from(IBig::from(10).pow(usize::try_from(places.min(500)).unwrap_or(0)));
    scaled.numerator().to_string().trim_start_matches('-').len()
}

fn within_half_unit(left: &RBig, right: &RBig, places: u32) -> bool {
    let difference = left - right;
    let difference = if difference < RBig::ZERO { -difference } else { difference };
    let unit = RBig::from_parts(IBig::ONE, UBig::from(10u8).pow(usize::try_from(places.min(500)).unwrap_or(0)));
    difference * RBig::from(2) <= unit
}

fn is_finite_decimal(value: &RBig) -> bool {
    let mut rest = value.denominator().clone();
    for factor in [2u8, 5u8] {
        let mut rounds = 0;
        while (&rest % factor) == 0 && rounds < 4_096 {
            rest /= factor;
            rounds += 1;
        }
    }
    rest == UBig::ONE
}

/// Returns whether a decimal answer with enough digits is an irrational gold, rounded.
pub(super) fn rounds_to_float(gold: &Expression, answer: &Expression) -> bool {
    let Some(places) = places(answer).filter(|places| (ANSWER_DIGITS_MIN..=9).contains(places)) else { return false };
    let (Some(gold), Some(answer)) = (float::real_value(gold), float::real_value(answer)) else { return false };
    let unit = 10f64.powi(-i32::try_from(places).unwrap_or(9));
    answer.abs() >= unit * 1e3 && answer.abs() < 1e6 && (gold - answer).abs() <= 0.5 * unit * (1.0 + 1e-6)
}

/// Returns whether a decimal answer with enough digits is a gold without a finite decimal form, rounded.
pub(super) fn writes_out(gold: &RBig, gold_places: Option<u32>, answer: &RBig, answer_places: Option<u32>) -> bool {
    answer_places.is_some_and(|places| {
        gold_places.is_none()
            && !is_finite_decimal(gold)
            && places >= ANSWER_DIGITS_MIN
            && significant(answer, places) >= ANSWER_SIGNIFICANT_MIN
            && within_half_unit(gold, answer, places)
    })
}
