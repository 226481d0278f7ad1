//! Rows to the bytes of one Parquet file.
//!
//! Pure and deterministic: the bytes depend on table and rows alone, not on threads, time or machine state. What could
//! vary is fixed: `created_by` names a format, not a build; no Arrow schema blob is stored, the Parquet schema says
//! all there is to say; pages are cut where the content says (content-defined chunking, with the parameters that the
//! Hub's own writer uses), so that shards which differ in a few rows share most of their bytes.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use arrow::json::reader::Decoder;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{CdcOptions, EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;
use serde::Serialize;

use super::{ShardError, TABLES_VERSION, Table};

/// What the files name as their writer; shaped as the Parquet format asks, for readers that parse it.
pub const CREATED_BY: &str = "thinkloom version 2";
/// Most rows of a row group.
pub const ROW_GROUP_ROWS_MAX: usize = 4096;
/// Most bytes of a row group, counted as Arrow buffers before encoding; a single larger row stands alone.
///
/// The writer's own estimate counts encoded bytes, but readers and the Hub bound what a group unpacks to.
pub const ROW_GROUP_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Rows that are turned into columns at a time: bounds the copies held beside the rows and the encoded pages.
const CHUNK_ROWS: usize = 64;
const ZSTD_LEVEL: i32 = 3;
/// The column that single rows are looked up by: each row group has a bloom filter on it.
const BLOOM_COLUMN: &str = "query_id";
const BLOOM_FALSE_POSITIVES: f64 = 0.01;
const CDC: CdcOptions = CdcOptions { min_chunk_size: 256 * 1024, max_chunk_size: 1024 * 1024, norm_level: 0 };
/// The same parameters as the Hub's writer records them, under the key that it looks for.
const CDC_JSON: &str = r#"{"min_chunk_size": 262144, "max_chunk_size": 1048576, "norm_level": 0}"#;

/// Returns the Parquet file that holds `rows`, in their order; without rows it is a valid file with the schema.
///
/// # Errors
/// [`ShardError::Rows`] when a row has a member that the table has not, or of another type, or when the text of one
/// column in 64 consecutive rows exceeds 2 GiB; [`ShardError::Parquet`] when the encoder fails.
pub fn encode<T: Serialize>(table: Table, rows: &[T]) -> Result<Bytes, ShardError> {
    encode_bounded(table, rows, ROW_GROUP_BYTES_MAX)
}

/// Where the rows of a file come from. The program's version is not a part of it: a shard that is built again by a later
/// version has the same bytes as long as nothing that decides them has changed; [`CREATED_BY`] counts what has. Nor is the
/// run's fingerprint, which the manifest has: rows that another row limit or another address of the judge also gives have
/// the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// The model that was sampled.
    pub policy_model: String,
    /// Its revision or weights hash.
    pub policy_revision: String,
    /// The hash of the prompts.
    pub prompt_version: String,
}

/// Returns a Parquet file of any schema, made as those of the published tables; `name` is for messages.
///
/// # Errors
/// As [`encode`].
pub fn encode_as<T: Serialize>(name: &'static str, schema: SchemaRef, rows: &[T]) -> Result<Bytes, ShardError> {
    encode_rows(Target { name, schema, metadata: Vec::new(), group_bytes_max: ROW_GROUP_BYTES_MAX }, rows)
}

fn encode_bounded<T: Serialize>(table: Table, rows: &[T], group_bytes_max: usize) -> Result<Bytes, ShardError> {
    encode_rows(Target { name: table.name(), schema: table.schema(), metadata: Vec::new(), group_bytes_max }, rows)
}

fn encode_rows<T: Serialize>(target: Target, rows: &[T]) -> Result<Bytes, ShardError> {
    let mut encoder = Encoder::new(target)?;
    for chunk in rows.chunks(CHUNK_ROWS) {
        encoder.write(chunk)?;
    }
    encoder.finish()
}

/// Writes one published file row by row: what is in memory are [`encode`]'s 64 rows, one row group as encoded pages, and
/// the file's compressed bytes.
pub struct TableWriter<T> {
    encoder: Encoder,
    /// Rows that are not encoded yet, fewer than a chunk of them.
    waiting: Vec<T>,
    rows: u64,
}

impl<T: Serialize> TableWriter<T> {
    /// Starts a file with where its rows come from in its metadata.
    ///
    /// # Errors
    /// [`ShardError::Parquet`] when the encoder fails.
    pub fn new(table: Table, provenance: &Provenance) -> Result<Self, ShardError> {
        let Provenance { policy_model, policy_revision, prompt_version } = provenance;
        let metadata = vec![
            ("thinkloom.policy_model", policy_model.clone()),
            ("thinkloom.policy_revision", policy_revision.clone()),
            ("thinkloom.prompt_version", prompt_version.clone()),
        ];
        let (name, schema) = (table.name(), table.schema());
        let encoder = Encoder::new(Target { name, schema, metadata, group_bytes_max: ROW_GROUP_BYTES_MAX })?;
        Ok(Self { encoder, waiting: Vec::with_capacity(CHUNK_ROWS), rows: 0 })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// As [`encode`].
    pub fn push(&mut self, row: T) -> Result<(), ShardError> {
        self.waiting.push(row);
        self.rows += 1;
        if self.waiting.len() == CHUNK_ROWS {
            self.encoder.write(&self.waiting)?;
            self.waiting.clear();
        }
        Ok(())
    }

    /// Returns the file's bytes and the number of its rows. The bytes are those that [`encode`] gives for all rows at once,
    /// but for the metadata.
    ///
    /// # Errors
    /// As [`encode`].
    pub fn finish(mut self) -> Result<(Bytes, u64), ShardError> {
        self.encoder.write(&self.waiting)?;
        Ok((self.encoder.finish()?, self.rows))
    }
}

/// What a file is to be.
struct Target {
    name: &'static str,
    schema: SchemaRef,
    metadata: Vec<(&'static str, String)>,
    group_bytes_max: usize,
}

/// Encodes chunks of rows one after the other.
struct Encoder {
    name: &'static str,
    decoder: Decoder,
    groups: GroupWriter,
}

impl Encoder {
    fn new(target: Target) -> Result<Self, ShardError> {
        let Target { name, schema, metadata, group_bytes_max } = target;
        let parquet_error = |source: ParquetError| ShardError::Parquet { table: name, source };
        // Strict: a row member that is no column is an error instead of being dropped.
        let decoder = ReaderBuilder::new(Arc::clone(&schema)).with_strict_mode(true).build_decoder();
        let decoder = decoder.map_err(|source| ShardError::Rows { table: name, source })?;
        let options = ArrowWriterOptions::new()
            .with_properties(properties(metadata).map_err(parquet_error)?)
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(Vec::new(), schema, options).map_err(parquet_error)?;
        Ok(Self { name, decoder, groups: GroupWriter { writer, group_bytes: 0, group_bytes_max } })
    }

    fn write<T: Serialize>(&mut self, chunk: &[T]) -> Result<(), ShardError> {
        let rows_error = |source: ArrowError| ShardError::Rows { table: self.name, source };
        self.decoder.serialize(chunk).map_err(rows_error)?;
        if let Some(batch) = self.decoder.flush().map_err(rows_error)? {
            self.groups.write(&batch).map_err(|source| ShardError::Parquet { table: self.name, source })?;
        }
        Ok(())
    }

    fn finish(self) -> Result<Bytes, ShardError> {
        let bytes = self.groups.writer.into_inner();
        bytes.map(Bytes::from).map_err(|source| ShardError::Parquet { table: self.name, source })
    }
}

fn properties(metadata: Vec<(&'static str, String)>) -> Result<WriterProperties, ParquetError> {
    let fixed =
        [("content_defined_chunking", CDC_JSON.to_owned()), ("thinkloom.tables_version", TABLES_VERSION.to_string())];
    let metadata = fixed.into_iter().chain(metadata).map(|(key, value)| KeyValue::new(key.to_owned(), value)).collect();
    Ok(WriterProperties::builder()
        .set_created_by(CREATED_BY.to_owned())
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_statistics_enabled(EnabledStatistics::Page)
        // Sized for a full row group and folded down to what is there.
        .set_column_bloom_filter_max_ndv(ColumnPath::from(BLOOM_COLUMN), ROW_GROUP_ROWS_MAX as u64)
        .set_column_bloom_filter_fpp(ColumnPath::from(BLOOM_COLUMN), BLOOM_FALSE_POSITIVES)
        .set_content_defined_chunking(Some(CDC))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX))
        .set_max_row_group_bytes(None)
        .set_key_value_metadata(Some(metadata))
        .build())
}

/// Writes batches and closes the row group before it outgrows its bound.
struct GroupWriter {
    writer: ArrowWriter<Vec<u8>>,
    /// Arrow bytes of the open row group.
    group_bytes: usize,
    group_bytes_max: usize,
}

impl GroupWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        let bytes = batch_bytes(batch)?;
        if bytes > self.group_bytes_max && batch.num_rows() > 1 {
            let half = batch.num_rows() / 2;
            self.write(&batch.slice(0, half))?;
            return self.write(&batch.slice(half, batch.num_rows() - half));
        }
        if self.group_bytes + bytes > self.group_bytes_max {
            self.writer.flush()?;
            self.group_bytes = 0;
        }
        self.writer.write(batch)?;
        self.group_bytes += bytes;
        if self.writer.in_progress_rows() == 0 {
            // The row bound closed the group.
            self.group_bytes = 0;
        }
        Ok(())
    }
}

/// Returns the bytes that the rows of a batch take in Arrow buffers, not counting what lies outside of a slice.
fn batch_bytes(batch: &RecordBatch) -> Result<usize, ArrowError> {
    batch.columns().iter().map(|column| column.to_data().get_slice_memory_size()).sum()
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
