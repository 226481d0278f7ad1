//! Tests `thinkloom reward` and `thinkloom eval` on files and on the tables of a run.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Outcome, Workspace, fixture, program, rows, text};

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

#[test]
fn rows_with_a_mode_and_no_condition_are_free_and_a_loss_shows() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, rows: &[Value]| {
        let file = folder.path().join(name);
        std::fs::write(&file, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
        file
    };
    // The new model answers every second query directly, and wrong.
    let row = |query: usize, mode: &str, correct: bool| json!({"query_id": format!("q{query}"), "mode": mode, "correct": correct, "format_ok": true, "completion_tokens": 9});
    let old: Vec<Value> = (0..20).map(|query| row(query, "think_on", true)).collect();
    let new: Vec<Value> = (0..20)
        .map(|query| row(query, if query % 2 == 0 { "think_on" } else { "think_off" }, query % 2 == 0))
        .collect();
    let (old, new) = (write("old.jsonl", &old), write("new.jsonl", &new));
    let report = |more: &[&str]| -> Value {
        let arguments = [&["eval", "--rollouts", path(&new), "--baseline", path(&old), "--json"], more].concat();
        serde_json::from_str(&Outcome::of(program().args(&arguments)).assert_code(0).stdout).unwrap()
    };
    let line = report(&[])["lines"][0].clone();
    assert_eq!((&line["condition"], &line["measures"]["responses"]), (&json!("free"), &json!(20)), "{line}");
    assert_eq!(line["change"]["accuracy"]["difference"]["estimate"], -0.5);
    // A row of a run has both modes; a forced one names it. Both are forced, and the other mode is not correct.
    let forced = write(
        "forced.jsonl",
        &[
            json!({"query_id": "a", "mode": "think_off", "observed_mode": "think_on", "correct": true, "format_ok": false, "completion_tokens": 5}),
            json!({"query_id": "a", "forced_mode": "think_off", "completion": "<answer>\n4\n</answer>", "gold": "4", "completion_tokens": 3}),
            json!({"query_id": "a", "forced_mode": "think_off", "completion": "<think>\n2\n</think>\n\n<answer>\n4\n</answer>", "gold": "4", "completion_token_count": 8}),
            json!({"query_id": "a", "completion": "<judge>\nThis is This is", "finish_reason": "length", "gold": "4", "completion_tokens": 8}),
        ],
    );
    let of = |more: &[&str]| -> Value {
        let arguments = [&["eval", "--rollouts", path(&forced), "--json"], more].concat();
        serde_json::from_str(&Outcome::of(program().args(&arguments)).assert_code(0).stdout).unwrap()
    };
    let found = of(&[]);
    let measures = |condition: &str, report: &Value| {
        let lines = report["lines"].as_array().unwrap();
        lines.iter().find(|line| line["condition"] == condition).unwrap()["measures"].clone()
    };
    let (free, off) = (measures("free", &found), measures("off", &found));
    assert_eq!((&free["other_rate"], &free["think_rate"]["estimate"]), (&json!(1.0), &json!(0.0)));
    assert!((off["accuracy"]["estimate"].as_f64().unwrap() - 1.0 / 3.0).abs() < 1e-9, "{off}");
    assert!((off["other_rate"].as_f64().unwrap() - 2.0 / 3.0).abs() < 1e-9, "{off}");
    let verified = measures("off", &of(&["--set", "select.other_mode=as_verified"]));
    assert_eq!(verified["accuracy"]["estimate"], 1.0);
}

#[test]
fn lengths_have_one_name_and_a_preference_for_short_ones_needs_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("in.jsonl");
    let row = |tokens: Value| json!({"query_id": "a", "mode": "think_on", "correct": true, "format_ok": true, "completion_tokens": tokens});
    std::fs::write(&file, format!("{}\n{}\n{}\n", row(json!(10)), row(json!(30)), row(Value::Null))).unwrap();
    let arguments = ["--rollouts", path(&file), "--length-weight", "0.2"];
    let outcome = Outcome::of(&mut command("reward", &arguments)).assert_code(4);
    let found = lines(&outcome.stdout);
    outcome.assert_says(&["in.jsonl:3", "length_weight needs the number of tokens"]);
    assert!((found[0]["advantage_answer"].as_f64().unwrap() - 0.2).abs() < 1e-6, "{}", found[0]);
    assert!((found[1]["advantage_answer"].as_f64().unwrap() + 0.2).abs() < 1e-6, "{}", found[1]);
    let both = ["--rollouts", path(&file), "--length-weight", "0.2", "--method", "grpo"];
    Outcome::of(&mut command("reward", &both)).assert_code(2).assert_says(&["length_weight"]);
    // What `reward` counts, `eval` reads.
    std::fs::write(&file, format!("{}\n", json!({"query_id": "a", "completion": "<think_off>4", "gold": "4"})))
        .unwrap();
    let output = folder.path().join("out.jsonl");
    let model = fixture("tiny-llama.gguf");
    let arguments = ["--rollouts", path(&file), "-o", path(&output), "--tokenizer", path(&model)];
    Outcome::of(&mut command("reward", &arguments)).assert_code(0);
    let counted = lines(&std::fs::read_to_string(&output).unwrap())[0]["completion_tokens"].clone();
    let report = Outcome::of(&mut command("eval", &["--rollouts", path(&output), "--json"])).assert_code(0).stdout;
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["lines"][0]["measures"]["tokens_mean"]["estimate"].as_f64(), counted.as_f64());
}

#[test]
fn a_model_of_structured_responses_is_asked_in_its_own_form() {
    let workspace = Workspace::new(2, &[("policy.mode_preset", "\"structured\"")]);
    for (name, block, opening) in [
        ("own", None, "<judge>\n"),
        ("given", Some("policy.judge_block=\"A number.\""), "<judge>\nA number.\n</judge>\n\n<think_on>\n"),
    ] {
        let mut arguments = vec!["--set", "sampling.allow_unthinking=true"];
        arguments.extend(block.map_or(vec![], |block| vec!["--set", block]));
        let out = workspace.run_whole(name, &arguments);
        let found = rows(&out, "rollouts");
        assert_eq!(found.len(), 12);
        for row in &found {
            let (prompt, response) = (text(row, "prompt"), text(row, "text"));
            assert!(prompt.contains("Which number belongs to card"), "{prompt}");
            assert!(!prompt.contains("step by step"), "the prompt is that of the training rows");
            if text(row, "mode") == "think_on" {
                assert!(prompt.ends_with(opening), "{prompt}");
            }
            let tag = format!("</judge>\n\n<{}>\n", text(row, "mode"));
            assert_eq!(format!("{prompt}{response}").matches(&tag).count(), 1, "the tag is forced once");
            assert!(!text(row, "answer").contains("<judge>"), "{row}");
        }
    }
    let refuse = |settings: &[(&str, &str)], words: &str| {
        workspace.configure(settings);
        workspace.run(&[]).assert_code(2).assert_says(&[words]);
    };
    let server = [("policy.backend", "\"openai\""), ("policy.base_urls", "[\"http://127.0.0.1:9/v1\"]")];
    let preset = ("policy.mode_preset", "\"structured\"");
    refuse(&[server[0], server[1], preset], "a server cannot force the mode tag");
    refuse(&[preset, ("policy.judge_block", "\"a </judge>\"")], "holds </judge>");
    refuse(&[("policy.judge_block", "\"Why.\"")], "only policy.mode_preset");
}
