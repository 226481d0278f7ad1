//! What every HTTP client of the program shares: TLS, proxies, time to connect, bounded bodies, and errors that
//! show no address and no key.
//!
//! Redirects are never followed here and reqwest's own retries are off: callers decide about both.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, Url};
use secrecy::{ExposeSecret, SecretString};

use super::retry::{Evidence, WaitHeaders};

/// Time allowed for TCP connect and TLS handshake.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Shorter keys are placeholders (`EMPTY`, `none`) that ordinary text may hold.
const REDACTED_KEY_BYTES_MIN: usize = 8;

/// Builds a client for addresses of the scheme and host of `url`; connects to nothing.
///
/// # Errors
/// The library's, where TLS cannot be set up.
pub fn build_client(url: &Url) -> Result<Client, reqwest::Error> {
    // An error says that a provider is installed already, which serves as well.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("thinkloom/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never());
    if is_loopback(url) {
        builder = builder.no_proxy();
    }
    if url.scheme() == "http" {
        // Plain HTTP must work on machines without CA certificates.
        builder = builder.tls_certs_only([]);
    }
    builder.build()
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Returns the header value of a bearer token, marked sensitive; `None` if it holds what no header can carry.
#[must_use]
pub fn bearer(key: &SecretString) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret().trim())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Blots out the key where a text repeats it.
#[must_use]
pub fn redact(text: &str, key: Option<&SecretString>) -> String {
    match key.map(|key| key.expose_secret().trim()) {
        Some(key) if key.len() >= REDACTED_KEY_BYTES_MIN => text.replace(key, "[redacted]"),
        _ => text.to_owned(),
    }
}

/// Returns what a failed request is evidence of.
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

/// Returns an error with its causes and without its address, which may hold signatures.
#[must_use]
pub fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut detail = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        detail.push_str(": ");
        detail.push_str(&cause.to_string());
        source = cause.source();
    }
    detail
}

/// Returns the headers that say how long to wait.
#[must_use]
pub fn wait_headers(headers: &HeaderMap) -> WaitHeaders<'_> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    WaitHeaders {
        retry_after_ms: text(HeaderName::from_static("retry-after-ms")),
        retry_after: text(reqwest::header::RETRY_AFTER),
        date: text(reqwest::header::DATE),
    }
}

/// How the reading of a body ended.
#[derive(Debug)]
pub enum BodyEnd {
    /// All of it was read.
    Complete,
    /// It is larger than allowed.
    TooLarge,
    /// The connection broke.
    Broken(reqwest::Error),
}

/// Reads at most `bytes_max` bytes, and says how the body ended.
pub async fn read_body(mut response: Response, bytes_max: usize) -> (Vec<u8>, BodyEnd) {
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
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }
}
