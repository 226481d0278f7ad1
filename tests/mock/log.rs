//! The log of the mock server, from which tests count duplicate requests, idle slots and breached limits.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::knobs::Outcome;

/// One request.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// When it came, since the server's start.
    pub at: Duration,
    /// How long it took, to its last byte.
    pub took: Duration,
    /// Hash of its body.
    pub body: u64,
    /// How many of this body came before, and this one.
    pub number: u32,
    /// Requests under way when it came, itself included.
    pub in_flight: usize,
    /// Prompt and reply.
    pub tokens: u64,
    /// How it ended.
    pub outcome: Outcome,
}

impl Entry {
    /// Returns the entry as one line of JSON.
    pub fn to_json(self) -> String {
        json!({
            "at_us": micros(self.at), "took_us": micros(self.took), "body": format!("{:016x}", self.body),
            "n": self.number, "in_flight": self.in_flight, "tokens": self.tokens, "outcome": self.outcome.name(),
        })
        .to_string()
    }

    /// Reads a line that [`Entry::to_json`] wrote.
    pub fn from_json(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let number = |name: &str| value.get(name)?.as_u64();
        let name = value.get("outcome")?.as_str()?;
        Some(Self {
            at: Duration::from_micros(number("at_us")?),
            took: Duration::from_micros(number("took_us")?),
            body: u64::from_str_radix(value.get("body")?.as_str()?, 16).ok()?,
            number: u32::try_from(number("n")?).ok()?,
            in_flight: usize::try_from(number("in_flight")?).ok()?,
            tokens: number("tokens")?,
            outcome: Outcome::NAMES.iter().find(|(_, known)| *known == name)?.0,
        })
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Returns counts by outcome, and what else tests look at.
pub fn stats(entries: &[Entry]) -> Value {
    let mut counts: Map<String, Value> =
        Outcome::NAMES.iter().map(|(_, name)| ((*name).to_owned(), json!(0))).collect();
    let mut by_outcome: BTreeMap<&str, u64> = BTreeMap::new();
    let mut bodies: HashMap<u64, u32> = HashMap::new();
    for entry in entries {
        *by_outcome.entry(entry.outcome.name()).or_default() += 1;
        *bodies.entry(entry.body).or_default() += u32::from(entry.outcome == Outcome::Ok);
    }
    counts.extend(by_outcome.into_iter().map(|(name, count)| (name.to_owned(), json!(count))));
    counts.insert("requests".to_owned(), json!(entries.len()));
    counts.insert("distinct_bodies".to_owned(), json!(bodies.len()));
    let twice = bodies.values().filter(|answers| **answers > 1).count();
    counts.insert("answered_twice".to_owned(), json!(twice));
    let most = entries.iter().map(|entry| entry.in_flight).max().unwrap_or(0);
    counts.insert("in_flight_max".to_owned(), json!(most));
    Value::Object(counts)
}

/// Returns the share of `slots` that was in use from the first request until the last `slots` requests began.
pub fn share_in_use(entries: &[Entry], slots: usize) -> f64 {
    let mut starts: Vec<Duration> = entries.iter().map(|entry| entry.at).collect();
    starts.sort_unstable();
    let (Some(first), Some(last)) = (starts.first(), starts.get(starts.len().saturating_sub(slots))) else {
        return 0.0;
    };
    let used: f64 =
        entries.iter().map(|entry| (entry.at + entry.took).min(*last).saturating_sub(entry.at).as_secs_f64()).sum();
    used / (last.saturating_sub(*first).as_secs_f64() * slots as f64)
}

/// Returns the most requests and the most tokens that came within any window of this length.
pub fn most_in_window(entries: &[Entry], window: Duration) -> (u64, u64) {
    let mut sorted: Vec<&Entry> = entries.iter().collect();
    sorted.sort_unstable_by_key(|entry| entry.at);
    let mut inside: VecDeque<&Entry> = VecDeque::new();
    let (mut tokens, mut most) = (0, (0, 0));
    for entry in sorted {
        while inside.front().is_some_and(|first| first.at + window <= entry.at) {
            tokens -= inside.pop_front().map_or(0, |first| first.tokens);
        }
        inside.push_back(entry);
        tokens += entry.tokens;
        most = (most.0.max(inside.len() as u64), most.1.max(tokens));
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at_ms: u64, took_ms: u64, tokens: u64) -> Entry {
        let (at, took) = (Duration::from_millis(at_ms), Duration::from_millis(took_ms));
        Entry { at, took, body: at_ms, number: 1, in_flight: 1, tokens, outcome: Outcome::Ok }
    }

    #[test]
    fn the_share_in_use_counts_until_the_last_requests_begin() {
        let full = [entry(0, 10, 0), entry(0, 10, 0), entry(10, 10, 0), entry(10, 90, 0)];
        assert!((share_in_use(&full, 2) - 1.0).abs() < 1e-9);
        let half = [entry(0, 10, 0), entry(10, 10, 0), entry(20, 10, 0), entry(20, 10, 0)];
        assert!((share_in_use(&half, 2) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn the_fullest_window_is_found_wherever_it_lies() {
        let entries = [entry(0, 0, 5), entry(900, 0, 1), entry(1000, 0, 1), entry(1800, 0, 1), entry(5000, 0, 3)];
        assert_eq!(most_in_window(&entries, Duration::from_secs(1)), (3, 6));
        assert_eq!(most_in_window(&[], Duration::from_secs(1)), (0, 0));
    }

    #[test]
    fn entries_are_read_back_as_they_were_written() {
        let written = entry(7, 3, 11);
        let read = Entry::from_json(&written.to_json()).unwrap();
        assert_eq!((read.at, read.took, read.body, read.tokens), (written.at, written.took, 7, 11));
        assert!(Entry::from_json("{}").is_none());
    }
}
