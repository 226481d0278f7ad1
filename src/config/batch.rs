//! `[judge.batch]`: the settings for the provider's batch API.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[judge.batch]`; used if `judge.transport` is `batch`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BatchSettings {
    /// The most requests in one batch, 1..=50000.
    pub requests_max: usize,
    /// The largest file of one batch, in MiB, 1..=200.
    pub file_mib_max: usize,
    /// The most batches in progress at the provider, 1..=64. Sampling pauses while `requests_max` x (`under_way_max` +
    /// 1) queries wait for the judge.
    pub under_way_max: usize,
    /// How long an incomplete batch waits for more requests while sampling continues, in seconds, 0..=86400.
    pub fill_s: f64,
    /// The time between two polls of a batch, in seconds, 0.01..=3600.
    pub poll_s: f64,
}

impl Default for BatchSettings {
    fn default() -> Self {
        Self { requests_max: 1000, file_mib_max: 64, under_way_max: 2, fill_s: 600.0, poll_s: 20.0 }
    }
}
