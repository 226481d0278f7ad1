//! Checks the claims of a GGUF header against the file before candle reads it.
//!
//! candle divides by the alignment, builds a value of 32 bytes for every element of an array and multiplies dimensions
//! without overflow checks. Therefore every claim of a header is first compared with the file's length and with the
//! limits below, which are far above those of any model. Layout:
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.
//!
//! - [`TENSORS_MAX`] tensors and [`ENTRIES_MAX`] metadata entries, no name twice;
//! - [`ELEMENTS_MAX`] elements over all arrays, no arrays of arrays;
//! - [`HEADER_BYTES_MAX`] bytes;
//! - an alignment that is a power of two from 8 to [`ALIGNMENT_MAX`].

use std::collections::HashSet;

use super::gguf_types::type_name;
use crate::error::{FileFault, malformed};

/// Maximum tensors of one file; a model of 126 layers has about 1,100.
pub(super) const TENSORS_MAX: u64 = 1 << 16;
/// Maximum metadata entries of one file; models have fewer than 100.
pub(super) const ENTRIES_MAX: u64 = 1 << 14;
/// Maximum elements of all arrays of one file; a vocabulary of 262,144 tokens has about 1.3 million.
pub(super) const ELEMENTS_MAX: u64 = 8 << 20;
/// Maximum bytes of a header; a vocabulary of 262,144 tokens takes about 16 MB.
pub(super) const HEADER_BYTES_MAX: usize = 256 << 20;
/// Maximum alignment of tensors, in bytes; 32 is usual.
pub(super) const ALIGNMENT_MAX: u64 = 1 << 20;

/// Checks a file's header: counts, lengths, types, names, alignment, and that the product of each tensor's dimensions
/// does not overflow.
///
/// # Errors
/// [`FileFault`], naming the key or the tensor.
pub(super) fn check(file: &[u8]) -> Result<(), FileFault> {
    let mut reader = Reader { file, at: 0, elements: 0 };
    if reader.take(4, "magic number")? != b"GGUF" {
        return malformed("no readable GGUF header: the file does not begin with GGUF");
    }
    let version = reader.u32("version")?;
    if !(2..=3).contains(&version) {
        let detail = format!("its GGUF version is {version}; supported: 2 and 3, little-endian");
        return Err(FileFault::Unsupported(detail));
    }
    let (tensors, entries) = (reader.u64("tensor count")?, reader.u64("metadata count")?);
    for (what, count, max) in [("tensors", tensors, TENSORS_MAX), ("metadata entries", entries, ENTRIES_MAX)] {
        if count > max {
            return malformed(format!("the header declares {count} {what}; at most {max} are read"));
        }
    }
    let mut keys = HashSet::new();
    for _ in 0..entries {
        let key = reader.name("metadata key")?;
        if !keys.insert(key.clone()) {
            return malformed(format!("metadata key {key} occurs twice"));
        }
        reader.value(&key)?;
    }
    let mut names = HashSet::new();
    for _ in 0..tensors {
        let name = reader.name("tensor name")?;
        reader.tensor(&name)?;
        if !names.insert(name.clone()) {
            return malformed(format!("tensor {name} occurs twice"));
        }
    }
    if reader.at > HEADER_BYTES_MAX {
        return malformed(format!("the header has {} bytes; at most {HEADER_BYTES_MAX} are read", reader.at));
    }
    Ok(())
}

/// Reads little-endian numbers, from the beginning of a file.
struct Reader<'a> {
    file: &'a [u8],
    at: usize,
    /// Elements of all arrays that were read so far.
    elements: u64,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: u64, what: &str) -> Result<&'a [u8], FileFault> {
        let end = usize::try_from(count).ok().and_then(|count| self.at.checked_add(count));
        match end.and_then(|end| Some((end, self.file.get(self.at..end)?))) {
            Some((end, bytes)) => {
                self.at = end;
                Ok(bytes)
            }
            None => malformed(format!(
                "no readable GGUF header: the {what} at byte {} reaches past the end of the file, which has {} bytes",
                self.at,
                self.file.len()
            )),
        }
    }

    fn u32(&mut self, what: &str) -> Result<u32, FileFault> {
        let bytes = self.take(4, what)?;
        Ok(bytes.try_into().map_or(0, u32::from_le_bytes))
    }

    fn u64(&mut self, what: &str) -> Result<u64, FileFault> {
        let bytes = self.take(8, what)?;
        Ok(bytes.try_into().map_or(0, u64::from_le_bytes))
    }

    fn text(&mut self, what: &str) -> Result<&'a [u8], FileFault> {
        let length = self.u64(what)?;
        self.take(length, what)
    }

    /// Reads a name as candle does: invalid UTF-8 is replaced, zeros at the end are dropped.
    fn name(&mut self, what: &str) -> Result<String, FileFault> {
        let bytes = self.text(what)?;
        if bytes.len() > usize::from(u16::MAX) {
            return malformed(format!("a {what} has {} bytes; at most 65535 are read", bytes.len()));
        }
        Ok(String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned())
    }

    fn value(&mut self, key: &str) -> Result<(), FileFault> {
        let what = format!("value of metadata key {key}");
        let kind = self.u32(&what)?;
        match kind {
            8 => self.text(&what).map(drop),
            9 => self.array(key, &what),
            kind => {
                let Some(size) = size_of_value(kind) else {
                    return malformed(format!("metadata key {key} is of the unknown type {kind}"));
                };
                let bytes = self.take(size, &what)?;
                if key == "general.alignment" { check_alignment(kind, bytes) } else { Ok(()) }
            }
        }
    }

    fn array(&mut self, key: &str, what: &str) -> Result<(), FileFault> {
        let (kind, count) = (self.u32(what)?, self.u64(what)?);
        self.elements = self.elements.saturating_add(count);
        if self.elements > ELEMENTS_MAX {
            return malformed(format!(
                "the array of metadata key {key} has {count} elements; at most {ELEMENTS_MAX} are read over all keys"
            ));
        }
        match size_of_value(kind) {
            Some(size) => self.take(count.saturating_mul(size), what).map(drop),
            None if kind == 8 => (0..count).try_for_each(|_| self.text(what).map(drop)),
            // No model has arrays of arrays, and they may nest to any depth.
            None if kind == 9 => malformed(format!("metadata key {key} is an array of arrays, which no model has")),
            None => malformed(format!("metadata key {key} is an array of the unknown type {kind}")),
        }
    }

    fn tensor(&mut self, name: &str) -> Result<(), FileFault> {
        let what = format!("description of tensor {name}");
        let dimensions = self.u32(&what)?;
        if !(1..=4).contains(&dimensions) {
            return malformed(format!("tensor {name} has {dimensions} dimensions; 1 to 4 are read"));
        }
        let mut count = Some(1_u64);
        for _ in 0..dimensions {
            let size = self.u64(&what)?;
            count = count.and_then(|count| count.checked_mul(size)).filter(|_| size > 0);
        }
        // The limit is an eighth of the address space, so that sizes in bytes do not overflow either.
        if count.is_none_or(|count| count > u64::MAX >> 3) {
            return malformed(format!("tensor {name} has dimensions of zero size, or larger than any file"));
        }
        let kind = self.u32(&what)?;
        self.u64(&what)?;
        if !matches!(kind, 0..=3 | 6..=15 | 30) {
            let kind = type_name(kind);
            let supported = super::gguf_types::SUPPORTED;
            let detail = format!("tensor {name} is stored as {kind}; supported: {supported}");
            return Err(FileFault::Unsupported(detail));
        }
        Ok(())
    }
}

/// Returns the bytes of a number or truth value; `None` for strings, arrays and unknown types.
fn size_of_value(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

/// Checks the alignment, by which candle divides, for the number types that candle accepts.
fn check_alignment(kind: u32, bytes: &[u8]) -> Result<(), FileFault> {
    // Unsigned and signed integers of up to four bytes.
    if !matches!(kind, 0..=5) {
        return malformed("general.alignment is not a 32-bit integer");
    }
    let is_signed = matches!(kind, 1 | 3 | 5);
    let number = bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let is_negative = is_signed && bytes.last().is_some_and(|byte| byte >> 7 == 1);
    if is_negative || !number.is_power_of_two() || !(8..=ALIGNMENT_MAX).contains(&number) {
        let number = if is_negative { "negative".to_owned() } else { number.to_string() };
        return malformed(format!(
            "general.alignment is {number}; it must be a power of two from 8 to {ALIGNMENT_MAX}"
        ));
    }
    Ok(())
}
