//! Directories that hold a run: the lock, and the kinds of file system that cannot hold one.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

/// What can be wrong with an output directory.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// It cannot be created, read or written.
    #[error("cannot use the output directory {path}: {source}")]
    Io {
        /// The directory or the file in it.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process holds the lock.
    #[error("another process is using {path}{}", holder.as_ref().map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process id that the holder wrote down.
        holder: Option<String>,
    },
    /// It lies on a network file system.
    #[error("{path} lies on a network file system ({kind}), where locks and fsync cannot be trusted")]
    Network {
        /// The directory.
        path: PathBuf,
        /// Its kind.
        kind: &'static str,
    },
}

impl DirError {
    /// Returns what the user can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Io { .. } => "check its permissions and the free space, or choose another with -o",
            Self::InUse { .. } => "wait for that process, or choose another directory with -o",
            Self::Network { .. } => "choose a directory on a local disk with -o, and copy the result afterwards",
        }
    }
}

/// An exclusive hold on an output directory, for as long as it lives. The system releases it when the process ends,
/// however it ends.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

/// Creates a directory if need be, refuses network file systems, and takes its lock.
///
/// # Errors
/// [`DirError`].
pub fn lock_dir(path: &Path) -> Result<DirLock, DirError> {
    let io = |source| DirError::Io { path: path.to_owned(), source };
    std::fs::create_dir_all(path).map_err(io)?;
    if let Some(kind) = network_file_system(path) {
        return Err(DirError::Network { path: path.to_owned(), kind });
    }
    let lock_path = path.join(".lock");
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

/// Creates an empty directory that is removed when the returned value is dropped.
///
/// # Errors
/// [`DirError::Io`] if the system's directory for temporary files cannot be used.
pub fn temporary_dir() -> Result<tempfile::TempDir, DirError> {
    tempfile::Builder::new()
        .prefix("thinkloom-")
        .tempdir()
        .map_err(|source| DirError::Io { path: std::env::temp_dir(), source })
}

/// Returns the free bytes that this process may use on the file system of a path, where the system says.
#[must_use]
pub fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Returns the kind of network file system that a path lies on, if it is a known one.
#[cfg(target_os = "linux")]
fn network_file_system(path: &Path) -> Option<&'static str> {
    // The field's type differs between architectures; the magic numbers have 32 bits.
    #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast)]
    let magic = rustix::fs::statfs(path).ok()?.f_type as u64 & 0xffff_ffff;
    network_kind(magic)
}

/// Names a network file system by its magic number in statfs(2).
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
            "out lies on a network file system (NFS), where locks and fsync cannot be trusted"
        );
        assert!(error.hint().contains("local disk"));
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "x").unwrap();
        assert!(lock_dir(&path).unwrap_err().to_string().contains("file"));
    }
}
