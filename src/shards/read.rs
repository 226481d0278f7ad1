//! Reading single text columns back from published files: for counts, and for audits.

use std::path::Path;

use arrow::array::{Array, AsArray};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::ChunkReader;

use super::error::ShardError;
use super::store::StoredFile;

/// Returns some columns of a file as text, row by row in the order of `columns`; nulls are `None`, numbers are written
/// out. Blocks.
///
/// # Errors
/// [`ShardError::Unreadable`] if the file is missing, damaged, or lacks a column.
pub fn read_columns(path: &Path, columns: &[&str]) -> Result<Vec<Vec<Option<String>>>, ShardError> {
    let file = std::fs::File::open(path).map_err(|source| ShardError::Unreadable { path: path.to_owned(), source })?;
    read_columns_of(StoredFile::Disk(file), path, columns)
}

/// Reads columns of an open file, which messages call `path`.
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
            let column = batch.column_by_name(name).ok_or_else(|| unreadable(format!("it has no column {name}")))?;
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
