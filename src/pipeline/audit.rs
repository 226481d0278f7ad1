//! The audit of `status --check`: every invariant that can be checked in a directory at rest.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

use serde::Serialize;

use super::error::RunError;
use super::publish::partial_records;
use crate::config::Settings;
use crate::domain::Mode;
use crate::ledger::{FILE_NAME, Reader, RunRecord, ShardRecord};
use crate::shards::{self, FileState, Manifest, Publisher, Table};

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The invariant's id, or `ledger` or `files` for the checks that all invariants rest on.
    pub invariant: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// The facts that were checked, or the breaches.
    pub detail: String,
}

impl Finding {
    fn new(invariant: &'static str, breaches: Vec<String>, looked_at: String) -> Self {
        if breaches.is_empty() {
            return Self { invariant, holds: true, detail: looked_at };
        }
        let more = breaches.len().saturating_sub(3);
        let mut detail = breaches.into_iter().take(3).collect::<Vec<_>>().join("; ");
        if more > 0 {
            detail.push_str(&format!("; and {more} more"));
        }
        Self { invariant, holds: false, detail }
    }
}

/// Checks a directory. Reads every published file. Blocks.
///
/// I6 (interrupted runs publish the same bytes) can only be checked by running again; I7 and I8 bound a live process.
/// The three leave no trace in a directory at rest.
///
/// # Errors
/// [`RunError`] if the ledger or a directory cannot be read at all.
pub fn audit(dir: &Path, reader: &Reader, run: &RunRecord) -> Result<Vec<Finding>, RunError> {
    let records = reader.shards(&run.fingerprint)?;
    let intake = reader.intake_rows(&run.input_digest)?;
    let rows = run.row_limit.map_or(intake, |limit| limit.min(intake));
    let mut findings = Vec::new();
    let integrity = reader.check_integrity().err().map(|error| error.to_string());
    findings.push(Finding::new("ledger", integrity.into_iter().collect(), "its pages are sound".to_owned()));
    let (mut damaged, mut readable) = check_files(dir, &records)?;
    // Incomplete shards are not shards (I3), but their contents must hold too.
    let parts = partial_records(&Publisher::read_only(dir)?, reader, &run.fingerprint, &records)?;
    damaged.extend(unexplained_parts(dir, reader, run, &records, &parts)?);
    readable.extend(parts.iter().cloned());
    findings.push(conservation(dir, &readable, rows, &parts));
    let (changed, dangling) = reader.broken_facts()?;
    let changed = (changed > 0).then(|| format!("{changed} prompts do not match their hash"));
    findings.push(Finding::new("I2", changed.into_iter().collect(), "content addresses match contents".to_owned()));
    findings.push(Finding::new("I3", damaged, format!("{} published files match their recorded hash", records.len())));
    findings.push(evidence(dir, reader, &readable, dangling)?);
    findings.push(attempts(reader)?);
    findings.push(manifest(dir, run, &records, &parts, rows));
    let strangers = strangers(dir, reader)?.into_iter().map(|name| format!("{name} is not a published file")).collect();
    findings.push(Finding::new("files", strangers, "the ledger explains every file under data/".to_owned()));
    Ok(findings)
}

/// Returns the problems of files in the place of incomplete shards.
fn unexplained_parts(
    dir: &Path,
    reader: &Reader,
    run: &RunRecord,
    whole: &[ShardRecord],
    parts: &[ShardRecord],
) -> Result<Vec<String>, RunError> {
    let begun = reader.begun_shards(&run.fingerprint)?;
    let names: BTreeSet<String> = begun.into_iter().map(|record| record.file_name).collect();
    let is_known = |name: &String| whole.iter().chain(parts).any(|record| record.file_name == *name);
    let mut damaged = Vec::new();
    for name in names.into_iter().filter(|name| !is_known(name)) {
        // The ledger explains a file that another configuration published in this place.
        let is_changed = match shards::verify(dir, &name, "")? {
            FileState::Different { found } => !reader.explains(&name, &found)?,
            FileState::Missing | FileState::Intact => false,
        };
        if is_changed {
            damaged.push(format!("{name} does not match its recorded hash"));
        }
    }
    Ok(damaged)
}

/// Returns the files under `data/` that no run of the directory published. Blocks.
pub fn strangers(dir: &Path, reader: &Reader) -> Result<Vec<String>, RunError> {
    // Shards of earlier settings remain until a finished run removes them.
    let known: Vec<String> = reader.superseded_shards("")?.into_iter().map(|record| record.file_name).collect();
    Ok(shards::unexplained(dir, &known)?)
}

/// Compares the manifest of a finished run with the published files in the ledger. During a run the manifest may be
/// missing, of an earlier configuration, or of an earlier stop whose files exist or were written again since.
fn manifest(dir: &Path, run: &RunRecord, records: &[ShardRecord], parts: &[ShardRecord], rows: u64) -> Finding {
    let is_complete = records.len() as u64 == rows.div_ceil(run.queries_per_shard) * Table::ALL.len() as u64;
    #[expect(clippy::disallowed_methods, reason = "the finding names the manifest itself")]
    let listed = std::fs::read(dir.join(shards::MANIFEST_FILE))
        .map_err(|error| error.to_string())
        .and_then(|bytes| Manifest::from_json(&bytes).map_err(|error| error.to_string()));
    let breach = match listed {
        Ok(manifest) if !is_complete && manifest.fingerprint == run.fingerprint => {
            let is_there = |name: &str| records.iter().chain(parts).any(|record| record.file_name == name);
            let gone = manifest.files.iter().find(|file| !is_there(&file.name) && !dir.join(&file.name).is_file());
            gone.map(|file| format!("{} lists {}, which is missing", shards::MANIFEST_FILE, file.name))
        }
        _ if !is_complete => None,
        Err(error) => Some(format!("{} cannot be read: {error}", shards::MANIFEST_FILE)),
        Ok(manifest) if manifest.fingerprint != run.fingerprint => {
            Some(format!("{} belongs to another configuration", shards::MANIFEST_FILE))
        }
        Ok(manifest) => {
            let listed: Vec<_> = manifest.files.iter().map(|file| (&file.name, &file.sha256)).collect();
            let is_listed = |record: &&ShardRecord| listed.contains(&(&record.file_name, &record.sha256));
            let missing = records.iter().find(|record| !is_listed(record));
            let missing = missing.map(|record| format!("{} does not list {}", shards::MANIFEST_FILE, record.file_name));
            let more = listed.len() > records.len();
            missing.or_else(|| {
                more.then(|| format!("{} lists files that the ledger does not record", shards::MANIFEST_FILE))
            })
        }
    };
    let looked_at = if is_complete { "manifest.json lists the published files" } else { "the run is not finished" };
    Finding::new("files", breach.into_iter().collect(), looked_at.to_owned())
}

/// I3: returns the problems of published files, and the records whose files are intact.
fn check_files(dir: &Path, records: &[ShardRecord]) -> Result<(Vec<String>, Vec<ShardRecord>), RunError> {
    let (mut damaged, mut readable) = (Vec::new(), Vec::new());
    for record in records {
        match shards::verify(dir, &record.file_name, &record.sha256)? {
            FileState::Intact => readable.push(record.clone()),
            FileState::Missing => damaged.push(format!("{} is missing", record.file_name)),
            FileState::Different { .. } => {
                damaged.push(format!("{} does not match its recorded hash", record.file_name))
            }
        }
    }
    Ok((damaged, readable))
}

/// I1: every input row of a published shard is one sample or one exclusion, never both and never twice. In an
/// incomplete shard, rows that are neither are outstanding.
fn conservation(dir: &Path, records: &[ShardRecord], rows: u64, parts: &[ShardRecord]) -> Finding {
    let mut seen: HashMap<String, &'static str> = HashMap::new();
    let mut breaches = Vec::new();
    let mut counts = (0_u64, 0_u64);
    let mut covered = 0;
    for record in records.iter().filter(|record| record.table != Table::Rollouts.name()) {
        let is_samples = record.table == Table::Samples.name();
        if parts.contains(record) {
            covered += record.rows;
        } else if is_samples {
            covered += record.end_ordinal - record.first_ordinal;
        }
        let ordinals = match shards::read_columns(&dir.join(&record.file_name), &["ordinal"]) {
            Ok(ordinals) => ordinals,
            Err(error) => {
                breaches.push(error.to_string());
                continue;
            }
        };
        let count = if is_samples { &mut counts.0 } else { &mut counts.1 };
        *count += ordinals.len() as u64;
        for ordinal in ordinals.into_iter().flatten().flatten() {
            let number: u64 = ordinal.parse().unwrap_or(u64::MAX);
            if !(record.first_ordinal..record.end_ordinal).contains(&number) {
                breaches.push(format!("{} holds input row {ordinal}, which is outside its range", record.file_name));
            }
            let table = if is_samples { "samples" } else { "exclusions" };
            if let Some(other) = seen.insert(ordinal.clone(), table) {
                breaches.push(format!("input row {ordinal} is in {other} and in {table}"));
            }
        }
    }
    let outstanding = rows.saturating_sub(covered);
    let (samples, exclusions) = counts;
    if samples + exclusions + outstanding != rows {
        breaches.push(format!(
            "{rows} queries, but {samples} samples + {exclusions} exclusions + {outstanding} outstanding"
        ));
    }
    let looked_at = format!("{rows} queries = {samples} samples + {exclusions} exclusions + {outstanding} outstanding");
    Finding::new("I1", breaches, looked_at)
}

/// I4: the response behind every sample is in the ledger with a verdict `correct`, and every reference between facts
/// resolves.
fn evidence(dir: &Path, reader: &Reader, records: &[ShardRecord], dangling: u64) -> Result<Finding, RunError> {
    let mut breaches: Vec<String> =
        (dangling > 0).then(|| format!("{dangling} facts reference missing facts")).into_iter().collect();
    let mut correct: HashSet<(bool, i64)> = HashSet::new();
    reader.for_each_correct(|mode, seed| {
        correct.insert((mode == Mode::ThinkOn.name(), seed));
    })?;
    let mut samples = 0;
    for record in records.iter().filter(|record| record.table == Table::Samples.name()) {
        let Ok(rows) = shards::read_columns(&dir.join(&record.file_name), &["query_id", "mode", "seed"]) else {
            breaches.push(format!("{} cannot be read", record.file_name));
            continue;
        };
        for row in rows {
            samples += 1;
            let [Some(id), Some(mode), Some(seed)] = row.as_slice() else {
                breaches.push(format!("{} has a sample without id, mode or seed", record.file_name));
                continue;
            };
            let is_there = seed.parse().is_ok_and(|seed| correct.contains(&(mode == Mode::ThinkOn.name(), seed)));
            if !is_there {
                breaches.push(format!("the ledger has no correct {mode} response for the sample of query {id}"));
            }
        }
    }
    Ok(Finding::new("I4", breaches, format!("the ledger has a correct response for each of {samples} samples")))
}

/// I5: no judge request has more attempts than any run of this directory allowed.
fn attempts(reader: &Reader) -> Result<Finding, RunError> {
    let settings = reader.run_settings()?;
    let bounds = settings.iter().map(|text| toml::from_str::<Settings>(text).map(|all| all.judge.attempts_max));
    let allowed = bounds.collect::<Result<Vec<u32>, _>>().map(|all| all.into_iter().max().unwrap_or(0));
    let most = reader.attempts_max()?;
    let breach = match allowed {
        Ok(allowed) if most > allowed => {
            Some(format!("a judge request has {most} attempts, but only {allowed} are allowed"))
        }
        Ok(_) => None,
        Err(error) => Some(format!("the stored settings cannot be read: {}", error.message())),
    };
    let looked_at = format!("no judge request has more than {most} attempts");
    Ok(Finding::new("I5", breach.into_iter().collect(), looked_at))
}

/// Returns the findings as lines for display.
#[must_use]
pub fn to_text(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let mark = if finding.holds { "ok    " } else { "BREACH" };
        format!("{mark} {:<6} {}\n", finding.invariant, finding.detail)
    };
    let lines: String = findings.iter().map(line).collect();
    format!("{lines}       I6 to I8 leave no trace in {FILE_NAME}; see ARCHITECTURE.md for how they are tested\n")
}
