//! Tests the judge client against an API that fails on purpose: every sample gets its justification, and no request is
//! repeated after a reply.

use std::path::Path;

use crate::support::{Ledger, Mock, Outcome, Running, Workspace, data_hashes, program, rows, text, until};

const QUERIES: usize = 30;
/// Every sort of failure, often enough that each is met.
const FAULTS: &[&str] =
    &["--rate-429", "0.20", "--retry-after", "0.05", "--rate-500", "0.15", "--rate-empty", "0.15", "--seed", "7"];

fn workspace(judge: &Mock, more: &[(&'static str, &'static str)]) -> Workspace {
    let settings = judge.settings();
    let all: Vec<(&str, &str)> =
        settings.iter().map(|(key, value)| (*key, value.as_str())).chain(more.iter().copied()).collect();
    Workspace::new(QUERIES, &all)
}

fn number(out: &Path, sql: &str) -> i64 {
    Ledger::open(out).unwrap().number(sql).unwrap()
}

#[test]
fn every_sample_is_justified_through_all_faults_and_every_request_is_in_the_ledger() {
    let judge = Mock::start(FAULTS);
    let workspace = workspace(&judge, &[]);
    let out = workspace.run_whole("out", &[]);
    let samples = rows(&out, "samples");
    assert!(samples.len() > QUERIES / 2);
    for sample in &samples {
        assert!(text(sample, "justification").ends_with('.'), "{sample}");
        assert_eq!(sample["judge_model"], "judge-under-test-faulty");
    }
    let stats = judge.stats();
    let count = |name: &str| stats[name].as_i64().unwrap();
    assert!(
        ["429", "500", "empty"].iter().all(|fault| count(fault) > 0),
        "choose a --seed that has all faults: {stats}"
    );
    let ledger = Ledger::open(&out).unwrap();
    assert_eq!(ledger.count("judge_attempt"), count("requests"), "{stats}");
    assert_eq!(ledger.count("judge_reply"), count("ok") + count("empty"), "{stats}");
    assert_eq!(ledger.count("judge_failure"), count("429") + count("500"), "{stats}");
    assert_eq!(count("ok"), samples.len() as i64, "no usable reply is asked for twice");
    assert_eq!(count("distinct_bodies"), samples.len() as i64);
    assert!(count("in_flight_max") <= 64);
}

#[test]
fn calls_in_flight_stay_within_their_bound() {
    let judge = Mock::start(&["--latency-ms", "5"]);
    let workspace = workspace(&judge, &[("judge.concurrency_max", "3")]);
    workspace.run_whole("out", &[]);
    assert!((1..=3).contains(&judge.stat("in_flight_max")), "{}", judge.stats());
}

#[test]
fn a_killed_run_asks_no_stored_reply_again() {
    let judge = Mock::start(&["--latency-ms", "80"]);
    let workspace = workspace(&judge, &[("judge.concurrency_max", "2")]);
    let whole = data_hashes(&workspace.run_whole("whole", &[]));
    let first = judge.stat("requests");
    let out = workspace.out();
    let running = Running::start(&mut workspace.command(&[]));
    let stored = || Ledger::open(&out)?.number("SELECT count(*) FROM judge_reply");
    until("some replies", || stored().filter(|&count| count >= 5));
    assert!(running.kill(), "the run was under way");
    let count = |table: &str| Ledger::open(&out).unwrap().count(table);
    let (attempts, replies) = (count("judge_attempt"), count("judge_reply"));
    assert!((0..=2).contains(&(attempts - replies)), "calls in flight: {attempts} attempts, {replies} replies");
    workspace.run_whole("out", &[]);
    assert_eq!(data_hashes(&out), whole);
    let samples = rows(&out, "samples").len() as i64;
    assert_eq!(count("judge_reply"), samples);
    assert_eq!(count("judge_attempt") - attempts, samples - replies, "only what has no stored reply is asked for");
    // A call that was cut off may have reached the server, or not.
    let asked = judge.stat("requests") - first;
    assert!((samples..=count("judge_attempt")).contains(&asked), "{asked} requests, {attempts} attempts before");
    Outcome::of(program().arg("status").arg(&out).arg("--check")).assert_code(0);
}

#[test]
fn runs_killed_amid_faults_end_with_the_bytes_of_an_undisturbed_one() {
    // Mostly faults that name a short wait: the back-off after the others is real time.
    let faults = ["--rate-429", "0.3", "--retry-after", "0.02", "--rate-500", "0.04", "--rate-empty", "0.04"];
    let judge = Mock::start(&[&faults[..], &["--latency-ms", "80"]].concat());
    let workspace = workspace(&judge, &[("judge.concurrency_max", "2")]);
    let whole = data_hashes(&workspace.run_whole("whole", &[]));
    let out = workspace.out();
    for wanted in [1, 4, 8] {
        let running = Running::start(&mut workspace.command(&[]));
        let stored = || Ledger::open(&out)?.number("SELECT count(*) FROM judge_reply");
        until("some replies", || stored().filter(|&count| count >= wanted));
        assert!(running.kill(), "the run was under way");
    }
    workspace.run_whole("out", &[]);
    assert_eq!(data_hashes(&out), whole);
    let attempts = "SELECT count(*) FROM (SELECT request_key FROM judge_attempt GROUP BY request_key, attempt \
                    HAVING count(*) > 1)";
    assert_eq!(number(&out, attempts), 0);
    Outcome::of(program().arg("status").arg(&out).arg("--check")).assert_code(0);
}

#[test]
fn attempts_are_bounded_and_a_query_without_a_reply_is_excluded_with_its_reason() {
    let judge = Mock::start(&["--rate-empty", "1"]);
    let workspace = workspace(&judge, &[("judge.attempts_max", "3")]);
    workspace.run(&["--limit", "5"]).assert_code(4);
    let out = workspace.out();
    assert!(rows(&out, "samples").is_empty());
    let exclusions = rows(&out, "exclusions");
    let failed: Vec<_> = exclusions.iter().filter(|row| row["reason"] == "judge_failed").collect();
    assert!(!failed.is_empty());
    for row in &failed {
        assert!(text(row, "detail").contains("holds no text"), "{row}");
    }
    assert_eq!(judge.stat("requests"), 3 * failed.len() as i64);
    workspace.run(&["--limit", "5"]).assert_code(4);
    assert_eq!(judge.stat("requests"), 3 * failed.len() as i64, "a run that gave up does not ask again");

    workspace.run(&["--limit", "5", "--set", "judge.attempts_max=4", "--reconfigure"]).assert_code(4);
    assert_eq!(judge.stat("requests"), 4 * failed.len() as i64, "one more attempt is allowed, one more is made");
}

#[test]
fn the_spend_is_the_stored_usage_times_the_prices_and_unknown_without_them() {
    let judge = Mock::start(&[]);
    let workspace = workspace(&judge, &[]);
    let out = workspace.run_whole("out", &["--limit", "6"]);
    let status = |out: &Path| {
        let outcome = Outcome::of(program().arg("status").arg(out).arg("--json")).assert_code(0);
        serde_json::from_str::<serde_json::Value>(&outcome.stdout).unwrap()
    };
    assert!(status(&out)["spend_usd"].is_null(), "no price, no spend");

    let prices = ["input_cache_hit=1.0", "input_cache_miss=1.0", "output=2.0"];
    let prices = prices.map(|price| format!("judge.prices_usd_per_mtok.{price}"));
    let mut arguments = vec!["--limit", "6"];
    arguments.extend(prices.iter().flat_map(|price| ["--set", price.as_str()]));
    let priced = status(&workspace.run_whole("priced", &arguments));
    let tokens = |name: &str| priced["judge_tokens"][name].as_f64().unwrap();
    let expected = (tokens("prompt") + 2.0 * tokens("completion")) / 1e6;
    assert!(expected > 0.0 && (priced["spend_usd"].as_f64().unwrap() - expected).abs() < 1e-9, "{priced}");
}
