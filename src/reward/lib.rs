//! THE reward rule (HiPO, arXiv 2509.23967, the hybrid reward system).
//!
//! The responses `i` to one query form a group. Each has a mode `M_i`, is correct or not (`ACC_i`) and well-formed or
//! not (`FORMAT_i`), both 0 or 1:
//!
//! ```text
//! r_i   = ACC_i + format_weight * FORMAT_i                               base reward
//!
//! d     = mean(r_on) - mean(r_off),   b = omega * mean(r_on)             bias adjustment
//! m_off = mean(r_off) + b  if 0 <= d <= b,  else mean(r_off)
//! m_on  = mean(r_on)
//!
//! A_judge_i  = (m_{M_i} - mean(r)) + gamma * (r_i - mean(r)) / (std(r) + epsilon)
//! A_answer_i = (r_i - mean(r_{M_i})) / (std(r_{M_i}) + epsilon)
//! ```
//!
//! `mean(r)` and `std(r)` cover the whole group; `A_answer` uses the unadjusted means. `A_judge` applies to the tokens
//! of the judge block up to the mode tag, `A_answer` to all later tokens ([`segments`]).
//!
//! Sources. Several summaries of the paper state the base reward. Its reviewers state that Think-off gets a boost
//! scaled by a small omega, and that two segments have two advantages. **The forms of the adjustment and of both
//! advantages, and the constants omega, gamma and epsilon, are reconstructions**, not the paper's text. Each is a
//! setting, and so is each ablation.
//!
//! Edge cases. If a mode is absent from the group, nothing is adjusted. Equal rewards have the deviation 0 exactly, and
//! the advantages divided by this deviation are 0 exactly. The sample deviation of one response is 0. An empty group
//! gives an empty result. The adjustment's comparisons allow for [`SLACK`]: binary numbers cannot represent a
//! hundredth, and two means of the same rewards must compare as equal.

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests use files and clocks as they are")
)]

pub mod row;
pub mod segments;
pub mod template;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use thinkloom_domain::{ByMode, Mode, stable_names};

/// How far rounding may move a difference of means past a bound of the bias adjustment.
pub const SLACK: f64 = 1e-12;

/// The standard deviation to use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub enum Deviation {
    /// Divided by n.
    #[default]
    Population,
    /// Divided by n - 1.
    Sample,
}

stable_names!(Deviation { Population => "population", Sample => "sample" });

/// The statistics that normalise the advantage of the answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub enum LocalNormalization {
    /// Mean and deviation of the response's own mode.
    #[default]
    Mode,
    /// Ablation: mean and deviation of the whole group.
    Group,
    /// Ablation: the mode's mean is subtracted, and nothing divides.
    None,
}

stable_names!(LocalNormalization { Mode => "mode", Group => "group", None => "none" });

/// The method that computes the advantages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub enum Method {
    /// Two advantages, by the formulas above.
    #[default]
    Hipo,
    /// Plain GRPO: one advantage for all tokens, (r_i - mean(r)) / (std(r) + epsilon), and no adjustment.
    Grpo,
}

stable_names!(Method { Hipo => "hipo", Grpo => "grpo" });

/// The constants and switches of the rule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RewardSettings {
    /// The reward of a well-formed response's format, at least 0.
    pub format_weight: f64,
    /// The scale of Think-off's boost, at least 0.
    pub omega: f64,
    /// The weight of the response's own reward in the advantage of the judge block, at least 0.
    pub gamma: f64,
    /// The number added to each deviation before the division; above 0.
    pub epsilon: f64,
    /// The standard deviation to use.
    pub deviation: Deviation,
    /// `false` is the ablation without the adjustment.
    pub bias_adjustment: bool,
    /// `false` is the ablation without (m_{M_i} - mean(r)), the term shared by all responses of a mode.
    pub global_term: bool,
    /// The statistics that normalise the advantage of the answer.
    pub local_normalization: LocalNormalization,
    /// The method that computes the advantages.
    pub method: Method,
}

impl Default for RewardSettings {
    fn default() -> Self {
        Self {
            format_weight: 0.2,
            omega: 0.01,
            gamma: 0.3,
            epsilon: 1e-6,
            deviation: Deviation::Population,
            bias_adjustment: true,
            global_term: true,
            local_normalization: LocalNormalization::Mode,
            method: Method::Hipo,
        }
    }
}

/// A constant outside its range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{name} is {value}; allowed: {allowed}")]
pub struct ConstantFault {
    /// The constant's name.
    pub name: &'static str,
    /// The given value.
    pub value: f64,
    /// The allowed range.
    pub allowed: &'static str,
}

impl RewardSettings {
    /// Checks the constants, and returns the first that is out of its range.
    pub fn check(&self) -> Result<(), ConstantFault> {
        let Self { format_weight, omega, gamma, epsilon, .. } = *self;
        for (name, value) in [("format_weight", format_weight), ("omega", omega), ("gamma", gamma)] {
            if !(0.0..=1e6).contains(&value) {
                return Err(ConstantFault { name, value, allowed: "0 to 1e6" });
            }
        }
        if !(1e-12..=1.0).contains(&epsilon) {
            return Err(ConstantFault { name: "epsilon", value: epsilon, allowed: "1e-12 to 1" });
        }
        Ok(())
    }
}

/// The properties of one response that the rule needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// The response's mode.
    pub mode: Mode,
    /// Whether the response's verdict is `correct`.
    pub is_correct: bool,
    /// Whether the response is a structured response ([`crate::template::parse`]).
    pub is_well_formed: bool,
}

/// The rewards of one response.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rewarded {
    /// `r_i`.
    pub reward: f64,
    /// `A_judge_i`, for the judge block.
    pub advantage_judge: f64,
    /// `A_answer_i`, for the tokens after the judge block.
    pub advantage_answer: f64,
}

/// The rewards of one group.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupRewards {
    /// `mean(r)`; 0 for an empty group.
    pub mean: f64,
    /// `std(r)`.
    pub deviation: f64,
    /// `m`: the adjusted means of the modes; `None` for an absent mode.
    pub mode_means: ByMode<Option<f64>>,
    /// Whether the adjustment raised Think-off's mean.
    pub is_adjusted: bool,
    /// The rewards of each response, in order.
    pub responses: Vec<Rewarded>,
}

/// Returns the base reward of a response.
#[must_use]
pub fn base_reward(response: &Response, settings: &RewardSettings) -> f64 {
    f64::from(u8::from(response.is_correct)) + settings.format_weight * f64::from(u8::from(response.is_well_formed))
}

/// Returns the rewards and advantages of a group.
#[must_use]
pub fn rewards(responses: &[Response], settings: &RewardSettings) -> GroupRewards {
    let based: Vec<(Mode, f64)> =
        responses.iter().map(|response| (response.mode, base_reward(response, settings))).collect();
    advantages(&based, settings)
}

/// Returns the advantages of a group over base rewards of any origin. The base rewards must be finite.
#[must_use]
pub fn advantages(based: &[(Mode, f64)], settings: &RewardSettings) -> GroupRewards {
    let of = |mode: Option<Mode>| -> Vec<f64> {
        let wanted = based.iter().filter(|(other, _)| mode.is_none_or(|mode| mode == *other));
        wanted.map(|&(_, reward)| reward).collect()
    };
    let group = Moments::of(&of(None), settings.deviation);
    let modes = ByMode::from_fn(|mode| Moments::of(&of(Some(mode)), settings.deviation));
    let mut mode_means = ByMode::from_fn(|mode: Mode| (modes[mode].count > 0).then_some(modes[mode].mean));
    let boost = match settings.method {
        Method::Hipo if settings.bias_adjustment => boost(&modes, settings.omega),
        Method::Hipo | Method::Grpo => None,
    };
    if let (Some(boost), Some(mean)) = (boost, &mut mode_means.off) {
        *mean += boost;
    }
    let epsilon = settings.epsilon;
    let advantage = |&(mode, reward): &(Mode, f64)| {
        let of_group = (reward - group.mean) / (group.deviation + epsilon);
        if settings.method == Method::Grpo {
            return Rewarded { reward, advantage_judge: of_group, advantage_answer: of_group };
        }
        // The mode is present, because this response has it.
        let shared = if settings.global_term { mode_means[mode].unwrap_or(group.mean) - group.mean } else { 0.0 };
        let own = &modes[mode];
        let advantage_answer = match settings.local_normalization {
            LocalNormalization::Mode => (reward - own.mean) / (own.deviation + epsilon),
            LocalNormalization::Group => of_group,
            LocalNormalization::None => reward - own.mean,
        };
        Rewarded { reward, advantage_judge: shared + settings.gamma * of_group, advantage_answer }
    };
    GroupRewards {
        mean: group.mean,
        deviation: group.deviation,
        mode_means,
        is_adjusted: boost.is_some(),
        responses: based.iter().map(advantage).collect(),
    }
}

/// Returns the amount that the adjustment adds to Think-off's mean, or `None` without an adjustment.
fn boost(modes: &ByMode<Moments>, omega: f64) -> Option<f64> {
    if modes.on.count == 0 || modes.off.count == 0 {
        return None;
    }
    let difference = modes.on.mean - modes.off.mean;
    let boost = omega * modes.on.mean;
    let is_close = difference >= -SLACK && difference <= boost + SLACK;
    (is_close && boost > 0.0).then_some(boost)
}

/// The mean and the standard deviation of some rewards.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Moments {
    count: usize,
    mean: f64,
    deviation: f64,
}

impl Moments {
    /// Computes both over the distances from the first reward. Equal rewards then have exactly their value as mean and
    /// exactly 0 as deviation; a rounding error divided by epsilon would be visible.
    fn of(rewards: &[f64], deviation: Deviation) -> Self {
        let count = rewards.len();
        let Some(&first) = rewards.first() else { return Self { count, mean: 0.0, deviation: 0.0 } };
        let offset = sum(rewards.iter().map(|reward| reward - first)) / count as f64;
        let squares = sum(rewards.iter().map(|reward| (reward - first - offset).powi(2)));
        let divisor = match deviation {
            Deviation::Population => count,
            Deviation::Sample => count - 1,
        };
        let variance = if divisor == 0 { 0.0 } else { squares / divisor as f64 };
        Self { count, mean: first + offset, deviation: variance.sqrt() }
    }
}

/// Adds numbers with Neumaier's compensation, so that the result does not depend on the length of the group.
fn sum(numbers: impl Iterator<Item = f64>) -> f64 {
    let (mut total, mut lost) = (0.0_f64, 0.0_f64);
    for number in numbers {
        let next = total + number;
        lost += if total.abs() >= number.abs() { (total - next) + number } else { (number - next) + total };
        total = next;
    }
    total + lost
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
