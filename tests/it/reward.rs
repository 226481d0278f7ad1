//! Tests `thinkloom reward` and `thinkloom eval` on files and on the tables of a run.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Outcome, Workspace, program, text};

fn command(name: &str, arguments: &[&str]) -> Command {
    let mut command = program();
    command.arg(name).args(arguments);
    command
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn rows_keep_their_order_and_what_they_had_and_groups_may_be_scattered() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("in.jsonl");
    let row = |query: &str, mode: &str, correct: bool, note: usize| json!({"query_id": query, "mode": mode, "correct": correct, "format_ok": true, "note": note, "reward": 99});
    let rows = [
        row("a", "think_on", true, 0),
        row("b", "think_off", true, 1),
        row("a", "think_off", false, 2),
        row("b", "think_off", false, 3),
        row("a", "think_on", false, 4),
    ];
    let body: String = rows.iter().map(|row| format!("{row}\n")).collect();
    std::fs::write(&file, format!("{body}\n[1]\n{{}}\n")).unwrap();
    let outcome = Outcome::of(&mut command("reward", &["--rollouts", path(&file)])).assert_code(4);
    let found = lines(&outcome.stdout);
    assert_eq!(found.len(), 7);
    for (index, row) in found.iter().take(5).enumerate() {
        assert_eq!(row["note"], index);
        assert_eq!(row["reward"], if row["correct"] == true { 1.2 } else { 0.2 }, "the row's own reward is replaced");
    }
    // Group b has one mode: a shared term of 0, and two rewards one deviation from their mean.
    assert!((found[1]["advantage_answer"].as_f64().unwrap() - 1.0).abs() < 1e-5);
    assert!((found[3]["advantage_judge"].as_f64().unwrap() + 0.3).abs() < 1e-5);
    assert!(found[5]["reward"].is_null() && text(&found[5], "error").contains("the row has no"));
    assert!(text(&found[6], "error").contains("no query_id"));
    let place = format!("{}:7", path(&file));
    outcome.assert_says(&[&place, "2 groups, 1 of them with both modes", "2 faulty rows: their rewards are null"]);

    let output = folder.path().join("out.jsonl");
    let arguments = ["--rollouts", path(&file), "-o", path(&output), "--json", "--method", "grpo"];
    let summary = Outcome::of(&mut command("reward", &arguments)).assert_code(4).stdout;
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert_eq!((&summary["groups"], &summary["faults"]), (&json!(2), &json!(2)));
    assert_eq!(lines(&std::fs::read_to_string(&output).unwrap()).len(), 7);
    Outcome::of(&mut command("reward", &["--rollouts", path(&file), "--epsilon", "0"])).assert_code(2);
    let parquet = folder.path().join("out.parquet");
    let wrong = ["--rollouts", path(&file), "-o", path(&parquet)];
    Outcome::of(&mut command("reward", &wrong))
        .assert_code(1)
        .assert_says(&["cannot write Parquet: the input is not Parquet"]);
}

#[test]
fn an_output_that_is_an_input_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.jsonl");
    let row = json!({
        "id": "a", "query_id": "a", "question": "What is 2 + 2?", "kind": "numeric", "gold": "4",
        "response": "4", "completion": "4", "mode": "think_off",
    });
    std::fs::write(&file, format!("{row}\n")).unwrap();
    for (name, option) in [("reward", "--rollouts"), ("grade", "--cases"), ("dedup", "--queries")] {
        let refused = Outcome::of(&mut command(name, &[option, path(&file), "-o", path(&file)])).assert_code(1);
        refused.assert_says(&["is also an input; name another file"]);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{row}\n"), "{name}");
    }
}

#[test]
fn what_is_null_is_filled_and_what_is_no_json_is_kept_as_text() {
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (folder.path().join("in.jsonl"), folder.path().join("out.jsonl"));
    let null = json!({
        "query_id": "a", "mode": null, "correct": null, "verdict": null, "format_ok": null, "kind": "numeric", "gold": "4",
        "completion": "<judge>\nEasy.\n</judge>\n\n<think_off>\n<answer>\n4\n</answer>",
    });
    let torn = r#"{"query_id":"a" "mode":1}"#;
    std::fs::write(&file, format!("{null}\n{torn}\n")).unwrap();
    Outcome::of(&mut command("reward", &["--rollouts", path(&file), "-o", path(&out)])).assert_code(4);
    let found = lines(&std::fs::read_to_string(&out).unwrap());
    assert_eq!((&found[0]["mode"], &found[0]["correct"]), (&json!("think_off"), &json!(true)), "{}", found[0]);
    assert_eq!(found[0]["reward"], 1.2);
    assert_eq!(found[1]["row"], torn);
    // What was written can be read again.
    let again = Outcome::of(&mut command("reward", &["--rollouts", path(&out)])).assert_code(4);
    assert_eq!(lines(&again.stdout)[0]["reward"], 1.2);
}

#[test]
fn a_runs_rollouts_are_rewarded_and_evaluated_as_they_are() {
    let workspace = Workspace::new(6, &[]);
    let out = workspace.run_whole("out", &[]);
    let rewards = workspace.path("rewards.parquet");
    let arguments = ["--rollouts", path(&out), "-o", path(&rewards)];
    Outcome::of(&mut command("reward", &arguments)).assert_code(0);
    let as_lines = Outcome::of(&mut command("reward", &["--rollouts", path(&out)])).assert_code(0).stdout;
    let again = Outcome::of(&mut command("reward", &["--rollouts", path(&rewards)])).assert_code(0).stdout;
    let (first, second) = (lines(&as_lines), lines(&again));
    assert_eq!(first.len(), 36);
    for (a, b) in first.iter().zip(&second) {
        for key in ["query_id", "mode", "sample_index", "text", "reward", "advantage_judge", "advantage_answer"] {
            assert_eq!(a[key], b[key], "{key}");
        }
        let reward = a["reward"].as_f64().unwrap();
        assert_eq!(text(a, "verdict") == "correct", reward >= 1.0, "{a}");
    }
    let report = Outcome::of(&mut command("eval", &["--rollouts", path(&out), "--baseline", "off", "--json"]));
    let report: Value = serde_json::from_str(&report.assert_code(0).stdout).unwrap();
    let on = report["lines"].as_array().unwrap().iter().find(|line| line["condition"] == "on" && line["by"] == "all");
    let on = on.unwrap();
    let correct = first.iter().filter(|row| row["mode"] == "think_on" && row["verdict"] == "correct").count();
    let expected = correct as f64 / 18.0;
    assert!((on["measures"]["accuracy"]["estimate"].as_f64().unwrap() - expected).abs() < 1e-9);
    assert_eq!(on["change"]["baseline"], "off");
}

#[test]
fn an_evaluation_samples_once_and_says_the_same_again() {
    let workspace = Workspace::new(5, &[("sampling.samples_per_mode", "2")]);
    let config = workspace.path("thinkloom.toml");
    let out = workspace.path("eval");
    let arguments = ["-c", path(&config), "-o", path(&out)];
    // Part of it first, as if it had been interrupted.
    Outcome::of(command("eval", &arguments).args(["--limit", "2", "--conditions", "on"])).assert_code(0);
    let ledger = crate::support::Ledger::open(&out).unwrap();
    assert_eq!(ledger.count("rollout"), 4);
    let first = Outcome::of(&mut command("eval", &arguments)).assert_code(0).stdout;
    assert_eq!(ledger.count("rollout"), 30);
    let again = Outcome::of(&mut command("eval", &arguments)).assert_code(0).stdout;
    assert_eq!((ledger.count("rollout"), &again), (30, &first));
    let rows = lines(&std::fs::read_to_string(out.join("rows.jsonl")).unwrap());
    assert_eq!(rows.len(), 30);
    for condition in ["free", "on", "off"] {
        assert_eq!(rows.iter().filter(|row| row["condition"] == condition).count(), 10);
    }
    assert!(std::fs::read_to_string(out.join("eval.html")).unwrap().contains("<svg"));
    // Against itself nothing has changed.
    let same = Outcome::of(&mut command("eval", &["--rollouts", path(&out), "--baseline", path(&out), "--json"]));
    let report: Value = serde_json::from_str(&same.assert_code(0).stdout).unwrap();
    for line in report["lines"].as_array().unwrap() {
        let difference = &line["change"]["accuracy"]["difference"];
        assert_eq!((&difference["low"], &difference["high"]), (&json!(0.0), &json!(0.0)));
    }
    let on = Outcome::of(&mut command("eval", &["--rollouts", path(&out), "--conditions", "on", "--json"]));
    let report: Value = serde_json::from_str(&on.assert_code(0).stdout).unwrap();
    assert!(report["lines"].as_array().unwrap().iter().all(|line| line["condition"] == "on"));
    let ignored = ["--rollouts", path(&out), "--limit", "2"];
    Outcome::of(&mut command("eval", &ignored)).assert_code(2).assert_says(&["cannot be used with"]);
    let none = workspace.path("none.jsonl");
    Outcome::of(&mut command("eval", &["--rollouts", path(&none)])).assert_code(1).assert_says(&["does not exist"]);
}
