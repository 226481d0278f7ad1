//! Pacing of one endpoint: requests per minute, tokens per minute, and pauses the server asked for.
//!
//! Limits of 0 mean "none known". A minute's allowance is spread out: at most a sixth of it goes out in one burst, so
//! that a server with a sliding window sees little more than the configured rate even in the first minute. A pause
//! holds back every request of the endpoint, and only ever gets longer while it lasts. Concurrency is bounded by the
//! client, not here. Waiting is cancel-safe; allowance taken before a cancelled wait is lost.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::time::Instant;

/// The share of a minute's allowance that may go out at once.
const BURSTS_PER_MINUTE: u32 = 6;

/// The pacing state that all requests of an endpoint share.
#[derive(Debug)]
pub struct Pacing {
    requests: Option<Meter>,
    tokens: Option<Meter>,
    paused_until: Mutex<Option<Instant>>,
}

impl Pacing {
    /// Builds pacing from the two limits; 0 means no limit.
    #[must_use]
    pub fn new(requests_per_minute: u32, tokens_per_minute: u32) -> Self {
        Self {
            requests: Meter::new(requests_per_minute),
            tokens: Meter::new(tokens_per_minute),
            paused_until: Mutex::new(None),
        }
    }

    /// Waits until one more request of about `tokens` tokens may be sent.
    pub async fn ready(&self, tokens: u32) {
        self.unpaused().await;
        if let Some(requests) = &self.requests {
            requests.take(1).await;
        }
        if let Some(limit) = &self.tokens {
            limit.take(tokens).await;
        }
        // A pause may have begun while this request waited for its allowance.
        self.unpaused().await;
    }

    /// Holds back all requests for `duration` from now; never shortens a pause that is longer.
    pub fn pause(&self, duration: Duration) {
        let until = Instant::now() + duration;
        let mut paused_until = self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        *paused_until = (*paused_until).max(Some(until));
    }

    /// Returns the end of the pause in force, if any.
    #[must_use]
    pub fn paused_until(&self) -> Option<Instant> {
        let now = Instant::now();
        self.paused_until.lock().unwrap_or_else(PoisonError::into_inner).filter(|until| *until > now)
    }

    async fn unpaused(&self) {
        while let Some(until) = self.paused_until() {
            tokio::time::sleep_until(until).await;
        }
    }
}

/// One allowance per minute.
struct Meter {
    limiter: DefaultDirectRateLimiter,
    burst: NonZeroU32,
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Meter").field("burst", &self.burst).finish_non_exhaustive()
    }
}

impl Meter {
    fn new(per_minute: u32) -> Option<Self> {
        let rate = NonZeroU32::new(per_minute)?;
        let burst = NonZeroU32::new(per_minute / BURSTS_PER_MINUTE).unwrap_or(NonZeroU32::MIN);
        Some(Self { limiter: RateLimiter::direct(Quota::per_minute(rate).allow_burst(burst)), burst })
    }

    /// Takes `amount`, in portions of at most one burst: more than a burst at once is never available.
    async fn take(&self, amount: u32) {
        let mut left = amount;
        while let Some(portion) = NonZeroU32::new(left.min(self.burst.get())) {
            // A portion is at most the burst, so that capacity always suffices; were it not, going on is right.
            let _within_capacity = self.limiter.until_n_ready(portion).await;
            left -= portion.get();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn no_limits_never_wait() {
        let pacing = Pacing::new(0, 0);
        for _ in 0..1000 {
            assert!(pacing.ready(u32::MAX).now_or_never().is_some());
        }
    }

    #[tokio::test]
    async fn a_burst_of_requests_goes_out_and_the_next_one_waits() {
        let pacing = Pacing::new(12, 0);
        assert!(pacing.ready(1).now_or_never().is_some());
        assert!(pacing.ready(1).now_or_never().is_some());
        assert!(pacing.ready(1).now_or_never().is_none());
    }

    #[tokio::test]
    async fn tokens_are_taken_in_portions_no_larger_than_the_burst() {
        let pacing = Pacing::new(0, 600);
        assert!(pacing.ready(100).now_or_never().is_some());
        assert!(pacing.ready(1).now_or_never().is_none());
        // More than a whole minute's allowance waits instead of failing.
        let pacing = Pacing::new(0, 600);
        assert!(pacing.ready(10_000).now_or_never().is_none());
        // A burst and a little: the rest comes at 10,000 tokens per millisecond.
        let pacing = Pacing::new(0, 600_000_000);
        pacing.ready(100_020_000).await;
        assert!(pacing.ready(100_000_000).now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_pause_holds_back_everyone_and_only_grows() {
        let pacing = Pacing::new(0, 0);
        assert_eq!(pacing.paused_until(), None);
        pacing.pause(Duration::from_secs(60));
        let until = pacing.paused_until();
        assert!(until.is_some());
        pacing.pause(Duration::from_secs(1));
        assert_eq!(pacing.paused_until(), until);
        pacing.pause(Duration::from_secs(90));
        assert!(pacing.paused_until() > until);
        assert!(pacing.ready(1).now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_pause_ends_by_itself() {
        let pacing = Pacing::new(0, 0);
        pacing.pause(Duration::from_millis(2));
        pacing.ready(1).await;
        assert_eq!(pacing.paused_until(), None);
    }
}
