//! What a list needs of every published query, kept up to date with the files.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use crate::pipeline::RunError;
use crate::report::page::Choices;
use crate::report::{Entry, collect, entries_of, entry, figures, published};
use crate::shards::{MANIFEST_FILE, ShardError, Table};

/// Characters of a question that are searched and listed.
const QUESTION_CHARS: usize = 300;
/// Characters of other texts that are.
const TEXT_CHARS: usize = 120;

/// What tells one version of a file from another.
type Stamp = (u64, Option<SystemTime>);

/// The published queries of a directory.
#[derive(Debug, Default)]
pub struct Index {
    shards: BTreeMap<u32, (Stamp, Vec<Entry>)>,
    choices: Choices,
    manifest: Option<Stamp>,
    /// The figures, until something changes.
    html: Option<String>,
}

/// What a list is to hold; empty texts ask for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Lower-case text that id, question, reference or detail must hold.
    pub search: String,
    /// The outcome.
    pub outcome: String,
    /// The difficulty label.
    pub difficulty: String,
    /// The source.
    pub source: String,
}

impl Index {
    /// Reads shards that have come or changed, and forgets those that are gone. Blocks.
    ///
    /// # Errors
    /// [`RunError`] if a file cannot be read.
    pub fn refresh(&mut self, dir: &Path) -> Result<(), RunError> {
        let indices = published(dir)?;
        let before = self.shards.len();
        self.shards.retain(|index, _| indices.contains(index));
        let mut has_changed = before != self.shards.len();
        for index in indices {
            let stamp = stamp(&dir.join(Table::Samples.file_name(index)))?;
            if self.shards.get(&index).is_some_and(|(known, _)| *known == stamp) {
                continue;
            }
            let entries: Vec<Entry> = entries_of(dir, index)?.into_iter().map(light).collect();
            self.shards.insert(index, (stamp, entries));
            has_changed = true;
        }
        let manifest = stamp(&dir.join(MANIFEST_FILE)).ok();
        if has_changed || manifest != self.manifest {
            self.manifest = manifest;
            self.html = None;
            self.choices = Choices::default();
            for (_, entries) in self.shards.values() {
                entries.iter().for_each(|entry| self.choices.add(entry));
            }
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
        let state = if self.manifest.is_some() { "a finished run" } else { "a run that goes on, or was stopped" };
        (format!("thinkloom: {name}"), state.to_owned())
    }

    /// Returns the figures. Blocks.
    ///
    /// # Errors
    /// [`RunError`] if a file or the ledger cannot be read.
    pub fn figures(&mut self, dir: &Path) -> Result<String, RunError> {
        if let Some(html) = &self.html {
            return Ok(html.clone());
        }
        let indices: Vec<u32> = self.shards.keys().copied().collect();
        let html = figures::figures(&collect(dir, &indices)?);
        self.html = Some(html.clone());
        Ok(html)
    }

    /// Returns how many queries fit a filter, and some of them.
    #[must_use]
    pub fn list(&self, filter: &Filter, offset: usize, limit: usize) -> (usize, Vec<&Entry>) {
        let all = self.shards.values().flat_map(|(_, entries)| entries).filter(|entry| filter.fits(entry));
        let mut total = 0;
        let mut rows = Vec::new();
        for entry in all {
            if total >= offset && rows.len() < limit {
                rows.push(entry);
            }
            total += 1;
        }
        (total, rows)
    }

    /// Returns one query with its responses. Blocks.
    ///
    /// # Errors
    /// [`RunError`] if a file cannot be read.
    pub fn entry(&self, dir: &Path, ordinal: i64) -> Result<Option<Entry>, RunError> {
        let holds = |entries: &[Entry]| entries.binary_search_by_key(&ordinal, |entry| entry.ordinal).is_ok();
        let Some((index, _)) = self.shards.iter().find(|(_, (_, entries))| holds(entries)) else { return Ok(None) };
        Ok(entry(dir, *index, ordinal)?)
    }
}

impl Filter {
    fn fits(&self, entry: &Entry) -> bool {
        let is = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
        is(&self.outcome, &entry.outcome)
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

/// Keeps what a list needs.
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
