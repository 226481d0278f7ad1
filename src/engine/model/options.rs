//! Settings of an executor: kernels, device and memory.

/// Device that runs the model.
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

/// Executor that runs the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExecutorChoice {
    /// `fused` on the CPU, `tensor` elsewhere.
    #[default]
    Auto,
    /// This crate's own kernels; CPU only.
    Fused,
    /// candle's tensors.
    Tensor,
}

/// Kernels that the fused executor uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KernelChoice {
    /// The fastest kernels that the CPU supports.
    #[default]
    Auto,
    /// f32, in the vector unit's widest form up to AVX2 (NEON or SSE on other CPUs).
    Avx2,
    /// f32 on AVX-512: the same bits as `Avx2`.
    Avx512,
    /// bf16 products with f32 sums on AMX tiles.
    Amx,
}

/// Number format of stored keys and values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KvType {
    /// 4 bytes per number.
    #[default]
    F32,
    /// 2 bytes per number, rounded to nearest.
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
