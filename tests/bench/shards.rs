//! Writes rows to a shard: seconds for 100,000 responses. `tests/tools/bench_shards.py` compares them with pyarrow.
//!
//! `shards FILE ROUNDS` writes the file and prints one JSON line per round: the seconds from rows to bytes, and the
//! bytes.

#![allow(
    clippy::disallowed_methods,
    clippy::iter_over_hash_type,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a benchmark prints what the clock says; nothing outside uses its items"
)]

use std::time::Instant;

use thinkloom::shards::{RolloutRow, Table, encode};

const ROWS: usize = 100_000;

/// A stream of numbers that are the same every time (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn words(&mut self, count: u64) -> String {
        const WORDS: [&str; 32] = [
            "the",
            "sum",
            "of",
            "two",
            "numbers",
            "is",
            "so",
            "we",
            "have",
            "then",
            "let",
            "x",
            "be",
            "and",
            "if",
            "that",
            "triangle",
            "angle",
            "first",
            "because",
            "therefore",
            "check",
            "wait",
            "again",
            "equals",
            "12",
            "7",
            "345",
            "half",
            "each",
            "times",
            "minus",
        ];
        let word = |number: u64| WORDS[(number % 32) as usize];
        (0..count).map(|_| word(self.next())).collect::<Vec<_>>().join(" ")
    }
}

fn row(index: usize, numbers: &mut Numbers) -> RolloutRow {
    let is_on = index % 16 < 8;
    let length = if is_on { 120 + numbers.next() % 240 } else { 0 };
    let (thinking, answer) = (numbers.words(length), numbers.words(20));
    let mode = if is_on { "think_on" } else { "think_off" };
    RolloutRow {
        query_id: format!("query-{:06}", index / 16),
        ordinal: (index / 16) as i64,
        mode: mode.to_owned(),
        sample_index: (index % 8) as i32,
        seed: (numbers.next() >> 1) as i64,
        prompt: format!(
            "<|im_start|>user\nQuestion {}: how many are left?<|im_end|>\n<|im_start|>assistant\n",
            index / 16
        ),
        text: format!("{thinking}\n</think>\n\n{answer}"),
        thinking: is_on.then_some(thinking),
        answer,
        finish_reason: "stop".to_owned(),
        verdict: if numbers.next().is_multiple_of(3) { "incorrect" } else { "correct" }.to_owned(),
        extracted: Some((numbers.next() % 1000).to_string()),
        verdict_reason: "boxed:rational_equal".to_owned(),
        prompt_tokens: 30,
        completion_tokens: (numbers.next() % 400) as i32,
        policy_model: "model".to_owned(),
        observed_mode: mode.to_owned(),
        forced_close: None,
        logprob_sum: Some(-((numbers.next() % 100_000) as f64) / 1000.0),
        length_estimated: false,
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let file = arguments.next().expect("usage: shards FILE ROUNDS");
    let rounds: usize = arguments.next().and_then(|rounds| rounds.parse().ok()).unwrap_or(1);
    let mut numbers = Numbers(1);
    let rows: Vec<RolloutRow> = (0..ROWS).map(|index| row(index, &mut numbers)).collect();
    for _ in 0..rounds {
        let started = Instant::now();
        let bytes = encode(Table::Rollouts, &rows).expect("these rows fit their table");
        let seconds = started.elapsed().as_secs_f64();
        std::fs::write(&file, &bytes).expect("the file can be written");
        println!("{}", serde_json::json!({"seconds": seconds, "bytes": bytes.len(), "rows": ROWS}));
    }
}
