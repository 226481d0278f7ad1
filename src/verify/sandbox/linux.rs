//! The sandbox on Linux: opened once, proven by a program that tries to escape, then used by any number of threads.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Deserialize;

use super::calls::PROBED_CALLS;
use super::confine::Disk;
use super::interpreter::Interpreter;
use super::rules::{self, Rules};
use super::scratch::ScratchRoot;
use super::watch::{self, Bounds, Streams};
use super::zygote::{Setting, Zygote, memory_file};
use super::{Incomplete, Job, Layer, LayerCheck, Ran, Role, SandboxFault, SandboxOptions, WALL_EXTRA_S};
use crate::code::HARNESS;

/// The program that tries to escape.
const ESCAPE: &str = include_str!("escape.py");
/// The longest wall-clock time of a job, as a multiple of the time that a program may sleep, on a busy or stopped
/// machine.
const WALL_FACTOR: u32 = 40;

/// An open sandbox.
#[derive(Debug)]
pub struct Sandbox {
    options: SandboxOptions,
    disk: Disk,
    /// Warmed interpreters without a job; never more than there were jobs at once.
    idle: Mutex<Vec<Zygote>>,
    nursery: Nursery,
    left_out: Vec<(Layer, String)>,
}

/// The thread that starts interpreters: they die with the thread that started them, so this thread lives as long as the
/// sandbox.
#[derive(Debug)]
struct Nursery {
    orders: Option<SyncSender<SyncSender<io::Result<Zygote>>>>,
    thread: Option<JoinHandle<()>>,
}

/// The parts from which the nursery makes interpreters.
#[derive(Debug)]
struct Parts {
    interpreter: Interpreter,
    scratch: ScratchRoot,
    /// The landlock rules; `None` omits the layer.
    rules: Option<Rules>,
    setting: Setting,
}

impl Nursery {
    fn open(parts: Parts) -> io::Result<Self> {
        let (orders, received): (_, Receiver<SyncSender<io::Result<Zygote>>>) = sync_channel(1);
        let work = move || {
            for reply in received {
                let Parts { interpreter, scratch, rules, setting } = &parts;
                let made = scratch
                    .make()
                    .and_then(|place| Zygote::start(interpreter, setting, HARNESS, rules.as_ref(), place));
                // The requester may no longer wait.
                let _ = reply.send(made);
            }
        };
        let thread = std::thread::Builder::new().name("sandbox".to_owned()).spawn(work)?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    fn make(&self) -> io::Result<Zygote> {
        let gone = || io::Error::other("the thread that starts interpreters has ended");
        let (reply, made) = sync_channel(1);
        self.orders.as_ref().ok_or_else(gone)?.send(reply).map_err(|_| gone())?;
        made.recv().map_err(|_| gone())?
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Sandbox {
    /// Opens the sandbox: finds the interpreter, prepares the layers, and proves them. Takes some tenths of a second.
    ///
    /// # Errors
    /// [`Incomplete`] if a required layer is missing.
    pub fn open(options: &SandboxOptions) -> Result<Self, Incomplete> {
        let (checks, sandbox) = Self::build(options);
        let failed: Vec<(Layer, String)> =
            checks.into_iter().filter_map(|check| Some((check.layer, check.state.err()?))).collect();
        let is_fatal = |layer: Layer| options.strict || !layer.is_optional();
        match sandbox {
            Some(mut sandbox) if !failed.iter().any(|(layer, _)| is_fatal(*layer)) => {
                sandbox.left_out = failed;
                Ok(sandbox)
            }
            _ => Err(Incomplete { missing: failed }),
        }
    }

    /// Returns the state of each layer.
    #[must_use]
    pub fn survey(options: &SandboxOptions) -> Vec<LayerCheck> {
        Self::build(options).0
    }

    /// Returns the omitted layers, each with the reason; empty unless the options allow omissions.
    #[must_use]
    pub fn left_out(&self) -> &[(Layer, String)] {
        &self.left_out
    }

    /// Checks every layer, and builds the sandbox with the available ones.
    fn build(options: &SandboxOptions) -> (Vec<LayerCheck>, Option<Self>) {
        let interpreter = Interpreter::find(&options.python);
        let filters = filter_programs(Disk::Private);
        let landlock = rules::version();
        let scratch = ScratchRoot::new().map_err(|error| format!("cannot make a temporary directory: {error}"));
        let mut checks = vec![
            check(Layer::Python, interpreter.as_ref().map(Interpreter::describe)),
            check(Layer::Limits, scratch.as_ref().map(|_| describe_limits(options))),
            check(Layer::Landlock, landlock.as_ref().map(|version| describe_landlock(*version))),
            check(Layer::Seccomp, filters.as_ref().map(|_| "sockets, processes, signals, mounts refused".to_owned())),
        ];
        drop(scratch);
        let Ok(interpreter) = interpreter else { return (checks, None) };
        // If a required layer is missing, nothing runs, not even the proof.
        if options.strict && checks.iter().any(|check| check.state.is_err()) {
            return (checks, None);
        }
        let mut wanted = Wanted { landlock: landlock.ok(), seccomp: filters.is_ok() };
        let mut last = None;
        // Each round omits at most one more layer.
        for _ in 0..3 {
            let sandbox = match Self::with_layers(options, &interpreter, wanted) {
                Ok(sandbox) => sandbox,
                Err(error) => {
                    note(&mut checks, Layer::Limits, format!("cannot start a program: {error}"));
                    return (checks, None);
                }
            };
            let broken = sandbox.prove();
            last = Some(sandbox);
            if broken.is_empty() {
                break;
            }
            for (layer, breach) in broken {
                wanted.landlock = wanted.landlock.filter(|_| layer != Layer::Landlock);
                wanted.seccomp &= layer != Layer::Seccomp;
                note(&mut checks, layer, breach);
            }
            if options.strict {
                break;
            }
        }
        (checks, last)
    }

    /// Opens a sandbox whose programs write to this kind of disk.
    #[cfg(test)]
    pub(crate) fn open_on(options: &SandboxOptions, disk: Disk) -> io::Result<Self> {
        let interpreter = Interpreter::find(&options.python).map_err(io::Error::other)?;
        let wanted = Wanted { landlock: rules::version().ok(), seccomp: true };
        Self::on_disk(options, &interpreter, wanted, disk)
    }

    /// Returns the process groups of the interpreters without a job.
    #[cfg(test)]
    pub(crate) fn groups(&self) -> Vec<u32> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).iter().map(Zygote::pid).collect()
    }

    /// Builds a sandbox with these layers, and with a private disk if the system allows it.
    fn with_layers(options: &SandboxOptions, interpreter: &Interpreter, wanted: Wanted) -> io::Result<Self> {
        Self::on_disk(options, interpreter, wanted, Disk::Private).or_else(|error| {
            tracing::debug!("cannot give the sandbox a private disk: {error}");
            Self::on_disk(options, interpreter, wanted, Disk::Shared)
        })
    }

    fn on_disk(options: &SandboxOptions, interpreter: &Interpreter, wanted: Wanted, disk: Disk) -> io::Result<Self> {
        let filters = if wanted.seccomp { filter_programs(disk).map_err(io::Error::other)? } else { Vec::new() };
        let setting = Setting {
            filters,
            cpu_s: options.time_limit_s,
            memory_bytes: u64::from(options.memory_limit_mib) << 20,
            disk,
        };
        let rules = wanted.landlock.map(|version| Rules::new(version, &interpreter.readable, &interpreter.starters));
        let parts = Parts { interpreter: interpreter.clone(), scratch: ScratchRoot::new()?, rules, setting };
        let nursery = Nursery::open(parts)?;
        let idle = Mutex::new(vec![nursery.make()?]);
        Ok(Self { options: options.clone(), disk, idle, nursery, left_out: Vec::new() })
    }

    /// Runs a program that tries to escape; returns the layers that failed, with the actions that succeeded.
    fn prove(&self) -> Vec<(Layer, String)> {
        /// The successful actions, by layer.
        #[derive(Deserialize)]
        struct Breaches {
            limits: Vec<String>,
            landlock: Vec<String>,
            seccomp: Vec<String>,
        }
        let calls: BTreeMap<&str, i64> = PROBED_CALLS.iter().copied().collect();
        let payload = serde_json::json!({ "source": ESCAPE, "calls": calls }).to_string();
        let job = Job { role: Role::Probe, payload: payload.as_bytes(), stdin: &[] };
        let ran = match self.run(&job) {
            Ok(ran) => ran,
            Err(fault) => return vec![(Layer::Limits, fault.to_string())],
        };
        let Ok(found) = serde_json::from_slice::<Breaches>(&ran.messages) else {
            let said = String::from_utf8_lossy(&ran.stderr).lines().next_back().unwrap_or_default().to_owned();
            return vec![(Layer::Python, format!("does not work inside the sandbox ({:?}): {said}", ran.program))];
        };
        let Breaches { limits, landlock, seccomp } = found;
        let layers = [(Layer::Limits, limits), (Layer::Landlock, landlock), (Layer::Seccomp, seccomp)];
        let broken = layers.into_iter().filter(|(_, breaches)| !breaches.is_empty());
        broken.map(|(layer, breaches)| (layer, format!("does not hold: {}", breaches.join(", ")))).collect()
    }

    /// Runs one job to its end. Blocks until then.
    pub(crate) fn run(&self, job: &Job<'_>) -> Result<Ran, SandboxFault> {
        let waiting = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let is_used = waiting.is_some();
        let ran = match waiting {
            Some(zygote) => self.run_in(zygote, job),
            None => self.run_anew(job),
        };
        // An interpreter that waited long may have been killed meanwhile: by a machine without memory, or by a person.
        if is_used && ran.as_ref().is_err() { self.run_anew(job) } else { ran }
    }

    fn run_anew(&self, job: &Job<'_>) -> Result<Ran, SandboxFault> {
        let zygote = self.nursery.make().map_err(SandboxFault::of("start an interpreter in the sandbox"))?;
        self.run_in(zygote, job)
    }

    fn run_in(&self, mut zygote: Zygote, job: &Job<'_>) -> Result<Ran, SandboxFault> {
        let streams = start(&zygote, job).map_err(SandboxFault::of("start a program in the sandbox"))?;
        let cpu = Duration::from_secs(self.options.time_limit_s.into());
        let idle = cpu * 2 + Duration::from_secs(WALL_EXTRA_S.into());
        let bounds = Bounds {
            cpu,
            idle,
            wall: idle * WALL_FACTOR,
            output_bytes: (self.options.output_limit_kib as usize) << 10,
            disk: self.disk,
        };
        let (ran, goes_on) = watch::watch(&mut zygote, streams, bounds).map_err(SandboxFault::of("watch a program"))?;
        if goes_on {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(zygote);
        }
        Ok(ran)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // The interpreters must end before the thread that started them.
        self.idle.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The optional layers to install.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    /// The version of landlock.
    landlock: Option<i64>,
    seccomp: bool,
}

fn check(layer: Layer, state: Result<String, &String>) -> LayerCheck {
    LayerCheck { layer, state: state.map_err(Clone::clone) }
}

fn note(checks: &mut [LayerCheck], layer: Layer, breach: String) {
    if let Some(check) = checks.iter_mut().find(|check| check.layer == layer && check.state.is_ok()) {
        check.state = Err(breach);
    }
}

/// Sends a job to an interpreter; returns the streams of the job's output.
fn start(zygote: &Zygote, job: &Job<'_>) -> io::Result<Streams> {
    let payload = memory_file("payload", job.payload)?;
    let (stdout, stdout_end) = io::pipe()?;
    let (stderr, stderr_end) = io::pipe()?;
    let (messages, messages_end) = io::pipe()?;
    let (out, err, told) = (stdout_end.as_fd(), stderr_end.as_fd(), messages_end.as_fd());
    let stdin = match job.role {
        Role::Script | Role::Probe => Some(memory_file("stdin", job.stdin)?),
        Role::Tests | Role::Check => None,
    };
    let mut given: Vec<BorrowedFd<'_>> = stdin.iter().map(AsFd::as_fd).collect();
    match job.role {
        Role::Check => given.extend([told, payload.as_fd()]),
        Role::Tests | Role::Script | Role::Probe => given.extend([out, err, told, payload.as_fd()]),
    }
    zygote.send(job.role.name(), &given)?;
    // Our copies of the children's write ends are closed here, so that the children hold the last copies.
    Ok(Streams { stdout: stdout.into(), stderr: stderr.into(), messages: messages.into() })
}

/// Compiles the filters, if the kernel supports them; returns them as hexadecimal digits.
fn filter_programs(disk: Disk) -> Result<Vec<String>, String> {
    let action = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the kernel reads one number, which outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0_u32, &raw const action) };
    if result < 0 {
        return Err(format!("seccomp is unavailable: {}", std::io::Error::last_os_error()));
    }
    let programs = super::filter::programs(disk)?;
    let text = |program: &seccompiler::BpfProgram| {
        let words = program.iter().flat_map(|word| {
            let [low, high] = word.code.to_ne_bytes();
            let [a, b, c, d] = word.k.to_ne_bytes();
            [low, high, word.jt, word.jf, a, b, c, d]
        });
        hex::encode(words.collect::<Vec<u8>>())
    };
    Ok(programs.iter().map(text).collect())
}

fn describe_limits(options: &SandboxOptions) -> String {
    let SandboxOptions { time_limit_s, memory_limit_mib, output_limit_kib, .. } = options;
    format!(
        "{time_limit_s} s of CPU, {memory_limit_mib} MiB of memory, {output_limit_kib} KiB of output; no privileges"
    )
}

fn describe_landlock(version: i64) -> String {
    let tcp = if version >= 4 { ", TCP refused" } else { "" };
    format!("version {version}: files unreachable{tcp}")
}
