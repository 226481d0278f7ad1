//! The list data of every query, kept up to date with files and facts.
//!
//! Queries of complete shards are read from their files, once. All others come from the ledger: shards with work are
//! read again when facts were added, the rest once. The time between two reads is a multiple of the duration of a read,
//! so that observers do not slow a run.

#![expect(clippy::disallowed_methods, reason = "the errors of this module name the file themselves")]

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use crate::ledger::{Reader, RunRecord};
use crate::pipeline::standing::{begun, for_each_standing, in_parallel};
use crate::pipeline::{Context, Responses, RunError};
use crate::report::page::Choices;
use crate::report::{
    Entry, Rank, collect, complete, entries_of, entry, figures, published, standing_entry, untouched_entry,
};
use crate::shards::{MANIFEST_FILE, ShardError, Table};

/// Characters of a question that are searched and listed.
const QUESTION_CHARS: usize = 300;
/// Characters of other texts that are searched and listed.
const TEXT_CHARS: usize = 120;
/// Pause after a read of the facts, in multiples of its duration.
const REST: u32 = 4;

/// Identifies the version of a file: size and modification time.
type Stamp = (u64, Option<SystemTime>);

/// The source of a shard's entries.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    /// Its files, of which this is the first.
    Files(Stamp),
    /// Facts, which may grow.
    Facts,
    /// The input: there is no work on the shard.
    Input,
}

/// The queries of a directory.
#[derive(Default)]
pub struct Index {
    shards: BTreeMap<u32, (Origin, Vec<Entry>)>,
    choices: Choices,
    /// Stamps of the inputs of the figures.
    drawn_from: Option<(Vec<u32>, Option<Stamp>)>,
    /// The figures, until an input changes.
    html: Option<String>,
    ledger: Option<Watched>,
    settled: u64,
}

/// The ledger of the directory at the last read.
struct Watched {
    reader: Reader,
    run: RunRecord,
    /// The version of the facts in the index.
    version: Option<i64>,
    /// When the facts were read, and how long that took.
    looked: Option<(Instant, Duration)>,
    /// The reason, if the facts cannot be used.
    fault: Option<String>,
}

/// The filter of a list; empty texts match everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Lower-case text that id, question, reference or detail must contain.
    pub search: String,
    /// The outcome; `!failed`, `!excluded` and `!sample` stand for all outcomes of their rank.
    pub outcome: String,
    /// The difficulty label.
    pub difficulty: String,
    /// The source.
    pub source: String,
    /// The order of the list.
    pub order: Order,
}

/// The order of a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// As in the input.
    #[default]
    Input,
    /// By rank, errors first, each rank as in the input.
    FailuresFirst,
}

impl Index {
    /// Brings the index up to date. Blocks.
    pub fn refresh(&mut self, dir: &Path) -> Result<(), RunError> {
        let mut watched = match self.ledger.take() {
            Some(watched) => watched,
            None => Watched::open(dir)?,
        };
        if watched.has_another_run()? {
            // Another configuration invalidates all entries.
            self.shards.clear();
        }
        let refreshed = self.refresh_from(dir, &mut watched);
        self.ledger = Some(watched);
        let has_changed = refreshed?;
        let manifest = stamp(&dir.join(MANIFEST_FILE)).ok();
        let drawn_from = Some((published(dir)?, manifest));
        if drawn_from != self.drawn_from {
            self.drawn_from = drawn_from;
            self.html = None;
        }
        if has_changed {
            self.choices = Choices::default();
            self.settled = 0;
            for (_, entries) in self.shards.values() {
                entries.iter().for_each(|entry| self.choices.add(entry));
                self.settled += entries.iter().filter(|entry| entry.rank != Rank::Outstanding).count() as u64;
            }
        }
        Ok(())
    }

    /// Reads new and changed files and facts. Returns whether there were any.
    fn refresh_from(&mut self, dir: &Path, watched: &mut Watched) -> Result<bool, RunError> {
        let mut has_changed = false;
        let whole = watched.whole_shards(dir)?;
        for &index in &whole {
            let stamp = stamp(&dir.join(Table::Samples.file_name(index)))?;
            if self.shards.get(&index).is_some_and(|(origin, _)| *origin == Origin::Files(stamp)) {
                continue;
            }
            let mut entries = entries_of(dir, index)?;
            complete(&mut entries, &watched.reader, &watched.run)?;
            self.shards.insert(index, (Origin::Files(stamp), entries.into_iter().map(light).collect()));
            has_changed = true;
        }
        if !watched.is_due()? {
            return Ok(has_changed);
        }
        let started = Instant::now();
        let context = match Context::look(dir, &watched.reader, watched.run.clone()) {
            Ok(context) => context,
            Err(error) => {
                // Published shards can still be shown. The warning is logged once.
                let error = error.to_string();
                if watched.fault.as_ref() != Some(&error) {
                    tracing::warn!("showing only published shards: {error}");
                    watched.fault = Some(error);
                }
                return Ok(has_changed);
            }
        };
        self.refresh_facts(&context, watched, &whole)?;
        watched.looked = Some((started, started.elapsed()));
        Ok(true)
    }

    fn refresh_facts(&mut self, context: &Context, watched: &Watched, whole: &[u32]) -> Result<(), RunError> {
        let count = u32::try_from(context.run.shard_count()).unwrap_or(u32::MAX);
        self.shards.retain(|index, _| *index < count);
        let open: Vec<u64> = (0..count).filter(|index| whole.binary_search(index).is_err()).map(u64::from).collect();
        let (begun, untouched) = begun(&context.run.record, &watched.reader, &open)?;
        let ranges: Vec<Range<u64>> = begun.iter().map(|&index| context.run.shard_range(index)).collect();
        let run = &watched.run;
        let found = in_parallel(context, &ranges, |reader, range| {
            let mut entries = Vec::new();
            for_each_standing(context, reader, range, Responses::Wanted, &mut |standing| {
                entries.push(light(standing_entry(standing)));
                Ok(())
            })?;
            complete(&mut entries, reader, run)?;
            Ok(entries.into_iter().map(light).collect::<Vec<Entry>>())
        })?;
        let narrow = |index: u64| u32::try_from(index).unwrap_or(u32::MAX);
        for (index, entries) in begun.into_iter().zip(found) {
            self.shards.insert(narrow(index), (Origin::Facts, entries));
        }
        for index in untouched {
            if self.shards.get(&narrow(index)).is_some_and(|(origin, _)| *origin == Origin::Input) {
                continue;
            }
            let range = context.run.shard_range(index);
            let rows = watched.reader.intake(&watched.run.input_digest, range.start, range.end)?;
            let entries = rows.into_iter().map(|row| light(untouched_entry(row))).collect();
            self.shards.insert(narrow(index), (Origin::Input, entries));
        }
        Ok(())
    }

    /// Returns the choices of the filters.
    #[must_use]
    pub fn choices(&self) -> &Choices {
        &self.choices
    }

    /// Returns title and subtitle.
    #[must_use]
    pub fn names(&self, dir: &Path) -> (String, String) {
        let name =
            dir.file_name().map_or_else(|| dir.display().to_string(), |name| name.to_string_lossy().into_owned());
        let queries: u64 = self.shards.values().map(|(_, entries)| entries.len() as u64).sum();
        let state = if self.settled == queries {
            format!("a finished run: {queries} queries")
        } else {
            format!(
                "{} of {queries} queries are settled; the run is in progress, or was stopped; the figures cover published shards",
                self.settled
            )
        };
        (format!("thinkloom: {name}"), state)
    }

    /// Returns the figures. Blocks.
    pub fn figures(&mut self, dir: &Path) -> Result<String, RunError> {
        if let Some(html) = &self.html {
            return Ok(html.clone());
        }
        let html = figures::figures(&collect(dir, &published(dir)?)?);
        self.html = Some(html.clone());
        Ok(html)
    }

    /// Returns how many queries match a filter, and one page of them.
    #[must_use]
    pub fn list(&self, filter: &Filter, offset: usize, limit: usize) -> (usize, Vec<&Entry>) {
        let all = || self.shards.values().flat_map(|(_, entries)| entries).filter(|entry| filter.fits(entry));
        let mut total = 0;
        let mut rows = Vec::new();
        let mut add = |entry| {
            if total >= offset && rows.len() < limit {
                rows.push(entry);
            }
            total += 1;
        };
        match filter.order {
            Order::Input => all().for_each(&mut add),
            Order::FailuresFirst => {
                for rank in Rank::ALL {
                    all().filter(|entry| entry.rank == rank).for_each(&mut add);
                }
            }
        }
        (total, rows)
    }

    /// Returns one query with its responses. Blocks.
    pub fn entry(&self, dir: &Path, ordinal: i64) -> Result<Option<Entry>, RunError> {
        let holds = |entries: &[Entry]| entries.binary_search_by_key(&ordinal, |entry| entry.ordinal).is_ok();
        let Some((index, (origin, _))) = self.shards.iter().find(|(_, (_, entries))| holds(entries)) else {
            return Ok(None);
        };
        let Some(watched) = &self.ledger else { return Ok(None) };
        if matches!(origin, Origin::Files(_)) {
            let mut found: Vec<Entry> = entry(dir, *index, ordinal)?.into_iter().collect();
            complete(&mut found, &watched.reader, &watched.run)?;
            return Ok(found.pop());
        }
        let context = Context::look(dir, &watched.reader, watched.run.clone())?;
        let at = u64::try_from(ordinal).unwrap_or(0);
        let mut found = Vec::new();
        for_each_standing(&context, &watched.reader, at..at + 1, Responses::Wanted, &mut |standing| {
            found.push(standing_entry(standing));
            Ok(())
        })?;
        complete(&mut found, &watched.reader, &watched.run)?;
        Ok(found.pop())
    }
}

impl Watched {
    fn open(dir: &Path) -> Result<Self, RunError> {
        let reader = Reader::open(dir)?;
        let run = reader.latest_run()?.ok_or_else(|| RunError::NoRun { dir: dir.display().to_string() })?;
        Ok(Self { reader, run, version: None, looked: None, fault: None })
    }

    /// Returns whether the directory was started with another configuration since, and switches to that one.
    fn has_another_run(&mut self) -> Result<bool, RunError> {
        let Some(run) = self.reader.latest_run()?.filter(|run| run.fingerprint != self.run.fingerprint) else {
            return Ok(false);
        };
        (self.run, self.version, self.looked, self.fault) = (run, None, None, None);
        Ok(true)
    }

    /// Returns the complete published shards whose files exist, ascending.
    fn whole_shards(&self, dir: &Path) -> Result<Vec<u32>, RunError> {
        let mut files: BTreeMap<u32, usize> = BTreeMap::new();
        for record in self.reader.shards(&self.run.fingerprint)? {
            let is_there = dir.join(&record.file_name).is_file();
            let index = u32::try_from(record.index).unwrap_or(u32::MAX);
            *files.entry(index).or_default() += usize::from(is_there);
        }
        Ok(files.into_iter().filter(|(_, count)| *count == Table::ALL.len()).map(|(index, _)| index).collect())
    }

    /// Returns whether facts were added since the last read, and its pause is over.
    fn is_due(&mut self) -> Result<bool, RunError> {
        let is_resting = self.looked.is_some_and(|(at, took)| at.elapsed() < took * (REST + 1));
        if is_resting {
            return Ok(false);
        }
        let version = Some(self.reader.version()?);
        let is_new = self.version != version;
        self.version = version;
        Ok(is_new)
    }
}

impl Filter {
    fn fits(&self, entry: &Entry) -> bool {
        let is = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
        let is_outcome = match self.outcome.as_str() {
            "!failed" => entry.rank == Rank::Failed,
            "!excluded" => entry.rank == Rank::Excluded,
            "!sample" => entry.rank == Rank::Sample,
            outcome => is(outcome, &entry.outcome),
        };
        is_outcome
            && is(&self.difficulty, &entry.difficulty)
            && is(&self.source, &entry.source)
            && (self.search.is_empty()
                || [&entry.id, &entry.question, &entry.gold, &entry.detail]
                    .iter()
                    .any(|text| text.to_lowercase().contains(&self.search)))
    }
}

fn stamp(path: &Path) -> Result<Stamp, ShardError> {
    let metadata =
        std::fs::metadata(path).map_err(|source| ShardError::Unreadable { path: path.to_owned(), source })?;
    Ok((metadata.len(), metadata.modified().ok()))
}

/// Keeps only the list data of an entry.
fn light(entry: Entry) -> Entry {
    let short = |text: &str, max: usize| text.chars().take(max).collect();
    Entry {
        question: short(&entry.question, QUESTION_CHARS),
        gold: short(&entry.gold, TEXT_CHARS),
        detail: short(&entry.detail, TEXT_CHARS),
        answer: String::new(),
        justification: None,
        judge_model: None,
        rollouts: Vec::new(),
        ..entry
    }
}
