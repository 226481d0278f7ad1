//! Records the end of a request, and waits until the breaker can decide whose fault a failure is.

use tokio::time::Instant;

use super::{
    Blame, Breaker, Denied, Entry, FAILURES_IN_A_ROW, Failing, LIMITED_MAX, LONE_WAIT, Leave, OWN_REFUSALS_ALIKE,
    PROBE_MAX, Phase, Probed, REFUSALS_ALIKE, Sign, State, wait,
};
use crate::http::retry::{Class, hint, says_about_this_request};
use crate::http::{CallFailure, DETAIL_CHARS_MAX, one_line};

impl Leave<'_> {
    /// Records that the server served the request.
    pub fn served(self) {
        let mut state = self.breaker.state();
        state.served += 1;
        state.served_latest = state.served_latest.max(self.number);
        state.felled_in_a_row = 0;
        // A request that was sent before the outage may succeed without the server having recovered.
        if state.failing.as_ref().is_some_and(|failing| failing.is_outage && self.number <= failing.sent_before) {
            return;
        }
        if let Some(failing) = state.failing.take() {
            if failing.is_outage {
                self.breaker.tell_end(&failing);
            }
            state.refused_before.extend(failing.refused.into_values().flatten());
        }
        state.phase = Phase::Closed;
    }

    /// Records that the request failed, and waits until the breaker can decide whose fault the failure is.
    ///
    /// # Errors
    /// [`Denied`] if the run has to stop.
    pub async fn failed(self, failure: &CallFailure) -> Result<Blame, Denied> {
        let breaker = self.breaker;
        let sign = Sign::of(failure);
        if sign == Sign::Stop {
            return Err(breaker.stop(failure));
        }
        let query = self.query.clone();
        let mark = {
            let mut state = breaker.state();
            breaker.note(&mut state, &query, sign, failure);
            Mark { sent: state.sent, answered: state.answered, outages: state.outages }
        };
        // The request is no longer in flight; another request may now be the only one.
        drop(self);
        if let Some(denied) = &breaker.state().over {
            return Err(denied.clone());
        }
        match sign {
            Sign::Down | Sign::Limited => Ok(Blame::Server),
            Sign::Unclear | Sign::Refusal | Sign::Stop => breaker.blame(sign, failure, mark).await,
        }
    }
}

/// The state of the breaker when a request failed.
#[derive(Clone, Copy)]
struct Mark {
    sent: u64,
    answered: u64,
    outages: u64,
}

impl Breaker {
    /// Records a failure.
    fn note(&self, state: &mut State, query: &str, sign: Sign, failure: &CallFailure) {
        let words = one_line(&failure.detail, DETAIL_CHARS_MAX);
        let (has_probe, has_served) = (self.has_probe(state), self.has_served(state));
        if let Phase::Open { is_probing, probe_at, delay } = &mut state.phase
            && !has_probe
            && *is_probing
        {
            // The failed request was the probe.
            *probe_at = Instant::now() + *delay;
            *delay = (*delay * 2).min(PROBE_MAX);
        }
        let active = &state.active;
        let present = active.keys().cloned();
        let sent = state.sent;
        let failing = state.failing.get_or_insert_with(|| Failing::new(self.options.clock, sent, present.collect()));
        failing.words.clone_from(&words);
        failing.present.insert(query.to_owned());
        failing.may_be_felled |= sign == Sign::Unclear || (sign == Sign::Down && failure.status.is_some());
        let wish = failure.retry_after.map(|wish| Instant::now() + wish);
        failing.wish = failing.wish.max(wish);
        let is_limited_for_long = sign == Sign::Limited && Instant::now() - failing.since > LIMITED_MAX;
        if matches!(sign, Sign::Down | Sign::Limited) {
            self.blame_server(failing);
        }
        match sign {
            Sign::Down | Sign::Unclear => {
                failing.failures += 1;
                if sign == Sign::Unclear {
                    failing.unclear.insert(query.to_owned());
                }
            }
            Sign::Refusal if state.refused_before.contains(query) => {}
            Sign::Refusal => {
                let alike: String = words.chars().filter(|c| !c.is_ascii_digit()).collect();
                let queries = failing.refused.entry(alike).or_default();
                queries.insert(query.to_owned());
                let is_own = says_about_this_request(failure.status, &failure.detail);
                if queries.len() >= if is_own || has_served { OWN_REFUSALS_ALIKE } else { REFUSALS_ALIKE } {
                    state.over = Some(refused_alike(failure));
                    self.changed.notify_waiters();
                }
            }
            Sign::Limited | Sign::Stop => {}
        }
        let is_many = state.failing.as_ref().is_some_and(|failing| failing.failures >= FAILURES_IN_A_ROW);
        if is_many || failure.class == Class::Unreachable || is_limited_for_long {
            self.open(state);
        }
        // While other requests succeed, one request that has to wait is weak evidence about the server.
        if state.active.len() <= 1 || matches!(state.phase, Phase::Open { .. }) {
            self.heed(state, failure.retry_after);
        }
    }

    /// Waits until the breaker can decide whose fault a failure is.
    async fn blame(&self, sign: Sign, failure: &CallFailure, mark: Mark) -> Result<Blame, Denied> {
        let failed_at = Instant::now();
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let next = {
                let mut state = self.state();
                self.judge(&mut state, sign, failure, mark, failed_at)?
            };
            match next {
                Look::Blamed(blame) => return Ok(blame),
                Look::Ask(probed) => self.probe(probed, |state| state.served_latest > mark.sent).await,
                Look::Wait(until) => wait(changed, until).await,
            }
        }
    }

    /// Decides whose fault a failure is, if the events so far suffice.
    fn judge(
        &self,
        state: &mut State,
        sign: Sign,
        failure: &CallFailure,
        mark: Mark,
        failed_at: Instant,
    ) -> Result<Look, Denied> {
        let now = Instant::now();
        if let Some(denied) = self.ended(state, now) {
            return Err(denied);
        }
        // Only later requests count: one that was sent earlier may have succeeded before the server failed.
        if state.served_latest > mark.sent {
            return Ok(Look::Blamed(Blame::Request));
        }
        if state.outages > mark.outages || state.failing.as_ref().is_some_and(|failing| failing.is_outage) {
            return Ok(Look::Blamed(Blame::Server));
        }
        // A successful probe does not explain a refusal, which may concern all requests.
        if sign == Sign::Unclear && self.has_probe(state) {
            if state.answered > mark.answered {
                return Ok(Look::Blamed(self.answered_in_vain(state)));
            }
            if let Phase::Open { .. } = state.phase {
                return Ok(match self.probe_turn(state, now) {
                    Some(Entry::Wait(until)) => Look::Wait(until),
                    _ => Look::Ask(Probed::Open),
                });
            }
            if !state.is_asked {
                state.is_asked = true;
                return Ok(Look::Ask(Probed::Closed));
            }
            return Ok(Look::Wait(self.patient_until(state)));
        }
        if matches!(state.phase, Phase::Open { .. }) {
            return Ok(Look::Blamed(Blame::Server));
        }
        if !state.active.is_empty() {
            return Ok(Look::Wait(self.patient_until(state)));
        }
        if now < failed_at + LONE_WAIT {
            return Ok(Look::Wait(Some(failed_at + LONE_WAIT)));
        }
        // No other request is in flight, so no further event can come.
        let is_own = says_about_this_request(failure.status, &failure.detail);
        if sign == Sign::Refusal && !is_own && !self.has_served(state) {
            let denied = refused_alike(failure);
            state.over = Some(denied.clone());
            self.changed.notify_waiters();
            return Err(denied);
        }
        Ok(Look::Blamed(Blame::Request))
    }
}

impl Breaker {
    /// Decides whose fault a failure is after a successful probe: the request's, unless all other requests fail too.
    fn answered_in_vain(&self, state: &mut State) -> Blame {
        let Some(failing) = &mut state.failing else { return Blame::Request };
        if failing.unclear.len() < FAILURES_IN_A_ROW as usize {
            return Blame::Request;
        }
        failing.is_probe_useless = true;
        self.tell(failing);
        self.open(state);
        self.changed.notify_waiters();
        Blame::Server
    }
}

/// The result of one check of the breaker's state.
enum Look {
    Blamed(Blame),
    Ask(Probed),
    Wait(Option<Instant>),
}

/// Returns the end of a run whose requests are all refused alike.
fn refused_alike(failure: &CallFailure) -> Denied {
    let hint = if failure.status.is_none() { hint(Some(400)).to_owned() } else { failure.hint() };
    Denied::Refused {
        status: failure.status,
        message: format!("the server refuses every request: {}", failure.detail),
        hint,
    }
}
