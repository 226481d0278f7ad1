//! Splits text into tokens.
//!
//! Accepts LaTeX and plain notation. Layout commands, math delimiters and currency signs are dropped. A command outside
//! the tables makes the text unreadable, so that nothing unknown is skipped. One pass, linear time. `numerals` reads
//! numerals, `commands` reads commands.

use super::expression::{Bracket, Join};
use super::glyphs;
use super::layout;
use super::limits::{TEXT_BYTES_MAX, TOKENS_MAX};
use super::outcome::Fault;
use super::tables;
use super::token::{Gap, Kind, Token};
use super::units;

/// Splits a text into tokens.
pub(super) fn tokenize(text: &str) -> Result<Vec<Token>, Fault> {
    tokenize_at(text, 0)
}

/// Deepest nesting of texts in texts.
const INNER_DEPTH_MAX: usize = 8;

pub(super) fn tokenize_at(text: &str, depth: usize) -> Result<Vec<Token>, Fault> {
    if text.len() > TEXT_BYTES_MAX || depth > INNER_DEPTH_MAX {
        return Err(Fault::OverBudget);
    }
    let mut lexer = Lexer {
        characters: text.chars().collect(),
        at: 0,
        tokens: Vec::new(),
        spaced: false,
        gap: Gap::None,
        mark: 0,
        nested: 0,
        braces: Vec::new(),
        depth,
        lines: 0,
    };
    while lexer.at < lexer.characters.len() {
        lexer.step()?;
        if lexer.tokens.len() > TOKENS_MAX {
            return Err(Fault::OverBudget);
        }
    }
    if depth == 0 {
        layout::repair(&mut lexer.tokens);
    } else {
        layout::drop_empty_groups(&mut lexer.tokens);
    }
    Ok(lexer.tokens)
}

pub(super) struct Lexer {
    pub(super) characters: Vec<char>,
    pub(super) at: usize,
    pub(super) tokens: Vec<Token>,
    pub(super) spaced: bool,
    /// The widest space before the next token.
    pub(super) gap: Gap,
    /// The number of tokens after the last circled number or arc minute.
    pub(super) mark: usize,
    /// The number of open brackets in which a comma separates elements and is not a thousands separator.
    pub(super) nested: usize,
    /// Open plain braces; true for a brace that opens the whole text and so lists elements.
    braces: Vec<bool>,
    pub(super) depth: usize,
    /// The number of open environments whose `&` aligns lines and separates nothing.
    pub(super) lines: usize,
}

impl Lexer {
    pub(super) fn peek(&self, ahead: usize) -> Option<char> {
        self.characters.get(self.at.saturating_add(ahead)).copied()
    }

    pub(super) fn last(&self) -> Option<&Kind> {
        self.tokens.last().map(|token| &token.kind)
    }

    pub(super) fn push(&mut self, kind: Kind) {
        match &kind {
            Kind::Open(Bracket::Brace) => {
                let lists = self.tokens.is_empty();
                self.nested += usize::from(lists);
                self.braces.push(lists);
            }
            Kind::Close(Bracket::Brace) => {
                let lists = self.braces.pop().unwrap_or(false);
                self.nested = self.nested.saturating_sub(usize::from(lists));
            }
            Kind::Open(_) => self.nested += 1,
            Kind::Close(_) => self.nested = self.nested.saturating_sub(1),
            _ => {}
        }
        self.tokens.push(Token { kind, spaced: self.spaced, gap: self.gap });
        self.spaced = false;
        self.gap = Gap::None;
    }

    /// Pushes the tokens of an inner text.
    pub(super) fn push_inner(&mut self, text: &str) -> Result<(), Fault> {
        for token in tokenize_at(text, self.depth + 1)? {
            self.spaced |= token.spaced;
            self.gap = self.gap.max(token.gap);
            self.push(token.kind);
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), Fault> {
        let Some(character) = self.peek(0) else { return Ok(()) };
        match character {
            _ if character.is_whitespace() || character == '~' => {
                self.spaced = true;
                let gap = match character {
                    '\n' => Gap::Wide,
                    '~' => Gap::Set,
                    _ => Gap::None,
                };
                self.gap = self.gap.max(gap);
                self.at += 1;
            }
            '$' | '\u{20ac}' | '\u{a3}' | '\u{a5}' | '\u{20b9}' | '\u{20a9}' | '\u{20bd}' | '\u{a2}' | '`' => {
                self.at += 1;
            }
            '\\' => return self.backslash(),
            '0'..='9' => return self.number(),
            '.' if self.peek(1).is_some_and(|next| next.is_ascii_digit()) => return self.number(),
            '.' if self.peek(1) == Some('.') && self.peek(2) == Some('.') => {
                self.at += 3;
                self.push(Kind::Symbol("...".to_owned()));
            }
            // A full stop at the end of the answer has no meaning.
            '.' | '\u{3002}' if self.rest_is_blank() => self.at += 1,
            '\'' | '\u{2032}' | '\u{2033}' => return self.prime(),
            '"' if self.is_behind_degrees() => return self.prime(),
            '&' if self.lines > 0 => self.at += 1,
            '*' if self.peek(1) == Some('*') && self.is_emphasis() => self.at += 2,
            _ if character.is_ascii_alphabetic() => self.letters(),
            _ => return self.sign(character),
        }
        Ok(())
    }

    fn rest_is_blank(&self) -> bool {
        self.characters
            .iter()
            .skip(self.at + 1)
            .all(|&c| c.is_whitespace() || matches!(c, '$' | '.' | '*' | '\u{3002}'))
    }

    /// Returns whether two stars are emphasis: at an end of the text they are, in the middle they are a power.
    fn is_emphasis(&self) -> bool {
        let rest = self.characters.iter().skip(self.at + 2);
        self.tokens.is_empty() || rest.copied().all(|c| c.is_whitespace() || matches!(c, '.' | '$' | '*'))
    }

    pub(super) fn rest_is_blank_from(&self, ahead: usize) -> bool {
        self.characters.iter().skip(self.at + ahead).all(|c| c.is_whitespace() || matches!(c, '$' | '.'))
    }

    fn sign(&mut self, character: char) -> Result<(), Fault> {
        if let Some(digit) = glyphs::superscript(character) {
            return self.raised(digit);
        }
        if let Some(digit) = glyphs::subscript(character) {
            self.at += 1;
            self.push(Kind::Underscore);
            return self.push_inner(&digit.to_string());
        }
        if let Some((above, below)) = glyphs::vulgar_fraction(character) {
            self.at += 1;
            self.push(Kind::Fraction);
            self.push(Kind::Number { digits: above.to_owned(), repeat: String::new() });
            self.push(Kind::Number { digits: below.to_owned(), repeat: String::new() });
            return Ok(());
        }
        if character == '\u{221b}' {
            self.at += 1;
            self.push(Kind::Root);
            self.push(Kind::Open(Bracket::Square));
            self.push(Kind::Number { digits: "3".to_owned(), repeat: String::new() });
            self.push(Kind::Close(Bracket::Square));
            return Ok(());
        }
        if let Some(number) = glyphs::circled(character) {
            self.at += 1;
            self.circled(number);
            return Ok(());
        }
        if let Some(scale) = glyphs::temperature(character) {
            self.at += 1;
            self.push(Kind::Text(scale.to_owned()));
            return Ok(());
        }
        let kind = match (character, self.peek(1)) {
            ('<', Some('=')) => tables::command("le"),
            ('>', Some('=')) => tables::command("ge"),
            ('!', Some('=')) => tables::command("ne"),
            ('*', Some('*')) => Some(Kind::Caret),
            ('=', Some('=')) => tables::command("equiv"),
            ('+', Some('-')) if matches!(self.peek(2), Some('0'..='9' | '\\')) && self.tokens.is_empty() => {
                Some(Kind::PlusMinus)
            }
            _ => None,
        };
        self.at += if kind.is_some() { 2 } else { 1 };
        match kind.or_else(|| tables::sign(character)) {
            Some(kind) => self.push(kind),
            None if character.is_alphabetic() => self.foreign_word(character),
            None => return Err(Fault::Unreadable),
        }
        Ok(())
    }

    fn raised(&mut self, first: char) -> Result<(), Fault> {
        let mut exponent = String::from(first);
        self.at += 1;
        while let Some(digit) = self.peek(0).and_then(glyphs::superscript) {
            exponent.push(digit);
            self.at += 1;
        }
        self.push(Kind::Caret);
        self.push(Kind::Open(Bracket::Brace));
        self.push_inner(&exponent)?;
        self.push(Kind::Close(Bracket::Brace));
        Ok(())
    }

    /// Reads a word in another script: a conjunction, a unit, or prose.
    fn foreign_word(&mut self, first: char) {
        let mut word = String::from(first);
        let belongs = |c: &char| c.is_alphabetic() && !c.is_ascii() && tables::sign(*c).is_none();
        while let Some(character) = self.peek(0).filter(belongs) {
            word.push(character);
            self.at += 1;
        }
        match word.as_str() {
            // And, with; or.
            "\u{548c}" | "\u{4e0e}" | "\u{53ca}" | "\u{4e14}" => self.push(Kind::Separator(Join::And)),
            "\u{6216}" | "\u{6216}\u{8005}" | "\u{307e}\u{305f}\u{306f}" => self.push(Kind::Separator(Join::Or)),
            // Degrees.
            "\u{5ea6}" => self.push(Kind::Degree),
            _ => self.push(Kind::Text(word.to_lowercase())),
        }
    }

    /// Reads a run of letters: a function, a word, or variables side by side.
    fn letters(&mut self) {
        let mut run = String::new();
        while let Some(character) = self.peek(0).filter(char::is_ascii_alphabetic) {
            run.push(character);
            self.at += 1;
        }
        if tables::is_about(&run) && self.quantity_follows() {
            self.approximately();
            return;
        }
        if super::shapes::FUNCTION_WORDS.contains(&run.as_str()) && self.peek(0) == Some('(') {
            self.push(Kind::Symbol(run));
            return;
        }
        if self.take_scale(&run) || self.take_plain_unit(&run) {
            return;
        }
        let after_number = matches!(self.last(), Some(Kind::Number { .. }));
        let attached = !self.spaced
            && matches!(
                self.last(),
                Some(Kind::Number { .. } | Kind::Symbol(_) | Kind::Close(_) | Kind::Caret | Kind::Underscore)
            );
        if run.len() == 1 {
            let is_unit = after_number && self.spaced && self.is_constant_so_far() && self.ends_as_unit(&run);
            self.push(if is_unit { Kind::Text(run) } else { Kind::Symbol(run) });
            return;
        }
        // `min` and `sec` are functions only before an argument.
        if run == "cent" && matches!(self.last(), Some(Kind::Text(word)) if word == "per") {
            self.tokens.pop();
            self.push(Kind::Percent);
            return;
        }
        let is_unit = units::is_known(&run) && (after_number || self.tokens.is_empty());
        if is_unit && !(tables::function(&run).is_some() && self.argument_follows()) {
            self.push(Kind::Text(run.to_lowercase()));
        } else if run == "cbrt" {
            self.push(Kind::Root);
            self.push(Kind::Open(Bracket::Square));
            self.push(Kind::Number { digits: "3".to_owned(), repeat: String::new() });
            self.push(Kind::Close(Bracket::Square));
        } else if let Some(kind) = tables::plain_name(&run) {
            self.push(kind);
        } else if tables::is_short_word(&run) || (run == "NO" && self.tokens.is_empty() && self.rest_is_blank_from(0)) {
            self.push(Kind::Text(run.to_lowercase()));
        } else if let Some((function, variable)) = function_of_one_letter(&run) {
            self.push(Kind::Function(function));
            self.push(Kind::Symbol(variable));
        } else if run.len() >= 4 && !attached {
            self.push(Kind::Text(run.to_lowercase()));
        } else {
            for letter in run.chars() {
                self.push(Kind::Symbol(letter.to_string()));
            }
        }
    }

    pub(super) fn argument_follows(&self) -> bool {
        matches!(self.characters.iter().skip(self.at).find(|c| !c.is_whitespace()), Some('(' | '{' | '\\' | '^'))
    }

    /// Returns whether one letter after a number and a space is a unit: only a power or another unit follows.
    fn ends_as_unit(&self, letter: &str) -> bool {
        if !units::is_letter(letter) {
            return false;
        }
        let rest: String = self.characters.iter().skip(self.at).filter(|c| !c.is_whitespace()).collect();
        let rest = rest.trim_end_matches(['.', '$', '}', ')']);
        let rest = ["^2", "^3", "^{2}", "^{3}", "\u{b2}", "\u{b3}"]
            .iter()
            .find_map(|power| rest.strip_prefix(power))
            .unwrap_or(rest);
        rest.is_empty()
            || rest.strip_prefix('/').is_some_and(|unit| unit.starts_with(|c: char| c.is_ascii_alphabetic()))
    }
}

/// Splits `sinx` and `lnx`.
fn function_of_one_letter(run: &str) -> Option<(&'static str, String)> {
    let (name, variable) = run.split_at_checked(run.len().checked_sub(1)?)?;
    let is_variable = matches!(variable, "x" | "y" | "z" | "t" | "n" | "a" | "b");
    let function =
        tables::function(name).filter(|name| !matches!(*name, "max" | "min" | "abs" | "deg" | "Re" | "Im"))?;
    is_variable.then(|| (function, variable.to_owned()))
}
