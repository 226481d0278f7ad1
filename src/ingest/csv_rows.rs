//! CSV and TSV records as JSON objects.
//!
//! Cells are separated by commas or tabs, may be double-quoted, and follow a header. If the header of a `.csv` file
//! contains no comma but semicolons or tabs, these are the separators. Names are trimmed. If every name but the first
//! follows a blank, blanks before cells are ignored, and a quote may follow them. [`RecordReader`] finds the ends of
//! records, bounds memory and counts lines; the `csv` crate splits each record into cells.
//!
//! Only wanted columns are passed on. An empty cell is an absent field. A cell of the column for choices, tests or
//! test_imports is a list if it contains a JSON list. A cell of a column that a path leads into is an object if it
//! contains one. Any other cell is a string.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};

use serde_json::value::RawValue;

use super::chat::value_of;
use super::fault::Fault;
use super::footer::COLUMNS_MAX;
use super::literal::{self, Literal};
use super::raw_row::{RawRow, too_long, unreadable_at_line};
use super::records::{Content, Dialect, Framing, RecordReader, without_leading_blanks};
use super::wanted::Wanted;
use super::{IngestError, InputFile};
use crate::domain::ExclusionReason;

/// The rows of one file.
pub(super) struct CsvRows {
    file: String,
    records: RecordReader,
    splitter: Splitter,
    names: Vec<String>,
    columns: Vec<Column>,
    json: String,
    bytes_max: usize,
}

/// The conversion of a column's cells.
enum Column {
    /// Not wanted: omitted.
    Unused,
    /// A string under this JSON key.
    Text(String),
    /// A JSON list, otherwise a string, under this JSON key.
    List(String),
    /// An object as JSON or Python writes it, otherwise a string, under this JSON key.
    Object(String),
}

impl CsvRows {
    /// Reads the header. `delimiter` follows from the file's name.
    pub(super) fn open(
        file: &InputFile,
        input: Box<dyn BufRead + Send>,
        delimiter: u8,
        wanted: &Wanted<'_>,
        bytes_max: usize,
    ) -> Result<Self, IngestError> {
        let mut dialect = Dialect { delimiter, skips_blanks: false };
        let mut records = RecordReader::new(input, Framing::Csv(dialect), bytes_max);
        let line = records.line();
        let header = match records.next_record().map_err(|error| unreadable_at_line(&file.name, line, error))? {
            None => return Err(IngestError::NoRows { file: file.name.clone() }),
            Some(record) => match record.content {
                Content::Whole(bytes) => Some(bytes.to_vec()),
                Content::TooLong(_) | Content::Torn => None,
            },
        };
        if let Some(header) = &header {
            let other = [b'\t', b';'].into_iter().find(|other| header.contains(other));
            if let (false, Some(other)) = (header.contains(&delimiter), other) {
                dialect.delimiter = other;
            }
        }
        let mut splitter = Splitter::new(dialect);
        let cells = header
            .as_deref()
            .and_then(|header| splitter.split(header))
            .map(|cells| cells.iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect::<Vec<String>>());
        let Some(mut cells) = cells else {
            let problem = io::Error::other("the header has an unclosed quote or exceeds the size limit of a row");
            return Err(unreadable_at_line(&file.name, line, problem));
        };
        if cells.len() > 1 && cells.iter().skip(1).all(|cell| cell.starts_with(' ')) {
            dialect.skips_blanks = true;
            splitter = Splitter::new(dialect);
            let again = header.as_deref().and_then(|header| splitter.split(header));
            cells = again.into_iter().flatten().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect();
        }
        records.set_framing(Framing::Csv(dialect));
        if cells.len() > COLUMNS_MAX {
            return Err(IngestError::TooManyColumns { file: file.name.clone(), columns: cells.len() });
        }
        let names: Vec<String> = cells.iter().map(|cell| cell.trim().to_owned()).collect();
        let columns: Vec<Column> = names.iter().map(|name| Column::of(name, wanted)).collect();
        if let Some(column) = repeated(&names, wanted) {
            return Err(IngestError::RepeatedColumn { file: file.name.clone(), column: column.to_owned() });
        }
        Ok(Self { file: file.name.clone(), records, splitter, names, columns, json: String::new(), bytes_max })
    }

    /// Returns the names of the columns, in order.
    pub(super) fn columns(&self) -> &[String] {
        &self.names
    }

    /// Returns the next record that is not blank.
    pub(super) fn next_row(&mut self) -> Result<Option<RawRow<'_>>, IngestError> {
        let start = self.records.line();
        let record = self.records.next_record().map_err(|error| unreadable_at_line(&self.file, start, error))?;
        let Some(record) = record else { return Ok(None) };
        let line = record.line;
        let content = match record.content {
            Content::Whole(bytes) => match self.splitter.split(bytes) {
                Some(cells) => write_json(cells, &self.columns, &mut self.json),
                None => Err(Fault::new(ExclusionReason::InvalidSyntax, "the record cannot be split into cells")),
            },
            Content::TooLong(bytes) => Err(too_long(bytes, self.bytes_max)),
            Content::Torn => Err(Fault::new(
                ExclusionReason::InvalidSyntax,
                "the record's quote is never closed, expected a closing quote before the end of the file",
            )),
        };
        Ok(Some(RawRow { line, content: content.map(|()| self.json.as_str()) }))
    }
}

/// Returns the first wanted name that several columns share, which makes the mapping ambiguous.
fn repeated<'a>(names: &'a [String], wanted: &Wanted<'_>) -> Option<&'a str> {
    if matches!(wanted, Wanted::Everything) {
        return None;
    }
    let is_wanted = |name: &str| !matches!(Column::of(name, wanted), Column::Unused);
    let mut counts: HashMap<&str, usize> = HashMap::new();
    names.iter().for_each(|name| *counts.entry(name).or_default() += 1);
    let is_repeated = |name: &str| counts.get(name).is_some_and(|count| *count > 1);
    names.iter().map(String::as_str).find(|name| is_repeated(name) && is_wanted(name))
}

impl Column {
    fn of(name: &str, wanted: &Wanted<'_>) -> Self {
        let key = serde_json::Value::from(name).to_string();
        if name.is_empty() {
            return Self::Unused;
        }
        match wanted {
            Wanted::Everything => Self::Object(key),
            Wanted::Columns(_) if wanted.is_list(name) => Self::List(key),
            Wanted::Columns(_) if wanted.holds(name) => Self::Text(key),
            Wanted::Columns(_) if wanted.reaches_into(name) => Self::Object(key),
            Wanted::Columns(_) => Self::Unused,
        }
    }
}

fn write_json(cells: &csv::ByteRecord, columns: &[Column], json: &mut String) -> Result<(), Fault> {
    if cells.len() != columns.len() {
        let detail = format!("the record has {} cells, expected {} as in the header", cells.len(), columns.len());
        return Err(Fault::new(ExclusionReason::InvalidSyntax, detail));
    }
    json.clear();
    json.push('{');
    for (number, (cell, column)) in (1..).zip(cells.iter().zip(columns)) {
        let Ok(cell) = std::str::from_utf8(cell) else {
            let detail = format!("cell {number} of the record is not UTF-8, expected UTF-8 text");
            return Err(Fault::new(ExclusionReason::InvalidUtf8, detail));
        };
        let (Column::Text(key) | Column::List(key) | Column::Object(key)) = column else { continue };
        if cell.is_empty() {
            continue;
        }
        if json.len() > 1 {
            json.push(',');
        }
        json.push_str(key);
        json.push(':');
        let is_json =
            |start: char| cell.trim_start().starts_with(start) && serde_json::from_str::<&RawValue>(cell).is_ok();
        match column {
            Column::List(_) if is_json('[') => json.push_str(cell),
            Column::Object(_) if is_json('{') => json.push_str(cell),
            Column::Object(_) => json.push_str(&object(cell).unwrap_or_else(|| cell.into()).to_string()),
            _ => json.push_str(&serde_json::Value::from(cell).to_string()),
        }
    }
    json.push('}');
    Ok(())
}

/// Parses an object as Python writes it.
fn object(cell: &str) -> Option<serde_json::Value> {
    if !cell.trim_start().starts_with('{') {
        return None;
    }
    let found = literal::parse(cell)?;
    matches!(found, Literal::Table(_)).then(|| value_of(found))
}

/// The `csv` crate's parser, fed one record at a time.
struct Splitter {
    parser: csv::Reader<Feed>,
    dialect: Dialect,
    cells: csv::ByteRecord,
}

impl Splitter {
    fn new(dialect: Dialect) -> Self {
        // Only a line feed ends a record, as in `RecordReader`: the two must agree.
        let parser = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(dialect.delimiter)
            .terminator(csv::Terminator::Any(b'\n'))
            .from_reader(Feed::default());
        Self { parser, dialect, cells: csv::ByteRecord::new() }
    }

    /// Returns the cells of one whole record, which is passed without its line end.
    fn split(&mut self, record: &[u8]) -> Option<&csv::ByteRecord> {
        if self.dialect.skips_blanks {
            self.parser.get_mut().load(&without_leading_blanks(record, self.dialect));
        } else {
            self.parser.get_mut().load(record);
        }
        let found = self.parser.read_byte_record(&mut self.cells).ok()?;
        found.then_some(&self.cells)
    }
}

/// A reader over one record and its line feed; the parser returns at that line feed and never reads further.
#[derive(Default)]
struct Feed {
    bytes: Vec<u8>,
    taken: usize,
}

impl Feed {
    fn load(&mut self, record: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(record);
        self.bytes.push(b'\n');
        self.taken = 0;
    }
}

impl Read for Feed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut rest = self.bytes.get(self.taken..).unwrap_or_default();
        let count = rest.read(buffer)?;
        self.taken += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(bytes: &[u8]) -> Vec<Vec<Vec<u8>>> {
        let mut reader =
            RecordReader::new(Box::new(io::Cursor::new(bytes.to_vec())), Framing::Csv(Dialect::COMMA), 1 << 20);
        let mut splitter = Splitter::new(Dialect::COMMA);
        let mut found = Vec::new();
        while let Some(record) = reader.next_record().unwrap() {
            let Content::Whole(bytes) = record.content else { break };
            found.push(splitter.split(bytes).unwrap().iter().map(<[u8]>::to_vec).collect());
        }
        found
    }

    proptest::proptest! {
        #[test]
        fn record_by_record_splitting_agrees_with_the_csv_crate_on_the_whole_file(
            text in "([abx,\"\n ]|\"\"|\"a\nb\"){0,60}"
        ) {
            // Closed, so that no record is torn; an 'x' so that no line is blank but is left out here.
            let text: String = text.split('\n').map(|line| format!("x{line}")).collect::<Vec<_>>().join("\n");
            let is_closed = {
                let mut reader = RecordReader::new(Box::new(io::Cursor::new(text.clone())), Framing::Csv(Dialect::COMMA), 1 << 20);
                let mut is_closed = true;
                while let Some(record) = reader.next_record().unwrap() {
                    is_closed &= record.content != Content::Torn;
                }
                is_closed
            };
            proptest::prop_assume!(is_closed);
            let whole: Vec<Vec<Vec<u8>>> = csv::ReaderBuilder::new()
                .has_headers(false)
                .flexible(true)
                .terminator(csv::Terminator::Any(b'\n'))
                .from_reader(text.as_bytes())
                .byte_records()
                .map(|record| record.unwrap().iter().map(<[u8]>::to_vec).collect())
                .collect();
            proptest::prop_assert_eq!(records(text.as_bytes()), whole);
        }
    }
}
