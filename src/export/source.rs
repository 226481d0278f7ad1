//! The published shards of a run, read one at a time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::ExportError;
use crate::shards::{Manifest, RolloutRow, SampleRow, Table, read_rows};

/// The shards of an output directory.
#[derive(Debug)]
pub struct Source {
    dir: PathBuf,
    /// The indices of the shards, ascending.
    indices: Vec<u32>,
    /// The manifest of the directory, if any.
    pub manifest: Option<Manifest>,
}

/// One shard's rows.
#[derive(Debug)]
pub struct SourceShard {
    /// The samples.
    pub samples: Vec<SampleRow>,
    /// The responses by query ordinal; empty unless requested.
    pub rollouts: HashMap<i64, Vec<RolloutRow>>,
}

impl Source {
    /// Builds a source from the shards of an output directory, by their indices.
    pub fn new(dir: &Path, mut indices: Vec<u32>, manifest: Option<Manifest>) -> Result<Self, ExportError> {
        if indices.is_empty() {
            return Err(ExportError::NoSamples { dir: dir.to_owned() });
        }
        indices.sort_unstable();
        Ok(Self { dir: dir.to_owned(), indices, manifest })
    }

    /// Reads the shards in order, each on demand.
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

/// Whether responses are read with the samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithRollouts {
    /// Responses are read.
    Yes,
    /// Responses are not read.
    No,
}
