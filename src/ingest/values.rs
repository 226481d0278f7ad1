//! Cuts a stream of JSON into records that are not lines: the members of a list of objects, or objects over several
//! lines.
//!
//! Commas and brackets between the values of a list are skipped. A value that is neither a list nor an object ends at
//! the end of its line, at a comma or at the end of the list. A list without an end is an error: the file was
//! truncated. Memory is bounded as in [`super::records`]. This module does not interpret the content of records.

use std::io::{self, BufRead};

use serde_json::value::RawValue;

use super::records::{BYTE_ORDER_MARK, Content, Record};

/// Reads records from a stream of JSON values.
pub(super) struct ValueReader {
    input: Box<dyn BufRead + Send>,
    bytes_max: usize,
    buffer: Vec<u8>,
    line: u64,
    /// Whether the reader is inside a list whose members are the records.
    is_in_list: bool,
    /// Bytes of a byte order mark that were skipped.
    mark: usize,
}

/// The reader's place in a record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Before,
    /// In a list or an object, at this depth.
    Nested(usize),
    /// In any other value.
    Bare,
}

/// The effect of a byte on its record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Skip,
    Take,
    TakeLast,
    /// The record ended before this byte.
    Leave,
}

struct Scan {
    place: Place,
    is_in_string: bool,
    is_escaped: bool,
}

impl ValueReader {
    /// Reads records of at most `bytes_max` bytes from `input`.
    pub(super) fn new(input: Box<dyn BufRead + Send>, bytes_max: usize) -> Self {
        Self { input, bytes_max, buffer: Vec::new(), line: 1, is_in_list: false, mark: 0 }
    }

    /// Returns the 1-based line of the reader's place.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Returns the next value, with the line on which it begins.
    pub(super) fn next_record(&mut self) -> io::Result<Option<Record<'_>>> {
        self.buffer.clear();
        let mut scan = Scan { place: Place::Before, is_in_string: false, is_escaped: false };
        let (mut bytes, mut line) = (0_u64, self.line);
        loop {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                return self.at_end(&scan, line, bytes);
            }
            let mut taken = 0;
            let mut is_whole = false;
            while let Some(&byte) = chunk.get(taken) {
                if BYTE_ORDER_MARK.get(self.mark) == Some(&byte) {
                    self.mark += 1;
                    taken += 1;
                    continue;
                }
                self.mark = BYTE_ORDER_MARK.len();
                let is_first = scan.place == Place::Before;
                let step = scan.step(byte, &mut self.is_in_list);
                if step == Step::Leave {
                    is_whole = true;
                    break;
                }
                if is_first && step != Step::Skip {
                    line = self.line;
                }
                taken += 1;
                self.line += u64::from(byte == b'\n');
                if step != Step::Skip {
                    bytes += 1;
                    if self.buffer.len() <= self.bytes_max {
                        self.buffer.push(byte);
                    }
                }
                if step == Step::TakeLast {
                    is_whole = true;
                    break;
                }
            }
            self.input.consume(taken);
            if is_whole {
                return Ok(Some(self.record(line, bytes)));
            }
        }
    }

    fn record(&self, line: u64, bytes: u64) -> Record<'_> {
        let is_held = bytes <= self.bytes_max as u64;
        let content = if is_held { Content::Whole(self.buffer.trim_ascii_end()) } else { Content::TooLong(bytes) };
        Record { line, content }
    }

    fn at_end(&mut self, scan: &Scan, line: u64, bytes: u64) -> io::Result<Option<Record<'_>>> {
        match scan.place {
            Place::Before if self.is_in_list => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the list of rows is not closed"))
            }
            Place::Before => Ok(None),
            Place::Nested(_) => Ok(Some(Record { line, content: Content::Torn })),
            Place::Bare => Ok(Some(self.record(line, bytes))),
        }
    }
}

impl Scan {
    fn step(&mut self, byte: u8, is_in_list: &mut bool) -> Step {
        if self.is_in_string {
            if self.is_escaped {
                self.is_escaped = false;
            } else {
                self.is_escaped = byte == b'\\';
                self.is_in_string = byte != b'"';
            }
            return Step::Take;
        }
        match (self.place, byte) {
            (Place::Before, b' ' | b'\t' | b'\r' | b'\n') => Step::Skip,
            (Place::Before, b'[') if !*is_in_list => {
                *is_in_list = true;
                Step::Skip
            }
            (Place::Before, b']') if *is_in_list => {
                *is_in_list = false;
                Step::Skip
            }
            (Place::Before, b',') if *is_in_list => Step::Skip,
            (Place::Before, b'{' | b'[') => {
                self.place = Place::Nested(1);
                Step::Take
            }
            (Place::Before, _) => {
                self.place = Place::Bare;
                self.is_in_string = byte == b'"';
                Step::Take
            }
            (Place::Nested(depth), b'{' | b'[') => {
                self.place = Place::Nested(depth + 1);
                Step::Take
            }
            (Place::Nested(1), b'}' | b']') => Step::TakeLast,
            (Place::Nested(depth), b'}' | b']') => {
                self.place = Place::Nested(depth - 1);
                Step::Take
            }
            (Place::Bare, b'\n') => Step::Leave,
            (Place::Bare, b',' | b']') if *is_in_list => Step::Leave,
            (_, byte) => {
                self.is_in_string = byte == b'"';
                Step::Take
            }
        }
    }
}

/// Returns whether a stream with this beginning contains JSON values that are not one per line.
pub(super) fn are_values(head: &[u8]) -> bool {
    let head = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head).trim_ascii_start();
    let mut lines = head.splitn(2, |byte| *byte == b'\n');
    let (line, rest) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default().trim_ascii_start());
    match head.first() {
        Some(b'[') => {
            let inner = head.get(1..).unwrap_or_default().trim_ascii_start();
            let holds_rows = matches!(inner.first(), Some(b'{' | b']'));
            let is_a_line = serde_json::from_slice::<&RawValue>(line.trim_ascii_end()).is_ok() && !rest.is_empty();
            holds_rows && !is_a_line
        }
        Some(b'{') => {
            let (mut scan, mut is_in_list) =
                (Scan { place: Place::Before, is_in_string: false, is_escaped: false }, false);
            let end = line.iter().position(|byte| scan.step(*byte, &mut is_in_list) == Step::TakeLast);
            match end {
                Some(end) => line.get(end + 1..).unwrap_or_default().trim_ascii_start().starts_with(b"{"),
                None => !scan.is_in_string && matches!(rest.first(), Some(b'"' | b'}')),
            }
        }
        _ => false,
    }
}

/// Replaces every `NaN`, `Infinity` and `-Infinity` outside strings by `null`: Python writes them, and JSON does not
/// allow them. Returns `None` if the text contains none of them.
pub(super) fn without_nan(text: &str) -> Option<String> {
    const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
    if !text.contains("NaN") && !text.contains("Infinity") {
        return None;
    }
    let (mut plain, mut is_in_string, mut is_escaped, mut is_changed) =
        (String::with_capacity(text.len()), false, false, false);
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        if !is_in_string && let Some(word) = WORDS.iter().find(|word| rest.starts_with(**word)) {
            plain.push_str("null");
            is_changed = true;
            rest = rest.get(word.len()..).unwrap_or_default();
            continue;
        }
        if is_escaped {
            is_escaped = false;
        } else if character == '"' {
            is_in_string = !is_in_string;
        } else {
            is_escaped = is_in_string && character == '\\';
        }
        plain.push(character);
        rest = rest.get(character.len_utf8()..).unwrap_or_default();
    }
    is_changed.then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> io::Result<Vec<(u64, String)>> {
        let chunked = |chunk_bytes| {
            let input = io::BufReader::with_capacity(chunk_bytes, io::Cursor::new(text.as_bytes().to_vec()));
            let mut reader = ValueReader::new(Box::new(input), 64);
            let mut seen = Vec::new();
            while let Some(record) = reader.next_record()? {
                let content = match record.content {
                    Content::Whole(content) => String::from_utf8_lossy(content).into_owned(),
                    Content::TooLong(bytes) => format!("long {bytes}"),
                    Content::Torn => "torn".to_owned(),
                };
                seen.push((record.line, content));
            }
            Ok(seen)
        };
        let whole: io::Result<Vec<(u64, String)>> = chunked(4096);
        for chunk_bytes in [3, 1] {
            let found: io::Result<Vec<(u64, String)>> = chunked(chunk_bytes);
            assert_eq!(found.ok(), whole.as_ref().ok().cloned(), "chunks of {chunk_bytes}");
        }
        whole
    }

    fn seen(items: &[(u64, &str)]) -> Vec<(u64, String)> {
        items.iter().map(|(line, text)| (*line, (*text).to_owned())).collect()
    }

    #[test]
    fn members_of_a_list_are_records_with_the_lines_they_begin_on() {
        let text = "\u{feff}[\n {\"a\": \"]\\\"}\"},\n {\n \"b\": [1, {}]\n }\n]\n";
        assert_eq!(read(text).unwrap(), seen(&[(2, "{\"a\": \"]\\\"}\"}"), (3, "{\n \"b\": [1, {}]\n }")]));
        assert_eq!(read("[]").unwrap(), seen(&[]));
        assert_eq!(read("[{},{}]").unwrap(), seen(&[(1, "{}"), (1, "{}")]));
        assert_eq!(read("[{}][{}]\n{}").unwrap(), seen(&[(1, "{}"), (1, "{}"), (2, "{}")]));
        assert_eq!(read("[1, \"a,b\", [2], {}]").unwrap().len(), 4);
    }

    #[test]
    fn objects_over_several_lines_are_records() {
        let text = "{\n \"a\": 1\n}\n{\n \"b\": 2}{\"c\":3}\nrubbish, more\n{}";
        let expected =
            [(1, "{\n \"a\": 1\n}"), (4, "{\n \"b\": 2}"), (5, "{\"c\":3}"), (6, "rubbish, more"), (7, "{}")];
        assert_eq!(read(text).unwrap(), seen(&expected));
    }

    #[test]
    fn what_is_cut_short_is_torn_and_an_open_list_is_an_error() {
        assert_eq!(read("{\n\"a\": 1").unwrap(), seen(&[(1, "torn")]));
        assert!(read("[{}, {}").is_err());
        assert!(read("[{}, {\"a\": ").is_err());
        let long = format!("[{{\"a\": \"{}\"}}, {{}}]", "x".repeat(100));
        assert_eq!(read(&long).unwrap(), seen(&[(1, "long 109"), (1, "{}")]));
    }

    #[test]
    fn lists_and_objects_over_lines_are_told_from_lines() {
        for text in ["[{\"a\": 1}]", "[\n{\"a\": 1}\n]", " [ ]", "{\n\"a\": 1\n}", "{\"a\": {\n \"b\": 1}}", "{}{}"] {
            assert!(are_values(text.as_bytes()), "{text}");
        }
        for text in [
            "{\"a\": 1}\n{\"a\": 2}",
            "{\"a\": 1",
            "{\"a\": 1\n{\"a\": 2}\n",
            "{\"a\": \"x\n{\"a\": 2}",
            "[1]\n{\"a\": 1}",
            "[{\"a\": 1}]\n[{\"a\": 1}]",
            "{\"a\": 1} x",
            "",
            "text",
        ] {
            assert!(!are_values(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn numbers_that_json_does_not_know_become_null_outside_of_strings() {
        assert_eq!(
            without_nan(r#"{"a": NaN, "b": "NaN \" -Infinity", "c": [-Infinity, Infinity]}"#).as_deref(),
            Some(r#"{"a": null, "b": "NaN \" -Infinity", "c": [null, null]}"#)
        );
        assert_eq!(without_nan(r#"{"a": "NaN"}"#), None);
        assert_eq!(without_nan("{}"), None);
    }
}
