//! The reasons why a command fails, and how the program reports them.

use std::io::Write;
use std::process::ExitCode;

use crate::pipeline::RunError;
use crate::sys::limits;

/// Why a command failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// A failure of a run, with its own exit code and hint.
    Run(RunError),
    /// Any other failure.
    Other(anyhow::Error),
    /// Already reported; only the exit code is left.
    Code(u8),
}

impl<E: Into<RunError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Run(error.into())
    }
}

impl Failure {
    pub(super) fn other(error: impl Into<anyhow::Error>) -> Self {
        Self::Other(error.into())
    }
}

pub(super) fn report(failure: &Failure) -> ExitCode {
    let mut stderr = std::io::stderr().lock();
    match failure {
        Failure::Code(code) => ExitCode::from(*code),
        Failure::Run(error) => {
            // If stderr is closed, the message has no reader.
            let _ = writeln!(stderr, "error: {error}");
            if let Some(hint) = error.hint() {
                let _ = writeln!(stderr, "hint: {hint}");
            }
            ExitCode::from(error.exit_code())
        }
        Failure::Other(error) => {
            if is_broken_pipe(error) {
                return ExitCode::SUCCESS;
            }
            let _ = writeln!(stderr, "error: {error:#}");
            if let Some(hint) = limits::hint_for(error.as_ref()) {
                let _ = writeln!(stderr, "hint: {hint}");
            }
            ExitCode::from(1)
        }
    }
}

/// Returns whether the reader closed the pipe (`| head`), which is a success.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Writes a text to stdout.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| Failure::Other(anyhow::Error::new(error).context("cannot write to stdout")))
}

pub(super) fn with_hint(error: impl std::fmt::Display, hint: Option<&str>) -> String {
    hint.map_or_else(|| error.to_string(), |hint| format!("{error}; hint: {hint}"))
}
