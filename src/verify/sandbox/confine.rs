//! What happens between fork and exec.
//!
//! The child of a process with several threads may call async-signal-safe functions only: everything that allocates or
//! locks (the ruleset, the filters, the list of limits) is prepared before the fork, and the child makes system calls.
//!
//! A program that is started by root stays root, without any capability: such a root is an owner of files like any
//! other, and landlock rules over those. Another user could not reach interpreters that lie in root's home. Limits on
//! the number of processes do not bind root; that there are none is seccomp's work.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use libc::{c_int, c_uint, c_ulong};
use seccompiler::BpfProgram;

/// Threads and processes of the user, at most: threads are few because of their stacks, processes because of seccomp.
const TASKS_MAX: u64 = 8192;
/// Open files of a program.
const OPEN_FILES_MAX: u64 = 64;
/// Largest file that a program may write, in bytes.
pub(super) const FILE_BYTES_MAX: u64 = 16 << 20;
/// Capabilities are numbered below this.
const CAPABILITIES_MAX: c_ulong = 64;

/// Everything that the child needs.
pub(super) struct Confinement {
    /// The landlock ruleset; none leaves the layer out.
    pub(super) ruleset: Option<OwnedFd>,
    /// The seccomp filters in order; none leaves the layer out.
    pub(super) filters: Vec<BpfProgram>,
    /// CPU time in seconds.
    pub(super) cpu_s: u32,
    /// Address space in bytes.
    pub(super) memory_bytes: u64,
    /// Descriptors that the program inherits besides its standard streams.
    pub(super) inherited: [RawFd; 2],
}

/// The kernel's `struct __user_cap_header_struct`.
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: c_int,
}

/// The kernel's `struct sock_fprog`.
#[repr(C)]
struct FilterProgram {
    length: u16,
    filter: *const seccompiler::sock_filter,
}

impl Confinement {
    /// Makes a command put on all layers before its program is executed.
    pub(super) fn apply(self, command: &mut Command) {
        let parent = std::process::id();
        let limits = self.limits();
        command.process_group(0);
        // SAFETY: the closure makes system calls on memory that was allocated before the fork; it allocates nothing,
        // takes no lock, and builds errors from their numbers.
        unsafe {
            command.pre_exec(move || self.confine(parent, &limits));
        }
    }

    fn limits(&self) -> [(c_uint, u64, u64); 7] {
        let cpu = u64::from(self.cpu_s);
        let same = |resource, value| (resource as c_uint, value, value);
        [
            // The signal of the soft limit can be told from others; the hard one comes if it is ignored.
            (libc::RLIMIT_CPU as c_uint, cpu, cpu + 1),
            same(libc::RLIMIT_AS, self.memory_bytes),
            same(libc::RLIMIT_FSIZE, FILE_BYTES_MAX),
            same(libc::RLIMIT_NOFILE, OPEN_FILES_MAX),
            same(libc::RLIMIT_CORE, 0),
            same(libc::RLIMIT_NPROC, TASKS_MAX),
            same(libc::RLIMIT_MSGQUEUE, 0),
        ]
    }

    fn confine(&self, parent: u32, limits: &[(c_uint, u64, u64)]) -> io::Result<()> {
        self.keep_only_inherited()?;
        drop_capabilities()?;
        for &(resource, soft, hard) in limits {
            let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
            // SAFETY: a raw call with a pointer to a local of the right type.
            check(unsafe { libc::setrlimit(resource as _, &limit) }.into())?;
        }
        prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0)?;
        // After the capabilities: a change of credentials would take it back. It follows the thread that forked, which
        // waits for this process.
        prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as c_ulong, 0)?;
        // SAFETY: the call takes nothing and cannot fail.
        if unsafe { libc::getppid() } != parent as c_int {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        if let Some(ruleset) = &self.ruleset {
            // SAFETY: a raw call with an open descriptor and no pointer.
            check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0_u32) })?;
        }
        for filter in &self.filters {
            let program = FilterProgram { length: filter.len() as u16, filter: filter.as_ptr() };
            // SAFETY: the kernel copies the program, which lives as long as the call.
            check(unsafe {
                libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0_u32, &raw const program)
            })?;
        }
        Ok(())
    }

    /// Closes everything at exec but the standard streams and what the program is to inherit.
    fn keep_only_inherited(&self) -> io::Result<()> {
        // SAFETY: a raw call without pointers.
        let closed =
            unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as c_uint) };
        // Kernels that lack it lack landlock too; descriptors of this program are closed at exec anyway.
        if closed < 0 && io::Error::last_os_error().raw_os_error() != Some(libc::ENOSYS) {
            return Err(io::Error::last_os_error());
        }
        for descriptor in self.inherited {
            // SAFETY: a raw call without pointers.
            check(unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) }.into())?;
        }
        Ok(())
    }
}

/// Gives up all capabilities, for this process and for whatever it executes.
fn drop_capabilities() -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522; // _LINUX_CAPABILITY_VERSION_3
    for capability in 0..CAPABILITIES_MAX {
        // Without the right to do so it fails, and then there is nothing to give up: no new privileges can be had.
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
