//! From input files to frozen rows: reads, checks, deduplicates, compares with benchmarks, and stores.
//!
//! Opening an input hashes its files. Then the first rows decide where its fields are, and every file with choice
//! questions is searched to decide how their answers are given. Each reading of a file ends with a comparison of its
//! bytes with that hash: a file that changed meanwhile is rejected, and nothing is stored.
//!
//! The input is read twice. The first pass writes the deduplication's view of each query to `dedup.index` beside the
//! ledger, and finds queries that no response can solve ([`super::screen`]). The second pass applies the decisions and
//! stores the rows. If an input extends an earlier one by files at its end, only those files are read: the index has
//! the earlier queries' texts, and the ledger their rows, which no later query changes. The index is a cache; without
//! it everything is read again.

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;

use super::error::RunError;
use super::screen::{self, Findings, Screen};
use crate::config::{ConfigError, Conflicts, DedupSettings, LoadedConfig};
use crate::dedup::{
    Action, BenchmarkItem, Benchmarks, DEDUP_VERSION, Decisions, Document, Extractor, IndexedFile, RowStore,
    StoreError, decide,
};
use crate::domain::digest::PartsHasher;
use crate::domain::{Exclusion, ExclusionReason, Kind, Query, QueryId};
use crate::ingest::{self, FieldNames, InputFile, InputOptions, NOTE_BYTES, Passed, Plan, Row};
use crate::ledger::{IntakeRow, Ledger, Reader};
use crate::sys::threads;
use crate::verify::{self, TestsFault};

/// Version of the rules of readers, identities and deduplication. Raised when the same files could give other rows.
const INTAKE_VERSION: u32 = 5;

/// The index's name in an output directory.
pub const INDEX_FILE: &str = "dedup.index";

/// Queries that are screened and deduplicated together.
const ROUND_ROWS: usize = 4096;

/// Rows of an earlier intake that are copied at a time.
const COPY_ROWS: u64 = 1024;

/// The files of an input, and the hash over everything that decides its rows.
#[derive(Debug)]
pub struct Input {
    files: Vec<InputFile>,
    file_digests: Vec<String>,
    options: InputOptions,
    plan: Plan,
    dedup: DedupSettings,
    benchmarks: Vec<InputFile>,
    /// Hash over everything but the files that decides the contents of the index.
    rules: String,
    /// SHA-256 in hex.
    pub digest: String,
}

impl Input {
    /// Returns how the answers of choice questions are given, if the files decided that and have such questions.
    #[must_use]
    pub fn answers(&self) -> Option<String> {
        self.plan.describe_answers(&self.files)
    }

    /// Returns the digest that an input of only the first `count` files would have.
    fn digest_of_first(&self, count: usize) -> String {
        let mut hasher = PartsHasher::default();
        hasher.add(&self.rules);
        for (index, (file, digest)) in self.files.iter().zip(&self.file_digests).enumerate().take(count) {
            hasher.add(&file.name);
            hasher.add(digest);
            hasher.add(&self.plan.key(index));
        }
        hasher.hex()
    }
}

/// Finds and hashes the input files and the benchmarks. Files that the run itself writes to `out` are left out.
///
/// # Errors
/// [`RunError::Config`] if no file is given, [`RunError::Ingest`] if a pattern matches nothing or a file cannot be
/// read.
pub fn open(config: &LoadedConfig, out: Option<&Path>) -> Result<Input, RunError> {
    let paths = &config.settings.input.paths;
    if paths.is_empty() {
        let (origin, detail) = ("the config".to_owned(), "is empty: list at least one file".to_owned());
        return Err(ConfigError::Value { origin, key: "input.paths", detail }.into());
    }
    let mut files = ingest::expand_paths(paths, &config.base_dirs())?;
    if let Some(out) = out {
        files = ingest::without_own_output(files, paths, out)?;
    }
    let dedup = config.settings.dedup.clone();
    let benchmarks = ingest::expand_paths(&dedup.benchmarks, &config.base_dirs())?;
    let options = InputOptions::from(&config.settings.input);
    // All later reads are of these bytes, or end with an error.
    let digests = files.iter().map(|file| ingest::digest_file(&file.path)).collect::<Result<Vec<_>, _>>();
    let file_digests = digests?;
    let plan = Plan::settle(&files, &options)?;
    for remark in plan.remarks(&files) {
        tracing::info!("{remark}");
    }
    if let Some(found) = plan.describe_answers(&files) {
        tracing::info!("the answers of choice questions are read as: {found} (input.answer_is sets it)");
    }
    let rules = rules_digest(&dedup, &benchmarks, &options)?;
    let mut input = Input { files, file_digests, options, plan, dedup, benchmarks, rules, digest: String::new() };
    input.digest = input.digest_of_first(input.files.len());
    Ok(input)
}

/// Returns the hash over everything but the input files that decides rows.
pub fn rules_digest(
    dedup: &DedupSettings,
    benchmarks: &[InputFile],
    options: &InputOptions,
) -> Result<String, RunError> {
    let InputOptions { fields, kind, answer_is, keep } = options;
    let mut hasher = PartsHasher::default();
    // A newer verifier may read golds differently.
    hasher.add(&format!("{INTAKE_VERSION}.{DEDUP_VERSION}.{}", verify::VERSION));
    hasher.add(&serde_json::to_string(fields).unwrap_or_default());
    hasher.add(kind.map_or("", Kind::name));
    hasher.add(&serde_json::to_string(answer_is).unwrap_or_default());
    hasher.add(&serde_json::to_string(keep).unwrap_or_default());
    let chosen = fields.names().map(|(field, _)| fields.is_chosen(field));
    hasher.add(&serde_json::to_string(&chosen).unwrap_or_default());
    // Threads and file names decide nothing.
    let deciding = DedupSettings { threads: 0, benchmarks: Vec::new(), ..dedup.clone() };
    hasher.add(&serde_json::to_string(&deciding).unwrap_or_default());
    for file in benchmarks {
        hasher.add(&file.name);
        hasher.add(&ingest::digest_file(&file.path)?);
    }
    Ok(hasher.hex())
}

/// Reads all benchmark files.
pub fn read_benchmarks(files: &[InputFile], fields: &FieldNames) -> Result<Vec<BenchmarkItem>, RunError> {
    let mut items = Vec::new();
    for line in ingest::read_lines(files, fields, &[]) {
        let line = line?;
        let name = files.get(line.file).map_or("", |file| file.name.as_str());
        match line.text_row() {
            Ok(row) => {
                let question = [row.question].into_iter().chain(row.choices).collect::<Vec<_>>().join("\n");
                let id = match row.id {
                    Some(serde_json::Value::String(id)) => id,
                    Some(id) => id.to_string(),
                    None => format!("line {}", line.line),
                };
                items.push(BenchmarkItem { benchmark: name.to_owned(), id, question, answer: row.answer });
            }
            Err(detail) => tracing::warn!("{name}:{}: not a benchmark item: {detail}", line.line),
        }
    }
    Ok(items)
}

/// Builds the threads of the deduplication.
///
/// # Errors
/// [`RunError::Threads`] if none can be started.
pub fn dedup_threads(settings: &DedupSettings) -> Result<rayon::ThreadPool, RunError> {
    Ok(threads::pool(settings.threads as usize)?)
}

/// Stores the rows of an input, unless they are stored already. Returns their number. Without a directory the index is
/// not kept. `screen` checks tests if there is a sandbox.
///
/// # Errors
/// [`RunError`] if a file cannot be read, or the ledger or the sandbox fails; nothing is stored then.
pub fn store(input: &Input, ledger: &Ledger, dir: Option<&Path>, screen: &mut Screen<'_>) -> Result<u64, RunError> {
    let reader = ledger.reader()?;
    let known = reader.intake_rows(&input.digest)?;
    if known > 0 {
        return Ok(known);
    }
    let threads = dedup_threads(&input.dedup)?;
    let items = read_benchmarks(&input.benchmarks, &input.options.fields)?;
    let extractor = Extractor::new(&input.dedup, Benchmarks::new(&items, &input.dedup));
    let (mut index, passed) = open_index(input, &reader, dir, &extractor)?;
    let untestable = take_apart(Work { input, extractor: &extractor, threads: &threads, screen }, &mut index, &passed)?;
    let decisions = threads.install(|| decide(&mut index, &input.dedup))?;
    tell(&decisions, &items);
    let earlier_digest = input.digest_of_first(passed.files);
    let copied = (0..passed.rows).step_by(COPY_ROWS as usize).flat_map(|start| {
        let page = reader.intake(&earlier_digest, start, (start + COPY_ROWS).min(passed.rows));
        match page {
            Ok(rows) => rows.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(RunError::from(error))],
        }
    });
    let mut next = first_row_of(&index, passed.rows);
    let mut as_texts = TextGolds::default();
    let new = read_rest(input, &passed, &index)?.map(|row| match row? {
        Row::Excluded(exclusion) => Ok(IntakeRow::Excluded(exclusion)),
        Row::Query(query) => {
            let row = next;
            next += 1;
            if index.ordinal(row) != query.ordinal {
                return Err(RunError::Internal(
                    "the second reading of the input gave other queries than the first".to_owned(),
                ));
            }
            let fault = untestable.get(&row).copied().map(screen::tests_fault);
            let row = admit(query, row, &index, &decisions, fault);
            // Excluded queries are not verified.
            if let Ok(IntakeRow::Query(query)) = &row {
                as_texts.look_at(query);
            }
            row
        }
    });
    let count = ledger.store_intake::<RunError>(&input.digest, copied.chain(new))?;
    as_texts.report();
    Ok(count)
}

/// Golds that the verifier can compare only as text. Such golds cause a warning, not an exclusion.
#[derive(Default)]
struct TextGolds {
    count: u64,
    first: Option<String>,
}

impl TextGolds {
    fn look_at(&mut self, query: &Query) {
        if verify::is_text_only(query.kind, &query.gold) {
            self.count += 1;
            let excerpt: String = query.gold.chars().take(60).collect();
            self.first.get_or_insert_with(|| format!("{}:{}: {excerpt:?}", query.origin.file, query.origin.line));
        }
    }

    fn report(self) {
        let Some(first) = self.first else { return };
        tracing::warn!(
            "{} golds of kind math cannot be read as mathematics, the first in {first}: only the same text will count \
             as correct (hint: rewrite them, or give such rows the kind text)",
            self.count
        );
    }
}

/// Opens the index of an earlier input that this one extends and whose rows the ledger has, or starts a new index.
fn open_index(
    input: &Input,
    reader: &Reader,
    dir: Option<&Path>,
    extractor: &Extractor,
) -> Result<(RowStore, Passed), RunError> {
    let Some(path) = dir.map(|dir| dir.join(INDEX_FILE)) else {
        let file = tempfile::tempfile().map_err(StoreError::from)?;
        return Ok((RowStore::new(file, extractor.bands()), Passed::default()));
    };
    // If a later query may exclude an earlier one, stored earlier rows may be wrong.
    if input.dedup.conflicting_gold == Conflicts::KeepFirst {
        match RowStore::open(&path, &input.rules) {
            Ok((index, covered)) => {
                let digests = covered.iter().map(|file| &file.digest);
                let is_beginning =
                    covered.len() < input.files.len() && digests.eq(input.file_digests.iter().take(covered.len()));
                let passed = Passed { files: covered.len(), rows: covered.iter().map(|file| file.rows).sum() };
                if is_beginning && reader.intake_rows(&input.digest_of_first(passed.files))? == passed.rows {
                    tracing::info!(
                        "reading only the files after the first {}, whose {} rows are known",
                        passed.files,
                        passed.rows
                    );
                    return Ok((index, passed));
                }
            }
            Err(error @ StoreError::Unusable(_)) => tracing::debug!("{error}"),
            Err(error) => return Err(error.into()),
        }
    }
    #[expect(clippy::disallowed_methods, reason = "the error names the index itself")]
    let file = std::fs::File::options().read(true).write(true).create(true).truncate(true).open(&path);
    Ok((RowStore::new(file.map_err(StoreError::from)?, extractor.bands()), Passed::default()))
}

/// Reads the files after the known ones. Duplicate ids are also found among the known rows.
fn read_rest(input: &Input, passed: &Passed, index: &RowStore) -> Result<ingest::Rows, RunError> {
    let mut notes: Vec<[u8; NOTE_BYTES]> = Vec::new();
    for row in 0..first_row_of(index, passed.rows) {
        let note = index.record(row)?.note;
        notes.extend(<[u8; NOTE_BYTES]>::try_from(note.as_slice()).ok());
    }
    Ok(ingest::read_on(&input.files, &input.plan, &input.file_digests, passed, notes.into_iter()))
}

/// Returns the first row of the index whose ordinal is at least `ordinal`.
fn first_row_of(index: &RowStore, ordinal: u64) -> u32 {
    let (mut low, mut high) = (0, index.len() as u32);
    while low < high {
        let middle = low + (high - low) / 2;
        if index.ordinal(middle) < ordinal { low = middle + 1 } else { high = middle }
    }
    low
}

/// The inputs of the first pass.
struct Work<'a, 'b> {
    input: &'a Input,
    extractor: &'a Extractor,
    threads: &'a rayon::ThreadPool,
    screen: &'a mut Screen<'b>,
}

/// Faults of tests that the sandbox found, by the row of their query in the index.
type Untestable = BTreeMap<u32, TestsFault>;

/// The first pass: screens all queries and finishes the index. Unsolvable queries take no part in the deduplication.
fn take_apart(work: Work<'_, '_>, index: &mut RowStore, passed: &Passed) -> Result<Untestable, RunError> {
    let Work { input, extractor, threads, screen } = work;
    let mut rows = read_rest(input, passed, index)?;
    let mut counts = vec![0_u64; input.files.len()];
    let (mut untestable, mut findings) = (Untestable::new(), Findings::default());
    let mut round: Vec<(Query, [u8; NOTE_BYTES])> = Vec::with_capacity(ROUND_ROWS);
    loop {
        let row = rows.next().transpose()?;
        let is_last = row.is_none();
        if row.is_some()
            && let Some(count) = counts.get_mut(rows.file())
        {
            *count += 1;
        }
        if let Some(Row::Query(query)) = row {
            round.push((query, rows.note().unwrap_or([0; NOTE_BYTES])));
        }
        if is_last || round.len() == ROUND_ROWS {
            let mut faults: Vec<_> =
                threads.install(|| round.par_iter().map(|(query, _)| screen::fault(query)).collect());
            let sound = round.iter().zip(&faults).enumerate().filter(|(_, (_, fault))| fault.is_none());
            let (places, queries): (Vec<usize>, Vec<&Query>) = sound.map(|(at, ((query, _), _))| (at, query)).unzip();
            for (at, found) in places.into_iter().zip(screen.look_at(&queries)?) {
                if let (Some(found), Some(fault)) = (found, faults.get_mut(at)) {
                    untestable.insert(index.len() as u32 + at as u32, found);
                    *fault = Some(screen::tests_fault(found));
                }
            }
            let features: Vec<_> = threads.install(|| {
                let of = |((query, _), fault): (&(Query, _), &Option<screen::Fault>)| {
                    fault.is_none().then(|| extractor.features(&Document::from(query)))
                };
                round.par_iter().zip(&faults).map(of).collect()
            });
            for (((query, note), features), fault) in round.drain(..).zip(&features).zip(&faults) {
                findings.add(&query, fault.as_ref());
                index.push(query.ordinal, &query.id.0, &note, features.as_ref())?;
            }
        }
        if is_last {
            break;
        }
    }
    findings.add_unread(rows.unread_golds());
    findings.tell();
    index.keep(&input.rules, index_files(input, passed, &counts))?;
    Ok(untestable)
}

fn index_files(input: &Input, passed: &Passed, counts: &[u64]) -> Vec<IndexedFile> {
    let files = input.file_digests.iter().zip(counts).enumerate();
    // Rows of known files are known only as a sum, which suffices.
    files
        .map(|(place, (digest, &rows))| {
            let rows = if place + 1 == passed.files { passed.rows } else { rows };
            IndexedFile { digest: digest.clone(), rows }
        })
        .collect()
}

fn tell(decisions: &Decisions, items: &[BenchmarkItem]) {
    let counts = decisions.counts();
    tracing::info!(
        "{} queries kept ({} variants), {} duplicates ({} with another answer), {} near-duplicates",
        counts.kept,
        counts.variants,
        counts.duplicates,
        counts.conflicts,
        counts.near_duplicates
    );
    if !items.is_empty() {
        let count = counts.contaminated;
        tracing::info!("{count} queries match one of {} benchmark items; paraphrases are not detected", items.len());
    }
}

/// Admits a query, or excludes it as the deduplication decided, or because no response can solve it; `fault` is the
/// sandbox's finding.
fn admit(
    mut query: Query,
    row: u32,
    index: &RowStore,
    decisions: &Decisions,
    fault: Option<screen::Fault>,
) -> Result<IntakeRow, RunError> {
    let id_of = |row: u32| -> Result<String, RunError> { Ok(index.record(row)?.id) };
    let (reason, detail) = match decisions.of(row) {
        None => fault
            .or_else(|| screen::fault(&query))
            .ok_or_else(|| RunError::Internal("a query without a fault is missing in the deduplication".to_owned()))?,
        Some(Action::Keep { variant_of }) => {
            query.labels.variant_of = variant_of.map(id_of).transpose()?.map(QueryId);
            return Ok(IntakeRow::Query(query));
        }
        Some(Action::Duplicate { of, conflicting: false }) => {
            (ExclusionReason::Duplicate, format!("the same question as query {}, with the same answer", id_of(of)?))
        }
        Some(Action::Duplicate { of, conflicting: true }) => (
            ExclusionReason::ConflictingGold,
            format!("the same question as query {}, with another answer", id_of(of)?),
        ),
        Some(Action::NearDuplicate { of, near, similarity }) => {
            let via = if near == of { String::new() } else { format!(", a near-duplicate of query {}", id_of(of)?) };
            (ExclusionReason::NearDuplicate, format!("similarity {similarity:.3} to query {}{via}", id_of(near)?))
        }
        Some(Action::Contaminated) => {
            let hit = index.record(row)?.hit;
            (ExclusionReason::Contaminated, hit.map(|hit| hit.to_string()).unwrap_or_default())
        }
    };
    let Query { id, ordinal, source, origin, .. } = query;
    Ok(IntakeRow::Excluded(Exclusion { query_id: Some(id), ordinal, source, origin, reason, detail }))
}
