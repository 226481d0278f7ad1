//! Selects again from stored facts, into a separate directory. Samples nothing, and calls the judge only on request.
//!
//! The new directory has a copy of the ledger and is independent: `status --check` accepts it, and `run` can later
//! supply the missing facts. Because the result may differ from a run with the same settings, its identity states that
//! only stored facts were read.
//!
//! Until the selection is finished, a file in the directory states its settings, so that the same command resumes it at
//! any point.

#![expect(clippy::disallowed_methods, reason = "the errors of this module name the file themselves")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::directory::refuse_foreign;
use super::error::RunError;
use super::open_stored::StoredOptions;
use super::opening::{open_stored_judge, restore_policy};
use super::options::Judging;
use super::run::run;
use super::sensitivity::SensitivityRow;
use crate::config::{self, Settings};
use crate::ledger::{self, Reader, RunRecord};
use crate::shards::{Counts, Table, read_columns, remove_staged};
use crate::sys::files::{DirError, LOCK_PATIENCE, lock_dir_patiently};
use crate::sys::staged;

/// The run to decide again, with its new settings.
#[derive(Debug, Clone)]
pub struct RedecideOptions {
    /// The output directory of a run, which may still be running. `redecide` does not change that directory.
    pub dir: PathBuf,
    /// The directory of the new selection, which must be empty or new.
    pub out_dir: PathBuf,
    /// Settings in place of the last run's, as `key=value`.
    pub overrides: Vec<String>,
    /// Whether the judge is called for justifications that are not stored.
    pub judging: Judging,
}

/// A new selection beside the old one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Redecision {
    /// Rows of the new selection.
    pub counts: Counts,
    /// The differences from the old selection.
    pub diff: Diff,
    /// The selection under other tie margins and fewer responses.
    pub sensitivity: Vec<SensitivityRow>,
    /// Queries in that table.
    pub sensitivity_queries: u64,
    /// Queries left out of it, because responses are not stored.
    pub sensitivity_incomplete: u64,
}

/// The differences between two selections of the same queries.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Diff {
    /// Samples in both with the same mode and response.
    pub same: u64,
    /// Samples in both with the same mode and another response.
    pub other_response: u64,
    /// Samples in both with another difficulty label.
    pub other_difficulty: u64,
    /// Queries whose mode changed.
    pub changed_mode: Vec<ModeChange>,
    /// Queries that have a sample only in the new selection.
    pub joined: Vec<String>,
    /// Queries that have a sample only in the old selection, each with the reason of its exclusion.
    pub left: BTreeMap<String, String>,
    /// Queries that are not settled in the old directory.
    pub unsettled_before: u64,
    /// Samples that still need a justification.
    pub justifications_outstanding: u64,
}

/// A query whose mode changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModeChange {
    /// The query.
    pub query_id: String,
    /// Its mode before.
    pub before: String,
    /// Its mode now.
    pub after: String,
}

/// Decides the last run of a directory again. Does not change the old directory.
pub async fn redecide(options: RedecideOptions, stop: CancellationToken) -> Result<Redecision, RunError> {
    let RedecideOptions { dir, out_dir, overrides, judging } = options;
    let (old_dir, new_dir) = (dir.clone(), out_dir.clone());
    let open = move || -> Result<(Context, RunRecord), RunError> {
        let reader = Reader::open(&dir)?;
        let fault = |dir: &Path, problem: String, hint: &str| RunError::Redecide {
            dir: dir.display().to_string(),
            problem,
            hint: hint.to_owned(),
        };
        let last = reader
            .latest_run()?
            .ok_or_else(|| fault(&dir, "its ledger has no started run".to_owned(), "start with `thinkloom run`"))?;
        let before: Settings = toml::from_str(&last.settings).map_err(|error| {
            fault(
                &dir,
                format!("its stored settings cannot be read: {}", error.message()),
                "use the version of thinkloom that ran it",
            )
        })?;
        let settings = config::parse_with_overrides(&last.settings, "the settings of the last run", &overrides)?;
        if let Some(key) = needs_sampling(&before, &settings) {
            let hint = "redecide accepts other select, difficulty, verify and judge settings and a smaller \
                        sampling.samples_per_mode; `thinkloom run --reconfigure` accepts all settings";
            return Err(fault(&dir, format!("{key} decides the responses, and redecide samples none"), hint));
        }
        let ledger_path = out_dir.join(ledger::FILE_NAME);
        let begun = Begun { fingerprint: last.fingerprint.clone(), settings: settings.clone() };
        check_place(&out_dir, &begun)?;
        // Rejects an unusable judge before any file is written, so that the same command can be tried again.
        open_stored_judge(&settings, &restore_policy(&settings, &last, &reader)?, judging)?;
        let lock = lock_dir_patiently(&out_dir, LOCK_PATIENCE, || stop.is_cancelled())?;
        // While this process waited for the lock, another one may have begun or finished.
        let goes_on = check_place(&out_dir, &begun)?;
        if goes_on {
            tracing::info!("resuming the selection in {}", out_dir.display());
        }
        begun.write(&out_dir)?;
        for name in remove_staged(&out_dir)? {
            tracing::info!("removed {name}, the unfinished file of a killed selection");
        }
        // An existing ledger may contain paid replies.
        if !ledger_path.exists() {
            copy_ledger(&reader, &ledger_path)?;
        }
        let options = StoredOptions { dir: out_dir, settings, last: last.clone(), judging };
        Ok((Context::open_stored(options, lock, stop)?, last))
    };
    let opened = tokio::task::spawn_blocking(open).await.map_err(|error| RunError::Internal(error.to_string()))??;
    let (context, last) = (Arc::new(opened.0), opened.1);
    let summary = run(&context).await?;
    Begun::remove(&context.run.dir)?;
    let fingerprint = context.run.record.fingerprint.clone();
    let compare = move || -> Result<Diff, RunError> {
        let before = Selection::read(&old_dir, &last.fingerprint)?;
        let after = Selection::read(&new_dir, &fingerprint)?;
        Ok(diff(&before, &after))
    };
    let diff = tokio::task::spawn_blocking(compare).await.map_err(|error| RunError::Internal(error.to_string()))??;
    let sensitivity =
        context.sensitivity.as_ref().map(|all| all.lock().unwrap_or_else(PoisonError::into_inner).clone());
    let (queries, incomplete) = sensitivity.as_ref().map_or((0, 0), super::sensitivity::Sensitivity::coverage);
    Ok(Redecision {
        counts: summary.counts,
        diff,
        sensitivity: sensitivity.map(|all| all.table()).unwrap_or_default(),
        sensitivity_queries: queries,
        sensitivity_incomplete: incomplete,
    })
}

/// Returns whether this selection was begun in a directory before. Rejects a directory with other contents.
fn check_place(out_dir: &Path, begun: &Begun) -> Result<bool, RunError> {
    let fault = |problem: &str, hint: &str| RunError::Redecide {
        dir: out_dir.display().to_string(),
        problem: problem.to_owned(),
        hint: hint.to_owned(),
    };
    match Begun::read(out_dir)? {
        Some(found) if found == *begun => Ok(true),
        Some(_) => Err(fault(
            "it has an unfinished selection of another run or with other settings",
            "repeat the command that began it, remove the directory, or choose another one with -o",
        )),
        None => {
            refuse_foreign(out_dir)?;
            if out_dir.join(ledger::FILE_NAME).exists() || out_dir.join("data").exists() {
                let hint = "remove the directory, or choose another one with -o";
                return Err(fault("it has a dataset already", hint));
            }
            Ok(false)
        }
    }
}

/// Copies a ledger under another name first, so that a partial copy never has the name of a ledger.
fn copy_ledger(reader: &Reader, path: &Path) -> Result<(), RunError> {
    let part = path.with_extension("part");
    let unwritable = |source| crate::shards::ShardError::Unreadable { path: part.clone(), source };
    for left in [part.clone(), part.with_extension("part-journal")] {
        match std::fs::remove_file(&left) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(unwritable(error).into()),
            _ => {}
        }
    }
    reader.copy_to(&part)?;
    // SQLite does not sync a copy. The copy replaces no file, but a run builds on it.
    let kept = std::fs::File::open(&part).and_then(|copy| copy.sync_all());
    let kept =
        kept.and_then(|()| std::fs::rename(&part, path)).and_then(|()| staged::sync_dir(staged::parent_of(path)));
    kept.map_err(|error| unwritable(error).into())
}

/// The settings of an unfinished selection in its directory, for the same command to resume it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Begun {
    /// The fingerprint of the run to decide again.
    fingerprint: String,
    /// The settings that decide the data.
    settings: Settings,
}

impl Begun {
    /// The file's name; hidden, so that no loader takes it for a part of the dataset.
    const FILE: &'static str = ".redecide";
    /// Prefix of its name while it is written.
    const STAGED_PREFIX: &'static str = ".thinkloom-redecide-";

    fn error(dir: &Path, source: std::io::Error) -> RunError {
        DirError::Io { path: dir.join(Self::FILE), source }.into()
    }

    /// Returns the unfinished selection of a directory, if any.
    fn read(dir: &Path) -> Result<Option<Self>, RunError> {
        match std::fs::read(dir.join(Self::FILE)) {
            // An unreadable file is of another version, and so of another selection.
            Ok(bytes) => Ok(Some(
                serde_json::from_slice(&bytes)
                    .unwrap_or_else(|_| Self { fingerprint: String::new(), settings: Settings::default() }),
            )),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Self::error(dir, error)),
        }
    }

    fn write(&self, dir: &Path) -> Result<(), RunError> {
        let text = serde_json::to_vec(self).map_err(|error| RunError::Internal(error.to_string()))?;
        let written = staged::write_whole(&dir.join(Self::FILE), Self::STAGED_PREFIX, &text);
        written.map_err(|error| Self::error(dir, error))
    }

    fn remove(dir: &Path) -> Result<(), RunError> {
        let removed = std::fs::remove_file(dir.join(Self::FILE)).and_then(|()| staged::sync_dir(dir));
        removed.map_err(|error| Self::error(dir, error))
    }
}

/// Returns a key whose change needs other responses than the stored ones, if any.
fn needs_sampling(before: &Settings, after: &Settings) -> Option<String> {
    if after.sampling.samples_per_mode > before.sampling.samples_per_mode {
        return Some("sampling.samples_per_mode".to_owned());
    }
    let comparable = |settings: &Settings| {
        let mut settings = settings.clone();
        settings.sampling.samples_per_mode = 1;
        settings.sampling.budget = config::BudgetPolicy::Full;
        settings.sampling.allow_unthinking = false;
        serde_json::to_value(&settings).unwrap_or_default()
    };
    let (before, after) = (comparable(before), comparable(after));
    let sections = ["input", "dedup", "policy", "sampling"];
    let changed = |section: &&str| {
        let (before, after) = (before[*section].as_object()?, after[*section].as_object()?);
        let keys = before.keys().chain(after.keys());
        let key = keys.into_iter().find(|key| before.get(*key) != after.get(*key))?;
        Some(format!("{section}.{key}"))
    };
    sections.iter().find_map(changed)
}

/// The part of a published selection that a diff needs: about a hundred bytes per query.
struct Selection {
    samples: BTreeMap<u64, Selected>,
    /// Reasons by ordinal, with the query's id.
    exclusions: BTreeMap<u64, (String, String)>,
}

struct Selected {
    query_id: String,
    mode: String,
    seed: String,
    difficulty: String,
    is_outstanding: bool,
}

impl Selection {
    fn read(dir: &Path, fingerprint: &str) -> Result<Self, RunError> {
        let (mut samples, mut exclusions) = (BTreeMap::new(), BTreeMap::new());
        let text = |cell: Option<String>| cell.unwrap_or_default();
        for record in Reader::open(dir)?.shards(fingerprint)? {
            let path = dir.join(&record.file_name);
            if record.table == Table::Samples.name() {
                let columns = ["ordinal", "query_id", "mode", "seed", "difficulty", "justification_status"];
                for row in read_columns(&path, &columns)? {
                    let Ok([ordinal, query_id, mode, seed, difficulty, status]) = <[_; 6]>::try_from(row) else {
                        continue;
                    };
                    let selected = Selected {
                        query_id: text(query_id),
                        mode: text(mode),
                        seed: text(seed),
                        difficulty: text(difficulty),
                        is_outstanding: status.as_deref() == Some("outstanding"),
                    };
                    samples.insert(text(ordinal).parse().unwrap_or(u64::MAX), selected);
                }
            } else if record.table == Table::Exclusions.name() {
                for row in read_columns(&path, &["ordinal", "query_id", "reason"])? {
                    let Ok([ordinal, query_id, reason]) = <[_; 3]>::try_from(row) else { continue };
                    exclusions.insert(text(ordinal).parse().unwrap_or(u64::MAX), (text(query_id), text(reason)));
                }
            }
        }
        Ok(Self { samples, exclusions })
    }
}

fn diff(before: &Selection, after: &Selection) -> Diff {
    let mut diff = Diff::default();
    for (ordinal, now) in &after.samples {
        diff.justifications_outstanding += u64::from(now.is_outstanding);
        let Some(then) = before.samples.get(ordinal) else {
            if before.exclusions.contains_key(ordinal) {
                diff.joined.push(now.query_id.clone());
            } else {
                diff.unsettled_before += 1;
            }
            continue;
        };
        diff.other_difficulty += u64::from(then.difficulty != now.difficulty);
        if then.mode != now.mode {
            let (query_id, before, after) = (now.query_id.clone(), then.mode.clone(), now.mode.clone());
            diff.changed_mode.push(ModeChange { query_id, before, after });
        } else if then.seed != now.seed {
            diff.other_response += 1;
        } else {
            diff.same += 1;
        }
    }
    for (ordinal, (query_id, reason)) in &after.exclusions {
        if before.samples.contains_key(ordinal) {
            diff.left.insert(query_id.clone(), reason.clone());
        } else if !before.exclusions.contains_key(ordinal) {
            diff.unsettled_before += 1;
        }
    }
    diff
}
