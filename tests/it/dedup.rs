//! Tests duplicates, variants and benchmark items, in the command `dedup` and in a run.

use serde_json::{Value, json};

use crate::support::{Outcome, Workspace, data_hashes, program, rows};

const EGGS: &str = "Janet's ducks lay 16 eggs per day. She eats three for breakfast every morning and bakes muffins for \
                    her friends every day with four. She sells the remainder at the farmers' market daily for $2 per \
                    fresh duck egg. How much in dollars does she make every day at the farmers' market?";
const SHOP: &str = "A shop on the corner has 40 red lamps and 25 blue lamps on its shelves. In the morning a woman buys 12 \
                    of the red lamps for her hotel by the lake. How many lamps are left in the shop at noon?";

/// Queries of every fate, in order.
fn queries() -> Vec<Value> {
    let row = |id: &str, question: &str, answer: &str| json!({"id": id, "question": question, "answer": answer, "kind": "numeric"});
    vec![
        row("first", EGGS, "1"),
        row("copy", &EGGS.replace("ducks", "DUCKS"), "1.0"),
        row("typo", &EGGS.replace("breakfast", "breakfsat"), "1"),
        row("variant", &EGGS.replace("16", "18"), "2"),
        row("conflict", EGGS, "3"),
        row("leaked", SHOP, "4"),
        row("other", "Which number belongs to card 7?", "4"),
    ]
}

fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

fn bench() -> String {
    lines(&[json!({"id": "item-1", "question": SHOP.replace("40", "30"), "answer": "43"})])
}

fn dedup(workspace: &Workspace, arguments: &[&str]) -> (Outcome, Vec<Value>) {
    let mut command = program();
    let outcome = Outcome::of(command.current_dir(workspace.path("")).arg("dedup").args(arguments));
    let parsed = outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (outcome, parsed)
}

fn actions(decisions: &[Value]) -> Vec<&str> {
    decisions.iter().map(|line| line["action"].as_str().unwrap()).collect()
}

#[test]
fn the_command_gives_one_line_per_row_in_order_with_what_explains_it() {
    let workspace = Workspace::with_input(lines(&queries()).as_bytes(), &[]);
    std::fs::write(workspace.path("bench.jsonl"), bench()).unwrap();
    let (outcome, decisions) = dedup(&workspace, &["--queries", "queries.jsonl", "--against", "bench.jsonl"]);
    let outcome = outcome.assert_code(0);
    assert_eq!(
        actions(&decisions),
        ["keep", "near_duplicate", "near_duplicate", "keep", "duplicate", "contaminated", "keep"]
    );
    assert_eq!(decisions[2]["of"], "first");
    assert_eq!(decisions[0], json!({"id": "first", "action": "keep", "of": null, "similarity": null}));
    assert_eq!(decisions[3]["variant_of"], "first");
    assert_eq!((&decisions[4]["of"], &decisions[4]["conflicting_gold"]), (&json!("first"), &json!(true)));
    let hit = &decisions[5];
    assert_eq!(
        (&hit["of"], &hit["benchmark"], &hit["rule"]),
        (&json!("item-1"), &json!("bench.jsonl"), &json!("share"))
    );
    assert!(hit["overlap"].as_str().unwrap().contains("red lamps") && hit["similarity"].as_f64().unwrap() >= 0.5);
    assert!(outcome.stderr.contains("paraphrases are not detected"), "{}", outcome.stderr);
}

#[test]
fn threads_batches_and_a_kept_index_give_the_same_lines() {
    let all = queries();
    let workspace = Workspace::with_input(lines(&all).as_bytes(), &[]);
    std::fs::write(workspace.path("a.jsonl"), lines(&all[..3])).unwrap();
    std::fs::write(workspace.path("b.jsonl"), lines(&all[3..])).unwrap();
    let (_, whole) = dedup(&workspace, &["--queries", "queries.jsonl", "--set", "dedup.threads=1"]);
    let (_, threads) = dedup(&workspace, &["--queries", "queries.jsonl", "--set", "dedup.threads=2"]);
    let (_, batches) = dedup(&workspace, &["--queries", "a.jsonl", "b.jsonl"]);
    assert_eq!((&threads, &batches), (&whole, &whole));
    let (_, first) = dedup(&workspace, &["--index", "kept", "--queries", "a.jsonl"]);
    assert_eq!(first, whole[..3]);
    let (outcome, second) = dedup(&workspace, &["--index", "kept", "--queries", "a.jsonl", "b.jsonl"]);
    assert_eq!(second, whole);
    assert!(outcome.stderr.contains("the index has 3 rows of 1 files"), "{}", outcome.stderr);
    let (outcome, other) = dedup(&workspace, &["--index", "kept", "--queries", "b.jsonl"]);
    assert!(outcome.stderr.contains("rebuilding it") && other.len() == 4, "{}", outcome.stderr);
}

#[test]
fn a_row_without_a_text_keeps_its_place_and_is_told() {
    let workspace = Workspace::with_input(b"{\"problem\": \"What?\"}\nnot json\n{\"id\": 3}\n", &[]);
    let (outcome, decisions) = dedup(&workspace, &["--queries", "queries.jsonl"]);
    outcome.assert_code(4);
    assert_eq!(actions(&decisions), ["keep", "invalid", "invalid"]);
    assert_eq!(decisions[0]["id"], "queries.jsonl:1");
    assert!(decisions[1]["detail"].as_str().unwrap().contains("JSON"), "{}", decisions[1]);
    dedup(&workspace, &["--queries", "nowhere.jsonl"]).0.assert_code(1);
}

#[test]
fn a_run_excludes_with_reasons_links_variants_and_an_added_file_changes_nothing_before_it() {
    let all = queries();
    let settings = [
        ("dedup.benchmarks", "[\"bench.jsonl\"]"),
        ("input.paths", "[\"queries.jsonl\"]"),
        ("output.queries_per_shard", "7"),
    ];
    let workspace = Workspace::with_input(lines(&all).as_bytes(), &settings);
    std::fs::write(workspace.path("bench.jsonl"), bench()).unwrap();
    workspace.run(&["-o", workspace.out().to_str().unwrap()]).assert_code(0);
    let excluded = |out: &std::path::Path| -> Vec<(u64, String, String)> {
        let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let mut found: Vec<_> = rows(out, "exclusions")
            .iter()
            .map(|row| (row["ordinal"].as_u64().unwrap(), text(row, "reason"), text(row, "detail")))
            .collect();
        found.sort();
        found
    };
    let found = excluded(&workspace.out());
    for (ordinal, reason, detail) in [
        (1, "near_duplicate", "to query first"),
        (2, "near_duplicate", "to query first"),
        (4, "conflicting_gold", "the same question as query first, with another answer"),
        (5, "contaminated", "question stands in item item-1 of bench.jsonl, by rule share"),
    ] {
        let row = found.iter().find(|row| row.0 == ordinal);
        assert!(row.is_some_and(|row| row.1 == reason && row.2.contains(detail)), "{found:?}");
    }
    for sample in rows(&workspace.out(), "samples") {
        let expected = if sample["query_id"] == "variant" { json!("first") } else { Value::Null };
        assert_eq!(sample["variant_of"], expected);
        assert_eq!(sample["category"], "math");
        let number = |name: &str| sample[name].as_f64().unwrap();
        assert!(number("difficulty_low") <= number("difficulty_score"));
        assert!(number("difficulty_score") <= number("difficulty_high"));
    }
    let more = [
        json!({"id": "more", "question": EGGS.replace("fresh", "frehs"), "answer": "1", "kind": "numeric"}),
        json!({"id": "first", "question": "Which number belongs to card 3?", "answer": "4", "kind": "numeric"}),
    ];
    std::fs::write(workspace.path("more.jsonl"), lines(&more)).unwrap();
    workspace.configure(&[settings[0], ("input.paths", "[\"queries.jsonl\", \"more.jsonl\"]"), settings[2]]);
    let outcome = workspace.run(&["--reconfigure", "-o", workspace.out().to_str().unwrap()]).assert_code(4);
    assert!(outcome.stderr.contains("reading only the files after the first 1"), "{}", outcome.stderr);
    let after = excluded(&workspace.out());
    assert_eq!(after[..found.len()], found);
    let new: Vec<&str> = after[found.len()..].iter().map(|row| row.1.as_str()).collect();
    assert_eq!(new, ["near_duplicate", "duplicate_id"]);
    let fresh = run_fresh(&workspace);
    assert_eq!(data_hashes(&fresh), data_hashes(&workspace.out()));
}

/// Runs the config in a new directory; one row has an id that was seen before, which is told by the exit code.
fn run_fresh(workspace: &Workspace) -> std::path::PathBuf {
    let out = workspace.path("fresh");
    workspace.run(&["-o", out.to_str().unwrap()]).assert_code(4);
    out
}
