//! Settings of an executor: kernels, device and memory.

use thinkloom_domain::{ExecutorChoice, KernelChoice, KvType};

/// The device that runs the model. The settings have a type of their own, which is read from text and has `auto`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The CPU.
    #[default]
    Cpu,
    /// The CUDA device with this number.
    Cuda(usize),
    /// Apple's GPU.
    Metal,
}

/// Settings of an executor.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ExecutorOptions {
    /// Device that runs the model.
    pub device: DeviceChoice,
    /// Executor that runs the model.
    pub executor: ExecutorChoice,
    /// Kernels of the fused executor.
    pub kernels: KernelChoice,
    /// CPU threads; 0 uses all cores.
    pub threads: usize,
    /// Number format of stored keys and values.
    pub kv_type: KvType,
    /// Blocks of keys and values, of [`BLOCK_TOKENS`](super::BLOCK_TOKENS) positions each.
    pub kv_blocks: usize,
    /// Rows of the largest step.
    pub rows_max: usize,
}
