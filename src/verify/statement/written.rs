//! Numbers in words, for sentences without digits.

use super::fragments::Kind;
use super::quantities::{is_circumstance, is_denied};
use super::sentence::{Sentence, Stated};
use crate::words;

impl Sentence<'_> {
    /// Returns the numbers in words that a sentence without digits states.
    pub(super) fn written(&self) -> Stated {
        let mut found = Vec::new();
        let mut before: Vec<String> = Vec::new();
        let mut at = 0;
        while let Some(piece) = self.pieces.get(at) {
            let run = self
                .pieces
                .get(at..)
                .unwrap_or_default()
                .iter()
                .take_while(|piece| piece.kind == Kind::Word)
                .take(8)
                .count();
            let longest = (1..=run).rev().find_map(|count| {
                let last = self.pieces.get(at + count - 1)?;
                let text = self.text.get(piece.start..last.end)?;
                words::number(text).map(|_| (count, text.to_owned()))
            });
            match longest {
                // "one" alone is a pronoun, unless a verb leads to it and nothing follows.
                Some((count, text)) if !text.eq_ignore_ascii_case("one") || self.is_count(at, &before) => {
                    let denied = is_denied(&before)
                        || self.is_bounded(&before, self.pieces, at + count)
                        || self.is_refuted(self.pieces, at + count);
                    found.push((text, denied, is_circumstance(&before, !found.is_empty())));
                    before.clear();
                    at += count;
                }
                _ => {
                    match piece.kind {
                        Kind::Word => before.push(self.content(piece).to_lowercase()),
                        _ => before.clear(),
                    }
                    at += 1;
                }
            }
        }
        if found.is_empty() {
            return Stated::Nothing;
        }
        if found.iter().all(|(_, denied, _)| *denied) {
            return Stated::Denied;
        }
        found.retain(|(_, denied, _)| !denied);
        if found.iter().any(|(.., circumstance)| !circumstance) {
            found.retain(|(.., circumstance)| !circumstance);
        }
        let mut texts: Vec<String> = found.into_iter().map(|(text, ..)| text).collect();
        match (texts.len(), texts.pop()) {
            (1, Some(only)) => Stated::One(only),
            (_, last) => Stated::Open(texts.into_iter().chain(last).collect()),
        }
    }

    fn is_count(&self, at: usize, before: &[String]) -> bool {
        let ends = self.pieces.get(at + 1).is_none_or(|next| matches!(next.kind, Kind::Mark(_)));
        (before.is_empty() && at == 0 && ends)
            || (ends && before.last().is_some_and(|word| matches!(word.as_str(), "is" | "are" | "exactly" | "only")))
    }
}
