//! Parses `x-ratelimit-*` headers: the remaining allowances of a server's limits, and the time until they are full
//! again.
//!
//! Each invalid field is ignored: negative counts, a remainder above the limit, and resets that are not a duration,
//! zero, or longer than a day. Resets are Go durations (`6m0s`, `1.5s`, `20ms`) or plain seconds.

use std::time::Duration;

/// The maximum reset time; a longer one is ignored.
const RESET_MAX: Duration = Duration::from_secs(86_400);

/// The state of one of a server's limits.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Allowance {
    /// The limit itself.
    pub limit: Option<u64>,
    /// The remaining part of the limit.
    pub remaining: Option<u64>,
    /// The time until the whole limit is available again.
    pub reset: Option<Duration>,
}

/// The state of a server's limits.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RateLimits {
    /// Requests.
    pub requests: Allowance,
    /// Tokens.
    pub tokens: Allowance,
}

impl RateLimits {
    /// Parses the headers; `header` returns a header's text by its lower-case name.
    #[must_use]
    pub fn read<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Self {
        let one = |what: &str| {
            let text = |field: &str| header(&format!("x-ratelimit-{field}-{what}"));
            Allowance::new(text("limit"), text("remaining"), text("reset"))
        };
        Self { requests: one("requests"), tokens: one("tokens") }
    }
}

impl Allowance {
    fn new(limit: Option<&str>, remaining: Option<&str>, reset: Option<&str>) -> Self {
        let count = |text: Option<&str>| text?.trim().parse::<u64>().ok();
        let limit = count(limit).filter(|limit| *limit > 0);
        let remaining = count(remaining).filter(|remaining| limit.is_none_or(|limit| *remaining <= limit));
        let reset = reset.and_then(duration).filter(|reset| !reset.is_zero() && *reset <= RESET_MAX);
        Self { limit, remaining, reset }
    }

    /// Returns the wait until `needed` units are available; `None` if they are available, or if the server does not
    /// report it.
    ///
    /// Limits refill evenly: if the limit is known, the wait is the share of the reset time that the missing units
    /// need.
    #[must_use]
    pub fn wait_for(&self, needed: u64) -> Option<Duration> {
        let (remaining, reset) = (self.remaining?, self.reset?);
        let missing = needed.checked_sub(remaining).filter(|missing| *missing > 0)?;
        let Some(limit) = self.limit else { return Some(reset) };
        let gone = limit.saturating_sub(remaining).max(1);
        // Counts of this size are exact in a float.
        let share = missing as f64 / gone as f64;
        Some(reset.mul_f64(share.min(1.0)))
    }
}

/// Parses a Go duration, or a plain number of seconds.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(number_end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_are_read_and_other_texts_are_not() {
        for (text, ms) in [
            ("6m0s", Some(360_000)),
            ("20ms", Some(20)),
            ("1s", Some(1000)),
            ("1.5s", Some(1500)),
            ("1h2m3s", Some(3_723_000)),
            ("59.931s", Some(59_931)),
            ("7", Some(7000)),
            ("0.25", Some(250)),
            ("250000\u{b5}s", Some(250)),
            ("", None),
            ("soon", None),
            ("1", Some(1000)),
            ("1x", None),
            ("-1s", None),
            ("-1", None),
            ("1.2.3s", None),
            ("NaN", None),
            ("inf", None),
            ("999999999999999999999h", None),
        ] {
            assert_eq!(duration(text), ms.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn nonsense_is_ignored_field_by_field() {
        let read = |limit, remaining, reset| Allowance::new(Some(limit), Some(remaining), Some(reset));
        assert_eq!(
            read("100", "40", "6s"),
            Allowance { limit: Some(100), remaining: Some(40), reset: Some(Duration::from_secs(6)) }
        );
        assert_eq!(read("-1", "-1", "0"), Allowance::default());
        assert_eq!(read("100", "101", "1s").remaining, None);
        assert_eq!(read("100", "1", "86401s").reset, None);
        assert_eq!(read("100", "1", "24h").reset, Some(Duration::from_secs(86_400)));
        assert_eq!(read("0", "x", "0s"), Allowance::default());
    }

    #[test]
    fn headers_are_found_by_name() {
        let limits = RateLimits::read(|name| match name {
            "x-ratelimit-limit-requests" => Some("60"),
            "x-ratelimit-remaining-requests" => Some("0"),
            "x-ratelimit-reset-requests" => Some("1m0s"),
            "x-ratelimit-remaining-tokens" => Some("7"),
            _ => None,
        });
        assert_eq!(limits.requests.reset, Some(Duration::from_secs(60)));
        assert_eq!(limits.tokens, Allowance { remaining: Some(7), ..Allowance::default() });
    }

    #[test]
    fn the_wait_is_the_share_of_the_reset_that_is_missing() {
        let allowance = |limit, remaining, reset| Allowance {
            limit,
            remaining: Some(remaining),
            reset: Some(Duration::from_secs(reset)),
        };
        assert_eq!(allowance(Some(100), 0, 60).wait_for(1), Some(Duration::from_millis(600)));
        assert_eq!(allowance(Some(100), 50, 30).wait_for(60), Some(Duration::from_secs(6)));
        assert_eq!(allowance(Some(100), 50, 30).wait_for(50), None);
        assert_eq!(allowance(Some(100), 50, 30).wait_for(1000), Some(Duration::from_secs(30)));
        assert_eq!(allowance(None, 0, 30).wait_for(1), Some(Duration::from_secs(30)));
        assert_eq!(Allowance::default().wait_for(1), None);
    }
}
