//! The shape of a llama-architecture model, read from GGUF metadata.

use crate::engine::error::EngineError;
use crate::engine::gguf::GgufFile;

/// Shapes and constants of a decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// `general.name`, or the architecture if the file has none.
    pub name: String,
    /// Decoder layers.
    pub layers: usize,
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
    /// Base of the rotary frequencies.
    pub rope_theta: f32,
    /// Epsilon of the root-mean-square norms.
    pub epsilon: f32,
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
        Ok(Self {
            name: file.string("general.name")?.unwrap_or(&architecture).to_owned(),
            layers: file.size("llama.block_count")?,
            hidden,
            ffn: file.size("llama.feed_forward_length")?,
            heads,
            kv_heads,
            head_dim,
            vocabulary,
            context: file.size("llama.context_length")?,
            rope_theta: file.float("llama.rope.freq_base")?.unwrap_or(10_000.0),
            epsilon: file.float("llama.attention.layer_norm_rms_epsilon")?.unwrap_or(1e-5),
        })
    }

    /// Returns the bytes of keys and values that one block of positions needs over all layers.
    #[must_use]
    pub fn block_bytes(&self) -> usize {
        2 * self.layers * self.kv_heads * self.head_dim * super::BLOCK_TOKENS * size_of::<f32>()
    }
}
