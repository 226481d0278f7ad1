//! Which executor runs a model, where, and with what memory.

/// Which device runs the model.
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

/// Which executor runs the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExecutorChoice {
    /// `fused` on the CPU, `tensor` elsewhere.
    #[default]
    Auto,
    /// Own kernels; CPU only.
    Fused,
    /// candle's tensors.
    Tensor,
}

/// Which kernels the fused executor uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KernelChoice {
    /// The fastest that the CPU has.
    #[default]
    Auto,
    /// f32, in the vector unit's widest form up to AVX2 (NEON, SSE elsewhere).
    Avx2,
    /// f32 on AVX-512: the same bits as `Avx2`.
    Avx512,
    /// bf16 products with f32 sums on AMX tiles.
    Amx,
}

/// How keys and values are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KvType {
    /// 4 bytes a number.
    #[default]
    F32,
    /// 2 bytes a number, rounded to nearest.
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
pub struct ExecutorOptions {
    /// Which device.
    pub device: DeviceChoice,
    /// Which executor.
    pub executor: ExecutorChoice,
    /// Which kernels, for the fused executor.
    pub kernels: KernelChoice,
    /// CPU threads; 0 takes all cores.
    pub threads: usize,
    /// How keys and values are stored.
    pub kv_type: KvType,
    /// Blocks of keys and values, of [`BLOCK_TOKENS`](super::BLOCK_TOKENS) positions each.
    pub kv_blocks: usize,
    /// Rows of the largest step.
    pub rows_max: usize,
}
