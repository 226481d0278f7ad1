//! The wiring: which room comes after which, how much may be under way, and how a run starts, stops and resumes.
//!
//! Nothing is remembered here that is not in the ledger. A run asks for every query what [`plan`] says is next,
//! commits what comes of it, and publishes a shard as soon as all its rows are settled.

pub mod audit;
mod batches;
mod changes;
mod context;
mod error;
pub mod forecast;
pub mod intake;
mod journal;
mod judging;
mod limits;
pub mod memory;
mod opening;
pub mod outlook;
pub mod plan;
pub mod programs;
mod progress;
mod publish;
mod redecide;
mod rows;
mod run;
mod sampling;
pub mod screen;
mod sensitivity;
pub mod usage;

pub use audit::strangers;
pub use batches::{BatchOptions, Batches};
pub use changes::{ChangeReport, ChangedKey};
pub use context::{Blocking, ChangePolicy, Context, Facts, Judging, Parts, RunOptions};
pub use error::RunError;
pub use journal::{Charging, LedgerJournal};
pub use limits::LOG_INTERVAL;
pub use opening::{open_api_judge, open_api_policy, open_policy};
pub use progress::{Progress, Snapshot};
pub use publish::run_counts;
pub use redecide::{Diff, ModeChange, RedecideOptions, Redecision, redecide};
pub use rows::{Outcome, Sample, settle};
pub use run::{Summary, run};
pub use sensitivity::{Sensitivity, SensitivityRow};
