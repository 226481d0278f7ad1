//! Runs blocking work: on threads beside the async ones, or on the threads of a simulated machine.

#[cfg(feature = "testing")]
use std::sync::Arc;

#[cfg(feature = "testing")]
use futures::future::BoxFuture;

use super::error::RunError;
use super::limits;

/// Where blocking work runs.
#[derive(Clone)]
pub enum Blocking {
    /// On the runtime's blocking threads.
    Threads,
    /// On the threads of a simulated machine.
    #[cfg(feature = "testing")]
    Simulated(SimulatedThreads),
}

#[cfg(feature = "testing")]
/// Simulated threads: tasks of the runtime, so that a run on one thread does everything in one order. Like threads they
/// continue when the future of their caller is not polled.
#[derive(Clone)]
pub struct SimulatedThreads {
    /// Awaited before each piece of work, for the time that a machine takes.
    pub pace: Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
    /// Largest number of concurrent reads of the ledger: at least one.
    pub reads_max: usize,
}

impl Blocking {
    /// Runs a piece of work and returns its result.
    ///
    /// # Errors
    /// [`RunError::Internal`] if it panics on a thread of its own.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, RunError> {
        let task = match self {
            Self::Threads => tokio::task::spawn_blocking(work),
            #[cfg(feature = "testing")]
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

    /// Returns the largest number of concurrent reads of the ledger.
    pub(super) fn reads_max(&self) -> usize {
        match self {
            Self::Threads => limits::reads_max(),
            #[cfg(feature = "testing")]
            Self::Simulated(threads) => threads.reads_max,
        }
    }
}
