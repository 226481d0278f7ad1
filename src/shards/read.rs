//! Reads published files: single columns as text for counts and audits, whole rows for exports and reports.

#![expect(clippy::disallowed_methods, reason = "the errors of this module name the file themselves")]
#![warn(clippy::indexing_slicing)] // what is read here comes from anywhere

use std::path::Path;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch};
use arrow::error::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowPredicateFn, ParquetRecordBatchReaderBuilder, RowFilter as ParquetRowFilter};
use parquet::file::reader::ChunkReader;
use serde::de::DeserializeOwned;

use super::error::ShardError;
use super::store::StoredFile;

/// Returns some columns of a file as text, row by row in the order of `columns`. Nulls are `None`; numbers are decimal
/// text. Blocks.
///
/// # Errors
/// [`ShardError::Unreadable`] if the file is missing, damaged, or lacks a column.
pub fn read_columns(path: &Path, columns: &[&str]) -> Result<Vec<Vec<Option<String>>>, ShardError> {
    let file = std::fs::File::open(path).map_err(|source| ShardError::Unreadable { path: path.to_owned(), source })?;
    read_columns_of(StoredFile::Disk(file), path, columns)
}

/// Reads columns of an open file; `path` is its name in messages.
pub(super) fn read_columns_of(
    file: StoredFile,
    path: &Path,
    columns: &[&str],
) -> Result<Vec<Vec<Option<String>>>, ShardError> {
    match file {
        StoredFile::Disk(file) => read(file, path, columns),
        StoredFile::Memory(bytes) => read(bytes, path, columns),
    }
}

fn read<F: ChunkReader + 'static>(
    file: F,
    path: &Path,
    columns: &[&str],
) -> Result<Vec<Vec<Option<String>>>, ShardError> {
    let unreadable = |error: String| ShardError::Unreadable {
        path: path.to_owned(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
    };
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| unreadable(error.to_string()))?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    let reader = builder.with_projection(mask).build().map_err(|error| unreadable(error.to_string()))?;
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|error| unreadable(error.to_string()))?;
        let mut texts = Vec::with_capacity(columns.len());
        for name in columns {
            let column =
                batch.column_by_name(name).ok_or_else(|| unreadable(format!("the column {name} is missing")))?;
            let text = arrow::compute::cast(column, &arrow::datatypes::DataType::Utf8)
                .map_err(|error| unreadable(error.to_string()))?;
            texts.push(text);
        }
        for row in 0..batch.num_rows() {
            let cell = |array: &dyn Array| {
                let strings = array.as_string::<i32>();
                (!strings.is_null(row)).then(|| strings.value(row).to_owned())
            };
            rows.push(texts.iter().map(|array| cell(array.as_ref())).collect());
        }
    }
    Ok(rows)
}

/// Returns all rows of a published file. Blocks.
pub fn read_rows<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, ShardError> {
    read_rows_of(path, &RowFilter::default())
}

/// Rows that are converted to text at a time.
const BATCH_ROWS: usize = 256;

fn append_rows<T: DeserializeOwned>(
    batch: &RecordBatch,
    rows: &mut Vec<T>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    let lines = writer.into_inner();
    for row in serde_json::Deserializer::from_slice(&lines).into_iter() {
        rows.push(row?);
    }
    Ok(())
}

/// The part of a file to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowFilter<'a> {
    /// Only these columns; all if empty.
    pub columns: &'a [&'a str],
    /// Only rows of the query at this position.
    pub ordinal: Option<i64>,
}

impl<'a> RowFilter<'a> {
    /// Reads some columns of all rows.
    #[must_use]
    pub const fn columns(columns: &'a [&'a str]) -> Self {
        Self { columns, ordinal: None }
    }

    /// Reads the rows of one query.
    #[must_use]
    pub const fn ordinal(ordinal: i64) -> Self {
        Self { columns: &[], ordinal: Some(ordinal) }
    }
}

/// Returns a part of a published file's rows. Other columns, and pages without such a row, are not decompressed.
/// Blocks.
///
/// # Errors
/// [`ShardError::Unreadable`] if the file is missing, damaged, or of another table.
pub fn read_rows_of<T: DeserializeOwned>(path: &Path, filter: &RowFilter<'_>) -> Result<Vec<T>, ShardError> {
    let unreadable = |error: &dyn std::error::Error| ShardError::Unreadable {
        path: path.to_owned(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, error.to_string()),
    };
    let file = std::fs::File::open(path).map_err(|source| ShardError::Unreadable { path: path.to_owned(), source })?;
    let mut builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| unreadable(&error))?;
    if !filter.columns.is_empty() {
        let mask = ProjectionMask::columns(builder.parquet_schema(), filter.columns.iter().copied());
        builder = builder.with_projection(mask);
    }
    if let Some(ordinal) = filter.ordinal {
        let mask = ProjectionMask::columns(builder.parquet_schema(), ["ordinal"]);
        let predicate = ArrowPredicateFn::new(mask, move |batch| {
            let wanted = Int64Array::new_scalar(ordinal);
            batch.columns().first().map_or_else(
                || Err(ArrowError::SchemaError("the column ordinal is missing".to_owned())),
                |column| arrow::compute::kernels::cmp::eq(column, &wanted),
            )
        });
        builder = builder.with_row_filter(ParquetRowFilter::new(vec![Box::new(predicate)]));
    }
    let reader = builder.with_batch_size(BATCH_ROWS).build().map_err(|error| unreadable(&error))?;
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|error| unreadable(&error))?;
        append_rows(&batch, &mut rows).map_err(|error| unreadable(error.as_ref()))?;
    }
    Ok(rows)
}
