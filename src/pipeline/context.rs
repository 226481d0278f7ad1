//! An opened run: what it is, who works for it, and where it keeps things.

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
    /// What the run is.
    pub run: Run,
    /// Who works for it.
    pub actors: Actors,
    /// Counters.
    pub progress: Arc<Progress>,
    /// Whether Think-on responses think at all.
    pub thinking: ThinkingWatch,
    /// How a selection depends on its settings, gathered while shards are built, if that is wanted.
    pub sensitivity: Option<Mutex<Sensitivity>>,
    /// Set when the run is to stop.
    pub stop: CancellationToken,
    /// How the stages are joined.
    pub wiring: Wiring,
    /// Where its facts and files are. Dropped last, for it holds the output directory's lock.
    pub stores: Arc<Stores>,
}

impl Context {
    /// Runs a blocking function over a reader of the ledger, away from the async threads.
    ///
    /// # Errors
    /// The function's own; [`RunError::Internal`] if it panics.
    pub async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self, &Reader) -> Result<T, RunError> + Send + 'static,
    ) -> Result<T, RunError> {
        let context = Arc::clone(self);
        self.stores.read(move |reader| work(&context, reader)).await
    }

    /// Returns who is asked for responses in this run.
    #[must_use]
    pub fn caller(&self) -> Caller<'_> {
        Caller {
            policy: &self.actors.policy,
            breaker: self.actors.policy_breaker.as_deref(),
            attempts_max: self.run.settings.policy.attempts_max,
            stop: &self.stop,
        }
    }

    /// Awaits work that costs nothing to do again at the next start, and gives it up when the run is to stop. What runs on a
    /// thread meanwhile goes on there, unwaited for.
    ///
    /// # Errors
    /// The work's own; [`RunError::Stopped`] if the run is to stop.
    pub async fn until_stop<T>(&self, work: impl Future<Output = Result<T, RunError>>) -> Result<T, RunError> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(RunError::Stopped),
            done = work => done,
        }
    }
}
