//! The attempt loop: history, admission, budget, begin, call, record, decide.
//!
//! Decisions are made by [`Conversation::advance`] alone, over the stored attempts and the one just recorded. Bounds:
//! the conversation's `attempts_max` over all restarts; [`UNREACHABLE_TRIES_MAX`] tries without a connection within one
//! `ask`; the budget, if there is one.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio_util::sync::CancellationToken;

use crate::domain::{AttemptOutcome, QueryId};
use crate::http::retry::{Backoff, Class, hint};
use crate::http::{DETAIL_CHARS_MAX, one_line};

use super::cost::Budget;
use super::reply::{self, ReplyProblem};
use super::{
    Attempt, AttemptEnd, Conversation, Flights, Journal, Judge, JudgeKind, JudgeRequest, Judged, PastAttempt, Step,
};

/// How often one `ask` tries to reach a server that cannot be connected to.
pub const UNREACHABLE_TRIES_MAX: u32 = 5;
/// Why `ask` brought no justification.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No request of this run can succeed.
    #[error("ask the judge: {message}")]
    FatalRun {
        /// The status that the server answered with, if one did.
        status: Option<u16>,
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
    /// Another call could cost more than is left of the budget.
    #[error(
        "stay within the budget: ${spent_usd:.4} of ${limit_usd} are spent, and another call might cost more than is left"
    )]
    Budget {
        /// What stored replies cost, in USD.
        spent_usd: f64,
        /// What may be spent, in USD.
        limit_usd: f64,
    },
    /// The journal failed.
    #[error("record a judge attempt")]
    Journal(#[source] anyhow::Error),
    /// The caller asked to stop; nothing is in flight.
    #[error("finish asking the judge: stopped")]
    Cancelled,
}

/// How long and how often to ask.
#[derive(Debug, Clone)]
pub struct AskOptions {
    /// Stops the asking: waits end at once, a request in flight is awaited and recorded.
    pub cancel: CancellationToken,
    /// Delays after transient failures that name no wait of their own.
    pub backoff: Backoff,
    /// First delay after a failed connection; it doubles with each further one.
    pub unreachable_delay: Duration,
    /// The requests of all asks that go on side by side.
    pub flights: Flights,
    /// What may be spent by all of them.
    pub budget: Option<Arc<Budget>>,
}

impl AskOptions {
    /// Returns options with the default delays: back-off from 0.5 s to 30 s, and about 10 s in all for connecting.
    #[must_use]
    pub fn new(cancel: CancellationToken) -> Self {
        let (backoff, unreachable_delay) = (Backoff::default(), Duration::from_millis(500));
        Self { cancel, backoff, unreachable_delay, flights: Flights::default(), budget: None }
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

/// Asks until a conversation is settled, or no more asking is allowed or wanted.
///
/// Usable replies in the journal are taken without any call. Dropping the future while a call is in flight loses
/// the reply, and the attempt counts; cancel through the options instead.
///
/// # Errors
/// [`AskError`]; all concern the whole run.
pub async fn ask(
    judge: &dyn Judge,
    journal: &dyn Journal,
    query_id: &QueryId,
    conversation: &mut Conversation,
    options: &AskOptions,
) -> Result<Judged, AskError> {
    loop {
        if let Some(judged) = ask_present(judge, journal, query_id, conversation, options).await? {
            return Ok(judged);
        }
    }
}

/// Asks the conversation's present request until it settles the conversation or (`None`) leads to another one.
async fn ask_present(
    judge: &dyn Judge,
    journal: &dyn Journal,
    query_id: &QueryId,
    conversation: &mut Conversation,
    options: &AskOptions,
) -> Result<Option<Judged>, AskError> {
    let request = conversation.request().clone();
    let _flight = options.flights.begin(&request.key).await;
    let mut history = journal.history(&request.key).await.map_err(AskError::Journal)?;
    history.sort_by_key(|past| past.attempt);
    let mut delays = Delays::new(options, &request.key);
    let mut delay = Duration::ZERO;
    loop {
        let attempt = match conversation.advance(judge, &history) {
            Step::Settled(judged) => return Ok(Some(judged)),
            Step::Next => return Ok(None),
            Step::Call(attempt) => attempt,
        };
        // Only now: what is settled needs no wait.
        wait(delay, &options.cancel).await?;
        let made = attempt_once(judge, journal, query_id, &request, attempt, options).await?;
        delay = delays.after(&made, judge)?;
        if made.class.is_some() {
            tracing::debug!(query = %query_id, attempt = attempt.number, detail = %made.detail, ?delay, "a judge attempt failed");
        }
        history.push(made.past);
    }
}

/// What to do when there is no server to blame.
const LOCAL_HINT: &str = "the local model failed; free memory or change policy.device, then run the same command again: \
                          everything so far is kept";

/// The waits between the attempts of one `ask`.
struct Delays<'a> {
    options: &'a AskOptions,
    key: &'a str,
    connect: Box<dyn Iterator<Item = Duration> + Send>,
    failures: u32,
}

impl<'a> Delays<'a> {
    fn new(options: &'a AskOptions, key: &'a str) -> Self {
        Self { options, key, connect: Box::new(connect_delays(options.unreachable_delay, key)), failures: 0 }
    }

    /// Returns the wait after an attempt.
    ///
    /// # Errors
    /// [`AskError`] if its end is the run's.
    fn after(&mut self, made: &Made, judge: &dyn Judge) -> Result<Duration, AskError> {
        match made.class {
            None | Some(Class::Length | Class::FatalRequest) => Ok(Duration::ZERO),
            Some(Class::FatalRun) => {
                let message = made.detail.clone();
                Err(AskError::FatalRun {
                    status: made.status,
                    message,
                    hint: match judge.kind() {
                        JudgeKind::Local => LOCAL_HINT,
                        JudgeKind::Api => hint(made.status.or(Some(200))),
                    }
                    .to_owned(),
                })
            }
            Some(Class::Unreachable) => self.connect.next().ok_or_else(|| {
                let hint = format!("{} ({})", hint(None), made.detail);
                AskError::Unreachable { url: judge.identity().to_owned(), hint }
            }),
            Some(Class::Transient) => {
                self.failures += 1;
                Ok(made.retry_after.unwrap_or_else(|| self.options.backoff.delay(self.failures, self.key)))
            }
        }
    }
}

/// Makes and records one attempt.
async fn attempt_once(
    judge: &dyn Judge,
    journal: &dyn Journal,
    query_id: &QueryId,
    request: &JudgeRequest,
    how: Attempt,
    options: &AskOptions,
) -> Result<Made, AskError> {
    let ready = async {
        let admission = judge.admit(request).await;
        let reservation = match &options.budget {
            None => None,
            Some(budget) => Some(budget.reserve(request, how.cap).await?),
        };
        Ok::<_, AskError>((admission, reservation))
    };
    let (admission, reservation) = tokio::select! {
        biased;
        () = options.cancel.cancelled() => return Err(AskError::Cancelled),
        ready = ready => ready?,
    };
    let attempt = how.number;
    journal.begin(request, query_id, how).await.map_err(AskError::Journal)?;
    // Not selected against the cancellation: what is in flight is paid for, so its reply is worth waiting for.
    let result = judge.call(request, how, admission).await;
    match result {
        Ok(raw) => {
            journal.reply(&request.key, attempt, &raw.body).await.map_err(AskError::Journal)?;
            if let Some(reservation) = reservation {
                reservation.charge(reply::usage(&raw.body));
            }
            let problem = reply::parse(&raw.body, judge.kind()).err();
            // What the judge is told of is not waited for.
            let class = problem.as_ref().filter(|problem| !matches!(problem, ReplyProblem::Malformed { .. }));
            Ok(Made {
                past: PastAttempt { attempt, end: Some(AttemptEnd::Reply(raw.body)) },
                class: class.map(ReplyProblem::class),
                status: Some(200),
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
            // What was sent and not answered may have been charged: its reservation is dropped, and so stays spent.
            if let Some(reservation) = reservation.filter(|_| outcome != AttemptOutcome::TransportError) {
                reservation.release();
            }
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
