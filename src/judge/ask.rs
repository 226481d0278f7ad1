//! The attempt loop: history, admission, begin, call, record, decide.
//!
//! Decisions are made by [`settled`] alone, over the stored attempts and the one just recorded, so that a resumed run
//! and an uninterrupted one decide the same. What an attempt counts for:
//!
//! | stored end | counts as |
//! |---|---|
//! | usable reply | the justification |
//! | a second reply that was cut off by its token limit, the first being answered by a larger one | the end of the request |
//! | stopped by a content filter | the end of the request |
//! | unusable reply, transient status, transport error, no end at all (the process died) | one attempt |
//! | rejected (400, 404, ...) | the end of the request |
//! | unreachable; refused (key, balance, quota) | nothing: it cannot have been charged, and the run stops |
//!
//! Bounds: `attempts_max` over all restarts; [`UNREACHABLE_TRIES_MAX`] tries without a connection within one `ask`.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio_util::sync::CancellationToken;

use crate::domain::{AttemptOutcome, QueryId};
use crate::http::retry::{Backoff, Class, hint};
use crate::http::{DETAIL_CHARS_MAX, one_line};

use super::reply::{self, ParsedReply};
use super::{Attempt, AttemptEnd, Cap, Flights, Journal, Judge, JudgeRequest, PastAttempt};

/// How often one `ask` tries to reach a server that cannot be connected to.
pub const UNREACHABLE_TRIES_MAX: u32 = 5;
/// Stands in for the served model where the reply does not name it.
const UNKNOWN_MODEL: &str = "unknown";

/// A usable justification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Justification {
    /// Plain text.
    pub text: String,
    /// The model that the reply says it is from, else `unknown`.
    pub judge_model: String,
}

/// No usable justification came within the attempts allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("get a usable justification in {attempts} attempts, the last one: {detail}")]
pub struct GaveUp {
    /// Attempts that counted.
    pub attempts: u32,
    /// What was wrong with the last of them; a function of the stored facts, so that it is the same on every run.
    pub detail: String,
}

/// Why `ask` brought no justification.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No request of this run can succeed.
    #[error("ask the judge: {message}")]
    FatalRun {
        /// What the server says.
        message: String,
        /// What a person can do.
        hint: String,
    },
    /// The server cannot be connected to; the run can be resumed later.
    #[error("reach the judge at {url}")]
    Unreachable {
        /// The judge's identity.
        url: String,
        /// What a person can do.
        hint: String,
    },
    /// This request is given up; others may succeed.
    #[error("get a usable justification in {attempts} attempts, the last one: {detail}")]
    GaveUp {
        /// Attempts that counted.
        attempts: u32,
        /// What was wrong with the last of them.
        detail: String,
    },
    /// The journal failed.
    #[error("record a judge attempt")]
    Journal(#[source] anyhow::Error),
    /// The caller asked to stop; nothing is in flight.
    #[error("finish asking the judge: stopped")]
    Cancelled,
}

impl From<GaveUp> for AskError {
    fn from(GaveUp { attempts, detail }: GaveUp) -> Self {
        Self::GaveUp { attempts, detail }
    }
}

/// How long and how often to ask.
#[derive(Debug, Clone)]
pub struct AskOptions {
    /// Attempts that count, over all restarts.
    pub attempts_max: u32,
    /// Stops the asking: waits end at once, a request in flight is awaited and recorded.
    pub cancel: CancellationToken,
    /// Delays after transient failures that name no wait of their own.
    pub backoff: Backoff,
    /// First delay after a failed connection; it doubles with each further one.
    pub unreachable_delay: Duration,
    /// The requests of all asks that go on side by side.
    pub flights: Flights,
}

impl AskOptions {
    /// Returns options with the default delays: back-off from 0.5 s to 30 s, and about 10 s in all for connecting.
    #[must_use]
    pub fn new(attempts_max: u32, cancel: CancellationToken) -> Self {
        let (backoff, unreachable_delay) = (Backoff::default(), Duration::from_millis(500));
        Self { attempts_max, cancel, backoff, unreachable_delay, flights: Flights::default() }
    }
}

/// What one stored attempt means for its request.
enum Standing {
    Usable(Justification),
    Counts(String),
    CutOff(String),
    Hopeless(String),
    Free,
}

/// Decides what the stored attempts alone settle: a justification, giving up, or (`None`) another attempt.
#[must_use]
pub fn settled(history: &[PastAttempt], attempts_max: u32) -> Option<Result<Justification, GaveUp>> {
    let mut attempts = 0;
    let mut last = None;
    let mut was_cut = false;
    for past in history {
        match standing(past.end.as_ref()) {
            Standing::Usable(justification) => return Some(Ok(justification)),
            Standing::Hopeless(detail) => return Some(Err(GaveUp { attempts: attempts + 1, detail })),
            Standing::CutOff(detail) if was_cut => {
                let detail = format!("{detail}, and again with a larger one");
                return Some(Err(GaveUp { attempts: attempts + 1, detail }));
            }
            Standing::CutOff(detail) => {
                was_cut = true;
                attempts += 1;
                last = Some(detail);
            }
            Standing::Counts(detail) => {
                attempts += 1;
                last = Some(detail);
            }
            Standing::Free => {}
        }
    }
    (attempts >= attempts_max)
        .then(|| Err(GaveUp { attempts, detail: last.unwrap_or_else(|| "no attempt is allowed".to_owned()) }))
}

fn standing(end: Option<&AttemptEnd>) -> Standing {
    let (outcome, status) = match end {
        None => return Standing::Counts("interrupted while it was in flight".to_owned()),
        Some(AttemptEnd::Reply(body)) => return standing_of_reply(body),
        Some(AttemptEnd::Failed { outcome, status }) => (*outcome, *status),
    };
    let what = match status {
        Some(status) => format!("HTTP {status}"),
        None => "no complete reply came".to_owned(),
    };
    match outcome {
        AttemptOutcome::Unreachable | AttemptOutcome::Refused => Standing::Free,
        AttemptOutcome::Rejected => Standing::Hopeless(match status {
            Some(code) => format!("rejected with {what} ({})", hint(Some(code))),
            None => "the request was rejected".to_owned(),
        }),
        AttemptOutcome::HttpError | AttemptOutcome::TransportError => Standing::Counts(what),
    }
}

fn standing_of_reply(body: &str) -> Standing {
    match reply::parse(body) {
        Ok(ParsedReply { justification, served_model, .. }) => Standing::Usable(Justification {
            text: justification,
            judge_model: served_model.unwrap_or_else(|| UNKNOWN_MODEL.to_owned()),
        }),
        Err(problem) => {
            let detail = one_line(&problem.to_string(), DETAIL_CHARS_MAX);
            match problem.class() {
                Class::FatalRun => Standing::Free,
                Class::FatalRequest => Standing::Hopeless(detail),
                Class::Length => Standing::CutOff(detail),
                Class::Transient | Class::Unreachable => Standing::Counts(detail),
            }
        }
    }
}

/// How an attempt that was just made ended, beyond what is stored of it.
struct Made {
    past: PastAttempt,
    class: Option<Class>,
    status: Option<u16>,
    retry_after: Option<Duration>,
    detail: String,
}

/// Asks until there is a usable justification, or no more asking is allowed or wanted.
///
/// A usable reply in the journal is returned without any call. Dropping the future while a call is in flight loses
/// the reply, and the attempt counts; cancel through the options instead.
///
/// # Errors
/// [`AskError`]; all but `GaveUp` concern the whole run.
pub async fn ask(
    judge: &dyn Judge,
    journal: &dyn Journal,
    query_id: &QueryId,
    request: &JudgeRequest,
    options: &AskOptions,
) -> Result<Justification, AskError> {
    let _flight = options.flights.begin(&request.key).await;
    let mut history = journal.history(&request.key).await.map_err(AskError::Journal)?;
    history.sort_by_key(|past| past.attempt);
    let mut connect_delays = connect_delays(options.unreachable_delay, &request.key);
    let mut failures = 0;
    loop {
        if let Some(result) = settled(&history, options.attempts_max) {
            return result.map_err(AskError::from);
        }
        let attempt = next_attempt(&history);
        let made = attempt_once(judge, journal, query_id, request, attempt, &options.cancel).await?;
        history.push(made.past);
        let delay = match made.class {
            None | Some(Class::Length) => continue,
            Some(Class::FatalRequest) => {
                tracing::warn!(query = %query_id, attempt = attempt.number, detail = %made.detail, "the judge rejects the request");
                continue;
            }
            Some(Class::FatalRun) => {
                return Err(AskError::FatalRun {
                    message: made.detail,
                    hint: hint(made.status.or(Some(200))).to_owned(),
                });
            }
            Some(Class::Unreachable) => match connect_delays.next() {
                Some(delay) => delay,
                None => {
                    let hint = format!("{} ({})", hint(None), made.detail);
                    return Err(AskError::Unreachable { url: judge.identity().to_owned(), hint });
                }
            },
            Some(Class::Transient) => {
                failures += 1;
                made.retry_after.unwrap_or_else(|| options.backoff.delay(failures, &request.key))
            }
        };
        tracing::debug!(query = %query_id, attempt = attempt.number, detail = %made.detail, ?delay, "a judge attempt failed");
        // Asked before the wait, for a request that is settled needs none.
        if settled(&history, options.attempts_max).is_none() {
            wait(delay, &options.cancel).await?;
        }
    }
}

/// Decides how the next attempt is made: under its own number, and with more room if a reply was cut off.
fn next_attempt(history: &[PastAttempt]) -> Attempt {
    let number = history.last().map_or(0, |past| past.attempt).saturating_add(1);
    let was_cut = history.iter().any(|past| matches!(standing(past.end.as_ref()), Standing::CutOff(_)));
    Attempt { number, cap: if was_cut { Cap::Raised } else { Cap::AsAsked } }
}

/// Makes and records one attempt.
async fn attempt_once(
    judge: &dyn Judge,
    journal: &dyn Journal,
    query_id: &QueryId,
    request: &JudgeRequest,
    how: Attempt,
    cancel: &CancellationToken,
) -> Result<Made, AskError> {
    let admission = tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(AskError::Cancelled),
        admission = judge.admit(request) => admission,
    };
    let attempt = how.number;
    journal.begin(&request.key, query_id, attempt).await.map_err(AskError::Journal)?;
    // Not selected against the cancellation: what is in flight is paid for, so its reply is worth waiting for.
    let result = judge.call(request, how, admission).await;
    match result {
        Ok(raw) => {
            journal.reply(&request.key, attempt, &raw.body).await.map_err(AskError::Journal)?;
            let problem = reply::parse(&raw.body).err();
            Ok(Made {
                past: PastAttempt { attempt, end: Some(AttemptEnd::Reply(raw.body)) },
                class: problem.as_ref().map(reply::ReplyProblem::class),
                status: None,
                retry_after: None,
                detail: problem.map(|problem| one_line(&problem.to_string(), DETAIL_CHARS_MAX)).unwrap_or_default(),
            })
        }
        Err(failure) => {
            let outcome = match (failure.class, failure.status) {
                (Class::Unreachable, _) => AttemptOutcome::Unreachable,
                (Class::FatalRun, _) => AttemptOutcome::Refused,
                (Class::FatalRequest, _) => AttemptOutcome::Rejected,
                (_, Some(_)) => AttemptOutcome::HttpError,
                (_, None) => AttemptOutcome::TransportError,
            };
            journal
                .failed(&request.key, attempt, outcome, failure.status, &failure.detail)
                .await
                .map_err(AskError::Journal)?;
            Ok(Made {
                past: PastAttempt { attempt, end: Some(AttemptEnd::Failed { outcome, status: failure.status }) },
                class: Some(failure.class),
                status: failure.status,
                retry_after: failure.retry_after,
                detail: failure.detail,
            })
        }
    }
}

/// Returns the delays between tries to connect: doubling, with up to as much again as jitter.
fn connect_delays(first: Duration, key: &str) -> impl Iterator<Item = Duration> + use<> {
    // The key's first digits spread requests out, and keep each one's delays the same on every run.
    let seed = key.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0);
    ExponentialBuilder::new()
        .with_min_delay(first)
        .with_factor(2.0)
        .with_max_times(UNREACHABLE_TRIES_MAX as usize - 1)
        .with_jitter()
        .with_jitter_seed(seed)
        .build()
}

async fn wait(delay: Duration, cancel: &CancellationToken) -> Result<(), AskError> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(AskError::Cancelled),
        () = tokio::time::sleep(delay) => Ok(()),
    }
}
