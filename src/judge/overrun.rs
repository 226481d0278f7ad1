//! By how much a provider exceeds the limits of a call: some providers ignore `max_tokens`, or count extra tokens.
//!
//! The maximum usage of a call is known before the call ([`super::cost::usage_max`]). If a reply reports a higher
//! usage, the reservation of every call grows by the largest observed factor, separately for prompt and completion.

use super::usage::Usage;

/// The largest factors by which replies exceeded their limits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Overrun {
    prompt: f64,
    completion: f64,
    worst: Option<Worst>,
}

/// The completion with the largest excess over its limit, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Worst {
    used: u64,
    allowed: u64,
}

impl Default for Overrun {
    fn default() -> Self {
        Self { prompt: 1.0, completion: 1.0, worst: None }
    }
}

impl Overrun {
    /// Records a reply's usage and its limit; returns whether the excess is larger than any before.
    pub fn note(&mut self, used: &Usage, allowed: &Usage) -> bool {
        let before = *self;
        if used.completion_tokens > allowed.completion_tokens {
            let factor = factor(used.completion_tokens, allowed.completion_tokens);
            if factor > self.completion {
                self.completion = factor;
                self.worst = Some(Worst { used: used.completion_tokens, allowed: allowed.completion_tokens });
            }
        }
        self.prompt = self.prompt.max(factor(used.prompt_tokens, allowed.prompt_tokens));
        *self != before
    }

    /// Returns the maximum usage of a call with this limit, scaled by the observed factors.
    #[must_use]
    pub fn scaled(&self, allowed: &Usage) -> Usage {
        Usage {
            prompt_tokens: scaled(allowed.prompt_tokens, self.prompt),
            cache_hit_tokens: allowed.cache_hit_tokens,
            completion_tokens: scaled(allowed.completion_tokens, self.completion),
        }
    }

    /// Returns the larger of the two factors; 1 without an overrun.
    #[must_use]
    pub fn factor(&self) -> f64 {
        self.prompt.max(self.completion)
    }

    /// Describes the overrun for people; `None` without an overrun.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        match self.worst {
            Some(Worst { used, allowed }) => Some(format!(
                "the provider used up to {used} tokens for a reply that was allowed {allowed}, {} times as many",
                times(self.completion)
            )),
            None if self.prompt > 1.0 => Some(format!(
                "the provider counts up to {} times as many tokens for a prompt as it has bytes",
                times(self.prompt)
            )),
            None => None,
        }
    }
}

fn times(factor: f64) -> String {
    if factor < 10.0 { format!("{factor:.1}") } else { format!("{factor:.0}") }
}

// Counts are far below 2^52.
fn factor(used: u64, allowed: u64) -> f64 {
    if used <= allowed { 1.0 } else { used as f64 / allowed.max(1) as f64 }
}

// The product is rounded up; the cast saturates at the largest integer.
fn scaled(allowed: u64, factor: f64) -> u64 {
    if factor <= 1.0 { allowed } else { (allowed.max(1) as f64 * factor).ceil() as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(prompt_tokens: u64, completion_tokens: u64) -> Usage {
        Usage { prompt_tokens, cache_hit_tokens: None, completion_tokens }
    }

    #[test]
    fn the_largest_factor_counts_prompt_and_completion_apart() {
        let mut overrun = Overrun::default();
        assert!(!overrun.note(&usage(100, 400), &usage(100, 400)) && overrun.words().is_none());
        assert!(overrun.note(&usage(50, 50_000), &usage(100, 400)));
        assert!(!overrun.note(&usage(50, 500), &usage(100, 400)), "less than what is known");
        assert_eq!(overrun.scaled(&usage(100, 800)), usage(100, 100_000));
        assert!(overrun.note(&usage(150, 1), &usage(100, 400)));
        assert_eq!(overrun.scaled(&usage(1000, 400)), usage(1500, 50_000));
        let words = overrun.words().unwrap();
        assert!(words.contains("50000 tokens") && words.contains("allowed 400, 125 times"), "{words}");
    }

    #[test]
    fn nothing_wraps_and_nothing_is_divided_by() {
        let mut overrun = Overrun::default();
        assert!(overrun.note(&usage(u64::MAX, u64::MAX), &usage(0, 0)));
        assert_eq!(overrun.scaled(&usage(u64::MAX, 0)).prompt_tokens, u64::MAX);
        assert!(overrun.factor().is_finite());
    }
}
