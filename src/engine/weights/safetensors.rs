//! safetensors files: headers checked, tensors as memory-mapped bytes.

use std::path::{Path, PathBuf};

use candle_core::quantized::GgmlDType;
use memmap2::Mmap;
use safetensors::tensor::{Dtype, Metadata};
use safetensors::{SafeTensorError, SafeTensors};

use super::raw::RawTensor;
use crate::engine::error::EngineError;

/// One file, opened.
pub struct SafetensorsFile {
    path: PathBuf,
    map: Mmap,
    metadata: Metadata,
    /// Where the tensors' bytes begin.
    start: usize,
}

impl SafetensorsFile {
    /// Opens a file and checks its header: every tensor's bytes follow the last one's, fit its shape, and the last one
    /// ends with the file.
    ///
    /// # Errors
    /// [`EngineError::Io`] if it cannot be read, [`EngineError::Malformed`] if the header does not describe the file.
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        let io = |source| EngineError::Io { path: path.to_owned(), source };
        let file = fs_err::File::open(path).map_err(io)?;
        // SAFETY: the map is only read. A program that truncates or rewrites the file meanwhile breaks the run, as it
        // would break any reader of it; the header's claims are checked against the length below.
        let map = unsafe { Mmap::map(file.file()) }.map_err(io)?;
        let (header, metadata) = SafeTensors::read_metadata(&map)
            .map_err(|error| EngineError::Malformed { path: path.to_owned(), detail: describe(&error, map.len()) })?;
        Ok(Self { path: path.to_owned(), map, metadata, start: header + size_of::<u64>() })
    }

    /// Returns its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the names of its tensors.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    /// Returns a tensor's shape, outermost dimension first.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.metadata.info(name).map(|info| info.shape.as_slice())
    }

    /// Returns one tensor after checking its shape (outermost dimension first).
    ///
    /// # Errors
    /// [`EngineError::Malformed`] if it is missing or of another shape, [`EngineError::Unsupported`] if its numbers are
    /// not bf16, f16 or f32.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<RawTensor<'_>, EngineError> {
        let malformed = |detail: String| EngineError::Malformed { path: self.path.clone(), detail };
        let info = self.metadata.info(name).ok_or_else(|| malformed(format!("tensor {name} is missing")))?;
        if info.shape != shape {
            return Err(malformed(format!("tensor {name} has shape {:?}, expected {shape:?}", info.shape)));
        }
        let dtype = match info.dtype {
            Dtype::BF16 => GgmlDType::BF16,
            Dtype::F16 => GgmlDType::F16,
            Dtype::F32 => GgmlDType::F32,
            other => {
                let detail = format!("tensor {name} is stored as {other:?}; supported: BF16, F16, F32");
                return Err(EngineError::Unsupported { path: self.path.clone(), detail });
            }
        };
        let (from, to) = info.data_offsets;
        let bytes = self.map.get(self.start + from..self.start + to);
        let bytes = bytes.ok_or_else(|| malformed(format!("tensor {name} reaches past the end of the file")))?;
        Ok(RawTensor { name: name.to_owned(), dtype, shape: shape.to_vec(), bytes })
    }
}

/// Says what is wrong with a file of some length, in words of the file instead of the reader's.
fn describe(error: &SafeTensorError, length: usize) -> String {
    match error {
        SafeTensorError::MetadataIncompleteBuffer => {
            format!(
                "the header's tensors do not end where the file does, at {length} bytes: it is truncated, or longer"
            )
        }
        SafeTensorError::InvalidHeaderLength | SafeTensorError::HeaderTooSmall => {
            format!("the header is longer than the file, which has {length} bytes")
        }
        SafeTensorError::InvalidOffset(name) => {
            format!("tensor {name} does not begin where the one before it ends: offsets overlap or leave a gap")
        }
        SafeTensorError::TensorInvalidInfo => "a tensor's shape and type do not fit its offsets".to_owned(),
        other => format!("no readable safetensors header: {other}"),
    }
}
