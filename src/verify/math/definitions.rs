//! Elements that are definitions: `AB = 3`, `P(1, 2)`, `x = 1, y = 2`.

use super::expression::{Bracket, Expression, Relation};
use super::limits::ELEMENTS_MAX;
use super::shapes::{is_name, is_point_name};

/// A name and its value.
#[derive(Debug, Clone)]
pub(super) struct Definition {
    pub(super) name: Expression,
    pub(super) value: Expression,
}

/// Returns the definition of each element, if the element is one.
pub(super) fn names(items: &[Expression]) -> Vec<Option<Definition>> {
    items.iter().map(definition).collect()
}

fn definition(item: &Expression) -> Option<Definition> {
    // `P(1, 2)`: a point and its name.
    if let Expression::Product(factors) = item
        && let [name @ Expression::Symbol(letter), value @ Expression::Group { .. }] = factors.as_slice()
        && is_point_name(letter)
    {
        return Some(Definition { name: name.clone(), value: value.clone() });
    }
    let Expression::Relation { sides, signs } = item else { return None };
    if !signs.iter().all(|sign| *sign == Relation::Equal) {
        return None;
    }
    let (first, last) = (sides.first()?, sides.last()?);
    // `\cos(0) = 1` defines the value of the named expression.
    let is_call = matches!(first, Expression::Call(..)) && !last.has_variable();
    if is_name(first) || is_call {
        return Some(Definition { name: bare_name(first), value: last.clone() });
    }
    let turned = sides.len() == 2 && is_name(last) && !first.has_variable();
    turned.then(|| Definition { name: bare_name(last), value: first.clone() })
}

/// Removes the `m` from `m\angle A`.
fn bare_name(name: &Expression) -> Expression {
    match name {
        Expression::Product(factors) => match factors.as_slice() {
            [Expression::Symbol(m), rest @ ..] if m == "m" && !rest.is_empty() => match rest {
                [only] => only.clone(),
                several => Expression::Product(several.to_vec()),
            },
            _ => name.clone(),
        },
        _ => name.clone(),
    }
}

/// Returns whether every element has a name, and all names differ.
pub(super) fn distinct(names: &[Option<Definition>]) -> bool {
    let all: Option<Vec<&Expression>> = names.iter().map(|name| name.as_ref().map(|name| &name.name)).collect();
    all.is_some_and(|all| {
        all.len() > 1 && all.iter().enumerate().all(|(at, name)| !all.iter().take(at).any(|other| other == name))
    })
}

/// Returns whether the names are one letter with numbers: `x_1`, `x_2` number the roots of one unknown.
pub(super) fn is_enumerated(names: &[Option<Definition>]) -> bool {
    let letter = |definition: &Definition| match &definition.name {
        Expression::Symbol(name) => name
            .split_once('_')
            .filter(|(_, index)| index.bytes().all(|byte| byte.is_ascii_digit()))
            .map(|(letter, _)| letter.to_owned()),
        _ => None,
    };
    let letters: Option<Vec<String>> = names.iter().map(|name| name.as_ref().and_then(letter)).collect();
    letters.is_some_and(|letters| letters.windows(2).all(|pair| pair.first() == pair.last()))
}

/// Sorts definitions by their names, in the order of a tuple of their values.
pub(super) fn by_name(items: &[Expression]) -> Vec<Expression> {
    let name = |item: &Expression| match definition(item).map(|definition| definition.name) {
        Some(Expression::Symbol(name)) => Some(name),
        _ => None,
    };
    let mut sorted = items.to_vec();
    if sorted.iter().all(|item| name(item).is_some()) {
        sorted.sort_by_key(name);
    }
    sorted
}

/// Returns whether every element is a definition, and all names differ.
pub(super) fn names_its_parts(items: &[Expression]) -> bool {
    distinct(&names(items))
}

/// Expands abbreviated lists: `x
/// e 0, 1`, and `p=5, q=2, p=7, q=2`, which are two tuples.
pub(super) fn written_out(expression: Expression) -> Expression {
    let Expression::List(items, join) = expression else { return expression };
    let mut spread: Vec<Expression> = Vec::with_capacity(items.len());
    for item in items {
        let unequal = match spread.last() {
            Some(Expression::Relation { sides, signs })
                if signs.as_slice() == [Relation::NotEqual] && !matches!(item, Expression::Relation { .. }) =>
            {
                sides.first().filter(|name| is_name(name)).cloned()
            }
            _ => None,
        };
        spread.push(match unequal {
            Some(name) => Expression::Relation { sides: vec![name, item], signs: vec![Relation::NotEqual] },
            None => item,
        });
    }
    match rows(&spread) {
        Some(rows) => Expression::List(rows, join),
        None => Expression::List(spread, join),
    }
}

/// Converts definitions with cyclically repeated names to definitions of tuples.
fn rows(items: &[Expression]) -> Option<Vec<Expression>> {
    if items.len() > ELEMENTS_MAX {
        return None;
    }
    let definitions: Option<Vec<Definition>> = names(items).into_iter().collect();
    let definitions = definitions?;
    let first = definitions.first()?;
    let width = definitions.iter().skip(1).position(|other| other.name == first.name)? + 1;
    let heads = definitions.get(..width)?;
    let repeats = width > 1
        && definitions.len().is_multiple_of(width)
        && definitions.iter().zip(heads.iter().cycle()).all(|(one, head)| one.name == head.name);
    repeats.then(|| {
        let group = |items: Vec<Expression>| Expression::Group { open: Bracket::Round, close: Bracket::Round, items };
        definitions
            .chunks(width)
            .map(|row| Expression::Relation {
                sides: vec![
                    group(row.iter().map(|one| one.name.clone()).collect()),
                    group(row.iter().map(|one| one.value.clone()).collect()),
                ],
                signs: vec![Relation::Equal],
            })
            .collect()
    })
}
