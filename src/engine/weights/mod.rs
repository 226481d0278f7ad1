//! The parameters of a model: one view over the file formats, by part instead of by tensor name.
//!
//! Files are memory-mapped and checked when they are opened. An executor reads a tensor's bytes when it packs them, so
//! a model is never in memory twice. Module `model` defines the packed forms.

#![warn(clippy::indexing_slicing)] // what is read here comes from anywhere

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

pub(crate) use directory::ModelDirectory;
pub(crate) use files::{TOKENIZER_BYTES_MAX, read_bounded, read_json};
pub(crate) use gguf::GgufFile;
pub(crate) use json::JsonObject;
#[cfg(test)]
pub(crate) use parts::transformers_name;
pub(crate) use parts::{LayerPart, Part, PartRules, Presence, parts_of};
pub(crate) use raw::RawTensor;

use super::error::EngineError;
use super::model::ModelConfig;

/// The parameters of one model.
pub enum Weights {
    /// A GGUF model, in one file or several.
    Gguf(GgufFile),
    /// A directory as transformers writes it: `config.json`, safetensors, `tokenizer.json`.
    Directory(ModelDirectory),
}

/// Returns the SHA-256 identity of the model at a path (see `Weights::digest`).
pub fn model_digest(path: &Path) -> Result<String, EngineError> {
    Weights::open(path)?.digest()
}

impl Weights {
    /// Opens a model and checks the claims of its headers. A directory is a Hugging Face model, a file is GGUF.
    ///
    /// # Errors
    /// [`EngineError::Io`] if a file cannot be read, [`EngineError::Malformed`] if it is damaged,
    /// [`EngineError::Unsupported`] if its numbers have an unsupported storage type.
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        if path.is_dir() {
            ModelDirectory::open(path).map(Self::Directory)
        } else {
            GgufFile::open(path).map(Self::Gguf)
        }
    }

    /// Reads the decoder's shape, rejects models that the decoder does not implement, and checks that the files contain
    /// every tensor that the decoder needs, each in the right shape, and no other tensors.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] or [`EngineError::Malformed`], naming the key or the tensor.
    pub fn config(&self) -> Result<ModelConfig, EngineError> {
        match self {
            Self::Gguf(file) => ModelConfig::from_gguf(file),
            Self::Directory(directory) => ModelConfig::from_directory(directory),
        }
    }

    /// Returns whether the model has a part.
    #[must_use]
    pub fn has(&self, part: Part) -> bool {
        match self {
            Self::Gguf(file) => file.has_tensor(&parts::gguf_name(part)),
            Self::Directory(directory) => directory.has(part),
        }
    }

    /// Returns a matrix as stored in the file, `[outputs, inputs]`.
    pub fn matrix(&self, part: Part, outputs: usize, inputs: usize) -> Result<RawTensor<'_>, EngineError> {
        self.tensor(part, &[outputs, inputs])
    }

    /// Reads a vector as f32.
    ///
    /// # Errors
    /// As [`Self::matrix`]; [`EngineError::Malformed`] for a number that is not finite, because it would make every
    /// logit NaN or infinite.
    pub fn vector(&self, part: Part, length: usize) -> Result<Vec<f32>, EngineError> {
        self.tensor(part, &[length])?.finite_f32()?.map_err(|detail| self.malformed(detail))
    }

    /// Reads a vector that is optional in a model.
    ///
    /// # Errors
    /// [`EngineError::Malformed`] if the vector is present but has another shape.
    pub fn optional_vector(&self, part: Part, length: usize) -> Result<Option<Vec<f32>>, EngineError> {
        if self.has(part) { self.vector(part, length).map(Some) } else { Ok(None) }
    }

    /// Returns a part as stored in the file.
    pub fn tensor(&self, part: Part, shape: &[usize]) -> Result<RawTensor<'_>, EngineError> {
        match self {
            Self::Gguf(file) => file.tensor(&parts::gguf_name(part), shape),
            Self::Directory(directory) => directory.tensor(part, shape),
        }
    }

    /// Builds the error for a malformed model.
    #[must_use]
    pub fn malformed(&self, detail: String) -> EngineError {
        match self {
            Self::Gguf(file) => file.malformed(detail),
            Self::Directory(directory) => directory.malformed(detail),
        }
    }
}
