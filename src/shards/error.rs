//! What can go wrong between rows and durable files.

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
        /// What the column builder said.
        #[source]
        source: arrow::error::ArrowError,
    },
    /// The Parquet encoder failed.
    #[error("table {table} cannot be encoded as Parquet")]
    Parquet {
        /// The table's name.
        table: &'static str,
        /// What the encoder said.
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// The output directory, or one below it, cannot be made, opened or synced.
    #[error("output directory {path} cannot be written")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A file could not be made durable; nothing stands under its name but what stood there before, or all of it.
    #[error("file {path} cannot be published")]
    Publish {
        /// The file's final path.
        path: PathBuf,
        /// What the store said.
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
    /// The manifest is not JSON, or not a manifest.
    #[error("manifest.json cannot be read")]
    InvalidManifest {
        /// Where the JSON goes wrong.
        #[from]
        source: serde_json::Error,
    },
    /// The tables were written by a newer program.
    #[error("manifest.json has tables_version {found}, this program knows versions up to {known}")]
    NewerTables {
        /// The version that stands in the manifest.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
}

impl ShardError {
    /// Returns what a person can do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Rows { .. } | Self::Parquet { .. } | Self::InvalidName { .. } => None,
            Self::InvalidManifest { .. } => Some("the next `thinkloom run` on this directory writes it again"),
            Self::NewerTables { .. } => Some("use the thinkloom version that wrote the directory, or a newer one"),
            Self::Directory { .. } | Self::Publish { .. } | Self::Unreadable { .. } => {
                hint_for(system_error(self)?.kind())
            }
        }
    }
}

/// Returns the innermost system error of a chain; the store wraps it in types of its own.
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
        ErrorKind::StorageFull => Some("free some space on that disk, then run the same command again"),
        ErrorKind::QuotaExceeded => Some("raise the quota or free some space, then run the same command again"),
        ErrorKind::PermissionDenied => Some("check the owner and permissions of the directory"),
        ErrorKind::ReadOnlyFilesystem => {
            Some("the disk is mounted read-only: choose another output directory with `-o`, or remount it")
        }
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists | ErrorKind::IsADirectory => {
            Some("something else stands under that name: move it away, or choose another output directory with `-o`")
        }
        ErrorKind::NotFound => Some("check that the directory exists"),
        ErrorKind::FileTooLarge => Some("raise the limit on file sizes (`ulimit -f`), then run the same command again"),
        _ => Some("look at the system's log for errors of the disk, then run the same command again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish_error(kind: io::ErrorKind) -> ShardError {
        // As the store does it: its own error type stands between.
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
