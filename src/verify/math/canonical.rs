//! Converts expression trees to exact values.
//!
//! Supports rational functions of variables, radicals, powers, sines and cosines of sixths, quarters, thirds and halves
//! of pi, logarithms of rationals, factorials, binomials, floors and absolute values of numbers, and sums and products
//! with few terms. Other functions become atoms that are equal if their arguments are equal. Expressions without a
//! single value (tuples, sets, `\pm`, infinity) are not supported.

use std::ops::RangeInclusive;

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::expression::Expression;
use super::limits::{FACTORIAL_MAX, SERIES_TERMS_MAX};
use super::outcome::Fault;
use super::polynomial::{Atom, Budget, Fraction, Polynomial};
use super::power::{factor, power};

/// Returns the exact value of an expression.
pub(super) fn canonical(expression: &Expression, budget: &mut Budget) -> Result<Fraction, Fault> {
    budget.spend(1)?;
    match expression {
        Expression::Number { value, .. } => Ok(Fraction::constant(value.clone())),
        Expression::Symbol(name) if name == "i" => Ok(Fraction::atom(Atom::Imaginary)),
        Expression::Symbol(name) => Ok(Fraction::atom(Atom::Symbol(name.clone()))),
        Expression::Sum(terms) => {
            let mut sum = Fraction::constant(RBig::ZERO);
            for term in terms {
                sum = sum.plus(&canonical(term, budget)?, budget)?;
            }
            Ok(sum)
        }
        Expression::Negate(inner) => canonical(inner, budget)?.negated(),
        Expression::Product(factors) => {
            let mut product = Fraction::constant(RBig::ONE);
            for factor in factors {
                product = product.times(&canonical(factor, budget)?, budget)?;
            }
            Ok(product)
        }
        Expression::Quotient(above, below) => {
            let below = canonical(below, budget)?.inverted(budget)?;
            canonical(above, budget)?.times(&below, budget)
        }
        Expression::Power(base, exponent) => {
            let base = canonical(base, budget)?;
            let exponent = canonical(exponent, budget)?;
            power(&base, &exponent, budget)
        }
        Expression::Percent(inner) => scaled(inner, &RBig::from_parts(IBig::ONE, UBig::from(100u8)), budget),
        Expression::Degree(inner) => {
            let degree = scaled(inner, &RBig::from_parts(IBig::ONE, UBig::from(180u8)), budget)?;
            degree.times(&pi(), budget)
        }
        Expression::Quantity(inner, _) => canonical(inner, budget),
        Expression::Series { name, index, low, high, body } => {
            let (low, high) = (canonical(low, budget)?, canonical(high, budget)?);
            match (whole(&low), whole(&high)) {
                (Some(low), Some(high)) => terms(name, index, low..=high, body, budget),
                _ => opaque_series(name, index, [low, high], body, budget),
            }
        }
        Expression::Call(name, arguments) => {
            let arguments: Result<Vec<Fraction>, Fault> =
                arguments.iter().map(|part| canonical(part, budget)).collect();
            call(name, arguments?, budget)
        }
        _ => Err(Fault::Unsupported),
    }
}

fn whole(value: &Fraction) -> Option<i64> {
    value.rational().filter(RBig::is_int).and_then(|value| i64::try_from(value.numerator().clone()).ok())
}

/// Computes a sum or product term by term.
fn terms(
    name: &str,
    index: &str,
    range: RangeInclusive<i64>,
    body: &Expression,
    budget: &mut Budget,
) -> Result<Fraction, Fault> {
    if range.end().saturating_sub(*range.start()) > SERIES_TERMS_MAX {
        return Err(Fault::OverBudget);
    }
    let is_sum = name == "sum";
    let mut result = Fraction::constant(if is_sum { RBig::ZERO } else { RBig::ONE });
    for value in range {
        let term = canonical(&body.substituted(index, &Expression::integer(value)), budget)?;
        result = if is_sum { result.plus(&term, budget)? } else { result.times(&term, budget)? };
    }
    Ok(result)
}

/// Returns a series as an atom with a fixed name for the index.
fn opaque_series(
    name: &str,
    index: &str,
    bounds: [Fraction; 2],
    body: &Expression,
    budget: &mut Budget,
) -> Result<Fraction, Fault> {
    let mut depth = 0;
    body.walk(&mut |part| depth += usize::from(matches!(part, Expression::Series { .. })));
    let renamed = body.substituted(index, &Expression::Symbol(format!("#{depth}")));
    let [low, high] = bounds;
    Ok(opaque(name, vec![low, high, canonical(&renamed, budget)?]))
}

fn scaled(inner: &Expression, factor: &RBig, budget: &mut Budget) -> Result<Fraction, Fault> {
    canonical(inner, budget)?.times(&Fraction::constant(factor.clone()), budget)
}

fn pi() -> Fraction {
    Fraction::atom(Atom::Symbol("pi".to_owned()))
}

fn half() -> RBig {
    RBig::from_parts(IBig::ONE, UBig::from(2u8))
}

fn opaque(name: &str, arguments: Vec<Fraction>) -> Fraction {
    Fraction::atom(Atom::Call { name: name.to_owned(), arguments })
}

fn call(name: &str, mut arguments: Vec<Fraction>, budget: &mut Budget) -> Result<Fraction, Fault> {
    let numbers: Option<Vec<RBig>> = arguments.iter().map(Fraction::rational).collect();
    if let Some(value) = numbers.and_then(|numbers| of_numbers(name, &numbers).transpose()) {
        return Ok(Fraction::constant(value?));
    }
    if arguments.len() == 2
        && let Some(function) = name.strip_suffix("_base")
    {
        if !matches!(function, "log" | "ln" | "lg") {
            return Ok(opaque(name, arguments));
        }
        let base = arguments.pop().ok_or(Fault::Unsupported)?;
        let value = arguments.pop().ok_or(Fault::Unsupported)?;
        let below = logarithm("ln", &base, budget)?.inverted(budget)?;
        return logarithm("ln", &value, budget)?.times(&below, budget);
    }
    if arguments.len() != 1 {
        return Ok(opaque(name, arguments));
    }
    let argument = arguments.pop().ok_or(Fault::Unsupported)?;
    match name {
        "sin" => sine(&argument, budget),
        "cos" => cosine(&argument, budget),
        "tan" => quotient(sine(&argument, budget)?, cosine(&argument, budget)?, budget),
        "cot" => quotient(cosine(&argument, budget)?, sine(&argument, budget)?, budget),
        "sec" => cosine(&argument, budget)?.inverted(budget),
        "csc" => sine(&argument, budget)?.inverted(budget),
        "exp" => power(&Fraction::atom(Atom::Symbol("e".to_owned())), &argument, budget),
        "ln" | "log" => logarithm(name, &argument, budget),
        "lg" => {
            let ten = logarithm("ln", &Fraction::constant(RBig::from(10)), budget)?;
            quotient(logarithm("ln", &argument, budget)?, ten, budget)
        }
        "cis" => {
            let imaginary = Fraction::atom(Atom::Imaginary).times(&sine(&argument, budget)?, budget)?;
            cosine(&argument, budget)?.plus(&imaginary, budget)
        }
        "abs" => {
            let argument = if leads_negative(&argument) { argument.negated()? } else { argument };
            // Absolute values of positive constants are those constants.
            let is_constant = argument.denominator.rational().is_some() && positive_terms(&argument.numerator);
            Ok(if is_constant { argument } else { opaque("abs", vec![argument]) })
        }
        _ => Ok(opaque(name, vec![argument])),
    }
}

fn positive_terms(polynomial: &Polynomial) -> bool {
    polynomial.terms.iter().all(|(monomial, coefficient)| {
        let positive = |atom: &Atom| match atom {
            Atom::Prime(_) => true,
            Atom::Symbol(name) => matches!(name.as_str(), "pi" | "e"),
            _ => false,
        };
        *coefficient > RBig::ZERO && monomial.keys().all(positive)
    })
}

fn quotient(above: Fraction, below: Fraction, budget: &mut Budget) -> Result<Fraction, Fault> {
    above.times(&below.inverted(budget)?, budget)
}

/// Evaluates a function of rational numbers, if its value is rational.
fn of_numbers(name: &str, numbers: &[RBig]) -> Result<Option<RBig>, Fault> {
    let small = |number: &RBig| -> Option<u32> {
        if number.is_int() { u32::try_from(number.numerator().clone()).ok() } else { None }
    };
    Ok(match (name, numbers) {
        ("abs", [x]) => Some(if *x < RBig::ZERO { -x.clone() } else { x.clone() }),
        ("floor", [x]) => Some(RBig::from(x.floor())),
        ("ceil", [x]) => Some(RBig::from(x.ceil())),
        ("factorial", [x]) => {
            let Some(count) = small(x) else { return Ok(None) };
            if count > FACTORIAL_MAX {
                return Err(Fault::OverBudget);
            }
            let product = (2..=count).fold(UBig::ONE, |product, factor| product * factor);
            Some(RBig::from(IBig::from(product)))
        }
        ("binom", [n, k]) => match (small(n), small(k)) {
            (Some(n), Some(k)) if k > n => Some(RBig::ZERO),
            (Some(n), Some(k)) => {
                let k = k.min(n - k);
                if k > FACTORIAL_MAX {
                    return Err(Fault::OverBudget);
                }
                let product = (0..k).fold(UBig::ONE, |product, step| product * (n - step) / (step + 1));
                Some(RBig::from(IBig::from(product)))
            }
            _ => None,
        },
        ("permutations", [n, k]) => match (small(n), small(k)) {
            (Some(n), Some(k)) if k <= n && n <= FACTORIAL_MAX => {
                let product = (0..k).fold(UBig::ONE, |product, step| product * (n - step));
                Some(RBig::from(IBig::from(product)))
            }
            _ => None,
        },
        ("gcd" | "lcm", _) => divisors(name, numbers),
        ("max", _) => numbers.iter().max().cloned(),
        ("min", _) => numbers.iter().min().cloned(),
        _ => None,
    })
}

fn divisors(name: &str, numbers: &[RBig]) -> Option<RBig> {
    use dashu_int::ops::Gcd;
    let whole = |number: &RBig| number.is_int().then(|| number.numerator().clone().into_parts().1);
    let (first, rest) = numbers.split_first()?;
    let mut result = whole(first).filter(|number| !number.is_zero())?;
    for number in rest {
        let number = whole(number).filter(|number| !number.is_zero())?;
        let shared = (&result).gcd(&number);
        result = if name == "gcd" { shared } else { result / shared * number };
    }
    let result = RBig::from(IBig::from(result));
    super::polynomial::check_size(&result).ok()?;
    Some(result)
}

/// Returns r if the value is r times pi.
fn turns(argument: &Fraction) -> Option<RBig> {
    if argument.numerator.is_zero() {
        return Some(RBig::ZERO);
    }
    let below = argument.denominator.rational().filter(|value| !value.is_zero())?;
    let (monomial, coefficient) = argument.numerator.single()?;
    let (atom, exponent) = monomial.first_key_value()?;
    let is_pi = monomial.len() == 1 && exponent.is_one() && *atom == Atom::Symbol("pi".to_owned());
    is_pi.then(|| coefficient / below)
}

fn leads_negative(argument: &Fraction) -> bool {
    argument.numerator.terms.values().next_back().is_some_and(|leading| *leading < RBig::ZERO)
}

fn sine(argument: &Fraction, budget: &mut Budget) -> Result<Fraction, Fault> {
    if let Some(turns) = turns(argument) {
        return sine_of_turns(turns, budget);
    }
    if leads_negative(argument) {
        return opaque("sin", vec![argument.negated()?]).negated();
    }
    Ok(opaque("sin", vec![argument.clone()]))
}

fn cosine(argument: &Fraction, budget: &mut Budget) -> Result<Fraction, Fault> {
    if let Some(turns) = turns(argument) {
        return sine_of_turns(turns + half(), budget);
    }
    let argument = if leads_negative(argument) { argument.negated()? } else { argument.clone() };
    Ok(opaque("cos", vec![argument]))
}

/// Returns the sine of `turns` times pi, reduced to the first quadrant.
fn sine_of_turns(turns: RBig, budget: &mut Budget) -> Result<Fraction, Fault> {
    let mut turns = turns.clone() - RBig::from((turns / RBig::from(2)).floor()) * RBig::from(2);
    let negative = turns >= RBig::ONE;
    if negative {
        turns -= RBig::ONE;
    }
    if turns > half() {
        turns = RBig::ONE - turns;
    }
    let root = |radicand: u32, budget: &mut Budget| -> Result<Fraction, Fault> {
        let root = power(&Fraction::constant(RBig::from(radicand)), &Fraction::constant(half()), budget)?;
        root.times(&Fraction::constant(half()), budget)
    };
    let sixths = &turns * RBig::from(12);
    let value = match i64::try_from(sixths.numerator().clone()).ok().filter(|_| sixths.is_int()) {
        Some(0) => Fraction::constant(RBig::ZERO),
        Some(2) => Fraction::constant(half()),
        Some(3) => root(2, budget)?,
        Some(4) => root(3, budget)?,
        Some(6) => Fraction::constant(RBig::ONE),
        _ => opaque("sin", vec![pi().times(&Fraction::constant(turns), budget)?]),
    };
    if negative { value.negated() } else { Ok(value) }
}

/// Returns a logarithm; those of rationals become sums over primes, so that `\ln 8` equals `3 \ln 2`.
fn logarithm(name: &str, argument: &Fraction, budget: &mut Budget) -> Result<Fraction, Fault> {
    if name == "ln" && *argument == Fraction::atom(Atom::Symbol("e".to_owned())) {
        return Ok(Fraction::constant(RBig::ONE));
    }
    let Some(value) = argument.rational().filter(|value| *value > RBig::ZERO) else {
        return Ok(opaque(name, vec![argument.clone()]));
    };
    let (_, above) = value.numerator().clone().into_parts();
    let mut primes = factor(&above, 1, budget)?;
    primes.extend(factor(value.denominator(), 1, budget)?.into_iter().map(|(prime, count)| (prime, -count)));
    let mut sum = Fraction::constant(RBig::ZERO);
    for (prime, count) in primes {
        let term = opaque(name, vec![Fraction::constant(RBig::from(IBig::from(prime)))]);
        sum = sum.plus(&term.times(&Fraction::constant(RBig::from(count)), budget)?, budget)?;
    }
    Ok(sum)
}
