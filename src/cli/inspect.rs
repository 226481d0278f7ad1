//! `thinkloom inspect`

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;
use serde_json::{Map, Value, json};

use super::failure::{Failure, print};
use super::wrap::{COLUMNS, block, visible};
use crate::ledger::{IntakeRow, Reader, RunRecord};
use crate::pipeline::{RunError, plan, replies};
use crate::shards::{RowFilter, Table, read_columns, read_rows_of};

/// The number of intake rows that are in memory at a time.
const PAGE_ROWS: u64 = 1000;

/// Arguments of `inspect`.
#[derive(Debug, Args)]
#[command(after_help = "Example: thinkloom inspect out --query add-01")]
pub(super) struct InspectArgs {
    /// The output directory of a run.
    dir: PathBuf,
    /// The query's id; without it the command lists all queries.
    #[arg(long, value_name = "ID")]
    query: Option<String>,
    /// Print JSON (one object; JSON lines for the list).
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: &InspectArgs) -> Result<(), Failure> {
    let reader = Reader::open(&args.dir)?;
    let Some(run) = reader.latest_run()? else {
        return Err(Failure::Other(anyhow!("the ledger in {} has no run", args.dir.display())));
    };
    match &args.query {
        None => list(args, &reader, &run),
        Some(id) => {
            let story = tell(&args.dir, &reader, &run, id)?;
            let Some(story) = story else {
                let dir = args.dir.display();
                return Err(Failure::Other(anyhow!("no query {id} in {dir}; `thinkloom inspect {dir}` lists them")));
            };
            print(&if args.json { format!("{story:#}\n") } else { to_text(&story) })
        }
    }
}

fn list(args: &InspectArgs, reader: &Reader, run: &RunRecord) -> Result<(), Failure> {
    let intake = reader.intake_rows(&run.input_digest)?;
    let rows = run.row_limit.map_or(intake, |limit| limit.min(intake));
    let outcomes = outcomes(&args.dir, reader, run)?;
    for start in (0..rows).step_by(PAGE_ROWS as usize) {
        let mut text = String::new();
        for row in reader.intake(&run.input_digest, start, (start + PAGE_ROWS).min(rows))? {
            let (ordinal, id, kind, question) = match row {
                IntakeRow::Query(query) => (query.ordinal, query.id.0, query.kind.to_string(), query.question),
                IntakeRow::Excluded(exclusion) => {
                    let id = exclusion.query_id.map(|id| id.0).unwrap_or_default();
                    (exclusion.ordinal, id, String::new(), exclusion.detail)
                }
            };
            let outcome = outcomes.get(&ordinal).map_or("outstanding", String::as_str);
            if args.json {
                let line = json!({
                    "ordinal": ordinal, "query_id": id, "kind": kind, "outcome": outcome, "question": question,
                });
                text.push_str(&format!("{line}\n"));
            } else {
                let question = question.split_whitespace().collect::<Vec<_>>().join(" ");
                let line = format!("{ordinal:>6}  {id:<18}  {outcome:<18}  {question}");
                let line: String = visible(&line).chars().take(COLUMNS).collect();
                text.push_str(&format!("{}\n", line.trim_end()));
            }
        }
        print(&text)?;
    }
    Ok(())
}

/// Returns the outcome of each published row: the mode of its sample, or the reason of its exclusion.
fn outcomes(dir: &Path, reader: &Reader, run: &RunRecord) -> Result<HashMap<u64, String>, RunError> {
    let mut outcomes = HashMap::new();
    for record in reader.shards(&run.fingerprint)? {
        let column = match record.table.as_str() {
            "samples" => "mode",
            "exclusions" => "reason",
            _ => continue,
        };
        for row in read_columns(&dir.join(&record.file_name), &["ordinal", column])? {
            if let [Some(ordinal), Some(outcome)] = row.as_slice() {
                outcomes.insert(ordinal.parse().unwrap_or(u64::MAX), outcome.clone());
            }
        }
    }
    Ok(outcomes)
}

/// Gathers everything that is stored about a query id.
fn tell(dir: &Path, reader: &Reader, run: &RunRecord, id: &str) -> Result<Option<Value>, RunError> {
    let rows = reader.intake_by_id(&run.input_digest, id)?;
    if rows.is_empty() {
        return Ok(None);
    }
    let mut story = Map::new();
    story.insert("query_id".to_owned(), json!(id));
    let mut excluded_rows = Vec::new();
    for row in rows {
        match row {
            IntakeRow::Query(query) => {
                story.insert("query".to_owned(), json!(query));
            }
            IntakeRow::Excluded(exclusion) => excluded_rows.push(json!(exclusion)),
        }
    }
    if !excluded_rows.is_empty() {
        story.insert("excluded_rows".to_owned(), json!(excluded_rows));
    }
    let mut rollouts = Vec::new();
    for (rollout, verdicts) in reader.rollouts_of(id)? {
        let rollout = replies::present(reader, rollout)?;
        let observed = plan::observe(&rollout);
        let verdicts: Vec<Value> = verdicts
            .iter()
            .map(
                |verdict| json!({"verdict": verdict.outcome, "extracted": verdict.extracted, "reason": verdict.reason}),
            )
            .collect();
        rollouts.push(json!({
            "mode": rollout.mode,
            "sample_index": rollout.sample_index,
            "seed": rollout.seed,
            "finish_reason": rollout.finish_reason,
            "forced_close": rollout.forced_close,
            "logprob_sum": rollout.logprob_sum,
            "length_estimated": rollout.reading.length_estimated,
            "prompt_tokens": rollout.prompt_tokens,
            "completion_tokens": rollout.completion_tokens,
            "prompt": rollout.prompt,
            "text": rollout.text,
            "thinking": observed.thinking,
            "answer": observed.answer,
            "observed_mode": observed.mode,
            "verdicts": verdicts,
        }));
    }
    story.insert("rollouts".to_owned(), json!(rollouts));
    let attempts: Vec<Value> = reader
        .attempts_of(id)?
        .into_iter()
        .map(|(key, record)| {
            let failure = record
                .failure
                .map(|(outcome, status, detail)| json!({"outcome": outcome, "status": status, "detail": detail}));
            json!({"request": key, "attempt": record.attempt, "reply": record.reply, "failure": failure})
        })
        .collect();
    story.insert("judge_attempts".to_owned(), json!(attempts));
    for table in [Table::Samples, Table::Exclusions] {
        if let Some(row) = published_row(dir, reader, run, table, id)? {
            story.insert(table.name().trim_end_matches('s').to_owned(), row);
        }
    }
    Ok(Some(Value::Object(story)))
}

/// Returns a query's row of a published table.
fn published_row(
    dir: &Path,
    reader: &Reader,
    run: &RunRecord,
    table: Table,
    id: &str,
) -> Result<Option<Value>, RunError> {
    for record in reader.shards(&run.fingerprint)?.iter().filter(|record| record.table == table.name()) {
        let path = dir.join(&record.file_name);
        let found = read_columns(&path, &["query_id", "ordinal"])?
            .into_iter()
            .find(|row| row.first().is_some_and(|cell| cell.as_deref() == Some(id)));
        let ordinal = found.and_then(|row| row.into_iter().nth(1).flatten()?.parse().ok());
        if let Some(ordinal) = ordinal {
            return Ok(read_rows_of::<Value>(&path, &RowFilter::ordinal(ordinal))?.pop());
        }
    }
    Ok(None)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn indent(text: &str) -> String {
    block(text, 4)
}

/// Returns the text within 80 columns, without control characters.
fn to_text(story: &Value) -> String {
    block(&to_lines(story), 0)
}

fn to_lines(story: &Value) -> String {
    let mut out = format!("query {}\n", text(&story["query_id"]));
    if let Some(query) = story.get("query") {
        out.push_str(&format!(
            "  {} from {}, {}:{}\n",
            text(&query["kind"]),
            text(&query["source"]),
            text(&query["origin"]["file"]),
            text(&query["origin"]["line"])
        ));
        out.push_str(&indent(&text(&query["question"])));
        out.push_str(&format!("  gold: {}\n", text(&query["gold"])));
    }
    for row in story["excluded_rows"].as_array().into_iter().flatten() {
        let place = format!("{}:{}", text(&row["origin"]["file"]), text(&row["origin"]["line"]));
        out.push_str(&format!("  {place} was excluded: {}: {}\n", text(&row["reason"]), text(&row["detail"])));
    }
    out.push_str(&rollouts_to_text(story));
    for attempt in story["judge_attempts"].as_array().into_iter().flatten() {
        let end = if attempt["reply"].is_string() { "replied".to_owned() } else { text(&attempt["failure"]) };
        out.push_str(&format!("\njudge attempt {}: {end}\n", attempt["attempt"]));
    }
    if let Some(sample) = story.get("sample") {
        let column = |name: &str, mode: &str| text(&sample[&format!("{name}_{mode}")]);
        let rate = |mode| if column("sampled", mode) == "0" { "unknown".to_owned() } else { column("pass_rate", mode) };
        out.push_str(&format!(
            "\ndecision: {} ({}); pass rates on {} off {}; difficulty {}\njustification ({}):\n{}\ncompletion ({} tokens):\n{}",
            text(&sample["mode"]),
            text(&sample["mode_reason"]),
            rate("on"),
            rate("off"),
            text(&sample["difficulty"]),
            text(&sample["judge_model"]),
            indent(&text(&sample["justification"])),
            text(&sample["completion_tokens"]),
            indent(&text(&sample["completion"]))
        ));
    } else if let Some(exclusion) = story.get("exclusion") {
        out.push_str(&format!("\nexcluded: {}: {}\n", text(&exclusion["reason"]), text(&exclusion["detail"])));
    } else {
        out.push_str("\nnot settled yet\n");
    }
    out
}

fn rollouts_to_text(story: &Value) -> String {
    let mut out = String::new();
    let mut last_prompt = String::new();
    for rollout in story["rollouts"].as_array().into_iter().flatten() {
        let prompt = text(&rollout["prompt"]);
        if prompt != last_prompt {
            out.push_str(&format!(
                "\nprompt for {} ({} tokens)\n{}",
                text(&rollout["mode"]),
                rollout["prompt_tokens"],
                indent(&prompt)
            ));
            last_prompt = prompt;
        }
        let verdicts: Vec<String> = rollout["verdicts"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|verdict| {
                format!(
                    "{} ({}; extracted {})",
                    text(&verdict["verdict"]),
                    text(&verdict["reason"]),
                    text(&verdict["extracted"])
                )
            })
            .collect();
        out.push_str(&format!(
            "\n{} #{}: {} tokens, {}, {}\n{}",
            text(&rollout["mode"]),
            rollout["sample_index"],
            rollout["completion_tokens"],
            text(&rollout["finish_reason"]),
            verdicts.join(" / "),
            indent(&text(&rollout["text"]))
        ));
    }
    out
}
