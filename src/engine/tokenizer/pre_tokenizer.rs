//! Pre-tokenizers by the name that GGUF files give them (`tokenizer.ggml.pre`): how text is cut before merging.
//!
//! The patterns are those of the models' own `tokenizer.json`, which llama.cpp writes as the originals of its own. A
//! wrong one raises no error and only makes the ids subtly wrong, so a name that is not listed is refused.

use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{SplitDelimiterBehavior, Tokenizer};

/// Names that are known. `tests/tools/tokenizer_oracle.py` checks ids with real vocabularies.
pub const KNOWN: &str = "smollm, gpt-2, llama-bpe, llama3, llama-v3, smaug-bpe, lfm2, qwen2, deepseek-r1-qwen, tekken";

const LLAMA3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
const TEKKEN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

/// How text is cut and normalised before merging, and whether a piece that is a token as a whole skips the merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    cut: Cut,
    normalizes: bool,
    /// Vocabularies that were not learnt as merges have tokens which no chain of merges reaches.
    pub ignores_merges: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// GPT-2's pattern.
    Gpt2,
    /// Digits one by one, then GPT-2's pattern.
    DigitsGpt2,
    /// A pattern of the model's own.
    Pattern(&'static str),
}

impl Recipe {
    /// Returns the recipe of a name, if it is known.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        let recipe = |cut| Self { cut, normalizes: false, ignores_merges: false };
        let whole = |cut| Self { ignores_merges: true, ..recipe(cut) };
        match name {
            "gpt-2" => Some(recipe(Cut::Gpt2)),
            "smollm" => Some(recipe(Cut::DigitsGpt2)),
            "llama-bpe" | "llama3" | "llama-v3" | "lfm2" => Some(whole(Cut::Pattern(LLAMA3))),
            "smaug-bpe" => Some(recipe(Cut::Pattern(LLAMA3))),
            "qwen2" => Some(Self { normalizes: true, ..recipe(Cut::Pattern(QWEN2)) }),
            "deepseek-r1-qwen" => Some(recipe(Cut::Pattern(QWEN2))),
            "tekken" => Some(whole(Cut::Pattern(TEKKEN))),
            _ => None,
        }
    }

    /// Sets a tokenizer up.
    ///
    /// # Errors
    /// The library's, if it does not take the pattern.
    pub fn apply(self, tokenizer: &mut Tokenizer) -> tokenizers::Result<()> {
        let mut steps: Vec<PreTokenizerWrapper> = Vec::new();
        match self.cut {
            Cut::Gpt2 => {}
            Cut::DigitsGpt2 => steps.push(Digits::new(true).into()),
            Cut::Pattern(pattern) => {
                let pattern = SplitPattern::Regex(pattern.to_owned());
                steps.push(Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?.into());
            }
        }
        let uses_gpt2 = !matches!(self.cut, Cut::Pattern(_));
        steps.push(ByteLevel::new(false, true, uses_gpt2).into());
        tokenizer.with_pre_tokenizer(Some(Sequence::new(steps)));
        if self.normalizes {
            tokenizer.with_normalizer(Some(NFC))?;
        }
        Ok(())
    }
}
