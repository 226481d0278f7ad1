//! Publishing what is settled while a run is not finished: at its stop, or when somebody asks for it.
//!
//! The files of a shard that is not complete have the name of the complete one and are written again when it is, so that
//! no pattern over `data/` ever counts a row twice and the bytes of complete shards stay those of an uninterrupted run. What
//! is written is named beforehand (`shard_begun`), which explains the file, and it never has a row in `shard`, so that the
//! next run builds the shard from the facts. The manifest marks such files, and says how many input rows are outstanding.
//!
//! A part holds every query that is settled at this moment, also behind one that is not: near-copies among justifications
//! are then decided as far as they can be, see `standing`. Shards in which no query has a response yet are left out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::context::Context;
use super::error::RunError;
use super::publish::{self, ShardWriter};
use super::rows::{Responses, Standing};
use super::standing::{begun, for_each_standing};
use crate::ledger::Reader;
use crate::shards::{Counts, Table};

/// What a publishing of settled rows came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartialPublication {
    /// Rows of all published files, complete shards included.
    pub counts: Counts,
    /// Shards that are published in part.
    pub parts: u64,
    /// Shards with responses for which there was no time.
    pub left: u64,
}

/// Publishes what is settled: shards of which every row is become complete ones, of others there is a part. Does not go
/// on to another shard once `patience` is over.
///
/// # Errors
/// [`RunError`] if the ledger cannot be read or a file not be written; what was published before stands.
pub async fn publish_settled(context: &Arc<Context>, patience: Duration) -> Result<PartialPublication, RunError> {
    let started = Instant::now();
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

/// What is settled of a shard.
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
