//! A model on the device: its parameters, the buffers of its steps, and its recorded steps.

use std::collections::HashMap;

use candle_core::cuda_backend::cudarc::driver::CudaGraph;

use super::super::loading::TensorWeights;
use super::device::{Buffer, Gpu, Kernels};
use crate::model::ModelConfig;

/// A model on an NVIDIA GPU.
pub struct CudaModel {
    pub(super) config: ModelConfig,
    pub(super) gpu: Gpu,
    pub(super) kernels: Kernels,
    pub(super) weights: TensorWeights,
    /// One per layer, `[blocks, kv_heads, 16, head_dim]` in the KV type.
    pub(super) keys: Vec<Buffer>,
    /// As `keys`.
    pub(super) values: Vec<Buffer>,
    /// Full turns per position of each rotary pair, `[head_dim / 2]` f64.
    pub(super) turns: Buffer,
    /// Factor on cosine and sine.
    pub(super) magnitude: f32,
    pub(super) work: Work,
    pub(super) rows_max: usize,
    /// Recorded steps by row count.
    pub(super) graphs: HashMap<usize, Graph>,
    /// Rows of the output matrix that are never picked, u32, and their count; `None` if there are none.
    pub(super) nameless: Option<(Buffer, usize)>,
}

/// Buffers of a step, for `rows_max` rows.
pub(super) struct Work {
    /// The step's plan, u32; grows with the sequences.
    pub(super) plan: Buffer,
    /// Residual stream, `[rows, hidden]` f32.
    pub(super) residual: Buffer,
    /// Normed rows, `[rows, hidden]` bf16.
    pub(super) normed: Buffer,
    /// Values that are added to the residual stream, `[rows, hidden]` bf16.
    pub(super) delta: Buffer,
    /// Queries, keys and values, `[rows, (heads + 2 kv_heads) * head_dim]` bf16.
    pub(super) projected: Buffer,
    /// Attention's output, `[rows, heads * head_dim]` bf16.
    pub(super) attended: Buffer,
    /// Partial results of attention, f32; see the kernel.
    pub(super) partial: Buffer,
    /// Gates and ups, `[rows, 2 ffn]` bf16.
    pub(super) gate_up: Buffer,
    /// `[rows, ffn]` bf16.
    pub(super) activated: Buffer,
    /// `[wanting rows, vocabulary]` f32; grows when a step needs more.
    pub(super) logits: Buffer,
    /// `[wanting rows, 2]`: token, bits of its log-probability.
    pub(super) picked: Buffer,
}

/// A recorded step.
pub enum Graph {
    /// Ran once, launch by launch, so that all its kernels are loaded.
    Seen,
    /// Ready to be replayed.
    Recorded(Recording),
}

/// A graph that may be sent to the engine's thread.
pub struct Recording(pub(super) CudaGraph);

// SAFETY: any thread may use a graph, one at a time; the graph is reachable only through `&mut CudaModel`.
unsafe impl Send for Recording {}
