//! Parses a text to a tree, and recognises its kind: mathematics, words, a ratio.

use super::expression::{Expression, Operation, Relation};
use super::outcome::Fault;
use super::{parser, tables};

/// Parses a text to a tree; `Eq(left, right)` is an equation.
pub(super) fn parse(text: &str) -> Result<Expression, Fault> {
    match equation_call(text) {
        Some((left, right)) => {
            let sides = vec![parser::parse(left)?, parser::parse(right)?];
            Ok(Expression::Relation { sides, signs: vec![Relation::Equal] })
        }
        None => parser::parse(text),
    }
}

/// Returns whether a text can be parsed as mathematics: without prose, and not only words.
pub(crate) fn is_readable(text: &str) -> bool {
    matches!(parse(text), Ok(tree) if !matches!(tree, Expression::Text(_)))
}

/// Returns whether a text can be parsed as mathematics and has no words except names of signs and functions.
pub(crate) fn is_wordless(text: &str) -> bool {
    let is_prose = |word: &str| {
        word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_alphabetic()) && tables::plain_name(word).is_none()
    };
    if text.split_whitespace().any(is_prose) {
        return false;
    }
    let Ok(tree) = parse(text) else { return false };
    let mut wordless = true;
    tree.walk(&mut |part| wordless &= !matches!(part, Expression::Text(_)));
    wordless
}

/// Returns whether a gold consists of words without mathematics: `\text{even}`.
pub(crate) fn is_words(text: &str) -> bool {
    match parser::parse(text) {
        Ok(tree) => matches!(tree, Expression::Text(_)),
        Err(_) => !text.contains(|c: char| c.is_ascii_digit() || matches!(c, '^' | '=' | '+')) && text.contains(' '),
    }
}

/// Returns whether a gold is a ratio: `3:5`.
pub(crate) fn is_ratio(text: &str) -> bool {
    text.contains(':') && matches!(parser::parse(text), Ok(Expression::Operation(Operation::Ratio, _)))
}

/// Splits `Eq(left, right)` into its sides.
fn equation_call(text: &str) -> Option<(&str, &str)> {
    let trimmed = text.trim().trim_matches('$').trim();
    let inside = trimmed.strip_prefix("Eq(")?.strip_suffix(')')?;
    let mut depth = 0usize;
    let mut comma = None;
    for (at, character) in inside.char_indices() {
        match character {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.checked_sub(1)?,
            ',' if depth == 0 && comma.is_some() => return None,
            ',' if depth == 0 => comma = Some(at),
            _ => {}
        }
    }
    inside.split_at_checked(comma?).map(|(left, right)| (left, right.trim_start_matches(',')))
}
