//! safetensors files: headers checked, tensors as memory-mapped bytes.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use candle_core::quantized::GgmlDType;
use memmap2::Mmap;
use safetensors::tensor::{Dtype, Metadata};
use safetensors::{SafeTensorError, SafeTensors};

use super::files::open_map;
use super::raw::RawTensor;
use crate::error::{EngineError, shown};

/// One opened file.
pub(super) struct SafetensorsFile {
    path: PathBuf,
    map: Mmap,
    metadata: Metadata,
    /// Offset of the first tensor byte.
    start: usize,
}

impl SafetensorsFile {
    /// Opens a file and checks its header: every tensor's bytes fit its shape and follow those of the previous tensor,
    /// and the last tensor ends at the end of the file.
    ///
    /// # Errors
    /// [`EngineError::Io`] if the file cannot be read, [`EngineError::Malformed`] if the header does not describe the
    /// file.
    pub(super) fn open(path: &Path) -> Result<Self, EngineError> {
        let map = open_map(path)?;
        check_header(&map)
            .map_err(|detail| EngineError::Malformed { path: path.to_owned(), detail: shown(&detail) })?;
        let (header, metadata) = SafeTensors::read_metadata(&map)
            .map_err(|error| describe(&error, map.len()))
            .map_err(|detail| EngineError::Malformed { path: path.to_owned(), detail: shown(&detail) })?;
        Ok(Self { path: path.to_owned(), map, metadata, start: header + size_of::<u64>() })
    }

    /// Returns the file's path.
    #[must_use]
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the names of the file's tensors.
    #[must_use]
    pub(super) fn names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    /// Returns a tensor's shape, outermost dimension first.
    #[must_use]
    pub(super) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.metadata.info(name).map(|info| info.shape.as_slice())
    }

    /// Returns one tensor after checking its shape (outermost dimension first).
    ///
    /// # Errors
    /// [`EngineError::Malformed`] if the tensor is missing or has another shape, [`EngineError::Unsupported`] if its
    /// numbers are not bf16, f16 or f32.
    pub(super) fn tensor(&self, name: &str, shape: &[usize]) -> Result<RawTensor<'_>, EngineError> {
        let malformed = |detail: String| EngineError::Malformed { path: self.path.clone(), detail: shown(&detail) };
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
        let place = self.start.checked_add(from).zip(self.start.checked_add(to));
        let bytes = place.and_then(|(from, to)| self.map.get(from..to));
        let bytes = bytes.ok_or_else(|| malformed(format!("tensor {name} reaches past the end of the file")))?;
        Ok(RawTensor { name: name.to_owned(), dtype, shape: shape.to_vec(), bytes })
    }
}

/// Maximum bytes of a header; a model of 1,100 tensors has about 150 kB.
const HEADER_BYTES_MAX: u64 = 16 << 20;

/// Checks properties that the library does not check: the header's length, that no tensor occurs twice (the library
/// would keep the last one), and that no tensor's end lets sums of lengths overflow.
fn check_header(file: &[u8]) -> Result<(), String> {
    let Some((length, rest)) = file.split_first_chunk::<8>() else { return Ok(()) };
    let length = u64::from_le_bytes(*length);
    let Some(header) = usize::try_from(length).ok().and_then(|length| rest.get(..length)) else { return Ok(()) };
    if length > HEADER_BYTES_MAX {
        return Err(format!("its header has {length} bytes; at most {HEADER_BYTES_MAX} are read"));
    }
    // The library rejects a header that is not JSON.
    let Ok(survey) = serde_json::from_slice::<Survey>(header) else { return Ok(()) };
    match (survey.twice, survey.end > file.len() as u64) {
        (Some(twice), _) => Err(format!("tensor {twice} occurs twice in its header")),
        (None, true) => Err(describe(&SafeTensorError::MetadataIncompleteBuffer, file.len())),
        (None, false) => Ok(()),
    }
}

/// The part of the header that [`check_header`] examines.
#[derive(Default)]
struct Survey {
    /// The first name that occurs twice.
    twice: Option<String>,
    /// The highest offset.
    end: u64,
}

/// One value of the header's object.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Entry {
    Tensor { data_offsets: (u64, u64) },
    Other(serde::de::IgnoredAny),
}

impl<'de> serde::Deserialize<'de> for Survey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SurveyVisitor)
    }
}

struct SurveyVisitor;

impl<'de> serde::de::Visitor<'de> for SurveyVisitor {
    type Value = Survey;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an object of tensors")
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Survey, A::Error> {
        let (mut seen, mut survey) = (HashSet::new(), Survey::default());
        while let Some((name, entry)) = map.next_entry::<String, Entry>()? {
            if let Entry::Tensor { data_offsets: (from, to) } = entry {
                survey.end = survey.end.max(from).max(to);
            }
            if !seen.insert(name.clone()) {
                survey.twice.get_or_insert(name);
            }
        }
        Ok(survey)
    }
}

/// Returns what is wrong with a file of `length` bytes, in terms of the file instead of the reader.
fn describe(error: &SafeTensorError, length: usize) -> String {
    match error {
        SafeTensorError::MetadataIncompleteBuffer => {
            format!("the header's tensors do not end where the file ends ({length} bytes): it is truncated or too long")
        }
        SafeTensorError::InvalidHeaderLength | SafeTensorError::HeaderTooSmall => {
            format!("the header is longer than the file, which has {length} bytes")
        }
        SafeTensorError::InvalidOffset(name) => {
            format!("tensor {name} does not begin where the previous tensor ends: offsets overlap or leave a gap")
        }
        SafeTensorError::TensorInvalidInfo => "a tensor's shape and type do not fit its offsets".to_owned(),
        other => format!("no readable safetensors header: {other}"),
    }
}
