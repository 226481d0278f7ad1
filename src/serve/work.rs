//! Work that must not be done on the async workers, which everything else waits for: parsing, rendering, tokenizing,
//! compiling. Each kind has a few turns, so that neither memory nor cores go to one kind alone, and what is small does not
//! wait for what is large.

use std::sync::Arc;

use tokio::time::timeout;

use super::app::App;
use super::error::ApiError;
use super::limits::SLOW_WAIT;
use super::turns::Kind;

impl App {
    /// Writes a response: on a thread of its own where it has an entry for each token.
    pub(super) async fn written(
        self: &Arc<Self>,
        with_logprobs: bool,
        write: impl FnOnce(&Self) -> String + Send + 'static,
    ) -> Result<String, ApiError> {
        if with_logprobs { self.off_workers(Kind::Quick, move |app| Ok(write(app))).await } else { Ok(write(self)) }
    }

    /// Does work on a thread of its own, once it is its kind's turn.
    ///
    /// # Errors
    /// [`ApiError`] if the turn does not come in time, or the work panics.
    pub(super) async fn off_workers<T: Send + 'static>(
        self: &Arc<Self>,
        kind: Kind,
        work: impl FnOnce(&Arc<Self>) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (turns, what) = match kind {
            Kind::Quick => (&self.turns.quick, "requests"),
            Kind::Slow => (&self.turns.slow, "large requests"),
            Kind::Schema => (&self.turns.schema, "schemas"),
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
