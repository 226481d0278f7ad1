//! Answers to requests that no route takes.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;

use super::error::ApiError;
use super::guard::refuse;

/// Answers what has no route.
pub(super) async fn not_found(request: Request) -> Response {
    let message = "there is nothing here; see /v1/models, /v1/chat/completions, /v1/completions, /v1/reward";
    refuse(request, ApiError::new(StatusCode::NOT_FOUND, "not_found", message)).await
}

/// Answers a method that a route does not have.
pub(super) async fn not_allowed(request: Request) -> Response {
    let message = "this address is not for this method";
    refuse(request, ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)).await
}
