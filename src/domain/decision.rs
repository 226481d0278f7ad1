//! The choice of mode for one query.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ByMode, Mode, RolloutKey, stable_names};

/// Why a mode was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ModeReason {
    /// The pass rate of this mode is higher by at least the tie margin.
    HigherPassRate,
    /// The pass rates differ by less than the tie margin, which selects Think-off.
    Tie,
    /// Think-off's pass rate cannot fall below Think-on's by the tie margin, whatever further responses show: a tie or
    /// a higher rate. A curtailed budget gives this reason, because it does not sample on to distinguish the two.
    NotWorse,
    /// The query belongs to the random share.
    Random,
}

stable_names!(ModeReason {
    HigherPassRate => "higher_pass_rate",
    Tie => "tie",
    NotWorse => "not_worse",
    Random => "random",
});

/// What a response of the other mode than was asked for counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "OtherModeRule")]
pub enum OtherMode {
    /// Incorrect in the mode that was asked for, whatever its verdict.
    #[default]
    Incorrect,
    /// What its verdict says.
    AsVerified,
}

impl OtherMode {
    /// Returns whether a response counts as correct in the mode that was asked for.
    #[must_use]
    pub const fn counts(self, is_verified: bool, shows_other_mode: bool) -> bool {
        match self {
            Self::Incorrect => is_verified && !shows_other_mode,
            Self::AsVerified => is_verified,
        }
    }
}

/// How many samples of one mode were drawn, and how many were correct.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PassCounts {
    /// Sampled rollouts.
    pub sampled: u32,
    /// Rollouts that count as correct.
    pub correct: u32,
    /// Rollouts that show the other mode than was asked for.
    pub other_mode: u32,
}

impl PassCounts {
    /// Returns `correct / sampled`, in 0..=1, or 0 without samples.
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
    /// Why this mode was chosen.
    pub reason: ModeReason,
    /// The counts of both modes.
    pub counts: ByMode<PassCounts>,
    /// The response that the sample contains.
    pub chosen: RolloutKey,
}
