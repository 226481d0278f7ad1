//! Pacing of one endpoint: requests per minute, tokens per minute, and the pauses that the server requested.
//!
//! A limit of 0 means "no known limit". Two mechanisms apply together. A governor spreads a minute's allowance evenly,
//! because many servers enforce a limit per second; tokens are paid after their request, as a debt that delays the next
//! request. And a record of the last [`WINDOW`] bounds the sums, so that no minute exceeds the limit. A request is
//! charged its estimate, scaled by the accuracy of earlier estimates, and the charge is corrected when the reply's
//! usage is known. A pause holds back every request of the endpoint; a later pause can only extend it. After a pause,
//! requests are released one by one over [`RAMP`].
//!
//! This module is only data and arithmetic; the client decides which requests wait, and in which order.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::time::Instant;

/// The minute of the limits plus half a second, because requests take different times to arrive.
pub const WINDOW: Duration = Duration::from_millis(60_500);
/// The burst size of requests: the allowance of a minute divided by this number.
const REQUEST_BURSTS_PER_MINUTE: u32 = 3000;
/// The burst size of token payments: the allowance of a minute divided by this number.
const TOKEN_BURSTS_PER_MINUTE: u32 = 600;
/// The maximum credit from estimates that were too high: the allowance of a minute divided by this number.
const CREDITS_PER_MINUTE: u32 = 10;
/// How long after a pause requests are spread out.
pub const RAMP: Duration = Duration::from_secs(1);
/// The weight of the latest request in the scale of estimates.
const SCALE_WEIGHT: f64 = 0.1;
/// The bounds of the scale of estimates.
const SCALE_RANGE: (f64, f64) = (0.02, 2.0);

/// The pacing state of an endpoint.
#[derive(Debug)]
pub struct Pacing {
    requests: Option<Limit>,
    tokens: Option<Limit>,
    token_debt: i64,
    scale: f64,
    paused_until: Option<Instant>,
    ramp: Option<Ramp>,
}

/// The charge of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use = "settle the charge when the request ends"]
pub struct Charge {
    estimate: u32,
    tokens: u64,
    entry: u64,
}

impl Charge {
    /// Returns the charged tokens.
    #[must_use]
    pub fn tokens(self) -> u64 {
        self.tokens
    }
}

#[derive(Debug, Clone, Copy)]
struct Ramp {
    until: Instant,
    next: Instant,
}

impl Pacing {
    /// Creates pacing from the two limits; 0 means no limit.
    #[must_use]
    pub fn new(requests_per_minute: u32, tokens_per_minute: u32) -> Self {
        Self {
            requests: Limit::new(requests_per_minute, REQUEST_BURSTS_PER_MINUTE),
            tokens: Limit::new(tokens_per_minute, TOKEN_BURSTS_PER_MINUTE),
            token_debt: 0,
            scale: 1.0,
            paused_until: None,
            ramp: None,
        }
    }

    /// Returns whether tokens are limited, so that a reply's usage needs to be parsed.
    #[must_use]
    pub fn counts_tokens(&self) -> bool {
        self.tokens.is_some()
    }

    /// Charges a request of about `estimate` tokens if it may be sent now.
    ///
    /// `concurrency` is the maximum number of requests in flight; it spreads the requests after a pause.
    ///
    /// # Errors
    /// The earliest moment at which a retry can succeed; nothing is charged.
    pub fn take(&mut self, now: Instant, estimate: u32, concurrency: usize) -> Result<Charge, Instant> {
        if let Some(until) = self.held_until(now) {
            return Err(until);
        }
        let tokens = self.expected(estimate);
        for (limit, amount) in [(&mut self.requests, 1), (&mut self.tokens, tokens)] {
            if let Some(until) = limit.as_mut().and_then(|limit| limit.window.full_until(now, amount)) {
                return Err(until);
            }
        }
        if let Some(limit) = &self.tokens
            && let Some(wait) = limit.pay(&mut self.token_debt)
        {
            return Err(now + wait);
        }
        // This check is the last one, because it takes from the allowance.
        if let Some(wait) = self.requests.as_ref().and_then(Limit::take_one) {
            return Err(now + wait);
        }
        if let Some(ramp) = &mut self.ramp {
            ramp.next = now + RAMP / u32::try_from(concurrency.max(1)).unwrap_or(u32::MAX);
        }
        if let Some(limit) = &mut self.requests {
            limit.window.push(now, 1);
        }
        self.token_debt = self.token_debt.saturating_add(signed(tokens));
        let entry = self.tokens.as_mut().map_or(0, |limit| limit.window.push(now, tokens));
        Ok(Charge { estimate, tokens, entry })
    }

    /// Corrects a charge by the tokens that were used.
    pub fn settle(&mut self, charge: Charge, used: u64) {
        let Some(limit) = &mut self.tokens else { return };
        limit.window.correct(charge.entry, used);
        let credit_max = signed(u64::from(limit.per_minute / CREDITS_PER_MINUTE));
        self.token_debt = (self.token_debt + signed(used) - signed(charge.tokens)).max(-credit_max);
        if used > 0 {
            // Token counts are far below 2^52.
            let found = used as f64 / f64::from(charge.estimate.max(1));
            let scale = self.scale + SCALE_WEIGHT * (found - self.scale);
            self.scale = scale.clamp(SCALE_RANGE.0, SCALE_RANGE.1);
        }
    }

    /// Returns the charge of a request before its usage is known.
    fn expected(&self, estimate: u32) -> u64 {
        // The value is a product of two small positive numbers.
        let tokens = (f64::from(estimate) * self.scale).ceil() as u64;
        // A charge above the whole limit would wait for ever.
        tokens.min(self.tokens.as_ref().map_or(u64::MAX, |limit| u64::from(limit.per_minute)))
    }

    /// Holds back all requests for `duration` from now; never shortens a longer pause.
    pub fn pause(&mut self, now: Instant, duration: Duration) {
        let until = now + duration;
        if self.paused_until.is_none_or(|paused| paused < until) {
            self.paused_until = Some(until);
            self.ramp = Some(Ramp { until: until + RAMP, next: until });
        }
    }

    /// Returns the end of the current pause, if there is one.
    #[must_use]
    pub fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|until| *until > now)
    }

    /// Returns the time until which a pause, or the spreading after it, holds the next request back.
    fn held_until(&mut self, now: Instant) -> Option<Instant> {
        if self.ramp.is_some_and(|ramp| ramp.until <= now) {
            (self.ramp, self.paused_until) = (None, None);
        }
        self.paused_until(now).or_else(|| self.ramp.map(|ramp| ramp.next).filter(|next| *next > now))
    }
}

fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

/// One allowance per minute: spread evenly by a governor, and bounded by the window.
struct Limit {
    per_minute: u32,
    limiter: DefaultDirectRateLimiter,
    clock: DefaultClock,
    burst: NonZeroU32,
    window: Window,
}

impl std::fmt::Debug for Limit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Limit").field("per_minute", &self.per_minute).finish_non_exhaustive()
    }
}

impl Limit {
    fn new(per_minute: u32, bursts: u32) -> Option<Self> {
        let rate = NonZeroU32::new(per_minute)?;
        let burst = NonZeroU32::new(per_minute / bursts).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(WINDOW / rate.get())?.allow_burst(burst);
        let clock = DefaultClock::default();
        Some(Self { per_minute, limiter: RateLimiter::direct(quota), clock, burst, window: Window::new(per_minute) })
    }

    /// Takes one unit; returns the wait if there is none.
    fn take_one(&self) -> Option<Duration> {
        self.limiter.check().err().map(|not_until| not_until.wait_time_from(self.clock.now()))
    }

    /// Pays as much of a debt as the allowance permits; returns the wait for more if some debt remains.
    fn pay(&self, debt: &mut i64) -> Option<Duration> {
        while let Some(portion) = u32::try_from(*debt).ok().and_then(|owed| NonZeroU32::new(owed.min(self.burst.get())))
        {
            match self.limiter.check_n(portion) {
                // A portion is at most the burst, so the capacity always suffices.
                Ok(Ok(())) | Err(_) => *debt -= i64::from(portion.get()),
                Ok(Err(not_until)) => return Some(not_until.wait_time_from(self.clock.now())),
            }
        }
        None
    }
}

/// The amounts sent within the last [`WINDOW`], in order.
#[derive(Debug)]
struct Window {
    limit: u64,
    entries: VecDeque<(Instant, u64)>,
    /// The number of the first entry, counted from the creation of the window.
    first: u64,
    sum: u64,
}

impl Window {
    fn new(limit: u32) -> Self {
        Self { limit: u64::from(limit), entries: VecDeque::new(), first: 0, sum: 0 }
    }

    /// Returns when there will be room for `amount`; `None` if there is room now. An empty window has room for any
    /// amount.
    fn full_until(&mut self, now: Instant, amount: u64) -> Option<Instant> {
        while let Some((at, gone)) = self.entries.front().copied()
            && at + WINDOW <= now
        {
            self.entries.pop_front();
            self.first += 1;
            self.sum -= gone;
        }
        let mut too_much = (self.sum + amount).checked_sub(self.limit).filter(|excess| *excess > 0)?;
        for (at, freed) in &self.entries {
            if *freed >= too_much {
                return Some(*at + WINDOW);
            }
            too_much -= freed;
        }
        self.entries.back().map(|(at, _)| *at + WINDOW)
    }

    fn push(&mut self, now: Instant, amount: u64) -> u64 {
        self.entries.push_back((now, amount));
        self.sum += amount;
        self.first + self.entries.len() as u64 - 1
    }

    fn correct(&mut self, entry: u64, amount: u64) {
        let index = entry.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some((_, charged)) = index.and_then(|index| self.entries.get_mut(index)) {
            self.sum = self.sum - *charged + amount;
            *charged = amount;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn no_limits_never_wait() {
        let mut pacing = Pacing::new(0, 0);
        for _ in 0..1000 {
            let charge = pacing.take(Instant::now(), u32::MAX, 1).unwrap();
            pacing.settle(charge, 7);
        }
        assert!(!pacing.counts_tokens());
    }

    #[test]
    fn the_second_request_of_a_slow_limit_waits_for_its_share_of_the_minute() {
        let mut pacing = Pacing::new(12, 0);
        let now = Instant::now();
        assert!(pacing.take(now, 1, 1).is_ok());
        let wait = pacing.take(now, 1, 1).unwrap_err() - now;
        assert!((4 * SECOND..=6 * SECOND).contains(&wait), "{wait:?}");
    }

    #[test]
    fn tokens_are_a_debt_that_holds_back_the_next_request() {
        let mut pacing = Pacing::new(0, 600);
        let now = Instant::now();
        let first = pacing.take(now, 100, 1).unwrap();
        assert!(pacing.take(now, 1, 1).is_err(), "100 tokens take ten seconds to pay");
        pacing.settle(first, 0);
        assert!(pacing.take(now, 1, 1).is_ok(), "what was not used is not owed");
        // An amount above a whole minute's allowance is sent, and then paid.
        let mut pacing = Pacing::new(0, 600);
        assert!(pacing.take(now, 10_000, 1).is_ok());
        assert!(pacing.take(now, 1, 1).is_err());
    }

    #[test]
    fn estimates_are_scaled_by_how_earlier_ones_turned_out() {
        let mut pacing = Pacing::new(0, 1_000_000_000);
        for _ in 0..100 {
            let charge = pacing.take(Instant::now(), 1000, 1).unwrap();
            pacing.settle(charge, 100);
        }
        assert!((100..=110).contains(&pacing.expected(1000)), "{}", pacing.expected(1000));
        let charge = pacing.take(Instant::now(), 1000, 1).unwrap();
        pacing.settle(charge, 0);
        assert!(pacing.expected(1000) >= 100, "a request that never arrived says nothing");
    }

    #[test]
    fn the_window_holds_its_limit_and_tells_when_there_is_room() {
        let start = Instant::now();
        let mut window = Window::new(10);
        assert_eq!(window.full_until(start, 50), None, "a single request larger than the limit is let through");
        for second in 0..5 {
            window.push(start + second * SECOND, 2);
        }
        let now = start + 5 * SECOND;
        assert_eq!(window.full_until(now, 1), Some(start + WINDOW));
        assert_eq!(window.full_until(now, 4), Some(start + SECOND + WINDOW));
        assert_eq!(window.full_until(now, 50), Some(start + 4 * SECOND + WINDOW));
        window.correct(1, 0);
        assert_eq!(window.full_until(now, 2), None);
        assert_eq!(window.full_until(start + WINDOW, 4), None, "the first entry is a window old");
        window.correct(0, 99);
        assert_eq!(window.sum, 6, "an entry that is gone is not corrected");
        window.correct(4, 8);
        assert_eq!(window.sum, 12);
    }

    #[test]
    fn a_pause_holds_back_everyone_and_only_grows() {
        let (mut pacing, now) = (Pacing::new(0, 0), Instant::now());
        assert_eq!(pacing.paused_until(now), None);
        pacing.pause(now, 60 * SECOND);
        assert_eq!(pacing.take(now, 1, 1), Err(now + 60 * SECOND));
        pacing.pause(now, SECOND);
        assert_eq!(pacing.take(now, 1, 1), Err(now + 60 * SECOND));
        pacing.pause(now, 90 * SECOND);
        assert_eq!(pacing.paused_until(now), Some(now + 90 * SECOND));
        assert_eq!(pacing.paused_until(now + 90 * SECOND), None);
    }

    #[test]
    fn after_a_pause_requests_are_let_go_one_by_one() {
        let (mut pacing, start) = (Pacing::new(0, 0), Instant::now());
        pacing.pause(start, 10 * SECOND);
        let mut now = start + 10 * SECOND;
        let mut released = 0;
        while now < start + 11 * SECOND {
            match pacing.take(now, 1, 20) {
                Ok(_) => released += 1,
                Err(until) => now = until,
            }
        }
        assert_eq!(released, 20, "the concurrency limit's worth within the ramp");
        for _ in 0..100 {
            assert!(pacing.take(now, 1, 20).is_ok(), "the ramp is over");
        }
    }
}
