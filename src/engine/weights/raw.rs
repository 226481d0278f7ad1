//! A tensor's bytes as stored in a file, and their conversion to f32.

use std::ops::Range;

use candle_core::quantized::GgmlDType;
use candle_core::quantized::ggml_file::qtensor_from_ggml;
use candle_core::{DType, Device, Tensor};

use crate::error::EngineError;

/// A tensor's bytes as stored in the file.
#[derive(Debug, Clone)]
pub struct RawTensor<'a> {
    /// Name in the file.
    pub name: String,
    /// Storage type of the numbers; Hugging Face's bf16, f16 and f32 map to values of it.
    pub dtype: GgmlDType,
    /// Outermost dimension first.
    pub shape: Vec<usize>,
    /// The whole tensor, rows in order.
    pub bytes: &'a [u8],
}

impl RawTensor<'_> {
    /// Returns the count of numbers in one row (the product of all dimensions except the first).
    #[must_use]
    pub fn row_length(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// Returns the bytes of some rows.
    #[must_use]
    pub fn row_bytes(&self, rows: Range<usize>) -> &[u8] {
        let bytes = self.row_length() / self.dtype.block_size() * self.dtype.type_size();
        // The length of the whole tensor does not overflow, but the offset of rows beyond it might.
        let range = rows.start.saturating_mul(bytes)..rows.end.saturating_mul(bytes);
        self.bytes.get(range).unwrap_or_default()
    }

    /// Returns some rows as f32, `[rows, row_length]`.
    ///
    /// # Errors
    /// [`EngineError::Tensor`] for a storage type that candle does not dequantize.
    pub fn rows_f32(&self, rows: Range<usize>) -> Result<Vec<f32>, EngineError> {
        let count = rows.len() * self.row_length();
        let bytes = self.row_bytes(rows);
        let tensor = match plain_dtype(self.dtype) {
            // safetensors files do not align tensors; this call copies unaligned bytes.
            Some(dtype) => Tensor::from_raw_buffer(bytes, dtype, &[count], &Device::Cpu)?.to_dtype(DType::F32)?,
            None => qtensor_from_ggml(self.dtype, bytes, vec![count], &Device::Cpu)?.dequantize(&Device::Cpu)?,
        };
        Ok(tensor.to_vec1::<f32>()?)
    }

    /// Returns the whole tensor as f32.
    pub fn to_f32(&self) -> Result<Vec<f32>, EngineError> {
        let rows = self.shape.first().copied().unwrap_or(0);
        self.rows_f32(0..rows)
    }

    /// Returns the whole tensor as f32, or a message that names the first number that is not finite.
    pub fn finite_f32(&self) -> Result<Result<Vec<f32>, String>, EngineError> {
        let numbers = self.to_f32()?;
        Ok(match nonfinite(&numbers) {
            Some((index, number)) => Err(format!("tensor {} has the number {number} at {index}", self.name)),
            None => Ok(numbers),
        })
    }
}

fn nonfinite(numbers: &[f32]) -> Option<(usize, f32)> {
    numbers.iter().copied().enumerate().find(|(_, number)| !number.is_finite())
}

fn plain_dtype(dtype: GgmlDType) -> Option<DType> {
    match dtype {
        GgmlDType::F32 => Some(DType::F32),
        GgmlDType::F16 => Some(DType::F16),
        GgmlDType::BF16 => Some(DType::BF16),
        _ => None,
    }
}

/// Returns a tensor's length in bytes; `None` if its shape overflows, or if a row or the tensor is not a whole number
/// of blocks.
pub(super) fn byte_length(dtype: GgmlDType, shape: &[usize]) -> Option<usize> {
    let count = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size))?;
    let row = shape.last().copied().unwrap_or(1);
    let is_whole = count.is_multiple_of(dtype.block_size()) && row.is_multiple_of(dtype.block_size());
    is_whole.then(|| count / dtype.block_size()).and_then(|blocks| blocks.checked_mul(dtype.type_size()))
}
