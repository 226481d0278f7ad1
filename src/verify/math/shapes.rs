//! Rewrites of whole answers before they are compared: names in front of values, `\pm`, inequalities as intervals,
//! sums of matrices.

use super::expression::{Bracket, Expression, Operation, Relation};

/// A value with the name that stood before it (`x` of `x = 3`).
#[derive(Debug, Clone)]
pub(super) struct Named {
    /// What stood left of the first equals sign or of `\in`.
    pub(super) name: Option<Expression>,
    /// The value.
    pub(super) value: Expression,
}

/// Splits a name off an answer; chains of equalities keep their last side.
pub(super) fn split_name(expression: &Expression) -> Named {
    if let Expression::Relation { sides, signs } = expression
        && let (Some(first), Some(last)) = (sides.first(), sides.last())
    {
        if signs.as_slice() == [Relation::In] {
            return Named { name: Some(first.clone()), value: last.clone() };
        }
        if signs.iter().all(|sign| *sign == Relation::Equal) {
            if is_name(first) && !is_name_of(first, last) {
                return Named { name: Some(first.clone()), value: last.clone() };
            }
            // `3 = x`, and chains of computations.
            if sides.len() == 2 && is_name(last) && !first.has_variable() {
                return Named { name: Some(last.clone()), value: first.clone() };
            }
            if sides.iter().all(|side| !side.has_variable()) {
                return Named { name: None, value: last.clone() };
            }
        }
    }
    Named { name: None, value: expression.clone() }
}

/// Returns the last side of a chain of equalities.
pub(super) fn last_side(expression: Expression) -> Expression {
    match expression {
        Expression::Relation { mut sides, signs } if signs.iter().all(|sign| *sign == Relation::Equal) => {
            sides.pop().unwrap_or(Expression::List(Vec::new()))
        }
        other => other,
    }
}

/// Returns whether the side names something: `x`, `f(x)`, `(p, q)`, `V_1:V_2`, words.
fn is_name(side: &Expression) -> bool {
    match side {
        Expression::Symbol(name) => !matches!(name.as_str(), "pi" | "e" | "i"),
        Expression::Text(_) => true,
        Expression::Group { items, .. } | Expression::Operation(Operation::Ratio, items) => items.iter().all(is_name),
        Expression::Product(factors) => is_function_name(factors),
        Expression::Call(name, arguments) => name == "abs" && arguments.iter().all(is_name),
        _ => false,
    }
}

/// `f(x)`: a function letter and one or more arguments.
fn is_function_name(factors: &[Expression]) -> bool {
    match factors {
        [Expression::Symbol(name), arguments] => {
            let is_function =
                matches!(name.as_str(), "f" | "g" | "h" | "p" | "q" | "F" | "G" | "P" | "Q" | "R" | "S" | "T");
            is_function
                && matches!(arguments, Expression::Symbol(_) | Expression::Number { .. } | Expression::Group { .. })
        }
        _ => false,
    }
}

/// An equation whose right side speaks of the name again is no definition: `x = x^2`.
fn is_name_of(name: &Expression, value: &Expression) -> bool {
    let Expression::Symbol(name) = name else { return false };
    let mut found = false;
    value.walk(&mut |part| found |= matches!(part, Expression::Symbol(other) if other == name));
    found
}

/// Writes out `\pm`: both values, the negative first.
pub(super) fn expand_plus_minus(expression: &Expression) -> Vec<Expression> {
    match expression {
        Expression::PlusMinus(left, right) => [true, false]
            .into_iter()
            .map(|negative| {
                let right = if negative { Expression::Negate(right.clone()) } else { (**right).clone() };
                match left {
                    Some(left) => Expression::Sum(vec![(**left).clone(), right]),
                    None => right,
                }
            })
            .collect(),
        Expression::Quotient(above, below) => expand_plus_minus(above)
            .into_iter()
            .map(|above| Expression::Quotient(Box::new(above), below.clone()))
            .collect(),
        Expression::Negate(inner) => {
            expand_plus_minus(inner).into_iter().map(|inner| Expression::Negate(Box::new(inner))).collect()
        }
        Expression::Product(factors) => expand_one(factors, Expression::Product),
        Expression::Sum(terms) => expand_one(terms, Expression::Sum),
        Expression::Relation { sides, signs } if signs.as_slice() == [Relation::Equal] => {
            let [name, value] = sides.as_slice() else { return vec![expression.clone()] };
            expand_plus_minus(value)
                .into_iter()
                .map(|value| Expression::Relation { sides: vec![name.clone(), value], signs: signs.clone() })
                .collect()
        }
        other => vec![other.clone()],
    }
}

/// Writes out the first `\pm` among terms or factors.
fn expand_one(parts: &[Expression], rebuild: fn(Vec<Expression>) -> Expression) -> Vec<Expression> {
    let at = parts.iter().position(|part| matches!(part, Expression::PlusMinus(..)));
    let Some((at, part)) = at.and_then(|at| parts.get(at).map(|part| (at, part))) else {
        return vec![rebuild(parts.to_vec())];
    };
    expand_plus_minus(part)
        .into_iter()
        .map(|value| {
            let mut parts = parts.to_vec();
            if let Some(slot) = parts.get_mut(at) {
                *slot = value;
            }
            rebuild(parts)
        })
        .collect()
}

/// Reads an inequality with one unknown side as an interval: `-2 \le x \le 7`, `x > 5`, `0 < f(x) < 1`.
pub(super) fn interval(expression: &Expression) -> Option<Expression> {
    let Expression::Relation { sides, signs } = expression else { return None };
    let below = |sign: &Relation| matches!(sign, Relation::Less | Relation::LessEqual);
    let above = |sign: &Relation| matches!(sign, Relation::Greater | Relation::GreaterEqual);
    let (sides, signs): (Vec<&Expression>, Vec<Relation>) = if signs.iter().all(below) {
        (sides.iter().collect(), signs.clone())
    } else if signs.iter().all(above) {
        (sides.iter().rev().collect(), signs.iter().rev().map(|sign| sign.flipped()).collect())
    } else {
        return None;
    };
    let infinite = Expression::Infinity;
    let (low, low_sign, unknown, high_sign, high) = match (sides.as_slice(), signs.as_slice()) {
        ([low, unknown, high], [first, second]) => ((*low).clone(), *first, *unknown, *second, (*high).clone()),
        ([left, right], [sign]) if left.has_variable() && !right.has_variable() => {
            (Expression::Negate(Box::new(infinite)), Relation::Less, *left, *sign, (*right).clone())
        }
        ([left, right], [sign]) if right.has_variable() && !left.has_variable() => {
            ((*left).clone(), *sign, *right, Relation::Less, infinite)
        }
        _ => return None,
    };
    let plain = is_name(unknown) && !low.has_variable() && !high.has_variable();
    let bracket = |sign: Relation| if sign == Relation::LessEqual { Bracket::Square } else { Bracket::Round };
    plain.then(|| Expression::Group { open: bracket(low_sign), close: bracket(high_sign), items: vec![low, high] })
}

/// Carries out sums, differences and scalar multiples of matrices of one size.
pub(super) fn fold_matrix(expression: &Expression) -> Option<Vec<Vec<Expression>>> {
    match expression {
        Expression::Matrix(rows) => Some(rows.clone()),
        Expression::Negate(inner) => Some(map_cells(fold_matrix(inner)?, &|cell| Expression::Negate(Box::new(cell)))),
        Expression::Product(factors) => {
            // Each factor is folded once: nested products must not cost exponential time.
            let mut scalars = Vec::new();
            let mut matrix = None;
            for factor in factors {
                match fold_matrix(factor) {
                    None => scalars.push(factor.clone()),
                    Some(rows) if matrix.is_none() => matrix = Some(rows),
                    Some(_) => return None,
                }
            }
            Some(map_cells(matrix?, &|cell| {
                let mut factors = scalars.clone();
                factors.push(cell);
                Expression::Product(factors)
            }))
        }
        Expression::Quotient(above, below) => {
            Some(map_cells(fold_matrix(above)?, &|cell| Expression::Quotient(Box::new(cell), below.clone())))
        }
        Expression::Sum(terms) => {
            let mut terms = terms.iter().map(fold_matrix);
            let mut sum = terms.next()??;
            for term in terms {
                let term = term?;
                if term.len() != sum.len() {
                    return None;
                }
                for (row, added) in sum.iter_mut().zip(term) {
                    if row.len() != added.len() {
                        return None;
                    }
                    for (cell, added) in row.iter_mut().zip(added) {
                        *cell = Expression::Sum(vec![cell.clone(), added]);
                    }
                }
            }
            Some(sum)
        }
        _ => None,
    }
}

fn map_cells(rows: Vec<Vec<Expression>>, change: &dyn Fn(Expression) -> Expression) -> Vec<Vec<Expression>> {
    rows.into_iter().map(|row| row.into_iter().map(change).collect()).collect()
}
