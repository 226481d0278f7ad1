//! Tests programs in the real sandbox, run by the real binary.
//!
//! On a machine without one of the sandbox's layers these tests fail and name the layer; no test is skipped.

mod answers;
mod hostile;
mod layers;
mod pipeline;

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Outcome, program, text};

/// A directory with everything that one `grade` uses: cases, temporary files, a home.
pub struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    /// Makes it, after making sure that the sandbox is there.
    #[track_caller]
    pub fn new() -> Self {
        let bench = Self::unchecked();
        let probe = holding("");
        let outcome = bench.grade(&[probe], &[]);
        assert!(
            outcome.stdout.contains("tests_passed"),
            "the sandbox is incomplete on this machine: {}",
            outcome.stderr
        );
        bench
    }

    /// Makes it.
    pub fn unchecked() -> Self {
        let bench = Self { folder: tempfile::Builder::new().prefix("thinkloom-it-").tempdir().unwrap() };
        for name in ["temporary", "home", "outside"] {
            std::fs::create_dir(bench.path(name)).unwrap();
        }
        bench
    }

    /// Returns the path of something in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns `thinkloom grade` on these cases, not started yet.
    pub fn command(&self, cases: &[Value], settings: &[&str]) -> Command {
        let lines: String = cases.iter().map(|case| format!("{case}\n")).collect();
        std::fs::write(self.path("cases.jsonl"), lines).unwrap();
        let mut command = program();
        command.arg("grade").arg("--cases").arg(self.path("cases.jsonl"));
        command.args(settings.iter().flat_map(|setting| ["--set", setting]));
        command.env("TMPDIR", self.path("temporary")).env("HOME", self.path("home")).env("THINKLOOM_SECRET", "leaked");
        // The interpreter is found through a home, as some version managers do it.
        command.env("PYENV_ROOT", std::env::var("PYENV_ROOT").unwrap_or_else(|_| format!("{}/.pyenv", home())));
        command
    }

    /// Runs `thinkloom grade` to its end.
    pub fn grade(&self, cases: &[Value], settings: &[&str]) -> Outcome {
        Outcome::of(&mut self.command(cases, settings))
    }

    /// Checks that no file and no process is left of what was run.
    #[track_caller]
    pub fn assert_nothing_is_left(&self) {
        let left: Vec<_> =
            std::fs::read_dir(self.path("temporary")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "left behind: {left:?}");
        let place = self.path("temporary");
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let cwd = std::fs::read_link(process.path().join("cwd"));
            assert!(!cwd.is_ok_and(|cwd| cwd.starts_with(&place)), "{} still runs", process.path().display());
        }
    }
}

fn home() -> String {
    std::env::var("HOME").unwrap_or_default()
}

/// Returns the verdicts of an output.
pub fn verdicts(outcome: &Outcome) -> Vec<Value> {
    outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns a case with a fenced program.
pub fn case(program: &str, tests: &Value) -> Value {
    json!({"id": 0, "kind": "code", "tests": tests, "response": format!("```python\n{program}\n```")})
}

/// Returns a case of a program that passes its test, after it has done something else.
pub fn holding(program: &str) -> Value {
    case(&format!("{program}\ndef holds():\n    return 1"), &json!(["assert holds() == 1"]))
}

/// Grades cases that each have an expected reason, and shows all that have another.
#[track_caller]
pub fn assert_reasons(bench: &Bench, expected: &[(&str, Value)], settings: &[&str]) {
    let cases: Vec<Value> = expected.iter().map(|(_, case)| case.clone()).collect();
    let outcome = bench.grade(&cases, settings).assert_code(0);
    let verdicts = verdicts(&outcome);
    assert_eq!(verdicts.len(), cases.len());
    let wrong: Vec<String> = expected
        .iter()
        .zip(&verdicts)
        .filter(|((reason, _), verdict)| {
            let is_right = reason.ends_with(":tests_passed") || reason.ends_with(":outputs_equal");
            *reason != text(verdict, "reason") || is_right != (text(verdict, "verdict") == "correct")
        })
        .map(|((reason, case), verdict)| format!("{reason} expected: {verdict}\n  of {case}"))
        .collect();
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), outcome.stderr);
}
