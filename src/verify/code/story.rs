//! What a job left, read as how it ended.
//!
//! Of tests the messages come from their own process, and are true. Of a program without tests whatever comes after the
//! first message may be the program's own: it can only do it harm.

use serde::Deserialize;

use super::rule::Rule;
use crate::domain::{UnverifiableCause, Verdict, VerdictOutcome};
use crate::verify::sandbox::{End, Ran};

/// Longest name of an exception in a reason.
const NAME_CHARS_MAX: usize = 64;

/// The exit code of tests that have lost their program.
const GONE: i32 = 7;

/// What the harness says.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Message {
    strategy: Option<String>,
    program: Option<String>,
    end: Option<String>,
    detail: Option<String>,
}

/// How one job ended.
pub(super) struct Story {
    strategy: Option<String>,
    program: Option<String>,
    pub(super) rule: Rule,
    detail: Option<String>,
    pub(super) stdout: Vec<u8>,
}

impl Story {
    /// Reads what tests and their program left.
    pub(super) fn of_tests(ran: Ran) -> Self {
        let messages = messages(&ran.messages);
        let chosen = messages.iter().find(|message| message.strategy.is_some()).cloned().unwrap_or_default();
        let last = messages.into_iter().next_back().unwrap_or_default();
        let (rule, detail) = match (ran.program, ran.tests) {
            (End::OutputLimit, _) => (Rule::OutputLimit, None),
            // Cut by the watch, both of them.
            (End::TimeOut, Some(End::Stopped)) | (_, Some(End::TimeOut)) => (Rule::TimeOut, None),
            (_, Some(End::Exited(0 | GONE))) => match last.end.as_deref() {
                Some("gone") => gone(ran.program),
                Some("disk_full") => (full_disk(&ran), None),
                Some(name) => (Rule::named(name).unwrap_or(Rule::SandboxFailed), last.detail),
                // Tests that were only read, and have no fault.
                None => (Rule::Finished, None),
            },
            (_, end) => {
                tracing::warn!("the process of the tests ended by itself ({end:?})");
                (Rule::SandboxFailed, None)
            }
        };
        let rule = if is_own_fault(rule) && ran.disk_is_full { Rule::SandboxFailed } else { rule };
        if rule == Rule::SandboxFailed {
            tracing::warn!("the harness failed: {}", detail.as_deref().unwrap_or("the machine"));
        }
        Self { strategy: chosen.strategy, program: chosen.program, rule, detail, stdout: ran.stdout }
    }

    /// Reads what a program left that has read its input.
    pub(super) fn of_script(ran: Ran) -> Self {
        let mut messages = messages(&ran.messages).into_iter();
        let first = messages.next().unwrap_or_default();
        let last = if first.end.is_some() { first.clone() } else { messages.next_back().unwrap_or_default() };
        let (rule, detail) = match (ran.program, last.end.as_deref()) {
            // The harness ends before the program does, if at all.
            (End::Exited(0), Some(name)) if first.end.is_some() => {
                (Rule::named(name).unwrap_or(Rule::SandboxFailed), last.detail)
            }
            (End::Exited(_), Some("disk_full")) => (full_disk(&ran), None),
            (End::Exited(_), Some(name)) if first.strategy.is_some() => match Rule::named(name) {
                Some(rule) if Rule::AT_FAULT.contains(&rule) => (rule, last.detail),
                _ => (Rule::EarlyExit, None),
            },
            (End::Exited(_), _) if first.strategy.is_some() => (Rule::EarlyExit, None),
            (End::Exited(code), _) => {
                let said = String::from_utf8_lossy(&ran.stderr);
                tracing::warn!("the harness ended with code {code}: {}", said.lines().next_back().unwrap_or_default());
                (Rule::SandboxFailed, None)
            }
            (end, _) => gone(end),
        };
        let rule = if is_own_fault(rule) && ran.disk_is_full { Rule::SandboxFailed } else { rule };
        Self { strategy: first.strategy, program: first.program, rule, detail, stdout: ran.stdout }
    }

    /// Returns the verdict.
    pub(super) fn verdict(self) -> Verdict {
        let Self { strategy, program, rule, detail, .. } = self;
        let outcome = match rule {
            Rule::TestsPassed | Rule::OutputsEqual => VerdictOutcome::Correct,
            Rule::NoTests => return Verdict::unverifiable(UnverifiableCause::NoTests, program),
            Rule::TestsUnusable => return Verdict::unverifiable(UnverifiableCause::TestsUnusable, program),
            Rule::SandboxFailed => return Verdict::unverifiable(UnverifiableCause::SandboxFailed, program),
            _ => VerdictOutcome::Incorrect,
        };
        let parts = [strategy.as_deref(), Some(rule.name()), detail.as_deref()];
        let reason = parts.into_iter().flatten().map(plain_name).collect::<Vec<_>>().join(":");
        Verdict { outcome, extracted: program, reason }
    }
}

fn messages(bytes: &[u8]) -> Vec<Message> {
    let text = String::from_utf8_lossy(bytes);
    text.lines().map(|line| serde_json::from_str::<Message>(line).unwrap_or_default()).collect()
}

/// Returns what it means that a program is no longer there.
fn gone(end: End) -> (Rule, Option<String>) {
    match end {
        End::TimeOut => (Rule::TimeOut, None),
        End::OutputLimit => (Rule::OutputLimit, None),
        End::Machine => (Rule::SandboxFailed, None),
        End::Signalled(signal) => (Rule::Killed, Some(signal_name(signal))),
        End::Exited(_) | End::Stopped => (Rule::EarlyExit, None),
    }
}

/// Returns who has filled the disk: there is room for a program's own share, or the machine has none.
fn full_disk(ran: &Ran) -> Rule {
    if ran.disk_is_full { Rule::SandboxFailed } else { Rule::OutputLimit }
}

fn is_own_fault(rule: Rule) -> bool {
    !matches!(rule, Rule::TestsPassed | Rule::OutputsEqual | Rule::Finished | Rule::NoTests | Rule::TestsUnusable)
}

/// Keeps what can be part of a name: the type of an exception is the response's own words.
fn plain_name(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(NAME_CHARS_MAX).collect()
}

fn signal_name(signal: i32) -> String {
    let known =
        [(4, "SIGILL"), (6, "SIGABRT"), (7, "SIGBUS"), (8, "SIGFPE"), (9, "SIGKILL"), (11, "SIGSEGV"), (31, "SIGSYS")];
    let name = known.iter().find(|(number, _)| *number == signal).map(|(_, name)| (*name).to_owned());
    name.unwrap_or_else(|| format!("SIG{signal}"))
}
