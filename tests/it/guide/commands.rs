//! Tests every `thinkloom ...` line in the code blocks of the README and the guide: its flags exist, and its output is
//! as shown.

use super::markdown::{split, words};
use super::{Page, pages_for_users, stage};
use crate::support::{Outcome, Workspace, program};

/// Commands that go on until they are stopped: only their flags are checked.
const ENDLESS: [&str; 2] = ["serve", "view"];

/// Returns the arguments of every command of a page, with their lines.
fn commands(page: &Page) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for fence in split(&page.text).0.iter().filter(|fence| ["sh", "console"].contains(&fence.language)) {
        for (index, line) in fence.text.lines().enumerate() {
            let words = words(line.strip_prefix("$ ").unwrap_or(line));
            if words.first().is_some_and(|word| word == "thinkloom") {
                found.push((fence.line + index + 1, words[1..].to_vec()));
            }
        }
    }
    found
}

/// Gives a directory that `init` wrote the workspace's model and input, which are quick.
fn shorten(workspace: &Workspace, dir: &str) {
    for name in ["thinkloom.toml", "queries.jsonl"] {
        std::fs::copy(workspace.path(name), workspace.path(dir).join(name)).unwrap();
    }
}

#[test]
fn every_command_of_readme_and_guide_has_the_flags_that_it_uses() {
    let mut seen = 0;
    for page in pages_for_users() {
        for (line, arguments) in commands(&page) {
            let outcome = Outcome::of(program().args(&arguments).arg("--help"));
            assert_eq!(outcome.code, Some(0), "{}:{line}: {arguments:?}: {}", page.name, outcome.stderr);
            seen += 1;
        }
    }
    assert!(seen > 30, "only {seen} commands are seen");
    let unknown = Outcome::of(program().args(["run", "--no-such-flag", "--help"]));
    assert_eq!(unknown.code, Some(2), "an unknown flag would not be seen");
}

#[test]
fn every_command_of_readme_and_guide_runs() {
    let mut seen = 0;
    for page in pages_for_users() {
        let commands = commands(&page);
        if commands.is_empty() {
            continue;
        }
        let workspace = stage(&page);
        for (line, arguments) in commands {
            let name = arguments[0].as_str();
            if ENDLESS.contains(&name) {
                continue;
            }
            let outcome = Outcome::of(program().args(&arguments).current_dir(workspace.path(".")));
            assert_eq!(
                outcome.code,
                Some(0),
                "{}:{line}: {arguments:?}\n{}\n{}",
                page.name,
                outcome.stdout,
                outcome.stderr
            );
            if name == "init" {
                shorten(&workspace, &arguments[1]);
            }
            seen += 1;
        }
    }
    assert!(seen > 25, "only {seen} commands were run");
}
