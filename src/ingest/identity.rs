//! Ids for rows without an id, and the detection of repeated ids.
//!
//! The content of a row is hashed over a length-prefixed encoding, so that no two different rows have the same
//! encoding. Memory: one entry of 48 bytes per query in a hash table, which takes 56 to 112 bytes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

use super::row::Body;
use crate::domain::Kind;
use crate::domain::digest::PartsHasher;

/// The version of the encoding. A change of the encoding changes every id that was made from content.
const ENCODING: &str = "thinkloom.query.v1";
/// Hex digits of an id made from content: 128 bits.
const ID_DIGITS: usize = 32;

/// The SHA-256 of a row's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ContentHash([u8; 32]);

impl ContentHash {
    /// Hashes question, kind, gold, choices, tests, and the requirements of the tests.
    ///
    /// The question is normalized first: NFC, trimmed, and every run of whitespace as one space, except in code, where
    /// layout has a meaning.
    pub(super) fn of(body: &Body) -> Self {
        let question = normalized(&body.question, body.kind);
        let mut hasher = PartsHasher::of([ENCODING, &question, body.kind.name(), &body.gold]);
        for list in [&body.choices, &body.tests] {
            hasher.add_count(list.len());
            hasher.add_all(list.iter().map(String::as_str));
        }
        // Rows without these fields keep the ids that they had before these fields were read.
        if !body.test_imports.is_empty() || body.entry_point.is_some() {
            hasher.add(body.entry_point.as_deref().unwrap_or_default());
            hasher.add_all(body.test_imports.iter().map(String::as_str));
        }
        Self(hasher.finish())
    }

    /// Returns the id for a row without an id: the first 32 hex digits.
    pub(super) fn to_id(self) -> String {
        let mut digits = hex::encode(self.0);
        digits.truncate(ID_DIGITS);
        digits
    }
}

fn normalized(question: &str, kind: Kind) -> String {
    let composed: String = question.trim().nfc().collect();
    if kind == Kind::Code {
        return composed;
    }
    composed.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The place where an id was first seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FirstSeen {
    pub(super) file: u32,
    pub(super) line: u64,
    /// Whether the content was the same.
    pub(super) same_content: bool,
}

struct Seen {
    content: [u8; 16],
    file: u32,
    line: u64,
}

/// The ids of all queries so far.
#[derive(Default)]
pub(super) struct SeenIds {
    by_id: HashMap<[u8; 16], Seen>,
}

impl SeenIds {
    /// Returns whether an id is known.
    pub(super) fn is_known(&self, id: &str) -> bool {
        self.by_id.contains_key(&half(Sha256::digest(id.as_bytes()).into()))
    }

    /// Stores an id, or returns the place where it was first seen.
    pub(super) fn note(&mut self, id: &str, content: ContentHash, file: u32, line: u64) -> Option<FirstSeen> {
        let content = half(content.0);
        match self.by_id.entry(half(Sha256::digest(id.as_bytes()).into())) {
            Entry::Vacant(entry) => {
                entry.insert(Seen { content, file, line });
                None
            }
            Entry::Occupied(entry) => {
                let first = entry.get();
                Some(FirstSeen { file: first.file, line: first.line, same_content: first.content == content })
            }
        }
    }
}

impl SeenIds {
    /// Stores an id again that an earlier reading of the same files stored; see [`note`].
    pub(super) fn remember(&mut self, note: &[u8; NOTE_BYTES]) {
        let part = |start: usize, length: usize| note.get(start..start + length).unwrap_or_default();
        let key = |start: usize| part(start, 16).try_into().unwrap_or_default();
        let number = |start, length| part(start, length).iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        let (file, line) = (u32::try_from(number(32, 4)).unwrap_or(u32::MAX), number(36, 8));
        self.by_id.insert(key(0), Seen { content: key(16), file, line });
    }
}

/// The size of a note.
pub const NOTE_BYTES: usize = 44;

/// Returns the argument of [`SeenIds::remember`]: hashes of id and content, file and line.
pub(super) fn note(id: &str, content: ContentHash, file: u32, line: u64) -> [u8; NOTE_BYTES] {
    let id = half(Sha256::digest(id.as_bytes()).into());
    let mut note = [0; NOTE_BYTES];
    let bytes = id.into_iter().chain(half(content.0)).chain(file.to_le_bytes()).chain(line.to_le_bytes());
    note.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    note
}

/// Keeps 128 bits: a collision among a billion ids has a chance of about 1 in 10^21.
fn half(hash: [u8; 32]) -> [u8; 16] {
    let mut first = [0; 16];
    first.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(question: &str) -> Body {
        Body {
            kind: Kind::Text,
            question: question.to_owned(),
            gold: "g".to_owned(),
            choices: Vec::new(),
            tests: Vec::new(),
            test_imports: Vec::new(),
            entry_point: None,
        }
    }

    fn id(body: &Body) -> String {
        ContentHash::of(body).to_id()
    }

    #[test]
    fn content_id_is_32_hex_digits_and_stable_over_releases() {
        assert_eq!(id(&body("What is 1 + 1?")), "cdab6c6aae3f803a25a1279905fc358d");
    }

    #[test]
    fn whitespace_and_composition_do_not_change_the_id_but_for_whitespace_in_code() {
        assert_eq!(id(&body("a  b\n c")), id(&body(" a b c ")));
        assert_eq!(id(&body("caf\u{e9}")), id(&body("cafe\u{301}")));
        assert_ne!(id(&body("x\u{b2}")), id(&body("x2")));
        let code = |question: &str| Body { kind: Kind::Code, ..body(question) };
        assert_ne!(id(&code("if a:\n    b\nc")), id(&code("if a:\n    b\n    c")));
    }

    #[test]
    fn every_field_of_the_content_changes_the_id() {
        let base = Body { choices: vec!["ab".to_owned(), "c".to_owned()], ..body("q") };
        let others = [
            Body { question: "q2".to_owned(), ..base.clone() },
            Body { kind: Kind::Math, ..base.clone() },
            Body { gold: "h".to_owned(), ..base.clone() },
            Body { choices: vec!["a".to_owned(), "bc".to_owned()], ..base.clone() },
            Body { choices: vec!["ab".to_owned()], tests: vec!["c".to_owned()], ..base.clone() },
            Body { test_imports: vec!["c".to_owned()], ..base.clone() },
            Body { entry_point: Some("c".to_owned()), ..base.clone() },
        ];
        for other in &others {
            assert_ne!(id(&base), id(other), "{other:?}");
        }
    }

    #[test]
    fn an_id_seen_twice_reports_its_first_place_and_whether_the_content_is_the_same() {
        let (one, two) = (ContentHash::of(&body("one")), ContentHash::of(&body("two")));
        let mut seen = SeenIds::default();
        assert_eq!(seen.note("x", one, 0, 3), None);
        assert_eq!(seen.note("y", one, 0, 4), None);
        assert_eq!(seen.note("x", one, 1, 5), Some(FirstSeen { file: 0, line: 3, same_content: true }));
        assert_eq!(seen.note("x", two, 1, 6), Some(FirstSeen { file: 0, line: 3, same_content: false }));
    }

    #[test]
    fn a_remembered_id_is_as_good_as_one_that_was_read() {
        let one = ContentHash::of(&body("one"));
        let mut seen = SeenIds::default();
        seen.remember(&note("x", one, 7, 1 << 40));
        assert_eq!(seen.note("x", one, 8, 1), Some(FirstSeen { file: 7, line: 1 << 40, same_content: true }));
    }
}
