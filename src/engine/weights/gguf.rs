//! A GGUF file: metadata with clear errors, tensors as memory-mapped bytes.
//!
//! A model may be split into files named `...-00001-of-00003.gguf`. The first file holds the metadata, and opening it
//! opens all files.

use std::collections::{BTreeMap, HashSet};
use std::io::Cursor;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{Content, TensorInfo, Value};
use memmap2::Mmap;

use super::files::open_map;
use super::gguf_header;
use super::gguf_types::{self, SUPPORTED};
use super::parts::{PartRules, Presence, gguf_name, parts_of};
use super::raw::{RawTensor, byte_length};
use crate::error::{EngineError, shown};
use crate::model::ModelConfig;

/// Maximum files of one model; file names have five digits.
const PARTS_MAX: u64 = 10_000;

/// An opened GGUF model, with all its files.
pub struct GgufFile {
    first: Piece,
    others: Vec<Piece>,
}

/// One file of the model.
struct Piece {
    path: PathBuf,
    map: Mmap,
    content: Content,
}

/// Returns whether the decoder does not look up the tensor by part: rotary factors, and frequencies that follow from
/// the metadata.
fn is_rotary(name: &str) -> bool {
    name == "rope_freqs.weight" || name.ends_with(".inv_freq") || name.ends_with(".attn_rot_embd")
}

impl GgufFile {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// [`EngineError::Io`] if the file cannot be read; [`EngineError::Malformed`] if it is not a GGUF file, if a tensor
    /// reaches past the end of the file, or if a file of a split model is missing; [`EngineError::Unsupported`] for an
    /// unsupported storage type.
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        let mut file = Self { first: Piece::open(path)?, others: Vec::new() };
        let count = file.unsigned("split.count")?.unwrap_or(1);
        if count <= 1 {
            return Ok(file);
        }
        let number = file.unsigned("split.no")?.unwrap_or(0);
        if count > PARTS_MAX || number >= count {
            return Err(file.malformed(format!(
                "split.no is {number} of a split.count of {count}; a file has at most {PARTS_MAX} parts, counted from 0"
            )));
        }
        let ending = format!("-{:05}-of-{count:05}.gguf", number + 1);
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some(stem) = name.strip_suffix(&ending) else {
            let detail = format!("it is part {} of {count}, but its name does not end in {ending}", number + 1);
            return Err(file.malformed(detail));
        };
        let part_path = |number: u64| path.with_file_name(format!("{stem}-{number:05}-of-{count:05}.gguf"));
        if number != 0 {
            let first = part_path(1);
            return Err(file.unsupported(format!(
                "it is part {} of {count}; use the first part, {}",
                number + 1,
                first.display()
            )));
        }
        for number in 2..=count {
            let piece = Piece::open(&part_path(number))?;
            let own = piece.content.metadata.get("split.no").and_then(unsigned);
            if own != Some(number - 1) {
                let own = own.map_or("missing".to_owned(), |own| own.to_string());
                return Err(piece.malformed(format!("split.no is {own}, expected {}", number - 1)));
            }
            file.others.push(piece);
        }
        let tensors: usize = file.pieces().map(|piece| piece.content.tensor_infos.len()).sum();
        #[expect(clippy::disallowed_methods, reason = "they are counted")]
        let names: HashSet<&String> = file.pieces().flat_map(|piece| piece.content.tensor_infos.keys()).collect();
        if names.len() < tensors {
            return Err(file.malformed("two of its parts have a tensor of the same name".to_owned()));
        }
        match file.unsigned("split.tensors.count")? {
            Some(declared) if declared != tensors as u64 => {
                Err(file.malformed(format!("split.tensors.count is {declared}, but all parts have {tensors} tensors")))
            }
            _ => Ok(file),
        }
    }

    /// Returns the path that was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.first.path
    }

    fn pieces(&self) -> impl Iterator<Item = &Piece> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Returns the paths of all files, the first one first.
    pub(super) fn paths(&self) -> Vec<&Path> {
        self.pieces().map(|piece| piece.path.as_path()).collect()
    }

    /// Returns a value from the metadata, if the key is present.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.first.content.metadata.get(key)
    }

    /// Returns a string from the metadata, if the key is present.
    pub fn string(&self, key: &str) -> Result<Option<&str>, EngineError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.malformed(format!("metadata key {key} is not a string"))),
        }
    }

    /// Returns an unsigned integer of any width from the metadata, if the key is present.
    pub fn unsigned(&self, key: &str) -> Result<Option<u64>, EngineError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        unsigned(value)
            .map(Some)
            .ok_or_else(|| self.malformed(format!("metadata key {key} is not an unsigned integer")))
    }

    /// Returns a finite float from the metadata, if the key is present.
    pub fn float(&self, key: &str) -> Result<Option<f32>, EngineError> {
        let number = match self.value(key) {
            None => return Ok(None),
            Some(Value::F32(number)) => *number,
            Some(Value::F64(number)) => *number as f32,
            Some(_) => return Err(self.malformed(format!("metadata key {key} is not a float"))),
        };
        match number.is_finite() {
            true => Ok(Some(number)),
            false => Err(self.malformed(format!("metadata key {key} is {number}"))),
        }
    }

    /// Returns a truth value from the metadata, if the key is present.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>, EngineError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.malformed(format!("metadata key {key} is neither true nor false"))),
        }
    }

    /// Returns an array from the metadata, if the key is present; `read` converts or rejects each value.
    pub fn array<'a, T>(
        &'a self,
        key: &str,
        kind: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<Vec<T>>, EngineError> {
        let malformed = || self.malformed(format!("metadata key {key} is not an array of {kind}"));
        match self.value(key) {
            None => Ok(None),
            Some(Value::Array(values)) => {
                values.iter().map(|value| read(value).ok_or_else(malformed)).collect::<Result<_, _>>().map(Some)
            }
            Some(_) => Err(malformed()),
        }
    }

    /// Returns a required integer from 1 to `max`.
    pub fn size(&self, key: &str, max: usize) -> Result<usize, EngineError> {
        let number = self.unsigned(key)?.ok_or_else(|| self.malformed(format!("metadata key {key} is missing")))?;
        match usize::try_from(number) {
            Ok(size) if (1..=max).contains(&size) => Ok(size),
            _ => Err(self.malformed(format!("metadata key {key} is {number}; it must be from 1 to {max}"))),
        }
    }

    /// Returns the maximum number of layers that the file can contain: each layer has tensors of its own.
    #[must_use]
    pub fn layers_max(&self) -> usize {
        self.pieces().map(|piece| piece.content.tensor_infos.len()).sum()
    }

    /// Returns the names of all tensors with their shapes, sorted.
    fn tensors(&self) -> Vec<(&String, &[usize])> {
        let infos = self.pieces().flat_map(|piece| &piece.content.tensor_infos);
        let mut found: Vec<_> = infos.map(|(name, info)| (name, info.shape.dims())).collect();
        found.sort_unstable();
        found
    }

    /// Returns whether the file contains a tensor.
    #[must_use]
    pub fn has_tensor(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Returns a tensor's shape, outermost dimension first.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.find(name).map(|(_, info)| info.shape.dims())
    }

    fn find(&self, name: &str) -> Option<(&Piece, &TensorInfo)> {
        self.pieces().find_map(|piece| Some((piece, piece.content.tensor_infos.get(name)?)))
    }

    /// Returns one tensor after checking its shape (outermost dimension first).
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<RawTensor<'_>, EngineError> {
        let (piece, info) = self.find(name).ok_or_else(|| self.malformed(format!("tensor {name} is missing")))?;
        let found = info.shape.dims();
        if found != shape {
            return Err(piece.malformed(format!("tensor {name} has shape {found:?}, expected {shape:?}")));
        }
        let bytes = piece.bytes(info);
        let bytes = bytes.ok_or_else(|| piece.malformed(format!("tensor {name} reaches past the end of the file")))?;
        Ok(RawTensor { name: name.to_owned(), dtype: info.ggml_dtype, shape: shape.to_vec(), bytes })
    }

    /// Reads a one-dimensional tensor as f32.
    ///
    /// # Errors
    /// As [`Self::tensor`]; [`EngineError::Malformed`] for a number that is not finite.
    pub fn vector(&self, name: &str, length: usize) -> Result<Vec<f32>, EngineError> {
        self.tensor(name, &[length])?.finite_f32()?.map_err(|detail| self.malformed(detail))
    }

    /// Checks that the file contains every tensor that the model needs, each in the right shape, and no other tensors.
    ///
    /// # Errors
    /// [`EngineError::Malformed`] for a missing or misshapen tensor, [`EngineError::Unsupported`] for a tensor that the
    /// decoder would not use.
    pub fn check_parts(&self, config: &ModelConfig, rules: PartRules) -> Result<(), EngineError> {
        let mut used = HashSet::new();
        for (part, presence, shape) in parts_of(config, rules) {
            let name = gguf_name(part);
            let is_wanted = presence == Presence::Required || presence == Presence::Optional && self.has_tensor(&name);
            if is_wanted {
                self.tensor(&name, &shape)?;
                used.insert(name);
            }
        }
        match self.tensors().into_iter().find(|(name, _)| !used.contains(*name) && !is_rotary(name)) {
            Some((name, _)) => Err(self.unsupported(format!(
                "tensor {name} is not part of a decoder of architecture {} with {} layers",
                config.architecture,
                config.layers.len()
            ))),
            None => Ok(()),
        }
    }

    /// Builds the error for a malformed file.
    #[must_use]
    pub fn malformed(&self, detail: String) -> EngineError {
        self.first.malformed(detail)
    }

    /// Builds the error for a model that the engine does not support.
    #[must_use]
    pub fn unsupported(&self, detail: String) -> EngineError {
        EngineError::Unsupported { path: self.first.path.clone(), detail: shown(&detail) }
    }
}

impl Piece {
    fn open(path: &Path) -> Result<Self, EngineError> {
        let malformed = |detail: String| EngineError::Malformed { path: path.to_owned(), detail: shown(&detail) };
        let map = open_map(path)?;
        gguf_header::check(&map).map_err(|fault| fault.at(path))?;
        let content = Content::read(&mut Cursor::new(&map[..]))
            .map_err(|error| malformed(format!("no readable GGUF header: {}", first_line(&error))))?;
        let piece = Self { path: path.to_owned(), map, content };
        piece.check_tensors()?;
        Ok(piece)
    }

    /// Checks that every tensor has a supported type, is inside the file, and shares no byte with another tensor.
    fn check_tensors(&self) -> Result<(), EngineError> {
        let mut places = Vec::new();
        // In order of their names, so that of several faults the same is told each time.
        #[expect(clippy::disallowed_methods, reason = "put in order")]
        let infos: BTreeMap<_, _> = self.content.tensor_infos.iter().collect();
        for (name, info) in infos {
            let shape = info.shape.dims();
            if !gguf_types::is_supported(info.ggml_dtype) {
                let kind = info.ggml_dtype;
                let detail = format!("tensor {name} is stored as {kind:?}; supported: {SUPPORTED}");
                return Err(EngineError::Unsupported { path: self.path.clone(), detail });
            }
            let Some(length) = byte_length(info.ggml_dtype, shape) else {
                let block = info.ggml_dtype.block_size();
                let detail = format!("tensor {name} of shape {shape:?} has rows that are not whole blocks of {block}");
                return Err(self.malformed(detail));
            };
            if self.bytes(info).is_none() {
                let file = self.map.len();
                return Err(
                    self.malformed(format!("tensor {name} reaches past the end, but the file has {file} bytes"))
                );
            }
            places.push((info.offset, info.offset.saturating_add(length as u64), name));
        }
        // Shared bytes would let a small file expand to more numbers than it holds: each tensor takes memory of its
        // own.
        places.sort_unstable();
        let shared = places.iter().zip(places.iter().skip(1)).find(|((_, end, _), (start, ..))| start < end);
        match shared {
            Some(((_, _, first), (_, _, second))) => {
                Err(self.malformed(format!("tensors {first} and {second} share bytes of the file")))
            }
            None => Ok(()),
        }
    }

    fn bytes(&self, info: &TensorInfo) -> Option<&[u8]> {
        let length = byte_length(info.ggml_dtype, info.shape.dims())?;
        let start = usize::try_from(self.content.tensor_data_offset.checked_add(info.offset)?).ok()?;
        self.map.get(start..start.checked_add(length)?)
    }

    fn malformed(&self, detail: String) -> EngineError {
        EngineError::Malformed { path: self.path.clone(), detail: shown(&detail) }
    }
}

/// Returns an unsigned integer of any width.
pub(super) fn unsigned(value: &Value) -> Option<u64> {
    match value {
        Value::U8(number) => Some(u64::from(*number)),
        Value::U16(number) => Some(u64::from(*number)),
        Value::U32(number) => Some(u64::from(*number)),
        Value::U64(number) => Some(*number),
        Value::I8(number) => u64::try_from(*number).ok(),
        Value::I16(number) => u64::try_from(*number).ok(),
        Value::I32(number) => u64::try_from(*number).ok(),
        Value::I64(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

/// candle appends a back trace to its messages if back traces are enabled; users need the first line only.
fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
