//! A client of one model behind one or several OpenAI-compatible endpoints.
//!
//! The client admits requests one at a time, in order of arrival ([`ChatClient::admit`]). It sends each request to the
//! available endpoint with the smallest share of its concurrency in use; without an available endpoint, the request
//! waits. The end of a pause thus wakes one request, not all. A dead endpoint is set aside while others are alive. A
//! request without a connection moves on to another endpoint within its attempt, because nothing was sent; only if no
//! endpoint can be reached, the caller receives the failure. Limits apply per endpoint: concurrency, requests and
//! tokens per minute.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::carrier::{Carrier, Network};
use super::endpoint::{Blocked, Endpoint, EndpointParts, Permit};
use super::pacing::Pacing;
use super::redact::Redactor;
use super::retry::Class;
use super::transport::{bearer, build_client, is_clear_text};
use super::wire::ChatReply;
use super::{CallFailure, DETAIL_CHARS_MAX, one_line, wait};

pub use super::endpoint::Delivery;
pub use super::transport::REPLY_BYTES_MAX;

/// Default timeout of one attempt, from send to last byte.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(600);
/// The timeout of a probe.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(60);
const PATH: &str = "/chat/completions";

/// The settings of a [`ChatClient`].
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Addresses without the final `/chat/completions`; with or without `/v1`, with or without a trailing slash.
    pub base_urls: Vec<String>,
    /// The bearer token; `None` sends no such header.
    pub api_key: Option<SecretString>,
    /// Whether the key may leave this machine unencrypted.
    pub clear_text: ClearText,
    /// The maximum number of requests in flight to each endpoint, at least 1.
    pub concurrency_max: usize,
    /// For each endpoint; 0: no known limit.
    pub requests_per_minute: u32,
    /// For each endpoint; 0: no known limit.
    pub tokens_per_minute: u32,
    /// The timeout of one attempt, from send to last byte.
    pub timeout: Duration,
}

/// Whether a key may leave this machine over plain HTTP, where others can read it in transit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClearText {
    /// The client refuses to send it.
    #[default]
    Refused,
    /// The user allowed it.
    Allowed,
}

impl ClearText {
    /// Returns the value for the setting `allow_http`.
    #[must_use]
    pub const fn from_setting(allow_http: bool) -> Self {
        if allow_http { Self::Allowed } else { Self::Refused }
    }
}

/// Why a client cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The address is not usable; the message omits it, because it may hold a password.
    #[error("base_url is not usable: {problem}")]
    BaseUrl {
        /// Why the address is not usable.
        problem: String,
    },
    /// The list of addresses is empty.
    #[error("base_urls is not usable: the list is empty")]
    NoBaseUrl,
    /// The key is not a valid header value.
    #[error("the API key is not usable: it holds characters that no header can carry")]
    ApiKey,
    /// The key would be sent unencrypted.
    #[error("the API key would be sent in clear to http://{host}, which is not this machine")]
    ClearText {
        /// The host that would receive the key.
        host: String,
    },
    /// The TLS library could not be set up.
    #[error("cannot set up the HTTP client: {problem}")]
    Client {
        /// The library's error text.
        problem: String,
    },
}

impl ClientError {
    /// Returns advice to the user.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::BaseUrl { .. } | Self::NoBaseUrl => {
                "write it like https://api.deepseek.com or http://127.0.0.1:8000/v1"
            }
            Self::ApiKey => "look for line breaks or quotes in the environment variable that api_key_env names",
            Self::ClearText { .. } => {
                "use https://, or a tunnel to this machine (ssh -L); or set allow_http = true beside api_key_env if everybody \
                 on that network may read the key; a server that wants no key needs none: unset the variable"
            }
            Self::Client { .. } => "install the system's CA certificates (package ca-certificates)",
        }
    }
}

/// The permission to send one request to one endpoint; holds one of the endpoint's slots until dropped.
#[derive(Debug, Default)]
#[must_use = "dropping the admission at once releases the slot before the request is sent"]
pub struct Admission {
    slot: Option<Slot>,
}

#[derive(Debug)]
struct Slot {
    endpoint: Arc<Endpoint>,
    permit: Permit,
    tokens: u32,
    changed: Arc<Notify>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.endpoint.give_back(&self.permit);
        self.changed.notify_one();
    }
}

/// A client of one model.
#[derive(Debug)]
pub struct ChatClient {
    endpoints: Vec<Arc<Endpoint>>,
    /// Held by the request that is being admitted; the others wait in order.
    turn: Semaphore,
    /// Notified when a slot is released or a charge is settled.
    changed: Arc<Notify>,
    /// The index at which the search for the least load begins, so that equally loaded endpoints alternate.
    next: AtomicUsize,
}

impl ChatClient {
    /// Builds the client; opens no connection.
    ///
    /// # Errors
    /// [`ClientError`] if an address or the key is not usable, or TLS cannot be set up.
    pub fn new(options: &ClientOptions) -> Result<Self, ClientError> {
        Self::over(options, |url| {
            let client = build_client(url).map_err(|error| ClientError::Client { problem: error.to_string() })?;
            Ok(Arc::new(Network(client)))
        })
    }

    /// Builds the client over carriers that the caller chooses, one for each address.
    ///
    /// # Errors
    /// The errors of [`ChatClient::new`], and the errors of `carrier`.
    pub fn over(
        options: &ClientOptions,
        mut carrier: impl FnMut(&Url) -> Result<Arc<dyn Carrier>, ClientError>,
    ) -> Result<Self, ClientError> {
        let api_key = options.api_key.clone().filter(|key| !key.expose_secret().trim().is_empty());
        let authorization = api_key.as_ref().map(|key| bearer(key).ok_or(ClientError::ApiKey)).transpose()?;
        let mut endpoints = Vec::with_capacity(options.base_urls.len());
        for text in &options.base_urls {
            let (base_url, url) = parse_base_url(text)?;
            check_clear_text(&url, api_key.as_ref(), options.clear_text)?;
            endpoints.push(Arc::new(Endpoint::new(EndpointParts {
                carrier: carrier(&url)?,
                base_url,
                url,
                authorization: authorization.clone(),
                redactor: Redactor::new(api_key.as_ref()),
                timeout: options.timeout,
                has_siblings: options.base_urls.len() > 1,
                concurrency_max: options.concurrency_max,
                pacing: Pacing::new(options.requests_per_minute, options.tokens_per_minute),
            })));
        }
        if endpoints.is_empty() {
            return Err(ClientError::NoBaseUrl);
        }
        let (turn, changed) = (Semaphore::new(1), Arc::new(Notify::new()));
        Ok(Self { endpoints, turn, changed, next: AtomicUsize::new(0) })
    }

    /// Returns the first address, without trailing slash and without `/chat/completions`.
    #[must_use]
    pub fn base_url(&self) -> &str {
        self.endpoints.first().map_or("", |endpoint| endpoint.base_url.as_str())
    }

    /// Waits for its turn, and then for an endpoint with a free slot that is not paused and whose pacing admits a
    /// request of about `tokens` tokens.
    ///
    /// Cancel-safe: nothing is sent.
    pub async fn admit(&self, tokens: u32) -> Admission {
        Admission { slot: Some(self.slot(tokens).await) }
    }

    async fn slot(&self, tokens: u32) -> Slot {
        // The semaphore is never closed, so that the error arm is never taken.
        let _turn = self.turn.acquire().await.ok();
        loop {
            let now = Instant::now();
            let until = match self.choose(now, tokens) {
                Ok((endpoint, permit)) => {
                    return Slot { endpoint, permit, tokens, changed: Arc::clone(&self.changed) };
                }
                Err(until) => until,
            };
            let changed = self.changed.notified();
            wait(changed, until).await;
        }
    }

    /// Takes a permit of the least loaded available endpoint, or returns the latest time for the next try.
    fn choose(&self, now: Instant, tokens: u32) -> Result<(Arc<Endpoint>, Permit), Option<Instant>> {
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let mut order: Vec<(f64, &Arc<Endpoint>)> = (0..self.endpoints.len())
            .filter_map(|offset| self.endpoints.get((start + offset) % self.endpoints.len()))
            .map(|endpoint| (endpoint.load(), endpoint))
            .collect();
        // The sort is stable, so that equally loaded endpoints keep their turn.
        order.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut earliest: Option<Instant> = None;
        let mut first_probe: Option<(Instant, &Arc<Endpoint>)> = None;
        let mut all_aside = true;
        for (_, endpoint) in order {
            let until = match endpoint.try_permit(now, tokens) {
                Ok(permit) => return Ok((Arc::clone(endpoint), permit)),
                Err(Blocked::Full) => {
                    all_aside = false;
                    continue;
                }
                Err(Blocked::Until(until)) => {
                    all_aside = false;
                    until
                }
                Err(Blocked::Aside(probe_at)) => {
                    if first_probe.is_none_or(|(earlier, _)| probe_at < earlier) {
                        first_probe = Some((probe_at, endpoint));
                    }
                    probe_at
                }
            };
            earliest = Some(earliest.map_or(until, |earliest| earliest.min(until)));
        }
        match first_probe {
            // No endpoint is alive: the caller decides how long to retry, and a wait here would only hide the outage.
            Some((_, endpoint)) if all_aside => {
                endpoint.early_permit().map(|permit| (Arc::clone(endpoint), permit)).ok_or(earliest)
            }
            _ => Err(earliest),
        }
    }

    /// Sends one chat body (a JSON object) and returns the reply's body of any 2xx status, unparsed; a streamed reply
    /// is returned as the body that it would have had in one piece.
    ///
    /// Not cancel-safe: a dropped request may already have been charged.
    ///
    /// # Errors
    /// [`CallFailure`] for every other end; [`Class::Unreachable`] only if no endpoint can be connected to.
    pub async fn post_chat(
        &self,
        body: &Bytes,
        delivery: Delivery,
        admission: Admission,
    ) -> Result<String, CallFailure> {
        let mut slot = match admission.slot {
            Some(slot) => slot,
            None => self.slot(0).await,
        };
        for _ in 1..self.endpoints.len() {
            match slot.endpoint.post(body, delivery, &slot.permit).await {
                Err(failure) if failure.class == Class::Unreachable && self.has_living() => {
                    let tokens = slot.tokens;
                    drop(slot);
                    slot = self.slot(tokens).await;
                }
                end => return end,
            }
        }
        slot.endpoint.post(body, delivery, &slot.permit).await
    }

    /// Sends a chat of one token, to see whether a server replies.
    ///
    /// # Errors
    /// The errors of [`ChatClient::post_chat`]; [`Class::Transient`] if no reply arrives within [`PROBE_TIMEOUT`].
    pub async fn probe(&self, model: &str) -> Result<(), CallFailure> {
        let body = serde_json::json!({
            "model": model,
            "messages": [{"role": "user", "content": "Reply with OK."}],
            "max_tokens": 1,
        });
        // The probe needs no slot: the requests that hold or await slots may wait for its result.
        let loads = self.endpoints.iter().map(|endpoint| (endpoint.load(), endpoint));
        let least = loads.min_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, endpoint)| Arc::clone(endpoint));
        let slot = least.map(|endpoint| {
            let permit = endpoint.force_permit();
            Slot { endpoint, permit, tokens: 0, changed: Arc::clone(&self.changed) }
        });
        let body = body.to_string().into();
        let call = self.post_chat(&body, Delivery::Whole, Admission { slot });
        let reply = tokio::time::timeout(PROBE_TIMEOUT, call).await.map_err(|_| CallFailure {
            class: Class::Transient,
            status: None,
            retry_after: None,
            detail: format!("no answer within {} s", PROBE_TIMEOUT.as_secs()),
            refused: None,
            body: None,
        })??;
        // An HTML page or an error object with status 200 is not a reply.
        match ChatReply::parse(&reply) {
            Ok(ChatReply { error: None, .. }) => Ok(()),
            Ok(ChatReply { error: Some(error), .. }) => Err(unanswered(&error.message)),
            Err(error) => Err(unanswered(&error.to_string())),
        }
    }

    fn has_living(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.is_alive())
    }
}

/// Returns whether a server is on this machine, where no key is needed.
#[must_use]
pub fn is_on_this_machine(base_url: &str) -> bool {
    parse_base_url(base_url).is_ok_and(|(_, url)| super::transport::is_on_this_machine(&url))
}

fn unanswered(detail: &str) -> CallFailure {
    let detail = one_line(detail, DETAIL_CHARS_MAX);
    CallFailure { class: Class::Transient, status: Some(200), retry_after: None, detail, refused: None, body: None }
}

/// Rejects a key that would be sent where others can read it in transit.
pub(super) fn check_clear_text(
    url: &Url,
    key: Option<&SecretString>,
    clear_text: ClearText,
) -> Result<(), ClientError> {
    if key.is_none() || clear_text == ClearText::Allowed || !is_clear_text(url) {
        return Ok(());
    }
    Err(ClientError::ClearText { host: url.host_str().unwrap_or_default().to_owned() })
}

/// Returns the address without its tail, and the complete URL of the POST request.
pub(super) fn parse_base_url(text: &str) -> Result<(String, Url), ClientError> {
    let bad = |problem: &str| ClientError::BaseUrl { problem: problem.to_owned() };
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
#[path = "client_tests.rs"]
mod tests;
