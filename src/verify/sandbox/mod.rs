//! The sandbox: untrusted Python programs, each in a new process, with nothing in reach but an empty directory.
//!
//! # Processes
//! A **warmed interpreter** (`zygote.py`) per job at once, started by one thread and dead with it, forks the processes of one
//! job after the other: a program alone (`script`), or the tests in one process and the program in another, with a pair of
//! sockets between them (`tests`). It runs our code alone, reads no program and no test, and goes on only when all of a job
//! have ended and the directory is empty. A job that has to be cut takes its interpreter with it.
//!
//! # Layers
//! All are put on between the fork and the first instruction of a program, and are the same for the tests' process:
//!
//! - **limits**: own process group, CPU time, address space, file size, open files, no core file, no new privileges, no
//!   capabilities, death with the interpreter, which dies with the thread that started it;
//! - **landlock**: files are readable as far as the interpreter needs them, writable in the job's own empty directory
//!   (files only, no directories, links or devices), and out of reach otherwise; TCP is refused where the kernel has that;
//! - **seccomp**: a list of calls, requests and commands that go. Not on it: sockets, new processes, signals to others, tracing,
//!   change of owners, modes, times or flags of files, leases, asynchronous requests, memory that is no process's, change of
//!   the limit of CPU time.
//!
//! Besides, the environment is empty, and whatever a program left is killed and removed.
//!
//! # Disk
//! Where name spaces of mounts are allowed (to root, or to users in a name space of their own), the directory is a file
//! system in memory of 64 MiB and 1,000 files, seen by nobody else: what is deleted in it is gone, whether it has a name or not.
//! Elsewhere its files are counted every 20 ms against the same bounds; so that none hides, `O_TMPFILE` is refused, room cannot
//! be taken without being written, and files can be neither deleted nor renamed (`EACCES`). Whoever meets a full disk there is
//! not at fault.
//!
//! # Time
//! The kernel ends a process that has used its CPU time. The wall clock ends a job in which nothing has run for long
//! (`clock`): time spent waiting for a core or a disk, or stopped, is left out. One that goes on for many times that is the
//! machine's failure, and so is a program that is killed by nobody here.
//!
//! It **fails closed**: where a layer is missing nothing runs, unless the options say that the others will do. Layers are
//! not believed to be there because the kernel says so: [`Sandbox::open`] runs a program that tries to get out. Linux on
//! x86-64 and 64-bit ARM only; the interpreter needs `ctypes`.
//!
//! What it does not hold back: reading names, sizes and times of files (`stat`), attacks on the kernel or the CPU, and
//! what a program does to its own interpreter.

#[cfg(target_os = "linux")]
mod calls;
#[cfg(target_os = "linux")]
mod clock;
#[cfg(target_os = "linux")]
mod confine;
#[cfg(target_os = "linux")]
mod filter;
#[cfg(target_os = "linux")]
mod interpreter;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod rules;
#[cfg(target_os = "linux")]
mod scratch;
#[cfg(target_os = "linux")]
mod watch;
#[cfg(target_os = "linux")]
mod zygote;

#[cfg(all(test, target_os = "linux"))]
pub(crate) use confine::Disk;

#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(not(target_os = "linux"))]
pub use elsewhere::Sandbox;
#[cfg(target_os = "linux")]
pub use linux::Sandbox;

/// A part of the sandbox that may be missing on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// Linux on x86-64 or 64-bit ARM.
    System,
    /// The interpreter.
    Python,
    /// Resource limits, privileges and the watch from outside.
    Limits,
    /// Rules over files.
    Landlock,
    /// The filter of system calls.
    Seccomp,
}

impl Layer {
    /// Returns the stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Python => "python",
            Self::Limits => "limits",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
        }
    }

    /// Returns what to do if it is missing.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::System => "verify code on Linux (x86-64 or aarch64), for example in a virtual machine",
            Self::Python => "install Python 3.8 or later, or name one with verify.python",
            Self::Limits => "free memory and space for temporary files, or raise verify.memory_limit_mib",
            Self::Landlock => {
                "use a kernel from 5.13 on with landlock among its security modules (lsm=landlock,...), and a container \
                 whose seccomp profile allows landlock_create_ruleset; verify.strict = false goes without"
            }
            Self::Seccomp => {
                "use a kernel with CONFIG_SECCOMP_FILTER, and a container that allows seccomp; verify.strict = false goes \
                 without"
            }
        }
    }

    /// Returns whether programs may run without it if the options allow that.
    const fn is_optional(self) -> bool {
        matches!(self, Self::Landlock | Self::Seccomp)
    }
}

/// How one layer stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerCheck {
    /// The layer.
    pub layer: Layer,
    /// What is there, or what is missing.
    pub state: Result<String, String>,
}

/// What programs may use, and what must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxOptions {
    /// Whether all layers must be there.
    pub strict: bool,
    /// The interpreter: a path, or a name that is looked for on `PATH`.
    pub python: String,
    /// CPU time of a program, in seconds; it may do nothing for twice that and [`WALL_EXTRA_S`].
    pub time_limit_s: u32,
    /// Address space of a program, in MiB.
    pub memory_limit_mib: u32,
    /// What a program may write to stdout and stderr together, in KiB.
    pub output_limit_kib: u32,
}

/// Seconds that a program may do nothing beyond twice its CPU time.
pub const WALL_EXTRA_S: u32 = 1;

/// Why no program can be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the sandbox for code is incomplete: {}", .missing.iter().map(|(layer, detail)| format!("{}: {detail}", layer.name())).collect::<Vec<_>>().join("; "))]
pub struct Incomplete {
    /// The layers that are missing, and what is the matter with each.
    pub missing: Vec<(Layer, String)>,
}

impl Incomplete {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        let hints: Vec<&str> = self.missing.iter().map(|(layer, _)| layer.hint()).collect();
        hints.join("; ")
    }
}

/// What a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Tests in one process, the program in another.
    Tests,
    /// Tests that are only read.
    Check,
    /// A program that reads its input.
    Script,
    /// A program of ours that tries to get out.
    Probe,
}

impl Role {
    /// Returns the name that the interpreter knows it by.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Tests => "tests",
            Self::Check => "check",
            Self::Script => "script",
            Self::Probe => "probe",
        }
    }
}

/// What to run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job<'a> {
    /// What it is.
    pub(super) role: Role,
    /// A JSON object for the harness; of tests only their own process reads it.
    pub(super) payload: &'a [u8],
    /// The program's standard input, if it reads one.
    pub(super) stdin: &'a [u8],
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// By itself, with an exit code.
    Exited(i32),
    /// By a signal.
    Signalled(i32),
    /// It ran out of CPU time, or did nothing for too long.
    TimeOut,
    /// It wrote more than it may, to its output or to its directory.
    OutputLimit,
    /// It was ended with its job.
    Stopped,
    /// The machine ended it, or did not let it run.
    Machine,
}

/// What a job left.
#[derive(Debug, Clone)]
pub(super) struct Ran {
    /// How the program ended; of a job without one it says nothing.
    pub(super) program: End,
    /// How the tests' process ended; none if there was none.
    pub(super) tests: Option<End>,
    /// What the program wrote to stdout.
    pub(super) stdout: Vec<u8>,
    /// What it wrote to stderr.
    pub(super) stderr: Vec<u8>,
    /// What the harness sent, and of a program without tests perhaps the program too.
    pub(super) messages: Vec<u8>,
    /// Whether the disk that programs write to has no room left, whoever took it.
    pub(super) disk_is_full: bool,
    /// Whether others write to that disk too: a program's own share ends before the disk does.
    pub(super) disk_is_shared: bool,
}

/// A failure of the machine, not of the program.
#[derive(Debug, thiserror::Error)]
#[error("failed to {what}: {source}")]
pub struct SandboxFault {
    what: &'static str,
    #[source]
    source: std::io::Error,
}

impl SandboxFault {
    pub(super) fn of(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self { what, source }
    }
}
