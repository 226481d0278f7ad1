//! The shape of a decoder: one description for the llama family, whatever file it was read from.

use crate::engine::error::EngineError;
use crate::engine::weights::GgufFile;

/// Shapes and constants of a decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// `general.name`, or the architecture if the file has none.
    pub name: String,
    /// Architecture by its GGUF name: `llama`, `qwen2`, `qwen3`, `smollm3`.
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

/// Rotary position embedding (Su et al. 2021), over the whole head.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// Base of the frequencies.
    pub theta: f32,
    /// Which numbers of a head are rotated together.
    pub layout: RopeLayout,
    /// How the frequencies were stretched for long contexts.
    pub scaling: RopeScaling,
}

/// Which numbers of a head form a rotary pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeLayout {
    /// Neighbours, `(2 i, 2 i + 1)`: how GGUF stores models of architecture `llama`.
    Interleaved,
    /// `(i, i + head_dim / 2)`: Hugging Face's layout, and that of other architectures in GGUF.
    HalfSplit,
}

/// How rotary frequencies were stretched.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All positions divided by a factor.
    Linear(f32),
    /// Each frequency divided by its own factor, `[head_dim / 2]` (GGUF's `rope_freqs`; also Llama 3's rule, once
    /// computed).
    Factors(Vec<f32>),
    /// YaRN (Peng et al. 2023): the frequencies as they come out, `[head_dim / 2]`, and the factor on cosine and sine.
    Yarn {
        /// Inverse frequencies.
        inverse_frequencies: Vec<f32>,
        /// Attention factor.
        magnitude: f32,
    },
}

/// What differs from layer to layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerKind {
    /// Whether queries and keys are rotated (SmolLM3 leaves every fourth layer without).
    pub uses_rope: bool,
    /// How many positions, its own included, a position attends to; `None` is all.
    pub window: Option<usize>,
}

impl RopeConfig {
    /// Returns `theta^(-2 i / d)` of each rotary pair after scaling, `[head_dim / 2]`, and the factor on cosine and
    /// sine.
    #[must_use]
    pub fn inverse_frequencies(&self, head_dim: usize) -> (Vec<f32>, f32) {
        let base = |index: usize| self.theta.powf(-2.0 * index as f32 / head_dim as f32);
        let plain = (0..head_dim / 2).map(base);
        match &self.scaling {
            RopeScaling::None => (plain.collect(), 1.0),
            RopeScaling::Linear(factor) => (plain.map(|frequency| frequency / factor).collect(), 1.0),
            RopeScaling::Factors(factors) => (plain.zip(factors).map(|(base, factor)| base / factor).collect(), 1.0),
            RopeScaling::Yarn { inverse_frequencies, magnitude } => (inverse_frequencies.clone(), *magnitude),
        }
    }
}

impl ModelConfig {
    /// Reads the configuration and refuses what the decoder does not implement.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] or [`EngineError::Malformed`], naming the key.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, EngineError> {
        let architecture = file.string("general.architecture")?.unwrap_or("none").to_owned();
        if architecture != "llama" {
            return Err(file.unsupported(format!("its architecture is \"{architecture}\"; supported: llama")));
        }
        if file.unsigned("llama.expert_count")?.unwrap_or(0) > 0 {
            return Err(file.unsupported("it is a mixture of experts; supported: dense llama models".to_owned()));
        }
        let scaling = file.string("llama.rope.scaling.type")?.unwrap_or("none");
        if scaling != "none" {
            return Err(file.unsupported(format!("its rope scaling is \"{scaling}\"; supported: none, rope_freqs")));
        }
        let heads = file.size("llama.attention.head_count")?;
        let hidden = file.size("llama.embedding_length")?;
        let kv_heads = match file.unsigned("llama.attention.head_count_kv")? {
            Some(_) => file.size("llama.attention.head_count_kv")?,
            None => heads,
        };
        let head_dim = match file.unsigned("llama.attention.key_length")? {
            Some(_) => file.size("llama.attention.key_length")?,
            None => hidden / heads,
        };
        let rotary = file.unsigned("llama.rope.dimension_count")?.map_or(head_dim as u64, |count| count);
        if rotary != head_dim as u64 || head_dim % 2 != 0 || heads % kv_heads != 0 {
            return Err(file.unsupported(format!(
                "{heads} heads, {kv_heads} key heads, head width {head_dim}, {rotary} rotary dimensions"
            )));
        }
        let vocabulary = match file.content().tensor_infos.get("token_embd.weight").map(|info| info.shape.dims()) {
            Some([vocabulary, _]) => *vocabulary,
            _ => return Err(file.malformed("tensor token_embd.weight is missing or no matrix".to_owned())),
        };
        let scaling = if file.has_tensor("rope_freqs.weight") {
            RopeScaling::Factors(file.vector("rope_freqs.weight", head_dim / 2)?)
        } else {
            RopeScaling::None
        };
        let layers = file.size("llama.block_count")?;
        Ok(Self {
            name: file.string("general.name")?.unwrap_or(&architecture).to_owned(),
            architecture,
            hidden,
            ffn: file.size("llama.feed_forward_length")?,
            heads,
            kv_heads,
            head_dim,
            vocabulary,
            context: file.size("llama.context_length")?,
            epsilon: file.float("llama.attention.layer_norm_rms_epsilon")?.unwrap_or(1e-5),
            rope: RopeConfig {
                theta: file.float("llama.rope.freq_base")?.unwrap_or(10_000.0),
                layout: RopeLayout::Interleaved,
                scaling,
            },
            layers: vec![LayerKind { uses_rope: true, window: None }; layers],
        })
    }

    /// Returns the bytes of keys and values that one block of positions needs over all layers, at a number's size.
    #[must_use]
    pub fn block_bytes(&self, number_bytes: usize) -> usize {
        2 * self.layers.len() * self.kv_heads * self.head_dim * super::BLOCK_TOKENS * number_bytes
    }
}
