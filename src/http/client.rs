//! One OpenAI-compatible endpoint: a connection pool, its concurrency cap, its pacing and its key.
//!
//! Limits: connect timeout [`CONNECT_TIMEOUT`](super::transport::CONNECT_TIMEOUT); a total timeout per attempt from the settings; replies of at most
//! [`REPLY_BYTES_MAX`]. Redirects are not followed (a POST that moves is a wrong `base_url`), and reqwest's own
//! retries are off: every attempt is one the caller knows of. The key goes out in one header, marked sensitive;
//! errors carry no URL with credentials, no header and no request body, and an echo of the key is blotted out.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Response, Url};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::pacing::Pacing;
use super::retry::{Class, Evidence, classify, hint, retry_after};
use super::transport::{BodyEnd, bearer, build_client, describe, evidence_of, read_body, redact, wait_headers};
use super::{CallFailure, DETAIL_CHARS_MAX, one_line, wire};

/// Default time allowed for one attempt, from send to last byte.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(600);
/// Largest reply that is read, in bytes.
pub const REPLY_BYTES_MAX: usize = 8 << 20;
/// How much of an error status's body is read, in bytes.
const ERROR_BYTES_MAX: usize = 64 << 10;
/// How long a 429 that names no wait holds back the endpoint's other requests.
const PAUSE_AFTER_429: Duration = Duration::from_millis(500);
const PATH: &str = "/chat/completions";

/// What an [`Endpoint`] is built from.
#[derive(Debug, Clone)]
pub struct EndpointOptions {
    /// Address up to, not including, `/chat/completions`; with or without `/v1`, with or without a trailing slash.
    pub base_url: String,
    /// Sent as a bearer token; `None` sends no such header.
    pub api_key: Option<SecretString>,
    /// Requests in flight at once, at least 1.
    pub concurrency_max: usize,
    /// 0: no limit known.
    pub requests_per_minute: u32,
    /// 0: no limit known.
    pub tokens_per_minute: u32,
    /// Time allowed for one attempt, from send to last byte.
    pub timeout: Duration,
}

/// Why an endpoint cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The address is not usable; it is not repeated here, for it may hold a password.
    #[error("use base_url: {problem}")]
    BaseUrl {
        /// What is wrong with it.
        problem: String,
    },
    /// The key cannot be a header value.
    #[error("use the API key: it holds characters that no header can carry")]
    ApiKey,
    /// The TLS library could not be set up.
    #[error("set up the HTTP client: {problem}")]
    Client {
        /// What the library says.
        problem: String,
    },
}

impl EndpointError {
    /// Returns what a person can do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::BaseUrl { .. } => "write it like https://api.deepseek.com or http://127.0.0.1:8000/v1",
            Self::ApiKey => "look for line breaks or quotes in the environment variable that api_key_env names",
            Self::Client { .. } => "install the system's CA certificates (package ca-certificates)",
        }
    }
}

/// Leave to send one request; holds one of the endpoint's slots until dropped.
#[derive(Debug, Default)]
#[must_use = "dropping it at once gives the slot back before the request is sent"]
pub struct Admission {
    _slot: Option<OwnedSemaphorePermit>,
}

/// One OpenAI-compatible endpoint.
#[derive(Debug)]
pub struct Endpoint {
    client: Client,
    base_url: String,
    url: Url,
    authorization: Option<HeaderValue>,
    api_key: Option<SecretString>,
    slots: Arc<Semaphore>,
    pacing: Pacing,
    timeout: Duration,
}

impl Endpoint {
    /// Builds the endpoint; connects to nothing.
    ///
    /// # Errors
    /// [`EndpointError`] if the address or the key cannot be used, or TLS cannot be set up.
    pub fn new(options: EndpointOptions) -> Result<Self, EndpointError> {
        let (base_url, url) = parse_base_url(&options.base_url)?;
        let api_key = options.api_key.filter(|key| !key.expose_secret().trim().is_empty());
        let authorization = api_key.as_ref().map(|key| bearer(key).ok_or(EndpointError::ApiKey)).transpose()?;
        Ok(Self {
            client: build_client(&url).map_err(|error| EndpointError::Client { problem: error.to_string() })?,
            base_url,
            url,
            authorization,
            api_key,
            slots: Arc::new(Semaphore::new(options.concurrency_max.clamp(1, Semaphore::MAX_PERMITS))),
            pacing: Pacing::new(options.requests_per_minute, options.tokens_per_minute),
            timeout: options.timeout,
        })
    }

    /// Returns the address without trailing slash and without `/chat/completions`.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Waits for a free slot, for the pacing limits (of about `tokens` tokens) and for the end of any pause.
    ///
    /// Cancel-safe: nothing was sent yet.
    pub async fn admit(&self, tokens: u32) -> Admission {
        // The semaphore is never closed, so that the error arm is never taken.
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok();
        self.pacing.ready(tokens).await;
        Admission { _slot: slot }
    }

    /// Sends one chat body and returns the reply's body of any 2xx status, unparsed (lossy UTF-8).
    ///
    /// Not cancel-safe: a request that is dropped may already have been charged.
    ///
    /// # Errors
    /// [`CallFailure`] for every other end. A 429, and any failure that names a wait, also pauses the endpoint.
    pub async fn post_chat(&self, body: &serde_json::Value) -> Result<String, CallFailure> {
        let mut request = self
            .client
            .post(self.url.clone())
            .timeout(self.timeout)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(body.to_string());
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let response = request.send().await.map_err(|error| self.transport_failure(error))?;
        if !response.status().is_success() {
            return Err(self.status_failure(response).await);
        }
        match read_body(response, REPLY_BYTES_MAX).await {
            (bytes, BodyEnd::Complete) => Ok(self.redact(&String::from_utf8_lossy(&bytes))),
            (_, BodyEnd::TooLarge) => Err(self.failure(
                Evidence::Interrupted,
                None,
                format!("the reply is larger than {REPLY_BYTES_MAX} bytes"),
            )),
            (_, BodyEnd::Broken(error)) => Err(self.transport_failure(error)),
        }
    }

    async fn status_failure(&self, response: Response) -> CallFailure {
        let status = response.status().as_u16();
        let wait = retry_after(wait_headers(response.headers()));
        // Whatever was read before an error says more than nothing.
        let (bytes, _) = read_body(response, ERROR_BYTES_MAX).await;
        let body = String::from_utf8_lossy(&bytes);
        let error = wire::parse_error(&body);
        let code = error.as_ref().and_then(|error| error.code.as_deref());
        let message = error.as_ref().map_or(body.as_ref(), |error| error.message.as_str());
        let evidence = Evidence::Status { status, code };
        let detail = match (status, code) {
            (404 | 405, _) => format!("HTTP {status}, {}: {message}", hint(Some(status))),
            (_, Some(code)) => format!("HTTP {status} ({code}): {message}"),
            (_, None) => format!("HTTP {status}: {message}"),
        };
        let mut failure = self.failure(evidence, Some(status), detail);
        if failure.class == Class::Transient {
            failure.retry_after = wait;
            match wait {
                Some(wait) => self.pacing.pause(wait),
                None if status == 429 => self.pacing.pause(PAUSE_AFTER_429),
                None => {}
            }
        }
        failure
    }

    fn transport_failure(&self, error: reqwest::Error) -> CallFailure {
        let evidence = evidence_of(&error);
        self.failure(evidence, None, describe(error))
    }

    fn failure(&self, evidence: Evidence<'_>, status: Option<u16>, detail: String) -> CallFailure {
        CallFailure {
            class: classify(evidence),
            status,
            retry_after: None,
            detail: one_line(&self.redact(&detail), DETAIL_CHARS_MAX),
        }
    }

    /// Blots out the key where a server echoes it.
    fn redact(&self, text: &str) -> String {
        redact(text, self.api_key.as_ref())
    }
}

/// Returns the address without its tail, and the whole URL to post to.
fn parse_base_url(text: &str) -> Result<(String, Url), EndpointError> {
    let bad = |problem: &str| EndpointError::BaseUrl { problem: problem.to_owned() };
    let trimmed = text.trim().trim_end_matches('/');
    let base = trimmed.strip_suffix(PATH).unwrap_or(trimmed).trim_end_matches('/');
    let url = Url::parse(&format!("{base}{PATH}")).map_err(|error| bad(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("it begins with neither http:// nor https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("it holds a user name or password; keys belong in an environment variable"));
    }
    if base.contains(['?', '#']) {
        return Err(bad("it holds a query or fragment"));
    }
    Ok((base.to_owned(), url))
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use serde_json::json;

    use super::super::testing::{Server, Step, chat_body, dead_base_url};
    use super::*;

    const KEY: &str = "sk-very-secret-0123456789";

    fn options(base_url: &str) -> EndpointOptions {
        EndpointOptions {
            base_url: base_url.to_owned(),
            api_key: Some(SecretString::from(KEY)),
            concurrency_max: 2,
            requests_per_minute: 0,
            tokens_per_minute: 0,
            timeout: Duration::from_secs(20),
        }
    }

    fn endpoint(base_url: &str) -> Endpoint {
        Endpoint::new(options(base_url)).unwrap()
    }

    async fn fail_with(step: Step) -> (CallFailure, Endpoint) {
        let server = Server::start(vec![step]);
        let endpoint = endpoint(&server.base_url());
        let failure = endpoint.post_chat(&json!({})).await.unwrap_err();
        (failure, endpoint)
    }

    #[tokio::test]
    async fn a_chat_body_is_posted_with_the_key_and_the_reply_comes_back_unparsed() {
        let server = Server::start(vec![Step::status(200, "\n\n not json")]);
        let endpoint = endpoint(&format!("{}/v1/", server.base_url()));
        let body = json!({"model": "m"});
        assert_eq!(endpoint.post_chat(&body).await.unwrap(), "\n\n not json");
        let seen = server.seen();
        assert!(seen[0].head.starts_with("POST /v1/chat/completions HTTP/1.1"), "{}", seen[0].head);
        assert!(seen[0].head.to_lowercase().contains(&format!("authorization: bearer {KEY}")));
        assert_eq!(seen[0].body, body.to_string());
    }

    #[test]
    fn base_urls_are_joined_without_assuming_a_version() {
        for (text, base, url) in [
            ("https://api.deepseek.com", "https://api.deepseek.com", "https://api.deepseek.com/chat/completions"),
            (" http://h:8000/v1// ", "http://h:8000/v1", "http://h:8000/v1/chat/completions"),
            ("https://h/v1/chat/completions", "https://h/v1", "https://h/v1/chat/completions"),
        ] {
            let (found_base, found_url) = parse_base_url(text).unwrap();
            assert_eq!((found_base.as_str(), found_url.as_str()), (base, url));
        }
        for text in
            ["", "api.deepseek.com", "ftp://h", "https://user:pw@h/v1", "https://h/v1?key=secret", "https://h#x"]
        {
            let error = parse_base_url(text).unwrap_err();
            assert!(!error.to_string().contains("pw") && !error.to_string().contains("secret"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_rejected_key_is_fatal_and_stands_in_no_output() {
        let echo = format!(r#"{{"error":{{"message":"Incorrect API key provided: {KEY}","code":"invalid_api_key"}}}}"#);
        let (failure, endpoint) = fail_with(Step::status(401, &echo)).await;
        assert_eq!((failure.class, failure.status), (Class::FatalRun, Some(401)));
        assert_eq!(failure.detail, "HTTP 401 (invalid_api_key): Incorrect API key provided: [redacted]");
        assert!(!format!("{failure:?} {endpoint:?}").contains(KEY));
        assert!(!format!("{:?}", options("http://h")).contains(KEY));
    }

    #[test]
    fn a_key_with_a_line_break_is_refused_without_being_shown() {
        let mut options = options("http://127.0.0.1:1");
        options.api_key = Some(SecretString::from("sk-very\nsecret"));
        let error = Endpoint::new(options).unwrap_err();
        assert_eq!(error, EndpointError::ApiKey);
        assert!(!format!("{error} {error:?}").contains("sk-very"));
    }

    #[tokio::test]
    async fn a_429_with_retry_after_pauses_the_whole_endpoint() {
        let (failure, endpoint) = fail_with(Step::status(429, "{}").header("Retry-After: 90")).await;
        assert_eq!((failure.class, failure.retry_after), (Class::Transient, Some(Duration::from_secs(90))));
        assert!(endpoint.pacing.paused_until().is_some());
        assert!(endpoint.admit(1).now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_429_about_money_is_fatal_and_pauses_nothing() {
        let body = r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota"}}"#;
        let (failure, endpoint) = fail_with(Step::status(429, body).header("Retry-After: 90")).await;
        assert_eq!((failure.class, failure.retry_after), (Class::FatalRun, None));
        assert_eq!(endpoint.pacing.paused_until(), None);
    }

    #[tokio::test]
    async fn both_error_shapes_give_their_message() {
        let nested = r#"{"error":{"message":"bad\nfield","type":"invalid_request_error"}}"#;
        let (failure, _) = fail_with(Step::status(400, nested)).await;
        assert_eq!(failure.class, Class::FatalRequest);
        assert_eq!(failure.detail, "HTTP 400 (invalid_request_error): bad field");
        let flat = r#"{"object":"error","message":"maximum context length","type":"BadRequestError","code":400}"#;
        let (failure, _) = fail_with(Step::status(400, flat)).await;
        assert_eq!(failure.detail, "HTTP 400 (BadRequestError): maximum context length");
        let (failure, _) = fail_with(Step::status(404, "<html>\n not here</html>")).await;
        assert_eq!(failure.detail, "HTTP 404, check base_url and model: <html> not here</html>");
        let (failure, _) = fail_with(Step::status(503, &"x".repeat(100_000))).await;
        assert_eq!((failure.class, failure.detail.chars().count()), (Class::Transient, DETAIL_CHARS_MAX));
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let (failure, _) = fail_with(Step::status(307, "").header("location: http://127.0.0.1:9/x")).await;
        assert_eq!((failure.class, failure.status), (Class::FatalRun, Some(307)));
    }

    #[tokio::test]
    async fn torn_replies_are_transient_and_are_not_sent_twice() {
        for step in [Step::Hang, Step::Torn] {
            let server = Server::start(vec![step, Step::chat("second")]);
            let endpoint = endpoint(&server.base_url());
            let failure = endpoint.post_chat(&json!({})).await.unwrap_err();
            assert_eq!((failure.class, failure.status), (Class::Transient, None), "{failure:?}");
            assert_eq!(server.seen().len(), 1);
        }
    }

    #[tokio::test]
    async fn a_refused_connection_is_unreachable() {
        let failure = endpoint(&dead_base_url()).post_chat(&json!({})).await.unwrap_err();
        assert_eq!((failure.class, failure.status), (Class::Unreachable, None));
        assert!(failure.detail.to_lowercase().contains("refused"), "{}", failure.detail);
    }

    #[tokio::test]
    async fn a_timeout_after_connecting_is_transient() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut options = options(&format!("http://{}", listener.local_addr().unwrap()));
        options.timeout = Duration::from_millis(20);
        let failure = Endpoint::new(options).unwrap().post_chat(&json!({})).await.unwrap_err();
        assert_eq!(failure.class, Class::Transient, "{failure:?}");
    }

    #[tokio::test]
    async fn admissions_are_capped_and_given_back_on_drop() {
        let endpoint = endpoint("http://127.0.0.1:9");
        let first = endpoint.admit(1).now_or_never();
        let second = endpoint.admit(1).now_or_never();
        assert!(first.is_some() && second.is_some());
        assert!(endpoint.admit(1).now_or_never().is_none());
        drop(first);
        assert!(endpoint.admit(1).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_reply_at_the_size_limit_is_read_and_one_byte_more_is_refused() {
        let at_limit = "x".repeat(REPLY_BYTES_MAX);
        let server = Server::start(vec![Step::status(200, &at_limit), Step::status(200, &(at_limit.clone() + "x"))]);
        let endpoint = endpoint(&server.base_url());
        assert_eq!(endpoint.post_chat(&json!({})).await.unwrap().len(), REPLY_BYTES_MAX);
        assert_eq!(endpoint.post_chat(&json!({})).await.unwrap_err().class, Class::Transient);
    }

    #[tokio::test]
    async fn a_short_placeholder_key_is_left_alone_in_replies() {
        let server = Server::start(vec![Step::chat("none of it")]);
        let mut options = options(&server.base_url());
        options.api_key = Some(SecretString::from("none"));
        let body = Endpoint::new(options).unwrap().post_chat(&json!({})).await.unwrap();
        assert_eq!(body, chat_body("none of it"));
    }
}
