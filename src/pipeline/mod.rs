//! The wiring of a run: the order of its stages, the bounds on work in progress, and how a run starts, stops and
//! resumes.
//!
//! The state of a run is in the ledger and nowhere else. For every query the run asks [`plan`] for the next step,
//! commits the result, and publishes a shard as soon as all its rows are settled. Every other room knows only its own
//! work; this room alone knows the order.
//!
//! An opened run is a [`Context`] of three parts: [`Run`] (settings, input and identity), [`Actors`] (policy, judge,
//! sandbox) and [`Stores`] (ledger and files). Functions take the parts that they need.
//!
//! # Files
//!
//! | file | role |
//! |---|---|
//! | `open`, `opening`, `open_stored`, `directory`, `options` | open a run |
//! | `changes`, `change_report`, [`outlook`] | compare it with the last run, report the remaining work |
//! | `context`, `identity`, `actors`, `stores`, `blocking` | the parts of an opened run |
//! | [`intake`], [`screen`] | freeze the input: parse, deduplicate, exclude unsolvable queries |
//! | [`plan`], `posed` | the next step of one query, a pure function of its facts |
//! | `run`, `stages`, `steps`, `limits` | the run, its two stages, one query in a stage, all bounds |
//! | `sampling`, `attempts`, `thinking` | get missing responses; check that the policy thinks |
//! | [`programs`] | run and verify answers of kind `code` |
//! | `judging`, `journal`, `batches` | get justifications, by single calls or through a batch API |
//! | `rows`, `outcome`, [`replies`], `publish`, `publish_partial` | settle rows from facts, write shards |
//! | [`standing`], `progress`, `watchdog`, [`usage`] | progress, waits and costs |
//! | [`audit`], `inventory` | check a directory |
//! | [`forecast`], `redecide`, `retry` | `run --dry-run`, `redecide`, `run --retry-failed` |
//! | `sensitivity` | the selection under other tie margins and fewer responses |
//! | [`memory`], `error` | check of the KV memory; errors with hints and exit codes |
//! | `nested` | a planted bug for the simulation |
//!
//! # A run, from start to shards
//!
//! 1. [`Context::open`] rejects a foreign directory, hashes the input files, takes the directory's lock, loads the model,
//!    opens judge and ledger, freezes the input ([`intake`]), and compares the run's identity with the last run's.
//! 2. [`run()`] commits the start, verifies the published shards and hands the other shards to `stages`.
//! 3. `stages` reads the input rows of the open shards and starts a task for each query.
//! 4. `steps::decide` loads the query's facts and calls [`plan::next`]. Missing responses come from `sampling`, which
//!    makes attempts through [`Sampler`]; missing verdicts come from `verify` and [`programs`]. The step repeats until
//!    the query is decided or excluded.
//! 5. `steps::justify` sends a decided query to the judge, by single calls (`judging`) or through [`Batches`].
//! 6. When every query of a shard has its outcome, `publish` settles its rows from the facts alone, encodes them,
//!    writes the files and commits their rows.
//! 7. After the last shard, `publish::finish` writes views, manifest and dataset card, and removes shards of earlier
//!    configurations.
//!
//! A stop ends steps 3 to 6 within the deadline of [`drain_deadline`]; [`publish_settled`] then writes incomplete
//! shards.
//!
//! # Formats
//!
//! This room owns `dedup.index` ([`intake::INDEX_FILE`], a cache) and `.redecide` (settings of an unfinished
//! `redecide`). The tables of the ledger belong to `ledger`, the files under `data/` and beside it to `shards`.
//!
//! # Assumptions
//!
//! A crash may happen between any two steps. A commit that [`Ledger::commit`](crate::ledger::Ledger::commit)
//! acknowledged, and a file that [`Publisher::put`](crate::shards::Publisher::put) returned from, survive it, because
//! both sync before they return. A file is durable before its row in the ledger (I3), so that a crash between the two
//! only repeats the same bytes under the same name. The directory is on a local disk, and one process holds its lock.

mod actors;
mod attempts;
pub mod audit;
mod batches;
mod blocking;
mod change_report;
mod changes;
mod context;
mod directory;
mod error;
pub mod forecast;
mod identity;
pub mod intake;
mod inventory;
mod journal;
mod judging;
mod justified;
mod limits;
pub mod memory;
#[cfg(feature = "testing")]
mod nested;
mod open;
mod open_stored;
mod opening;
mod options;
mod outcome;
pub mod outlook;
pub mod plan;
mod posed;
pub mod programs;
mod progress;
mod publish;
mod publish_partial;
mod redecide;
pub mod replies;
mod retry;
mod rows;
mod run;
mod sampling;
pub mod screen;
mod sensitivity;
mod stages;
pub mod standing;
mod steps;
mod stores;
mod thinking;
pub mod usage;
mod watchdog;

pub use actors::Actors;
pub use attempts::{Caller, Earlier, Look, Obtained, SampleStop, Sampler};
pub use audit::strangers;
pub use batches::{BatchOptions, Batches};
pub use blocking::Blocking;
#[cfg(feature = "testing")]
pub use blocking::SimulatedThreads;
pub use change_report::{ChangeReport, ChangedKey};
pub use context::Context;
pub use directory::{EVALUATION_FILE, refuse_foreign, refuse_foreign_evaluation};
pub use error::RunError;
pub use identity::Run;
pub use inventory::{Inventory, inventory};
pub use journal::{Charging, LedgerJournal};
pub use limits::{LOG_INTERVAL, drain_deadline};
pub use open::Parts;
pub use opening::{judge_options, open_api_judge, open_api_policy, open_policy, policy_breaker, remember_refusals};
pub use options::{ChangePolicy, Facts, Judging, RunOptions, Wiring};
pub use outcome::{Outcome, Sample};
pub use progress::{Progress, Snapshot};
pub use publish::{partial_records, run_counts};
pub use publish_partial::{PartialPublication, publish_settled};
pub use redecide::{Diff, ModeChange, RedecideOptions, Redecision, redecide};
pub use retry::{Retried, retry_failed};
pub use rows::{Lack, Responses, SettledRow, Standing, exclusion_row};
pub use run::{Summary, run};
pub use sensitivity::{Sensitivity, SensitivityRow};
pub use stores::Stores;
