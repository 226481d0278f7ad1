//! Runs the binary under test, to its end or in the background.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up on it; no test measures anything by it.
const DEADLINE: Duration = Duration::from_secs(120);
/// Time between two looks at something that is waited for.
const POLL_INTERVAL: Duration = Duration::from_millis(3);

/// Variables of the caller that a test must not depend on.
const FOREIGN_VARIABLES: &[&str] = &[
    "DEEPSEEK_API_KEY",
    "THINKLOOM_LOG",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_TOKEN",
    "HF_TOKEN_PATH",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
];

/// Returns a command of the binary, in an environment without the caller's keys, log level, proxies and models.
/// Nothing listens where it takes the Hub to be.
pub fn program() -> Command {
    program_at(Path::new(env!("CARGO_BIN_EXE_thinkloom")))
}

/// Returns the same for a copy of the binary.
pub fn program_at(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    for name in FOREIGN_VARIABLES {
        command.env_remove(name);
    }
    command.env("HF_ENDPOINT", "http://127.0.0.1:1");
    command.env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// What a finished process left.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it said on stdout.
    pub stdout: String,
    /// What it said on stderr.
    pub stderr: String,
}

impl Outcome {
    /// Runs a command to its end.
    pub fn of(command: &mut Command) -> Self {
        command.output().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}")).into()
    }

    /// Checks the exit code, and shows everything that was said if it is another.
    #[track_caller]
    pub fn assert_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Checks that stderr holds all of these.
    #[track_caller]
    pub fn assert_says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is missing in stderr:\n{}", self.stderr);
        }
        self
    }
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is UTF-8");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// A process in the background; killed when dropped.
///
/// What it says goes through pipes that are read at its end: it must stay below their 64 KiB.
pub struct Running {
    child: Option<Child>,
}

impl Running {
    /// Starts a command.
    pub fn start(command: &mut Command) -> Self {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Self { child: Some(child.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"))) }
    }

    fn child(&mut self) -> &mut Child {
        self.child.as_mut().expect("it is taken only when it ends")
    }

    /// Returns the process's number.
    pub fn id(&mut self) -> u32 {
        self.child().id()
    }

    /// Returns the exit status if the process has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child().try_wait().unwrap()
    }

    /// Ends the process with SIGKILL and waits for its end; returns false if it had ended by itself.
    pub fn kill(mut self) -> bool {
        if self.ended().is_some() {
            return false;
        }
        self.child().kill().unwrap();
        self.child().wait().unwrap().code().is_none()
    }

    /// Sends SIGINT, as Ctrl-C does.
    #[cfg(unix)]
    pub fn interrupt(&mut self) {
        self.signal("-INT");
    }

    /// Sends a signal, named as `kill` names it.
    #[cfg(unix)]
    pub fn signal(&mut self, signal: &str) {
        let pid = self.child().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Waits for the end.
    pub fn finish(mut self) -> Outcome {
        let child = self.child.take().expect("it is taken only here");
        child.wait_with_output().unwrap().into()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended already; there is nobody to tell otherwise.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Looks again and again until something is there.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < DEADLINE, "{what} did not happen");
        std::thread::sleep(POLL_INTERVAL);
    }
}
