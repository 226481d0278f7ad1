//! The cost of replies: token counts times configured prices, "unknown" where a count or a price is missing; and the
//! budget that bounds all calls.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::error::AskError;
use super::overrun::Overrun;
use super::{Cap, JudgeRequest};
use crate::config::Rates;

pub use super::usage::Usage;
pub use crate::config::PriceSettings as Prices;

/// How a reply arrived, which decides its price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Through a call of its own.
    Call,
    /// Through the provider's batch API.
    Batch,
}

/// Returns the cost in USD of a reply that arrived at `unix_ms` (milliseconds since 1970), or `None` if a required
/// price is unknown: an unknown price never counts as 0.
///
/// If the provider does not report the cached part of the prompt, the whole prompt is charged at the cache-miss price.
/// A price that applies to no token is not required.
#[must_use]
pub fn cost_usd(usage: &Usage, prices: &Prices, unix_ms: i64, way: Way) -> Option<f64> {
    Some(sum(usage, &prices.at(unix_ms))? * factor(usage, prices, way)?)
}

/// Returns the maximum cost of a reply, whenever it arrives.
#[must_use]
pub fn cost_max_usd(usage: &Usage, prices: &Prices, way: Way) -> Option<f64> {
    let peak = sum(usage, &prices.peak())?;
    let most = match prices.off_peak() {
        Some(rates) => sum(usage, &rates)?.max(peak),
        None => peak,
    };
    Some(most * factor(usage, prices, way)?)
}

fn factor(usage: &Usage, prices: &Prices, way: Way) -> Option<f64> {
    match way {
        Way::Call => Some(1.0),
        Way::Batch if usage.prompt_tokens == 0 && usage.completion_tokens == 0 => Some(1.0),
        Way::Batch => prices.batch_factor,
    }
}

fn sum(usage: &Usage, rates: &Rates) -> Option<f64> {
    let hit = usage.cache_hit_tokens.unwrap_or(0).min(usage.prompt_tokens);
    let miss = usage.prompt_tokens - hit;
    let hit_cost = part(hit, rates.input_cache_hit)?;
    let miss_cost = part(miss, rates.input_cache_miss)?;
    let output_cost = part(usage.completion_tokens, rates.output)?;
    Some(hit_cost + miss_cost + output_cost)
}

// Token counts stay far below 2^52.
fn part(tokens: u64, price: Option<f64>) -> Option<f64> {
    if tokens == 0 { Some(0.0) } else { price.map(|price| tokens as f64 * price / 1e6) }
}

/// The maximum number of tokens that a chat template adds to a prompt, beyond one token per byte of the body.
const TEMPLATE_TOKENS_MAX: u64 = 64;

/// Returns the maximum usage of a call: one prompt token per byte of its body, and a reply up to the token limit.
#[must_use]
pub fn usage_max(request: &JudgeRequest, cap: Cap) -> Usage {
    Usage {
        prompt_tokens: request.text(cap).len() as u64 + TEMPLATE_TOKENS_MAX,
        cache_hit_tokens: None,
        completion_tokens: request.tokens_max(cap),
    }
}

/// After this many replies the budget assumes that it knows whether the provider respects the limits of a call.
const KNOWN_REPLIES: u64 = 64;

/// The budget of all judge calls. A call begins only if the budget covers its worst-case cost in addition to the
/// worst-case costs of all calls in flight, so that the total never exceeds the budget. When a reply costs less, the
/// difference becomes available again.
///
/// A provider may use more than a call allows ([`Overrun`]). Therefore the budget first admits one call, and then one
/// more call in flight with each reply, until `KNOWN_REPLIES` replies have arrived. An observed overrun raises the
/// reservation of every later call and of the calls in flight. The overspending is thus at most the excess of one round
/// of calls: of the first call, or of the calls in flight when the provider changes its behaviour. Batches do not begin
/// with one call, because each batch takes hours: their round is all batches under way.
///
/// A call that was sent and not answered keeps its reservation: the provider may have charged an unknown amount. The
/// same holds over restarts, because the size of every call is stored before the call.
#[derive(Debug)]
pub struct Budget {
    limit_usd: f64,
    prices: Prices,
    way: Way,
    /// Milliseconds since 1970.
    clock: fn() -> i64,
    state: Mutex<BudgetState>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct BudgetState {
    spent_usd: f64,
    /// The sum of the reservations of the calls in flight, in USD.
    reserved_usd: f64,
    /// The allowed usage of the calls in flight, by call number.
    calls: BTreeMap<u64, (Usage, Way)>,
    next: u64,
    /// Calls in flight that this process began.
    own: u64,
    /// Replies that arrived, over all starts.
    replies: u64,
    overrun: Overrun,
}

impl BudgetState {
    fn begin(&mut self, allowed: Usage, way: Way, usd: f64) -> u64 {
        self.reserved_usd += usd;
        self.next += 1;
        self.calls.insert(self.next, (allowed, way));
        self.next
    }
}

/// The reserved worst-case cost of a call in flight.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
    number: u64,
    allowed: Usage,
    way: Way,
    is_own: bool,
    end: End,
}

/// What the end of a call reveals about its cost.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// Nothing: the whole reservation may be spent.
    Unknown,
    /// A reply, with its usage if the reply holds one.
    Reply(Option<Usage>),
    /// The call cost nothing.
    Free,
}

impl Budget {
    /// Creates a budget of `limit_usd`, of which `spent_usd` are spent, for calls of one way. All prices must be known.
    #[must_use]
    pub fn new(limit_usd: f64, prices: Prices, way: Way, clock: fn() -> i64, spent_usd: f64) -> Self {
        let state = BudgetState { spent_usd, ..BudgetState::default() };
        Self { limit_usd, prices, way, clock, state: Mutex::new(state), changed: Notify::new() }
    }

    /// Sets the facts about the provider from earlier starts: the number of replies, and their overrun.
    #[must_use]
    pub fn knowing(self, replies: u64, overrun: Overrun) -> Self {
        let state = BudgetState { replies, overrun, ..self.state.into_inner().unwrap_or_else(PoisonError::into_inner) };
        Self { state: Mutex::new(state), ..self }
    }

    /// Returns the maximum cost of a call (see [`usage_max`]), with the known overrun of the provider.
    #[must_use]
    pub fn worst_case_usd(&self, request: &JudgeRequest, cap: Cap) -> f64 {
        self.most_usd(&self.state().overrun, &usage_max(request, cap), self.way)
    }

    fn most_usd(&self, overrun: &Overrun, allowed: &Usage, way: Way) -> f64 {
        let most = overrun.scaled(allowed);
        // A batch without a batch price factor, stored by a run without a budget, costs as much as a call.
        let usd = [way, Way::Call].into_iter().find_map(|way| cost_max_usd(&most, &self.prices, way));
        usd.unwrap_or(f64::INFINITY)
    }

    /// Reserves the worst-case cost of a call in flight from an earlier start, even without room in the budget.
    #[must_use]
    pub fn adopt(self: &Arc<Self>, usage: &Usage, way: Way) -> Reservation {
        let mut state = self.state();
        let usd = self.most_usd(&state.overrun, usage, way);
        let number = state.begin(*usage, way, usd);
        Reservation { budget: Arc::clone(self), number, allowed: *usage, way, is_own: false, end: End::Unknown }
    }

    /// Reserves the worst-case cost of a call as soon as the budget has room for it. Cancel-safe.
    ///
    /// # Errors
    /// [`AskError::Budget`] if the budget has no room, and no call in flight can release some.
    pub async fn reserve(self: &Arc<Self>, request: &JudgeRequest, cap: Cap) -> Result<Reservation, AskError> {
        let allowed = usage_max(request, cap);
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // The future is enabled before the check, so that no change between the check and the wait is missed.
            changed.as_mut().enable();
            {
                let mut state = self.state();
                let usd = self.most_usd(&state.overrun, &allowed, self.way);
                let has_room = state.spent_usd + state.reserved_usd + usd <= self.limit_usd;
                let is_known = self.way == Way::Batch || state.replies >= KNOWN_REPLIES;
                if has_room && (is_known || state.own <= state.replies) {
                    state.own += 1;
                    let number = state.begin(allowed, self.way, usd);
                    let (budget, way) = (Arc::clone(self), self.way);
                    return Ok(Reservation { budget, number, allowed, way, is_own: true, end: End::Unknown });
                }
                if state.calls.is_empty() {
                    let overrun = state.overrun.words().map(|words| format!("; {words}")).unwrap_or_default();
                    let (spent_usd, limit_usd) = (state.spent_usd, self.limit_usd);
                    return Err(AskError::Budget { spent_usd, limit_usd, overrun });
                }
            }
            changed.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, BudgetState> {
        // The state is plain numbers, which are valid even in a poisoned lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a reply's use of its allowance.
    fn learn(&self, state: &mut BudgetState, used: &Usage, allowed: &Usage) {
        let before = state.overrun.factor();
        if !state.overrun.note(used, allowed) {
            return;
        }
        let overrun = state.overrun;
        state.reserved_usd =
            state.calls.values().map(|(allowed, way)| self.most_usd(&overrun, allowed, *way)).sum::<f64>();
        // An excess of a few tokens comes from the end of a text, or from another way to count.
        if overrun.factor() > 1.1 * before {
            let words = overrun.words().unwrap_or_default();
            tracing::warn!("{words}: every judge call now reserves proportionally more, so fewer calls run at once");
        }
    }
}

impl Reservation {
    /// Ends the call with the cost of its reply; charges the whole reservation if the reply holds no usage.
    pub fn charge(mut self, usage: Option<Usage>) {
        self.end = End::Reply(usage);
    }

    /// Ends the call without cost.
    pub fn release(mut self) {
        self.end = End::Free;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let budget = &self.budget;
        let now = (budget.clock)();
        let mut state = budget.state();
        let reserved = budget.most_usd(&state.overrun, &self.allowed, self.way);
        state.calls.remove(&self.number);
        state.own = state.own.saturating_sub(u64::from(self.is_own));
        state.reserved_usd = if state.calls.is_empty() { 0.0 } else { (state.reserved_usd - reserved).max(0.0) };
        let finite = |usd: f64| if usd.is_finite() { usd } else { 0.0 };
        state.spent_usd += match self.end {
            End::Free => 0.0,
            End::Unknown | End::Reply(None) => finite(reserved),
            End::Reply(Some(usage)) => {
                let usd = [self.way, Way::Call].into_iter().find_map(|way| cost_usd(&usage, &budget.prices, now, way));
                usd.unwrap_or_else(|| finite(reserved))
            }
        };
        if let End::Reply(usage) = self.end {
            state.replies += 1;
            if let Some(used) = usage {
                budget.learn(&mut state, &used, &self.allowed);
            }
        }
        drop(state);
        budget.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prices() -> Prices {
        let prices = Prices { input_cache_hit: Some(0.003), input_cache_miss: Some(0.15), ..Prices::default() };
        Prices { output: Some(0.6), ..prices }
    }

    fn cost_at(usage: &Usage, prices: &Prices) -> Option<f64> {
        cost_usd(usage, prices, 0, Way::Call)
    }

    fn usage(prompt_tokens: u64, cache_hit_tokens: Option<u64>, completion_tokens: u64) -> Usage {
        Usage { prompt_tokens, cache_hit_tokens, completion_tokens }
    }

    fn assert_cost(found: Option<f64>, expected: f64) {
        let found = found.unwrap();
        assert!((found - expected).abs() < 1e-12, "{found} != {expected}");
    }

    #[test]
    fn hits_misses_and_output_have_their_own_prices() {
        let cost = cost_at(&usage(1_000_000, Some(400_000), 500_000), &prices());
        assert_cost(cost, 0.4 * 0.003 + 0.6 * 0.15 + 0.5 * 0.6);
    }

    #[test]
    fn unknown_hits_count_as_misses_and_impossible_hits_are_bounded() {
        assert_cost(cost_at(&usage(1_000_000, None, 0), &prices()), 0.15);
        assert_cost(cost_at(&usage(1_000_000, Some(2_000_000), 0), &prices()), 0.003);
    }

    #[test]
    fn an_unknown_price_makes_the_cost_unknown_never_zero() {
        let without = |change: fn(&mut Prices)| {
            let mut prices = prices();
            change(&mut prices);
            prices
        };
        let all = usage(10, Some(5), 5);
        assert_eq!(cost_at(&all, &without(|prices| prices.input_cache_hit = None)), None);
        assert_eq!(cost_at(&all, &without(|prices| prices.input_cache_miss = None)), None);
        assert_eq!(cost_at(&all, &without(|prices| prices.output = None)), None);
        assert_eq!(cost_at(&all, &Prices::default()), None);
        // No token was read from the cache: the cache price is not needed.
        assert!(cost_at(&usage(10, None, 5), &without(|prices| prices.input_cache_hit = None)).is_some());
    }

    #[test]
    fn the_time_of_the_reply_decides_between_peak_and_off_peak_and_the_dearer_one_bounds_both() {
        const HOUR_MS: i64 = 3_600_000;
        let mut prices = prices();
        prices.off_peak.hours_utc = vec!["01:00-02:00".to_owned().try_into().unwrap()];
        (prices.off_peak.input_cache_hit, prices.off_peak.input_cache_miss) = (Some(0.0), Some(0.05));
        prices.off_peak.output = Some(0.9);
        let million = usage(1_000_000, Some(0), 0);
        assert_cost(cost_usd(&million, &prices, 0, Way::Call), 0.15);
        assert_cost(cost_usd(&million, &prices, HOUR_MS, Way::Call), 0.05);
        assert_cost(cost_usd(&million, &prices, 2 * HOUR_MS, Way::Call), 0.15);
        assert_cost(cost_max_usd(&million, &prices, Way::Call), 0.15);
        assert_cost(cost_max_usd(&usage(0, None, 1_000_000), &prices, Way::Call), 0.9);
        prices.off_peak.output = None;
        assert_eq!(cost_max_usd(&usage(0, None, 1), &prices, Way::Call), None);
    }

    #[test]
    fn a_batch_costs_its_factor_and_without_one_it_is_unknown_what_it_costs() {
        let million = usage(1_000_000, Some(0), 0);
        assert_eq!(cost_usd(&million, &prices(), 0, Way::Batch), None);
        assert_eq!(cost_usd(&Usage::default(), &prices(), 0, Way::Batch), Some(0.0));
        let half = Prices { batch_factor: Some(0.5), ..prices() };
        assert_cost(cost_usd(&million, &half, 0, Way::Batch), 0.075);
        assert_cost(cost_max_usd(&million, &half, Way::Batch), 0.075);
        assert_cost(cost_usd(&million, &half, 0, Way::Call), 0.15);
    }
}
