//! Tests programs in a whole run: verdicts are stored as facts; the number of workers and a second start change
//! nothing.

use serde_json::json;

use crate::support::{Ledger, Workspace, data_hashes, rows, text};

fn workspace() -> Workspace {
    let query = |index: usize| {
        let tests = [format!("assert f() == {index}")];
        json!({"id": format!("c{index}"), "question": format!("Program {index}?"), "kind": "code", "tests": tests})
    };
    let input: String = (0..4).map(|index| format!("{}\n", query(index))).collect();
    Workspace::with_input(input.as_bytes(), &[("sampling.samples_per_mode", "2")])
}

#[test]
fn a_run_verifies_programs_once_and_the_number_of_workers_changes_no_byte() {
    let workspace = workspace();
    let out = workspace.run_whole("out", &["--set", "verify.workers=1"]);
    let rollouts = rows(&out, "rollouts");
    assert_eq!(rollouts.len(), 16);
    for row in &rollouts {
        let reason = text(row, "verdict_reason");
        assert!(!reason.contains("no_sandbox") && !reason.is_empty(), "the sandbox is incomplete here: {row}");
    }
    // The tiny model says nothing that is Python.
    assert!(rollouts.iter().all(|row| row["verdict"] == "incorrect" && text(row, "prompt").contains("assert ")));
    let hashes = data_hashes(&out);
    let verdicts = Ledger::open(&out).unwrap().count("verdict");
    workspace.run_whole("out", &["--set", "verify.workers=2"]);
    assert_eq!(Ledger::open(&out).unwrap().count("verdict"), verdicts, "nothing is run again");
    assert_eq!(data_hashes(&workspace.run_whole("wide", &["--set", "verify.workers=4"])), hashes);
}

#[test]
fn verdicts_without_a_sandbox_do_not_stand_in_the_way_of_those_with_one() {
    let workspace = workspace();
    let python = ["--set", "verify.python=/no/such/python"];
    let out = workspace.run_whole("out", &python);
    let exclusions = rows(&out, "exclusions");
    assert_eq!(exclusions.len(), 4);
    assert!(exclusions.iter().all(|row| row["reason"] == "unverifiable" && text(row, "detail").contains("no_sandbox")));
    workspace.run(&[]).assert_code(2).assert_says(&["content.sandbox", "decisions are made again", "--reconfigure"]);
    let sampled = Ledger::open(&out).unwrap().count("rollout");
    workspace.run_whole("out", &["--reconfigure"]);
    assert_eq!(Ledger::open(&out).unwrap().count("rollout"), sampled, "nothing is sampled again");
    assert!(rows(&out, "exclusions").iter().all(|row| row["reason"] == "unsolved"));
}
