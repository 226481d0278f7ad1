//! Bounds on the texts that are tokenized. Encoding takes about 300 bytes of memory and five microseconds per token,
//! and the same for each byte of a long word, so a text of megabytes that no context can hold must be rejected before
//! it is encoded.
//!
//! Three rules, the cheapest first:
//!
//! 1. A text cannot fit if it has more bytes than the longest token has, times the available tokens. This holds if
//!    every byte of a text is part of a token. Normalizers may shorten a text first (composition makes one code point
//!    of at most three), and some normalizers drop characters, as do pre-tokenizers and markup that consumes the spaces
//!    around it: for these vocabularies the bound is [`SHRINKAGE`] times as high. A text that shrinks further is
//!    padding.
//! 2. A text of more than 256 KiB is rejected if its tokens would have to be longer than 32 bytes on average: such a
//!    text repeats one letter, even though a few tokens are longer. Prose and code have 3 to 6 bytes per token. A text
//!    of more than 1 MiB may have 8 bytes per token.
//! 3. A text within these bounds is first encoded in windows of 64 KiB, one after the other. A cut adds a few tokens at
//!    most, so windows with twice the available tokens prove that the text has too many tokens.
//!
//! A text that passes is encoded as a whole, because merges may not be cut: it has few tokens for its length, or is
//! short.

use super::{Encoder, Vocabulary};
use crate::error::EngineError;

/// Factor by which a vocabulary's rules may shorten a text before it is cut into tokens.
const SHRINKAGE: usize = 4;
/// Bytes per token above which a long text is rejected.
const MEAN_TOKEN_BYTES_MAX: usize = 32;
/// Length of a long text, in bytes.
const LONG_TEXT_BYTES: usize = 256 << 10;
/// Length of a huge text, in bytes; [`MEAN_TOKEN_BYTES_OF_HUGE`] is the limit of its bytes per token.
const HUGE_TEXT_BYTES: usize = 1 << 20;
const MEAN_TOKEN_BYTES_OF_HUGE: usize = 8;
/// Bytes that are encoded together while the tokens of a text are estimated.
const WINDOW_BYTES: usize = 64 << 10;
/// Tokens that a cut between windows may add.
const TOKENS_PER_CUT: usize = 64;

impl Vocabulary {
    /// Returns the token ids of a text as [`Self::encode`] does, unless the text clearly has more than `tokens_max`
    /// tokens; this check bounds work and memory. The result may still have more than `tokens_max` ids.
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

    /// Returns whether a text of `bytes` bytes may fit into `tokens_max` tokens. Tokenizing may still show that it does
    /// not.
    #[must_use]
    pub fn may_hold(&self, bytes: usize, tokens_max: usize) -> bool {
        bytes <= WINDOW_BYTES || bytes <= self.text_bytes_max(tokens_max)
    }

    /// Returns the length in bytes above which no text is tokenized if `tokens_max` tokens are available.
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
            // Letters without a token are dropped if the vocabulary has neither byte tokens nor an unknown token.
            Encoder::SentencePiece(_) => SHRINKAGE,
        }
    }
}
