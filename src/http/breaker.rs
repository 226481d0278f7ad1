//! A circuit breaker before the servers of one side (the policy's or the judge's), which decides whether a failure is
//! the fault of the server or of the request.
//!
//! A fault of the whole server must cost no query an attempt, and a query that is itself at fault must not stop the
//! run. A single failure does not show which case it is, so the breaker waits for further events:
//!
//! | failure | decided by | result |
//! |---|---|---|
//! | no connection; 429, 502, 503, 504, 52x | nothing: the query is never at fault | the request is sent again |
//! | another 5xx, a reset, a time-out, an unparsable reply | other requests or the probe succeed | the attempt counts |
//! | | the probe fails too, or [`FAILURES_IN_A_ROW`] queries fail in a row while the probe succeeds | sent again |
//! | refused (400, 403, 404, 422, a redirect, ...) | other requests succeed | the attempt counts |
//! | | no success yet, and [`REFUSALS_ALIKE`] queries in a row, or all queries, are refused alike | the run stops |
//! | | a success came before, and [`OWN_REFUSALS_ALIKE`] queries in a row are refused alike | the run stops |
//! | key, money, quota (401, 402) | nothing | the run stops |
//!
//! A query that was refused before another request succeeded, or in an earlier start, does not count in this row:
//! refused queries are retried, and at the end of a run only they remain.
//!
//! The breaker **opens** after [`FAILURES_IN_A_ROW`] failures in a row, after one failed connection, or after a failure
//! while no other request is in flight. Requests then wait, and one of them sends a probe, a chat of one token, at once; the
//! next probe follows after [`PROBE_FIRST`], doubling up to [`PROBE_MAX`], or as late as the server requested. Without
//! a probe (a scripted server), a waiting request is the probe. If the probe fails too, the breaker logs an **outage**,
//! and notes every query in flight. After `patience` without any success the run stops, resumably; it stops at once if
//! the server requests a longer wait.
//!
//! A query that was in flight at [`OUTAGES_TO_SUSPECT`] outages that a request may have caused (a reset, a 5xx; neither
//! a 429 nor a failed connection) is a **suspect**: it is set aside, and sent alone after all other queries. If the
//! server fails again and recovers, the query is excluded with that reason, unless the server has never served any
//! query, or [`FELLED_IN_A_ROW`] suspects in a row make the server fail: then the server is at fault.

mod blame;
mod probing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::retry::Class;
use super::{CallFailure, wait};

/// Failures in a row, without a success between them, that open the breaker.
pub const FAILURES_IN_A_ROW: u32 = 5;
/// Queries in a row that are refused alike, without an earlier success, that stop the run.
pub const REFUSALS_ALIKE: usize = 5;
/// The same number after the server has served a query, or if its error text is about the request itself (too long,
/// moderated).
pub const OWN_REFUSALS_ALIKE: usize = 25;
/// The number of outages with a query in flight that make the query a suspect.
pub const OUTAGES_TO_SUSPECT: u32 = 3;
/// The number of suspects in a row after which the server is at fault instead of the queries.
pub const FELLED_IN_A_ROW: u32 = 3;
/// The wait before the second probe of an outage; the first probe is sent at once.
pub const PROBE_FIRST: Duration = Duration::from_secs(1);
/// The maximum wait between two probes, unless the server requests a longer one.
pub const PROBE_MAX: Duration = Duration::from_secs(30);
/// How long a failure without other requests in flight waits for other requests.
const LONE_WAIT: Duration = Duration::from_secs(2);
/// After this time with only 429s, requests are held back as in an outage.
const LIMITED_MAX: Duration = Duration::from_secs(30);

/// Sends one small request to the server.
pub type Probe = Arc<dyn Fn() -> BoxFuture<'static, Result<(), CallFailure>> + Send + Sync>;

/// The settings of a [`Breaker`].
pub struct BreakerOptions {
    /// The name of the side in messages: `policy` or `judge`.
    pub side: &'static str,
    /// How long the side may return no reply; `None`: without limit.
    pub patience: Option<Duration>,
    /// How the server is probed; `None` if it cannot be probed.
    pub probe: Option<Probe>,
    /// Whether a request succeeded in an earlier start.
    pub was_served: bool,
    /// The number of servers of the side. While one server requests a long wait, another may serve.
    pub servers: usize,
    /// Milliseconds since 1970, for times in messages.
    pub clock: fn() -> i64,
}

/// Decides whether requests may be sent.
pub struct Breaker {
    options: BreakerOptions,
    state: Mutex<State>,
    /// Notified of every change that a task may wait for.
    changed: Notify,
}

impl std::fmt::Debug for Breaker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Breaker").field("side", &self.options.side).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    /// Requests in flight, by query.
    active: BTreeMap<String, usize>,
    /// The number of requests sent, since the start of the process.
    sent: u64,
    /// The number of requests served, since the start of the process.
    served: u64,
    /// The latest served request, by its number in the order of sending.
    served_latest: u64,
    /// The number of successful probes, since the start of the process.
    answered: u64,
    /// The number of outages, since the start of the process.
    outages: u64,
    /// The failures since the last success.
    failing: Option<Failing>,
    /// For each query, the number of outages at which it was in flight.
    present: BTreeMap<String, u32>,
    alone: Option<Alone>,
    felled_in_a_row: u32,
    /// Queries that were refused before the last success, or in an earlier start.
    refused_before: BTreeSet<String>,
    /// Whether a probe is in flight although the breaker is closed.
    is_asked: bool,
    /// Why the run has to stop; `None` while it goes on.
    over: Option<Denied>,
}

/// The reason for a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probed {
    /// The breaker is open.
    Open,
    /// One request failed while others are in flight.
    Closed,
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Closed,
    Open {
        probe_at: Instant,
        delay: Duration,
        is_probing: bool,
    },
}

/// The events since the last success.
#[derive(Debug)]
struct Failing {
    since: Instant,
    since_unix_ms: i64,
    words: String,
    /// Whether the server is at fault, as far as known: from then on the patience counts.
    is_server: bool,
    /// Failures other than 429.
    failures: u32,
    /// Queries with a failure whose cause was unclear.
    unclear: BTreeSet<String>,
    /// Whether the probe succeeds although all requests fail: then requests are the probe.
    is_probe_useless: bool,
    /// Whether a probe failed: this is an outage.
    is_outage: bool,
    /// Whether a request may have made the server fail: a request failed after it reached the server, and not because
    /// of a rate limit.
    may_be_felled: bool,
    delay: Duration,
    /// The latest time at which the server requested a retry.
    wish: Option<Instant>,
    /// The number of requests sent before the failure period began, or before it became an outage.
    sent_before: u64,
    /// Queries with a request in flight during the failure period.
    present: BTreeSet<String>,
    /// Refused queries, by the server's error text without its digits.
    refused: BTreeMap<String, BTreeSet<String>>,
}

impl Failing {
    fn new(clock: fn() -> i64, sent_before: u64, present: BTreeSet<String>) -> Self {
        Self {
            sent_before,
            since: Instant::now(),
            since_unix_ms: clock(),
            words: String::new(),
            is_server: false,
            failures: 0,
            unclear: BTreeSet::new(),
            is_probe_useless: false,
            is_outage: false,
            may_be_felled: false,
            delay: PROBE_FIRST,
            wish: None,
            present,
            refused: BTreeMap::new(),
        }
    }
}

#[derive(Debug)]
struct Alone {
    query: String,
    falls: u32,
    words: String,
    /// Whether the query is given up.
    is_felling: bool,
}

/// Why a request may not be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// The side returned no reply for longer than the run's patience: the run stops, resumably.
    Outage {
        /// `policy` or `judge`.
        side: &'static str,
        /// The last error text, how long the side has failed, and when the server requested a retry.
        message: String,
    },
    /// The server refuses every query alike: the run stops.
    Refused {
        /// The HTTP status, if there was one.
        status: Option<u16>,
        /// The server's error text.
        message: String,
        /// Advice to the user.
        hint: String,
    },
    /// This query is suspected to make the server fail: it is sent alone, after all others.
    Suspect,
    /// This query makes the server fail: it is given up. The text describes the failure.
    Fells(String),
}

/// Which side is at fault for a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The request, as far as known: the attempt counts.
    Request,
    /// Not the request: it is sent again, and no attempt counts.
    Server,
}

/// The possible meaning of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// Nothing was sent, or a gateway before the server refused.
    Down,
    /// Too many requests.
    Limited,
    /// Either the server or the request is at fault.
    Unclear,
    /// The server refuses this request, or all requests.
    Refusal,
    /// No request will be served.
    Stop,
}

impl Sign {
    fn of(failure: &CallFailure) -> Self {
        match (failure.class, failure.status) {
            // A required key of the body was refused.
            (Class::FatalRun, _) if failure.refused.is_some() => Self::Stop,
            (Class::Unreachable, _) => Self::Down,
            (Class::FatalRun, Some(300..=399 | 400 | 403..=405 | 422)) => Self::Refusal,
            (Class::FatalRun, _) => Self::Stop,
            // A 429 is a rate limit, whatever wait the server requests.
            (_, Some(429)) => Self::Limited,
            (_, Some(502..=504 | 520..=529)) => Self::Down,
            (Class::FatalRequest, _) => Self::Refusal,
            (Class::Transient | Class::Length, _) => Self::Unclear,
        }
    }
}

/// The next step of a request that waits to be sent.
enum Entry {
    Go { number: u64, is_probe: bool },
    Probe,
    Wait(Option<Instant>),
    Denied(Denied),
}

/// The permission to send one request of a query. If it is dropped without a report, the request's end is unknown.
#[must_use = "report the request's end to it"]
pub struct Leave<'a> {
    breaker: &'a Breaker,
    query: String,
    /// The request's number in the order of sending.
    number: u64,
    /// Whether the request probes the server.
    is_probe: bool,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let mut state = self.breaker.state();
        if let Some(count) = state.active.get_mut(&self.query) {
            *count -= 1;
            if *count == 0 {
                state.active.remove(&self.query);
            }
        }
        if self.is_probe
            && let Phase::Open { is_probing, .. } = &mut state.phase
        {
            *is_probing = false;
        }
        drop(state);
        self.breaker.changed.notify_waiters();
    }
}

/// The time during which a query is sent alone.
#[must_use = "the query is sent alone until this is dropped"]
pub struct AskedAlone(Arc<Breaker>);

impl Drop for AskedAlone {
    fn drop(&mut self) {
        self.0.state().alone = None;
    }
}

impl Breaker {
    /// Creates a closed breaker.
    #[must_use]
    pub fn new(options: BreakerOptions) -> Self {
        Self { options, state: Mutex::default(), changed: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock leaves the state valid, even in a poisoned lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a request of a query may be sent. Cancel-safe.
    pub async fn leave(&self, query: &str) -> Result<Leave<'_>, Denied> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.enter(query) {
                Entry::Go { number, is_probe } => {
                    return Ok(Leave { breaker: self, query: query.to_owned(), number, is_probe });
                }
                Entry::Denied(denied) => return Err(denied),
                Entry::Probe => self.probe(Probed::Open, |state| matches!(state.phase, Phase::Closed)).await,
                Entry::Wait(until) => wait(changed, until).await,
            }
        }
    }

    fn enter(&self, query: &str) -> Entry {
        let mut state = self.state();
        let now = Instant::now();
        if let Some(denied) = self.ended(&mut state, now) {
            return Entry::Denied(denied);
        }
        if let Some(next) = self.probe_turn(&mut state, now) {
            return next;
        }
        // Without a probe, any request that passes an open breaker is the probe.
        let is_probe = matches!(state.phase, Phase::Open { .. });
        if state.alone.as_ref().is_some_and(|alone| alone.query == query) {
            if let Some(denied) = self.alone_again(&mut state) {
                if let Phase::Open { is_probing, .. } = &mut state.phase {
                    *is_probing = false;
                }
                return Entry::Denied(denied);
            }
        } else if state.present.get(query).is_some_and(|outages| *outages >= OUTAGES_TO_SUSPECT) {
            if let Phase::Open { is_probing, .. } = &mut state.phase {
                *is_probing = false;
            }
            return Entry::Denied(Denied::Suspect);
        }
        *state.active.entry(query.to_owned()).or_default() += 1;
        if let Some(failing) = &mut state.failing {
            failing.present.insert(query.to_owned());
        }
        state.sent += 1;
        Entry::Go { number: state.sent, is_probe }
    }

    /// Returns why the run has to stop, if it has to.
    fn ended(&self, state: &mut State, now: Instant) -> Option<Denied> {
        state.over.clone().or_else(|| self.out_of_patience(state, now))
    }

    /// Returns whether the side has served any query, in this start or an earlier one.
    fn has_served(&self, state: &State) -> bool {
        state.served > 0 || self.options.was_served
    }

    /// Returns the fate of a suspect that was sent alone, if the server failed again.
    fn alone_again(&self, state: &mut State) -> Option<Denied> {
        let has_served = self.has_served(state);
        let alone = state.alone.as_mut().filter(|alone| alone.falls > 0 && has_served)?;
        // All requests of the query receive the same text.
        let (words, is_first) = (alone.words.clone(), !std::mem::replace(&mut alone.is_felling, true));
        state.felled_in_a_row += u32::from(is_first);
        if state.felled_in_a_row < FELLED_IN_A_ROW {
            return Some(Denied::Fells(words));
        }
        let message = format!("the server fell at {FELLED_IN_A_ROW} queries in a row, each sent alone ({words})");
        let denied = Denied::Outage { side: self.options.side, message };
        state.over = Some(denied.clone());
        Some(denied)
    }

    /// Returns a notice for the user during an outage: its begin, and the server's error text.
    #[must_use]
    pub fn notice(&self) -> Option<String> {
        let state = self.state();
        let failing = state.failing.as_ref()?;
        let is_long = failing.is_outage || Instant::now() - failing.since > LIMITED_MAX;
        let since = clock_text(failing.since_unix_ms);
        is_long.then(|| format!("no reply from the {} since {since} UTC: {}", self.options.side, failing.words))
    }

    /// Waits before a request is sent again, unless the run has to stop. Cancel-safe.
    ///
    /// # Errors
    /// [`Denied`] if the run has to stop.
    pub async fn rest(&self, delay: Duration) -> Result<(), Denied> {
        let until = Instant::now() + delay;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let now = Instant::now();
            let patient_until = {
                let mut state = self.state();
                if let Some(denied) = self.ended(&mut state, now) {
                    return Err(denied);
                }
                self.patient_until(&state)
            };
            if now >= until {
                return Ok(());
            }
            wait(changed, Some(patient_until.map_or(until, |end| end.min(until)))).await;
        }
    }

    /// Records that a query was refused in an earlier start.
    pub fn was_refused(&self, query: &str) {
        self.state().refused_before.insert(query.to_owned());
    }

    /// Clears the outage count of a query that can be neither set aside nor sent alone.
    pub fn acquit(&self, query: &str) {
        self.state().present.remove(query);
    }

    /// Begins the time during which a suspect is sent alone.
    pub fn alone(self: &Arc<Self>, query: &str) -> AskedAlone {
        self.state().alone = Some(Alone { query: query.to_owned(), falls: 0, words: String::new(), is_felling: false });
        AskedAlone(Arc::clone(self))
    }
}

/// Formats a duration for people: `43 s`, `5 min`, `3 h 20 min`.
fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Formats a moment as the time of day in UTC.
fn clock_text(unix_ms: i64) -> String {
    let seconds = unix_ms.div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds % 3600 / 60, seconds % 60)
}

#[cfg(test)]
mod tests;
