//! Parquet rows as JSON objects.
//!
//! Only the wanted columns are decoded, at most [`BATCH_ROWS`] rows at a time. Arrow's JSON writer writes them, one
//! object per line. Nulls are absent fields; class labels are replaced by their names ([`super::class_labels`]). Text
//! must be in a string column: a binary column without a text annotation is rejected, because its bytes would be
//! written as hex digits.
//!
//! One stored text may occur in every row. Therefore texts are decoded as views of the file's pages and written
//! [`CHUNK_BYTES`] at a time, a row that is too long is not written at all, and the file's size bounds the total of all
//! rows ([`super::expansion`]). The sizes that the file claims are checked first ([`super::footer`]).

use std::fs::File;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use arrow::json::LineDelimitedWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};

use super::class_labels::ClassLabels;
use super::expansion::{Expansion, bytes_max_of};
use super::fault::Fault;
use super::footer;
use super::raw_row::{RawRow, too_long};
use super::row_bytes::row_bytes;
use super::wanted::Wanted;
use super::{IngestError, InputFile};
use crate::domain::ExclusionReason;

/// Rows decoded together.
const BATCH_ROWS: usize = 128;
/// Bytes of text after which a chunk ends.
const CHUNK_BYTES: u64 = 8 << 20;

/// The rows of one Parquet file.
pub(super) struct ParquetRows {
    file: String,
    schema: SchemaRef,
    labels: ClassLabels,
    batches: ParquetRecordBatchReader,
    /// Rows that are decoded and not written yet.
    batch: Option<RecordBatch>,
    /// Rows that are written, one JSON object per line.
    json: Vec<u8>,
    position: usize,
    /// The bytes of the next row, if it is too long.
    too_long: Option<u64>,
    expansion: Expansion,
    /// The number of rows returned so far.
    rows: u64,
    bytes_max: usize,
}

impl ParquetRows {
    /// Opens a file and checks its schema.
    pub(super) fn open(file: &InputFile, wanted: &Wanted<'_>, bytes_max: usize) -> Result<Self, IngestError> {
        let unopenable = |source| IngestError::Unopenable { file: file.name.clone(), source };
        let opened = fs_err::File::open(&file.path).map_err(unopenable)?;
        if opened.metadata().map_err(unopenable)?.len() == 0 {
            return Err(IngestError::NoRows { file: file.name.clone() });
        }
        let (mut opened, _) = opened.into_parts();
        let length = opened.metadata().map_err(unopenable)?.len();
        let damaged = |source: Box<dyn std::error::Error + Send + Sync>| IngestError::Unreadable {
            file: file.name.clone(),
            position: String::new(),
            source,
        };
        footer::check(&mut opened).map_err(|error| damaged(error.into()))?;
        let plain = guarded(|| ArrowReaderMetadata::load(&opened, ArrowReaderOptions::new()));
        let plain = plain.map_err(damaged)?;
        let (schema, leaves) = (Arc::clone(plain.schema()), plain.parquet_schema());
        let columns = wanted_columns(&schema, wanted, file)?;
        let is_read: Vec<bool> = leaves
            .columns()
            .iter()
            .map(|leaf| columns.iter().any(|column| leaf.path().parts().starts_with(column)))
            .collect();
        let is_leaf_read = |index: usize| is_read.get(index).copied().unwrap_or_default();
        footer::check_pages(&mut opened, plain.metadata(), is_leaf_read).map_err(|error| damaged(error.into()))?;
        let labels = ClassLabels::of(&schema);
        let mask = ProjectionMask::leaves(leaves, (0..is_read.len()).filter(|index| is_leaf_read(*index)));
        let batches = guarded(|| builder_of(opened, &plain).with_projection(mask).build()).map_err(damaged)?;
        Ok(Self {
            file: file.name.clone(),
            schema,
            labels,
            batches,
            batch: None,
            json: Vec::new(),
            position: 0,
            too_long: None,
            expansion: Expansion::new(bytes_max_of(length)),
            rows: 0,
            bytes_max,
        })
    }

    /// Returns the names of the columns, in order.
    pub(super) fn columns(&self) -> Vec<String> {
        self.schema.fields().iter().map(|field| field.name().clone()).collect()
    }

    /// Returns the next row.
    pub(super) fn next_row(&mut self) -> Result<Option<RawRow<'_>>, IngestError> {
        while self.position >= self.json.len() && self.too_long.is_none() {
            if !self.fill()? {
                return Ok(None);
            }
        }
        self.rows += 1;
        if let Some(bytes) = self.too_long.take() {
            return Ok(Some(RawRow { line: self.rows, content: Err(too_long(bytes, self.bytes_max)) }));
        }
        let rest = self.json.get(self.position..).unwrap_or_default();
        let length = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
        self.position += length + 1;
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

    /// Writes the next rows to the buffer; returns whether there were any.
    fn fill(&mut self) -> Result<bool, IngestError> {
        self.json.clear();
        self.position = 0;
        let batch = match self.batch.take() {
            Some(batch) => batch,
            None => {
                let batches = &mut self.batches;
                let Some(batch) = guarded(|| batches.next().transpose()).map_err(|error| self.damaged(error))? else {
                    return Ok(false);
                };
                self.labels.named(batch).map_err(|error| self.damaged(error.into()))?
            }
        };
        if batch.num_rows() == 0 {
            return Ok(true);
        }
        // A chunk has as many rows as fit, and at least one. A row that is too long is skipped.
        let (mut count, mut bytes) = (0, 0);
        while count < batch.num_rows() {
            let of_row = row_bytes(&batch, count);
            if of_row > self.bytes_max as u64 {
                if count == 0 {
                    self.too_long = Some(of_row);
                    (count, bytes) = (1, of_row);
                }
                break;
            }
            if count > 0 && bytes + of_row > CHUNK_BYTES {
                break;
            }
            (count, bytes) = (count + 1, bytes + of_row);
        }
        self.expansion.add(bytes).map_err(|error| self.damaged(error.into()))?;
        if self.too_long.is_none() {
            let written = LineDelimitedWriter::new(&mut self.json).write(&batch.slice(0, count));
            written.map_err(|error| self.damaged(error.into()))?;
        }
        let left = batch.num_rows() - count;
        self.batch = (left > 0).then(|| batch.slice(count, left));
        Ok(true)
    }

    fn damaged(&self, source: Box<dyn std::error::Error + Send + Sync>) -> IngestError {
        IngestError::Unreadable { file: self.file.clone(), position: format!(" at row {}", self.rows + 1), source }
    }
}

/// Runs a decoder on untrusted bytes, and converts a panic to an error: some contradictions in the bytes make it panic.
fn guarded<T, E: std::error::Error + Send + Sync + 'static>(
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, Box<dyn std::error::Error + Send + Sync>> {
    // The state after a panic is never used: the error ends the reading.
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(Into::into),
        Err(_) => Err("its pages contradict its footer".into()),
    }
}

/// Returns a reader that decodes texts as views of the file's pages; if Arrow rejects views for the file's types, the
/// reader decodes one row at a time.
fn builder_of(file: File, plain: &ArrowReaderMetadata) -> ParquetRecordBatchReaderBuilder<File> {
    let fields: Vec<FieldRef> = plain.schema().fields().iter().map(viewed).collect();
    let schema = Arc::new(Schema::new_with_metadata(fields, plain.schema().metadata().clone()));
    let options = ArrowReaderOptions::new().with_schema(schema);
    match ArrowReaderMetadata::try_new(Arc::clone(plain.metadata()), options) {
        Ok(views) => ParquetRecordBatchReaderBuilder::new_with_metadata(file, views).with_batch_size(BATCH_ROWS),
        Err(error) => {
            tracing::debug!("texts are not decoded as views: {error}");
            ParquetRecordBatchReaderBuilder::new_with_metadata(file, plain.clone()).with_batch_size(1)
        }
    }
}

/// Returns a column with views instead of texts. The check of the footer bounds the nesting.
fn viewed(field: &FieldRef) -> FieldRef {
    let is_text = |kind: &DataType| matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let of = |kind: DataType| Arc::new(Field::clone(field).with_data_type(kind));
    match field.data_type() {
        kind if is_text(kind) => of(DataType::Utf8View),
        DataType::Dictionary(_, value) if is_text(value) => of(DataType::Utf8View),
        DataType::Struct(members) => of(DataType::Struct(members.iter().map(viewed).collect())),
        DataType::List(item) => of(DataType::List(viewed(item))),
        DataType::LargeList(item) => of(DataType::LargeList(viewed(item))),
        DataType::FixedSizeList(item, count) => of(DataType::FixedSizeList(viewed(item), *count)),
        _ => Arc::clone(field),
    }
}

/// Returns the paths of the wanted columns: one name, or several for a member of a struct.
fn wanted_columns(schema: &Schema, wanted: &Wanted<'_>, file: &InputFile) -> Result<Vec<Vec<String>>, IngestError> {
    let Wanted::Columns(columns) = wanted else {
        let readable = schema.fields().iter().filter(|column| is_readable(column.data_type()));
        return Ok(readable.map(|column| vec![column.name().clone()]).collect());
    };
    let mut paths = Vec::new();
    for wanted in columns {
        let Some((path, column)) = find_column(schema.fields(), wanted.name) else { continue };
        if is_readable(column.data_type()) {
            paths.push(path);
        } else if !wanted.decides_nothing {
            return Err(IngestError::UnsupportedColumn {
                file: file.name.clone(),
                column: wanted.name.to_owned(),
                found: column.data_type().to_string(),
            });
        }
    }
    Ok(paths)
}

/// Returns a column and its path; a name with dots is first tried literally, then as a path into structs.
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

/// Returns whether a type consists of texts, numbers, booleans and times.
fn is_readable(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Boolean | DataType::Null => true,
        DataType::Struct(members) => members.iter().all(|member| is_readable(member.data_type())),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            is_readable(item.data_type())
        }
        DataType::Dictionary(_, value) => is_readable(value),
        other => other.is_numeric() || other.is_temporal(),
    }
}
