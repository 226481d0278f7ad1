//! Errors between rows and durable files.

use std::error::Error;
use std::io;
use std::path::PathBuf;

/// A shard, or a file beside it, that cannot be made, published or read.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    /// The rows do not fit the table's schema, or their text is too long for it.
    #[error("rows of table {table} do not fit its schema")]
    Rows {
        /// The table's name.
        table: &'static str,
        /// The column builder's error.
        #[source]
        source: arrow::error::ArrowError,
    },
    /// The Parquet encoder failed.
    #[error("table {table} cannot be encoded as Parquet")]
    Parquet {
        /// The table's name.
        table: &'static str,
        /// The encoder's error.
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// The output directory, or one below it, cannot be created, opened or synced.
    #[error("output directory {path} cannot be written")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A file could not be made durable. Its name still has the earlier content, or all of the new one.
    #[error("file {path} cannot be published")]
    Publish {
        /// The file's final path.
        path: PathBuf,
        /// The store's error.
        #[source]
        source: object_store::Error,
    },
    /// The name is not a plain relative path of files below the output directory.
    #[error("file name \"{name}\" is not a relative path below the output directory")]
    InvalidName {
        /// The name as given.
        name: String,
    },
    /// A published file or directory cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The manifest is not JSON, or lacks members.
    #[error("manifest.json cannot be read")]
    InvalidManifest {
        /// The JSON error.
        #[from]
        source: serde_json::Error,
    },
    /// A newer program wrote the tables.
    #[error("cannot read manifest.json: it has tables_version {found}, this version reads versions up to {known}")]
    NewerTables {
        /// The version in the manifest.
        found: u32,
        /// The newest version that this program reads.
        known: u32,
    },
}

impl ShardError {
    /// Returns the remedy for the user, if known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Rows { .. } | Self::Parquet { .. } | Self::InvalidName { .. } => None,
            Self::InvalidManifest { .. } => {
                Some("the next `thinkloom run` on this directory writes manifest.json again")
            }
            Self::NewerTables { .. } => Some("use the version of thinkloom that wrote the directory, or a newer one"),
            Self::Directory { .. } | Self::Publish { .. } | Self::Unreadable { .. } => {
                hint_for(system_error(self)?.kind())
            }
        }
    }
}

/// Returns the innermost system error of a chain; the store wraps it in its own types.
fn system_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    let mut found = None;
    let mut next = Some(error);
    while let Some(current) = next {
        found = current.downcast_ref::<io::Error>().or(found);
        next = current.source();
    }
    found
}

fn hint_for(kind: io::ErrorKind) -> Option<&'static str> {
    use io::ErrorKind;
    match kind {
        ErrorKind::StorageFull => Some("free some space on the disk, then run the same command again"),
        ErrorKind::QuotaExceeded => Some("raise the quota or free some space, then run the same command again"),
        ErrorKind::PermissionDenied => Some("check the owner and permissions of the directory"),
        ErrorKind::ReadOnlyFilesystem => {
            Some("the disk is mounted read-only: choose another output directory with `-o`, or remount it")
        }
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists | ErrorKind::IsADirectory => {
            Some("the name is in use: move that file or directory away, or choose another output directory with `-o`")
        }
        ErrorKind::NotFound => Some("check that the directory exists"),
        ErrorKind::FileTooLarge => Some("raise the limit on file sizes (`ulimit -f`), then run the same command again"),
        _ => Some("check the system's log for errors of the disk, then run the same command again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish_error(kind: io::ErrorKind) -> ShardError {
        // The store wraps a system error in its own error type.
        let inner = ShardError::Unreadable { path: "staged".into(), source: kind.into() };
        let source = object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(inner) };
        ShardError::Publish { path: "out/data/x.parquet".into(), source }
    }

    #[test]
    fn hints_see_through_the_stores_wrapping() {
        let hint = publish_error(io::ErrorKind::StorageFull).hint();
        assert!(hint.is_some_and(|hint| hint.contains("free some space")));
        let hint = publish_error(io::ErrorKind::ReadOnlyFilesystem).hint();
        assert!(hint.is_some_and(|hint| hint.contains("read-only")));
        let hint = publish_error(io::ErrorKind::Other).hint();
        assert!(hint.is_some_and(|hint| hint.contains("errors of the disk")));
    }

    #[test]
    fn messages_name_the_path() {
        let error = publish_error(io::ErrorKind::StorageFull);
        assert_eq!(error.to_string(), "file out/data/x.parquet cannot be published");
    }
}
