//! The directories that a run may write to.

use std::path::Path;

use crate::ledger;
use crate::sys::files::{self, DirError};

/// Leftovers of a start that ended before its ledger existed: directories without files, and halves of a ledger.
const LEFTOVERS: &[&str] = &[
    "data",
    "ledger.sqlite-wal",
    "ledger.sqlite-shm",
    "ledger.sqlite-journal",
    "ledger.part",
    "ledger.part-journal",
    "dedup.index",
];

/// The file that every evaluation writes first.
pub const EVALUATION_FILE: &str = "eval.json";

/// Rejects an output directory that is neither empty nor a run's. Changes nothing.
pub fn refuse_foreign(dir: &Path) -> Result<(), DirError> {
    files::refuse_foreign(dir, &[ledger::FILE_NAME], LEFTOVERS)
}

/// Rejects an output directory that is neither empty nor an evaluation's nor a run's. Changes nothing.
pub fn refuse_foreign_evaluation(dir: &Path) -> Result<(), DirError> {
    files::refuse_foreign(dir, &[ledger::FILE_NAME, EVALUATION_FILE], LEFTOVERS)
}
