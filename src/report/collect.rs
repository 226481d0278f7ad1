//! Collects the data of a report from shards, manifest and ledger.

use std::path::Path;

use super::gather::{Gathered, Timeline, gather};
use crate::config::Settings;
use crate::ledger::Reader;
use crate::pipeline::{RunError, usage};
use crate::shards::{MANIFEST_FILE, Manifest, ShardError, Table};

/// Returns the indices of the shards with all three files in a directory, ascending.
///
/// # Errors
/// [`ShardError::Unreadable`] if the directory cannot be listed.
pub fn published(dir: &Path) -> Result<Vec<u32>, ShardError> {
    let folder = dir.join(Table::Samples.dir());
    let unreadable = |source| ShardError::Unreadable { path: folder.clone(), source };
    #[expect(clippy::disallowed_methods, reason = "the error names the directory itself")]
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(unreadable)?,
    };
    let mut indices = Vec::new();
    for entry in entries {
        let name = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
        let index = name.strip_prefix("train-").and_then(|rest| rest.strip_suffix(".parquet")?.parse::<u32>().ok());
        let is_whole = |index: &u32| Table::ALL.iter().all(|table| dir.join(table.file_name(*index)).is_file());
        indices.extend(index.filter(is_whole));
    }
    indices.sort_unstable();
    Ok(indices)
}

/// Reads a directory. Blocks.
pub fn collect(dir: &Path, indices: &[u32]) -> Result<Gathered, RunError> {
    let manifest = match fs_err::read(dir.join(MANIFEST_FILE)) {
        Ok(bytes) => Some(Manifest::from_json(&bytes)?),
        Err(_) => None,
    };
    let reader = Reader::open(dir)?;
    let mut all = gather(dir, indices, manifest)?;
    let settings: Settings = match reader.latest_run()? {
        Some(run) => toml::from_str(&run.settings).unwrap_or_default(),
        None => Settings::default(),
    };
    all.tie_margin = Some(settings.select.tie_margin);
    all.spend_usd = usage::spend(&reader, &settings)?.spend_usd;
    all.tokens_per_second = reader.tokens_per_second()?;
    let costs = usage::costs(&reader, &settings)?;
    all.timeline = Timeline::new(&reader.sampling_times()?, costs.as_deref());
    Ok(all)
}
