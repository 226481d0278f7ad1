//! `[judge.batch]`: how the provider's batch API is used.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[judge.batch]`; heeded where `judge.transport` is `batch`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BatchSettings {
    /// Most requests of one batch, 1..=50000.
    pub requests_max: usize,
    /// Largest file of one batch, in MiB, 1..=200.
    pub file_mib_max: usize,
    /// Most batches at the provider at once, 1..=64. Sampling waits once `requests_max` times one more queries wait.
    pub under_way_max: usize,
    /// How long a batch that is not full waits for further requests while sampling goes on, in seconds, 0..=86400.
    pub fill_s: f64,
    /// Time between two looks at a batch, in seconds, 0.01..=3600.
    pub poll_s: f64,
}

impl Default for BatchSettings {
    fn default() -> Self {
        Self { requests_max: 1000, file_mib_max: 64, under_way_max: 2, fill_s: 600.0, poll_s: 20.0 }
    }
}
