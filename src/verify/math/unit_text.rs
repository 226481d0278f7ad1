//! Converts typeset units to one plain form: `m s^-1`, `kg m^2/s^2`, `J/(kg K)`.

use super::expression::Bracket;
use super::glyphs;
use super::lexer::Lexer;
use super::tables;
use super::token::{Gap, Kind};
use super::units;

/// Longest unit, in characters as typeset.
const TEXT_MAX: usize = 160;
/// Deepest nesting of fractions in a unit.
const DEPTH_MAX: usize = 3;

impl Lexer {
    /// Consumes the unit at this position, if the rest of the answer is one unit.
    pub(super) fn take_unit(&mut self, start: usize) -> bool {
        let Some((unit, end)) = self.unit_at(start) else { return false };
        self.at = end;
        self.push(Kind::Text(unit));
        true
    }

    /// Returns the unit from a position to the end of the answer, in plain form, and its end.
    pub(super) fn unit_at(&self, start: usize) -> Option<(String, usize)> {
        let end = self.answer_end(start);
        let text: Vec<char> = self.characters.get(start..end)?.to_vec();
        if text.len() > TEXT_MAX {
            return None;
        }
        // `4 ft \times 12 ft`.
        let written: String = text.iter().collect();
        if ["\\times", "\\cdot", "*", "\u{b7}", "/"].iter().any(|sign| written.trim_end().ends_with(sign)) {
            return None;
        }
        let unit = plain(&text, 0)?;
        let unit = unit.trim();
        let is_angle = matches!(unit, "degree" | "degrees" | "deg" | "\u{b0}" | "per cent");
        let balanced = unit.matches('(').count() == unit.matches(')').count();
        (!unit.is_empty() && !is_angle && balanced && units::is_unit(unit)).then(|| (unit.to_owned(), end))
    }

    /// Returns the end of the answer that continues at a position: a separator, a sign or a closing bracket.
    fn answer_end(&self, start: usize) -> usize {
        let mut depth = 0usize;
        let mut at = start;
        while let Some(&character) = self.characters.get(at).filter(|_| at - start <= TEXT_MAX) {
            let follows = |text: &str| text.chars().enumerate().all(|(i, c)| self.characters.get(at + i) == Some(&c));
            match character {
                '{' => depth += 1,
                '(' if depth > 0 || self.characters.get(at.saturating_sub(1)) == Some(&'/') => depth += 1,
                '(' => break,
                '}' | ')' | ']' if depth == 0 => break,
                '}' | ')' => depth -= 1,
                ',' | ';' if depth == 0 && !(at > start && self.characters.get(at - 1) == Some(&'\\')) => break,
                '=' | '<' | '>' | '&' | '+' | '\n' | '\u{2248}' | '\u{d7}' if depth == 0 => break,
                '\\' if depth == 0
                    && (follows("\\\\") || follows("\\quad") || follows("\\qquad") || follows("\\approx")) =>
                {
                    break;
                }
                // `5 feet 3 inches`.
                _ if depth == 0
                    && character.is_whitespace()
                    && self.characters.get(at + 1).is_some_and(char::is_ascii_digit) =>
                {
                    break;
                }
                _ => {}
            }
            at += 1;
        }
        at
    }

    /// Returns whether the tokens so far end with a value that a unit may follow.
    pub(super) fn ends_with_value(&self) -> bool {
        match self.last() {
            Some(Kind::Number { .. } | Kind::Close(_)) => true,
            Some(Kind::Symbol(name)) => name == "pi",
            _ => false,
        }
    }

    /// Returns whether the current answer has no variable so far.
    pub(super) fn is_constant_so_far(&self) -> bool {
        self.tokens
            .iter()
            .rev()
            .take_while(|token| !matches!(token.kind, Kind::Separator(_) | Kind::Relation(_)))
            .all(|token| !matches!(&token.kind, Kind::Symbol(name) if name != "pi"))
    }

    /// Consumes a unit in plain letters after a value; `run` are the letters, which end at the current position.
    pub(super) fn take_plain_unit(&mut self, run: &str) -> bool {
        let start = self.at - run.len();
        if run.len() == 1 && !units::is_letter(run) {
            return false;
        }
        let after_number = matches!(self.last(), Some(Kind::Number { .. }));
        if !self.ends_with_value() || !self.is_constant_so_far() {
            return false;
        }
        let Some((unit, end)) = self.unit_at(start) else { return false };
        let computes = |c: char| matches!(c, '/' | '^' | '-');
        let is_single = run.chars().count() == 1;
        // `n = -7 \quad m = 4`.
        let rest = self.characters.iter().skip(end).find(|c| !c.is_whitespace());
        if is_single && (self.gap == Gap::Wide || matches!(rest, Some('=' | '<' | '>'))) {
            return false;
        }
        let trusted = if is_single {
            let first_of_many = unit.contains(' ') && !unit.contains(computes);
            units::is_letter(run)
                && !first_of_many
                && if after_number {
                    self.spaced
                } else {
                    let raised = unit.contains('^') || unit.contains('/');
                    (self.gap == Gap::Set && (raised || matches!(run, "m" | "N" | "J" | "W")))
                        || (self.spaced && run == "m" && raised)
                }
        } else {
            self.tokens_allow(run) && (units::is_known(run) || (after_number && self.spaced))
        };
        if !trusted {
            return false;
        }
        self.at = end;
        self.push(Kind::Text(unit));
        true
    }

    /// Returns whether the letters may be a unit: before an argument, `min` and `sec` are functions.
    fn tokens_allow(&self, run: &str) -> bool {
        tables::function(run).is_none() || !self.argument_follows()
    }

    /// Replaces a degree sign by the temperature scale that follows it.
    pub(super) fn take_scale(&mut self, letters: &str) -> bool {
        let scale = match letters.trim() {
            "C" => "celsius",
            "F" => "fahrenheit",
            word if word.eq_ignore_ascii_case("celsius") => "celsius",
            word if word.eq_ignore_ascii_case("fahrenheit") => "fahrenheit",
            _ => return false,
        };
        let kinds: Vec<&Kind> = self.tokens.iter().rev().take(4).map(|token| &token.kind).collect();
        let drawn = |kind: &Kind| matches!(kind, Kind::Degree | Kind::Circle);
        let len = match kinds.as_slice() {
            [Kind::Close(Bracket::Brace), sign, Kind::Open(Bracket::Brace), Kind::Caret, ..] if drawn(sign) => 4,
            [sign, Kind::Caret, ..] if drawn(sign) => 2,
            [sign, ..] if drawn(sign) => 1,
            _ => return false,
        };
        self.tokens.truncate(self.tokens.len() - len);
        self.push(Kind::Text(scale.to_owned()));
        true
    }
}

/// Converts a typeset unit to plain text; `None` if the text contains anything that no unit has.
fn plain(text: &[char], depth: usize) -> Option<String> {
    let mut unit = String::new();
    let mut at = 0;
    while let Some(&character) = text.get(at) {
        at += 1;
        match character {
            '\\' => {
                let name: String = text.iter().skip(at).take_while(|c| c.is_ascii_alphabetic()).collect();
                if name.is_empty() {
                    at += 1;
                    unit.push(' ');
                    continue;
                }
                at += name.len();
                match name.as_str() {
                    "frac" | "dfrac" | "tfrac" if depth < DEPTH_MAX => {
                        let (above, after) = group(text, at)?;
                        let (below, after) = group(text, after)?;
                        at = after;
                        let (above, below) = (plain(above, depth + 1)?, plain(below, depth + 1)?);
                        unit.push_str(&format!(" {}/({}) ", above.trim(), below.trim()));
                    }
                    "cdot" | "times" | "ast" | "bullet" => unit.push(' '),
                    "Omega" => {
                        // `\mathrm{k}\Omega`.
                        if unit.ends_with("k ") || unit.ends_with("M ") {
                            unit.pop();
                        }
                        unit.push_str("ohm");
                    }
                    "mu" => unit.push('\u{3bc}'),
                    "circ" | "degree" => unit.push('\u{b0}'),
                    _ if tables::is_word_command(&name) => {}
                    "left" | "right" | "displaystyle" | "quad" | "space" => unit.push(' '),
                    _ => return None,
                }
            }
            '{' | '$' => {}
            '}' => unit.push(' '),
            '~' | '*' | '\u{b7}' | '\u{22c5}' | '\u{2022}' => unit.push(' '),
            _ if character.is_whitespace() => unit.push(' '),
            '-' if unit.ends_with('^') => unit.push('-'),
            // `newton-meter`.
            '-' if unit.ends_with(char::is_alphabetic) => unit.push(' '),
            '.' if text.get(at).is_none_or(|next| next.is_whitespace() || matches!(next, '}' | '.' | '/' | '^')) => {}
            '/' | '(' | ')' | '^' | '\u{b0}' | '\u{3a9}' | '\u{2126}' => unit.push(character),
            _ if character.is_alphabetic() => unit.push(character),
            '0'..='9' if unit.ends_with(['^', '-']) => unit.push(character),
            _ => {
                let raised = glyphs::superscript(character).filter(|c| c.is_ascii_digit() || *c == '-')?;
                if !unit.ends_with('-') {
                    unit.push('^');
                }
                unit.push(raised);
            }
        }
    }
    let words: Vec<&str> = unit.split_whitespace().collect();
    Some(words.join(" ").replace(" ^", "^").replace("^\u{b0}", "\u{b0}"))
}

/// Returns the content of the braces at a position, and the text after them.
fn group(text: &[char], start: usize) -> Option<(&[char], usize)> {
    let open = start + text.get(start..)?.iter().position(|c| !c.is_whitespace())?;
    if text.get(open) != Some(&'{') {
        return None;
    }
    let mut depth = 0usize;
    for (len, character) in text.get(open..)?.iter().enumerate() {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some((text.get(open + 1..open + len)?, open + len + 1));
        }
    }
    None
}
