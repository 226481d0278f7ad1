//! What replies cost: token counts times configured prices, and "unknown" wherever either is missing.

/// Token counts of one reply, or of many added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Prompt tokens, cached ones included.
    pub prompt_tokens: u64,
    /// Prompt tokens read from the provider's cache; `None` where the provider does not say.
    pub cache_hit_tokens: Option<u64>,
    /// Generated tokens, reasoning included.
    pub completion_tokens: u64,
}

pub use crate::config::PriceSettings as Prices;

/// Returns the cost in USD, or `None` if a price that is needed is unknown: an unknown price is never taken for 0.
///
/// Where the provider does not say how much of the prompt was cached, all of it counts at the price of a miss. A price
/// that no token is charged at is not needed.
#[must_use]
pub fn cost_usd(usage: &Usage, prices: &Prices) -> Option<f64> {
    let hit = usage.cache_hit_tokens.unwrap_or(0).min(usage.prompt_tokens);
    let miss = usage.prompt_tokens - hit;
    let hit_cost = part(hit, prices.input_cache_hit)?;
    let miss_cost = part(miss, prices.input_cache_miss)?;
    let output_cost = part(usage.completion_tokens, prices.output)?;
    Some(hit_cost + miss_cost + output_cost)
}

// Token counts stay far below 2^52.
#[allow(clippy::cast_precision_loss)]
fn part(tokens: u64, price: Option<f64>) -> Option<f64> {
    if tokens == 0 { Some(0.0) } else { price.map(|price| tokens as f64 * price / 1e6) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICES: Prices = Prices { input_cache_hit: Some(0.003), input_cache_miss: Some(0.15), output: Some(0.6) };

    fn usage(prompt_tokens: u64, cache_hit_tokens: Option<u64>, completion_tokens: u64) -> Usage {
        Usage { prompt_tokens, cache_hit_tokens, completion_tokens }
    }

    fn assert_cost(found: Option<f64>, expected: f64) {
        let found = found.unwrap();
        assert!((found - expected).abs() < 1e-12, "{found} != {expected}");
    }

    #[test]
    fn hits_misses_and_output_have_their_own_prices() {
        let cost = cost_usd(&usage(1_000_000, Some(400_000), 500_000), &PRICES);
        assert_cost(cost, 0.4 * 0.003 + 0.6 * 0.15 + 0.5 * 0.6);
    }

    #[test]
    fn unknown_hits_count_as_misses_and_impossible_hits_are_bounded() {
        assert_cost(cost_usd(&usage(1_000_000, None, 0), &PRICES), 0.15);
        assert_cost(cost_usd(&usage(1_000_000, Some(2_000_000), 0), &PRICES), 0.003);
    }

    #[test]
    fn an_unknown_price_makes_the_cost_unknown_never_zero() {
        let without = |change: fn(&mut Prices)| {
            let mut prices = PRICES;
            change(&mut prices);
            prices
        };
        let all = usage(10, Some(5), 5);
        assert_eq!(cost_usd(&all, &without(|prices| prices.input_cache_hit = None)), None);
        assert_eq!(cost_usd(&all, &without(|prices| prices.input_cache_miss = None)), None);
        assert_eq!(cost_usd(&all, &without(|prices| prices.output = None)), None);
        assert_eq!(cost_usd(&all, &Prices::default()), None);
        // No token was read from the cache: its price is not needed.
        assert!(cost_usd(&usage(10, None, 5), &without(|prices| prices.input_cache_hit = None)).is_some());
    }
}
