//! An opened run: its identity, its actors, and its stores.

use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use super::actors::Actors;
use super::attempts::Caller;
use super::error::RunError;
use super::identity::Run;
use super::options::Wiring;
use super::progress::Progress;
use super::sensitivity::Sensitivity;
use super::stores::Stores;
use super::thinking::ThinkingWatch;
use crate::ledger::Reader;

/// An opened run.
pub struct Context {
    /// Settings, input and identity.
    pub run: Run,
    /// Policy, judge and sandbox.
    pub actors: Actors,
    /// Counters.
    pub progress: Arc<Progress>,
    /// Checks whether Think-on responses think.
    pub thinking: ThinkingWatch,
    /// The selection under other settings, summed while shards are built; absent if not wanted.
    pub sensitivity: Option<Mutex<Sensitivity>>,
    /// Cancelled when the run must stop.
    pub stop: CancellationToken,
    /// How the stages are connected.
    pub wiring: Wiring,
    /// Ledger and files. Dropped last, because it holds the output directory's lock.
    pub stores: Arc<Stores>,
}

impl Context {
    /// Runs a blocking function with a reader of the ledger on a blocking thread.
    pub async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self, &Reader) -> Result<T, RunError> + Send + 'static,
    ) -> Result<T, RunError> {
        let context = Arc::clone(self);
        self.stores.read(move |reader| work(&context, reader)).await
    }

    /// Returns the caller of this run's policy.
    #[must_use]
    pub fn caller(&self) -> Caller<'_> {
        Caller {
            policy: &self.actors.policy,
            breaker: self.actors.policy_breaker.as_deref(),
            attempts_max: self.run.settings.policy.attempts_max,
            stop: &self.stop,
        }
    }

    /// Awaits work that is cheap to repeat at the next start, and abandons it when the run must stop. Work on a thread
    /// continues after that, without a waiting caller.
    ///
    /// # Errors
    /// The work's own; [`RunError::Stopped`] if the run must stop.
    pub async fn until_stop<T>(&self, work: impl Future<Output = Result<T, RunError>>) -> Result<T, RunError> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(RunError::Stopped),
            done = work => done,
        }
    }
}
