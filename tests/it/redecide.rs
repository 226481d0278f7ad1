//! Tests selecting again from stored facts: the rows go to another directory, and the command samples nothing, calls
//! no judge, and leaves the first directory unchanged.

use std::path::Path;

use serde_json::Value;

use crate::support::{Ledger, Mock, Outcome, Workspace, data_hashes, hash_of, program, queries, rows, text};

const QUERIES: usize = 14;

fn workspace(judge: &Mock) -> Workspace {
    let settings = judge.settings();
    let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    Workspace::new(QUERIES, &settings)
}

fn redecide(from: &Path, to: &Path, arguments: &[&str]) -> Outcome {
    Outcome::of(program().arg("redecide").arg(from).arg("-o").arg(to).args(arguments))
}

fn json(outcome: Outcome) -> Value {
    serde_json::from_str(&outcome.assert_code(0).stdout).unwrap()
}

fn assert_audit_holds(out: &Path) {
    Outcome::of(program().arg("status").arg(out).arg("--check")).assert_code(0);
}

/// Every column of a sample that does not depend on a justification.
fn without_justification(row: &Value) -> Value {
    let mut row = row.clone();
    let object = row.as_object_mut().unwrap();
    for column in ["justification", "judge_model", "justification_status", "messages", "completion"] {
        object.remove(column);
    }
    row
}

#[test]
fn another_margin_gives_the_rows_of_a_run_with_it_and_leaves_the_old_directory_alone() {
    let judge = Mock::start(&[]);
    let workspace = workspace(&judge);
    let out = workspace.run_whole("out", &[]);
    let (hashes, ledger) = (data_hashes(&out), hash_of(&out.join("ledger.sqlite")));
    let facts = |out: &Path| Ledger::open(out).unwrap().texts("SELECT key FROM rollout");
    let (sampled, asked) = (facts(&out), judge.stat("requests"));

    let wide = ["--set", "select.tie_margin=0.9"];
    let new = workspace.path("new");
    let report = json(redecide(&out, &new, &[&wide[..], &["--json"]].concat()));
    assert_eq!((data_hashes(&out), hash_of(&out.join("ledger.sqlite"))), (hashes, ledger));
    assert_eq!((facts(&new), judge.stat("requests")), (sampled, asked), "nothing is sampled, nobody is asked");
    assert_audit_holds(&new);

    let fresh = workspace.run_whole("fresh", &wide);
    let (before, after, fresh) = (rows(&out, "samples"), rows(&new, "samples"), rows(&fresh, "samples"));
    let plain = |rows: &[Value]| rows.iter().map(without_justification).collect::<Vec<_>>();
    assert_eq!(plain(&after), plain(&fresh));
    for name in ["rollouts", "exclusions"] {
        assert_eq!(rows(&new, name), rows(&workspace.path("fresh"), name));
    }
    let of = |rows: &[Value], id: &str| rows.iter().find(|row| row["query_id"] == id).cloned();
    let mut changed = Vec::new();
    for row in &after {
        let then = of(&before, text(row, "query_id")).expect("a wider margin loses no query");
        if then["mode"] != row["mode"] {
            changed.push(text(row, "query_id").to_owned());
        }
        let is_asked = ["mode", "mode_reason", "seed"].iter().all(|column| then[column] == row[column]);
        let status = if is_asked { "accepted" } else { "outstanding" };
        assert_eq!(row["justification_status"], status, "{row}");
        assert_eq!(row["justification"].is_null(), !is_asked, "{row}");
    }
    assert!(!changed.is_empty(), "choose a margin that changes a mode");
    let listed = report["diff"]["changed_mode"].as_array().unwrap().iter().map(|change| text(change, "query_id"));
    assert_eq!(listed.collect::<Vec<_>>(), changed);
    let outstanding = after.iter().filter(|row| row["justification_status"] == "outstanding").count();
    assert_eq!(report["diff"]["justifications_outstanding"], outstanding);
    assert_eq!(report["counts"]["samples"], after.len());

    // What is outstanding is made good by a run, which says so first.
    let on_new = [&wide[..], &["-o", new.to_str().unwrap()]].concat();
    workspace.run(&on_new).assert_code(2).assert_says(&["run.facts", &format!("{outstanding} calls")]);
    workspace.run(&[&on_new[..], &["--reconfigure"]].concat()).assert_code(0);
    assert_eq!(data_hashes(&new), data_hashes(&workspace.path("fresh")));
    assert_audit_holds(&new);
}

#[test]
fn with_judge_what_is_outstanding_is_asked_and_nothing_else() {
    let judge = Mock::start(&[]);
    let workspace = workspace(&judge);
    let out = workspace.run_whole("out", &[]);
    let asked = judge.stat("requests");
    let new = workspace.path("new");
    let report = json(redecide(&out, &new, &["--set", "select.tie_margin=0.9", "--judge", "--json"]));
    assert_eq!(report["diff"]["justifications_outstanding"], 0);
    assert!((1..asked).contains(&(judge.stat("requests") - asked)), "{}", judge.stats());
    let fresh = workspace.run_whole("fresh", &["--set", "select.tie_margin=0.9"]);
    assert_eq!(data_hashes(&new), data_hashes(&fresh));
    assert_audit_holds(&new);
}

#[test]
fn fewer_responses_are_those_of_a_run_with_fewer_and_the_table_says_how_much_hangs_on_them() {
    let workspace = Workspace::new(QUERIES, &[("sampling.samples_per_mode", "4")]);
    let out = workspace.run_whole("out", &[]);
    let fewer = ["--set", "sampling.samples_per_mode=2"];
    let new = workspace.path("new");
    let report = json(redecide(&out, &new, &[&fewer[..], &["--json"]].concat()));
    assert_eq!(data_hashes(&new), data_hashes(&workspace.run_whole("fresh", &fewer)));
    let counts = (report["counts"]["samples"].as_u64().unwrap(), rows(&out, "samples").len() as u64);
    let (joined, left) = (report["diff"]["joined"].as_array().unwrap(), report["diff"]["left"].as_object().unwrap());
    assert_eq!(counts.0 + left.len() as u64, counts.1 + joined.len() as u64);
    assert!(left.values().all(|reason| reason == "unsolved"), "{left:?}");

    let all = json(redecide(&out, &workspace.path("same"), &["--json"]));
    assert_eq!(all["diff"]["same"], rows(&out, "samples").len());
    assert_eq!(all["sensitivity_queries"], QUERIES);
    let row = |n: u64, margin: f64| {
        let rows = all["sensitivity"].as_array().unwrap();
        let is_it = |row: &&Value| row["samples_per_mode"] == n && row["tie_margin"] == margin;
        rows.iter().find(is_it).unwrap_or_else(|| panic!("no row {n} {margin}")).clone()
    };
    let present = row(4, 0.1);
    assert_eq!((present["same_mode_share"].as_f64(), present["samples"].as_f64()), (Some(1.0), Some(counts.1 as f64)));
    assert!(row(1, 0.1)["samples"].as_f64() <= present["samples"].as_f64());
    for name in ["think_on_share", "same_mode_share"] {
        assert!((0.0..=1.0).contains(&row(2, 0.5)[name].as_f64().unwrap()));
    }
    let said = redecide(&out, &workspace.path("text"), &[]).assert_code(0).stdout;
    assert!(said.contains("sensitivity, over 14 queries") && said.contains("the same, 0 changed mode"), "{said}");
}

#[test]
fn what_would_need_sampling_or_would_overwrite_something_is_refused_with_a_hint() {
    let workspace = Workspace::new(4, &[]);
    let out = workspace.run_whole("out", &[]);
    let new = workspace.path("new");
    for (setting, key) in [
        ("sampling.samples_per_mode=9", "sampling.samples_per_mode"),
        ("sampling.temperature=0.1", "sampling.temperature"),
        ("policy.model=other.gguf", "policy.model"),
        ("input.kind=math", "input.kind"),
    ] {
        redecide(&out, &new, &["--set", setting]).assert_code(2).assert_says(&[key, "hint:"]);
    }
    redecide(&out, &new, &["--set", "select.tie_margn=1"]).assert_code(2).assert_says(&["select.tie_margin"]);
    assert!(!new.exists());
    redecide(&out, &out, &[]).assert_code(2).assert_says(&["it has a dataset already", "hint:"]);
    redecide(&workspace.path("absent"), &new, &[]).assert_code(1);
}

#[test]
fn an_unfinished_run_gives_what_it_has_and_names_what_is_not_stored() {
    let workspace = Workspace::new(12, &[]);
    let out = workspace.run_whole("out", &["--limit", "5"]);
    // As if the run had been stopped after five rows: the input and the settings of all, the responses of five.
    let wanted = queries(12).lines().count();
    let connection = rusqlite::Connection::open(out.join("ledger.sqlite")).unwrap();
    assert_eq!(connection.execute("UPDATE run SET row_limit = NULL", []).unwrap(), 1);
    drop(connection);
    let new = workspace.path("new");
    let report = json(redecide(&out, &new, &["--json"]));
    let not_stored = &report["counts"]["exclusions_by_reason"]["not_stored"];
    assert_eq!((report["counts"]["queries"].as_u64(), not_stored.as_u64()), (Some(wanted as u64), Some(7)));
    assert_eq!(report["diff"]["unsettled_before"], 7);
    assert_eq!((&report["sensitivity_queries"], &report["sensitivity_incomplete"]), (&5.into(), &7.into()));
    assert_audit_holds(&new);
}
