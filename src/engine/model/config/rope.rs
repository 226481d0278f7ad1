//! Rotary position embedding: pairs, frequencies, and the rules that scale the frequencies for long contexts.

use std::f64::consts::TAU;

/// Rotary position embedding (Su et al. 2021), over the whole head.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// Base of the frequencies.
    pub theta: f32,
    /// Which numbers of a head are rotated together.
    pub layout: RopeLayout,
    /// How the frequencies are scaled for long contexts.
    pub scaling: RopeScaling,
}

/// Which numbers of a head form a rotary pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeLayout {
    /// Neighbours, `(2 i, 2 i + 1)`: the layout of GGUF models of architectures `llama`, `mistral3` and `smollm3`.
    Interleaved,
    /// `(i, i + head_dim / 2)`: the layout of Hugging Face, and of other architectures in GGUF.
    HalfSplit,
}

/// How rotary frequencies are scaled.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Unscaled.
    None,
    /// All positions are divided by a factor.
    Linear(f32),
    /// Each frequency is divided by its own factor, `[head_dim / 2]` (GGUF's `rope_freqs`; also the result of Llama 3's
    /// rule).
    Factors(Vec<f32>),
    /// YaRN (Peng et al. 2023): the resulting frequencies, `[head_dim / 2]`, and the factor on cosine and sine.
    Yarn {
        /// Inverse frequencies.
        inverse_frequencies: Vec<f32>,
        /// Attention factor.
        magnitude: f32,
    },
}

/// Maximum base of the frequencies; models have from 10,000 to 500 million.
const THETA_MAX: f64 = 1e15;
/// Maximum factor by which positions are scaled; models have up to 128.
const FACTOR_MAX: f64 = 1e6;

/// Checks a base; returns a message if no valid frequencies follow from it.
pub(super) fn check_theta(theta: f64) -> Result<f64, String> {
    let is_sane = theta > 1.0 && theta <= THETA_MAX;
    if is_sane { Ok(theta) } else { Err(format!("is {theta}; it must be above 1 and at most {THETA_MAX:e}")) }
}

/// Checks a factor or count of a scaling rule; returns a message if it is out of range.
pub(super) fn check_factor(factor: f64) -> Result<f64, String> {
    let is_sane = (1.0 / FACTOR_MAX..=FACTOR_MAX).contains(&factor);
    let range = format!("it must be from {:e} to {FACTOR_MAX:e}", 1.0 / FACTOR_MAX);
    if is_sane { Ok(factor) } else { Err(format!("is {factor}; {range}")) }
}

impl RopeConfig {
    /// Checks that every frequency, and the factor on cosine and sine, is a finite number; returns a message otherwise.
    pub fn check(&self, head_dim: usize) -> Result<(), String> {
        let (frequencies, magnitude) = self.inverse_frequencies(head_dim);
        let is_sane = |number: &f32| number.is_finite() && *number >= 0.0;
        if frequencies.len() != head_dim / 2 || !frequencies.iter().all(is_sane) {
            return Err("the rotary frequencies computed from the model's settings are not finite".to_owned());
        }
        if !magnitude.is_finite() || magnitude <= 0.0 {
            return Err(format!("the factor on rotary cosines computed from the model's settings is {magnitude}"));
        }
        Ok(())
    }

    /// Returns `theta^(-2 i / d)` of each rotary pair after scaling, `[head_dim / 2]`, and the factor on cosine and
    /// sine.
    #[must_use]
    pub fn inverse_frequencies(&self, head_dim: usize) -> (Vec<f32>, f32) {
        let base = |index: usize| self.theta.powf(-2.0 * index as f32 / head_dim as f32);
        let plain = (0..head_dim / 2).map(base);
        match &self.scaling {
            RopeScaling::None => (plain.collect(), 1.0),
            RopeScaling::Linear(factor) => (plain.map(|frequency| frequency / factor).collect(), 1.0),
            RopeScaling::Factors(factors) => (plain.zip(factors).map(|(base, factor)| base / factor).collect(), 1.0),
            RopeScaling::Yarn { inverse_frequencies, magnitude } => (inverse_frequencies.clone(), *magnitude),
        }
    }
}

/// Parameters of Llama 3.1's rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Llama3Rule {
    /// Divisor of the slowest frequencies.
    pub factor: f64,
    /// Frequencies with fewer turns than this in the original context are divided by the factor.
    pub low_frequency_factor: f64,
    /// Frequencies with more turns than this in the original context do not change.
    pub high_frequency_factor: f64,
    /// Positions of the model before scaling.
    pub original_context: f64,
}

impl Llama3Rule {
    /// Returns the divisor of each frequency, `[head_dim / 2]`.
    #[must_use]
    pub(super) fn scaling(&self, theta: f64, head_dim: usize) -> RopeScaling {
        let divisor = |index: usize| {
            let wavelength = TAU * theta.powf(2.0 * index as f64 / head_dim as f64);
            let turns = self.original_context / wavelength;
            if turns > self.high_frequency_factor {
                1.0
            } else if turns < self.low_frequency_factor {
                self.factor
            } else {
                let range = self.high_frequency_factor - self.low_frequency_factor;
                let smooth = (turns - self.low_frequency_factor) / range;
                1.0 / ((1.0 - smooth) / self.factor + smooth)
            }
        };
        RopeScaling::Factors((0..head_dim / 2).map(|index| divisor(index) as f32).collect())
    }
}

/// Parameters of YaRN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct YarnRule {
    /// Divisor of the slow frequencies.
    pub factor: f64,
    /// Positions of the model before scaling.
    pub original_context: f64,
    /// Frequencies with more turns than this in the original context do not change.
    pub beta_fast: f64,
    /// Frequencies with fewer turns than this in the original context are divided by the factor.
    pub beta_slow: f64,
    /// The factor on cosine and sine; `None` means `0.1 ln(factor) + 1`.
    pub magnitude: Option<f64>,
    /// Whether the ends of the ramp between the two limits are rounded to whole indices.
    pub rounds_ends: bool,
}

impl YarnRule {
    /// Returns the scaled frequencies, as computed by transformers' `_compute_yarn_parameters`.
    #[must_use]
    pub(super) fn scaling(&self, theta: f64, head_dim: usize) -> RopeScaling {
        let width = head_dim as f64;
        // The index at which a frequency makes this many turns in the original context.
        let index_of = |turns: f64| width * (self.original_context / (turns * TAU)).ln() / (2.0 * theta.ln());
        let (low, high) = (index_of(self.beta_fast), index_of(self.beta_slow));
        let (low, high) = if self.rounds_ends { (low.floor(), high.ceil()) } else { (low, high) };
        let (low, high) = (low.max(0.0), high.min(width - 1.0));
        let span = if low == high { 0.001 } else { high - low };
        let frequency = |index: usize| {
            let plain = theta.powf(-2.0 * index as f64 / width);
            let ramp = ((index as f64 - low) / span).clamp(0.0, 1.0);
            (plain / self.factor * ramp + plain * (1.0 - ramp)) as f32
        };
        let magnitude =
            self.magnitude.unwrap_or_else(|| if self.factor <= 1.0 { 1.0 } else { 0.1 * self.factor.ln() + 1.0 });
        RopeScaling::Yarn {
            inverse_frequencies: (0..head_dim / 2).map(frequency).collect(),
            magnitude: magnitude as f32,
        }
    }
}
