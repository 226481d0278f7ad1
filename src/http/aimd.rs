//! The limit of requests in flight to one endpoint: additive increase, multiplicative decrease, as plain data.
//!
//! The limit starts at the configured cap, or at [`START_MAX`] if the cap is larger. A sign of overload cuts the limit
//! to [`CUT_FACTOR`] of the requests in flight, once per generation: a request that was sent before the cut carries no
//! information about the new limit. While the limit is in use, successes raise it: until the first cut, and after an
//! endpoint returned, by one per success (slow start); afterwards by a [`ROUNDS_TO_CAP`]th of the cap per round of the
//! limit.

/// The maximum initial limit: a new server does not receive thousands of requests at once.
pub const START_MAX: usize = 256;
/// The share of the requests in flight that remains after a sign of overload.
pub const CUT_FACTOR: f64 = 0.7;
/// The number of rounds of successes from zero to the cap.
pub const ROUNDS_TO_CAP: f64 = 16.0;

/// The number of cuts so far; a request carries the generation in which it was sent.
pub type Generation = u32;

/// The limit of one endpoint.
#[derive(Debug, Clone)]
pub struct Aimd {
    cap: usize,
    limit: f64,
    generation: Generation,
    is_slow_start: bool,
}

impl Aimd {
    /// Creates a limit of at most `cap`, which is at least 1.
    #[must_use]
    pub fn new(cap: usize) -> Self {
        let cap = cap.max(1);
        Self { cap, limit: exact(cap.min(START_MAX)), generation: 0, is_slow_start: true }
    }

    /// Returns the maximum number of requests in flight, at least 1.
    #[must_use]
    pub fn limit(&self) -> usize {
        // The limit is between 1 and the cap.
        let limit = self.limit as usize;
        limit.clamp(1, self.cap)
    }

    /// Returns the current generation.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Records a success, with `in_flight` requests under way, including the successful one.
    pub fn succeeded(&mut self, in_flight: usize) {
        if in_flight < self.limit() {
            return;
        }
        let step = if self.is_slow_start { 1.0 } else { (exact(self.cap) / ROUNDS_TO_CAP).max(1.0) / self.limit };
        self.limit = (self.limit + step).min(exact(self.cap));
    }

    /// Records a sign of overload on a request of `generation`, with `in_flight` requests under way.
    pub fn overloaded(&mut self, generation: Generation, in_flight: usize) {
        if generation != self.generation {
            return;
        }
        self.generation = self.generation.wrapping_add(1);
        self.is_slow_start = false;
        self.limit = (exact(in_flight).min(self.limit) * CUT_FACTOR).max(1.0);
    }

    /// Restarts at one request, for a server that was unreachable.
    pub fn restart(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.is_slow_start = true;
        self.limit = 1.0;
    }
}

/// Counts are far below 2^52, so the conversion is exact.
fn exact(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_starts_at_the_cap_and_grows_by_one_a_success_until_the_first_cut() {
        assert_eq!(Aimd::new(64).limit(), 64);
        let mut aimd = Aimd::new(1000);
        assert_eq!(aimd.limit(), START_MAX);
        for _ in 0..100 {
            aimd.succeeded(aimd.limit());
        }
        assert_eq!(aimd.limit(), START_MAX + 100);
        aimd.succeeded(3);
        assert_eq!(aimd.limit(), START_MAX + 100, "a limit that is not in use does not grow");
        assert_eq!(Aimd::new(0).limit(), 1);
    }

    #[test]
    fn one_generation_is_cut_once() {
        let mut aimd = Aimd::new(100);
        let old = aimd.generation();
        for _ in 0..50 {
            aimd.overloaded(old, 100);
        }
        assert_eq!(aimd.limit(), 70);
        aimd.overloaded(aimd.generation(), 20);
        assert_eq!(aimd.limit(), 14, "what was in flight counts, not what would have been allowed");
        for _ in 0..100 {
            aimd.overloaded(aimd.generation(), 1);
        }
        assert_eq!(aimd.limit(), 1);
    }

    #[test]
    fn after_a_cut_the_cap_is_reached_again_in_some_sixteen_rounds_and_never_passed() {
        let mut aimd = Aimd::new(160);
        aimd.overloaded(aimd.generation(), 1);
        assert_eq!(aimd.limit(), 1);
        let mut rounds = 0;
        while aimd.limit() < 160 {
            for _ in 0..aimd.limit() {
                aimd.succeeded(aimd.limit());
            }
            rounds += 1;
        }
        assert!((12..=24).contains(&rounds), "{rounds} rounds");
        for _ in 0..1000 {
            aimd.succeeded(160);
        }
        assert_eq!(aimd.limit(), 160);
    }

    #[test]
    fn an_endpoint_that_was_away_begins_at_one_and_doubles_each_round() {
        let mut aimd = Aimd::new(64);
        aimd.restart();
        let mut limits = vec![aimd.limit()];
        for _ in 0..6 {
            for _ in 0..aimd.limit() {
                aimd.succeeded(aimd.limit());
            }
            limits.push(aimd.limit());
        }
        assert_eq!(limits, [1, 2, 4, 8, 16, 32, 64]);
    }
}
