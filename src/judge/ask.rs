//! The attempt loop: read the history, get leave, reserve budget, get admission, record the attempt, call, blame,
//! record the end, decide.
//!
//! [`Conversation::advance`] alone makes the decisions, from the stored attempts and the attempt that was just
//! recorded. The bounds are the conversation's `attempts_max` over all restarts, and the budget, if there is one. A
//! [`Breaker`], if there is one, decides when a call may be made and whether a failure is the server's fault; a failure
//! of the server is recorded as such and does not count as an attempt. Without a breaker (the local model), one `ask`
//! makes at most [`UNREACHABLE_TRIES_MAX`] calls that reach no server.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::domain::{AttemptOutcome, QueryId};
use crate::http::breaker::{Blame, Breaker, Denied, Leave};
use crate::http::client::Admission;
use crate::http::retry::{Backoff, Class, Growth, LONG_WAIT, hint};
use crate::http::{CallFailure, DETAIL_CHARS_MAX, one_line};

use super::cost::{Budget, Reservation};
use super::error::AskError;
use super::reply::{RawReply, ReplyProblem};
use super::{
    Attempt, AttemptEnd, Conversation, Flights, Journal, Judge, JudgeKind, JudgeRequest, Judged, PastAttempt, Step,
};

/// The maximum number of connection tries of one `ask` when the server cannot be reached.
pub(super) const UNREACHABLE_TRIES_MAX: u32 = 5;

/// The limits, delays and shared state of an `ask`.
#[derive(Debug, Clone)]
pub struct AskOptions {
    /// Cancels the `ask`: waits end at once; a request in flight is awaited and recorded.
    pub cancel: CancellationToken,
    /// Delays after transient failures that name no wait time, and after failed connections.
    pub backoff: Backoff,
    /// The requests of all concurrent `ask` calls.
    pub flights: Flights,
    /// The budget that all concurrent `ask` calls share.
    pub budget: Option<Arc<Budget>>,
    /// The breaker before the judge's servers; `None` for the local model.
    pub breaker: Option<Arc<Breaker>>,
}

impl AskOptions {
    /// Returns options with the default back-off.
    #[must_use]
    pub fn new(cancel: CancellationToken) -> Self {
        Self { cancel, backoff: Backoff::default(), flights: Flights::default(), budget: None, breaker: None }
    }
}

/// How the attempt that was just made ended, with the details that are not stored.
struct Made {
    past: PastAttempt,
    class: Option<Class>,
    status: Option<u16>,
    retry_after: Option<Duration>,
    detail: String,
    /// Advice to the user, if the call failed.
    hint: Option<String>,
}

/// Asks until the conversation is settled, or until a limit or the caller stops it.
///
/// A usable reply in the journal is returned without a call. Dropping the future during a call loses the reply, and the
/// attempt counts; cancel through the options instead.
///
/// # Errors
/// An [`AskError`] always concerns the whole run.
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

/// Asks the conversation's current request until the conversation is settled or (`None`) has another request.
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
    if let Some(breaker) = options.breaker.as_ref().filter(|_| history.iter().any(PastAttempt::is_refusal)) {
        breaker.was_refused(&query_id.0);
    }
    let mut delays = Delays::new(options, &request.key);
    let mut delay = Duration::ZERO;
    loop {
        let attempt = match conversation.advance(judge, &history) {
            Step::Settled(judged) => return Ok(Some(judged)),
            Step::Next => return Ok(None),
            Step::Call(attempt) => attempt,
        };
        // The wait comes after the decision: a settled conversation needs no wait.
        wait(delay, options).await?;
        let made = attempt_once(judge, journal, query_id, &request, attempt, options).await?;
        delay = delays.after(&made, judge)?;
        if made.retry_after.is_some() && delay >= LONG_WAIT {
            tracing::info!("the judge's server asked for a wait of {} s: {}", delay.as_secs(), made.detail);
        }
        if made.class.is_some() {
            tracing::debug!(query = %query_id, attempt = attempt.number, detail = %made.detail, ?delay, "a judge attempt failed");
        }
        history.push(made.past);
    }
}

/// The hint for a failure of the local model, which has no server.
const LOCAL_HINT: &str = "the local model failed; free memory or change policy.device, then run the same command again: \
                          everything so far is kept";

/// The waits between the attempts of one `ask`.
struct Delays<'a> {
    options: &'a AskOptions,
    key: &'a str,
    failures: u32,
    /// How often nobody was reached.
    unreached: u32,
}

impl<'a> Delays<'a> {
    fn new(options: &'a AskOptions, key: &'a str) -> Self {
        Self { options, key, failures: 0, unreached: 0 }
    }

    /// Returns the wait after an attempt.
    ///
    /// # Errors
    /// [`AskError`] if the attempt's end stops the run.
    fn after(&mut self, made: &Made, judge: &dyn Judge) -> Result<Duration, AskError> {
        let is_guarded = self.options.breaker.is_some();
        match made.class {
            None | Some(Class::Length) => Ok(Duration::ZERO),
            // The breaker has already decided that the run continues.
            Some(Class::FatalRun | Class::FatalRequest | Class::Unreachable | Class::Transient) if is_guarded => {
                Ok(self.back_off(made))
            }
            Some(Class::FatalRequest) => Ok(Duration::ZERO),
            Some(Class::FatalRun) => {
                let message = made.detail.clone();
                Err(AskError::FatalRun {
                    status: made.status,
                    message,
                    hint: match judge.kind() {
                        JudgeKind::Local => LOCAL_HINT.to_owned(),
                        JudgeKind::Api => {
                            made.hint.clone().unwrap_or_else(|| hint(made.status.or(Some(200))).to_owned())
                        }
                    },
                })
            }
            Some(Class::Unreachable) => {
                self.unreached += 1;
                if self.unreached == UNREACHABLE_TRIES_MAX {
                    let hint = format!("{} ({})", hint(None), made.detail);
                    return Err(AskError::Unreachable { url: judge.identity().to_owned(), hint });
                }
                Ok(self.options.backoff.delay(self.unreached, self.key))
            }
            Some(Class::Transient) => Ok(self.back_off(made)),
        }
    }

    fn back_off(&mut self, made: &Made) -> Duration {
        self.failures += 1;
        let is_servers = matches!(
            made.past.end,
            Some(AttemptEnd::Failed { outcome: AttemptOutcome::ServerDown | AttemptOutcome::Unreachable, .. })
        );
        let is_guarded = self.options.breaker.is_some();
        let growth = if is_guarded { Growth::after(made.status, is_servers) } else { Growth::Whole };
        self.options.backoff.wait(made.retry_after, growth, self.failures, self.key)
    }
}

/// Waits for leave to ask about a query; `None` if there is no breaker.
///
/// # Errors
/// [`AskError`]; [`Denied::Fells`] is recorded as an attempt and returned as one.
async fn leave<'a>(options: &'a AskOptions, query_id: &QueryId) -> Result<Result<Option<Leave<'a>>, String>, AskError> {
    let Some(breaker) = &options.breaker else { return Ok(Ok(None)) };
    let leave = tokio::select! {
        biased;
        () = options.cancel.cancelled() => return Err(AskError::Cancelled),
        leave = breaker.leave(&query_id.0) => leave,
    };
    match leave {
        Ok(leave) => Ok(Ok(Some(leave))),
        Err(Denied::Fells(words)) => Ok(Err(words)),
        Err(denied) => Err(denied.into()),
    }
}

/// Waits for room in the budget, and then for a slot. The order prevents a deadlock: a call in flight, for whose budget
/// other callers may wait, may need another slot before it ends.
async fn ready(
    judge: &dyn Judge,
    request: &JudgeRequest,
    how: Attempt,
    options: &AskOptions,
) -> Result<(Option<Reservation>, Admission), AskError> {
    let reservation = match &options.budget {
        None => None,
        Some(budget) => tokio::select! {
            biased;
            () = options.cancel.cancelled() => return Err(AskError::Cancelled),
            reservation = budget.reserve(request, how.cap) => Some(reservation?),
        },
    };
    tokio::select! {
        biased;
        () = options.cancel.cancelled() => {
            // No request was sent.
            reservation.into_iter().for_each(Reservation::release);
            Err(AskError::Cancelled)
        }
        admission = judge.admit(request) => Ok((reservation, admission)),
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
    let attempt = how.number;
    let leave = match leave(options, query_id).await? {
        Ok(leave) => leave,
        Err(words) => {
            journal.begin(request, query_id, how).await.map_err(AskError::Journal)?;
            let end = (AttemptOutcome::ServerFell, None, words);
            return record_failure(journal, request, attempt, end, Made::of_server).await;
        }
    };
    let (reservation, admission) = ready(judge, request, how, options).await?;
    journal.begin(request, query_id, how).await.map_err(AskError::Journal)?;
    // The call is not selected against the cancellation: a request in flight is paid for, so its reply is awaited.
    let result = judge.call(request, how, admission).await;
    let problem = result.as_ref().ok().and_then(|reply| reply.parse(judge.kind()).err());
    let failed = problem.as_ref().filter(|_| leave.is_some()).and_then(no_reply);
    let failure = match failed.map_or(result, Err) {
        Ok(reply) => {
            journal.reply(&request.key, attempt, &reply).await.map_err(AskError::Journal)?;
            reply.model().into_iter().for_each(|model| judge.note_served(model));
            if let Some(reservation) = reservation {
                reservation.charge(reply.usage());
            }
            let made = Made::of_reply(attempt, reply, problem);
            return match (leave, made.failure()) {
                (Some(leave), Some(failure)) => {
                    // The reply is stored, and its content decides whether the attempt counts; this call only informs
                    // the breaker.
                    blame(leave, &failure, options).await?;
                    Ok(made)
                }
                (Some(leave), None) => {
                    leave.served();
                    Ok(made)
                }
                (None, _) => Ok(made),
            };
        }
        Err(failure) => failure,
    };
    // A request that was sent and not answered may have been charged: its reservation is dropped, so the amount stays
    // spent.
    let may_be_charged = matches!(failure.status, None | Some(200)) && failure.class != Class::Unreachable;
    if let Some(reservation) = reservation.filter(|_| !may_be_charged) {
        reservation.release();
    }
    // The reservation ends before this wait: other callers may wait for the reserved amount while the breaker decides
    // here.
    let blamed = match leave {
        None => Ok(Blame::Request),
        Some(leave) => blame(leave, &failure, options).await,
    };
    let outcome = outcome_of(&blamed, &failure, options.breaker.is_some());
    let end = (outcome, failure.status, failure.detail.clone());
    let hint = failure.refused.is_some().then(|| failure.hint());
    let CallFailure { class, retry_after, .. } = failure;
    let made = |end| Made { class: Some(class), retry_after, hint, ..Made::of_server(end) };
    let made = record_failure(journal, request, attempt, end, made).await?;
    blamed.map(|_| made)
}

/// Returns the outcome that is recorded for an attempt without a reply.
fn outcome_of(blamed: &Result<Blame, AskError>, failure: &CallFailure, is_guarded: bool) -> AttemptOutcome {
    match (blamed, failure.class) {
        (_, Class::Unreachable) => AttemptOutcome::Unreachable,
        // An attempt that merely ended at the same time as a refusal is excluded: it may have been charged.
        (Err(AskError::FatalRun { .. }), Class::FatalRun | Class::FatalRequest) => AttemptOutcome::Refused,
        (Ok(Blame::Server) | Err(_), _) => AttemptOutcome::ServerDown,
        (Ok(Blame::Request), Class::FatalRun) if !is_guarded => AttemptOutcome::Refused,
        (Ok(Blame::Request), Class::FatalRequest) if !is_guarded => AttemptOutcome::Rejected,
        (Ok(Blame::Request), _) => failure.own_outcome(),
    }
}

/// Returns the failure for the problem of a body that no judge wrote: an HTML page, an empty body, or an error with a
/// success status.
fn no_reply(problem: &ReplyProblem) -> Option<CallFailure> {
    let is_none =
        matches!(problem, ReplyProblem::BlankBody | ReplyProblem::NotJson { .. } | ReplyProblem::ErrorObject { .. });
    let (class, detail) = (problem.class(), one_line(&problem.to_string(), DETAIL_CHARS_MAX));
    is_none.then_some(CallFailure { class, status: Some(200), retry_after: None, detail, refused: None, body: None })
}

/// Waits until the breaker knows whether the server or the request is at fault; a cancellation never blames the
/// request.
async fn blame(leave: Leave<'_>, failure: &CallFailure, options: &AskOptions) -> Result<Blame, AskError> {
    tokio::select! {
        // A verdict that is already known is returned even if the run stops because of it.
        biased;
        blame = leave.failed(failure) => Ok(blame?),
        () = options.cancel.cancelled() => Ok(Blame::Server),
    }
}

type End = (AttemptOutcome, Option<u16>, String);

async fn record_failure(
    journal: &dyn Journal,
    request: &JudgeRequest,
    attempt: u32,
    end: End,
    made: impl FnOnce((u32, End)) -> Made,
) -> Result<Made, AskError> {
    let (outcome, status, detail) = &end;
    journal.failed(&request.key, attempt, *outcome, *status, detail).await.map_err(AskError::Journal)?;
    Ok(made((attempt, end)))
}

impl Made {
    /// An attempt that ended through a fault of the server.
    fn of_server((attempt, (outcome, status, detail)): (u32, End)) -> Self {
        let end = AttemptEnd::Failed { outcome, status, detail: detail.clone() };
        let past = PastAttempt { attempt, end: Some(end) };
        Self { past, class: None, status, retry_after: None, detail, hint: None }
    }

    /// An attempt that brought a reply, with the problem of the reply.
    fn of_reply(attempt: u32, reply: RawReply, problem: Option<ReplyProblem>) -> Self {
        // The next request tells the judge about a malformed reply, so no wait is needed.
        let class = problem.as_ref().filter(|problem| !matches!(problem, ReplyProblem::Malformed { .. }));
        Self {
            past: PastAttempt { attempt, end: Some(AttemptEnd::Reply(reply)) },
            class: class.map(ReplyProblem::class),
            status: Some(200),
            retry_after: None,
            detail: problem.map(|problem| one_line(&problem.to_string(), DETAIL_CHARS_MAX)).unwrap_or_default(),
            hint: None,
        }
    }

    /// Returns the failure of a stored reply that is in truth a failure.
    fn failure(&self) -> Option<CallFailure> {
        let class = self.class.filter(|class| *class != Class::Length)?;
        let (status, detail) = (self.status, self.detail.clone());
        Some(CallFailure { class, status, retry_after: None, detail, refused: None, body: None })
    }
}

async fn wait(delay: Duration, options: &AskOptions) -> Result<(), AskError> {
    let rest = async {
        match options.breaker.as_ref().filter(|_| !delay.is_zero()) {
            None => tokio::time::sleep(delay).await,
            Some(breaker) => breaker.rest(delay).await?,
        }
        Ok(())
    };
    tokio::select! {
        biased;
        () = options.cancel.cancelled() => Err(AskError::Cancelled),
        rested = rest => rested,
    }
}
