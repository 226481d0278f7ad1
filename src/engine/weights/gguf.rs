//! A GGUF file: metadata read with clear errors, tensors as memory-mapped bytes.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{Content, Value};
use memmap2::Mmap;
use sha2::{Digest, Sha256};

use super::{LayerPart, Part, RawTensor};
use crate::engine::error::EngineError;

/// An opened GGUF file.
pub struct GgufFile {
    path: PathBuf,
    map: Mmap,
    content: Content,
}

/// Returns the name that llama.cpp's converter gives a part.
#[must_use]
pub fn tensor_name(part: Part) -> String {
    let (layer, part) = match part {
        Part::Embedding => return "token_embd.weight".to_owned(),
        Part::OutputNorm => return "output_norm.weight".to_owned(),
        Part::Output => return "output.weight".to_owned(),
        Part::Layer(layer, part) => (layer, part),
    };
    let name = match part {
        LayerPart::AttentionNorm => "attn_norm.weight",
        LayerPart::Query => "attn_q.weight",
        LayerPart::Key => "attn_k.weight",
        LayerPart::Value => "attn_v.weight",
        LayerPart::AttentionOutput => "attn_output.weight",
        LayerPart::QueryBias => "attn_q.bias",
        LayerPart::KeyBias => "attn_k.bias",
        LayerPart::ValueBias => "attn_v.bias",
        LayerPart::AttentionOutputBias => "attn_output.bias",
        LayerPart::QueryNorm => "attn_q_norm.weight",
        LayerPart::KeyNorm => "attn_k_norm.weight",
        LayerPart::FfnNorm => "ffn_norm.weight",
        LayerPart::Gate => "ffn_gate.weight",
        LayerPart::Up => "ffn_up.weight",
        LayerPart::Down => "ffn_down.weight",
    };
    format!("blk.{layer}.{name}")
}

impl GgufFile {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// [`EngineError::Io`] if it cannot be read, [`EngineError::Malformed`] if it is no GGUF file, or if a tensor
    /// reaches past the end of the file.
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        let io = |source| EngineError::Io { path: path.to_owned(), source };
        let malformed = |detail: String| EngineError::Malformed { path: path.to_owned(), detail };
        let file = fs_err::File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        if metadata.is_dir() {
            return Err(EngineError::Unsupported {
                path: path.to_owned(),
                detail: "it is a directory; this version reads GGUF files".to_owned(),
            });
        }
        // SAFETY: the map is only read. A program that truncates or rewrites the file meanwhile breaks the run, as it
        // would break any reader of it; the header's claims are checked against the length below.
        let map = unsafe { Mmap::map(file.file()) }.map_err(io)?;
        let content = Content::read(&mut Cursor::new(&map[..])).map_err(|error| malformed(first_line(&error)))?;
        for (name, info) in &content.tensor_infos {
            let blocks = info.shape.elem_count() / info.ggml_dtype.block_size();
            let bytes = (blocks as u64).saturating_mul(info.ggml_dtype.type_size() as u64);
            let end = content.tensor_data_offset.saturating_add(info.offset).saturating_add(bytes);
            if end > metadata.len() {
                return Err(malformed(format!(
                    "tensor {name} ends at byte {end}, but the file has {} bytes",
                    metadata.len()
                )));
            }
        }
        Ok(Self { path: path.to_owned(), map, content })
    }

    /// Returns the path it was opened with.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the parsed header.
    #[must_use]
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// Returns a string from the metadata, if the key is present.
    ///
    /// # Errors
    /// [`EngineError::Malformed`] if the key holds something else.
    pub fn string(&self, key: &str) -> Result<Option<&str>, EngineError> {
        let Some(value) = self.content.metadata.get(key) else { return Ok(None) };
        match value {
            Value::String(text) => Ok(Some(text)),
            _ => Err(self.malformed(format!("metadata key {key} is no string"))),
        }
    }

    /// Returns an unsigned integer of any width from the metadata, if the key is present.
    ///
    /// # Errors
    /// [`EngineError::Malformed`] if the key holds something else, or a negative number.
    pub fn unsigned(&self, key: &str) -> Result<Option<u64>, EngineError> {
        let Some(value) = self.content.metadata.get(key) else { return Ok(None) };
        let number = match value {
            Value::U8(number) => Some(u64::from(*number)),
            Value::U16(number) => Some(u64::from(*number)),
            Value::U32(number) => Some(u64::from(*number)),
            Value::U64(number) => Some(*number),
            Value::I8(number) => u64::try_from(*number).ok(),
            Value::I16(number) => u64::try_from(*number).ok(),
            Value::I32(number) => u64::try_from(*number).ok(),
            Value::I64(number) => u64::try_from(*number).ok(),
            _ => None,
        };
        number.map(Some).ok_or_else(|| self.malformed(format!("metadata key {key} is no unsigned integer")))
    }

    /// Returns a float from the metadata, if the key is present.
    ///
    /// # Errors
    /// [`EngineError::Malformed`] if the key holds something else.
    pub fn float(&self, key: &str) -> Result<Option<f32>, EngineError> {
        let Some(value) = self.content.metadata.get(key) else { return Ok(None) };
        value.to_f32().map(Some).map_err(|_| self.malformed(format!("metadata key {key} is no float")))
    }

    /// Returns a required unsigned integer as `usize`.
    ///
    /// # Errors
    /// [`EngineError::Malformed`] if it is absent, of another type, or zero.
    pub fn size(&self, key: &str) -> Result<usize, EngineError> {
        let number = self.unsigned(key)?.ok_or_else(|| self.malformed(format!("metadata key {key} is missing")))?;
        match usize::try_from(number) {
            Ok(size) if size > 0 => Ok(size),
            _ => Err(self.malformed(format!("metadata key {key} is {number}"))),
        }
    }

    /// Returns whether a tensor is in the file.
    #[must_use]
    pub fn has_tensor(&self, name: &str) -> bool {
        self.content.tensor_infos.contains_key(name)
    }

    /// Returns one tensor after checking its shape (outermost dimension first).
    ///
    /// # Errors
    /// [`EngineError::Malformed`] if it is missing or of another shape.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<RawTensor<'_>, EngineError> {
        let info = self.content.tensor_infos.get(name);
        let info = info.ok_or_else(|| self.malformed(format!("tensor {name} is missing")))?;
        if info.shape.dims() != shape {
            let found = info.shape.dims();
            return Err(self.malformed(format!("tensor {name} has shape {found:?}, expected {shape:?}")));
        }
        let row_length: usize = shape.iter().skip(1).product();
        if shape.len() > 1 && row_length % info.ggml_dtype.block_size() != 0 {
            let block = info.ggml_dtype.block_size();
            return Err(self.malformed(format!("tensor {name} has rows of {row_length}, not whole blocks of {block}")));
        }
        let length = info.shape.elem_count() / info.ggml_dtype.block_size() * info.ggml_dtype.type_size();
        let start = (self.content.tensor_data_offset + info.offset) as usize;
        let bytes = self.map.get(start..start + length);
        let bytes = bytes.ok_or_else(|| self.malformed(format!("tensor {name} reaches past the end of the file")))?;
        Ok(RawTensor { name: name.to_owned(), dtype: info.ggml_dtype, shape: shape.to_vec(), bytes })
    }

    /// Reads a one-dimensional tensor as f32.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub fn vector(&self, name: &str, length: usize) -> Result<Vec<f32>, EngineError> {
        self.tensor(name, &[length])?.to_f32()
    }

    /// Builds the error for a file that is not what it should be.
    #[must_use]
    pub fn malformed(&self, detail: String) -> EngineError {
        EngineError::Malformed { path: self.path.clone(), detail }
    }

    /// Builds the error for a file that this engine does not run.
    #[must_use]
    pub fn unsupported(&self, detail: String) -> EngineError {
        EngineError::Unsupported { path: self.path.clone(), detail }
    }
}

/// Returns the SHA-256 of a file's bytes, in hex.
///
/// # Errors
/// [`EngineError::Io`] if it cannot be read.
pub fn file_sha256(path: &Path) -> Result<String, EngineError> {
    let io = |source| EngineError::Io { path: path.to_owned(), source };
    let mut file = fs_err::File::open(path).map_err(io)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0_u8; 1 << 20];
    loop {
        let count = file.read(&mut buffer).map_err(io)?;
        if count == 0 {
            return Ok(hex::encode(hasher.finalize()));
        }
        hasher.update(&buffer[..count]);
    }
}

/// candle appends a back trace to its messages when one is enabled; people need the first line only.
fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
