//! A sentence that is taken apart, and what can be stated.

use super::fragments::{Kind, Piece};
use crate::math;

/// What a sentence states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stated {
    /// One answer.
    One(String),
    /// Several answers, joined by the sentence.
    Several(Vec<String>),
    /// Several quantities, and nothing says which is meant.
    Open(Vec<String>),
    /// What the answer is not, its bounds, or what has yet to be made of a quantity to get it.
    Denied,
    /// No quantity.
    Nothing,
}

/// A sentence and its pieces; what the files beside this one tell of it are methods of their own.
pub(super) struct Sentence<'a> {
    pub(super) text: &'a str,
    pub(super) pieces: &'a [Piece],
}

impl Sentence<'_> {
    pub(super) fn content(&self, piece: &Piece) -> &str {
        self.text.get(piece.start..piece.end).unwrap_or("")
    }

    pub(super) fn word(&self, piece: &Piece) -> Option<String> {
        (piece.kind == Kind::Word).then(|| self.content(piece).to_lowercase())
    }

    /// Returns whether a word belongs to a sentence: no name, no unit behind a quantity, no product of letters.
    pub(super) fn is_prose_word(&self, piece: &Piece, behind_quantity: bool) -> bool {
        let word = self.content(piece);
        let lower = word.to_lowercase();
        let is_name = lower.chars().count() < 2 || lower.contains(|c: char| c.is_ascii_digit() || c == '_');
        let is_segment = word.len() <= 4 && word.bytes().all(|byte| byte.is_ascii_uppercase());
        let has_vowel = lower.contains(|c: char| matches!(c, 'a' | 'e' | 'i' | 'o' | 'u' | 'y') || !c.is_ascii());
        // `xy^2`, `abc+1`: letters that a sign goes on from.
        let is_glued = self
            .text
            .get(piece.end..)
            .is_some_and(|rest| rest.starts_with(['^', '_', '+', '=', '/', '*', '<', '>', '(']));
        let is_product = lower.len() <= 3 && word.is_ascii() && (!has_vowel || is_glued);
        let is_unit = behind_quantity && math::is_unit_word(word);
        !is_name && !is_segment && !is_product && !is_unit && !matches!(lower.as_str(), "and" | "or")
    }
}
