//! A circuit breaker before the servers of one side (the policy's, or the judge's): whose fault a failure is.
//!
//! A fault of the server as a whole must cost no query an attempt, and a query that is at fault itself must not stop the
//! run. One failure says neither, so that it waits for what happens next:
//!
//! | what failed | what decides | then |
//! |---|---|---|
//! | nothing can be reached; 429, 502, 503, 504, 52x | nothing: it is never the query's fault | asked again |
//! | another 5xx, a reset, a time-out, a reply that makes no sense | others are served, or the probe is | it counts |
//! | | the probe fails too, or [`FAILURES_IN_A_ROW`] queries fail in a row though the probe is answered | asked again |
//! | refused (400, 403, 404, 422, a redirect, ...) | others are served | it counts |
//! | | [`REFUSALS_ALIKE`] queries in a row are refused alike before anybody was served, or all there are; [`OWN_REFUSALS_ALIKE`] after that | the run stops with the server's words |
//! | key, money, quota (401, 402) | nothing | the run stops |
//!
//! A query that was refused before others were served, or at an earlier start, is not among those in a row: refused queries
//! come again, and in the end nothing else is left.
//!
//! [`FAILURES_IN_A_ROW`] failures in a row, one connection that cannot be made, or a failure beside which nothing else is
//! under way **open** the breaker: requests wait, and one of them sends a probe, a chat of our own of one token, after
//! [`PROBE_FIRST`], doubling up to [`PROBE_MAX`] or as long as the server asked for. Where there is no probe (a scripted
//! server) a waiting request is the probe. If the probe fails as well, that is an **outage**: it is told, and
//! every query that was under way is noted. After `patience` without any success the run stops, resumably; at once if the
//! server asks for a longer wait.
//!
//! A query that was under way at [`OUTAGES_TO_SUSPECT`] outages in which the server may have fallen over a request (a reset,
//! a 5xx; not a 429, nor a connection that could not be made) is a **suspect**: it is set aside, and asked alone when
//! nothing else is left. If the server falls again and comes back, the query is given up by name, unless nobody was ever
//! served, or [`FELLED_IN_A_ROW`] suspects in a row fell it: then it is the server's fault after all.

mod blame;
mod probing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::CallFailure;
use super::retry::Class;

/// Failures in a row, with no success between them, that open the breaker.
pub const FAILURES_IN_A_ROW: u32 = 5;
/// Queries in a row that are refused alike, with no success before or between them, that stop the run.
pub const REFUSALS_ALIKE: usize = 5;
/// The same, where the server has served somebody, or its words are about the request itself (too long, moderated).
pub const OWN_REFUSALS_ALIKE: usize = 25;
/// Outages that a query was under way at before it is suspected.
pub const OUTAGES_TO_SUSPECT: u32 = 3;
/// Suspects in a row after which the server is at fault, not they.
pub const FELLED_IN_A_ROW: u32 = 3;
/// The wait before the second probe of an outage; the first is sent at once.
pub const PROBE_FIRST: Duration = Duration::from_secs(1);
/// The longest wait between two probes, unless the server asks for a longer one.
pub const PROBE_MAX: Duration = Duration::from_secs(30);
/// How long a failure beside which nothing else is under way waits for others to come.
const LONE_WAIT: Duration = Duration::from_secs(2);
/// How long nothing but 429s may come before requests are held back like in an outage.
const LIMITED_MAX: Duration = Duration::from_secs(30);

/// Sends one small request of our own to the server.
pub type Probe = Arc<dyn Fn() -> BoxFuture<'static, Result<(), CallFailure>> + Send + Sync>;

/// What a [`Breaker`] is built from.
pub struct BreakerOptions {
    /// What messages call the other side: `policy` or `judge`.
    pub side: &'static str,
    /// How long the side may bring nothing; `None`: for ever.
    pub patience: Option<Duration>,
    /// How the server is probed, if it can be.
    pub probe: Option<Probe>,
    /// Whether earlier starts were served.
    pub was_served: bool,
    /// How many servers the side has. While one asks to wait for long, another may serve.
    pub servers: usize,
    /// Milliseconds since 1970, for what people are told.
    pub clock: fn() -> i64,
}

/// Whether requests may be sent.
pub struct Breaker {
    options: BreakerOptions,
    state: Mutex<State>,
    /// Told of every change that someone may wait for.
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
    /// Requests that were sent and have not ended, by query.
    active: BTreeMap<String, usize>,
    /// Requests sent, ever.
    sent: u64,
    /// Requests served, ever.
    served: u64,
    /// The latest request that was served, by its number among those sent.
    served_latest: u64,
    /// Probes that were answered, ever.
    answered: u64,
    /// Outages, ever.
    outages: u64,
    /// Since the last success.
    failing: Option<Failing>,
    /// How many outages queries were under way at.
    present: BTreeMap<String, u32>,
    alone: Option<Alone>,
    felled_in_a_row: u32,
    /// Queries that were refused before the last success, or at an earlier start.
    refused_before: BTreeSet<String>,
    /// Whether a probe is under way although the breaker is closed.
    is_asked: bool,
    /// Why the run has to stop, once it has.
    over: Option<Denied>,
}

/// What a probe is sent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probed {
    /// An open breaker.
    Open,
    /// One failure, while others go on.
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

/// What has happened since the last success.
#[derive(Debug)]
struct Failing {
    since: Instant,
    since_unix_ms: i64,
    words: String,
    /// Whether it is the server that fails, as far as can be told: from then on patience counts.
    is_server: bool,
    /// Failures that are no 429.
    failures: u32,
    /// Queries with a failure of which it was not clear whose it is.
    unclear: BTreeSet<String>,
    /// Whether the probe is answered although nothing else is: requests are the probe then.
    is_probe_useless: bool,
    /// Whether a probe failed: this is an outage.
    is_outage: bool,
    /// Whether a request may have felled the server: one failed that had reached it, and was not merely one too many.
    may_be_felled: bool,
    delay: Duration,
    /// When the server wants to be asked again, at the latest.
    wish: Option<Instant>,
    /// Requests sent before it began, or before it became an outage.
    sent_before: u64,
    /// Queries that had a request under way meanwhile.
    present: BTreeSet<String>,
    /// Queries that were refused, by what the server said, without its digits.
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
    /// Whether it was given up.
    is_felling: bool,
}

/// Why a request may not be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// The side brought nothing for longer than the run's patience: the run stops, resumably.
    Outage {
        /// `policy` or `judge`.
        side: &'static str,
        /// What it said last, for how long it has failed, and when it wants to be asked again.
        message: String,
    },
    /// The server refuses everybody alike: the run stops.
    Refused {
        /// The HTTP status, where one came.
        status: Option<u16>,
        /// The server's words.
        message: String,
        /// What a person can do.
        hint: String,
    },
    /// This query is suspected to fell the server: it is to be asked alone, last.
    Suspect,
    /// This query fells the server: it is given up. What the server did is said.
    Fells(String),
}

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The request's, as far as can be told: the attempt counts.
    Request,
    /// Not the request's: it is to be asked again, and no attempt counts.
    Server,
}

/// What a failure may be a sign of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// Nothing was sent, or a gate before the server closed.
    Down,
    /// Too many requests.
    Limited,
    /// The server or the request.
    Unclear,
    /// The server wants this request, or all of them, not.
    Refusal,
    /// Nobody will be served.
    Stop,
}

impl Sign {
    fn of(failure: &CallFailure) -> Self {
        match (failure.class, failure.status) {
            // A key of the body that has to stay in it.
            (Class::FatalRun, _) if failure.refused.is_some() => Self::Stop,
            (Class::Unreachable, _) => Self::Down,
            (Class::FatalRun, Some(300..=399 | 400 | 403..=405 | 422)) => Self::Refusal,
            (Class::FatalRun, _) => Self::Stop,
            // Whatever the server says of asking again.
            (_, Some(429)) => Self::Limited,
            (_, Some(502..=504 | 520..=529)) => Self::Down,
            (Class::FatalRequest, _) => Self::Refusal,
            (Class::Transient | Class::Length, _) => Self::Unclear,
        }
    }
}

/// What a request that is to be sent does next.
enum Entry {
    Go { number: u64, is_probe: bool },
    Probe,
    Wait(Option<Instant>),
    Denied(Denied),
}

/// Leave to send one request of a query. Dropped without a word, its end is not known.
#[must_use = "its end is to be told"]
pub struct Leave<'a> {
    breaker: &'a Breaker,
    query: String,
    /// Its number among those sent.
    number: u64,
    /// Whether the server is probed by it.
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

/// The time in which a query is asked alone.
#[must_use = "it lasts until dropped"]
pub struct AskedAlone(Arc<Breaker>);

impl Drop for AskedAlone {
    fn drop(&mut self) {
        self.0.state().alone = None;
    }
}

impl Breaker {
    /// Builds a closed breaker.
    #[must_use]
    pub fn new(options: BreakerOptions) -> Self {
        Self { options, state: Mutex::default(), changed: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock leaves it valid.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a request of a query may be sent. Cancel-safe.
    ///
    /// # Errors
    /// [`Denied`].
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
        // Without a probe of our own, whoever passes an open breaker is one.
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

    /// Says why the run has to stop, if it has to.
    fn ended(&self, state: &mut State, now: Instant) -> Option<Denied> {
        state.over.clone().or_else(|| self.out_of_patience(state, now))
    }

    /// Whether the side has served anybody, now or at an earlier start.
    fn has_served(&self, state: &State) -> bool {
        state.served > 0 || self.options.was_served
    }

    /// Says what becomes of a suspect that is asked alone, if it felled the server again.
    fn alone_again(&self, state: &mut State) -> Option<Denied> {
        let has_served = self.has_served(state);
        let alone = state.alone.as_mut().filter(|alone| alone.falls > 0 && has_served)?;
        // Each of its requests hears the same.
        let (words, is_first) = (alone.words.clone(), !std::mem::replace(&mut alone.is_felling, true));
        state.felled_in_a_row += u32::from(is_first);
        if state.felled_in_a_row < FELLED_IN_A_ROW {
            return Some(Denied::Fells(words));
        }
        let message = format!("it fell at {FELLED_IN_A_ROW} queries in a row that were asked alone ({words})");
        let denied = Denied::Outage { side: self.options.side, message };
        state.over = Some(denied.clone());
        Some(denied)
    }

    /// Returns what people are to be told, while there is an outage: since when, and what the server says.
    #[must_use]
    pub fn notice(&self) -> Option<String> {
        let state = self.state();
        let failing = state.failing.as_ref()?;
        let is_long = failing.is_outage || Instant::now() - failing.since > LIMITED_MAX;
        let since = clock_text(failing.since_unix_ms);
        is_long.then(|| format!("{} silent since {since} UTC: {}", self.options.side, failing.words))
    }

    /// Waits before a request is sent again, unless the run has to stop meanwhile. Cancel-safe.
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

    /// Notes that a query was refused at an earlier start.
    pub fn was_refused(&self, query: &str) {
        self.state().refused_before.insert(query.to_owned());
    }

    /// Forgets at how many outages a query was under way, where it can be neither set aside nor asked alone.
    pub fn acquit(&self, query: &str) {
        self.state().present.remove(query);
    }

    /// Begins the time in which a suspect is asked alone.
    pub fn alone(self: &Arc<Self>, query: &str) -> AskedAlone {
        self.state().alone = Some(Alone { query: query.to_owned(), falls: 0, words: String::new(), is_felling: false });
        AskedAlone(Arc::clone(self))
    }
}

async fn wait(changed: impl Future<Output = ()>, until: Option<Instant>) {
    match until {
        None => changed.await,
        Some(until) => {
            tokio::select! {
                biased;
                () = changed => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }
}

/// Writes a length of time for people: `43 s`, `5 min`, `3 h 20 min`.
fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Writes a moment as the time of day in UTC.
fn clock_text(unix_ms: i64) -> String {
    let seconds = unix_ms.div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds % 3600 / 60, seconds % 60)
}

#[cfg(test)]
mod tests;
