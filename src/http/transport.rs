//! The shared parts of all HTTP clients in thinkloom: TLS, proxies, connect timeout, bounded bodies, and errors without
//! address and key.
//!
//! The clients never follow redirects, and reqwest's own retries are off: callers decide about both.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, Url};
use secrecy::{ExposeSecret, SecretString};

use super::retry::{Evidence, WaitHeaders};
use crate::domain::text::with_causes;

/// The maximum size of a reply, in bytes; for a stream, of its text.
pub const REPLY_BYTES_MAX: usize = 8 << 20;

/// The timeout of TCP connect and TLS handshake.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Builds a client for addresses with the scheme and host of `url`; opens no connection.
///
/// # Errors
/// The library's error, if TLS cannot be set up.
pub fn build_client(url: &Url) -> Result<Client, reqwest::Error> {
    // An error means that another provider is already installed, which also works.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("thinkloom/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never());
    if is_on_this_machine(url) {
        builder = builder.no_proxy();
    }
    if url.scheme() == "http" {
        // Plain HTTP must work on machines without CA certificates.
        builder = builder.tls_certs_only([]);
    }
    builder.build()
}

/// Returns whether an address names this machine: `localhost`, a loopback address, or the unspecified address.
#[must_use]
pub fn is_on_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let is_own = |address: IpAddr| address.to_canonical().is_loopback() || address.is_unspecified();
    host == "localhost" || host.parse().is_ok_and(is_own)
}

/// Returns whether a key that is sent to an address could be read in transit: plain HTTP to another machine. A proxy
/// cannot read the traffic to `https://`.
#[must_use]
pub fn is_clear_text(url: &Url) -> bool {
    url.scheme() == "http" && !is_on_this_machine(url)
}

/// Returns the header value of a bearer token, marked sensitive; `None` if the key is not a valid header value.
#[must_use]
pub fn bearer(key: &SecretString) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret().trim())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Returns the evidence of a failed request.
#[must_use]
pub fn evidence_of(error: &reqwest::Error) -> Evidence<'static> {
    if error.is_connect() {
        Evidence::NotConnected
    } else if error.is_timeout() {
        Evidence::TimedOut
    } else {
        Evidence::Interrupted
    }
}

/// Returns an error's text with its causes and without its address, which may hold signatures.
#[must_use]
pub fn describe(error: reqwest::Error) -> String {
    with_causes(&error.without_url())
}

/// Returns the headers that request a wait.
#[must_use]
pub fn wait_headers(headers: &HeaderMap) -> WaitHeaders<'_> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    WaitHeaders {
        retry_after_ms: text(HeaderName::from_static("retry-after-ms")),
        retry_after: text(reqwest::header::RETRY_AFTER),
        date: text(reqwest::header::DATE),
    }
}

/// A body that arrives in portions.
pub trait Chunks {
    /// The error of an early end.
    type Error;

    /// Returns the next portion; `None` at the end.
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Bytes>, Self::Error>> + Send;
}

impl Chunks for Response {
    type Error = reqwest::Error;

    fn chunk(&mut self) -> impl Future<Output = Result<Option<Bytes>, reqwest::Error>> + Send {
        Self::chunk(self)
    }
}

/// How the reading of a body ended.
#[derive(Debug)]
pub enum BodyEnd<E = reqwest::Error> {
    /// The whole body was read.
    Complete,
    /// The body is larger than allowed.
    TooLarge,
    /// The connection broke.
    Broken(E),
}

/// Reads at most `bytes_max` bytes, and returns how the body ended.
pub async fn read_body<R: Chunks>(mut response: R, bytes_max: usize) -> (Vec<u8>, BodyEnd<R::Error>) {
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(None) => return (bytes, BodyEnd::Complete),
            Ok(Some(chunk)) if bytes.len() + chunk.len() > bytes_max => return (bytes, BodyEnd::TooLarge),
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Err(error) => return (bytes, BodyEnd::Broken(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_addresses_are_known() {
        for (url, expected) in [
            ("http://127.0.0.1:8000", true),
            ("http://127.9.9.9", true),
            ("http://[::1]:80", true),
            ("http://localhost", true),
            ("http://10.0.0.1", false),
            ("https://localhost.example.com", false),
            ("http://127.0.0.1.example.com", false),
            ("http://127.example.com", false),
            ("http://127.0.0.1@example.com", false),
            ("http://127.1:8000", true),
            ("http://LOCALHOST", true),
            ("http://[::ffff:127.0.0.1]", true),
            ("http://0.0.0.0:8000", true),
            ("http://192.168.0.1", false),
        ] {
            let url = Url::parse(url).unwrap();
            assert_eq!(is_on_this_machine(&url), expected, "{url}");
            assert_eq!(is_clear_text(&url), !expected && url.scheme() == "http", "{url}");
        }
    }
}
