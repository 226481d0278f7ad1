//! What can go wrong with the ledger.

use std::path::Path;
use std::sync::Arc;

use crate::sys::limits;

/// An error of the ledger. Clones share the cause, because one failed commit fails all that stood in it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LedgerError {
    /// SQLite failed.
    #[error("the ledger {path} failed: {source}")]
    Sqlite {
        /// The file.
        path: String,
        /// What SQLite said.
        source: Arc<rusqlite::Error>,
    },
    /// A fact exists already with another content (I2).
    #[error("the ledger holds another {kind} under the key {key}")]
    Conflict {
        /// The kind of fact.
        kind: &'static str,
        /// Its key.
        key: String,
    },
    /// The file was written by a newer version.
    #[error("the ledger {path} has format {found}; this version reads up to {known}")]
    Newer {
        /// The file.
        path: String,
        /// Its format.
        found: i64,
        /// The newest known format.
        known: i64,
    },
    /// There is no ledger.
    #[error("{0} holds no run: there is no ledger.sqlite in it")]
    Missing(String),
    /// A stored value is none that this version writes.
    #[error("the ledger holds a {kind} that cannot be read: {detail}")]
    Unreadable {
        /// The kind of fact.
        kind: &'static str,
        /// What was found.
        detail: String,
    },
    /// The writer thread is gone.
    #[error("the ledger is closed")]
    Closed,
}

impl LedgerError {
    /// Returns whether the file or its directory cannot be written.
    pub(super) fn is_unwritable(&self) -> bool {
        use rusqlite::ErrorCode::{CannotOpen, ReadOnly};
        let Self::Sqlite { source, .. } = self else { return false };
        matches!(source.sqlite_error_code(), Some(ReadOnly | CannotOpen))
    }

    /// Returns the same error of another file, of which this one was a copy.
    pub(super) fn of(self, path: &Path) -> Self {
        let path = path.display().to_string();
        match self {
            Self::Sqlite { source, .. } => Self::Sqlite { path, source },
            Self::Newer { found, known, .. } => Self::Newer { path, found, known },
            other => other,
        }
    }

    /// Returns what the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            // SQLite says of a file that may not grow that the disk failed.
            Self::Sqlite { path, source } if is_size_refused(path, source) => Some(
                "raise the limit on file sizes (`ulimit -f`) and run the same command again; what was committed is kept",
            ),
            Self::Sqlite { source, .. } => match source.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DiskFull) => {
                    Some("free some space and run the same command again; what was committed is kept")
                }
                Some(rusqlite::ErrorCode::ReadOnly | rusqlite::ErrorCode::CannotOpen) => {
                    Some("check the permissions of the output directory")
                }
                Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                    Some("the file is damaged: restore it from a copy, or start in a new directory with -o")
                }
                _ => Some("run the same command again; what was committed is kept"),
            },
            Self::Newer { .. } => Some("use the version of thinkloom that wrote it, or a newer one"),
            Self::Missing(_) => Some("name the output directory of a run"),
            Self::Conflict { .. } | Self::Unreadable { .. } => {
                Some("the directory may have been edited by hand; `thinkloom status DIR --check` looks closer")
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
