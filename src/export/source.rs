//! The published shards of a run, read one at a time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::ExportError;
use crate::shards::{MANIFEST_FILE, Manifest, RolloutRow, SampleRow, Table, read_rows};

/// The shards of an output directory.
#[derive(Debug)]
pub struct Source {
    dir: PathBuf,
    /// Indices of the shards, ascending.
    indices: Vec<u32>,
    /// What the directory says of itself; a run that is not finished has none.
    pub manifest: Option<Manifest>,
}

/// One shard's rows.
#[derive(Debug)]
pub struct SourceShard {
    /// The samples.
    pub samples: Vec<SampleRow>,
    /// The responses by query ordinal; empty unless asked for.
    pub rollouts: HashMap<i64, Vec<RolloutRow>>,
}

impl Source {
    /// Lists the published shards of an output directory.
    ///
    /// # Errors
    /// [`ExportError::NoSamples`] if there are none; [`ExportError::Shard`] for a manifest of a newer program.
    pub fn open(dir: &Path) -> Result<Self, ExportError> {
        let folder = dir.join(Table::Samples.dir());
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries.collect::<Result<Vec<_>, _>>()?,
            Err(_) => Vec::new(),
        };
        let index = |name: String| name.strip_prefix("train-")?.strip_suffix(".parquet")?.parse::<u32>().ok();
        let names = entries.into_iter().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut indices: Vec<u32> = names.filter_map(index).collect();
        indices.sort_unstable();
        if indices.is_empty() {
            return Err(ExportError::NoSamples { dir: dir.to_owned() });
        }
        let manifest = match std::fs::read(dir.join(MANIFEST_FILE)) {
            Ok(bytes) => Some(Manifest::from_json(&bytes)?),
            Err(_) => None,
        };
        Ok(Self { dir: dir.to_owned(), indices, manifest })
    }

    /// Reads the shards in order, each when it is asked for.
    pub fn shards(&self, with_rollouts: WithRollouts) -> impl Iterator<Item = Result<SourceShard, ExportError>> + '_ {
        self.indices.iter().map(move |&index| {
            let samples = read_rows(&self.dir.join(Table::Samples.file_name(index)))?;
            let mut rollouts: HashMap<i64, Vec<RolloutRow>> = HashMap::new();
            if with_rollouts == WithRollouts::Yes {
                for rollout in read_rows::<RolloutRow>(&self.dir.join(Table::Rollouts.file_name(index)))? {
                    rollouts.entry(rollout.ordinal).or_default().push(rollout);
                }
            }
            Ok(SourceShard { samples, rollouts })
        })
    }
}

/// Whether responses are read beside samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithRollouts {
    /// They are.
    Yes,
    /// They are not.
    No,
}
