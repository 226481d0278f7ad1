//! Limits how many requests do each kind of slow work at the same time.

#![warn(clippy::indexing_slicing)] // requests are untrusted input

use std::sync::Arc;

use tokio::sync::Semaphore;

/// The kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Work on a small body: takes milliseconds.
    Quick,
    /// Work on a large body: takes up to seconds.
    Slow,
    /// The compilation of a schema.
    Schema,
}

/// The permits for each kind of work.
pub(super) struct Turns {
    pub(super) quick: Arc<Semaphore>,
    pub(super) slow: Arc<Semaphore>,
    pub(super) schema: Arc<Semaphore>,
    pub(super) grading: Semaphore,
}

impl Turns {
    pub(super) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let some = |count: usize| Arc::new(Semaphore::new(count.clamp(1, 8)));
        Self { quick: some(2 * cores), slow: some(cores / 2), schema: some(cores / 2), grading: Semaphore::new(2) }
    }
}

impl Turns {
    /// Returns the permits for grading a few rollouts, which uses all cores.
    pub(super) fn grading(&self) -> &Semaphore {
        &self.grading
    }
}
