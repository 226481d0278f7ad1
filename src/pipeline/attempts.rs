//! Gets one response: by as many attempts as necessary, once for all queries that need the same response, and stored.
//!
//! A local model gives the response, or the run ends. Over HTTP an attempt may fail, and the [`Breaker`] decides
//! whether the server or the request is at fault. If the server is at fault, the attempt is repeated and does not
//! count. If the request may be at fault, the attempt is recorded and repeated: at most `policy.attempts_max` attempts
//! count, over all restarts. A request that the server rejects for its content is not repeated. [`plan`] decides
//! whether a response is given up.
//!
//! A [`Caller`] makes the attempts. A [`Sampler`] locks the response's address before the call, because two queries may
//! need the same response and facts do not change. A run and an evaluation share both.

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::error::RunError;
use super::plan;
use super::progress::Progress;
use super::watchdog::Place;
use crate::domain::{AttemptOutcome, Mode, QueryId, Rollout, RolloutKey};
use crate::http::breaker::{Blame, Breaker, Denied};
use crate::http::retry::{Backoff, Growth, LONG_WAIT, REFUSED_TRIES};
use crate::judge::Flights;
use crate::ledger::{Fact, Ledger, RolloutFailure};
use crate::policy::{Policy, RolloutTask, SampleError};

/// The reason why a query's responses are incomplete.
#[derive(Debug)]
pub enum SampleStop {
    /// The run ends.
    Run(RunError),
    /// The server failed repeatedly during this query's requests: the query must be sampled alone, at the end.
    Suspect,
}

impl<E: Into<RunError>> From<E> for SampleStop {
    fn from(error: E) -> Self {
        Self::Run(error.into())
    }
}

/// The outcome of a request for a response.
#[derive(Debug)]
pub enum Sampled {
    /// The response.
    Response(Box<Rollout>),
    /// The response was abandoned: it exceeded its useful length.
    TooLong,
    /// The response was given up; the failure of the last attempt.
    GivenUp(String),
}

/// Durably records a failed attempt that counts, with the server's reply, if any.
pub(super) type Record<'a> =
    dyn Fn(&RolloutKey, RolloutFailure, Option<String>) -> BoxFuture<'static, Result<(), RunError>> + Sync + 'a;

/// The policy, with the bounds on its attempts.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// The circuit breaker of its servers, if it has servers.
    pub breaker: Option<&'a Breaker>,
    /// The largest number of attempts per response that count.
    pub attempts_max: u32,
    /// Cancelled when the run must stop.
    pub stop: &'a CancellationToken,
}

impl Caller<'_> {
    /// Gets one response by as many attempts as necessary and allowed, `earlier` attempts included. Each attempt that
    /// counts is passed to `record` before the next one.
    pub async fn sample(
        &self,
        query_id: &QueryId,
        task: &RolloutTask,
        earlier: Earlier,
        record: &Record<'_>,
    ) -> Result<Sampled, SampleStop> {
        let Earlier { mut counted, mut latest, mut refused } = earlier;
        let mut failed = 0;
        if let Some(breaker) = self.breaker.filter(|_| refused > 0) {
            breaker.was_refused(&query_id.0);
        }
        loop {
            let leave = match self.breaker {
                None => None,
                Some(breaker) => match self.unless_stopped(breaker.leave(&query_id.0)).await? {
                    Ok(leave) => Some(leave),
                    Err(Denied::Suspect) => return Err(SampleStop::Suspect),
                    Err(Denied::Fells(words)) => {
                        latest += 1;
                        let (outcome, detail) = (AttemptOutcome::ServerFell, fell(&words));
                        let failure = RolloutFailure { attempt: latest, outcome, status: None, detail: detail.clone() };
                        record(&task.key, failure, None).await?;
                        return Ok(Sampled::GivenUp(detail));
                    }
                    Err(denied) => return Err(self.denied(denied)),
                },
            };
            let failure = match self.policy.sample(task).await {
                Ok(rollout) => {
                    leave.into_iter().for_each(crate::http::breaker::Leave::served);
                    return Ok(Sampled::Response(Box::new(rollout)));
                }
                Err(SampleError::TooLong) => return Ok(Sampled::TooLong),
                Err(SampleError::Draining) => return Err(RunError::Stopped.into()),
                Err(SampleError::Policy(error)) => return Err(error.into()),
                Err(SampleError::Call(failure)) => failure,
            };
            failed += 1;
            let blame = match leave {
                None => Blame::Request,
                Some(leave) => {
                    self.unless_stopped(leave.failed(&failure)).await?.map_err(|denied| self.denied(denied))?
                }
            };
            if blame == Blame::Request {
                (counted, latest) = (counted + 1, latest + 1);
                let (body, outcome) = (failure.body.clone(), failure.own_outcome());
                let (status, detail) = (failure.status, failure.detail.clone());
                let failure = RolloutFailure { attempt: latest, outcome, status, detail };
                tracing::debug!(attempt = latest, outcome = %failure.outcome, detail = %failure.detail, "an attempt at a response failed");
                record(&task.key, failure.clone(), body).await?;
                refused += plan::refusals(std::slice::from_ref(&failure));
                let is_refused = failure.outcome == AttemptOutcome::Rejected || refused >= REFUSED_TRIES;
                if is_refused || counted >= self.attempts_max {
                    return Ok(Sampled::GivenUp(failure.detail));
                }
            } else {
                tracing::debug!(detail = %failure.detail, "an attempt at a response failed; the request is not at fault");
            }
            let growth = Growth::after(failure.status, blame == Blame::Server);
            let delay = Backoff::default().wait(failure.retry_after, growth, failed, &task.key.0);
            if failure.retry_after.is_some() && delay >= LONG_WAIT {
                tracing::info!("the policy's server requests a wait of {} s: {}", delay.as_secs(), failure.detail);
            }
            match self.breaker {
                None => self.unless_stopped(tokio::time::sleep(delay)).await?,
                Some(breaker) => {
                    self.unless_stopped(breaker.rest(delay)).await?.map_err(|denied| self.denied(denied))?
                }
            }
        }
    }

    /// Stops the run, so that the query's other responses, which may wait for a paused server, end at once.
    fn denied(&self, denied: Denied) -> SampleStop {
        self.stop.cancel();
        RunError::from(denied).into()
    }

    async fn unless_stopped<T>(&self, future: impl Future<Output = T>) -> Result<T, RunError> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(RunError::Stopped),
            done = future => Ok(done),
        }
    }
}

/// Earlier attempts at a response.
#[derive(Debug, Clone, Copy, Default)]
pub struct Earlier {
    /// Attempts that count.
    pub counted: u32,
    /// The number of the latest attempt.
    pub latest: u32,
    /// Counted attempts that the server refused.
    pub refused: usize,
}

/// Returns the detail of an exclusion whose query repeatedly makes its server fail.
fn fell(words: &str) -> String {
    format!("the server fell while it was asked, and again when it was asked alone ({words})")
}

/// The stored state of a response before it is sampled.
#[derive(Debug)]
pub enum Look<T> {
    /// The response is stored.
    Stored(T),
    /// The response is missing; its earlier attempts.
    Missing(Earlier),
}

/// The outcome of a request for a response that is stored.
#[derive(Debug)]
pub enum Obtained<T> {
    /// The response was stored already.
    Stored(T),
    /// The response was sampled and stored.
    Response(Box<Rollout>),
    /// The response was abandoned because it exceeded its useful length; the ledger stores the bound.
    TooLong,
    /// The response was given up; the failure of the last attempt.
    GivenUp(String),
}

/// Gets responses and stores them, each once.
#[derive(Clone, Copy)]
pub struct Sampler<'a> {
    /// Makes the attempts.
    pub caller: Caller<'a>,
    /// The responses in progress, by first address.
    pub flights: &'a Flights,
    /// Stores the responses.
    pub ledger: &'a Ledger,
    /// Shows the waits of tasks, if there is a display.
    pub progress: Option<&'a Progress>,
}

impl Sampler<'_> {
    /// Gets one response: the stored one, or one that is sampled and stored now. Until then no other query gets the
    /// same one. `look` returns whether the task, as it is requested now, is stored; `observe` parses the mode that a
    /// response shows.
    ///
    /// # Errors
    /// [`SampleStop`]; the errors of `look` and `record`.
    pub async fn get<T, Looking>(
        &self,
        query_id: &QueryId,
        task: RolloutTask,
        look: impl FnOnce(RolloutTask) -> Looking,
        record: &Record<'_>,
        observe: impl Fn(&Rollout) -> Mode,
    ) -> Result<Obtained<T>, SampleStop>
    where
        Looking: Future<Output = Result<Look<T>, RunError>>,
    {
        // The local model gives two queries with the same request the same text; a server may not.
        let _flight = self.at(Place::Turn, self.flights.begin(&task.first_address().0)).await;
        // Servers may have refused a request key since the task was made.
        let task = self.caller.policy.current(task);
        let earlier = match look(task.clone()).await? {
            Look::Stored(stored) => return Ok(Obtained::Stored(stored)),
            Look::Missing(earlier) => earlier,
        };
        let (fact, obtained) =
            match self.at(Place::Policy, self.caller.sample(query_id, &task, earlier, record)).await? {
                Sampled::GivenUp(detail) => return Ok(Obtained::GivenUp(detail)),
                Sampled::TooLong => {
                    let longer_than = task.useful_tokens_max.unwrap_or(0);
                    (Fact::RolloutCut { rollout_key: task.key.clone(), longer_than }, Obtained::TooLong)
                }
                Sampled::Response(rollout) => {
                    let (query_id, observed_mode) = (query_id.clone(), observe(&rollout));
                    let fact = Fact::Rollout { query_id, rollout: (*rollout).clone(), observed_mode };
                    (fact, Obtained::Response(rollout))
                }
            };
        self.at(Place::Commit, self.ledger.commit(vec![fact])).await?;
        Ok(obtained)
    }

    async fn at<R>(&self, place: Place, future: impl Future<Output = R>) -> R {
        match self.progress {
            Some(progress) => progress.at(place, future).await,
            None => future.await,
        }
    }
}
