//! One OpenAI-compatible endpoint: a connection pool, its key, and its current state.
//!
//! The state is plain data behind a lock that no wait holds: the concurrency limit ([`Aimd`]), the pacing, and whether
//! the endpoint is alive. If there are other endpoints, an endpoint is set aside at once when it cannot be connected
//! to, and after [`FAILURES_MAX`] failures in a row (5xx, resets, timeouts). After [`ASIDE_FIRST`], doubling up to
//! [`ASIDE_MAX`], a single request probes it. Redirects are not followed and reqwest's own retries are off: the caller
//! knows of every attempt. Errors carry no URL with credentials, no header and no request body, and any echo of the key
//! is redacted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use tokio::time::Instant;

use super::aimd::{Aimd, Generation};
use super::carrier::{Carrier, Incoming, Lost, Outgoing, in_time};
use super::headers::RateLimits;
use super::joined::joined_text;
use super::pacing::{Charge, Pacing};
use super::redact::Redactor;
use super::refused_keys::refused_key;
use super::retry::{Class, Evidence, classify, heed_should_retry, hint, is_overload, retry_after};
use super::streamed::{Ended, StreamEnd, StreamFault, Streamed};
use super::transport::{BodyEnd, Chunks, REPLY_BYTES_MAX, read_body, wait_headers};
use super::{CallFailure, DETAIL_CHARS_MAX, RefusedKey, one_line, wire};

/// The maximum number of bytes that are read of the body of an error status.
const ERROR_BYTES_MAX: usize = 64 << 10;
/// How long a 429 that names no wait pauses the endpoint.
const PAUSE_AFTER_429: Duration = Duration::from_millis(500);
/// Failures in a row after which an endpoint is set aside.
const FAILURES_MAX: u32 = 5;
/// How long an endpoint is set aside at first.
const ASIDE_FIRST: Duration = Duration::from_secs(1);
/// How long an endpoint is set aside at most.
const ASIDE_MAX: Duration = Duration::from_secs(30);
/// How long the client waits for the end of a stream after its last event.
const STREAM_END_MAX: Duration = Duration::from_millis(200);
/// How long the client waits for more after a reply's end: the token counts, in the best case.
const AFTER_END_MAX: Duration = Duration::from_secs(10);
/// The keys that replace a body's closing brace to request a stream.
const STREAM_KEYS: &str = r#","stream":true,"stream_options":{"include_usage":true}}"#;

/// How a reply is requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// In one piece.
    Whole,
    /// As server-sent events, which keep a long request alive; joined before the reply is returned.
    Stream,
}

/// One endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    carrier: Arc<dyn Carrier>,
    pub(super) base_url: String,
    url: Url,
    authorization: Option<HeaderValue>,
    redactor: Redactor,
    timeout: Duration,
    /// Whether there are other endpoints.
    has_siblings: bool,
    state: Mutex<State>,
}

/// The parts of a new [`Endpoint`].
pub(super) struct EndpointParts {
    pub(super) carrier: Arc<dyn Carrier>,
    pub(super) base_url: String,
    pub(super) url: Url,
    pub(super) authorization: Option<HeaderValue>,
    pub(super) redactor: Redactor,
    pub(super) timeout: Duration,
    pub(super) has_siblings: bool,
    pub(super) concurrency_max: usize,
    pub(super) pacing: Pacing,
}

#[derive(Debug)]
struct State {
    aimd: Aimd,
    pacing: Pacing,
    in_flight: usize,
    health: Health,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Alive { failures: u32 },
    Aside { probe_at: Instant, delay: Duration, is_probing: bool },
}

/// Why a request cannot be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blocked {
    /// The maximum number of requests is in flight.
    Full,
    /// Pacing or a pause holds requests back until this moment.
    Until(Instant),
    /// The endpoint is set aside until it is probed at this moment.
    Aside(Instant),
}

/// The permission to send one request to an endpoint.
#[derive(Debug)]
pub(super) struct Permit {
    generation: Generation,
    charge: Charge,
    /// Whether the request probes an endpoint that was set aside.
    is_probe: bool,
}

/// What the end of a request reveals about its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Success,
    Overload,
    /// Nothing: the request itself was at fault, or its end is unknown.
    None,
    Failure,
    Unreachable,
}

impl Endpoint {
    pub(super) fn new(parts: EndpointParts) -> Self {
        let EndpointParts {
            carrier,
            base_url,
            url,
            authorization,
            redactor,
            timeout,
            has_siblings,
            concurrency_max,
            pacing,
        } = parts;
        let health = Health::Alive { failures: 0 };
        let state = Mutex::new(State { aimd: Aimd::new(concurrency_max), pacing, in_flight: 0, health });
        Self { carrier, base_url, url, authorization, redactor, timeout, has_siblings, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock leaves plain, valid numbers, even in a poisoned lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the share of the endpoint's concurrency that is in use.
    pub(super) fn load(&self) -> f64 {
        let state = self.state();
        // Counts are far below 2^52.
        state.in_flight as f64 / state.aimd.limit() as f64
    }

    /// Returns whether the endpoint receives requests as usual.
    pub(super) fn is_alive(&self) -> bool {
        matches!(self.state().health, Health::Alive { .. })
    }

    /// Takes the permission to send a request of about `tokens` tokens now.
    pub(super) fn try_permit(&self, now: Instant, tokens: u32) -> Result<Permit, Blocked> {
        let state = &mut *self.state();
        if let Health::Aside { probe_at, delay, is_probing } = state.health {
            if is_probing || probe_at > now {
                // The waiting requests are notified of the probe's end.
                return Err(Blocked::Aside(if is_probing { now + ASIDE_FIRST } else { probe_at }));
            }
            state.health = Health::Aside { probe_at, delay, is_probing: true };
            return Ok(Permit { is_probe: true, ..state.permit(Charge::default()) });
        }
        if state.in_flight >= state.aimd.limit() {
            return Err(Blocked::Full);
        }
        let charge = state.pacing.take(now, tokens, state.aimd.limit()).map_err(Blocked::Until)?;
        Ok(state.permit(charge))
    }

    /// Takes the permission to probe an endpoint before its time, because no other endpoint is alive; `None` while the
    /// maximum number of requests is in flight.
    pub(super) fn early_permit(&self) -> Option<Permit> {
        let mut state = self.state();
        (state.in_flight < state.aimd.limit()).then(|| state.permit(Charge::default()))
    }

    /// Takes the permission to probe an endpoint, whatever the number of requests in flight.
    pub(super) fn force_permit(&self) -> Permit {
        self.state().permit(Charge::default())
    }

    /// Releases a permit's slot. A probe whose end is unknown ends, too.
    pub(super) fn give_back(&self, permit: &Permit) {
        let mut state = self.state();
        state.in_flight = state.in_flight.saturating_sub(1);
        if let Health::Aside { is_probing, .. } = &mut state.health
            && permit.is_probe
        {
            *is_probing = false;
        }
    }

    /// Records what a request's end reveals about the endpoint; the permit keeps its slot until it is released.
    fn note(&self, permit: &Permit, sign: Sign, used: Option<u64>) {
        let state = &mut *self.state();
        let in_flight = state.in_flight;
        match sign {
            Sign::Success => state.aimd.succeeded(in_flight),
            Sign::Overload => state.aimd.overloaded(permit.generation, in_flight),
            Sign::None | Sign::Failure | Sign::Unreachable => {}
        }
        if let Some(used) = used {
            state.pacing.settle(permit.charge, used);
        }
        let now = Instant::now();
        state.health = match (state.health, sign) {
            (health @ Health::Alive { .. }, Sign::Failure) if !self.has_siblings => health,
            (Health::Alive { failures }, Sign::Failure) if failures + 1 < FAILURES_MAX => {
                Health::Alive { failures: failures + 1 }
            }
            (Health::Alive { .. }, Sign::Failure | Sign::Unreachable) => {
                state.aimd.restart();
                if self.has_siblings {
                    tracing::warn!("{} is set aside: it cannot be reached, or fails repeatedly", self.base_url);
                }
                Health::Aside { probe_at: now + ASIDE_FIRST, delay: ASIDE_FIRST, is_probing: false }
            }
            // The other requests were in flight when the endpoint was set aside, and reveal nothing new.
            (health @ Health::Aside { is_probing: false, .. }, Sign::Failure | Sign::Unreachable) => health,
            (Health::Aside { delay, .. }, Sign::Failure | Sign::Unreachable) => {
                let delay = (delay * 2).min(ASIDE_MAX);
                Health::Aside { probe_at: now + delay, delay, is_probing: false }
            }
            (Health::Aside { .. }, Sign::Success | Sign::Overload) => {
                if self.has_siblings {
                    tracing::info!("{} replies again", self.base_url);
                }
                Health::Alive { failures: 0 }
            }
            (health @ Health::Aside { .. }, Sign::None) => health,
            (Health::Alive { .. }, _) => Health::Alive { failures: 0 },
        };
    }

    pub(super) fn pause(&self, wait: Duration) {
        self.state().pacing.pause(Instant::now(), wait);
    }

    /// Sends one chat body and returns the reply's body of any 2xx status, unparsed (lossy UTF-8).
    ///
    /// Not cancel-safe: a dropped request may already have been charged.
    ///
    /// # Errors
    /// [`CallFailure`] for every other end. A 429, and any failure that names a wait, also pauses the endpoint.
    pub(super) async fn post(&self, body: &Bytes, delivery: Delivery, permit: &Permit) -> Result<String, CallFailure> {
        let body_sent = match delivery {
            Delivery::Whole => body.clone(),
            Delivery::Stream => streamed(body),
        };
        let authorization = self.authorization.clone();
        let sent = self.carrier.send(Outgoing { url: self.url.clone(), authorization, body: body_sent });
        let deadline = Instant::now().checked_add(self.timeout);
        let response = match in_time(deadline, sent).await {
            Ok(response) => Incoming { deadline, ..response },
            Err(lost) => return Err(self.transport_failure(lost, permit)),
        };
        self.heed_limits(&response.headers, permit);
        if !response.status.is_success() {
            return Err(self.status_failure(response, permit, &keys_of(body, delivery)).await);
        }
        let status = response.status.as_u16();
        let reply = if is_event_stream(&response.headers) {
            self.read_stream(response).await
        } else {
            self.read_whole(response).await
        };
        match reply {
            Ok(reply) => {
                let is_error = self.note_body(&reply, permit);
                let refused = is_error.then(|| refused_key(200, &reply, &keys_of(body, delivery))).flatten();
                let Some(key) = refused else { return Ok(reply) };
                let detail = format!("the reply is an error: {reply}");
                let mut failure = self.failure(Class::FatalRequest, Some(status), detail);
                failure.refused = Some(Box::new(RefusedKey { key, hint: String::new() }));
                Err(failure)
            }
            Err(failure) => {
                self.note(permit, Sign::Failure, None);
                Err(failure)
            }
        }
    }

    /// Records the information in a complete body: returns true if it is an error object, and settles the charge if it
    /// reports the used tokens.
    fn note_body(&self, body: &str, permit: &Permit) -> bool {
        let error = body.trim_start().starts_with("{\"error\"").then(|| wire::parse_error(body)).flatten();
        let counts_tokens = self.state().pacing.counts_tokens();
        let used = counts_tokens.then(|| wire::tokens_used(body)).flatten();
        let is_error = error.is_some();
        let sign = match error {
            None => Sign::Success,
            Some(error) if is_overload(Evidence::ErrorObject { code: error.code.as_deref() }) => Sign::Overload,
            Some(_) => Sign::None,
        };
        self.note(permit, sign, used);
        is_error
    }

    async fn read_whole(&self, response: Incoming) -> Result<String, CallFailure> {
        match read_body(response, REPLY_BYTES_MAX).await {
            (bytes, BodyEnd::Complete) => Ok(self.redactor.body(whole_text(&bytes))),
            (_, BodyEnd::TooLarge) => Err(self.too_large()),
            (_, BodyEnd::Broken(error)) => Err(self.broken(error)),
        }
    }

    /// Reads a stream to the reply's end. A later fault of the stream is ignored; at an earlier fault, the failure
    /// keeps the received part.
    async fn read_stream(&self, mut response: Incoming) -> Result<String, CallFailure> {
        let mut streamed = Streamed::default();
        let mut broken = None;
        let mut whole_until = None;
        let mut text_len = 0;
        while !streamed.is_over() && broken.is_none() {
            if streamed.text_len() > text_len || !streamed.is_whole() {
                (text_len, whole_until) = (streamed.text_len(), None);
            }
            let next = if streamed.is_whole() {
                // The wait is bounded: a server may keep a stream open for ever after its reply.
                let wait = if streamed.is_complete() { STREAM_END_MAX } else { AFTER_END_MAX };
                let until = *whole_until.get_or_insert_with(|| Instant::now() + wait);
                match tokio::time::timeout_at(until, response.chunk()).await {
                    Ok(next) => next,
                    Err(_) => break,
                }
            } else {
                response.chunk().await
            };
            match next {
                Ok(Some(bytes)) => streamed.push(&bytes),
                Ok(None) => break,
                Err(error) => broken = Some(self.broken(error)),
            }
        }
        if streamed.is_over() && streamed.is_whole() {
            // The stream's own end follows directly; a connection that was read to its end can be reused.
            let _ = tokio::time::timeout(STREAM_END_MAX, response.chunk()).await;
        }
        match streamed.end(if broken.is_some() { StreamEnd::Broken } else { StreamEnd::Closed }) {
            Ended::Whole(body) => Ok(self.redactor.body(body)),
            Ended::Plain(bytes) => Ok(self.redactor.body(whole_text(&bytes))),
            Ended::Cut { fragment, fault } => {
                let failure = match (broken, fault) {
                    (Some(broken), _) => broken,
                    (None, Some(fault)) => {
                        let is_junk = matches!(fault, StreamFault::NoChunk(_));
                        let evidence = if is_junk { Evidence::NotJson } else { Evidence::Interrupted };
                        self.failure(classify(evidence), None, fault.to_string())
                    }
                    (None, None) => {
                        let text = "the stream ended before the reply did".to_owned();
                        self.failure(classify(Evidence::Interrupted), None, text)
                    }
                };
                Err(CallFailure { body: fragment.map(|body| self.redactor.body(body)), ..failure })
            }
        }
    }

    /// Pauses the endpoint until the exhausted allowance is restored.
    fn heed_limits(&self, headers: &HeaderMap, permit: &Permit) {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if text("x-ratelimit-remaining-requests").is_none() && text("x-ratelimit-remaining-tokens").is_none() {
            return;
        }
        let limits = RateLimits::read(text);
        let tokens = limits.tokens.wait_for(permit.charge.tokens().max(1));
        if let Some(wait) = limits.requests.wait_for(1).max(tokens) {
            self.pause(wait.min(super::retry::RETRY_AFTER_MAX));
        }
    }

    async fn status_failure(&self, response: Incoming, permit: &Permit, sent: &[String]) -> CallFailure {
        let status = response.status.as_u16();
        let wait = retry_after(wait_headers(&response.headers));
        let should_retry = response.headers.get("x-should-retry").and_then(|value| value.to_str().ok());
        let should_retry = should_retry.map(str::to_owned);
        // The part that was read before an error is more informative than an empty body.
        let (bytes, end) = read_body(response, ERROR_BYTES_MAX).await;
        let body = self.redactor.error_body(&bytes, &end);
        let error = wire::parse_error(&body);
        let code = error.as_ref().and_then(|error| error.code.as_deref());
        let message = error.as_ref().map_or(body.as_str(), |error| error.message.as_str());
        let evidence = Evidence::Status { status, code, message };
        let class = heed_should_retry(classify(evidence), should_retry.as_deref());
        let detail = match (status, code) {
            (404 | 405, _) => format!("HTTP {status}, {}: {message}", hint(Some(status))),
            (_, Some(code)) => format!("HTTP {status} ({code}): {message}"),
            (_, None) => format!("HTTP {status}: {message}"),
        };
        let mut failure = self.failure(class, Some(status), detail);
        // A failure of the account or model concerns every request, so it is not a refused key.
        let refused = (class != Class::FatalRun).then(|| refused_key(status, &body, sent)).flatten();
        failure.refused = refused.map(|key| Box::new(RefusedKey { key, hint: String::new() }));
        let sign = match class {
            Class::Transient if is_overload(evidence) => Sign::Overload,
            Class::Transient => Sign::Failure,
            _ => Sign::None,
        };
        // A refused request used no tokens.
        self.note(permit, sign, (sign != Sign::Failure).then_some(0));
        if class == Class::Transient {
            failure.retry_after = wait;
            match wait {
                Some(wait) => self.pause(wait.min(super::retry::RETRY_AFTER_MAX)),
                None if status == 429 => self.pause(PAUSE_AFTER_429),
                None => {}
            }
        }
        failure
    }

    fn transport_failure(&self, lost: Lost, permit: &Permit) -> CallFailure {
        let class = classify(lost.evidence);
        if class == Class::Unreachable {
            self.note(permit, Sign::Unreachable, Some(0));
        } else {
            self.note(permit, Sign::Failure, None);
        }
        self.broken(lost)
    }

    fn broken(&self, lost: Lost) -> CallFailure {
        self.failure(classify(lost.evidence), None, lost.detail)
    }

    fn too_large(&self) -> CallFailure {
        let detail = format!("the reply is larger than {REPLY_BYTES_MAX} bytes");
        self.failure(classify(Evidence::Interrupted), None, detail)
    }

    fn failure(&self, class: Class, status: Option<u16>, detail: String) -> CallFailure {
        let detail = one_line(&self.redactor.text(&detail), DETAIL_CHARS_MAX);
        CallFailure { class, status, retry_after: None, detail, refused: None, body: None }
    }
}

impl State {
    fn permit(&mut self, charge: Charge) -> Permit {
        self.in_flight += 1;
        Permit { generation: self.aimd.generation(), charge, is_probe: false }
    }
}

/// Returns a chat body that requests a stream.
fn streamed(body: &Bytes) -> Bytes {
    let open = body.strip_suffix(b"}").unwrap_or(body);
    [open, STREAM_KEYS.as_bytes()].concat().into()
}

/// Returns the keys of a chat body as it is sent.
fn keys_of(body: &Bytes, delivery: Delivery) -> Vec<String> {
    let members: std::collections::BTreeMap<String, serde::de::IgnoredAny> =
        serde_json::from_slice(body).unwrap_or_default();
    let streaming: &[&str] = if delivery == Delivery::Stream { &["stream", "stream_options"] } else { &[] };
    members.into_keys().chain(streaming.iter().map(|&key| key.to_owned())).collect()
}

/// Returns a body as text; joins a stream with another content type.
fn whole_text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    // Only a text that is not an object can be a stream.
    let is_object = serde_json::from_str::<serde::de::IgnoredAny>(text.trim()).is_ok();
    let joined = if is_object { None } else { joined_text(&text) };
    joined.unwrap_or_else(|| text.into_owned())
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream"))
}
