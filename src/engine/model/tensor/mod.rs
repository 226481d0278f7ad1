//! The tensor executor: the decoder on candle's tensors, on any device.
//!
//! `plain` uses only candle's operations: it runs on every device and serves as the reference. `cuda` runs the same
//! decoder on an NVIDIA GPU, with this crate's own kernels and cuBLAS. Both read their parameters through `loading`.
//!
//! Matrices are f32 on the CPU and bf16 on other devices; sums, norms and the residual stream are f32 everywhere. The
//! batch invariance of the fused executor does not hold here: the order of additions in a matrix product depends on the
//! number of rows, so the last bits of a row's logits may depend on the rest of the step.

#[cfg(feature = "cuda")]
mod cuda;
mod device;
mod loading;
mod plain;
#[cfg(test)]
pub(super) mod tests;

use self::plain::PlainModel;
use super::{DeviceChoice, Draw, ExecutorOptions, PickResult, StepInput};
#[cfg(feature = "cuda")]
use super::{PickFault, Picked};
use crate::error::EngineError;
use crate::weights::Weights;

/// A model on candle's tensors.
pub(crate) struct TensorModel {
    backend: Backend,
    weight_bytes: usize,
}

enum Backend {
    Plain(Box<PlainModel>),
    #[cfg(feature = "cuda")]
    Cuda(Box<cuda::CudaModel>),
}

impl TensorModel {
    /// Loads a model onto the device that `options` names.
    ///
    /// # Errors
    /// [`EngineError::NoDevice`] if the machine lacks the device or this build does not support it,
    /// [`EngineError::DeviceMemory`] if the device's memory is too small, [`EngineError::Malformed`] for missing or
    /// misshapen tensors.
    pub(crate) fn load(weights: &Weights, options: &ExecutorOptions) -> Result<Self, EngineError> {
        let device = device::open(options.device)?;
        let config = weights.config()?;
        let weight_bytes = loading::weight_bytes(&config, weights, &device);
        let backend = match options.device {
            #[cfg(feature = "cuda")]
            DeviceChoice::Cuda(_) => Backend::Cuda(Box::new(cuda::CudaModel::load(weights, config, device, options)?)),
            #[cfg(not(feature = "cuda"))]
            DeviceChoice::Cuda(_) => return Err(device::not_built("cuda")),
            DeviceChoice::Cpu | DeviceChoice::Metal => {
                Backend::Plain(Box::new(PlainModel::load(weights, config, device, options)?))
            }
        };
        Ok(Self { backend, weight_bytes })
    }

    /// Excludes `nameless`, the rows of the output matrix that must never be picked.
    ///
    /// # Errors
    /// [`EngineError::DeviceMemory`] if the device has no room for the list.
    pub(crate) fn never_pick(&mut self, nameless: &[u32]) -> Result<(), EngineError> {
        match &mut self.backend {
            Backend::Plain(model) => {
                model.never_pick(nameless);
                Ok(())
            }
            #[cfg(feature = "cuda")]
            Backend::Cuda(model) => model.never_pick(nameless),
        }
    }

    /// Returns the bytes that the matrices occupy on the device.
    #[must_use]
    pub(crate) fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    /// Returns the name of the arithmetic.
    #[must_use]
    pub(crate) fn numerics(&self) -> &'static str {
        match &self.backend {
            Backend::Plain(_) => "tensor",
            #[cfg(feature = "cuda")]
            Backend::Cuda(_) => "bf16-cuda",
        }
    }

    /// Returns whether the host's sampler picks the tokens.
    pub(crate) fn picks_on_host(&self) -> bool {
        match &self.backend {
            Backend::Plain(_) => true,
            #[cfg(feature = "cuda")]
            Backend::Cuda(_) => false,
        }
    }

    /// Runs one step and picks a token for each row that wants one.
    ///
    /// # Errors
    /// [`EngineError::Tensor`] if the device fails.
    pub(crate) fn step(&mut self, input: &StepInput, draws: &[Draw]) -> Result<Vec<PickResult>, EngineError> {
        match &mut self.backend {
            Backend::Plain(model) => model.step(input, draws),
            #[cfg(feature = "cuda")]
            Backend::Cuda(model) => {
                // If the device picks the tokens, the host sees only a log-probability that is not finite, not the
                // logits.
                let checked = |picked: Picked| {
                    if picked.log_probability.is_finite() { Ok(picked) } else { Err(PickFault::NotFinite) }
                };
                Ok(model.step(input, draws)?.into_iter().map(checked).collect())
            }
        }
    }

    /// Runs one step and returns the logits of the rows that want them, `[wanting rows, vocabulary]` f32.
    #[cfg(test)]
    pub(crate) fn logits(&mut self, input: &StepInput) -> Result<Vec<f32>, EngineError> {
        match &mut self.backend {
            Backend::Plain(model) => model.logits(input),
            #[cfg(feature = "cuda")]
            Backend::Cuda(model) => model.logits(input),
        }
    }
}
