//! How a model is run in this process: what the settings name and the engine takes.
//!
//! The schema's names are those of the settings, whose schema is published.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The implementation that runs the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ExecutorName")]
pub enum ExecutorChoice {
    /// `fused` on the CPU, `tensor` elsewhere.
    #[default]
    Auto,
    /// thinkloom's own kernels, for the CPU.
    Fused,
    /// candle's tensors, on any device.
    Tensor,
}

/// Kernels of the fused executor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "KernelName")]
pub enum KernelChoice {
    /// The fastest kernels of the CPU.
    #[default]
    Auto,
    /// f32 in vectors of up to 256 bits.
    // NEON or SSE where there is no AVX2.
    Avx2,
    /// f32 in vectors of 512 bits.
    // The same bits as `Avx2`.
    Avx512,
    /// bf16 products with f32 sums on AMX tiles.
    Amx,
}

/// The number format of stored keys and values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "KvTypeName")]
pub enum KvType {
    /// 4 bytes a number.
    #[default]
    F32,
    /// 2 bytes a number.
    // Rounded to nearest.
    Bf16,
}

impl KvType {
    /// Returns the bytes of one number.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}
