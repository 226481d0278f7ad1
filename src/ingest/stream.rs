//! The bytes of a text file in the form that the row readers expect: hashed, decompressed, UTF-8, lines with LF.
//!
//! A byte order mark identifies UTF-16, in either byte order. An unpaired surrogate becomes a byte that is invalid in
//! UTF-8, so that the row is reported and not repaired silently. A file whose first 256 KiB contain CR and no LF has CR
//! line ends. The hash covers the file's bytes as stored, to the end of the file.

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::expansion::{Bounded, bytes_max_of};
use super::format::Compression;
use super::{IngestError, InputFile};
use crate::domain::digest;

/// Bytes read ahead per stream.
const BUFFER_BYTES: usize = 64 * 1024;
/// Bytes that are examined before the first row.
const PEEKED_BYTES: usize = 256 * 1024;
/// The largest accepted window of a Zstandard frame, as a power of two: 2 GiB, which `zstd --long=31` writes. A frame
/// with such a window takes that much memory, as the window fills.
const WINDOW_LOG_MAX: u32 = 31;
/// A byte that never occurs in UTF-8 text.
const NO_TEXT: u8 = 0xff;

/// A decoded text file.
pub(super) struct TextStream {
    /// Its text, from the start.
    pub(super) text: Box<dyn BufRead + Send>,
    /// The beginning of the text, up to [`PEEKED_BYTES`].
    pub(super) head: Vec<u8>,
    /// The hash of the file's bytes.
    pub(super) bytes: ReadBytes,
}

/// The running hash of the bytes read from a file.
#[derive(Clone)]
pub(super) struct ReadBytes(Arc<Mutex<Hashing>>);

struct Hashing {
    file: fs_err::File,
    hasher: Sha256,
}

impl ReadBytes {
    /// Reads the rest of the file, and returns the SHA-256 of all its bytes in hex.
    pub(super) fn digest(&self) -> io::Result<String> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Hashing { file, hasher } = &mut *state;
        digest::add_reader(hasher, file)?;
        Ok(hex::encode(hasher.clone().finalize()))
    }
}

impl Read for ReadBytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // One thread reads a stream, so this never waits for the lock.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = state.file.read(buffer)?;
        state.hasher.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// Opens a text file; decompresses and decodes it while it is read.
pub(super) fn open_text(file: &InputFile, compression: Compression) -> Result<TextStream, IngestError> {
    let unopenable = |source| IngestError::Unopenable { file: file.name.clone(), source };
    let opened = fs_err::File::open(&file.path).map_err(unopenable)?;
    let bytes_max = bytes_max_of(opened.metadata().map_err(unopenable)?.len());
    let bytes = ReadBytes(Arc::new(Mutex::new(Hashing { file: opened, hasher: Sha256::new() })));
    let mut raw = BufReader::with_capacity(BUFFER_BYTES, bytes.clone());
    let is_empty = raw.fill_buf().map_err(unopenable)?.is_empty();
    let plain: Box<dyn Read + Send> = match compression {
        // An empty file is not a valid archive, but it is reported as a file without rows.
        _ if is_empty => Box::new(io::empty()),
        Compression::None => Box::new(raw),
        Compression::Gzip => Box::new(Bounded::new(flate2::bufread::MultiGzDecoder::new(raw), bytes_max)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(raw).map_err(unopenable)?;
            decoder.window_log_max(WINDOW_LOG_MAX).map_err(unopenable)?;
            Box::new(Bounded::new(decoder, bytes_max))
        }
    };
    let (text, head) = decoded(plain);
    Ok(TextStream { text, head, bytes })
}

/// Converts a stream to UTF-8 text with LF or CRLF line ends; also returns its beginning.
fn decoded(plain: Box<dyn Read + Send>) -> (Box<dyn BufRead + Send>, Vec<u8>) {
    let (plain, mark) = peeked(plain, 2);
    let order = match mark.as_slice() {
        [0xff, 0xfe] => Some(Order::Little),
        [0xfe, 0xff] => Some(Order::Big),
        _ => None,
    };
    let text: Box<dyn Read + Send> = match order {
        Some(order) => Box::new(Utf16 { input: plain, order, pending: Vec::new(), high: None, out: Vec::new(), at: 0 }),
        None => plain,
    };
    let (text, mut head) = peeked(text, PEEKED_BYTES);
    let has = |wanted: u8| head.contains(&wanted);
    // The last byte may be the first half of a CRLF, so it is ignored.
    let is_cr = !has(b'\n') && head.split_last().is_some_and(|(_, rest)| rest.contains(&b'\r'));
    if is_cr {
        head.iter_mut().filter(|byte| **byte == b'\r').for_each(|byte| *byte = b'\n');
        return (Box::new(BufReader::with_capacity(BUFFER_BYTES, CarriageReturns(text))), head);
    }
    (Box::new(BufReader::with_capacity(BUFFER_BYTES, text)), head)
}

/// Reads the beginning of a stream, and returns it with the whole stream. The reader of the stream gets any error.
fn peeked(mut stream: Box<dyn Read + Send>, bytes_max: usize) -> (Box<dyn Read + Send>, Vec<u8>) {
    let mut head = Vec::new();
    let failed = stream.by_ref().take(bytes_max as u64).read_to_end(&mut head).err();
    let begun = Cursor::new(head.clone());
    match failed {
        Some(error) => (Box::new(begun.chain(Failing(Some(error)))), head),
        None => (Box::new(begun.chain(stream)), head),
    }
}

/// A stream whose next read fails.
struct Failing(Option<io::Error>);

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(self.0.take().unwrap_or_else(|| io::Error::other("the stream failed before")))
    }
}

/// Converts CR line ends to LF.
struct CarriageReturns(Box<dyn Read + Send>);

impl Read for CarriageReturns {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        buffer.iter_mut().take(count).filter(|byte| **byte == b'\r').for_each(|byte| *byte = b'\n');
        Ok(count)
    }
}

#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

/// Converts UTF-16 with a byte order mark to UTF-8 without one.
struct Utf16 {
    input: Box<dyn Read + Send>,
    order: Order,
    /// The first byte of a unit whose second byte has not been read yet.
    pending: Vec<u8>,
    /// The first half of a surrogate pair.
    high: Option<u16>,
    out: Vec<u8>,
    at: usize,
}

impl Utf16 {
    /// Decodes the next bytes; returns whether there were any.
    fn fill(&mut self) -> io::Result<bool> {
        let mut chunk = vec![0; BUFFER_BYTES];
        let count = self.input.read(&mut chunk)?;
        self.out.clear();
        self.at = 0;
        if count == 0 {
            let is_torn = self.high.take().is_some() || !self.pending.is_empty();
            self.pending.clear();
            self.out.extend(is_torn.then_some(NO_TEXT));
            return Ok(is_torn);
        }
        self.pending.extend(chunk.iter().take(count));
        let whole = self.pending.len() / 2 * 2;
        let bytes: Vec<u8> = self.pending.drain(..whole).collect();
        for pair in bytes.chunks_exact(2) {
            let pair = [pair.first().copied().unwrap_or(0), pair.last().copied().unwrap_or(0)];
            let unit = match self.order {
                Order::Little => u16::from_le_bytes(pair),
                Order::Big => u16::from_be_bytes(pair),
            };
            self.unit(unit);
        }
        Ok(true)
    }

    fn unit(&mut self, unit: u16) {
        let units = self.high.take().into_iter().chain([unit]).collect::<Vec<_>>();
        if units.len() == 1 && (0xd800..0xdc00).contains(&unit) {
            self.high = Some(unit);
            return;
        }
        for decoded in char::decode_utf16(units) {
            match decoded {
                Ok('\u{feff}') => {}
                Ok(character) => {
                    let mut bytes = [0; 4];
                    self.out.extend_from_slice(character.encode_utf8(&mut bytes).as_bytes());
                }
                Err(_) => self.out.push(NO_TEXT),
            }
        }
    }
}

impl Read for Utf16 {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.out.len() {
            if !self.fill()? {
                return Ok(0);
            }
        }
        let mut rest = self.out.get(self.at..).unwrap_or_default();
        let count = rest.read(buffer)?;
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        decoded(Box::new(Cursor::new(bytes.to_vec()))).0.read_to_end(&mut out).unwrap();
        out
    }

    fn utf16(text: &str, order: Order) -> Vec<u8> {
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        units
            .flat_map(|unit| match order {
                Order::Little => unit.to_le_bytes(),
                Order::Big => unit.to_be_bytes(),
            })
            .collect()
    }

    #[test]
    fn utf_16_of_either_order_becomes_utf_8_and_halves_of_pairs_stay_visible() {
        let text = "a\r\n\u{e9} \u{1f600} \u{4e2d}\n".repeat(20_000);
        assert_eq!(text_of(&utf16(&text, Order::Little)), text.as_bytes());
        assert_eq!(text_of(&utf16(&text, Order::Big)), text.as_bytes());
        assert_eq!(text_of(b"\xff\xfea\0\x3d\xd8b\0"), b"a\xffb");
        assert_eq!(text_of(b"\xff\xfea\0\x3d\xd8"), b"a\xff");
        assert_eq!(text_of(b"\xff\xfea\0b"), b"a\xff");
        assert_eq!(text_of(b"\xff\xfe"), b"");
    }

    #[test]
    fn carriage_returns_alone_end_lines_and_beside_line_feeds_stay() {
        assert_eq!(text_of(b"a\rb\rc"), b"a\nb\nc");
        assert_eq!(text_of(b"a\r\nb\rc"), b"a\r\nb\rc");
        assert_eq!(text_of(b"a\r"), b"a\r");
        let long = [b"a\r".repeat(PEEKED_BYTES), b"b\n".to_vec()].concat();
        assert!(!text_of(&long).contains(&b'\r'));
    }

    #[test]
    fn the_hash_is_that_of_the_whole_file_however_little_of_it_was_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let bytes = b"0123456789".repeat(100_000);
        fs_err::write(&path, &bytes).unwrap();
        let file = InputFile { name: "a".to_owned(), path: path.clone() };
        let stream = open_text(&file, Compression::None).unwrap();
        assert_eq!(stream.bytes.digest().unwrap(), digest::sha256(&bytes));
        let mut stream = open_text(&file, Compression::None).unwrap();
        stream.text.read_to_end(&mut Vec::new()).unwrap();
        assert_eq!(stream.bytes.digest().unwrap(), digest::sha256(&bytes));
    }
}
