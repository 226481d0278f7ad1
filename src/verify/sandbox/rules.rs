//! The landlock rules: which files a program may read, and where it may write.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr,
    RulesetError, Scope,
};

use super::confine::Disk;

/// The newest version of landlock that the rules were written for; older kernels know a part of it.
const NEWEST: ABI = ABI::V6;

/// The version of landlock that rules truncation.
const TRUNCATE_SINCE: i64 = 3;

/// What every program may read: the libraries of the system, and what their loader asks for.
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

/// Returns the version of landlock that the kernel has.
///
/// # Errors
/// What the kernel says if it has none.
pub(super) fn version() -> Result<i64, String> {
    const VERSION_FLAG: u32 = 1; // LANDLOCK_CREATE_RULESET_VERSION
    // SAFETY: with this flag the call reads no memory and creates nothing.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0_usize, VERSION_FLAG)
    };
    if version >= 1 {
        return Ok(version);
    }
    Err(format!("landlock_create_ruleset says: {}", std::io::Error::last_os_error()))
}

/// A file or directory that is held open, and what may be done beneath it.
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
    /// Opens what may be read and what may be executed; what does not exist needs no rule.
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

    /// Builds a ruleset without the scratch directory: which file that is only the interpreter knows.
    ///
    /// # Errors
    /// [`RulesetError`] if the kernel refuses.
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

    /// Returns what may be done in the scratch directory, as the kernel counts it.
    ///
    /// No directories: what is flat can always be counted and removed. Where files are counted none is taken away, so that
    /// all bytes stay visible.
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

/// Opens a path as a place only: nothing can be read through it.
fn open_path(path: &Path) -> std::io::Result<OwnedFd> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = File::options().read(true).custom_flags(libc::O_PATH | libc::O_CLOEXEC).open(path)?;
    Ok(file.into())
}
