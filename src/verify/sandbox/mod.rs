//! The sandbox: untrusted Python programs, each in a new process that can reach nothing but an empty directory.
//!
//! # Processes
//! Each concurrent job has a **warmed interpreter** (`zygote.py`), started by one thread and ended with it. The
//! interpreter forks the processes of one job after the other: a program alone (`script`), or the tests in one process
//! and the program in another, connected by a pair of sockets (`tests`). The interpreter runs only thinkloom's code,
//! reads no program and no test, and continues only when all processes of a job have ended and the directory is empty.
//! A job that must be cut ends its interpreter too.
//!
//! # Layers
//! All layers are installed between the fork and the first instruction of a program. They are the same for the tests'
//! process:
//!
//! - **limits**: own process group, CPU time, address space, file size, open files, no core file, no new privileges, no
//!   capabilities, death with the interpreter, which dies with the thread that started it;
//! - **landlock**: files that the interpreter needs are readable, the job's own empty directory is writable (files
//!   only, no directories, links or devices), and all other files are unreachable; TCP is refused if the kernel
//!   supports that;
//! - **seccomp**: a list of allowed calls, requests and commands. The list excludes sockets, new processes, signals to
//!   others, tracing, changes of owners, modes, times or flags of files, leases, asynchronous requests, memory that
//!   belongs to no process, and changes of the CPU time limit.
//!
//! In addition, the environment is empty, and a program's leftover processes and files are killed and removed.
//!
//! # Disk
//! If the system allows mount name spaces (to root, or to users in a user name space), the directory is a private file
//! system in memory of 64 MiB and 1,000 files: deleting a file frees its space, with or without a name. Otherwise the
//! files of the directory are counted every 20 ms against the same bounds. To keep all files visible there, `O_TMPFILE`
//! is refused, space cannot be allocated without being written, and files can be neither deleted nor renamed
//! (`EACCES`). A program that meets a full shared disk is not at fault.
//!
//! # Time
//! The kernel ends a process that has used its CPU time. The wall clock ends a job that has been idle for too long
//! (`clock`): the time spent stopped, or waiting for a core or a disk, does not count. If a job lasts many times as
//! long, or an unknown sender kills a program, the machine has failed.
//!
//! The sandbox **fails closed**: if a layer is missing, nothing runs, unless the options accept the other layers alone.
//! The kernel's claim that a layer exists is not trusted: [`Sandbox::open`] runs a program that tries to escape. The
//! sandbox supports only Linux on x86-64 and 64-bit ARM; the interpreter needs `ctypes`.
//!
//! The sandbox does not prevent reading names, sizes and times of files (`stat`), attacks on the kernel or the CPU, or
//! changes that a program makes to its own interpreter.

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

/// A part of the sandbox that a machine may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// Linux on x86-64 or 64-bit ARM.
    System,
    /// The interpreter.
    Python,
    /// Resource limits, privileges and the watch from outside the process.
    Limits,
    /// The rules for files.
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

    /// Returns the remedy for a missing layer.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::System => "verify code on Linux (x86-64 or aarch64), for example in a virtual machine",
            Self::Python => "install Python 3.8 or later, or name one with verify.python",
            Self::Limits => "free memory and space for temporary files, or raise verify.memory_limit_mib",
            Self::Landlock => {
                "use a kernel from 5.13 on with landlock among its security modules (lsm=landlock,...), and a container \
                 whose seccomp profile allows landlock_create_ruleset; verify.strict = false runs without this layer"
            }
            Self::Seccomp => {
                "use a kernel with CONFIG_SECCOMP_FILTER, and a container that allows seccomp; verify.strict = false runs \
                 without this layer"
            }
        }
    }

    /// Returns whether the options may allow programs to run without this layer.
    const fn is_optional(self) -> bool {
        matches!(self, Self::Landlock | Self::Seccomp)
    }
}

/// The state of one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerCheck {
    /// The layer.
    pub layer: Layer,
    /// The available layer, or the reason why it is missing.
    pub state: Result<String, String>,
}

/// The limits of programs, and the required layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxOptions {
    /// Whether all layers are required.
    pub strict: bool,
    /// The interpreter: a path, or a name that is looked up on `PATH`.
    pub python: String,
    /// The CPU time of a program, in seconds; a program may be idle for twice that plus [`WALL_EXTRA_S`].
    pub time_limit_s: u32,
    /// The address space of a program, in MiB.
    pub memory_limit_mib: u32,
    /// The most output of a program on stdout and stderr together, in KiB.
    pub output_limit_kib: u32,
}

/// The seconds that a program may be idle in addition to twice its CPU time.
pub const WALL_EXTRA_S: u32 = 1;

/// Why the sandbox can run no program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the sandbox for code is incomplete: {}", .missing.iter().map(|(layer, detail)| format!("{}: {detail}", layer.name())).collect::<Vec<_>>().join("; "))]
pub struct Incomplete {
    /// The missing layers, each with the reason.
    pub missing: Vec<(Layer, String)>,
}

impl Incomplete {
    /// Returns the remedy.
    #[must_use]
    pub fn hint(&self) -> String {
        let hints: Vec<&str> = self.missing.iter().map(|(layer, _)| layer.hint()).collect();
        hints.join("; ")
    }
}

/// The kind of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Tests in one process, the program in another.
    Tests,
    /// Tests that are only parsed.
    Check,
    /// A program that reads its input.
    Script,
    /// A program of thinkloom that tries to escape.
    Probe,
}

impl Role {
    /// Returns the role's name in the interpreter's protocol.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Tests => "tests",
            Self::Check => "check",
            Self::Script => "script",
            Self::Probe => "probe",
        }
    }
}

/// A job to run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job<'a> {
    /// The kind of the job.
    pub(super) role: Role,
    /// A JSON object for the harness; if the job has tests, only the tests' process reads it.
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
    /// The process used up its CPU time, or was idle for too long.
    TimeOut,
    /// The process exceeded the limit of its output or of its directory.
    OutputLimit,
    /// The process was ended with its job.
    Stopped,
    /// The machine ended the process, or did not let it run.
    Machine,
}

/// The results of a job.
#[derive(Debug, Clone)]
pub(super) struct Ran {
    /// How the program ended; meaningless for a job without a program.
    pub(super) program: End,
    /// How the tests' process ended; `None` without such a process.
    pub(super) tests: Option<End>,
    /// The program's output on stdout.
    pub(super) stdout: Vec<u8>,
    /// The program's output on stderr.
    pub(super) stderr: Vec<u8>,
    /// The harness's messages; if the job has no tests, possibly the program's messages too.
    pub(super) messages: Vec<u8>,
    /// Whether the programs' disk is full, whoever filled it.
    pub(super) disk_is_full: bool,
    /// Whether other processes also write to this disk; a program reaches its own limit before the disk is full.
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
