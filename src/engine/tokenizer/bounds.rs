//! How much text is tokenized: encoding takes some 300 bytes of memory and five microseconds per token, and as much for
//! each byte of a long word, so that a text of megabytes that no context can hold must be refused before.
//!
//! Three rules, in order of what they cost:
//!
//! 1. A text of more bytes than the longest token has, times the tokens that there is room for, cannot fit. That holds where
//!    every byte of a text is part of a token. Normalizers may shorten a text before (composition makes one code point of
//!    three at most), and some drop what they do not like, as do pre-tokenizers and markup that swallows the spaces
//!    around it: for these vocabularies the bound is [`SHRINKAGE`] times as high. A text that shrinks further is padding.
//! 2. A text of more than 256 KiB whose tokens would have to be longer than 32 bytes on average is refused, although a
//!    few tokens are longer: such a text is one letter again and again. Prose and code have 3 to 6 bytes per token. A text
//!    of more than 1 MiB may have 8.
//! 3. A text within these bounds is first encoded in windows of 64 KiB, one after the other. A cut adds a few tokens at
//!    most, so that windows which have twice the tokens that there is room for prove that the text has more than fit.
//!
//! What is left is encoded as a whole, because merges may not be cut: it has few tokens for its length, or is short.

use super::{Encoder, Vocabulary};
use crate::error::EngineError;

/// How many times shorter a text may become before it is cut into tokens, where the vocabulary's rules may shorten it.
const SHRINKAGE: usize = 4;
/// Bytes per token beyond which a long text is none.
const MEAN_TOKEN_BYTES_MAX: usize = 32;
/// A text that is long, in bytes.
const LONG_TEXT_BYTES: usize = 256 << 10;
/// A text of megabytes, and bytes per token beyond which it is none.
const HUGE_TEXT_BYTES: usize = 1 << 20;
const MEAN_TOKEN_BYTES_OF_HUGE: usize = 8;
/// Bytes that are encoded together while a text's tokens are estimated.
const WINDOW_BYTES: usize = 64 << 10;
/// Tokens that a cut between windows may add.
const TOKENS_PER_CUT: usize = 64;

impl Vocabulary {
    /// Returns the token ids of a text as [`Self::encode`] does, unless it has clearly more than `tokens_max` tokens: work
    /// and memory are bounded by that. The ids may still be more than `tokens_max`.
    ///
    /// # Errors
    /// [`EngineError::TextTooLong`]; otherwise as [`Self::encode`].
    pub fn encode_within(&self, text: &str, tokens_max: usize) -> Result<Vec<u32>, EngineError> {
        if text.len() <= WINDOW_BYTES {
            return self.encode(text);
        }
        let too_long = || EngineError::TextTooLong { bytes: text.len(), context: tokens_max };
        if !self.may_hold(text.len(), tokens_max) {
            return Err(too_long());
        }
        let mut tokens = 0_usize;
        let mut allowed = tokens_max.saturating_mul(2);
        let mut rest = text;
        while !rest.is_empty() {
            let mut end = WINDOW_BYTES.min(rest.len());
            while !rest.is_char_boundary(end) {
                end -= 1;
            }
            let (window, after) = rest.split_at(end);
            rest = after;
            allowed = allowed.saturating_add(TOKENS_PER_CUT);
            tokens = tokens.saturating_add(self.encode(window)?.len());
            if tokens > allowed {
                return Err(too_long());
            }
        }
        self.encode(text)
    }

    /// Returns whether a text of so many bytes may fit `tokens_max` tokens; it may still not, once it is tokenized.
    #[must_use]
    pub fn may_hold(&self, bytes: usize, tokens_max: usize) -> bool {
        bytes <= WINDOW_BYTES || bytes <= self.text_bytes_max(tokens_max)
    }

    /// Returns the bytes beyond which no text is tokenized where there is room for `tokens_max` tokens.
    #[must_use]
    pub fn text_bytes_max(&self, tokens_max: usize) -> usize {
        let longest = self.bytes.iter().map(|bytes| bytes.len()).max().unwrap_or(0).max(1);
        let by_longest = longest.saturating_mul(self.shrinkage()).saturating_mul(tokens_max);
        let by_mean = tokens_max.saturating_mul(MEAN_TOKEN_BYTES_MAX).max(LONG_TEXT_BYTES);
        let by_mean = by_mean.min(tokens_max.saturating_mul(MEAN_TOKEN_BYTES_OF_HUGE).max(HUGE_TEXT_BYTES));
        by_longest.min(by_mean).max(WINDOW_BYTES)
    }

    fn shrinkage(&self) -> usize {
        match &self.encoder {
            Encoder::Tokenizers(tokenizer) if tokenizer.keeps_all_bytes() => 1,
            Encoder::Tokenizers(_) => SHRINKAGE,
            // Letters without a token are left out where the vocabulary has neither bytes nor an unknown token.
            Encoder::SentencePiece(_) => SHRINKAGE,
        }
    }
}
