//! Opening the breaker, probing the server, and waiting for the end of an outage.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Breaker, Denied, Entry, Failing, LIMITED_MAX, LONE_WAIT, PROBE_FIRST, PROBE_MAX, Phase, Probed, Sign, State,
    clock_text, span, wait,
};
use crate::http::{CallFailure, DETAIL_CHARS_MAX, one_line};

/// Releases the right to probe if the probe is dropped.
struct Probing<'a>(&'a Breaker, Probed);

impl Drop for Probing<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        match (self.1, &mut state.phase) {
            (Probed::Closed, _) => state.is_asked = false,
            (Probed::Open, Phase::Open { is_probing, .. }) => *is_probing = false,
            (Probed::Open, Phase::Closed) => {}
        }
        drop(state);
        self.0.changed.notify_waiters();
    }
}

impl Breaker {
    /// Returns whether a request has to wait because the breaker is open, or has to probe.
    pub(super) fn probe_turn(&self, state: &mut State, now: Instant) -> Option<Entry> {
        let patient_until = self.patient_until(state);
        let Phase::Open { probe_at, is_probing, .. } = &mut state.phase else { return None };
        if *is_probing || *probe_at > now {
            let until =
                if *is_probing { patient_until } else { Some(patient_until.unwrap_or(*probe_at).min(*probe_at)) };
            return Some(Entry::Wait(until));
        }
        *is_probing = true;
        // Without a probe, a request is the probe; the caller continues as with a closed breaker.
        self.has_probe(state).then_some(Entry::Probe)
    }

    /// Returns whether the server can be probed, and the probe's result is meaningful.
    pub(super) fn has_probe(&self, state: &State) -> bool {
        let is_useless = state.failing.as_ref().is_some_and(|failing| failing.is_probe_useless);
        self.options.probe.is_some() && !is_useless
    }

    /// Returns when the patience ends: its time is over, or the server requests a retry after that time and no other
    /// server has served a request for a while.
    pub(super) fn patient_until(&self, state: &State) -> Option<Instant> {
        let failing = state.failing.as_ref().filter(|failing| failing.is_server)?;
        let until = failing.since + self.options.patience?;
        let is_in_vain = failing.wish.is_some_and(|wish| self.outlasts_patience(failing, wish));
        Some(if is_in_vain { until.min(failing.since + self.wish_wait()) } else { until })
    }

    /// Returns whether a moment lies after the end of the patience with the current failure period.
    fn outlasts_patience(&self, failing: &Failing, at: Instant) -> bool {
        self.options.patience.is_some_and(|patience| at > failing.since + patience)
    }

    /// Returns how long a server's requested wait beyond the patience is ignored, until it counts for the whole side.
    fn wish_wait(&self) -> Duration {
        if self.options.servers > 1 { LIMITED_MAX } else { LONE_WAIT }
    }

    pub(super) fn out_of_patience(&self, state: &mut State, now: Instant) -> Option<Denied> {
        let until = self.patient_until(state)?;
        if until > now {
            return None;
        }
        let failing = state.failing.as_ref()?;
        if let Some(wish) = failing.wish.filter(|wish| self.outlasts_patience(failing, *wish)) {
            self.give_up_until(state, wish.saturating_duration_since(now));
            return state.over.clone();
        }
        let message = format!("no reply for {}: {}", span(now - failing.since), failing.words);
        let denied = Denied::Outage { side: self.options.side, message };
        state.over = Some(denied.clone());
        Some(denied)
    }

    /// Sends the probe; the caller holds the right to do so. Stops when `enough` returns true, or at the end of the
    /// patience.
    pub(super) async fn probe(&self, probed: Probed, enough: impl Fn(&State) -> bool) {
        let _probing = Probing(self, probed);
        let Some(probe) = &self.options.probe else { return };
        let mut answer = probe();
        let answer = loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let until = {
                let state = self.state();
                if enough(&state) {
                    return;
                }
                self.patient_until(&state)
            };
            tokio::select! {
                biased;
                answer = &mut answer => break answer,
                () = wait(changed, until) => {}
            }
            if until.is_some_and(|until| until <= Instant::now()) {
                return;
            }
        };
        match answer {
            Ok(()) => self.answers(),
            Err(failure) => match Sign::of(&failure) {
                Sign::Refusal => self.answers(),
                Sign::Stop => drop(self.stop(&failure)),
                Sign::Down | Sign::Limited | Sign::Unclear => self.probe_failed(&failure),
            },
        }
    }

    /// Records a successful probe: waiting requests may be sent, but only a served request ends the failure period.
    pub(super) fn answers(&self) {
        let mut state = self.state();
        state.answered += 1;
        if self.options.probe.is_some() && !self.has_probe(&state) {
            // The probe was found to be meaningless after it was sent.
            return;
        }
        state.phase = Phase::Closed;
        let present = state.active.keys().cloned().collect();
        if let Some(failing) = &mut state.failing {
            (failing.failures, failing.may_be_felled) = (0, false);
            if failing.is_outage {
                failing.is_outage = false;
                self.tell_end(failing);
            }
            // A new outage counts for the queries in flight; the time without a success continues.
            failing.present = present;
        }
    }

    pub(super) fn probe_failed(&self, failure: &CallFailure) {
        let mut state = self.state();
        let now = Instant::now();
        let State { phase, failing, active, present, alone, outages, sent, .. } = &mut *state;
        // A served request that was sent before the probe has ended the failure period.
        let new = || Failing::new(self.options.clock, *sent, active.keys().cloned().collect());
        let failing = failing.get_or_insert_with(new);
        self.blame_server(failing);
        failing.words = one_line(&failure.detail, DETAIL_CHARS_MAX);
        let delay = failing.delay;
        failing.delay = (delay * 2).min(PROBE_MAX);
        let wait = failure.retry_after.map_or(delay, |wish| wish.max(delay));
        *phase = Phase::Open { probe_at: now + wait, delay: failing.delay, is_probing: false };
        if !failing.is_outage {
            failing.is_outage = true;
            // The requests sent since the first failure were also sent before the outage.
            failing.sent_before = *sent;
            *outages += 1;
            failing.present.extend(active.keys().cloned());
            let is_fall = failing.may_be_felled && Sign::of(failure) != Sign::Limited;
            for query in failing.present.iter().filter(|_| is_fall) {
                *present.entry(query.clone()).or_default() += 1;
            }
            if let Some(alone) = alone
                && is_fall
                && failing.present.contains(&alone.query)
            {
                alone.falls += 1;
                alone.words.clone_from(&failing.words);
            }
            self.tell(failing);
        }
        let wish = failure.retry_after;
        self.heed(&mut state, wish);
    }

    /// Records that the server is at fault from now on.
    pub(super) fn blame_server(&self, failing: &mut Failing) {
        if !failing.is_server {
            failing.is_server = true;
            (failing.since, failing.since_unix_ms) = (Instant::now(), (self.options.clock)());
        }
    }

    pub(super) fn tell(&self, failing: &Failing) {
        let patience = match self.options.patience {
            None => "as long as it takes".to_owned(),
            Some(patience) => format!("up to {} ({}.patience_s)", span(patience), self.options.side),
        };
        tracing::warn!(
            "the {} does not reply ({}): requests wait while one probes it, {patience}; no query loses an attempt",
            self.options.side,
            failing.words
        );
    }

    pub(super) fn tell_end(&self, failing: &Failing) {
        let silence = span(Instant::now() - failing.since);
        tracing::info!("the {} replies again after {silence}", self.options.side);
    }

    /// Stops the run at once if the server requests a retry only after the end of the run's patience.
    pub(super) fn heed(&self, state: &mut State, wish: Option<Duration>) {
        let failing = state.failing.as_ref().filter(|failing| failing.is_server);
        let (Some(wish), Some(failing)) = (wish, failing) else { return };
        if self.outlasts_patience(failing, Instant::now() + wish) {
            self.give_up_until(state, wish);
        }
    }

    /// Stops the run, with a message that names the time at which the server requested a retry.
    fn give_up_until(&self, state: &mut State, wish: Duration) {
        let wish_ms = i64::try_from(wish.as_millis()).unwrap_or(i64::MAX);
        let at = clock_text((self.options.clock)().saturating_add(wish_ms));
        let words = state.failing.as_ref().map_or("", |failing| failing.words.as_str());
        let message = format!("the server requests a retry at {at} UTC, in {}: {words}", span(wish));
        state.over = Some(Denied::Outage { side: self.options.side, message });
        self.changed.notify_waiters();
    }

    pub(super) fn stop(&self, failure: &CallFailure) -> Denied {
        let denied = Denied::Refused { status: failure.status, message: failure.detail.clone(), hint: failure.hint() };
        self.state().over = Some(denied.clone());
        self.changed.notify_waiters();
        denied
    }

    /// Opens the breaker, if it is closed.
    pub(super) fn open(&self, state: &mut State) {
        let Some(failing) = &mut state.failing else { return };
        self.blame_server(failing);
        if matches!(state.phase, Phase::Closed) {
            // The first probe of a failure period is sent at once; later probes keep the delay reached so far.
            let wait = if failing.delay == PROBE_FIRST { Duration::ZERO } else { failing.delay };
            state.phase = Phase::Open { probe_at: Instant::now() + wait, delay: failing.delay, is_probing: false };
        }
    }
}
