//! Stored responses as the present reader reads them.
//!
//! A response is stored as it was read first, with its server's reply. Where another version of the reading did that, the
//! reply is read again, everywhere alike: a run, `redecide`, the building of shards and `inspect` see the same text (I6),
//! and a verdict's key covers a text that became another.

use super::plan::Cell;
use crate::config::BudgetPolicy;
use crate::domain::{ByMode, Rollout};
use crate::ledger::{LedgerError, Reader};
use crate::policy::{RolloutTask, reply};

/// Returns the stored response of a task, at whichever of its addresses it is.
///
/// # Errors
/// [`LedgerError`] if the ledger cannot be read.
pub fn stored_rollout(reader: &Reader, task: &RolloutTask) -> Result<Option<Rollout>, LedgerError> {
    reader.rollout_at(task.addresses())?.map(|rollout| present(reader, rollout)).transpose()
}

/// Reads a stored response again, if another version read it first.
///
/// # Errors
/// [`LedgerError`] if the ledger cannot be read.
pub fn present(reader: &Reader, rollout: Rollout) -> Result<Rollout, LedgerError> {
    let before = reader.reply_of_other_reader(&rollout.key, reply::READER)?;
    Ok(match before {
        Some(raw) => reply::reread(rollout, &raw.body),
        None => rollout,
    })
}

/// Makes the lengths of a query's responses comparable: if some are counted and others estimated, all are compared by
/// their estimates. Under a curtailed budget they are compared as they stand, because what is drawn may not depend on what
/// else is stored.
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
            "of some queries a part of the responses was counted by the server and the others are estimated: which is the \
             shortest is told by their bytes there"
        );
    });
    for cell in cells.on.iter_mut().chain(&mut cells.off) {
        if let Some(rollout) = &mut cell.rollout {
            rollout.reading.compared_tokens = Some(reply::estimated_tokens(rollout));
        }
    }
}
