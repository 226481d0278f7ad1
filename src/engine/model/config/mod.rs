//! The shape of a decoder: one description for the llama family, for every file format.

mod gguf;
mod huggingface;
mod rope;
#[cfg(test)]
mod tests;

use crate::error::shown;

pub(crate) use rope::{RopeConfig, RopeLayout, RopeScaling};

/// Maximum width of the residual stream and of the feed-forward part; models have up to 65,536.
const WIDTH_MAX: usize = 1 << 22;
/// Maximum heads of a layer; models have up to 128.
const HEADS_MAX: usize = 1 << 16;
/// Maximum width of a head; models have up to 256.
const HEAD_DIM_MAX: usize = 1 << 14;
/// Maximum tokens; models have up to 262,208.
const VOCABULARY_MAX: usize = 1 << 24;
/// Maximum positions; models state up to ten million.
const CONTEXT_MAX: usize = 1 << 28;
/// Maximum characters of a model's name; the rest is cut.
const NAME_CHARS_MAX: usize = 200;

/// Shapes and constants of a decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// `general.name`, or the architecture if the file has no name; for a directory, the directory's name.
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
    /// Properties that differ between layers, one entry per layer.
    pub layers: Vec<LayerKind>,
}

/// Properties that differ between layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerKind {
    /// Whether queries and keys are rotated (in SmolLM3, every fourth layer is not).
    pub uses_rope: bool,
    /// Number of positions, its own included, that a position attends to; `None` means all.
    pub window: Option<usize>,
}

/// Head counts and widths, as stated in a file.
struct Heads {
    heads: usize,
    kv_heads: usize,
    /// Stated width of a head.
    head_dim: Option<usize>,
}

impl Heads {
    /// Returns the width of a head, or a message if the decoder does not support the numbers.
    fn head_dim(&self, hidden: usize) -> Result<usize, String> {
        let Self { heads, kv_heads, head_dim } = *self;
        if !heads.is_multiple_of(kv_heads) {
            return Err(format!("{heads} query heads are not a multiple of {kv_heads} key heads"));
        }
        let width = match head_dim {
            Some(width) => width,
            None if hidden.is_multiple_of(heads) => hidden / heads,
            None => return Err(format!("a width of {hidden} cannot be divided among {heads} heads")),
        };
        if width.is_multiple_of(2) { Ok(width) } else { Err(format!("a head width of {width} is odd")) }
    }
}

/// Returns a name from a file in a form that is safe to print.
fn shown_name(name: &str) -> String {
    shown(name).chars().take(NAME_CHARS_MAX).collect()
}

/// Checks the epsilon of norms, which prevents a division by zero for a vector of zeros; returns a message if it is out
/// of range.
fn check_epsilon(epsilon: f32) -> Result<f32, String> {
    let is_sane = epsilon > 0.0 && epsilon <= 0.1;
    if is_sane { Ok(epsilon) } else { Err(format!("is {epsilon}; it must be above 0 and at most 0.1")) }
}

impl ModelConfig {
    /// Returns the bytes of keys and values of one block over all layers, for numbers of `number_bytes` bytes.
    #[must_use]
    pub fn block_bytes(&self, number_bytes: usize) -> usize {
        2 * self.layers.len() * self.kv_heads * self.head_dim * super::BLOCK_TOKENS * number_bytes
    }
}
