//! Describes the queries that the first rows of input files become, for `doctor` and `run --dry-run`.

use crate::config::LoadedConfig;
use crate::domain::text::shortened;
use crate::domain::{Kind, Query};
use crate::ingest::{self, IngestError, InputFile, InputOptions, Plan, Preview};

/// The number of rows that are read from a file.
const ROWS_MAX: usize = 200;
/// The number of files that are described; if there are more, the first files and the last file.
const FILES_MAX: usize = 12;
/// The number of characters that are shown of a text.
const SHOWN_CHARS: usize = 70;

/// Describes the input of a config.
pub(super) fn of_config(config: &LoadedConfig) -> Result<Vec<String>, IngestError> {
    let files = ingest::expand_paths(&config.settings.input.paths, &config.base_dirs())?;
    let plan = Plan::settle(&files, &InputOptions::from(&config.settings.input))?;
    describe(&files, &plan)
}

/// Describes each file: its first query, and the rows among the first rows that give no query.
pub(super) fn describe(files: &[InputFile], plan: &Plan) -> Result<Vec<String>, IngestError> {
    let mut lines = Vec::new();
    for (index, file) in files.iter().enumerate() {
        if index + 1 >= FILES_MAX && index + 1 < files.len() {
            continue;
        }
        if index + 1 == files.len() && files.len() > FILES_MAX {
            lines.push(format!("  ({} more files)", files.len() - FILES_MAX));
        }
        let preview = plan.preview(files, index, ROWS_MAX)?;
        lines.extend(of_file(&file.name, &preview));
    }
    Ok(lines)
}

fn of_file(name: &str, preview: &Preview) -> Vec<String> {
    let Preview { guesses, remarks, rows, is_whole, first, excluded } = preview;
    let bad: u64 = excluded.values().map(|(count, _)| count).sum();
    let seen = if *is_whole { "rows" } else { "rows at its beginning" };
    let mut lines = vec![format!("{name}: {rows} {seen}: {} queries, {bad} excluded", rows - bad)];
    lines.extend(guesses.iter().map(|guesses| format!("  detected fields, to set under [input.fields]: {guesses}")));
    lines.extend(remarks.iter().map(|remark| format!("  {remark}")));
    if let Some(query) = first {
        lines.push(format!("  first query: kind {}, question {}", query.kind.name(), shown(&query.question)));
        lines.push(format!("    answer {}", answer(query)));
    }
    for (reason, (count, detail)) in excluded {
        lines.push(format!("  excluded as {reason}: {count}, the first in {detail}"));
    }
    lines
}

fn answer(query: &Query) -> String {
    let Query { kind, gold, choices, tests, .. } = query;
    match kind {
        Kind::Choice => {
            let place = gold.bytes().next().and_then(|letter| letter.checked_sub(b'A')).map_or(0, usize::from);
            format!("{gold}: {}", shown(choices.get(place).map_or("", String::as_str)))
        }
        Kind::Code if !tests.is_empty() => format!("{} tests, the first {}", tests.len(), shown(&tests.concat())),
        _ => shown(gold),
    }
}

/// Returns the beginning of a text on one line, in quotes.
fn shown(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("\"{}\"", shortened(&line, SHOWN_CHARS))
}
