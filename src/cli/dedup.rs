//! `thinkloom dedup`

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;

use super::args::refuse_overwriting;
use super::failure::Failure;
use crate::config::{self, ContaminationRule, DedupSettings, FieldSettings, Settings};
use crate::dedup::{
    Action, Benchmarks, Decisions, Document, Extractor, Features, IndexedFile, Record, RowStore, StoreError, decide,
};
use crate::ingest::{self, InputFile, InputOptions, Line};
use crate::pipeline::RunError;
use crate::pipeline::intake::{dedup_threads, read_benchmarks, rules_digest};
use crate::telemetry::print_line;

/// Arguments of `dedup`.
#[derive(Debug, Args)]
#[command(
    after_help = "One JSON line per input row, in input order: {id, action, of, similarity}, and keys that explain \
                  the action.\n\
                  Actions: keep, duplicate, near_duplicate, contaminated; invalid for a row without a text (exit code 4).\n\
                  Near texts with different answers are kept, with variant_of. N-grams do not detect paraphrases.\n\
                  Example: thinkloom dedup --queries train.jsonl --against test.jsonl -o decisions.jsonl\n\
                  Guide: thinkloom help dedup"
)]
pub(super) struct DedupArgs {
    /// JSONL (also .gz, .zst), CSV or Parquet files, in order of precedence; globs allowed.
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    queries: Vec<String>,
    /// Benchmark files: queries that they contain are contaminated (repeatable; in addition to dedup.benchmarks).
    #[arg(long, value_name = "FILE", num_args = 1..)]
    against: Vec<String>,
    /// The output file; default: stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A file that stores the parsed rows: if a later call adds --queries at the end, it reads only the new files.
    #[arg(long, value_name = "FILE")]
    index: Option<PathBuf>,
    /// A config file with [dedup] and [input.fields] settings; without one the defaults apply.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Override a setting, for example --set dedup.near_duplicate_threshold=0.7 (repeatable).
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Print the counts as JSON on stdout; needs -o.
    #[arg(long, requires = "output")]
    json: bool,
}

/// Rows that are processed together.
const ROUND_ROWS: usize = 8192;

/// The decision about one row.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(super) struct DedupLine {
    /// The row's id; file and line if the row has no id.
    id: serde_json::Value,
    /// keep, duplicate, near_duplicate, contaminated or invalid.
    action: &'static str,
    /// The earlier row, or the benchmark item, that the row repeats.
    of: Option<serde_json::Value>,
    /// 1 for exact repetitions; Jaccard similarity of near-duplicates; score of the rule that found a benchmark item.
    similarity: Option<f64>,
    /// The earlier row whose text is near, if that row is not `of` but a near-duplicate of `of`.
    #[serde(skip_serializing_if = "Option::is_none")]
    near: Option<serde_json::Value>,
    /// The earliest row with a near text and another answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    variant_of: Option<serde_json::Value>,
    /// True for a duplicate with another answer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    conflicting_gold: bool,
    /// The benchmark's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    benchmark: Option<String>,
    /// The rule that found the benchmark item.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<ContaminationRule>,
    /// question or answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<String>,
    /// The longest text that row and item share.
    #[serde(skip_serializing_if = "Option::is_none")]
    overlap: Option<String>,
    /// Why the row is invalid.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// The counts that `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    rows: u64,
    keep: u64,
    variants: u64,
    duplicate: u64,
    conflicting_gold: u64,
    near_duplicate: u64,
    contaminated: u64,
    invalid: u64,
    benchmark_items: usize,
}

/// Runs the command.
pub(super) fn run(args: &DedupArgs) -> Result<(), Failure> {
    let (settings, base_dirs) = match &args.config {
        Some(path) => {
            let loaded = config::load(path, &args.overrides)?;
            let base_dirs = loaded.base_dirs();
            (loaded.settings, base_dirs)
        }
        None => (config::parse_with_overrides("", "the command line", &args.overrides)?, vec![PathBuf::from(".")]),
    };
    let job = Job::open(&args.queries, &args.against, settings, &base_dirs)?;
    for written in [&args.output, &args.index] {
        refuse_overwriting(written.as_deref(), job.inputs.iter().map(PathBuf::as_path)).map_err(Failure::Other)?;
    }
    let threads = dedup_threads(&job.dedup)?;
    let (index, invalid, decisions) = job.decide(args.index.as_deref(), &threads)?;
    let counts = decisions.counts();
    let report = Report {
        rows: index.len() as u64,
        keep: counts.kept,
        variants: counts.variants,
        duplicate: counts.duplicates,
        conflicting_gold: counts.conflicts,
        near_duplicate: counts.near_duplicates,
        contaminated: counts.contaminated,
        invalid,
        benchmark_items: job.items,
    };
    write_output(args, &index, &decisions, &threads).map_err(Failure::Other)?;
    tell(&report);
    if args.json {
        let text = serde_json::to_string(&report).map_err(Failure::other)?;
        super::failure::print(&format!("{text}\n"))?;
    }
    if invalid > 0 { Err(Failure::Code(4)) } else { Ok(()) }
}

/// Returns what `thinkloom dedup` writes, as JSON lines, for programs that embed thinkloom.
///
/// # Errors
/// [`Failure`] if a file cannot be read.
pub(super) fn lines(queries: &[String], against: &[String], settings: Settings) -> Result<Vec<u8>, Failure> {
    let job = Job::open(queries, against, settings, &[PathBuf::from(".")])?;
    let threads = dedup_threads(&job.dedup)?;
    let (index, _, decisions) = job.decide(None, &threads)?;
    let mut text = Vec::new();
    write_lines(&mut text, &index, &decisions, &threads).map_err(Failure::Other)?;
    Ok(text)
}

fn tell(report: &Report) {
    let Report { rows, keep, variants, duplicate, conflicting_gold, near_duplicate, contaminated, invalid, .. } =
        report;
    print_line(&format!(
        "{rows} rows: {keep} keep ({variants} variants), {duplicate} duplicate ({conflicting_gold} with another answer), \
         {near_duplicate} near_duplicate, {contaminated} contaminated, {invalid} invalid"
    ));
    if report.benchmark_items > 0 {
        print_line(&format!("compared with {} benchmark items; paraphrases are not detected", report.benchmark_items));
    }
}

/// The input files, and the rules for reading and comparing them.
struct Job {
    files: Vec<InputFile>,
    fields: FieldSettings,
    dedup: DedupSettings,
    extractor: Extractor,
    rules: String,
    items: usize,
    /// Every input file, including benchmarks.
    inputs: Vec<PathBuf>,
}

impl Job {
    fn open(
        queries: &[String],
        against: &[String],
        settings: Settings,
        base_dirs: &[PathBuf],
    ) -> Result<Self, RunError> {
        let Settings { dedup, input, .. } = settings;
        let here = [PathBuf::new()];
        let files = ingest::expand_paths(queries, &here)?;
        let mut benchmarks = ingest::expand_paths(against, &here)?;
        benchmarks.extend(ingest::expand_paths(&dedup.benchmarks, base_dirs)?);
        let items = read_benchmarks(&benchmarks, &input.fields)?;
        // Rows are compared as texts, whatever the kind of their answers.
        let options = InputOptions { fields: input.fields.clone(), ..InputOptions::default() };
        let extractor = Extractor::new(&dedup, Benchmarks::new(&items, &dedup));
        let rules = rules_digest(&dedup, &benchmarks, &options)?;
        let inputs = files.iter().chain(&benchmarks).map(|file| file.path.clone()).collect();
        Ok(Self { files, fields: input.fields, dedup, extractor, rules, items: items.len(), inputs })
    }

    /// Runs both passes; returns the rows, the number of rows without a text, and the decisions.
    fn decide(
        &self,
        index: Option<&Path>,
        threads: &rayon::ThreadPool,
    ) -> Result<(RowStore, u64, Decisions), RunError> {
        let (mut index, invalid) = self.read(index, threads)?;
        let decisions = threads.install(|| decide(&mut index, &self.dedup))?;
        Ok((index, invalid, decisions))
    }

    /// Runs the first pass; returns the rows, and the number of rows without a text.
    fn read(&self, kept: Option<&Path>, threads: &rayon::ThreadPool) -> Result<(RowStore, u64), RunError> {
        let (mut index, covered) = self.open_index(kept)?;
        let mut counts = vec![0_u64; self.files.len()];
        let rest = self.files.get(covered.len()..).unwrap_or_default();
        let mut ordinal: u64 = covered.iter().map(|file| file.rows).sum();
        let mut round: Vec<Line> = Vec::with_capacity(ROUND_ROWS);
        // The index is valid for exactly these bytes, so the hashed bytes must be the parsed bytes.
        let digests = if kept.is_some() {
            rest.iter().map(|file| ingest::digest_file(&file.path)).collect::<Result<Vec<_>, _>>()?
        } else {
            Vec::new()
        };
        let mut lines = ingest::read_lines(rest, &self.fields, &digests);
        loop {
            round.extend(lines.by_ref().take(ROUND_ROWS).collect::<Result<Vec<_>, _>>()?);
            if round.is_empty() {
                break;
            }
            let rows: Vec<_> = threads.install(|| round.par_iter().map(|line| self.take_apart(line, rest)).collect());
            for (line, (id, row)) in round.drain(..).zip(rows) {
                if let Some(count) = counts.get_mut(covered.len() + line.file) {
                    *count += 1;
                }
                let (note, features) = match &row {
                    Ok(features) => ("", Some(features)),
                    Err(detail) => (detail.as_str(), None),
                };
                index.push(ordinal, &id, note.as_bytes(), features)?;
                ordinal += 1;
            }
        }
        if kept.is_some() {
            let mut files = covered.clone();
            let new = digests.into_iter().zip(counts.iter().skip(covered.len()));
            files.extend(new.map(|(digest, &rows)| IndexedFile { digest, rows }));
            index.keep(&self.rules, files)?;
        }
        let invalid = (0..index.len() as u32).filter(|&row| !index.takes_part(row)).count();
        Ok((index, invalid as u64))
    }

    fn open_index(&self, kept: Option<&Path>) -> Result<(RowStore, Vec<IndexedFile>), RunError> {
        let Some(path) = kept else {
            let file = tempfile::tempfile().map_err(StoreError::from)?;
            return Ok((RowStore::new(file, self.extractor.bands()), Vec::new()));
        };
        match RowStore::open(path, &self.rules) {
            Ok((index, covered)) if self.begins_with(&covered)? => {
                print_line(&format!("the index has {} rows of {} files", index.len(), covered.len()));
                return Ok((index, covered));
            }
            Ok(_) => print_line(&format!("{}: the index is for other files; rebuilding it", path.display())),
            Err(error @ StoreError::Unusable(_)) if path.exists() => print_line(&format!("{error}; rebuilding it")),
            Err(StoreError::Unusable(_)) => {}
            Err(error) => return Err(error.into()),
        }
        #[expect(clippy::disallowed_methods, reason = "the error names the index itself")]
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path);
        Ok((RowStore::new(file.map_err(StoreError::from)?, self.extractor.bands()), Vec::new()))
    }

    fn begins_with(&self, covered: &[IndexedFile]) -> Result<bool, RunError> {
        if covered.len() > self.files.len() {
            return Ok(false);
        }
        for (file, known) in self.files.iter().zip(covered) {
            if ingest::digest_file(&file.path)? != known.digest {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Adds one row to a document store; returns the row's id as JSON.
    fn take_apart(&self, line: &Line, files: &[InputFile]) -> (String, Result<Features, String>) {
        let place = || {
            let name = files.get(line.file).map_or("", |file| file.name.as_str());
            serde_json::Value::from(format!("{name}:{}", line.line)).to_string()
        };
        match line.text_row() {
            Ok(row) => {
                let id = row.id.as_ref().map_or_else(place, ToString::to_string);
                let document = Document {
                    kind: row.kind,
                    question: &row.question,
                    answer: &row.answer,
                    choices: &row.choices,
                    tests: &row.tests,
                };
                (id, Ok(self.extractor.features(&document)))
            }
            Err(detail) => (place(), Err(detail)),
        }
    }
}

fn write_output(
    args: &DedupArgs,
    index: &RowStore,
    decisions: &Decisions,
    threads: &rayon::ThreadPool,
) -> anyhow::Result<()> {
    let mut writer: Box<dyn Write> = match &args.output {
        Some(path) => Box::new(BufWriter::new(fs_err::File::create(path)?)),
        None => Box::new(BufWriter::new(std::io::stdout().lock())),
    };
    write_lines(&mut writer, index, decisions, threads)
}

fn write_lines(
    writer: &mut dyn Write,
    index: &RowStore,
    decisions: &Decisions,
    threads: &rayon::ThreadPool,
) -> anyhow::Result<()> {
    let rows: Vec<u32> = (0..index.len() as u32).collect();
    for round in rows.chunks(ROUND_ROWS) {
        let texts: anyhow::Result<Vec<String>> = threads.install(|| {
            let text = |&row: &u32| Ok(serde_json::to_string(&line(index, decisions, row)?)?);
            round.par_iter().map(text).collect()
        });
        for text in texts? {
            writeln!(writer, "{text}")?;
        }
    }
    writer.flush().context("cannot write the decisions")
}

fn line(index: &RowStore, decisions: &Decisions, row: u32) -> anyhow::Result<DedupLine> {
    let Record { id, note, hit, .. } = index.record(row)?;
    let id = serde_json::from_str(&id)?;
    let id_of = |row: u32| -> anyhow::Result<serde_json::Value> { Ok(serde_json::from_str(&index.record(row)?.id)?) };
    let base = DedupLine { id, ..DedupLine::default() };
    Ok(match decisions.of(row) {
        None => DedupLine { action: "invalid", detail: Some(String::from_utf8_lossy(&note).into_owned()), ..base },
        Some(Action::Keep { variant_of }) => {
            DedupLine { action: "keep", variant_of: variant_of.map(id_of).transpose()?, ..base }
        }
        Some(Action::Duplicate { of, conflicting }) => DedupLine {
            action: "duplicate",
            of: Some(id_of(of)?),
            similarity: Some(1.0),
            conflicting_gold: conflicting,
            ..base
        },
        Some(Action::NearDuplicate { of, near, similarity }) => DedupLine {
            action: "near_duplicate",
            of: Some(id_of(of)?),
            similarity: Some(rounded(f64::from(similarity))),
            near: if near == of { None } else { Some(id_of(near)?) },
            ..base
        },
        Some(Action::Contaminated) => {
            let hit = hit.context("a contaminated row without its benchmark item")?;
            DedupLine {
                action: "contaminated",
                of: Some(hit.item.into()),
                similarity: Some(rounded(hit.score)),
                benchmark: Some(hit.benchmark),
                rule: Some(hit.rule),
                part: Some(hit.part),
                overlap: Some(hit.overlap),
                ..base
            }
        }
    })
}

fn rounded(number: f64) -> f64 {
    (number * 1e4).round() / 1e4
}
