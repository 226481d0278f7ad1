//! Polynomials with rational coefficients over atoms, and quotients of them.
//!
//! A term is a rational coefficient and a product of atoms with positive rational exponents. Prime numbers under a
//! root are atoms with exponents below 1, so sums of real radicals have one form only: products of fractional powers
//! of distinct primes are linearly independent over the rationals. The imaginary unit has exponent 0 or 1. A power of
//! an inner sum (`Radical`) folds back into the sum once its exponent reaches 1.
//!
//! Two quotients are equal if the crosswise products are equal; no polynomial division is needed. The converse holds if
//! all atoms are independent (see [`Polynomial::is_independent`]); for functions and nested roots this is unknown.

use std::collections::BTreeMap;

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::expression::is_unknown_function;
use super::limits::{BITS_MAX, STEPS_MAX, SUM_EXPONENT_MAX};
use super::outcome::Fault;

/// Counts the steps of exact arithmetic.
#[derive(Debug)]
pub(super) struct Budget {
    steps: u32,
}

impl Budget {
    /// Returns a full budget.
    pub(super) fn new() -> Self {
        Self { steps: STEPS_MAX }
    }

    /// Subtracts steps from the budget.
    pub(super) fn spend(&mut self, steps: usize) -> Result<(), Fault> {
        let steps = u32::try_from(steps).map_err(|_| Fault::OverBudget)?;
        self.steps = self.steps.checked_sub(steps).ok_or(Fault::OverBudget)?;
        Ok(())
    }
}

/// A factor of a term.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Atom {
    /// An integer under a root; prime, unless it was too large to factor.
    Prime(UBig),
    /// The imaginary unit.
    Imaginary,
    /// A variable, `pi` or `e`.
    Symbol(String),
    /// A root of a sum; the exponent in the monomial is the root's index.
    Radical(Box<Polynomial>),
    /// A power with a non-numeric exponent.
    Power { base: Box<Fraction>, exponent: Box<Fraction> },
    /// A function whose value has no simpler form.
    Call { name: String, arguments: Vec<Fraction> },
}

/// Atoms with their exponents, all positive.
pub(super) type Monomial = BTreeMap<Atom, RBig>;

/// A sum of terms; no coefficient is zero.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Polynomial {
    /// Coefficient of each product of atoms.
    pub(super) terms: BTreeMap<Monomial, RBig>,
}

/// A quotient of polynomials.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fraction {
    /// The dividend.
    pub(super) numerator: Polynomial,
    /// The divisor; never zero.
    pub(super) denominator: Polynomial,
}

/// Rejects numbers that have grown too large.
pub(super) fn check_size(value: &RBig) -> Result<(), Fault> {
    use dashu_int::ops::BitTest;
    if value.numerator().bit_len().max(value.denominator().bit_len()) > BITS_MAX {
        return Err(Fault::OverBudget);
    }
    Ok(())
}

/// Returns a rational number to an integer power, within the size limit.
pub(super) fn rational_power(base: &RBig, exponent: &IBig) -> Result<RBig, Fault> {
    use dashu_int::ops::BitTest;
    if base.is_one() || exponent.is_zero() {
        return Ok(RBig::ONE);
    }
    if base.is_zero() {
        return if *exponent > IBig::ZERO { Ok(RBig::ZERO) } else { Err(Fault::Undefined) };
    }
    if *base == -RBig::ONE {
        return Ok(if (exponent % IBig::from(2)).is_zero() { RBig::ONE } else { -RBig::ONE });
    }
    let negative = *exponent < IBig::ZERO;
    let (_, magnitude) = exponent.clone().into_parts();
    let count = usize::try_from(&magnitude).map_err(|_| Fault::OverBudget)?;
    let bits = base.numerator().bit_len().max(base.denominator().bit_len());
    if bits.saturating_mul(count) > BITS_MAX {
        return Err(Fault::OverBudget);
    }
    let numerator = base.numerator().pow(count);
    let denominator = IBig::from(base.denominator().pow(count));
    Ok(if negative {
        RBig::from_parts_signed(denominator, numerator)
    } else {
        RBig::from_parts_signed(numerator, denominator)
    })
}

impl Polynomial {
    /// Returns the constant polynomial.
    pub(super) fn constant(value: RBig) -> Self {
        Self::term(value, Monomial::new())
    }

    /// Returns a polynomial of one term.
    pub(super) fn term(coefficient: RBig, monomial: Monomial) -> Self {
        let mut terms = BTreeMap::new();
        if !coefficient.is_zero() {
            terms.insert(monomial, coefficient);
        }
        Self { terms }
    }

    /// Returns an atom to the first power.
    pub(super) fn atom(atom: Atom) -> Self {
        Self::term(RBig::ONE, Monomial::from([(atom, RBig::ONE)]))
    }

    /// Returns whether the polynomial is zero.
    pub(super) fn is_zero(&self) -> bool {
        self.terms.is_empty()
    }

    /// Returns the value if the polynomial is a rational number.
    pub(super) fn rational(&self) -> Option<RBig> {
        if self.is_zero() {
            return Some(RBig::ZERO);
        }
        let (monomial, coefficient) = self.single()?;
        monomial.is_empty().then(|| coefficient.clone())
    }

    /// Returns the only term, if there is exactly one.
    pub(super) fn single(&self) -> Option<(&Monomial, &RBig)> {
        if self.terms.len() == 1 { self.terms.first_key_value() } else { None }
    }

    /// Returns the sum.
    pub(super) fn plus(&self, other: &Self, budget: &mut Budget) -> Result<Self, Fault> {
        budget.spend(other.terms.len())?;
        let mut sum = self.clone();
        sum.add_scaled(other, &RBig::ONE)?;
        Ok(sum)
    }

    fn add_scaled(&mut self, other: &Self, factor: &RBig) -> Result<(), Fault> {
        for (monomial, coefficient) in &other.terms {
            let value = self.terms.remove(monomial).unwrap_or(RBig::ZERO) + coefficient * factor;
            check_size(&value)?;
            if !value.is_zero() {
                self.terms.insert(monomial.clone(), value);
            }
        }
        Ok(())
    }

    /// Returns the polynomial times a number.
    pub(super) fn scaled(&self, factor: &RBig) -> Result<Self, Fault> {
        let mut result = Self::default();
        if !factor.is_zero() {
            result.add_scaled(self, factor)?;
        }
        Ok(result)
    }

    /// Returns the product.
    pub(super) fn times(&self, other: &Self, budget: &mut Budget) -> Result<Self, Fault> {
        let mut product = Self::default();
        for (left, left_coefficient) in &self.terms {
            for (right, right_coefficient) in &other.terms {
                budget.spend(1 + (left.len() + right.len()) / 4)?;
                let coefficient = left_coefficient * right_coefficient;
                check_size(&coefficient)?;
                let mut monomial = left.clone();
                for (atom, exponent) in right {
                    let sum = monomial.remove(atom).unwrap_or(RBig::ZERO) + exponent;
                    monomial.insert(atom.clone(), sum);
                }
                let folded = fold(monomial, budget)?;
                product.add_scaled(&folded, &coefficient)?;
            }
        }
        Ok(product)
    }

    /// Returns the polynomial to a non-negative integer power.
    pub(super) fn to_power(&self, exponent: &UBig, budget: &mut Budget) -> Result<Self, Fault> {
        if let Some((monomial, coefficient)) = self.single() {
            let coefficient = rational_power(coefficient, &IBig::from(exponent.clone()))?;
            let factor = RBig::from(IBig::from(exponent.clone()));
            check_size(&factor)?;
            let scaled = monomial.iter().map(|(atom, power)| (atom.clone(), power * &factor)).collect();
            return fold(scaled, budget)?.scaled(&coefficient);
        }
        let count = u32::try_from(exponent).map_err(|_| Fault::OverBudget)?;
        if count > SUM_EXPONENT_MAX {
            return Err(Fault::OverBudget);
        }
        let mut result = Self::constant(RBig::ONE);
        for _ in 0..count {
            result = result.times(self, budget)?;
        }
        Ok(result)
    }

    /// Returns whether a nonzero polynomial of these atoms is certainly different from zero.
    pub(super) fn is_independent(&self) -> bool {
        let prime_max = UBig::from(super::limits::TRIAL_DIVISOR_MAX).pow(2);
        self.terms.keys().flat_map(Monomial::keys).all(|atom| match atom {
            Atom::Prime(prime) => *prime < prime_max,
            Atom::Imaginary | Atom::Symbol(_) => true,
            Atom::Call { name, .. } => is_unknown_function(name),
            Atom::Radical(_) | Atom::Power { .. } => false,
        })
    }
}

/// Reduces exponents to their ranges: primes and radicals below 1, the imaginary unit below 2.
fn fold(mut monomial: Monomial, budget: &mut Budget) -> Result<Polynomial, Fault> {
    let over: Vec<(Atom, RBig)> = monomial
        .iter()
        .filter(|(atom, exponent)| match atom {
            Atom::Prime(_) | Atom::Radical(_) => **exponent >= RBig::ONE,
            Atom::Imaginary => **exponent >= RBig::from(2),
            Atom::Symbol(_) | Atom::Power { .. } | Atom::Call { .. } => false,
        })
        .map(|(atom, exponent)| (atom.clone(), exponent.clone()))
        .collect();
    let mut coefficient = RBig::ONE;
    let mut factors = Vec::new();
    for (atom, exponent) in over {
        monomial.remove(&atom);
        let whole = exponent.floor();
        let rest = exponent - RBig::from(whole.clone());
        match &atom {
            Atom::Prime(prime) => {
                coefficient *= rational_power(&RBig::from(IBig::from(prime.clone())), &whole)?;
                check_size(&coefficient)?;
            }
            Atom::Imaginary => {
                let turns = whole % IBig::from(4);
                if turns >= IBig::from(2) {
                    coefficient = -coefficient;
                }
                if !(turns % IBig::from(2)).is_zero() {
                    monomial.insert(Atom::Imaginary, RBig::ONE);
                }
                continue;
            }
            Atom::Radical(inner) => {
                let (_, whole) = whole.into_parts();
                factors.push(inner.to_power(&whole, budget)?);
            }
            Atom::Symbol(_) | Atom::Power { .. } | Atom::Call { .. } => {}
        }
        if !rest.is_zero() {
            monomial.insert(atom, rest);
        }
    }
    let mut result = Polynomial::term(coefficient, monomial);
    for factor in factors {
        result = result.times(&factor, budget)?;
    }
    Ok(result)
}

impl Fraction {
    /// Returns a polynomial over 1.
    pub(super) fn whole(numerator: Polynomial) -> Self {
        Self { numerator, denominator: Polynomial::constant(RBig::ONE) }
    }

    /// Returns a number as a fraction.
    pub(super) fn constant(value: RBig) -> Self {
        Self::whole(Polynomial::constant(value))
    }

    /// Returns an atom as a fraction.
    pub(super) fn atom(atom: Atom) -> Self {
        Self::whole(Polynomial::atom(atom))
    }

    /// Returns the quotient of two polynomials, simplified as far as is cheap: a numeric denominator is divided out,
    /// the denominator's first coefficient becomes 1, and symbols common to all terms are cancelled.
    pub(super) fn new(numerator: Polynomial, denominator: Polynomial, budget: &mut Budget) -> Result<Self, Fault> {
        let Some(leading) = denominator.terms.values().next_back().cloned() else { return Err(Fault::Undefined) };
        budget.spend(numerator.terms.len() + denominator.terms.len())?;
        let inverse = RBig::ONE / leading;
        let mut fraction = Self { numerator: numerator.scaled(&inverse)?, denominator: denominator.scaled(&inverse)? };
        fraction.cancel_symbols();
        Ok(fraction)
    }

    fn cancel_symbols(&mut self) {
        if self.numerator.is_zero() {
            self.denominator = Polynomial::constant(RBig::ONE);
            return;
        }
        let mut common: Option<Monomial> = None;
        for monomial in self.denominator.terms.keys().chain(self.numerator.terms.keys()) {
            common = Some(match common {
                None => monomial
                    .iter()
                    .filter(|(atom, _)| is_cancellable(atom))
                    .map(|(a, e)| (a.clone(), e.clone()))
                    .collect(),
                Some(shared) => shared
                    .into_iter()
                    .filter_map(|(atom, exponent)| {
                        let least = monomial.get(&atom)?.clone().min(exponent);
                        Some((atom, least))
                    })
                    .collect(),
            });
        }
        let common = common.unwrap_or_default();
        if common.is_empty() {
            return;
        }
        for polynomial in [&mut self.numerator, &mut self.denominator] {
            let terms = std::mem::take(&mut polynomial.terms);
            for (mut monomial, coefficient) in terms {
                for (atom, exponent) in &common {
                    let rest = monomial.remove(atom).unwrap_or(RBig::ZERO) - exponent;
                    if !rest.is_zero() {
                        monomial.insert(atom.clone(), rest);
                    }
                }
                polynomial.terms.insert(monomial, coefficient);
            }
        }
    }

    /// Returns the value if it is a rational number.
    pub(super) fn rational(&self) -> Option<RBig> {
        let below = self.denominator.rational().filter(|value| !value.is_zero())?;
        Some(self.numerator.rational()? / below)
    }

    /// Returns the sum.
    pub(super) fn plus(&self, other: &Self, budget: &mut Budget) -> Result<Self, Fault> {
        if self.denominator == other.denominator {
            let numerator = self.numerator.plus(&other.numerator, budget)?;
            return Self::new(numerator, self.denominator.clone(), budget);
        }
        let left = self.numerator.times(&other.denominator, budget)?;
        let right = other.numerator.times(&self.denominator, budget)?;
        let below = self.denominator.times(&other.denominator, budget)?;
        Self::new(left.plus(&right, budget)?, below, budget)
    }

    /// Returns the product.
    pub(super) fn times(&self, other: &Self, budget: &mut Budget) -> Result<Self, Fault> {
        let above = self.numerator.times(&other.numerator, budget)?;
        let below = self.denominator.times(&other.denominator, budget)?;
        Self::new(above, below, budget)
    }

    /// Returns the negation.
    pub(super) fn negated(&self) -> Result<Self, Fault> {
        Ok(Self { numerator: self.numerator.scaled(&-RBig::ONE)?, denominator: self.denominator.clone() })
    }

    /// Returns 1 over the fraction.
    pub(super) fn inverted(self, budget: &mut Budget) -> Result<Self, Fault> {
        Self::new(self.denominator, self.numerator, budget)
    }

    /// Returns the crosswise difference: zero if the fractions are equal.
    pub(super) fn difference(&self, other: &Self, budget: &mut Budget) -> Result<Polynomial, Fault> {
        let left = self.numerator.times(&other.denominator, budget)?;
        let right = other.numerator.times(&self.denominator, budget)?;
        left.plus(&right.scaled(&-RBig::ONE)?, budget)
    }
}

fn is_cancellable(atom: &Atom) -> bool {
    matches!(atom, Atom::Symbol(_) | Atom::Power { .. } | Atom::Call { .. })
}
