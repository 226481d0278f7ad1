//! The wiring: which room comes after which, how much may be under way, and how a run starts, stops and resumes.
//!
//! Nothing is remembered here that is not in the ledger. A run asks for every query what [`plan`] says is next,
//! commits what comes of it, and publishes a shard as soon as all its rows are settled.
//!
//! An opened run is a [`Context`] of three parts: [`Run`] (what the run is), [`Actors`] (who works for it) and [`Stores`]
//! (where its facts and files are). Functions take the parts that they need. A query goes through a run like this:
//!
//! 1. `stages` reads the input rows of the open shards and starts a task for each.
//! 2. `steps::decide` looks at the facts about the query (`rows::load_cells`), asks [`plan`] what is next, and has it done:
//!    `sampling` gets missing responses through `attempts`, `programs` and `verify` give verdicts.
//! 3. `steps::justify` has a decided query justified, by single calls (`judging`) or through `batches`.
//! 4. `publish` settles the rows of a shard whose queries all have their outcome, from facts alone, and writes its files.

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
mod limits;
pub mod memory;
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
pub use blocking::{Blocking, SimulatedThreads};
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
