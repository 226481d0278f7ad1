//! Pre-tokenizers by the name that GGUF files give them (`tokenizer.ggml.pre`): how text is cut before merging.
//!
//! The patterns are those of the models' own `tokenizer.json`, which llama.cpp writes as the originals of its own. A
//! wrong one raises no error and only makes the ids subtly wrong, so a name that is not listed is refused.

use tokenizers::NormalizerWrapper;
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::digits::Digits;

use super::cut::{Cut, Step};
use super::pattern::{GPT2, LLAMA3, Pattern, QWEN2, TEKKEN};

/// Names that are known. `tests/tools/tokenizer_oracle.py` checks ids with real vocabularies.
pub const KNOWN: &str = "smollm, gpt-2, llama-bpe, llama3, llama-v3, smaug-bpe, lfm2, qwen2, deepseek-r1-qwen, tekken";

/// How text is cut and normalised before merging, and whether a piece that is a token as a whole skips the merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    pattern: &'static str,
    /// Whether digits are cut one by one before the pattern sees them.
    cuts_digits: bool,
    normalizes: bool,
    /// Vocabularies that were not learnt as merges have tokens which no chain of merges reaches.
    pub ignores_merges: bool,
}

impl Recipe {
    /// Returns the recipe of a name, if it is known.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        let recipe = |pattern| Self { pattern, cuts_digits: false, normalizes: false, ignores_merges: false };
        let whole = |pattern| Self { ignores_merges: true, ..recipe(pattern) };
        match name {
            "gpt-2" => Some(recipe(GPT2)),
            "smollm" => Some(Self { cuts_digits: true, ..recipe(GPT2) }),
            "llama-bpe" | "llama3" | "llama-v3" | "lfm2" => Some(whole(LLAMA3)),
            "smaug-bpe" => Some(recipe(LLAMA3)),
            "qwen2" => Some(Self { normalizes: true, ..recipe(QWEN2) }),
            "deepseek-r1-qwen" => Some(recipe(QWEN2)),
            "tekken" => Some(whole(TEKKEN)),
            _ => None,
        }
    }

    /// Returns how text is cut.
    ///
    /// # Errors
    /// A text, if the pattern is not run here.
    pub fn cut(self) -> Result<Cut, String> {
        let digits = self.cuts_digits.then(|| Step::Library(Digits::new(true).into()));
        let steps = [Step::isolating(Pattern::new(self.pattern)?), Step::bytes()];
        Ok(Cut::new(digits.into_iter().chain(steps).collect()))
    }

    /// Returns how text is normalised.
    #[must_use]
    pub fn normalizer(self) -> Option<NormalizerWrapper> {
        self.normalizes.then(|| NFC.into())
    }
}
