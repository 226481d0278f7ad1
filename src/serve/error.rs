//! Error responses in OpenAI's format, and the messages of all errors that the server returns.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::limits::{BODY_BYTES_PER_S, MESSAGE_BYTES_MAX};
use crate::engine::EngineError;

/// The reason why the server rejects a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    kind: &'static str,
    message: String,
    /// The faulty field of the request.
    field: Option<String>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: shortened(message.into()), field: None }
    }

    /// The request is invalid; `field` names the faulty field, or is empty.
    pub(super) fn invalid(field: &str, message: impl Into<String>) -> Self {
        let field = (!field.is_empty()).then(|| field.to_owned());
        Self { field, ..Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message) }
    }

    /// A text does not fit the model's context.
    pub(super) fn too_long(field: &str, message: impl Into<String>) -> Self {
        Self { kind: "context_length_exceeded", ..Self::invalid(field, message) }
    }

    /// The server already has the maximum number of responses running or waiting.
    pub(super) fn busy(capacity: usize) -> Self {
        let message =
            format!("the server is busy: it already has {capacity} responses running or waiting; try again later");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", message)
    }

    /// The request waited too long for its turn or for memory.
    pub(super) fn overloaded(what: &str) -> Self {
        let message = format!("the server is busy with other {what}; try again later");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_is_overloaded", message)
    }

    /// The server is stopping.
    pub(super) fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_is_stopping", "the server is stopping")
    }

    /// The API key is missing or wrong.
    pub(super) fn unauthorized() -> Self {
        let message = "the API key is missing or wrong; send it as Authorization: Bearer KEY";
        Self::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message)
    }

    /// The `Host` header names another server.
    pub(super) fn foreign_host() -> Self {
        let message =
            "the Host header names another server; to allow the name, start the server with --allow-host NAME";
        Self::new(StatusCode::FORBIDDEN, "host_not_allowed", message)
    }

    /// The request comes from a page of another origin.
    pub(super) fn foreign_origin() -> Self {
        let message = "the Origin header names another server, and CORS is not supported; if a proxy serves the page and \
                       this server under one name, start the server with --allow-host NAME";
        Self::new(StatusCode::FORBIDDEN, "origin_not_allowed", message)
    }

    /// The `Content-Type` of the body is not JSON.
    pub(super) fn no_json() -> Self {
        let message = "the Content-Type is not JSON; send the body with Content-Type: application/json";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
    }

    /// The body exceeds the maximum size.
    pub(super) fn too_large(bytes_max: usize) -> Self {
        let message = format!("the body has more than {bytes_max} bytes; split the request into smaller ones");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message)
    }

    /// The parsed body would exceed the memory limit.
    pub(super) fn too_many_values() -> Self {
        let message = "the body has too many values for the memory limit; split the request into smaller ones";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message)
    }

    /// The body arrived too slowly.
    pub(super) fn slow() -> Self {
        let message = format!(
            "the body arrived too slowly; the minimum is {BODY_BYTES_PER_S} bytes a second, and more for large bodies"
        );
        Self::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", message)
    }

    /// The server failed while handling the request.
    pub(super) fn failed() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "the server failed while handling the request")
    }

    /// The server does not serve this model.
    pub(super) fn no_model(asked: &str, served: &str) -> Self {
        let message = format!("the server does not serve the model {asked}, only {served}");
        Self { field: Some("model".to_owned()), ..Self::new(StatusCode::NOT_FOUND, "model_not_found", message) }
    }

    /// The engine failed or rejected the request.
    pub(super) fn engine(error: &EngineError) -> Self {
        match error {
            error if error.is_too_long() => Self::too_long("messages", error.to_string()),
            EngineError::KvTooSmall { .. } => Self::invalid("max_tokens", error.to_string()),
            EngineError::Draining => Self::stopping(),
            error => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", error.to_string()),
        }
    }

    /// Returns the error as the JSON body of a response.
    pub(super) fn body(&self) -> serde_json::Value {
        json!({"error": {
            "message": self.message, "type": self.kind, "param": self.field, "code": self.kind,
        }})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = json_response(self.status, &self.body());
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// Returns a response with a JSON body.
pub(super) fn json_response(status: StatusCode, body: &serde_json::Value) -> Response {
    json_text(status, body.to_string())
}

/// Returns a response with a body that is already JSON text.
pub(super) fn json_text(status: StatusCode, body: String) -> Response {
    json_body(status, body.into())
}

/// Returns a response with a body that streams JSON text.
pub(super) fn json_body(status: StatusCode, body: Body) -> Response {
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (status, headers, body).into_response()
}

/// Cuts a long message, since a message may quote the client's text.
pub(super) fn shortened(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        let end = (0..=MESSAGE_BYTES_MAX).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
        message.truncate(end);
        message.push_str("...");
    }
    message
}
