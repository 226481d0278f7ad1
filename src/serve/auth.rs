//! The key that clients must show, if one is set.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::App;
use super::error::ApiError;

/// Lets a request through if it shows the key.
pub(super) async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let Some(key) = &app.options.api_key else { return next.run(request).await };
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let shown = shown.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    // Hashes, so that how long a comparison takes says nothing of the key.
    if Sha256::digest(shown.as_bytes()) == Sha256::digest(key.expose_secret().as_bytes()) {
        next.run(request).await
    } else {
        ApiError::unauthorized().into_response()
    }
}
