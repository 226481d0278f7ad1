//! The options of a run, and the work that it may do.

use std::path::PathBuf;

use crate::config::LoadedConfig;
use crate::hub::{HubSettings, OnProgress};

/// The reaction to a change of a key that decides the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangePolicy {
    /// Report the changes and stop.
    Refuse,
    /// Repeat the work that depends on them.
    Redo,
}

/// The source of a run's facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Facts {
    /// Missing facts are sampled and requested.
    Live,
    /// Stored facts only: samples nothing. Missing verdicts are computed.
    Stored,
}

/// Whether the judge is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judging {
    /// For requests without a stored reply.
    Asked,
    /// Never: only stored replies are read.
    Read,
}

/// The options of a run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The config.
    pub config: LoadedConfig,
    /// The output directory.
    pub out_dir: PathBuf,
    /// The number of input rows to take, if limited.
    pub row_limit: Option<u64>,
    /// The reaction to changes.
    pub changes: ChangePolicy,
    /// The source of models that are not paths.
    pub hub: HubSettings,
    /// Receives the progress of a model's download.
    pub on_download: OnProgress,
}

/// How sampling and judging are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wiring {
    /// As two stages: each makes progress whatever the other does.
    Stages,
    /// One inside the other, which deadlocks: a planted bug that the simulation must find. Only tests can request it.
    #[cfg(feature = "testing")]
    Nested,
}
