//! What the judge's work took: calls, tokens and money, over all starts of a directory.

use serde::Serialize;

use super::error::RunError;
use crate::config::Settings;
use crate::judge::cost::{Prices, Usage, Way, cost_usd};
use crate::judge::reply;
use crate::ledger::{Reader, ReplyRecord};

/// The judge's work.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Spend {
    /// Calls that were made.
    pub attempts: u64,
    /// Calls that brought a reply.
    pub replies: u64,
    /// Calls that brought none.
    pub failures: u64,
    /// Prompt tokens of all replies that state them.
    pub prompt_tokens: u64,
    /// Of these, tokens found in the provider's cache; null if it never says.
    pub cache_hit_tokens: Option<u64>,
    /// Generated tokens.
    pub completion_tokens: u64,
    /// What the replies cost, in USD; null if any part of it is unknown.
    pub spend_usd: Option<f64>,
}

impl Spend {
    /// Returns one JSON object and a line end.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string(self).expect("numbers always serialise");
        text.push('\n');
        text
    }
}

/// Adds up what stored judge replies say; a local judge costs nothing. Blocks.
///
/// # Errors
/// [`RunError`] if the ledger cannot be read.
pub fn spend(reader: &Reader, settings: &Settings) -> Result<Spend, RunError> {
    let judge = reader.totals()?.judge;
    let mut spend = Spend {
        attempts: judge.attempts,
        replies: judge.replies,
        failures: judge.failures,
        spend_usd: Some(0.0),
        ..Spend::default()
    };
    let prices = &settings.judge.prices_usd_per_mtok;
    reader.for_each_reply(|record| {
        if let Some(Usage { prompt_tokens, cache_hit_tokens, completion_tokens }) = reply::usage(record.body) {
            spend.prompt_tokens += prompt_tokens;
            spend.completion_tokens += completion_tokens;
            if let Some(hits) = cache_hit_tokens {
                *spend.cache_hit_tokens.get_or_insert(0) += hits;
            }
        }
        spend.spend_usd = spend.spend_usd.zip(cost(&record, prices)).map(|(sum, cost)| sum + cost);
    })?;
    Ok(spend)
}

/// Returns what a reply cost in USD; `None` if that is unknown.
fn cost(record: &ReplyRecord<'_>, prices: &Prices) -> Option<f64> {
    if reply::is_local(record.body) {
        return Some(0.0);
    }
    let way = if record.is_batched { Way::Batch } else { Way::Call };
    cost_usd(&reply::usage(record.body)?, prices, record.unix_ms, way)
}

/// Returns when each judge reply came, in milliseconds since 1970 and in order, and what it cost in USD; `None` if any
/// cost is unknown. Blocks.
///
/// # Errors
/// [`RunError`] if the ledger cannot be read.
pub fn costs(reader: &Reader, settings: &Settings) -> Result<Option<Vec<(i64, f64)>>, RunError> {
    let prices = &settings.judge.prices_usd_per_mtok;
    let mut costs = Some(Vec::new());
    reader.for_each_reply(|record| match cost(&record, prices) {
        Some(usd) => {
            costs.as_mut().into_iter().for_each(|costs: &mut Vec<(i64, f64)>| costs.push((record.unix_ms, usd)));
        }
        None => costs = None,
    })?;
    if let Some(costs) = &mut costs {
        costs.sort_by_key(|(time, _)| *time);
    }
    Ok(costs)
}
