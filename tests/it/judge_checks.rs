//! Tests the checks of justifications (rejections are sent to the judge, samples are kept or excluded), budgets and
//! deadlines.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::support::{Ledger, Mock, Outcome, Running, Workspace, data_hashes, program, rows, text, until};

const QUERIES: usize = 30;
const BAD_TEXTS: &[&str] = &["--rate-leak", "0.25", "--rate-contradict", "0.25", "--seed", "5"];

fn workspace(judge: &Mock, more: &[(&'static str, &'static str)]) -> Workspace {
    let settings = judge.settings();
    let all: Vec<(&str, &str)> =
        settings.iter().map(|(key, value)| (*key, value.as_str())).chain(more.iter().copied()).collect();
    Workspace::new(QUERIES, &all)
}

fn status(out: &Path) -> Value {
    let outcome = Outcome::of(program().arg("status").arg(out).args(["--json", "--check"])).assert_code(0);
    serde_json::from_str(&outcome.stdout).unwrap()
}

fn count(out: &Path, table: &str) -> i64 {
    Ledger::open(out).unwrap().count(table)
}

#[test]
fn a_judge_that_leaks_and_contradicts_is_told_so_until_its_text_passes() {
    let judge = Mock::start(BAD_TEXTS);
    let workspace = workspace(&judge, &[("judge.attempts_max", "12")]);
    let out = workspace.run_whole("out", &[]);
    let samples = rows(&out, "samples");
    assert!(samples.len() > QUERIES / 2);
    for sample in &samples {
        assert_eq!(sample["justification_status"], "accepted");
        let said = text(sample, "justification");
        assert!(said.contains("(case ") && !said.contains("The answer is"), "{said}");
        assert_eq!(said.contains("worth its length"), sample["mode"] == "think_on", "{sample}");
    }
    let (leaks, contradictions) = (judge.stat("leak"), judge.stat("contradict"));
    assert!(leaks > 0 && contradictions > 0, "choose a --seed that has both: {}", judge.stats());
    let asked = samples.len() as i64 + leaks + contradictions;
    assert_eq!((judge.stat("requests"), judge.stat("distinct_bodies")), (asked, asked), "every rejection is told");

    let status = status(&out);
    let rejections = &status["judge"]["rejections"];
    assert_eq!(rejections["leaks_answer"].as_i64(), Some(leaks), "{status}");
    assert_eq!(rejections["contradicts_mode"].as_i64(), Some(contradictions), "{status}");
    assert_eq!(status["judge"]["statuses"]["accepted"].as_u64(), Some(samples.len() as u64));
    assert!(status["judge"]["spend_usd"].is_null(), "no price, no spend");
    assert!((status["judge"]["cache_hit_rate"].as_f64().unwrap() - 0.5).abs() < 0.01, "{status}");

    // The facts settle everything: a second run of the same directory asks nothing and changes nothing.
    let hashes = data_hashes(&out);
    workspace.run(&[]).assert_code(0);
    assert_eq!((judge.stat("requests"), data_hashes(&out)), (asked, hashes));
}

#[test]
fn a_query_whose_texts_are_all_rejected_is_excluded_or_kept_and_marked() {
    let judge = Mock::start(&["--rate-leak", "1"]);
    let workspace = workspace(&judge, &[("judge.attempts_max", "3")]);
    let out = workspace.run_whole("out", &[]);
    assert!(rows(&out, "samples").is_empty());
    let excluded: Vec<Value> =
        rows(&out, "exclusions").into_iter().filter(|row| row["reason"] == "justification_rejected").collect();
    assert!(excluded.len() > QUERIES / 2);
    for row in &excluded {
        assert!(text(row, "detail").starts_with("leaks_answer: "), "{row}");
    }
    assert_eq!(judge.stat("requests"), 3 * excluded.len() as i64);

    // The same facts, read with another rule: nothing is asked.
    let keep = ["--set", "judge.on_rejected=keep", "--reconfigure"];
    workspace.run(&keep).assert_code(0);
    assert_eq!(judge.stat("requests"), 3 * excluded.len() as i64);
    let samples = rows(&out, "samples");
    assert_eq!(samples.len(), excluded.len());
    let ids =
        |rows: &[Value]| -> BTreeSet<String> { rows.iter().map(|row| text(row, "query_id").to_owned()).collect() };
    assert_eq!(ids(&samples), ids(&excluded));
    for sample in &samples {
        assert_eq!(sample["justification_status"], "rejected:leaks_answer");
        assert!(sample["justification"].is_null() && sample["judge_model"].is_null(), "{sample}");
        assert!(text(sample, "completion").starts_with("<judge>"), "{sample}");
    }
    assert_eq!(status(&out)["judge"]["statuses"]["rejected:leaks_answer"].as_u64(), Some(samples.len() as u64));
}

#[test]
fn a_judge_without_money_stops_the_run_resumably_and_paying_finishes_it() {
    let judge = Mock::start(&["--money-after", "6"]);
    let workspace = workspace(&judge, &[("judge.concurrency_max", "2")]);
    let rich = Mock::start(&[]);
    let whole = data_hashes(&self::workspace(&rich, &[]).run_whole("whole", &[]));
    let out = workspace.out();
    workspace.run(&[]).assert_code(3).assert_says(&["hint:", "top it up", "run the same command again"]);
    // A slot is given back before its end is committed: both slots may have been taken once more.
    assert!(judge.stat("no_money") <= 4, "{}", judge.stats());
    let replies = count(&out, "judge_reply");
    assert_eq!(replies, 6);
    judge.pay();
    workspace.run(&[]).assert_code(0);
    assert_eq!(data_hashes(&out), whole);
    let samples = rows(&out, "samples").len() as i64;
    assert_eq!(judge.stat("ok"), samples, "what was answered before is not asked for again");
}

const PRICES: [(&str, &str); 3] = [
    ("judge.prices_usd_per_mtok.input_cache_hit", "1.0"),
    ("judge.prices_usd_per_mtok.input_cache_miss", "1.0"),
    ("judge.prices_usd_per_mtok.output", "2.0"),
];

#[test]
fn a_budget_stops_the_run_below_it_and_a_larger_one_goes_on() {
    let judge = Mock::start(&[]);
    let workspace = workspace(&judge, &[&PRICES[..], &[("judge.budget_usd", "0.01")]].concat());
    let out = workspace.out();
    workspace.run(&[]).assert_code(3).assert_says(&["budget", "hint:", "judge.budget_usd"]);
    let spent = status(&out)["spend_usd"].as_f64().unwrap();
    assert!(spent > 0.002 && spent <= 0.01, "{spent}");
    let asked = judge.stat("requests");
    workspace.run(&[]).assert_code(3);
    assert_eq!(judge.stat("requests"), asked, "there is still no room for another call");
    workspace.run(&["--set", "judge.budget_usd=1.0"]).assert_code(0);
    assert_eq!(judge.stat("ok"), rows(&out, "samples").len() as i64);
    let judge = &status(&out)["judge"];
    let (usd, each) = (judge["spend_usd"].as_f64().unwrap(), judge["spend_per_sample_usd"].as_f64().unwrap());
    assert!((each * rows(&out, "samples").len() as f64 - usd).abs() < 1e-9, "{judge}");
    assert!((judge["spend_projected_usd"].as_f64().unwrap() - usd).abs() < 1e-9, "{judge}");
}

#[test]
fn a_budget_without_prices_is_refused_by_name() {
    let judge = Mock::start(&[]);
    let workspace = workspace(&judge, &[PRICES[0], PRICES[1], ("judge.budget_usd", "0.01")]);
    workspace.run(&[]).assert_code(2).assert_says(&["judge.budget_usd", "judge.prices_usd_per_mtok.output"]);
    assert_eq!(judge.stat("requests"), 0);
}

#[test]
fn a_deadline_stops_the_run_resumably() {
    let judge = Mock::start(&[]);
    let workspace = workspace(&judge, &[]);
    workspace.run(&["--deadline", "2001-01-01T00:00:00Z"]).assert_code(3);
    workspace.run(&["--deadline", "1h"]).assert_code(0);
    workspace.run(&["--deadline", "soon"]).assert_code(2).assert_says(&["2h30m"]);
}

#[test]
fn a_call_that_was_in_flight_at_a_kill_counts_against_the_budget_at_its_estimate() {
    let judge = Mock::start(&["--latency-ms", "60000"]);
    let budget = [("judge.budget_usd", "0.02"), ("judge.concurrency_max", "2")];
    let workspace = workspace(&judge, &[&PRICES[..], &budget].concat());
    let out = workspace.out();
    let running = Running::start(&mut workspace.command(&[]));
    let begun = || Ledger::open(&out)?.number("SELECT count(*) FROM judge_attempt");
    // Before any reply came, one call shows whether the provider keeps to its limits; the other query waits for it.
    until("a call", || begun().filter(|&count| count == 1));
    assert!(running.kill(), "the run was under way");
    let held = &status(&out)["judge"];
    assert_eq!(held["unanswered"].as_i64(), Some(1), "{held}");
    let each = held["unanswered_usd_max"].as_f64().unwrap();
    assert!(each > 0.002, "{held}");

    // Room for one and a half: none is left for a second. With room for two it would be made.
    let limit = format!("judge.budget_usd={}", 1.5 * each);
    let asked = judge.stat("requests");
    workspace.run(&["--set", &limit]).assert_code(3).assert_says(&["budget", "hint:"]);
    assert_eq!((count(&out, "judge_attempt"), judge.stat("requests")), (1, asked));
}

#[test]
fn the_time_of_a_reply_decides_its_price() {
    let judge = Mock::start(&[]);
    let spend = |off_peak: &'static str| {
        let more =
            [("judge.prices_usd_per_mtok.as_of", "\"2026-08-16\""), ("judge.prices_usd_per_mtok.off_peak", off_peak)];
        let workspace = workspace(&judge, &[&PRICES[..], &more].concat());
        let out = workspace.run_whole("out", &["--limit", "5"]);
        let text = Outcome::of(program().arg("status").arg(&out)).assert_code(0).stdout;
        assert!(text.contains("prices of 2026-08-16"), "{text}");
        status(&out)["spend_usd"].as_f64().unwrap()
    };
    let peak = spend("{}");
    let always = r#"{ hours_utc = ["00:00-24:00"], input_cache_hit = 0.1, input_cache_miss = 0.1, output = 0.2 }"#;
    assert!(peak > 0.0 && (spend(always) - peak / 10.0).abs() < 1e-9);
}

/// Returns the accepted texts of each shard.
fn texts_by_shard(out: &Path, queries_per_shard: i64) -> Vec<Vec<String>> {
    let mut shards: std::collections::BTreeMap<i64, Vec<String>> = std::collections::BTreeMap::new();
    for row in rows(out, "samples") {
        let said = text(&row, "justification").to_owned();
        shards.entry(row["ordinal"].as_i64().unwrap() / queries_per_shard).or_default().push(said);
    }
    shards.into_values().collect()
}

#[test]
fn near_copies_within_a_shard_are_told_and_asked_again_and_a_killed_run_ends_with_the_same_bytes() {
    let judge = Mock::start(&["--copies", "0.7", "--latency-ms", "20", "--seed", "4"]);
    let more = [("judge.attempts_max", "30"), ("judge.concurrency_max", "3"), ("output.queries_per_shard", "15")];
    let workspace = workspace(&judge, &more);
    let whole = workspace.run_whole("whole", &[]);
    let shards = texts_by_shard(&whole, 15);
    for said in &shards {
        let distinct: BTreeSet<&String> = said.iter().collect();
        assert_eq!(distinct.len(), said.len(), "{said:?}");
    }
    let samples: i64 = shards.iter().map(|said| said.len() as i64).sum();
    let (copies, asked) = (judge.stat("copy"), judge.stat("requests"));
    assert!(copies > shards.len() as i64, "choose a --seed with more copies: {}", judge.stats());
    assert!(asked > samples, "copies are asked for again: {}", judge.stats());
    assert_eq!(judge.stat("distinct_bodies"), asked, "every rejection is told");
    assert!(status(&whole)["judge"]["rejections"]["near_copy"].as_i64().unwrap() > 0);

    let out = workspace.out();
    let stored = || Ledger::open(&out)?.number("SELECT count(*) FROM judge_reply");
    for wanted in [3, samples / 2, samples, samples + 3] {
        let mut running = Running::start(&mut workspace.command(&[]));
        until("some replies", || (stored() >= Some(wanted) || running.ended().is_some()).then_some(()));
        running.kill();
    }
    // In another order: one call at a time.
    workspace.run(&["--set", "judge.concurrency_max=1"]).assert_code(0);
    assert_eq!(data_hashes(&out), data_hashes(&whole));
}

#[test]
fn more_shards_than_close_at_once_leave_each_other_the_judges_slots() {
    let judge = Mock::start(&["--copies", "0.9", "--latency-ms", "20", "--seed", "4"]);
    let more = [("judge.attempts_max", "30"), ("judge.concurrency_max", "3"), ("output.queries_per_shard", "3")];
    let workspace = workspace(&judge, &more);
    let out = workspace.run_whole("out", &[]);
    assert!(texts_by_shard(&out, 3).len() > 4 && judge.stat("copy") > 8, "{}", judge.stats());
}

#[test]
fn a_judge_that_always_says_the_same_keeps_the_first_text_of_each_mode_of_a_shard() {
    let judge = Mock::start(&["--duplicates"]);
    let workspace = workspace(&judge, &[("judge.attempts_max", "3")]);
    let out = workspace.run_whole("out", &[]);
    let shards = texts_by_shard(&out, 5);
    for said in &shards {
        let distinct: BTreeSet<&String> = said.iter().collect();
        assert_eq!(distinct.len(), said.len(), "{said:?}");
    }
    let rejected: Vec<Value> =
        rows(&out, "exclusions").into_iter().filter(|row| row["reason"] == "justification_rejected").collect();
    assert!(rejected.len() > 3, "{rejected:?}");
    for row in &rejected {
        assert!(text(row, "detail").starts_with("near_copy: the last text was refused"), "{row}");
    }
    let samples: i64 = shards.iter().map(|said| said.len() as i64).sum();
    assert_eq!(judge.stat("requests"), samples + 3 * rejected.len() as i64);
    // They count as rejections, whether their queries are excluded or kept without a text.
    let near_copies = |out: &Path| status(out)["judge"]["rejections"]["near_copy"].as_u64();
    assert_eq!(near_copies(&out), Some(3 * rejected.len() as u64), "{}", status(&out));
    let kept = workspace.path("kept");
    let command = ["redecide", out.to_str().unwrap(), "-o", kept.to_str().unwrap(), "--set", "judge.on_rejected=keep"];
    Outcome::of(program().args(command)).assert_code(0);
    assert_eq!(near_copies(&kept), Some(3 * rejected.len() as u64), "{}", status(&kept));
}
