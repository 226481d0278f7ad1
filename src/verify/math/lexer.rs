//! Text to tokens.
//!
//! Reads LaTeX and plain notation alike. Layout commands, math delimiters and currency signs vanish; a command outside
//! the tables makes the text unreadable, so that nothing that is not understood is passed over. One pass, linear time.

use super::Fault;
use super::expression::Bracket;
use super::limits::{DIGITS_MAX, TEXT_BYTES_MAX, TOKENS_MAX};
use super::token::{self, Kind, Token};

/// Turns text into tokens.
pub(super) fn tokenize(text: &str) -> Result<Vec<Token>, Fault> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Fault::OverBudget);
    }
    let mut lexer = Lexer {
        characters: text.chars().collect(),
        at: 0,
        tokens: Vec::new(),
        spaced: false,
        nested: 0,
        braces: Vec::new(),
    };
    while lexer.at < lexer.characters.len() {
        lexer.step()?;
        if lexer.tokens.len() > TOKENS_MAX {
            return Err(Fault::OverBudget);
        }
    }
    drop_empty_groups(&mut lexer.tokens);
    Ok(lexer.tokens)
}

/// Removes `{}`, which TeX authors use to keep things apart.
fn drop_empty_groups(tokens: &mut Vec<Token>) {
    let (open, close) = (Kind::Open(Bracket::Brace), Kind::Close(Bracket::Brace));
    let mut kept: Vec<Token> = Vec::with_capacity(tokens.len());
    for token in tokens.drain(..) {
        if token.kind == close && kept.last().is_some_and(|last| last.kind == open) {
            kept.pop();
        } else {
            kept.push(token);
        }
    }
    *tokens = kept;
}

struct Lexer {
    characters: Vec<char>,
    at: usize,
    tokens: Vec<Token>,
    spaced: bool,
    /// Open brackets in which a comma separates elements and is no thousands separator.
    nested: usize,
    /// Open plain braces; true for one that opens the whole text and so lists elements.
    braces: Vec<bool>,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.characters.get(self.at.saturating_add(ahead)).copied()
    }

    fn push(&mut self, kind: Kind) {
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
        self.tokens.push(Token { kind, spaced: self.spaced });
        self.spaced = false;
    }

    fn step(&mut self) -> Result<(), Fault> {
        let Some(character) = self.peek(0) else { return Ok(()) };
        match character {
            _ if character.is_whitespace() || character == '~' => {
                self.spaced = true;
                self.at += 1;
            }
            '$' | '\u{20ac}' | '\u{a3}' | '\u{a5}' | '\u{200b}' | '\u{2061}' | '\u{2062}' => self.at += 1,
            '\\' => return self.backslash(),
            '0'..='9' => return self.number(),
            '.' if self.peek(1).is_some_and(|next| next.is_ascii_digit()) => return self.number(),
            // A full stop that ends the answer says nothing.
            '.' if self.rest_is_blank() => self.at += 1,
            _ if character.is_ascii_alphabetic() => self.letters(),
            _ => return self.sign(character),
        }
        Ok(())
    }

    fn rest_is_blank(&self) -> bool {
        self.characters.iter().skip(self.at + 1).all(|&c| c.is_whitespace() || c == '$' || c == '.')
    }

    fn sign(&mut self, character: char) -> Result<(), Fault> {
        if let Some(digit) = token::superscript(character) {
            return self.raised(digit);
        }
        let two = self.peek(1);
        let kind = match (character, two) {
            ('<', Some('=')) => token::command("le"),
            ('>', Some('=')) => token::command("ge"),
            ('!', Some('=')) => token::command("ne"),
            ('*', Some('*')) => Some(Kind::Caret),
            ('=', Some('=')) => token::command("equiv"),
            _ => None,
        };
        self.at += if kind.is_some() { 2 } else { 1 };
        if let Some((above, below)) = vulgar_fraction(character) {
            self.push(Kind::Fraction);
            self.push(Kind::Number { digits: above.to_owned(), repeat: String::new() });
            self.push(Kind::Number { digits: below.to_owned(), repeat: String::new() });
            return Ok(());
        }
        self.push(kind.or_else(|| token::sign(character)).ok_or(Fault::Unreadable)?);
        Ok(())
    }

    fn raised(&mut self, first: char) -> Result<(), Fault> {
        let mut exponent = String::from(first);
        self.at += 1;
        while let Some(digit) = self.peek(0).and_then(token::superscript) {
            exponent.push(digit);
            self.at += 1;
        }
        self.push(Kind::Caret);
        self.push(Kind::Open(Bracket::Brace));
        for token in tokenize(&exponent)? {
            self.push(token.kind);
        }
        self.push(Kind::Close(Bracket::Brace));
        Ok(())
    }

    /// Reads a run of letters: a function, a word, or variables side by side.
    fn letters(&mut self) {
        let mut run = String::new();
        while let Some(character) = self.peek(0).filter(char::is_ascii_alphabetic) {
            run.push(character);
            self.at += 1;
        }
        let attached = !self.spaced
            && self.tokens.last().is_some_and(|last| {
                matches!(
                    last.kind,
                    Kind::Number { .. } | Kind::Symbol(_) | Kind::Close(_) | Kind::Caret | Kind::Underscore
                )
            });
        if run.len() == 1 {
            self.push(Kind::Symbol(run));
        } else if let Some(kind) = plain_name(&run) {
            self.push(kind);
        } else if token::is_short_word(&run) || (run.len() >= 4 && !attached) {
            self.push(Kind::Text(run.to_lowercase()));
        } else {
            for letter in run.chars() {
                self.push(Kind::Symbol(letter.to_string()));
            }
        }
    }

    fn number(&mut self) -> Result<(), Fault> {
        let mut digits = String::new();
        self.take_digits(&mut digits);
        // Thousands separators: groups of three after one to three digits, outside brackets that list elements.
        while self.thousands_group(&digits) {
            self.at += self.separator_len();
            self.take_digits(&mut digits);
        }
        if self.peek(0) == Some('.') && self.peek(1).is_some_and(|next| next.is_ascii_digit() || next == '\\') {
            digits.push('.');
            self.at += 1;
            self.take_digits(&mut digits);
        }
        if digits.len() > DIGITS_MAX {
            return Err(Fault::OverBudget);
        }
        let mut repeat = String::new();
        if digits.contains('.') {
            repeat = self.overlined().unwrap_or_default();
        }
        self.push(Kind::Number { digits, repeat });
        Ok(())
    }

    fn take_digits(&mut self, digits: &mut String) {
        while let Some(digit) = self.peek(0).filter(char::is_ascii_digit) {
            digits.push(digit);
            self.at += 1;
        }
    }

    /// Returns the length of a thousands separator at the current place, 0 if there is none.
    fn separator_len(&self) -> usize {
        let next = |ahead| self.peek(ahead);
        let blanks = |from: usize| (0..4).take_while(|ahead| self.peek(from + ahead) == Some(' ')).count();
        match next(0) {
            // `,\!`, in which authors also put spaces.
            Some(',') => {
                let thin = 1 + blanks(1);
                if next(thin) == Some('\\') && next(thin + 1) == Some('!') {
                    thin + 2 + blanks(thin + 2)
                } else {
                    usize::from(self.nested == 0)
                }
            }
            Some('{') if next(1) == Some(',') && next(2) == Some('}') => 3,
            Some('\\') if matches!(next(1), Some(',' | '!' | ';')) => 2,
            Some(' ' | '\u{a0}' | '\u{202f}' | '\u{2009}') => 1,
            _ => 0,
        }
    }

    fn thousands_group(&self, digits: &str) -> bool {
        let len = self.separator_len();
        let first_group = digits.len() <= 3 && !digits.starts_with('0');
        let later_group = digits.len() > 3
            && self.at >= 4
            && self.characters.get(self.at - 4).is_some_and(|before| !before.is_ascii_digit());
        len > 0
            && (first_group || later_group)
            && !digits.is_empty()
            && (0..3).all(|ahead| self.peek(len + ahead).is_some_and(|next| next.is_ascii_digit()))
            && !self.peek(len + 3).is_some_and(|next| next.is_ascii_digit())
    }

    /// Takes `\overline{digits}` after a decimal point.
    fn overlined(&mut self) -> Option<String> {
        let start = self.at;
        let opening: String = self.characters.iter().skip(start).take(10).collect();
        if opening != "\\overline{" {
            return None;
        }
        self.at += 10;
        let mut repeat = String::new();
        self.take_digits(&mut repeat);
        if self.peek(0) == Some('}') && !repeat.is_empty() && repeat.len() <= 32 {
            self.at += 1;
            return Some(repeat);
        }
        self.at = start;
        None
    }

    fn backslash(&mut self) -> Result<(), Fault> {
        self.at += 1;
        let name = self.command_name(0);
        if !name.is_empty() {
            self.at += name.len();
            return self.command(&name);
        }
        let Some(character) = self.peek(0) else { return Ok(()) };
        // A doubled backslash before a known command is one that was escaped twice.
        if character == '\\' {
            let escaped = self.command_name(1);
            if escaped.len() > 1 && (token::command(&escaped).is_some() || token::is_layout(&escaped)) {
                return Ok(());
            }
        }
        self.at += 1;
        match character {
            '{' => self.push(Kind::Open(Bracket::Set)),
            '}' => self.push(Kind::Close(Bracket::Set)),
            '%' => self.push(Kind::Percent),
            '|' => self.push(Kind::Bar),
            '\\' => self.push(Kind::Row),
            '!' | '$' | '#' | '&' | '_' | '(' | ')' | '[' | ']' => {}
            _ if character.is_whitespace() || matches!(character, ',' | ';' | ':' | '>') => self.spaced = true,
            _ => return Err(Fault::Unreadable),
        }
        Ok(())
    }

    fn command_name(&self, ahead: usize) -> String {
        self.characters.iter().skip(self.at + ahead).take_while(|next| next.is_ascii_alphabetic()).collect()
    }

    fn command(&mut self, name: &str) -> Result<(), Fault> {
        if token::is_word_command(name) {
            return self.words();
        }
        if name == "mathbb" && self.group().is_some_and(|group| group == "R") {
            self.push(Kind::Reals);
            return Ok(());
        }
        if name == "left" || name == "right" {
            // `\left.` draws nothing.
            if self.peek(0) == Some('.') {
                self.at += 1;
            }
            return Ok(());
        }
        if name == "hspace" {
            self.group();
            return Ok(());
        }
        if token::is_layout(name) {
            self.spaced |= name.contains("quad");
            return Ok(());
        }
        if name == "begin" || name == "end" {
            return self.environment(name);
        }
        if let Some(kind) = token::command(name) {
            self.push(kind);
            return Ok(());
        }
        // A forgotten space after `\quad`.
        if let Some(rest) = name.strip_prefix("quad") {
            self.spaced = true;
            self.at -= rest.len();
            return Ok(());
        }
        Err(Fault::Unreadable)
    }

    /// Takes a brace group that holds no braces and returns its text; takes nothing if none stands here.
    fn group(&mut self) -> Option<String> {
        let mut end = self.at;
        while self.characters.get(end).is_some_and(|c| c.is_whitespace()) {
            end += 1;
        }
        if self.characters.get(end) != Some(&'{') {
            return None;
        }
        let text: String = self.characters.iter().skip(end + 1).take_while(|&&c| c != '}' && c != '{').collect();
        let close = end + 1 + text.chars().count();
        if self.characters.get(close) != Some(&'}') {
            return None;
        }
        self.at = close + 1;
        Some(text)
    }

    fn environment(&mut self, name: &str) -> Result<(), Fault> {
        let environment = self.group().ok_or(Fault::Unreadable)?;
        if !environment.ends_with("matrix") && environment != "array" {
            return Err(Fault::Unreadable);
        }
        if name == "begin" {
            if environment == "array" {
                self.group();
            }
            self.nested += 1;
            self.push(Kind::BeginMatrix);
        } else {
            self.nested = self.nested.saturating_sub(1);
            self.push(Kind::EndMatrix);
        }
        Ok(())
    }

    /// Reads the argument of `\text` and its kin: a separator, a unit, a name, or mathematics after all.
    fn words(&mut self) -> Result<(), Fault> {
        let content = self.group().ok_or(Fault::Unreadable)?;
        let trimmed = content.trim().trim_end_matches(['.', ',']).trim();
        if trimmed.is_empty() {
            if content.contains(',') {
                self.push(Kind::Separator);
            }
            self.spaced = true;
            return Ok(());
        }
        let bare = trimmed.trim_matches(|c: char| c == ',' || c.is_whitespace());
        if matches!(bare, "and" | "or") {
            self.push(Kind::Separator);
        } else if let Some(kind) = plain_name(bare) {
            self.push(kind);
        } else if trimmed.chars().any(char::is_alphabetic) && trimmed.chars().count() > 1 {
            self.push(Kind::Text(trimmed.to_lowercase()));
        } else {
            for token in tokenize(trimmed)? {
                self.spaced = token.spaced;
                self.push(token.kind);
            }
        }
        Ok(())
    }
}

/// Returns whether a plain word names a sign or function.
pub(super) fn is_plain_name(word: &str) -> bool {
    plain_name(word).is_some()
}

/// Returns the sign that a plain word names: functions, constants, separators, percent and degrees.
fn plain_name(word: &str) -> Option<Kind> {
    match word {
        "inf" | "oo" => Some(Kind::Infinity),
        // Words that read as LaTeX names only behind a backslash.
        "in" | "R" | "div" | "le" | "ge" | "lt" | "gt" | "ne" | "it" | "mu" | "nu" | "xi" | "eta" | "ell" | "circ" => {
            None
        }
        "deg" => Some(Kind::Degree),
        "U" => None,
        _ => token::command(word).filter(|kind| {
            !matches!(kind, Kind::Open(_) | Kind::Close(_) | Kind::Fraction | Kind::Binomial | Kind::Colon | Kind::Bar)
        }),
    }
}

fn vulgar_fraction(character: char) -> Option<(&'static str, &'static str)> {
    Some(match character {
        '\u{bd}' => ("1", "2"),
        '\u{bc}' => ("1", "4"),
        '\u{be}' => ("3", "4"),
        '\u{2153}' => ("1", "3"),
        '\u{2154}' => ("2", "3"),
        '\u{215b}' => ("1", "8"),
        _ => return None,
    })
}
