//! `thinkloom eval`

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use tokio_util::sync::CancellationToken;

use super::run::spawn_signal_watch;
use super::table::{Chunk, Table};
use super::{Failure, models, print};
use crate::config::{self, DifficultySettings, LoadedConfig};
use crate::domain::{Kind, Mode, Query};
use crate::eval::collect::{Collected, Evaluation, collect};
use crate::eval::{Baseline, Condition, EvalRow, Report, evaluate, label_difficulty, leaks, plot, table};
use crate::ingest::{self, InputOptions, Row};
use crate::ledger::Ledger;
use crate::pipeline::open_policy;
use crate::pipeline::plan::evaluated_of;
use crate::pipeline::programs::Programs;
use crate::pipeline::screen;
use crate::reward::row::{Grading, RolloutRow, grade};
use crate::sys::files::lock_dir;
use crate::verify::Evaluated;

/// Arguments of `eval`.
#[derive(Debug, Args)]
#[command(
    after_help = "With -c the policy of the config answers its input: free (the model picks its mode), forced on, forced \
                  off, sampling.samples_per_mode times each; the same command goes on where it stopped. With --rollouts \
                  responses that are there already are evaluated.\nExample: thinkloom eval -c thinkloom.toml -o eval-new \
                  --baseline eval-old"
)]
pub struct EvalArgs {
    /// The config file, for policy, input and sampling.
    #[arg(short, long, value_name = "FILE", default_value = "thinkloom.toml")]
    config: PathBuf,
    /// Override a setting, for example --set sampling.samples_per_mode=2 (repeatable).
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Evaluate these responses instead of sampling: rows of an evaluation, a run's rollouts (or its directory), or rows
    /// {query_id, mode, correct, format_ok, completion_tokens}, or {query_id, completion, kind, gold, question?,
    /// completion_tokens}. --set verify.evaluated and --set difficulty... hold for them.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "limit"])]
    rollouts: Option<PathBuf>,
    /// Compare with an earlier evaluation (its directory or rows.jsonl), with other rollouts, or with a condition of this
    /// one: free, on or off.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Compare every condition with this one of the baseline, instead of each with its own.
    #[arg(long, value_name = "NAME", requires = "baseline")]
    baseline_condition: Option<Condition>,
    /// Conditions, separated by commas.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "free,on,off")]
    conditions: Vec<Condition>,
    /// Take only the first N queries.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Where responses, rows.jsonl, eval.json and eval.html go; eval beside the config otherwise, nowhere with --rollouts.
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Rows that are left out and told one by one; the others are only counted.
const LEFT_OUT_TOLD_MAX: u64 = 10;

/// Runs the command.
pub(super) fn run(args: &EvalArgs) -> Result<(), Failure> {
    let (model, mut rows, bins, evaluated, out, failures) = match &args.rollouts {
        Some(path) => {
            let settings = config::parse_with_overrides("", "the command line", &args.overrides)?;
            let (bins, evaluated) = (settings.difficulty, evaluated_of(settings.verify.evaluated));
            let (rows, bad) = read_rows(path, evaluated).map_err(Failure::Other)?;
            (path.display().to_string(), rows, bins, evaluated, args.output.clone(), bad)
        }
        None => {
            let config = config::load(&args.config, &args.overrides)?;
            let evaluated = evaluated_of(config.settings.verify.evaluated);
            let bins = config.settings.difficulty.clone();
            let out = args.output.clone().unwrap_or_else(|| config.dir.join("eval"));
            let (model, Collected { rows, failures }) = sample(args, config, &out)?;
            for (query, detail) in failures.iter().take(10) {
                crate::telemetry::print_line(&format!("error: query {query}: {detail}"));
            }
            (model, rows, bins, evaluated, Some(out), failures.len() as u64)
        }
    };
    label_difficulty(&mut rows, &bins);
    let baseline = baseline(args, &rows, &bins, evaluated).map_err(Failure::Other)?;
    // Rows that were read may be of other conditions, which labels and the baseline needed.
    rows.retain(|row| args.conditions.contains(&row.condition));
    if rows.is_empty() {
        return Err(Failure::Other(anyhow::anyhow!("there are no rows of these conditions in {model}")));
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

fn write_all(out: &Path, rows: &[EvalRow], report: &Report, tables: &str) -> anyhow::Result<()> {
    fs_err::create_dir_all(out)?;
    let mut writer = std::io::BufWriter::new(fs_err::File::create(out.join("rows.jsonl"))?);
    for row in rows {
        serde_json::to_writer(&mut writer, row)?;
        writer.write_all(b"\n")?;
    }
    writer.flush()?;
    fs_err::write(out.join("eval.json"), format!("{}\n", serde_json::to_string_pretty(report)?))?;
    Ok(fs_err::write(out.join("eval.html"), plot::html(report, tables))?)
}

fn baseline(
    args: &EvalArgs,
    rows: &[EvalRow],
    bins: &DifficultySettings,
    evaluated: Evaluated,
) -> anyhow::Result<Option<Baseline>> {
    let Some(path) = &args.baseline else { return Ok(None) };
    if !path.exists()
        && let Some(condition) = path.to_str().and_then(|name| name.parse::<Condition>().ok())
    {
        let name = format!("{condition} of the same evaluation");
        return Ok(Some(Baseline { name, rows: rows.to_vec(), condition: Some(condition) }));
    }
    let (mut rows, bad) = read_rows(path, evaluated)?;
    anyhow::ensure!(bad == 0, "{bad} rows of the baseline {} are none", path.display());
    label_difficulty(&mut rows, bins);
    Ok(Some(Baseline { name: path.display().to_string(), rows, condition: args.baseline_condition }))
}

/// Reads the input, loads the model, samples what is missing.
fn sample(args: &EvalArgs, config: LoadedConfig, out: &Path) -> Result<(String, Collected), Failure> {
    let settings = config.settings.clone();
    let _lock = lock_dir(out)?;
    let queries = queries(&config, args.limit)?;
    tracing::info!(
        "{} queries, {} responses each",
        queries.len(),
        args.conditions.len() as u32 * settings.sampling.samples_per_mode
    );
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build().map_err(Failure::other)?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        spawn_signal_watch(stop.clone(), "stopping: what is there is kept (again to stop at once)");
        let (hub, on_download, loading) = (models::hub_settings(), models::on_download(), stop.clone());
        let policy = tokio::task::spawn_blocking(move || open_policy(&config, &hub, &on_download, &loading));
        let policy = policy.await.map_err(Failure::other)??;
        let has_programs = queries.iter().any(|query| query.kind == Kind::Code);
        let programs = if has_programs { Programs::open(&settings.verify) } else { Programs::none(&settings.verify) };
        let ledger = Ledger::open(out)?;
        let model = policy.identity().model.clone();
        let evaluation = Evaluation { settings, policy, ledger, programs, stop: stop.clone() };
        let work = collect(&evaluation, queries, &args.conditions);
        let drained = async {
            stop.cancelled().await;
            evaluation.policy.drain();
            std::future::pending::<std::convert::Infallible>().await
        };
        tokio::select! {
            collected = work => Ok((model, collected?)),
            never = drained => match never {},
        }
    })
}

fn queries(config: &LoadedConfig, limit: Option<u64>) -> Result<Vec<Query>, Failure> {
    let input = &config.settings.input;
    let files = ingest::expand_paths(&input.paths, &config.base_dirs())?;
    let options = InputOptions { fields: input.fields.clone(), kind: input.kind, answer_is: input.answer_is };
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
            crate::telemetry::print_line(&format!("{}:{}: left out: {detail}", origin.file, origin.line));
        }
    }
    if left_out > LEFT_OUT_TOLD_MAX {
        crate::telemetry::print_line(&format!("{left_out} rows are left out"));
    }
    if queries.is_empty() {
        crate::telemetry::print_line("error: there are no queries; see input.paths of the config");
        return Err(Failure::Code(2));
    }
    Ok(queries)
}

/// Columns that rows may have.
const COLUMNS: &[&str] = &[
    "query_id",
    "mode",
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
    "source",
    "difficulty",
    "leak",
];

/// What a row may say beside what the reward rule needs.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct More {
    condition: Option<Condition>,
    sample_index: Option<u32>,
    completion_tokens: Option<u32>,
    source: Option<String>,
    kind: Option<String>,
    difficulty: Option<String>,
    leak: Option<bool>,
    observed_mode: Option<Mode>,
    answer: Option<String>,
    mode: Option<Mode>,
}

/// Reads rows of any of the known shapes; returns how many are none.
fn read_rows(path: &Path, evaluated: Evaluated) -> anyhow::Result<(Vec<EvalRow>, u64)> {
    let own = path.join("rows.jsonl");
    let table = Table::open(if own.is_file() { &own } else { path })?;
    let (mut rows, mut bad) = (Vec::new(), 0);
    let (mut chunk, mut reader) = (Chunk::default(), table.read(COLUMNS));
    while let Some(file) = reader.next(&mut chunk)? {
        for (text, line) in chunk.rows() {
            match read_row(text, evaluated) {
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
    anyhow::ensure!(!rows.is_empty(), "{} holds no rows that can be evaluated", path.display());
    Ok((rows, bad))
}

fn read_row(text: &[u8], evaluated: Evaluated) -> anyhow::Result<EvalRow> {
    let more: More = serde_json::from_slice(text)?;
    let row: RolloutRow<'_> = serde_json::from_slice(text)?;
    let query_id = row.query_id.clone().context("the row has no query_id")?.into_text();
    let completion = row.completion.as_deref().map(str::to_owned);
    let graded = match grade(row, evaluated)? {
        Grading::Ready(graded) => graded,
        Grading::Program(..) => anyhow::bail!("programs are not run here: `thinkloom reward` adds their verdicts"),
    };
    let tokens = more.completion_tokens.context("the row has no completion_tokens")?;
    let mode = more.observed_mode.unwrap_or(graded.response.mode);
    let answer = more.answer.or_else(|| {
        let text = completion?;
        let read = crate::template::read_structured(&text);
        Some(read.observe(crate::domain::FinishReason::Stop).answer)
    });
    let condition = more.condition.unwrap_or(match more.mode {
        None => Condition::Free,
        Some(Mode::ThinkOn) => Condition::On,
        Some(Mode::ThinkOff) => Condition::Off,
    });
    let kind = more.kind.unwrap_or_default();
    Ok(EvalRow {
        query_id,
        condition,
        sample_index: more.sample_index.unwrap_or(0),
        mode,
        correct: graded.response.is_correct,
        format_ok: graded.response.is_well_formed,
        // Of what kind the answer is decides how long it may be.
        leak: more.leak.or_else(|| leaks(mode, kind.parse().ok()?, answer.as_deref()?)),
        completion_tokens: tokens,
        source: more.source.unwrap_or_default(),
        kind,
        difficulty: more.difficulty,
    })
}
