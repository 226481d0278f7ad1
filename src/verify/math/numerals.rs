//! Reads numerals: thousands separators, decimals, repeating decimals, powers of ten.

use super::lexer::Lexer;
use super::limits::{DIGITS_MAX, EXPONENT_MAX, REPEAT_DIGITS_MAX};
use super::outcome::Fault;
use super::token::Kind;

impl Lexer {
    pub(super) fn number(&mut self) -> Result<(), Fault> {
        let mut digits = String::new();
        self.take_digits(&mut digits);
        if self.dotted_thousands(&mut digits) || self.decimal_comma(&mut digits) {
            self.push(Kind::Number { digits, repeat: String::new() });
            return Ok(());
        }
        // Thousands separators: groups of three after one to three digits, outside brackets that list elements.
        while self.thousands_group(&digits) {
            self.at += self.separator_len();
            self.take_digits(&mut digits);
        }
        let mut repeat = String::new();
        if self.peek(0) == Some('.') && self.decimals_follow() {
            digits.push('.');
            self.at += 1;
            self.take_digits(&mut digits);
            repeat = self.repeating(&mut digits).unwrap_or_default();
        }
        if digits.len() > DIGITS_MAX {
            return Err(Fault::OverBudget);
        }
        if self.peek(0) == Some('.') && self.point_ends_number() {
            self.at += 1;
        }
        self.push(Kind::Number { digits, repeat });
        self.times_ten();
        self.power_of_ten()
    }

    /// Returns whether a point without decimals ends a number: `3./2`, `(4., 5.)`.
    fn point_ends_number(&self) -> bool {
        matches!(self.peek(1), Some('/' | ')' | ']' | '}' | ',' | ';' | '+' | '-' | '*' | '^'))
    }

    /// Skips the letter in `7.02x10^5`, which is a multiplication sign.
    fn times_ten(&mut self) {
        let blanks = |from: usize| (0..4).take_while(|ahead| self.peek(from + ahead) == Some(' ')).count();
        let letter = blanks(0);
        if !matches!(self.peek(letter), Some('x' | 'X')) {
            return;
        }
        let ten = letter + 1 + blanks(letter + 1);
        let power = ten + 2 + blanks(ten + 2);
        let is_raised = self.peek(power) == Some('^')
            || self.starts_with(power, "**")
            || self.peek(power).is_some_and(|c| super::glyphs::superscript(c).is_some());
        if self.starts_with(ten, "10") && is_raised {
            self.at += letter + 1;
            self.push(Kind::Times);
        }
    }

    fn take_digits(&mut self, digits: &mut String) {
        while let Some(digit) = self.peek(0).filter(char::is_ascii_digit) {
            digits.push(digit);
            self.at += 1;
        }
    }

    fn starts_with(&self, ahead: usize, text: &str) -> bool {
        text.chars().enumerate().all(|(index, c)| self.peek(ahead + index) == Some(c))
    }

    fn decimals_follow(&self) -> bool {
        self.peek(1).is_some_and(|next| next.is_ascii_digit())
            || ["\\overline", "\\bar", "\\dot{", "\\dot"].iter().any(|command| self.starts_with(1, command))
            || (self.peek(1) == Some('(') && self.parenthesised_repeat(1).is_some())
            // `5.` before a bracket, a space or the end: the point ends the number.
            || (self.peek(1) == Some('\\') && self.peek(2).is_some_and(|c| matches!(c, ',' | ' ' | '!' | ';')))
    }

    fn digits_from(&self, ahead: usize) -> usize {
        self.characters.iter().skip(self.at + ahead).take_while(|c| c.is_ascii_digit()).count()
    }

    /// Reads `.234.567` and similar groups: at least two groups, or one before a decimal comma.
    fn dotted_thousands(&mut self, digits: &mut String) -> bool {
        if !(1..=3).contains(&digits.len()) || digits.starts_with('0') || self.nested > 0 {
            return false;
        }
        let mut groups = 0;
        while self.peek(4 * groups) == Some('.') && self.digits_from(4 * groups + 1) == 3 {
            groups += 1;
        }
        let end = 4 * groups;
        let comma = self.peek(end) == Some(',') && matches!(self.digits_from(end + 1), 1 | 2 | 4..=9);
        if groups == 0 || (groups == 1 && !comma) {
            return false;
        }
        for _ in 0..groups {
            self.at += 1;
            self.take_digits(digits);
        }
        if comma {
            self.at += 1;
            digits.push('.');
            self.take_digits(digits);
        }
        true
    }

    /// Reads `{,}5`: a braced comma before any number of digits except three is a decimal comma.
    fn decimal_comma(&mut self, digits: &mut String) -> bool {
        let places = self.digits_from(3);
        if digits.is_empty() || !self.starts_with(0, "{,}") || places == 0 || places == 3 {
            return false;
        }
        self.at += 3;
        digits.push('.');
        self.take_digits(digits);
        true
    }

    /// Returns the length of a thousands separator at the current position, or 0.
    fn separator_len(&self) -> usize {
        let next = |ahead| self.peek(ahead);
        let blanks = |from: usize| (0..4).take_while(|ahead| self.peek(from + ahead) == Some(' ')).count();
        match next(0) {
            // `\!,\!`.
            Some('\\') if next(1) == Some('!') && next(2) == Some(',') => {
                let end = 3 + blanks(3);
                if next(end) == Some('\\') && next(end + 1) == Some('!') { end + 2 } else { end }
            }
            // `,\!`, to which authors also add spaces.
            Some(',') => {
                let thin = 1 + blanks(1);
                if next(thin) == Some('\\') && matches!(next(thin + 1), Some('!' | ',')) {
                    thin + 2 + blanks(thin + 2)
                } else {
                    usize::from(self.nested == 0)
                }
            }
            Some('{') if next(1) == Some(',') && next(2) == Some('}') => 3,
            Some('\\') if matches!(next(1), Some(',' | '!' | ';' | ' ' | ':')) => 2,
            Some(' ' | '~' | '\'') => 1,
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

    /// Reads the repeating digits after a decimal point: `\overline{3}`, `\dot{3}`, `(3)`, `333...`, a combining line.
    fn repeating(&mut self, digits: &mut String) -> Option<String> {
        for command in ["\\overline", "\\bar"] {
            if self.starts_with(0, command) {
                let (repeat, end) = self.argument_digits(command.len())?;
                self.at += end;
                return Some(repeat);
            }
        }
        if self.starts_with(0, "\\dot") && !self.starts_with(0, "\\dots") {
            return self.dotted(digits);
        }
        if digits.ends_with('.')
            && let Some((repeat, end)) = self.parenthesised_repeat(0)
        {
            self.at += end;
            return Some(repeat);
        }
        if self.peek(0) == Some('\u{305}') {
            self.at += 1;
            return digits.pop().map(String::from);
        }
        let dots = ["...", "\\ldots", "\\dots", "\\cdots", "\u{2026}"].iter().find(|dots| self.starts_with(0, dots))?;
        let (whole, decimals) = digits.split_once('.')?;
        let period = period(decimals)?;
        let kept = format!("{whole}.{}", decimals.get(..decimals.len() - period)?);
        let repeat = decimals.get(decimals.len() - period..)?.to_owned();
        self.at += dots.chars().count();
        *digits = kept;
        Some(repeat)
    }

    /// Returns the digits of a command's argument, braced or one digit, and their end.
    fn argument_digits(&self, start: usize) -> Option<(String, usize)> {
        let mut at = start;
        while self.peek(at) == Some(' ') {
            at += 1;
        }
        let braced = self.peek(at) == Some('{');
        at += usize::from(braced);
        let count = if braced { self.digits_from(at) } else { self.digits_from(at).min(1) };
        if count == 0 || count > REPEAT_DIGITS_MAX || (braced && self.peek(at + count) != Some('}')) {
            return None;
        }
        let repeat = self.characters.iter().skip(self.at + at).take(count).collect();
        Some((repeat, at + count + usize::from(braced)))
    }

    fn parenthesised_repeat(&self, ahead: usize) -> Option<(String, usize)> {
        if self.peek(ahead) != Some('(') {
            return None;
        }
        let count = self.digits_from(ahead + 1);
        let closed = self.peek(ahead + 1 + count) == Some(')');
        let repeat = self.characters.iter().skip(self.at + ahead + 1).take(count).collect();
        (closed && (1..=REPEAT_DIGITS_MAX).contains(&count)).then_some((repeat, ahead + count + 2))
    }

    /// Reads `\dot{6}`, or all digits from a first dotted digit to a second: `\dot{1}4\dot{2}`.
    fn dotted(&mut self, digits: &mut String) -> Option<String> {
        let start = self.at;
        let kept = digits.len();
        let mut repeat = String::new();
        let mut dots = 0;
        while dots < 2 {
            if self.starts_with(0, "\\dot") {
                let Some((digit, end)) = self.argument_digits(4).filter(|(digit, _)| digit.len() == 1) else { break };
                repeat.push_str(&digit);
                self.at += end;
                dots += 1;
            } else {
                // Digits between two dots; without a second dot they are not part of the period.
                let count = self.digits_from(0);
                if count == 0 || count > REPEAT_DIGITS_MAX || !self.starts_with(count, "\\dot") {
                    break;
                }
                self.take_digits(&mut repeat);
            }
        }
        if dots == 0 {
            self.at = start;
            digits.truncate(kept);
            return None;
        }
        Some(repeat)
    }

    /// Reads `e5` after a numeral as a power of ten.
    fn power_of_ten(&mut self) -> Result<(), Fault> {
        if !matches!(self.peek(0), Some('e' | 'E')) {
            return Ok(());
        }
        let signed = usize::from(matches!(self.peek(1), Some('+' | '-')));
        let count = self.digits_from(1 + signed);
        let after = self.peek(1 + signed + count);
        if count == 0 || count > 9 || after.is_some_and(|c| c.is_alphanumeric() || c == '.') {
            return Ok(());
        }
        let negative = self.peek(1) == Some('-');
        let exponent: String = self.characters.iter().skip(self.at + 1 + signed).take(count).collect();
        self.at += 1 + signed + count;
        if exponent.parse::<u32>().map_err(|_| Fault::OverBudget)? > EXPONENT_MAX {
            return Err(Fault::OverBudget);
        }
        self.push(Kind::Times);
        self.push_inner(&format!("10^{{{}{exponent}}}", if negative { "-" } else { "" }))
    }
}

/// Returns the length of the block that ends the decimals at least twice; a single digit must occur three times, or
/// make up all decimals.
fn period(decimals: &str) -> Option<usize> {
    let bytes = decimals.as_bytes();
    (1..=bytes.len() / 2).find(|&len| {
        let times = if len == 1 && bytes.len() > 2 { 3 } else { 2 };
        let tail = bytes.len().checked_sub(len * times).and_then(|start| bytes.get(start..));
        tail.is_some_and(|tail| tail.chunks(len).all(|block| Some(block) == tail.get(..len)))
    })
}
