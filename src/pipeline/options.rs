//! What a run is asked to do, and which of its work it may do.

use std::path::PathBuf;

use crate::config::LoadedConfig;
use crate::hub::{HubSettings, OnProgress};

/// What to do when something that decides the data changed since the last run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangePolicy {
    /// Say what changed and stop.
    Refuse,
    /// Redo what depends on it.
    Redo,
}

/// Where the facts of a run come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Facts {
    /// What is missing is sampled and asked for.
    Live,
    /// Those that are stored are all there is; verdicts are made where they are missing.
    Stored,
}

/// Whether a judge is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judging {
    /// For what has no stored reply.
    Asked,
    /// Never: stored replies are read.
    Read,
}

/// What a run is asked to do.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The config.
    pub config: LoadedConfig,
    /// The output directory.
    pub out_dir: PathBuf,
    /// Take only the first rows of the input.
    pub row_limit: Option<u64>,
    /// What to do about changes.
    pub changes: ChangePolicy,
    /// Where models that are no paths come from.
    pub hub: HubSettings,
    /// Who is told how far a model's download is.
    pub on_download: OnProgress,
}

/// How sampling and judging are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wiring {
    /// Each makes progress whatever the other does.
    Stages,
    /// One inside the other, which gets stuck: a defect, for tests that must find it. Nothing but a test can ask for it.
    Nested,
}
