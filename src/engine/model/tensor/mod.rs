//! The tensor executor: the decoder on candle's tensors, on any device.
//!
//! `plain` is built of candle's operations alone: it runs everywhere and serves as the reference. `cuda` runs the same
//! decoder on an NVIDIA GPU with its own kernels around cuBLAS. Both take their parameters from `loading`.
//!
//! Matrices are f32 on the CPU and bf16 elsewhere; sums, norms and the residual stream are f32 everywhere. What the
//! fused executor promises does not hold here: a matrix product's order of additions goes with the number of rows, so
//! a row's logits may differ in their last bits with what else is in the step.

#[cfg(feature = "cuda")]
mod cuda;
mod device;
mod loading;
mod plain;
#[cfg(test)]
pub mod tests;

use self::plain::PlainModel;
use super::{DeviceChoice, Draw, ExecutorOptions, PickResult, StepInput};
#[cfg(feature = "cuda")]
use super::{PickFault, Picked};
use crate::error::EngineError;
use crate::weights::Weights;

/// A model on candle's tensors.
pub struct TensorModel {
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
    /// [`EngineError::NoDevice`] if there is no such device or this build has no support for it,
    /// [`EngineError::DeviceMemory`] if its memory is too small; [`EngineError::Malformed`] for missing or misshapen
    /// tensors.
    pub fn load(weights: &Weights, options: &ExecutorOptions) -> Result<Self, EngineError> {
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

    /// Takes the rows of the output matrix that are never to be picked.
    ///
    /// # Errors
    /// [`EngineError::DeviceMemory`] if the device has no room for them.
    pub fn never_pick(&mut self, nameless: &[u32]) -> Result<(), EngineError> {
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
    pub fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    /// Returns the name of the arithmetic.
    #[must_use]
    pub fn numerics(&self) -> &'static str {
        match &self.backend {
            Backend::Plain(_) => "tensor",
            #[cfg(feature = "cuda")]
            Backend::Cuda(_) => "bf16-cuda",
        }
    }

    /// Returns whether tokens are picked by this program's own sampler.
    pub fn picks_on_host(&self) -> bool {
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
    pub fn step(&mut self, input: &StepInput, draws: &[Draw]) -> Result<Vec<PickResult>, EngineError> {
        match &mut self.backend {
            Backend::Plain(model) => model.step(input, draws),
            #[cfg(feature = "cuda")]
            Backend::Cuda(model) => {
                // Where tokens are picked on the device, a sum that is not finite is all that is seen of the logits.
                let checked = |picked: Picked| {
                    if picked.log_probability.is_finite() { Ok(picked) } else { Err(PickFault::NotFinite) }
                };
                Ok(model.step(input, draws)?.into_iter().map(checked).collect())
            }
        }
    }

    /// Runs one step and returns the logits of the rows that want them, `[wanting rows, vocabulary]` f32.
    ///
    /// # Errors
    /// [`EngineError::Tensor`] if the device fails.
    #[cfg(test)]
    pub fn logits(&mut self, input: &StepInput) -> Result<Vec<f32>, EngineError> {
        match &mut self.backend {
            Backend::Plain(model) => model.logits(input),
            #[cfg(feature = "cuda")]
            Backend::Cuda(model) => model.logits(input),
        }
    }
}
