//! Scans operands of a piece of mathematics: numbers, names, commands with their arguments, brackets.

use super::fragments::{FUNCTIONS, INFIX, Scanner, WORD_COMMANDS};

/// Words of two letters that are not products of variables.
const WORDS_OF_TWO: &[&str] = &[
    "is", "of", "to", "in", "at", "or", "by", "so", "no", "we", "it", "he", "an", "as", "if", "be", "do", "am", "on",
    "up", "us", "my", "me",
];

impl Scanner<'_> {
    /// Scans the first operand of a piece: letters only before a sign of mathematics.
    pub(super) fn opening(&self, start: usize) -> Option<usize> {
        let first = self.at(start)?;
        if first.is_ascii_alphabetic() {
            let word = self.letters(start);
            let behind = start + word.len();
            let next = self.at(self.blanks(behind));
            let is_glued = self.blanks(behind) == behind;
            let is_function = FUNCTIONS.contains(&word);
            if is_function {
                let takes = match next {
                    Some('(' | '^' | '{') => true,
                    Some(c) => {
                        c.is_ascii_digit() && word != "max" && word != "min" || c == '=' || c == '\\' || c == '\u{3c0}'
                    }
                    None => word == "pi",
                };
                return takes.then(|| self.factor(start)).flatten();
            }
            let is_name = word.len() == 1 || (word.len() <= 4 && word.bytes().all(|byte| byte.is_ascii_uppercase()));
            let sign = match next {
                Some('=' | '<' | '>' | '\u{2264}' | '\u{2265}' | '\u{2260}' | '\u{2248}' | '\u{2208}') => true,
                Some('^' | '_') => is_glued,
                Some('(') => {
                    is_glued
                        && word.len() == 1
                        && self.closing(behind).is_some_and(|close| self.is_mathematical(behind + 1, close))
                }
                Some('+' | '/' | '*') => {
                    word.len() == 1
                        && !self.starts_with(self.blanks(behind), "**")
                        && self.operand(self.blanks(self.blanks(behind) + 1)).is_some()
                }
                Some('-') => {
                    word.len() == 1
                        && (is_glued || self.at(self.blanks(behind) + 1) == Some(' '))
                        && self.operand(self.blanks(self.blanks(behind) + 1)).is_some()
                }
                Some('\\') => is_glued || INFIX.contains(&self.command(self.blanks(behind)).as_str()),
                _ => false,
            };
            return (is_name && sign).then_some(behind);
        }
        if matches!(first, '=' | '\u{2248}') {
            // `= 34` on a line of its own.
            return self.operand(self.blanks(start + 1));
        }
        self.operand(start)
    }

    /// Scans an operand with its sign.
    pub(super) fn operand(&self, start: usize) -> Option<usize> {
        if self.starts_with(start, "\\pm") || self.starts_with(start, "\\mp") {
            return self.factor(self.blanks(start + 3));
        }
        match self.at(start)? {
            '-' | '+' | '\u{b1}' => {
                let next = if self.at(start + 1) == Some(' ') { start + 2 } else { start + 1 };
                // An escaped or a plain currency sign.
                let next =
                    next + if self.starts_with(next, "\\$") { 2 } else { usize::from(self.at(next) == Some('$')) };
                self.factor(next)
            }
            '$' if self.at(start + 1).is_some_and(|c| c.is_ascii_digit()) => self.factor(start + 1),
            '\\' if self.starts_with(start, "\\$") => self.factor(start + 2),
            _ => self.factor(start),
        }
    }

    /// Scans one factor without a sign.
    pub(super) fn factor(&self, start: usize) -> Option<usize> {
        let first = self.at(start)?;
        match first {
            '0'..='9' => self.number(start),
            '.' if self.at(start + 1).is_some_and(|c| c.is_ascii_digit()) => self.number(start + 1),
            '\u{bc}'..='\u{be}' | '\u{2150}'..='\u{215e}' | '\u{3c0}' | '\u{221e}' | '\u{2205}' => Some(start + 1),
            '\u{2460}'..='\u{2473}' => Some(start + 1),
            '\u{221a}' => self.factor(start + 1),
            '(' | '[' | '{' | '|' => {
                let close = if first == '|' {
                    (start + 1..self.characters.len()).find(|at| self.at(*at) == Some('|'))
                } else {
                    self.closing(start)
                }?;
                self.is_mathematical(start + 1, close).then_some(close + 1)
            }
            '\\' => self.command_factor(start),
            _ if first.is_ascii_alphabetic() => {
                let word = self.letters(start);
                let end = start + word.len();
                let is_name =
                    word.len() == 1 || (word.len() <= 4 && word.bytes().all(|byte| byte.is_ascii_uppercase()));
                if FUNCTIONS.contains(&word) {
                    return self.factor(self.blanks(end)).or((word == "pi").then_some(end));
                }
                // An identifier continues with digits.
                let is_identifier = self.at(end).is_some_and(|c| c.is_ascii_digit());
                (is_name && !is_identifier).then_some(end)
            }
            _ => None,
        }
    }

    pub(super) fn number(&self, start: usize) -> Option<usize> {
        let digit = |at: usize| self.at(at).is_some_and(|c| c.is_ascii_digit());
        let mut end = start;
        while digit(end) {
            end += 1;
        }
        let first_group = end - start;
        loop {
            match self.at(end) {
                Some('.' | ',') if digit(end + 1) => end += 1,
                Some('{') if self.starts_with(end, "{,}") && digit(end + 3) => end += 3,
                Some(',') if self.starts_with(end, ",\\!") && digit(end + 3) => end += 3,
                Some(' ' | '\'')
                    if (1..=3).contains(&first_group) && (1..=3).all(|ahead| digit(end + ahead)) && !digit(end + 4) =>
                {
                    end += 1
                }
                Some('e' | 'E')
                    if digit(end + 1) || (matches!(self.at(end + 1), Some('+' | '-')) && digit(end + 2)) =>
                {
                    end += 2
                }
                _ => break,
            }
            while digit(end) {
                end += 1;
            }
        }
        // `3-digit` is a word.
        if self.at(end) == Some('-') && self.letters(end + 1).len() > 2 {
            return None;
        }
        // `3rd` is an ordinal; `75k`, `45m` continue.
        let suffix = self.letters(end);
        if matches!(suffix.to_ascii_lowercase().as_str(), "st" | "nd" | "rd" | "th") {
            return None;
        }
        let suffix = if suffix.len() <= 12 { suffix.len() } else { 0 };
        Some(end + suffix)
    }

    pub(super) fn command_factor(&self, start: usize) -> Option<usize> {
        let name = self.command(start);
        let mut end = start + 1 + name.len();
        if name.is_empty() {
            // An escaped brace opens a set.
            if self.starts_with(start, "\\{") {
                let close = (start + 2..self.characters.len()).find(|at| self.starts_with(*at, "\\}"))?;
                return Some(close + 2);
            }
            return None;
        }
        if WORD_COMMANDS.contains(&name.as_str()) || INFIX.contains(&name.as_str()) && name != "pm" {
            return None;
        }
        if matches!(name.as_str(), "left" | "right" | "big" | "Big" | "bigl" | "bigr") {
            return Some(if self.at(end) == Some('\\') { end + 2 } else { end + 1 });
        }
        if name == "begin" {
            let rest = self.text.get(self.offset(start)..)?;
            let last = rest.rfind("\\end{")?;
            let close = rest.get(last..)?.find('}')? + last + 1;
            return Some(start + rest.get(..close)?.chars().count());
        }
        // `\frac 53`: arguments of one digit.
        if matches!(name.as_str(), "frac" | "dfrac" | "tfrac" | "binom" | "sqrt") {
            for _ in 0..if name == "sqrt" { 1 } else { 2 } {
                let at = self.blanks(end);
                end = match self.at(at) {
                    Some('{' | '[') => self.closing(at)? + 1,
                    Some(c) if c.is_ascii_digit() => at + 1,
                    _ => break,
                };
            }
        }
        while matches!(self.at(end), Some('{' | '[')) {
            let Some(close) = self.closing(end) else { break };
            end = close + 1;
        }
        Some(end)
    }

    pub(super) fn exponent(&self, start: usize) -> Option<usize> {
        if self.at(start) == Some('{') {
            return self.closing(start).map(|close| close + 1);
        }
        self.operand(start)
    }

    /// Returns whether the whole text between two indices is mathematics.
    pub(super) fn is_mathematical(&self, start: usize, end: usize) -> bool {
        let content = self.slice(start, end);
        let mut letters = 0usize;
        let mut is_command = false;
        let mut word = String::new();
        let mut says = false;
        for character in content.chars().chain(std::iter::once(' ')) {
            if character.is_ascii_alphabetic() {
                letters += 1;
                word.push(character);
                continue;
            }
            // Two letters side by side are a product, unless they form a word.
            let is_product = word.len() == 2 && !WORDS_OF_TWO.contains(&word.as_str());
            let is_segment = word.len() <= 4 && word.bytes().all(|byte| byte.is_ascii_uppercase());
            let is_name = is_product || is_command || is_segment || FUNCTIONS.contains(&word.as_str());
            let is_prose = letters > 1 && !is_name;
            if is_prose || (character.is_alphabetic() && !matches!(character, '\u{3b1}'..='\u{3c9}')) {
                return false;
            }
            says |= letters > 0 || !character.is_whitespace();
            is_command = character == '\\';
            letters = 0;
            word.clear();
        }
        says && !content.contains("\\text") && !content.contains("\\mathrm")
    }
}
