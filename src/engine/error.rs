//! The errors of loading and sampling a model.

use std::path::{Path, PathBuf};

use thinkloom_domain::text::shortened;

/// An error of the engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The file cannot be opened or read.
    #[error("cannot read the model {path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A file has an unknown format, is truncated, or declares impossible values.
    #[error("{path} is not a usable model file: {detail}")]
    Malformed {
        /// The model file.
        path: PathBuf,
        /// What is wrong with the file.
        detail: String,
    },
    /// The file is well-formed, but the engine does not support its kind.
    #[error("{path} is not supported: {detail}")]
    Unsupported {
        /// The model file.
        path: PathBuf,
        /// The property, its value, and the supported values.
        detail: String,
    },
    /// The requested device or instruction set is missing.
    #[error("the requested device or kernels are not available: {detail}")]
    NoDevice {
        /// What is missing.
        detail: String,
    },
    /// The operating system refused to allocate memory.
    #[error("out of memory: the model needs {bytes} more bytes")]
    OutOfMemory {
        /// Requested bytes.
        bytes: usize,
    },
    /// The model does not fit the memory of the device.
    #[error("the model does not fit the device's memory: {detail}")]
    DeviceMemory {
        /// The requested and the available memory.
        detail: String,
    },
    /// A tensor operation failed.
    #[error("the model failed during a step: {0}")]
    Tensor(#[from] candle_core::Error),
    /// The model computed logits that are not finite.
    #[error("the model gave logits that are not finite: {0}")]
    NotFinite(String),
    /// One response failed; other responses continue.
    #[error("the response failed: {0}")]
    Response(String),
    /// A prompt leaves no room for an answer in the model's context.
    #[error("the prompt has {prompt_tokens} tokens, the model's context {context}: no room is left for an answer")]
    PromptTooLong {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Context of the model, in tokens.
        context: usize,
    },
    /// A text is too long to be tokenized: it certainly has more tokens than the context holds.
    #[error("the prompt has {bytes} bytes, more than the model's context of {context} tokens holds")]
    TextTooLong {
        /// Bytes of the text.
        bytes: usize,
        /// Context of the model, in tokens.
        context: usize,
    },
    /// A sequence may grow larger than the KV memory.
    #[error("a sequence may grow to {needed} tokens, but the KV memory holds {capacity}")]
    KvTooSmall {
        /// Tokens that the sequence may have.
        needed: usize,
        /// Tokens that the KV memory holds.
        capacity: usize,
    },
    /// A response exceeded its useful length.
    #[error("response abandoned: it exceeded its useful length")]
    GivenUp,
    /// The engine rejects new work because the program is stopping.
    #[error("the engine is stopping")]
    Draining,
    /// The engine's thread has ended.
    #[error("the engine has stopped: {0}")]
    Stopped(String),
}

/// Maximum characters of a message that quotes a model file: names and texts in the file may have any length.
const DETAIL_CHARS_MAX: usize = 600;

/// A fault in a model file, found by code that reads bytes and does not know the path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FileFault {
    /// The file is inconsistent, or exceeds a limit that no real model reaches.
    Malformed(String),
    /// The file has a kind, or requires a feature, that the engine does not support.
    Unsupported(String),
}

impl FileFault {
    /// Returns the error for the file at `path`.
    #[must_use]
    pub(crate) fn at(self, path: &Path) -> EngineError {
        let path = path.to_owned();
        match self {
            Self::Malformed(detail) => EngineError::Malformed { path, detail: shown(&detail) },
            Self::Unsupported(detail) => EngineError::Unsupported { path, detail: shown(&detail) },
        }
    }
}

/// Returns the fault of a malformed file.
pub(super) fn malformed<T>(detail: impl Into<String>) -> Result<T, FileFault> {
    Err(FileFault::Malformed(detail.into()))
}

/// Returns a message about a file in a form that is safe to print: cut at [`DETAIL_CHARS_MAX`] characters, and with
/// U+FFFD instead of control characters, which could steer a terminal.
#[must_use]
pub(crate) fn shown(detail: &str) -> String {
    let plain = |letter: char| if letter.is_control() { '\u{fffd}' } else { letter };
    shortened(detail, DETAIL_CHARS_MAX).chars().map(plain).collect()
}

impl EngineError {
    /// Returns whether the error is that a prompt exceeds the model's context.
    #[must_use]
    pub fn is_too_long(&self) -> bool {
        matches!(self, Self::PromptTooLong { .. } | Self::TextTooLong { .. })
    }

    /// Returns what the user can do about the error.
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
