//! `thinkloom status`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;
use serde::Serialize;

use super::display::{duration, percent};
use super::status_judge::{self, JudgeStatus};
use super::{Failure, print};
use crate::config::{BudgetPolicy, Settings};
use crate::domain::{Mode, PassCounts};
use crate::ledger::{Reader, RunRecord, Totals};
use crate::pipeline::{RunError, audit, run_counts};
use crate::shards::{Counts, Table, read_columns};

/// Arguments of `status`.
#[derive(Debug, Args)]
#[command(after_help = "Example: thinkloom status out --check")]
pub struct StatusArgs {
    /// The output directory of a run; a run may be going on in it.
    dir: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Audit every invariant; exit code 1 on a breach.
    #[arg(long)]
    check: bool,
}

#[derive(Debug, Serialize)]
struct Status {
    fingerprint: String,
    policy: serde_json::Value,
    /// Input rows of the run.
    queries: u64,
    /// Rows in published shards.
    settled: u64,
    /// Rows whose shard is not published yet.
    outstanding: u64,
    counts: Counts,
    think_on_share: Option<f64>,
    difficulty: BTreeMap<String, u64>,
    pass_rate_on: Option<f64>,
    pass_rate_off: Option<f64>,
    totals: Totals,
    /// N of each mode for every query; under a curtailed budget that is the most there can be.
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
    let reader = Reader::open(&args.dir)?;
    let Some(run) = reader.latest_run()? else {
        return Err(Failure::Other(anyhow!("{} holds a ledger, but no run was started", args.dir.display())));
    };
    let mut status = gather(&args.dir, &reader, &run)?;
    if args.check {
        status.check = Some(audit::audit(&args.dir, &reader, &run)?);
    }
    if args.json {
        let json = serde_json::to_string_pretty(&status).map_err(Failure::other)?;
        print(&format!("{json}\n"))?;
    } else {
        print(&to_text(&status))?;
    }
    let is_breached = status.check.is_some_and(|findings| findings.iter().any(|finding| !finding.holds));
    if is_breached {
        tracing::warn!(
            "something does not hold (hint: `thinkloom run` with the run's config writes missing and damaged files again \
             from the ledger, and touches nothing that it did not write)"
        );
        return Err(Failure::Code(1));
    }
    Ok(())
}

fn gather(dir: &Path, reader: &Reader, run: &RunRecord) -> Result<Status, RunError> {
    let intake = reader.intake_rows(&run.input_digest)?;
    let queries = run.row_limit.map_or(intake, |limit| limit.min(intake));
    // A file that is damaged is the audit's business; the counts leave it out.
    let mut records = reader.shards(&run.fingerprint)?;
    records.retain(|record| dir.join(&record.file_name).is_file());
    let samples_records: Vec<_> = records.iter().filter(|record| record.table == Table::Samples.name()).collect();
    let settled = samples_records.iter().map(|record| record.end_ordinal - record.first_ordinal).sum();
    let mut difficulty: BTreeMap<String, u64> = BTreeMap::new();
    let (mut samples, mut think_on) = (0_u64, 0_u64);
    for record in &samples_records {
        let Ok(rows) = read_columns(&dir.join(&record.file_name), &["mode", "difficulty"]) else { continue };
        for row in rows {
            samples += 1;
            let [mode, label] = row.as_slice() else { continue };
            think_on += u64::from(mode.as_deref() == Some(Mode::ThinkOn.name()));
            *difficulty.entry(label.clone().unwrap_or_default()).or_default() += 1;
        }
    }
    let counts = run_counts(dir, &records, queries).unwrap_or_default();
    let totals = reader.totals()?;
    let settings: Option<Settings> = toml::from_str(&run.settings).ok();
    let samples_per_mode = settings.as_ref().map_or(0, |settings| u64::from(settings.sampling.samples_per_mode));
    let bad_rows = reader.intake_exclusions(&run.input_digest, queries)?;
    let rollouts_expected = queries.saturating_sub(bad_rows) * 2 * samples_per_mode;
    let tokens_per_second = reader.tokens_per_second()?;
    let judge = status_judge::gather(dir, reader, run, settings.as_ref(), &samples_records, (settled, queries))?;
    let ledger_bytes = reader.bytes()?;
    let rollouts = totals.think_on.rollouts + totals.think_off.rollouts;
    let rate = |counts: PassCounts| (counts.sampled > 0).then(|| counts.pass_rate());
    Ok(Status {
        fingerprint: run.fingerprint.clone(),
        policy: serde_json::from_str(&run.policy).unwrap_or_default(),
        queries,
        settled,
        outstanding: queries.saturating_sub(settled),
        counts,
        think_on_share: (samples > 0).then(|| think_on as f64 / samples as f64),
        difficulty,
        pass_rate_on: rate(reader.pass_counts(Mode::ThinkOn)?),
        pass_rate_off: rate(reader.pass_counts(Mode::ThinkOff)?),
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

/// Time to sample what is missing, at the mean length and speed so far.
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
    let mut text = format!(
        "queries      {} of {} settled ({}), {} outstanding{remaining}\n\
         samples      {}, think-on share {}; difficulty: {}\n\
         exclusions   {}: {}\n\
         pass rates   think-on {}, think-off {}\n\
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
