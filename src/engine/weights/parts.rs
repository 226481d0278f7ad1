//! Parameter tensors by their role in the decoder, and their names in the file formats.

use crate::model::ModelConfig;

/// A parameter tensor by its role in the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// Token embedding, `[vocabulary, hidden]`.
    Embedding,
    /// Scale of the last norm, `[hidden]`.
    OutputNorm,
    /// Output matrix, `[vocabulary, hidden]`; absent if it is tied to the embedding.
    Output,
    /// A part of the layer with this index.
    Layer(usize, LayerPart),
}

/// A parameter tensor of one decoder layer. Matrices are `[outputs, inputs]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LayerPart {
    /// Scale of the norm before attention, `[hidden]`.
    AttentionNorm,
    /// Query projection, `[heads * head_dim, hidden]`.
    Query,
    /// Key projection, `[kv_heads * head_dim, hidden]`.
    Key,
    /// Value projection, `[kv_heads * head_dim, hidden]`.
    Value,
    /// Output projection, `[hidden, heads * head_dim]`.
    AttentionOutput,
    /// Bias of the query projection, `[heads * head_dim]`.
    QueryBias,
    /// Bias of the key projection, `[kv_heads * head_dim]`.
    KeyBias,
    /// Bias of the value projection, `[kv_heads * head_dim]`.
    ValueBias,
    /// Bias of the output projection, `[hidden]`.
    AttentionOutputBias,
    /// Scale of the norm over each query head, `[head_dim]`.
    QueryNorm,
    /// Scale of the norm over each key head, `[head_dim]`.
    KeyNorm,
    /// Scale of the norm before the feed-forward part, `[hidden]`.
    FfnNorm,
    /// Gate projection, `[ffn, hidden]`.
    Gate,
    /// Up projection, `[ffn, hidden]`.
    Up,
    /// Down projection, `[hidden, ffn]`.
    Down,
}

impl LayerPart {
    const ALL: [Self; 15] = [
        Self::AttentionNorm,
        Self::Query,
        Self::Key,
        Self::Value,
        Self::AttentionOutput,
        Self::QueryBias,
        Self::KeyBias,
        Self::ValueBias,
        Self::AttentionOutputBias,
        Self::QueryNorm,
        Self::KeyNorm,
        Self::FfnNorm,
        Self::Gate,
        Self::Up,
        Self::Down,
    ];
}

/// Whether the models of a family have a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// The part must be present.
    Required,
    /// The part is used if it is present.
    Optional,
    /// The part must not be present.
    Absent,
}

/// Presence of the parts that differ between families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartRules {
    /// The output matrix.
    pub output: Presence,
    /// Biases of queries, keys and values.
    pub input_bias: Presence,
    /// Bias of attention's output projection.
    pub output_bias: Presence,
    /// Norms over query and key heads.
    pub head_norms: Presence,
}

/// Returns all parts that a model may have, with shapes (outermost dimension first).
#[must_use]
pub(crate) fn parts_of(config: &ModelConfig, rules: PartRules) -> Vec<(Part, Presence, Vec<usize>)> {
    use Presence::Required;
    let ModelConfig { hidden, ffn, heads, kv_heads, head_dim, vocabulary, .. } = *config;
    let (queries, keys) = (heads * head_dim, kv_heads * head_dim);
    let mut parts = vec![
        (Part::Embedding, Required, vec![vocabulary, hidden]),
        (Part::OutputNorm, Required, vec![hidden]),
        (Part::Output, rules.output, vec![vocabulary, hidden]),
    ];
    for layer in 0..config.layers.len() {
        for part in LayerPart::ALL {
            let (presence, shape) = match part {
                LayerPart::AttentionNorm | LayerPart::FfnNorm => (Required, vec![hidden]),
                LayerPart::Query => (Required, vec![queries, hidden]),
                LayerPart::Key | LayerPart::Value => (Required, vec![keys, hidden]),
                LayerPart::AttentionOutput => (Required, vec![hidden, queries]),
                LayerPart::QueryBias => (rules.input_bias, vec![queries]),
                LayerPart::KeyBias | LayerPart::ValueBias => (rules.input_bias, vec![keys]),
                LayerPart::AttentionOutputBias => (rules.output_bias, vec![hidden]),
                LayerPart::QueryNorm | LayerPart::KeyNorm => (rules.head_norms, vec![head_dim]),
                LayerPart::Gate | LayerPart::Up => (Required, vec![ffn, hidden]),
                LayerPart::Down => (Required, vec![hidden, ffn]),
            };
            parts.push((Part::Layer(layer, part), presence, shape));
        }
    }
    parts
}

/// Returns the name that llama.cpp's converter gives a part.
#[must_use]
pub(super) fn gguf_name(part: Part) -> String {
    let (layer, part) = match part {
        Part::Embedding => return "token_embd.weight".to_owned(),
        Part::OutputNorm => return "output_norm.weight".to_owned(),
        Part::Output => return "output.weight".to_owned(),
        Part::Layer(layer, part) => (layer, part),
    };
    let name = match part {
        LayerPart::AttentionNorm => "attn_norm.weight",
        LayerPart::Query => "attn_q.weight",
        LayerPart::Key => "attn_k.weight",
        LayerPart::Value => "attn_v.weight",
        LayerPart::AttentionOutput => "attn_output.weight",
        LayerPart::QueryBias => "attn_q.bias",
        LayerPart::KeyBias => "attn_k.bias",
        LayerPart::ValueBias => "attn_v.bias",
        LayerPart::AttentionOutputBias => "attn_output.bias",
        LayerPart::QueryNorm => "attn_q_norm.weight",
        LayerPart::KeyNorm => "attn_k_norm.weight",
        LayerPart::FfnNorm => "ffn_norm.weight",
        LayerPart::Gate => "ffn_gate.weight",
        LayerPart::Up => "ffn_up.weight",
        LayerPart::Down => "ffn_down.weight",
    };
    format!("blk.{layer}.{name}")
}

/// Returns the name that transformers gives a part.
#[must_use]
pub(crate) fn transformers_name(part: Part) -> String {
    let (layer, part) = match part {
        Part::Embedding => return "model.embed_tokens.weight".to_owned(),
        Part::OutputNorm => return "model.norm.weight".to_owned(),
        Part::Output => return "lm_head.weight".to_owned(),
        Part::Layer(layer, part) => (layer, part),
    };
    let name = match part {
        LayerPart::AttentionNorm => "input_layernorm.weight",
        LayerPart::Query => "self_attn.q_proj.weight",
        LayerPart::Key => "self_attn.k_proj.weight",
        LayerPart::Value => "self_attn.v_proj.weight",
        LayerPart::AttentionOutput => "self_attn.o_proj.weight",
        LayerPart::QueryBias => "self_attn.q_proj.bias",
        LayerPart::KeyBias => "self_attn.k_proj.bias",
        LayerPart::ValueBias => "self_attn.v_proj.bias",
        LayerPart::AttentionOutputBias => "self_attn.o_proj.bias",
        LayerPart::QueryNorm => "self_attn.q_norm.weight",
        LayerPart::KeyNorm => "self_attn.k_norm.weight",
        LayerPart::FfnNorm => "post_attention_layernorm.weight",
        LayerPart::Gate => "mlp.gate_proj.weight",
        LayerPart::Up => "mlp.up_proj.weight",
        LayerPart::Down => "mlp.down_proj.weight",
    };
    format!("model.layers.{layer}.{name}")
}
