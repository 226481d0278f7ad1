//! The sandbox: one untrusted Python program, in one new process, with nothing in reach but its own directory.
//!
//! Layers, all put on between fork and exec, so that no instruction of the program runs without them:
//!
//! - **limits**: own process group, CPU time, address space, file size, open files, no core file, no new privileges, no
//!   capabilities, death with the thread that started it;
//! - **landlock**: files are readable as far as the interpreter needs them, writable in the program's own empty directory
//!   (files only, no directories, links or devices), and out of reach otherwise; TCP is refused where the kernel has that;
//! - **seccomp**: no sockets, no new processes, no signals to others, no tracing, no change of owners, modes or times.
//!
//! Besides, the environment is empty, the wall-clock time, the output and the disk use are watched from outside, and
//! whatever the program left is killed and removed.
//!
//! It **fails closed**: where a layer is missing nothing runs, unless the options say that the others will do. Layers are
//! not believed to be there because the kernel says so: [`Sandbox::open`] runs a program that tries to get out. Linux on
//! x86-64 and 64-bit ARM only.
//!
//! What it does not hold back: reading names, sizes and times of files (`stat`), attacks on the kernel or the CPU, and
//! what a program does to its own interpreter.

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
    /// CPU time of a program, in seconds; it may take twice that and [`WALL_EXTRA_S`] of wall-clock time.
    pub time_limit_s: u32,
    /// Address space of a program, in MiB.
    pub memory_limit_mib: u32,
    /// What a program may write to stdout and stderr together, in KiB.
    pub output_limit_kib: u32,
}

/// Wall-clock seconds that a program may take beyond twice its CPU time.
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

/// What to run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job<'a> {
    /// The trusted Python source that reads the payload; its arguments are the numbers of the file descriptors of payload
    /// and messages, and the directories of installed packages.
    pub(super) driver: &'a str,
    /// What the driver reads.
    pub(super) payload: &'a [u8],
    /// The program's standard input.
    pub(super) stdin: &'a [u8],
}

/// How a program's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// By itself, with an exit code.
    Exited(i32),
    /// By a signal.
    Signalled(i32),
    /// It ran out of CPU or wall-clock time.
    TimeOut,
    /// It wrote more than it may, to its output or to its directory.
    OutputLimit,
}

/// What a program left.
#[derive(Debug, Clone)]
pub(super) struct Ran {
    /// How it ended.
    pub(super) end: End,
    /// What it wrote to stdout.
    pub(super) stdout: Vec<u8>,
    /// What it wrote to stderr.
    pub(super) stderr: Vec<u8>,
    /// What the driver sent, and perhaps the program too.
    pub(super) messages: Vec<u8>,
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
