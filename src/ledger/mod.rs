//! The ledger: every fact of an output directory, in one SQLite file with one writer.
//!
//! Facts are added and never changed or deleted (I2). Facts are content-addressed: storing a fact again with the same
//! content changes nothing, and storing it with another content is an error. The ledger does not store the state of a
//! run; the program computes the remaining work from the facts. This room knows queries, rollouts, verdicts and files;
//! it does not know how replies are parsed or rows are encoded.
//!
//! # Files
//!
//! | file | role |
//! |---|---|
//! | `facts` | the kinds of facts, and the records that readers return |
//! | `writer` | the writer thread |
//! | `storing`, `insert` | insertion of each kind of fact; comparison with an existing row |
//! | `attempts` | look-ups of judge attempts from async code |
//! | `reader` | the reading connection: intake, responses, verdicts, attempts, published files |
//! | `batches`, `failures`, `replies`, `standing`, `times`, `totals` | further queries of the reader, by subject |
//! | `file`, `schema.sql` | opening of the file, check of its format; its tables |
//! | `texts`, `values` | compression of long texts; column values |
//! | `error` | the errors, with their hints |
//!
//! # From statement to commit
//!
//! 1. A caller builds a [`Fact`] and awaits [`Ledger::commit`]. At most 256 commits wait for the writer; further
//!    callers wait for a place.
//! 2. The writer thread takes up to 128 waiting commits and opens one transaction.
//! 3. Each fact is inserted. If its key exists, the stored row is compared: the same content is accepted, another
//!    content fails with [`LedgerError::Conflict`].
//! 4. SQLite writes the transaction to its log and syncs the log. If the group fails, each commit is tried alone.
//! 5. The writer acknowledges each commit, and [`Ledger::commit`] returns. From now on every [`Reader`] sees the facts.
//! 6. The run acts on a fact only after step 5: a judge call is sent after its attempt is durable, and a shard counts
//!    as published after its row is.
//!
//! # Format and tables
//!
//! The file is [`FILE_NAME`] in the output directory; SQLite keeps its log in `ledger.sqlite-wal` beside it. The table
//! `format` holds the version of the layout; a newer one is rejected with [`LedgerError::Newer`].
//!
//! | tables | facts |
//! |---|---|
//! | `run`, `start`, `prompter` | configurations, starts of the program, sources of prompts |
//! | `intake` | the frozen input |
//! | `prompt`, `rollout`, `rollout_reply` | prompts, responses, the replies behind them |
//! | `rollout_failure`, `rollout_cut` | failed attempts, abandoned responses |
//! | `verdict` | verdicts |
//! | `judge_attempt`, `judge_reply`, `judge_failure` | judge calls |
//! | `judge_batch`, `judge_batch_item`, `judge_batch_step` | batches of judge calls |
//! | `forgiven`, `server_refusal` | attempts that no longer count, request keys that servers refused |
//! | `shard_begun`, `shard` | files before and after they are published |
//!
//! # Assumptions
//!
//! The writer uses WAL with `synchronous = FULL`: a commit is durable if the disk keeps its word on fsync. The
//! directory is on a local file system and the caller holds its lock, so that no other process writes; `sys::files`
//! checks both. A torn end of the log is ignored by SQLite, and it contains no acknowledged commit.

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
pub use writer::Ledger;
#[cfg(feature = "testing")]
pub use writer::inline::{Acknowledge, InlineWriter, LedgerOptions};

/// The file's name in an output directory.
pub const FILE_NAME: &str = "ledger.sqlite";

/// Version of `schema.sql`. Versions 2 to 4 and 6 added the columns of [`ADDED_COLUMNS`]. Version 3 added the table
/// `rollout_failure`; version 4 the tables `judge_batch*`, `rollout_cut` and `prompter`, and compression of long texts
/// (`texts`; older texts stay uncompressed); version 5 the table `shard_begun`; version 6 the tables `forgiven`,
/// `rollout_reply` and `server_refusal`.
const FORMAT_VERSION: i64 = 6;

/// Columns that a ledger of an older format lacks: table, column, type. All are nullable, and null in older rows.
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
