//! Tests the commands other than `run`: their output, its stream, and their exit codes.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Outcome, Workspace, fixture, program, queries, root, text};

const COMMANDS: [&str; 16] = [
    "init", "run", "status", "inspect", "redecide", "grade", "dedup", "export", "report", "view", "diff", "reward",
    "eval", "serve", "schema", "doctor",
];

fn command(arguments: &[&str]) -> Command {
    let mut command = program();
    command.args(arguments);
    command
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn every_command_has_a_help_with_an_example_and_no_command_is_missing_here() {
    let help = Outcome::of(&mut command(&["--help"])).assert_code(0).stdout;
    let listed = help.split("Commands:\n").nth(1).unwrap().lines().take_while(|line| !line.is_empty());
    let mut names: Vec<&str> = listed.filter_map(|line| line.split_whitespace().next()).collect();
    names.retain(|&name| name != "help");
    for name in COMMANDS {
        assert!(names.contains(&name), "{name} is gone: {names:?}");
    }
    for name in names {
        let help = Outcome::of(&mut command(&[name, "--help"])).assert_code(0);
        assert!(help.stdout.contains(&format!("Example: thinkloom {name}")), "{name}:\n{}", help.stdout);
        assert!(help.stderr.is_empty());
    }
    let first_line = format!("thinkloom {}", env!("CARGO_PKG_VERSION"));
    let short = Outcome::of(&mut command(&["-V"])).assert_code(0);
    assert_eq!(short.stdout.trim(), first_line);
    let long = Outcome::of(&mut command(&["--version"])).assert_code(0).stdout;
    let lines: Vec<&str> = long.lines().collect();
    assert_eq!((lines.len(), lines[0]), (4, first_line.as_str()), "{long}");
    for (line, name) in lines[1..].iter().zip(["commit ", "features ", "kernels "]) {
        assert!(line.starts_with(name), "{long}");
    }
}

#[test]
fn what_init_writes_can_be_run_after_naming_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("new/project");
    Outcome::of(&mut command(&["init", path(&dir)])).assert_code(0);
    let config = dir.join("thinkloom.toml");
    let model = format!("policy.model={}", path(&fixture("tiny-llama.gguf")));
    let arguments = ["run", "-c", path(&config), "--limit", "2", "--set", &model, "--set", "judge.backend=none"];
    let caps = ["--set", "sampling.think_on_tokens_max=32", "--set", "sampling.think_off_tokens_max=8"];
    let outcome = Outcome::of(command(&arguments).args(caps)).assert_code(0);
    assert!(outcome.stdout.contains("2 queries = "), "{}", outcome.stdout);
    assert!(dir.join("out/data/samples/train-00000.parquet").is_file());

    let again = Outcome::of(&mut command(&["init", path(&dir)])).assert_code(1);
    again.assert_says(&["thinkloom.toml already exists"]);
}

#[test]
fn status_tells_the_counts_as_text_and_as_json_and_the_audit_holds() {
    let workspace = Workspace::new(7, &[]);
    let out = workspace.run_whole("out", &[]);
    let plain = Outcome::of(&mut command(&["status", path(&out)])).assert_code(0).stdout;
    for part in ["7 of 7 settled", "0 outstanding", "42 of 42 stored", "tiny-llama.gguf", "starts       1"] {
        assert!(plain.contains(part), "{part:?} is missing:\n{plain}");
    }
    let json = Outcome::of(&mut command(&["status", path(&out), "--json", "--check"])).assert_code(0).stdout;
    let status: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&status["queries"], &status["settled"], &status["outstanding"]), (&json!(7), &json!(7), &json!(0)));
    assert_eq!(status["rollouts_expected"], 42);
    let findings = status["check"].as_array().unwrap();
    let ids: Vec<&str> = findings.iter().map(|finding| text(finding, "invariant")).collect();
    for id in ["I1", "I2", "I3", "I4", "I5"] {
        assert!(ids.contains(&id), "{ids:?}");
    }
    assert!(findings.iter().all(|finding| finding["holds"] == true), "{findings:?}");
}

#[test]
fn the_audit_finds_a_truncated_a_missing_and_a_strange_file() {
    let workspace = Workspace::new(7, &[]);
    let out = workspace.run_whole("out", &[]);
    let shard = out.join("data/samples/train-00000.parquet");
    let whole = std::fs::read(&shard).unwrap();
    let breach = |id: &str| {
        let outcome = Outcome::of(&mut command(&["status", path(&out), "--check"])).assert_code(1);
        let line = outcome.stdout.lines().find(|line| line.starts_with("BREACH") && line.contains(id));
        line.unwrap_or_else(|| panic!("no breach of {id}:\n{}", outcome.stdout)).to_owned()
    };
    std::fs::write(&shard, &whole[..whole.len() / 2]).unwrap();
    assert!(breach("I3").contains("train-00000.parquet does not match its recorded hash"));
    Outcome::of(&mut command(&["status", path(&out)])).assert_code(0);
    std::fs::remove_file(&shard).unwrap();
    assert!(breach("I3").contains("train-00000.parquet is missing"));
    std::fs::write(&shard, &whole).unwrap();
    Outcome::of(&mut command(&["status", path(&out), "--check"])).assert_code(0);
    std::fs::write(out.join("data/samples/extra.parquet"), "x").unwrap();
    assert!(breach("files").contains("extra.parquet"));
}

#[test]
fn a_directory_without_a_run_is_refused_with_a_hint_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["status", "inspect"] {
        let outcome = Outcome::of(&mut command(&[name, path(folder.path())])).assert_code(1);
        outcome.assert_says(&["is not the output directory of a run: it has no ledger.sqlite", "hint:"]);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn inspect_lists_all_queries_and_tells_the_story_of_one() {
    let input = queries(5) + "{\"id\": \"torn\"\n";
    let workspace = Workspace::with_input(input.as_bytes(), &[]);
    workspace.run(&[]).assert_code(4);
    let out = workspace.out();
    let list = Outcome::of(&mut command(&["inspect", path(&out)])).assert_code(0).stdout;
    assert_eq!(list.lines().count(), 6, "{list}");
    assert!(list.contains("invalid_syntax") && list.contains("q004"), "{list}");
    let lines = json_lines(&Outcome::of(&mut command(&["inspect", path(&out), "--json"])).assert_code(0).stdout);
    assert_eq!(lines.len(), 6);
    let solved = lines.iter().find(|line| text(line, "outcome").starts_with("think_")).expect("one query is solved");
    let id = text(solved, "query_id");

    let story = Outcome::of(&mut command(&["inspect", path(&out), "--query", id])).assert_code(0).stdout;
    for part in ["query ", "gold: ", "think_on #0", "think_off #2", "decision: think_", "<answer>", "<|im_start|>"] {
        assert!(story.contains(part), "{part:?} is missing:\n{story}");
    }
    let json = Outcome::of(&mut command(&["inspect", path(&out), "--query", id, "--json"])).assert_code(0).stdout;
    let story: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(story["rollouts"].as_array().unwrap().len(), 6);
    assert_eq!(story["sample"]["mode"], solved["outcome"]);
    let unknown = Outcome::of(&mut command(&["inspect", path(&out), "--query", "q999"])).assert_code(1);
    unknown.assert_says(&["no query q999", "lists them"]);
}

#[cfg(unix)]
#[test]
fn a_reader_that_stops_reading_is_no_failure() {
    let workspace = Workspace::new(7, &[]);
    let out = workspace.run_whole("out", &[]);
    for arguments in [&["inspect"][..], &["inspect", "--json"], &["status"], &["status", "--json"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = command(arguments);
        let output = command.arg(&out).stdout(writer).stderr(std::process::Stdio::piped()).spawn().unwrap();
        let outcome = Outcome::from(output.wait_with_output().unwrap()).assert_code(0);
        assert!(outcome.stderr.is_empty(), "{}", outcome.stderr);
    }
}

fn grade(cases: &str) -> (tempfile::TempDir, Outcome) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cases.jsonl");
    std::fs::write(&file, cases).unwrap();
    let outcome = Outcome::of(&mut command(&["grade", "--cases", path(&file)]));
    (folder, outcome)
}

#[test]
fn grade_gives_one_verdict_a_case_in_order_and_takes_its_input_as_it_comes() {
    let cases = [
        json!({"id": 1, "kind": "numeric", "gold": 3, "response": "\\boxed{3}", "more": [1]}),
        json!({"id": "b", "kind": "numeric", "gold": "3", "response": "\\boxed{4}"}),
        json!({"id": "c", "kind": "multiple_choice", "gold": "B", "choices": ["x", "y"], "response": "The answer is (B)."}),
        json!({"id": "d", "kind": "choice", "gold": "B", "choices": ["x", "y"], "response": "\\boxed{A}"}),
        json!({"id": "e", "kind": "numeric", "gold": "3", "response": "<think>\n\\boxed{7}\n</think>\n\n\\boxed{3}"}),
        json!({"id": "f", "kind": "numeric", "gold": "7", "response": "<think>\n\\boxed{7}\n</think>\n\n\\boxed{3}"}),
        json!({"id": "g", "kind": "numeric", "gold": "7", "response": "<think>\n\\boxed{7}"}),
        json!({"id": "h", "kind": "math", "gold": "\\frac{1}{2}", "response": "It is \\boxed{0.5}."}),
        json!({"id": "i", "kind": "text", "gold": "Paris", "response": "\\boxed{paris}"}),
        json!({"id": "j", "kind": "code", "tests": ["assert True"], "response": "```python\npass\n```"}),
        json!({"id": "k", "kind": "numeric", "gold": "3", "response": ""}),
    ];
    // Blank lines and a missing last line end are no fault.
    let lines: Vec<String> = cases.iter().map(Value::to_string).collect();
    let (_folder, outcome) = grade(&lines.join("\n\n"));
    let verdicts = json_lines(&outcome.assert_code(0).stdout);
    let found: Vec<(Value, &str)> =
        verdicts.iter().map(|verdict| (verdict["id"].clone(), text(verdict, "verdict"))).collect();
    let expected = [
        (json!(1), "correct"),
        (json!("b"), "incorrect"),
        (json!("c"), "correct"),
        (json!("d"), "incorrect"),
        (json!("e"), "correct"),
        (json!("f"), "incorrect"),
    ];
    assert_eq!(found[..6], expected);
    assert_ne!(found[6].1, "correct", "an unclosed think block holds no answer");
    assert_eq!((found[7].1, found[8].1), ("correct", "correct"));
    assert_ne!(found[10].1, "correct");
    assert_eq!(verdicts.len(), cases.len());
    for verdict in &verdicts {
        assert!(["correct", "incorrect", "unverifiable"].contains(&text(verdict, "verdict")), "{verdict}");
        assert!(!text(verdict, "reason").is_empty() && verdict["micros"].is_u64(), "{verdict}");
        assert!(verdict.get("extracted").is_some(), "{verdict}");
    }
}

#[test]
fn grade_names_file_and_line_of_what_is_no_case_and_goes_on() {
    let good = r#"{"id": 1, "kind": "numeric", "gold": "3", "response": "3"}"#;
    for bad in [
        "{\"id\": 2",
        "[]",
        r#"{"id": 2, "gold": "3", "response": "3"}"#,
        r#"{"id": 2, "kind": "poem", "response": ""}"#,
    ] {
        let (_folder, outcome) = grade(&format!("{good}\n\n{bad}\n{good}\n"));
        let outcome = outcome.assert_code(4).assert_says(&["cases.jsonl:3"]);
        let verdicts: Vec<&str> = outcome.stdout.lines().collect();
        assert_eq!(verdicts.len(), 3, "every case keeps its place: {verdicts:?}");
        assert!(verdicts[1].contains("invalid_case") && verdicts[2].contains("\"correct\""), "{verdicts:?}");
    }
    let absent = Outcome::of(&mut command(&["grade", "--cases", "absent.jsonl"])).assert_code(1);
    absent.assert_says(&["absent.jsonl"]);
}

#[test]
fn schema_prints_what_is_committed_one_by_one_or_all_together() {
    let listed = Outcome::of(&mut command(&["schema"])).assert_code(0).stdout;
    let listed: serde_json::Map<String, Value> = serde_json::from_str(&listed).unwrap();
    let mut names: Vec<&str> = listed.keys().map(String::as_str).collect();
    assert!(["config", "samples", "rollouts", "exclusions"].iter().all(|name| names.contains(name)), "{names:?}");
    // What a judge is to reply with is named as schemas are outside of this program.
    let file = |name: &str| format!("{name}.{}", if name == "judge_reply" { "schema.json" } else { "json" });
    for name in &names {
        let printed = Outcome::of(&mut command(&["schema", name])).assert_code(0).stdout;
        let committed = std::fs::read_to_string(root().join("schemas").join(file(name))).unwrap();
        assert_eq!(printed, committed, "{name}");
        assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), listed[*name]);
    }
    let files = std::fs::read_dir(root().join("schemas")).unwrap();
    let mut files: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    names.sort_unstable();
    assert_eq!(files, names.iter().map(|name| file(name)).collect::<Vec<_>>(), "no orphan file");
    let unknown = Outcome::of(&mut command(&["schema", "nope"])).assert_code(2);
    unknown.assert_says(&["nope", "samples"]);
}

#[test]
fn doctor_says_what_is_there_and_what_is_missing_and_leaves_nothing_behind() {
    let workspace = Workspace::new(2, &[]);
    let config = workspace.path("thinkloom.toml");
    let doctor = |settings: &[&str]| {
        let mut command = command(&["doctor", "-c", path(&config)]);
        Outcome::of(command.args(settings.iter().flat_map(|setting| ["--set", setting])))
    };
    let well = doctor(&[]).assert_code(0).stdout;
    for part in ["input", "output", "model", "device", "judge", "preset prompted"] {
        assert!(well.contains(part), "{part:?} is missing:\n{well}");
    }
    assert!(!well.contains("missing"), "{well}");
    assert!(!workspace.out().exists());

    let api = "judge.backend=openai";
    for (settings, line) in [
        (vec!["policy.model=absent.gguf"], "missing  model"),
        (vec!["input.paths=[\"absent.jsonl\"]"], "missing  input"),
        (vec!["output.dir=queries.jsonl/out"], "missing  output"),
        (vec![api, "judge.base_url=http://127.0.0.1:1"], "missing  judge"),
        (vec![api, "judge.base_url=https://judge.invalid"], "missing  judge"),
    ] {
        let ill = doctor(&settings).assert_code(1).stdout;
        let found = ill.lines().find(|found| found.starts_with(line));
        assert!(found.is_some_and(|found| found.contains("hint:")), "{line:?} is missing:\n{ill}");
        assert_eq!(ill.lines().filter(|found| found.starts_with("missing")).count(), 1, "{ill}");
    }
    doctor(&["policy.modle=x"]).assert_code(2);
}
