//! Evaluates expressions with balls, and derives equality from the values.
//!
//! Constants have one value; expressions with variables are evaluated at fixed points. A point is a rational number for
//! each variable. The number depends only on the variable's name, so both sides use the same point and results never
//! change between runs.
//!
//! - Disjoint balls at any point refute the equality with certainty.
//! - Balls that agree to sixty digits, at every point where both sides exist and at three or more points, confirm the
//!   equality (one point for constants). This rule has very high confidence but is not a proof, and the reason names it
//!   as such. It does not apply if any intermediate value was extremely large or small, because a term might be hidden
//!   there.
//! - Points where a side is not real are skipped, unless the imaginary unit is written: an answer holds where it
//!   exists. Expressions that exist only at whole numbers (factorials, powers of -1) are compared at whole numbers.

use std::cmp::Ordering;

use dashu_ratio::RBig;

use super::ball::{self, Ball, Field};
use super::complex::{self, Complex};
use super::expression::Expression;
use super::limits::SERIES_TERMS_MAX;
use super::polynomial::Budget;

/// Bits of the first evaluation, which refutes almost all different values.
const ROUGH_BITS: usize = 96;
/// Bits of the evaluation that confirms equality.
const FINE_BITS: usize = 320;
/// Bits that must agree: sixty decimal digits.
const AGREED_BITS: isize = 200;
/// The cost of a function, in steps of arithmetic.
const FUNCTION_STEPS: usize = 40;
/// Fewest points at which expressions with variables must agree.
const AGREED_POINTS_MIN: u32 = 3;

/// The result of evaluating two expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Separation {
    /// The values differ at some point, with certainty.
    Separated,
    /// The values agree to sixty digits wherever both exist.
    Agreed,
    /// Neither is certain.
    Unknown,
}

/// The region of the variables' values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Region {
    Positive,
    Signed,
    Small,
    Large,
    Whole,
}

const RATIONAL_POINTS: &[(Region, u32)] = &[
    (Region::Positive, 0),
    (Region::Small, 1),
    (Region::Signed, 2),
    (Region::Large, 3),
    (Region::Positive, 4),
    (Region::Signed, 5),
    (Region::Small, 6),
    (Region::Signed, 7),
];
const WHOLE_POINTS: &[(Region, u32)] = &[
    (Region::Whole, 0),
    (Region::Whole, 1),
    (Region::Whole, 2),
    (Region::Whole, 3),
    (Region::Whole, 4),
    (Region::Whole, 5),
];

/// Compares two expressions by their values.
pub(super) fn separate(left: &Expression, right: &Expression, budget: &mut Budget) -> Separation {
    let pair = Pair { left, right, is_complex: mentions_i(left) || mentions_i(right) };
    if !left.has_variable() && !right.has_variable() {
        let pair = Pair { is_complex: true, ..pair };
        return pair.at_points(&[(Region::Positive, 0)], 1, budget);
    }
    match pair.at_points(RATIONAL_POINTS, AGREED_POINTS_MIN, budget) {
        Separation::Unknown => {
            let whole = |part: &Expression| part.has_variable() && needs_whole_numbers(part);
            if whole(left) || whole(right) {
                let all = u32::try_from(WHOLE_POINTS.len()).unwrap_or(u32::MAX);
                pair.at_points(WHOLE_POINTS, all, budget)
            } else {
                Separation::Unknown
            }
        }
        decided => decided,
    }
}

fn mentions_i(expression: &Expression) -> bool {
    let mut found = false;
    expression.walk(&mut |part| {
        found |= matches!(part, Expression::Symbol(name) if name == "i")
            || matches!(part, Expression::Call(name, _) if name == "cis");
    });
    found
}

/// Returns whether an expression may exist only at whole numbers.
fn needs_whole_numbers(expression: &Expression) -> bool {
    let mut found = false;
    expression.walk(&mut |part| {
        found |= match part {
            Expression::Call(name, _) => matches!(name.as_str(), "factorial" | "binom" | "permutations"),
            Expression::Power(base, exponent) => {
                exponent.has_variable() && (!base.has_variable() || matches!(**base, Expression::Negate(_)))
            }
            Expression::Series { .. } => true,
            _ => false,
        };
    });
    found
}

/// Two expressions to compare.
#[derive(Clone, Copy)]
struct Pair<'a> {
    left: &'a Expression,
    right: &'a Expression,
    /// Whether non-real values count.
    is_complex: bool,
}

impl Pair<'_> {
    fn at_points(self, points: &[(Region, u32)], agreed_min: u32, budget: &mut Budget) -> Separation {
        let mut agreed = 0;
        let mut is_doubtful = false;
        for bits in [ROUGH_BITS, FINE_BITS] {
            agreed = 0;
            for &point in points {
                match self.at_point(bits, point, budget) {
                    Judged::Apart => return Separation::Separated,
                    Judged::Same => agreed += 1,
                    Judged::Doubtful => is_doubtful |= bits == FINE_BITS,
                    Judged::Nowhere => {}
                }
            }
        }
        if agreed >= agreed_min && !is_doubtful { Separation::Agreed } else { Separation::Unknown }
    }

    fn at_point(self, bits: usize, point: (Region, u32), budget: &mut Budget) -> Judged {
        let natural = self.judge(Evaluator::new(bits, Logarithm::Natural, point, budget));
        if !uses_plain_log(self.left) && !uses_plain_log(self.right) {
            return natural;
        }
        // A logarithm without a base has two meanings; both must give the same result.
        let decimal = self.judge(Evaluator::new(bits, Logarithm::Decimal, point, budget));
        if natural == decimal { natural } else { Judged::Doubtful }
    }

    fn judge(self, mut evaluator: Evaluator<'_>) -> Judged {
        evaluator.is_complex = self.is_complex;
        let (Some(left), Some(right)) = (evaluator.value(self.left), evaluator.value(self.right)) else {
            return Judged::Nowhere;
        };
        let mut is_sharp = evaluator.field.is_plain;
        for (left, right) in [(&left.re, &right.re), (&left.im, &right.im)] {
            let Some(difference) = evaluator.field.subtract(left, right) else { return Judged::Nowhere };
            match difference.sign() {
                Some(Ordering::Equal) => {}
                Some(_) => return Judged::Apart,
                None => is_sharp &= difference.is_sharp(AGREED_BITS, left),
            }
        }
        if is_sharp { Judged::Same } else { Judged::Doubtful }
    }
}

fn uses_plain_log(expression: &Expression) -> bool {
    let mut found = false;
    expression.walk(&mut |part| found |= matches!(part, Expression::Call(name, _) if name == "log"));
    found
}

/// The result at one point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judged {
    Apart,
    Same,
    Doubtful,
    Nowhere,
}

/// The meaning of a logarithm without a base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Logarithm {
    Natural,
    Decimal,
}

/// Returns the value of an expression without variables, if it is real.
pub(super) fn real(expression: &Expression, budget: &mut Budget) -> Option<(Field, Ball)> {
    if expression.has_variable() || uses_plain_log(expression) {
        return None;
    }
    let mut evaluator = Evaluator::new(FINE_BITS, Logarithm::Natural, (Region::Positive, 0), budget);
    let value = evaluator.value(expression)?;
    let re = value.real()?.clone();
    Some((evaluator.field, re))
}

/// Returns the order of two expressions without variables, if certain.
pub(super) fn order(left: &Expression, right: &Expression, budget: &mut Budget) -> Option<Ordering> {
    let (mut field, left) = real(left, budget)?;
    let (_, right) = real(right, budget)?;
    ball::order(&mut field, &left, &right)
}

struct Evaluator<'a> {
    field: Field,
    logarithm: Logarithm,
    point: (Region, u32),
    budget: &'a mut Budget,
    /// Whether a value, including intermediate values, may have an imaginary part.
    is_complex: bool,
}

impl<'a> Evaluator<'a> {
    fn new(bits: usize, logarithm: Logarithm, point: (Region, u32), budget: &'a mut Budget) -> Self {
        Self { field: Field::new(bits), logarithm, point, budget, is_complex: true }
    }

    fn value(&mut self, expression: &Expression) -> Option<Complex> {
        self.any_value(expression).filter(|value| self.is_complex || value.real().is_some())
    }

    fn any_value(&mut self, expression: &Expression) -> Option<Complex> {
        self.budget.spend(1).ok()?;
        match expression {
            Expression::Number { value, .. } => self.field.rational(value).map(Complex::from_real),
            Expression::Symbol(name) => match name.as_str() {
                "pi" => self.field.pi().map(Complex::from_real),
                "e" => self.field.exponential(&Ball::integer(1)).map(Complex::from_real),
                "i" => Some(Complex { re: Ball::integer(0), im: Ball::integer(1) }),
                name => Some(Complex::from_real(sample(name, self.point))),
            },
            Expression::Sum(terms) => {
                let mut sum = Complex::from_real(Ball::integer(0));
                for term in terms {
                    let term = self.value(term)?;
                    sum = complex::add(&mut self.field, &sum, &term)?;
                }
                Some(sum)
            }
            Expression::Negate(inner) => self.value(inner).map(|value| value.negated()),
            Expression::Product(factors) => {
                let mut product = Complex::from_real(Ball::integer(1));
                for factor in factors {
                    let factor = self.value(factor)?;
                    product = complex::multiply(&mut self.field, &product, &factor)?;
                }
                Some(product)
            }
            Expression::Quotient(above, below) => {
                let above = self.value(above)?;
                let below = self.value(below)?;
                complex::divide(&mut self.field, &above, &below)
            }
            Expression::Power(base, exponent) => self.power(base, exponent),
            Expression::Percent(inner) => self.scaled(inner, 100, None),
            Expression::Degree(inner) => {
                let pi = self.field.pi()?;
                self.scaled(inner, 180, Some(pi))
            }
            Expression::Quantity(inner, _) => self.value(inner),
            Expression::Call(name, arguments) => self.call(name, arguments),
            Expression::Series { name, index, low, high, body } => self.series(name, index, low, high, body),
            _ => None,
        }
    }

    fn scaled(&mut self, inner: &Expression, below: i64, factor: Option<Ball>) -> Option<Complex> {
        let mut value = self.value(inner)?;
        if let Some(factor) = factor {
            value = complex::multiply(&mut self.field, &value, &Complex::from_real(factor))?;
        }
        complex::divide(&mut self.field, &value, &Complex::from_real(Ball::integer(below)))
    }

    fn power(&mut self, base: &Expression, exponent: &Expression) -> Option<Complex> {
        self.budget.spend(FUNCTION_STEPS).ok()?;
        let base = self.value(base)?;
        match rational_literal(exponent) {
            Some(exponent) => complex::rational_power(&mut self.field, &base, &exponent),
            None => {
                let exponent = self.value(exponent)?;
                match exponent.real().and_then(Ball::as_integer).and_then(|whole| i32::try_from(whole).ok()) {
                    Some(whole) => complex::whole_power(&mut self.field, &base, whole),
                    None => complex::power(&mut self.field, &base, &exponent),
                }
            }
        }
    }

    fn call(&mut self, name: &str, arguments: &[Expression]) -> Option<Complex> {
        self.budget.spend(FUNCTION_STEPS).ok()?;
        let values: Option<Vec<Complex>> = arguments.iter().map(|part| self.value(part)).collect();
        let values = values?;
        let name = match (name, self.logarithm) {
            ("log", Logarithm::Natural) => "ln",
            ("log", Logarithm::Decimal) => "lg",
            (name, _) => name,
        };
        complex::call(&mut self.field, name, &values)
    }

    fn series(
        &mut self,
        name: &str,
        index: &str,
        low: &Expression,
        high: &Expression,
        body: &Expression,
    ) -> Option<Complex> {
        let whole =
            |value: Complex| value.real().and_then(Ball::as_integer).and_then(|whole| i64::try_from(whole).ok());
        let low = whole(self.value(low)?)?;
        let high = whole(self.value(high)?)?;
        if high.checked_sub(low)? > SERIES_TERMS_MAX {
            return None;
        }
        let is_sum = name == "sum";
        // The meaning of a subscript that contains the index is unknown.
        let mut is_indexed = false;
        body.walk(&mut |part| is_indexed |= has_index(part, index));
        if is_indexed {
            return None;
        }
        let mut result = Complex::from_real(Ball::integer(i64::from(!is_sum)));
        for value in low..=high {
            let term = self.value(&body.substituted(index, &Expression::integer(value)))?;
            result = if is_sum {
                complex::add(&mut self.field, &result, &term)?
            } else {
                complex::multiply(&mut self.field, &result, &term)?
            };
        }
        Some(result)
    }
}

fn has_index(part: &Expression, index: &str) -> bool {
    match part {
        Expression::Symbol(name) => name.split_once('_').is_some_and(|(_, lower)| lower.contains(index)),
        _ => false,
    }
}

/// Returns an exponent that is written as a rational number: `2`, `-1/3`.
fn rational_literal(expression: &Expression) -> Option<RBig> {
    match expression {
        Expression::Number { value, .. } => Some(value.clone()),
        Expression::Negate(inner) => rational_literal(inner).map(|value| -value),
        Expression::Quotient(above, below) => {
            let below = rational_literal(below).filter(|below| !below.is_zero())?;
            Some(rational_literal(above)? / below)
        }
        _ => None,
    }
}

/// Returns a variable's value at a point: the same for the same name, different for different names.
fn sample(name: &str, (region, index): (Region, u32)) -> Ball {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325 ^ (u64::from(index) << 32);
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 29;
    hash = hash.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash ^= hash >> 32;
    // An odd numerator over 2^16: between 0 and 1.
    let fraction = i64::try_from(hash % 32_768).unwrap_or(0) * 2 + 1;
    match region {
        Region::Small => ball::dyadic(fraction, 16),
        Region::Positive => ball::dyadic(fraction * 3 + 20_001, 16),
        Region::Large => ball::dyadic(fraction * 20 + 327_681, 16),
        Region::Signed if hash & (1 << 40) == 0 => ball::dyadic(fraction * 3 + 20_001, 16).negated(),
        Region::Signed => ball::dyadic(fraction * 2 + 10_001, 16),
        // Consecutive points have different parity, whatever the name.
        Region::Whole => Ball::integer(i64::from(index) + 4 + 2 * i64::try_from(hash % 4).unwrap_or(0)),
    }
}

/// Returns whether `|left - right| <= bound`, if certain.
pub(super) fn is_within(left: &Expression, right: &RBig, bound: &RBig, budget: &mut Budget) -> Option<bool> {
    let (mut field, left) = real(left, budget)?;
    let right = field.rational(right)?;
    let bound = field.rational(bound)?;
    let distance = field.subtract(&left, &right)?;
    // A ball around zero is within any bound that is larger than its radius.
    let gap = field.subtract(&bound, &distance.absolute())?;
    gap.sign().map(|sign| sign != Ordering::Less)
}
