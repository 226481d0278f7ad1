//! The commands. Data go to stdout, messages to stderr.
//!
//! Exit codes: 0 done; 1 failed; 2 wrong usage or config; 3 stopped early, resumable; 4 finished, but errors excluded
//! some queries.

pub mod display;
pub mod embedded;
mod args;
mod completions;
mod deadline;
mod dedup;
mod diff;
mod doctor;
mod doctor_ask;
mod eval;
mod export;
mod failure;
mod grade;
mod help;
mod init;
mod inspect;
mod models;
mod publish;
mod redecide;
mod report;
mod reward;
mod rows;
mod run;
mod schema;
mod serve;
mod status;
mod status_judge;
mod stopping;
mod table;
mod version;
mod view;
mod wrap;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use self::failure::{Failure, print, report};
use crate::sys::{limits, threads};

/// Builds hybrid Think-on / Think-off training sets for language models.
#[derive(Debug, Parser)]
#[command(
    name = "thinkloom",
    version,
    about,
    after_help = "Exit codes: 0 done; 1 failed; 2 wrong usage or config; 3 stopped early, run the same command again; \
                  4 finished, but errors excluded some queries.\nLog level: THINKLOOM_LOG=debug\n\
                  Guide: `thinkloom help` lists the topics, `thinkloom help data` prints one",
    disable_help_subcommand = true
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
    /// Show the progress of a run; audit it with --check.
    Status(status::StatusArgs),
    /// Write shards for the settled queries of a stopped run.
    Publish(publish::PublishArgs),
    /// Show everything that is stored about one query, or list all queries.
    Inspect(inspect::InspectArgs),
    /// Select again from stored facts, with other settings, into another directory.
    Redecide(redecide::RedecideArgs),
    /// Verify answers from a file of cases.
    Grade(grade::GradeArgs),
    /// Find duplicates, near-duplicates and benchmark items in any dataset.
    Dedup(dedup::DedupArgs),
    /// Write datasets for a trainer, or check them against a chat template.
    Export(export::ExportArgs),
    /// Write report.html: figures and samples in one file.
    Report(report::ReportArgs),
    /// Show the differences between two runs.
    Diff(diff::DiffArgs),
    /// Show all queries of a run in the browser, during or after the run.
    View(view::ViewArgs),
    /// Compute HiPO's rewards and advantages for grouped rollouts.
    Reward(reward::RewardArgs),
    /// Measure accuracy, length and think rate, and compare them with a baseline.
    Eval(eval::EvalArgs),
    /// Serve the hosted model (OpenAI-compatible) and the reward rule over HTTP.
    Serve(serve::ServeArgs),
    /// Print the schemas of config, grading cases and tables.
    Schema(schema::SchemaArgs),
    /// Check input, disk, model, judge and sandbox before a run.
    Doctor(doctor::DoctorArgs),
    /// Print a page of the guide, or the usage of a command; without a name, list both.
    Help(help::HelpArgs),
    /// Print the completion script of a shell.
    Completions(completions::CompletionsArgs),
    /// Print the man page of the program or of one command.
    Man(completions::ManArgs),
}

/// Parses the command line, runs the command, and returns the exit code.
#[must_use]
pub fn main() -> ExitCode {
    #[cfg(unix)]
    {
        if crate::policy::serve_if_asked() {
            return ExitCode::SUCCESS;
        }
        crate::policy::render_apart();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.kind() == ErrorKind::DisplayVersion && version::is_long(std::env::args_os()) => {
            return print(&version::long()).map_or_else(|failure| report(&failure), |()| ExitCode::SUCCESS);
        }
        Err(error) => {
            // Help goes to stdout, errors to stderr; a closed pipe is a success.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    crate::telemetry::start("info");
    limits::settle();
    if let Some(wanted) = threads_wanted(&cli.command)
        && let Err(error) = threads::settle(wanted)
    {
        return report(&Failure::Run(error.into()));
    }
    if !matches!(cli.command, Command::Run(_) | Command::Eval(_) | Command::Serve(_)) {
        // These commands keep no state, so they end at once.
        stopping::end_at_once_if_first();
    }
    let result = match cli.command {
        Command::Init(args) => init::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Publish(args) => publish::run(&args),
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
        Command::Help(args) => help::run(&args, &Cli::command()),
        Command::Completions(args) => completions::run(&args, Cli::command()),
        Command::Man(args) => completions::man(&args, Cli::command()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

/// Returns the number of threads that a command needs in addition to its computing threads, if it has several.
const fn threads_wanted(command: &Command) -> Option<usize> {
    match command {
        Command::Run(_)
        | Command::Publish(_)
        | Command::Redecide(_)
        | Command::View(_)
        | Command::Eval(_)
        | Command::Serve(_) => Some(threads::LEAST),
        Command::Grade(_) | Command::Dedup(_) | Command::Reward(_) | Command::Doctor(_) => Some(4),
        _ => None,
    }
}
