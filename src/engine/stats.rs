//! Running totals of an engine, shared by its thread and its handles.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use super::error::EngineError;

/// Running totals since start; read by the progress display.
#[derive(Debug, Default)]
pub struct EngineStats {
    /// Completion tokens sampled.
    pub sampled_tokens: AtomicU64,
    /// Prompt (and recomputed) tokens run.
    pub prompt_tokens: AtomicU64,
    /// Sequences that hold a slot now.
    pub running: AtomicUsize,
    /// Times that a sequence gave its KV memory back to others and was computed again later.
    pub preemptions: AtomicU64,
    /// KV blocks that running sequences hold now.
    pub blocks_held: AtomicUsize,
    /// Set when the program stops: what has not started is refused.
    pub(super) is_draining: AtomicBool,
    /// Why the engine samples no more, once it does not.
    pub(super) failure: OnceLock<String>,
}

impl EngineStats {
    pub(super) fn stopped(&self) -> EngineError {
        EngineError::Stopped(self.failure.get().map_or("its thread has ended", String::as_str).to_owned())
    }
}
