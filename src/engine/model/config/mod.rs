//! The shape of a decoder: one description for the llama family, whatever file it was read from.

mod gguf;
mod huggingface;
mod rope;
#[cfg(test)]
mod tests;

use crate::error::shown;

pub use rope::{RopeConfig, RopeLayout, RopeScaling};

/// Widths of the residual stream and of the feed-forward part; models have up to 65,536.
const WIDTH_MAX: usize = 1 << 22;
/// Heads of a layer; models have up to 128.
const HEADS_MAX: usize = 1 << 16;
/// Width of a head; models have up to 256.
const HEAD_DIM_MAX: usize = 1 << 14;
/// Tokens; models have up to 262,208.
const VOCABULARY_MAX: usize = 1 << 24;
/// Positions; models state up to ten million.
const CONTEXT_MAX: usize = 1 << 28;
/// Characters of a model's name that are kept.
const NAME_CHARS_MAX: usize = 200;

/// Shapes and constants of a decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// `general.name`, or the architecture if the file has none; of a directory its name.
    pub name: String,
    /// Architecture by its GGUF name: `llama` (also Mistral), `mistral3`, `qwen2`, `qwen3`, `smollm3`.
    pub architecture: String,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward part.
    pub ffn: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head; even.
    pub head_dim: usize,
    /// Tokens in the vocabulary.
    pub vocabulary: usize,
    /// Positions the model was trained for.
    pub context: usize,
    /// Epsilon of the root-mean-square norms.
    pub epsilon: f32,
    /// Rotary position embedding.
    pub rope: RopeConfig,
    /// What differs from layer to layer, one entry per layer.
    pub layers: Vec<LayerKind>,
}

/// What differs from layer to layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerKind {
    /// Whether queries and keys are rotated (SmolLM3 leaves every fourth layer without).
    pub uses_rope: bool,
    /// How many positions, its own included, a position attends to; `None` is all.
    pub window: Option<usize>,
}

/// Head counts and widths as a file states them.
struct Heads {
    heads: usize,
    kv_heads: usize,
    /// Stated width of a head.
    head_dim: Option<usize>,
}

impl Heads {
    /// Returns the width of a head; an error text if the decoder cannot do with the numbers.
    fn head_dim(&self, hidden: usize) -> Result<usize, String> {
        let Self { heads, kv_heads, head_dim } = *self;
        if !heads.is_multiple_of(kv_heads) {
            return Err(format!("{heads} query heads are no multiple of {kv_heads} key heads"));
        }
        let width = match head_dim {
            Some(width) => width,
            None if hidden.is_multiple_of(heads) => hidden / heads,
            None => return Err(format!("a width of {hidden} cannot be divided among {heads} heads")),
        };
        if width.is_multiple_of(2) { Ok(width) } else { Err(format!("a head width of {width} is odd")) }
    }
}

/// Returns a name out of a file as it can be shown.
fn shown_name(name: &str) -> String {
    shown(name).chars().take(NAME_CHARS_MAX).collect()
}

/// Checks the epsilon of norms, which keeps a vector of zeros from being divided by its length; an error text if it does not.
fn check_epsilon(epsilon: f32) -> Result<f32, String> {
    let is_sane = epsilon > 0.0 && epsilon <= 0.1;
    if is_sane { Ok(epsilon) } else { Err(format!("is {epsilon}; it must be above 0 and at most 0.1")) }
}

impl ModelConfig {
    /// Returns the bytes of keys and values that one block of positions needs over all layers, at a number's size.
    #[must_use]
    pub fn block_bytes(&self, number_bytes: usize) -> usize {
        2 * self.layers.len() * self.kv_heads * self.head_dim * super::BLOCK_TOKENS * number_bytes
    }
}
