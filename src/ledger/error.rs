//! Errors of the ledger.

use std::path::Path;
use std::sync::Arc;

use crate::sys::limits;

/// An error of the ledger. Clones exist because one failed transaction fails every commit in the group.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LedgerError {
    /// SQLite failed.
    #[error("cannot read or write the ledger {path}: {source}")]
    Sqlite {
        /// The file.
        path: String,
        /// SQLite's error.
        source: Arc<rusqlite::Error>,
    },
    /// A stored fact has the same key and another content (I2).
    #[error("the ledger already stores a different {kind} under the key {key}")]
    Conflict {
        /// The kind of fact.
        kind: &'static str,
        /// Its key.
        key: String,
    },
    /// A newer version of the program wrote the file.
    #[error("cannot read the ledger {path}: it has format {found}, this version reads formats up to {known}")]
    Newer {
        /// The file.
        path: String,
        /// Its format.
        found: i64,
        /// The newest known format.
        known: i64,
    },
    /// The directory has no ledger.
    #[error("{0} is not the output directory of a run: it has no ledger.sqlite")]
    Missing(String),
    /// A stored value that this version does not write.
    #[error("cannot read a stored {kind} in the ledger: {detail}")]
    Unreadable {
        /// The kind of fact.
        kind: &'static str,
        /// The value, or the problem with it.
        detail: String,
    },
    /// The writer thread has ended.
    #[error("cannot write to the ledger: it is closed")]
    Closed,
}

impl LedgerError {
    /// Returns whether the system refuses to write the file or its directory.
    pub(super) fn is_unwritable(&self) -> bool {
        use rusqlite::ErrorCode::{CannotOpen, ReadOnly};
        let Self::Sqlite { source, .. } = self else { return false };
        matches!(source.sqlite_error_code(), Some(ReadOnly | CannotOpen))
    }

    /// Returns the same error for `path`, of which the failed file was a copy.
    pub(super) fn of(self, path: &Path) -> Self {
        let path = path.display().to_string();
        match self {
            Self::Sqlite { source, .. } => Self::Sqlite { path, source },
            Self::Newer { found, known, .. } => Self::Newer { path, found, known },
            other => other,
        }
    }

    /// Returns the remedy for the user.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            // SQLite reports an exceeded limit on file sizes as a disk error.
            Self::Sqlite { path, source } if is_size_refused(path, source) => Some(
                "raise the limit on file sizes (`ulimit -f`) and run the same command again; committed work is kept",
            ),
            Self::Sqlite { source, .. } => match source.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DiskFull) => {
                    Some("free some space and run the same command again; committed work is kept")
                }
                Some(rusqlite::ErrorCode::ReadOnly | rusqlite::ErrorCode::CannotOpen) => {
                    Some("check the owner and the permissions of the output directory")
                }
                Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                    Some("the file is damaged: restore it from a copy, or start in a new directory with -o")
                }
                _ => Some("run the same command again; committed work is kept"),
            },
            Self::Newer { .. } => Some("use the version of thinkloom that wrote the ledger, or a newer one"),
            Self::Missing(_) => Some("give the output directory of a run"),
            Self::Conflict { .. } | Self::Unreadable { .. } => {
                Some("the directory may have been edited by hand; `thinkloom status DIR --check` checks it in full")
            }
            Self::Closed => None,
        }
    }
}

fn is_size_refused(path: &str, error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DiskFull, SystemIoFailure};
    if !matches!(error.sqlite_error_code(), Some(SystemIoFailure | DiskFull)) {
        return false;
    }
    let log = format!("{path}-wal");
    limits::is_at_file_limit(&[Path::new(path), Path::new(&log)])
}
