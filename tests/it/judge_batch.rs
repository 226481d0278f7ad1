//! Tests the provider's batch API: the same data as with single calls, and no second upload or payment, no matter when
//! the run is killed.

use std::path::Path;

use serde_json::Value;

use crate::support::{Ledger, Mock, Outcome, Running, Workspace, data_hashes, program, rows, text, until};

const QUERIES: usize = 14;
const BATCH: &[(&str, &str)] =
    &[("judge.transport", "\"batch\""), ("judge.batch.poll_s", "0.02"), ("judge.batch.requests_max", "6")];
const PRICES: &[(&str, &str)] = &[
    ("judge.prices_usd_per_mtok.input_cache_hit", "1.0"),
    ("judge.prices_usd_per_mtok.input_cache_miss", "1.0"),
    ("judge.prices_usd_per_mtok.output", "2.0"),
    ("judge.prices_usd_per_mtok.batch_factor", "0.5"),
];

fn workspace(judge: &Mock, more: &[(&'static str, &'static str)]) -> Workspace {
    let settings = judge.settings();
    let all: Vec<(&str, &str)> = settings
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .chain(BATCH.iter().copied())
        .chain(more.iter().copied())
        .collect();
    Workspace::new(QUERIES, &all)
}

/// The data of an undisturbed run by single calls; the texts are functions of the requests.
fn by_single_calls(workspace: &Workspace) -> std::collections::BTreeMap<String, String> {
    let plain = Mock::start(&[]);
    let base_url = format!("judge.base_url={:?}", plain.base_url());
    data_hashes(&workspace.run_whole("single", &["--set", &base_url, "--set", "judge.transport=direct"]))
}

fn number(out: &Path, sql: &str) -> i64 {
    Ledger::open(out).unwrap().number(sql).unwrap()
}

fn status(out: &Path) -> Value {
    let outcome = Outcome::of(program().arg("status").arg(out).args(["--json", "--check"])).assert_code(0);
    serde_json::from_str(&outcome.stdout).unwrap()
}

/// Starts a run and kills it once something can be seen at the server or in the ledger.
fn kill_when(workspace: &Workspace, what: &str, is_so: impl Fn(&Path) -> bool) {
    let running = Running::start(&mut workspace.command(&[]));
    let out = workspace.out();
    until(what, || is_so(&out).then_some(()));
    assert!(running.kill(), "the run was under way");
}

#[test]
fn batches_within_their_bound_give_the_data_of_single_calls_at_their_own_price() {
    let judge = Mock::start(&["--batch-delay-ms", "30"]);
    let workspace = workspace(&judge, PRICES);
    let out = workspace.run_whole("out", &[]);
    assert_eq!(data_hashes(&out), by_single_calls(&workspace));
    let samples = rows(&out, "samples").len() as i64;
    let batches = (samples + 5) / 6;
    let stat = |name: &str| judge.stat(name);
    assert_eq!((stat("lines_uploaded"), stat("ok"), stat("lines_max")), (samples, samples, 6));
    assert_eq!((stat("uploads"), stat("batches")), (batches, batches));
    let ledger = Ledger::open(&out).unwrap();
    assert_eq!((ledger.count("judge_batch_item"), ledger.count("judge_reply")), (samples, samples));
    assert_eq!(ledger.count("judge_batch_step"), 3 * stat("batches"), "uploaded, created, ended");
    let status = status(&out);
    let (judge, tokens) = (&status["judge"], &status["judge_tokens"]);
    let expected = 0.5 * (tokens["prompt"].as_f64().unwrap() + 2.0 * tokens["completion"].as_f64().unwrap()) / 1e6;
    assert!((judge["spend_usd"].as_f64().unwrap() - expected).abs() < 1e-9, "{judge}");
    assert_eq!(judge["batches"]["ended"]["completed"].as_i64(), Some(batches), "{judge}");
    assert_eq!(judge["batches"]["under_way"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_run_killed_at_any_step_finds_its_batches_again_and_uploads_and_pays_nothing_twice() {
    // What is posted is done at once and answered later: time enough to be killed in between.
    let judge = Mock::start(&["--batch-delay-ms", "100", "--batch-answer-ms", "400"]);
    let workspace = workspace(&judge, &[]);
    let whole = by_single_calls(&workspace);
    let out = workspace.out();
    let steps = |out: &Path, step: &str| {
        let sql = format!("SELECT count(*) FROM judge_batch_step WHERE step = '{step}'");
        Ledger::open(out).and_then(|ledger| ledger.number(&sql)).unwrap_or(0)
    };
    kill_when(&workspace, "an upload", |_| judge.stat("uploads") > 0);
    assert_eq!(steps(&out, "uploaded"), 0, "killed between upload and fact");
    kill_when(&workspace, "a batch", |out| judge.stat("batches") > steps(out, "created") && steps(out, "uploaded") > 0);
    assert!(steps(&out, "created") < judge.stat("batches"), "killed between creation and fact");
    kill_when(&workspace, "a batch under way", |out| steps(out, "created") > steps(out, "ended"));
    let text = Outcome::of(program().arg("status").arg(&out)).assert_code(0).stdout;
    assert!(text.contains("under way with") && text.contains("calls without a reply may be charged"), "{text}");
    kill_when(&workspace, "some replies", |out| {
        Ledger::open(out).and_then(|ledger| ledger.number("SELECT count(*) FROM judge_reply")).unwrap_or(0) > 0
    });
    workspace.run(&[]).assert_code(0);
    assert_eq!(data_hashes(&out), whole);
    let stats = judge.stats();
    for name in ["ids_uploaded_twice", "bodies_uploaded_twice", "answered_twice"] {
        assert_eq!(stats[name].as_i64(), Some(0), "{name}: {stats}");
    }
    assert_eq!(stats["uploads"], stats["batches"], "{stats}");
    // A batch that a kill kept from being uploaded is begun anew.
    let sent = "SELECT count(*) FROM judge_attempt LEFT JOIN judge_failure USING (request_key, attempt) \
                WHERE outcome IS NULL OR outcome <> 'unreachable'";
    assert_eq!(number(&out, sent), rows(&out, "samples").len() as i64);
    assert_eq!(status(&out)["judge"]["unanswered"].as_i64(), Some(0));
}

#[test]
fn a_batch_that_was_never_uploaded_is_given_up_without_counting_and_its_requests_are_asked_anew() {
    let judge = Mock::start(&["--batch-hang", "1"]);
    let workspace = workspace(&judge, &[("judge.attempts_max", "1")]);
    kill_when(&workspace, "an upload", |_| judge.stat("uploads_hung") > 0);
    let out = workspace.out();
    let held = number(&out, "SELECT count(*) FROM judge_attempt");
    assert!(held > 0 && judge.stat("uploads") == 0);
    workspace.run(&[]).assert_code(0);
    assert_eq!(data_hashes(&out), by_single_calls(&workspace));
    let samples = rows(&out, "samples").len() as i64;
    assert_eq!(judge.stat("lines_uploaded"), samples);
    assert_eq!(number(&out, "SELECT count(*) FROM judge_failure WHERE outcome = 'unreachable'"), held);
    assert_eq!(status(&out)["judge"]["batches"]["ended"]["never_sent"].as_i64(), Some(1));
}

#[test]
fn failed_lines_expired_and_cancelled_batches_and_torn_downloads_are_made_good() {
    let faults = ["--rate-429", "0.2", "--rate-500", "0.1", "--rate-reset", "0.1", "--rate-empty", "0.1"];
    let ends = ["--batch-expire", "1", "--batch-cancel", "1", "--batch-tear", "2", "--seed", "3"];
    let judge = Mock::start(&[&faults[..], &ends[..]].concat());
    let workspace = workspace(&judge, &[]);
    let out = workspace.run_whole("out", &[]);
    assert_eq!(data_hashes(&out), by_single_calls(&workspace));
    let stats = judge.stats();
    let count = |name: &str| stats[name].as_i64().unwrap();
    for fault in ["429", "500", "reset", "empty"] {
        assert!(count(fault) > 0, "choose a --seed that has all faults: {stats}");
    }
    let samples = rows(&out, "samples").len() as i64;
    assert_eq!((count("ok"), count("answered_twice"), count("ids_uploaded_twice")), (samples, 0, 0), "{stats}");
    let failures =
        |outcome: &str| number(&out, &format!("SELECT count(*) FROM judge_failure WHERE outcome = '{outcome}'"));
    assert_eq!(failures("http_error"), count("429") + count("500") + count("reset"), "{stats}");
    assert!(failures("unanswered") > 0);
    assert_eq!(number(&out, "SELECT count(*) FROM judge_attempt"), count("lines_uploaded"), "{stats}");
    let status = status(&out);
    let ended = &status["judge"]["batches"]["ended"];
    assert_eq!((ended["expired"].as_i64(), ended["cancelled"].as_i64()), (Some(1), Some(1)), "{status}");
}

#[test]
fn attempts_within_batches_are_bounded() {
    let judge = Mock::start(&["--rate-500", "1"]);
    let workspace = workspace(&judge, &[("judge.attempts_max", "2")]);
    workspace.run(&["--limit", "5"]).assert_code(4);
    let excluded: Vec<Value> =
        rows(&workspace.out(), "exclusions").into_iter().filter(|row| row["reason"] == "judge_failed").collect();
    assert!(
        !excluded.is_empty() && excluded.iter().all(|row| text(row, "detail").contains("HTTP 500")),
        "{excluded:?}"
    );
    assert_eq!(judge.stat("lines_uploaded"), 2 * excluded.len() as i64);
}

#[test]
fn a_batch_that_is_refused_ends_the_run_with_its_reason_and_counts_for_nothing() {
    let judge = Mock::start(&["--batch-refuse", "1"]);
    let workspace = workspace(&judge, &[("judge.attempts_max", "1"), ("judge.batch.requests_max", "50")]);
    workspace.run(&[]).assert_code(1).assert_says(&["the model takes no batches", "hint:", "judge.transport"]);
    workspace.run(&[]).assert_code(0);
    assert_eq!(judge.stat("ok"), rows(&workspace.out(), "samples").len() as i64);
}

#[test]
fn an_account_without_money_stops_the_run_resumably_and_what_was_answered_is_kept() {
    let judge = Mock::start(&["--money-after", "4"]);
    let workspace = workspace(&judge, &[]);
    workspace.run(&[]).assert_code(3).assert_says(&["hint:", "top it up"]);
    assert_eq!(number(&workspace.out(), "SELECT count(*) FROM judge_reply"), 4);
    judge.pay();
    workspace.run(&[]).assert_code(0);
    assert_eq!((judge.stat("ok"), judge.stat("answered_twice")), (rows(&workspace.out(), "samples").len() as i64, 0));
    assert_eq!(data_hashes(&workspace.out()), by_single_calls(&workspace));
}

#[test]
fn an_interrupted_run_leaves_its_batch_with_the_provider_and_single_calls_wait_for_it() {
    let judge = Mock::start(&["--batch-delay-ms", "1500"]);
    let workspace = workspace(&judge, &[("judge.batch.requests_max", "50")]);
    let out = workspace.out();
    let mut running = Running::start(&mut workspace.command(&[]));
    until("a batch", || (judge.stat("batches") > 0).then_some(()));
    running.interrupt();
    running.finish().assert_code(3);
    assert_eq!(number(&out, "SELECT count(*) FROM judge_failure"), 0);
    workspace.run(&["--set", "judge.transport=direct"]).assert_code(0);
    assert_eq!((judge.stat("answered_twice"), judge.stat("batches")), (0, 1), "{}", judge.stats());
    assert_eq!(judge.stat("requests"), rows(&out, "samples").len() as i64);
    assert_eq!(data_hashes(&out), by_single_calls(&workspace));
}

#[test]
fn a_budget_holds_what_is_under_way_over_restarts_and_frees_what_it_did_not_cost() {
    let judge = Mock::start(&["--batch-delay-ms", "1000"]);
    let workspace = workspace(&judge, &[PRICES, &[("judge.budget_usd", "0.012")]].concat());
    let out = workspace.out();
    kill_when(&workspace, "a batch", |_| judge.stat("batches") > 0);
    let held = status(&out)["judge"]["unanswered_usd_max"].as_f64().unwrap();
    assert!(held > 0.002 && held <= 0.012, "{held}");
    let outcome = workspace.run(&[]);
    assert!(matches!(outcome.code, Some(0 | 3)), "{}", outcome.stderr);
    let spent = status(&out)["judge"]["spend_usd"].as_f64().unwrap();
    assert!(spent > 0.0 && spent <= 0.012, "{spent}");
    let kept = number(&out, "SELECT count(*) FROM judge_reply");
    assert!(kept > judge.stat("lines_max"), "what the first batch did not cost pays for more: {}", judge.stats());
    workspace.run(&["--set", "judge.budget_usd=1.0"]).assert_code(0);
    assert_eq!((judge.stat("answered_twice"), judge.stat("ids_uploaded_twice")), (0, 0));
}

#[test]
fn a_budget_for_batches_needs_to_know_what_they_cost() {
    let judge = Mock::start(&[]);
    let workspace = workspace(&judge, &[&PRICES[..3], &[("judge.budget_usd", "1.0")]].concat());
    workspace.run(&[]).assert_code(2).assert_says(&["judge.budget_usd", "judge.prices_usd_per_mtok.batch_factor"]);
}

#[test]
fn a_result_file_that_is_late_empty_or_short_is_read_again_and_nothing_is_uploaded_twice() {
    for counts in [&["--batch-counts"][..], &[]] {
        let judge = Mock::start(&[&["--batch-late", "3"], counts].concat());
        let workspace = workspace(&judge, &[("judge.batch.requests_max", "50")]);
        let out = workspace.run_whole("out", &[]);
        assert_eq!(data_hashes(&out), by_single_calls(&workspace));
        let samples = rows(&out, "samples").len() as i64;
        assert_eq!(judge.stat("lines_uploaded"), samples, "{}", judge.stats());
        assert_eq!(Ledger::open(&out).unwrap().count("judge_failure"), 0);
    }
}

#[test]
fn results_that_do_not_come_stop_the_run_resumably_and_are_looked_for_at_the_next_start() {
    let judge = Mock::start(&["--batch-late", "16", "--batch-counts"]);
    let workspace = workspace(&judge, &[("judge.batch.requests_max", "50")]);
    let stopped = workspace.run(&[]).assert_code(3);
    stopped.assert_says(&["read the results of batch", "nothing is uploaded twice"]);
    let out = workspace.out();
    // Which of two batches was read how often decides whether one more start finds its results missing.
    let codes: Vec<Option<i32>> = (0..2).map(|_| workspace.run(&[]).code).collect();
    assert!(codes[1] == Some(0) && matches!(codes[0], Some(0 | 3)), "{codes:?}");
    assert_eq!(data_hashes(&out), by_single_calls(&workspace));
    let samples = rows(&out, "samples").len() as i64;
    assert_eq!(judge.stat("lines_uploaded"), samples, "nothing is uploaded twice: {}", judge.stats());
    assert_eq!(Ledger::open(&out).unwrap().count("judge_failure"), 0);
}

#[test]
fn a_batch_that_the_provider_does_not_know_for_a_while_is_neither_given_up_nor_paid_for_twice() {
    // The first eight looks are those of one start, or of two batches.
    let judge = Mock::start(&["--batch-forget", "9", "--batch-delay-ms", "200"]);
    let workspace = workspace(&judge, &[("judge.batch.requests_max", "50")]);
    let out = workspace.out();
    let codes: Vec<Option<i32>> = (0..3).map(|_| workspace.run(&[]).code).collect();
    assert!(codes.contains(&Some(0)) && codes.iter().all(|code| matches!(code, Some(0 | 3))), "{codes:?}");
    assert_eq!(data_hashes(&out), by_single_calls(&workspace));
    assert_eq!(judge.stat("lines_uploaded"), rows(&out, "samples").len() as i64, "{}", judge.stats());
    assert_eq!(Ledger::open(&out).unwrap().count("judge_failure"), 0);
}
