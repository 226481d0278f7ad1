//! How many may do each kind of slow work at once.

#![warn(clippy::indexing_slicing)] // what is read here comes from anywhere

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Kinds of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// On a small body: milliseconds.
    Quick,
    /// On a large one: up to seconds.
    Slow,
    /// Compiling a schema.
    Schema,
}

/// The turns of each kind.
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
    /// The turns for grading a few rollouts, which uses all cores.
    pub(super) fn grading(&self) -> &Semaphore {
        &self.grading
    }
}
