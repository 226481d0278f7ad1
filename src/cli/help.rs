//! `thinkloom help`

use std::fmt::Write;

use clap::{Args, Command};

use super::failure::{Failure, print};
use crate::guide::{self, PAGES, Page};

/// Arguments of `help`.
#[derive(Debug, Args)]
#[command(
    after_help = "If a name is both a topic and a command, the page is followed by the usage.\nExample: thinkloom help \
                  judge"
)]
pub(super) struct HelpArgs {
    /// A topic of the guide, or a command.
    name: Option<String>,
}

/// Runs the command; `program` describes the whole command line.
pub(super) fn run(args: &HelpArgs, program: &Command) -> Result<(), Failure> {
    let Some(name) = &args.name else { return print(&overview(program)) };
    let (page, usage) = (guide::page(name), usage(name, program));
    match (page, usage) {
        (None, None) => {
            let names: Vec<String> =
                PAGES.iter().map(|page| page.name.to_owned()).chain(command_names(program)).collect();
            Err(unknown("topic or command", name, &names))
        }
        (Some(page), None) => print(page.text),
        (None, Some(usage)) => print(&usage),
        (Some(page), Some(usage)) => {
            let rule = "-".repeat(80);
            print(&format!("{}\n{rule}\nThe command `thinkloom {name}`:\n\n{usage}", page.text))
        }
    }
}

/// Returns the commands and topics.
fn overview(program: &Command) -> String {
    let mut text = program.clone().render_help().to_string();
    let _ = writeln!(text, "\nTopics of the guide:");
    for Page { name, summary, .. } in PAGES {
        let _ = writeln!(text, "  {name:<11}  {summary}");
    }
    text.push_str("\n`thinkloom help TOPIC` prints a page, `thinkloom help COMMAND` a command's usage.\n");
    text
}

/// Returns a command's usage, as `--help` prints it.
fn usage(name: &str, program: &Command) -> Option<String> {
    program.find_subcommand(name)?;
    // Parse `--help` as a user would write it, so that the text is the same.
    let asked = program.clone().try_get_matches_from(["thinkloom", name, "--help"]);
    asked.err().map(|help| help.to_string())
}

/// Returns the names of the commands.
pub(super) fn command_names(program: &Command) -> Vec<String> {
    program.get_subcommands().map(|command| command.get_name().to_owned()).collect()
}

/// Reports an unknown name with the nearest and all known names; returns the exit code of wrong usage.
pub(super) fn unknown(what: &str, name: &str, known: &[String]) -> Failure {
    let nearest = nearest(name, known).map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
    crate::telemetry::print_line(&format!("error: no {what} \"{name}\"{nearest}"));
    let mut known = known.to_vec();
    known.sort_unstable();
    known.dedup();
    crate::telemetry::print_line(&format!("hint: known names: {}", known.join(", ")));
    Failure::Code(2)
}

/// Returns the known name with the most similar spelling, if any is similar.
fn nearest<'a>(name: &str, known: &'a [String]) -> Option<&'a str> {
    let name = name.to_lowercase();
    let scored = known.iter().map(|candidate| (strsim::jaro_winkler(&name, candidate), candidate.as_str()));
    let best = scored.max_by(|one, other| one.0.total_cmp(&other.0));
    best.filter(|(score, _)| *score >= 0.5).map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not_offered() {
        let known = ["judge", "config", "servers", "serve"].map(str::to_owned);
        for (name, expected) in [("jugde", Some("judge")), ("CONFIG", Some("config")), ("server", Some("servers"))] {
            assert_eq!(nearest(name, &known), expected, "{name}");
        }
        assert_eq!(nearest("zzz", &known), None);
    }
}
