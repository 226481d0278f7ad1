//! Reads golds from JSONL files: published question sets, or the fixture.

use std::path::{Path, PathBuf};

use thinkloom::domain::Kind;

/// A reference answer with what belongs to it.
#[derive(Debug, Clone)]
pub struct Gold {
    /// The file's name without its ending.
    pub set: String,
    pub kind: Kind,
    pub gold: String,
    pub question: String,
    pub choices: Vec<String>,
    /// The published solution, or nothing.
    pub solution: String,
}

/// Most golds read from one file.
const GOLDS_MAX: usize = 20_000;

/// Reads every gold that is no code from a file, a directory, or a list of them separated by colons.
pub fn read(places: &str) -> Vec<Gold> {
    let mut files: Vec<PathBuf> = Vec::new();
    for place in places.split(':').map(Path::new) {
        if place.is_dir() {
            let entries = std::fs::read_dir(place).expect("the directory of golds can be read");
            files.extend(entries.map(|entry| entry.expect("an entry can be read").path()));
        } else {
            files.push(place.to_owned());
        }
    }
    files.retain(|file| file.extension().is_some_and(|ending| ending == "jsonl"));
    files.sort();
    assert!(!files.is_empty(), "no JSONL file of golds in {places}");
    files.iter().flat_map(|file| read_file(file)).collect()
}

fn read_file(file: &Path) -> Vec<Gold> {
    let set = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let text = std::fs::read_to_string(file).expect("a file of golds can be read");
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .take(GOLDS_MAX)
        .filter_map(|line| read_row(&set, line))
        .collect()
}

fn read_row(set: &str, line: &str) -> Option<Gold> {
    let row: serde_json::Value = serde_json::from_str(line).expect("a line of golds is JSON");
    // Rows with a response are cases, not golds.
    if row.get("response").is_some() {
        return None;
    }
    let text = |key: &str| row.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    let kind = match text("kind").as_str() {
        "multiple_choice" | "choice" => Kind::Choice,
        "numeric" | "integer" => Kind::Numeric,
        "math" => Kind::Math,
        "text" => Kind::Text,
        _ => return None,
    };
    let choices = row.get("choices").and_then(serde_json::Value::as_array);
    let choices = choices.into_iter().flatten().filter_map(|choice| choice.as_str().map(str::to_owned)).collect();
    let gold = if row.get("gold").is_some() { text("gold") } else { text("answer") };
    (!gold.trim().is_empty()).then(|| Gold {
        set: set.to_owned(),
        kind,
        gold,
        question: text("question"),
        choices,
        solution: text("solution"),
    })
}
