//! Exact duplicates: questions that differ only in typing.
//!
//! Two queries are duplicates if their kinds, their normalised questions and their normalised choices, in order, are
//! equal. The gold does not matter: the same question with another gold is a contradicting duplicate.
//!
//! # Normalisation
//! Losing a question is worse than keeping one twice, so normalisation touches nothing that could carry meaning: it
//! removes no punctuation, bracket or sign. `arccos(-1)` is not `arccos 1`, `[0,1)` is not `(0,1]`, `5!` is not `5`.
//! 1. Canonical composition (NFC). NFKC would turn x\u{b2} into x2 and 1\u{bd} into 11/2.
//! 2. Line ends become line feeds.
//! 3. Kind `code`, and any text with a fenced block: leading and trailing blank lines are removed, and so is whitespace
//!    at the very end. The rest stays, since layout and letter case are part of a program.
//! 4. All other text:
//!    - invisible characters that only control line breaks (U+00AD, U+200B, U+2060, U+FEFF) are removed;
//!    - curly and low quotes become straight ones; hyphens (U+2010, U+2011), the en dash and the minus sign become `-`.
//!      Primes and the em dash stay: f\u{2032} is a derivative, and an em dash is never a minus;
//!    - every run of whitespace becomes one space, and the ends are trimmed;
//!    - letter case is folded if the text is plain prose, see below.
//!
//! # Plain prose
//! Case is folded only if case cannot distinguish two things. The text must consist of ASCII letters, digits, spaces
//! and `. , ; : ? ! ' " ( ) -`, with `$` before and `%` after a digit (prices, shares). Every word must
//! - not touch a digit (`H2O`, `5m`, `x2`);
//! - have three letters or more, or be one of the common short words of English (`x`, `Co`, `kB`, `mg` are not);
//! - be in lower case or capitalised, unless no letter of the text is in lower case (`AIDS` and `mRNA` fail, but a
//!   question all in capitals is folded); a common short word in the middle of a sentence must be in lower case (`US`,
//!   `In`, `He`, `As` may be symbols).

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;

use crate::domain::Kind;
use crate::domain::digest::PartsHasher;

/// English words of one or two letters that plain prose may contain; all other short words may be symbols.
const SHORT_WORDS: &[&str] = &[
    "a", "i", "am", "an", "as", "at", "be", "by", "do", "go", "he", "if", "in", "is", "it", "me", "my", "no", "of",
    "on", "or", "so", "to", "up", "us", "we", "s", "t", "ll", "re", "ve",
];

/// Returns the key of exact duplicates: the first half of a SHA-256 over the length-prefixed kind, normalised question
/// and normalised choices. Among a billion queries, the chance that two different ones share a key is about 1 in 10^21.
#[must_use]
pub fn exact_key(kind: Kind, question: &str, choices: &[String]) -> u128 {
    let mut hasher = PartsHasher::of([kind.name(), &normalize(question, kind)]);
    for choice in choices {
        hasher.add(&normalize(choice, kind));
    }
    hasher.finish().iter().take(16).fold(0, |key, &byte| key << 8 | u128::from(byte))
}

fn normalize(text: &str, kind: Kind) -> String {
    let text = compose(text);
    if kind == Kind::Code || text.contains("```") {
        return trim_blank_lines(&text).to_owned();
    }
    let typed: String = text.chars().filter_map(plain_character).collect();
    let mut text = collapse_whitespace(&typed);
    if is_plain_prose(&text) {
        text.make_ascii_lowercase();
    }
    text
}

/// Converts line ends to line feeds and composes letters; most texts need no change.
fn compose(text: &str) -> Cow<'_, str> {
    if !text.contains('\r') {
        return if text.is_ascii() { Cow::Borrowed(text) } else { Cow::Owned(text.nfc().collect()) };
    }
    Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n").nfc().collect())
}

/// Trims blank lines at the beginning, so that the first line keeps its indentation, and whitespace at the end.
fn trim_blank_lines(text: &str) -> &str {
    let text = text.trim_end();
    let indentation = text.len() - text.trim_start().len();
    let first_line = text.get(..indentation).and_then(|blank| blank.rfind('\n')).map_or(0, |newline| newline + 1);
    text.get(first_line..).unwrap_or(text)
}

fn plain_character(character: char) -> Option<char> {
    match character {
        '\u{ad}' | '\u{200b}' | '\u{2060}' | '\u{feff}' => None,
        '\u{2018}'..='\u{201b}' => Some('\''),
        '\u{201c}'..='\u{201f}' => Some('"'),
        '\u{2010}' | '\u{2011}' | '\u{2013}' | '\u{2212}' => Some('-'),
        other => Some(other),
    }
}

fn collapse_whitespace(text: &str) -> String {
    let mut collapsed = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !collapsed.is_empty() {
            collapsed.push(' ');
        }
        collapsed.push_str(word);
    }
    collapsed
}

/// Returns whether letter case carries no meaning in a text with collapsed whitespace; see the module's rule.
fn is_plain_prose(text: &str) -> bool {
    let is_in_capitals = !text.bytes().any(|byte| byte.is_ascii_lowercase());
    let bytes = text.as_bytes();
    let before = |index: usize| index.checked_sub(1).and_then(|index| bytes.get(index)).copied();
    let is_digit = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_digit());
    let mut starts_sentence = true;
    let mut word_start = None;
    for index in 0..=bytes.len() {
        let byte = bytes.get(index).copied();
        if byte.is_some_and(|byte| byte.is_ascii_alphabetic()) {
            word_start.get_or_insert(index);
            continue;
        }
        if let Some(start) = word_start.take() {
            let word = text.get(start..index).unwrap_or_default();
            if is_digit(before(start)) || is_digit(byte) || !is_plain_word(word, is_in_capitals, starts_sentence) {
                return false;
            }
            starts_sentence = false;
        }
        match byte {
            None | Some(b' ' | b',' | b';' | b':' | b'\'' | b'"' | b'(' | b')' | b'-') => {}
            Some(b'.' | b'?' | b'!') => starts_sentence = true,
            Some(b'0'..=b'9') => starts_sentence = false,
            Some(b'$') if is_digit(bytes.get(index + 1).copied()) => {}
            Some(b'%') if is_digit(before(index)) => {}
            Some(_) => return false,
        }
    }
    true
}

fn is_plain_word(word: &str, is_in_capitals: bool, starts_sentence: bool) -> bool {
    let is_lower = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase());
    let is_capitalised = word.get(1..).is_some_and(is_lower);
    if word.len() > 2 {
        return is_in_capitals || is_capitalised;
    }
    let is_common = SHORT_WORDS.iter().any(|common| word.eq_ignore_ascii_case(common));
    // "I" is a capital at any position.
    let may_be_capital = starts_sentence && is_capitalised || word == "I";
    is_common && (is_in_capitals || is_lower(word) || may_be_capital)
}

#[cfg(test)]
#[path = "exact_tests.rs"]
mod tests;
