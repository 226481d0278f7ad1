//! Complex numbers as pairs of balls, and the functions that the evaluation supports.
//!
//! Conventions are those of the exact arithmetic: odd roots of negative numbers are real, other roots and logarithms
//! are principal values. A function of an argument outside its real domain has no value unless it is listed for
//! complex ones (powers, exponential, sine and cosine of real arguments only).

use std::cmp::Ordering;

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::ball::{self, Ball, Field};
use super::limits::{FACTORIAL_MAX, ROOT_INDEX_MAX};

/// Largest absolute whole exponent that is computed by multiplication.
const WHOLE_EXPONENT_MAX: i32 = 100_000;

/// A complex number with a known error bound.
#[derive(Debug, Clone)]
pub(super) struct Complex {
    pub(super) re: Ball,
    pub(super) im: Ball,
}

impl Complex {
    pub(super) fn from_real(re: Ball) -> Self {
        Self { re, im: Ball::integer(0) }
    }

    /// Returns the value if it is certainly real.
    pub(super) fn real(&self) -> Option<&Ball> {
        self.im.is_exact_zero().then_some(&self.re)
    }

    pub(super) fn negated(&self) -> Self {
        Self { re: self.re.negated(), im: self.im.negated() }
    }
}

pub(super) fn add(field: &mut Field, left: &Complex, right: &Complex) -> Option<Complex> {
    Some(Complex { re: field.add(&left.re, &right.re)?, im: field.add(&left.im, &right.im)? })
}

pub(super) fn multiply(field: &mut Field, left: &Complex, right: &Complex) -> Option<Complex> {
    if let (Some(left), Some(right)) = (left.real(), right.real()) {
        return field.multiply(left, right).map(Complex::from_real);
    }
    let (first, second) = (field.multiply(&left.re, &right.re)?, field.multiply(&left.im, &right.im)?);
    let (third, fourth) = (field.multiply(&left.re, &right.im)?, field.multiply(&left.im, &right.re)?);
    Some(Complex { re: field.subtract(&first, &second)?, im: field.add(&third, &fourth)? })
}

pub(super) fn divide(field: &mut Field, left: &Complex, right: &Complex) -> Option<Complex> {
    if let (Some(left), Some(right)) = (left.real(), right.real()) {
        return field.divide(left, right).map(Complex::from_real);
    }
    let conjugate = Complex { re: right.re.clone(), im: right.im.negated() };
    let above = multiply(field, left, &conjugate)?;
    let square = square(field, right)?;
    Some(Complex { re: field.divide(&above.re, &square)?, im: field.divide(&above.im, &square)? })
}

fn square(field: &mut Field, value: &Complex) -> Option<Ball> {
    let re = field.multiply(&value.re, &value.re)?;
    let im = field.multiply(&value.im, &value.im)?;
    field.add(&re, &im)
}

fn modulus(field: &mut Field, value: &Complex) -> Option<Ball> {
    if let Some(real) = value.real() {
        return real.sign().map(|_| real.absolute());
    }
    let square = square(field, value)?;
    field.square_root(&square)
}

pub(super) fn whole_power(field: &mut Field, base: &Complex, exponent: i32) -> Option<Complex> {
    if exponent.unsigned_abs() > WHOLE_EXPONENT_MAX.unsigned_abs() {
        return None;
    }
    if let Some(real) = base.real() {
        if real.is_exact_zero() {
            return (exponent > 0).then(|| base.clone());
        }
        return field.whole_power(real, exponent).map(Complex::from_real);
    }
    let mut result = Complex::from_real(Ball::integer(1));
    let mut power = base.clone();
    let mut rest = exponent.unsigned_abs();
    while rest > 0 {
        if rest % 2 == 1 {
            result = multiply(field, &result, &power)?;
        }
        rest /= 2;
        if rest > 0 {
            power = multiply(field, &power, &power)?;
        }
    }
    let one = Complex::from_real(Ball::integer(1));
    if exponent < 0 { divide(field, &one, &result) } else { Some(result) }
}

/// Returns a power with a rational exponent; odd roots of negative numbers are real.
pub(super) fn rational_power(field: &mut Field, base: &Complex, exponent: &RBig) -> Option<Complex> {
    if exponent.is_int() {
        let whole = i32::try_from(exponent.numerator().clone()).ok()?;
        return whole_power(field, base, whole);
    }
    let index = u32::try_from(exponent.denominator().clone()).ok().filter(|index| *index <= ROOT_INDEX_MAX)?;
    let count = i32::try_from(exponent.numerator().clone()).ok()?;
    if let Some(real) = base.real() {
        if index == 2 && real.sign()? != Ordering::Less {
            let root = Complex::from_real(field.square_root(real)?);
            return whole_power(field, &root, count);
        }
        if index % 2 == 1 && real.sign()? == Ordering::Less {
            let exponent = field.rational(exponent)?;
            let size = positive_power(field, &real.negated(), &exponent)?;
            return Some(Complex::from_real(if count % 2 == 0 { size } else { size.negated() }));
        }
        if index == 2 && real.sign()? == Ordering::Less {
            // The square root of a negative number is exactly imaginary.
            let root = Complex { re: Ball::integer(0), im: field.square_root(&real.negated())? };
            return whole_power(field, &root, count);
        }
    }
    let exponent = Complex::from_real(field.rational(exponent)?);
    power(field, base, &exponent)
}

fn positive_power(field: &mut Field, base: &Ball, exponent: &Ball) -> Option<Ball> {
    let logarithm = field.logarithm(base)?;
    let product = field.multiply(&logarithm, exponent)?;
    field.exponential(&product)
}

pub(super) fn power(field: &mut Field, base: &Complex, exponent: &Complex) -> Option<Complex> {
    if let (Some(base), Some(exponent)) = (base.real(), exponent.real()) {
        match base.sign()? {
            Ordering::Greater => return positive_power(field, base, exponent).map(Complex::from_real),
            Ordering::Equal => {
                return (exponent.sign()? == Ordering::Greater).then(|| Complex::from_real(Ball::integer(0)));
            }
            Ordering::Less => {}
        }
    }
    let logarithm = logarithm(field, base)?;
    let product = multiply(field, &logarithm, exponent)?;
    exponential(field, &product)
}

fn exponential(field: &mut Field, value: &Complex) -> Option<Complex> {
    let size = field.exponential(&value.re)?;
    if value.real().is_some() {
        return Some(Complex::from_real(size));
    }
    let (cosine, sine) = (field.cosine(&value.im)?, field.sine(&value.im)?);
    Some(Complex { re: field.multiply(&size, &cosine)?, im: field.multiply(&size, &sine)? })
}

fn logarithm(field: &mut Field, value: &Complex) -> Option<Complex> {
    let modulus = modulus(field, value)?;
    Some(Complex { re: field.logarithm(&modulus)?, im: field.angle(&value.im, &value.re)? })
}

/// Returns the value of a named function.
pub(super) fn call(field: &mut Field, name: &str, values: &[Complex]) -> Option<Complex> {
    match (name, values) {
        ("exp", [z]) => return exponential(field, z),
        ("ln", [z]) => return logarithm(field, z),
        ("lg", [z]) => {
            let above = logarithm(field, z)?;
            let ten = field.logarithm(&Ball::integer(10))?;
            return divide(field, &above, &Complex::from_real(ten));
        }
        ("ln_base" | "log_base" | "lg_base", [z, base]) => {
            let above = logarithm(field, z)?;
            let below = logarithm(field, base)?;
            return divide(field, &above, &below);
        }
        ("abs", [z]) => return modulus(field, z).map(Complex::from_real),
        ("Re", [z]) => return Some(Complex::from_real(z.re.clone())),
        ("Im", [z]) => return Some(Complex::from_real(z.im.clone())),
        ("cis", [z]) => {
            let angle = z.real()?;
            return Some(Complex { re: field.cosine(angle)?, im: field.sine(angle)? });
        }
        _ => {}
    }
    let reals: Option<Vec<Ball>> = values.iter().map(|value| value.real().cloned()).collect();
    let reals = reals?;
    let result = match reals.as_slice() {
        [x] => of_one(field, name, x),
        [n, k] if matches!(name, "binom" | "permutations") => counted(name, n, k),
        many if matches!(name, "max" | "min") => extreme(field, name, many),
        many if matches!(name, "gcd" | "lcm") => divisors(name, many),
        _ => None,
    };
    result.map(Complex::from_real)
}

fn of_one(field: &mut Field, name: &str, x: &Ball) -> Option<Ball> {
    let one = Ball::integer(1);
    match name {
        "sin" => field.sine(x),
        "cos" => field.cosine(x),
        "tan" => quotient(field, Field::sine, Field::cosine, x),
        "cot" => quotient(field, Field::cosine, Field::sine, x),
        "sec" => field.cosine(x).and_then(|below| field.divide(&one, &below)),
        "csc" => field.sine(x).and_then(|below| field.divide(&one, &below)),
        "arcsin" => arcsine(field, x),
        "arccos" => {
            let angle = arcsine(field, x)?;
            complement(field, &angle)
        }
        "arctan" => field.arctangent(x),
        "arccot" => {
            let angle = field.arctangent(x)?;
            complement(field, &angle)
        }
        "sinh" | "cosh" | "tanh" => hyperbolic(field, name, x),
        "arcsinh" | "arccosh" => {
            let square = field.multiply(x, x)?;
            let inside = if name == "arcsinh" { field.add(&square, &one)? } else { field.subtract(&square, &one)? };
            let root = field.square_root(&inside)?;
            let sum = field.add(x, &root)?;
            field.logarithm(&sum)
        }
        "arctanh" => {
            let (above, below) = (field.add(&one, x)?, field.subtract(&one, x)?);
            let ratio = field.divide(&above, &below)?;
            let logarithm = field.logarithm(&ratio)?;
            field.divide(&logarithm, &Ball::integer(2))
        }
        "floor" => x.floor(),
        "ceil" => x.negated().floor().map(|floor| floor.negated()),
        "sgn" => x.sign().map(|sign| {
            Ball::integer(match sign {
                Ordering::Less => -1,
                Ordering::Equal => 0,
                Ordering::Greater => 1,
            })
        }),
        "factorial" => x.as_integer().and_then(|count| factorial(&count)).map(ball::natural),
        _ => None,
    }
}

type Function = fn(&mut Field, &Ball) -> Option<Ball>;

fn quotient(field: &mut Field, above: Function, below: Function, x: &Ball) -> Option<Ball> {
    let (above, below) = (above(field, x)?, below(field, x)?);
    field.divide(&above, &below)
}

fn complement(field: &mut Field, angle: &Ball) -> Option<Ball> {
    let pi = field.pi()?;
    let right = field.divide(&pi, &Ball::integer(2))?;
    field.subtract(&right, angle)
}

fn arcsine(field: &mut Field, x: &Ball) -> Option<Ball> {
    let square = field.multiply(x, x)?;
    let rest = field.subtract(&Ball::integer(1), &square)?;
    let root = field.square_root(&rest)?;
    if root.is_exact_zero() {
        let pi = field.pi()?;
        let right = field.divide(&pi, &Ball::integer(2))?;
        return x.sign().map(|sign| if sign == Ordering::Less { right.negated() } else { right });
    }
    field.angle(x, &root)
}

fn hyperbolic(field: &mut Field, name: &str, x: &Ball) -> Option<Ball> {
    let (grown, shrunk) = (field.exponential(x)?, field.exponential(&x.negated())?);
    let (sum, difference) = (field.add(&grown, &shrunk)?, field.subtract(&grown, &shrunk)?);
    match name {
        "sinh" => field.divide(&difference, &Ball::integer(2)),
        "cosh" => field.divide(&sum, &Ball::integer(2)),
        _ => field.divide(&difference, &sum),
    }
}

fn counted(name: &str, n: &Ball, k: &Ball) -> Option<Ball> {
    let (n, k) = (n.as_integer()?, k.as_integer()?);
    if n < IBig::ZERO || k < IBig::ZERO {
        return None;
    }
    if k > n {
        return Some(Ball::integer(0));
    }
    let above = factorial(&n)?;
    let rest = factorial(&(&n - &k))?;
    let count: UBig = above / rest;
    Some(ball::natural(if name == "binom" { count / factorial(&k)? } else { count }))
}

fn extreme(field: &mut Field, name: &str, values: &[Ball]) -> Option<Ball> {
    let mut values = values.iter();
    let mut best = values.next()?.clone();
    for value in values {
        let order = ball::order(field, value, &best)?;
        if (name == "max") == (order == Ordering::Greater) {
            best = value.clone();
        }
    }
    Some(best)
}

fn divisors(name: &str, values: &[Ball]) -> Option<Ball> {
    use dashu_int::ops::Gcd;
    let mut result: Option<UBig> = None;
    for value in values {
        let (_, whole) = value.as_integer()?.into_parts();
        result = Some(match result {
            None => whole,
            Some(before) if whole.is_zero() || before.is_zero() => before + whole,
            Some(before) => {
                let shared = (&before).gcd(&whole);
                if name == "gcd" { shared } else { before / shared * whole }
            }
        });
    }
    result.map(ball::natural)
}

/// Returns a natural number's factorial, within the limit.
fn factorial(count: &IBig) -> Option<UBig> {
    let count = u32::try_from(count.clone()).ok().filter(|count| *count <= FACTORIAL_MAX)?;
    Some((2..=count).fold(UBig::ONE, |product, factor| product * factor))
}
