//! Tests edits of the config between runs: the program announces the work that a change causes, then does exactly this
//! work, and no change causes more work than necessary.
//!
//! The necessary work is counted from the published tables of two undisturbed runs, before and after the edit. A
//! response must be sampled if the old run has no response with its seed. A judge call is needed if no sample of the
//! old run has the same mode, reason and response.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::Value;

use crate::support::{Ledger, Mock, Outcome, Workspace, data_hashes, files_below, program, queries, rows, text};

const QUERIES: usize = 12;
const N: i64 = 3;

/// A finished run with a judge behind HTTP.
struct Base {
    judge: Mock,
    workspace: Workspace,
    out: PathBuf,
}

/// What is redone: Think-on responses, Think-off responses, judge calls.
type Work = (i64, i64, i64);

impl Base {
    fn new() -> Self {
        let judge = Mock::start(&[]);
        let settings = judge.settings();
        let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let workspace = Workspace::new(QUERIES, &settings);
        let out = workspace.run_whole("base", &[]);
        Self { judge, workspace, out }
    }

    /// Copies the run, so that each edit begins where it ended.
    fn copy(&self, name: &str) -> PathBuf {
        let copy = self.workspace.path(name);
        for path in files_below(&self.out) {
            let target = copy.join(path.strip_prefix(&self.out).unwrap());
            std::fs::create_dir_all(target.parent().unwrap()).unwrap();
            std::fs::copy(path, target).unwrap();
        }
        copy
    }

    /// Makes an edit in a copy: it is refused, with what there is to do; then done; and is as if run so from the start.
    fn edit(&self, name: &str, arguments: &[&str], keys: &[&str]) -> Work {
        let copy = self.copy(name);
        let before = data_hashes(&copy);
        let all = [&["-o", copy.to_str().unwrap()], arguments].concat();
        let refused = self.workspace.run(&[&all[..], &["--json"]].concat()).assert_code(2);
        let refused = refused.assert_says(&["--reconfigure"]).assert_says(keys);
        let report: Value = serde_json::from_str(&refused.stdout).unwrap();
        let changed: Vec<&str> = report["changes"].as_array().unwrap().iter().map(|key| text(key, "key")).collect();
        assert_eq!(changed, keys, "{report:#}");
        assert_eq!(data_hashes(&copy), before, "a refused run changes nothing");

        let (sampled, asked) = (sampled(&copy), self.judge.stat("requests"));
        self.workspace.run(&[&all[..], &["--reconfigure"]].concat()).assert_code(0);
        let now = self::sampled(&copy);
        let done = (now.0 - sampled.0, now.1 - sampled.1, self.judge.stat("requests") - asked);
        Outcome::of(program().arg("status").arg(&copy).arg("--check")).assert_code(0);

        let number = |name: &str| report["outlook"][name].as_i64().unwrap();
        assert_eq!((done.0, done.1), (number("rollouts_on"), number("rollouts_off")), "{report:#}");
        let (known, open) = (number("judge_calls"), number("judge_calls_open"));
        assert!((known..=known + open).contains(&done.2), "{} calls were made: {report:#}", done.2);

        let fresh = self.workspace.run_whole(&format!("{name}-fresh"), arguments);
        assert_eq!(data_hashes(&copy), data_hashes(&fresh), "{name}");
        done
    }

    /// Returns the least that leads from the base to a run that was made from the start.
    fn least(&self, fresh: &str) -> Work {
        let fresh = self.workspace.path(fresh);
        let seeds = |out: &Path, mode: &str| -> BTreeSet<i64> {
            let of_mode = |row: &Value| row["mode"] == mode;
            rows(out, "rollouts").iter().filter(|row| of_mode(row)).map(|row| row["seed"].as_i64().unwrap()).collect()
        };
        let new = |mode: &str| seeds(&fresh, mode).difference(&seeds(&self.out, mode)).count() as i64;
        let cases = |out: &Path| -> BTreeSet<String> {
            let case =
                |row: &Value| format!("{} {} {} {}", row["query_id"], row["mode"], row["mode_reason"], row["seed"]);
            rows(out, "samples").iter().map(case).collect()
        };
        let calls = cases(&fresh).difference(&cases(&self.out)).count() as i64;
        (new("think_on"), new("think_off"), calls)
    }

    /// Makes an edit and checks that no more is redone than must be.
    fn edit_at_least(&self, name: &str, arguments: &[&str], keys: &[&str]) -> Work {
        let done = self.edit(name, arguments, keys);
        let least = self.least(&format!("{name}-fresh"));
        println!("{name}: {done:?} redone, {least:?} at the least (think-on, think-off, judge calls)");
        assert_eq!(done, least, "{name}");
        done
    }
}

fn sampled(out: &Path) -> (i64, i64) {
    let ledger = Ledger::open(out).unwrap();
    let of = |mode: &str| ledger.number(&format!("SELECT count(*) FROM rollout WHERE mode = '{mode}'")).unwrap();
    (of("think_on"), of("think_off"))
}

#[test]
fn every_edit_of_the_config_redoes_the_least_and_says_so_before() {
    let base = Base::new();
    let samples = rows(&base.out, "samples").len() as i64;
    let set = |setting: &'static str| ["--set", setting];
    let all = QUERIES as i64 * N;

    let margin = base.edit_at_least("margin", &set("select.tie_margin=0.9"), &["select.tie_margin"]);
    assert!(margin.0 == 0 && margin.1 == 0 && (1..samples).contains(&margin.2), "{margin:?} of {samples}");

    let bins = base.edit_at_least("bins", &set("difficulty.easy_off_min=0.3"), &["difficulty.easy_off_min"]);
    assert_eq!(bins, (0, 0, 0));
    let labels = |name: &str| -> Vec<String> {
        rows(&base.workspace.path(name), "samples").iter().map(|row| text(row, "difficulty").to_owned()).collect()
    };
    assert_ne!(labels("bins"), labels("base"));

    let more = base.edit_at_least("more", &set("sampling.samples_per_mode=5"), &["sampling.samples_per_mode"]);
    assert_eq!((more.0, more.1), (QUERIES as i64 * 2, QUERIES as i64 * 2));
    assert!(more.2 <= rows(&base.workspace.path("more"), "samples").len() as i64);

    // The cap is part of a response's address: it changes the random stream.
    let cap = base.edit("cap", &set("sampling.think_on_tokens_max=40"), &["sampling.think_on_tokens_max"]);
    assert_eq!((cap.0, cap.1), (all, 0));

    let judge = base.edit("judge", &set("judge.model=another"), &["judge.model"]);
    assert_eq!(judge, (0, 0, samples));
}

#[test]
fn a_row_that_is_added_is_all_that_is_sampled_and_judged() {
    let base = Base::new();
    std::fs::write(base.workspace.path("queries.jsonl"), queries(QUERIES + 1)).unwrap();
    let done = base.edit_at_least("row", &[], &["content.input"]);
    assert_eq!((done.0, done.1), (N, N));
    assert!(done.2 <= 1, "{done:?}");
}

/// Makes a ledger that an older version of a part has written: other keys, other version in the identity.
fn age(out: &Path, part: &str, facts: &[&str]) {
    let connection = Connection::open(out.join("ledger.sqlite")).unwrap();
    connection.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    let of_another_run = ["run", "start", "shard"].map(|table| format!("UPDATE {table} SET fingerprint = 'old'"));
    for sql in facts.iter().copied().chain(of_another_run.iter().map(String::as_str)) {
        assert!(connection.execute(sql, []).unwrap() > 0, "{sql}");
    }
    let identity: String = connection.query_row("SELECT identity FROM run", [], |row| row.get(0)).unwrap();
    let mut identity: Value = serde_json::from_str(&identity).unwrap();
    assert!(identity[part].is_string(), "{identity}");
    identity[part] = "0".into();
    connection.execute("UPDATE run SET identity = ?1", [identity.to_string()]).unwrap();
}

#[test]
fn a_newer_verifier_samples_nothing_and_asks_nothing_where_its_verdicts_agree() {
    let base = Base::new();
    age(&base.out, "content.verifier", &["UPDATE verdict SET key = 'old ' || key"]);
    let done = base.edit_at_least("verifier", &[], &["content.verifier"]);
    assert_eq!(done, (0, 0, 0));
    let verdicts = Ledger::open(&base.workspace.path("verifier")).unwrap().count("verdict");
    assert_eq!(verdicts, 2 * QUERIES as i64 * 2 * N, "every response is verified again");
}

#[test]
fn a_newer_judge_prompt_asks_for_every_justification_again_and_samples_nothing() {
    let base = Base::new();
    let facts =
        ["judge_attempt", "judge_reply"].map(|table| format!("UPDATE {table} SET request_key = 'old ' || request_key"));
    age(&base.out, "content.judge_prompt", &[&facts[0], &facts[1]]);
    let done = base.edit("prompt", &[], &["content.judge_prompt"]);
    assert_eq!(done, (0, 0, rows(&base.out, "samples").len() as i64));
}

#[test]
fn the_expected_cost_rests_on_what_was_measured_and_is_unknown_without_prices() {
    let base = Base::new();
    let report = |arguments: &[&str]| -> Value {
        let all = [&["-o", base.out.to_str().unwrap(), "--json"], arguments].concat();
        serde_json::from_str(&base.workspace.run(&all).assert_code(2).stdout).unwrap()
    };
    let more = ["--set", "sampling.samples_per_mode=5"];
    let outlook = report(&more)["outlook"].clone();
    assert!(outlook["judge_usd"].is_null(), "{outlook}");
    let ledger = Ledger::open(&base.out).unwrap();
    let tokens = ledger.number("SELECT sum(completion_tokens) FROM rollout").unwrap() as f64;
    let expected = tokens / (2 * N) as f64 * 4.0;
    assert!((outlook["tokens"].as_f64().unwrap() - expected).abs() < 1e-6, "{outlook}");
    assert!(outlook["sampling_s"].as_f64().unwrap() > 0.0);

    let prices = ["input_cache_hit=1.0", "input_cache_miss=1.0", "output=2.0"];
    let prices = prices.map(|price| format!("judge.prices_usd_per_mtok.{price}"));
    let mut arguments = vec!["--set", "judge.model=another"];
    arguments.extend(prices.iter().flat_map(|price| ["--set", price.as_str()]));
    let outlook = report(&arguments)["outlook"].clone();
    let per_call = outlook["judge_tokens_per_call"].as_array().unwrap();
    let usd = (per_call[0].as_f64().unwrap() + 2.0 * per_call[1].as_f64().unwrap()) / 1e6;
    let calls = outlook["judge_calls"].as_f64().unwrap();
    assert_eq!(calls, rows(&base.out, "samples").len() as f64);
    assert!((outlook["judge_usd"].as_f64().unwrap() - calls * usd).abs() < 1e-9, "{outlook}");
    let said = base.workspace.run(&["-o", base.out.to_str().unwrap(), arguments[0], arguments[1]]).assert_code(2);
    said.assert_says(&["judge.model", "sample", "nothing", "calls", "money", "unknown"]);
}
