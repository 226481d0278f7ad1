//! Rewrites whole answers before their comparison: names before values, `\pm`, whole-number parameters, sums of
//! matrices and of unit vectors.

use super::expression::{Domain, Expression, Join, Operation, Relation, UNKNOWN, is_unknown_function};

/// The side of the comparison that an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Gold,
    Answer,
}

/// Most `\pm` signs that are expanded: each doubles the number of answers.
const SIGNS_MAX: usize = 3;

/// A value with the name before it (`x` of `x = 3`).
#[derive(Debug, Clone)]
pub(super) struct Named {
    /// The side before the first equals sign or `\in`.
    pub(super) name: Option<Expression>,
    /// The value.
    pub(super) value: Expression,
}

/// Splits a name off an answer; a chain of equalities keeps its last side.
pub(super) fn split_name(expression: &Expression, side: Side) -> Named {
    // `P(1, 2)`: a point and its name.
    if let Expression::Product(factors) = expression
        && let [name @ Expression::Symbol(letter), point @ Expression::Group { .. }] = factors.as_slice()
        && is_point_name(letter)
    {
        return Named { name: Some(name.clone()), value: point.clone() };
    }
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
            // A chain of computations ends with its value.
            if side == Side::Answer && sides.len() > 2 && !last.has_variable() {
                return Named { name: None, value: last.clone() };
            }
            if sides.iter().all(|side| !side.has_variable()) {
                return Named { name: None, value: last.clone() };
            }
            // `\sin A = \frac35`.
            if sides.len() == 2 && is_ratio_of_angle(first) && !last.has_variable() {
                return Named { name: Some(first.clone()), value: last.clone() };
            }
            // `x + y = 5` in an answer gives a value; `2x = 3` gives the value of another expression than requested.
            let many = first.variables().len() > 1 || matches!(first, Expression::Call(..));
            if side == Side::Answer && many && !last.has_variable() && !is_curve(first, last) {
                return Named { name: Some(first.clone()), value: last.clone() };
            }
        }
    }
    Named { name: None, value: expression.clone() }
}

/// Returns whether an equation describes a line or curve rather than a value: its right side is zero, or one with
/// powers on the left side.
fn is_curve(left: &Expression, right: &Expression) -> bool {
    let Expression::Number { value, .. } = right else { return false };
    let mut has_power = false;
    left.walk(&mut |part| has_power |= matches!(part, Expression::Power(..)));
    value.is_zero() || (value.is_one() && has_power)
}

/// Returns the last side of a chain of equalities.
pub(super) fn last_side(expression: Expression) -> Expression {
    match expression {
        Expression::Relation { mut sides, signs } if signs.iter().all(|sign| *sign == Relation::Equal) => {
            sides.pop().unwrap_or(Expression::List(Vec::new(), Join::Comma))
        }
        other => other,
    }
}

/// Returns whether the side is a name: `x`, `f(x)`, `(p, q)`, `V_1:V_2`, words.
pub(super) fn is_name(side: &Expression) -> bool {
    match side {
        Expression::Symbol(name) => !matches!(name.as_str(), "pi" | "e" | "i"),
        Expression::Text(_) => true,
        Expression::Group { items, .. } | Expression::Operation(Operation::Ratio, items) => items.iter().all(is_name),
        Expression::Product(factors) => is_function_name(factors) || is_segment(factors),
        Expression::Call(name, arguments) if is_unknown_function(name) => {
            arguments.iter().all(|argument| is_name(argument) || !argument.has_variable())
        }
        Expression::Call(name, arguments) => {
            matches!(
                name.as_str(),
                "abs" | "max" | "min" | "det" | "gcd" | "lcm" | "dim" | "rank" | "tr" | "arg" | "deg" | "Re" | "Im"
            ) && arguments.iter().all(is_name)
        }
        // `A \cup B`, whose elements are counted.
        Expression::Union(parts) | Expression::Operation(Operation::Intersection | Operation::Difference, parts) => {
            parts.iter().all(is_name)
        }
        // `\sigma^2`.
        Expression::Power(base, _) if matches!(&**base, Expression::Symbol(name) if name == "sigma" || name == "chi") => {
            true
        }
        // `AB^2`, `AB \cdot CD`, `AB + CD`, `\frac{AB}{CD}`.
        Expression::Power(base, exponent) => is_length(base) && matches!(**exponent, Expression::Number { .. }),
        Expression::Sum(terms) => terms.iter().all(|term| match term {
            Expression::Negate(term) => is_length(term),
            term => is_length(term),
        }),
        Expression::Quotient(above, below) if is_length(above) || is_length(below) => {
            let is_part = |part: &Expression| is_length(part) || matches!(part, Expression::Sum(_)) && is_name(part);
            is_part(above) && is_part(below)
        }
        Expression::Degree(inner) => is_name(inner),
        // `f^{-1}(x)`, `\frac{dy}{dx}`.
        Expression::Quotient(above, below) => is_differential(above) && is_differential(below),
        _ => false,
    }
}

/// Returns whether a letter before a pair of numbers names a point; `N(0, 1)` and `U(0, 1)` are distributions.
pub(super) fn is_point_name(letter: &str) -> bool {
    letter.starts_with(|c: char| c.is_ascii_uppercase()) && !matches!(letter, "N" | "U")
}

/// Returns whether a side is the sine, or another ratio, of a named angle.
fn is_ratio_of_angle(side: &Expression) -> bool {
    match side {
        Expression::Call(name, arguments) => {
            matches!(name.as_str(), "sin" | "cos" | "tan" | "cot" | "sec" | "csc") && arguments.iter().all(is_name)
        }
        _ => false,
    }
}

/// Returns whether a letter before a bracket names a function in a definition.
pub(super) fn is_function_letter(name: &str) -> bool {
    let letter = name.trim_end_matches('\'');
    matches!(
        letter.split('_').next().unwrap_or(letter),
        "f" | "g" | "h" | "p" | "q" | "F" | "G" | "P" | "Q" | "R" | "S" | "T" | "A" | "V" | "E" | "C" | "N"
    ) || FUNCTION_WORDS.contains(&letter)
}

/// Words before a bracket that name a function of a random variable or a matrix.
pub(super) const FUNCTION_WORDS: &[&str] =
    &["Var", "Cov", "Corr", "SD", "Pr", "Prob", "Bias", "MSE", "tr", "rank", "dim", "ker", "ord", "vol", "area"];

/// Returns the letter of the function in a function application, with its primes: `f'` of `f'(x)`.
pub(super) fn function_letter(name: &Expression) -> Option<&str> {
    match name {
        Expression::Product(factors) if is_function_name(factors) => match factors.first() {
            Some(Expression::Symbol(letter)) => Some(letter),
            _ => None,
        },
        Expression::Call(letter, _) if is_unknown_function(letter) => Some(letter.trim_end_matches(UNKNOWN)),
        _ => None,
    }
}

/// Returns whether the factors are a function letter and its arguments: `f(x)`.
fn is_function_name(factors: &[Expression]) -> bool {
    match factors {
        [Expression::Symbol(name), arguments] if is_function_letter(name) => {
            matches!(
                arguments,
                Expression::Symbol(_)
                    | Expression::Number { .. }
                    | Expression::Group { .. }
                    | Expression::Relation { .. }
            )
        }
        [Expression::Power(base, exponent), Expression::Symbol(_) | Expression::Number { .. }] => {
            matches!(&**base, Expression::Symbol(name) if is_function_letter(name))
                && **exponent == Expression::Negate(Box::new(Expression::integer(1)))
        }
        _ => false,
    }
}

/// Returns whether the factors are capital letters side by side: `AB`, `\angle ABC`.
fn is_segment(factors: &[Expression]) -> bool {
    let is_capital = |factor: &Expression| match factor {
        Expression::Symbol(name) => name.starts_with(|c: char| c.is_ascii_uppercase()),
        _ => false,
    };
    let rest = match factors.split_first() {
        // `m\angle A`.
        Some((Expression::Symbol(name), rest)) if name == "m" => rest,
        _ => factors,
    };
    let Some((last, front)) = rest.split_last() else { return false };
    // `AB^2`.
    let last = match last {
        Expression::Power(base, exponent) if matches!(**exponent, Expression::Number { .. }) => base,
        other => other,
    };
    front.iter().all(is_capital) && is_capital(last)
}

/// Returns whether a name is that of a length, or is computed from lengths.
pub(super) fn is_measure(name: &Expression) -> bool {
    match name {
        Expression::Quotient(above, below) => is_measure(above) || is_measure(below),
        Expression::Sum(terms) => terms.iter().any(is_measure),
        Expression::Negate(inner) | Expression::Power(inner, _) => is_measure(inner),
        other => is_length(other),
    }
}

/// Returns whether the expression is a length: two or more capital letters side by side, or their absolute value.
fn is_length(expression: &Expression) -> bool {
    match expression {
        Expression::Product(factors) => factors.len() > 1 && is_segment(factors),
        Expression::Call(name, arguments) => name == "abs" && arguments.iter().all(is_length),
        _ => false,
    }
}

fn is_differential(expression: &Expression) -> bool {
    match expression {
        Expression::Symbol(name) => name == "d",
        Expression::Product(factors) => {
            matches!(factors.as_slice(), [Expression::Symbol(d), Expression::Symbol(_)] if d == "d")
        }
        _ => false,
    }
}

/// Returns whether an equation defines the name: an equation whose right side contains the name does not (`x = x^2`).
fn is_name_of(name: &Expression, value: &Expression) -> bool {
    let Expression::Symbol(name) = name else { return false };
    let mut found = false;
    value.walk(&mut |part| found |= matches!(part, Expression::Symbol(other) if other == name));
    found
}

/// Expands `\pm` to all values, the negative first. The signs of one answer are independent, unless `\mp` ties them.
pub(super) fn expand_plus_minus(expression: &Expression) -> Vec<Expression> {
    let mut signs = 0usize;
    let mut is_tied = false;
    expression.walk(&mut |part| {
        if let Expression::PlusMinus { flipped, .. } = part {
            signs += 1;
            is_tied |= *flipped;
        }
    });
    if signs == 0 || signs > SIGNS_MAX || is_many(expression) {
        return vec![expression.clone()];
    }
    let choices = if is_tied { 2 } else { 1usize << signs };
    (0..choices)
        .map(|choice| {
            let seen = std::cell::Cell::new(0usize);
            expression.clone().map(&|part| match part {
                Expression::PlusMinus { left, right, flipped } => {
                    let at = seen.replace(seen.get() + 1);
                    let bit = if is_tied { choice } else { choice >> at };
                    let is_positive = (bit & 1 == 1) != flipped;
                    let right = if is_positive { *right } else { Expression::Negate(right) };
                    match left {
                        Some(left) => Expression::Sum(vec![*left, right]),
                        None => right,
                    }
                }
                other => other,
            })
        })
        .collect()
}

/// Returns whether the expression has several answers, each with its own signs.
fn is_many(expression: &Expression) -> bool {
    matches!(expression, Expression::List(..) | Expression::Set(_))
}

/// Drops the clauses that declare a letter as a whole number (`k \in \mathbb{Z}`), and renames that letter to a fixed
/// name.
pub(super) fn without_parameters(gold: &Expression, answer: &Expression) -> (Expression, Expression) {
    let (gold_letter, answer_letter) = (parameter(gold), parameter(answer));
    if gold_letter.is_none() && answer_letter.is_none() {
        return (gold.clone(), answer.clone());
    }
    let renamed = |expression: &Expression, letter: Option<String>| {
        let bare = without_clauses(expression);
        // A side without the clause may also use another letter.
        let letter = letter.or_else(|| {
            let variables = bare.variables();
            let mut usual = ["k", "n", "m", "l"].into_iter().filter(|letter| variables.contains(*letter));
            usual.next().map(str::to_owned)
        });
        match letter {
            Some(letter) => bare.substituted(&letter, &Expression::Symbol("#".to_owned())),
            None => bare,
        }
    };
    (renamed(gold, gold_letter), renamed(answer, answer_letter))
}

fn clause_letter(expression: &Expression) -> Option<&str> {
    match expression {
        Expression::Relation { sides, signs } if signs.as_slice() == [Relation::In] => match sides.as_slice() {
            [Expression::Symbol(letter), Expression::Domain(Domain::Integers | Domain::Naturals)] => Some(letter),
            _ => None,
        },
        _ => None,
    }
}

fn parameter(expression: &Expression) -> Option<String> {
    match expression {
        Expression::List(items, _) => items.iter().find_map(clause_letter).map(str::to_owned),
        _ => None,
    }
}

fn without_clauses(expression: &Expression) -> Expression {
    let Expression::List(items, join) = expression else { return expression.clone() };
    let mut kept: Vec<Expression> = items.iter().filter(|item| clause_letter(item).is_none()).cloned().collect();
    if kept.len() == 1 {
        kept.pop().unwrap_or(Expression::List(Vec::new(), Join::Comma))
    } else {
        Expression::List(kept, *join)
    }
}

/// Returns the components of a sum of unit vectors: `3i - 2j + k`.
pub(super) fn components(expression: &Expression, count: usize) -> Option<Vec<Expression>> {
    const UNITS: [&str; 3] = ["i", "j", "k"];
    let units = UNITS.get(..count).filter(|units| units.len() > 1)?;
    let terms = match expression {
        Expression::Sum(terms) => terms.clone(),
        other => vec![other.clone()],
    };
    let mut components: Vec<Vec<Expression>> = vec![Vec::new(); count];
    for term in terms {
        let (negative, term) = match term {
            Expression::Negate(inner) => (true, *inner),
            other => (false, other),
        };
        let mut factors = match term {
            Expression::Product(factors) => factors,
            other => vec![other],
        };
        let at = factors
            .iter()
            .position(|factor| matches!(factor, Expression::Symbol(name) if units.contains(&name.as_str())))?;
        let Expression::Symbol(unit) = factors.remove(at) else { return None };
        let value = if factors.is_empty() { Expression::integer(1) } else { Expression::Product(factors) };
        let value = if negative { Expression::Negate(Box::new(value)) } else { value };
        components.get_mut(units.iter().position(|name| *name == unit)?)?.push(value);
    }
    // A sum without `j` is a complex number.
    if components.get(1).is_none_or(Vec::is_empty) && components.get(2).is_none_or(Vec::is_empty) {
        return None;
    }
    Some(components.into_iter().map(Expression::Sum).collect())
}

/// Computes sums, differences and scalar multiples of matrices of one size.
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
        Expression::Quantity(inner, _) => fold_matrix(inner),
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
