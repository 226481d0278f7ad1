//! SHA-256, the one hash of ids, keys and files: of texts, of lists of texts, of files.
//!
//! Every digest made here stands in a ledger, a manifest or a row, so the bytes that are hashed are a format: changing
//! them changes every stored key.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// Bytes that are read of a file at a time.
const READ_BYTES: usize = 64 << 10;

/// Returns the SHA-256 of `bytes` in lower-case hex.
#[must_use]
pub fn sha256(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Returns the SHA-256 of all that a reader holds in lower-case hex; blocks.
///
/// # Errors
/// What the reader says.
pub fn sha256_of_reader(reader: impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    add_reader(&mut hasher, reader)?;
    Ok(hex::encode(hasher.finalize()))
}

/// Adds all that a reader still holds to a hasher, and returns how many bytes that was; blocks.
///
/// # Errors
/// What the reader says; what was read before it has been added.
pub fn add_reader(hasher: &mut Sha256, mut reader: impl Read) -> io::Result<u64> {
    let mut buffer = vec![0_u8; READ_BYTES];
    let mut total = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(count) => {
                hasher.update(buffer.get(..count).unwrap_or_default());
                total += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A SHA-256 over several texts, each after its length in bytes (a little-endian `u64`), so that no two lists of texts
/// encode alike.
#[derive(Debug, Clone, Default)]
pub struct PartsHasher(Sha256);

impl PartsHasher {
    /// Returns the hasher after these texts.
    #[must_use]
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut hasher = Self::default();
        hasher.add_all(parts);
        hasher
    }

    /// Adds a text.
    pub fn add(&mut self, part: &str) {
        self.add_count(part.len());
        self.0.update(part.as_bytes());
    }

    /// Adds texts.
    pub fn add_all<'a>(&mut self, parts: impl IntoIterator<Item = &'a str>) {
        parts.into_iter().for_each(|part| self.add(part));
    }

    /// Adds a number alone, for instance how many texts follow.
    pub fn add_count(&mut self, count: usize) {
        self.0.update((count as u64).to_le_bytes());
    }

    /// Returns the hash.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }

    /// Returns the hash in lower-case hex.
    #[must_use]
    pub fn hex(self) -> String {
        hex::encode(self.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time, and is interrupted in between.
    struct Dribble<'a> {
        rest: &'a [u8],
        reads: usize,
    }

    impl Read for Dribble<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.reads += 1;
            if self.reads.is_multiple_of(2) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let (now, rest) = self.rest.split_at(self.rest.len().min(3));
            self.rest = rest;
            buffer.iter_mut().zip(now).for_each(|(to, from)| *to = *from);
            Ok(now.len())
        }
    }

    #[test]
    fn a_text_has_the_hash_of_the_standard_however_it_is_read() {
        // FIPS 180-4, the example "abc" of one block and the one of two blocks.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256("abc"), abc);
        assert_eq!(sha256_of_reader(&b"abc"[..]).unwrap(), abc);
        let text = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        let dribble = Dribble { rest: text, reads: 0 };
        let expected = "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1";
        assert_eq!(sha256_of_reader(dribble).unwrap(), expected);
        let mut hasher = Sha256::new();
        hasher.update(&text[..10]);
        assert_eq!(add_reader(&mut hasher, &text[10..]).unwrap(), text.len() as u64 - 10);
        assert_eq!(hex::encode(hasher.finalize()), expected);
    }

    #[test]
    fn parts_are_hashed_after_their_lengths_so_that_neighbours_stay_apart() {
        let bytes = b"\x02\0\0\0\0\0\0\0ab\0\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\xc3\xa4";
        assert_eq!(PartsHasher::of(["ab", "", "\u{e4}"]).hex(), sha256(bytes));
        // From Python: hashlib.sha256 over struct.pack("<Q", len(part)) + part for the UTF-8 of each part.
        assert_eq!(
            PartsHasher::of(["ab", "", "\u{e4}"]).hex(),
            "815078589f8d223c350116d6ee10f850be0fcefbde5639cbf25894c99914aa50"
        );
        assert_ne!(PartsHasher::of(["ab", "c"]).finish(), PartsHasher::of(["a", "bc"]).finish());
        let mut counted = PartsHasher::default();
        counted.add_count(2);
        counted.add_all(["a", "b"]);
        assert_eq!(counted.hex(), sha256(b"\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0a\x01\0\0\0\0\0\0\0b"));
    }
}
