//! The decoder: its shape, the input and output of a step, and the executors that run it.
//!
//! Two executors of the same decoder share one interface: `fused` (this crate's own kernels on the CPU, whose results
//! do not depend on the rest of the step) and `tensor` (candle's tensors, on any device).

mod config;
mod fused;
#[cfg(test)]
mod nameless_tests;
#[cfg(test)]
mod oracle_tests;
mod options;
mod step;
mod tensor;

pub use config::ModelConfig;
pub(crate) use config::{LayerKind, RopeLayout};
#[cfg(test)]
pub(crate) use config::{RopeConfig, RopeScaling};
pub use fused::available_kernels;
pub(crate) use fused::exp;
pub use options::DeviceChoice;
pub(crate) use options::ExecutorOptions;
pub(crate) use step::{BLOCK_TOKENS, BlockId, Nameless, PickFault, PickResult, Row, StepInput};
pub use step::{Draw, Picked};

pub use thinkloom_domain::{ExecutorChoice, KernelChoice, KvType};

use self::fused::FusedModel;
use self::tensor::TensorModel;
use super::error::EngineError;
use super::weights::Weights;

/// A loaded model that runs steps. It owns the memory of keys and values.
pub(crate) enum Executor {
    /// This crate's own kernels on the CPU.
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
    pub(crate) fn load(weights: &Weights, options: &ExecutorOptions) -> Result<Self, EngineError> {
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

    /// Excludes `nameless`, the rows of the output matrix without a token, in order: none of them is picked from now
    /// on.
    ///
    /// # Errors
    /// [`EngineError::DeviceMemory`] if the device has no room for the list.
    pub(crate) fn never_pick(&mut self, nameless: &[u32]) -> Result<(), EngineError> {
        match self {
            Self::Fused(model) => {
                model.never_pick(nameless);
                Ok(())
            }
            Self::Tensor(model) => model.never_pick(nameless),
        }
    }

    /// Returns the name of the kernel family: texts of one family are the same bit for bit.
    #[must_use]
    pub(crate) fn numerics(&self) -> &'static str {
        match self {
            Self::Fused(model) => model.numerics(),
            Self::Tensor(model) => model.numerics(),
        }
    }

    /// Returns the bytes that the weights occupy in memory.
    #[must_use]
    pub(crate) fn weight_bytes(&self) -> usize {
        match self {
            Self::Fused(model) => model.weight_bytes(),
            Self::Tensor(model) => model.weight_bytes(),
        }
    }

    /// Returns whether draws may restrict the allowed tokens; they may not if the device picks the tokens.
    #[must_use]
    pub(crate) fn heeds_allowed_tokens(&self) -> bool {
        match self {
            Self::Fused(_) => true,
            Self::Tensor(model) => model.picks_on_host(),
        }
    }

    /// Runs one step: stores the keys and values of all rows, and picks one token for each row that wants one, in row
    /// order; `draws` has one entry per such row. A fault in one row's pick does not affect other rows.
    ///
    /// # Errors
    /// [`EngineError::Tensor`] if the device fails.
    pub(crate) fn step(&mut self, input: &StepInput, draws: &[Draw]) -> Result<Vec<PickResult>, EngineError> {
        match self {
            Self::Fused(model) => Ok(model.step(input, draws)),
            Self::Tensor(model) => model.step(input, draws),
        }
    }

    /// Runs one step and returns the logits of the rows that want them, `[wanting rows, vocabulary]` f32.
    #[cfg(test)]
    pub(crate) fn logits(&mut self, input: &StepInput) -> Result<Vec<f32>, EngineError> {
        match self {
            Self::Fused(model) => Ok(model.logits(input)),
            Self::Tensor(model) => model.logits(input),
        }
    }
}
