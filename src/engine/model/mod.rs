//! The decoder: its shape, what a step needs and gives, and the executors that run it.
//!
//! Two executors of the same decoder stand behind one interface: `fused` (own kernels on the CPU, whose results do not
//! depend on what else is in the step) and `tensor` (candle's tensors, on any device).

mod config;
mod fused;
#[cfg(test)]
mod oracle_tests;
mod tensor;

pub use config::{LayerKind, ModelConfig, RopeLayout};
#[cfg(test)]
pub use config::{RopeConfig, RopeScaling};
pub use fused::exp;

use std::sync::Arc;

use self::fused::FusedModel;
use self::tensor::TensorModel;
use super::error::EngineError;
use super::grammar::TokenSet;
use super::kv::BlockId;
use super::weights::Weights;

/// Positions in one block of keys and values.
pub const BLOCK_TOKENS: usize = 16;

/// One token of one sequence, to be run in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Token id.
    pub token: u32,
    /// 0-based position in its sequence.
    pub position: usize,
    /// Index into the step's block tables.
    pub table: usize,
    /// Whether a token is to be picked after this one.
    pub wants_logits: bool,
}

/// Everything one step needs to know.
///
/// Every row's position lies inside its table's blocks, positions below it have been run before or stand earlier in
/// this step, and blocks that are written belong to one sequence only.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StepInput {
    /// Rows of one sequence stand together, positions ascending.
    pub rows: Vec<Row>,
    /// One block table per sequence: the blocks that hold its positions, in order.
    pub tables: Vec<Vec<BlockId>>,
}

/// How one token is picked from its row of logits.
#[derive(Debug, Clone, PartialEq)]
pub struct Draw {
    /// 0 takes the highest logit; otherwise logits are divided by it.
    pub temperature: f32,
    /// Nucleus, in (0, 1]; 1 keeps all.
    pub top_p: f32,
    /// How many of the likeliest tokens are kept; 0 keeps all.
    pub top_k: u32,
    /// Tokens less likely than this share of the likeliest one are dropped, in 0..1; 0 keeps all.
    pub min_p: f32,
    /// The random number, in [0, 1).
    pub uniform: f32,
    /// The only tokens that may be picked, if not all; not on CUDA devices.
    pub allowed: Option<Arc<TokenSet>>,
}

/// A picked token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Picked {
    /// Its id.
    pub token: u32,
    /// Natural logarithm of its probability under the model: softmax over the whole vocabulary at temperature 1,
    /// whatever the draw's temperature and cuts were.
    pub log_probability: f32,
}

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
    /// Blocks of keys and values, of [`BLOCK_TOKENS`] positions each.
    pub kv_blocks: usize,
    /// Rows of the largest step.
    pub rows_max: usize,
}

/// A loaded model that runs steps. Owns the memory of keys and values.
pub enum Executor {
    /// Own kernels on the CPU.
    Fused(Box<FusedModel>),
    /// candle's tensors on any device.
    Tensor(Box<TensorModel>),
}

impl Executor {
    /// Loads a model.
    ///
    /// # Errors
    /// [`EngineError::NoDevice`] for a device or kernels that this machine or this build lacks,
    /// [`EngineError::DeviceMemory`] if the device's memory is too small, [`EngineError::Malformed`] for missing or
    /// misshapen tensors.
    pub fn load(weights: &Weights, options: &ExecutorOptions) -> Result<Self, EngineError> {
        match (options.executor, options.device) {
            (ExecutorChoice::Tensor, _) | (ExecutorChoice::Auto, DeviceChoice::Cuda(_) | DeviceChoice::Metal) => {
                Ok(Self::Tensor(Box::new(TensorModel::load(weights, options)?)))
            }
            (ExecutorChoice::Fused | ExecutorChoice::Auto, DeviceChoice::Cpu) => {
                Ok(Self::Fused(Box::new(FusedModel::load(weights, options)?)))
            }
            (ExecutorChoice::Fused, _) => {
                let detail = "the fused executor runs on the CPU only; use executor \"tensor\" or \"auto\"".to_owned();
                Err(EngineError::NoDevice { detail })
            }
        }
    }

    /// Returns the name of the kernels' family: texts of one family are the same bit for bit.
    #[must_use]
    pub fn numerics(&self) -> &'static str {
        match self {
            Self::Fused(model) => model.numerics(),
            Self::Tensor(model) => model.numerics(),
        }
    }

    /// Returns the bytes that the weights occupy in memory.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        match self {
            Self::Fused(model) => model.weight_bytes(),
            Self::Tensor(model) => model.weight_bytes(),
        }
    }

    /// Returns whether draws may name the tokens that are allowed: not where tokens are picked on the device.
    #[must_use]
    pub fn heeds_allowed_tokens(&self) -> bool {
        match self {
            Self::Fused(_) => true,
            Self::Tensor(model) => model.picks_on_host(),
        }
    }

    /// Runs one step: keeps the keys and values of all rows, and picks one token for each row that wants one, in row
    /// order; `draws` says how, one per wanting row.
    ///
    /// # Errors
    /// [`EngineError::Tensor`] if the device fails.
    pub fn step(&mut self, input: &StepInput, draws: &[Draw]) -> Result<Vec<Picked>, EngineError> {
        match self {
            Self::Fused(model) => Ok(model.step(input, draws)),
            Self::Tensor(model) => model.step(input, draws),
        }
    }

    /// Runs one step and returns the logits of the rows that want them, `[wanting rows, vocabulary]` f32.
    ///
    /// # Errors
    /// As [`Self::step`].
    #[cfg(test)]
    pub fn logits(&mut self, input: &StepInput) -> Result<Vec<f32>, EngineError> {
        match self {
            Self::Fused(model) => Ok(model.logits(input)),
            Self::Tensor(model) => model.logits(input),
        }
    }
}
