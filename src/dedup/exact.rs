//! Exact duplicates: questions that differ only in how they are typed.
//!
//! Two queries are duplicates if their kind, their normalised question and their normalised choices, in order, are
//! equal. The gold is no part of it: the same question with another gold is a duplicate that contradicts.
//!
//! # Normalisation
//! Losing a question is worse than keeping one twice, so nothing that could carry meaning is touched: no punctuation,
//! bracket or sign is removed, `arccos(-1)` is not `arccos 1`, `[0,1)` not `(0,1]`, `5!` not `5`.
//! 1. Canonical composition (NFC). Not NFKC, which would turn x\u{b2} into x2 and 1\u{bd} into 11/2.
//! 2. Line ends become line feeds.
//! 3. Kind `code`, and any text that holds a fenced block: leading and trailing blank lines go, and so does
//!    whitespace at the very end. All else stays, since layout and letter case are part of a program.
//! 4. All other text:
//!    - characters without any width that only steer line breaks (U+00AD, U+200B, U+2060, U+FEFF) go;
//!    - curly and low quotes become straight ones; hyphens (U+2010, U+2011), the en dash and the minus sign become
//!      `-`. Primes and the em dash stay: f\u{2032} is a derivative, and an em dash is never a minus;
//!    - every run of whitespace becomes one space, and none is left at the ends;
//!    - letter case is folded if the text is plain prose, see below.
//!
//! # Plain prose
//! Case is folded only where it cannot tell two things apart. The text must be ASCII letters, digits, spaces and
//! `. , ; : ? ! ' " ( ) -`, besides `$` before and `%` after a digit (prices, shares). And every word must
//! - not touch a digit (`H2O`, `5m`, `x2`);
//! - have three letters or more, or be one of the common short words of English (`x`, `Co`, `kB`, `mg` are not);
//! - be in lower case or capitalised, unless no letter of the text is in lower case (`AIDS`, `mRNA`; but a whole
//!   question in capitals is folded); a common short word in the middle of a sentence must be in lower case (`US`,
//!   `In`, `He`, `As` may be symbols).

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

use crate::domain::{Kind, Query, QueryId};

/// English words of one or two letters that may stand in plain prose; all other short words may be symbols.
const SHORT_WORDS: &[&str] = &[
    "a", "i", "am", "an", "as", "at", "be", "by", "do", "go", "he", "if", "in", "is", "it", "me", "my", "no", "of",
    "on", "or", "so", "to", "up", "us", "we", "s", "t", "ll", "re", "ve",
];

/// A query whose question was seen before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicate {
    /// The first query with this question.
    pub of: QueryId,
    /// Whether the golds differ, compared as text with whitespace runs as one space (`5` and `5.0` differ).
    pub conflicting_gold: bool,
}

/// The questions seen so far, each with the first query that asked it.
///
/// Memory: about 120 bytes per question, and its id.
#[derive(Debug, Default)]
pub struct ExactIndex {
    first_by_key: HashMap<[u8; 32], First>,
}

#[derive(Debug)]
struct First {
    id: QueryId,
    gold: [u8; 32],
}

impl ExactIndex {
    /// Builds an index without any question.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the query that this one repeats; the first query with a question is kept and returns nothing.
    pub fn insert(&mut self, query: &Query) -> Option<Duplicate> {
        let gold: String = query.gold.nfc().collect();
        let gold: [u8; 32] = Sha256::digest(collapse_whitespace(&gold).as_bytes()).into();
        match self.first_by_key.entry(exact_key(query)) {
            Entry::Vacant(entry) => {
                entry.insert(First { id: query.id.clone(), gold });
                None
            }
            Entry::Occupied(entry) => {
                let first = entry.get();
                Some(Duplicate { of: first.id.clone(), conflicting_gold: first.gold != gold })
            }
        }
    }

    /// Returns how many different questions were seen.
    #[must_use]
    pub fn len(&self) -> usize {
        self.first_by_key.len()
    }

    /// Returns whether no question was seen yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first_by_key.is_empty()
    }
}

/// Returns the key that two queries share exactly if they are exact duplicates: a SHA-256 over the length-prefixed
/// kind, normalised question and normalised choices.
#[must_use]
pub fn exact_key(query: &Query) -> [u8; 32] {
    let mut hasher = Sha256::new();
    let mut add = |text: &str| {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    add(query.kind.name());
    add(&normalize(&query.question, query.kind));
    for choice in &query.choices {
        add(&normalize(choice, query.kind));
    }
    hasher.finalize().into()
}

fn normalize(text: &str, kind: Kind) -> String {
    let text: String = text.replace("\r\n", "\n").replace('\r', "\n").nfc().collect();
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

/// Returns whether letter case carries no meaning in a text whose whitespace is collapsed; see the module's rule.
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
    // "I" is a capital anywhere.
    let may_be_capital = starts_sentence && is_capitalised || word == "I";
    is_common && (is_in_capitals || is_lower(word) || may_be_capital)
}

#[cfg(test)]
#[path = "exact_tests.rs"]
mod tests;
