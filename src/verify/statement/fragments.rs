//! Splits a sentence into words, marks, remarks in brackets, and pieces of mathematics.
//!
//! A piece of mathematics extends as far as its signs allow: `2\sqrt3`, `4\pi^9`, `x = 5`, `-1013 ln 2026`, `(3, 7)`,
//! `75k`. A number inside a word (`K9`) and an ordinal (`3rd`) are not pieces. The scanner makes one pass; brackets are
//! matched within a bounded sentence.

use crate::math;

/// A part of a sentence: its kind, and its range in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) kind: Kind,
    /// The start and the end of the content, without delimiters.
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// The kind of a part of a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A word, an identifier, or a name of a variable.
    Word,
    /// A sign of punctuation.
    Mark(char),
    /// Mathematics with a value, without delimiters.
    Quantity,
    /// Mathematics with a value, between math delimiters.
    Span,
    /// One letter between math delimiters.
    Name,
    /// Words in brackets.
    Remark,
}

/// Functions that may be written without a backslash.
pub(super) const FUNCTIONS: &[&str] = &[
    "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "ln", "log", "lg", "sqrt", "exp", "cbrt",
    "gcd", "lcm", "pi", "max", "min", "sinh", "cosh", "tanh",
];
/// Commands between two operands.
pub(super) const INFIX: &[&str] = &[
    "times", "cdot", "div", "pm", "mp", "le", "leq", "ge", "geq", "lt", "gt", "ne", "neq", "approx", "simeq", "in",
    "cup", "cap", "equiv", "leqslant", "geqslant", "cong", "to", "mid", "setminus", "quad", "qquad", "ast",
];
/// Commands whose content is words.
pub(super) const WORD_COMMANDS: &[&str] =
    &["text", "textbf", "textit", "textrm", "mathrm", "mbox", "mathbf", "emph", "operatorname", "textnormal"];

/// The state of the scanner over a sentence.
pub(super) struct Scanner<'a> {
    pub(super) text: &'a str,
    pub(super) characters: Vec<(usize, char)>,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, characters: text.char_indices().collect() }
    }

    pub(super) fn at(&self, index: usize) -> Option<char> {
        self.characters.get(index).map(|(_, character)| *character)
    }

    pub(super) fn offset(&self, index: usize) -> usize {
        self.characters.get(index).map_or(self.text.len(), |(offset, _)| *offset)
    }

    pub(super) fn slice(&self, start: usize, end: usize) -> &'a str {
        self.text.get(self.offset(start)..self.offset(end)).unwrap_or("")
    }

    pub(super) fn starts_with(&self, index: usize, text: &str) -> bool {
        self.text.get(self.offset(index)..).is_some_and(|rest| rest.starts_with(text))
    }

    /// Returns all pieces in order.
    pub(super) fn pieces(&self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut index = 0;
        while let Some(character) = self.at(index) {
            let (kind, start, end, next) = self.piece(index, character);
            index = next.max(index + 1);
            if let Some(kind) = kind {
                pieces.push(Piece { kind, start: self.offset(start), end: self.offset(end) });
            }
        }
        pieces
    }

    /// Returns a piece with its content, and the index after the piece.
    fn piece(&self, index: usize, character: char) -> (Option<Kind>, usize, usize, usize) {
        let nothing = |next: usize| (None, index, index, next);
        if character.is_whitespace() || self.starts_with(index, "**") || self.starts_with(index, "\\$") {
            return nothing(index + if character.is_whitespace() { 1 } else { 2 });
        }
        if let Some((start, end, next)) = self.span(index) {
            let content = self.slice(start, end);
            let says = content.contains(char::is_numeric)
                || content.chars().filter(|c| c.is_alphabetic()).count() > 1
                || content.contains(|c: char| !c.is_alphanumeric() && !c.is_whitespace());
            return (Some(if says { Kind::Span } else { Kind::Name }), start, end, next);
        }
        if matches!(character, '$' | '`' | '\u{20ac}' | '\u{a3}' | '\u{a5}' | '\u{20b9}') {
            return nothing(index + 1);
        }
        if let Some(end) = self.fragment(index) {
            let is_value = has_value(self.slice(index, end));
            return (Some(if is_value { Kind::Quantity } else { Kind::Word }), index, end, end);
        }
        if matches!(character, '(' | '[')
            && let Some(close) = self.closing(index)
        {
            return (Some(Kind::Remark), index + 1, close, close + 1);
        }
        if is_word_character(character) {
            let mut end = index;
            while let Some(next) =
                self.at(end).filter(|c| is_word_character(*c) || matches!(c, '\'' | '-' | '\u{2019}'))
            {
                // A text in a script without spaces is split before letters of another script.
                if end > index && next.is_ascii() != self.at(end - 1).is_some_and(|c| c.is_ascii()) {
                    break;
                }
                if matches!(next, '\'' | '-') && !self.at(end + 1).is_some_and(is_word_character) {
                    break;
                }
                end += 1;
                // `p.m`, `U.S`: letters with points between them.
                let is_initial = end - index == 1 || end >= 2 && self.at(end - 2) == Some('.');
                if is_initial
                    && self.at(end) == Some('.')
                    && self.at(end + 1).is_some_and(|c| c.is_ascii_alphabetic())
                    && !self.at(end + 2).is_some_and(|c| c.is_ascii_alphabetic())
                {
                    end += 1;
                }
            }
            return (Some(Kind::Word), index, end.max(index + 1), end.max(index + 1));
        }
        if character == '\\' {
            // A command without a value in a sentence; a comparison is a mark.
            let name = self.command(index);
            if matches!(
                name.as_str(),
                "le" | "leq" | "ge" | "geq" | "lt" | "gt" | "ne" | "neq" | "leqslant" | "geqslant"
            ) {
                return (Some(Kind::Mark('<')), index, index + 1, index + 1 + name.len());
            }
            return nothing(index + 1 + name.len().max(1));
        }
        (Some(Kind::Mark(character)), index, index + 1, index + 1)
    }

    /// Returns the content of a span between math delimiters that begins here, and the index after the span.
    fn span(&self, index: usize) -> Option<(usize, usize, usize)> {
        let (open, close) = [("\\(", "\\)"), ("\\[", "\\]"), ("$$", "$$"), ("$", "$")]
            .into_iter()
            .find(|(open, _)| self.starts_with(index, open))?;
        let start = index + open.len();
        let mut end = start;
        while self.at(end).is_some() && !self.starts_with(end, close) {
            // An escaped sign closes nothing.
            end += if self.at(end) == Some('\\') && !matches!(self.at(end + 1), Some(')' | ']')) { 2 } else { 1 };
        }
        self.at(end)?;
        let content = self.slice(start, end);
        if content.trim().is_empty() {
            return None;
        }
        // `$5 for 3 apples at $2`: prices, not a span.
        let has_prose = || {
            content.split_whitespace().any(|word| {
                word.chars().all(|c| c.is_ascii_alphabetic()) && word.len() >= 3 && !FUNCTIONS.contains(&word)
            })
        };
        // `$200 - $130`: the second sign begins another price.
        let is_followed = self.at(end + 1).is_some_and(|c| c.is_ascii_digit());
        if open == "$" && is_followed && content.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let is_price =
            open == "$" && content.starts_with(|c: char| c.is_ascii_digit()) && has_prose() && !content.contains('\\');
        (!is_price).then_some((start, end, end + close.len()))
    }

    pub(super) fn command(&self, index: usize) -> String {
        self.characters.iter().skip(index + 1).map(|(_, c)| *c).take_while(char::is_ascii_alphabetic).collect()
    }

    /// Returns the index of the bracket that closes the bracket here.
    pub(super) fn closing(&self, index: usize) -> Option<usize> {
        let mut depth = 0usize;
        let mut at = index;
        while let Some(character) = self.at(at) {
            match character {
                '\\' => at += 1,
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return Some(at);
                    }
                }
                _ => {}
            }
            at += 1;
        }
        None
    }

    pub(super) fn blanks(&self, mut index: usize) -> usize {
        while self.at(index) == Some(' ') {
            index += 1;
        }
        index
    }

    /// Returns the end of the mathematics that begins here, if any.
    fn fragment(&self, start: usize) -> Option<usize> {
        let before = start.checked_sub(1).and_then(|before| self.at(before));
        if before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') {
            return None;
        }
        let mut end = self.opening(start)?;
        loop {
            // Marks and factors without a space.
            match self.at(end) {
                Some('%' | '\u{b0}' | '\'') => {
                    end += 1;
                    continue;
                }
                Some('!') if self.is_factorial(end) => {
                    end += 1;
                    continue;
                }
                Some('^' | '_') => {
                    let Some(next) = self.exponent(end + 1) else { return Some(end) };
                    end = next;
                    continue;
                }
                Some(character) if math::superscript(character).is_some() => {
                    end += 1;
                    continue;
                }
                Some(character)
                    if !character.is_whitespace() && (!character.is_ascii_digit() || !self.ends_in_digit(end)) =>
                {
                    if character != '-'
                        && character != '+'
                        && character != '*'
                        && let Some(next) = self.factor(end)
                    {
                        end = next;
                        continue;
                    }
                }
                _ => {}
            }
            if let Some(next) = self.continued(start, end) {
                end = next;
                continue;
            }
            return Some(end);
        }
    }

    fn ends_in_digit(&self, end: usize) -> bool {
        end.checked_sub(1).and_then(|before| self.at(before)).is_some_and(|c| c.is_ascii_digit())
    }

    /// After a number or bracket, and without words before it, an exclamation mark is a factorial.
    fn is_factorial(&self, at: usize) -> bool {
        let behind = at.checked_sub(1).and_then(|before| self.at(before));
        let joins = self.at(at + 1).is_some_and(|c| !c.is_whitespace() && !matches!(c, '.' | '*' | '"' | '!'));
        let is_alone = !self.characters.iter().take(at).any(|(_, c)| c.is_alphabetic());
        behind.is_some_and(|c| c.is_ascii_digit() || c == ')') && (joins || is_alone)
    }

    /// Scans an operator with its operand, or a factor after a space.
    fn continued(&self, start: usize, end: usize) -> Option<usize> {
        let at = self.blanks(end);
        let character = self.at(at)?;
        if self.starts_with(at, "**") {
            return None;
        }
        let operator = match character {
            '+' | '-' | '*' | '/' | '=' | '<' | '>' | '^' | '\u{d7}' | '\u{b7}' | '\u{f7}' | '\u{b1}' | '\u{2264}'
            | '\u{2265}' | '\u{2260}' | '\u{2248}' | '\u{22c5}' | '\u{2208}' | '\u{222a}' | '\u{2229}' | '~' => {
                let doubled = matches!((character, self.at(at + 1)), ('<' | '>' | '=' | '!', Some('=')));
                Some(1 + usize::from(doubled))
            }
            // `7.02 x 10^5`.
            'x' | 'X'
                if at > end && self.at(at + 1) == Some(' ') && self.at(at + 2).is_some_and(|c| c.is_ascii_digit()) =>
            {
                Some(1)
            }
            'x' if at == end && self.starts_with(at, "x10") => Some(1),
            ':' if self.at(at + 1).is_some_and(|c| c.is_ascii_digit()) && self.ends_in_digit(end) => Some(1),
            '\\' => {
                let name = self.command(at);
                INFIX.contains(&name.as_str()).then(|| 1 + name.len())
            }
            _ => None,
        };
        if let Some(length) = operator {
            // A dash with a space on one side only joins words.
            let lone = matches!(character, '-') && at > end && self.at(at + 1).is_some_and(|c| !c.is_whitespace());
            if lone && !self.ends_in_digit(end) {
                return None;
            }
            let next = self.blanks(at + length);
            // `2a-ab`: adjacent letters are a product without a space, unless they are a unit.
            let product = self.letters(next);
            let is_product =
                (2..=3).contains(&product.len()) && next == at + length && at == end && !math::is_unit_word(product);
            return if is_product { Some(next + product.len()) } else { self.operand(next) };
        }
        // `-1013 ln 2026`, `2 \sqrt 3`, `1 1/2`.
        if at == end {
            return None;
        }
        match character {
            '\\' => {
                let name = self.command(at);
                let is_spacing = name.is_empty() && matches!(self.at(at + 1), Some(',' | ';' | '!' | ':' | ' '));
                if is_spacing {
                    return self.operand(self.blanks(at + 2));
                }
                (!WORD_COMMANDS.contains(&name.as_str())).then(|| self.factor(at)).flatten()
            }
            '\u{221a}' | '\u{3c0}' => self.factor(at),
            // `\log_2 5`: the argument of a function.
            _ if character.is_ascii_digit() && self.awaits_argument(start, end) => self.factor(at),
            _ if character.is_ascii_digit() => {
                let digits =
                    |from: usize| self.characters.iter().skip(from).take_while(|(_, c)| c.is_ascii_digit()).count();
                let above = digits(at);
                let is_fraction = self.at(at + above) == Some('/') && digits(at + above + 1) > 0;
                (is_fraction && self.ends_in_digit(end)).then(|| at + above + 1 + digits(at + above + 1))
            }
            _ if character.is_ascii_alphabetic() => {
                let word = self.letters(at);
                // `5 cm^2`.
                let behind = self.at(at + word.len());
                let is_raised = behind.is_some_and(|c| c == '^' || math::superscript(c).is_some());
                if word.len() <= 3 && is_raised && self.ends_in_digit(end) {
                    return Some(at + word.len());
                }
                let is_function = FUNCTIONS.contains(&word) && !matches!(word, "max" | "min");
                is_function.then(|| self.factor(at)).flatten()
            }
            _ => None,
        }
    }

    /// Returns whether a piece ends with a function, its base or its power, and has no argument yet.
    fn awaits_argument(&self, start: usize, end: usize) -> bool {
        let piece = self.slice(start, end);
        let Some((_, last)) = piece.rsplit_once('\\') else { return false };
        let name = last.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or("");
        let rest = last.get(name.len()..).unwrap_or("");
        FUNCTIONS.contains(&name) && (rest.is_empty() || (rest.starts_with(['_', '^']) && !rest.contains([' ', '('])))
    }

    pub(super) fn letters(&self, index: usize) -> &'a str {
        let count = self.characters.iter().skip(index).take_while(|(_, c)| c.is_ascii_alphabetic()).count();
        self.slice(index, index + count)
    }
}

fn is_word_character(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Returns whether mathematics is more than a name.
fn has_value(text: &str) -> bool {
    text.contains(|c: char| c.is_ascii_digit() || math::superscript(c).is_some())
        || text.contains(['\u{3c0}', '\u{221e}', '\u{2205}', '\\', '=', '<', '>', '+', '*', '/', '^'])
        || text.contains(|c: char| matches!(c, '\u{bc}'..='\u{be}' | '\u{2150}'..='\u{215e}' | '\u{2460}'..='\u{2473}' | '\u{2264}' | '\u{2265}'))
        || text == "pi"
}
