//! The programs' directories: one per program, gone with it.
//!
//! They stand in one directory per sandbox, which is locked. The system releases the lock when the process ends, however
//! it ends: a directory of this name whose lock is free was left by a process that was killed, and is removed by the next.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

const PREFIX: &str = "thinkloom-code-";
const LOCK: &str = ".lock";
/// Directories of dead processes that are looked at in one start.
const LEFTOVERS_MAX: usize = 64;
/// What a program may keep in its directory.
const BYTES_MAX: u64 = 64 << 20;
const FILES_MAX: usize = 1000;

/// The directory of a sandbox; removed when dropped.
#[derive(Debug)]
pub(super) struct ScratchRoot {
    root: TempDir,
    made: AtomicU64,
    _lock: File,
}

impl ScratchRoot {
    /// Makes a directory for one sandbox, and removes those of processes that are gone.
    ///
    /// # Errors
    /// If the directory for temporary files cannot be written.
    pub(super) fn new() -> io::Result<Self> {
        let place = std::env::temp_dir();
        remove_leftovers(&place);
        let root = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&place)?;
        let lock = File::create(root.path().join(LOCK))?;
        lock.try_lock().map_err(io::Error::from)?;
        Ok(Self { root, made: AtomicU64::new(0), _lock: lock })
    }

    /// Makes the empty directory of one program.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(super) fn make(&self) -> io::Result<Scratch> {
        let path = self.root.path().join(self.made.fetch_add(1, Ordering::Relaxed).to_string());
        std::fs::create_dir(&path)?;
        Ok(Scratch { path })
    }
}

/// The directory of one program; removed when dropped.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Returns where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether it holds more than a program may write. Looks at a bounded number of files.
    pub(super) fn is_overfull(&self) -> bool {
        let Ok(entries) = std::fs::read_dir(&self.path) else { return false };
        let (mut files, mut bytes) = (0, 0);
        for entry in entries.flatten() {
            files += 1;
            bytes += entry.metadata().map_or(0, |metadata| metadata.len());
            if files > FILES_MAX || bytes > BYTES_MAX {
                return true;
            }
        }
        false
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!("cannot remove {}, which a program had written to: {error}", self.path.display());
        }
    }
}

/// Removes directories that no living process holds. Those of other users are not touched.
fn remove_leftovers(place: &Path) {
    let Ok(entries) = std::fs::read_dir(place) else { return };
    let is_ours = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with(PREFIX);
    for entry in entries.flatten().filter(is_ours).take(LEFTOVERS_MAX) {
        let path = entry.path();
        let mine = rustix::process::geteuid().as_raw();
        // The metadata of the entry itself, not of what a link points to.
        let is_own_dir = entry
            .metadata()
            .is_ok_and(|found| found.is_dir() && found.uid() == mine && found.permissions().mode() & 0o077 == 0);
        // A directory without its lock is just being made.
        let Ok(lock) = File::open(path.join(LOCK)) else { continue };
        let is_held = matches!(lock.try_lock(), Err(TryLockError::WouldBlock | TryLockError::Error(_)));
        if is_own_dir && !is_held {
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}
