//! Reports the changes since the last run of a directory before any work is repeated.

use super::actors::Actors;
use super::change_report::{ChangeReport, ChangedKey};
use super::error::RunError;
use super::identity::Run;
use super::options::ChangePolicy;
use super::outlook;
use crate::config::identity::RunIdentity;
use crate::ledger::{LedgerError, Reader};

/// Compares a run that is about to continue with the last one of its directory. Reads every fact of the run if a key
/// changed. Blocks.
///
/// # Errors
/// [`RunError::Changed`] if a key that decides the data changed and `changes` does not allow it.
pub(super) fn confirm(run: &Run, actors: &Actors, reader: &Reader, changes: ChangePolicy) -> Result<(), RunError> {
    let Some(last) = reader.latest_run()? else { return Ok(()) };
    let earlier: RunIdentity = serde_json::from_str(&last.identity)
        .map_err(|error| LedgerError::Unreadable { kind: "run", detail: error.to_string() })?;
    let found = run.identity.changes_from(&earlier);
    if found.is_empty() {
        return Ok(());
    }
    let changed = found.into_iter().map(ChangedKey::from).collect();
    if !reader.has_rollouts()? {
        // The earlier configuration sampled nothing, so that no work is repeated.
        return Ok(());
    }
    let report = ChangeReport { changes: changed, outlook: outlook::look_ahead(run, actors, reader)? };
    match changes {
        ChangePolicy::Refuse => Err(RunError::Changed(Box::new(report))),
        ChangePolicy::Redo => {
            tracing::info!("the configuration changed:\n{report}");
            Ok(())
        }
    }
}
