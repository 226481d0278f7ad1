//! Log lines on stderr, which share the terminal with the progress display.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::ProgressBar;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// The visible progress bar, if any; log lines must be printed above it.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Sets the progress bar that is on the terminal, if any.
pub fn share_terminal_with(bar: Option<ProgressBar>) {
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = bar;
}

/// Prints one line on stderr, above the progress bar if there is one.
pub fn print_line(line: &str) {
    match &*BAR.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(bar) => bar.println(line),
        None => {
            // If stderr is closed, the line has no reader.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }
}

/// Starts logging: `THINKLOOM_LOG` (for example `debug` or `thinkloom::judge=debug`) overrides `default`.
pub fn start(default: &str) {
    let filter = EnvFilter::try_from_env("THINKLOOM_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let format = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_target(false)
        .with_timer(TimeOfDay);
    // A second start (tests) keeps the first logger.
    let _ = format.try_init();
}

/// The local time of day, to the second: `23:59:59`.
struct TimeOfDay;

impl FormatTime for TimeOfDay {
    #[expect(
        clippy::disallowed_methods,
        reason = "the time of a log line is that of a wall clock, and no part of the data"
    )]
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{}", chrono::Local::now().format("%H:%M:%S"))
    }
}

/// Writes whole lines above a progress bar, if one is shown.
struct Stderr;

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = LineWriter;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter(Vec::new())
    }
}

struct LineWriter(Vec<u8>);

impl Write for LineWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        let text = String::from_utf8_lossy(&self.0);
        print_line(text.trim_end());
    }
}
