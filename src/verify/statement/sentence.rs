//! A sentence split into pieces, and the possible statements.

use super::fragments::{Kind, Piece};
use crate::math;

/// The statement of a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stated {
    /// One answer.
    One(String),
    /// Several answers, joined by the sentence.
    Several(Vec<String>),
    /// Several quantities without a stated choice between them.
    Open(Vec<String>),
    /// The sentence only denies or bounds an answer, or leaves an operation on a quantity undone.
    Denied,
    /// No quantity.
    Nothing,
}

/// A sentence and its pieces; the other files of this directory add methods.
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

    /// Returns whether a word is prose: not a name, not a unit after a quantity, not a product of letters.
    pub(super) fn is_prose_word(&self, piece: &Piece, behind_quantity: bool) -> bool {
        let word = self.content(piece);
        let lower = word.to_lowercase();
        let is_name = lower.chars().count() < 2 || lower.contains(|c: char| c.is_ascii_digit() || c == '_');
        let is_segment = word.len() <= 4 && word.bytes().all(|byte| byte.is_ascii_uppercase());
        let has_vowel = lower.contains(|c: char| matches!(c, 'a' | 'e' | 'i' | 'o' | 'u' | 'y') || !c.is_ascii());
        // `xy^2`, `abc+1`: letters that a sign follows.
        let is_glued = self
            .text
            .get(piece.end..)
            .is_some_and(|rest| rest.starts_with(['^', '_', '+', '=', '/', '*', '<', '>', '(']));
        let is_product = lower.len() <= 3 && word.is_ascii() && (!has_vowel || is_glued);
        let is_unit = behind_quantity && math::is_unit_word(word);
        !is_name && !is_segment && !is_product && !is_unit && !matches!(lower.as_str(), "and" | "or")
    }
}
