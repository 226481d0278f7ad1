//! What can go wrong while a model is loaded or sampled.

use std::path::PathBuf;

/// An error of the engine room.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The file cannot be opened or read.
    #[error("cannot read the model {path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is of no known format, is truncated, or declares what cannot be.
    #[error("{path} is no usable model file: {detail}")]
    Malformed {
        /// The model file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The file is well-formed but of a kind this engine does not run.
    #[error("{path} cannot be run: {detail}")]
    Unsupported {
        /// The model file.
        path: PathBuf,
        /// Which property, its value, and what is supported.
        detail: String,
    },
    /// A device or an instruction set that was asked for is not there.
    #[error("the model cannot run as asked: {detail}")]
    NoDevice {
        /// What is missing.
        detail: String,
    },
    /// The system gives no more memory.
    #[error("the model needs {bytes} more bytes of memory than there are")]
    OutOfMemory {
        /// Bytes that were asked for.
        bytes: usize,
    },
    /// The model does not fit the memory of the device.
    #[error("the model does not fit the device: {detail}")]
    DeviceMemory {
        /// What was asked for and what there is.
        detail: String,
    },
    /// A tensor operation failed.
    #[error("the model failed during a step: {0}")]
    Tensor(#[from] candle_core::Error),
    /// A prompt leaves no room for an answer in the model's context.
    #[error("the prompt has {prompt_tokens} tokens, the model's context {context}: no room is left for an answer")]
    PromptTooLong {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Positions of the model.
        context: usize,
    },
    /// A sequence may grow larger than the KV memory.
    #[error("a sequence may grow to {needed} tokens, and the KV memory holds {capacity}")]
    KvTooSmall {
        /// Tokens that the sequence may have.
        needed: usize,
        /// Tokens that fit.
        capacity: usize,
    },
    /// A response has grown longer than it may be to be of use.
    #[error("the response grew longer than it may be to be of use")]
    GivenUp,
    /// The engine takes no new work because the program is stopping.
    #[error("the engine is stopping")]
    Draining,
    /// The engine thread has ended.
    #[error("the engine has stopped: {0}")]
    Stopped(String),
}

impl EngineError {
    /// Returns what the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Io { .. } => Some("check policy.model; `make model` fetches the default model"),
            Self::Malformed { .. } => {
                Some("the file may be truncated: fetch it again, and compare its SHA-256 with the publisher's")
            }
            Self::Unsupported { .. } => {
                Some("README, Models, lists the families, quantizations and tokenizers that are run")
            }
            Self::PromptTooLong { .. } => Some("use a model with a longer context"),
            Self::KvTooSmall { .. } => Some("raise policy.kv_cache_mib, or lower sampling.think_on_tokens_max"),
            Self::NoDevice { .. } => Some("set policy.device, policy.executor and policy.kernels to \"auto\""),
            Self::DeviceMemory { .. } => Some("lower policy.kv_cache_mib or policy.slots, or use a smaller model"),
            Self::OutOfMemory { .. } => Some("lower policy.kv_cache_mib, or use a smaller model"),
            Self::Tensor(_) | Self::Stopped(_) | Self::Draining | Self::GivenUp => None,
        }
    }
}
