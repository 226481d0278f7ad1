//! Publishes the settled rows of an unfinished run: at its stop, or on request.
//!
//! The files of an incomplete shard have the names of the complete ones and are replaced when the shard is complete, so
//! that no pattern over `data/` ever counts a row twice and complete shards have the bytes of an uninterrupted run.
//! Each file is recorded before it is written (`shard_begun`), which explains it, and never gets a row in `shard`, so
//! that the next run builds the shard from the facts. The manifest marks such files, and states how many input rows are
//! outstanding.
//!
//! An incomplete shard has every query that is settled now, also behind an outstanding one. Near-copies among
//! justifications are then decided as far as possible, see `standing`. Shards without any response are left out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::context::Context;
use super::error::RunError;
use super::publish::{self, ShardWriter};
use super::rows::{Responses, Standing};
use super::standing::{begun, for_each_standing};
use crate::ledger::Reader;
use crate::shards::{Counts, Table};

/// The result of publishing settled rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartialPublication {
    /// Rows of all published files, complete shards included.
    pub counts: Counts,
    /// Incomplete shards that were published.
    pub parts: u64,
    /// Shards with responses that there was no time to publish.
    pub left: u64,
}

/// Publishes settled rows: shards with all rows settled become complete ones, others incomplete ones. Begins no further
/// shard once `patience` is over.
///
/// # Errors
/// [`RunError`] if the ledger cannot be read or a file cannot be written. Files published before are kept.
pub async fn publish_settled(context: &Arc<Context>, patience: Duration) -> Result<PartialPublication, RunError> {
    let started = tokio::time::Instant::now();
    let published = context.read(publish::published).await?;
    let open: Vec<u64> =
        (0..context.run.shard_count()).filter(|index| published.binary_search(index).is_err()).collect();
    let (open, _) = context.read(move |context, reader| begun(&context.run.record, reader, &open)).await?;
    let mut publication = PartialPublication::default();
    for index in open {
        if started.elapsed() > patience {
            publication.left += 1;
            continue;
        }
        match context.read(move |context, reader| part(context, reader, index)).await? {
            Part::Nothing => {}
            Part::Whole => publish::publish(Arc::clone(context), index).await?,
            Part::Files(files) => {
                publish::put_files(context, index, files).await?;
                publication.parts += 1;
            }
        }
    }
    publication.counts = publish::put_companions(context).await?;
    Ok(publication)
}

/// The settled rows of a shard.
enum Part {
    /// No row.
    Nothing,
    /// Every row.
    Whole,
    /// Some rows: bytes and number of rows of each file.
    Files(Vec<(Table, Bytes, u64)>),
}

fn part(context: &Context, reader: &Reader, index: u64) -> Result<Part, RunError> {
    let mut writer = ShardWriter::new(&context.run, &context.actors.policy)?;
    let (mut settled, mut open) = (0_u64, 0_u64);
    for_each_standing(context, reader, context.run.shard_range(index), Responses::Wanted, &mut |standing| {
        match standing {
            Standing::Open { .. } => open += 1,
            Standing::Settled { row, .. } => {
                settled += 1;
                writer.push(row)?;
            }
        }
        Ok(())
    })?;
    Ok(match (settled, open) {
        (0, _) => Part::Nothing,
        (_, 0) => Part::Whole,
        _ => Part::Files(writer.finish()?),
    })
}
