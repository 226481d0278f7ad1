//! Converts LaTeX commands to tokens.

use super::expression::{Bracket, Join};
use super::lexer::Lexer;
use super::outcome::Fault;
use super::tables;
use super::token::{Gap, Kind};
use super::units;

/// Accents that make a new symbol of a single letter.
const ACCENTS: &[&str] = &["overline", "bar", "hat", "widehat", "tilde", "widetilde"];

impl Lexer {
    pub(super) fn backslash(&mut self) -> Result<(), Fault> {
        self.at += 1;
        let name = self.command_name(0);
        if !name.is_empty() {
            self.at += name.len();
            return self.command(&name);
        }
        let Some(character) = self.peek(0) else { return Ok(()) };
        // A doubled backslash before a known command comes from double escaping.
        if character == '\\' {
            let escaped = self.command_name(1);
            if escaped.len() > 1 && (tables::command(&escaped).is_some() || tables::is_layout(&escaped)) {
                return Ok(());
            }
        }
        self.at += 1;
        match character {
            '{' => self.push(Kind::Open(Bracket::Set)),
            '}' => self.push(Kind::Close(Bracket::Set)),
            '%' => self.push(Kind::Percent),
            '|' => self.push(Kind::Bar),
            '\\' => {
                // `\\[2pt]` adds space between rows.
                if self.peek(0) == Some('[') && self.peek(1).is_some_and(|c| c.is_ascii_digit() || c == '-') {
                    let len = self.characters.iter().skip(self.at).take(12).position(|&c| c == ']');
                    let is_length = len.is_some_and(|len| self.peek(len - 1).is_some_and(|c| c.is_ascii_lowercase()));
                    self.at += len.filter(|_| is_length).map_or(0, |len| len + 1);
                }
                self.push(Kind::Row);
            }
            '!' | '$' | '#' | '&' | '_' | '(' | ')' | '[' | ']' | '/' | '-' => {}
            _ if character.is_whitespace() || matches!(character, ',' | ';' | ':' | '>') => {
                self.spaced = true;
                self.gap = self.gap.max(Gap::Set);
            }
            _ => return Err(Fault::Unreadable),
        }
        Ok(())
    }

    fn command_name(&self, ahead: usize) -> String {
        self.characters.iter().skip(self.at + ahead).take_while(|next| next.is_ascii_alphabetic()).collect()
    }

    fn command(&mut self, name: &str) -> Result<(), Fault> {
        if let Some(result) = self.word_command(name) {
            return result;
        }
        match name {
            "mathbb" | "mathbf" | "mathcal" | "Bbb" => {
                let before = self.at;
                if let Some(domain) = self.group().as_deref().and_then(tables::domain)
                    && (name != "mathbf" || domain == super::expression::Domain::Reals)
                {
                    self.push(Kind::Domain(domain));
                    return Ok(());
                }
                self.at = before;
            }
            "left" | "right" | "middle" => {
                // `\left.` draws nothing.
                if self.peek(0) == Some('.') {
                    self.at += 1;
                }
                return Ok(());
            }
            "hspace" | "vspace" | "phantom" | "color" | "textcolor" => {
                self.group();
                return Ok(());
            }
            "begin" | "end" => return self.environment(name),
            "not" => return self.negated(),
            "prime" => return self.raise_prime(),
            "textcircled" | "circled" => {
                let number = self.group().and_then(|text| text.trim().parse().ok());
                self.circled(number.filter(|number| *number < 100).ok_or(Fault::Unreadable)?);
                return Ok(());
            }
            // A sign in an index is part of the name: `R_{\odot}`.
            "odot" | "oplus" | "star" | "ast" | "perp" | "parallel" | "dagger" | "infty" if self.is_in_index() => {
                self.push(Kind::Symbol(name.to_owned()));
                return Ok(());
            }
            _ => {}
        }
        if self.accented(name) {
            return Ok(());
        }
        if tables::is_layout(name) {
            let is_wide = name.contains("quad");
            let is_space = is_wide || (name.ends_with("space") && name != "negthinspace");
            self.spaced |= is_space;
            self.gap = match (is_wide, is_space) {
                (true, _) => Gap::Wide,
                (_, true) => self.gap.max(Gap::Set),
                _ => self.gap,
            };
            return Ok(());
        }
        if let Some(kind) = tables::command(name) {
            self.push(kind);
            return Ok(());
        }
        // A forgotten space: `\quadx`, `\cdotx`, `\pir`.
        for len in (2..name.len()).rev() {
            let Some((known, rest)) = name.split_at_checked(len) else { continue };
            let is_quad = known == "quad" || known == "qquad";
            if is_quad || (matches!(known, "cdot" | "times" | "pi" | "div" | "pm") && rest.len() <= 2) {
                self.at -= rest.len();
                return self.command(known);
            }
        }
        Err(Fault::UnknownCommand)
    }

    /// Reads a command whose argument is words or a unit; `None` for any other command.
    fn word_command(&mut self, name: &str) -> Option<Result<(), Fault>> {
        if name == "operatorname" && self.names_function() {
            let name = self.group().unwrap_or_default();
            self.push(Kind::Symbol(name.trim().to_owned()));
            return Some(Ok(()));
        }
        let is_word = tables::is_word_command(name);
        let start = self.at.saturating_sub(name.len() + 1);
        let may_be_unit = (is_word && self.next_is_brace()) || name == "Omega";
        if may_be_unit && self.ends_with_value() && self.take_unit(start) {
            return Some(Ok(()));
        }
        if !is_word {
            return None;
        }
        // `\mathrm s`: the letters stay unchanged.
        if self.next_is_brace() { Some(self.words()) } else { (name != "operatorname").then_some(Ok(())) }
    }

    /// Returns whether the name of an unknown function with its bracket comes next.
    fn names_function(&self) -> bool {
        let rest: String = self.characters.iter().skip(self.at).take(40).filter(|c| !c.is_whitespace()).collect();
        rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).is_some_and(|(name, after)| {
            super::shapes::FUNCTION_WORDS.contains(&name) && (after.starts_with('(') || after.starts_with("\\left("))
        })
    }

    fn is_in_index(&self) -> bool {
        let mut last = self.tokens.iter().rev().map(|token| &token.kind);
        match last.next() {
            Some(Kind::Underscore) => true,
            Some(Kind::Open(Bracket::Brace)) => last.next() == Some(&Kind::Underscore),
            _ => false,
        }
    }

    fn next_is_brace(&self) -> bool {
        self.characters.iter().skip(self.at).find(|c| !c.is_whitespace()) == Some(&'{')
    }

    /// Reads an accent over one letter: the accented letter is a new symbol, except for vectors.
    fn accented(&mut self, name: &str) -> bool {
        if !ACCENTS.contains(&name) {
            return false;
        }
        let before = self.at;
        let letter = self.group().map(|group| group.trim().to_owned());
        let is_letter = |text: &String| text.chars().count() == 1 && text.chars().all(|c| c.is_ascii_alphabetic());
        match letter.filter(is_letter) {
            // Unit vectors keep their letters.
            Some(letter) if name.ends_with("hat") && matches!(letter.as_str(), "i" | "j" | "k") => {
                self.push(Kind::Symbol(letter));
                true
            }
            Some(letter) => {
                let accent = if name == "overline" { "bar" } else { name.trim_start_matches("wide") };
                self.push(Kind::Symbol(format!("{letter}.{accent}")));
                true
            }
            None => {
                self.at = before;
                false
            }
        }
    }

    /// Reads `
    /// ot=` and `
    /// ot\in`; supports no other negated sign.
    fn negated(&mut self) -> Result<(), Fault> {
        while self.peek(0) == Some(' ') {
            self.at += 1;
        }
        if self.peek(0) == Some('=') {
            self.at += 1;
            self.push(Kind::Relation(super::expression::Relation::NotEqual));
            return Ok(());
        }
        Err(Fault::Unreadable)
    }

    /// Reads `f^\prime` and `f^{\prime}` as `f'`.
    fn raise_prime(&mut self) -> Result<(), Fault> {
        let braced = self.last() == Some(&Kind::Open(Bracket::Brace));
        if braced {
            self.tokens.pop();
        }
        if self.last() == Some(&Kind::Caret) {
            self.tokens.pop();
        }
        let mut primes = "'".to_owned();
        loop {
            let blanks = self.characters.iter().skip(self.at).take_while(|c| c.is_whitespace()).count();
            self.at += blanks;
            if !self.command_follows("prime") {
                break;
            }
            self.at += "\\prime".len();
            primes.push('\'');
        }
        if braced && self.peek(0) == Some('}') {
            self.at += 1;
        }
        self.primes(&primes)
    }

    fn command_follows(&self, name: &str) -> bool {
        self.peek(0) == Some('\\') && self.command_name(1) == name
    }

    /// Consumes a brace group without inner braces and returns its text; consumes nothing if no group comes next.
    pub(super) fn group(&mut self) -> Option<String> {
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
        let environment = environment.trim_end_matches('*');
        let kind = match environment {
            "array" | "tabular" => Environment::Matrix,
            "cases" | "dcases" | "rcases" => Environment::Cases,
            "aligned" | "align" | "gathered" | "gather" | "split" | "equation" | "eqnarray" => Environment::Lines,
            _ if environment.ends_with("matrix") => Environment::Matrix,
            _ => return Err(Fault::UnknownCommand),
        };
        if name == "begin" {
            if matches!(environment, "array" | "tabular") {
                self.group();
            }
            self.nested += 1;
            self.lines += usize::from(kind == Environment::Lines);
            self.push(if kind == Environment::Matrix { Kind::BeginMatrix } else { Kind::BeginCases });
        } else {
            self.nested = self.nested.saturating_sub(1);
            self.lines = self.lines.saturating_sub(usize::from(kind == Environment::Lines));
            self.push(if kind == Environment::Matrix { Kind::EndMatrix } else { Kind::EndCases });
        }
        Ok(())
    }

    /// Reads the argument of `\text` and similar commands: a separator, a unit, a name, or mathematics.
    fn words(&mut self) -> Result<(), Fault> {
        // A group with inner groups is read as mathematics.
        let Some(content) = self.group() else { return Ok(()) };
        if self.take_scale(&content) {
            return Ok(());
        }
        self.content(&content)
    }

    /// Reads words as tokens.
    pub(super) fn content(&mut self, content: &str) -> Result<(), Fault> {
        if self.bracketed_words(content)? {
            return Ok(());
        }
        for (joint, separator) in [(" and", Join::And), (" or", Join::Or)] {
            // `\text{ m and }`.
            if let Some(head) = content.trim_end().strip_suffix(joint).filter(|head| !head.trim().is_empty()) {
                self.content(head)?;
                self.push(Kind::Separator(separator));
                return Ok(());
            }
        }
        // `\text{mean: } 3`.
        let named = content.trim_end().strip_suffix(':').filter(|head| holds_words(head) && head.trim().len() > 1);
        if let Some(head) = named {
            self.content(head)?;
            self.push(Kind::Colon);
            return Ok(());
        }
        if let Some(head) = content.trim_end().strip_suffix(" by").filter(|head| !head.trim().is_empty()) {
            self.content(head)?;
            self.push(Kind::Text("by".to_owned()));
            return Ok(());
        }
        let trimmed = content.trim().trim_end_matches(['.', ',']).trim();
        if trimmed.is_empty() {
            if content.contains(',') {
                self.push(Kind::Separator(Join::Comma));
            }
            self.spaced = true;
            return Ok(());
        }
        if content.trim_start().starts_with(',') {
            self.push(Kind::Separator(Join::Comma));
        }
        let bare = trimmed.trim_matches(|c: char| matches!(c, ',' | '~' | '$') || c.is_whitespace());
        let after_value = matches!(self.last(), Some(Kind::Number { .. } | Kind::Close(_)));
        // `\frac{\text{m}}{\text{s}}`.
        let in_fraction = self.last() == Some(&Kind::Open(Bracket::Brace))
            && matches!(
                self.tokens.iter().rev().nth(1).map(|token| &token.kind),
                Some(Kind::Fraction | Kind::Close(Bracket::Brace))
            );
        let after_value = after_value || in_fraction;
        let single = bare.trim_matches(['(', ')']);
        let opens = self.characters.iter().skip(self.at).find(|c| !c.is_whitespace()) == Some(&'(');
        if opens && super::shapes::FUNCTION_WORDS.contains(&bare) {
            self.push(Kind::Symbol(bare.to_owned()));
            return Ok(());
        }
        match bare {
            "and" | "And" | "\u{548c}" => self.push(Kind::Separator(Join::And)),
            "or" | "Or" | "OR" | "\u{6216}" => self.push(Kind::Separator(Join::Or)),
            _ if after_value && (units::is_known(bare) || units::is_letter(bare)) => {
                self.push(Kind::Text(bare.to_owned()));
            }
            _ if tables::plain_name(bare).is_some() => self.push_inner(bare)?,
            _ if single.chars().count() > 1 && holds_words(bare) => {
                self.push(Kind::Text(bare.to_lowercase()));
                if content.trim_end().ends_with(',') {
                    self.push(Kind::Separator(Join::Comma));
                }
            }
            _ => self.push_inner(trimmed)?,
        }
        Ok(())
    }
}

/// Returns whether a text contains a word and no mathematics.
fn holds_words(text: &str) -> bool {
    text.chars().any(char::is_alphabetic) && !text.contains(['\\', '=', '^', '+', '<', '>'])
}

/// The kind of an environment's rows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Environment {
    Matrix,
    Cases,
    Lines,
}
