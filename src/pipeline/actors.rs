//! Who does the work of a run: the policy, the judge, what runs programs, and what bounds and shares their requests.

use std::sync::Arc;

use super::batches::Batches;
use super::blocking::Blocking;
use super::programs::Programs;
use crate::http::breaker::Breaker;
use crate::judge::cost::Budget;
use crate::judge::{Flights, Judge};
use crate::policy::Policy;

/// Those that sample, verify and judge.
pub struct Actors {
    /// The policy.
    pub policy: Policy,
    /// The judge, unless nobody judges.
    pub judge: Option<Arc<dyn Judge>>,
    /// What runs programs.
    pub programs: Programs,
    /// Where work that blocks is done.
    pub blocking: Blocking,
    /// The requests under way, by their content addresses.
    pub flights: Flights,
    /// What judge calls may cost, if that is limited.
    pub budget: Option<Arc<Budget>>,
    /// What stands before the policy's servers, if it has some.
    pub policy_breaker: Option<Arc<Breaker>>,
    /// What stands before the judge's servers, if it has some.
    pub judge_breaker: Option<Arc<Breaker>>,
    /// The batches of judge calls, if there are any.
    pub batches: Option<Batches>,
}

impl Actors {
    /// Brings those together who are asked without a budget, a breaker or a batch.
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

    /// Returns what stands before the servers, the policy's first.
    pub fn breakers(&self) -> impl Iterator<Item = &Arc<Breaker>> {
        [&self.policy_breaker, &self.judge_breaker].into_iter().flatten()
    }

    /// Returns what holds the run up, if servers do: since when, and what they say.
    #[must_use]
    pub fn notice(&self) -> Option<String> {
        let notices: Vec<String> = self.breakers().filter_map(|breaker| breaker.notice()).collect();
        (!notices.is_empty()).then(|| notices.join("; "))
    }
}
