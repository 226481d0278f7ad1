//! Publishing: a shard is encoded from facts, written durably, and only then recorded (I3).
//!
//! A crash between the file and its row repeats the same bytes under the same name. A published file that is missing
//! is written again, and so is one that another configuration published in its place; one that was changed is moved
//! aside first, never overwritten.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use futures::stream::{StreamExt, TryStreamExt};

use super::context::Context;
use super::error::RunError;
use super::judging::{self, PendingJudgement};
use super::limits;
use super::rows::{self, Outcome, Sample, SettledRow, Settling};
use super::sensitivity::Sensitivity;
use super::usage;
use crate::judge::JudgeKind;
use crate::judge::check::Neighbours;
use crate::ledger::{Fact, Reader, ShardRecord};
use crate::shards::{
    self, CardFacts, Counts, ExclusionRow, FileEntry, FileState, Manifest, PolicyIdentity, Provenance, RolloutRow,
    SampleRow, ShardError, Table, TableWriter,
};
use crate::sys::memory;

/// Returns the indices of the shards whose three files are published and intact. Files that are not are dealt with as
/// the module says, and their shard counts as unpublished. Blocks.
///
/// # Errors
/// [`RunError`] if the ledger or a file cannot be read.
pub fn published(context: &Context, reader: &Reader) -> Result<Vec<u64>, RunError> {
    let mut intact: BTreeMap<u64, usize> = BTreeMap::new();
    let superseded = reader.superseded_shards(&context.run.fingerprint)?;
    let is_explained = |name: &str, found: &str| {
        superseded.iter().any(|other| other.file_name == name && other.sha256.eq_ignore_ascii_case(found))
    };
    for record in reader.shards(&context.run.fingerprint)? {
        match context.publisher.verify(&record.file_name, &record.sha256)? {
            FileState::Intact => *intact.entry(record.index).or_default() += 1,
            FileState::Missing => tracing::warn!("{} is missing and will be written again", record.file_name),
            // The directory was run with other settings in between: that run's facts can give its file again.
            FileState::Different { found } if is_explained(&record.file_name, &found) => {}
            FileState::Different { found } => move_aside(context, &record.file_name, &found)?,
        }
    }
    Ok(intact.into_iter().filter(|(_, files)| *files == Table::ALL.len()).map(|(index, _)| index).collect())
}

fn move_aside(context: &Context, name: &str, found: &str) -> Result<(), RunError> {
    // The new name ends in something that no view's glob matches.
    let aside = format!("{name}.changed-{}", found.get(..12).unwrap_or(found));
    tracing::warn!("{name} is not what was published; it is kept as {aside} and written again");
    Ok(context.publisher.rename(name, &aside)?)
}

/// A shard as its facts give it.
enum Closing {
    /// Its files: bytes and number of rows.
    Files(Vec<(Table, Bytes, u64)>),
    /// Texts nearly repeat those of earlier queries: these are to be asked for again.
    Pending(Vec<PendingJudgement>),
}

/// Publishes one shard whose rows are all settled but for near-copies among its justifications, which are asked for
/// again first: each is measured against those of earlier queries that are settled for good, so that the outcome is a
/// function of the facts and of the order of the queries.
///
/// # Errors
/// [`RunError`] if facts are missing, the judge cannot be asked, or a file cannot be written; what was published before
/// stands.
pub async fn publish(context: Arc<Context>, index: u64) -> Result<(), RunError> {
    let range = context.shard_range(index);
    let (start, end) = (range.start, range.end);
    let context = &context;
    let files = loop {
        match context.read(move |context, reader| close_shard(context, reader, start, end)).await? {
            Closing::Files(files) => break files,
            Closing::Pending(pending) => ask_again(context, pending).await?,
        }
    };
    let mut shard = Vec::with_capacity(Table::ALL.len());
    for (table, bytes, rows) in files {
        let file_name = table.file_name(u32::try_from(index).unwrap_or(u32::MAX));
        let record = ShardRecord {
            fingerprint: context.run.fingerprint.clone(),
            table: table.name().to_owned(),
            index,
            file_name,
            sha256: shards::sha256(&bytes),
            rows,
            bytes: bytes.len() as u64,
            first_ordinal: start,
            end_ordinal: end,
        };
        shard.push((record, bytes));
    }
    // A start that ends before the files have their rows leaves files that are explained all the same, so that a later
    // configuration can tell them from a stranger's and remove them.
    let records = || shard.iter().map(|(record, _)| record.clone());
    context.ledger.commit(records().map(Fact::ShardBegun).collect()).await?;
    for (record, bytes) in &shard {
        context.publisher.put(&record.file_name, bytes.clone()).await?;
    }
    context.ledger.commit(records().map(Fact::Shard).collect()).await?;
    drop(shard);
    context.blocking.run(memory::return_freed).await?;
    tracing::info!("published shard {index} (input rows {start} to {})", end.saturating_sub(1));
    Ok(())
}

async fn ask_again(context: &Arc<Context>, pending: Vec<PendingJudgement>) -> Result<(), RunError> {
    tracing::debug!("{} justifications nearly repeat an earlier query's and are asked for again", pending.len());
    let asks = pending.into_iter().map(|mut pending| async move { judging::judge(context, &mut pending).await });
    let bound = limits::judging_queries_max(&context.settings);
    futures::stream::iter(asks).buffer_unordered(bound).try_collect::<Vec<()>>().await.map(drop)
}

/// The files of a shard while its rows are written to them.
struct ShardWriter {
    samples: TableWriter<SampleRow>,
    rollouts: TableWriter<RolloutRow>,
    exclusions: TableWriter<ExclusionRow>,
}

impl ShardWriter {
    fn new(provenance: &Provenance) -> Result<Self, ShardError> {
        Ok(Self {
            samples: TableWriter::new(Table::Samples, provenance)?,
            rollouts: TableWriter::new(Table::Rollouts, provenance)?,
            exclusions: TableWriter::new(Table::Exclusions, provenance)?,
        })
    }

    fn push(&mut self, settled: SettledRow) -> Result<(), ShardError> {
        for rollout in settled.rollouts {
            self.rollouts.push(rollout)?;
        }
        match settled.outcome {
            Outcome::Sample(sample) => self.samples.push(*sample.row),
            Outcome::Excluded(exclusion) => self.exclusions.push(rows::exclusion_row(exclusion)),
        }
    }

    fn finish(self) -> Result<Vec<(Table, Bytes, u64)>, ShardError> {
        let Self { samples, rollouts, exclusions } = self;
        let files = [
            (Table::Samples, samples.finish()?),
            (Table::Rollouts, rollouts.finish()?),
            (Table::Exclusions, exclusions.finish()?),
        ];
        Ok(files.into_iter().map(|(table, (bytes, rows))| (table, bytes, rows)).collect())
    }
}

/// Settles the rows of a shard in order and writes each as it is settled. Behind the first that is not settled for good
/// nothing is written, nor added to what later texts are measured against.
fn close_shard(context: &Context, reader: &Reader, start: u64, end: u64) -> Result<Closing, RunError> {
    let kind = context.judge.as_ref().map_or(JudgeKind::Local, |judge| judge.kind());
    let mut neighbours = Arc::new(Neighbours::new(kind));
    // Of the round that closes the shard alone, or queries would count twice.
    let mut sensitivity = context.sensitivity.as_ref().map(|_| Sensitivity::new(&context.settings));
    let mut pending: Vec<PendingJudgement> = Vec::new();
    let policy = context.policy.identity();
    let mut writer = ShardWriter::new(&Provenance {
        policy_model: policy.model.clone(),
        policy_revision: policy.revision.clone(),
        prompt_version: context.prompt_version.clone(),
    })?;
    for row in reader.intake(&context.run.input_digest, start, end)? {
        let settled = match rows::settle_among(context, reader, row, Some(&neighbours), sensitivity.as_mut())? {
            Settling::Done(settled) => settled,
            Settling::Pending(unsettled) => {
                pending.push(*unsettled);
                continue;
            }
        };
        if !pending.is_empty() {
            continue;
        }
        if let Outcome::Sample(Sample { row, .. }) = &settled.outcome
            && let Some(text) = &row.justification
        {
            Arc::make_mut(&mut neighbours).add(text);
        }
        writer.push(settled)?;
    }
    if !pending.is_empty() {
        return Ok(Closing::Pending(pending));
    }
    if let (Some(all), Some(of_shard)) = (&context.sensitivity, &sensitivity) {
        all.lock().unwrap_or_else(PoisonError::into_inner).merge(of_shard);
    }
    Ok(Closing::Files(writer.finish()?))
}

/// Sums over the published files of a run. Blocks.
///
/// # Errors
/// [`RunError`] if a file cannot be read.
pub fn run_counts(dir: &Path, records: &[ShardRecord], queries: u64) -> Result<Counts, RunError> {
    count_rows(records, queries, |name| shards::read_columns(&dir.join(name), &["reason"]))
}

/// Sums over records of published files, whose reasons for exclusions `reasons` reads.
fn count_rows(
    records: &[ShardRecord],
    queries: u64,
    reasons: impl Fn(&str) -> Result<Vec<Vec<Option<String>>>, shards::ShardError>,
) -> Result<Counts, RunError> {
    let rows_of = |table: Table| -> u64 {
        records.iter().filter(|record| record.table == table.name()).map(|record| record.rows).sum()
    };
    let mut exclusions_by_reason: BTreeMap<String, u64> = BTreeMap::new();
    for record in records.iter().filter(|record| record.table == Table::Exclusions.name()) {
        for row in reasons(&record.file_name)? {
            let reason = row.into_iter().next().flatten().unwrap_or_default();
            *exclusions_by_reason.entry(reason).or_default() += 1;
        }
    }
    Ok(Counts {
        queries,
        samples: rows_of(Table::Samples),
        rollouts: rows_of(Table::Rollouts),
        exclusions: rows_of(Table::Exclusions),
        exclusions_by_reason,
    })
}

/// Writes what describes a finished run: views, manifest, card; and removes shards of earlier configurations that the
/// present one has no counterpart for.
///
/// # Errors
/// [`RunError`] if a file cannot be read or written.
pub async fn finish(context: &Arc<Context>) -> Result<Counts, RunError> {
    let (manifest, judge_models) = context.read(describe).await?;
    let spend = context.read(|context, reader| usage::spend(reader, &context.settings)).await?;
    let license = context.settings.output.license.clone();
    let card = shards::card(&manifest, &CardFacts { judge_models, license: (!license.is_empty()).then_some(license) });
    let files = [
        (shards::SPEND_FILE, Bytes::from(spend.to_json())),
        (shards::VIEWS_FILE, Bytes::from_static(shards::VIEWS_SQL.as_bytes())),
        (shards::CARD_FILE, Bytes::from(card)),
        (shards::MANIFEST_FILE, manifest.to_json()),
    ];
    for (name, bytes) in files {
        context.publisher.put(name, bytes).await?;
    }
    Ok(manifest.counts)
}

fn describe(context: &Context, reader: &Reader) -> Result<(Manifest, Vec<String>), RunError> {
    let records = reader.shards(&context.run.fingerprint)?;
    remove_superseded(context, reader, &records)?;
    let mut judges: Vec<String> = Vec::new();
    for record in records.iter().filter(|record| record.table == Table::Samples.name()) {
        let rows = context.publisher.read_columns(&record.file_name, &["judge_model"])?;
        judges.extend(rows.into_iter().flatten().flatten());
        judges.sort_unstable();
        judges.dedup();
    }
    let entry = |record: &ShardRecord| FileEntry {
        name: record.file_name.clone(),
        sha256: record.sha256.clone(),
        rows: record.rows,
        bytes: record.bytes,
        first_ordinal: record.first_ordinal,
        end_ordinal: record.end_ordinal,
    };
    let policy = context.policy.identity();
    let manifest = Manifest {
        thinkloom_version: env!("CARGO_PKG_VERSION").to_owned(),
        tables_version: shards::TABLES_VERSION,
        fingerprint: context.run.fingerprint.clone(),
        identity: context.identity.parts().clone(),
        policy: PolicyIdentity { model: policy.model.clone(), revision: policy.revision.clone() },
        prompt_version: context.prompt_version.clone(),
        counts: count_rows(&records, context.rows, |name| context.publisher.read_columns(name, &["reason"]))?,
        files: records.iter().map(entry).collect(),
    };
    Ok((manifest, judges))
}

/// Removes files that an earlier configuration published and the present one does not have: views read every shard in
/// the directory, and must not mix runs. Only files that the ledger explains to the byte are removed.
fn remove_superseded(context: &Context, reader: &Reader, current: &[ShardRecord]) -> Result<(), RunError> {
    for record in reader.superseded_shards(&context.run.fingerprint)? {
        let is_current = current.iter().any(|current| current.file_name == record.file_name);
        if is_current || context.publisher.verify(&record.file_name, &record.sha256)? != FileState::Intact {
            continue;
        }
        tracing::info!("removing {}, which an earlier configuration published", record.file_name);
        context.publisher.remove(&record.file_name)?;
    }
    Ok(())
}
