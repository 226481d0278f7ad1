//! THE difficulty rule: a label and a score from the two pass rates.
//!
//! HiPO says that queries are categorised by difficulty and does not publish how; this rule is thinkloom's own. In
//! order: `easy` if Think-off solves it nearly always; `medium` if Think-off solves it sometimes, or Think-on nearly
//! always; `hard` if either mode solves it at all; otherwise `unsolved`. The bins are settings.

use crate::config::DifficultySettings;
use crate::domain::{ByMode, PassCounts, stable_names};

/// How hard a query is for the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DifficultyLabel {
    /// Think-off solves it nearly always.
    Easy,
    /// Think-off solves it sometimes, or Think-on nearly always.
    Medium,
    /// Solved at least once.
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
    /// `1 - (2 p_off + p_on) / 3`, in 0..=1: what is solved without thinking is easier than what needs it.
    pub score: f64,
}

/// Labels a query.
#[must_use]
pub fn rate(counts: &ByMode<PassCounts>, bins: &DifficultySettings) -> Difficulty {
    let (on, off) = (counts.on.pass_rate(), counts.off.pass_rate());
    let label = if off >= bins.easy_off_min {
        DifficultyLabel::Easy
    } else if off >= bins.medium_off_min || on >= bins.medium_on_min {
        DifficultyLabel::Medium
    } else if on > 0.0 || off > 0.0 {
        DifficultyLabel::Hard
    } else {
        DifficultyLabel::Unsolved
    };
    Difficulty { label, score: 1.0 - (2.0 * off + on) / 3.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(on: u32, off: u32) -> DifficultyLabel {
        let counts = |correct| PassCounts { sampled: 8, correct };
        rate(&ByMode { on: counts(on), off: counts(off) }, &DifficultySettings::default()).label
    }

    #[test]
    fn bins_start_at_their_own_value() {
        use DifficultyLabel::{Easy, Hard, Medium, Unsolved};
        assert_eq!([label(0, 6), label(0, 5), label(0, 2), label(0, 1)], [Easy, Medium, Medium, Hard]);
        assert_eq!([label(6, 1), label(5, 1), label(1, 0), label(0, 0)], [Medium, Hard, Hard, Unsolved]);
    }

    #[test]
    fn more_correct_answers_never_raise_the_score_or_the_label() {
        let counts = |correct| PassCounts { sampled: 4, correct };
        let bins = DifficultySettings::default();
        for on in 0..=4 {
            for off in 0..=4 {
                let here = rate(&ByMode { on: counts(on), off: counts(off) }, &bins);
                assert!((0.0..=1.0).contains(&here.score));
                for (on, off) in [((on + 1).min(4), off), (on, (off + 1).min(4))] {
                    let there = rate(&ByMode { on: counts(on), off: counts(off) }, &bins);
                    assert!(there.score <= here.score && there.label <= here.label);
                }
            }
        }
    }
}
