//! What can go wrong while a model is loaded or sampled.

use std::path::{Path, PathBuf};

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
    /// The model gave logits that are not finite.
    #[error("the model gave logits that are not finite: {0}")]
    NotFinite(String),
    /// One response could not go on; others do.
    #[error("the response could not go on: {0}")]
    Response(String),
    /// A prompt leaves no room for an answer in the model's context.
    #[error("the prompt has {prompt_tokens} tokens, the model's context {context}: no room is left for an answer")]
    PromptTooLong {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Positions of the model.
        context: usize,
    },
    /// A text is so long that it is not tokenized: it has more tokens than there is room for.
    #[error("the prompt has {bytes} bytes, more than the model's context of {context} tokens holds")]
    TextTooLong {
        /// Bytes of the text.
        bytes: usize,
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

/// Characters of a message that quotes a model's file: names and texts in it may be of any length.
const DETAIL_CHARS_MAX: usize = 600;

/// What is wrong with a model's file, told by who reads bytes and knows no path.
#[derive(Debug, PartialEq, Eq)]
pub enum FileFault {
    /// It contradicts itself or the file, or has more of something than any model.
    Malformed(String),
    /// It is of a kind, or asks for something, that this engine does not do.
    Unsupported(String),
}

impl FileFault {
    /// Returns the error of the file at a path.
    #[must_use]
    pub fn at(self, path: &Path) -> EngineError {
        let path = path.to_owned();
        match self {
            Self::Malformed(detail) => EngineError::Malformed { path, detail: shown(&detail) },
            Self::Unsupported(detail) => EngineError::Unsupported { path, detail: shown(&detail) },
        }
    }
}

/// Returns that a file is malformed.
pub(super) fn malformed<T>(detail: impl Into<String>) -> Result<T, FileFault> {
    Err(FileFault::Malformed(detail.into()))
}

/// Returns a message about a file as it can be shown: cut where it is far too long, and without characters that steer a
/// terminal.
#[must_use]
pub fn shown(detail: &str) -> String {
    let plain = |letter: char| if letter.is_control() { '\u{fffd}' } else { letter };
    let mut text: String = detail.chars().take(DETAIL_CHARS_MAX).map(plain).collect();
    if detail.chars().nth(DETAIL_CHARS_MAX).is_some() {
        text.push_str("...");
    }
    text
}

impl EngineError {
    /// Returns whether a prompt is at fault for being longer than the model's context.
    #[must_use]
    pub fn is_too_long(&self) -> bool {
        matches!(self, Self::PromptTooLong { .. } | Self::TextTooLong { .. })
    }

    /// Returns what the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Io { .. } => Some("check policy.model; `make model` fetches the default model"),
            Self::Malformed { .. } => {
                Some("the file may be truncated: fetch it again, and compare its SHA-256 with the publisher's")
            }
            Self::Unsupported { .. } => {
                Some("`thinkloom help models` lists the families, quantizations and tokenizers that thinkloom runs")
            }
            Self::PromptTooLong { .. } | Self::TextTooLong { .. } => Some("use a model with a longer context"),
            Self::KvTooSmall { .. } => Some("raise policy.kv_cache_mib, or lower sampling.think_on_tokens_max"),
            Self::NoDevice { .. } => Some("set policy.device, policy.executor and policy.kernels to \"auto\""),
            Self::DeviceMemory { .. } => Some("lower policy.kv_cache_mib or policy.slots, or use a smaller model"),
            Self::OutOfMemory { .. } => Some("lower policy.kv_cache_mib, or use a smaller model"),
            Self::NotFinite(_) => Some(
                "the model file is damaged, or its numbers do not fit the device's: fetch it again and compare its SHA-256 \
                 with the publisher's, or use a file of another quantization",
            ),
            Self::Tensor(_) | Self::Stopped(_) | Self::Response(_) | Self::Draining | Self::GivenUp => None,
        }
    }
}
