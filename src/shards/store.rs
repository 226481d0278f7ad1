//! The storage of published files: a directory of this machine, or in a simulation a disk that fails on purpose.

#![expect(clippy::disallowed_methods, reason = "its callers name the file")]

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::local::LocalFileSystem;
use object_store::path::Path as StorePath;
use object_store::{ObjectStore, PutPayload};

/// The files of one output directory, by their names relative to it.
pub trait FileStore: fmt::Debug + Send + Sync {
    /// Makes `bytes` durable under `name` and replaces the earlier content, wholly or not at all.
    fn put<'a>(&'a self, name: &'a str, bytes: Bytes) -> BoxFuture<'a, Result<(), object_store::Error>>;

    /// Opens a file for reading.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if it does not exist; any other error of the system.
    fn open(&self, name: &str) -> io::Result<StoredFile>;

    /// Renames a file.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// An open file.
#[derive(Debug)]
pub enum StoredFile {
    /// On a disk.
    Disk(std::fs::File),
    /// In memory.
    Memory(Bytes),
}

impl Read for StoredFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Disk(file) => file.read(buffer),
            Self::Memory(bytes) => {
                let count = bytes.len().min(buffer.len());
                let (taken, room) = (bytes.split_to(count), buffer.get_mut(..count).unwrap_or_default());
                room.copy_from_slice(&taken);
                Ok(count)
            }
        }
    }
}

/// A directory of this machine.
#[derive(Debug)]
pub(super) struct LocalFiles {
    dir: PathBuf,
    store: LocalFileSystem,
}

impl LocalFiles {
    pub(super) fn new(dir: &Path) -> Result<Self, object_store::Error> {
        let store = LocalFileSystem::new_with_prefix(dir)?.with_fsync(true);
        Ok(Self { dir: dir.to_owned(), store })
    }
}

impl FileStore for LocalFiles {
    fn put<'a>(&'a self, name: &'a str, bytes: Bytes) -> BoxFuture<'a, Result<(), object_store::Error>> {
        async move {
            let location = StorePath::parse(name)?;
            self.store.put_opts(&location, PutPayload::from_bytes(bytes), Default::default()).await.map(drop)
        }
        .boxed()
    }

    fn open(&self, name: &str) -> io::Result<StoredFile> {
        std::fs::File::open(self.dir.join(name)).map(StoredFile::Disk)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.dir.join(name))
    }
}
