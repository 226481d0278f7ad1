//! The sandbox on Linux: opened once, proven by a program that tries to get out, then used by any number of threads.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use seccompiler::BpfProgram;
use serde::Deserialize;

use super::confine::Confinement;
use super::interpreter::{Interpreter, PROGRAM_FLAGS};
use super::rules::{self, Rules};
use super::scratch::ScratchRoot;
use super::watch::{self, Bounds};
use super::{Incomplete, Job, Layer, LayerCheck, Ran, SandboxFault, SandboxOptions, WALL_EXTRA_S};

/// The whole environment of a program: the order of sets does not change from run to run, and numeric libraries do not
/// reserve memory for every core.
const ENVIRONMENT: &[(&str, &str)] =
    &[("PYTHONHASHSEED", "0"), ("OPENBLAS_NUM_THREADS", "1"), ("OMP_NUM_THREADS", "1")];

/// The program that tries to get out.
const ESCAPE: &str = include_str!("escape.py");

/// An open sandbox.
#[derive(Debug)]
pub struct Sandbox {
    options: SandboxOptions,
    interpreter: Interpreter,
    scratch: ScratchRoot,
    /// Rules over files; none leaves the layer out.
    rules: Option<Rules>,
    /// Filters of system calls; none leaves the layer out.
    filters: Vec<BpfProgram>,
    left_out: Vec<(Layer, String)>,
}

impl Sandbox {
    /// Opens the sandbox: finds the interpreter, prepares the layers, and proves them. Takes about a tenth of a second.
    ///
    /// # Errors
    /// [`Incomplete`] if a layer is missing that must be there.
    pub fn open(options: &SandboxOptions) -> Result<Self, Incomplete> {
        let (checks, sandbox) = Self::build(options);
        let failed: Vec<(Layer, String)> =
            checks.into_iter().filter_map(|check| Some((check.layer, check.state.err()?))).collect();
        let is_fatal = |layer: Layer| options.strict || !layer.is_optional();
        match sandbox {
            Some(sandbox) if !failed.iter().any(|(layer, _)| is_fatal(*layer)) => {
                Ok(Self { left_out: failed, ..sandbox })
            }
            _ => Err(Incomplete { missing: failed }),
        }
    }

    /// Returns how each layer stands.
    #[must_use]
    pub fn survey(options: &SandboxOptions) -> Vec<LayerCheck> {
        Self::build(options).0
    }

    /// Returns the layers that are left out, and what is the matter with each; none unless the options allow it.
    #[must_use]
    pub fn left_out(&self) -> &[(Layer, String)] {
        &self.left_out
    }

    /// Looks at every layer, and builds the sandbox with those that are there.
    fn build(options: &SandboxOptions) -> (Vec<LayerCheck>, Option<Self>) {
        let interpreter = Interpreter::find(&options.python);
        let filters = filter_programs();
        let landlock = rules::version();
        let scratch = ScratchRoot::new().map_err(|error| format!("no temporary directory: {error}"));
        let mut checks = vec![
            LayerCheck {
                layer: Layer::Python,
                state: interpreter.as_ref().map(Interpreter::describe).map_err(Clone::clone),
            },
            LayerCheck {
                layer: Layer::Limits,
                state: scratch.as_ref().map(|_| describe_limits(options)).map_err(Clone::clone),
            },
            LayerCheck {
                layer: Layer::Landlock,
                state: landlock.as_ref().map(|version| describe_landlock(*version)).map_err(Clone::clone),
            },
            LayerCheck {
                layer: Layer::Seccomp,
                state: filters
                    .as_ref()
                    .map(|_| "sockets, processes, signals, mounts refused".to_owned())
                    .map_err(Clone::clone),
            },
        ];
        let (Ok(interpreter), Ok(scratch)) = (interpreter, scratch) else { return (checks, None) };
        let rules = landlock.is_ok().then(|| Rules::new(&interpreter.readable, &interpreter.starters));
        let filters = filters.unwrap_or_default();
        let options = options.clone();
        let mut sandbox = Self { options, interpreter, scratch, rules, filters, left_out: Vec::new() };
        // Where a layer that has to be there is missing, nothing runs, not even the proof.
        if sandbox.options.strict && checks.iter().any(|check| check.state.is_err()) {
            return (checks, None);
        }
        for (layer, breach) in sandbox.prove() {
            if let Some(check) = checks.iter_mut().find(|check| check.layer == layer && check.state.is_ok()) {
                check.state = Err(breach);
            }
            match layer {
                Layer::Landlock => sandbox.rules = None,
                Layer::Seccomp => sandbox.filters = Vec::new(),
                Layer::System | Layer::Python | Layer::Limits => {}
            }
        }
        (checks, Some(sandbox))
    }

    /// Runs a program that tries to get out; returns the layers that did not hold, with what went through.
    fn prove(&self) -> Vec<(Layer, String)> {
        /// What went through, by layer.
        #[derive(Deserialize)]
        struct Breaches {
            limits: Vec<String>,
            landlock: Vec<String>,
            seccomp: Vec<String>,
        }
        let job = Job { driver: ESCAPE, payload: &[], stdin: &[] };
        let ran = match self.run(&job) {
            Ok(ran) => ran,
            Err(fault) => return vec![(Layer::Limits, chain(&fault))],
        };
        let Ok(found) = serde_json::from_slice::<Breaches>(&ran.messages) else {
            let said = String::from_utf8_lossy(&ran.stderr).lines().next_back().unwrap_or_default().to_owned();
            return vec![(Layer::Python, format!("does not work inside the sandbox ({:?}): {said}", ran.end))];
        };
        let Breaches { limits, landlock, seccomp } = found;
        let layers = [(Layer::Limits, limits), (Layer::Landlock, landlock), (Layer::Seccomp, seccomp)];
        let broken = layers.into_iter().filter(|(_, breaches)| !breaches.is_empty());
        broken.map(|(layer, breaches)| (layer, format!("does not hold: {}", breaches.join(", ")))).collect()
    }

    /// Runs one program to its end. Blocks for as long as that takes.
    pub(in crate::verify) fn run(&self, job: &Job<'_>) -> Result<Ran, SandboxFault> {
        let scratch = self.scratch.make().map_err(SandboxFault::of("make a directory for a program"))?;
        let payload = memory_file("payload", job.payload).map_err(SandboxFault::of("store a program"))?;
        let stdin = memory_file("stdin", job.stdin).map_err(SandboxFault::of("store a program's input"))?;
        let (reader, writer) = std::io::pipe().map_err(SandboxFault::of("make a pipe"))?;
        let ruleset = match &self.rules {
            Some(rules) => rules
                .build(scratch.path())
                .map_err(std::io::Error::other)
                .and_then(|ruleset| ruleset.ok_or_else(|| std::io::Error::other("no ruleset")))
                .map(Some)
                .map_err(SandboxFault::of("build the landlock rules"))?,
            None => None,
        };
        let inherited = [payload.as_raw_fd(), writer.as_raw_fd()];
        let mut command = Command::new(&self.interpreter.executable);
        command.args(PROGRAM_FLAGS).args(["-c", job.driver]);
        command.args(inherited.map(|descriptor| descriptor.to_string())).args(&self.interpreter.packages);
        command.env_clear().envs(ENVIRONMENT.iter().copied()).current_dir(scratch.path());
        command.stdin(Stdio::from(stdin)).stdout(Stdio::piped()).stderr(Stdio::piped());
        let confinement = Confinement {
            ruleset,
            filters: self.filters.clone(),
            cpu_s: self.options.time_limit_s,
            memory_bytes: u64::from(self.options.memory_limit_mib) << 20,
            inherited,
        };
        confinement.apply(&mut command);
        let mut child = command.spawn().map_err(SandboxFault::of("start a program in the sandbox"))?;
        // The program's end of the pipe is its own alone now, so that its end is seen; the ruleset goes with the command.
        drop((command, writer, payload));
        let cpu = Duration::from_secs(self.options.time_limit_s.into());
        let bounds = Bounds {
            cpu,
            wall: cpu * 2 + Duration::from_secs(WALL_EXTRA_S.into()),
            output_bytes: (self.options.output_limit_kib as usize) << 10,
        };
        watch::watch(&mut child, reader.into(), &scratch, bounds).map_err(SandboxFault::of("watch a program"))
    }
}

/// Compiles the filters, if the kernel takes such.
fn filter_programs() -> Result<Vec<BpfProgram>, String> {
    let action = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the kernel reads one number, which outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0_u32, &raw const action) };
    if result < 0 {
        return Err(format!("seccomp says: {}", std::io::Error::last_os_error()));
    }
    super::filter::programs()
}

fn describe_limits(options: &SandboxOptions) -> String {
    let SandboxOptions { time_limit_s, memory_limit_mib, output_limit_kib, .. } = options;
    format!(
        "{time_limit_s} s of CPU, {memory_limit_mib} MiB of memory, {output_limit_kib} KiB of output; no privileges"
    )
}

fn describe_landlock(version: i64) -> String {
    let tcp = if version >= 4 { ", TCP refused" } else { "" };
    format!("version {version}: files out of reach{tcp}")
}

/// Returns an anonymous file in memory with this content, to be read from its beginning.
fn memory_file(name: &str, content: &[u8]) -> std::io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?);
    file.write_all(content)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

fn chain(error: &dyn std::error::Error) -> String {
    error.to_string()
}
