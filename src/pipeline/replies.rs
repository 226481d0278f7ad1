//! Stored responses as the present reader parses them.
//!
//! A response is stored as the first reader parsed it, together with the server's reply. If another version of the
//! reader did that, the reply is parsed again, by all commands alike: a run, `redecide`, the building of shards and
//! `inspect` see the same text (I6), and the key of a verdict covers a text that has changed.

use super::plan::Cell;
use crate::config::BudgetPolicy;
use crate::domain::{ByMode, Rollout};
use crate::ledger::{LedgerError, Reader};
use crate::policy::{RolloutTask, reply};

/// Returns the stored response to a request, at any of the request's addresses.
pub fn stored_rollout(reader: &Reader, task: &RolloutTask) -> Result<Option<Rollout>, LedgerError> {
    reader.rollout_at(task.addresses())?.map(|rollout| present(reader, rollout)).transpose()
}

/// Parses a stored response again, if another version parsed it first.
pub fn present(reader: &Reader, rollout: Rollout) -> Result<Rollout, LedgerError> {
    let before = reader.reply_of_other_reader(&rollout.key, reply::READER)?;
    Ok(match before {
        Some(raw) => reply::reread(rollout, &raw.body),
        None => rollout,
    })
}

/// Makes the lengths of a query's responses comparable: if some are counted and others estimated, all are compared by
/// their estimates. Under a curtailed budget the lengths are compared as stored, because the drawn responses must not
/// depend on other stored ones.
pub fn align_lengths(cells: &mut ByMode<Vec<Cell>>, budget: BudgetPolicy) {
    let all = || cells.on.iter().chain(&cells.off).filter_map(|cell| cell.rollout.as_ref());
    let is_mixed =
        all().any(|rollout| rollout.reading.length_estimated) && all().any(|rollout| !rollout.reading.length_estimated);
    if !is_mixed || budget != BudgetPolicy::Full {
        return;
    }
    static SAID: std::sync::Once = std::sync::Once::new();
    SAID.call_once(|| {
        tracing::warn!(
            "for some queries the server counted the tokens of some responses only: the shortest response is \
             chosen by the length in bytes there"
        );
    });
    for cell in cells.on.iter_mut().chain(&mut cells.off) {
        if let Some(rollout) = &mut cell.rollout {
            rollout.reading.compared_tokens = Some(reply::estimated_tokens(rollout));
        }
    }
}
