//! Opens the files of a model: only regular files, and none above a size limit.
//!
//! A path may name a pipe, which blocks the program that opens it, or a device, which never ends; a text file may have
//! any size.

use std::io::Read;
use std::path::Path;

use memmap2::Mmap;

use crate::error::EngineError;

/// Maximum bytes of a JSON file other than the tokenizer's; the largest JSON file of a model is an index of 9 MB.
pub(super) const JSON_BYTES_MAX: u64 = 16 << 20;
/// Maximum bytes of `tokenizer.json`; the largest file of a model has 33 MB.
pub(crate) const TOKENIZER_BYTES_MAX: u64 = 64 << 20;
/// Maximum values, keys and separators of a JSON file: each may take about 70 bytes of memory once it is parsed.
const JSON_NODES_MAX: usize = 8 << 20;

/// Maps a file into memory.
///
/// # Errors
/// [`EngineError::Io`] if the file cannot be opened, [`EngineError::Malformed`] if it is not a regular file.
pub(super) fn open_map(path: &Path) -> Result<Mmap, EngineError> {
    let io = |source| EngineError::Io { path: path.to_owned(), source };
    check_regular(path)?;
    let file = fs_err::File::open(path).map_err(io)?;
    // SAFETY: the map is only read. A program that truncates or rewrites the file in the meantime breaks the run, as it
    // would break any reader of the file; the claims of headers are checked against the map's length.
    unsafe { Mmap::map(file.file()) }.map_err(io)
}

/// Reads a file of at most `max` bytes.
///
/// # Errors
/// [`EngineError::Io`] if the file cannot be read, [`EngineError::Malformed`] if it is larger or not a regular file.
pub(crate) fn read_bounded(path: &Path, max: u64) -> Result<Vec<u8>, EngineError> {
    let io = |source| EngineError::Io { path: path.to_owned(), source };
    check_regular(path)?;
    let mut bytes = Vec::new();
    // Reads one byte more than the limit, because the file may be longer than its length was before it was opened.
    fs_err::File::open(path).map_err(io)?.take(max + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > max {
        let detail = format!("it has more than {max} bytes, more than any model needs");
        return Err(EngineError::Malformed { path: path.to_owned(), detail });
    }
    Ok(bytes)
}

/// Reads a JSON file of at most `max` bytes, and counts its values before any value is built.
pub(crate) fn read_json(path: &Path, max: u64) -> Result<Vec<u8>, EngineError> {
    let bytes = read_bounded(path, max)?;
    if json_nodes(&bytes) > JSON_NODES_MAX {
        let detail = format!("it has more than {JSON_NODES_MAX} values, more than any model needs");
        return Err(EngineError::Malformed { path: path.to_owned(), detail });
    }
    Ok(bytes)
}

fn check_regular(path: &Path) -> Result<(), EngineError> {
    let found = fs_err::metadata(path).map_err(|source| EngineError::Io { path: path.to_owned(), source })?;
    if found.is_file() {
        return Ok(());
    }
    Err(EngineError::Malformed { path: path.to_owned(), detail: "it is not a regular file".to_owned() })
}

/// Counts the positions outside of strings at which another value may begin.
fn json_nodes(bytes: &[u8]) -> usize {
    let (mut count, mut is_in_string, mut is_escaped) = (0, false, false);
    for byte in bytes {
        match (byte, is_in_string) {
            _ if is_escaped => is_escaped = false,
            (b'\\', true) => is_escaped = true,
            (b'"', _) => is_in_string = !is_in_string,
            (b',' | b':' | b'[' | b'{', false) => count += 1,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_outside_of_strings() {
        assert_eq!(json_nodes(br#"{"a,[{:\",": [1, "]", {}], "b\\": 2}"#), 8);
        assert_eq!(json_nodes(b"\"never closed ,,,,"), 0);
    }

    #[test]
    fn what_is_no_regular_file_or_too_large_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        fs_err::write(&path, "0123456789").unwrap();
        assert_eq!(read_bounded(&path, 10).unwrap(), b"0123456789");
        assert!(read_bounded(&path, 9).unwrap_err().to_string().contains("more than 9 bytes"));
        assert!(read_bounded(dir.path(), 9).unwrap_err().to_string().contains("not a regular file"));
        assert!(open_map(dir.path()).unwrap_err().to_string().contains("not a regular file"));
        #[cfg(unix)]
        {
            let (first, second) = (dir.path().join("first"), dir.path().join("second"));
            std::os::unix::fs::symlink(&first, &second).unwrap();
            std::os::unix::fs::symlink(&second, &first).unwrap();
            assert!(matches!(open_map(&first), Err(EngineError::Io { .. })), "a circle of links");
            let endless = Path::new("/dev/zero");
            assert!(read_bounded(endless, 9).unwrap_err().to_string().contains("not a regular file"));
        }
    }
}
