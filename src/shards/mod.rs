//! The published dataset: rows to Parquet shards, and the files that stand beside them.
//!
//! [`TableWriter`] and [`encode()`] turn rows into the bytes of one shard and are pure: the same rows give the same bytes, so a shard that
//! was cut off is written again under the same name with the same content. [`Publisher::put`] makes bytes durable
//! under a name, [`verify`] says whether they still stand there, [`unexplained`] lists what no record accounts for.
//! [`Manifest`], [`card()`] and [`VIEWS_SQL`] are the files beside the data.
//!
//! Formats: Parquet with zstd, page index and content-defined chunking, one fixed schema per [`Table`], every column
//! nullable; `manifest.json` is pretty JSON with sorted keys; `README.md` is Markdown with Hub YAML in front. None of
//! them holds a clock reading. [`TABLES_VERSION`] counts changes to the schemas.
//!
//! Limits: a row group holds at most [`ROW_GROUP_ROWS_MAX`] rows and [`ROW_GROUP_BYTES_MAX`] bytes before encoding,
//! unless one single row is larger; 64 consecutive rows hold at most 2 GiB of text per column. A shard's bytes are held in
//! memory, its rows only where [`encode()`] is given them, so the caller bounds it by the number of queries in it.
//!
//! This room does not know which rows belong to which shard, what the ledger records, or when a shard is complete.
//! Every table needs at least one published file, if only one without rows: the views and loaders refuse an empty glob.

mod card;
mod encode;
mod error;
mod manifest;
mod publish;
mod read;
mod rows;
mod schema;
pub mod seal;
mod store;

pub use card::{CardFacts, card};
pub use encode::{CREATED_BY, Provenance, ROW_GROUP_BYTES_MAX, ROW_GROUP_ROWS_MAX, TableWriter, encode, encode_as};
pub use error::ShardError;
pub use manifest::{Counts, FileEntry, Manifest, SampledModel};
pub use publish::{FileState, Publisher, remove_staged, sha256, sha256_of_file, unexplained, verify};
pub use read::{RowFilter, read_columns, read_rows, read_rows_of};
pub use rows::{ExclusionRow, MessageRow, RolloutRow, SampleRow};
pub use schema::{ColumnDescription, TABLES_VERSION, Table, describe, describe_json};
pub use store::{FileStore, StoredFile};

/// The DuckDB views over the published tables; stands as `views.sql` in the output directory.
pub const VIEWS_SQL: &str = include_str!("views.sql");
/// The name of the views in the output directory.
pub const VIEWS_FILE: &str = "views.sql";
/// The name of the judge's usage in the output directory, which the view `spend` reads.
pub const SPEND_FILE: &str = "spend.json";
/// The name of the manifest in the output directory.
pub const MANIFEST_FILE: &str = "manifest.json";
/// The name of the dataset card in the output directory.
pub const CARD_FILE: &str = "README.md";
