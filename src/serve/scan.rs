//! Scans JSON before parsing, piece by piece as it arrives: measures its depth and counts its values.
//!
//! The parsed form of a text may take a hundred times the bytes of the text (each `{"":0}` becomes a tree), and the
//! server must reserve this memory before parsing. The scan does not validate the JSON; for invalid text the counts
//! are meaningless.

#![warn(clippy::indexing_slicing)] // a body is untrusted input

use super::limits::{OBJECT_BYTES, VALUE_BYTES};

/// The counts of the scanned pieces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Scan {
    values: usize,
    objects: usize,
    depth: usize,
    pub(super) depth_max: usize,
    is_in_text: bool,
    is_escaped: bool,
}

impl Scan {
    /// Scans the next piece.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.is_in_text {
                match byte {
                    _ if self.is_escaped => self.is_escaped = false,
                    b'\\' => self.is_escaped = true,
                    b'"' => self.is_in_text = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.is_in_text = true,
                b',' => self.values += 1,
                b'{' | b'[' => {
                    self.values += 1;
                    self.objects += usize::from(byte == b'{');
                    self.depth += 1;
                    self.depth_max = self.depth_max.max(self.depth);
                }
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    /// Returns the bytes that the parsed values take, without their texts.
    pub(super) fn parsed_bytes(&self) -> usize {
        self.values.saturating_mul(VALUE_BYTES).saturating_add(self.objects.saturating_mul(OBJECT_BYTES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_depth_are_counted_outside_of_texts_whatever_the_pieces() {
        let text = br#"{"a[{,": [1, 2, {"b\"]}": "\\"}], "c": "[[[["}"#;
        let mut whole = Scan::default();
        whole.feed(text);
        assert_eq!((whole.values, whole.objects, whole.depth_max, whole.depth), (6, 2, 3, 0));
        for size in 1..text.len() {
            let mut pieces = Scan::default();
            text.chunks(size).for_each(|piece| pieces.feed(piece));
            assert_eq!(pieces, whole);
        }
        let mut deep = Scan::default();
        deep.feed("[".repeat(100_000).as_bytes());
        assert_eq!(deep.depth_max, 100_000);
    }
}
