//! Loads parameters from a file onto a device, matrix by matrix in pieces, so that the host never holds a whole model.

use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device, Tensor};

use super::super::ModelConfig;
use super::device::matrix_dtype;
use crate::error::EngineError;
use crate::weights::{LayerPart, Part, RawTensor, Weights};

/// Numbers of a matrix that are converted at a time: 64 MiB as f32.
const PIECE_NUMBERS: usize = 16 << 20;

/// All parameters. Matrices are `[outputs, inputs]` in the device's matrix type, vectors f32.
pub(super) struct TensorWeights {
    /// `[vocabulary, hidden]`.
    pub embedding: Tensor,
    /// One entry per layer.
    pub layers: Vec<LayerTensors>,
    /// `[hidden]` f32.
    pub output_norm: Tensor,
    /// `[vocabulary, hidden]`; shares the embedding's memory if the two are tied.
    pub output: Tensor,
}

/// The parameters of one layer.
pub(super) struct LayerTensors {
    /// `[hidden]` f32.
    pub attention_norm: Tensor,
    /// Queries, keys and values: `[(heads + 2 kv_heads) * head_dim, hidden]`.
    pub query_key_value: Tensor,
    /// Their biases, `[(heads + 2 kv_heads) * head_dim]` f32; zero for a part without a bias.
    pub bias: Option<Tensor>,
    /// `[head_dim]` f32.
    pub query_norm: Option<Tensor>,
    /// `[head_dim]` f32.
    pub key_norm: Option<Tensor>,
    /// `[hidden, heads * head_dim]`.
    pub output: Tensor,
    /// `[hidden]` f32.
    pub output_bias: Option<Tensor>,
    /// `[hidden]` f32.
    pub ffn_norm: Tensor,
    /// Gates and ups: `[2 ffn, hidden]`.
    pub gate_up: Tensor,
    /// `[hidden, ffn]`.
    pub down: Tensor,
}

/// Returns the bytes that a model's matrices take on a device.
pub(super) fn weight_bytes(config: &ModelConfig, weights: &Weights, device: &Device) -> usize {
    let &ModelConfig { hidden, ffn, heads, kv_heads, head_dim, vocabulary, .. } = config;
    let layer = (2 * heads + 2 * kv_heads) * head_dim * hidden + 3 * ffn * hidden;
    let ends = if weights.has(Part::Output) { 2 } else { 1 };
    (layer * config.layers.len() + ends * vocabulary * hidden) * matrix_dtype(device).size_in_bytes()
}

/// Reads all parameters.
///
/// # Errors
/// [`EngineError::Malformed`] for missing or misshapen tensors; [`EngineError::Tensor`] if the device fails.
pub(super) fn load(weights: &Weights, config: &ModelConfig, device: &Device) -> Result<TensorWeights, EngineError> {
    let loader = Loader { weights, device, dtype: matrix_dtype(device) };
    let &ModelConfig { hidden, vocabulary, .. } = config;
    let embedding = loader.stack(&[(Part::Embedding, vocabulary)], hidden)?;
    let output = match weights.has(Part::Output) {
        true => loader.stack(&[(Part::Output, vocabulary)], hidden)?,
        false => embedding.clone(),
    };
    let layers = (0..config.layers.len()).map(|index| loader.layer(index, config)).collect::<Result<_, _>>()?;
    Ok(TensorWeights { embedding, layers, output_norm: loader.vector(Part::OutputNorm, hidden)?, output })
}

struct Loader<'a> {
    weights: &'a Weights,
    device: &'a Device,
    dtype: DType,
}

impl Loader<'_> {
    fn layer(&self, index: usize, config: &ModelConfig) -> Result<LayerTensors, EngineError> {
        let &ModelConfig { hidden, ffn, heads, kv_heads, head_dim, .. } = config;
        let (queries, keys) = (heads * head_dim, kv_heads * head_dim);
        let part = |part: LayerPart| Part::Layer(index, part);
        let projections = [(LayerPart::Query, queries), (LayerPart::Key, keys), (LayerPart::Value, keys)];
        let biases = [(LayerPart::QueryBias, queries), (LayerPart::KeyBias, keys), (LayerPart::ValueBias, keys)];
        Ok(LayerTensors {
            attention_norm: self.vector(part(LayerPart::AttentionNorm), hidden)?,
            query_key_value: self.stack(&projections.map(|(kind, outputs)| (part(kind), outputs)), hidden)?,
            bias: self.bias(&biases.map(|(kind, outputs)| (part(kind), outputs)))?,
            query_norm: self.optional_vector(part(LayerPart::QueryNorm), head_dim)?,
            key_norm: self.optional_vector(part(LayerPart::KeyNorm), head_dim)?,
            output: self.stack(&[(part(LayerPart::AttentionOutput), hidden)], queries)?,
            output_bias: self.optional_vector(part(LayerPart::AttentionOutputBias), hidden)?,
            ffn_norm: self.vector(part(LayerPart::FfnNorm), hidden)?,
            gate_up: self.stack(&[(part(LayerPart::Gate), ffn), (part(LayerPart::Up), ffn)], hidden)?,
            down: self.stack(&[(part(LayerPart::Down), hidden)], ffn)?,
        })
    }

    /// Stacks matrices with the same inputs into one: `[sum of outputs, inputs]`. `parts` lists parts and their
    /// outputs.
    fn stack(&self, parts: &[(Part, usize)], inputs: usize) -> Result<Tensor, EngineError> {
        let outputs: usize = parts.iter().map(|(_, outputs)| outputs).sum();
        let stacked = Tensor::zeros((outputs, inputs), self.dtype, self.device)?;
        let mut offset = 0;
        for (part, outputs) in parts {
            let raw = self.weights.matrix(*part, *outputs, inputs)?;
            let piece = (PIECE_NUMBERS / inputs).max(1);
            for start in (0..*outputs).step_by(piece) {
                let rows = start..(start + piece).min(*outputs);
                stacked.slice_set(&self.rows(&raw, rows.clone(), inputs)?, 0, offset + start)?;
            }
            offset += outputs;
        }
        Ok(stacked)
    }

    /// Reads some rows of a matrix: `[rows, inputs]` in the matrix type.
    fn rows(&self, raw: &RawTensor<'_>, rows: std::ops::Range<usize>, inputs: usize) -> Result<Tensor, EngineError> {
        let shape = [rows.len(), inputs];
        if raw.dtype == GgmlDType::BF16 && self.dtype == DType::BF16 {
            return Ok(Tensor::from_raw_buffer(raw.row_bytes(rows), DType::BF16, &shape, self.device)?);
        }
        let numbers = Tensor::from_vec(raw.rows_f32(rows)?, &shape, &Device::Cpu)?;
        Ok(numbers.to_dtype(self.dtype)?.to_device(self.device)?)
    }

    fn vector(&self, part: Part, length: usize) -> Result<Tensor, EngineError> {
        Ok(Tensor::from_vec(self.weights.vector(part, length)?, length, self.device)?)
    }

    fn optional_vector(&self, part: Part, length: usize) -> Result<Option<Tensor>, EngineError> {
        if self.weights.has(part) { self.vector(part, length).map(Some) } else { Ok(None) }
    }

    /// Stacks biases, `[sum of lengths]`; missing biases are zero.
    fn bias(&self, parts: &[(Part, usize)]) -> Result<Option<Tensor>, EngineError> {
        if !parts.iter().any(|(part, _)| self.weights.has(*part)) {
            return Ok(None);
        }
        let mut numbers = Vec::new();
        for (part, length) in parts {
            numbers.extend(self.weights.optional_vector(*part, *length)?.unwrap_or_else(|| vec![0.0; *length]));
        }
        let length = numbers.len();
        Ok(Some(Tensor::from_vec(numbers, length, self.device)?))
    }
}
