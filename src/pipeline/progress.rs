//! The progress of a run: counters that every stage increments and the display reads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::outcome::Outcome;
use super::watchdog::{Place, Whereabouts};
use crate::domain::{ByMode, Mode, PassCounts};
use crate::engine::EngineStats;

/// Counters of one run. Incrementing is cheap on any thread.
#[derive(Debug)]
pub struct Progress {
    started: tokio::time::Instant,
    total: u64,
    /// Rows that were settled before this start.
    settled_before: AtomicU64,
    /// Rows that the facts of earlier starts settle, whether or not this start has reached them.
    resumed_at: AtomicU64,
    notice: Mutex<Option<String>>,
    settled: AtomicU64,
    samples: AtomicU64,
    think_on: AtomicU64,
    pass: ByMode<PassCounter>,
    judge_calls: AtomicU64,
    judge_calls_ended: AtomicU64,
    spend: Mutex<Spend>,
    whereabouts: Whereabouts,
}

#[derive(Debug, Default)]
struct PassCounter {
    sampled: AtomicU64,
    correct: AtomicU64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Spend {
    usd: f64,
    is_unknown: bool,
}

/// The counters at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Input rows of the run.
    pub total: u64,
    /// Rows with an outcome.
    pub settled: u64,
    /// Rows with an outcome that is a sample.
    pub samples: u64,
    /// Samples in Think-on.
    pub think_on: u64,
    /// Pass counts of this start, by mode.
    pub pass: ByMode<PassCounts>,
    /// Judge calls of this start.
    pub judge_calls: u64,
    /// Spend of this start in USD; `None` if a price is unknown.
    pub spend_usd: Option<f64>,
    /// Tokens sampled per second since this start.
    pub tokens_per_second: f64,
    /// Seconds since this start.
    pub elapsed_s: f64,
    /// Seconds to the end at the present rate, once there is one.
    pub remaining_s: Option<f64>,
    /// Rows settled per second since this start.
    pub queries_per_second: f64,
    /// The cause of a delay, if any.
    pub notice: Option<String>,
}

impl Progress {
    /// Starts counting a run of `total` input rows.
    #[must_use]
    pub fn new(total: u64) -> Self {
        Self {
            started: tokio::time::Instant::now(),
            total,
            settled_before: AtomicU64::new(0),
            resumed_at: AtomicU64::new(0),
            notice: Mutex::default(),
            settled: AtomicU64::new(0),
            samples: AtomicU64::new(0),
            think_on: AtomicU64::new(0),
            pass: ByMode::default(),
            judge_calls: AtomicU64::new(0),
            judge_calls_ended: AtomicU64::new(0),
            spend: Mutex::default(),
            whereabouts: Whereabouts::default(),
        }
    }

    /// Adds the rows that earlier starts published.
    pub fn resume(&self, rows: u64, samples: u64, think_on: u64) {
        for (counter, count) in
            [(&self.settled_before, rows), (&self.settled, rows), (&self.samples, samples), (&self.think_on, think_on)]
        {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Returns the waits of tasks.
    pub(super) fn whereabouts(&self) -> &Whereabouts {
        &self.whereabouts
    }

    /// Awaits `future`, counted as a wait at a place.
    pub(super) async fn at<T>(&self, place: Place, future: impl Future<Output = T>) -> T {
        self.whereabouts.at(place, future).await
    }

    /// Counts a stored response.
    pub(super) fn sampled(&self) {
        self.whereabouts.arrived();
    }

    /// Sets how many rows the facts of earlier starts settle. Those rows are not work of this start.
    pub fn resume_at(&self, rows: u64) {
        self.resumed_at.store(rows, Ordering::Relaxed);
    }

    /// Sets the cause of a delay, which the display shows in place of rates; `None` once the run continues.
    pub fn set_notice(&self, notice: Option<String>) {
        // The lock guards one text, which is whole after a panic.
        *self.notice.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = notice;
    }

    pub(super) fn settled(&self, outcome: &Outcome) {
        self.whereabouts.arrived();
        self.settled.fetch_add(1, Ordering::Relaxed);
        if let Outcome::Sample(sample) = outcome {
            self.samples.fetch_add(1, Ordering::Relaxed);
            self.think_on.fetch_add(u64::from(sample.mode == Mode::ThinkOn), Ordering::Relaxed);
        }
    }

    /// Counts a verdict; `is_correct` says what the response counts as.
    pub(super) fn verified(&self, mode: Mode, is_correct: bool) {
        self.whereabouts.arrived();
        self.pass[mode].sampled.fetch_add(1, Ordering::Relaxed);
        self.pass[mode].correct.fetch_add(u64::from(is_correct), Ordering::Relaxed);
    }

    pub(super) fn judge_called(&self) {
        self.judge_calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn judge_call_ended(&self) {
        self.whereabouts.arrived();
        self.judge_calls_ended.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of judge calls in flight.
    pub(super) fn judge_calls_in_flight(&self) -> u64 {
        self.judge_calls.load(Ordering::Relaxed).saturating_sub(self.judge_calls_ended.load(Ordering::Relaxed))
    }

    pub(super) fn judge_charged(&self, usd: Option<f64>) {
        // The lock guards two plain numbers, which are valid after a panic.
        let mut spend = self.spend.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match usd {
            Some(usd) => spend.usd += usd,
            None => spend.is_unknown = true,
        }
    }

    /// Returns the present counters.
    #[must_use]
    pub fn snapshot(&self, engine: &EngineStats) -> Snapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let count = |counter: &AtomicU64| u32::try_from(read(counter)).unwrap_or(u32::MAX);
        let elapsed_s = self.started.elapsed().as_secs_f64();
        let before = read(&self.settled_before).max(read(&self.resumed_at));
        let settled = read(&self.settled).max(before);
        let new = settled.saturating_sub(before);
        let pace = (new > 0).then(|| elapsed_s / new as f64);
        let spend = *self.spend.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Snapshot {
            total: self.total,
            settled,
            samples: read(&self.samples),
            think_on: read(&self.think_on),
            pass: ByMode::from_fn(|mode| PassCounts {
                sampled: count(&self.pass[mode].sampled),
                correct: count(&self.pass[mode].correct),
                other_mode: 0,
            }),
            judge_calls: read(&self.judge_calls),
            spend_usd: (!spend.is_unknown).then_some(spend.usd),
            tokens_per_second: read(&engine.sampled_tokens) as f64 / elapsed_s.max(1e-3),
            elapsed_s,
            queries_per_second: new as f64 / elapsed_s.max(1e-3),
            notice: self.notice.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone(),
            remaining_s: pace.map(|pace| pace * self.total.saturating_sub(settled) as f64),
        }
    }
}
