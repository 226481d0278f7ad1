//! Files and directories that are prepared beside their place and moved there whole: made durable before the move, and
//! removed by the next start if the process ended before it.
//!
//! A staged file or directory has a name with a prefix of this program and six random characters, and its process holds
//! a lock on it. The system releases the lock when that process ends, also after a kill. An entry with such a name that
//! belongs to this user and is not locked was left by a killed process; no other entry is ever removed.

#![expect(clippy::disallowed_methods, reason = "the errors of this module name the file themselves")]

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Random characters after a prefix.
const RANDOM_CHARS: usize = 6;
/// Number of names to try.
const TRIES: usize = 8;

/// A staged directory; removed when dropped.
#[derive(Debug)]
pub struct StagedDir {
    dir: tempfile::TempDir,
    lock: File,
}

impl StagedDir {
    /// Creates a staged directory in `parent`, after removing leftovers of killed processes with this prefix.
    pub fn make(parent: &Path, prefix: &str) -> io::Result<Self> {
        remove_leftovers(parent, prefix);
        for _ in 0..TRIES {
            let dir = tempfile::Builder::new().prefix(prefix).rand_bytes(RANDOM_CHARS).tempdir_in(parent)?;
            let lock = File::open(dir.path());
            // Another process may have removed it as a leftover before it was locked.
            match lock {
                Ok(lock) if !is_held(&lock) && dir.path().is_dir() => return Ok(Self { dir, lock }),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("another process keeps removing the staged directory"))
    }

    /// Returns its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Returns its path and its lock for the caller to move it. Until the lock is dropped, no process removes it as a
    /// leftover.
    #[must_use]
    pub fn keep(self) -> (PathBuf, File) {
        (self.dir.keep(), self.lock)
    }

    /// Removes it, or the entry in its place.
    pub fn close(self) -> io::Result<()> {
        match self.dir.close() {
            // Another process may have removed it as a leftover.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }
}

/// Writes a file durably, wholly or not at all. The file is staged under a name with `prefix` in the same directory.
/// Errors name the file.
pub fn write_whole(path: &Path, prefix: &str, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let named = |error: io::Error| io::Error::from(NamedError { path: path.to_owned(), error });
    let parent = parent_of(path);
    remove_leftovers(parent, prefix);
    let made = tempfile::Builder::new().prefix(prefix).rand_bytes(RANDOM_CHARS).tempfile_in(parent);
    let mut file = made.map_err(named)?;
    is_locked(file.as_file());
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(named)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).map_err(named)?;
    }
    file.persist(path).map_err(|error| named(error.error))?;
    sync_dir(parent)
}

/// An error with its file.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {error}", .path.display())]
struct NamedError {
    path: PathBuf,
    #[source]
    error: io::Error,
}

impl From<NamedError> for io::Error {
    fn from(error: NamedError) -> Self {
        Self::new(error.error.kind(), error)
    }
}

/// Makes the names in a directory durable, if the system can.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    // Only Unix can open a directory to sync it.
    if !cfg!(unix) {
        return Ok(());
    }
    match File::open(path)?.sync_all() {
        // Some file systems, above all network ones, cannot sync a directory; its names are then as durable as those
        // systems make them.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        done => done,
    }
}

/// Makes all names below a directory durable, and its own. Links are not followed.
pub fn sync_dirs_below(path: &Path) -> io::Result<()> {
    let mut waiting = vec![path.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                waiting.push(entry.path());
            }
        }
        sync_dir(&dir)?;
    }
    Ok(())
}

/// Returns the parent directory of a path.
#[must_use]
pub fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Removes the entries with a prefix that killed processes left in a directory.
pub fn remove_leftovers(parent: &Path, prefix: &str) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_named = name
            .to_str()
            .and_then(|name| name.strip_prefix(prefix))
            .is_some_and(|rest| rest.len() == RANDOM_CHARS && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        if !is_named || !is_own(&entry) {
            continue;
        }
        let path = entry.path();
        let Ok(held) = File::open(&path) else { continue };
        if is_locked(&held) {
            let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            match removed {
                Ok(()) => tracing::info!("removed {}, the leftover of a killed process", path.display()),
                Err(error) => tracing::debug!("cannot remove {}: {error}", path.display()),
            }
        }
    }
}

/// Returns whether an entry is a file or a directory of this user, and not a link.
fn is_own(entry: &std::fs::DirEntry) -> bool {
    let Ok(found) = entry.metadata() else { return false };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        if found.uid() != rustix::process::geteuid().as_raw() {
            return false;
        }
    }
    found.is_dir() || found.is_file()
}

/// Tries to lock a file or directory; true if another process holds the lock.
fn is_held(file: &File) -> bool {
    matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock))
}

/// Tries to lock a file or directory; false if another process holds the lock, or the file system has none.
fn is_locked(file: &File) -> bool {
    file.try_lock().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &str = ".thinkloom-test-";

    #[test]
    fn what_a_killed_process_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.join("deep")).unwrap();
            std::fs::write(path.join("deep/file"), "x").unwrap();
            path
        };
        let dead = make(".thinkloom-test-a1B2c3");
        let others = [".thinkloom-test-mine", ".thinkloom-test-a1B2c34", ".thinkloom-other-a1B2c3", "a1B2c3"].map(make);
        let dead_file = folder.path().join(".thinkloom-test-zzzzzz");
        std::fs::write(&dead_file, "x").unwrap();
        let held = StagedDir::make(folder.path(), PREFIX).unwrap();
        std::fs::write(held.path().join("half"), "x").unwrap();
        assert!(!dead.exists() && !dead_file.exists());
        // The process that holds the lock is alive: it is this one.
        let second = StagedDir::make(folder.path(), PREFIX).unwrap();
        assert!(held.path().join("half").exists() && others.iter().all(|path| path.join("deep/file").exists()));
        let paths = [held.path().to_owned(), second.path().to_owned()];
        held.close().unwrap();
        drop(second);
        assert!(paths.iter().all(|path| !path.exists()));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_with_such_a_name_and_what_it_names_stay() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("real");
        std::fs::create_dir(&real).unwrap();
        std::fs::write(real.join("mine"), "x").unwrap();
        let link = folder.path().join(".thinkloom-test-a1B2c3");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        drop(StagedDir::make(folder.path(), PREFIX).unwrap());
        assert!(link.symlink_metadata().is_ok() && real.join("mine").exists());
    }

    #[test]
    fn a_file_is_written_whole_and_one_that_cannot_be_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.html");
        for text in ["first", "second"] {
            write_whole(&path, PREFIX, text.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let error = write_whole(&folder.path().join("gone/report.html"), PREFIX, b"x").unwrap_err();
        assert!(error.to_string().contains("gone/report.html"), "{error}");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
