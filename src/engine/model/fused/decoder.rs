//! The decoder's parameters in the layout that the kernels read.

use super::super::{LayerKind, ModelConfig, RopeLayout};
use super::expand::expand_f32;
use super::math::{rotate_half_split, rotate_interleaved};
use super::matrix::{BLOCK_INPUTS, Matrix, PANEL_WIDTH};
use crate::error::EngineError;
use crate::weights::{LayerPart, Part, Weights};

/// One layer.
pub(super) struct Layer {
    /// Properties that differ between layers.
    pub kind: LayerKind,
    /// `[hidden]`
    pub attention_norm: Vec<f32>,
    /// Queries, keys and values stacked, so that one product and one wait for all threads are enough.
    pub query_key_value: Matrix,
    /// `[outputs of query_key_value]`, if the model has biases.
    pub query_key_value_bias: Option<Vec<f32>>,
    /// `[head_dim]`, if the model has norms over its heads.
    pub query_norm: Option<Vec<f32>>,
    /// `[head_dim]`
    pub key_norm: Option<Vec<f32>>,
    /// Output projection of attention.
    pub output: Matrix,
    /// `[hidden]`
    pub output_bias: Option<Vec<f32>>,
    /// `[hidden]`
    pub ffn_norm: Vec<f32>,
    /// Gate and up projections interleaved, 16 outputs each.
    pub gate_up: Matrix,
    /// Down projection.
    pub down: Matrix,
}

/// All parameters.
pub(super) struct Decoder {
    /// The shape.
    pub config: ModelConfig,
    /// The layers.
    pub layers: Vec<Layer>,
    /// `[hidden]`
    pub output_norm: Vec<f32>,
    /// `[vocabulary, hidden]`
    pub output: Matrix,
    /// `[vocabulary, hidden]`; `None` if the embedding is tied to `output`.
    embedding: Option<Matrix>,
    /// Cosines, then sines, of the rotary pairs: `[positions][head_dim]`.
    rotations: Vec<f32>,
}

impl Decoder {
    /// Packs a model's parameters; positions from `positions` on are never used.
    ///
    /// # Errors
    /// [`EngineError::Malformed`] for missing or misshapen tensors, [`EngineError::OutOfMemory`].
    pub(super) fn load(weights: &Weights, positions: usize) -> Result<Self, EngineError> {
        let config = weights.config()?;
        let (hidden, vocabulary) = (config.hidden, config.vocabulary);
        let embedding = weights.matrix(Part::Embedding, vocabulary, hidden)?;
        // A model without an output matrix uses the embedding as its output matrix.
        let (output, embedding) = if weights.has(Part::Output) {
            let output = weights.matrix(Part::Output, vocabulary, hidden)?;
            (Matrix::stack(&[output])?, Some(Matrix::stack(&[embedding])?))
        } else {
            (Matrix::stack(&[embedding])?, None)
        };
        let layers = (0..config.layers.len()).map(|index| load_layer(weights, &config, index));
        let layers = layers.collect::<Result<Vec<Layer>, EngineError>>()?;
        let output_norm = weights.vector(Part::OutputNorm, hidden)?;
        let rotations = rotations(&config, positions.min(config.context));
        Ok(Self { config, layers, output_norm, output, embedding, rotations })
    }

    /// Returns the bytes that the weights occupy in memory.
    pub(super) fn weight_bytes(&self) -> usize {
        let layer = |l: &Layer| [&l.query_key_value, &l.output, &l.gate_up, &l.down].map(Matrix::size_bytes);
        let layers: usize = self.layers.iter().flat_map(layer).sum();
        layers + self.output.size_bytes() + self.embedding.as_ref().map_or(0, Matrix::size_bytes)
    }

    /// Writes a token's embedding into `out`, `[hidden]`. A token outside the vocabulary counts as the last token.
    pub(super) fn embed(&self, token: u32, out: &mut [f32]) {
        let matrix = self.embedding.as_ref().unwrap_or(&self.output);
        let column = (token as usize).min(self.config.vocabulary - 1);
        let Some((panel, place)) = matrix.panel_of_column(column) else { return };
        // Expands a whole panel for one of its 16 columns: this takes microseconds per token, and saves a second copy
        // in memory.
        let block_words = panel.format.block_words();
        let mut expanded = [0.0; BLOCK_INPUTS * PANEL_WIDTH];
        for (words, out) in panel.words.chunks_exact(block_words).zip(out.chunks_mut(BLOCK_INPUTS)) {
            expand_f32::<pulp::Scalar, PANEL_WIDTH>(
                pulp::Scalar,
                super::matrix::PanelView { words, ..panel },
                &mut expanded,
            );
            for (out, numbers) in out.iter_mut().zip(expanded.as_chunks::<PANEL_WIDTH>().0) {
                *out = numbers[place];
            }
        }
    }

    /// Rotates a head in place, by its position.
    pub(super) fn rotate(&self, head: &mut [f32], position: usize) {
        let start = position * self.config.head_dim;
        let rotation = &self.rotations[start..start + self.config.head_dim];
        match self.config.rope.layout {
            RopeLayout::Interleaved => rotate_interleaved(head, rotation),
            RopeLayout::HalfSplit => rotate_half_split(head, rotation),
        }
    }
}

fn load_layer(weights: &Weights, config: &ModelConfig, index: usize) -> Result<Layer, EngineError> {
    let hidden = config.hidden;
    let (query_width, key_width) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    let part = |part: LayerPart| Part::Layer(index, part);
    let matrix = |name: LayerPart, outputs: usize, inputs: usize| weights.matrix(part(name), outputs, inputs);
    let norm = |name: LayerPart, width: usize| weights.vector(part(name), width);
    let optional = |name: LayerPart, width: usize| weights.optional_vector(part(name), width);
    let query_key_value = Matrix::stack(&[
        matrix(LayerPart::Query, query_width, hidden)?,
        matrix(LayerPart::Key, key_width, hidden)?,
        matrix(LayerPart::Value, key_width, hidden)?,
    ])?;
    let biases = [
        (optional(LayerPart::QueryBias, query_width)?, query_width),
        (optional(LayerPart::KeyBias, key_width)?, key_width),
        (optional(LayerPart::ValueBias, key_width)?, key_width),
    ];
    let has_bias = biases.iter().any(|(bias, _)| bias.is_some());
    let bias = biases.into_iter().flat_map(|(bias, width)| bias.unwrap_or_else(|| vec![0.0; width]));
    Ok(Layer {
        kind: config.layers[index],
        attention_norm: norm(LayerPart::AttentionNorm, hidden)?,
        query_key_value,
        query_key_value_bias: has_bias.then(|| bias.collect()),
        query_norm: optional(LayerPart::QueryNorm, config.head_dim)?,
        key_norm: optional(LayerPart::KeyNorm, config.head_dim)?,
        output: Matrix::stack(&[matrix(LayerPart::AttentionOutput, hidden, query_width)?])?,
        output_bias: optional(LayerPart::AttentionOutputBias, hidden)?,
        ffn_norm: norm(LayerPart::FfnNorm, hidden)?,
        gate_up: Matrix::interleave(
            &matrix(LayerPart::Gate, config.ffn, hidden)?,
            &matrix(LayerPart::Up, config.ffn, hidden)?,
        )?,
        down: Matrix::stack(&[matrix(LayerPart::Down, hidden, config.ffn)?])?,
    })
}

/// Returns the cosines and sines of the first `positions` positions.
fn rotations(config: &ModelConfig, positions: usize) -> Vec<f32> {
    let (frequencies, magnitude) = config.rope.inverse_frequencies(config.head_dim);
    let mut rotations = Vec::with_capacity(positions * config.head_dim);
    for position in 0..positions {
        // f64 keeps the angle exact to f32 precision at any position.
        let angle = |frequency: &f32| position as f64 * f64::from(*frequency);
        rotations.extend(frequencies.iter().map(|frequency| angle(frequency).cos() as f32 * magnitude));
        rotations.extend(frequencies.iter().map(|frequency| angle(frequency).sin() as f32 * magnitude));
    }
    rotations
}
