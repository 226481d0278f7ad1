//! Responses to requests without a route, and to methods that a route does not support.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;

use super::error::ApiError;
use super::guard::refuse;

/// Returns 404, from a server without a model.
pub(super) async fn not_found_among_rewards(request: Request) -> Response {
    let message = "no such path; the server hosts no model (--rewards-only), it has /v1/reward, /openrlhf/reward";
    refuse(request, ApiError::new(StatusCode::NOT_FOUND, "not_found", message)).await
}

/// Returns 404.
pub(super) async fn not_found(request: Request) -> Response {
    let message = "no such path; the server has /v1/models, /v1/chat/completions, /v1/completions, /v1/reward";
    refuse(request, ApiError::new(StatusCode::NOT_FOUND, "not_found", message)).await
}

/// Returns 405.
pub(super) async fn not_allowed(request: Request) -> Response {
    let message = "method not allowed on this path";
    refuse(request, ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)).await
}
