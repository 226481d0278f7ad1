//! Powers and roots of exact values.
//!
//! Roots follow the conventions of school mathematics: odd roots of negative numbers are real and negative, the square
//! root of a negative number is imaginary, and `(P/Q)^{1/k}` is a root over a positive `Q`. A square root of an even
//! power of a variable is not simplified, because the variable may be negative.

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::limits::{RADICAND_BITS_MAX, ROOT_INDEX_MAX, TRIAL_DIVISOR_MAX};
use super::outcome::Fault;
use super::polynomial::{Atom, Budget, Fraction, Monomial, Polynomial};

/// Returns `base` to the power `exponent`.
pub(super) fn power(base: &Fraction, exponent: &Fraction, budget: &mut Budget) -> Result<Fraction, Fault> {
    match exponent.rational() {
        Some(exponent) => rational_exponent(base, &exponent, budget),
        None => symbolic_exponent(base, exponent, budget),
    }
}

fn rational_exponent(base: &Fraction, exponent: &RBig, budget: &mut Budget) -> Result<Fraction, Fault> {
    let index = u32::try_from(exponent.denominator()).map_err(|_| Fault::OverBudget)?;
    if index > ROOT_INDEX_MAX {
        return Err(Fault::OverBudget);
    }
    let negative = *exponent.numerator() < IBig::ZERO;
    let (_, count) = exponent.numerator().clone().into_parts();
    let root = if index == 1 {
        base.clone()
    } else {
        // (P/Q)^{1/k} = (P Q^{k-1})^{1/k} / Q.
        let lifted = base.denominator.to_power(&UBig::from(index - 1), budget)?;
        let radicand = base.numerator.times(&lifted, budget)?;
        Fraction::new(root(&radicand, index, budget)?, base.denominator.clone(), budget)?
    };
    let numerator = root.numerator.to_power(&count, budget)?;
    let denominator = root.denominator.to_power(&count, budget)?;
    let raised = Fraction::new(numerator, denominator, budget)?;
    if negative { raised.inverted(budget) } else { Ok(raised) }
}

/// Returns the root of a polynomial, with every possible factor moved before the root sign.
fn root(radicand: &Polynomial, index: u32, budget: &mut Budget) -> Result<Polynomial, Fault> {
    if radicand.is_zero() {
        return Ok(Polynomial::default());
    }
    let mut content = content(radicand)?;
    if radicand.terms.len() == 1 && radicand.terms.values().all(|coefficient| *coefficient < RBig::ZERO) {
        content = -content;
    }
    // Odd roots are odd functions, so the sign of the first term moves before the root sign.
    if index % 2 == 1 && radicand.terms.values().next_back().is_some_and(|leading| *leading < RBig::ZERO) {
        content = if content < RBig::ZERO { content } else { -content };
    }
    let mut inner = radicand.scaled(&(RBig::ONE / &content))?;
    let mut outer = number_root(&content, index, budget)?;
    if let Some((monomial, _)) = inner.single().filter(|(_, coefficient)| coefficient.is_one()) {
        let (front, rest) = split_monomial(monomial, index);
        outer = outer.times(&Polynomial::term(RBig::ONE, front), budget)?;
        inner = Polynomial::term(RBig::ONE, rest);
    }
    if inner.rational().is_some_and(|value| value.is_one()) {
        return Ok(outer);
    }
    let unit = RBig::ONE / RBig::from(index);
    let radical = Polynomial::term(RBig::ONE, Monomial::from([(Atom::Radical(Box::new(inner)), unit)]));
    outer.times(&radical, budget)
}

/// Splits a product of atoms into its root and the factors that remain under the root sign.
fn split_monomial(monomial: &Monomial, index: u32) -> (Monomial, Monomial) {
    let mut front = Monomial::new();
    let mut rest = Monomial::new();
    let two = IBig::from(2);
    let variables = monomial.keys().filter(|atom| !is_positive(atom)).count();
    for (atom, exponent) in monomial {
        let odd_power = !(exponent.numerator() % &two).is_zero();
        let real = !matches!(atom, Atom::Imaginary);
        if is_positive(atom)
            || (real && index % 2 == 1)
            || (variables == 1 && odd_power && matches!(atom, Atom::Symbol(_)))
        {
            front.insert(atom.clone(), exponent / RBig::from(index));
        } else {
            rest.insert(atom.clone(), exponent.clone());
        }
    }
    (front, rest)
}

fn is_positive(atom: &Atom) -> bool {
    match atom {
        Atom::Prime(_) => true,
        Atom::Symbol(name) => matches!(name.as_str(), "pi" | "e"),
        Atom::Power { base, .. } => {
            base.rational().is_some_and(|value| value > RBig::ZERO)
                || **base == Fraction::atom(Atom::Symbol("e".to_owned()))
        }
        Atom::Imaginary | Atom::Radical(_) | Atom::Call { .. } => false,
    }
}

/// Returns the positive rational number whose quotient leaves coprime integer coefficients.
fn content(polynomial: &Polynomial) -> Result<RBig, Fault> {
    use dashu_int::ops::Gcd;
    let mut above = UBig::ZERO;
    let mut below = UBig::ONE;
    for coefficient in polynomial.terms.values() {
        let (_, numerator) = coefficient.numerator().clone().into_parts();
        above = if above.is_zero() { numerator } else { above.gcd(numerator) };
        let shared = (&below).gcd(coefficient.denominator());
        below = below / shared * coefficient.denominator();
    }
    let content = RBig::from_parts(IBig::from(above), below);
    super::polynomial::check_size(&content)?;
    Ok(content)
}

/// Returns the root of a rational number: a rational times roots of primes, and `i` for a square root of a negative.
fn number_root(value: &RBig, index: u32, budget: &mut Budget) -> Result<Polynomial, Fault> {
    let negative = *value < RBig::ZERO;
    let (_, above) = value.numerator().clone().into_parts();
    let mut result = Polynomial::constant(RBig::ONE);
    if negative {
        result = match index {
            _ if index % 2 == 1 => Polynomial::constant(-RBig::ONE),
            2 => Polynomial::atom(Atom::Imaginary),
            _ => return Err(Fault::Unsupported),
        };
    }
    let mut exponents: Vec<(UBig, i64)> = factor(&above, index, budget)?;
    exponents.extend(factor(value.denominator(), index, budget)?.into_iter().map(|(prime, count)| (prime, -count)));
    for (prime, count) in exponents {
        let exponent = RBig::from(count) / RBig::from(index);
        let whole = exponent.floor();
        let rest = exponent - RBig::from(whole.clone());
        let factor = super::polynomial::rational_power(&RBig::from(IBig::from(prime.clone())), &whole)?;
        let mut monomial = Monomial::new();
        if !rest.is_zero() {
            monomial.insert(Atom::Prime(prime), rest);
        }
        result = result.times(&Polynomial::term(factor, monomial), budget)?;
    }
    Ok(result)
}

/// Factors an integer by trial division; a large cofactor counts as prime unless it is a perfect power of `index`.
pub(super) fn factor(value: &UBig, index: u32, budget: &mut Budget) -> Result<Vec<(UBig, i64)>, Fault> {
    use dashu_int::ops::BitTest;
    if value.bit_len() > RADICAND_BITS_MAX {
        return Err(Fault::OverBudget);
    }
    let mut rest = value.clone();
    let mut factors = Vec::new();
    let mut divisor: u32 = 2;
    while divisor <= TRIAL_DIVISOR_MAX && UBig::from(divisor) * UBig::from(divisor) <= rest {
        let mut count = 0;
        while (&rest % divisor) == 0 {
            rest /= divisor;
            count += 1;
        }
        if count > 0 {
            factors.push((UBig::from(divisor), count));
        }
        divisor += if divisor == 2 { 1 } else { 2 };
    }
    budget.spend(1 + usize::try_from(divisor / 256).unwrap_or(usize::MAX))?;
    if rest > UBig::ONE {
        let base = rest.nth_root(usize::try_from(index.max(1)).unwrap_or(1));
        if index > 1 && base.pow(usize::try_from(index).unwrap_or(1)) == rest {
            factors.push((base, i64::from(index)));
        } else {
            match factors.iter_mut().find(|(prime, _)| *prime == rest) {
                Some((_, count)) => *count += 1,
                None => factors.push((rest, 1)),
            }
        }
    }
    Ok(factors)
}

/// Returns a power with a non-numeric exponent, split so that `2^{n+1}` equals `2 \cdot 2^n` and `4^n` equals `2^{2n}`.
fn symbolic_exponent(base: &Fraction, exponent: &Fraction, budget: &mut Budget) -> Result<Fraction, Fault> {
    let split = exponent.denominator.rational().is_some_and(|value| value.is_one());
    let bases: Option<Vec<(Fraction, RBig)>> = match base.rational() {
        Some(value) if value.is_one() => return Ok(Fraction::constant(RBig::ONE)),
        Some(value) if value > RBig::ZERO && split => {
            let (_, above) = value.numerator().clone().into_parts();
            let mut parts = factor(&above, 1, budget)?;
            parts.extend(factor(value.denominator(), 1, budget)?.into_iter().map(|(prime, count)| (prime, -count)));
            let whole = |prime: UBig| Fraction::constant(RBig::from(IBig::from(prime)));
            Some(parts.into_iter().map(|(prime, count)| (whole(prime), RBig::from(count))).collect())
        }
        None if split && base.numerator.single().is_some_and(|(m, c)| c.is_one() && m.len() == 1) => {
            Some(vec![(base.clone(), RBig::ONE)])
        }
        _ => None,
    };
    let Some(bases) = bases else {
        let atom = Atom::Power { base: Box::new(base.clone()), exponent: Box::new(exponent.clone()) };
        return Ok(Fraction::atom(atom));
    };
    let mut result = Fraction::constant(RBig::ONE);
    for (base, multiplicity) in bases {
        for (monomial, coefficient) in &exponent.numerator.terms {
            let count = coefficient * &multiplicity;
            let factor = if monomial.is_empty() {
                rational_exponent(&base, &count, budget)?
            } else {
                let unit = Fraction::whole(Polynomial::term(RBig::ONE, monomial.clone()));
                let atom = Atom::Power { base: Box::new(base.clone()), exponent: Box::new(unit) };
                let positive = count > RBig::ZERO;
                let magnitude = if positive { count } else { -count };
                let raised = Fraction::whole(Polynomial::term(RBig::ONE, Monomial::from([(atom, magnitude)])));
                if positive { raised } else { raised.inverted(budget)? }
            };
            result = result.times(&factor, budget)?;
        }
    }
    Ok(result)
}
