//! Cuts a byte stream into records: lines, or CSV records that may span lines.
//!
//! The record limit bounds memory (bytes, without the line end and a byte order mark): a longer record is skipped
//! without being stored, and reported with its length. Blank records are skipped without a report, but their lines
//! count. This module does not interpret the content of records.

use std::io::{self, BufRead};

/// Room beyond the limit for bytes that are stripped: a byte order mark and a line end.
const STRIPPED_BYTES_MAX: usize = 5;
/// The UTF-8 byte order mark, which some programs write.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The end of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// A line feed.
    Lines,
    /// A line feed outside double quotes; quotes open only at the start of a field, as in the `csv` crate.
    Csv(Dialect),
}

/// The separation of a record's cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    /// The separator between cells.
    pub(super) delimiter: u8,
    /// Whether blanks before a cell are ignored, so that a quote may follow them.
    pub(super) skips_blanks: bool,
}

impl Dialect {
    /// Commas; blanks are part of cells.
    #[cfg(test)]
    pub(super) const COMMA: Self = Self { delimiter: b',', skips_blanks: false };
}

/// One record and the 1-based line on which it begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) line: u64,
    pub(super) content: Content<'a>,
}

/// The content between two record ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content<'a> {
    /// The record without its line end.
    Whole(&'a [u8]),
    /// A record above the limit, with its size in bytes (line end included).
    TooLong(u64),
    /// The stream ended inside quotes.
    Torn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    FieldStart,
    Field,
    Quoted,
    AfterQuote,
}

impl Place {
    fn after(self, byte: u8, dialect: Dialect) -> Self {
        match (self, byte) {
            (Self::Quoted, b'"') => Self::AfterQuote,
            (Self::Quoted, _) | (Self::FieldStart | Self::AfterQuote, b'"') => Self::Quoted,
            (_, byte) if byte == dialect.delimiter => Self::FieldStart,
            (Self::FieldStart, b' ') if dialect.skips_blanks => Self::FieldStart,
            (_, _) => Self::Field,
        }
    }
}

/// Removes the blanks before cells from a record.
pub(super) fn without_leading_blanks(record: &[u8], dialect: Dialect) -> Vec<u8> {
    let mut place = Place::FieldStart;
    let is_kept = |&byte: &u8| {
        let before = place;
        place = place.after(byte, dialect);
        before != Place::FieldStart || byte != b' '
    };
    record.iter().copied().filter(is_kept).collect()
}

/// Reads records from a stream.
pub(super) struct RecordReader {
    input: Box<dyn BufRead + Send>,
    framing: Framing,
    bytes_max: usize,
    buffer: Vec<u8>,
    line: u64,
    at_start: bool,
}

impl RecordReader {
    /// Reads records of at most `bytes_max` bytes from `input`.
    pub(super) fn new(input: Box<dyn BufRead + Send>, framing: Framing, bytes_max: usize) -> Self {
        Self { input, framing, bytes_max, buffer: Vec::new(), line: 1, at_start: true }
    }

    /// Continues with another framing.
    pub(super) fn set_framing(&mut self, framing: Framing) {
        self.framing = framing;
    }

    /// Returns the 1-based line on which the next record begins, or on which reading failed.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Returns the next record that is not blank.
    pub(super) fn next_record(&mut self) -> io::Result<Option<Record<'_>>> {
        loop {
            let line = self.line;
            let Some((bytes, place)) = self.fill()? else { return Ok(None) };
            let held = self.buffer.len() as u64 == bytes;
            let range = self.stripped();
            self.at_start = false;
            let content = self.buffer.get(range.clone()).unwrap_or_default();
            if held && content.trim_ascii().is_empty() {
                continue;
            }
            let too_long = !held || content.len() > self.bytes_max;
            let content = if too_long {
                Content::TooLong(bytes)
            } else if place == Place::Quoted {
                Content::Torn
            } else {
                // Borrowed again, because the first borrow must not outlive an iteration that continues.
                Content::Whole(self.buffer.get(range).unwrap_or_default())
            };
            return Ok(Some(Record { line, content }));
        }
    }

    /// Reads one record into the buffer, up to the limit; returns its size and the place at which it ended.
    fn fill(&mut self) -> io::Result<Option<(u64, Place)>> {
        let room_max = self.bytes_max.saturating_add(STRIPPED_BYTES_MAX);
        self.buffer.clear();
        let mut bytes = 0_u64;
        let mut place = Place::FieldStart;
        loop {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                return Ok((bytes > 0).then_some((bytes, place)));
            }
            let end = match self.framing {
                Framing::Lines => chunk.iter().position(|&byte| byte == b'\n').inspect(|_| self.line += 1),
                Framing::Csv(dialect) => scan_csv(chunk, dialect, &mut place, &mut self.line),
            };
            let taken = end.map_or(chunk.len(), |end| end + 1);
            let room = room_max.saturating_sub(self.buffer.len());
            self.buffer.extend(chunk.iter().take(taken.min(room)));
            bytes += taken as u64;
            self.input.consume(taken);
            if end.is_some() {
                return Ok(Some((bytes, place)));
            }
        }
    }

    /// Returns the part of the buffer between a byte order mark at the stream's start and the line end.
    fn stripped(&self) -> std::ops::Range<usize> {
        let mut end = self.buffer.len();
        if self.buffer.ends_with(b"\n") {
            end -= 1;
        }
        if self.buffer.get(..end).is_some_and(|content| content.ends_with(b"\r")) {
            end -= 1;
        }
        let start = if self.at_start && self.buffer.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        start..end
    }
}

/// Scans a chunk, and returns the index of the line feed that ends the record, if the chunk contains it.
fn scan_csv(chunk: &[u8], dialect: Dialect, place: &mut Place, line: &mut u64) -> Option<usize> {
    for (index, &byte) in chunk.iter().enumerate() {
        if byte == b'\n' {
            *line += 1;
            if *place != Place::Quoted {
                return Some(index);
            }
        }
        *place = place.after(byte, dialect);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 8;

    #[derive(Debug, PartialEq, Eq)]
    enum Seen {
        Whole(u64, String),
        TooLong(u64, u64),
        Torn(u64),
    }

    /// Reads in chunks of `chunk_bytes`, so that every boundary is crossed.
    fn read_chunked(bytes: &[u8], framing: Framing, chunk_bytes: usize) -> Vec<Seen> {
        let input = io::BufReader::with_capacity(chunk_bytes, io::Cursor::new(bytes.to_vec()));
        let mut reader = RecordReader::new(Box::new(input), framing, LIMIT);
        let mut seen = Vec::new();
        while let Some(record) = reader.next_record().unwrap() {
            seen.push(match record.content {
                Content::Whole(content) => Seen::Whole(record.line, String::from_utf8_lossy(content).into_owned()),
                Content::TooLong(bytes) => Seen::TooLong(record.line, bytes),
                Content::Torn => Seen::Torn(record.line),
            });
        }
        seen
    }

    fn read(bytes: &[u8], framing: Framing) -> Vec<Seen> {
        let expected = read_chunked(bytes, framing, 1);
        for chunk_bytes in [2, 3, 7, 4096] {
            assert_eq!(read_chunked(bytes, framing, chunk_bytes), expected, "chunks of {chunk_bytes}");
        }
        expected
    }

    fn whole(line: u64, text: &str) -> Seen {
        Seen::Whole(line, text.to_owned())
    }

    #[test]
    fn lines_end_with_lf_or_crlf_or_the_stream_and_blank_ones_only_count() {
        assert_eq!(read(b"a\r\n\n \t\r\nb\nc", Framing::Lines), [whole(1, "a"), whole(4, "b"), whole(5, "c")]);
        assert_eq!(read(b"", Framing::Lines), []);
        assert_eq!(read(b"\n\r\n  ", Framing::Lines), []);
    }

    #[test]
    fn byte_order_mark_is_skipped_only_at_the_start_of_the_stream() {
        assert_eq!(read(b"\xef\xbb\xbfa\n", Framing::Lines), [whole(1, "a")]);
        assert_eq!(read(b"\xef\xbb\xbf\nb", Framing::Lines), [whole(2, "b")]);
        assert_eq!(read(b"a\n\xef\xbb\xbfb", Framing::Lines), [whole(1, "a"), whole(2, "\u{feff}b")]);
    }

    #[test]
    fn a_line_at_the_limit_is_read_and_one_byte_more_is_too_long() {
        assert_eq!(read(b"12345678\nb", Framing::Lines), [whole(1, "12345678"), whole(2, "b")]);
        assert_eq!(read(b"12345678\r\nb", Framing::Lines), [whole(1, "12345678"), whole(2, "b")]);
        assert_eq!(read(b"\xef\xbb\xbf12345678\r\nb", Framing::Lines), [whole(1, "12345678"), whole(2, "b")]);
        assert_eq!(read(b"123456789\nb", Framing::Lines), [Seen::TooLong(1, 10), whole(2, "b")]);
        assert_eq!(read(b"123456789\r\nb", Framing::Lines), [Seen::TooLong(1, 11), whole(2, "b")]);
        assert_eq!(read(b"123456789", Framing::Lines), [Seen::TooLong(1, 9)]);
        let mut long = vec![b'x'; 1000];
        long.extend_from_slice(b"\nb\n");
        assert_eq!(read(&long, Framing::Lines), [Seen::TooLong(1, 1001), whole(2, "b")]);
    }

    #[test]
    fn a_record_above_the_limit_is_not_held() {
        let input = io::BufReader::new(io::Cursor::new(vec![b'x'; 1 << 20]));
        let mut reader = RecordReader::new(Box::new(input), Framing::Lines, LIMIT);
        assert!(matches!(reader.next_record().unwrap().unwrap().content, Content::TooLong(_)));
        assert!(reader.buffer.capacity() < 4096);
    }

    #[test]
    fn csv_records_span_lines_inside_of_quotes_only() {
        assert_eq!(read(b"a,\"\n\"\nb\n", Framing::Csv(Dialect::COMMA)), [whole(1, "a,\"\n\""), whole(3, "b")]);
        assert_eq!(read(b"\"x\"\"\n\"\nb", Framing::Csv(Dialect::COMMA)), [whole(1, "\"x\"\"\n\""), whole(3, "b")]);
        assert_eq!(read(b"5\" a\nb", Framing::Csv(Dialect::COMMA)), [whole(1, "5\" a"), whole(2, "b")]);
        assert_eq!(read(b"\"a\"b\"\nc", Framing::Csv(Dialect::COMMA)), [whole(1, "\"a\"b\""), whole(2, "c")]);
    }

    #[test]
    fn an_open_quote_at_the_end_is_torn_and_a_long_quoted_record_is_passed_over_whole() {
        assert_eq!(read(b"a\n\"b\nc\n", Framing::Csv(Dialect::COMMA)), [whole(1, "a"), Seen::Torn(2)]);
        assert_eq!(read(b"\"1234\n5678\"\nc", Framing::Csv(Dialect::COMMA)), [Seen::TooLong(1, 12), whole(3, "c")]);
        assert_eq!(read(b"\"123\n45\"\nc", Framing::Csv(Dialect::COMMA)), [whole(1, "\"123\n45\""), whole(3, "c")]);
    }

    #[test]
    fn blanks_before_cells_are_skipped_and_other_delimiters_separate_where_the_dialect_says_so() {
        let blank = Dialect { delimiter: b',', skips_blanks: true };
        assert_eq!(read(b"a, \"\n\"\nb", Framing::Csv(blank)), [whole(1, "a, \"\n\""), whole(3, "b")]);
        assert_eq!(without_leading_blanks(b" a,  \"b, \"\" c\", d e ", blank), b"a,\"b, \"\" c\",d e ");
        let tab = Dialect { delimiter: b'\t', skips_blanks: false };
        assert_eq!(read(b"a\t\"\n\"\nb,\"", Framing::Csv(tab)), [whole(1, "a\t\"\n\""), whole(3, "b,\"")]);
    }
}
