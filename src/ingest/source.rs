//! One open input file in any format: raw rows, and the check that the bytes read are the bytes that were hashed.

use super::csv_rows::CsvRows;
use super::fault::Fault;
use super::format::{self, Layout};
use super::parquet_rows::ParquetRows;
use super::raw_row::{RawRow, too_long, unreadable_at_line};
use super::records::{Content, Framing, RecordReader};
use super::stream::{self, ReadBytes};
use super::values::{self, ValueReader};
use super::wanted::Wanted;
use super::{IngestError, InputFile, paths};
use crate::domain::ExclusionReason;

/// An open file.
pub(super) struct Source {
    file: InputFile,
    rows: SourceRows,
    /// The bytes read from a text file.
    bytes: Option<ReadBytes>,
    bytes_max: usize,
}

enum SourceRows {
    Lines(RecordReader),
    Values(ValueReader),
    Csv(CsvRows),
    Parquet(ParquetRows),
}

/// Room for a row of JSON as Python writes it, converted to standard JSON.
#[derive(Default)]
pub(super) struct Mended(String);

impl Source {
    pub(super) fn open(file: &InputFile, wanted: &Wanted<'_>, bytes_max: usize) -> Result<Self, IngestError> {
        let format = format::format_of(file)?;
        if format.layout == Layout::Parquet {
            let rows = SourceRows::Parquet(ParquetRows::open(file, wanted, bytes_max)?);
            return Ok(Self { file: file.clone(), rows, bytes: None, bytes_max });
        }
        let stream = stream::open_text(file, format.compression)?;
        let rows = match format.layout {
            Layout::Csv => SourceRows::Csv(CsvRows::open(file, stream.text, b',', wanted, bytes_max)?),
            Layout::Tsv => SourceRows::Csv(CsvRows::open(file, stream.text, b'\t', wanted, bytes_max)?),
            Layout::Json | Layout::Parquet if values::are_values(&stream.head) => {
                SourceRows::Values(ValueReader::new(stream.text, bytes_max))
            }
            Layout::Json | Layout::Parquet => {
                SourceRows::Lines(RecordReader::new(stream.text, Framing::Lines, bytes_max))
            }
        };
        Ok(Self { file: file.clone(), rows, bytes: Some(stream.bytes), bytes_max })
    }

    /// Returns the names of a table's columns; `None` for JSON, whose names are unknown until its rows are read.
    pub(super) fn columns(&self) -> Option<Vec<String>> {
        match &self.rows {
            SourceRows::Lines(_) | SourceRows::Values(_) => None,
            SourceRows::Csv(rows) => Some(rows.columns().to_vec()),
            SourceRows::Parquet(rows) => Some(rows.columns()),
        }
    }

    /// Returns the next row; `mended` is the buffer for the row's text if it must be converted.
    pub(super) fn next_row<'a>(&'a mut self, mended: &'a mut Mended) -> Result<Option<RawRow<'a>>, IngestError> {
        let (start, record) = match &mut self.rows {
            SourceRows::Csv(rows) => return rows.next_row(),
            SourceRows::Parquet(rows) => return rows.next_row(),
            SourceRows::Lines(records) => (records.line(), records.next_record()),
            SourceRows::Values(records) => (records.line(), records.next_record()),
        };
        let record = record.map_err(|error| unreadable_at_line(&self.file.name, start, error))?;
        let Some(record) = record else { return Ok(None) };
        let content = match record.content {
            Content::Whole(bytes) => std::str::from_utf8(bytes).map_err(|error| {
                let place = error.valid_up_to() + 1;
                let detail = format!("the line is not UTF-8 from byte {place} on, expected UTF-8 text");
                Fault::new(ExclusionReason::InvalidUtf8, detail)
            }),
            Content::TooLong(bytes) => Err(too_long(bytes, self.bytes_max)),
            Content::Torn => Err(Fault::new(
                ExclusionReason::InvalidSyntax,
                "the object is torn: the file ends before its closing brace",
            )),
        };
        let content = content.map(|text| match values::without_nan(text) {
            Some(plain) => {
                mended.0 = plain;
                mended.0.as_str()
            }
            None => text,
        });
        Ok(Some(RawRow { line: record.line, content }))
    }

    /// Checks, after the last row, that the bytes read have a digest.
    ///
    /// # Errors
    /// [`IngestError::Changed`] if the bytes have another digest, or the file cannot be read.
    pub(super) fn check(&self, digest: &str) -> Result<(), IngestError> {
        let found = match &self.bytes {
            Some(bytes) => bytes.digest().map_err(|source| IngestError::Unreadable {
                file: self.file.name.clone(),
                position: String::new(),
                source: Box::new(source),
            })?,
            // Parquet parts are not read in order, so the file is hashed again: if it changed while it was read, its
            // hash differs now.
            None => paths::digest_file(&self.file.path)?,
        };
        if found == digest { Ok(()) } else { Err(IngestError::Changed { file: self.file.name.clone() }) }
    }
}
