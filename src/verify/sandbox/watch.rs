//! The watch over a running program: its output, its time, its disk use, and its end.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::scratch::Scratch;
use super::{End, Ran};

/// Time between two looks at time and disk.
const TICK: Duration = Duration::from_millis(50);
/// Time between two looks at a process that has closed all its streams.
const END_TICK: Duration = Duration::from_millis(1);
/// Bytes of messages that are read; the driver's own are smaller by far.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// What the watch holds a program to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// CPU time; the kernel counts it.
    pub(super) cpu: Duration,
    /// Wall-clock time.
    pub(super) wall: Duration,
    /// Bytes on stdout and stderr together.
    pub(super) output_bytes: usize,
}

/// A stream that is read as it comes.
struct Stream {
    source: Option<std::fs::File>,
    read: Vec<u8>,
}

impl Stream {
    fn new(source: OwnedFd) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&source)?;
        rustix::fs::fcntl_setfl(&source, flags | rustix::fs::OFlags::NONBLOCK)?;
        Ok(Self { source: Some(source.into()), read: Vec::new() })
    }

    /// Takes what is there, up to `bytes_max` in all; forgets the source at its end.
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

/// Waits for the end of a program, or makes it, and takes its process group down.
///
/// # Errors
/// If the system refuses to wait; the process group is killed all the same.
pub(super) fn watch(child: &mut Child, messages: OwnedFd, scratch: &Scratch, bounds: Bounds) -> io::Result<Ran> {
    let started = Instant::now();
    let result = follow(child, messages, scratch, bounds);
    // The program is not reaped yet, so that its number names nobody else.
    if let Some(group) = Pid::from_raw(i32::try_from(child.id()).unwrap_or_default()) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let status = child.wait()?;
    let (end, streams) = result?;
    let end = end.unwrap_or_else(|| {
        use std::os::unix::process::ExitStatusExt;
        match status.signal() {
            Some(libc::SIGXCPU) => End::TimeOut,
            // The hard limit of CPU time; nobody else kills a program that has used so much.
            Some(libc::SIGKILL) if started.elapsed() >= bounds.cpu => End::TimeOut,
            Some(libc::SIGXFSZ) => End::OutputLimit,
            Some(signal) => End::Signalled(signal),
            None => End::Exited(status.code().unwrap_or_default()),
        }
    });
    let [stdout, stderr, messages] = streams.map(|stream| stream.read);
    Ok(Ran { end, stdout, stderr, messages })
}

/// Reads until the program has ended (no end of ours) or has to be ended.
fn follow(
    child: &mut Child,
    messages: OwnedFd,
    scratch: &Scratch,
    bounds: Bounds,
) -> io::Result<(Option<End>, [Stream; 3])> {
    let started = Instant::now();
    let missing = || io::Error::other("a stream of the program is missing");
    let stdout = Stream::new(child.stdout.take().ok_or_else(missing)?.into())?;
    let stderr = Stream::new(child.stderr.take().ok_or_else(missing)?.into())?;
    let mut streams = [stdout, stderr, Stream::new(messages)?];
    let mut looked_at = started;
    loop {
        let has_ended = has_ended(child)?;
        let [stdout, stderr, messages] = &mut streams;
        stdout.take(bounds.output_bytes);
        stderr.take(bounds.output_bytes);
        messages.take(MESSAGE_BYTES_MAX);
        if stdout.read.len() + stderr.read.len() > bounds.output_bytes || messages.read.len() > MESSAGE_BYTES_MAX {
            return Ok((Some(End::OutputLimit), streams));
        }
        if has_ended {
            return Ok((None, streams));
        }
        if started.elapsed() > bounds.wall {
            return Ok((Some(End::TimeOut), streams));
        }
        if looked_at.elapsed() >= TICK {
            looked_at = Instant::now();
            if scratch.is_overfull() {
                return Ok((Some(End::OutputLimit), streams));
            }
        }
        wait_for_news(&streams)?;
    }
}

/// Returns whether the program has ended, and leaves it to be reaped.
fn has_ended(child: &Child) -> io::Result<bool> {
    let Some(pid) = Pid::from_raw(i32::try_from(child.id()).unwrap_or_default()) else { return Ok(true) };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Ok(waitid(WaitId::Pid(pid), options)?.is_some())
}

/// Waits until a stream has something or has ended, a tick at most.
fn wait_for_news(streams: &[Stream; 3]) -> io::Result<()> {
    let open = streams.iter().filter_map(|stream| stream.source.as_ref());
    let mut watched: Vec<PollFd<'_>> =
        open.map(|source| PollFd::from_borrowed_fd(source.as_fd(), PollFlags::IN)).collect();
    // Without streams nothing tells of the end, which is near as a rule.
    let tick = if watched.len() < streams.len() { END_TICK } else { TICK };
    let tick = Timespec { tv_sec: 0, tv_nsec: tick.subsec_nanos().into() };
    match poll(&mut watched, Some(&tick)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
