//! Values and names of unknown functions: `f(0)`, `P(-1)`, `f^{-1}(3)`, and `x(t)` before a sign.
//!
//! A letter before a bracket with one number is a function and its argument; the two are never multiplied. A bracket
//! with a variable remains a factor: `P(1+r)`, `n(n+1)`.

use super::canonical::canonical;
use super::expression::{Bracket, Expression, UNKNOWN, is_constant, is_unknown_function};
use super::outcome::Fault;
use super::parser::Parser;
use super::polynomial::Budget;
use super::token::Kind;

/// Whether a letter begins an answer, and so may define a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begins {
    Answer,
    Nothing,
}

impl Parser {
    /// Parses the argument of a letter that names a function; consumes nothing if the letter is a factor. `begins`
    /// states whether the letter is the first of its answer.
    pub(super) fn called(&mut self, name: &str, begins: Begins) -> Result<Option<Expression>, Fault> {
        if is_constant(name) || name == "..." {
            return Ok(None);
        }
        let start = self.at;
        let letter = name.trim_end_matches('\'');
        let is_function = letter.len() < name.len() || matches!(letter, "f" | "g" | "F" | "G");
        let raised = if is_function || letter == "h" { self.function_exponent() } else { String::new() };
        if self.peek() != Some(&Kind::Open(Bracket::Round)) || (self.is_spaced() && !is_function) {
            self.at = start;
            return Ok(None);
        }
        let Some(len) = self.bracket_len() else {
            self.at = start;
            return Ok(None);
        };
        let inner: Vec<Kind> =
            self.tokens.iter().skip(self.at + 1).take(len - 2).map(|token| token.kind.clone()).collect();
        // `P(A \mid B) = ...` names a value.
        let given = inner.iter().filter(|kind| matches!(kind, Kind::Mid | Kind::Bar)).count() == 1;
        if given && raised.is_empty() && begins == Begins::Answer && self.is_defined(len) {
            let spelled: Vec<String> = inner
                .iter()
                .map(|kind| if *kind == Kind::Mid { format!("{:?}", Kind::Bar) } else { format!("{kind:?}") })
                .collect();
            self.at += len;
            return Ok(Some(Expression::Symbol(format!("{name}({})", spelled.concat()))));
        }
        let is_head = raised.is_empty()
            && begins == Begins::Answer
            && !super::shapes::is_function_letter(name)
            && self.is_head(&inner, len);
        if !is_head && !is_argument(&inner, is_function, letter) {
            self.at = start;
            return Ok(None);
        }
        self.at += 1;
        let (items, _) = self.deeper(Self::items)?;
        self.expect(&Kind::Close(Bracket::Round))?;
        Ok(Some(Expression::Call(format!("{name}{raised}{UNKNOWN}"), items)))
    }

    fn is_spaced(&self) -> bool {
        self.tokens.get(self.at).is_some_and(|token| token.spaced)
    }

    /// Returns the number of tokens from the bracket at this position to its closing bracket.
    fn bracket_len(&self) -> Option<usize> {
        let mut depth = 0usize;
        for (len, token) in self.tokens.iter().skip(self.at).enumerate() {
            match token.kind {
                Kind::Open(_) => depth += 1,
                Kind::Close(_) => {
                    depth = depth.checked_sub(1)?;
                    if depth == 0 {
                        return Some(len + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// Parses the exponent of a function's letter: `-1` of `f^{-1}(3)`, `(4)` of `f^{(4)}(0)`.
    fn function_exponent(&mut self) -> String {
        let before = self.at;
        let mut text = String::new();
        if self.take(&Kind::Caret) {
            let braced = self.take(&Kind::Open(Bracket::Brace));
            while let Some(part) = match self.peek() {
                Some(Kind::Minus) => Some("-".to_owned()),
                Some(Kind::Number { digits, .. }) => Some(digits.clone()),
                Some(Kind::Open(Bracket::Round)) if braced => Some("(".to_owned()),
                Some(Kind::Close(Bracket::Round)) if braced => Some(")".to_owned()),
                _ => None,
            } {
                text.push_str(&part);
                self.at += 1;
            }
            if braced && !self.take(&Kind::Close(Bracket::Brace)) {
                text.clear();
            }
        }
        if text.is_empty() || self.peek() != Some(&Kind::Open(Bracket::Round)) {
            self.at = before;
            return String::new();
        }
        format!("^{text}")
    }

    /// Returns whether the bracket contains only names, and an equals sign follows: `x(t) = ...`.
    fn is_head(&self, inner: &[Kind], len: usize) -> bool {
        let names = inner.iter().all(|kind| matches!(kind, Kind::Symbol(_) | Kind::Separator(_)));
        let lone = inner.split(|kind| matches!(kind, Kind::Separator(_))).all(|argument| argument.len() == 1);
        names && lone && self.is_defined(len)
    }

    fn is_defined(&self, len: usize) -> bool {
        matches!(self.peek_at(len), Some(Kind::Relation(super::expression::Relation::Equal)))
    }
}

/// Returns whether a bracket after a letter contains the argument of a function: a number, or for the usual letters
/// anything without a variable.
fn is_argument(inner: &[Kind], is_function: bool, letter: &str) -> bool {
    let is_open = |kind: &Kind| match kind {
        Kind::Symbol(name) => !is_constant(name),
        Kind::Relation(_) | Kind::Text(_) | Kind::Modulo | Kind::Colon | Kind::Cell | Kind::Row => true,
        _ => false,
    };
    if inner.is_empty() || inner.iter().any(is_open) {
        return false;
    }
    let is_list = inner.iter().any(|kind| matches!(kind, Kind::Separator(_)));
    // `P(1,2)` is a point.
    if is_list && letter.starts_with(|c: char| c.is_ascii_uppercase()) {
        return false;
    }
    let computes = |kind: &Kind| matches!(kind, Kind::Plus | Kind::Minus | Kind::PlusMinus | Kind::Times);
    is_function || !inner.iter().skip(1).any(computes)
}

/// Names the value of an unknown function at a number, so that the value is as open as a variable.
pub(super) fn named_values(expression: Expression) -> Expression {
    let mut calls = false;
    expression.walk(&mut |part| calls |= matches!(part, Expression::Call(name, _) if is_unknown_function(name)));
    if !calls {
        return expression;
    }
    expression.map(&|part| match part {
        Expression::Call(name, arguments)
            if is_unknown_function(&name) && !arguments.iter().any(Expression::has_variable) =>
        {
            let mut budget = Budget::new();
            let key: Vec<String> = arguments
                .iter()
                .map(|argument| match canonical(argument, &mut budget) {
                    Ok(value) => value.rational().map_or_else(|| format!("{value:?}"), |value| value.to_string()),
                    Err(_) => format!("{argument:?}"),
                })
                .collect();
            Expression::Symbol(format!("{}({})", name.trim_end_matches(UNKNOWN), key.join(",")))
        }
        other => other,
    })
}
