//! Getting one response: in as many attempts as it takes, once for all who ask the same, and stored.
//!
//! A response of this process comes, or the run ends. Over HTTP an attempt may fail, and the [`Breaker`] says whose fault
//! that is. An attempt that the server failed is made again and counts for nothing. An attempt that may have failed by its
//! request is recorded, and made again: at most `policy.attempts_max` attempts count, over all restarts. A request that the
//! server refuses for its content is not made again. [`plan`] says whether a response is given up.
//!
//! A [`Caller`] makes the attempts. A [`Sampler`] guards the response's address before it calls: two queries may ask the
//! same, and facts do not change. A run and an evaluation share both.

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

/// Why a query's responses are not all there.
#[derive(Debug)]
pub enum SampleStop {
    /// The run ends.
    Run(RunError),
    /// The server fell again and again while it was asked: it is to be asked alone, last.
    Suspect,
}

impl<E: Into<RunError>> From<E> for SampleStop {
    fn from(error: E) -> Self {
        Self::Run(error.into())
    }
}

/// What became of a response that was asked for.
#[derive(Debug)]
pub enum Sampled {
    /// It came.
    Response(Box<Rollout>),
    /// It grew longer than it may be to be of use.
    TooLong,
    /// It is not asked for again; what was wrong with the last attempt.
    GivenUp(String),
}

/// Records durably an attempt at a response that counts, with what came of its reply, if anything did.
pub type Record<'a> =
    dyn Fn(&RolloutKey, RolloutFailure, Option<String>) -> BoxFuture<'static, Result<(), RunError>> + Sync + 'a;

/// Who is asked for responses, and how long.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// What stands before its servers, if it has some.
    pub breaker: Option<&'a Breaker>,
    /// Attempts per response that may count.
    pub attempts_max: u32,
    /// Set when it is to stop.
    pub stop: &'a CancellationToken,
}

impl Caller<'_> {
    /// Gets one response, in as many attempts as it takes and are allowed beside `earlier` ones; those that count are told
    /// to `record` before the next.
    ///
    /// # Errors
    /// [`SampleStop`].
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
                tracing::debug!(attempt = latest, outcome = %failure.outcome, detail = %failure.detail, "a response did not come");
                record(&task.key, failure.clone(), body).await?;
                refused += plan::refusals(std::slice::from_ref(&failure));
                let is_refused = failure.outcome == AttemptOutcome::Rejected || refused >= REFUSED_TRIES;
                if is_refused || counted >= self.attempts_max {
                    return Ok(Sampled::GivenUp(failure.detail));
                }
            } else {
                tracing::debug!(detail = %failure.detail, "a response did not come, by no fault of the request");
            }
            let growth = Growth::after(failure.status, blame == Blame::Server);
            let delay = Backoff::default().wait(failure.retry_after, growth, failed, &task.key.0);
            if failure.retry_after.is_some() && delay >= LONG_WAIT {
                tracing::info!("the policy's server asks to wait {} s: {}", delay.as_secs(), failure.detail);
            }
            match self.breaker {
                None => self.unless_stopped(tokio::time::sleep(delay)).await?,
                Some(breaker) => {
                    self.unless_stopped(breaker.rest(delay)).await?.map_err(|denied| self.denied(denied))?
                }
            }
        }
    }

    /// Ends the run: the query's other responses, which may wait for a server that is paused, hear of it at once.
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

/// Attempts that were made at a response before.
#[derive(Debug, Clone, Copy, Default)]
pub struct Earlier {
    /// Those that count.
    pub counted: u32,
    /// The number of the latest of all.
    pub latest: u32,
    /// Those of the counted ones that the server refused.
    pub refused: usize,
}

/// Says in an exclusion that a query fells its server.
fn fell(words: &str) -> String {
    format!("the server fell while it was asked, and again when it was asked alone ({words})")
}

/// What the facts say of a response before it is sampled.
#[derive(Debug)]
pub enum Look<T> {
    /// It is stored.
    Stored(T),
    /// It is not; the attempts that were made at it.
    Missing(Earlier),
}

/// What became of a response that was asked for and is kept.
#[derive(Debug)]
pub enum Obtained<T> {
    /// It was stored already.
    Stored(T),
    /// It was sampled and stored.
    Response(Box<Rollout>),
    /// It grew longer than it may be to be of use, which is stored.
    TooLong,
    /// It is not asked for again; what was wrong with the last attempt.
    GivenUp(String),
}

/// Gets responses that are kept, each once.
#[derive(Clone, Copy)]
pub struct Sampler<'a> {
    /// Who is asked, and how long.
    pub caller: Caller<'a>,
    /// The responses under way, by their first addresses.
    pub flights: &'a Flights,
    /// Where they are kept.
    pub ledger: &'a Ledger,
    /// Who is told what is waited for, if anybody is.
    pub progress: Option<&'a Progress>,
}

impl Sampler<'_> {
    /// Gets one response: as it is stored, or sampled now and stored. Until then nobody else gets the same one. `look` says
    /// whether the task, as it is asked for now, is stored; `observe` reads the mode that a response shows.
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
        // This process gives two who ask the same the same text; a server may not.
        let _flight = self.at(Place::Turn, self.flights.begin(&task.first_address().0)).await;
        // Servers may have refused a key since the task was made.
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
