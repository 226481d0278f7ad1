//! Which directories a run may write into.

use std::path::Path;

use crate::ledger;
use crate::sys::files::{self, DirError};

/// What a start leaves that ended before its ledger was there: directories without files, and halves of a ledger.
const LEFTOVERS: &[&str] = &[
    "data",
    "ledger.sqlite-wal",
    "ledger.sqlite-shm",
    "ledger.sqlite-journal",
    "ledger.part",
    "ledger.part-journal",
    "dedup.index",
];

/// What every evaluation writes first.
pub const EVALUATION_FILE: &str = "eval.json";

/// Refuses an output directory that is neither a run's nor free. Changes nothing.
///
/// # Errors
/// [`DirError`].
pub fn refuse_foreign(dir: &Path) -> Result<(), DirError> {
    files::refuse_foreign(dir, &[ledger::FILE_NAME], LEFTOVERS)
}

/// Refuses an output directory that is neither an evaluation's or a run's nor free. Changes nothing.
///
/// # Errors
/// [`DirError`].
pub fn refuse_foreign_evaluation(dir: &Path) -> Result<(), DirError> {
    files::refuse_foreign(dir, &[ledger::FILE_NAME, EVALUATION_FILE], LEFTOVERS)
}
