//! Tokens of rows as the trainer makes them, and the limits that the training configs set.
//!
//! With the model's tokenizer the counts are exact. Without it a byte counts as a token: a text has at most as many
//! tokens as bytes, so a limit may be too wide, and never cuts a row.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::render::{Cut, Rendered};
use crate::engine::{EngineError, Vocabulary};

/// The tokens of a row, as the trainer makes them, without any limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// The token ids.
    pub ids: Vec<u32>,
    /// The tokens with loss.
    pub loss: Range<usize>,
}

/// The lengths of a row, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Lengths {
    /// The text before the response.
    pub prompt: usize,
    /// The response, with the end of its turn.
    pub response: usize,
    /// The whole row.
    pub row: usize,
}

/// The multiple to which limits are rounded up.
const STEP: usize = 256;

impl Lengths {
    /// Returns the longest of each part.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            prompt: self.prompt.max(other.prompt),
            response: self.response.max(other.response),
            row: self.row.max(other.row),
        }
    }

    /// Returns the lengths of a row without a tokenizer: a token a byte.
    #[must_use]
    pub fn at_most(prompt: &str, response: &str) -> Self {
        Self { prompt: prompt.len(), response: response.len(), row: prompt.len() + response.len() }
    }
}

/// The limits of a training config, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// A whole row.
    pub row: usize,
    /// A prompt that reinforcement learning samples from.
    pub prompt: usize,
    /// A response that reinforcement learning samples: twice the longest one of the export.
    pub completion: usize,
}

impl Limits {
    /// Returns limits that hold the longest rows, rounded up. `bound` is what the user or the model's context allows.
    #[must_use]
    pub fn new(longest: Lengths, bound: Option<usize>) -> Self {
        let round = |tokens: usize| tokens.max(1).next_multiple_of(STEP).min(bound.unwrap_or(usize::MAX));
        Self { row: round(longest.row), prompt: round(longest.prompt), completion: round(2 * longest.response) }
    }
}

/// Returns the fewest tokens that a user's limit and the model's context allow, if either is known.
#[must_use]
pub fn bound(max_length: Option<usize>, context: Option<usize>) -> Option<usize> {
    max_length.into_iter().chain(context).min()
}

/// Tokenizes a row as the trainer does.
///
/// # Errors
/// [`EngineError`] if the tokenizer fails.
pub fn tokens(rendered: &Rendered, vocabulary: &Vocabulary) -> Result<Tokens, EngineError> {
    let Rendered { text, loss_start, loss_end, cut, .. } = rendered;
    let encode = |range: Range<usize>| vocabulary.encode(&text[range]);
    match *cut {
        Cut::Loss | Cut::OneEarly => {
            let mut ids = encode(0..*loss_start)?;
            let start = ids.len();
            ids.extend(encode(*loss_start..*loss_end)?);
            let end = ids.len();
            ids.extend(encode(*loss_end..text.len())?);
            let early = usize::from(*cut == Cut::OneEarly);
            Ok(Tokens { ids, loss: start.saturating_sub(early)..end.saturating_sub(early) })
        }
        Cut::Turn(at) => {
            let mut ids = encode(0..at)?;
            let start = ids.len() + encode(at..*loss_start)?.len();
            ids.extend(encode(at..text.len())?);
            Ok(Tokens { loss: start.min(ids.len())..ids.len(), ids })
        }
        Cut::Span => {
            let ids = encode(0..text.len())?;
            let mut at = 0;
            let ends: Vec<usize> = ids
                .iter()
                .map(|id| {
                    at += vocabulary.token_bytes(*id).len();
                    at
                })
                .collect();
            let start = ends.iter().filter(|end| **end <= *loss_start).count();
            let end = ends.iter().filter(|end| **end < *loss_end).count() + 1;
            Ok(Tokens { loss: start..end.min(ids.len()), ids })
        }
        Cut::Whole => {
            let ids = encode(0..text.len())?;
            let prompt = vocabulary.encode(rendered.stray_prompt.as_deref().unwrap_or(&text[..*loss_start]))?;
            let shared = ids.iter().zip(&prompt).take_while(|(left, right)| left == right).count();
            Ok(Tokens { loss: shared..ids.len(), ids })
        }
    }
}
