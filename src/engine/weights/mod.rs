//! Where a model's parameters come from: one view over the file formats, by part instead of by tensor name.
//!
//! Files are memory-mapped and checked when they are opened; a tensor's bytes are read when an executor packs them, so
//! that a model never stands in memory twice. What the executors make of the parts is `model`'s business.

mod digest;
mod directory;
mod files;
mod gguf;
mod gguf_header;
mod gguf_types;
#[cfg(test)]
mod header_tests;
mod json;
mod parts;
mod raw;
mod safetensors;
#[cfg(test)]
mod tests;

use std::path::Path;

pub use directory::ModelDirectory;
pub use files::{TOKENIZER_BYTES_MAX, read_bounded, read_json};
pub use gguf::GgufFile;
pub use json::JsonObject;
#[cfg(test)]
pub use parts::transformers_name;
pub use parts::{LayerPart, Part, PartRules, Presence, parts_of};
pub use raw::RawTensor;

use super::error::EngineError;
use super::model::ModelConfig;

/// The parameters of one model.
pub enum Weights {
    /// A GGUF file, in one or several parts.
    Gguf(GgufFile),
    /// A directory as transformers writes it: `config.json`, safetensors, `tokenizer.json`.
    Directory(ModelDirectory),
}

/// Returns the SHA-256 identity of the model at a path (see `Weights::digest`).
///
/// # Errors
/// [`EngineError::Io`] if it cannot be read, [`EngineError::Malformed`] if it is damaged.
pub fn model_digest(path: &Path) -> Result<String, EngineError> {
    Weights::open(path)?.digest()
}

impl Weights {
    /// Opens a model and checks what its headers declare. A directory is a Hugging Face model, a file is GGUF.
    ///
    /// # Errors
    /// [`EngineError::Io`] if it cannot be read, [`EngineError::Malformed`] if it is damaged,
    /// [`EngineError::Unsupported`] if its numbers are stored in a way that is not read here.
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        if path.is_dir() {
            ModelDirectory::open(path).map(Self::Directory)
        } else {
            GgufFile::open(path).map(Self::Gguf)
        }
    }

    /// Reads the decoder's shape, refuses what the decoder does not implement, and checks that every tensor the
    /// decoder needs is there in the right shape, and that there is none it would not use.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] or [`EngineError::Malformed`], naming the key or the tensor.
    pub fn config(&self) -> Result<ModelConfig, EngineError> {
        match self {
            Self::Gguf(file) => ModelConfig::from_gguf(file),
            Self::Directory(directory) => ModelConfig::from_directory(directory),
        }
    }

    /// Returns whether a part is there.
    #[must_use]
    pub fn has(&self, part: Part) -> bool {
        match self {
            Self::Gguf(file) => file.has_tensor(&parts::gguf_name(part)),
            Self::Directory(directory) => directory.has(part),
        }
    }

    /// Returns a matrix as it lies in the file, `[outputs, inputs]`.
    ///
    /// # Errors
    /// [`EngineError::Malformed`] if it is missing or of another shape.
    pub fn matrix(&self, part: Part, outputs: usize, inputs: usize) -> Result<RawTensor<'_>, EngineError> {
        self.tensor(part, &[outputs, inputs])
    }

    /// Reads a vector as f32.
    ///
    /// # Errors
    /// As [`Self::matrix`]; [`EngineError::Malformed`] for a number that is not finite, which would make every logit
    /// one that is none.
    pub fn vector(&self, part: Part, length: usize) -> Result<Vec<f32>, EngineError> {
        self.tensor(part, &[length])?.finite_f32()?.map_err(|detail| self.malformed(detail))
    }

    /// Reads a vector that a model may do without.
    ///
    /// # Errors
    /// [`EngineError::Malformed`] if it is there and of another shape.
    pub fn optional_vector(&self, part: Part, length: usize) -> Result<Option<Vec<f32>>, EngineError> {
        if self.has(part) { self.vector(part, length).map(Some) } else { Ok(None) }
    }

    /// Returns a part as it lies in the file.
    ///
    /// # Errors
    /// As [`Self::matrix`].
    pub fn tensor(&self, part: Part, shape: &[usize]) -> Result<RawTensor<'_>, EngineError> {
        match self {
            Self::Gguf(file) => file.tensor(&parts::gguf_name(part), shape),
            Self::Directory(directory) => directory.tensor(part, shape),
        }
    }

    /// Builds the error for a model that is not what it should be.
    #[must_use]
    pub fn malformed(&self, detail: String) -> EngineError {
        match self {
            Self::Gguf(file) => file.malformed(detail),
            Self::Directory(directory) => directory.malformed(detail),
        }
    }
}
