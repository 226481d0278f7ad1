//! The features of all rows in a file: blocks of rows, followed, if the file is kept as an index, by a footer that
//! describes its contents.
//!
//! ```text
//! block   keys, band by band (u32 each) | rows (exact, gold, ordinal, flags, four lengths) | records
//! footer  JSON: version, settings, files, blocks with their checksums | its length (u64) | magic (8 bytes)
//! ```
//! All numbers are little-endian. A record is the row's id, the caller's note, the benchmark hit and the normalised
//! text. Rows are only appended; an index is extended by further blocks and a new footer over the old one. A truncated
//! or changed file is rejected, and the caller starts again from the input: the index is a cache.
//!
//! Memory: 58 bytes per row, and one block of at most 16,384 rows while rows are added.

#![expect(clippy::disallowed_methods, reason = "its errors name the index")]

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::contamination::Hit;
use super::extract::Features;
use super::shingles::hash_bytes;

const MAGIC: &[u8; 8] = b"tldedup1";
const BLOCK_ROWS: usize = 16_384;
/// The approximate largest size of a block's records, in bytes.
const BLOCK_BYTES: usize = 32 << 20;
/// Flags of a row.
const TAKES_PART: u64 = 1;
const TELLING_GOLD: u64 = 2;
const ROW_BYTES: usize = 16 + 8 + 8 + 1 + 4 * 4;

/// A failure of the store's file.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be written or read.
    #[error("cannot use the deduplication index: {0}")]
    Io(#[from] std::io::Error),
    /// The file is not an index, is damaged, or has another version or other settings.
    #[error("cannot use the deduplication index: {0}")]
    Unusable(&'static str),
    /// The input has more rows than a row number can count.
    #[error("the input has more than {} queries", u32::MAX)]
    TooManyRows,
}

/// An input file that an index covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexedFile {
    /// SHA-256 of its bytes, in hex.
    pub digest: String,
    /// The number of the file's rows, bad rows included.
    pub rows: u64,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Block {
    offset: u64,
    rows: usize,
    records: u64,
    checksum: u64,
}

#[derive(Serialize, Deserialize)]
struct Footer {
    settings: String,
    bands: usize,
    files: Vec<IndexedFile>,
    blocks: Vec<Block>,
}

/// The texts of a row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Record {
    /// The row's id.
    pub id: String,
    /// The caller's note.
    pub note: Vec<u8>,
    /// The benchmark item that contains the query.
    pub hit: Option<Hit>,
    /// The normalised text.
    pub text: String,
}

/// All rows, in the order of their addition.
#[derive(Debug)]
pub struct RowStore {
    file: File,
    end: u64,
    bands: usize,
    blocks: Vec<Block>,
    pub(super) exact: Vec<u128>,
    /// The answer keys; 0 for no answer.
    pub(super) gold: Vec<u64>,
    pub(super) takes_part: Vec<bool>,
    is_gold_telling: Vec<bool>,
    ordinals: Vec<u64>,
    places: Vec<u64>,
    lengths: Vec<[u32; 4]>,
    keys: Vec<u32>,
    records: Vec<u8>,
}

impl RowStore {
    /// Builds an empty store over an empty file. Each row has `bands` keys.
    #[must_use]
    pub fn new(file: File, bands: usize) -> Self {
        Self {
            file,
            end: 0,
            bands,
            blocks: Vec::new(),
            exact: Vec::new(),
            gold: Vec::new(),
            takes_part: Vec::new(),
            is_gold_telling: Vec::new(),
            ordinals: Vec::new(),
            places: Vec::new(),
            lengths: Vec::new(),
            keys: Vec::new(),
            records: Vec::new(),
        }
    }

    /// Opens a kept index with the same settings, and returns it with the input files that it covers.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] if the file is missing, damaged or has other settings.
    pub fn open(path: &Path, settings: &str) -> Result<(Self, Vec<IndexedFile>), StoreError> {
        let mut file = match File::options().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(StoreError::Unusable("the file does not exist yet"));
            }
            Err(error) => return Err(error.into()),
        };
        let cut = StoreError::Unusable("the file was truncated or changed");
        let size = file.metadata()?.len();
        let Some(tail) = size.checked_sub(16) else { return Err(cut) };
        let mut ending = [0; 16];
        read_at(&file, &mut ending, tail)?;
        let (length, magic) = ending.split_at(8);
        if magic != MAGIC {
            return Err(cut);
        }
        let Some(start) = tail.checked_sub(number(length)) else { return Err(cut) };
        let mut footer = vec![0; usize::try_from(tail - start).unwrap_or(0)];
        read_at(&file, &mut footer, start)?;
        let Ok(footer) = serde_json::from_slice::<Footer>(&footer) else { return Err(cut) };
        if footer.settings != settings {
            return Err(StoreError::Unusable("other settings, fields, benchmarks or another version made the file"));
        }
        file.seek(SeekFrom::Start(0))?;
        let mut store = Self::new(file, footer.bands);
        for block in footer.blocks {
            store.load(block)?;
        }
        if store.end != start {
            return Err(StoreError::Unusable("the file was truncated or changed"));
        }
        Ok((store, footer.files))
    }

    fn load(&mut self, block: Block) -> Result<(), StoreError> {
        let cut = || StoreError::Unusable("the file was truncated or changed");
        let (keys, rows) = (4 * self.bands * block.rows, ROW_BYTES * block.rows);
        let size = keys as u64 + rows as u64 + block.records;
        if block.offset != self.end || block.rows > BLOCK_ROWS || size > self.file.metadata()?.len() {
            return Err(cut());
        }
        let mut bytes = vec![0; usize::try_from(size).map_err(|_| cut())?];
        self.file.read_exact(&mut bytes)?;
        if hash_bytes(&bytes) != block.checksum {
            return Err(cut());
        }
        let mut place = block.offset + keys as u64 + rows as u64;
        for row in bytes.get(keys..keys + rows).unwrap_or_default().chunks_exact(ROW_BYTES) {
            let at = |start: usize, length: usize| number(row.get(start..start + length).unwrap_or_default());
            self.exact.push(u128::from(at(0, 8)) | u128::from(at(8, 8)) << 64);
            self.gold.push(at(16, 8));
            self.ordinals.push(at(24, 8));
            self.takes_part.push(at(32, 1) & TAKES_PART != 0);
            self.is_gold_telling.push(at(32, 1) & TELLING_GOLD != 0);
            let lengths = [33, 37, 41, 45].map(|start| u32::try_from(at(start, 4)).unwrap_or(0));
            self.places.push(place);
            self.lengths.push(lengths);
            place += lengths.iter().map(|&length| u64::from(length)).sum::<u64>();
        }
        self.end += size;
        self.blocks.push(block);
        Ok(())
    }

    /// Adds a row. The store keeps only the note of a row that does not take part.
    pub fn push(&mut self, ordinal: u64, id: &str, note: &[u8], features: Option<&Features>) -> Result<(), StoreError> {
        if self.exact.len() >= u32::MAX as usize {
            return Err(StoreError::TooManyRows);
        }
        let hit = features.and_then(|features| features.hit.as_ref()).map(serde_json::to_vec);
        let hit = hit.transpose().map_err(std::io::Error::other)?.unwrap_or_default();
        let text = features.map_or("", |features| &features.text);
        let parts = [id.as_bytes(), note, &hit, text.as_bytes()];
        self.exact.push(features.map_or(0, |features| features.exact));
        self.gold.push(features.and_then(|features| features.gold).unwrap_or(0));
        self.takes_part.push(features.is_some());
        self.is_gold_telling.push(features.is_some_and(|features| features.is_gold_telling));
        self.ordinals.push(ordinal);
        self.places.push(self.records.len() as u64);
        self.lengths.push(parts.map(|part| u32::try_from(part.len()).unwrap_or(u32::MAX)));
        parts.iter().for_each(|part| self.records.extend_from_slice(part));
        // A text without words must meet no other text, so its keys are its row number.
        let keys = features.map_or(&[][..], |features| &features.keys);
        self.keys.extend((0..self.bands).map(|band| keys.get(band).copied().unwrap_or(self.exact.len() as u32)));
        if self.pending() >= BLOCK_ROWS || self.records.len() >= BLOCK_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn pending(&self) -> usize {
        self.exact.len() - self.blocks.iter().map(|block| block.rows).sum::<usize>()
    }

    /// Writes the rows that are still in memory, so that all rows can be read.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        let rows = self.pending();
        if rows == 0 {
            return Ok(());
        }
        let first = self.exact.len() - rows;
        let mut bytes = Vec::with_capacity(rows * (4 * self.bands + ROW_BYTES) + self.records.len());
        for band in 0..self.bands {
            for keys in self.keys.chunks_exact(self.bands) {
                bytes.extend_from_slice(&keys.get(band).copied().unwrap_or(0).to_le_bytes());
            }
        }
        let base = self.end + (bytes.len() + rows * ROW_BYTES) as u64;
        for row in first..self.exact.len() {
            bytes.extend_from_slice(&self.exact.get(row).copied().unwrap_or(0).to_le_bytes());
            bytes.extend_from_slice(&self.gold.get(row).copied().unwrap_or(0).to_le_bytes());
            bytes.extend_from_slice(&self.ordinal(row as u32).to_le_bytes());
            let telling = self.is_gold_telling.get(row).copied().unwrap_or(false);
            let flags = (TAKES_PART * u64::from(self.takes_part(row as u32))) | (TELLING_GOLD * u64::from(telling));
            bytes.push(flags as u8);
            for length in self.lengths.get(row).copied().unwrap_or_default() {
                bytes.extend_from_slice(&length.to_le_bytes());
            }
        }
        bytes.extend_from_slice(&self.records);
        self.places.iter_mut().skip(first).for_each(|place| *place += base);
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.write_all(&bytes)?;
        let checksum = hash_bytes(&bytes);
        self.blocks.push(Block { offset: self.end, rows, records: self.records.len() as u64, checksum });
        self.end += bytes.len() as u64;
        self.keys.clear();
        self.records.clear();
        Ok(())
    }

    /// Completes the file as an index that covers these input files.
    pub fn keep(&mut self, settings: &str, files: Vec<IndexedFile>) -> Result<(), StoreError> {
        self.flush()?;
        let footer = Footer { settings: settings.to_owned(), bands: self.bands, files, blocks: self.blocks.clone() };
        let mut bytes = serde_json::to_vec(&footer).map_err(std::io::Error::other)?;
        bytes.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        bytes.extend_from_slice(MAGIC);
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.write_all(&bytes)?;
        self.file.set_len(self.end + bytes.len() as u64)?;
        Ok(self.file.sync_data()?)
    }

    /// Returns the number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.exact.len()
    }

    /// Returns whether the store has no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty()
    }

    /// Returns the number of keys of a row.
    #[must_use]
    pub const fn bands(&self) -> usize {
        self.bands
    }

    /// Returns the ordinal of a row.
    #[must_use]
    pub fn ordinal(&self, row: u32) -> u64 {
        self.ordinals.get(row as usize).copied().unwrap_or(u64::MAX)
    }

    /// Returns whether a row takes part in deduplication.
    #[must_use]
    pub fn takes_part(&self, row: u32) -> bool {
        self.takes_part.get(row as usize).copied().unwrap_or(false)
    }

    /// Returns whether the answers of two rows are known and differ.
    pub(super) fn answers_differ(&self, one: u32, other: u32) -> bool {
        let gold = |row: u32| self.gold.get(row as usize).copied().unwrap_or(0);
        gold(one) != 0 && gold(other) != 0 && gold(one) != gold(other)
    }

    /// Returns whether two rows have the same answer, and this answer is specific.
    pub(super) fn share_telling_answer(&self, one: u32, other: u32) -> bool {
        let gold = |row: u32| self.gold.get(row as usize).copied().unwrap_or(0);
        let is_telling = |row: u32| self.is_gold_telling.get(row as usize).copied().unwrap_or(false);
        gold(one) != 0 && gold(one) == gold(other) && is_telling(one) && is_telling(other)
    }

    pub(super) fn has_hit(&self, row: u32) -> bool {
        self.lengths.get(row as usize).is_some_and(|[_, _, hit, _]| *hit > 0)
    }

    /// Returns the texts of a row. All rows must be flushed before.
    pub fn record(&self, row: u32) -> Result<Record, StoreError> {
        let (Some(&place), Some(&lengths)) = (self.places.get(row as usize), self.lengths.get(row as usize)) else {
            return Ok(Record::default());
        };
        let mut bytes = vec![0; lengths.iter().map(|&length| length as usize).sum()];
        read_at(&self.file, &mut bytes, place)?;
        let mut rest = bytes.as_slice();
        let mut parts = lengths.map(|length| {
            let (part, others) = rest.split_at_checked(length as usize).unwrap_or((rest, &[]));
            rest = others;
            part.to_vec()
        });
        let damaged = |_| StoreError::Unusable("a record is damaged");
        let [id, note, hit, text] = &mut parts;
        let utf8 = |bytes: &mut Vec<u8>| String::from_utf8(std::mem::take(bytes)).map_err(|error| error.utf8_error());
        let hit = if hit.is_empty() { None } else { serde_json::from_slice(hit).map_err(std::io::Error::other)? };
        Ok(Record {
            id: utf8(id).map_err(damaged)?,
            note: std::mem::take(note),
            hit,
            text: utf8(text).map_err(damaged)?,
        })
    }

    /// Writes the keys of one band into `keys`, in order of rows. All rows must be flushed before.
    pub(super) fn band_into(&self, band: usize, keys: &mut Vec<u32>) -> Result<(), StoreError> {
        keys.clear();
        let mut bytes = Vec::new();
        for block in &self.blocks {
            bytes.resize(4 * block.rows, 0);
            read_at(&self.file, &mut bytes, block.offset + (4 * band * block.rows) as u64)?;
            keys.extend(bytes.chunks_exact(4).map(|key| number(key) as u32));
        }
        Ok(())
    }
}

/// Reads a little-endian number of up to eight bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let count = std::os::windows::fs::FileExt::seek_read(file, bytes, offset)?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        offset += count as u64;
        bytes = bytes.get_mut(count..).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(number: u64, bands: usize) -> Features {
        Features {
            exact: u128::from(number) << 64 | 7,
            gold: (!number.is_multiple_of(3)).then_some(number),
            is_gold_telling: number.is_multiple_of(2),
            text: format!("text {number}"),
            keys: (0..bands).map(|band| (number * 31 + band as u64) as u32).collect(),
            hit: None,
        }
    }

    fn fill(store: &mut RowStore, rows: std::ops::Range<u64>) {
        for number in rows {
            let features = features(number, 3);
            let part = (!number.is_multiple_of(5)).then_some(&features);
            store.push(2 * number, &format!("id{number}"), &number.to_le_bytes(), part).unwrap();
        }
    }

    fn assert_holds(store: &RowStore, rows: u64) {
        assert_eq!(store.len() as u64, rows);
        let mut keys = Vec::new();
        store.band_into(2, &mut keys).unwrap();
        for number in 0..rows {
            let row = number as u32;
            let record = store.record(row).unwrap();
            assert_eq!((record.id, record.note), (format!("id{number}"), number.to_le_bytes().to_vec()));
            assert_eq!(store.ordinal(row), 2 * number);
            assert_eq!(store.takes_part(row), !number.is_multiple_of(5));
            let is_telling = !number.is_multiple_of(5) && !number.is_multiple_of(3) && number.is_multiple_of(2);
            assert_eq!(store.share_telling_answer(row, row), is_telling, "{number}");
            if store.takes_part(row) {
                assert_eq!(record.text, format!("text {number}"));
                assert_eq!(keys[number as usize], (number * 31 + 2) as u32);
            }
        }
    }

    #[test]
    fn a_kept_index_is_extended_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index");
        let files = |rows: u64| vec![IndexedFile { digest: "d".to_owned(), rows }];
        let mut store = RowStore::new(File::create_new(&path).unwrap(), 3);
        // The file is write-only until it is opened as an index.
        fill(&mut store, 0..BLOCK_ROWS as u64 + 10);
        store.keep("s", files(10)).unwrap();
        let (mut store, covered) = RowStore::open(&path, "s").unwrap();
        assert_eq!(covered, files(10));
        assert_holds(&store, BLOCK_ROWS as u64 + 10);
        fill(&mut store, BLOCK_ROWS as u64 + 10..BLOCK_ROWS as u64 + 30);
        store.keep("s", files(30)).unwrap();
        let (store, covered) = RowStore::open(&path, "s").unwrap();
        assert_eq!(covered, files(30));
        assert_holds(&store, BLOCK_ROWS as u64 + 30);
    }

    #[test]
    fn an_index_of_other_settings_or_with_any_byte_changed_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index");
        assert!(matches!(RowStore::open(&path, "s"), Err(StoreError::Unusable(_))));
        let mut store = RowStore::new(File::create_new(&path).unwrap(), 3);
        fill(&mut store, 0..20);
        store.keep("s", Vec::new()).unwrap();
        assert!(matches!(RowStore::open(&path, "t"), Err(StoreError::Unusable(_))));
        let whole = std::fs::read(&path).unwrap();
        for place in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[place] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert!(RowStore::open(&path, "s").is_err(), "byte {place}");
        }
        for length in (0..whole.len()).step_by(11) {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(RowStore::open(&path, "s").is_err(), "{length} bytes");
        }
    }
}
