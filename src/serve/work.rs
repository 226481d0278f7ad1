//! Runs slow work outside the async threads, because it would block all other requests: parsing, rendering,
//! tokenizing, compiling. Each kind of work has a few permits, so no kind can take all memory or cores, and small
//! requests do not wait for large ones.

use std::sync::Arc;

use tokio::time::timeout;

use super::app::App;
use super::error::ApiError;
use super::limits::SLOW_WAIT;
use super::turns::Kind;

impl App {
    /// Renders a response; on a separate thread if the response has log-probabilities for each token.
    pub(super) async fn written(
        self: &Arc<Self>,
        with_logprobs: bool,
        write: impl FnOnce(&Self) -> String + Send + 'static,
    ) -> Result<String, ApiError> {
        if with_logprobs { self.off_workers(Kind::Quick, move |app| Ok(write(app))).await } else { Ok(write(self)) }
    }

    /// Runs work on a separate thread, after waiting for a permit of its kind.
    ///
    /// # Errors
    /// [`ApiError`] if no permit becomes free in time, or the work panics; otherwise the work's error.
    pub(super) async fn off_workers<T: Send + 'static>(
        self: &Arc<Self>,
        kind: Kind,
        work: impl FnOnce(&Arc<Self>) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (turns, what) = match kind {
            Kind::Quick => (&self.common.turns.quick, "requests"),
            Kind::Slow => (&self.common.turns.slow, "large requests"),
            Kind::Schema => (&self.common.turns.schema, "schemas"),
        };
        let turn = timeout(SLOW_WAIT, Arc::clone(turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(ApiError::overloaded(what)) };
        let app = Arc::clone(self);
        let work = move || {
            let _turn = turn;
            work(&app)
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(ApiError::failed()))
    }
}
