//! The routes `GET /health` and `GET /metrics` (Prometheus's text format), and the count of requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::app::App;
use super::common::Common;
use super::error::ApiError;

/// The routes that are counted separately. All other paths are counted together, so that no client can fill the memory
/// with names.
const ROUTES: &[&str] =
    &["/v1/chat/completions", "/v1/completions", "/v1/models", "/v1/reward", "/openrlhf/reward", "/metrics", "/health"];

/// Counts a request by route and status.
pub(super) async fn count(State(common): State<Arc<Common>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let path = if path.starts_with("/v1/models/") { "/v1/models" } else { path };
    let route = ROUTES.iter().find(|route| **route == path).copied().unwrap_or("other");
    let response = next.run(request).await;
    *common.metrics.requests().entry((route.to_owned(), response.status().as_u16())).or_default() += 1;
    response
}

/// Handles `GET /health`: 200 while the server accepts requests, 503 after it begins to stop or its engine has failed.
pub(super) async fn health(State(app): State<Arc<App>>) -> Response {
    if app.common.stop.is_cancelled() || app.policy.engine().has_ended() {
        return ApiError::stopping().into_response();
    }
    (StatusCode::OK, "ok\n").into_response()
}

/// Handles `GET /health` of a server without a model.
pub(super) async fn health_of_rewards(State(common): State<Arc<Common>>) -> Response {
    if common.stop.is_cancelled() {
        return ApiError::stopping().into_response();
    }
    (StatusCode::OK, "ok\n").into_response()
}

/// Handles `GET /metrics` of a server without a model.
pub(super) async fn respond_of_rewards(State(common): State<Arc<Common>>) -> Response {
    written(String::new(), &common)
}

/// Handles `GET /metrics`.
pub(super) async fn respond(State(app): State<Arc<App>>) -> Response {
    let stats = app.policy.stats();
    let engine = app.policy.engine().description();
    let under_way = app.capacity - app.permits.available_permits();
    let running = stats.running.load(Ordering::Relaxed);
    let mut text = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, value: u64| add(&mut text, name, kind, help, value);
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    metric("sampled_tokens_total", "counter", "Tokens sampled.", load(&stats.sampled_tokens));
    metric("prompt_tokens_total", "counter", "Prompt tokens computed.", load(&stats.prompt_tokens));
    metric("preemptions_total", "counter", "Sequences preempted for KV memory.", load(&stats.preemptions));
    metric(
        "cancelled_responses_total",
        "counter",
        "Responses cancelled by clients.",
        load(&app.common.metrics.cancelled),
    );
    metric("responses_under_way", "gauge", "Responses running or waiting.", under_way as u64);
    metric("responses_running", "gauge", "Responses in a slot.", running as u64);
    metric("responses_max", "gauge", "Limit of responses_under_way.", app.capacity as u64);
    metric("slots", "gauge", "Sequences decoded together.", engine.slots as u64);
    metric("kv_blocks_held", "gauge", "KV blocks (16 positions).", stats.blocks_held.load(Ordering::Relaxed) as u64);
    written(text, &app.common)
}

fn add(text: &mut String, name: &str, kind: &str, help: &str, value: u64) {
    text.push_str(&format!("# HELP thinkloom_{name} {help}\n# TYPE thinkloom_{name} {kind}\n"));
    text.push_str(&format!("thinkloom_{name} {value}\n"));
}

/// Adds the metrics that every server has, and builds the response.
fn written(mut text: String, common: &Common) -> Response {
    let rewarded = common.metrics.rewarded.load(Ordering::Relaxed);
    add(&mut text, "rewarded_rollouts_total", "counter", "Rollouts rewarded.", rewarded);
    text.push_str("# HELP thinkloom_requests_total Requests by route and status.\n");
    text.push_str("# TYPE thinkloom_requests_total counter\n");
    for ((route, status), count) in common.metrics.requests().iter() {
        text.push_str(&format!("thinkloom_requests_total{{route=\"{route}\",status=\"{status}\"}} {count}\n"));
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
