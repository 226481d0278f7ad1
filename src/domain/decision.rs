//! The choice of mode for one query.

use super::{ByMode, Mode, RolloutKey, stable_names};

/// Why a mode was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ModeReason {
    /// Its pass rate is higher by at least the tie margin.
    HigherPassRate,
    /// The pass rates lie closer than the tie margin: Think-off.
    Tie,
    /// Think-off's pass rate is not below Think-on's by the tie margin, whatever further responses say: a tie or a higher
    /// rate. Told under a frugal budget, which does not sample on to tell the two apart.
    NotWorse,
    /// The query is one of the random share.
    Random,
}

stable_names!(ModeReason {
    HigherPassRate => "higher_pass_rate",
    Tie => "tie",
    NotWorse => "not_worse",
    Random => "random",
});

/// How many samples of one mode were drawn, and how many were correct.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PassCounts {
    /// Rollouts drawn.
    pub sampled: u32,
    /// Rollouts with verdict `correct`.
    pub correct: u32,
}

impl PassCounts {
    /// Returns `correct / sampled`, in 0..=1; 0 when nothing was sampled.
    #[must_use]
    pub fn pass_rate(self) -> f64 {
        if self.sampled == 0 { 0.0 } else { f64::from(self.correct) / f64::from(self.sampled) }
    }
}

/// The chosen mode and response of one query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The chosen mode.
    pub mode: Mode,
    /// Why.
    pub reason: ModeReason,
    /// Counts of both modes.
    pub counts: ByMode<PassCounts>,
    /// The response that becomes the sample.
    pub chosen: RolloutKey,
}
