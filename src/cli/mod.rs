//! The commands: stdout is data, stderr is talk.
//!
//! Exit codes: 0 done; 1 a failure of the run; 2 wrong usage or config; 3 stopped early but resumable; 4 finished, but
//! some queries were excluded by errors.

pub mod display;
mod deadline;
mod dedup;
mod diff;
mod doctor;
mod eval;
mod export;
mod grade;
mod init;
mod inspect;
mod models;
mod redecide;
mod report;
mod reward;
mod run;
mod schema;
mod serve;
mod status;
mod status_judge;
mod table;
mod view;
mod wrap;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, ConfigError, LoadedConfig};
use crate::pipeline::RunError;

/// Builds hybrid Think-on / Think-off training sets for language models.
#[derive(Debug, Parser)]
#[command(
    name = "thinkloom",
    version,
    about,
    after_help = "Exit codes: 0 done; 1 failed; 2 wrong usage or config; 3 stopped early, run the same command again; \
                  4 finished, but some queries were excluded by errors.\nLog level: THINKLOOM_LOG=debug"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a commented thinkloom.toml and a few sample queries.
    Init(init::InitArgs),
    /// Run or resume the pipeline.
    Run(run::RunArgs),
    /// Show how far a run is; audit it with --check.
    Status(status::StatusArgs),
    /// Show one query's whole story, or list all queries.
    Inspect(inspect::InspectArgs),
    /// Select again from stored facts, with other settings, into another directory.
    Redecide(redecide::RedecideArgs),
    /// Verify answers from a file of cases.
    Grade(grade::GradeArgs),
    /// Find duplicates, near-duplicates and benchmark items in any dataset.
    Dedup(dedup::DedupArgs),
    /// Write datasets for a trainer, or check them against a chat template.
    Export(export::ExportArgs),
    /// Write report.html: figures and a reader of samples in one file.
    Report(report::ReportArgs),
    /// Say what changed between two runs.
    Diff(diff::DiffArgs),
    /// Show a run in the browser, all of it, while it goes on.
    View(view::ViewArgs),
    /// Compute HiPO rewards and advantages of grouped rollouts.
    Reward(reward::RewardArgs),
    /// Measure accuracy, length and think rate, and what changed against a baseline.
    Eval(eval::EvalArgs),
    /// Serve the hosted model, OpenAI-compatible, and the reward rule.
    Serve(serve::ServeArgs),
    /// Print the schemas of config, grading cases and tables.
    Schema(schema::SchemaArgs),
    /// Check that everything a run needs is there.
    Doctor(doctor::DoctorArgs),
}

/// Where settings come from.
#[derive(Debug, Args)]
struct ConfigArgs {
    /// The config file.
    #[arg(short, long, default_value = "thinkloom.toml")]
    config: PathBuf,
    /// Override a setting, for example --set sampling.seed=1 (repeatable).
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

impl ConfigArgs {
    fn load(&self) -> Result<LoadedConfig, ConfigError> {
        config::load(&self.config, &self.overrides)
    }
}

/// Why a command ended without its work done.
#[derive(Debug)]
enum Failure {
    /// A failure of a run, with its own exit code and hint.
    Run(RunError),
    /// Any other failure.
    Other(anyhow::Error),
    /// Told already; only the exit code is left.
    Code(u8),
}

impl<E: Into<RunError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Run(error.into())
    }
}

impl Failure {
    fn other(error: impl Into<anyhow::Error>) -> Self {
        Self::Other(error.into())
    }
}

/// Parses the command line, runs the command, and returns the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to stdout, errors to stderr; a closed pipe is no failure.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    crate::telemetry::start("info");
    let result = match cli.command {
        Command::Init(args) => init::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Redecide(args) => redecide::run(&args),
        Command::Grade(args) => grade::run(&args),
        Command::Dedup(args) => dedup::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::View(args) => view::run(&args),
        Command::Reward(args) => reward::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Doctor(args) => doctor::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

fn report(failure: &Failure) -> ExitCode {
    let mut stderr = std::io::stderr().lock();
    match failure {
        Failure::Code(code) => ExitCode::from(*code),
        Failure::Run(error) => {
            // Where stderr is gone there is nobody to tell.
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
            ExitCode::from(1)
        }
    }
}

/// A reader that stops reading (`| head`) has what it wanted.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Writes a text to stdout.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Failure::other)
}

/// Refuses an output that is one of the inputs: writing it would destroy what is read.
fn refuse_overwriting<'a>(output: Option<&Path>, inputs: impl IntoIterator<Item = &'a Path>) -> anyhow::Result<()> {
    // What is not there yet is no input.
    let Some(output) = output.and_then(|path| path.canonicalize().ok()) else { return Ok(()) };
    let is_input = inputs.into_iter().any(|input| input.canonicalize().is_ok_and(|input| input == output));
    anyhow::ensure!(!is_input, "the output {} is an input; name another file", output.display());
    Ok(())
}
