//! Confines a warmed interpreter between fork and exec.
//!
//! The child of a process with several threads may call only async-signal-safe functions: everything that allocates or
//! locks is prepared before the fork, and the child makes system calls.
//!
//! The interpreter gets a process group, a disk of its own if the system allows it, no capabilities and no new
//! privileges, and dies with the thread that started it. The interpreter runs only thinkloom's code. Its children run
//! foreign code; before that they add limits of CPU time and memory, landlock and seccomp (`zygote.py`).
//!
//! A sandbox started by root stays root, without any capability: such a root owns files like any other user, and
//! landlock restricts access to those files. Another user could not reach an interpreter in root's home. Limits on the
//! number of processes do not bind root; seccomp prevents new processes.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use libc::{c_int, c_uint, c_ulong, c_void};

use super::scratch::{BYTES_MAX, FILES_MAX};

/// The most threads and processes of the user: the size of their stacks keeps threads few, and seccomp keeps processes
/// few.
const TASKS_MAX: u64 = 8192;
/// The most open files of a program.
pub(super) const OPEN_FILES_MAX: u64 = 64;
/// The most open files of an interpreter; `zygote.py` depends on this number.
const OWN_FILES_MAX: u64 = 256;
/// The largest file that a program may write, in bytes.
pub(super) const FILE_BYTES_MAX: u64 = 16 << 20;
/// All capabilities have numbers below this one.
const CAPABILITIES_MAX: c_ulong = 64;

/// The place for the programs' files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disk {
    /// A file system in memory of bounded size, invisible to other processes; deleting a file frees its space.
    Private,
    /// A directory whose files are counted and cannot be deleted.
    Shared,
}

/// Everything that the interpreter needs between fork and exec.
pub(super) struct Confinement {
    /// The descriptors that the interpreter inherits, in addition to its standard streams.
    pub(super) inherited: Vec<RawFd>,
    mounts: Option<Mounts>,
}

/// The arguments for mounting a disk, in the kernel's format.
struct Mounts {
    scratch: CString,
    options: CString,
    user_map: CString,
    group_map: CString,
}

/// The kernel's `struct __user_cap_header_struct`.
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: c_int,
}

impl Confinement {
    /// Prepares the confinement of an interpreter whose children write to `scratch`. Fails if the path contains a zero
    /// byte.
    pub(super) fn new(disk: Disk, scratch: &Path, inherited: Vec<RawFd>) -> io::Result<Self> {
        let text = |text: String| CString::new(text).map_err(io::Error::other);
        let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let mounts = match disk {
            Disk::Shared => None,
            Disk::Private => Some(Mounts {
                scratch: CString::new(scratch.as_os_str().as_bytes()).map_err(io::Error::other)?,
                // The directory itself uses one inode.
                options: text(format!("size={BYTES_MAX},nr_inodes={},mode=700", FILES_MAX + 1))?,
                user_map: text(format!("{user} {user} 1\n"))?,
                group_map: text(format!("{group} {group} 1\n"))?,
            }),
        };
        Ok(Self { inherited, mounts })
    }

    /// Makes a command confine its process before its program is executed.
    pub(super) fn apply(self, command: &mut Command) {
        let parent = std::process::id();
        command.process_group(0);
        // SAFETY: the closure makes system calls on memory that was allocated before the fork; it allocates nothing,
        // takes no lock, and builds errors from their numbers.
        unsafe {
            command.pre_exec(move || self.confine(parent));
        }
    }

    fn confine(&self, parent: u32) -> io::Result<()> {
        self.keep_only_inherited()?;
        // A signal that this program ignores stays ignored in the executed program.
        // SAFETY: a raw call without pointers that changes this process's own action.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_DFL) };
        if let Some(mounts) = &self.mounts {
            mounts.mount()?;
        }
        drop_capabilities()?;
        let limits = [
            (libc::RLIMIT_FSIZE as c_uint, FILE_BYTES_MAX),
            (libc::RLIMIT_NOFILE as c_uint, OWN_FILES_MAX),
            (libc::RLIMIT_CORE as c_uint, 0),
            (libc::RLIMIT_NPROC as c_uint, TASKS_MAX),
            (libc::RLIMIT_MSGQUEUE as c_uint, 0),
        ];
        for (resource, value) in limits {
            let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
            // SAFETY: a raw call with a pointer to a local of the right type.
            check(unsafe { libc::setrlimit(resource as _, &limit) }.into())?;
        }
        prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0)?;
        // The death signal is set after the capabilities, because a change of credentials would reset it. It depends on
        // the thread that forked, which lives as long as the sandbox.
        prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as c_ulong, 0)?;
        // SAFETY: the call takes nothing and cannot fail.
        if unsafe { libc::getppid() } != parent as c_int {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(())
    }

    /// Closes all descriptors at exec, except the standard streams and the inherited descriptors.
    fn keep_only_inherited(&self) -> io::Result<()> {
        // SAFETY: a raw call without pointers.
        let closed =
            unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as c_uint) };
        // Kernels without this call lack landlock too; this program's descriptors are closed at exec in any case.
        if closed < 0 && io::Error::last_os_error().raw_os_error() != Some(libc::ENOSYS) {
            return Err(io::Error::last_os_error());
        }
        for &descriptor in &self.inherited {
            // SAFETY: a raw call without pointers.
            check(unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) }.into())?;
        }
        Ok(())
    }
}

impl Mounts {
    /// Mounts a file system in memory over the scratch directory, in a new name space, and changes to that directory.
    fn mount(&self) -> io::Result<()> {
        // SAFETY: a raw call without pointers.
        if unsafe { libc::unshare(libc::CLONE_NEWNS) } < 0 {
            // Without privileges: creates a user name space for this process alone, which grants them.
            // SAFETY: as above.
            check(unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) }.into())?;
            write_file(c"/proc/self/setgroups", c"deny")?;
            write_file(c"/proc/self/uid_map", &self.user_map)?;
            write_file(c"/proc/self/gid_map", &self.group_map)?;
        }
        mount(c"none", c"/", None, libc::MS_REC | libc::MS_PRIVATE, None)?;
        let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        mount(c"tmpfs", &self.scratch, Some(c"tmpfs"), flags, Some(&self.options))?;
        // SAFETY: the path is a string that outlives the call.
        check(unsafe { libc::chdir(self.scratch.as_ptr()) }.into())
    }
}

fn mount(source: &CStr, target: &CStr, kind: Option<&CStr>, flags: c_ulong, options: Option<&CStr>) -> io::Result<()> {
    let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: all pointers are null or to strings that outlive the call.
    let result = unsafe {
        libc::mount(source.as_ptr(), target.as_ptr(), pointer(kind), flags, pointer(options).cast::<c_void>())
    };
    check(result.into())
}

fn write_file(path: &CStr, content: &CStr) -> io::Result<()> {
    // SAFETY: raw calls on strings that outlive them; the descriptor is closed.
    unsafe {
        let descriptor = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        check(descriptor.into())?;
        let written = libc::write(descriptor, content.as_ptr().cast::<c_void>(), content.to_bytes().len());
        let result = check(written as i64);
        libc::close(descriptor);
        result
    }
}

/// Drops all capabilities of this process and of every program that it executes.
fn drop_capabilities() -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522; // _LINUX_CAPABILITY_VERSION_3
    for capability in 0..CAPABILITIES_MAX {
        // Without the right to drop them the call fails; then the process has no capabilities, and can gain no new
        // privileges.
        let _ = prctl(libc::PR_CAPBSET_DROP, capability, 0);
    }
    let header = CapabilityHeader { version: VERSION_3, pid: 0 };
    // Effective, permitted and inheritable, in two words each.
    let none = [0_u32; 6];
    // SAFETY: both pointers are to locals of the layout that version 3 demands.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) })
}

fn prctl(option: c_int, first: c_ulong, second: c_ulong) -> io::Result<()> {
    const ZERO: c_ulong = 0;
    // SAFETY: the options used here take numbers only.
    check(unsafe { libc::prctl(option, first, second, ZERO, ZERO) }.into())
}

fn check(result: i64) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
