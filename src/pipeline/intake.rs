//! From input files to frozen rows: read, check, drop exact duplicates, store.

use sha2::{Digest, Sha256};

use super::error::RunError;
use crate::config::{ConfigError, InputSettings, LoadedConfig};
use crate::dedup::ExactIndex;
use crate::domain::{Exclusion, ExclusionReason, Query};
use crate::ingest::{self, InputFile, InputOptions, Row};
use crate::ledger::{IntakeRow, Ledger};
use crate::verify;

/// Version of the readers', identities' and deduplication's rules: raised when the same files could give other rows.
const INTAKE_VERSION: u32 = 2;

/// The files of an input, and the hash over everything that decides its rows.
#[derive(Debug)]
pub struct Input {
    files: Vec<InputFile>,
    options: InputOptions,
    /// SHA-256 in hex.
    pub digest: String,
}

/// Finds the input files and hashes them.
///
/// # Errors
/// [`RunError::Config`] if no file is named, [`RunError::Ingest`] if a pattern matches nothing or a file cannot be read.
pub fn open(config: &LoadedConfig) -> Result<Input, RunError> {
    let InputSettings { paths, kind, fields } = &config.settings.input;
    if paths.is_empty() {
        let (origin, detail) = ("the config".to_owned(), "is empty: name at least one file".to_owned());
        return Err(ConfigError::Value { origin, key: "input.paths", detail }.into());
    }
    let files = ingest::expand_paths(paths, &config.base_dirs())?;
    let mut hasher = Sha256::new();
    let mut add = |text: &str| {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    add(&INTAKE_VERSION.to_string());
    add(&serde_json::to_string(fields).unwrap_or_default());
    add(kind.map_or("", crate::domain::Kind::name));
    for file in &files {
        add(&file.name);
        add(&ingest::digest_file(&file.path)?);
    }
    let options = InputOptions { fields: fields.clone(), kind: *kind };
    Ok(Input { files, options, digest: hex::encode(hasher.finalize()) })
}

/// Stores the rows of an input, unless they are stored already; returns how many there are.
///
/// # Errors
/// [`RunError`] if a file cannot be read or the ledger fails; nothing is stored then.
pub fn store(input: &Input, ledger: &Ledger) -> Result<u64, RunError> {
    let known = ledger.reader()?.intake_rows(&input.digest)?;
    if known > 0 {
        return Ok(known);
    }
    let mut index = ExactIndex::new();
    let mut unread = UnreadGolds::default();
    let rows = ingest::read(&input.files, &input.options).map(|row| match row? {
        Row::Query(query) => {
            let row = admit(query, &mut index);
            // Of what is excluded nothing is verified.
            if let IntakeRow::Query(query) = &row {
                unread.look_at(query);
            }
            Ok(row)
        }
        Row::Excluded(exclusion) => Ok(IntakeRow::Excluded(exclusion)),
    });
    let count = ledger.store_intake::<RunError>(&input.digest, rows)?;
    unread.report();
    Ok(count)
}

/// Golds that the verifier can compare as texts only: no reason to exclude a query, but one to tell the user.
#[derive(Default)]
struct UnreadGolds {
    count: u64,
    first: Option<String>,
}

impl UnreadGolds {
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
            "golds of kind math that are not read as mathematics: {}, the first in {first}; only the same text will count \
             as correct (hint: rewrite them, or give such rows the kind text)",
            self.count
        );
    }
}

/// Excludes a query whose gold cannot be read or whose question was seen before.
fn admit(query: Query, index: &mut ExactIndex) -> IntakeRow {
    let exclude = |query: Query, reason, detail| {
        let Query { id, ordinal, source, origin, .. } = query;
        IntakeRow::Excluded(Exclusion { query_id: Some(id), ordinal, source, origin, reason, detail })
    };
    // Code is judged by its tests; what else could be wrong with a gold was checked when the row was read.
    if let Err(detail) = verify::check_gold(query.kind, &query.gold, &query.choices) {
        return exclude(query, ExclusionReason::InvalidValue, detail);
    }
    match index.insert(&query) {
        None => IntakeRow::Query(query),
        Some(duplicate) => {
            let gold = if duplicate.conflicting_gold { "with another answer" } else { "with the same answer" };
            let detail = format!("the same question as query {}, {gold}", duplicate.of);
            exclude(query, ExclusionReason::Duplicate, detail)
        }
    }
}
