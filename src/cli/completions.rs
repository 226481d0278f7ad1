//! `thinkloom completions` and `thinkloom man`

use clap::{Args, Command};
use clap_complete::Shell;

use super::failure::{Failure, print};
use super::help;

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(after_help = "Example: thinkloom completions bash > ~/.local/share/bash-completion/completions/thinkloom\n\
                  For zsh: thinkloom completions zsh > DIR/_thinkloom, with a directory DIR of $fpath.")]
pub(super) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
#[command(after_help = "Example: thinkloom man > thinkloom.1; thinkloom man run > thinkloom-run.1")]
pub(super) struct ManArgs {
    /// A command; without one, the page of the whole program.
    command: Option<String>,
}

/// Runs `completions`; `program` describes the whole command line.
pub(super) fn run(args: &CompletionsArgs, mut program: Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program, "thinkloom", &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// Runs `man`.
pub(super) fn man(args: &ManArgs, mut program: Command) -> Result<(), Failure> {
    program.build();
    let command = match &args.command {
        None => program,
        Some(name) => match program.find_subcommand(name) {
            Some(command) => command.clone(),
            None => return Err(help::unknown("command", name, &help::command_names(&program))),
        },
    };
    let mut page = Vec::new();
    let man = clap_mangen::Man::new(command).source(concat!("thinkloom ", env!("CARGO_PKG_VERSION")));
    man.render(&mut page).map_err(Failure::other)?;
    print(&String::from_utf8_lossy(&page))
}
