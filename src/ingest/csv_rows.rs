//! CSV records as JSON objects.
//!
//! Comma-separated, double-quoted, with a header. Record boundaries come from [`RecordReader`], which bounds memory
//! and counts lines; the `csv` crate takes each record apart. Only mapped columns are passed on; an empty cell is an
//! absent field; a cell of the choices, tests or test_imports column that holds a JSON list is a list, any other a string.

use std::io::{self, BufRead, Read};

use serde_json::value::RawValue;

use super::records::{Content, Framing, RecordReader};
use super::row::Fault;
use super::{FieldNames, IngestError, InputFile, RawRow, too_long, unreadable_at_line};
use crate::domain::ExclusionReason;

/// The rows of one CSV file.
pub(super) struct CsvRows {
    file: String,
    records: RecordReader,
    splitter: Splitter,
    names: Vec<String>,
    columns: Vec<Column>,
    json: String,
    bytes_max: usize,
}

/// What becomes of the cells of a column.
enum Column {
    /// Not mapped: left out.
    Unused,
    /// A string under this JSON key.
    Text(String),
    /// A JSON list, or else a string, under this JSON key.
    List(String),
}

impl CsvRows {
    /// Reads the header.
    pub(super) fn open(
        file: &InputFile,
        input: Box<dyn BufRead + Send>,
        fields: &FieldNames,
        bytes_max: usize,
    ) -> Result<Self, IngestError> {
        let mut records = RecordReader::new(input, Framing::Csv, bytes_max);
        let mut splitter = Splitter::new();
        let line = records.line();
        let header = match records.next_record().map_err(|error| unreadable_at_line(&file.name, line, error))? {
            None => return Err(IngestError::NoRows { file: file.name.clone() }),
            Some(record) => match record.content {
                Content::Whole(bytes) => splitter.split(bytes),
                Content::TooLong(_) | Content::Torn => None,
            },
        };
        let Some(header) = header else {
            let problem = io::Error::other("the header is torn or longer than a row may be");
            return Err(unreadable_at_line(&file.name, line, problem));
        };
        let names: Vec<String> = header.iter().map(|cell| String::from_utf8_lossy(cell).trim().to_owned()).collect();
        if !names.contains(&fields.question) {
            return Err(IngestError::MissingColumn {
                file: file.name.clone(),
                field: "question",
                column: fields.question.clone(),
                columns: names.join(", "),
            });
        }
        let columns = names.iter().map(|name| Column::of(name, fields)).collect();
        Ok(Self { file: file.name.clone(), records, splitter, names, columns, json: String::new(), bytes_max })
    }

    /// Returns whether there is a column of this name.
    pub(super) fn has_column(&self, name: &str) -> bool {
        self.names.iter().any(|column| column == name)
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

impl Column {
    fn of(name: &str, fields: &FieldNames) -> Self {
        let key = serde_json::Value::from(name).to_string();
        if [&fields.choices, &fields.tests, &fields.test_imports].into_iter().any(|field| field == name) {
            return Self::List(key);
        }
        let texts = [
            &fields.id,
            &fields.question,
            &fields.answer,
            &fields.kind,
            &fields.source,
            &fields.entry_point,
            &fields.subject,
            &fields.category,
        ];
        if texts.into_iter().any(|field| field == name) { Self::Text(key) } else { Self::Unused }
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
        let (key, is_list) = match column {
            Column::Unused => continue,
            Column::Text(key) => (key, false),
            Column::List(key) => (key, true),
        };
        if cell.is_empty() {
            continue;
        }
        if json.len() > 1 {
            json.push(',');
        }
        json.push_str(key);
        json.push(':');
        let is_list = is_list && cell.trim_start().starts_with('[') && serde_json::from_str::<&RawValue>(cell).is_ok();
        if is_list { json.push_str(cell) } else { json.push_str(&serde_json::Value::from(cell).to_string()) }
    }
    json.push('}');
    Ok(())
}

/// The `csv` crate's parser, fed one record at a time.
struct Splitter {
    parser: csv::Reader<Feed>,
    cells: csv::ByteRecord,
}

impl Splitter {
    fn new() -> Self {
        // Only a line feed ends a record, as in `RecordReader`: the two must agree.
        let parser = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .terminator(csv::Terminator::Any(b'\n'))
            .from_reader(Feed::default());
        Self { parser, cells: csv::ByteRecord::new() }
    }

    /// Returns the cells of one whole record, given without its line end.
    fn split(&mut self, record: &[u8]) -> Option<&csv::ByteRecord> {
        self.parser.get_mut().load(record);
        let found = self.parser.read_byte_record(&mut self.cells).ok()?;
        found.then_some(&self.cells)
    }
}

/// Hands out one record and its line feed; the parser returns at that line feed and never asks for more.
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
        let mut reader = RecordReader::new(Box::new(io::Cursor::new(bytes.to_vec())), Framing::Csv, 1 << 20);
        let mut splitter = Splitter::new();
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
                let mut reader = RecordReader::new(Box::new(io::Cursor::new(text.clone())), Framing::Csv, 1 << 20);
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
