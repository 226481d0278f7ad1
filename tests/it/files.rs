//! Tests a run, `doctor` and a dry run on input files in the layouts of public datasets, end to end.

use serde_json::{Value, json};

use crate::support::{Ledger, Outcome, Workspace, program, queries, rows};

fn golds(workspace: &Workspace) -> Vec<String> {
    let sql = "SELECT question || ' -> ' || gold || ' (' || kind || ')' FROM intake WHERE gold IS NOT NULL";
    Ledger::open(&workspace.out()).unwrap().texts(sql)
}

fn doctor(workspace: &Workspace) -> Outcome {
    Outcome::of(program().arg("doctor").arg("-c").arg(workspace.path("thinkloom.toml")))
}

#[test]
fn files_of_several_layouts_are_one_input_and_what_was_guessed_is_said() {
    let paths = "[\"queries.jsonl\", \"math.json\", \"dapo.jsonl\", \"bool.tsv\"]";
    let gsm8k = json!({"question": "Tom has 2 + 3 apples. How many?", "answer": "He has 2 + 3 = <<2+3=5>>5.\n#### 5"});
    let settings = [("input.paths", paths), ("sampling.samples_per_mode", "1")];
    let workspace = Workspace::with_input(format!("{gsm8k}\n").as_bytes(), &settings);
    let math = json!([{"problem": "What is half of one?", "solution": "So we halve it: $\\boxed{\\frac12}$."}]);
    std::fs::write(workspace.path("math.json"), format!("{math:#}")).unwrap();
    let dapo = r#"{"prompt": [{"role": "user", "content": "What is 3 + 4?"}], "reward_model": {"ground_truth": "7"}, "x": NaN}"#;
    std::fs::write(workspace.path("dapo.jsonl"), dapo).unwrap();
    std::fs::write(workspace.path("bool.tsv"), "Query\tLabel\nIs it cold? Answer yes or no.\ttrue\n").unwrap();
    let guessed =
        "math.json: fields were guessed; to write under [input.fields]: question = \"problem\", answer = \"solution\"";
    workspace.run(&[]).assert_says(&[guessed, "answer = \"reward_model.ground_truth\""]);
    assert_eq!(
        golds(&workspace),
        [
            "Is it cold? Answer yes or no. -> yes (text)",
            "Tom has 2 + 3 apples. How many? -> 5 (math)",
            "What is 3 + 4? -> 7 (math)",
            "What is half of one? -> \\frac12 (math)",
        ]
    );
}

#[test]
fn a_file_in_which_nothing_fits_is_one_error_before_anything_begins() {
    let row = |index: u32| format!("{}\n", json!({"aufgabe": format!("Was ist {index} + 1?"), "nr": index}));
    let workspace = Workspace::with_input((0..50).map(row).collect::<String>().as_bytes(), &[]);
    let said =
        ["queries.jsonl has no column", "aufgabe: text", "nr: number", "[input.fields]", "question = \"aufgabe\""];
    workspace.run(&[]).assert_code(1).assert_says(&said).assert_says(&["hint:"]);
    assert!(!workspace.out().exists());
    let found = doctor(&workspace).assert_code(1).stdout;
    assert!(found.contains("missing  input") && found.contains("question = \"aufgabe\""), "{found}");
}

#[test]
fn doctor_and_a_dry_run_say_what_the_first_rows_will_be() {
    let row = |index: u32| {
        let question = format!("Which number belongs to card {index}?");
        format!("{}\n", json!({"problem": question, "solution": "So we see that it is \\boxed{4}."}))
    };
    let input = (0..5).map(row).collect::<String>() + "{\"problem\": \"And now?\"}\n";
    let workspace = Workspace::with_input(input.as_bytes(), &[("sampling.samples_per_mode", "1")]);
    let dry = workspace.run(&["--dry-run"]).assert_code(0).stdout;
    for found in [doctor(&workspace).assert_code(0).stdout, dry] {
        for part in [
            "queries.jsonl: 6 rows: 5 queries, 1 excluded",
            "question = \"problem\", answer = \"solution\"",
            "first query: kind math, question \"Which number belongs to card 0?\"",
            "answer \"4\"",
            "excluded as missing_gold: 1, the first in line 6: field `solution` is absent",
        ] {
            assert!(found.contains(part), "{part}: {found}");
        }
    }
    assert!(!workspace.out().exists());
}

#[test]
fn kept_columns_stand_in_samples_and_another_set_of_them_is_another_input() {
    let with_more = |(index, line): (usize, &str)| {
        let mut row: Value = serde_json::from_str(line).unwrap();
        row["level"] = json!(index);
        row["meta"] = json!({"by": "me"});
        format!("{row}\n")
    };
    let input: String = queries(6).lines().enumerate().map(with_more).collect();
    let settings = [("input.keep", "[\"level\", \"meta.by\"]"), ("sampling.samples_per_mode", "2")];
    let workspace = Workspace::with_input(input.as_bytes(), &settings);
    workspace.run(&[]);
    let samples = rows(&workspace.out(), "samples");
    assert!(!samples.is_empty());
    for sample in samples {
        let extra: Value = serde_json::from_str(sample["extra"].as_str().unwrap()).unwrap();
        assert_eq!(extra, json!({"level": sample["ordinal"], "meta.by": "me"}));
    }
    let said = ["input.keep", "the input is read again", "--reconfigure"];
    workspace.run(&["--set", "input.keep=[]"]).assert_code(2).assert_says(&said);
    workspace
        .run(&["--set", "input.keep=[\"levle\"]", "--reconfigure"])
        .assert_code(1)
        .assert_says(&["levle", "hint:"]);
}

#[test]
fn one_other_word_is_a_near_copy_where_the_answer_is_the_same_and_another_number_is_none() {
    let text = "Anna has a garden with 12 rows of tulips behind her house. Every row holds 7 flowers, and her brother picks 4 of \
                them for the kitchen table. How many flowers are left in the garden?";
    let row = |id: &str, question: &str, answer: &str| {
        format!("{}\n", json!({"id": id, "question": question, "answer": answer}))
    };
    let input = [
        row("first", text, "So 12 * 7 - 4 = 80.\n#### 80"),
        row("word", &text.replace("brother", "sister"), "#### 80"),
        row("number", &text.replace("12", "13"), "#### 80"),
        row("unit", &text.replace("7 flowers", "7 pounds"), "80"),
        row("answer", &text.replace("brother", "mother"), "81"),
    ];
    let workspace = Workspace::with_input(input.concat().as_bytes(), &[]);
    let decide = |setting: &str| -> Vec<String> {
        let mut command = program();
        command.arg("dedup").arg("--queries").arg(workspace.path("queries.jsonl")).arg("--set").arg(setting);
        let outcome = Outcome::of(&mut command).assert_code(0);
        let lines = outcome.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.map(|line| line["action"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(decide("dedup.threads=1"), ["keep", "near_duplicate", "keep", "keep", "keep"]);
    for off in ["dedup.same_answer_threshold=1.0", "dedup.near_duplicate_threshold=1.0"] {
        assert_eq!(decide(off), ["keep"; 5], "{off}");
    }
}
