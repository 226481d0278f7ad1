//! Tests a whole run: its tables agree with each other, and the data alone decides the bytes.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use thinkloom::template::{ResponseBody, parse};

use crate::support::{Ledger, Mock, Outcome, Workspace, data_hashes, hash_of, program, rows, text};

const QUERIES: usize = 12;
const N: usize = 3;

fn merged<'a>(left: &'a [(&'a str, String)], right: &'a [(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    left.iter().map(|(key, value)| (*key, value.as_str())).chain(right.iter().copied()).collect()
}

/// Returns the rollouts of a sample's query in one mode.
fn responses<'a>(rollouts: &'a [Value], sample: &'a Value, mode: &'a str) -> Vec<&'a Value> {
    let is_one = |row: &&Value| row["query_id"] == sample["query_id"] && row["mode"] == mode;
    rollouts.iter().filter(is_one).collect()
}

fn correct<'a>(rollouts: &[&'a Value]) -> Vec<&'a Value> {
    rollouts.iter().copied().filter(|row| row["verdict"] == "correct").collect()
}

#[test]
fn a_whole_run_conserves_its_queries_and_its_tables_agree() {
    let judge = Mock::start(&[]);
    let workspace = Workspace::new(QUERIES, &merged(&judge.settings(), &[]));
    let outcome = workspace.run(&[]).assert_code(0);
    assert!(outcome.stdout.contains("12 queries = "), "{}", outcome.stdout);
    let out = workspace.out();
    let (samples, exclusions) = (rows(&out, "samples"), rows(&out, "exclusions"));
    let rollouts = rows(&out, "rollouts");
    assert_eq!(samples.len() + exclusions.len(), QUERIES);
    assert_eq!(rollouts.len(), QUERIES * 2 * N);
    assert!(samples.len() > QUERIES / 2, "the tiny model solves most queries");
    let mut ordinals: Vec<u64> =
        samples.iter().chain(&exclusions).map(|row| row["ordinal"].as_u64().unwrap()).collect();
    ordinals.sort_unstable();
    assert_eq!(ordinals, (0..QUERIES as u64).collect::<Vec<_>>());
    for exclusion in &exclusions {
        assert_eq!(exclusion["reason"], "unsolved", "no other rule applies here: {exclusion}");
    }
    for sample in &samples {
        assert_sample_agrees(sample, &rollouts);
    }
    let modes: BTreeSet<&str> = samples.iter().map(|sample| text(sample, "mode")).collect();
    assert_eq!(modes.into_iter().collect::<Vec<_>>(), ["think_off", "think_on"], "both modes are seen");
}

/// Checks every column of a sample that follows from its query's responses.
fn assert_sample_agrees(sample: &Value, rollouts: &[Value]) {
    for (mode, suffix) in [("think_on", "on"), ("think_off", "off")] {
        let all = responses(rollouts, sample, mode);
        let solved = correct(&all).len();
        assert_eq!(sample[format!("sampled_{suffix}")], json!(all.len()));
        assert_eq!(sample[format!("correct_{suffix}")], json!(solved));
        let rate = sample[format!("pass_rate_{suffix}")].as_f64().unwrap();
        assert!((rate - solved as f64 / all.len() as f64).abs() < 1e-12, "{sample}");
    }
    let mode = text(sample, "mode");
    let all = responses(rollouts, sample, mode);
    let eligible = correct(&all);
    let eligible: Vec<&Value> = eligible.into_iter().filter(|row| row["observed_mode"] == mode).collect();
    let length = |row: &Value| row["completion_tokens"].as_i64().unwrap();
    let shortest = eligible.iter().copied().min_by_key(|row| (length(row), row["sample_index"].as_i64())).unwrap();
    for column in ["seed", "completion_tokens", "answer", "policy_model"] {
        assert_eq!(sample[column], shortest[column], "{column} of {sample}");
    }
    let parsed = parse(text(sample, "completion")).expect("every completion parses");
    assert_eq!(parsed.justification, text(sample, "justification"));
    match parsed.body {
        ResponseBody::ThinkOn { thinking, answer } => {
            assert_eq!((mode, text(sample, "answer")), ("think_on", answer.as_str()));
            assert_eq!(text(sample, "thinking"), thinking);
        }
        ResponseBody::ThinkOff { answer } => {
            assert_eq!((mode, text(sample, "answer")), ("think_off", answer.as_str()));
            assert!(sample["thinking"].is_null());
        }
    }
    assert_eq!(sample["judge_model"], "judge-under-test-faulty", "the served name is recorded");
    let messages = json!([
        {"role": "user", "content": sample["prompt"]},
        {"role": "assistant", "content": sample["completion"]},
    ]);
    assert_eq!(sample["messages"], messages);
}

#[test]
fn the_manifest_has_the_hash_and_the_rows_of_every_file() {
    let workspace = Workspace::new(QUERIES, &[]);
    let out = workspace.run_whole("out", &[]);
    let manifest: Value = serde_json::from_slice(&std::fs::read(out.join("manifest.json")).unwrap()).unwrap();
    let files = manifest["files"].as_array().unwrap();
    assert_eq!(files.len(), data_hashes(&out).len());
    for file in files {
        let path = out.join(text(file, "name"));
        assert_eq!(text(file, "sha256"), hash_of(&path));
        assert_eq!(file["bytes"], json!(std::fs::metadata(&path).unwrap().len()));
    }
    for table in ["samples", "rollouts", "exclusions"] {
        let of_table = files.iter().filter(|file| text(file, "name").contains(&format!("/{table}/")));
        let listed: i64 = of_table.map(|file| file["rows"].as_i64().unwrap()).sum();
        assert_eq!(listed as usize, rows(&out, table).len());
        assert_eq!(manifest["counts"][table], json!(listed));
    }
    assert_eq!(manifest["counts"]["queries"], json!(QUERIES));
    assert!(out.join("views.sql").is_file() && out.join("README.md").is_file());
}

#[test]
fn slots_threads_and_concurrency_do_not_change_a_byte() {
    let judge = Mock::start(&[]);
    let workspace = Workspace::new(QUERIES, &merged(&judge.settings(), &[]));
    let first = data_hashes(&workspace.run_whole("first", &[]));
    assert_eq!(first.len(), 9, "three shards of three tables");
    for (name, settings) in [
        ("narrow", ["policy.slots=1", "policy.threads=1", "judge.concurrency_max=1"]),
        ("wide", ["policy.slots=64", "policy.threads=2", "judge.concurrency_max=64"]),
    ] {
        let arguments: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        assert_eq!(data_hashes(&workspace.run_whole(name, &arguments)), first, "{name}");
    }
}

#[test]
fn a_small_kv_memory_recomputes_and_says_the_same() {
    let long = [("sampling.think_on_tokens_max", "200")];
    let workspace = Workspace::new(6, &long);
    let roomy = data_hashes(&workspace.run_whole("roomy", &["--set", "policy.slots=16"]));
    let tight = workspace.run_whole("tight", &["--set", "policy.slots=16", "--set", "policy.kv_cache_mib=1"]);
    assert_eq!(data_hashes(&tight), roomy);
}

#[test]
fn running_again_samples_nothing_and_changes_nothing() {
    let judge = Mock::start(&[]);
    let workspace = Workspace::new(QUERIES, &merged(&judge.settings(), &[]));
    let out = workspace.run_whole("out", &[]);
    let (hashes, requests) = (data_hashes(&out), judge.stat("requests"));
    let manifest = hash_of(&out.join("manifest.json"));
    let facts = |out| {
        let ledger = Ledger::open(out).unwrap();
        ["rollout", "verdict", "judge_attempt", "judge_reply", "shard"].map(|table| ledger.count(table))
    };
    let before = facts(&out);
    workspace.run_whole("out", &[]);
    assert_eq!(facts(&out), before);
    assert_eq!(data_hashes(&out), hashes);
    assert_eq!(hash_of(&out.join("manifest.json")), manifest);
    assert_eq!(judge.stat("requests"), requests);
}

#[test]
fn a_limit_takes_the_first_rows_and_another_limit_leaves_no_stale_shard() {
    let workspace = Workspace::new(QUERIES, &[]);
    let out = workspace.run_whole("out", &["--limit", "11"]);
    assert_eq!(rows(&out, "samples").len() + rows(&out, "exclusions").len(), 11);
    let sampled = Ledger::open(&out).unwrap().count("rollout");
    assert_eq!(sampled as usize, 11 * 2 * N);

    workspace.run_whole("out", &["--limit", "4"]);
    assert_eq!(rows(&out, "samples").len() + rows(&out, "exclusions").len(), 4);
    let of_four = data_hashes(&out);
    assert_eq!(of_four.len(), 3, "one shard of three tables is left");
    assert_eq!(Ledger::open(&out).unwrap().count("rollout"), sampled, "facts are kept");
    Outcome::of(program().arg("status").arg(&out).arg("--check")).assert_code(0);

    let whole = data_hashes(&workspace.run_whole("out", &[]));
    assert_eq!(Ledger::open(&out).unwrap().count("rollout") as usize, QUERIES * 2 * N);
    assert_eq!(whole, data_hashes(&workspace.run_whole("fresh", &["--limit", "99"])), "a limit above the input");
    assert_eq!(data_hashes(&workspace.run_whole("out", &["--limit", "4"])), of_four, "and back to four");
    workspace.run(&["--limit", "0"]).assert_code(2);
}

#[test]
fn a_changed_margin_is_refused_by_name_and_redone_from_stored_facts_when_confirmed() {
    let workspace = Workspace::new(QUERIES, &[]);
    let out = workspace.run_whole("out", &[]);
    let (hashes, sampled) = (data_hashes(&out), Ledger::open(&out).unwrap().texts("SELECT key FROM rollout"));
    let wide = ["--set", "select.tie_margin=0.9"];
    let says = ["select.tie_margin", "0.1", "0.9", "--reconfigure"];
    workspace.run(&wide).assert_code(2).assert_says(&says);
    assert_eq!(data_hashes(&out), hashes, "a refused run changes nothing");

    workspace.run_whole("out", &[wide[0], wide[1], "--reconfigure"]);
    assert_ne!(data_hashes(&out), hashes, "a wide margin makes ties");
    assert_eq!(Ledger::open(&out).unwrap().texts("SELECT key FROM rollout"), sampled);
    assert_eq!(data_hashes(&out), data_hashes(&workspace.run_whole("fresh", &wide)));

    workspace.run_whole("out", &["--reconfigure"]);
    assert_eq!(data_hashes(&out), hashes, "and back again");
    Outcome::of(program().arg("status").arg(&out).arg("--check")).assert_code(0);
}

#[test]
fn without_a_judge_the_justification_is_null() {
    let workspace = Workspace::new(QUERIES, &[]);
    let samples = rows(&workspace.run_whole("out", &[]), "samples");
    assert!(!samples.is_empty());
    for sample in &samples {
        assert!(sample["justification"].is_null() && sample["judge_model"].is_null(), "{sample}");
        assert_eq!(parse(text(sample, "completion")).unwrap().justification, "");
    }
}

#[test]
fn the_summary_and_the_status_as_json_say_what_the_files_hold() {
    let workspace = Workspace::new(QUERIES, &[]);
    let outcome = workspace.run(&["--json"]).assert_code(0);
    let summary: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let out = workspace.out();
    assert_eq!(summary["counts"]["samples"], json!(rows(&out, "samples").len()));
    assert_eq!(summary["counts"]["exclusions"], json!(rows(&out, "exclusions").len()));
    assert_eq!(summary["error_exclusions"], 0);
}

#[test]
fn a_dry_run_forecasts_and_leaves_nothing_behind() {
    let workspace = Workspace::new(QUERIES, &[]);
    let outcome = workspace.run(&["--dry-run", "--json"]).assert_code(0);
    let forecast: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert!(forecast.is_object(), "{forecast}");
    assert!(!workspace.out().exists());
}
