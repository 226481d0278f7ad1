//! `thinkloom eval`

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use super::failure::{Failure, print};
use super::models;
use super::stopping::Stopping;
use super::table::{Chunk, Table};
use crate::config::{self, DifficultySettings, LoadedConfig, Settings};
use crate::domain::{Kind, Mode, Query, ShownMode};
use crate::eval::collect::{Collected, Evaluation, collect};
use crate::eval::{Baseline, Condition, EvalRow, Report, evaluate, label_difficulty, leaks, plot, table};
use crate::ingest::{self, InputOptions, Row};
use crate::judge::Flights;
use crate::ledger::Ledger;
use crate::pipeline::plan::evaluated_of;
use crate::pipeline::programs::Programs;
use crate::pipeline::screen;
use crate::pipeline::{
    EVALUATION_FILE, RunError, drain_deadline, open_policy, policy_breaker, refuse_foreign_evaluation,
    remember_refusals,
};
use crate::reward::row::{GradeRules, Grading, RewardRow, grade};
use crate::sys::files::{LOCK_PATIENCE, lock_dir_patiently};
use crate::sys::staged::write_whole;

/// Arguments of `eval`.
#[derive(Debug, Args)]
#[command(
    after_help = "With -c the policy of the config answers its input: free (the model chooses its mode), forced on, \
                  forced off, sampling.samples_per_mode times each; the same command continues a stopped evaluation. \
                  With --rollouts thinkloom evaluates stored responses.\nExample: thinkloom eval -c thinkloom.toml \
                  -o eval-new --baseline eval-old\nGuide: thinkloom help eval"
)]
pub(super) struct EvalArgs {
    /// The config file; its policy, input and sampling settings apply.
    #[arg(short, long, value_name = "FILE", default_value = "thinkloom.toml")]
    config: PathBuf,
    /// Override a setting, for example --set sampling.samples_per_mode=2 (repeatable).
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Evaluate these responses instead of sampling: rows of an evaluation, a run's rollouts (or its directory), or rows
    /// {query_id, mode, correct, format_ok, completion_tokens}, or {query_id, completion, kind, gold, question?,
    /// completion_tokens}. Such a row is free (mode is what the model chose) unless it has condition or forced_mode.
    /// --set verify.evaluated and --set difficulty... apply to them.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "limit"])]
    rollouts: Option<PathBuf>,
    /// Compare with an earlier evaluation (its directory or rows.jsonl), with other rollouts, or with a condition of this
    /// evaluation: free, on or off.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Compare every condition with this condition of the baseline, instead of with the same condition.
    #[arg(long, value_name = "NAME", requires = "baseline")]
    baseline_condition: Option<Condition>,
    /// Conditions, separated by commas.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "free,on,off")]
    conditions: Vec<Condition>,
    /// Use only the first N queries.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// The directory for responses, rows.jsonl, eval.json and eval.html; default: eval beside the config, with
    /// --rollouts no directory.
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// The number of skipped rows that are reported one by one; further rows are only counted.
const LEFT_OUT_TOLD_MAX: u64 = 10;

/// Runs the command.
pub(super) fn run(args: &EvalArgs) -> Result<(), Failure> {
    let (model, mut rows, bins, rules, out, failures) = match &args.rollouts {
        Some(path) => {
            args.output.as_deref().map(refuse_foreign_evaluation).transpose()?;
            let settings = config::parse_with_overrides("", "the command line", &args.overrides)?;
            let rules = rules(&settings);
            let (rows, bad) = read_rows(path, rules).map_err(Failure::Other)?;
            (path.display().to_string(), rows, settings.difficulty, rules, args.output.clone(), bad)
        }
        None => {
            let config = config::load(&args.config, &args.overrides)?;
            let rules = rules(&config.settings);
            let bins = config.settings.difficulty.clone();
            let out = args.output.clone().unwrap_or_else(|| config.dir.join("eval"));
            let (model, Collected { rows, failures }) = sample(args, config, &out)?;
            for (query, detail) in failures.iter().take(10) {
                crate::telemetry::print_line(&format!("error: query {query}: {detail}"));
            }
            (model, rows, bins, rules, Some(out), failures.len() as u64)
        }
    };
    label_difficulty(&mut rows, &bins);
    let baseline = baseline(args, &rows, &bins, rules).map_err(Failure::Other)?;
    // The file may have rows of other conditions, which the labels and the baseline need.
    rows.retain(|row| args.conditions.contains(&row.condition));
    if rows.is_empty() {
        return Err(Failure::Other(anyhow::anyhow!("{model} has no rows of these conditions")));
    }
    let report = evaluate(&model, &rows, baseline.as_ref());
    let tables = table::text(&report);
    if let Some(out) = &out {
        write_all(out, &rows, &report, &tables).map_err(Failure::Other)?;
    }
    if args.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&report).map_err(Failure::other)?))?;
    } else {
        print(&tables)?;
        if let Some(out) = &out {
            print(&format!("written to {}: rows.jsonl, eval.json, eval.html\n", out.display()))?;
        }
    }
    if failures > 0 {
        crate::telemetry::print_line(&format!("{failures} queries or rows could not be evaluated"));
        return Err(Failure::Code(4));
    }
    Ok(())
}

/// Returns the rules by which given rows are graded.
fn rules(settings: &Settings) -> GradeRules {
    GradeRules { evaluated: evaluated_of(settings.verify.evaluated), other_mode: settings.select.other_mode }
}

fn write_all(out: &Path, rows: &[EvalRow], report: &Report, tables: &str) -> anyhow::Result<()> {
    fs_err::create_dir_all(out)?;
    // Written first, because this file marks the directory as an evaluation's.
    let write = |name: &str, bytes: &[u8]| write_whole(&out.join(name), ".thinkloom-eval-", bytes);
    write(EVALUATION_FILE, format!("{}\n", serde_json::to_string_pretty(report)?).as_bytes())?;
    let mut lines = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut lines, row)?;
        lines.push(b'\n');
    }
    write("rows.jsonl", &lines)?;
    Ok(write("eval.html", plot::html(report, tables).as_bytes())?)
}

fn baseline(
    args: &EvalArgs,
    rows: &[EvalRow],
    bins: &DifficultySettings,
    rules: GradeRules,
) -> anyhow::Result<Option<Baseline>> {
    let Some(path) = &args.baseline else { return Ok(None) };
    if !path.exists()
        && let Some(condition) = path.to_str().and_then(|name| name.parse::<Condition>().ok())
    {
        let name = format!("{condition} of the same evaluation");
        return Ok(Some(Baseline { name, rows: rows.to_vec(), condition: Some(condition) }));
    }
    let (mut rows, bad) = read_rows(path, rules)?;
    anyhow::ensure!(bad == 0, "{bad} rows of the baseline {} cannot be used", path.display());
    label_difficulty(&mut rows, bins);
    Ok(Some(Baseline { name: path.display().to_string(), rows, condition: args.baseline_condition }))
}

/// Reads the input, loads the model, samples what is missing.
fn sample(args: &EvalArgs, config: LoadedConfig, out: &Path) -> Result<(String, Collected), Failure> {
    refuse_foreign_evaluation(out)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build().map_err(Failure::other)?;
    let stopping = Stopping::watch(None)?;
    let stop = stopping.token();
    let lock = lock_dir_patiently(out, LOCK_PATIENCE, || stop.is_cancelled())?;
    let (limit, conditions, folder, stop) =
        (args.limit, args.conditions.len() as u32, out.to_owned(), stopping.token());
    let sampled = runtime.block_on(async {
        let open = move || {
            let settings = config.settings.clone();
            let queries = queries(&config, limit, &folder)?;
            let responses = conditions * settings.sampling.samples_per_mode;
            tracing::info!("{} queries, {responses} responses each", queries.len());
            let policy = open_policy(&config, &models::hub_settings(), &models::on_download(), &stop)?;
            let has_programs = queries.iter().any(|query| query.kind == Kind::Code);
            let open = if has_programs { Programs::open } else { Programs::none };
            let (programs, ledger) = (open(&settings.verify), Ledger::open(&folder)?);
            remember_refusals(&policy, None, &ledger)?;
            let breaker = policy_breaker(&settings, &policy, false);
            let flights = Flights::default();
            Ok((queries, Evaluation { settings, policy, breaker, ledger, programs, stop, flights }))
        };
        let (queries, evaluation) = stopping.unless_stopped(open).await?;
        let deadline = drain_deadline(&evaluation.settings);
        stopping.finishes("finishing and storing the responses in progress", Some(deadline), std::time::Duration::ZERO);
        let model = evaluation.policy.identity().model.clone();
        let drained = async {
            evaluation.stop.cancelled().await;
            evaluation.policy.drain();
            tokio::time::sleep(deadline).await;
        };
        tokio::select! {
            collected = collect(&evaluation, queries, &args.conditions) => Ok((model, collected?)),
            () = drained => Err(RunError::Stopped.into()),
        }
    });
    // Abandoned work ends with the process.
    runtime.shutdown_background();
    drop(lock);
    sampled
}

fn queries(config: &LoadedConfig, limit: Option<u64>, out: &Path) -> Result<Vec<Query>, Failure> {
    let input = &config.settings.input;
    let files = ingest::expand_paths(&input.paths, &config.base_dirs())?;
    let files = ingest::without_own_output(files, &input.paths, out)?;
    let options = InputOptions::from(input);
    let (mut queries, mut left_out) = (Vec::new(), 0_u64);
    for row in ingest::read(&files, &options) {
        if limit.is_some_and(|limit| queries.len() as u64 >= limit) {
            break;
        }
        let (origin, detail) = match row? {
            Row::Query(query) => match screen::fault(&query) {
                None => {
                    queries.push(query);
                    continue;
                }
                Some((_, detail)) => (query.origin, detail),
            },
            Row::Excluded(exclusion) => (exclusion.origin, exclusion.detail),
        };
        left_out += 1;
        if left_out <= LEFT_OUT_TOLD_MAX {
            crate::telemetry::print_line(&format!("{}:{}: skipped: {detail}", origin.file, origin.line));
        }
    }
    if left_out > LEFT_OUT_TOLD_MAX {
        crate::telemetry::print_line(&format!("{left_out} rows were skipped"));
    }
    if queries.is_empty() {
        crate::telemetry::print_line("error: the input has no queries; check input.paths of the config");
        return Err(Failure::Code(2));
    }
    Ok(queries)
}

/// The columns that are read from the rows.
const COLUMNS: &[&str] = &[
    "query_id",
    "mode",
    "forced_mode",
    "correct",
    "format_ok",
    "completion",
    "finish_reason",
    "kind",
    "gold",
    "choices",
    "tests",
    "test_imports",
    "entry_point",
    "question",
    "verdict",
    "observed_mode",
    "thinking",
    "answer",
    "condition",
    "sample_index",
    "completion_tokens",
    // The name that `thinkloom reward` wrote until 2026-11.
    "completion_token_count",
    "source",
    "difficulty",
    "leak",
];

/// The optional keys of a row that the reward rule does not need.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct More {
    condition: Option<Condition>,
    sample_index: Option<u32>,
    completion_token_count: Option<u32>,
    source: Option<String>,
    kind: Option<String>,
    difficulty: Option<String>,
    leak: Option<bool>,
    observed_mode: Option<Mode>,
    answer: Option<String>,
    mode: Option<ShownMode>,
    forced_mode: Option<Mode>,
}

impl More {
    /// Returns how the response was asked for. Without a condition, a row of a run names the requested mode in `mode`
    /// and the shown one in `observed_mode`; in any other row, `mode` is the mode that the model chose.
    fn condition(&self) -> Condition {
        let asked = self.forced_mode.or_else(|| self.observed_mode.and(self.mode?.mode()));
        self.condition.unwrap_or_else(|| asked.map_or(Condition::Free, Condition::of))
    }
}

/// Reads rows in any of the known formats; also returns the number of unusable rows.
fn read_rows(path: &Path, rules: GradeRules) -> anyhow::Result<(Vec<EvalRow>, u64)> {
    let own = path.join("rows.jsonl");
    let table = Table::open(if own.is_file() { &own } else { path })?;
    let (mut rows, mut bad) = (Vec::new(), 0);
    let (mut chunk, mut reader) = (Chunk::default(), table.read(COLUMNS));
    while let Some(file) = reader.next(&mut chunk)? {
        for (text, line) in chunk.rows() {
            match read_row(text, rules) {
                Ok(row) => rows.push(row),
                Err(error) => {
                    bad += 1;
                    let name = table.files().get(file).map_or("", |file| file.name.as_str());
                    if bad <= 10 {
                        crate::telemetry::print_line(&format!("error: {name}:{line}: {error:#}"));
                    }
                }
            }
        }
    }
    anyhow::ensure!(!rows.is_empty(), "{} has no rows that can be evaluated", path.display());
    Ok((rows, bad))
}

fn read_row(text: &[u8], rules: GradeRules) -> anyhow::Result<EvalRow> {
    let more: More = serde_json::from_slice(text)?;
    let row: RewardRow<'_> = serde_json::from_slice(text)?;
    let query_id = row.query_id.clone().context("the row has no query_id")?.into_text();
    let completion = row.completion.as_deref().map(str::to_owned);
    let graded = match grade(row, rules)? {
        Grading::Ready(graded) => graded,
        Grading::Program(..) => anyhow::bail!("eval does not run programs; `thinkloom reward` adds their verdicts"),
    };
    let tokens = graded.response.completion_tokens.or(more.completion_token_count);
    let tokens = tokens.context("the row has no completion_tokens")?;
    let condition = more.condition();
    if let Some(forced) = more.forced_mode {
        anyhow::ensure!(condition == Condition::of(forced), "condition is {condition}, and forced_mode is {forced}");
    }
    let mode = match more.observed_mode {
        Some(observed) => observed.into(),
        // The row's mode is the one that was forced.
        None if !graded.shows_asked_mode => graded.response.mode.mode().map(Mode::other).into(),
        None => graded.response.mode,
    };
    let answer = more.answer.or_else(|| {
        let text = completion?;
        let read = crate::template::read_structured(&text);
        Some(read.observe(crate::domain::FinishReason::Stop).answer)
    });
    let kind = more.kind.unwrap_or_default();
    Ok(EvalRow {
        query_id,
        condition,
        sample_index: more.sample_index.unwrap_or(0),
        mode,
        correct: rules.other_mode.counts(graded.response.is_correct, condition.is_other(mode)),
        format_ok: graded.response.is_well_formed,
        // The kind decides how long an answer may be.
        leak: more.leak.or_else(|| leaks(mode, kind.parse().ok()?, answer.as_deref()?)),
        completion_tokens: tokens,
        source: more.source.unwrap_or_default(),
        kind,
        difficulty: more.difficulty,
    })
}
