//! Running totals of an engine, shared by the engine's thread and its handles.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use super::error::EngineError;

/// Running totals since the start; the progress display reads them.
#[derive(Debug, Default)]
pub struct EngineStats {
    /// Completion tokens sampled.
    pub sampled_tokens: AtomicU64,
    /// Prompt tokens that were run, recomputed tokens included.
    pub prompt_tokens: AtomicU64,
    /// Sequences that hold a slot now.
    pub running: AtomicUsize,
    /// Preemptions: a sequence lost its KV memory to others and was computed again later.
    pub preemptions: AtomicU64,
    /// KV blocks that running sequences hold now.
    pub blocks_held: AtomicUsize,
    /// Set when the program stops: sequences that have not started are rejected.
    pub(super) is_draining: AtomicBool,
    /// Why the engine stopped sampling; empty while it samples.
    pub(super) failure: OnceLock<String>,
}

impl EngineStats {
    pub(super) fn stopped(&self) -> EngineError {
        EngineError::Stopped(self.failure.get().map_or("the engine's thread has ended", String::as_str).to_owned())
    }
}
