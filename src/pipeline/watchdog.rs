//! Counts the waits of a run's tasks, and reports the waits if the run makes no progress.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Time without progress before the log lists all waits; the time to each further report doubles.
pub(super) const QUIET: Duration = Duration::from_secs(300);

/// The things that a query waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A read of the ledger.
    Read,
    /// Another query with the same request.
    Turn,
    /// A response of the policy.
    Policy,
    /// The writer of the ledger.
    Commit,
    /// A verdict.
    Verdict,
    /// The judge.
    Judge,
    /// The writing of a file.
    Publish,
}

const PLACES: [(Place, &str); 7] = [
    (Place::Read, "a read of the ledger"),
    (Place::Turn, "the same request of another query"),
    (Place::Policy, "the policy"),
    (Place::Commit, "the ledger's writer"),
    (Place::Verdict, "a verdict"),
    (Place::Judge, "the judge"),
    (Place::Publish, "a file to be written"),
];

/// Numbers of waits by place. Counting is cheap on any thread.
#[derive(Debug, Default)]
pub(super) struct Whereabouts {
    waiting: [AtomicU64; PLACES.len()],
    /// Number of events so far: responses, verdicts, replies, outcomes, files.
    arrivals: AtomicU64,
}

/// One wait, until dropped.
struct Waiting<'a>(&'a AtomicU64);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Whereabouts {
    /// Awaits `future`, counted as a wait at a place.
    pub(super) async fn at<T>(&self, place: Place, future: impl Future<Output = T>) -> T {
        let _waiting = self.waiting.get(place as usize).map(|count| {
            count.fetch_add(1, Ordering::Relaxed);
            Waiting(count)
        });
        future.await
    }

    /// Counts an event.
    pub(super) fn arrived(&self) {
        self.arrivals.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of events so far.
    pub(super) fn arrivals(&self) -> u64 {
        self.arrivals.load(Ordering::Relaxed)
    }

    /// Returns the waits by place; empty if there are none.
    #[must_use]
    pub(super) fn describe(&self) -> String {
        let counts = PLACES.iter().zip(&self.waiting).map(|((_, name), count)| (name, count.load(Ordering::Relaxed)));
        let parts: Vec<String> =
            counts.filter(|(_, count)| *count > 0).map(|(name, count)| format!("{count} for {name}")).collect();
        parts.join(", ")
    }
}

/// Detects a run without progress.
#[derive(Debug)]
pub(super) struct Watchdog {
    seen: u64,
    quiet: Duration,
    quiet_max: Duration,
}

impl Default for Watchdog {
    fn default() -> Self {
        Self { seen: 0, quiet: Duration::ZERO, quiet_max: QUIET }
    }
}

impl Watchdog {
    /// Checks again after `passed`. Returns the time without progress, if a report is due.
    pub(super) fn look(&mut self, arrivals: u64, passed: Duration) -> Option<Duration> {
        if arrivals != self.seen {
            *self = Self { seen: arrivals, ..Self::default() };
            return None;
        }
        self.quiet += passed;
        if self.quiet < self.quiet_max {
            return None;
        }
        self.quiet_max *= 2;
        Some(self.quiet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_told_after_its_bound_and_then_ever_more_seldom() {
        let minute = Duration::from_secs(60);
        let mut watchdog = Watchdog::default();
        let told: Vec<u64> =
            (1..=20).filter_map(|_| watchdog.look(0, minute)).map(|quiet| quiet.as_secs() / 60).collect();
        assert_eq!(told, [5, 10, 20]);
        assert_eq!(watchdog.look(1, minute), None);
        assert_eq!((1..=5).filter_map(|_| watchdog.look(1, minute)).count(), 1, "it begins anew");
    }

    #[tokio::test]
    async fn those_who_wait_are_counted_until_they_go_on_or_are_dropped() {
        let whereabouts = Whereabouts::default();
        let mut waiting = Box::pin(whereabouts.at(Place::Judge, std::future::pending::<()>()));
        assert!(futures::poll!(&mut waiting).is_pending());
        whereabouts
            .at(Place::Commit, async { assert!(whereabouts.describe().contains("1 for the ledger's writer")) })
            .await;
        assert_eq!(whereabouts.describe(), "1 for the judge");
        drop(waiting);
        assert_eq!(whereabouts.describe(), "");
    }
}
