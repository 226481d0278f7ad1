//! Directories of runs: their lock, and the file systems that cannot hold a run.

#![expect(
    clippy::disallowed_methods,
    reason = "errors name the directory themselves; waiting for a lock blocks its thread, before there is a run"
)]

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::staged::StagedDir;

/// Errors of an output directory.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// The directory cannot be created, read or written.
    #[error("cannot use the output directory {path}: {source}")]
    Io {
        /// The directory or the file in it.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Another process holds the lock.
    #[error("another process is using {path}{}", holder.as_ref().map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process id that the holder wrote into the lock.
        holder: Option<String>,
    },
    /// The directory is on a network file system.
    #[error("cannot use {path}: it is on a network file system ({kind}), whose locks and fsync are unreliable")]
    Network {
        /// The directory.
        path: PathBuf,
        /// The kind of file system.
        kind: &'static str,
    },
    /// The directory has files that no run wrote.
    #[error("cannot use {path}: it holds {found} and is not the output directory of a run (nothing in it was changed)")]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Some of its contents.
        found: String,
    },
}

impl DirError {
    /// Returns the remedy for the user.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Io { .. } => {
                "check the directory's permissions and the free space, or choose another directory with -o"
            }
            Self::InUse { .. } => "wait for that process, or choose another directory with -o",
            Self::Network { .. } => "choose a directory on a local disk with -o, and copy the result afterwards",
            Self::Foreign { .. } => {
                "choose an empty or a new directory with -o (for example a directory inside of this one)"
            }
        }
    }
}

/// An exclusive lock on an output directory, held until dropped. The system releases it when the process ends, also
/// after a kill.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

/// How long [`lock_dir_patiently`] waits for another process to release its lock.
pub const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// Time between two tries.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// As [`lock_dir`], but waits up to `patience` for a process that holds the lock: a killed process may take some
/// seconds to end, and its supervisor starts a new one at once. Logs the wait. Blocks; ends early once `is_stopped`.
pub fn lock_dir_patiently(path: &Path, patience: Duration, is_stopped: impl Fn() -> bool) -> Result<DirLock, DirError> {
    let started = Instant::now();
    let mut has_said = false;
    loop {
        let error = match lock_dir(path) {
            Err(error @ DirError::InUse { .. }) if started.elapsed() < patience && !is_stopped() => error,
            done => return done,
        };
        if !has_said {
            tracing::warn!("{error}; waiting up to {} s for it to end", patience.as_secs());
            has_said = true;
        }
        std::thread::sleep(LOCK_POLL);
    }
}

/// Creates a directory if it is missing, rejects network file systems, and takes its lock.
pub fn lock_dir(path: &Path) -> Result<DirLock, DirError> {
    let io = |source| DirError::Io { path: path.to_owned(), source };
    std::fs::create_dir_all(path).map_err(io)?;
    if let Some(kind) = network_file_system(path) {
        return Err(DirError::Network { path: path.to_owned(), kind });
    }
    let lock_path = path.join(LOCK_FILE);
    let options = File::options().read(true).write(true).create(true).truncate(false).open(&lock_path);
    let mut file = options.map_err(|source| DirError::Io { path: lock_path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = std::fs::read_to_string(&lock_path).ok().map(|text| text.trim().to_owned());
            let holder = holder.filter(|pid| !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()));
            return Err(DirError::InUse { path: path.to_owned(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(DirError::Io { path: lock_path, source }),
    }
    let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(|source| DirError::Io { path: lock_path, source })?;
    Ok(DirLock { _file: file })
}

/// Prefix of the name of a temporary directory.
const TEMPORARY_PREFIX: &str = "thinkloom-temporary-";
/// The name of the lock in an output directory.
const LOCK_FILE: &str = ".lock";
/// Number of foreign files in an error message.
const FOREIGN_SHOWN: usize = 3;
/// Files that systems and file managers create in unused directories.
const LITTER: &[&str] = &["lost+found", "Thumbs.db", "desktop.ini", "System Volume Information"];

/// Rejects a directory with foreign files: one that is neither missing nor empty, has none of `markers` (files that
/// only this program creates), and has more than the leftovers of a start that ended before it created one.
///
/// Hidden files and files of the file system itself are not foreign: a fresh volume, and a directory under version
/// control that is otherwise empty, are accepted. `leftovers` are the top-level names that an interrupted start leaves;
/// a directory among them is accepted if there is no file below it. Changes nothing, and takes no lock.
///
/// # Errors
/// [`DirError::Foreign`]; [`DirError::Io`] if the directory cannot be listed.
pub fn refuse_foreign(path: &Path, markers: &[&str], leftovers: &[&str]) -> Result<(), DirError> {
    let io = |source| DirError::Io { path: path.to_owned(), source };
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(io)?,
    };
    let mut foreign = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if markers.contains(&name.as_str()) {
            return Ok(());
        }
        let is_harmless = name.starts_with('.') || LITTER.contains(&name.as_str());
        let is_left = leftovers.contains(&name.as_str()) && !holds_files(&entry.path());
        if !is_harmless && !is_left {
            foreign.push(name);
        }
    }
    if foreign.is_empty() {
        return Ok(());
    }
    foreign.sort_unstable();
    let more = foreign.len().saturating_sub(FOREIGN_SHOWN);
    foreign.truncate(FOREIGN_SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Err(DirError::Foreign { path: path.to_owned(), found: format!("{}{more}", foreign.join(", ")) })
}

/// Returns whether a path is a directory with a file anywhere below it; true if it cannot be listed.
fn holds_files(path: &Path) -> bool {
    if !path.is_dir() {
        return false;
    }
    let Ok(entries) = std::fs::read_dir(path) else { return true };
    entries.into_iter().any(|entry| match entry {
        Ok(entry) if entry.file_type().is_ok_and(|kind| kind.is_dir()) => holds_files(&entry.path()),
        _ => true,
    })
}

/// Creates an empty directory that is removed when the returned value is dropped, or by the next start.
///
/// # Errors
/// [`DirError::Io`] if the system's directory for temporary files cannot be used.
pub fn temporary_dir() -> Result<StagedDir, DirError> {
    let place = std::env::temp_dir();
    StagedDir::make(&place, TEMPORARY_PREFIX).map_err(|source| DirError::Io { path: place, source })
}

/// Returns the free bytes for this process on the file system of a path, if the system states them.
#[must_use]
pub fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Returns the kind of network file system of a path, if it is a known one.
#[cfg(target_os = "linux")]
fn network_file_system(path: &Path) -> Option<&'static str> {
    // The field's type differs between architectures; the magic numbers have 32 bits.
    #[allow(clippy::unnecessary_cast, reason = "the field's type differs between architectures")]
    let magic = rustix::fs::statfs(path).ok()?.f_type as u64 & 0xffff_ffff;
    network_kind(magic)
}

/// Returns a network file system's name from its magic number in statfs(2).
#[cfg(target_os = "linux")]
fn network_kind(magic: u64) -> Option<&'static str> {
    const KINDS: &[(u64, &str)] = &[
        (0x6969, "NFS"),
        (0x517b, "SMB"),
        (0xff53_4d42, "CIFS"),
        (0xfe53_4d42, "SMB2"),
        (0x5346_414f, "AFS"),
        (0x0102_1997, "9P"),
        (0x00c3_6400, "Ceph"),
        (0x0bd0_0bd0, "Lustre"),
    ];
    KINDS.iter().find(|(known, _)| *known == magic).map(|(_, kind)| *kind)
}

#[cfg(not(target_os = "linux"))]
fn network_file_system(_path: &Path) -> Option<&'static str> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_until_the_first_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/out");
        let first = lock_dir(&path).unwrap();
        let error = lock_dir(&path).unwrap_err();
        assert!(error.to_string().contains(&format!("(process {})", std::process::id())), "{error}");
        drop(first);
        lock_dir(&path).unwrap();
    }

    #[test]
    fn a_lock_that_is_given_back_in_time_is_waited_for_and_another_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock_dir(folder.path()).unwrap();
        let never = || false;
        let error = lock_dir_patiently(folder.path(), Duration::from_millis(120), never).unwrap_err();
        assert!(matches!(error, DirError::InUse { holder: Some(_), .. }), "{error}");
        let stopped = lock_dir_patiently(folder.path(), Duration::from_secs(3600), || true);
        assert!(matches!(stopped, Err(DirError::InUse { .. })), "a stop ends the wait");
        let tries = std::cell::Cell::new(0);
        let held = std::cell::Cell::new(Some(held));
        // The holder releases the lock during the wait.
        let lets_go = || {
            tries.set(tries.get() + 1);
            if tries.get() == 3 {
                drop(held.take());
            }
            false
        };
        lock_dir_patiently(folder.path(), Duration::from_secs(3600), lets_go).unwrap();
        assert!(tries.get() >= 3);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn network_file_systems_are_refused_by_name_and_local_ones_are_not() {
        assert_eq!(network_kind(0x6969), Some("NFS"));
        // ext4, xfs, btrfs, tmpfs, overlayfs
        for local in [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630] {
            assert_eq!(network_kind(local), None, "{local:x}");
        }
        let error = DirError::Network { path: "out".into(), kind: "NFS" };
        assert_eq!(
            error.to_string(),
            "cannot use out: it is on a network file system (NFS), whose locks and fsync are unreliable"
        );
        assert!(error.hint().contains("local disk"));
    }

    #[test]
    fn a_directory_of_somebody_else_is_refused_and_what_nobody_wrote_is_not() {
        let left: &[&str] = &["data", "ledger.sqlite-wal"];
        let refused = |files: &[&str]| {
            let folder = tempfile::tempdir().unwrap();
            for name in files {
                let path = folder.path().join(name);
                if name.ends_with('/') {
                    std::fs::create_dir_all(path).unwrap();
                } else {
                    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                    std::fs::write(path, "x").unwrap();
                }
            }
            refuse_foreign(folder.path(), &["ledger.sqlite"], left).err().map(|error| error.to_string())
        };
        let free: &[&[&str]] = &[
            &[],
            &[".lock"],
            &[".DS_Store", ".git/HEAD", ".gitignore"],
            &["lost+found/"],
            &["Thumbs.db", "desktop.ini"],
            &["data/samples/", "data/rollouts/", "ledger.sqlite-wal", ".lock"],
            &["README.md", "ledger.sqlite", "notes/mine.txt"],
        ];
        for files in free {
            assert_eq!(refused(files), None, "{files:?}");
        }
        let taken: &[(&[&str], &str)] = &[
            (&["README.md"], "holds README.md and"),
            (&["data/mine.csv"], "holds data and"),
            (&["data/deep/er/x.parquet", ".lock"], "holds data and"),
            (&["sub/"], "holds sub and"),
            (&["a", "b", "c", "d", "e"], "holds a, b, c and 2 more and"),
            (&["ledger.sqlite-wal", "queries.jsonl"], "holds queries.jsonl and"),
            (&["manifest.json", "views.sql"], "holds manifest.json, views.sql and"),
        ];
        for (files, said) in taken {
            let error = refused(files).unwrap_or_else(|| panic!("{files:?} was taken"));
            assert!(error.contains(said), "{error}");
        }
        let missing = std::env::temp_dir().join("thinkloom-there-is-no-such-directory");
        refuse_foreign(&missing, &["ledger.sqlite"], left).unwrap();
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "x").unwrap();
        assert!(lock_dir(&path).unwrap_err().to_string().contains("file"));
    }
}
