//! The only difficulty rule: a label, a score and the score's interval from the two pass rates.
//!
//! HiPO categorises queries by difficulty and does not publish how; this rule is thinkloom's own. In order: `easy` if
//! Think-off solves the query nearly always; `medium` if Think-off solves it sometimes, or Think-on nearly always;
//! `hard` if either mode solves it at all; otherwise `unsolved`. The bins are settings.
//!
//! # Small N
//! The score is a point estimate; `low` and `high` show how uncertain N responses leave it. Each pass rate has a Beta
//! posterior under a flat prior, `Beta(1 + correct, 1 + incorrect)`; the score is linear in both; the interval cuts
//! equal tails off the score's distribution, and is widened to hold the score itself if all or no responses are
//! correct. It is computed on a grid of 1/240 and rounded to four decimals, so that it is the same on every machine.
//!
//! # Curtailed sampling
//! A curtailed budget samples fewer responses, and stops only when the label of the full budget can no longer change
//! (see `select::curtail`, which calls [`label`]): labels are those of the full budget, scores and intervals those of
//! the sampled responses.

use crate::config::DifficultySettings;
use crate::domain::{ByMode, PassCounts, stable_names};

/// The difficulty of a query for the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DifficultyLabel {
    /// Think-off solves the query nearly always.
    Easy,
    /// Think-off solves the query sometimes, or Think-on nearly always.
    Medium,
    /// Solved at least once, by either mode.
    Hard,
    /// Never solved.
    Unsolved,
}

stable_names!(DifficultyLabel { Easy => "easy", Medium => "medium", Hard => "hard", Unsolved => "unsolved" });

/// A label with its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difficulty {
    /// The label.
    pub label: DifficultyLabel,
    /// `1 - (2 p_off + p_on) / 3`, in 0..=1: a query that Think-off solves is easier than a query that needs thinking.
    pub score: f64,
    /// Lower end of the score's interval.
    pub low: f64,
    /// Upper end of the score's interval.
    pub high: f64,
}

/// Labels a query.
#[must_use]
pub fn rate(counts: &ByMode<PassCounts>, settings: &DifficultySettings) -> Difficulty {
    let (on, off) = (counts.on.pass_rate(), counts.off.pass_rate());
    let score = 1.0 - (2.0 * off + on) / 3.0;
    let (low, high) = interval(counts, settings.interval);
    Difficulty { label: label(counts, settings), score, low: low.min(score), high: high.max(score) }
}

/// Returns the label alone.
#[must_use]
pub fn label(counts: &ByMode<PassCounts>, bins: &DifficultySettings) -> DifficultyLabel {
    let (on, off) = (counts.on.pass_rate(), counts.off.pass_rate());
    if off >= bins.easy_off_min {
        DifficultyLabel::Easy
    } else if off >= bins.medium_off_min || on >= bins.medium_on_min {
        DifficultyLabel::Medium
    } else if on > 0.0 || off > 0.0 {
        DifficultyLabel::Hard
    } else {
        DifficultyLabel::Unsolved
    }
}

/// The number of grid steps over a pass rate.
const STEPS: usize = 240;

/// Returns the interval that holds the score with the given probability.
fn interval(counts: &ByMode<PassCounts>, probability: f64) -> (f64, f64) {
    let (on, off) = (posterior(counts.on), posterior(counts.off));
    // The weight of 2 off + on, in half steps of 2 STEPS.
    let mut weights = vec![0.0; 6 * STEPS];
    for (i, off) in off.iter().enumerate() {
        for (j, on) in on.iter().enumerate() {
            if let Some(weight) = weights.get_mut(2 * (2 * i + 1) + 2 * j + 1) {
                *weight += off * on;
            }
        }
    }
    let total: f64 = weights.iter().sum();
    let quantile = |share: f64| {
        let (mut sum, mut place) = (0.0, 0.0);
        for (index, weight) in weights.iter().enumerate() {
            if sum + weight >= share * total {
                break;
            }
            sum += weight;
            place = (index + 1) as f64;
        }
        place / (6 * STEPS) as f64
    };
    let tail = (1.0 - probability) / 2.0;
    let round = |number: f64| (number * 10_000.0).round() / 10_000.0;
    (round(1.0 - quantile(1.0 - tail)), round(1.0 - quantile(tail)))
}

/// Returns the density of `Beta(1 + correct, 1 + incorrect)` at the centres of the grid's steps, without normalization.
fn posterior(PassCounts { sampled, correct, .. }: PassCounts) -> Vec<f64> {
    let power = |base: f64, exponent: u32| (0..exponent).fold(1.0, |product, _| product * base);
    let mode = if sampled == 0 { 0.5 } else { f64::from(correct) / f64::from(sampled) };
    let middle = |step: usize| (step as f64 + 0.5) / STEPS as f64;
    // The density is relative to its mode, so that it does not underflow.
    let relative = |value: f64, mode: f64| if mode > 0.0 { value / mode } else { 1.0 };
    (0..STEPS)
        .map(|step| {
            let rate = middle(step);
            power(relative(rate, mode), correct) * power(relative(1.0 - rate, 1.0 - mode), sampled - correct)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(on: (u32, u32), off: (u32, u32)) -> ByMode<PassCounts> {
        let counts = |(correct, sampled)| PassCounts { sampled, correct, other_mode: 0 };
        ByMode { on: counts(on), off: counts(off) }
    }

    fn label_of(on: u32, off: u32) -> DifficultyLabel {
        rate(&counts((on, 8), (off, 8)), &DifficultySettings::default()).label
    }

    #[test]
    fn bins_start_at_their_own_value() {
        use DifficultyLabel::{Easy, Hard, Medium, Unsolved};
        assert_eq!([label_of(0, 6), label_of(0, 5), label_of(0, 2), label_of(0, 1)], [Easy, Medium, Medium, Hard]);
        assert_eq!([label_of(6, 1), label_of(5, 1), label_of(1, 0), label_of(0, 0)], [Medium, Hard, Hard, Unsolved]);
    }

    #[test]
    fn more_correct_answers_never_raise_the_score_the_label_or_the_interval() {
        let bins = DifficultySettings::default();
        for on in 0..=4 {
            for off in 0..=4 {
                let here = rate(&counts((on, 4), (off, 4)), &bins);
                assert!(0.0 <= here.low && here.low <= here.score && here.score <= here.high && here.high <= 1.0);
                for (on, off) in [((on + 1).min(4), off), (on, (off + 1).min(4))] {
                    let there = rate(&counts((on, 4), (off, 4)), &bins);
                    assert!(there.score <= here.score && there.label <= here.label);
                    assert!(there.low <= here.low && there.high <= here.high);
                }
            }
        }
    }

    #[test]
    fn intervals_are_those_of_the_beta_posterior_and_shrink_with_n() {
        let bins = DifficultySettings::default();
        let width = |n: u32| {
            let found = rate(&counts((n / 2, n), (n / 2, n)), &bins);
            found.high - found.low
        };
        assert!(width(4) > width(16) && width(16) > width(64) && width(64) > width(256));
        // Large N: normal, with variance (4 + 1) / 9 of that of one pass rate.
        let expected = 2.0 * 1.645 * (5.0_f64 / 9.0 * 0.25 / 1000.0).sqrt();
        assert!((width(1000) - expected).abs() < 0.004, "{} {expected}", width(1000));
        // Nothing sampled: flat priors. P(2x + y <= t) = t^2 / 4 for t <= 1, so that the 5 % quantile of t is 0.447.
        let unknown = rate(&counts((0, 0), (0, 0)), &bins);
        assert!((unknown.high - 1.0).abs() < 1e-9 && (unknown.low - 0.149).abs() < 0.004, "{unknown:?}");
        let all = rate(&counts((8, 8), (8, 8)), &bins);
        assert!(all.low == 0.0 && all.high > 0.15 && all.high < 0.35, "{all:?}");
    }
}
