//! Tests faulty rows, files, models, settings and servers: each fault gives a named reason and a documented exit code,
//! and loses no data.

use std::path::Path;

use serde_json::Value;

use crate::support::{Ledger, Mock, Outcome, Workspace, data_hashes, files_below, fixture, program, rows, text};

/// A key that nothing but a leak could write anywhere.
const KEY: &str = "sk-recognisable-0123456789abcdef";

/// Good rows with one bad row of each sort between them, and a line number for each.
fn rows_of_every_sort() -> Vec<u8> {
    let good = |index: usize, gold: usize| {
        format!(
            r#"{{"id": "good-{index}", "question": "Which number is on card {index}?", "answer": "{gold}", "kind": "numeric"}}"#
        )
    };
    let mut lines: Vec<Vec<u8>> = vec![
        good(1, 1).into_bytes(),
        br#"{"id": "torn", "question": "What is"#.to_vec(),
        good(2, 2).into_bytes(),
        br#"{"id": "typed", "question": ["no", "text"], "answer": "1", "kind": "numeric"}"#.to_vec(),
        br#"{"id": "good-1", "question": "Something else?", "answer": "3", "kind": "numeric"}"#.to_vec(),
        br#"{"id": "golden", "question": "No answer?", "kind": "numeric"}"#.to_vec(),
        b"{\"id\": \"bytes\", \"question\": \"Broken \xff\xfe?\", \"answer\": \"1\", \"kind\": \"numeric\"}".to_vec(),
        br#"{"id": "kindly", "question": "Which kind?", "answer": "1", "kind": "poem"}"#.to_vec(),
        br#"{"id": "worded", "question": "How many?", "answer": "many", "kind": "numeric"}"#.to_vec(),
        br#"{"id": "again", "question": "Which number is on card 2?", "answer": "2", "kind": "numeric"}"#.to_vec(),
        good(3, 3).into_bytes(),
    ];
    for line in &mut lines {
        line.push(b'\n');
    }
    lines.concat()
}

#[test]
fn one_bad_row_is_an_exclusion_with_its_reason_and_line_and_the_run_ends_with_4() {
    let workspace = Workspace::with_input(&rows_of_every_sort(), &[]);
    let outcome = workspace.run(&[]).assert_code(4);
    assert!(outcome.stdout.contains("11 queries = "), "{}", outcome.stdout);
    let exclusions = rows(&workspace.out(), "exclusions");
    let found: Vec<(i64, &str)> = exclusions
        .iter()
        .filter(|row| row["reason"] != "unsolved")
        .map(|row| (row["line"].as_i64().unwrap(), text(row, "reason")))
        .collect();
    let expected = [
        (2, "invalid_syntax"),
        (4, "wrong_type"),
        (5, "duplicate_id"),
        (6, "missing_gold"),
        (7, "invalid_utf8"),
        (8, "unknown_kind"),
        (9, "invalid_value"),
        (10, "duplicate"),
    ];
    assert_eq!(found, expected);
    for row in &exclusions {
        assert_eq!(row["file"], "queries.jsonl");
        assert!(!text(row, "detail").is_empty(), "{row}");
    }
    let settled = exclusions.len() + rows(&workspace.out(), "samples").len();
    assert_eq!(settled, 11, "the good rows around the bad ones are worked on");
    assert_eq!(Ledger::open(&workspace.out()).unwrap().count("rollout"), 3 * 2 * 3);
    workspace.run(&[]).assert_code(4);
}

#[test]
fn rules_that_exclude_are_no_errors() {
    let queries = r#"{"id": "never", "question": "Which number?", "answer": "77", "kind": "numeric"}
{"id": "twice", "question": "Which number?", "answer": "77", "kind": "numeric"}
"#;
    let workspace = Workspace::with_input(queries.as_bytes(), &[]);
    workspace.run(&[]).assert_code(0);
    let reasons: Vec<Value> =
        rows(&workspace.out(), "exclusions").into_iter().map(|row| row["reason"].clone()).collect();
    assert_eq!(reasons, ["unsolved", "duplicate"]);
}

#[test]
fn an_input_without_rows_or_without_a_file_is_named_with_a_hint() {
    let workspace = Workspace::with_input(b"", &[]);
    workspace.run(&[]).assert_code(1).assert_says(&["queries.jsonl", "holds no rows", "hint:"]);
    std::fs::remove_file(workspace.path("queries.jsonl")).unwrap();
    workspace.run(&[]).assert_code(1).assert_says(&["queries.jsonl", "matches no file", "hint:"]);
    workspace.configure(&[("input.paths", "[]")]);
    workspace.run(&[]).assert_code(2).assert_says(&["input.paths is empty"]);
    workspace.configure(&[("input.paths", "[\"queries.txt\"]")]);
    std::fs::write(workspace.path("queries.txt"), "What?").unwrap();
    workspace.run(&[]).assert_code(1).assert_says(&["queries.txt", "known endings", ".jsonl"]);
}

#[test]
fn a_model_that_cannot_be_used_is_named_with_a_hint() {
    let workspace = Workspace::new(2, &[]);
    let whole = std::fs::read(fixture("tiny-llama.gguf")).unwrap();
    std::fs::write(workspace.path("short.gguf"), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(workspace.path("head.gguf"), &whole[..100]).unwrap();
    std::fs::write(workspace.path("empty.gguf"), "").unwrap();
    std::fs::write(workspace.path("text.gguf"), "This is no model.\n".repeat(100)).unwrap();
    std::fs::create_dir(workspace.path("folder.gguf")).unwrap();
    for name in ["absent.gguf", "short.gguf", "head.gguf", "empty.gguf", "text.gguf", "folder.gguf"] {
        let setting = format!("policy.model={name}");
        let outcome = workspace.run(&["--set", &setting]).assert_code(1).assert_says(&[name, "hint:"]);
        assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    }
}

/// Puts bytes in the place of others that stand in a file once, behind a mark.
fn patched(file: &[u8], mark: &[u8], skip: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = file.to_vec();
    let at = file.windows(mark.len()).position(|window| window == mark).expect("the mark is there") + mark.len() + skip;
    bytes[at..at + new.len()].copy_from_slice(new);
    bytes
}

#[test]
fn a_model_whose_numbers_or_template_attack_the_program_is_refused_by_name() {
    let workspace = Workspace::new(2, &[]);
    let whole = std::fs::read(fixture("tiny-llama.gguf")).unwrap();
    let template = |text: &str| {
        // A type, a length, and the text, which keeps its length.
        let mark = b"tokenizer.chat_template";
        let start = whole.windows(mark.len()).position(|window| window == mark).unwrap() + mark.len() + 4;
        let length = u64::from_le_bytes(whole[start..start + 8].try_into().unwrap()) as usize;
        patched(&whole, mark, 12, format!("{text:length$}").as_bytes())
    };
    let layers = |count: u32| patched(&whole, b"llama.block_count", 4, &count.to_le_bytes());
    let cases = [
        ("layers.gguf", layers(u32::MAX), "llama.block_count is 4294967295; it must be from 1 to"),
        ("holds-itself.gguf", template("{% set n=namespace() %}{% set n.x=n %}{{ n }}"), "nests far deeper"),
        ("nested.gguf", template(&"(".repeat(190).replacen("((", "{{", 1)), "cannot be rendered"),
        (
            "endless.gguf",
            template("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"),
            "come to an end",
        ),
    ];
    for (name, bytes, says) in cases {
        std::fs::write(workspace.path(name), bytes).unwrap();
        let setting = format!("policy.model={name}");
        let outcome = workspace.run(&["--set", &setting]);
        // An error or an exclusion for every query, never a signal.
        assert!(matches!(outcome.code, Some(1 | 4)), "{name}: {:?} {}", outcome.code, outcome.stderr);
        assert!(!outcome.stderr.contains("panicked"), "{name}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(says), "{name}: {}", outcome.stderr);
    }
}

#[test]
fn a_config_that_cannot_be_used_ends_with_2_and_names_the_key() {
    let workspace = Workspace::new(2, &[]);
    let config = workspace.path("thinkloom.toml");
    let good = std::fs::read_to_string(&config).unwrap();
    for (line, says) in [
        ("sampling.temprature = 0.5", "did you mean \"sampling.temperature\""),
        ("sampling.temperature = 5.0", "sampling.temperature is 5; allowed: 0 to 2"),
        ("sampling.seed = \"one\"", "seed"),
        ("judge.api_key = \"secret\"", "did you mean \"judge.api_key_env\""),
        ("sampling.seed = ", "thinkloom.toml"),
    ] {
        std::fs::write(&config, format!("{good}{line}\n")).unwrap();
        workspace.run(&[]).assert_code(2).assert_says(&[says]);
    }
    std::fs::write(&config, &good).unwrap();
    for (setting, says) in [
        ("select.tie_margni=0.2", "did you mean \"select.tie_margin\""),
        ("select.tie_margin", "expected key=value"),
        ("select.tie_margin=1.5", "select.tie_margin is 1.5"),
        ("select.tie_margin=wide", "tie_margin"),
        ("sampling.seed.more=1", "sampling.seed"),
    ] {
        workspace.run(&["--set", setting]).assert_code(2).assert_says(&[says]);
    }
    std::fs::remove_file(&config).unwrap();
    workspace.run(&[]).assert_code(2).assert_says(&["thinkloom.toml", "thinkloom init"]);
    assert!(!workspace.out().exists(), "nothing was begun");
}

#[test]
fn wrong_usage_ends_with_2() {
    for arguments in [&["run", "--limit", "many"][..], &["frobnicate"], &["run", "--no-such-flag"], &[]] {
        let outcome = Outcome::of(program().args(arguments)).assert_code(2);
        assert!(outcome.stdout.is_empty() && !outcome.stderr.is_empty(), "{outcome:?}");
    }
}

#[test]
fn an_output_directory_that_cannot_be_written_is_named_with_a_hint() {
    let workspace = Workspace::new(2, &[]);
    // A path below a file refuses even the superuser.
    let below_a_file = workspace.path("queries.jsonl/out");
    let below_a_file = below_a_file.to_str().unwrap();
    workspace.run(&["-o", below_a_file]).assert_code(1).assert_says(&[below_a_file, "hint:"]);
    if cfg!(target_os = "linux") {
        workspace.run(&["-o", "/proc/thinkloom-out"]).assert_code(1).assert_says(&["/proc/thinkloom-out", "hint:"]);
    }
}

#[test]
fn a_judge_that_nobody_runs_ends_the_run_and_costs_no_rollout() {
    const QUERIES: usize = 8;
    let absent = [
        ("judge.backend", "\"openai\""),
        ("judge.base_url", "\"http://127.0.0.1:1\""),
        ("judge.model", "\"judge-under-test\""),
        ("judge.patience_s", "3"),
    ];
    let workspace = Workspace::new(QUERIES, &absent);
    workspace.run(&[]).assert_code(3).assert_says(&[
        "cannot use the judge: no reply for 3 s",
        "hint:",
        "run the same command again",
    ]);
    let out = workspace.out();
    let sampled = Ledger::open(&out).unwrap().texts("SELECT key FROM rollout");
    assert_eq!(sampled.len(), QUERIES * 2 * 3, "all that was sampled is kept");

    let judge = Mock::start(&[]);
    let present = judge.settings();
    let present: Vec<(&str, &str)> = present.iter().map(|(key, value)| (*key, value.as_str())).collect();
    workspace.configure(&present);
    workspace.run(&[]).assert_code(2).assert_says(&["judge.base_url", "--reconfigure"]);
    workspace.run_whole("out", &["--reconfigure"]);
    assert_eq!(Ledger::open(&out).unwrap().texts("SELECT key FROM rollout"), sampled);
    assert_eq!(rows(&out, "samples").len() as i64, judge.stat("requests"));
}

#[test]
fn a_missing_key_for_a_judge_elsewhere_is_told_before_anything_is_sampled() {
    let elsewhere = [
        ("judge.backend", "\"openai\""),
        ("judge.base_url", "\"https://judge.invalid/v1\""),
        ("judge.api_key_env", "\"THINKLOOM_IT_ABSENT_KEY\""),
    ];
    let workspace = Workspace::new(2, &elsewhere);
    workspace.run(&[]).assert_code(1).assert_says(&["THINKLOOM_IT_ABSENT_KEY", "hint:"]);
    assert!(rows(&workspace.out(), "rollouts").is_empty());
}

#[test]
fn the_key_reaches_the_judge_and_no_file_and_no_message() {
    let judge = Mock::start(&["--key", KEY, "--rate-500", "0.3", "--rate-429", "0.2", "--retry-after", "0.01"]);
    let settings = judge.settings();
    let mut settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    settings.push(("judge.api_key_env", "\"THINKLOOM_IT_KEY\""));
    let workspace = Workspace::new(6, &settings);
    let run = |key: &str| {
        let mut command = workspace.command(&[]);
        Outcome::of(command.env("THINKLOOM_IT_KEY", key).env("THINKLOOM_LOG", "trace"))
    };
    let wrong = format!("{KEY}-wrong");
    let refused = run(&wrong).assert_code(3).assert_says(&["hint:", "api_key_env"]);
    assert_tells_no_key(&refused, &workspace.path(""));

    let outcome = run(KEY).assert_code(0);
    assert_tells_no_key(&outcome, &workspace.path(""));
    assert!(judge.stat("bad_key") > 0 && judge.stat("ok") > 0);
    assert!(rows(&workspace.out(), "samples").iter().all(|row| row["justification"].is_string()));
}

fn assert_tells_no_key(outcome: &Outcome, folder: &Path) {
    assert!(!outcome.stderr.contains(KEY), "stderr tells the key");
    assert!(!outcome.stdout.contains(KEY), "stdout tells the key");
    let files = files_below(folder);
    assert!(files.iter().any(|path| path.ends_with("ledger.sqlite")));
    for path in files {
        let content = std::fs::read(&path).unwrap();
        let found = content.windows(KEY.len()).any(|window| window == KEY.as_bytes());
        assert!(!found, "{} holds the key", path.display());
    }
}

#[test]
fn a_ledger_of_a_newer_version_or_of_no_version_is_refused_and_left_alone() {
    let workspace = Workspace::new(2, &[]);
    let out = workspace.run_whole("out", &[]);
    let hashes = data_hashes(&out);
    let ledger = rusqlite::Connection::open(out.join("ledger.sqlite")).unwrap();
    ledger.execute("INSERT OR REPLACE INTO format (version) VALUES (99)", []).unwrap();
    drop(ledger);
    workspace.run(&[]).assert_code(1).assert_says(&["format 99", "hint:"]);
    std::fs::write(out.join("ledger.sqlite"), "no database at all, but long enough to be looked at\n".repeat(50))
        .unwrap();
    workspace.run(&[]).assert_code(1).assert_says(&["ledger.sqlite", "hint:"]);
    assert_eq!(data_hashes(&out), hashes);
}
