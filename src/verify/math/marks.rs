//! Reads marks on numbers and names: primes, arc minutes and seconds, circled numbers, "about".

use super::expression::{Bracket, Join, Relation};
use super::lexer::Lexer;
use super::outcome::Fault;
use super::token::{Gap, Kind, Token};

impl Lexer {
    /// Reads prime characters.
    pub(super) fn prime(&mut self) -> Result<(), Fault> {
        let mut primes = String::new();
        while let Some(character) = self.peek(0) {
            match character {
                '\'' | '\u{2032}' => primes.push('\''),
                '\u{2033}' | '"' => primes.push_str("''"),
                _ => break,
            }
            self.at += 1;
        }
        self.primes(&primes)
    }

    /// Returns whether the last token is a number after degrees.
    pub(super) fn is_behind_degrees(&self) -> bool {
        matches!(
            self.tokens.as_slice(),
            [
                ..,
                Token { kind: Kind::Degree | Kind::Circle | Kind::Close(_), .. },
                Token { kind: Kind::Number { .. }, .. }
            ]
        )
    }

    /// Reads primes: they belong to a name before them; after degrees and a number they are minutes and seconds.
    pub(super) fn primes(&mut self, primes: &str) -> Result<(), Fault> {
        if self.is_behind_degrees()
            && let Some(start) = self.degrees_start()
            && let Some(number) = self.tokens.pop()
        {
            return self.arc(start, number, if primes.len() == 1 { "60" } else { "3600" });
        }
        let is_last = self.rest_is_blank_from(0);
        match self.tokens.last_mut().map(|token| &mut token.kind) {
            Some(Kind::Symbol(name)) => name.push_str(primes),
            // Minutes and feet after a number are ordinary units.
            Some(Kind::Number { .. }) if is_last => {}
            _ => return Err(Fault::Unreadable),
        }
        Ok(())
    }

    /// Returns the start of the degrees to which the last number adds minutes or seconds.
    fn degrees_start(&self) -> Option<usize> {
        let last = self.tokens.len().checked_sub(2)?;
        if self.mark == last + 1 && self.tokens.get(last).map(|token| &token.kind) == Some(&Kind::Close(Bracket::Brace))
        {
            return Some(last);
        }
        let kind = |back: usize| last.checked_sub(back).and_then(|at| self.tokens.get(at)).map(|token| &token.kind);
        let drawn = |kind: Option<&Kind>| matches!(kind, Some(Kind::Degree | Kind::Circle));
        let sign = match kind(0) {
            Some(Kind::Close(Bracket::Brace)) if drawn(kind(1)) && kind(3) == Some(&Kind::Caret) => 4,
            Some(Kind::Degree | Kind::Circle) if kind(1) == Some(&Kind::Caret) => 2,
            Some(Kind::Degree) => 1,
            _ => return None,
        };
        matches!(kind(sign), Some(Kind::Number { .. })).then(|| last - sign)
    }

    /// Adds minutes or seconds to the degrees before them, in one group, so that a sign applies to the whole group.
    fn arc(&mut self, start: usize, number: Token, below: &str) -> Result<(), Fault> {
        let plain = |kind: Kind| Token { kind, spaced: false, gap: Gap::None };
        if self.tokens.get(start).map(|token| &token.kind) == Some(&Kind::Close(Bracket::Brace)) {
            self.tokens.truncate(start);
        } else {
            self.tokens.insert(start, plain(Kind::Open(Bracket::Brace)));
        }
        self.push(Kind::Plus);
        self.push(Kind::Fraction);
        self.push(Kind::Open(Bracket::Brace));
        self.push(number.kind);
        self.push(Kind::Close(Bracket::Brace));
        self.push(Kind::Open(Bracket::Brace));
        self.push_inner(below)?;
        self.push(Kind::Close(Bracket::Brace));
        self.push(Kind::Degree);
        self.tokens.push(plain(Kind::Close(Bracket::Brace)));
        self.mark = self.tokens.len();
        Ok(())
    }

    /// Reads a circled number, which names a statement; several side by side are a list.
    pub(super) fn circled(&mut self, number: u32) {
        if self.mark == self.tokens.len() && self.mark > 0 {
            self.push(Kind::Separator(Join::Comma));
        }
        self.push(Kind::Number { digits: number.to_string(), repeat: String::new() });
        self.mark = self.tokens.len();
    }

    /// Returns whether a number or formula comes next.
    pub(super) fn quantity_follows(&self) -> bool {
        let next = self.characters.iter().skip(self.at).find(|c| !c.is_whitespace() && !matches!(c, '}' | '$' | '~'));
        matches!(next, Some('0'..='9' | '.' | '-' | '\\'))
    }

    /// Reads "about": pushes the approximation sign and drops the words and the comma before it.
    pub(super) fn approximately(&mut self) {
        let leads = |kind: &Kind| matches!(kind, Kind::Text(word) if matches!(word.as_str(), "which" | "is" | "that"));
        while self.last().is_some_and(leads) {
            self.tokens.pop();
        }
        while matches!(self.last(), Some(Kind::Separator(_))) {
            self.tokens.pop();
        }
        self.push(Kind::Relation(Relation::Approx));
    }

    /// Reads words that open a bracket with an approximation, or close one: `(about`, `cards)`.
    pub(super) fn bracketed_words(&mut self, content: &str) -> Result<bool, Fault> {
        let trimmed = content.trim();
        if let Some((head, rest)) = trimmed.rsplit_once('(')
            && super::tables::is_about(rest.trim())
        {
            // `\text{ meters (about }`.
            if !head.trim().is_empty() {
                self.content(head)?;
            }
            self.push(Kind::Open(Bracket::Round));
            self.push(Kind::Relation(Relation::Approx));
            return Ok(true);
        }
        if super::tables::is_about(trimmed) && self.quantity_follows() {
            self.approximately();
            return Ok(true);
        }
        let mut open = 0usize;
        for token in &self.tokens {
            match token.kind {
                Kind::Open(Bracket::Round) => open += 1,
                Kind::Close(Bracket::Round) => open = open.saturating_sub(1),
                _ => {}
            }
        }
        match trimmed.strip_suffix(')').filter(|rest| !rest.contains('(') && open > 0) {
            Some(rest) => {
                self.content(rest)?;
                self.push(Kind::Close(Bracket::Round));
                Ok(true)
            }
            None => Ok(false),
        }
    }
}
