//! Redacts the API key wherever a server echoes it, in any encoding.
//!
//! The redactor searches for the key itself, the reversed key, and its hexadecimal and base64 forms (both alphabets, at
//! any byte offset of the encoded text), and for all of these with escaped characters: as JSON (`\u0073`, `\/`),
//! percent-encoded (`%73`), as HTML (`&#115;`), and nested up to `LAYERS_MAX` deep. Keys of at least
//! `ANY_CASE_BYTES_MIN` bytes are found in any letter case. Keys shorter than `KEY_BYTES_MIN` are placeholders
//! (`EMPTY`, `none`) that ordinary text may hold, and are not redacted; neither are words and numbers shorter than
//! `ANY_CASE_BYTES_MIN`.
//!
//! Every reply passes through here: a text without an escape that can hide a character costs two passes over its bytes
//! and no copy.

use std::borrow::Cow;
use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::message::{THINKING_FIELDS, Texts, texts};
use super::transport::BodyEnd;

/// The minimum length of a redacted key, in bytes.
const KEY_BYTES_MIN: usize = 8;
/// The minimum length of a key that is found in any letter case, in bytes: a shorter key may be a word.
const ANY_CASE_BYTES_MIN: usize = 16;
/// The maximum number of escape layers that are removed.
const LAYERS_MAX: usize = 8;
/// The maximum number of redaction rounds; after that the whole text is redacted.
const ROUNDS_MAX: usize = 16;
/// The replacement of a key.
const BLOT: &str = "[redacted]";
const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Finds one key in texts; finds nothing without a key.
#[derive(Default)]
pub struct Redactor {
    forms: Option<Forms>,
}

struct Forms {
    finder: AhoCorasick,
    /// The length of the longest form, in bytes.
    bytes_max: usize,
    /// Whether the key holds characters that JSON always escapes.
    is_always_escaped: bool,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Redactor")
    }
}

impl Redactor {
    /// Builds the redactor of a key.
    #[must_use]
    pub fn new(key: Option<&SecretString>) -> Self {
        let Some(key) = key.map(|key| key.expose_secret().trim().as_bytes()) else { return Self::default() };
        // A short word or number is not a secret either (`not-needed`, `12345678`): its redaction would change the
        // reply.
        let is_word = key.iter().all(|byte| byte.is_ascii_lowercase() || b"-_.".contains(byte))
            || key.iter().all(u8::is_ascii_digit);
        if key.len() < KEY_BYTES_MIN || (key.len() < ANY_CASE_BYTES_MIN && is_word) {
            return Self::default();
        }
        let mut forms: Vec<Vec<u8>> = vec![key.to_vec(), key.iter().rev().copied().collect()];
        forms.push(hex::encode(key).into_bytes());
        for alphabet in [STANDARD, URL_SAFE] {
            forms.extend((0..3).map(|lead| base64_core(key, lead, alphabet)));
        }
        let bytes_max = forms.iter().map(Vec::len).max().unwrap_or_default();
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .ascii_case_insensitive(key.len() >= ANY_CASE_BYTES_MIN)
            .build(&forms);
        // A few short patterns are far below the automaton's limits.
        let Ok(finder) = finder else { return Self::default() };
        let is_always_escaped = key.iter().any(|byte| matches!(byte, b'"' | b'\\' | b'&' | b'<' | b'>' | b'\'' | b'%'));
        Self { forms: Some(Forms { finder, bytes_max, is_always_escaped }) }
    }

    /// Returns a text without the key.
    #[must_use]
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let Some(forms) = &self.forms else { return Cow::Borrowed(text) };
        let mut text = Cow::Borrowed(text);
        for _ in 0..ROUNDS_MAX {
            let places = forms.places(&text);
            if places.is_empty() {
                return text;
            }
            text = Cow::Owned(blotted(&text, places));
        }
        Cow::Borrowed(BLOT)
    }

    /// Returns a chat reply's body without the key, even if only the concatenated parts of a message hold it.
    #[must_use]
    pub fn body(&self, body: String) -> String {
        if self.forms.is_none() {
            return body;
        }
        let body = match self.text(&body) {
            Cow::Borrowed(text) if text.len() == body.len() => body,
            other => other.into_owned(),
        };
        if has_parts(&body) { self.joined_parts(body) } else { body }
    }

    /// Returns the read part of an error's body, without the key.
    #[must_use]
    pub fn error_body<E>(&self, bytes: &[u8], end: &BodyEnd<E>) -> String {
        let body = String::from_utf8_lossy(bytes);
        match end {
            BodyEnd::Complete => self.text(&body).into_owned(),
            BodyEnd::TooLarge | BodyEnd::Broken(_) => self.beginning(&body),
        }
    }

    /// Returns the beginning of a truncated text, without the key and without a possible beginning of the key at its
    /// end.
    #[must_use]
    pub fn beginning(&self, text: &str) -> String {
        let text = self.text(text);
        let Some(forms) = &self.forms else { return text.into_owned() };
        // An escaped character takes up to six bytes.
        let mut end = text.len().saturating_sub(forms.bytes_max * 6);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.get(..end).unwrap_or_default().to_owned()
    }

    /// Rewrites the messages of a body whose concatenated parts hold the key.
    fn joined_parts(&self, body: String) -> String {
        let Ok(mut value) = serde_json::from_str::<Value>(&body) else { return body };
        let mut is_changed = false;
        for choice in value.get_mut("choices").and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(message) = choice.get_mut("message") else { continue };
            let Texts { content, reasoning } = texts(message);
            let holds = |text: &Option<String>| text.as_deref().is_some_and(|text| self.holds(text));
            if !holds(&content) && !holds(&reasoning) {
                continue;
            }
            let Some(message) = message.as_object_mut() else { continue };
            is_changed = true;
            message.retain(|name, _| name != "parts" && !THINKING_FIELDS.contains(&name.as_str()));
            let redacted = |text: Option<String>| text.map(|text| self.text(&text).into_owned());
            message.insert("content".to_owned(), json!(redacted(content)));
            message.insert("reasoning_content".to_owned(), json!(redacted(reasoning)));
        }
        if is_changed { value.to_string() } else { body }
    }

    /// Returns whether a text holds the key in any form.
    #[must_use]
    pub fn holds(&self, text: &str) -> bool {
        self.forms.as_ref().is_some_and(|forms| !forms.places(text).is_empty())
    }
}

impl Forms {
    /// Returns the places of the key in the outermost layer that shows it.
    fn places(&self, text: &str) -> Vec<Range<usize>> {
        let places: Vec<Range<usize>> = self.finder.find_iter(text).map(|found| found.range()).collect();
        if !places.is_empty() || !(self.is_always_escaped || may_hide(text.as_bytes())) {
            return places;
        }
        let mut layer = text.as_bytes().to_vec();
        for depth in 1..=LAYERS_MAX {
            let below = unescaped(&layer, None);
            if below.0.len() == layer.len() {
                break;
            }
            layer = below.0;
            if self.finder.is_match(&layer) {
                return self.places_below(text, depth);
            }
        }
        Vec::new()
    }

    /// Returns the places of the key in the outer text, for a layer in which the key was found.
    fn places_below(&self, text: &str, depth: usize) -> Vec<Range<usize>> {
        let mut layer = text.as_bytes().to_vec();
        let mut spans: Vec<Range<usize>> = (0..layer.len()).map(|at| at..at + 1).collect();
        for _ in 0..depth {
            (layer, spans) = unescaped(&layer, Some(&spans));
        }
        let span = |found: aho_corasick::Match| {
            let (first, last) = (spans.get(found.start())?, spans.get(found.end().checked_sub(1)?)?);
            Some(first.start..last.end)
        };
        self.finder.find_iter(&layer).filter_map(span).collect()
    }
}

/// Replaces ordered places of a text with [`BLOT`].
fn blotted(text: &str, places: Vec<Range<usize>>) -> String {
    let mut redacted = String::with_capacity(text.len());
    let mut from = 0;
    for place in places {
        // Escapes begin and end at character boundaries, and so does the key.
        redacted.push_str(text.get(from..place.start).unwrap_or_default());
        redacted.push_str(BLOT);
        from = place.end.max(from);
    }
    redacted.push_str(text.get(from..).unwrap_or_default());
    redacted
}

/// Returns whether a text holds an escape that can encode a character of a key: `\u` and `\x` with a digit, `\/`, `%`
/// with two digits, `&#`. An escaped escape is found as well, because its characters remain visible.
fn may_hide(text: &[u8]) -> bool {
    let at = |index: usize| text.get(index).copied().unwrap_or_default();
    text.iter().enumerate().any(|(index, byte)| match byte {
        b'\\' => match at(index + 1) {
            b'u' | b'x' => at(index + 2).is_ascii_hexdigit(),
            next => next == b'/',
        },
        b'%' => at(index + 1).is_ascii_hexdigit() && at(index + 2).is_ascii_hexdigit(),
        b'&' => at(index + 1) == b'#' || text.get(index + 1..index + 6) == Some(b"amp;#"),
        _ => false,
    })
}

/// Removes one layer of escapes; `spans` gives the source range of each byte.
fn unescaped(bytes: &[u8], spans: Option<&[Range<usize>]>) -> (Vec<u8>, Vec<Range<usize>>) {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut origins = Vec::new();
    let mut index = 0;
    while let Some(rest) = bytes.get(index..).filter(|rest| !rest.is_empty()) {
        let (code, taken) = escape(rest);
        let before = plain.len();
        match code {
            Code::Byte(byte) => plain.push(byte),
            Code::Char(c) => plain.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        if let Some(spans) = spans {
            let start = spans.get(index).map_or(0, |span| span.start);
            let end = spans.get(index + taken - 1).map_or(start, |span| span.end);
            origins.resize(origins.len() + plain.len() - before, start..end);
        }
        index += taken;
    }
    (plain, origins)
}

enum Code {
    Byte(u8),
    Char(char),
}

/// Parses the escape or byte at the beginning of `rest`, which is not empty; returns its length in bytes.
fn escape(rest: &[u8]) -> (Code, usize) {
    let digits = |from: usize, count: usize| {
        let digits = rest.get(from..from + count)?;
        let text = std::str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_hexdigit))?;
        u32::from_str_radix(text, 16).ok()
    };
    let char_of = |code: u32| Code::Char(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
    let found = match rest {
        [b'\\' | b'%', b'u' | b'U', ..] => digits(2, 4).map(|code| (char_of(code), 6)),
        [b'\\', b'x', ..] => digits(2, 2).map(|code| (char_of(code), 4)),
        [b'\\', b'n' | b'r' | b't' | b'b' | b'f', ..] => Some((Code::Byte(b' '), 2)),
        [b'\\', next, ..] if next.is_ascii() => Some((Code::Byte(*next), 2)),
        [b'%', ..] => digits(1, 2).and_then(|code| u8::try_from(code).ok()).map(|byte| (Code::Byte(byte), 3)),
        [b'&', b'#', ..] => html_number(rest).map(|(code, taken)| (char_of(code), taken)),
        [b'&', b'a', b'm', b'p', b';', ..] => Some((Code::Byte(b'&'), 5)),
        _ => None,
    };
    found.unwrap_or((Code::Byte(rest.first().copied().unwrap_or_default()), 1))
}

/// Parses `&#115;` or `&#x73;`.
fn html_number(rest: &[u8]) -> Option<(u32, usize)> {
    let end = rest.iter().take(12).position(|byte| *byte == b';')?;
    let digits = std::str::from_utf8(rest.get(2..end)?).ok()?;
    let code = match digits.strip_prefix(['x', 'X']) {
        Some(digits) => u32::from_str_radix(digits, 16).ok()?,
        None => digits.parse().ok()?,
    };
    Some((code, end + 1))
}

/// Returns whether a body may hold a text in parts: an object or list under a text key.
fn has_parts(body: &str) -> bool {
    const NAMES: [&str; 5] = ["\"content\"", "\"parts\"", "\"reasoning", "\"thinking", "\"thought"];
    let opens = |rest: &str| {
        let value = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let value = value.strip_prefix('"').unwrap_or(value).trim_start();
        value.strip_prefix(':').is_some_and(|value| value.trim_start().starts_with(['[', '{']))
    };
    NAMES.iter().any(|name| body.match_indices(name).any(|(at, _)| body.get(at + name.len()..).is_some_and(opens)))
}

/// Returns the base64 form of a key's bytes after `lead` bytes (modulo 3) and before any other bytes: the characters
/// that the key alone decides.
fn base64_core(key: &[u8], lead: usize, alphabet: &[u8; 64]) -> Vec<u8> {
    let bytes: Vec<u8> = std::iter::repeat_n(0, lead).chain(key.iter().copied()).collect();
    let bit = |index: usize| bytes.get(index / 8).map_or(0, |byte| byte >> (7 - index % 8) & 1);
    let (first, end) = ((lead * 8).div_ceil(6), bytes.len() * 8 / 6);
    let character = |index: usize| {
        let value = (index * 6..index * 6 + 6).fold(0, |value, at| value << 1 | usize::from(bit(at)));
        alphabet.get(value).copied().unwrap_or_default()
    };
    (first..end).map(character).collect()
}

#[cfg(test)]
#[path = "redact_tests.rs"]
mod tests;
