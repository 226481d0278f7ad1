//! Checks every request: `Host` names this server, `Origin` names no other server, and the API key is right, if one is
//! set. Also reads and drops the bodies of rejected requests.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::common::Common;
use super::connections::{Doing, Line};
use super::error::ApiError;
use super::limits::{BODY_BYTES_MAX, REFUSED_PAUSE};

/// Rejects a request whose `Host` or `Origin` names another server.
pub(super) async fn check_host(State(common): State<Arc<Common>>, request: Request, next: Next) -> Response {
    let local = request.extensions().get::<Line>().and_then(|line| line.local);
    let hosts = &common.options.hosts;
    let target = request.uri().authority().map(|authority| authority.as_str());
    let named = one(request.headers(), header::HOST);
    if named.is_none_or(|host| !hosts.answer_to(host, local))
        || target.is_some_and(|target| !hosts.answer_to(target, local))
    {
        return refuse(request, ApiError::foreign_host()).await;
    }
    let has_origin = request.headers().contains_key(header::ORIGIN);
    if has_origin && one(request.headers(), header::ORIGIN).is_none_or(|origin| !hosts.are_origin(origin, local)) {
        return refuse(request, ApiError::foreign_origin()).await;
    }
    next.run(request).await
}

/// Rejects a request without the API key.
pub(super) async fn check_key(State(common): State<Arc<Common>>, request: Request, next: Next) -> Response {
    let Some(key) = &common.options.api_key else { return next.run(request).await };
    let shown = one(request.headers(), header::AUTHORIZATION).and_then(|value| value.trim_start().split_once(' '));
    let shown = shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map_or("", |(_, key)| key.trim());
    // Comparing hashes keeps the time of the comparison independent of the key.
    if Sha256::digest(shown.as_bytes()) == Sha256::digest(key.expose_secret().as_bytes()) {
        next.run(request).await
    } else {
        refuse(request, ApiError::unauthorized()).await
    }
}

/// Returns a header's value if the header occurs once and is text.
fn one(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value)?.to_str().ok()
}

/// Returns an error after reading the body: a client that is still sending might otherwise not read the response.
pub(super) async fn refuse(request: Request, error: ApiError) -> Response {
    let (parts, body) = request.into_parts();
    take_refused(&parts, body).await;
    error.into_response()
}

/// Reads and drops the body of a rejected request, for a short time. The server may close the connection meanwhile.
pub(super) async fn take_refused(parts: &Parts, body: Body) {
    if parts.headers.contains_key(header::EXPECT) {
        return;
    }
    let line = parts.extensions.get::<Line>();
    if let Some(line) = line {
        line.set(Doing::Refusing);
    }
    drain(body.into_data_stream(), REFUSED_PAUSE).await;
    if let Some(line) = line {
        line.set(Doing::Answering);
    }
}

/// Reads a body and drops it.
pub(super) async fn drain(mut stream: BodyDataStream, limit: Duration) {
    let mut bytes = 0;
    let all = async {
        while let Some(Ok(part)) = stream.next().await {
            bytes += part.len();
            if bytes > BODY_BYTES_MAX {
                return;
            }
        }
    };
    // A slower client sees its connection close.
    let _ = tokio::time::timeout(limit, all).await;
}
