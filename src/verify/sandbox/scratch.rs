//! The programs' directories: one per program, removed with it.
//!
//! Each sandbox has one locked directory for them. The system releases the lock when the process ends, however it ends.
//! A directory of this name with a free lock belonged to a killed process, and the next sandbox removes it.

#![expect(clippy::disallowed_methods, reason = "errors name what was being made ready; what cannot be removed is left")]

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

const PREFIX: &str = "thinkloom-code-";
const LOCK: &str = ".lock";
/// The most directories of dead processes that one start examines.
const LEFTOVERS_MAX: usize = 64;
/// The most bytes in a program's directory.
pub(super) const BYTES_MAX: u64 = 64 << 20;
/// The fewest free bytes of a disk that is not full.
const ROOM_MIN: u64 = 1 << 20;
/// The unit of `st_blocks`, in bytes.
const BLOCK_BYTES: u64 = 512;
pub(super) const FILES_MAX: usize = 1000;

/// The directory of a sandbox; removed when dropped.
#[derive(Debug)]
pub(super) struct ScratchRoot {
    root: TempDir,
    made: AtomicU64,
    _lock: File,
}

impl ScratchRoot {
    /// Makes a directory for one sandbox, and removes the directories of ended processes. Fails if the directory for
    /// temporary files cannot be written.
    pub(super) fn new() -> io::Result<Self> {
        let place = std::env::temp_dir();
        remove_leftovers(&place);
        let private = std::fs::Permissions::from_mode(0o700);
        let root = tempfile::Builder::new().prefix(PREFIX).permissions(private).tempdir_in(&place)?;
        let lock = File::create(root.path().join(LOCK))?;
        lock.try_lock().map_err(io::Error::from)?;
        Ok(Self { root, made: AtomicU64::new(0), _lock: lock })
    }

    /// Makes the empty directory of one program.
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
    /// Returns the directory's path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether the directory exceeds the limits of a program. Examines a bounded number of files.
    pub(super) fn is_overfull(&self) -> bool {
        let Ok(entries) = std::fs::read_dir(&self.path) else { return false };
        let (mut files, mut bytes) = (0, 0);
        for entry in entries.flatten() {
            files += 1;
            // The greater of the file's length and its allocated space: a program can allocate space beyond the end.
            bytes += entry.metadata().map_or(0, |found| found.len().max(found.blocks().saturating_mul(BLOCK_BYTES)));
            if files > FILES_MAX || bytes > BYTES_MAX {
                return true;
            }
        }
        false
    }

    /// Returns whether the directory's disk is full, whoever filled it.
    pub(super) fn is_full(&self) -> bool {
        rustix::fs::statvfs(&self.path).is_ok_and(|found| {
            found.f_bavail.saturating_mul(found.f_frsize) < ROOM_MIN || (found.f_files > 0 && found.f_favail == 0)
        })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A program without the seccomp layer may have removed the permission.
        let _ = std::fs::set_permissions(&self.path, std::fs::Permissions::from_mode(0o700));
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!("cannot remove {}, a program's directory: {error}", self.path.display());
        }
    }
}

/// Removes directories that no living process has locked. Skips directories of other users.
fn remove_leftovers(place: &Path) {
    let Ok(entries) = std::fs::read_dir(place) else { return };
    let is_ours = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with(PREFIX);
    for entry in entries.flatten().filter(is_ours).take(LEFTOVERS_MAX) {
        let path = entry.path();
        let mine = rustix::process::geteuid().as_raw();
        // Uses the metadata of the entry itself, not of a link's target.
        let is_own_dir = entry
            .metadata()
            .is_ok_and(|found| found.is_dir() && found.uid() == mine && found.permissions().mode() & 0o077 == 0);
        // A directory without its lock file is being made.
        let Ok(lock) = File::open(path.join(LOCK)) else { continue };
        let is_held = matches!(lock.try_lock(), Err(TryLockError::WouldBlock | TryLockError::Error(_)));
        if is_own_dir && !is_held {
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_nobody_holds_is_removed_and_all_others_stay() {
        let place = tempfile::tempdir().unwrap();
        let make = |name: &str, mode: u32| {
            let path = place.path().join(name);
            std::fs::create_dir(&path).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let [dead, held, foreign, shared, bare] = [
            make("thinkloom-code-dead", 0o700),
            make("thinkloom-code-held", 0o700),
            make("something-else", 0o700),
            make("thinkloom-code-shared", 0o777),
            make("thinkloom-code-bare", 0o700),
        ];
        for path in [&dead, &held, &foreign, &shared] {
            std::fs::write(path.join(LOCK), "").unwrap();
            std::fs::write(path.join("file"), "x").unwrap();
        }
        let lock = File::open(held.join(LOCK)).unwrap();
        lock.try_lock().unwrap();
        std::os::unix::fs::symlink(&foreign, place.path().join("thinkloom-code-link")).unwrap();
        remove_leftovers(place.path());
        assert!(!dead.exists());
        assert!([&held, &foreign, &shared].iter().all(|path| path.join("file").exists()) && bare.exists());
    }

    #[test]
    fn a_directory_is_overfull_from_one_file_too_many_on_and_gone_when_dropped() {
        let root = ScratchRoot::new().unwrap();
        let scratch = root.make().unwrap();
        for index in 0..FILES_MAX {
            File::create(scratch.path().join(index.to_string())).unwrap();
        }
        assert!(!scratch.is_overfull());
        File::create(scratch.path().join("more")).unwrap();
        assert!(scratch.is_overfull());
        let large = root.make().unwrap();
        let file = File::create(large.path().join("large")).unwrap();
        file.set_len(BYTES_MAX).unwrap();
        assert!(!large.is_overfull());
        file.set_len(BYTES_MAX + 1).unwrap();
        assert!(large.is_overfull());
        // The last action that a program can take on its directory.
        std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o000)).unwrap();
        let paths = [scratch.path().to_owned(), large.path().to_owned()];
        drop((scratch, large));
        assert!(paths.iter().all(|path| !path.exists()));
    }
}
