//! `thinkloom status`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;
use serde::Serialize;

use super::display::{duration, percent};
use super::failure::{Failure, print};
use super::status_judge::{self, JudgeStatus, Selection};
use crate::config::{BudgetPolicy, Settings};
use crate::domain::{ByMode, ExclusionReason, Mode, PassCounts};
use crate::ledger::{Reader, RunRecord, ShardRecord, Totals};
use crate::pipeline::standing::{self, Survey};
use crate::pipeline::{Context, RunError, audit, partial_records, run_counts};
use crate::shards::{Counts, Publisher, Table, read_columns};

/// Arguments of `status`.
#[derive(Debug, Args)]
#[command(after_help = "Example: thinkloom status out --check\nGuide: thinkloom help recovery")]
pub(super) struct StatusArgs {
    /// The output directory of a run, which may be in progress.
    dir: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Audit every invariant; the exit code is 1 if one is broken.
    #[arg(long)]
    check: bool,
}

#[derive(Debug, Serialize)]
struct Status {
    fingerprint: String,
    policy: serde_json::Value,
    /// Input rows of the run.
    queries: u64,
    /// Rows with an outcome, published or not.
    settled: u64,
    /// Rows without an outcome.
    outstanding: u64,
    /// Rows with an outcome in published files, including files of incomplete shards.
    published: u64,
    /// Incomplete published shards.
    partial_shards: u64,
    /// Counts over the settled rows.
    counts: Counts,
    /// Queries that errors excluded, not rules: `run --retry-failed` requests them again.
    failed: u64,
    think_on_share: Option<f64>,
    difficulty: BTreeMap<String, u64>,
    pass_rate_on: Option<f64>,
    pass_rate_off: Option<f64>,
    /// Responses that show the other mode than was asked for.
    other_mode_on: u32,
    other_mode_off: u32,
    totals: Totals,
    /// N responses of each mode for every query; under a curtailed budget, the most possible number.
    rollouts_expected: u64,
    budget: BudgetPolicy,
    tokens_per_second: Option<f64>,
    /// Seconds of sampling left at the measured speed.
    remaining_s: Option<f64>,
    spend_usd: Option<f64>,
    judge_tokens: JudgeTokens,
    judge: JudgeStatus,
    /// Bytes of the ledger on the disk.
    ledger_bytes: u64,
    /// The same, per stored rollout: prompts, verdicts and judge calls included.
    ledger_bytes_per_rollout: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<Vec<audit::Finding>>,
}

#[derive(Debug, Clone, Copy, Default, Serialize)]
struct JudgeTokens {
    prompt: u64,
    completion: u64,
}

/// Runs the command.
pub(super) fn run(args: &StatusArgs) -> Result<(), Failure> {
    let status = look(&args.dir, args.check)?;
    if args.json {
        let json = serde_json::to_string_pretty(&status).map_err(Failure::other)?;
        print(&format!("{json}\n"))?;
    } else {
        print(&to_text(&status))?;
    }
    let is_breached = status.check.is_some_and(|findings| findings.iter().any(|finding| !finding.holds));
    if is_breached {
        tracing::warn!(
            "the audit found broken invariants (hint: `thinkloom run` with the run's config writes missing and damaged \
             files again from the ledger, and changes only files that thinkloom wrote)"
        );
        return Err(Failure::Code(1));
    }
    Ok(())
}

/// Gathers the status of a run; `check` audits every invariant.
fn look(dir: &Path, check: bool) -> Result<Status, Failure> {
    let reader = Reader::open(dir)?;
    let Some(run) = reader.latest_run()? else {
        return Err(Failure::Other(anyhow!("the ledger in {} has no run", dir.display())));
    };
    let mut status = gather(dir, &reader, &run)?;
    if check {
        status.check = Some(audit::audit(dir, &reader, &run)?);
    }
    Ok(status)
}

/// Returns what `thinkloom status --json` prints, for programs that embed thinkloom.
///
/// # Errors
/// [`Failure`] if the directory has no run, or its ledger cannot be read.
pub(super) fn value(dir: &Path, check: bool) -> Result<serde_json::Value, Failure> {
    serde_json::to_value(look(dir, check)?).map_err(Failure::other)
}

/// The settled queries, in published shards and in facts.
#[derive(Default)]
struct Settled {
    /// Readable files of complete shards.
    records: Vec<ShardRecord>,
    /// The outcomes of all other shards, from the facts.
    survey: Survey,
    rows: u64,
    published: u64,
    partial_shards: u64,
    counts: Counts,
    think_on: u64,
    difficulty: BTreeMap<String, u64>,
}

/// Counts complete shards from their files, which is fast, and all other shards from the facts. A shard with a missing
/// or damaged file is also counted from the facts; the audit reports the file.
fn settled(dir: &Path, reader: &Reader, run: &RunRecord, queries: u64) -> Result<Settled, RunError> {
    let mut all = Settled::default();
    let whole = reader.shards(&run.fingerprint)?;
    let mut indices: Vec<u64> = whole.iter().map(|record| record.index).collect();
    indices.dedup();
    indices.sort_unstable();
    indices.dedup();
    let mut read = Vec::new();
    for index in indices {
        let of_shard: Vec<ShardRecord> = whole.iter().filter(|record| record.index == index).cloned().collect();
        if let Some(counts) = count_files(dir, &of_shard, &mut all) {
            all.rows += counts;
            all.records.extend(of_shard);
            read.push(index);
        }
    }
    all.counts = run_counts(dir, &all.records, queries)?;
    all.published = all.rows;
    if let Ok(publisher) = Publisher::read_only(dir) {
        for record in partial_records(&publisher, reader, &run.fingerprint, &whole)? {
            let is_outcome = record.table != Table::Rollouts.name();
            all.published += if is_outcome { record.rows } else { 0 };
            all.partial_shards += u64::from(record.table == Table::Samples.name());
        }
    }
    let shards = queries.div_ceil(run.queries_per_shard.max(1));
    let open: Vec<u64> = (0..shards).filter(|index| read.binary_search(index).is_err()).collect();
    if open.is_empty() {
        return Ok(all);
    }
    match Context::look(dir, reader, run.clone()) {
        Ok(context) => all.add(standing::survey(&context, reader, &open)?),
        Err(error) => tracing::warn!(
            "only published shards are counted: {error}{}",
            error.hint().map(|hint| format!(" (hint: {hint})")).unwrap_or_default()
        ),
    }
    Ok(all)
}

/// Counts the samples of a complete shard and returns its number of rows; `None` if a file of the shard is unreadable.
fn count_files(dir: &Path, records: &[ShardRecord], all: &mut Settled) -> Option<u64> {
    if records.len() != Table::ALL.len() {
        return None;
    }
    let read = |table: Table, columns: &[&str]| {
        let record = records.iter().find(|record| record.table == table.name())?;
        read_columns(&dir.join(&record.file_name), columns).ok()
    };
    let samples = read(Table::Samples, &["mode", "difficulty"])?;
    read(Table::Exclusions, &["reason"])?;
    read(Table::Rollouts, &["mode"])?;
    for row in &samples {
        let [mode, label] = row.as_slice() else { continue };
        all.think_on += u64::from(mode.as_deref() == Some(Mode::ThinkOn.name()));
        *all.difficulty.entry(label.clone().unwrap_or_default()).or_default() += 1;
    }
    records.first().map(|record| record.end_ordinal - record.first_ordinal)
}

impl Settled {
    fn add(&mut self, survey: Survey) {
        self.rows += survey.settled;
        self.counts.samples += survey.samples.len() as u64;
        self.counts.rollouts += survey.rollouts;
        for (reason, count) in &survey.exclusions {
            self.counts.exclusions += count;
            *self.counts.exclusions_by_reason.entry(reason.clone()).or_default() += count;
        }
        for sample in &survey.samples {
            self.think_on += u64::from(sample.mode == Mode::ThinkOn.name());
            *self.difficulty.entry(sample.difficulty.clone()).or_default() += 1;
        }
        self.survey = survey;
    }

    /// Returns the number of rows that errors excluded.
    fn failed(&self) -> u64 {
        let is_error = |name: &str| name.parse::<ExclusionReason>().map_or(true, ExclusionReason::is_error);
        let reasons = self.counts.exclusions_by_reason.iter();
        reasons.filter(|(name, _)| is_error(name)).map(|(_, count)| count).sum()
    }
}

fn gather(dir: &Path, reader: &Reader, run: &RunRecord) -> Result<Status, RunError> {
    let intake = reader.intake_rows(&run.input_digest)?;
    let queries = run.row_limit.map_or(intake, |limit| limit.min(intake));
    let all = settled(dir, reader, run, queries)?;
    let totals = reader.totals()?;
    let settings: Option<Settings> = toml::from_str(&run.settings).ok();
    let samples_per_mode = settings.as_ref().map_or(0, |settings| u64::from(settings.sampling.samples_per_mode));
    let bad_rows = reader.intake_exclusions(&run.input_digest, queries)?;
    let rollouts_expected = queries.saturating_sub(bad_rows) * 2 * samples_per_mode;
    let tokens_per_second = reader.tokens_per_second()?;
    let selection = Selection { records: &all.records, survey: &all.survey, settled: all.rows, queries };
    let judge = status_judge::gather(dir, reader, run, settings.as_ref(), &selection)?;
    let ledger_bytes = reader.bytes()?;
    let rollouts = totals.think_on.rollouts + totals.think_off.rollouts;
    let rate = |counts: PassCounts| (counts.sampled > 0).then(|| counts.pass_rate());
    let samples = all.counts.samples;
    let other_mode = settings.as_ref().map(|settings| settings.select.other_mode).unwrap_or_default();
    let counts = ByMode {
        on: reader.pass_counts(Mode::ThinkOn, other_mode)?,
        off: reader.pass_counts(Mode::ThinkOff, other_mode)?,
    };
    Ok(Status {
        fingerprint: run.fingerprint.clone(),
        policy: serde_json::from_str(&run.policy).unwrap_or_default(),
        queries,
        settled: all.rows,
        outstanding: queries.saturating_sub(all.rows),
        published: all.published,
        partial_shards: all.partial_shards,
        failed: all.failed(),
        counts: all.counts,
        think_on_share: (samples > 0).then(|| all.think_on as f64 / samples as f64),
        difficulty: all.difficulty,
        pass_rate_on: rate(counts.on),
        pass_rate_off: rate(counts.off),
        other_mode_on: counts.on.other_mode,
        other_mode_off: counts.off.other_mode,
        rollouts_expected,
        budget: settings.as_ref().map_or_else(BudgetPolicy::default, |settings| settings.sampling.budget),
        tokens_per_second,
        remaining_s: remaining(&totals, rollouts_expected, tokens_per_second),
        totals,
        spend_usd: judge.spend_usd,
        judge_tokens: JudgeTokens { prompt: judge.prompt_tokens, completion: judge.completion_tokens },
        judge,
        ledger_bytes,
        ledger_bytes_per_rollout: ledger_bytes.checked_div(rollouts),
        check: None,
    })
}

/// Returns the time to sample the missing responses, at the mean length and speed so far.
fn remaining(totals: &Totals, expected: u64, tokens_per_second: Option<f64>) -> Option<f64> {
    let stored = totals.think_on.rollouts + totals.think_off.rollouts;
    let tokens = totals.think_on.completion_tokens + totals.think_off.completion_tokens;
    let mean = tokens as f64 / (stored > 0).then_some(stored)? as f64;
    Some(expected.saturating_sub(stored) as f64 * mean / tokens_per_second?)
}

fn to_text(status: &Status) -> String {
    let Status { counts, totals, .. } = status;
    let rate = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), |rate| format!("{:.1}%", 100.0 * rate));
    let list = |map: &BTreeMap<String, u64>| {
        map.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
    };
    let speed = status.tokens_per_second.map_or_else(|| "-".to_owned(), |speed| format!("{speed:.0}"));
    let rollouts = totals.think_on.rollouts + totals.think_off.rollouts;
    let mean = |mode: &crate::ledger::ModeTotals| mode.completion_tokens.checked_div(mode.rollouts).unwrap_or(0);
    let most = if status.budget == BudgetPolicy::Full { "" } else { "at most " };
    let remaining = match status.remaining_s {
        Some(seconds) if status.outstanding > 0 => format!(", about {} of sampling left", duration(seconds)),
        _ => String::new(),
    };
    let failed = match status.failed {
        0 => String::new(),
        count => format!("; errors excluded {count}: `thinkloom run --retry-failed` requests them again"),
    };
    let published = if status.published == status.settled && status.partial_shards == 0 {
        String::new()
    } else {
        let parts = match status.partial_shards {
            0 => String::new(),
            1 => ", 1 incomplete shard".to_owned(),
            count => format!(", {count} incomplete shards"),
        };
        let next = if status.published < status.settled {
            "; `thinkloom publish` writes the settled queries of a stopped run"
        } else {
            "; `thinkloom run` completes it"
        };
        format!("published    {} of {} settled{parts}{next}\n", status.published, status.settled)
    };
    let other_mode = match (status.other_mode_on, status.other_mode_off) {
        (0, 0) => String::new(),
        (on, off) => format!("; of the other mode than was asked for: {on} think-on, {off} think-off"),
    };
    let mut text = format!(
        "queries      {} of {} settled ({}), {} outstanding{remaining}\n\
         {published}\
         samples      {}, think-on share {}; difficulty: {}\n\
         exclusions   {}: {}{failed}\n\
         pass rates   think-on {}, think-off {}{other_mode}\n\
         rollouts     {rollouts} of {most}{} stored; mean tokens think-on {}, think-off {}; {speed} tokens per second\n\
         judge        {} attempts, {} replies, {} failures\n\
         {}\
         policy       {}\n\
         starts       {}\n\
         ledger       {:.1} MB{}\n",
        status.settled,
        status.queries,
        percent(status.settled, status.queries),
        status.outstanding,
        counts.samples,
        rate(status.think_on_share),
        list(&status.difficulty),
        counts.exclusions,
        list(&counts.exclusions_by_reason),
        rate(status.pass_rate_on),
        rate(status.pass_rate_off),
        status.rollouts_expected,
        mean(&totals.think_on),
        mean(&totals.think_off),
        totals.judge.attempts,
        totals.judge.replies,
        totals.judge.failures,
        status.judge.to_text(),
        status.policy.get("model").and_then(serde_json::Value::as_str).unwrap_or("-"),
        totals.starts,
        status.ledger_bytes as f64 / 1e6,
        status.ledger_bytes_per_rollout.map_or_else(String::new, |bytes| format!(", {bytes} bytes a rollout")),
    );
    if let Some(findings) = &status.check {
        text.push_str("check\n");
        text.push_str(&audit::to_text(findings));
    }
    text
}
