//! The published dataset: encodes rows as Parquet shards, and writes the files beside them.
//!
//! [`TableWriter`] and [`encode()`] turn rows into the bytes of one shard and are pure: the same rows give the same
//! bytes, so an interrupted shard is written again under the same name with the same content. [`Publisher::put`] makes
//! bytes durable under a name, [`verify`] compares a published file with its hash, [`unexplained`] lists files without
//! a record. [`Manifest`], [`card()`] and [`views_sql`] are the files beside the data.
//!
//! Formats: Parquet with zstd, page index and content-defined chunking, one fixed schema per [`Table`], every column
//! nullable; `manifest.json` is pretty JSON with sorted keys; `README.md` is Markdown after the Hub's YAML front
//! matter. No file contains a time. [`TABLES_VERSION`] counts changes to the schemas.
//!
//! Limits: a row group has at most [`ROW_GROUP_ROWS_MAX`] rows and [`ROW_GROUP_BYTES_MAX`] bytes before encoding,
//! unless a single row is larger; 64 consecutive rows have at most 2 GiB of text per column. Memory holds a shard's
//! bytes, and its rows only if they are passed to [`encode()`], so the caller bounds memory by the number of queries
//! per shard.
//!
//! This room does not know which rows belong to which shard, what the ledger records, or when a shard is complete.
//! Every table needs at least one published file, even without rows: the views and loaders reject a pattern without a
//! match.

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

use crate::domain::OtherMode;

pub use card::{CardFacts, card};
pub use encode::{CREATED_BY, Provenance, ROW_GROUP_BYTES_MAX, ROW_GROUP_ROWS_MAX, TableWriter, encode, encode_as};
pub use error::ShardError;
pub use manifest::{Counts, FileEntry, Manifest, SampledModel};
pub use publish::{FileState, Publisher, remove_staged, sha256_of_file, unexplained, verify};
pub use read::{RowFilter, read_columns, read_rows, read_rows_of};
pub use rows::{ExclusionRow, MessageRow, RolloutRow, SampleRow};
pub use schema::{ColumnDescription, TABLES_VERSION, Table, describe, describe_json};
pub use store::{FileStore, StoredFile};

/// The DuckDB views over the published tables, with the default rule for responses of another mode.
const VIEWS_SQL: &str = include_str!("views.sql");

/// Returns the content of `views.sql` in the output directory: its pass rates follow the run's rule for responses of the
/// other mode than was asked for.
#[must_use]
pub fn views_sql(rule: OtherMode) -> String {
    match rule {
        OtherMode::Incorrect => VIEWS_SQL.to_owned(),
        OtherMode::AsVerified => {
            VIEWS_SQL.replace("verdict = 'correct' AND observed_mode = mode", "verdict = 'correct'")
        }
    }
}

/// The name of the views in the output directory.
pub const VIEWS_FILE: &str = "views.sql";
/// The name of the judge's usage in the output directory. The view `spend` reads it.
pub const SPEND_FILE: &str = "spend.json";
/// The name of the manifest in the output directory.
pub const MANIFEST_FILE: &str = "manifest.json";
/// The name of the dataset card in the output directory.
pub const CARD_FILE: &str = "README.md";
