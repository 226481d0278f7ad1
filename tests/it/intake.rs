//! Tests the decisions of the intake, before sampling: the answers of choice questions, unreadable golds, and tests
//! that can decide nothing.

use serde_json::{Value, json};

use crate::support::{Ledger, Mock, Outcome, Workspace, data_hashes, program, queries, rows, text};

const WORDS: [&str; 4] = ["ice", "sand", "fire", "wood"];

fn lines(rows: &[Value]) -> Vec<u8> {
    rows.iter().map(|row| format!("{row}\n")).collect::<String>().into_bytes()
}

/// Questions whose choices are words, with these answers.
fn choices(answers: &[Value]) -> Vec<Value> {
    let row = |(index, answer): (usize, &Value)| json!({"id": format!("c{index}"), "question": format!("Which of them is meant by {index}?"), "choices": WORDS, "answer": answer});
    answers.iter().enumerate().map(row).collect()
}

/// Returns the golds of all queries that were taken in, in order of their ids.
fn golds(workspace: &Workspace) -> Vec<String> {
    Ledger::open(&workspace.out()).unwrap().texts("SELECT query_id || ' ' || gold FROM intake WHERE gold IS NOT NULL")
}

fn identity(workspace: &Workspace) -> Value {
    let manifest = std::fs::read(workspace.out().join("manifest.json")).unwrap();
    serde_json::from_slice::<Value>(&manifest).unwrap()["identity"].clone()
}

#[test]
fn what_the_answers_of_choices_are_is_found_out_recorded_and_kept() {
    let input = lines(&choices(&[json!(0), json!(3), json!("1")]));
    let workspace = Workspace::with_input(&input, &[]);
    let outcome = workspace.run(&[]).assert_code(0);
    outcome.assert_says(&["answers of choice questions are read as: index0"]);
    assert_eq!(golds(&workspace), ["c0 A", "c1 D", "c2 B"]);
    let identity = identity(&workspace);
    assert_eq!((text(&identity, "content.answer_is"), text(&identity, "input.answer_is")), ("index0", "\"auto\""));
    let hashes = data_hashes(&workspace.out());
    workspace.run(&[]).assert_code(0);
    assert_eq!(data_hashes(&workspace.out()), hashes);
    // It is a setting of the input, and another one gives another input.
    let said = ["input.answer_is", "the input is read again", "--reconfigure"];
    workspace.run(&["--set", "input.answer_is=index0"]).assert_code(2).assert_says(&said);
    workspace.run(&["--set", "input.answer_is=index0", "--reconfigure"]).assert_code(0);
    assert_eq!(golds(&workspace).len(), 6, "both intakes are kept");
    // Deciding again from stored facts keeps what was found.
    workspace.run(&["--reconfigure"]).assert_code(0);
    let new = workspace.path("new");
    Outcome::of(program().arg("redecide").arg(workspace.out()).arg("-o").arg(&new)).assert_code(0);
    let manifest: Value = serde_json::from_slice(&std::fs::read(new.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["identity"]["content.answer_is"], "index0");
}

#[test]
fn a_file_that_leaves_a_doubt_stops_the_start_before_the_model_is_looked_for() {
    let input = lines(&choices(&[json!(1), json!(3), json!(2)]));
    let workspace = Workspace::with_input(&input, &[("policy.model", "\"absent.gguf\"")]);
    let said = ["queries.jsonl, line 1", "\"1\"", "hint: set input.answer_is = \"index0\"", "\"index1\""];
    workspace.run(&[]).assert_code(1).assert_says(&said);
    assert!(!workspace.out().exists(), "nothing was begun");
    let doctor = Outcome::of(program().arg("doctor").arg("-c").arg(workspace.path("thinkloom.toml"))).assert_code(1);
    assert!(doctor.stdout.contains("missing  input") && doctor.stdout.contains("input.answer_is"), "{}", doctor.stdout);
    let eval = Outcome::of(program().arg("eval").arg("-c").arg(workspace.path("thinkloom.toml"))).assert_code(1);
    eval.assert_says(&["queries.jsonl, line 1"]);

    let workspace = Workspace::with_input(&input, &[("input.answer_is", "\"index1\"")]);
    workspace.run(&[]).assert_code(0);
    assert_eq!(golds(&workspace), ["c0 A", "c1 C", "c2 B"]);
    assert!(identity(&workspace).get("content.answer_is").is_none(), "the setting says it");

    let workspace = Workspace::with_input(&input, &[("input.answer_is", "\"letters\"")]);
    workspace.run(&[]).assert_code(2).assert_says(&["answer_is", "letter", "index0"]);
}

#[test]
fn a_later_row_that_contradicts_the_reading_stops_the_start_by_name() {
    let mut answers = vec![json!("B"); 40];
    answers[36] = json!(2);
    let workspace = Workspace::with_input(&lines(&choices(&answers)), &[]);
    let said = ["queries.jsonl, line 37", "\"2\"", "39 answers of the file are each the letter of a choice", "hint:"];
    workspace.run(&[]).assert_code(1).assert_says(&said);
    workspace.run(&["--set", "input.answer_is=letter"]).assert_code(1).assert_says(&["line 37", "input.answer_is"]);
    // An answer that is nothing at all is one bad row.
    answers[36] = json!("gold");
    let workspace = Workspace::with_input(&lines(&choices(&answers)), &[]);
    let outcome = workspace.run(&[]).assert_code(4);
    outcome.assert_says(&["1 of 40 golds cannot be read, first: queries.jsonl:37: ", "names no choice"]);
    let bad: Vec<Value> =
        rows(&workspace.out(), "exclusions").into_iter().filter(|row| row["reason"] == "invalid_value").collect();
    assert_eq!((bad.len(), bad[0]["line"].as_i64()), (1, Some(37)));
}

#[test]
fn rows_added_in_a_file_of_their_own_have_a_reading_of_their_own() {
    let workspace = Workspace::with_input(&lines(&choices(&[json!(0), json!(1)])), &[]);
    workspace.run(&[]).assert_code(0);
    let more = lines(&[json!({"id": "m", "question": "And now?", "choices": WORDS, "answer": "C"})]);
    std::fs::write(workspace.path("more.jsonl"), more).unwrap();
    workspace.configure(&[("input.paths", "[\"queries.jsonl\", \"more.jsonl\"]")]);
    workspace.run(&["--reconfigure"]).assert_code(0).assert_says(&["queries.jsonl: index0, more.jsonl: letter"]);
    assert_eq!(golds(&workspace), ["c0 A", "c0 A", "c1 B", "c1 B", "m C"]);
}

#[test]
fn golds_that_cannot_be_read_are_excluded_before_anything_is_sampled_and_told_in_one_line() {
    let mut input: Vec<Value> = queries(100).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for index in (7..100).step_by(10) {
        input[index]["answer"] = json!("many");
    }
    let workspace = Workspace::with_input(&lines(&input), &[("sampling.samples_per_mode", "1")]);
    let outcome = workspace.run(&[]).assert_code(4);
    outcome.assert_says(&["10 of 100 golds cannot be read, first: queries.jsonl:8: ", "\"many\""]);
    let bad: Vec<i64> = rows(&workspace.out(), "exclusions")
        .iter()
        .filter(|row| row["reason"] == "invalid_value")
        .map(|row| row["line"].as_i64().unwrap())
        .collect();
    assert_eq!(bad, (8..=98).step_by(10).collect::<Vec<i64>>());
    assert_eq!(Ledger::open(&workspace.out()).unwrap().count("rollout"), 90 * 2);
    let again = workspace.run(&[]).assert_code(4);
    assert!(!again.stderr.contains("cannot be read"), "the input is not taken in again");
}

#[test]
fn tests_that_can_decide_nothing_are_excluded_before_anything_is_sampled() {
    let code = |id: &str, tests: Value| json!({"id": id, "question": format!("Program {id}?"), "answer": "pass", "kind": "code", "tests": tests});
    let input = [
        code("sound", json!(["assert f() == 1"])),
        code("empty", json!([])),
        code("blank", json!([" ", "\n"])),
        code("nothing", json!({"inputs": [], "outputs": []})),
        code("unequal", json!({"inputs": ["1"], "outputs": []})),
        code("both", json!([{"input": "1", "output": "2"}, "assert f() == 1"])),
    ];
    let workspace = Workspace::with_input(&lines(&input), &[("sampling.samples_per_mode", "2")]);
    let outcome = workspace.run(&[]).assert_code(4);
    outcome
        .assert_says(&["5 of 6 queries of kind code have no tests that can decide anything, first: queries.jsonl:2: "]);
    let exclusions = rows(&workspace.out(), "exclusions");
    let reasons: Vec<(&str, &str)> =
        exclusions.iter().map(|row| (text(row, "query_id"), text(row, "reason"))).collect();
    let expected = [
        ("sound", "unsolved"),
        ("empty", "no_tests"),
        ("blank", "no_tests"),
        ("nothing", "no_tests"),
        ("unequal", "tests_unusable"),
        ("both", "tests_unusable"),
    ];
    assert_eq!(reasons, expected);
    assert_eq!(Ledger::open(&workspace.out()).unwrap().count("rollout"), 4);
}

#[test]
fn a_judge_that_says_the_end_of_a_worked_solution_gives_it_away() {
    let judge = Mock::start(&["--rate-leak", "1"]);
    let settings = judge.settings();
    let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let row = |index: usize| {
        let gold = index % 4 + 1;
        let solution = format!("Cards go round in fours, after {index} of them comes this one: $\\boxed{{{gold}}}$.");
        json!({"question": format!("Which number belongs to card {index}?"), "answer": solution, "kind": "math"})
    };
    let input: Vec<Value> = (0..8).map(row).collect();
    let settings = [&settings[..], &[("judge.attempts_max", "2")]].concat();
    let workspace = Workspace::with_input(&lines(&input), &settings);
    workspace.run(&[]).assert_code(0);
    assert!(judge.stat("leak") > 0 && rows(&workspace.out(), "samples").is_empty());
    let excluded = rows(&workspace.out(), "exclusions");
    let rejected: Vec<&Value> = excluded.iter().filter(|row| row["reason"] == "justification_rejected").collect();
    assert!(!rejected.is_empty());
    assert!(rejected.iter().all(|row| text(row, "detail").starts_with("leaks_answer: ")), "{rejected:?}");
}

#[test]
fn whether_answers_must_be_worked_out_is_a_setting_and_verdicts_are_made_again_for_it() {
    let workspace = Workspace::new(6, &[]);
    workspace.run(&[]).assert_code(0);
    let out = workspace.out();
    let count = |name: &str| Ledger::open(&workspace.path(name)).unwrap().count("verdict");
    let (verdicts, rollouts) = (count("out"), Ledger::open(&out).unwrap().count("rollout"));
    let new = workspace.path("new");
    let any = ["--set", "verify.evaluated=any"];
    Outcome::of(program().arg("redecide").arg(&out).arg("-o").arg(&new).args(any)).assert_code(0);
    assert_eq!((count("out"), count("new")), (verdicts, 2 * verdicts), "each response is verified again");
    assert_eq!(Ledger::open(&new).unwrap().count("rollout"), rollouts, "nothing is sampled again");
    let said = ["verify.evaluated", "decisions are made again"];
    workspace.run(&any).assert_code(2).assert_says(&said);
    workspace.run(&["--set", "verify.evaluated=some"]).assert_code(2).assert_says(&["evaluated", "required", "any"]);

    let case = json!({"id": 1, "kind": "math", "gold": "5", "response": "\\boxed{5}", "question": "What is 2 + 3?"});
    std::fs::write(workspace.path("cases.jsonl"), format!("{case}\n")).unwrap();
    let cases = workspace.path("cases.jsonl");
    let graded = Outcome::of(program().arg("grade").arg("--cases").arg(&cases).args(any)).assert_code(0);
    assert!(graded.stdout.contains("\"correct\""), "{}", graded.stdout);
}

#[test]
fn a_row_that_can_have_no_reward_has_an_error_and_no_part_in_its_group() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.jsonl");
    let row = |query: &str, more: Value| {
        let mut row = json!({"query_id": query, "completion": "<think_off>\n<answer>\n4\n</answer>"});
        row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        row
    };
    let input = [
        row("a", json!({"kind": "numeric", "gold": "4", "question": "What is 2 + 2?"})),
        row("a", json!({"kind": "numeric", "gold": "many"})),
        row("b", json!({"kind": "choice", "gold": "E", "choices": ["3", "4"]})),
        row("c", json!({"kind": "code", "tests": []})),
        row("d", json!({"kind": "code", "tests": {"inputs": ["1"], "outputs": []}})),
    ];
    std::fs::write(&file, lines(&input)).unwrap();
    let outcome = Outcome::of(program().arg("reward").arg("--rollouts").arg(&file)).assert_code(4);
    let found: Vec<Value> = outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((found[0]["reward"].as_f64(), found[0]["mean_reward"].as_f64()), (Some(1.0), Some(1.0)));
    for (row, cause) in found[1..].iter().zip(["unreadable_gold", "unreadable_gold", "no_tests", "tests_unusable"]) {
        assert!(row["reward"].is_null() && row["advantage_answer"].is_null(), "{row}");
        assert!(text(row, "error").contains(cause), "{row}");
    }
    outcome.assert_says(&["1 groups", "4 faulty rows: their rewards are null"]);
    let no_sandbox = folder.path().join("thinkloom.toml");
    std::fs::write(&no_sandbox, "verify.python = \"/no/such/python\"\n").unwrap();
    std::fs::write(&file, lines(&[row("e", json!({"kind": "code", "tests": ["assert f()"]})), input[0].clone()]))
        .unwrap();
    let mut command = program();
    command.arg("reward").arg("--rollouts").arg(&file).arg("-c").arg(&no_sandbox);
    let outcome = Outcome::of(&mut command).assert_code(4);
    let found: Vec<Value> = outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(found[0]["reward"].is_null() && text(&found[0], "error").contains("no_sandbox"), "{}", found[0]);
    assert_eq!(found[1]["reward"].as_f64(), Some(1.0));
}
