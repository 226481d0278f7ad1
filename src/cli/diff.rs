//! `thinkloom diff`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::failure::{Failure, print};
use super::wrap::visible;
use crate::pipeline::RunError;
use crate::report::published;
use crate::shards::{ExclusionRow, MANIFEST_FILE, Manifest, SampleRow, Table, read_rows};

/// Arguments of `diff`.
#[derive(Debug, Args)]
#[command(after_help = "Queries are matched by their ids. The exit code is 0 whether or not the runs differ.\n\
                  Example: thinkloom diff out out-margin-0.2")]
pub(super) struct DiffArgs {
    /// The output directory of a run.
    first: PathBuf,
    /// The output directory of another run.
    second: PathBuf,
    /// Print JSON: counts, and every query with a difference.
    #[arg(long)]
    json: bool,
    /// The number of queries in the text output.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
}

/// The outcome of a query, as far as runs are compared.
#[derive(Debug, Clone, PartialEq)]
struct Fate {
    /// The mode, or the reason of the exclusion.
    outcome: String,
    rates: Option<(f64, f64)>,
    difficulty: String,
    completion_tokens: i32,
    thinking: Option<String>,
    answer: String,
    justification: Option<String>,
}

/// A query with a difference.
#[derive(Debug, Serialize)]
struct Change {
    query_id: String,
    /// The query's outcome in the first run; null if the first run does not have the query.
    first: Option<String>,
    /// The query's outcome in the second run; null if the second run does not have the query.
    second: Option<String>,
    /// Other differences: pass_rates, difficulty, response, justification.
    differs: Vec<&'static str>,
}

#[derive(Debug, Default, Serialize)]
struct Diff {
    /// Queries of the first run, and of the second.
    queries: (usize, usize),
    /// Queries without a difference.
    same: usize,
    /// Differing settings and contents: value in the first run, and in the second.
    identity: BTreeMap<String, (Option<String>, Option<String>)>,
    /// Counts by outcome in the first and the second: `think_on -> think_off`.
    outcomes: BTreeMap<String, usize>,
    /// Counts of the other differences.
    differs: BTreeMap<&'static str, usize>,
    /// Mean tokens of the samples, in the first run and in the second.
    mean_tokens: (f64, f64),
    /// Every query with a difference.
    changes: Vec<Change>,
}

/// Runs the command.
pub(super) fn run(args: &DiffArgs) -> Result<(), Failure> {
    let (first, second) = (read(&args.first)?, read(&args.second)?);
    let mut diff = compare(&first, &second);
    diff.identity = identities(&manifest(&args.first)?, &manifest(&args.second)?);
    if args.json {
        let text = serde_json::to_string_pretty(&diff).map_err(Failure::other)?;
        return print(&format!("{text}\n"));
    }
    print(&to_text(&diff, args.limit))
}

fn manifest(dir: &Path) -> Result<Option<Manifest>, RunError> {
    match fs_err::read(dir.join(MANIFEST_FILE)) {
        Ok(bytes) => Ok(Some(Manifest::from_json(&bytes)?)),
        Err(_) => Ok(None),
    }
}

/// Reads the outcome of every query of a directory, by id; the key of a row without an id is its file and line.
fn read(dir: &Path) -> Result<BTreeMap<String, Fate>, Failure> {
    let indices = published(dir)?;
    if indices.is_empty() {
        return Err(Failure::Other(anyhow::anyhow!("{} has no published shard", dir.display())));
    }
    let mut fates = BTreeMap::new();
    for index in indices {
        for row in read_rows::<SampleRow>(&dir.join(Table::Samples.file_name(index)))? {
            let fate = Fate {
                outcome: row.mode,
                rates: Some((row.pass_rate_on, row.pass_rate_off)),
                difficulty: row.difficulty,
                completion_tokens: row.completion_tokens,
                thinking: row.thinking,
                answer: row.answer,
                justification: row.justification,
            };
            fates.insert(row.query_id, fate);
        }
        for row in read_rows::<ExclusionRow>(&dir.join(Table::Exclusions.file_name(index)))? {
            let place = format!("{}:{}", row.file, row.line);
            // A duplicate has the same id as the row that it repeats.
            let id = row.query_id.map_or_else(
                || place.clone(),
                |id| if fates.contains_key(&id) { format!("{id} ({place})") } else { id },
            );
            let fate = Fate {
                outcome: row.reason,
                rates: None,
                difficulty: String::new(),
                completion_tokens: 0,
                thinking: None,
                answer: String::new(),
                justification: None,
            };
            fates.insert(id, fate);
        }
    }
    Ok(fates)
}

fn compare(first: &BTreeMap<String, Fate>, second: &BTreeMap<String, Fate>) -> Diff {
    let mut diff = Diff { queries: (first.len(), second.len()), ..Diff::default() };
    let ids: std::collections::BTreeSet<&String> = first.keys().chain(second.keys()).collect();
    for id in ids {
        let (left, right) = (first.get(id), second.get(id));
        if left == right {
            diff.same += 1;
            continue;
        }
        let differs = match (left, right) {
            (Some(left), Some(right)) => differences(left, right),
            _ => Vec::new(),
        };
        let outcome = |fate: Option<&Fate>| fate.map(|fate| fate.outcome.clone());
        let (from, to) = (outcome(left), outcome(right));
        if from != to {
            let name = |outcome: &Option<String>| outcome.clone().unwrap_or_else(|| "absent".to_owned());
            *diff.outcomes.entry(format!("{} -> {}", name(&from), name(&to))).or_default() += 1;
        }
        for what in &differs {
            *diff.differs.entry(what).or_default() += 1;
        }
        diff.changes.push(Change { query_id: id.clone(), first: from, second: to, differs });
    }
    let mean = |fates: &BTreeMap<String, Fate>| {
        let lengths: Vec<f64> =
            fates.values().filter(|fate| fate.rates.is_some()).map(|fate| f64::from(fate.completion_tokens)).collect();
        if lengths.is_empty() { 0.0 } else { lengths.iter().sum::<f64>() / lengths.len() as f64 }
    };
    diff.mean_tokens = (mean(first), mean(second));
    diff
}

fn differences(left: &Fate, right: &Fate) -> Vec<&'static str> {
    let response = |fate: &Fate| (fate.thinking.clone(), fate.answer.clone());
    let found = [
        ("pass_rates", left.rates != right.rates),
        ("difficulty", left.difficulty != right.difficulty),
        ("response", response(left) != response(right)),
        ("justification", left.justification != right.justification),
    ];
    found.into_iter().filter(|(_, differs)| *differs).map(|(what, _)| what).collect()
}

fn identities(
    first: &Option<Manifest>,
    second: &Option<Manifest>,
) -> BTreeMap<String, (Option<String>, Option<String>)> {
    let (Some(first), Some(second)) = (first, second) else { return BTreeMap::new() };
    let keys = first.identity.keys().chain(second.identity.keys());
    let values = |key: &String| (first.identity.get(key).cloned(), second.identity.get(key).cloned());
    keys.map(|key| (key.clone(), values(key))).filter(|(_, (left, right))| left != right).collect()
}

fn to_text(diff: &Diff, limit: usize) -> String {
    let mut text = format!(
        "queries      {} and {}; {} are the same\nmean tokens  {:.1} and {:.1} of the samples\n",
        diff.queries.0, diff.queries.1, diff.same, diff.mean_tokens.0, diff.mean_tokens.1
    );
    let shown = |value: &Option<String>| visible(value.as_deref().unwrap_or("-"));
    // The first characters distinguish hashes.
    let brief = |value: &Option<String>| {
        if shown(value).len() == 64 { shown(value).chars().take(12).collect() } else { shown(value) }
    };
    for (key, (left, right)) in &diff.identity {
        text.push_str(&format!("settings     {key}: {} -> {}\n", brief(left), brief(right)));
    }
    for (change, count) in &diff.outcomes {
        text.push_str(&format!("outcome      {count} {change}\n"));
    }
    for (what, count) in &diff.differs {
        text.push_str(&format!("differs      {count} in {what}\n"));
    }
    for change in diff.changes.iter().take(limit) {
        let Change { query_id, first, second, differs } = change;
        let outcome = if first == second { shown(first) } else { format!("{} -> {}", shown(first), shown(second)) };
        let more = if differs.is_empty() { String::new() } else { format!("; {}", differs.join(", ")) };
        text.push_str(&format!("  {}: {outcome}{more}\n", visible(query_id)));
    }
    if diff.changes.len() > limit {
        text.push_str(&format!("  and {} more; --limit or --json shows them\n", diff.changes.len() - limit));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fate(outcome: &str, answer: &str) -> Fate {
        Fate {
            outcome: outcome.to_owned(),
            rates: Some((1.0, 0.5)),
            difficulty: "easy".to_owned(),
            completion_tokens: 4,
            thinking: None,
            answer: answer.to_owned(),
            justification: None,
        }
    }

    #[test]
    fn every_query_is_the_same_or_a_change() {
        let run = |fates: &[(&str, &str, &str)]| -> BTreeMap<String, Fate> {
            fates.iter().map(|(id, outcome, answer)| ((*id).to_owned(), fate(outcome, answer))).collect()
        };
        let first =
            run(&[("a", "think_on", "1"), ("b", "think_on", "1"), ("c", "think_off", "1"), ("d", "unsolved", "")]);
        let second =
            run(&[("a", "think_on", "1"), ("b", "think_off", "2"), ("c", "think_off", "2"), ("e", "unsolved", "")]);
        let diff = compare(&first, &second);
        assert_eq!((diff.same, diff.changes.len()), (1, 4));
        let outcomes: Vec<(&str, usize)> =
            diff.outcomes.iter().map(|(change, count)| (change.as_str(), *count)).collect();
        assert_eq!(outcomes, [("absent -> unsolved", 1), ("think_on -> think_off", 1), ("unsolved -> absent", 1)]);
        assert_eq!(diff.differs, BTreeMap::from([("response", 2)]));
        let text = to_text(&diff, 1);
        assert!(text.contains("  b: think_on -> think_off; response\n") && text.contains("and 3 more"), "{text}");
    }
}
