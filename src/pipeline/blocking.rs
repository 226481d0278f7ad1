//! Where a run does the work that blocks: on threads beside the async ones, or on those of a simulated machine.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::error::RunError;
use super::limits;

/// Where work that blocks is done.
#[derive(Clone)]
pub enum Blocking {
    /// On threads of the run-time, beside the async ones.
    Threads,
    /// On those of a simulated machine.
    Simulated(SimulatedThreads),
}

/// Threads that work for as long as they are told to: tasks of the run-time, so that a run on one thread does everything in
/// one order. Like threads they go on although nobody polls who waits for them.
#[derive(Clone)]
pub struct SimulatedThreads {
    /// Is awaited before each piece of work, as the machine would be.
    pub pace: Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
    /// How many reads of the ledger go on at once: at least one.
    pub reads_max: usize,
}

impl Blocking {
    /// Does a piece of work and returns its result.
    ///
    /// # Errors
    /// [`RunError::Internal`] if it panics on a thread of its own.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, RunError> {
        let task = match self {
            Self::Threads => tokio::task::spawn_blocking(work),
            Self::Simulated(threads) => {
                let pace = (threads.pace)();
                tokio::spawn(async move {
                    pace.await;
                    work()
                })
            }
        };
        task.await.map_err(|error| RunError::Internal(error.to_string()))
    }

    /// Returns how many reads of the ledger go on at once.
    pub(super) fn reads_max(&self) -> usize {
        match self {
            Self::Threads => limits::reads_max(),
            Self::Simulated(threads) => threads.reads_max,
        }
    }
}
