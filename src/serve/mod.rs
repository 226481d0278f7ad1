//! The hosted model behind a port: OpenAI's chat and completions, and the reward rule for trainers.
//!
//! All requests share the one engine, which decodes what they ask for together. A request holds as many permits as it
//! asks for responses; there are as many permits as the engine has slots and the queue has places, and a request that
//! finds too few is refused with 429 and `Retry-After` instead of waiting unseen. A client that goes away takes its
//! sequences with it: their futures are dropped, and the engine drops what nobody waits for before its next step.
//!
//! What clients send is bounded before work is done for it (`limits`): connections in number and time (`connections`),
//! bodies in size, time and memory (`body`, `memory`), texts before they are tokenized. Work that takes long is done on threads of its
//! own, a few at once (`work`), so that `/health` answers whatever else is asked for. Requests have to name this server, and
//! may not come from pages of another (`guard`).
//!
//! Texts are a function of prompt, sampling settings and `seed` alone, as everywhere in the engine: not of who else is
//! asking. This room knows HTTP and the wire format, not how tokens are made.

mod answer;
mod app;
mod body;
mod chat;
mod completions;
mod connections;
mod error;
mod fallback;
mod generate;
mod guard;
mod limits;
mod memory;
mod metrics;
mod openrlhf;
mod read_row;
mod remote_row;
mod reply;
mod reward;
mod scan;
mod stream;
mod totals;
mod turns;
mod wire;
mod work;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware;
use axum::routing::{get, post};
use tokio::net::TcpListener;

use connections::Patience;

pub use app::{App, ServeOptions};
pub use totals::Metrics;

/// How long responses may go on after a request to stop.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(20);

impl App {
    fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/v1/chat/completions", post(chat::respond))
            .route("/v1/completions", post(completions::respond))
            .route("/v1/models", get(chat::models))
            // Names of models may have a slash.
            .route("/v1/models/{*id}", get(chat::model))
            .route("/v1/reward", post(reward::respond))
            .route("/openrlhf/reward", post(openrlhf::respond))
            .route("/metrics", get(metrics::respond))
            .route_layer(middleware::from_fn_with_state(Arc::clone(self), guard::check_key))
            // Load balancers have no key.
            .route("/health", get(metrics::health))
            .fallback(fallback::not_found)
            .method_not_allowed_fallback(fallback::not_allowed)
            .layer(middleware::from_fn_with_state(Arc::clone(self), guard::check_host))
            .layer(middleware::from_fn_with_state(Arc::clone(self), metrics::count))
            .with_state(Arc::clone(self))
    }
}

/// Serves until `app` is told to stop, then finishes what is under way, for at most 20 seconds.
pub async fn serve(app: Arc<App>, listener: TcpListener) {
    let stop = app.stop.clone();
    let server = connections::serve(listener, app.router(), Patience::default(), stop.clone());
    tokio::spawn(app.memory.trim_until(stop.clone()));
    let deadline = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN_DEADLINE).await;
    };
    tokio::select! {
        () = server => {}
        () = deadline => tracing::warn!("responses that were still under way are cut off"),
    }
}
