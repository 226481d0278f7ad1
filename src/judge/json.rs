//! Finds the JSON object in a judge's content, even if the content is not quite valid JSON.
//!
//! A strict parser runs first. If it fails, a lenient parser runs: a backslash that escapes nothing is a literal
//! backslash; strings may contain line breaks and tabs; quotes may be single or typographic; one extra comma is
//! allowed; and a quote within a string ends the string only if the following text can follow a string.
//!
//! Judges write LaTeX, and often forget to double its backslashes: every JSON parser then reads `\frac` as a form feed
//! and `rac`. Therefore, after either parser, a control character before the letters of a known command becomes the
//! beginning of that command again ([`with_latex`]).

#![warn(clippy::indexing_slicing)] // what is read here comes from anywhere

use crate::http::{DETAIL_CHARS_MAX, one_line};

use super::analysis::JudgeReply;

/// The key of the text, in any letter case.
const KEY: &str = "analysis";
/// The maximum number of objects in one content that are parsed; after that the content is malformed.
const OBJECTS_MAX: usize = 32;
/// The maximum nesting depth of lists and objects.
const DEPTH_MAX: usize = 16;

/// The letters after the `t` of LaTeX commands whose beginning JSON reads as a tab.
const TAB_TAILS: &[&str] = &[
    "abular",
    "ag",
    "an",
    "anh",
    "anjlim",
    "au",
    "binom",
    "ext",
    "extbf",
    "extcolor",
    "extit",
    "extnormal",
    "extrm",
    "extsc",
    "extsf",
    "extstyle",
    "extsuperscript",
    "exttt",
    "extup",
    "frac",
    "herefore",
    "heta",
    "hickapprox",
    "hicksim",
    "hinspace",
    "ilde",
    "imes",
    "iny",
    "o",
    "op",
    "ops",
    "riangle",
    "riangledown",
    "riangleleft",
    "rianglelefteq",
    "riangleq",
    "riangleright",
    "rianglerighteq",
    "woheadleftarrow",
    "woheadrightarrow",
];

/// The letters after the `n` of LaTeX commands whose beginning JSON reads as a line feed.
const LINE_TAILS: &[&str] = &[
    "LeftArrow",
    "RightArrow",
    "abla",
    "atural",
    "cong",
    "e",
    "earrow",
    "eg",
    "eq",
    "eqq",
    "ewcommand",
    "ewline",
    "exists",
    "geq",
    "geqq",
    "geqslant",
    "gtr",
    "i",
    "leftarrow",
    "leftrightarrow",
    "leq",
    "leqq",
    "leqslant",
    "less",
    "mid",
    "obreak",
    "olimits",
    "olinebreak",
    "onumber",
    "ormalsize",
    "ot",
    "otag",
    "otin",
    "parallel",
    "prec",
    "preceq",
    "rightarrow",
    "shortmid",
    "shortparallel",
    "sim",
    "subseteq",
    "subseteqq",
    "succ",
    "succeq",
    "supseteq",
    "u",
    "warrow",
];

/// Tails that are also words or names: they make a command only within a formula.
const WORDS: &[&str] = &[
    "ag", "an", "au", "cong", "e", "eg", "exists", "i", "less", "mid", "o", "op", "ops", "ot", "parallel", "prec",
    "sim", "succ", "u",
];

/// Returns the `analysis` of the first object in `content` that has one; skips prose, code fences and lists around the
/// object.
///
/// # Errors
/// The problem of the first object.
pub(super) fn find_analysis(content: &str) -> Result<String, String> {
    let starts =
        || content.match_indices('{').take(OBJECTS_MAX).map(|(start, _)| content.get(start..).unwrap_or_default());
    let mut problem = None;
    for rest in starts() {
        match serde_json::Deserializer::from_str(rest).into_iter::<JudgeReply>().next() {
            Some(Ok(reply)) => return Ok(with_latex(&reply.analysis)),
            Some(Err(error)) => {
                problem.get_or_insert_with(|| one_line(&error.to_string(), DETAIL_CHARS_MAX));
            }
            None => {}
        }
    }
    let lenient = starts().find_map(|rest| Lenient { text: rest, at: 0 }.object(0)?.analysis);
    match lenient {
        Some(analysis) => Ok(with_latex(&analysis)),
        None => Err(problem.unwrap_or_else(|| "it holds no object".to_owned())),
    }
}

/// Restores the backslash of a LaTeX command that JSON read as an escape. It replaces a form feed or a backspace before
/// letters and a lone carriage return before lower-case letters (no text has them otherwise), and a tab or line feed
/// before the rest of a known command; if that rest may also be a word, only within a formula.
#[must_use]
pub(super) fn with_latex(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for (at, c) in text.char_indices() {
        let rest = text.get(at + c.len_utf8()..).unwrap_or_default();
        let tail = rest.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
        let makes = |tails: &[&str]| tails.contains(&tail) && (!WORDS.contains(&tail) || is_in_formula(&out));
        let letter = match c {
            '\u{8}' if !tail.is_empty() => Some('b'),
            '\u{c}' if !tail.is_empty() => Some('f'),
            '\r' if tail.starts_with(|c: char| c.is_ascii_lowercase()) => Some('r'),
            '\t' if makes(TAB_TAILS) => Some('t'),
            '\n' if makes(LINE_TAILS) => Some('n'),
            _ => None,
        };
        match letter {
            Some(letter) => out.extend(['\\', letter]),
            None => out.push(c),
        }
    }
    out
}

/// Returns whether a formula in the text is still open: `$`, `\(` or `\[`.
fn is_in_formula(before: &str) -> bool {
    // A formula occupies one line: a price on an earlier line opens none.
    let before = before.rsplit('\n').next().unwrap_or_default();
    let dollars = before.matches('$').count().saturating_sub(before.matches("\\$").count());
    let is_open = |open: &str, close: &str| before.matches(open).count() > before.matches(close).count();
    dollars % 2 == 1 || is_open("\\(", "\\)") || is_open("\\[", "\\]")
}

/// The relevant parts of an object.
struct Object {
    analysis: Option<String>,
}

/// A parser of almost valid JSON.
struct Lenient<'a> {
    text: &'a str,
    at: usize,
}

impl Lenient<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn skip_blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    /// Consumes the next non-blank character if it is `wanted`.
    fn eat(&mut self, wanted: char) -> bool {
        self.skip_blanks();
        let is_there = self.peek() == Some(wanted);
        if is_there {
            self.at += wanted.len_utf8();
        }
        is_there
    }

    /// Parses an object; `None` if there is no object, or if the object is not closed.
    fn object(&mut self, depth: usize) -> Option<Object> {
        let mut object = Object { analysis: None };
        if depth > DEPTH_MAX || !self.eat('{') {
            return None;
        }
        loop {
            while self.eat(',') {}
            if self.eat('}') {
                return Some(object);
            }
            let key = self.key()?;
            if !self.eat(':') {
                return None;
            }
            let value = self.value(depth + 1)?;
            if key.trim().eq_ignore_ascii_case(KEY) && object.analysis.is_none() {
                object.analysis = value;
            }
        }
    }

    fn key(&mut self) -> Option<String> {
        self.skip_blanks();
        match self.peek().and_then(closing_quotes) {
            Some(_) => self.string(|after| after.starts_with(':')),
            None => {
                let bare = self
                    .rest()
                    .split(|c: char| !(c.is_alphanumeric() || c == '_'))
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                self.at += bare.len();
                (!bare.is_empty()).then_some(bare)
            }
        }
    }

    /// Parses a value; the inner option holds the value if it is a string.
    fn value(&mut self, depth: usize) -> Option<Option<String>> {
        self.skip_blanks();
        match self.peek()? {
            '{' => self.object(depth).map(|_| None),
            '[' => self.list(depth).map(|()| None),
            c if closing_quotes(c).is_some() => self.string(ends_value).map(Some),
            _ => {
                // A number or a word.
                let bare = self.rest().split([',', '}', ']', '\n']).next().unwrap_or_default().len();
                self.at += bare;
                (bare > 0).then_some(None)
            }
        }
    }

    fn list(&mut self, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX || !self.eat('[') {
            return None;
        }
        loop {
            while self.eat(',') {}
            if self.eat(']') {
                return Some(());
            }
            self.value(depth + 1)?;
        }
    }

    /// Parses a string. A quote ends the string if `ends` returns true for the text after the quote, without its
    /// leading blanks.
    fn string(&mut self, ends: impl Fn(&str) -> bool) -> Option<String> {
        let closing = closing_quotes(self.bump()?)?;
        let mut out = String::new();
        loop {
            match self.bump()? {
                '\\' => self.escape(&mut out)?,
                c if closing.contains(&c) && ends(self.rest().trim_start()) => return Some(out),
                c => out.push(c),
            }
        }
    }

    /// Parses the character after a backslash. A backslash that escapes nothing is a literal backslash.
    fn escape(&mut self, out: &mut String) -> Option<()> {
        let c = self.bump()?;
        match c {
            '"' | '\\' | '/' => out.push(c),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'u' => match self.code_point() {
                Some(c) => out.push(c),
                None => out.push_str("\\u"),
            },
            other => out.extend(['\\', other]),
        }
        Some(())
    }

    /// Parses the four digits of `\uXXXX`, and the second half of a surrogate pair; consumes nothing if there are no
    /// four digits.
    fn code_point(&mut self) -> Option<char> {
        let unit = |text: &str| {
            u32::from_str_radix(text.get(..4).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))?, 16).ok()
        };
        let first = unit(self.rest())?;
        let second = self.rest().get(4..).and_then(|rest| unit(rest.strip_prefix("\\u")?));
        if let (0xd800..=0xdbff, Some(second @ 0xdc00..=0xdfff)) = (first, second) {
            self.at += 10;
            return char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00));
        }
        self.at += 4;
        Some(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }
}

/// Returns the quotes that close a string with this opening quote.
fn closing_quotes(opening: char) -> Option<&'static [char]> {
    match opening {
        '"' => Some(&['"']),
        '\'' => Some(&['\'']),
        '\u{201c}' | '\u{201d}' | '\u{201e}' => Some(&['\u{201d}', '\u{201c}', '"']),
        '\u{2018}' | '\u{2019}' => Some(&['\u{2019}', '\'']),
        _ => None,
    }
}

/// Returns whether the text after a quote can follow a string in an object or list.
fn ends_value(after: &str) -> bool {
    let Some(rest) = after.strip_prefix(',') else { return after.is_empty() || after.starts_with(['}', ']']) };
    // After a comma, another key or item follows, or nothing.
    let rest = rest.trim_start();
    let begins_item = |c: char| closing_quotes(c).is_some() || matches!(c, '}' | ']' | '{' | '[' | ',');
    let bare_key = || {
        let key = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
        key.len() < rest.len() && key.trim_start().starts_with(':')
    };
    rest.is_empty() || rest.starts_with(begins_item) || bare_key()
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
