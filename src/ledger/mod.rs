//! The facts ledger: SQLite, facts only ever added (I2), one writer.
//!
//! A fact is acknowledged after its transaction is on disk (WAL, `synchronous = FULL`). Facts are content-addressed:
//! writing one again with the same content is no change, with another content it is an error. What is left to do is
//! not stored here; it is computed from the facts. Types speak of queries, rollouts, verdicts and files; how replies
//! are read or rows are encoded is not known here.

mod attempts;
mod batches;
mod error;
mod facts;
mod failures;
mod file;
mod insert;
mod reader;
mod replies;
mod standing;
mod storing;
mod texts;
mod times;
mod totals;
mod values;
mod writer;

#[cfg(test)]
mod tests;

pub use batches::{BatchItem, BatchRecord, BatchTotals, OpenCall, ReplyRecord};
pub use error::LedgerError;
pub use facts::{
    AttemptRecord, BatchStep, CallSize, Fact, IntakeRow, RolloutFailure, RunRecord, ServerRefusal, ShardRecord,
};
pub use reader::{Reader, Snapshot};
pub use totals::{JudgeTotals, ModeTotals, Totals};
pub use writer::{Acknowledge, InlineWriter, Ledger, LedgerOptions};

/// The file's name in an output directory.
pub const FILE_NAME: &str = "ledger.sqlite";

/// Version of `schema.sql`. Versions 2 to 4 and 6 added the columns of [`ADDED_COLUMNS`], version 3 the table
/// `rollout_failure` besides, version 4 the tables `judge_batch*`, `rollout_cut` and `prompter`. Since version 4 long
/// texts are compressed (`texts`); those that stood there stay as they are. Version 5 added
/// the table `shard_begun`, version 6 the tables `forgiven`, `rollout_reply` and `server_refusal` and more columns.
const FORMAT_VERSION: i64 = 6;

/// Columns that a ledger of an older format lacks: table, column, type. All may be null, and are in what was stored
/// before.
const ADDED_COLUMNS: &[(&str, &str, &str)] = &[
    ("start", "numerics", "TEXT"),
    ("rollout", "forced_close", "TEXT"),
    ("rollout", "logprob_sum", "REAL"),
    ("rollout", "observed_mode", "TEXT"),
    ("intake", "test_imports", "TEXT"),
    ("intake", "entry_point", "TEXT"),
    ("rollout", "text_zstd", "BLOB"),
    ("prompt", "text_zstd", "BLOB"),
    ("judge_attempt", "prompt_tokens_max", "INTEGER"),
    ("judge_attempt", "completion_tokens_max", "INTEGER"),
    ("judge_reply", "recorded_unix_ms", "INTEGER"),
    ("intake", "subject", "TEXT"),
    ("intake", "category", "TEXT"),
    ("intake", "variant_of", "TEXT"),
    ("rollout", "length_estimated", "INTEGER"),
    ("intake", "extra", "TEXT"),
];
