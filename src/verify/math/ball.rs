//! Real numbers as balls: a midpoint of fixed precision, and a radius that bounds the error of the midpoint.
//!
//! Every operation rounds its midpoint correctly, and enlarges the radius by the largest possible effect of the
//! rounding and of the arguments' radii. The true value therefore always lies in the ball: two disjoint balls hold
//! different numbers. Values beyond a fixed range of magnitudes, and operations whose result may not exist, have no
//! ball.

use std::cmp::Ordering;

use dashu_float::round::Rounded;
use dashu_float::round::mode::{Down, HalfEven, Up};
use dashu_float::{ConstCache, Context, FBig, FpResult, Repr};
use dashu_int::{IBig, Sign, UBig};
use dashu_ratio::RBig;

/// Bits of a radius.
const RADIUS_BITS: usize = 32;
/// Largest absolute binary exponent of a value.
const EXPONENT_MAX: isize = 8_192;
/// Largest absolute argument of the exponential function.
const EXP_ARGUMENT_MAX: i32 = 5_000;
/// Binary exponents beyond which sixty digits prove little: one side may contain a term too small to see.
const PLAIN_EXPONENT_MAX: isize = 100;

type Float = Repr<2>;

/// A real number with a known error bound.
#[derive(Debug, Clone)]
pub(super) struct Ball {
    middle: Float,
    radius: Float,
}

/// The precision of midpoints, the cached constants, and whether all values so far had ordinary magnitudes.
pub(super) struct Field {
    context: Context<HalfEven>,
    precision: usize,
    cache: ConstCache,
    /// Whether no value so far was extremely large or small.
    pub(super) is_plain: bool,
}

fn up() -> Context<Up> {
    Context::new(RADIUS_BITS)
}

fn value<R: dashu_float::round::Round>(result: FpResult<FBig<R, 2>>) -> Option<Float> {
    Some(result.ok()?.value().into_repr())
}

fn magnitude(float: &Float) -> Float {
    let (significand, exponent) = float.clone().into_parts();
    let (_, digits) = significand.into_parts();
    Float::new(IBig::from(digits), exponent)
}

/// Returns the binary exponent of a value's leading bit.
fn leading_exponent(float: &Float) -> isize {
    float.exponent().saturating_add(isize::try_from(float.digits_ub()).unwrap_or(isize::MAX))
}

fn is_negative(float: &Float) -> bool {
    float.significand().sign() == Sign::Negative
}

fn is_zero(float: &Float) -> bool {
    float.significand().is_zero()
}

fn radius_sum(parts: &[&Float]) -> Option<Float> {
    parts.iter().try_fold(Float::zero(), |sum, part| value(up().add(&sum, part)))
}

fn radius_product(left: &Float, right: &Float) -> Option<Float> {
    value(up().mul(left, right))
}

impl Ball {
    fn exact(middle: Float) -> Self {
        Self { middle, radius: Float::zero() }
    }

    /// Returns a whole number.
    pub(super) fn integer(number: i64) -> Self {
        Self::exact(Float::new(IBig::from(number), 0))
    }

    /// Returns whether the ball is exactly the number zero.
    pub(super) fn is_exact_zero(&self) -> bool {
        is_zero(&self.middle) && is_zero(&self.radius)
    }

    /// Returns a positive lower bound of the absolute value, if the ball does not contain zero.
    fn lower(&self) -> Option<Float> {
        let bound = value(Context::<Down>::new(RADIUS_BITS).sub(&magnitude(&self.middle), &self.radius))?;
        (!is_zero(&bound) && !is_negative(&bound)).then_some(bound)
    }

    fn upper(&self) -> Option<Float> {
        value(up().add(&magnitude(&self.middle), &self.radius))
    }

    /// Returns the sign of every number in the ball, if they share one.
    pub(super) fn sign(&self) -> Option<Ordering> {
        if self.is_exact_zero() {
            return Some(Ordering::Equal);
        }
        self.lower().map(|_| if is_negative(&self.middle) { Ordering::Less } else { Ordering::Greater })
    }

    /// Returns the whole number that the ball equals exactly.
    pub(super) fn as_integer(&self) -> Option<IBig> {
        if !is_zero(&self.radius) || self.middle.exponent() < 0 && !is_zero(&self.middle) {
            return None;
        }
        let shift = usize::try_from(self.middle.exponent()).ok().filter(|shift| *shift <= 4_096)?;
        Some(self.middle.significand() << shift)
    }

    /// Returns the floor of every number in the ball, if all have the same floor.
    pub(super) fn floor(&self) -> Option<Self> {
        let below = floor_of(&self.middle)?;
        if is_zero(&self.radius) {
            return Some(Self::exact(Float::new(below, 0)));
        }
        let base = Float::new(below.clone(), 0);
        // The whole ball must lie strictly between the floor and the next whole number.
        let exact = Context::<HalfEven>::new(16_384);
        let above_base = value(exact.sub(&self.middle, &base))?;
        let to_next = value(exact.sub(&Float::new(below.clone() + IBig::ONE, 0), &self.middle))?;
        let clear = |gap: &Float| Self { middle: gap.clone(), radius: self.radius.clone() }.lower().is_some();
        (clear(&above_base) && clear(&to_next)).then(|| Self::exact(Float::new(below, 0)))
    }

    /// Returns the value rounded to a floating-point number, for display and rough decisions.
    pub(super) fn rough(&self) -> f64 {
        FBig::<HalfEven, 2>::from_repr(self.middle.clone(), Context::new(0)).to_f64().value()
    }

    /// Returns whether the radius is below `2^-bits` times the value, or times one for values near zero.
    pub(super) fn is_sharp(&self, bits: isize, scale: &Self) -> bool {
        let size = leading_exponent(&scale.middle).max(-20);
        is_zero(&self.radius) || leading_exponent(&self.radius) < size - bits
    }

    pub(super) fn negated(&self) -> Self {
        Self { middle: -self.middle.clone(), radius: self.radius.clone() }
    }

    /// Returns the absolute value; a ball around zero keeps its midpoint.
    pub(super) fn absolute(&self) -> Self {
        Self { middle: magnitude(&self.middle), radius: self.radius.clone() }
    }
}

fn floor_of(float: &Float) -> Option<IBig> {
    let exponent = float.exponent();
    if exponent.unsigned_abs() > 8_192 {
        return None;
    }
    Some(if exponent >= 0 {
        float.significand() << exponent.unsigned_abs()
    } else {
        // An arithmetic shift rounds down.
        float.significand().clone() >> exponent.unsigned_abs()
    })
}

impl Field {
    /// Returns a field of the given precision in bits.
    pub(super) fn new(precision: usize) -> Self {
        Self { context: Context::new(precision), precision, cache: ConstCache::new(), is_plain: true }
    }

    /// Builds a ball from a correctly rounded midpoint and the error inherited from the arguments.
    fn ball(&mut self, result: FpResult<FBig<HalfEven, 2>>, inherited: Float) -> Option<Ball> {
        let rounded = result.ok()?;
        let is_exact = matches!(rounded, Rounded::Exact(_));
        let middle = rounded.value().into_repr();
        if middle.is_infinite() {
            return None;
        }
        let size = leading_exponent(&middle);
        if !is_zero(&middle) && size.abs() > EXPONENT_MAX {
            return None;
        }
        if is_exact && is_zero(&middle) {
            return Some(Ball { middle, radius: inherited });
        }
        let ball = if is_exact {
            Ball { middle, radius: inherited }
        } else {
            let precision = isize::try_from(self.precision).ok()?;
            let rounding = Float::new(IBig::ONE, size - precision);
            Ball { middle, radius: radius_sum(&[&inherited, &rounding])? }
        };
        // The value of a ball around zero is unknown, not small.
        self.is_plain &= size.abs() <= PLAIN_EXPONENT_MAX || ball.lower().is_none();
        Some(ball)
    }

    /// Returns a rational number as a ball.
    pub(super) fn rational(&mut self, number: &RBig) -> Option<Ball> {
        let above = Float::new(number.numerator().clone(), 0);
        let below = Float::new(IBig::from(number.denominator().clone()), 0);
        self.ball(self.context.div(&above, &below), Float::zero())
    }

    pub(super) fn add(&mut self, left: &Ball, right: &Ball) -> Option<Ball> {
        let radius = radius_sum(&[&left.radius, &right.radius])?;
        self.ball(self.context.add(&left.middle, &right.middle), radius)
    }

    pub(super) fn subtract(&mut self, left: &Ball, right: &Ball) -> Option<Ball> {
        self.add(left, &right.negated())
    }

    pub(super) fn multiply(&mut self, left: &Ball, right: &Ball) -> Option<Ball> {
        let first = radius_product(&magnitude(&left.middle), &right.radius)?;
        let second = radius_product(&magnitude(&right.middle), &left.radius)?;
        let third = radius_product(&left.radius, &right.radius)?;
        self.ball(self.context.mul(&left.middle, &right.middle), radius_sum(&[&first, &second, &third])?)
    }

    pub(super) fn divide(&mut self, left: &Ball, right: &Ball) -> Option<Ball> {
        let lower = right.lower()?;
        let result = self.context.div(&left.middle, &right.middle);
        if is_zero(&left.radius) && is_zero(&right.radius) {
            return self.ball(result, Float::zero());
        }
        // |a/b - m/n| <= (r_a + |m/n| r_b) / |b|.
        let quotient = value(up().div(&magnitude(&left.middle), &lower))?;
        let moved = radius_sum(&[&left.radius, &radius_product(&quotient, &right.radius)?])?;
        let radius = value(up().div(&moved, &lower))?;
        self.ball(result, radius)
    }

    /// Returns a power with a whole exponent.
    pub(super) fn whole_power(&mut self, base: &Ball, exponent: i32) -> Option<Ball> {
        let mut result = Ball::integer(1);
        let mut square = base.clone();
        let mut rest = exponent.unsigned_abs();
        while rest > 0 {
            if rest % 2 == 1 {
                result = self.multiply(&result, &square)?;
            }
            rest /= 2;
            if rest > 0 {
                square = self.multiply(&square, &square)?;
            }
        }
        if exponent < 0 { self.divide(&Ball::integer(1), &result) } else { Some(result) }
    }

    pub(super) fn square_root(&mut self, radicand: &Ball) -> Option<Ball> {
        if radicand.is_exact_zero() {
            return Some(Ball::integer(0));
        }
        let lower = radicand.lower().filter(|_| !is_negative(&radicand.middle))?;
        let slope = value(Context::<Down>::new(RADIUS_BITS).sqrt(&lower))?;
        let radius = value(up().div(&radicand.radius, &slope))?;
        self.ball(self.context.sqrt(&radicand.middle), radius)
    }

    pub(super) fn exponential(&mut self, argument: &Ball) -> Option<Ball> {
        let size = argument.upper()?;
        let limit = Float::new(IBig::from(EXP_ARGUMENT_MAX), 0);
        let half = Float::new(IBig::ONE, -1);
        if exceeds(&size, &limit) || exceeds(&argument.radius, &half) {
            return None;
        }
        let result = self.context.exp(&argument.middle, Some(&mut self.cache));
        let bound = magnitude(result.as_ref().ok()?.value_ref().repr());
        // e^r - 1 <= 2 r for r up to 1/2; the factor 4 covers the rounding of the bound.
        let moved = radius_product(&bound, &radius_product(&Float::new(IBig::from(4), 0), &argument.radius)?)?;
        self.ball(result, moved)
    }

    pub(super) fn logarithm(&mut self, argument: &Ball) -> Option<Ball> {
        let lower = argument.lower().filter(|_| !is_negative(&argument.middle))?;
        let radius = value(up().div(&argument.radius, &lower))?;
        let result = self.context.ln(&argument.middle, Some(&mut self.cache));
        self.ball(result, radius)
    }

    pub(super) fn sine(&mut self, argument: &Ball) -> Option<Ball> {
        turnable(argument)?;
        let result = self.context.sin(&argument.middle, Some(&mut self.cache));
        self.ball(result, argument.radius.clone())
    }

    pub(super) fn cosine(&mut self, argument: &Ball) -> Option<Ball> {
        turnable(argument)?;
        let result = self.context.cos(&argument.middle, Some(&mut self.cache));
        self.ball(result, argument.radius.clone())
    }

    pub(super) fn arctangent(&mut self, argument: &Ball) -> Option<Ball> {
        let result = self.context.atan(&argument.middle, Some(&mut self.cache));
        self.ball(result, argument.radius.clone())
    }

    /// Returns the angle of a point, in the range `(-pi, pi]`.
    pub(super) fn angle(&mut self, y: &Ball, x: &Ball) -> Option<Ball> {
        if y.is_exact_zero() {
            return match x.sign()? {
                Ordering::Greater => Some(Ball::integer(0)),
                Ordering::Less => self.pi(),
                Ordering::Equal => None,
            };
        }
        // The angle is discontinuous at the negative axis.
        if y.lower().is_none() && x.sign() != Some(Ordering::Greater) {
            return None;
        }
        let distance = match (x.lower(), y.lower()) {
            (Some(x), Some(y)) if exceeds(&x, &y) => x,
            (_, Some(y)) => y,
            (Some(x), None) => x,
            (None, None) => return None,
        };
        let radius = value(up().div(&radius_sum(&[&x.radius, &y.radius])?, &distance))?;
        let result = self.context.atan2(&y.middle, &x.middle, Some(&mut self.cache));
        self.ball(result, radius)
    }

    pub(super) fn pi(&mut self) -> Option<Ball> {
        let pi = self.cache.pi::<2, HalfEven>(self.precision);
        self.ball(Ok(pi), Float::zero())
    }
}

/// Returns `None` for arguments too large to be reduced to an angle in reasonable time.
fn turnable(argument: &Ball) -> Option<()> {
    (leading_exponent(&argument.middle) < 200).then_some(())
}

fn exceeds(left: &Float, right: &Float) -> bool {
    value(Context::<Down>::new(RADIUS_BITS).sub(left, right)).is_none_or(|gap| !is_negative(&gap) && !is_zero(&gap))
}

/// Returns the order of two disjoint balls.
pub(super) fn order(field: &mut Field, left: &Ball, right: &Ball) -> Option<Ordering> {
    field.subtract(left, right)?.sign()
}

/// Returns `numerator / 2^shift` as an exact ball.
pub(super) fn dyadic(numerator: i64, shift: isize) -> Ball {
    Ball::exact(Float::new(IBig::from(numerator), -shift))
}

/// Returns a natural number as a ball; later operations round large ones.
pub(super) fn natural(number: UBig) -> Ball {
    Ball::exact(Float::new(IBig::from(number), 0))
}
