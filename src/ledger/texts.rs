//! How the ledger stores long texts: compressed with zstd if that makes them smaller, else as they are.
//!
//! A text has two columns, `text` and `text_zstd`. The second is null for an uncompressed text, as all texts were
//! before format 4. A frame states the size of its content, so that one allocation suffices to unpack it.

use std::cell::RefCell;

use rusqlite::types::Value;
use zstd::bulk::Decompressor;

use super::error::LedgerError;
use super::values::text;

/// Compression level. Higher levels hardly shrink texts of a few kilobytes.
const LEVEL: i32 = 3;
/// Largest unpacked size, in bytes. A frame that claims more is damaged.
const BYTES_MAX: u64 = 1 << 30;

thread_local! {
    /// Building a decompressor takes longer than unpacking a text. `None` if there is not enough memory for one.
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = RefCell::new(Decompressor::new().ok());
}

/// Returns the values of `text` and `text_zstd`.
pub(super) fn pack(plain: &str) -> [Value; 2] {
    // Without memory for the compression, the text is stored as it is.
    match zstd::bulk::compress(plain.as_bytes(), LEVEL) {
        Ok(packed) if packed.len() < plain.len() => [text(""), Value::Blob(packed)],
        _ => [text(plain), Value::Null],
    }
}

/// Returns the text of the two columns.
///
/// # Errors
/// [`LedgerError::Unreadable`] if the second column is not a valid frame of a text.
pub(super) fn unpack(plain: String, packed: Option<&[u8]>) -> Result<String, LedgerError> {
    let Some(packed) = packed else { return Ok(plain) };
    let unreadable = |detail: String| LedgerError::Unreadable { kind: "compressed text", detail };
    let size = match zstd::zstd_safe::get_frame_content_size(packed) {
        Ok(Some(size)) if size <= BYTES_MAX => usize::try_from(size).unwrap_or(usize::MAX),
        _ => return Err(unreadable("it is not a zstd frame that states its size".to_owned())),
    };
    let bytes = DECOMPRESSOR.with_borrow_mut(|decompressor| match decompressor {
        Some(decompressor) => decompressor.decompress(packed, size),
        None => zstd::bulk::decompress(packed, size),
    });
    let bytes = bytes.map_err(|error| unreadable(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| unreadable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(plain: &str) -> [Value; 2] {
        let [stored, packed] = pack(plain);
        let Value::Text(stored_text) = stored.clone() else { panic!("text") };
        let frame = if let Value::Blob(frame) = &packed { Some(frame.as_slice()) } else { None };
        assert_eq!(unpack(stored_text, frame).unwrap(), plain);
        [stored, packed]
    }

    #[test]
    fn texts_come_back_and_are_packed_only_where_that_is_smaller() {
        for plain in ["", "4", "a\u{0}b", "The number is 4."] {
            assert_eq!(round_trip(plain), [text(plain), Value::Null]);
        }
        let long = "Step by step: 3 plus 4 is 7, and 7 plus 4 is 11. ".repeat(40);
        let [stored, packed] = round_trip(&long);
        assert_eq!(stored, text(""));
        assert!(matches!(packed, Value::Blob(frame) if frame.len() * 4 < long.len()));
    }

    #[test]
    fn what_is_no_frame_is_unreadable_and_never_a_text() {
        let Value::Blob(frame) = pack(&"word ".repeat(100))[1].clone() else { panic!("packed") };
        let mut claims_much = frame.clone();
        claims_much.truncate(frame.len() - 1);
        let other = zstd::bulk::compress(&[0xff, 0xfe, 0xfd], 3).unwrap();
        for damaged in [&[][..], &frame[..4], &claims_much, b"no frame at all", &other] {
            assert!(matches!(unpack(String::new(), Some(damaged)), Err(LedgerError::Unreadable { .. })));
        }
    }
}
