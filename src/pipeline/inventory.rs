//! Compares the dataset files in a directory with the published ones, for exports and other readers.
//!
//! The manifest lists the files published at the last end or stop of a run; the ledger, if present, also has later
//! ones. A file belongs to the dataset if either lists it with its present hash. Every other file in the tables'
//! directories is foreign, or of an earlier configuration: it is listed and left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::error::RunError;
use super::publish::partial_records;
use crate::ledger::{Reader, ShardRecord};
use crate::shards::{self, FileState, MANIFEST_FILE, Manifest, Publisher, Table};

/// The dataset files of an output directory.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// Indices of the shards in the directory, complete or incomplete, ascending.
    pub shards: Vec<u32>,
    /// Published files that are missing.
    pub missing: Vec<String>,
    /// Published files that do not match their recorded hash.
    pub changed: Vec<String>,
    /// Files that do not belong to the dataset.
    pub extra: Vec<String>,
    /// The manifest, if it describes these shards.
    pub manifest: Option<Manifest>,
    /// Settled rows of these shards, and input rows, if known.
    pub progress: Option<(u64, u64)>,
}

impl Inventory {
    /// Returns whether every input row is settled in these shards; false if unknown.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.progress.is_some_and(|(settled, queries)| settled >= queries)
    }

    /// Returns the problems of published files, if any.
    #[must_use]
    pub fn problems(&self) -> Option<String> {
        const SHOWN: usize = 5;
        let missing = self.missing.iter().map(|name| format!("{name} is missing"));
        let changed = self.changed.iter().map(|name| format!("{name} does not match its recorded hash"));
        let all: Vec<String> = missing.chain(changed).collect();
        let more = all.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        let shown: Vec<String> = all.into_iter().take(SHOWN).collect();
        (!shown.is_empty()).then(|| format!("{}{more}", shown.join(", ")))
    }

    /// Returns the warning about files under `data/` that a reader of the published files skips, if there are any.
    #[must_use]
    pub fn extra_warning(&self) -> Option<String> {
        const WARNING: &str = "warning: skipped these files, because they do not belong to this dataset";
        (!self.extra.is_empty()).then(|| format!("{WARNING}: {}", self.extra.join(", ")))
    }
}

/// A file as published.
struct Expected {
    sha256: String,
    rows: u64,
}

/// Compares a directory with its records. Reads every file of the dataset. Blocks.
///
/// # Errors
/// [`RunError`] if the manifest is of a newer version, or a file or the ledger cannot be read.
pub fn inventory(dir: &Path) -> Result<Inventory, RunError> {
    let manifest = match fs_err::read(dir.join(MANIFEST_FILE)) {
        Ok(bytes) => Some(Manifest::from_json(&bytes)?),
        Err(_) => None,
    };
    let recorded = if dir.join(crate::ledger::FILE_NAME).is_file() { recorded(dir, manifest.as_ref())? } else { None };
    let manifest = match &recorded {
        Some(recorded) => manifest.filter(|manifest| manifest.fingerprint == recorded.fingerprint),
        None => manifest,
    };
    let mut expected: BTreeMap<String, Expected> = BTreeMap::new();
    for file in manifest.iter().flat_map(|manifest| &manifest.files) {
        expected.insert(file.name.clone(), Expected { sha256: file.sha256.clone(), rows: file.rows });
    }
    // Files published after the manifest replace the ones that it lists.
    for record in recorded.iter().flat_map(|recorded| &recorded.records) {
        expected.insert(record.file_name.clone(), Expected { sha256: record.sha256.clone(), rows: record.rows });
    }
    let queries = recorded
        .as_ref()
        .map(|recorded| recorded.queries)
        .or_else(|| manifest.as_ref().map(|manifest| manifest.counts.queries));
    let mut found = Inventory { manifest, ..Inventory::default() };
    let files = files_of_tables(dir)?;
    if expected.is_empty() {
        // Neither manifest nor ledger lists files: all complete shards count.
        found.shards = whole_shards(&files.iter().cloned().collect());
        return Ok(found);
    }
    let (mut intact, mut settled) = (BTreeSet::new(), 0);
    for (name, file) in &expected {
        match shards::verify(dir, name, &file.sha256)? {
            FileState::Intact => {
                settled += if name.starts_with(Table::Rollouts.dir()) { 0 } else { file.rows };
                intact.insert(name.clone());
            }
            FileState::Missing => found.missing.push(name.clone()),
            FileState::Different { .. } => found.changed.push(name.clone()),
        }
    }
    found.extra = files.into_iter().filter(|name| !expected.contains_key(name)).collect();
    found.shards = whole_shards(&intact);
    found.progress = queries.map(|queries| (settled, queries));
    Ok(found)
}

/// The dataset according to the ledger.
struct Recorded {
    fingerprint: String,
    records: Vec<ShardRecord>,
    queries: u64,
}

/// Returns the ledger's record of the last run that published a shard. If the last run published none yet, a manifest
/// of another run describes the files better, and the result is `None`.
fn recorded(dir: &Path, manifest: Option<&Manifest>) -> Result<Option<Recorded>, RunError> {
    let reader = Reader::open(dir)?;
    let Some(run) = reader.latest_run()? else { return Ok(None) };
    let mut records = reader.shards(&run.fingerprint)?;
    records.extend(partial_records(&Publisher::read_only(dir)?, &reader, &run.fingerprint, &records)?);
    if records.is_empty() && manifest.is_some_and(|manifest| manifest.fingerprint != run.fingerprint) {
        return Ok(None);
    }
    let stored = reader.intake_rows(&run.input_digest)?;
    let queries = run.row_limit.map_or(stored, |limit| limit.min(stored));
    Ok(Some(Recorded { fingerprint: run.fingerprint, records, queries }))
}

/// Returns the Parquet files in the tables' directories, relative to the output directory.
fn files_of_tables(dir: &Path) -> Result<Vec<String>, RunError> {
    let mut found = Vec::new();
    for table in Table::ALL {
        let folder = dir.join(table.dir());
        let unreadable = |source| shards::ShardError::Unreadable { path: folder.clone(), source };
        #[expect(clippy::disallowed_methods, reason = "the error names the directory itself")]
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.map_err(unreadable)?,
        };
        for entry in entries {
            let name = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
            if name.ends_with(".parquet") {
                found.push(format!("{}/{name}", table.dir()));
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Returns the indices for which every table has a file among some names.
fn whole_shards(names: &BTreeSet<String>) -> Vec<u32> {
    let samples = format!("{}/train-", Table::Samples.dir());
    let index = |name: &String| name.strip_prefix(&samples)?.strip_suffix(".parquet")?.parse::<u32>().ok();
    let is_whole = |index: &u32| Table::ALL.iter().all(|table| names.contains(&table.file_name(*index)));
    names.iter().filter_map(index).filter(is_whole).collect()
}
