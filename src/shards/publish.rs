//! Durable files under their final names, and checks of the directory.
//!
//! A file is staged beside its final name (`NAME#1`), synced and renamed, and its directory is synced. When
//! [`Publisher::put`] returns, file and name survive a power cut; at no time does the final name have partial content.
//! A process that ends in between leaves a staged file: [`unexplained`] lists it, and [`remove_staged`] removes it at
//! the next start.
//!
//! Limits: the caller holds one file in memory; [`verify`] reads in pieces. This module does not know which
//! files must exist.

#![expect(clippy::disallowed_methods, reason = "the errors of this module name the file themselves")]

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use object_store::path::Path as StorePath;

use super::read::read_columns_of;
use super::store::{FileStore, LocalFiles};
use super::{ShardError, Table};
use crate::domain::digest::sha256_of_reader;

const DATA_DIR: &str = "data";

/// Writes files of one output directory, each whole and durable.
#[derive(Debug)]
pub struct Publisher {
    dir: PathBuf,
    files: Box<dyn FileStore>,
}

impl Publisher {
    /// Opens an existing output directory and creates the tables' directories in it.
    ///
    /// Blocks for a few directory syncs. The store syncs the directories that it creates, but not existing ones: a run
    /// that ended between creating and syncing would leave a directory whose name is not durable. So every start
    /// creates and syncs them here.
    ///
    /// # Errors
    /// [`ShardError::Directory`] if the directory does not exist or cannot be written.
    pub fn new(dir: &Path) -> Result<Self, ShardError> {
        let data = dir.join(DATA_DIR);
        let tables = Table::ALL.map(|table| dir.join(table.dir()));
        for path in std::iter::once(&data).chain(&tables) {
            make_dir(path).map_err(|source| directory_error(path, source))?;
        }
        for path in tables.iter().map(PathBuf::as_path).chain([data.as_path(), dir]) {
            sync_dir(path).map_err(|source| directory_error(path, source))?;
        }
        let files = LocalFiles::new(dir)
            .map_err(|source| ShardError::Directory { path: dir.to_owned(), source: source.into() })?;
        Ok(Self { dir: dir.to_owned(), files: Box::new(files) })
    }

    /// Opens an output directory for reading only. Creates nothing in it.
    ///
    /// # Errors
    /// [`ShardError::Directory`] if the directory does not exist.
    pub fn read_only(dir: &Path) -> Result<Self, ShardError> {
        let files = LocalFiles::new(dir)
            .map_err(|source| ShardError::Directory { path: dir.to_owned(), source: source.into() })?;
        Ok(Self { dir: dir.to_owned(), files: Box::new(files) })
    }

    /// Publishes to files of another kind; `dir` is their directory in messages.
    #[must_use]
    pub fn with_files(dir: &Path, files: Box<dyn FileStore>) -> Self {
        Self { dir: dir.to_owned(), files }
    }

    /// Makes `bytes` durable under `name`, a path relative to the output directory, and replaces the earlier content.
    ///
    /// Inside a tokio runtime the writing runs on its blocking threads. Not cancel-safe: a dropped call may still
    /// finish. A late finish is harmless, since the name then has the whole content.
    ///
    /// # Errors
    /// [`ShardError::InvalidName`] for a name that leaves the directory; [`ShardError::Publish`] if the disk is full,
    /// read-only or otherwise refuses. The name then keeps its earlier content, unless only the last step failed, the
    /// sync of the directory: then it has the whole new content.
    pub async fn put(&self, name: &str, bytes: Bytes) -> Result<(), ShardError> {
        let invalid_name = || ShardError::InvalidName { name: name.to_owned() };
        let location = StorePath::parse(name).map_err(|_| invalid_name())?;
        // Parsing drops a leading or trailing slash, and the store takes `x#1` for a staged file.
        if name.is_empty() || location.as_ref() != name || is_staged(name) {
            return Err(invalid_name());
        }
        let put = self.files.put(name, bytes).await;
        put.map_err(|source| ShardError::Publish { path: self.dir.join(name), source })
    }

    /// Compares a file with its recorded SHA-256; blocks.
    pub fn verify(&self, name: &str, sha256: &str) -> Result<FileState, ShardError> {
        let hash = self.files.open(name).and_then(sha256_of_reader);
        compare(hash, sha256).map_err(|source| self.unreadable(name, source))
    }

    /// Returns the content of a small file, if it exists; blocks.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, ShardError> {
        let mut bytes = Vec::new();
        match self.files.open(name).and_then(|mut file| file.read_to_end(&mut bytes)) {
            Ok(_) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.unreadable(name, error)),
        }
    }

    /// Returns the SHA-256 of a file in hex, if it exists; blocks.
    pub fn hash(&self, name: &str) -> Result<Option<String>, ShardError> {
        match self.files.open(name).and_then(sha256_of_reader) {
            Ok(hash) => Ok(Some(hash)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.unreadable(name, error)),
        }
    }

    /// Returns columns of a file as [`super::read_columns`] does; blocks.
    ///
    /// # Errors
    /// [`ShardError::Unreadable`] if the file is missing, damaged, or lacks a column.
    pub fn read_columns(&self, name: &str, columns: &[&str]) -> Result<Vec<Vec<Option<String>>>, ShardError> {
        let file = self.files.open(name).map_err(|source| self.unreadable(name, source))?;
        read_columns_of(file, &self.dir.join(name), columns)
    }

    /// Renames a file; blocks.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), ShardError> {
        self.files.rename(from, to).map_err(|source| self.unreadable(from, source))
    }

    /// Removes a file; blocks.
    pub fn remove(&self, name: &str) -> Result<(), ShardError> {
        self.files.remove(name).map_err(|source| self.unreadable(name, source))
    }

    fn unreadable(&self, name: &str, source: io::Error) -> ShardError {
        ShardError::Unreadable { path: self.dir.join(name), source }
    }
}

fn make_dir(path: &Path) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        other => other,
    }
}

/// Makes the names in a directory durable.
fn sync_dir(path: &Path) -> io::Result<()> {
    // Only Unix can open a directory to sync it.
    if cfg!(unix) { std::fs::File::open(path)?.sync_all() } else { Ok(()) }
}

fn directory_error(path: &Path, source: io::Error) -> ShardError {
    ShardError::Directory { path: path.to_owned(), source: source.into() }
}

/// Returns the SHA-256 of a file in lower-case hex, read in pieces; blocks.
pub fn sha256_of_file(path: &Path) -> io::Result<String> {
    sha256_of_reader(fs_err::File::open(path)?)
}

/// The state of a published file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileState {
    /// A file with the recorded hash.
    Intact,
    /// Nothing.
    Missing,
    /// A file with another content.
    Different {
        /// The SHA-256 found, in hex.
        found: String,
    },
}

/// Compares the file `name` of the output directory with its recorded SHA-256; blocks.
pub fn verify(dir: &Path, name: &str, sha256: &str) -> Result<FileState, ShardError> {
    let path = dir.join(name);
    let hash = std::fs::File::open(&path).and_then(sha256_of_reader);
    compare(hash, sha256).map_err(|source| ShardError::Unreadable { path, source })
}

fn compare(hash: io::Result<String>, sha256: &str) -> io::Result<FileState> {
    match hash {
        Ok(found) if found.eq_ignore_ascii_case(sha256) => Ok(FileState::Intact),
        Ok(found) => Ok(FileState::Different { found }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(FileState::Missing),
        Err(error) => Err(error),
    }
}

/// Returns the files without a record, sorted, relative to the output directory; blocks.
///
/// The result has all files below `data/` that are not in `known`, and staged files that a killed process left beside
/// other published files. Nothing is deleted. Symbolic links are listed, not followed.
pub fn unexplained(dir: &Path, known: &[String]) -> Result<Vec<String>, ShardError> {
    let known: BTreeSet<&str> = known.iter().map(String::as_str).collect();
    let mut found = BTreeSet::new();
    let mut waiting = vec![DATA_DIR.to_owned()];
    while let Some(parent) = waiting.pop() {
        for (name, kind) in list(&dir.join(&parent))? {
            let name = format!("{parent}/{name}");
            if kind.is_dir() {
                waiting.push(name);
            } else if !known.contains(name.as_str()) {
                found.insert(name);
            }
        }
    }
    for (name, kind) in list(dir)? {
        if !kind.is_dir() && is_staged(&name) && !known.contains(name.as_str()) {
            found.insert(name);
        }
    }
    Ok(found.into_iter().collect())
}

/// Removes the files that a killed process had staged and not published. Only names of the store's form are removed
/// (`NAME#DIGITS` beside `NAME` for one of the published names). The caller holds the directory's lock, so that no
/// other process is writing them. Returns the removed files; blocks.
///
/// # Errors
/// [`ShardError::Unreadable`] if a directory cannot be listed or a file cannot be removed.
pub fn remove_staged(dir: &Path) -> Result<Vec<String>, ShardError> {
    let mut removed = Vec::new();
    for table in Table::ALL {
        for (name, kind) in list(&dir.join(table.dir()))? {
            if kind.is_file() && is_staged(&name) && name.contains(".parquet#") {
                removed.push(format!("{}/{name}", table.dir()));
            }
        }
    }
    let published = [super::MANIFEST_FILE, super::VIEWS_FILE, super::CARD_FILE, super::SPEND_FILE];
    for (name, kind) in list(dir)? {
        let target = name.rsplit_once('#').map_or("", |(target, _)| target);
        if kind.is_file() && is_staged(&name) && published.contains(&target) {
            removed.push(name);
        }
    }
    for name in &removed {
        let path = dir.join(name);
        std::fs::remove_file(&path).map_err(|source| ShardError::Unreadable { path, source })?;
    }
    Ok(removed)
}

/// Returns the entries of a directory; none if it does not exist.
fn list(path: &Path) -> Result<Vec<(String, std::fs::FileType)>, ShardError> {
    let unreadable = |source| ShardError::Unreadable { path: path.to_owned(), source };
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(unreadable)?,
    };
    entries
        .map(|entry| {
            let entry = entry?;
            Ok((entry.file_name().to_string_lossy().into_owned(), entry.file_type()?))
        })
        .collect::<io::Result<_>>()
        .map_err(unreadable)
}

/// Returns whether the name has the form of a file that the store has not published yet: `NAME#DIGITS`.
fn is_staged(name: &str) -> bool {
    name.rsplit_once('#')
        .is_some_and(|(_, number)| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
#[path = "publish_tests.rs"]
mod tests;
