//! Serves the hosted model over HTTP: OpenAI's chat and text completions, and the reward rule for trainers.
//!
//! All requests share one engine, which decodes their sequences in one batch. A request holds one permit per response.
//! The number of permits is the engine's slots plus the places of the queue; without enough free permits, the server
//! rejects a request with 429 and `Retry-After` instead of letting it wait. When a client disconnects, the server drops
//! the futures of its sequences, and the engine removes these sequences before its next step.
//!
//! The server limits input before spending work on it (`limits`): connections in number and time (`connections`),
//! bodies in size, time and memory (`body`, `memory`), and texts before they are tokenized. A few separate threads do
//! the slow work (`work`), so `/health` stays responsive. The server rejects requests whose `Host` or `Origin` names
//! another server (`guard`).
//!
//! A text depends on the prompt, the sampling settings and `seed` alone, not on other requests. This room knows HTTP
//! and the wire format, but not how the engine samples tokens.

mod answer;
mod app;
mod body;
mod chat;
mod common;
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
use axum::routing::{any, get, post};
use tokio::net::TcpListener;

use connections::Patience;

pub use app::App;
pub use common::{Common, ServeOptions};
pub use totals::Metrics;

/// The time for which responses may continue after a request to stop.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(20);

/// What a server offers.
#[derive(Clone)]
pub enum Service {
    /// A hosted model, and the reward rule.
    Model(Arc<App>),
    /// The reward rule alone.
    Rewards(Arc<Common>),
}

impl Service {
    fn common(&self) -> &Arc<Common> {
        match self {
            Self::Model(app) => &app.common,
            Self::Rewards(common) => common,
        }
    }

    fn router(&self) -> Router {
        let common = self.common();
        let rewards = Router::new()
            .route("/v1/reward", post(reward::respond))
            .route("/openrlhf/reward", post(openrlhf::respond))
            .with_state(Arc::clone(common));
        // No key is required for `/health`: load balancers have none.
        let (keyed, open, not_found) = match self {
            Self::Model(app) => (
                Router::new()
                    .route("/v1/chat/completions", post(chat::respond))
                    .route("/v1/completions", post(completions::respond))
                    .route("/v1/models", get(chat::models))
                    // The name of a model may contain slashes.
                    .route("/v1/models/{*id}", get(chat::model))
                    .route("/metrics", get(metrics::respond))
                    .with_state(Arc::clone(app)),
                Router::new().route("/health", get(metrics::health)).with_state(Arc::clone(app)),
                any(fallback::not_found),
            ),
            Self::Rewards(common) => (
                Router::new().route("/metrics", get(metrics::respond_of_rewards)).with_state(Arc::clone(common)),
                Router::new().route("/health", get(metrics::health_of_rewards)).with_state(Arc::clone(common)),
                any(fallback::not_found_among_rewards),
            ),
        };
        keyed
            .merge(rewards)
            .route_layer(middleware::from_fn_with_state(Arc::clone(common), guard::check_key))
            .merge(open)
            .fallback_service(not_found)
            .method_not_allowed_fallback(fallback::not_allowed)
            .layer(middleware::from_fn_with_state(Arc::clone(common), guard::check_host))
            .layer(middleware::from_fn_with_state(Arc::clone(common), metrics::count))
    }
}

/// Serves until the service stops, then finishes the responses in progress, for at most 20 seconds.
pub async fn serve(service: Service, listener: TcpListener) {
    let stop = service.common().stop.clone();
    let server = connections::serve(listener, service.router(), Patience::default(), stop.clone());
    tokio::spawn(service.common().memory.trim_until(stop.clone()));
    let deadline = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN_DEADLINE).await;
    };
    tokio::select! {
        () = server => {}
        () = deadline => tracing::warn!("stopping took longer than 20 s: unfinished responses are cut off"),
    }
}
