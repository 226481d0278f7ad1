//! Tests a curtailed budget: the same rows as under the full budget, except for the counts, from fewer responses,
//! after any interruption.

use std::path::Path;

use serde_json::Value;

use crate::support::{Ledger, Mock, Outcome, Random, Running, Workspace, data_hashes, program, rows, text, until};

const QUERIES: usize = 24;
const CURTAILED: [&str; 2] = ["--set", "sampling.budget=curtailed"];
const COUNTS: [&str; 11] = [
    "pass_rate_on",
    "pass_rate_off",
    "sampled_on",
    "sampled_off",
    "correct_on",
    "correct_off",
    "other_mode_on",
    "other_mode_off",
    "difficulty_score",
    "difficulty_low",
    "difficulty_high",
];

/// Lengths that differ, and a share of random modes.
const SETTINGS: [(&str, &str); 4] = [
    ("sampling.samples_per_mode", "6"),
    ("sampling.temperature", "2.0"),
    ("sampling.think_on_tokens_max", "120"),
    ("select.random_mode_rate", "0.3"),
];

fn workspace() -> Workspace {
    Workspace::new(QUERIES, &SETTINGS)
}

fn without_counts(rows: &[Value]) -> Vec<Value> {
    let strip = |row: &Value| {
        let mut row = row.clone();
        row.as_object_mut().unwrap().retain(|column, _| !COUNTS.contains(&column.as_str()));
        row
    };
    rows.iter().map(strip).collect()
}

fn number(out: &Path, sql: &str) -> i64 {
    Ledger::open(out).unwrap().number(sql).unwrap()
}

fn assert_audit_holds(out: &Path) {
    Outcome::of(program().arg("status").arg(out).arg("--check")).assert_code(0);
}

#[test]
fn the_samples_are_the_full_budgets_but_for_the_counts() {
    // With a judge: its texts must be the same as well.
    let judge = Mock::start(&[]);
    let settings = judge.settings();
    let settings: Vec<(&str, &str)> =
        settings.iter().map(|(key, value)| (*key, value.as_str())).chain(SETTINGS).collect();
    let workspace = Workspace::new(QUERIES, &settings);
    let full = workspace.run_whole("full", &[]);
    let curtailed = workspace.run_whole("curtailed", &CURTAILED);
    assert_eq!(without_counts(&rows(&curtailed, "samples")), without_counts(&rows(&full, "samples")));
    assert_eq!(rows(&curtailed, "exclusions"), rows(&full, "exclusions"));
    let (all, drawn) = (rows(&full, "rollouts"), rows(&curtailed, "rollouts"));
    assert!(drawn.len() < all.len(), "{} of {}", drawn.len(), all.len());
    let seeds: Vec<i64> = all.iter().map(|row| row["seed"].as_i64().unwrap()).collect();
    assert!(drawn.iter().all(|row| seeds.contains(&row["seed"].as_i64().unwrap())), "each is one of the full run's");
    for sample in rows(&curtailed, "samples") {
        for (mode, suffix) in [("think_on", "on"), ("think_off", "off")] {
            let of = |row: &&Value| row["query_id"] == sample["query_id"] && row["mode"] == mode;
            let mine: Vec<&Value> = drawn.iter().filter(of).collect();
            let correct = mine.iter().filter(|row| row["verdict"] == "correct").count();
            assert_eq!(sample[&format!("sampled_{suffix}")], mine.len(), "{sample}");
            assert_eq!(sample[&format!("correct_{suffix}")], correct, "{sample}");
        }
    }
    let modes: Vec<String> = rows(&full, "samples").iter().map(|row| text(row, "mode_reason").to_owned()).collect();
    assert!(modes.iter().any(|reason| reason == "random"), "choose a rate that draws a mode");
    assert!(number(&curtailed, "SELECT count(*) FROM rollout_cut") > 0, "choose lengths of which some are cut");
    assert_audit_holds(&curtailed);
}

#[test]
fn a_frugal_budget_tells_a_tie_from_a_higher_rate_no_more_and_samples_no_more_than_a_curtailed_one() {
    let workspace = workspace();
    let full = workspace.run_whole("full", &[]);
    let count = |name: &str| rows(&workspace.path(name), "rollouts").len();
    workspace.run_whole("curtailed", &CURTAILED);
    let frugal = workspace.run_whole("frugal", &["--set", "sampling.budget=frugal"]);
    let mut expected = without_counts(&rows(&full, "samples"));
    for row in &mut expected {
        if row["mode"] == "think_off" && row["mode_reason"] != "random" {
            row["mode_reason"] = "not_worse".into();
        }
    }
    assert_eq!(without_counts(&rows(&frugal, "samples")), expected);
    assert!(count("frugal") <= count("curtailed") && count("curtailed") < count("full"));
    assert_audit_holds(&frugal);
}

#[test]
fn one_budget_after_the_other_samples_only_what_is_missing() {
    let workspace = workspace();
    let (full, curtailed) = (workspace.run_whole("full", &[]), workspace.run_whole("curtailed", &CURTAILED));
    let (of_full, of_curtailed) = (data_hashes(&full), data_hashes(&curtailed));
    let sampled = number(&full, "SELECT count(*) FROM rollout");
    workspace.run(&[&CURTAILED[..], &["-o", full.to_str().unwrap()]].concat()).assert_code(2).assert_says(&["budget"]);
    workspace.run_whole("full", &[CURTAILED[0], CURTAILED[1], "--reconfigure"]);
    assert_eq!(number(&full, "SELECT count(*) FROM rollout"), sampled, "all are there");
    assert_eq!(data_hashes(&full), of_curtailed, "what else is stored does not show");

    let before = number(&curtailed, "SELECT count(*) FROM rollout");
    workspace.run_whole("curtailed", &["--reconfigure"]);
    assert_eq!(data_hashes(&curtailed), of_full);
    let now = number(&curtailed, "SELECT count(*) FROM rollout");
    assert!(before < now && now == sampled, "{before} {now} {sampled}");
}

#[test]
fn a_curtailed_run_that_is_killed_ends_with_the_bytes_of_an_undisturbed_one() {
    let workspace = workspace();
    let whole = workspace.run_whole("whole", &CURTAILED);
    let keys = |out: &Path| Ledger::open(out).unwrap().texts("SELECT key FROM rollout");
    let out = workspace.out();
    let mut random = Random(5);
    let total = keys(&whole).len() as u64;
    let mut killed = 0;
    for round in 1..8 {
        let running = Running::start(&mut workspace.command(&CURTAILED));
        let wanted = (total * round / 8 + random.below(4)) as i64;
        let stored = || Ledger::open(&out)?.number("SELECT count(*) FROM rollout");
        until("some rollouts", || stored().filter(|&count| count >= wanted.min(total as i64 - 1)));
        killed += i32::from(running.kill());
    }
    assert!(killed >= 4, "{killed} were killed under way");
    // Another number of slots: responses arrive in another order.
    workspace.run_whole("out", &[CURTAILED[0], CURTAILED[1], "--set", "policy.slots=3"]);
    assert_eq!(data_hashes(&out), data_hashes(&whole));
    assert_eq!(keys(&out), keys(&whole), "nothing else was sampled");
    assert_audit_holds(&out);
}
