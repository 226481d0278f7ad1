//! Watches a running job: its output, its time, its disk use, and its end.

#![expect(clippy::disallowed_methods, reason = "time of real processes")]

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use super::clock::IdleClock;
use super::confine::Disk;
use super::zygote::Zygote;
use super::{End, Ran};

/// The interval between two checks of time and disk.
const TICK: Duration = Duration::from_millis(20);
/// The most bytes of messages that are read; the harness's own messages are much smaller.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// The longest time for reading the streams of a dead program.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// The limits that the watch enforces on a job.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// The CPU time of each process.
    pub(super) cpu: Duration,
    /// The time in which no process of the job has work.
    pub(super) idle: Duration,
    /// The wall-clock time after which the machine counts as failed.
    pub(super) wall: Duration,
    /// The most bytes on stdout and stderr together.
    pub(super) output_bytes: usize,
    /// The disk that the program writes to.
    pub(super) disk: Disk,
}

/// A stream that is read without blocking.
struct Stream {
    source: Option<File>,
    read: Vec<u8>,
}

impl Stream {
    fn new(source: OwnedFd) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&source)?;
        rustix::fs::fcntl_setfl(&source, flags | rustix::fs::OFlags::NONBLOCK)?;
        Ok(Self { source: Some(source.into()), read: Vec::new() })
    }

    /// Reads the available bytes, up to `bytes_max` in all; closes the source at its end.
    fn take(&mut self, bytes_max: usize) {
        let mut buffer = [0; 1 << 16];
        while let Some(source) = &mut self.source
            && self.read.len() <= bytes_max
        {
            match source.read(&mut buffer) {
                Ok(0) => self.source = None,
                Ok(count) => self.read.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.source = None,
            }
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Exit {
    status: i32,
    cpu_ms: u64,
}

impl Exit {
    fn read(value: &Value) -> Option<Self> {
        let status = i32::try_from(value.get(0)?.as_i64()?).ok()?;
        Some(Self { status, cpu_ms: value.get(1)?.as_u64()? })
    }

    /// Returns the meaning of this exit; `killed` states whether the interpreter may have caused it.
    fn end(self, killed: bool, cpu: Duration) -> End {
        use std::os::unix::process::ExitStatusExt;
        let status = std::process::ExitStatus::from_raw(self.status);
        match status.signal() {
            Some(libc::SIGXCPU) => End::TimeOut,
            Some(libc::SIGXFSZ) => End::OutputLimit,
            // The hard limit of CPU time, for a program that ignores the soft limit.
            Some(libc::SIGKILL) if u128::from(self.cpu_ms) >= cpu.as_millis() => End::TimeOut,
            Some(libc::SIGKILL) if killed => End::Stopped,
            // No program can send this signal, so the machine sent it: the machine has run out of memory.
            Some(libc::SIGKILL) => End::Machine,
            Some(signal) => End::Signalled(signal),
            None => End::Exited(status.code().unwrap_or_default()),
        }
    }
}

/// The parent's ends of a job's streams.
pub(super) struct Streams {
    /// The output of the program, which holds no descriptor of this end.
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    /// The messages of the tests, or of a program without tests.
    pub(super) messages: OwnedFd,
}

/// How watching ended.
enum Outcome {
    /// The interpreter reported how its children ended.
    Reported(Value),
    /// The job must be ended.
    Cut(End),
}

/// The observed state of the disk during a job.
#[derive(Debug, Default)]
struct DiskSeen {
    was_full: bool,
}

/// Waits for the end of a job, or ends it. Returns the job's results, and whether the interpreter can continue.
///
/// # Errors
/// If the system cannot wait, or the interpreter has ended; the interpreter is then unusable.
pub(super) fn watch(zygote: &mut Zygote, streams: Streams, bounds: Bounds) -> io::Result<(Ran, bool)> {
    let Streams { stdout, stderr, messages } = streams;
    let mut streams = [Stream::new(stdout)?, Stream::new(stderr)?, Stream::new(messages)?];
    let mut disk = DiskSeen::default();
    let followed = follow(zygote, &mut streams, bounds, &mut disk);
    let is_over = matches!(followed, Ok(Outcome::Reported(_)));
    if !is_over {
        zygote.kill();
    }
    let outcome = followed?;
    drain(&mut streams, bounds)?;
    let is_overfull = is_over_output(&streams, bounds);
    let [stdout, stderr, messages] = streams.map(|stream| stream.read);
    let mut ran = Ran {
        program: End::Stopped,
        tests: None,
        stdout,
        stderr,
        messages,
        disk_is_full: false,
        disk_is_shared: false,
    };
    match outcome {
        Outcome::Cut(end) => {
            ran.program = end;
            ran.tests = Some(End::Stopped);
        }
        Outcome::Reported(report) => {
            let killed = report.get("killed").and_then(Value::as_bool).unwrap_or_default();
            let exit = |role: &str| report.get(role).and_then(Exit::read);
            ran.tests = exit("tests").map(|exit| exit.end(false, bounds.cpu));
            ran.program = exit("program").map_or(End::Stopped, |exit| exit.end(killed, bounds.cpu));
            if is_overfull {
                ran.program = End::OutputLimit;
            }
        }
    }
    // A private disk has room, or the program has filled it. The writer that filled a shared disk may be gone by now.
    ran.disk_is_shared = bounds.disk == Disk::Shared;
    ran.disk_is_full = ran.disk_is_shared && (disk.was_full || zygote.scratch().is_full());
    Ok((ran, is_over))
}

fn is_over_output([stdout, stderr, messages]: &[Stream; 3], bounds: Bounds) -> bool {
    stdout.read.len() + stderr.read.len() > bounds.output_bytes || messages.read.len() > MESSAGE_BYTES_MAX
}

fn take_all(streams: &mut [Stream; 3], bounds: Bounds) {
    let [stdout, stderr, messages] = streams;
    stdout.take(bounds.output_bytes);
    stderr.take(bounds.output_bytes);
    messages.take(MESSAGE_BYTES_MAX);
}

/// Reads the remaining bytes, to the end of the streams: all writers have ended.
fn drain(streams: &mut [Stream; 3], bounds: Bounds) -> io::Result<()> {
    let started = Instant::now();
    loop {
        take_all(streams, bounds);
        let is_done = streams.iter().all(|stream| stream.source.is_none()) || is_over_output(streams, bounds);
        if is_done || started.elapsed() > DRAIN_MAX {
            return Ok(());
        }
        wait_for_news(streams, None)?;
    }
}

/// Reads until the job has ended or must be ended.
fn follow(zygote: &Zygote, streams: &mut [Stream; 3], bounds: Bounds, disk: &mut DiskSeen) -> io::Result<Outcome> {
    let ended = || io::Error::new(io::ErrorKind::UnexpectedEof, "the interpreter ended");
    let (started, mut looked_at) = (Instant::now(), Instant::now());
    let mut clock: Option<IdleClock> = None;
    loop {
        if wait_for_news(streams, Some(zygote))? {
            let message = zygote.message()?.ok_or_else(ended)?;
            if clock.is_some() {
                return Ok(Outcome::Reported(message));
            }
            let pids = ["program", "tests"].map(|role| message.get(role).and_then(Value::as_u64));
            let pids: Vec<u32> = pids.into_iter().flatten().filter_map(|pid| u32::try_from(pid).ok()).collect();
            clock = Some(IdleClock::start(&pids, zygote.pid()));
        }
        take_all(streams, bounds);
        if is_over_output(streams, bounds) {
            return Ok(Outcome::Cut(End::OutputLimit));
        }
        if looked_at.elapsed() >= TICK {
            looked_at = Instant::now();
            let used = clock.as_mut().map(IdleClock::tick);
            if used.is_some_and(|used| used.idle > bounds.idle || used.cpu >= bounds.cpu) {
                return Ok(Outcome::Cut(End::TimeOut));
            }
            if started.elapsed() > bounds.wall {
                return Ok(Outcome::Cut(End::Machine));
            }
            if bounds.disk == Disk::Shared {
                if zygote.scratch().is_overfull() {
                    return Ok(Outcome::Cut(End::OutputLimit));
                }
                disk.was_full |= zygote.scratch().is_full();
            }
        }
    }
}

/// Waits until a stream has data or has ended, at most one tick; returns whether the interpreter has sent a message.
fn wait_for_news(streams: &[Stream; 3], zygote: Option<&Zygote>) -> io::Result<bool> {
    let open = streams.iter().filter_map(|stream| stream.source.as_ref());
    let mut watched: Vec<PollFd<'_>> =
        zygote.map(|zygote| PollFd::from_borrowed_fd(zygote.control(), PollFlags::IN)).into_iter().collect();
    watched.extend(open.map(|source| PollFd::from_borrowed_fd(source.as_fd(), PollFlags::IN)));
    let tick = Timespec { tv_sec: 0, tv_nsec: TICK.subsec_nanos().into() };
    match poll(&mut watched, Some(&tick)) {
        Ok(_) => Ok(zygote.is_some() && watched.first().is_some_and(|control| !control.revents().is_empty())),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_apart_and_a_kill_from_nowhere_is_the_machines() {
        let end = |status, cpu_ms, killed| Exit { status, cpu_ms }.end(killed, Duration::from_secs(2));
        assert_eq!(end(libc::SIGXCPU, 2000, true), End::TimeOut);
        assert_eq!(end(libc::SIGKILL, 3000, false), End::TimeOut);
        assert_eq!(end(libc::SIGKILL, 100, false), End::Machine);
        assert_eq!(end(libc::SIGKILL, 100, true), End::Stopped);
        assert_eq!(end(libc::SIGSEGV, 100, true), End::Signalled(libc::SIGSEGV));
        assert_eq!(end(libc::SIGXFSZ, 100, false), End::OutputLimit);
        assert_eq!(end(3 << 8, 100, false), End::Exited(3));
    }
}
