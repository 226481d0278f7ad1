//! Where a model's parameters come from: one view over the file formats, by part instead of by tensor name.
//!
//! Files are memory-mapped and checked when they are opened; a tensor's bytes are read when an executor packs them, so
//! that a model never stands in memory twice. What the executors make of the parts is `model`'s business.

mod gguf;

use std::ops::Range;
use std::path::Path;

use candle_core::Device;
use candle_core::quantized::GgmlDType;
use candle_core::quantized::ggml_file::qtensor_from_ggml;

pub use gguf::{GgufFile, file_sha256};

use super::error::EngineError;
use super::model::ModelConfig;
use super::tokenizer::Vocabulary;

/// A parameter tensor by its role in the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// Token embedding, `[vocabulary, hidden]`.
    Embedding,
    /// Scale of the last norm, `[hidden]`.
    OutputNorm,
    /// Output matrix, `[vocabulary, hidden]`; absent where it is tied to the embedding.
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

/// The parameters of one model.
pub enum Weights {
    /// A GGUF file.
    Gguf(GgufFile),
}

impl Weights {
    /// Opens a model and checks what its headers declare.
    ///
    /// # Errors
    /// [`EngineError::Io`] if it cannot be read, [`EngineError::Malformed`] if it is damaged.
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        Ok(Self::Gguf(GgufFile::open(path)?))
    }

    /// Reads the decoder's shape and refuses what the decoder does not implement.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] or [`EngineError::Malformed`], naming the key.
    pub fn config(&self) -> Result<ModelConfig, EngineError> {
        match self {
            Self::Gguf(file) => ModelConfig::from_gguf(file),
        }
    }

    /// Reads the vocabulary with its encoder, its end-of-turn tokens and the chat template.
    ///
    /// # Errors
    /// As [`Vocabulary::from_gguf`].
    pub fn vocabulary(&self) -> Result<Vocabulary, EngineError> {
        match self {
            Self::Gguf(file) => Vocabulary::from_gguf(file),
        }
    }

    /// Returns whether a part is there.
    #[must_use]
    pub fn has(&self, part: Part) -> bool {
        match self {
            Self::Gguf(file) => file.has_tensor(&gguf::tensor_name(part)),
        }
    }

    /// Returns a matrix as it lies in the file, `[outputs, inputs]`.
    ///
    /// # Errors
    /// [`EngineError::Malformed`] if it is missing or of another shape.
    pub fn matrix(&self, part: Part, outputs: usize, inputs: usize) -> Result<RawTensor<'_>, EngineError> {
        match self {
            Self::Gguf(file) => file.tensor(&gguf::tensor_name(part), &[outputs, inputs]),
        }
    }

    /// Reads a vector as f32.
    ///
    /// # Errors
    /// As [`Self::matrix`].
    pub fn vector(&self, part: Part, length: usize) -> Result<Vec<f32>, EngineError> {
        match self {
            Self::Gguf(file) => file.vector(&gguf::tensor_name(part), length),
        }
    }

    /// Reads a vector that a model may do without.
    ///
    /// # Errors
    /// [`EngineError::Malformed`] if it is there and of another shape.
    pub fn optional_vector(&self, part: Part, length: usize) -> Result<Option<Vec<f32>>, EngineError> {
        if self.has(part) { self.vector(part, length).map(Some) } else { Ok(None) }
    }

    /// Builds the error for a model that is not what it should be.
    #[must_use]
    pub fn malformed(&self, detail: String) -> EngineError {
        match self {
            Self::Gguf(file) => file.malformed(detail),
        }
    }
}

/// A tensor's bytes as they lie in the file.
#[derive(Debug, Clone)]
pub struct RawTensor<'a> {
    /// Its name in the file.
    pub name: String,
    /// How its numbers are stored; Hugging Face's bf16, f16 and f32 have their place in it.
    pub dtype: GgmlDType,
    /// Outermost dimension first.
    pub shape: Vec<usize>,
    /// The whole tensor, rows in order.
    pub bytes: &'a [u8],
}

impl RawTensor<'_> {
    /// Returns the numbers of one row (the product of all dimensions but the first).
    #[must_use]
    pub fn row_length(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// Returns the bytes of some rows.
    #[must_use]
    pub fn row_bytes(&self, rows: Range<usize>) -> &[u8] {
        let bytes = self.row_length() / self.dtype.block_size() * self.dtype.type_size();
        self.bytes.get(rows.start * bytes..rows.end * bytes).unwrap_or_default()
    }

    /// Returns some rows as f32, `[rows, row_length]`.
    ///
    /// # Errors
    /// [`EngineError::Tensor`] for a storage type that candle does not dequantize.
    pub fn rows_f32(&self, rows: Range<usize>) -> Result<Vec<f32>, EngineError> {
        let count = rows.len() * self.row_length();
        let tensor = qtensor_from_ggml(self.dtype, self.row_bytes(rows), vec![count], &Device::Cpu)?;
        Ok(tensor.dequantize(&Device::Cpu)?.to_vec1::<f32>()?)
    }

    /// Returns the whole tensor as f32.
    ///
    /// # Errors
    /// As [`Self::rows_f32`].
    pub fn to_f32(&self) -> Result<Vec<f32>, EngineError> {
        let rows = self.shape.first().copied().unwrap_or(0);
        self.rows_f32(0..rows)
    }
}
