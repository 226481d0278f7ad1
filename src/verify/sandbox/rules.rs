//! The landlock rules: name the files that a program may read, and the directory that it may write to.

#![expect(
    clippy::disallowed_methods,
    reason = "a path that cannot be opened is left out of the rules, or named by the error"
)]

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr,
    RulesetError, Scope,
};

use super::confine::Disk;

/// The newest landlock version that the rules support; older kernels support a part of it.
const NEWEST: ABI = ABI::V6;

/// The first landlock version that restricts truncation.
const TRUNCATE_SINCE: i64 = 3;

/// The paths that every program may read: the system's libraries, and the files of their loader.
const SYSTEM_PATHS: &[&str] = &[
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/usr/share/zoneinfo",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
];

/// Returns the kernel's landlock version, or the kernel's error if it has no landlock.
pub(super) fn version() -> Result<i64, String> {
    const VERSION_FLAG: u32 = 1; // LANDLOCK_CREATE_RULESET_VERSION
    // SAFETY: with this flag the call reads no memory and creates nothing.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0_usize, VERSION_FLAG)
    };
    if version >= 1 {
        return Ok(version);
    }
    Err(format!("landlock_create_ruleset failed: {}", std::io::Error::last_os_error()))
}

/// An open file or directory, and the allowed actions beneath it.
#[derive(Debug)]
struct Grant {
    place: OwnedFd,
    access: BitFlags<AccessFs>,
}

/// The rules that are the same for all programs.
#[derive(Debug)]
pub(super) struct Rules {
    grants: Vec<Grant>,
    version: i64,
}

impl Rules {
    /// Opens the readable and the executable paths; a missing path needs no rule.
    pub(super) fn new(version: i64, readable: &[PathBuf], executable: &[PathBuf]) -> Self {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let system = SYSTEM_PATHS.iter().map(|path| (Path::new(path), read));
        let own = readable.iter().map(|path| (path.as_path(), read));
        let run = executable.iter().map(|path| (path.as_path(), AccessFs::ReadFile | AccessFs::Execute));
        let null = (Path::new("/dev/null"), AccessFs::ReadFile | AccessFs::WriteFile);
        let grants = system.chain(own).chain(run).chain([null]).filter_map(|(path, access)| {
            let is_file = !std::fs::metadata(path).ok()?.is_dir();
            let access = if is_file { access & AccessFs::from_file(NEWEST) } else { access };
            Some(Grant { place: open_path(path).ok()?, access })
        });
        Self { grants: grants.collect(), version }
    }

    /// Builds a ruleset without the scratch directory: only the interpreter has its descriptor.
    pub(super) fn build(&self) -> Result<Option<OwnedFd>, RulesetError> {
        let mut created: RulesetCreated = Ruleset::default()
            .handle_access(AccessFs::from_all(NEWEST))?
            .handle_access(AccessNet::from_all(NEWEST))?
            .scope(Scope::from_all(NEWEST))?
            .create()?;
        for grant in &self.grants {
            created = created.add_rule(PathBeneath::new(&grant.place, grant.access))?;
        }
        Ok(created.into())
    }

    /// Returns the allowed actions in the scratch directory, as the kernel's bits.
    ///
    /// Directories cannot be made: flat files can always be counted and removed. On a shared disk, files cannot be
    /// deleted, so that all bytes stay visible.
    pub(super) fn scratch_access(&self, disk: Disk) -> u64 {
        let mut access = AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::WriteFile | AccessFs::MakeReg;
        if self.version >= TRUNCATE_SINCE {
            access |= AccessFs::Truncate;
        }
        match disk {
            Disk::Private => (access | AccessFs::RemoveFile).bits(),
            Disk::Shared => access.bits(),
        }
    }
}

/// Opens a path as a location only: the descriptor cannot read the file.
fn open_path(path: &Path) -> std::io::Result<OwnedFd> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = File::options().read(true).custom_flags(libc::O_PATH | libc::O_CLOEXEC).open(path)?;
    Ok(file.into())
}
