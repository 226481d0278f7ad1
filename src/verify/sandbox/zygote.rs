//! A warmed interpreter: started once, runs one job at a time, ends with its sandbox.
//!
//! The interpreter is the only process that forks. It reports a job's end only when the job's children have ended and
//! the scratch directory is empty. A program cannot reach the interpreter: the interpreter's descriptors are closed in
//! the children, signals and tracing are refused, and its memory is copied, not shared. The interpreter holds no test
//! and no program.

use std::fs::File;
use std::io::{self, IoSlice, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv,
    sendmsg, socketpair,
};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Serialize;
use serde_json::{Value, json};

use super::confine::{Confinement, Disk, OPEN_FILES_MAX};
use super::interpreter::{Interpreter, PROGRAM_FLAGS};
use super::rules::Rules;
use super::scratch::Scratch;

const SOURCE: &str = include_str!("zygote.py");
/// The most checks on an interpreter that is starting, on a busy machine. Checks, not a clock, because both stop while
/// the machine is suspended.
const START_LOOKS_MAX: usize = 600;
const START_LOOK: Duration = Duration::from_millis(100);
/// The longest message of an interpreter, in bytes.
const MESSAGE_BYTES_MAX: usize = 1 << 12;
/// The whole environment of a program: the order of sets is the same in every run, and numeric libraries do not reserve
/// memory for every core.
const ENVIRONMENT: &[(&str, &str)] =
    &[("PYTHONHASHSEED", "0"), ("OPENBLAS_NUM_THREADS", "1"), ("OMP_NUM_THREADS", "1")];

/// The settings that every interpreter of a sandbox receives at its start.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    /// Seccomp programs in hexadecimal digits, in order; an empty list omits the layer.
    pub(super) filters: Vec<String>,
    /// The CPU time of a child, in seconds.
    pub(super) cpu_s: u32,
    /// The address space of a child, in bytes.
    pub(super) memory_bytes: u64,
    /// The disk that children write to.
    pub(super) disk: Disk,
}

/// The message that starts the interpreter.
#[derive(Serialize)]
struct Start<'a> {
    modules: &'a [(&'a str, &'a str)],
    filters: &'a [String],
    ruleset: Option<i32>,
    landlock: i64,
    add_rule: i64,
    scratch_access: u64,
    seccomp: i64,
    limits: Value,
    packages: &'a [std::path::PathBuf],
}

/// A warmed interpreter.
#[derive(Debug)]
pub(super) struct Zygote {
    process: Child,
    control: OwnedFd,
    scratch: Scratch,
}

impl Zygote {
    /// Starts an interpreter and waits until it is warm. The calling thread must outlive the interpreter.
    ///
    /// # Errors
    /// If the system fails to start it, or it does not become warm: the error contains its last line on stderr.
    pub(super) fn start(
        interpreter: &Interpreter,
        setting: &Setting,
        modules: &[(&str, &str)],
        rules: Option<&Rules>,
        scratch: Scratch,
    ) -> io::Result<Self> {
        let (control, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(io::Error::from)?;
        let ruleset = rules.map(|rules| rules.build().map_err(io::Error::other)).transpose()?.flatten();
        let cpu_limit_s = u64::from(setting.cpu_s) + u64::from(setting.cpu_s) / 4 + 1;
        let start = Start {
            modules,
            filters: &setting.filters,
            ruleset: ruleset.as_ref().map(AsRawFd::as_raw_fd),
            landlock: libc::SYS_landlock_restrict_self,
            add_rule: libc::SYS_landlock_add_rule,
            scratch_access: rules.map_or(0, |rules| rules.scratch_access(setting.disk)),
            seccomp: libc::SYS_seccomp,
            limits: json!({
                // A fallback if the watch fails: the kernel counts by samples, so its limit is above ours.
                "RLIMIT_CPU": [cpu_limit_s, cpu_limit_s + 1],
                "RLIMIT_AS": [setting.memory_bytes, setting.memory_bytes],
                "RLIMIT_NOFILE": [OPEN_FILES_MAX, OPEN_FILES_MAX],
            }),
            packages: &interpreter.packages,
        };
        let told = memory_file("setting", &serde_json::to_vec(&start).map_err(io::Error::other)?)?;
        let mut inherited = vec![theirs.as_raw_fd(), told.as_raw_fd()];
        inherited.extend(ruleset.as_ref().map(AsRawFd::as_raw_fd));
        let mut command = Command::new(&interpreter.executable);
        command.args(PROGRAM_FLAGS).args(["-c", SOURCE]);
        command.args([theirs.as_raw_fd().to_string(), told.as_raw_fd().to_string()]);
        command.env_clear().envs(ENVIRONMENT.iter().copied()).current_dir(scratch.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Confinement::new(setting.disk, scratch.path(), inherited)?.apply(&mut command);
        let process = command.spawn()?;
        // Only the interpreter holds its ends now, so that this process sees their closing.
        drop((command, theirs, told, ruleset));
        let mut zygote = Self { process, control, scratch };
        zygote.await_ready()?;
        Ok(zygote)
    }

    fn await_ready(&mut self) -> io::Result<()> {
        for _ in 0..START_LOOKS_MAX {
            if is_readable(self.control.as_fd(), START_LOOK)? {
                return match self.message()? {
                    Some(_) => Ok(()),
                    None => Err(self.last_words()),
                };
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "the interpreter did not become warm in time"))
    }

    /// Returns the interpreter's last line on stderr, as an error.
    fn last_words(&mut self) -> io::Error {
        use std::io::Read;
        let mut said = Vec::new();
        if let Some(stderr) = self.process.stderr.take() {
            // The interpreter has ended, or is about to.
            let _ = stderr.take(1 << 16).read_to_end(&mut said);
        }
        let said = String::from_utf8_lossy(&said).into_owned();
        io::Error::other(said.lines().next_back().unwrap_or("the interpreter ended").to_owned())
    }

    /// Sends a job with its descriptors. Fails if the interpreter has ended.
    pub(super) fn send(&self, role: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = json!({ "role": role }).to_string();
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::other("too many descriptors"));
        }
        sendmsg(&self.control, &[IoSlice::new(text.as_bytes())], &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Waits for the interpreter's next message; `None` if the interpreter has ended. Fails if the message is
    /// malformed.
    pub(super) fn message(&self) -> io::Result<Option<Value>> {
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        let (count, _) = recv(&self.control, &mut buffer[..], RecvFlags::empty())?;
        if count == 0 {
            return Ok(None);
        }
        serde_json::from_slice(buffer.get(..count).unwrap_or_default()).map(Some).map_err(io::Error::other)
    }

    /// Returns the control socket, to wait for a message.
    pub(super) fn control(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    /// Returns the interpreter's process id.
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Returns the directory that the children write to.
    pub(super) fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// Kills the interpreter with its children, which belong to its process group.
    pub(super) fn kill(&mut self) {
        // The interpreter is not reaped yet, so its id names no other process.
        if let Some(group) = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.process.wait();
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until a descriptor is readable.
fn is_readable(descriptor: BorrowedFd<'_>, time: Duration) -> io::Result<bool> {
    let mut watched = [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)];
    let time = Timespec { tv_sec: time.as_secs().try_into().unwrap_or_default(), tv_nsec: time.subsec_nanos().into() };
    match poll(&mut watched, Some(&time)) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Returns an anonymous file in memory with this content, positioned at its beginning.
pub(super) fn memory_file(name: &str, content: &[u8]) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?);
    file.write_all(content)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}
