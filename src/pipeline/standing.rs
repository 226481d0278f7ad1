//! The progress of a run by its facts, published or not: for observers, and for publishing settled rows.
//!
//! A row counts as settled by the same rules as in a closing shard, query by query in the order of the input, with one
//! difference: a query with missing facts is passed over and is not an error. A justification that nearly repeats an
//! earlier one must be requested again, so its query is not settled. Behind a query that was passed over, this result
//! is provisional: once that query has its text, a later text may turn out to repeat it.
//!
//! Observing loads no model, calls no server and writes nothing; a run may be in progress. One exclusion is not in the
//! facts: a prompt longer than the model's context. Such a query counts as outstanding until its shard is published.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::actors::Actors;
use super::blocking::Blocking;
use super::context::Context;
use super::directory;
use super::error::RunError;
use super::identity::{Run, prompt_version};
use super::opening::{open_stored_judge, restore_policy};
use super::options::{Facts, Judging};
use super::outcome::{Outcome, Sample};
use super::programs::Programs;
use super::rows::{self, Lack, Responses, Standing};
use super::stores::Stores;
use crate::config::Settings;
use crate::config::identity::{FACTS_KEY, RunIdentity, SANDBOX_KEY};
use crate::domain::{ExclusionReason, Kind};
use crate::judge::JudgeKind;
use crate::judge::check::Neighbours;
use crate::ledger::{Ledger, LedgerError, Reader, RunRecord};
use crate::shards::{self, Publisher, Table};
use crate::sys::files::lock_dir;

/// Rows per piece of work of a thread, if no row depends on another.
const CHUNK_ROWS: u64 = 256;
/// Largest number of observing threads.
const THREADS_MAX: usize = 8;

impl Context {
    /// Opens the last run of a directory for observation.
    ///
    /// # Errors
    /// [`RunError::PromptsUnknown`] if the ledger does not record the prompts of its responses; [`RunError`] if it
    /// cannot be read.
    pub fn look(dir: &Path, reader: &Reader, last: RunRecord) -> Result<Self, RunError> {
        let stores = Stores::new(Ledger::read_only(dir), Publisher::read_only(dir)?, Blocking::Threads, None);
        Self::of_last_run(dir, reader, last, stores)
    }

    /// Opens the last run of a directory to publish its settled rows. Holds the directory's lock.
    ///
    /// # Errors
    /// As [`Context::look`], and if a run is in progress.
    pub fn open_to_publish(dir: &Path) -> Result<Self, RunError> {
        // Reports problems before any file is created.
        drop(Reader::open(dir)?);
        directory::refuse_foreign(dir)?;
        let lock = lock_dir(dir)?;
        let (publisher, ledger) = (Publisher::new(dir)?, Ledger::open(dir)?);
        for name in shards::remove_staged(dir)? {
            tracing::info!("removed {name}, the unfinished file of a killed start");
        }
        let reader = ledger.reader()?;
        let last = reader.latest_run()?.ok_or_else(|| RunError::NoRun { dir: dir.display().to_string() })?;
        let fingerprint = last.fingerprint.clone();
        let stores = Stores::new(ledger, publisher, Blocking::Threads, Some(lock));
        let context = Self::of_last_run(dir, &reader, last, stores)?;
        if context.identified_again().fingerprint() != fingerprint {
            return Err(RunError::OtherVersion { dir: dir.display().to_string() });
        }
        Ok(context)
    }

    fn of_last_run(dir: &Path, reader: &Reader, last: RunRecord, stores: Stores) -> Result<Self, RunError> {
        let unreadable = |detail: String| LedgerError::Unreadable { kind: "run", detail };
        let settings: Settings =
            toml::from_str(&last.settings).map_err(|error| unreadable(error.message().to_owned()))?;
        let identity: RunIdentity =
            serde_json::from_str(&last.identity).map_err(|error| unreadable(error.to_string()))?;
        let policy = restore_policy(&settings, &last, reader)?;
        let judge = open_stored_judge(&settings, &policy, Judging::Read)?;
        let programs = if reader.intake_holds(&last.input_digest, Kind::Code)? {
            Programs::of_earlier(&settings.verify, identity.parts().get(SANDBOX_KEY).cloned())
        } else {
            Programs::none(&settings.verify)
        };
        let facts = if identity.parts().contains_key(FACTS_KEY) { Facts::Stored } else { Facts::Live };
        let stored = reader.intake_rows(&last.input_digest)?;
        let rows = last.row_limit.map_or(stored, |limit| limit.min(stored));
        // In a live run a missing justification is work that is left.
        let judging = if facts == Facts::Live { Judging::Asked } else { Judging::Read };
        let (dir, prompt_version) = (dir.to_owned(), prompt_version(&policy));
        let run = Run { settings, dir, identity, record: last, rows, prompt_version, facts, judging };
        let actors = Actors::new(policy, judge, programs, Blocking::Threads);
        Ok(Self::over_stored(run, actors, stores))
    }
}

/// Calls `take` with every row of a range of input rows that belongs to one shard, in order, and its state.
///
/// # Errors
/// [`RunError`] if the ledger cannot be read, or the error of `take`.
pub fn for_each_standing(
    context: &Context,
    reader: &Reader,
    range: Range<u64>,
    responses: Responses,
    take: &mut dyn FnMut(Standing) -> Result<(), RunError>,
) -> Result<(), RunError> {
    let kind = context.actors.judge.as_ref().map_or(JudgeKind::Local, |judge| judge.kind());
    let mut neighbours = Arc::new(Neighbours::new(kind));
    for start in range.clone().step_by(usize::try_from(CHUNK_ROWS).unwrap_or(usize::MAX)) {
        let end = (start + CHUNK_ROWS).min(range.end);
        for row in reader.intake(&context.run.record.input_digest, start, end)? {
            let standing = rows::standing(&context.run, &context.actors, reader, row, &neighbours, responses)?;
            if let Standing::Settled { row: settled, .. } = &standing
                && let Outcome::Sample(Sample { row, .. }) = &settled.outcome
                && let Some(text) = &row.justification
            {
                Arc::make_mut(&mut neighbours).add(text);
            }
            take(standing)?;
        }
    }
    Ok(())
}

/// The progress over some input rows, in numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Survey {
    /// Rows with an outcome.
    pub settled: u64,
    /// Excluded rows, by reason.
    pub exclusions: BTreeMap<String, u64>,
    /// Samples, in order of their input rows.
    pub samples: Vec<SurveyedSample>,
    /// Queries whose justifications were all rejected, with the check that rejected the last one.
    pub rejected: Vec<(String, String)>,
    /// Responses of settled rows.
    pub rollouts: u64,
    /// Rows with missing facts, by the kind of fact.
    pub lacks: BTreeMap<&'static str, u64>,
}

/// A sample outside of published shards.
#[derive(Debug, Clone, PartialEq)]
pub struct SurveyedSample {
    /// Its input row.
    pub ordinal: i64,
    /// Its query.
    pub query_id: String,
    /// Its mode.
    pub mode: String,
    /// The kind of answer.
    pub kind: String,
    /// The reference answer.
    pub gold: String,
    /// The user's message.
    pub prompt: String,
    /// Its difficulty label.
    pub difficulty: String,
    /// Its justification and the model that wrote it.
    pub justification: Option<(String, String)>,
    /// The status of its justification.
    pub justification_status: String,
}

impl Survey {
    fn add(&mut self, standing: Standing) {
        let (settled, responses) = match standing {
            Standing::Open { lack, .. } => {
                *self.lacks.entry(lack.name()).or_default() += 1;
                return;
            }
            Standing::Settled { row, responses } => (row, responses),
        };
        self.settled += 1;
        self.rollouts += responses;
        match settled.outcome {
            Outcome::Excluded(exclusion) => {
                if exclusion.reason == ExclusionReason::JustificationRejected
                    && let (Some(id), Some((check, _))) = (exclusion.query_id, exclusion.detail.split_once(':'))
                {
                    self.rejected.push((id.0, check.to_owned()));
                }
                *self.exclusions.entry(exclusion.reason.to_string()).or_default() += 1;
            }
            Outcome::Sample(Sample { row, .. }) => self.samples.push(SurveyedSample {
                ordinal: row.ordinal,
                query_id: row.query_id,
                mode: row.mode,
                kind: row.kind,
                gold: row.gold,
                prompt: row.prompt,
                difficulty: row.difficulty,
                justification: row.justification.zip(row.judge_model),
                justification_status: row.justification_status,
            }),
        }
    }

    fn merge(&mut self, other: Self) {
        self.settled += other.settled;
        self.rollouts += other.rollouts;
        self.samples.extend(other.samples);
        self.rejected.extend(other.rejected);
        for (reason, count) in other.exclusions {
            *self.exclusions.entry(reason).or_default() += count;
        }
        for (lack, count) in other.lacks {
            *self.lacks.entry(lack).or_default() += count;
        }
    }
}

/// Largest number of rows that a start examines to log where it resumes.
const RESUME_ROWS_MAX: u64 = 20_000;

/// The number of input rows of a run that stored facts settle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resumption {
    /// Settled rows.
    pub settled: u64,
    /// Whether all rows were examined; false if too many are outside of published shards.
    pub is_exact: bool,
}

/// Returns where a start resumes. At the first start, no row is settled.
///
/// # Errors
/// [`RunError`] if the ledger cannot be read; [`RunError::Stopped`] if the run must stop meanwhile.
pub fn resumption(context: &Context, reader: &Reader) -> Result<Resumption, RunError> {
    let mut resumption = Resumption { settled: 0, is_exact: true };
    if context.run.facts == Facts::Stored || !reader.has_responses()? {
        return Ok(resumption);
    }
    let mut files: BTreeMap<u64, usize> = BTreeMap::new();
    for record in reader.shards(&context.run.record.fingerprint)? {
        *files.entry(record.index).or_default() += 1;
    }
    files.retain(|_, count| *count == Table::ALL.len());
    let rows_of = |index: &u64| context.run.shard_range(*index).end - context.run.shard_range(*index).start;
    resumption.settled = files.keys().map(rows_of).sum();
    let open: Vec<u64> = (0..context.run.shard_count()).filter(|index| !files.contains_key(index)).collect();
    let (begun, untouched) = begun(&context.run.record, reader, &open)?;
    if begun.iter().map(rows_of).sum::<u64>() > RESUME_ROWS_MAX {
        return Ok(Resumption { is_exact: false, ..resumption });
    }
    resumption.settled += survey_each(context, &begun)?.settled;
    for range in untouched.iter().map(|&index| context.run.shard_range(index)) {
        let reasons = reader.intake_reasons(&context.run.record.input_digest, range.start, range.end)?;
        resumption.settled += reasons.iter().map(|(_, count)| count).sum::<u64>();
    }
    Ok(resumption)
}

/// Splits shards into those with work and those without.
pub fn begun(run: &RunRecord, reader: &Reader, shards: &[u64]) -> Result<(Vec<u64>, Vec<u64>), RunError> {
    Ok(match reader.groups_with_rollouts(&run.input_digest, run.queries_per_shard)? {
        None => (shards.to_vec(), Vec::new()),
        Some(groups) => shards.iter().copied().partition(|index| groups.binary_search(index).is_ok()),
    })
}

/// Surveys the rows of some shards from facts alone. Blocks; a shard without any response costs almost no time.
pub fn survey(context: &Context, reader: &Reader, shards: &[u64]) -> Result<Survey, RunError> {
    let (begun, untouched) = begun(&context.run.record, reader, shards)?;
    let mut whole = survey_each(context, &begun)?;
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for range in untouched.iter().map(|&index| context.run.shard_range(index)) {
        match ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => ranges.push(range),
        }
    }
    for range in ranges {
        let mut open = range.end - range.start;
        for (reason, count) in reader.intake_reasons(&context.run.record.input_digest, range.start, range.end)? {
            whole.settled += count;
            open = open.saturating_sub(count);
            *whole.exclusions.entry(reason).or_default() += count;
        }
        *whole.lacks.entry(Lack::Responses.name()).or_default() += open;
    }
    Ok(whole)
}

/// Surveys every row of some shards, on several threads.
fn survey_each(context: &Context, shards: &[u64]) -> Result<Survey, RunError> {
    let ranges: Vec<Range<u64>> = shards.iter().flat_map(|&index| parts_of(context, index)).collect();
    let parts = in_parallel(context, &ranges, |reader, range| {
        let mut survey = Survey::default();
        for_each_standing(context, reader, range, Responses::LeftOut, &mut |standing| {
            survey.add(standing);
            Ok(())
        })?;
        Ok(survey)
    })?;
    let mut whole = Survey::default();
    parts.into_iter().for_each(|part| whole.merge(part));
    Ok(whole)
}

/// Processes ranges of input rows on several threads, each with its own reader. Returns the results in order.
///
/// # Errors
/// The first error of any thread; [`RunError::Stopped`] if the context's run must stop.
pub fn in_parallel<T: Send>(
    context: &Context,
    ranges: &[Range<u64>],
    work: impl Fn(&Reader, Range<u64>) -> Result<T, RunError> + Sync,
) -> Result<Vec<T>, RunError> {
    let (next, all, failure) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Mutex::new(None));
    let work_on = || -> Result<(), RunError> {
        let reader = Reader::open(&context.run.dir)?;
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(range) = ranges.get(at) else { return Ok(()) };
            if context.stop.is_cancelled() {
                return Err(RunError::Stopped);
            }
            let result = work(&reader, range.clone())?;
            all.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(THREADS_MAX));
    let run = || {
        if let Err(error) = work_on() {
            // The other threads end at the next range.
            next.store(ranges.len(), Ordering::Relaxed);
            failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(ranges.len()) {
            // This thread works too: if the system starts no other, the work only takes longer.
            let _ = std::thread::Builder::new().spawn_scoped(scope, run);
        }
        run();
    });
    if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut results = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(at, _)| *at);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

/// Returns the parts of a shard's rows that are independent. If texts are compared, a row depends on the rows before
/// it.
fn parts_of(context: &Context, index: u64) -> Vec<Range<u64>> {
    let range = context.run.shard_range(index);
    if context.actors.judge.is_some() {
        return vec![range];
    }
    let end = range.end;
    let step = usize::try_from(CHUNK_ROWS).unwrap_or(usize::MAX);
    range.step_by(step).map(|start| start..(start + CHUNK_ROWS).min(end)).collect()
}
