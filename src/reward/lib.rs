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
//! Two variants are thinkloom's own, not HiPO's, and off by default:
//!
//! ```text
//! boost = margin:        m_off = mean(r_off) + omega  if 0 <= d < omega
//!
//! length_weight = w > 0: A_judge_i  += w * L_i(correct responses of the group that show a mode)
//!                        A_answer_i += w * L_i(correct responses of i's mode)
//!                        L_i(S) = (mean_S(t) - t_i) / (std_S(t) + epsilon)      t: completion tokens; i in S
//! ```
//!
//! With the margin, the reward agrees with the selection, in which Think-off wins if the pass rates differ by less than
//! `select.tie_margin`. The length terms separate correct responses of equal reward; incorrect ones get none.
//!
//! A response may show no mode: it was cut before its mode tag, for example. It counts in `mean(r)` and `std(r)`, and
//! in no mode's mean. Its `A_judge` uses the mean over the group's responses without a mode in place of `m`, its
//! `A_answer` is `(r_i - mean(r)) / (std(r) + epsilon)`.
//!
//! Edge cases. If a mode is absent from the group, nothing is adjusted. Equal rewards have the deviation 0 exactly, and
//! the advantages divided by this deviation are 0 exactly. The sample deviation of one response is 0. An empty group
//! gives an empty result. The adjustment's comparisons allow for [`SLACK`]: binary numbers cannot represent a
//! hundredth, and two means of the same rewards must compare as equal.

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests use files and clocks as they are")
)]

pub mod rollouts;
pub mod row;
pub mod segments;
pub mod template;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use thinkloom_domain::{ByMode, Mode, ShownMode, stable_names};

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

/// What the bias adjustment adds to Think-off's mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub enum Boost {
    /// omega mean(r_on), if Think-off is behind by no more than that.
    #[default]
    Relative,
    /// omega itself, if Think-off is behind by less than that: with omega = `select.tie_margin`, the rule of the
    /// selection.
    Margin,
}

stable_names!(Boost { Relative => "relative", Margin => "margin" });

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
    /// What the bias adjustment adds to Think-off's mean.
    pub boost: Boost,
    /// The weight of the preference for short ones among correct responses, 0 to 1; 0 is HiPO's rule.
    pub length_weight: f64,
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
            boost: Boost::Relative,
            length_weight: 0.0,
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
        let Self { format_weight, omega, gamma, epsilon, length_weight, .. } = *self;
        for (name, value) in [("format_weight", format_weight), ("omega", omega), ("gamma", gamma)] {
            if !(0.0..=1e6).contains(&value) {
                return Err(ConstantFault { name, value, allowed: "0 to 1e6" });
            }
        }
        if !(1e-12..=1.0).contains(&epsilon) {
            return Err(ConstantFault { name: "epsilon", value: epsilon, allowed: "1e-12 to 1" });
        }
        let allowed = match self.method {
            Method::Hipo => 0.0..=1.0,
            Method::Grpo => 0.0..=0.0,
        };
        if !allowed.contains(&length_weight) {
            let allowed = "0 to 1; with method grpo, which has one advantage, 0";
            return Err(ConstantFault { name: "length_weight", value: length_weight, allowed });
        }
        Ok(())
    }
}

/// The properties of one response that the rule needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// The mode that the response shows, or was asked for.
    pub mode: ShownMode,
    /// Whether the response's verdict is `correct`.
    pub is_correct: bool,
    /// Whether the response is a structured response ([`crate::template::parse`]).
    pub is_well_formed: bool,
    /// The length of the completion in tokens, if it is known; only the length terms need it.
    pub completion_tokens: Option<u32>,
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

/// Returns the rewards and advantages of a group. Responses of unknown length have no length terms.
#[must_use]
pub fn rewards(responses: &[Response], settings: &RewardSettings) -> GroupRewards {
    let epsilon = settings.epsilon;
    let based: Vec<f64> = responses.iter().map(|response| base_reward(response, settings)).collect();
    let of = |shown: ShownMode| {
        let rewards = responses.iter().zip(&based).filter(|(response, _)| response.mode == shown);
        Moments::of(&rewards.map(|(_, &reward)| reward).collect::<Vec<_>>(), settings.deviation)
    };
    let group = Moments::of(&based, settings.deviation);
    let (modes, modeless) = (ByMode::from_fn(|mode| of(mode.into())), of(ShownMode::None));
    let mut mode_means = ByMode::from_fn(|mode: Mode| (modes[mode].count > 0).then_some(modes[mode].mean));
    let boost = match settings.method {
        Method::Hipo if settings.bias_adjustment => boost(&modes, settings),
        Method::Hipo | Method::Grpo => None,
    };
    if let (Some(boost), Some(mean)) = (boost, &mut mode_means.off) {
        *mean += boost;
    }
    let lengths = Lengths::of(responses, settings);
    let rewarded = |(response, &reward): (&Response, &f64)| {
        let of_group = (reward - group.mean) / (group.deviation + epsilon);
        if settings.method == Method::Grpo {
            return Rewarded { reward, advantage_judge: of_group, advantage_answer: of_group };
        }
        let mode = response.mode.mode();
        // The response's own class is never empty, because it has this response.
        let own_mean = mode.map_or(modeless.mean, |mode| mode_means[mode].unwrap_or(group.mean));
        let shared = if settings.global_term { own_mean - group.mean } else { 0.0 };
        let of_answer = match (settings.local_normalization, mode.map(|mode| modes[mode])) {
            (LocalNormalization::Group, _) | (_, None) => of_group,
            (LocalNormalization::Mode, Some(own)) => (reward - own.mean) / (own.deviation + epsilon),
            (LocalNormalization::None, Some(own)) => reward - own.mean,
        };
        let length = lengths.terms(response);
        Rewarded {
            reward,
            advantage_judge: shared + settings.gamma * of_group + length.judge,
            advantage_answer: of_answer + length.answer,
        }
    };
    GroupRewards {
        mean: group.mean,
        deviation: group.deviation,
        mode_means,
        is_adjusted: boost.is_some(),
        responses: responses.iter().zip(&based).map(rewarded).collect(),
    }
}

/// Returns the amount that the adjustment adds to Think-off's mean, or `None` without an adjustment.
fn boost(modes: &ByMode<Moments>, settings: &RewardSettings) -> Option<f64> {
    if modes.on.count == 0 || modes.off.count == 0 {
        return None;
    }
    let difference = modes.on.mean - modes.off.mean;
    let (boost, is_below) = match settings.boost {
        Boost::Relative => {
            let boost = settings.omega * modes.on.mean;
            (boost, difference <= boost + SLACK)
        }
        Boost::Margin => (settings.omega, difference < settings.omega - SLACK),
    };
    (difference >= -SLACK && is_below && boost > 0.0).then_some(boost)
}

/// The lengths of a group's correct responses.
struct Lengths {
    weight: f64,
    epsilon: f64,
    /// Of all that show a mode.
    all: Moments,
    modes: ByMode<Moments>,
}

/// What the length of a response adds to its advantages.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct LengthTerms {
    judge: f64,
    answer: f64,
}

impl Lengths {
    fn of(responses: &[Response], settings: &RewardSettings) -> Self {
        let RewardSettings { length_weight, epsilon, deviation, .. } = *settings;
        let of = |wanted: Option<Mode>| {
            let lengths = responses.iter().filter_map(|response| {
                let (mode, tokens) = Self::counted(response)?;
                (length_weight > 0.0 && wanted.is_none_or(|wanted| wanted == mode)).then_some(tokens)
            });
            Moments::of(&lengths.collect::<Vec<_>>(), deviation)
        };
        Self { weight: length_weight, epsilon, all: of(None), modes: ByMode::from_fn(|mode| of(Some(mode))) }
    }

    /// Returns mode and length of a response that has length terms.
    fn counted(response: &Response) -> Option<(Mode, f64)> {
        let tokens = response.completion_tokens.filter(|_| response.is_correct)?;
        Some((response.mode.mode()?, f64::from(tokens)))
    }

    fn terms(&self, response: &Response) -> LengthTerms {
        let Some((mode, tokens)) = Self::counted(response).filter(|_| self.weight > 0.0) else {
            return LengthTerms::default();
        };
        let term = |lengths: &Moments| self.weight * ((lengths.mean - tokens) / (lengths.deviation + self.epsilon));
        LengthTerms { judge: term(&self.all), answer: term(&self.modes[mode]) }
    }
}

/// The mean and the standard deviation of some numbers.
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
