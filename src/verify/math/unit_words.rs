//! Parses the unit after a value; `units` compares units.

use super::expression::{Bracket, Expression};
use super::outcome::Fault;
use super::parser::Parser;
use super::token::Kind;

impl Parser {
    /// Parses a unit: words, their powers, products and quotients; skips a remark in brackets.
    pub(super) fn unit(&mut self) -> Result<String, Fault> {
        let mut unit = String::new();
        loop {
            match self.peek() {
                Some(Kind::Text(text)) if text != "by" && !(text == "to" && self.is_number_next()) => {
                    let text = text.clone();
                    self.at += 1;
                    push_word(&mut unit, &text);
                    self.unit_power(&mut unit)?;
                }
                Some(Kind::Divide) if matches!(self.peek_at(1), Some(Kind::Text(_) | Kind::Symbol(_))) => {
                    self.at += 1;
                    push_word(&mut unit, "per");
                    if let Some(Kind::Symbol(letter)) = self.peek().cloned() {
                        self.at += 1;
                        push_word(&mut unit, &letter);
                        self.unit_power(&mut unit)?;
                    }
                }
                Some(Kind::Times) if !unit.is_empty() && matches!(self.peek_at(1), Some(Kind::Text(_))) => self.at += 1,
                Some(Kind::Fraction) if self.is_unit_fraction() => {
                    self.at += 2;
                    let above = self.words();
                    push_word(&mut unit, &above);
                    self.expect(&Kind::Close(Bracket::Brace))?;
                    self.expect(&Kind::Open(Bracket::Brace))?;
                    push_word(&mut unit, "per");
                    let below = self.words();
                    push_word(&mut unit, &below);
                    self.unit_power(&mut unit)?;
                    self.expect(&Kind::Close(Bracket::Brace))?;
                }
                Some(Kind::Open(Bracket::Round))
                    if matches!(self.peek_at(1), Some(Kind::Text(_)))
                        && self.peek_at(2) == Some(&Kind::Close(Bracket::Round)) =>
                {
                    self.at += 3;
                }
                _ => return Ok(unit),
            }
        }
    }

    /// Parses the power of a unit: `cm^2`, `s^{-1}`.
    fn unit_power(&mut self, unit: &mut String) -> Result<(), Fault> {
        if !self.take(&Kind::Caret) {
            return Ok(());
        }
        match self.deeper(Self::exponent)? {
            Expression::Number { value, .. } if value.is_int() => {
                unit.push('^');
                unit.push_str(&value.to_string());
            }
            // A power that no known unit has.
            _ => unit.push_str("^?"),
        }
        Ok(())
    }

    fn is_number_next(&self) -> bool {
        matches!(self.peek_at(1), Some(Kind::Number { .. }))
    }

    pub(super) fn is_unit_fraction(&self) -> bool {
        let brace = Kind::Open(Bracket::Brace);
        self.peek_at(1) == Some(&brace) && matches!(self.peek_at(2), Some(Kind::Text(_)))
    }

    pub(super) fn words(&mut self) -> String {
        let mut words = String::new();
        while let Some(Kind::Text(text)) = self.peek() {
            if !words.is_empty() {
                words.push(' ');
            }
            words.push_str(text);
            self.at += 1;
        }
        words
    }
}

fn push_word(unit: &mut String, word: &str) {
    if !unit.is_empty() {
        unit.push(' ');
    }
    unit.push_str(word);
}
