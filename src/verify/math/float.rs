//! Evaluation in complex floating point at fixed sample points.
//!
//! Floats never confirm an equality; they only separate what exact arithmetic could not. Every value carries a bound
//! on its rounding error, so that cancellation is not taken for a difference. Variables get values that
//! depend on their names alone, so that both sides see the same point and results never change between runs.

use super::expression::Expression;

/// A complex number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Complex {
    re: f64,
    im: f64,
}

/// A value with a bound on its absolute rounding error.
#[derive(Debug, Clone, Copy)]
struct Measured {
    value: Complex,
    error: f64,
}

/// Relative error of one floating-point operation, rounded up generously.
const ROUNDING: f64 = 1e-15;
/// How many times its error bound a difference must exceed.
const ERROR_FACTOR: f64 = 100.0;
/// Relative difference above which two values differ.
const SEPARATION_MIN: f64 = 1e-6;
/// Sample points per comparison.
const POINTS: u32 = 4;

/// What floating point says of two expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Separation {
    /// The values differ decisively at some point.
    Separated,
    /// The values agree, or nearly so, wherever both exist.
    Close,
    /// Some side could be evaluated nowhere.
    Unknown,
}

/// Compares two expressions at the sample points.
pub(super) fn separate(left: &Expression, right: &Expression) -> Separation {
    let mut seen = Separation::Unknown;
    for point in 0..POINTS {
        let (Some(a), Some(b)) = (evaluate(left, point), evaluate(right, point)) else { continue };
        let error = ERROR_FACTOR * (a.error + b.error);
        let (a, b) = (a.value, b.value);
        let difference = Complex { re: a.re - b.re, im: a.im - b.im }.modulus();
        let scale = a.modulus().max(b.modulus()).max(1e-9);
        if !difference.is_finite() || !scale.is_finite() || !error.is_finite() {
            continue;
        }
        if difference > SEPARATION_MIN * scale + error {
            return Separation::Separated;
        }
        seen = Separation::Close;
    }
    seen
}

/// Returns the value of an expression without variables, if it is real and finite.
pub(super) fn real_value(expression: &Expression) -> Option<f64> {
    if expression.has_variable() {
        return None;
    }
    let measured = evaluate(expression, 0)?;
    let value = measured.value;
    if measured.error > 1e-11 * value.modulus() {
        return None;
    }
    (value.im.abs() <= 1e-12 * value.re.abs().max(1.0) && value.re.is_finite()).then_some(value.re)
}

impl Complex {
    fn real(re: f64) -> Self {
        Self { re, im: 0.0 }
    }

    fn modulus(self) -> f64 {
        self.re.hypot(self.im)
    }

    fn times(self, other: Self) -> Self {
        Self { re: self.re * other.re - self.im * other.im, im: self.re * other.im + self.im * other.re }
    }

    fn over(self, other: Self) -> Option<Self> {
        let square = other.re * other.re + other.im * other.im;
        let conjugate = Self { re: other.re, im: -other.im };
        let product = self.times(conjugate);
        (square > 0.0).then(|| Self { re: product.re / square, im: product.im / square })
    }

    fn exp(self) -> Self {
        let size = self.re.exp();
        Self { re: size * self.im.cos(), im: size * self.im.sin() }
    }

    fn ln(self) -> Option<Self> {
        let modulus = self.modulus();
        (modulus > 0.0).then(|| Self { re: modulus.ln(), im: self.im.atan2(self.re) })
    }

    fn sin(self) -> Self {
        Self { re: self.re.sin() * self.im.cosh(), im: self.re.cos() * self.im.sinh() }
    }

    fn cos(self) -> Self {
        Self { re: self.re.cos() * self.im.cosh(), im: -self.re.sin() * self.im.sinh() }
    }

    fn power(self, exponent: Self) -> Option<Self> {
        if self.im == 0.0 && exponent.im == 0.0 {
            let real = self.re.powf(exponent.re);
            if real.is_finite() {
                return Some(Self::real(real));
            }
            if self.re < 0.0 && exponent.re != 0.0 {
                // An odd root of a negative number is real, as in the exact arithmetic.
                let index = 1.0 / exponent.re;
                if (index - index.round()).abs() < 1e-9 && index.round() % 2.0 != 0.0 {
                    return Some(Self::real(-(-self.re).powf(exponent.re)));
                }
            }
        }
        Some(exponent.times(self.ln()?).exp())
    }
}

/// Returns the value of a variable at a sample point: positive at even points, of either sign at odd ones.
fn sample(name: &str, point: u32) -> f64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325 ^ u64::from(point).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^= hash >> 29;
    hash = hash.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let unit = f64::from(u32::try_from(hash >> 40).unwrap_or(0)) / f64::from(1u32 << 24);
    let value = 0.4 + 2.0 * unit;
    if point % 2 == 1 && hash & 1 == 1 { -value } else { value }
}

impl Measured {
    /// Returns a value that one operation computed from parts whose errors contribute `inherited`.
    fn new(value: Complex, inherited: f64) -> Self {
        Self { value, error: inherited + ROUNDING * value.modulus() }
    }

    fn times(self, other: Self) -> Self {
        let inherited = self.value.modulus() * other.error + other.value.modulus() * self.error;
        Self::new(self.value.times(other.value), inherited)
    }

    fn over(self, other: Self) -> Option<Self> {
        let size = other.value.modulus();
        let value = self.value.over(other.value)?;
        // A divisor that may be zero has no quotient.
        (other.error * ERROR_FACTOR < size)
            .then(|| Self::new(value, self.error / size + value.modulus() * other.error / size))
    }

    fn power(self, exponent: Self) -> Option<Self> {
        let value = self.value.power(exponent.value)?;
        let size = self.value.modulus();
        if size == 0.0 {
            return Some(Self::new(value, self.error));
        }
        let relative = exponent.value.modulus() * (self.error / size + ROUNDING) + size.ln().abs() * exponent.error;
        Some(Self::new(value, value.modulus() * relative))
    }
}

fn evaluate(expression: &Expression, point: u32) -> Option<Measured> {
    let constant = |value: f64| Measured::new(Complex::real(value), 0.0);
    match expression {
        Expression::Number { value, .. } => Some(constant(value.to_f64_fast())),
        Expression::Symbol(name) => Some(match name.as_str() {
            "pi" => constant(std::f64::consts::PI),
            "e" => constant(std::f64::consts::E),
            "i" => Measured { value: Complex { re: 0.0, im: 1.0 }, error: 0.0 },
            name => constant(sample(name, point)),
        }),
        Expression::Sum(terms) => terms.iter().try_fold(constant(0.0), |sum, term| {
            let term = evaluate(term, point)?;
            let value = Complex { re: sum.value.re + term.value.re, im: sum.value.im + term.value.im };
            Some(Measured::new(value, sum.error + term.error))
        }),
        Expression::Negate(inner) => {
            let Measured { value, error } = evaluate(inner, point)?;
            Some(Measured { value: Complex { re: -value.re, im: -value.im }, error })
        }
        Expression::Product(factors) => {
            factors.iter().try_fold(constant(1.0), |product, factor| Some(product.times(evaluate(factor, point)?)))
        }
        Expression::Quotient(above, below) => evaluate(above, point)?.over(evaluate(below, point)?),
        Expression::Power(base, exponent) => evaluate(base, point)?.power(evaluate(exponent, point)?),
        Expression::Percent(inner) => Some(evaluate(inner, point)?.times(constant(0.01))),
        Expression::Degree(inner) => Some(evaluate(inner, point)?.times(constant(std::f64::consts::PI / 180.0))),
        Expression::Call(name, arguments) => {
            let parts: Option<Vec<Measured>> = arguments.iter().map(|part| evaluate(part, point)).collect();
            let parts = parts?;
            let values: Vec<Complex> = parts.iter().map(|part| part.value).collect();
            let value = apply(name, &values)?;
            Some(Measured::new(value, spread(name, &values, value, &parts)?))
        }
        _ => None,
    }
}

/// Bounds how far the errors of the arguments move a function's value; `None` where it jumps.
fn spread(name: &str, values: &[Complex], value: Complex, parts: &[Measured]) -> Option<f64> {
    let error: f64 = parts.iter().map(|part| part.error).sum();
    let size = value.modulus();
    let smallest = values.iter().map(|value| value.modulus()).fold(f64::INFINITY, f64::min);
    match name {
        "floor" | "ceil" => {
            let distance = values.iter().map(|value| (value.re - value.re.round()).abs()).fold(f64::INFINITY, f64::min);
            (distance > ERROR_FACTOR * error).then_some(0.0)
        }
        "exp" | "sinh" | "cosh" => Some(error * (1.0 + size)),
        "ln" => (smallest > 0.0).then(|| error / smallest),
        "arcsin" | "arccos" | "ln_base" | "log_base" => Some(1e4 * error),
        // The square bounds the slope of tangents and secants.
        _ => Some(error * (1.0 + size) * (1.0 + size)),
    }
}

fn apply(name: &str, values: &[Complex]) -> Option<Complex> {
    let real = |value: &Complex| (value.im == 0.0).then_some(value.re);
    match (name, values) {
        ("sin", [x]) => Some(x.sin()),
        ("cos", [x]) => Some(x.cos()),
        ("tan", [x]) => x.sin().over(x.cos()),
        ("cot", [x]) => x.cos().over(x.sin()),
        ("sec", [x]) => Complex::real(1.0).over(x.cos()),
        ("csc", [x]) => Complex::real(1.0).over(x.sin()),
        ("exp", [x]) => Some(x.exp()),
        ("ln", [x]) => x.ln(),
        ("ln_base" | "log_base", [x, base]) => x.ln()?.over(base.ln()?),
        ("abs", [x]) => Some(Complex::real(x.modulus())),
        ("arcsin", [x]) => Some(Complex::real(real(x)?.asin())).filter(|value| value.re.is_finite()),
        ("arccos", [x]) => Some(Complex::real(real(x)?.acos())).filter(|value| value.re.is_finite()),
        ("arctan", [x]) => Some(Complex::real(real(x)?.atan())),
        ("sinh", [x]) => Some(Complex::real(real(x)?.sinh())),
        ("cosh", [x]) => Some(Complex::real(real(x)?.cosh())),
        ("tanh", [x]) => Some(Complex::real(real(x)?.tanh())),
        ("floor", [x]) => Some(Complex::real(real(x)?.floor())),
        ("ceil", [x]) => Some(Complex::real(real(x)?.ceil())),
        ("factorial", [x]) => {
            let x = real(x)?;
            if x.fract() != 0.0 || !(0.0..=170.0).contains(&x) {
                return None;
            }
            let mut product = 1.0;
            let mut factor = 2.0;
            while factor <= x {
                product *= factor;
                factor += 1.0;
            }
            Some(Complex::real(product))
        }
        _ => None,
    }
}
