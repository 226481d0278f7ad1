//! Compares equations, inequalities and congruences.
//!
//! Two equations are equal if the differences of their sides are multiples of each other, whatever their denominators
//! are; two inequalities are equal if the factor is a number and the signs have the same direction.

use dashu_ratio::RBig;

use super::canonical::canonical;
use super::collections::ordered;
use super::expression::{Expression, Relation, is_constant};
use super::outcome::{Fault, Outcome};
use super::polynomial::{Atom, Fraction, Monomial, Polynomial};
use super::shapes::is_name;
use super::work::Work;

/// Compares two relations; `None` if one of the expressions is not a relation.
pub(super) fn relations(gold: &Expression, answer: &Expression, work: &mut Work) -> Option<Outcome> {
    let (
        Expression::Relation { sides: gold, signs: gold_signs },
        Expression::Relation { sides: answer, signs: answer_signs },
    ) = (gold, answer)
    else {
        return None;
    };
    if !gold.iter().chain(answer).any(Expression::has_variable) {
        return Some(constants((gold, gold_signs), (answer, answer_signs), work));
    }
    // Units are compared together with their values.
    let has_unit = |sides: &[Expression]| sides.iter().any(|side| matches!(side, Expression::Quantity(..)));
    let names = |sides: &[Expression]| sides.iter().any(is_name);
    if (has_unit(gold) || has_unit(answer)) && names(gold) && names(answer) {
        return None;
    }
    let ([gold_left, gold_right], [gold_sign]) = (gold.as_slice(), gold_signs.as_slice()) else {
        return Some(Outcome::Different("relation_differs"));
    };
    let ([answer_left, answer_right], [answer_sign]) = (answer.as_slice(), answer_signs.as_slice()) else {
        return Some(Outcome::Different("relation_differs"));
    };
    let mut difference = |left: &Expression, right: &Expression| -> Result<Fraction, Fault> {
        let right = canonical(right, &mut work.exact)?.negated()?;
        canonical(left, &mut work.exact)?.plus(&right, &mut work.exact)
    };
    let differences =
        difference(gold_left, gold_right).and_then(|gold| Ok((gold, difference(answer_left, answer_right)?)));
    let (gold, answer) = match differences {
        Ok(differences) => differences,
        Err(Fault::OverBudget) => return Some(Outcome::OverBudget),
        Err(_) => return Some(Outcome::Different("relation_differs")),
    };
    let both_equations = (*gold_sign, *answer_sign) == (Relation::Equal, Relation::Equal);
    Some(match proportion(&gold, &answer, both_equations, work) {
        Ok(Some(factor)) => {
            let sign = if factor < RBig::ZERO { answer_sign.flipped() } else { *answer_sign };
            if sign == *gold_sign { Outcome::Equal("proportional") } else { Outcome::Different("relation_differs") }
        }
        // Other equations with roots or functions may have the same solutions.
        Ok(None) if both_equations && !(gold.numerator.is_independent() && answer.numerator.is_independent()) => {
            Outcome::Undecided
        }
        Ok(None) => Outcome::Different("relation_differs"),
        Err(_) => Outcome::OverBudget,
    })
}

/// Compares relations between numbers: the same signs between the same numbers, in either direction.
fn constants(
    (gold, gold_signs): (&[Expression], &[Relation]),
    (answer, answer_signs): (&[Expression], &[Relation]),
    work: &mut Work,
) -> Outcome {
    let turned: Vec<Expression> = answer.iter().rev().cloned().collect();
    let turned_signs: Vec<Relation> = answer_signs.iter().rev().map(|sign| sign.flipped()).collect();
    for (sides, signs) in [(answer, answer_signs), (turned.as_slice(), turned_signs.as_slice())] {
        if signs == gold_signs
            && let outcome @ (Outcome::Equal(_) | Outcome::OverBudget) = ordered(gold, sides, work)
        {
            return outcome;
        }
    }
    Outcome::Different("relation_differs")
}

/// Returns the rational factor from the gold's numerator to the answer's numerator.
fn proportion(gold: &Fraction, answer: &Fraction, is_equation: bool, work: &mut Work) -> Result<Option<RBig>, Fault> {
    // A non-numeric denominator may be negative, so inequalities are multiplied only by numbers.
    let plain = |fraction: &Fraction| fraction.denominator.rational().is_some_and(|value| value > RBig::ZERO);
    if !is_equation && (!plain(gold) || !plain(answer)) {
        return Ok(None);
    }
    let first = |fraction: &Fraction| fraction.numerator.terms.iter().next().map(|(m, c)| (m.clone(), c.clone()));
    let (Some((gold_term, gold_first)), Some((answer_term, answer_first))) = (first(gold), first(answer)) else {
        return Ok(None);
    };
    let factor = answer_first / &gold_first;
    let scaled = gold.numerator.scaled(&-factor.clone())?;
    if scaled.plus(&answer.numerator, &mut work.exact)?.is_zero() {
        return Ok(Some(factor));
    }
    if !is_equation || gold_term == answer_term {
        return Ok(None);
    }
    // Equations may differ by an irrational factor: the quotient of the terms with the same variables.
    let variables = variables_of(&gold_term);
    let mut alike = answer.numerator.terms.iter().filter(|(monomial, _)| variables_of(monomial) == variables);
    let (Some((monomial, coefficient)), None) = (alike.next(), alike.next()) else { return Ok(None) };
    let left = gold.numerator.times(&Polynomial::term(coefficient.clone(), monomial.clone()), &mut work.exact)?;
    let right = answer.numerator.times(&Polynomial::term(gold_first, gold_term), &mut work.exact)?;
    let rest = left.plus(&right.scaled(&-RBig::ONE)?, &mut work.exact)?;
    Ok(rest.is_zero().then_some(RBig::ONE))
}

/// Returns the factors of a product that are neither roots of numbers nor constants.
fn variables_of(monomial: &Monomial) -> Monomial {
    let is_variable = |atom: &Atom| match atom {
        Atom::Prime(_) | Atom::Imaginary => false,
        Atom::Symbol(name) => !is_constant(name),
        Atom::Radical(_) | Atom::Power { .. } | Atom::Call { .. } => true,
    };
    monomial.iter().filter(|(atom, _)| is_variable(atom)).map(|(atom, power)| (atom.clone(), power.clone())).collect()
}

/// Compares residues; `None` if neither side is a residue.
pub(super) fn congruences(gold: &Expression, answer: &Expression, work: &mut Work) -> Option<Outcome> {
    let residue = |expression: &Expression, work: &mut Work| -> Option<(RBig, Option<RBig>)> {
        let (value, modulus) = match expression {
            Expression::Modulo(value, modulus) => (value.as_ref(), Some(modulus.as_ref())),
            other => (other, None),
        };
        let value = match value {
            Expression::Relation { sides, signs } if signs.iter().all(|sign| *sign == Relation::Equal) => {
                sides.last()?
            }
            other => other,
        };
        let mut rational = |part: &Expression| canonical(part, &mut work.exact).ok()?.rational().filter(RBig::is_int);
        let value = rational(value)?;
        match modulus {
            Some(modulus) => Some((value, Some(rational(modulus).filter(|modulus| !modulus.is_zero())?))),
            None => Some((value, None)),
        }
    };
    if !matches!(gold, Expression::Modulo(..)) && !matches!(answer, Expression::Modulo(..)) {
        return None;
    }
    let (Some((left, left_modulus)), Some((right, right_modulus))) = (residue(gold, work), residue(answer, work))
    else {
        return Some(match (gold, answer) {
            (Expression::Modulo(left, left_modulus), Expression::Modulo(right, right_modulus)) => ordered(
                &[(**left).clone(), (**left_modulus).clone()],
                &[(**right).clone(), (**right_modulus).clone()],
                work,
            ),
            _ => Outcome::Different("shape_differs"),
        });
    };
    Some(match (left_modulus, right_modulus) {
        (Some(left_modulus), Some(right_modulus)) => {
            let same_modulus = left_modulus == right_modulus || left_modulus == -right_modulus.clone();
            if same_modulus && ((left - right) / left_modulus).is_int() {
                Outcome::Equal("congruent")
            } else {
                Outcome::Different("residue_differs")
            }
        }
        // One modulus is missing: compares the residue itself, or the computed `17 \bmod 5`.
        (Some(modulus), None) | (None, Some(modulus)) => {
            let (computed, other) = if matches!(gold, Expression::Modulo(..)) { (left, right) } else { (right, left) };
            let quotient = RBig::from((computed.clone() / modulus.clone()).floor());
            if computed == other || computed - quotient * modulus == other {
                Outcome::Equal("congruent")
            } else {
                Outcome::Different("residue_differs")
            }
        }
        (None, None) => Outcome::Different("residue_differs"),
    })
}
