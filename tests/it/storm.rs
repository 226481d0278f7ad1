//! Tests a judge with many faults at once, and runs that are killed meanwhile: no stored reply is requested again.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::{Ledger, Mock, Outcome, Running, Workspace, files_below, program, rows, text, until};

const QUERIES: usize = 200;
const KILLS: [i64; 5] = [15, 40, 70, 100, 130];
const STORM: &[&str] = &[
    "--rate-429",
    "0.10",
    "--retry-after",
    "0.05",
    "--rate-500",
    "0.03",
    "--rate-reset",
    "0.02",
    "--rate-empty",
    "0.02",
    "--rate-null",
    "0.03",
    "--rate-truncated",
    "0.02",
    "--rate-loris",
    "0.01",
    "--latency-ms",
    "20",
    "--seed",
    "3",
];

fn number(out: &Path, sql: &str) -> i64 {
    Ledger::open(out).unwrap().number(sql).unwrap()
}

fn workspace(judge: &Mock, queries: usize, more: &[(&'static str, &'static str)]) -> Workspace {
    let settings = judge.settings();
    let all: Vec<(&str, &str)> =
        settings.iter().map(|(key, value)| (*key, value.as_str())).chain(more.iter().copied()).collect();
    Workspace::new(queries, &all)
}

/// A reply that the mock meant well, whole.
const IS_GOOD: &str = "json_valid(body) AND body LIKE '%(case %'";

#[test]
fn every_query_gets_through_a_storm_and_five_kills_and_no_stored_reply_is_asked_for_again() {
    let judge = Mock::start(STORM);
    let more = [("judge.concurrency_max", "8"), ("judge.timeout_s", "1"), ("judge.attempts_max", "12")];
    let workspace = workspace(&judge, QUERIES, &more);
    let out = workspace.out();
    for wanted in KILLS {
        let running = Running::start(&mut workspace.command(&[]));
        let stored = || Ledger::open(&out)?.number("SELECT count(*) FROM judge_reply");
        until("some replies", || stored().filter(|&count| count >= wanted));
        assert!(running.kill(), "the run was under way");
    }
    let outcome = workspace.run(&[]);
    assert!(matches!(outcome.code, Some(0 | 4)), "{}", outcome.stderr);

    let (samples, exclusions) = (rows(&out, "samples"), rows(&out, "exclusions"));
    assert_eq!(samples.len() + exclusions.len(), QUERIES);
    for sample in &samples {
        assert!(text(sample, "justification").contains("(case "), "{sample}");
    }
    let known = BTreeSet::from(["unsolved", "unverifiable", "template_collision", "judge_failed"]);
    for exclusion in &exclusions {
        assert!(known.contains(text(exclusion, "reason")) && !text(exclusion, "detail").is_empty(), "{exclusion}");
    }
    let again = format!(
        "SELECT count(*) FROM judge_reply AS good JOIN judge_attempt AS later USING (request_key) \
         WHERE later.attempt > good.attempt AND {IS_GOOD}"
    );
    assert_eq!(number(&out, &again), 0, "a stored good reply was asked for again");
    let stats = judge.stats();
    let count = |name: &str| stats[name].as_i64().unwrap();
    for fault in ["429", "500", "reset", "empty", "null", "truncated"] {
        assert!(count(fault) > 0, "{fault} did not happen: {stats}");
    }
    let good = number(&out, &format!("SELECT count(*) FROM judge_reply WHERE {IS_GOOD}"));
    assert_eq!(good, samples.len() as i64);
    // What was under way at a kill may have been answered in vain.
    let lost = count("ok") - good;
    assert!((0..=8 * KILLS.len() as i64).contains(&lost), "{lost} good replies were lost: {stats}");
    let attempts = number(&out, "SELECT count(*) FROM judge_attempt");
    assert!(count("requests") <= attempts, "{} requests, {attempts} attempts", count("requests"));
    assert!(count("in_flight_max") <= 8, "{stats}");
    Outcome::of(program().arg("status").arg(&out).arg("--check")).assert_code(0);
}

#[test]
fn a_key_that_the_server_echoes_stands_in_no_log_ledger_or_output() {
    const KEY: &str = "sk-storm-0123456789abcdef";
    let run = |options: &[&str], code: i32| {
        let judge = Mock::start(&[&["--key", KEY, "--echo-headers"], options].concat());
        let workspace = workspace(
            &judge,
            4,
            &[("judge.attempts_max", "2"), ("judge.concurrency_max", "2"), ("judge.patience_s", "3")],
        );
        let mut command = workspace.command(&[]);
        command.env("DEEPSEEK_API_KEY", KEY).env("THINKLOOM_LOG", "trace");
        let outcome = Outcome::of(&mut command).assert_code(code);
        assert!(!outcome.stdout.contains(KEY) && !outcome.stderr.contains(KEY));
        let mut bytes = 0;
        for path in files_below(&workspace.out()) {
            let content = std::fs::read(&path).unwrap();
            bytes += content.len();
            let found = content.windows(KEY.len()).any(|window| window == KEY.as_bytes());
            assert!(!found, "the key stands in {}", path.display());
        }
        assert!(bytes > 10_000, "there is something to look through");
        (judge.stats(), outcome.stderr)
    };
    let (stats, _) = run(&["--rate-500", "1"], 3);
    assert!(stats["500"].as_i64().unwrap() > 0, "{stats}");
    let (stats, _) = run(&[], 0);
    assert!(stats["ok"].as_i64().unwrap() > 0, "the key is sent: {stats}");
    let (stats, said) = run(&["--key-after", "1"], 3);
    assert!(stats["bad_key"].as_i64().unwrap() > 0, "{stats}");
    assert!(said.contains("[redacted]"), "{said}");
}

#[test]
fn a_stream_with_comments_gives_the_same_data_as_a_reply_in_one_piece() {
    let judge = Mock::start(&["--keep-alives", "3"]);
    let data = |stream: &str| {
        let workspace = workspace(&judge, 12, &[]);
        let out = workspace.run_whole("out", &["--set", &format!("judge.stream={stream}")]);
        crate::support::data_hashes(&out)
    };
    let whole = data("false");
    assert_eq!(data("true"), whole);
    assert_eq!(data("\"auto\""), whole);
}

#[test]
fn calls_under_way_are_finished_and_kept_when_the_run_is_interrupted() {
    let judge = Mock::start(&["--latency-ms", "300"]);
    let workspace = workspace(&judge, 40, &[("judge.concurrency_max", "4")]);
    let out = workspace.out();
    let mut running = Running::start(&mut workspace.command(&[]));
    let begun = || Ledger::open(&out)?.number("SELECT count(*) FROM judge_attempt");
    until("some calls", || begun().filter(|&count| count >= 6));
    running.interrupt();
    running.finish().assert_code(3);
    let attempts = number(&out, "SELECT count(*) FROM judge_attempt");
    assert_eq!(number(&out, "SELECT count(*) FROM judge_reply"), attempts, "every call that was made is kept");
    assert_eq!(judge.stat("requests"), attempts);
    workspace.run(&[]).assert_code(0);
    assert_eq!(judge.stat("answered_twice"), 0);
}

#[test]
fn faults_of_every_other_sort_are_outlived() {
    let faults = ["503", "eof", "blank", "reasoning", "shape", "error200", "length"];
    let rates: Vec<String> = faults.iter().flat_map(|fault| [format!("--rate-{fault}"), "0.06".to_owned()]).collect();
    let mut options: Vec<&str> = rates.iter().map(String::as_str).collect();
    options.extend(["--keep-alives", "2", "--limit-headers", "--requests-per-minute", "1000000", "--seed", "5"]);
    let judge = Mock::start(&options);
    let workspace = workspace(&judge, 80, &[("judge.attempts_max", "12")]);
    let outcome = workspace.run(&[]);
    assert!(matches!(outcome.code, Some(0 | 4)), "{}", outcome.stderr);
    let (out, stats) = (workspace.out(), judge.stats());
    for fault in faults {
        assert!(stats[fault].as_i64().unwrap() > 0, "{fault} did not happen: {stats}");
    }
    // Only a limit that cuts two replies of one query is a reason to give it up.
    let failed: Vec<_> = rows(&out, "exclusions").into_iter().filter(|row| row["reason"] == "judge_failed").collect();
    let is_cut = |row: &serde_json::Value| text(row, "detail").contains("and again with a larger one");
    assert!(failed.len() < 10 && failed.iter().all(is_cut), "{failed:?}");
    assert_eq!(stats["ok"].as_i64().unwrap(), rows(&out, "samples").len() as i64);
}

#[test]
fn what_can_never_succeed_is_asked_once() {
    for (fault, words) in [("overflow", "400"), ("overflow-nested", "400"), ("filter", "content filter")] {
        let judge = Mock::start(&[&format!("--rate-{fault}"), "1"]);
        let workspace = workspace(&judge, 3, &[]);
        workspace.run(&[]).assert_code(4);
        let failed: Vec<_> =
            rows(&workspace.out(), "exclusions").into_iter().filter(|row| row["reason"] == "judge_failed").collect();
        assert!(!failed.is_empty() && failed.iter().all(|row| text(row, "detail").contains(words)), "{failed:?}");
        assert_eq!(judge.stat("requests"), failed.len() as i64, "{fault}");
    }
}

#[test]
fn every_way_to_ask_for_patience_is_understood() {
    for style in ["seconds", "ms", "date", "none"] {
        let judge = Mock::start(&["--rate-429", "0.3", "--retry-after", "0.02", "--retry-style", style]);
        let workspace = workspace(&judge, 6, &[]);
        let out = workspace.run_whole("out", &[]);
        assert!(judge.stat("429") > 0, "{style}: {}", judge.stats());
        assert_eq!(judge.stat("ok"), rows(&out, "samples").len() as i64);
    }
}

#[test]
fn a_judge_that_dies_half_way_leaves_its_calls_to_the_other() {
    let (dying, living) =
        (Mock::start(&["--latency-ms", "5", "--die-after", "15"]), Mock::start(&["--latency-ms", "5"]));
    let more = format!("[{:?}]", living.base_url());
    let settings = dying.settings();
    let mut all: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    all.extend([("judge.more_base_urls", more.as_str()), ("judge.concurrency_max", "2")]);
    let workspace = Workspace::new(60, &all);
    let out = workspace.run_whole("out", &[]);
    assert!(dying.stat("ok") > 5 && living.stat("ok") > 20, "{} {}", dying.stats(), living.stats());
    assert!(rows(&out, "exclusions").iter().all(|row| row["reason"] != "judge_failed"));
    assert_eq!(number(&out, "SELECT count(*) FROM judge_reply"), rows(&out, "samples").len() as i64);
}
