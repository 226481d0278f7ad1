//! Decides equality of rational functions by exact evaluation.
//!
//! For expressions too long to expand. The difference of two rational functions, cleared of denominators, is a
//! polynomial whose degree is bounded by the form of the expressions. A nonzero polynomial vanishes at a random point
//! with a probability below its degree divided by the number of possible points (Schwartz and Zippel). The points are
//! seeded whole numbers of 31 bits; at four of them, different functions agree with a chance below 1e-20 for every
//! degree within the bounds. One point at which the functions differ refutes the equality with certainty.

use dashu_int::IBig;
use dashu_ratio::RBig;

use super::expression::{Expression, is_constant};
use super::outcome::Fault;
use super::polynomial::{Budget, check_size, rational_power};

/// The number of points at which functions must agree.
const POINTS: u64 = 4;
/// Largest degree.
const DEGREE_MAX: u64 = 1_000;

/// Returns whether two rational functions are equal; `None` if one of them is not a rational function, or a bound was
/// reached.
pub(super) fn identical(left: &Expression, right: &Expression, budget: &mut Budget) -> Option<bool> {
    let (left_degree, right_degree) = (degree(left)?, degree(right)?);
    if left_degree.0 + left_degree.1 + right_degree.0 + right_degree.1 > DEGREE_MAX {
        return None;
    }
    let mut agreed = 0;
    for point in 0..2 * POINTS {
        match (value(left, point, budget), value(right, point, budget)) {
            (Ok(left), Ok(right)) if left == right => agreed += 1,
            (Ok(_), Ok(_)) => return Some(false),
            (Err(Fault::Undefined), _) | (_, Err(Fault::Undefined)) => {}
            _ => return None,
        }
    }
    (agreed >= POINTS).then_some(true)
}

/// Returns bounds for the degrees of the numerator and the denominator.
fn degree(expression: &Expression) -> Option<(u64, u64)> {
    Some(match expression {
        Expression::Number { .. } => (0, 0),
        Expression::Symbol(name) if !is_constant(name) => (1, 0),
        Expression::Negate(inner) => degree(inner)?,
        Expression::Sum(terms) => {
            let mut sum = (0u64, 0u64);
            for term in terms {
                let (above, below) = degree(term)?;
                sum = ((sum.0 + below).max(above + sum.1), sum.1 + below);
            }
            sum
        }
        Expression::Product(factors) => {
            let mut product = (0u64, 0u64);
            for factor in factors {
                let (above, below) = degree(factor)?;
                product = (product.0 + above, product.1 + below);
            }
            product
        }
        Expression::Quotient(above, below) => {
            let (above, below) = (degree(above)?, degree(below)?);
            (above.0 + below.1, above.1 + below.0)
        }
        Expression::Power(base, exponent) => {
            let count = whole(exponent)?;
            let (above, below) = degree(base)?;
            let times = Some(count.unsigned_abs()).filter(|times| *times <= DEGREE_MAX)?;
            let (above, below) = (above.checked_mul(times)?, below.checked_mul(times)?);
            if count < 0 { (below, above) } else { (above, below) }
        }
        _ => return None,
    })
    .filter(|(above, below)| above + below <= 4 * DEGREE_MAX)
}

fn whole(exponent: &Expression) -> Option<i64> {
    match exponent {
        Expression::Number { value, .. } if value.is_int() => i64::try_from(value.numerator().clone()).ok(),
        Expression::Negate(inner) => whole(inner).map(|count| -count),
        _ => None,
    }
}

fn value(expression: &Expression, point: u64, budget: &mut Budget) -> Result<RBig, Fault> {
    // The size of the numbers grows with the degree; eight steps pay for one product of them.
    budget.spend(8)?;
    let result = match expression {
        Expression::Number { value, .. } => value.clone(),
        Expression::Symbol(name) => sample(name, point),
        Expression::Negate(inner) => -value(inner, point, budget)?,
        Expression::Sum(terms) => {
            let mut sum = RBig::ZERO;
            for term in terms {
                sum += value(term, point, budget)?;
                check_size(&sum)?;
            }
            sum
        }
        Expression::Product(factors) => {
            let mut product = RBig::ONE;
            for factor in factors {
                product *= value(factor, point, budget)?;
                check_size(&product)?;
            }
            product
        }
        Expression::Quotient(above, below) => {
            let below = value(below, point, budget)?;
            if below.is_zero() {
                return Err(Fault::Undefined);
            }
            value(above, point, budget)? / below
        }
        Expression::Power(base, exponent) => {
            let count = whole(exponent).ok_or(Fault::Unsupported)?;
            rational_power(&value(base, point, budget)?, &IBig::from(count))?
        }
        _ => return Err(Fault::Unsupported),
    };
    check_size(&result)?;
    Ok(result)
}

fn sample(name: &str, point: u64) -> RBig {
    let mut hash: u64 = 0x9e37_79b9_7f4a_7c15 ^ point.wrapping_mul(0xd6e8_feb8_6659_fd93);
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 31;
    }
    RBig::from(hash >> 33)
}
