//! The hosted model behind a port: OpenAI's chat and completions, and the reward rule for trainers.
//!
//! All requests share the one engine, which decodes what they ask for together. A request holds as many permits as it
//! asks for responses; there are as many permits as the engine has slots and the queue has places, and a request that
//! finds too few is refused with 429 and `Retry-After` instead of waiting unseen. A client that goes away takes its
//! sequences with it: their futures are dropped, and the engine drops what nobody waits for before its next step.
//!
//! Texts are a function of prompt, sampling settings and `seed` alone, as everywhere in the engine: not of who else is
//! asking. This room knows HTTP and the wire format, not how tokens are made.

mod auth;
mod chat;
mod completions;
mod error;
mod generate;
mod metrics;
mod openrlhf;
mod reward;
mod stream;
mod wire;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::VerifySettings;
use crate::engine::Grammar;
use crate::policy::CandlePolicy;
use crate::reward::RewardSettings;
use crate::verify::CodePool;

pub use metrics::Metrics;

/// Largest body of a request, in bytes.
const BODY_BYTES_MAX: usize = 64 << 20;
/// How long responses may go on after a request to stop.
const DRAIN_DEADLINE: Duration = Duration::from_secs(20);
/// Requests for rewards that may be under way.
const REWARD_REQUESTS_MAX: usize = 64;
/// Compiled schemas that are kept.
const GRAMMARS_MAX: usize = 64;

/// How the server behaves.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Responses that may wait for a slot.
    pub queue_max: usize,
    /// What clients must show, if anything.
    pub api_key: Option<SecretString>,
    /// The constants of the reward rule.
    pub reward: RewardSettings,
    /// How programs are run by the reward endpoint.
    pub verify: VerifySettings,
}

/// What all requests share.
pub struct App {
    policy: Arc<CandlePolicy>,
    options: ServeOptions,
    /// One for each response that may be under way or wait.
    permits: Arc<Semaphore>,
    capacity: usize,
    reward_turns: Semaphore,
    metrics: Metrics,
    /// By the schema's text.
    grammars: Mutex<HashMap<String, Arc<Grammar>>>,
    /// Opened for the first program.
    programs: tokio::sync::OnceCell<CodePool>,
    /// When the server started, in seconds since 1970; the models' `created`.
    started_s: i64,
    stop: CancellationToken,
}

impl App {
    /// Builds what requests share, over a loaded model.
    #[must_use]
    pub fn new(policy: Arc<CandlePolicy>, options: ServeOptions, stop: CancellationToken) -> Arc<Self> {
        let capacity = policy.engine().description().slots + options.queue_max;
        Arc::new(Self {
            policy,
            permits: Arc::new(Semaphore::new(capacity)),
            capacity,
            options,
            reward_turns: Semaphore::new(REWARD_REQUESTS_MAX),
            metrics: Metrics::default(),
            grammars: Mutex::default(),
            programs: tokio::sync::OnceCell::new(),
            started_s: crate::sys::clock::unix_ms() / 1000,
            stop,
        })
    }

    fn grammars(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Grammar>>> {
        // Entries are put in whole or not at all.
        self.grammars.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/v1/chat/completions", post(chat::respond))
            .route("/v1/completions", post(completions::respond))
            .route("/v1/models", get(chat::models))
            .route("/v1/reward", post(reward::respond))
            .route("/openrlhf/reward", post(openrlhf::respond))
            .route("/metrics", get(metrics::respond))
            .route_layer(middleware::from_fn_with_state(Arc::clone(self), auth::check))
            // Load balancers have no key.
            .route("/health", get(metrics::health))
            .fallback(error::not_found)
            .method_not_allowed_fallback(error::not_allowed)
            .layer(middleware::from_fn_with_state(Arc::clone(self), metrics::count))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(Arc::clone(self))
    }
}

/// Serves until `app` is told to stop, then finishes what is under way, for at most 20 seconds.
///
/// # Errors
/// If the listener fails.
pub async fn serve(app: Arc<App>, listener: TcpListener) -> std::io::Result<()> {
    let stop = app.stop.clone();
    let shutdown = stop.clone();
    let server = axum::serve(listener, app.router()).with_graceful_shutdown(async move { shutdown.cancelled().await });
    let deadline = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN_DEADLINE).await;
    };
    tokio::select! {
        ended = server => ended,
        () = deadline => {
            tracing::warn!("responses that were still under way are cut off");
            Ok(())
        }
    }
}
