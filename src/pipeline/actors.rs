//! The actors of a run: policy, judge and sandbox, and the breakers, budget and batches that bound and share their
//! requests.

use std::sync::Arc;

use super::batches::Batches;
use super::blocking::Blocking;
use super::programs::Programs;
use crate::http::breaker::Breaker;
use crate::judge::cost::Budget;
use crate::judge::{Flights, Judge};
use crate::policy::Policy;

/// The actors of a run.
pub struct Actors {
    /// The policy.
    pub policy: Policy,
    /// The judge, if the run has one.
    pub judge: Option<Arc<dyn Judge>>,
    /// The sandbox for programs.
    pub programs: Programs,
    /// Runs blocking work.
    pub blocking: Blocking,
    /// The requests in progress, by content address.
    pub flights: Flights,
    /// The budget of judge calls, if limited.
    pub budget: Option<Arc<Budget>>,
    /// The circuit breaker of the policy's servers, if the policy has servers.
    pub policy_breaker: Option<Arc<Breaker>>,
    /// The circuit breaker of the judge's servers, if the judge has servers.
    pub judge_breaker: Option<Arc<Breaker>>,
    /// The batches of judge calls, if any.
    pub batches: Option<Batches>,
}

impl Actors {
    /// Joins the actors, without a budget, a breaker or a batch.
    pub(super) fn new(policy: Policy, judge: Option<Arc<dyn Judge>>, programs: Programs, blocking: Blocking) -> Self {
        Self {
            policy,
            judge,
            programs,
            blocking,
            flights: Flights::default(),
            budget: None,
            policy_breaker: None,
            judge_breaker: None,
            batches: None,
        }
    }

    /// Returns the circuit breakers, the policy's first.
    pub fn breakers(&self) -> impl Iterator<Item = &Arc<Breaker>> {
        [&self.policy_breaker, &self.judge_breaker].into_iter().flatten()
    }

    /// Returns the cause of a delay, if servers delay the run: since when, and their words.
    #[must_use]
    pub fn notice(&self) -> Option<String> {
        let notices: Vec<String> = self.breakers().filter_map(|breaker| breaker.notice()).collect();
        (!notices.is_empty()).then(|| notices.join("; "))
    }
}
