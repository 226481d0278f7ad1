//! The rate limits of the mock server, in a sliding window of one minute.

use std::collections::VecDeque;
use std::time::Duration;

/// The window.
pub const MINUTE: Duration = Duration::from_secs(60);

/// What came within the last minute.
#[derive(Debug, Default)]
pub struct Windows {
    came: VecDeque<(Duration, u64)>,
    tokens: u64,
}

impl Windows {
    /// Takes a request in, or returns how long until there is room for it. 0 means no limit.
    pub fn take(&mut self, now: Duration, tokens: u64, requests_max: u64, tokens_max: u64) -> Result<(), Duration> {
        while let Some((at, gone)) = self.came.front().copied()
            && at + MINUTE <= now
        {
            self.came.pop_front();
            self.tokens -= gone;
        }
        let is_full = requests_max > 0 && self.came.len() as u64 >= requests_max
            || tokens_max > 0 && self.tokens + tokens > tokens_max;
        if is_full {
            let first = self.came.front().map_or(now, |(at, _)| *at);
            return Err((first + MINUTE).saturating_sub(now));
        }
        self.came.push_back((now, tokens));
        self.tokens += tokens;
        Ok(())
    }

    /// Returns requests and tokens of the last minute.
    pub fn used(&self) -> (u64, u64) {
        (self.came.len() as u64, self.tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_at_the_limit_is_taken_and_the_next_one_waits_for_the_first_to_be_a_minute_old() {
        let mut windows = Windows::default();
        let second = Duration::from_secs;
        assert_eq!(windows.take(second(1), 10, 2, 0), Ok(()));
        assert_eq!(windows.take(second(2), 10, 2, 0), Ok(()));
        assert_eq!(windows.take(second(3), 10, 2, 0), Err(second(58)));
        assert_eq!(windows.take(second(61), 10, 2, 0), Ok(()));
        assert_eq!(windows.used(), (2, 20));
        assert!(windows.take(second(62), 11, 0, 20).is_err());
        assert_eq!(windows.take(second(62), 10, 0, 20), Ok(()));
    }
}
