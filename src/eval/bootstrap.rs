//! A paired bootstrap over queries (Efron and Tibshirani 1993, percentile intervals).
//!
//! Queries are drawn with replacement, [`ROUNDS`] times, from a fixed random stream: the same data give the same
//! interval. A drawn query contributes all its responses and, in a comparison, both sides.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};

/// The number of resamples.
pub const ROUNDS: usize = 2000;
/// The probability outside an interval, on both sides together.
const OUTSIDE: f64 = 0.05;

/// An estimate with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The statistic of the data themselves.
    pub estimate: f64,
    /// 2.5th percentile of the resamples.
    pub low: f64,
    /// 97.5th percentile.
    pub high: f64,
}

impl Interval {
    /// Returns whether all three values are finite numbers.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        [self.estimate, self.low, self.high].iter().all(|number| number.is_finite())
    }
}

/// One resample of the queries: how often each query was drawn.
#[derive(Debug, Clone, Copy)]
pub struct Draw<'a> {
    counts: Option<&'a [u32]>,
}

impl Draw<'_> {
    /// Returns the mean of a value per query; `None` without queries.
    #[must_use]
    pub fn mean(self, values: &[f64]) -> Option<f64> {
        if values.is_empty() {
            return None;
        }
        let sum: f64 = match self.counts {
            None => values.iter().sum(),
            Some(counts) => values.iter().zip(counts).map(|(value, &count)| value * f64::from(count)).sum(),
        };
        Some(sum / values.len() as f64)
    }
}

/// The resamples of a number of queries.
pub struct Resampled {
    /// `[ROUNDS][queries]`
    counts: Vec<u32>,
    queries: usize,
}

impl Resampled {
    /// Draws the resamples.
    #[must_use]
    pub fn new(queries: usize) -> Self {
        let mut counts = vec![0; ROUNDS * queries];
        let mut rng = ChaCha8Rng::seed_from_u64(queries as u64);
        for round in counts.chunks_exact_mut(queries.max(1)) {
            for _ in 0..queries {
                // The bias of this reduction is below 2^-32 of a query.
                let drawn = (u64::from(rng.next_u32()) * queries as u64) >> 32;
                if let Some(count) = round.get_mut(drawn as usize) {
                    *count += 1;
                }
            }
        }
        Self { counts, queries }
    }

    /// Returns a statistic of the data, and its percentile interval over the resamples.
    #[must_use]
    pub fn interval(&self, statistic: &dyn Fn(Draw<'_>) -> f64) -> Interval {
        let estimate = statistic(Draw { counts: None });
        let rounds = self.counts.chunks_exact(self.queries.max(1));
        let mut values: Vec<f64> = rounds.map(|counts| statistic(Draw { counts: Some(counts) })).collect();
        values.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| {
            let place = share * values.len().saturating_sub(1) as f64;
            let (below, above) = (place.floor() as usize, place.ceil() as usize);
            let part = place - place.floor();
            match (values.get(below), values.get(above)) {
                (Some(below), Some(above)) => below + (above - below) * part,
                _ => estimate,
            }
        };
        Interval { estimate, low: at(OUTSIDE / 2.0), high: at(1.0 - OUTSIDE / 2.0) }
    }
}
