//! The wiring: which room comes after which, how much may be under way, and how a run starts, stops and resumes.
//!
//! Nothing is remembered here that is not in the ledger. A run asks for every query what [`plan`] says is next,
//! commits what comes of it, and publishes a shard as soon as all its rows are settled.

pub mod audit;
mod context;
mod error;
pub mod forecast;
mod intake;
mod journal;
mod limits;
pub mod memory;
pub mod plan;
pub mod programs;
mod progress;
mod publish;
mod rows;
mod run;
mod sampling;

pub use context::{ChangePolicy, Context, RunOptions, open_api_judge, open_api_policy, open_policy};
pub use error::RunError;
pub use journal::{Charging, LedgerJournal};
pub use limits::LOG_INTERVAL;
pub use progress::{Progress, Snapshot};
pub use publish::run_counts;
pub use rows::{Outcome, Sample, settle};
pub use run::{Summary, run};
