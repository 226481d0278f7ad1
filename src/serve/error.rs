//! Errors in OpenAI's shape.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::limits::{BODY_BYTES_PER_S, MESSAGE_BYTES_MAX};
use crate::engine::EngineError;

/// Why a request is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    kind: &'static str,
    message: String,
    /// Which field of the request is at fault.
    field: Option<String>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: shortened(message.into()), field: None }
    }

    /// A request that cannot be served as it is; `field` names what is wrong with it.
    pub(super) fn invalid(field: &str, message: impl Into<String>) -> Self {
        let field = (!field.is_empty()).then(|| field.to_owned());
        Self { field, ..Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message) }
    }

    /// A text that the model's context cannot hold.
    pub(super) fn too_long(field: &str, message: impl Into<String>) -> Self {
        Self { kind: "context_length_exceeded", ..Self::invalid(field, message) }
    }

    /// Too much is under way.
    pub(super) fn busy(capacity: usize) -> Self {
        let message = format!("the server is busy: {capacity} responses are under way or wait; try again later");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", message)
    }

    /// Too many others of its kind wait.
    pub(super) fn overloaded(what: &str) -> Self {
        let message = format!("the server is busy with other {what}; try again later");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_is_overloaded", message)
    }

    /// The server is going down.
    pub(super) fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_is_stopping", "the server is stopping")
    }

    /// The key is missing or wrong.
    pub(super) fn unauthorized() -> Self {
        let message = "the key is missing or wrong; send it as Authorization: Bearer KEY";
        Self::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message)
    }

    /// The request names another server.
    pub(super) fn foreign_host() -> Self {
        let message = "this server does not answer to the name in Host; start it with --allow-host NAME if it should";
        Self::new(StatusCode::FORBIDDEN, "host_not_allowed", message)
    }

    /// The request comes from a page of another server.
    pub(super) fn foreign_origin() -> Self {
        let message = "pages of other servers may not use this one (Origin), and no option allows them (CORS); where a proxy \
                       serves the page and this server by one name, start it with --allow-host NAME";
        Self::new(StatusCode::FORBIDDEN, "origin_not_allowed", message)
    }

    /// The body does not say that it is JSON.
    pub(super) fn no_json() -> Self {
        let message = "send the body with Content-Type: application/json";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
    }

    /// The body is larger than any may be.
    pub(super) fn too_large(bytes_max: usize) -> Self {
        let message = format!("the body has more than {bytes_max} bytes; send it in parts");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message)
    }

    /// The body has more values than may be kept.
    pub(super) fn too_many_values() -> Self {
        let message = "the body has too many values for its memory; send it in parts";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message)
    }

    /// The body did not come in time.
    pub(super) fn slow() -> Self {
        let message = format!(
            "the body came too slowly: at least {BODY_BYTES_PER_S} bytes a second are asked for, and more of large ones"
        );
        Self::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", message)
    }

    /// The server failed.
    pub(super) fn failed() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "the server failed on this request")
    }

    /// There is no such model.
    pub(super) fn no_model(asked: &str, served: &str) -> Self {
        let message = format!("the model {asked} is not served here; {served} is");
        Self { field: Some("model".to_owned()), ..Self::new(StatusCode::NOT_FOUND, "model_not_found", message) }
    }

    /// The engine failed, or refuses the request.
    pub(super) fn engine(error: &EngineError) -> Self {
        match error {
            error if error.is_too_long() => Self::too_long("messages", error.to_string()),
            EngineError::KvTooSmall { .. } => Self::invalid("max_tokens", error.to_string()),
            EngineError::Draining => Self::stopping(),
            error => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", error.to_string()),
        }
    }

    /// Returns the body.
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

/// Returns a response with a body that is JSON already.
pub(super) fn json_text(status: StatusCode, body: String) -> Response {
    json_body(status, body.into())
}

/// Returns a response with a body that yields JSON.
pub(super) fn json_body(status: StatusCode, body: Body) -> Response {
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (status, headers, body).into_response()
}

/// Cuts a message that repeats what a client sent.
pub(super) fn shortened(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        let end = (0..=MESSAGE_BYTES_MAX).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
        message.truncate(end);
        message.push_str("...");
    }
    message
}
