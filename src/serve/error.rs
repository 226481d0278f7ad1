//! Errors in OpenAI's shape.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::engine::EngineError;

/// Why a request is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    pub(super) status: StatusCode,
    kind: &'static str,
    message: String,
    /// Which field of the request is at fault.
    field: Option<String>,
}

impl ApiError {
    /// A request that cannot be served as it is; `field` names what is wrong with it.
    pub(super) fn invalid(field: &str, message: impl Into<String>) -> Self {
        let field = (!field.is_empty()).then(|| field.to_owned());
        Self { status: StatusCode::BAD_REQUEST, kind: "invalid_request_error", message: message.into(), field }
    }

    /// Too much is under way.
    pub(super) fn busy(capacity: usize) -> Self {
        let message = format!("the server is busy: {capacity} responses are under way or wait; try again later");
        Self { status: StatusCode::TOO_MANY_REQUESTS, kind: "rate_limit_exceeded", message, field: None }
    }

    /// The server is going down.
    pub(super) fn stopping() -> Self {
        let message = "the server is stopping".to_owned();
        Self { status: StatusCode::SERVICE_UNAVAILABLE, kind: "server_is_stopping", message, field: None }
    }

    /// The key is missing or wrong.
    pub(super) fn unauthorized() -> Self {
        let message = "the key is missing or wrong; send it as Authorization: Bearer KEY".to_owned();
        Self { status: StatusCode::UNAUTHORIZED, kind: "invalid_api_key", message, field: None }
    }

    /// The engine failed, or refuses the request.
    pub(super) fn engine(error: &EngineError) -> Self {
        match error {
            EngineError::PromptTooLong { .. } => Self {
                status: StatusCode::BAD_REQUEST,
                kind: "context_length_exceeded",
                message: error.to_string(),
                field: Some("messages".to_owned()),
            },
            EngineError::KvTooSmall { .. } => Self::invalid("max_tokens", error.to_string()),
            EngineError::Draining => Self::stopping(),
            error => Self {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                kind: "server_error",
                message: error.to_string(),
                field: None,
            },
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
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// Returns a response with a JSON body.
pub(super) fn json_response(status: StatusCode, body: &serde_json::Value) -> Response {
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (status, headers, body.to_string()).into_response()
}

/// Answers what has no route.
pub(super) async fn not_found() -> ApiError {
    let message = "there is nothing here; see /v1/models, /v1/chat/completions, /v1/completions, /v1/reward".to_owned();
    ApiError { status: StatusCode::NOT_FOUND, kind: "not_found", message, field: None }
}

/// Answers a method that a route does not have.
pub(super) async fn not_allowed() -> ApiError {
    let message = "this address is not for this method".to_owned();
    ApiError { status: StatusCode::METHOD_NOT_ALLOWED, kind: "method_not_allowed", message, field: None }
}
