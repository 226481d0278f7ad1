//! Publishes a shard: encodes it from facts, writes it durably, and only then records it (I3).
//!
//! After a crash between the file and its row, the next start writes the same bytes under the same name. A missing
//! published file is written again, and so is one that another configuration published in its place. A file that was
//! changed by hand is moved aside first, never overwritten.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use futures::stream::{StreamExt, TryStreamExt};

use super::actors::Actors;
use super::context::Context;
use super::error::RunError;
use super::identity::Run;
use super::judging::{self, Asked, PendingJudgement};
use super::limits;
use super::outcome::{Outcome, Sample};
use super::rows::{self, SettledRow, Settling};
use super::sensitivity::Sensitivity;
use super::usage;
use crate::domain::digest::sha256;
use crate::http::left_out::Side;
use crate::judge::JudgeKind;
use crate::judge::check::Neighbours;
use crate::ledger::{Fact, Reader, ShardRecord};
use crate::policy::Policy;
use crate::shards::seal::{self, Comment, sealed};
use crate::shards::{
    self, CardFacts, Counts, ExclusionRow, FileEntry, FileState, Manifest, Provenance, Publisher, RolloutRow,
    SampleRow, SampledModel, ShardError, Table, TableWriter,
};
use crate::sys::memory;

/// Returns the indices of the shards whose three files are published and intact. Handles other files as the module doc
/// describes, and counts their shard as unpublished. Blocks.
pub(super) fn published(context: &Context, reader: &Reader) -> Result<Vec<u64>, RunError> {
    let mut intact: BTreeMap<u64, usize> = BTreeMap::new();
    let superseded = reader.superseded_shards(&context.run.record.fingerprint)?;
    let is_explained = |name: &str, found: &str| {
        superseded.iter().any(|other| other.file_name == name && other.sha256.eq_ignore_ascii_case(found))
    };
    for record in reader.shards(&context.run.record.fingerprint)? {
        match context.stores.publisher.verify(&record.file_name, &record.sha256)? {
            FileState::Intact => *intact.entry(record.index).or_default() += 1,
            FileState::Missing => tracing::warn!("{} is missing; thinkloom writes it again", record.file_name),
            // The directory was run with other settings in between. The facts of the earlier run can give its file
            // again.
            FileState::Different { found } if is_explained(&record.file_name, &found) => {}
            FileState::Different { found } => move_aside(&context.stores.publisher, &record.file_name, &found)?,
        }
    }
    // The table of other settings sums over all shards while they are built, so that files of earlier starts are
    // written again too.
    if context.sensitivity.is_some() {
        return Ok(Vec::new());
    }
    Ok(intact.into_iter().filter(|(_, files)| *files == Table::ALL.len()).map(|(index, _)| index).collect())
}

fn move_aside(publisher: &Publisher, name: &str, found: &str) -> Result<(), RunError> {
    let aside = seal::aside(name, found);
    tracing::warn!("{name} was changed after it was published; thinkloom keeps it as {aside} and writes {name} again");
    Ok(publisher.rename(name, &aside)?)
}

/// Moves a file aside that is in the place of a shard's file and that no run wrote.
fn keep_stranger(publisher: &Publisher, reader: &Reader, name: &str) -> Result<(), RunError> {
    match publisher.hash(name)? {
        Some(found) if !reader.explains(name, &found)? => move_aside(publisher, name, &found),
        _ => Ok(()),
    }
}

/// The result of building a shard from its facts.
enum Closing {
    /// The shard's files: bytes and number of rows.
    Files(Vec<(Table, Bytes, u64)>),
    /// Justifications that nearly repeat an earlier query's; the judge is called again for them.
    Pending(Vec<PendingJudgement>),
}

/// Publishes one shard whose rows are all settled, except for near-copies among its justifications, for which the judge
/// is called again first. Each text is compared with the justifications of earlier queries that are settled for good,
/// so that the outcome is a function of the facts and of the order of the queries.
///
/// # Errors
/// [`RunError`] if facts are missing, the judge cannot be called, or a file cannot be written. Files published before
/// are kept.
pub(super) async fn publish(context: Arc<Context>, index: u64) -> Result<(), RunError> {
    let range = context.run.shard_range(index);
    let (start, end) = (range.start, range.end);
    let context = &context;
    let files = loop {
        match context.read(move |context, reader| close_shard(context, reader, start, end)).await? {
            Closing::Files(files) => break files,
            Closing::Pending(pending) => ask_again(context, pending).await?,
        }
    };
    let records = put_files(context, index, files).await?;
    context.stores.ledger.commit(records.into_iter().map(Fact::Shard).collect()).await?;
    context.actors.blocking.run(memory::return_freed).await?;
    tracing::info!("published shard {index} (input rows {start} to {})", end.saturating_sub(1));
    Ok(())
}

/// Makes the files of a shard durable under their names: the whole shard, or its settled rows, which are written again
/// later. Returns the records of the files.
pub(super) async fn put_files(
    context: &Arc<Context>,
    index: u64,
    files: Vec<(Table, Bytes, u64)>,
) -> Result<Vec<ShardRecord>, RunError> {
    let range = context.run.shard_range(index);
    let (start, end) = (range.start, range.end);
    let mut shard = Vec::with_capacity(Table::ALL.len());
    for (table, bytes, rows) in files {
        let file_name = table.file_name(u32::try_from(index).unwrap_or(u32::MAX));
        let record = ShardRecord {
            fingerprint: context.run.record.fingerprint.clone(),
            table: table.name().to_owned(),
            index,
            file_name,
            sha256: sha256(&bytes),
            rows,
            bytes: bytes.len() as u64,
            first_ordinal: start,
            end_ordinal: end,
        };
        shard.push((record, bytes));
    }
    // If a start ends before the files have their rows, the ledger still explains the files, so that a later
    // configuration can distinguish them from foreign ones and remove them.
    context.stores.ledger.commit(shard.iter().map(|(record, _)| Fact::ShardBegun(record.clone())).collect()).await?;
    for (record, bytes) in &shard {
        let name = record.file_name.clone();
        context.read(move |context, reader| keep_stranger(&context.stores.publisher, reader, &name)).await?;
        context.stores.publisher.put(&record.file_name, bytes.clone()).await?;
    }
    Ok(shard.into_iter().map(|(record, _)| record).collect())
}

async fn ask_again(context: &Arc<Context>, pending: Vec<PendingJudgement>) -> Result<(), RunError> {
    tracing::debug!("{} justifications nearly repeat an earlier query's; calling the judge again", pending.len());
    let asks = pending.into_iter().map(|mut pending| async move {
        let asked = judging::judge(context, &mut pending).await?;
        Ok::<_, RunError>((asked == Asked::Suspect).then_some(pending))
    });
    let bound = limits::judging_queries_max(&context.run.settings);
    let asked: Vec<Option<PendingJudgement>> =
        futures::stream::iter(asks).buffer_unordered(bound).try_collect().await?;
    // Other shards are being closed meanwhile, so that this query cannot be judged alone: the patience bounds it.
    for mut suspect in asked.into_iter().flatten() {
        loop {
            if let Some(breaker) = &context.actors.judge_breaker {
                breaker.acquit(&suspect.posed.query.id.0);
            }
            if judging::judge(context, &mut suspect).await? == Asked::Settled {
                break;
            }
        }
    }
    Ok(())
}

/// The files of a shard while its rows are written.
pub(super) struct ShardWriter {
    samples: TableWriter<SampleRow>,
    rollouts: TableWriter<RolloutRow>,
    exclusions: TableWriter<ExclusionRow>,
}

impl ShardWriter {
    pub(super) fn new(run: &Run, policy: &Policy) -> Result<Self, ShardError> {
        let policy = policy.identity();
        let provenance = Provenance {
            policy_model: policy.model.clone(),
            policy_revision: policy.revision.clone(),
            prompt_version: run.prompt_version.clone(),
        };
        Ok(Self {
            samples: TableWriter::new(Table::Samples, &provenance)?,
            rollouts: TableWriter::new(Table::Rollouts, &provenance)?,
            exclusions: TableWriter::new(Table::Exclusions, &provenance)?,
        })
    }

    pub(super) fn push(&mut self, settled: SettledRow) -> Result<(), ShardError> {
        for rollout in settled.rollouts {
            self.rollouts.push(rollout)?;
        }
        match settled.outcome {
            Outcome::Sample(sample) => self.samples.push(*sample.row),
            Outcome::Excluded(exclusion) => self.exclusions.push(rows::exclusion_row(exclusion)),
        }
    }

    pub(super) fn finish(self) -> Result<Vec<(Table, Bytes, u64)>, ShardError> {
        let Self { samples, rollouts, exclusions } = self;
        let files = [
            (Table::Samples, samples.finish()?),
            (Table::Rollouts, rollouts.finish()?),
            (Table::Exclusions, exclusions.finish()?),
        ];
        Ok(files.into_iter().map(|(table, (bytes, rows))| (table, bytes, rows)).collect())
    }
}

/// Settles the rows of a shard in order and writes each settled row. After the first row that is not settled for good,
/// no row is written, and no text is added to the ones that later texts are compared with.
fn close_shard(context: &Context, reader: &Reader, start: u64, end: u64) -> Result<Closing, RunError> {
    let kind = context.actors.judge.as_ref().map_or(JudgeKind::Local, |judge| judge.kind());
    let mut neighbours = Arc::new(Neighbours::new(kind));
    // Of the last round only, or queries would count twice.
    let mut sensitivity = context.sensitivity.as_ref().map(|_| Sensitivity::new(&context.run.settings));
    let mut pending: Vec<PendingJudgement> = Vec::new();
    let mut writer = ShardWriter::new(&context.run, &context.actors.policy)?;
    for row in reader.intake(&context.run.record.input_digest, start, end)? {
        let settled = match rows::settle_among(
            &context.run,
            &context.actors,
            reader,
            row,
            Some(&neighbours),
            sensitivity.as_mut(),
        )? {
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
pub fn run_counts(dir: &Path, records: &[ShardRecord], queries: u64) -> Result<Counts, RunError> {
    count_rows(records, queries, |name| shards::read_columns(&dir.join(name), &["reason"]))
}

/// Sums over records of published files; `reasons` reads the exclusion reasons of a file.
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

/// Writes the views, the manifest and the card of a finished run, and removes shards of earlier configurations that the
/// present one does not have.
pub(super) async fn finish(context: &Arc<Context>) -> Result<Counts, RunError> {
    context
        .read(|context, reader| remove_superseded(&context.stores.publisher, reader, &context.run.record.fingerprint))
        .await?;
    put_companions(context).await
}

/// Writes the files that describe the present shards: views, manifest, card, the judge's usage.
pub(super) async fn put_companions(context: &Arc<Context>) -> Result<Counts, RunError> {
    let (manifest, judge_models) = context.read(describe).await?;
    let spend = context.read(|context, reader| usage::spend(reader, &context.run.settings)).await?;
    let license = context.run.settings.output.license.clone();
    let card = shards::card(&manifest, &CardFacts { judge_models, license: (!license.is_empty()).then_some(license) });
    let views = shards::views_sql(context.run.settings.select.other_mode);
    let files = [
        (shards::SPEND_FILE, Bytes::from(spend.to_json())),
        (shards::VIEWS_FILE, Bytes::from(sealed(&views, Comment::Sql))),
        (shards::CARD_FILE, Bytes::from(sealed(&card, Comment::Markup))),
        (shards::MANIFEST_FILE, manifest.to_json()),
    ];
    for (name, bytes) in files {
        let new = bytes.clone();
        context.read(move |context, _| keep_edited(&context.stores.publisher, name, &new)).await?;
        context.stores.publisher.put(name, bytes).await?;
    }
    Ok(manifest.counts)
}

/// Moves a file aside that was edited by hand since it was written, before it is written again.
fn keep_edited(publisher: &Publisher, name: &str, new: &[u8]) -> Result<(), RunError> {
    let Some(found) = publisher.read(name)? else { return Ok(()) };
    let is_own = match name {
        // People do not edit files that programs read.
        shards::SPEND_FILE | shards::MANIFEST_FILE => true,
        _ => seal::is_sealed(&found),
    };
    if is_own || found == new {
        return Ok(());
    }
    let aside = seal::aside(name, &sha256(&found));
    tracing::warn!("{name} was edited; thinkloom keeps it as {aside} and writes {name} again");
    Ok(publisher.rename(name, &aside)?)
}

/// Returns the records of the files of incomplete shards that are in the directory. Blocks.
pub fn partial_records(
    publisher: &Publisher,
    reader: &Reader,
    fingerprint: &str,
    whole: &[ShardRecord],
) -> Result<Vec<ShardRecord>, RunError> {
    let is_whole =
        |begun: &ShardRecord| whole.iter().any(|record| record.index == begun.index && record.table == begun.table);
    let mut by_name: BTreeMap<String, Vec<ShardRecord>> = BTreeMap::new();
    for record in reader.begun_shards(fingerprint)?.into_iter().filter(|record| !is_whole(record)) {
        by_name.entry(record.file_name.clone()).or_default().push(record);
    }
    let mut found = Vec::new();
    for (name, records) in by_name {
        let hash = publisher.hash(&name)?;
        found.extend(records.into_iter().find(|record| hash.as_ref() == Some(&record.sha256)));
    }
    Ok(found)
}

fn describe(context: &Context, reader: &Reader) -> Result<(Manifest, Vec<String>), RunError> {
    let whole = reader.shards(&context.run.record.fingerprint)?;
    let parts = partial_records(&context.stores.publisher, reader, &context.run.record.fingerprint, &whole)?;
    let entry = |record: &ShardRecord, partial: bool| FileEntry {
        name: record.file_name.clone(),
        sha256: record.sha256.clone(),
        rows: record.rows,
        bytes: record.bytes,
        first_ordinal: record.first_ordinal,
        end_ordinal: record.end_ordinal,
        partial,
    };
    let files = whole.iter().map(|record| entry(record, false)).chain(parts.iter().map(|record| entry(record, true)));
    let files: Vec<FileEntry> = files.collect();
    let records: Vec<ShardRecord> = whole.into_iter().chain(parts).collect();
    let mut judges: Vec<String> = Vec::new();
    for record in records.iter().filter(|record| record.table == Table::Samples.name()) {
        let rows = context.stores.publisher.read_columns(&record.file_name, &["judge_model"])?;
        judges.extend(rows.into_iter().flatten().flatten());
        judges.sort_unstable();
        judges.dedup();
    }
    let policy = context.actors.policy.identity();
    let counts =
        count_rows(&records, context.run.rows, |name| context.stores.publisher.read_columns(name, &["reason"]))?;
    let manifest = Manifest {
        thinkloom_version: env!("CARGO_PKG_VERSION").to_owned(),
        tables_version: shards::TABLES_VERSION,
        fingerprint: context.run.record.fingerprint.clone(),
        identity: context.run.identity.parts().clone(),
        policy: SampledModel { model: policy.model.clone(), revision: policy.revision.clone() },
        prompt_version: context.run.prompt_version.clone(),
        left_out: left_out(&context.actors),
        outstanding: context.run.rows.saturating_sub(counts.samples + counts.exclusions),
        counts,
        files,
    };
    Ok((manifest, judges))
}

/// Returns the request keys that are left out, by side.
fn left_out(actors: &Actors) -> BTreeMap<String, Vec<String>> {
    let judge = actors.judge.as_ref().map(|judge| judge.left_out()).unwrap_or_default();
    let sides = [(Side::Policy, actors.policy.left_out()), (Side::Judge, judge)];
    sides.into_iter().filter(|(_, keys)| !keys.is_empty()).map(|(side, keys)| (side.name().to_owned(), keys)).collect()
}

/// Removes files that an earlier configuration published and the present one does not have: views read every shard in
/// the directory, and must not mix runs. Only files that match a record of the ledger byte for byte are removed.
fn remove_superseded(publisher: &Publisher, reader: &Reader, fingerprint: &str) -> Result<(), RunError> {
    let current = reader.shards(fingerprint)?;
    for record in reader.superseded_shards(fingerprint)? {
        let is_current = current.iter().any(|current| current.file_name == record.file_name);
        if is_current || publisher.verify(&record.file_name, &record.sha256)? != FileState::Intact {
            continue;
        }
        tracing::info!("removing {}, which an earlier configuration published", record.file_name);
        publisher.remove(&record.file_name)?;
    }
    Ok(())
}
