//! Parquet rows as JSON objects.
//!
//! Only the mapped columns are decoded, at most [`BATCH_ROWS`] rows at a time; Arrow's JSON writer turns them into
//! one object a line. Nulls are absent fields; class labels are their names ([`super::class_labels`]). Text must be a string column: a binary column without a text
//! annotation is refused, since its bytes would be taken for hex digits.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Fields, Schema, SchemaRef};
use arrow::json::LineDelimitedWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::class_labels::ClassLabels;
use super::row::Fault;
use super::{FieldNames, IngestError, InputFile, RawRow, too_long};
use crate::domain::ExclusionReason;

/// Rows decoded together.
const BATCH_ROWS: usize = 128;

/// The rows of one Parquet file.
pub(super) struct ParquetRows {
    file: String,
    schema: SchemaRef,
    labels: ClassLabels,
    batches: ParquetRecordBatchReader,
    /// The current batch, one JSON object a line.
    json: Vec<u8>,
    position: usize,
    /// Rows handed out so far.
    rows: u64,
    bytes_max: usize,
}

impl ParquetRows {
    /// Opens a file and checks its schema.
    pub(super) fn open(file: &InputFile, fields: &FieldNames, bytes_max: usize) -> Result<Self, IngestError> {
        let unopenable = |source| IngestError::Unopenable { file: file.name.clone(), source };
        let opened = fs_err::File::open(&file.path).map_err(unopenable)?;
        if opened.metadata().map_err(unopenable)?.len() == 0 {
            return Err(IngestError::NoRows { file: file.name.clone() });
        }
        let damaged = |source: parquet::errors::ParquetError| IngestError::Unreadable {
            file: file.name.clone(),
            position: String::new(),
            source: Box::new(source),
        };
        let builder = ParquetRecordBatchReaderBuilder::try_new(opened.into_parts().0).map_err(damaged)?;
        let columns = mapped_columns(builder.schema(), fields, file)?;
        let leaves = builder.parquet_schema().columns().iter().enumerate().filter_map(|(index, leaf)| {
            let parts = leaf.path().parts();
            columns.iter().any(|column| parts.starts_with(column)).then_some(index)
        });
        let schema = Arc::clone(builder.schema());
        let labels = ClassLabels::of(&schema);
        let mask = ProjectionMask::leaves(builder.parquet_schema(), leaves);
        let batches = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(damaged)?;
        Ok(Self { file: file.name.clone(), schema, labels, batches, json: Vec::new(), position: 0, rows: 0, bytes_max })
    }

    /// Returns whether there is a column of this name, or with a path a member of one.
    pub(super) fn has_column(&self, name: &str) -> bool {
        find_column(self.schema.fields(), name).is_some()
    }

    /// Returns the next row.
    pub(super) fn next_row(&mut self) -> Result<Option<RawRow<'_>>, IngestError> {
        while self.position >= self.json.len() {
            if !self.fill()? {
                return Ok(None);
            }
        }
        let rest = self.json.get(self.position..).unwrap_or_default();
        let length = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
        self.position += length + 1;
        self.rows += 1;
        let bytes = rest.get(..length).unwrap_or_default();
        let content = if length > self.bytes_max {
            Err(too_long(length as u64, self.bytes_max))
        } else {
            std::str::from_utf8(bytes).map_err(|_| {
                Fault::new(ExclusionReason::InvalidUtf8, "the row's text is not UTF-8, expected UTF-8 text")
            })
        };
        Ok(Some(RawRow { line: self.rows, content }))
    }

    /// Decodes the next batch; returns whether there was one.
    fn fill(&mut self) -> Result<bool, IngestError> {
        let Some(batch) = self.batches.next() else { return Ok(false) };
        self.json.clear();
        self.position = 0;
        let named = batch.and_then(|batch| self.labels.named(batch));
        let written = named.and_then(|batch| LineDelimitedWriter::new(&mut self.json).write(&batch));
        written.map(|()| true).map_err(|source| IngestError::Unreadable {
            file: self.file.clone(),
            position: format!(" at row {}", self.rows + 1),
            source: Box::new(source),
        })
    }
}

/// Returns the paths of the columns that hold mapped fields: a name, and for members of structs several.
fn mapped_columns(schema: &Schema, fields: &FieldNames, file: &InputFile) -> Result<Vec<Vec<String>>, IngestError> {
    let FieldNames { id, question, answer, kind, choices, tests, test_imports, entry_point, source, subject, category } =
        fields;
    if find_column(schema.fields(), question).is_none() {
        let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        return Err(IngestError::MissingColumn {
            file: file.name.clone(),
            field: "question",
            column: question.clone(),
            columns: columns.join(", "),
        });
    }
    let mut paths = Vec::new();
    for name in [id, question, answer, kind, choices, tests, test_imports, entry_point, source] {
        let Some((path, column)) = find_column(schema.fields(), name) else { continue };
        let is_nested = name == choices || name == tests;
        if !(is_readable(column.data_type()) || is_nested && is_readable_nested(column.data_type())) {
            return Err(IngestError::UnsupportedColumn {
                file: file.name.clone(),
                column: name.clone(),
                found: column.data_type().to_string(),
            });
        }
        paths.push(path);
    }
    // They decide nothing: a column of another type is passed over.
    let labels = [subject, category].into_iter().filter_map(|name| find_column(schema.fields(), name));
    paths.extend(labels.filter(|(_, column)| is_readable(column.data_type())).map(|(path, _)| path));
    Ok(paths)
}

/// Returns a column and its path; a name with dots is first taken literally, then as a path into structs.
fn find_column<'a>(fields: &'a Fields, name: &str) -> Option<(Vec<String>, &'a FieldRef)> {
    if let Some(found) = fields.iter().find(|field| field.name() == name) {
        return Some((vec![name.to_owned()], found));
    }
    let (first, rest) = name.split_once('.')?;
    let DataType::Struct(members) = fields.iter().find(|field| field.name() == first)?.data_type() else {
        return None;
    };
    let (mut path, found) = find_column(members, rest)?;
    path.insert(0, first.to_owned());
    Some((path, found))
}

fn is_readable(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Boolean | DataType::Null => true,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            is_readable(item.data_type())
        }
        DataType::Dictionary(_, value) => is_readable(value),
        other => other.is_numeric(),
    }
}

/// Returns whether a type is made of readable ones: choices and tests may be objects, and lists of objects.
fn is_readable_nested(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(members) => members.iter().all(|member| is_readable_nested(member.data_type())),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            is_readable_nested(item.data_type())
        }
        other => is_readable(other),
    }
}
