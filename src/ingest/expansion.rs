//! Bounds the unpacked size of a file by its packed size, so that a small file cannot occupy its reader for hours.

use std::io::{self, Read};

/// Bytes that any file may contain; less in tests, so that a test reaches the bound soon.
const BYTES_FREE: u64 = if cfg!(test) { 32 << 20 } else { 1 << 30 };
/// Further bytes per byte of the file. Rows that differ do not compress this well.
const TIMES: u64 = 1000;

/// Returns the maximum number of unpacked bytes for a file of this length.
pub(super) const fn bytes_max_of(length: u64) -> u64 {
    BYTES_FREE.saturating_add(length.saturating_mul(TIMES))
}

/// The content of a file exceeds its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it unpacks to more than {bytes_max} bytes, which is more than {TIMES} times its size")]
pub(super) struct Expanded {
    bytes_max: u64,
}

/// The number of bytes unpacked so far.
#[derive(Debug)]
pub(super) struct Expansion {
    bytes: u64,
    bytes_max: u64,
}

impl Expansion {
    pub(super) const fn new(bytes_max: u64) -> Self {
        Self { bytes: 0, bytes_max }
    }

    /// Adds unpacked bytes.
    ///
    /// # Errors
    /// [`Expanded`] if the sum exceeds the bound.
    pub(super) const fn add(&mut self, bytes: u64) -> Result<(), Expanded> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.bytes_max { Err(Expanded { bytes_max: self.bytes_max }) } else { Ok(()) }
    }
}

/// A stream that ends with an error when it exceeds its bound.
pub(super) struct Bounded<R> {
    input: R,
    expansion: Expansion,
}

impl<R> Bounded<R> {
    pub(super) const fn new(input: R, bytes_max: u64) -> Self {
        Self { input, expansion: Expansion::new(bytes_max) }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.expansion.add(count as u64).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(count)
    }
}

/// Returns whether [`Expanded`] is an error or one of its causes.
pub(super) fn is_expanded(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(current) = next {
        let inner = current.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if current.is::<Expanded>() || inner.is_some_and(|inner| inner.is::<Expanded>()) {
            return true;
        }
        next = current.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_ends_with_its_reason_one_byte_behind_its_bound() {
        let read = |bytes: u64| {
            let mut stream = Bounded::new(io::repeat(b'x').take(bytes), 10);
            io::copy(&mut stream, &mut io::sink())
        };
        assert_eq!(read(10).unwrap(), 10);
        let error = read(11).unwrap_err();
        assert!(is_expanded(&error) && error.to_string().contains("more than 10 bytes"), "{error}");
        assert!(!is_expanded(&io::Error::other("x")));
        assert_eq!(bytes_max_of(u64::MAX), u64::MAX);
    }
}
