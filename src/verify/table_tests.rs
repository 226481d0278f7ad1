//! Tests of the case tables in `fixtures/verify/`: every row has the verdict that it names.
//!
//! Rows are `verdict <tab> gold <tab> response`; a return sign represents a line break, and lines that begin with `# `
//! are headings. A failure prints the row and the reason.

use std::path::Path;

use crate::{Case, verify};
use thinkloom_domain::{Kind, Verdict};

/// A row, and its place in the file.
struct Row {
    place: String,
    expected: String,
    fields: Vec<String>,
}

fn rows(name: &str, fields: usize) -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/verify").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with("# ")) {
        let parts: Vec<String> = line.split('\t').map(|part| part.replace('\u{23ce}', "\n")).collect();
        let place = format!("{name}:{}", index + 1);
        assert_eq!(parts.len(), fields + 1, "{place}");
        rows.push(Row { place, expected: parts[0].clone(), fields: parts[1..].to_vec() });
    }
    assert!(rows.len() > 20, "{name} has {} rows", rows.len());
    rows
}

fn check(name: &str, fields: usize, grade: &dyn Fn(&[String]) -> Verdict) {
    let mut wrong = Vec::new();
    for row in rows(name, fields) {
        let verdict = grade(&row.fields);
        if verdict.outcome.name() != row.expected {
            let Row { place, expected, fields } = row;
            let found = verdict.outcome.name();
            wrong.push(format!("{place}: {expected} expected, {found} ({}) for {fields:?}", verdict.reason));
        }
    }
    assert!(wrong.is_empty(), "{} rows disagree:\n{}", wrong.len(), wrong.join("\n"));
}

fn graded(kind: Kind, gold: &str, response: &str) -> Verdict {
    verify(&Case { kind, gold, choices: &[], response, ..Case::default() })
}

#[test]
fn answers_are_found_in_whole_responses() {
    check("extraction.tsv", 2, &|fields| graded(Kind::Math, &fields[0], &fields[1]));
}

#[test]
fn answers_in_boxes_are_compared_as_mathematics() {
    check("math.tsv", 2, &|fields| graded(Kind::Math, &fields[0], &format!("\\boxed{{{}}}", fields[1])));
}

#[test]
fn numbers_are_found_and_compared() {
    check("numeric.tsv", 2, &|fields| graded(Kind::Numeric, &fields[0], &fields[1]));
}

#[test]
fn texts_are_found_and_compared() {
    check("text.tsv", 2, &|fields| graded(Kind::Text, &fields[0], &fields[1]));
}

#[test]
fn choices_are_found_by_letter_text_and_value() {
    check("choice.tsv", 3, &|fields| {
        let choices: Vec<String> =
            fields[1].split(';').filter(|choice| !choice.is_empty()).map(str::to_owned).collect();
        verify(&Case {
            kind: Kind::Choice,
            gold: &fields[0],
            choices: &choices,
            response: &fields[2],
            ..Case::default()
        })
    });
}
