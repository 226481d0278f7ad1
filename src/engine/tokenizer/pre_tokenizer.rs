//! Pre-tokenizers by their name in GGUF files (`tokenizer.ggml.pre`): they define how text is cut before merging.
//!
//! The patterns come from the models' own `tokenizer.json`; llama.cpp documents them as the originals of its patterns.
//! A wrong pattern raises no error and only makes the ids subtly wrong, so a name that is not listed is rejected.

use tokenizers::NormalizerWrapper;
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::digits::Digits;

use super::cut::{Cut, Step};
use super::pattern::{GPT2, LLAMA3, Pattern, QWEN2, TEKKEN};

/// Supported names. `tests/tools/tokenizer_oracle.py` checks the ids with real vocabularies.
pub(super) const KNOWN: &str =
    "smollm, gpt-2, llama-bpe, llama3, llama-v3, smaug-bpe, lfm2, qwen2, deepseek-r1-qwen, tekken";

/// How text is cut and normalized before merging, and whether a piece that is a token as a whole skips the merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recipe {
    pattern: &'static str,
    /// Whether a separate step cuts out single digits before the pattern runs.
    cuts_digits: bool,
    normalizes: bool,
    /// True for vocabularies that were not learned as merges: some of their tokens cannot be reached by merges.
    pub ignores_merges: bool,
}

impl Recipe {
    /// Returns the recipe with this name, if the name is supported.
    #[must_use]
    pub(super) fn by_name(name: &str) -> Option<Self> {
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

    /// Returns the steps that cut text.
    ///
    /// # Errors
    /// A message, if the pattern is not supported.
    pub(super) fn cut(self) -> Result<Cut, String> {
        let digits = self.cuts_digits.then(|| Step::Library(Digits::new(true).into()));
        let steps = [Step::isolating(Pattern::new(self.pattern)?), Step::bytes()];
        Ok(Cut::new(digits.into_iter().chain(steps).collect()))
    }

    /// Returns the normalizer, if the recipe has one.
    #[must_use]
    pub(super) fn normalizer(self) -> Option<NormalizerWrapper> {
        self.normalizes.then(|| NFC.into())
    }
}
