//! Tests rows that exceed the context of any model.

use serde_json::{Value, json};

use crate::support::{Outcome, Workspace, program, queries, rows, text};

#[test]
fn rows_of_megabytes_are_excluded_by_name_and_the_others_are_sampled() {
    let words = |count: usize| (0..count).map(|index| format!("word{index} ")).collect::<String>();
    let long = [words(40_000), "x".repeat(300_000), format!("{}?", " ".repeat(300_000))];
    let long = long.iter().enumerate().map(|(index, question)| {
        json!({"id": format!("long{index}"), "question": format!("What is 1 + 1? {question}"), "answer": "2"})
            .to_string()
    });
    let input: String = long.map(|row| format!("{row}\n")).collect::<String>() + &queries(4);
    let workspace = Workspace::with_input(input.as_bytes(), &[]);
    let forecast = workspace.run(&["--dry-run"]);
    assert!(forecast.stderr.contains("rollouts") || forecast.stdout.contains("rollouts"), "{}", forecast.stderr);
    workspace.run(&[]).assert_code(4);
    let exclusions = rows(&workspace.out(), "exclusions");
    let reasons: Vec<(&str, &str)> =
        exclusions.iter().map(|row| (text(row, "query_id"), text(row, "reason"))).collect();
    for id in ["long0", "long1", "long2"] {
        assert!(reasons.contains(&(id, "prompt_too_long")), "{reasons:?}");
    }
    assert!(!rows(&workspace.out(), "rollouts").is_empty());
    workspace.run(&[]).assert_code(4);
    let eval: Vec<String> = ["eval", "-o"].map(str::to_owned).to_vec();
    let mut command = program();
    command.args(eval).arg(workspace.path("eval")).arg("-c").arg(workspace.path("thinkloom.toml"));
    let outcome = Outcome::of(&mut command);
    assert!(outcome.stderr.contains("long0") || outcome.stdout.contains("long0"), "{}", outcome.stderr);
    let told: Value = serde_json::from_slice(&std::fs::read(workspace.path("eval/eval.json")).unwrap()).unwrap();
    assert!(told.is_object());
}
