//! Decides whether a decimal represents a value.
//!
//! An answer with more decimals than a decimal gold of at least three significant digits is equal if it rounds to the
//! gold; so is an exact answer without a finite decimal form (`\pi` for `3.14`). A decimal answer with at least four
//! decimals and four significant digits is equal to a gold without a finite decimal form if the answer is the rounded
//! gold. A decimal of at least fifteen significant digits is a computer's output, and may be wrong in its last digits.
//! No other value is approximate.

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::evaluate;
use super::expression::Expression;
use super::work::Work;

/// Fewest significant digits of a decimal gold to which an answer may be rounded.
const GOLD_DIGITS_MIN: usize = 3;
/// Fewest decimals of a decimal answer that represents an exact gold.
const ANSWER_DIGITS_MIN: u32 = 4;
/// Fewest significant digits of such an answer.
const ANSWER_SIGNIFICANT_MIN: usize = 4;

/// Returns whether a longer decimal answer rounds to a decimal gold of at least three significant digits.
pub(crate) fn rounds_to_gold(gold: &RBig, gold_places: Option<u32>, answer: &RBig, answer_places: Option<u32>) -> bool {
    match (gold_places, answer_places) {
        (Some(places), Some(answer_places)) => {
            let is_whole = gold.is_int();
            places > 0
                && !is_whole
                && answer_places > places
                && significant(gold, places) >= GOLD_DIGITS_MIN
                && within_half_unit(gold, answer, places)
        }
        // An exact answer without a finite decimal form.
        (Some(places), None) => {
            places > 0
                && !gold.is_int()
                && !is_finite_decimal(answer)
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

/// Returns half a unit of the last of this many decimals.
fn half_unit(places: u32) -> RBig {
    let scale = UBig::from(10u8).pow(usize::try_from(places.min(500)).unwrap_or(0));
    RBig::from_parts(IBig::ONE, UBig::from(2u8) * scale)
}

/// Returns the value of a signed numeral.
pub(super) fn literal(expression: &Expression) -> Option<RBig> {
    match expression {
        Expression::Number { value, .. } => Some(value.clone()),
        Expression::Negate(inner) => literal(inner).map(|value| -value),
        _ => None,
    }
}

/// Returns whether a decimal answer with enough digits is the rounded value of an irrational gold.
pub(super) fn rounds_to_value(gold: &Expression, answer: &Expression, work: &mut Work) -> bool {
    let Some(places) = places(answer).filter(|places| *places >= ANSWER_DIGITS_MIN) else { return false };
    let Some(value) = literal(answer).filter(|value| significant(value, places) >= ANSWER_SIGNIFICANT_MIN) else {
        return false;
    };
    evaluate::is_within(gold, &value, &half_unit(places), &mut work.evaluation) == Some(true)
}

/// Returns whether an irrational answer rounds to a decimal gold with enough digits.
pub(super) fn rounds_exactly(gold: &Expression, answer: &Expression, work: &mut Work) -> bool {
    let Some(places) = places(gold).filter(|places| *places > 0) else { return false };
    let Some(value) = literal(gold) else { return false };
    if value.is_int() || significant(&value, places) < GOLD_DIGITS_MIN {
        return false;
    }
    evaluate::is_within(answer, &value, &half_unit(places), &mut work.evaluation) == Some(true)
}

/// Returns whether a decimal answer with enough digits is the rounded value of a gold without a finite decimal form.
pub(super) fn writes_out(gold: &RBig, gold_places: Option<u32>, answer: &RBig, answer_places: Option<u32>) -> bool {
    answer_places.is_some_and(|places| {
        gold_places.is_none()
            && !is_finite_decimal(gold)
            && places >= ANSWER_DIGITS_MIN
            && significant(answer, places) >= ANSWER_SIGNIFICANT_MIN
            && within_half_unit(gold, answer, places)
    })
}

/// Fewest significant digits of a decimal that a computer printed in full precision.
const FLOAT_DIGITS_MIN: usize = 15;
/// Largest distance of such a decimal from the represented value.
const FLOAT_DISTANCE_MAX: (u32, u32) = (1, 1_000_000);

/// Returns the possible error of a computer's decimal; `None` for any other value.
fn noise(value: &RBig, places: Option<u32>) -> Option<RBig> {
    let places = places?;
    if significant(value, places) < FLOAT_DIGITS_MIN {
        return None;
    }
    let size = if *value < RBig::ZERO { -value.clone() } else { value.clone() };
    let bound = size / RBig::from(IBig::from(10).pow(14));
    let most = RBig::from_parts(IBig::from(FLOAT_DISTANCE_MAX.0), UBig::from(FLOAT_DISTANCE_MAX.1));
    Some(if bound < most { bound } else { most })
}

/// Returns whether two numbers differ only by the noise of a computer's decimal: `0.07200000000000001` and `0.072`.
pub(crate) fn is_noise(gold: &RBig, gold_places: Option<u32>, answer: &RBig, answer_places: Option<u32>) -> bool {
    let difference = gold - answer;
    let difference = if difference < RBig::ZERO { -difference } else { difference };
    let within = |bound: Option<RBig>| bound.is_some_and(|bound| difference <= bound);
    within(noise(gold, gold_places)) || within(noise(answer, answer_places))
}

/// Returns whether a value and a computer's decimal differ only by the decimal's noise: `\sqrt2` and
/// `1.4142135623730951`.
pub(super) fn is_noisy(gold: &Expression, answer: &Expression, work: &mut Work) -> bool {
    [(gold, answer), (answer, gold)].into_iter().any(|(value, decimal)| {
        literal(decimal).is_some_and(|number| {
            noise(&number, places(decimal))
                .is_some_and(|bound| evaluate::is_within(value, &number, &bound, &mut work.evaluation) == Some(true))
        })
    })
}
