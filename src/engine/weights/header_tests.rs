//! GGUF headers whose claims do not match any file.

use super::gguf_header::*;
use crate::error::FileFault;

/// Builds a header.
#[derive(Default)]
struct Header {
    entries: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

fn entry(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&text(key)[..], &kind.to_le_bytes(), value].concat()
}

fn tensor(name: &str, dimensions: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let sizes: Vec<u8> = dimensions.iter().flat_map(|size| size.to_le_bytes()).collect();
    let count = (dimensions.len() as u32).to_le_bytes();
    [&text(name)[..], &count, &sizes, &kind.to_le_bytes(), &offset.to_le_bytes()].concat()
}

fn array(kind: u32, count: u64, values: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &count.to_le_bytes(), values].concat()
}

impl Header {
    fn with(entry: Vec<u8>) -> Self {
        Self { entries: vec![entry], ..Self::default() }
    }

    fn bytes_counting(&self, tensors: u64, entries: u64) -> Vec<u8> {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(tensors.to_le_bytes());
        bytes.extend(entries.to_le_bytes());
        bytes.extend(self.entries.concat());
        bytes.extend(self.tensors.concat());
        bytes
    }

    fn bytes(&self) -> Vec<u8> {
        self.bytes_counting(self.tensors.len() as u64, self.entries.len() as u64)
    }
}

#[track_caller]
fn assert_refused(file: &[u8], expected: &str) {
    match check(file) {
        Err(FileFault::Malformed(detail) | FileFault::Unsupported(detail)) => {
            assert!(detail.contains(expected), "{detail}");
        }
        Ok(()) => panic!("the header is taken"),
    }
}

#[test]
fn an_alignment_that_cannot_be_divided_by_is_refused() {
    let with = |kind: u32, value: &[u8]| Header::with(entry("general.alignment", kind, value)).bytes();
    for number in [0_u32, 1, 4, 24, 33, 1 << 21, u32::MAX] {
        assert_refused(&with(4, &number.to_le_bytes()), &format!("general.alignment is {number}; it must be a power"));
    }
    assert_refused(&with(5, &(-8_i32).to_le_bytes()), "general.alignment is negative");
    assert_refused(&with(0, &[0]), "general.alignment is 0");
    assert_refused(&with(10, &32_u64.to_le_bytes()), "general.alignment is not a 32-bit integer");
    assert_refused(&with(6, &32_f32.to_le_bytes()), "general.alignment is not a 32-bit integer");
    for number in [8_u32, 32, 4096, 1 << 20] {
        assert_eq!(check(&with(4, &number.to_le_bytes())), Ok(()));
    }
}

#[test]
fn counts_and_lengths_are_held_against_the_file() {
    let empty = Header::default();
    assert_eq!(check(&empty.bytes()), Ok(()));
    assert_refused(&empty.bytes_counting(TENSORS_MAX + 1, 0), "the header declares 65537 tensors");
    assert_refused(&empty.bytes_counting(u64::MAX, 0), "the header declares 18446744073709551615 tensors");
    assert_refused(&empty.bytes_counting(0, ENTRIES_MAX + 1), "the header declares 16385 metadata entries");
    assert_refused(&empty.bytes_counting(TENSORS_MAX, 0), "the tensor name at byte 24 reaches past the end");
    assert_refused(&empty.bytes_counting(0, ENTRIES_MAX), "the metadata key at byte 24 reaches past the end");
    for length in [1, 1 << 40, u64::MAX] {
        let value = Header::with(entry("a", 8, &length.to_le_bytes())).bytes();
        assert_refused(&value, "the value of metadata key a at byte 45 reaches past the end");
        let key = Header::with(length.to_le_bytes().to_vec()).bytes();
        assert_refused(&key, "the metadata key at byte 32 reaches past the end");
    }
    for kind in [4, 8, 12] {
        let many = Header::with(entry("a", 9, &array(kind, ELEMENTS_MAX, &[]))).bytes();
        assert_refused(&many, "the value of metadata key a at byte");
        for count in [ELEMENTS_MAX + 1, u64::MAX] {
            let more = Header::with(entry("a", 9, &array(kind, count, &[]))).bytes();
            assert_refused(&more, &format!("the array of metadata key a has {count} elements; at most 8388608"));
        }
    }
    assert_refused(&Header::with(entry(&"k".repeat(65_536), 0, &[0])).bytes(), "a metadata key has 65536 bytes");
    assert_eq!(check(&Header::with(entry(&"k".repeat(65_535), 0, &[0])).bytes()), Ok(()));
}

#[test]
fn kinds_that_no_model_has_are_refused() {
    let inner = array(0, 0, &[]);
    assert_refused(&Header::with(entry("a", 9, &array(9, 1, &inner))).bytes(), "metadata key a is an array of arrays");
    assert_refused(&Header::with(entry("a", 9, &array(13, 0, &[]))).bytes(), "an array of the unknown type 13");
    assert_refused(&Header::with(entry("a", 13, &[])).bytes(), "metadata key a is of the unknown type 13");
    let twice = Header { entries: vec![entry("a", 0, &[1]), entry("a", 0, &[2])], ..Header::default() };
    assert_refused(&twice.bytes(), "metadata key a occurs twice");
    assert_refused(b"GGUF\x01\0\0\0", "its GGUF version is 1; supported: 2 and 3");
    assert_refused(b"GGUF\0\0\0\x03", "its GGUF version is 50331648");
    assert_refused(b"FUGG\x03\0\0\0", "does not begin with GGUF");
}

#[test]
fn tensors_of_no_size_or_any_size_are_refused() {
    let with = |tensors: Vec<Vec<u8>>| Header { tensors, ..Header::default() }.bytes();
    for dimensions in [&[0_u64][..], &[4, 0], &[1 << 32, 1 << 32], &[u64::MAX, 2], &[1 << 62]] {
        assert_refused(&with(vec![tensor("t", dimensions, 0, 0)]), "tensor t has dimensions of zero size, or larger");
    }
    assert_refused(&with(vec![tensor("t", &[], 0, 0)]), "tensor t has 0 dimensions");
    assert_refused(&with(vec![tensor("t", &[1; 5], 0, 0)]), "tensor t has 5 dimensions");
    assert_refused(&with(vec![tensor("t", &[4], 99, 0)]), "tensor t is stored as number 99");
    assert_refused(&with(vec![tensor("t", &[4], 0, 0), tensor("t", &[4], 0, 32)]), "tensor t occurs twice");
    assert_eq!(check(&with(vec![tensor("t", &[4], 0, 0), tensor("u", &[4], 0, 32)])), Ok(()));
}

#[test]
fn tensors_that_share_bytes_or_lie_outside_are_refused_with_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    let open = |tensors: Vec<Vec<u8>>| {
        let mut bytes = Header { tensors, ..Header::default() }.bytes();
        bytes.resize(bytes.len().next_multiple_of(32) + 64, 0);
        fs_err::write(&path, bytes).unwrap();
        super::GgufFile::open(&path).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(open(vec![tensor("t", &[8], 0, 0), tensor("u", &[8], 0, 32)]), Ok(()));
    let shared = open(vec![tensor("t", &[9], 0, 0), tensor("u", &[7], 0, 32)]).unwrap_err();
    assert!(shared.contains("tensors t and u share bytes of the file"), "{shared}");
    for offset in [64, u64::MAX, u64::MAX - 31] {
        let outside = open(vec![tensor("t", &[8], 0, offset)]).unwrap_err();
        assert!(outside.contains("tensor t reaches past the end"), "{outside}");
    }
}
