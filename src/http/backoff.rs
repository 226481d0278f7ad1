//! The wait before a request is sent again, if the server states none.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::retry::{RETRY_AFTER_MAX, is_refusal};

/// Exponential back-off with full jitter: the n-th delay (n from 0) is uniform in `0..=min(cap, base * 2^n)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The upper end of the first delay.
    pub base: Duration,
    /// The upper end of every delay.
    pub cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_millis(500), cap: Duration::from_secs(30) }
    }
}

/// From this length on, a wait is logged for the user.
pub const LONG_WAIT: Duration = Duration::from_secs(10);

/// How the wait before the next try grows with the number of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// The wait grows up to the cap: every request backs off on its own.
    Whole,
    /// The wait grows only for the first failures: a breaker waits for an unreachable server, and further waiting does
    /// not change a refusal.
    Short,
}

/// The number of failures after which a [`Growth::Short`] wait stops growing.
const SHORT_FAILURES: u32 = 3;

impl Growth {
    /// Returns how a wait grows behind a breaker, by the status and by whether the breaker blames the server; after a
    /// rate limit each request backs off on its own.
    #[must_use]
    pub const fn after(status: Option<u16>, is_servers: bool) -> Self {
        let is_limited = matches!(status, Some(429));
        if is_servers && !is_limited || is_refusal(status) { Self::Short } else { Self::Whole }
    }
}

impl Backoff {
    /// Returns the wait before the retry after the `failures`-th failure: the server's requested wait, at most
    /// [`RETRY_AFTER_MAX`], else [`Self::delay`].
    #[must_use]
    pub fn wait(&self, wish: Option<Duration>, growth: Growth, failures: u32, salt: &str) -> Duration {
        let failures = if growth == Growth::Short { failures.min(SHORT_FAILURES) } else { failures };
        wish.map_or_else(|| self.delay(failures, salt), |wish| wish.min(RETRY_AFTER_MAX))
    }

    /// Returns the delay before the retry after the `failures`-th failure (from 1), spread by `salt`.
    #[must_use]
    pub fn delay(&self, failures: u32, salt: &str) -> Duration {
        let factor = 2_u32.saturating_pow(failures.saturating_sub(1));
        self.base.saturating_mul(factor).min(self.cap).mul_f64(unit_fraction(salt, failures))
    }
}

/// Returns a number in 0..1 that is a function of the arguments.
fn unit_fraction(salt: &str, number: u32) -> f64 {
    let mut hash = Sha256::new();
    hash.update(salt.as_bytes());
    hash.update(number.to_le_bytes());
    let digest = hash.finalize();
    let bits = digest.iter().take(4).fold(0_u32, |bits, byte| (bits << 8) | u32::from(*byte));
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_stays_under_its_doubling_ceiling_and_differs_by_salt() {
        let backoff = Backoff::default();
        for failures in 1..=40 {
            let ceiling = Duration::from_millis(500 * 2_u64.pow(failures - 1)).min(backoff.cap);
            assert!(backoff.delay(failures, "key") <= ceiling, "failure {failures}");
        }
        assert!(backoff.delay(u32::MAX, "key") <= backoff.cap);
        assert_eq!(backoff.delay(3, "key"), backoff.delay(3, "key"));
        assert_ne!(backoff.delay(3, "key"), backoff.delay(3, "other"));
        let mean: f64 = (0..1000).map(|n| unit_fraction("key", n)).sum::<f64>() / 1000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
    }
}
