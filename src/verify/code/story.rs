//! Interprets the results of a job: how the job ended.
//!
//! The messages of tests come from the tests' own process and are trusted. For a program without tests, every message
//! after the first may come from the program: such messages can only harm the program.

use serde::Deserialize;

use super::rule::Rule;
use crate::sandbox::{End, Ran};
use thinkloom_domain::{UnverifiableCause, Verdict, VerdictOutcome};

/// The most characters of an exception's name in a reason.
const NAME_CHARS_MAX: usize = 64;

/// The exit code of tests whose program has gone.
const GONE: i32 = 7;

/// A message of the harness.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Message {
    strategy: Option<String>,
    program: Option<String>,
    end: Option<String>,
    detail: Option<String>,
}

/// The end of one job.
pub(super) struct Story {
    strategy: Option<String>,
    program: Option<String>,
    pub(super) rule: Rule,
    detail: Option<String>,
    pub(super) stdout: Vec<u8>,
    /// The machine's failure, if the machine caused this end: the end does not depend on the program, and another run
    /// may differ.
    pub(super) machine: Option<&'static str>,
}

impl Story {
    /// Interprets the results of tests and their program.
    pub(super) fn of_tests(ran: Ran) -> Self {
        let messages = messages(&ran.messages);
        let chosen = messages.iter().find(|message| message.strategy.is_some()).cloned().unwrap_or_default();
        let last = messages.into_iter().next_back().unwrap_or_default();
        let machine = machine_of(&ran);
        let (rule, detail) = match (ran.program, ran.tests) {
            (End::OutputLimit, _) => (Rule::OutputLimit, None),
            // The watch cut both processes.
            (End::TimeOut, Some(End::Stopped)) | (_, Some(End::TimeOut)) => (Rule::TimeOut, None),
            (_, Some(End::Exited(0 | GONE))) => match last.end.as_deref() {
                Some("gone") => gone(ran.program),
                Some("disk_full") => (full_disk(&ran), None),
                Some(name) => (Rule::named(name).unwrap_or(Rule::SandboxFailed), last.detail),
                // Tests that were only parsed, and have no fault.
                None => (Rule::Finished, None),
            },
            (_, end) => {
                tracing::warn!("the process of the tests ended by itself ({end:?})");
                (Rule::SandboxFailed, None)
            }
        };
        let (rule, machine) = without_room(rule, machine, &ran);
        if rule == Rule::SandboxFailed {
            tracing::warn!("the harness failed: {}", detail.as_deref().unwrap_or("the machine"));
        }
        Self { strategy: chosen.strategy, program: chosen.program, rule, detail, stdout: ran.stdout, machine }
    }

    /// Interprets the results of a program that read its input.
    pub(super) fn of_script(ran: Ran) -> Self {
        let mut messages = messages(&ran.messages).into_iter();
        let first = messages.next().unwrap_or_default();
        let last = if first.end.is_some() { first.clone() } else { messages.next_back().unwrap_or_default() };
        let machine = machine_of(&ran);
        let (rule, detail) = match (ran.program, last.end.as_deref()) {
            // The harness ends before the program does, if the harness ends at all.
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
        let (rule, machine) = without_room(rule, machine, &ran);
        Self { strategy: first.strategy, program: first.program, rule, detail, stdout: ran.stdout, machine }
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

/// Returns the rule for a program that no longer exists.
fn gone(end: End) -> (Rule, Option<String>) {
    match end {
        End::TimeOut => (Rule::TimeOut, None),
        End::OutputLimit => (Rule::OutputLimit, None),
        End::Machine => (Rule::SandboxFailed, None),
        End::Signalled(signal) => (Rule::Killed, Some(signal_name(signal))),
        End::Exited(_) | End::Stopped => (Rule::EarlyExit, None),
    }
}

/// Returns the rule for a full disk. On a shared disk, a program is ended before it can fill the disk: other writers
/// filled it, and may be gone by now.
fn full_disk(ran: &Ran) -> Rule {
    if ran.disk_is_shared { Rule::SandboxFailed } else { Rule::OutputLimit }
}

/// Returns the machine's action, if the machine ended a process of the job.
fn machine_of(ran: &Ran) -> Option<&'static str> {
    let is_killed = ran.program == End::Machine || ran.tests == Some(End::Machine);
    is_killed.then_some("the machine ended the process, or did not let it run")
}

/// Returns the rule that ended a job and the machine's action, on a disk that may have been full.
fn without_room(rule: Rule, machine: Option<&'static str>, ran: &Ran) -> (Rule, Option<&'static str>) {
    let is_short = ran.disk_is_full && may_be_for_want_of_room(rule);
    let rule = if is_short { Rule::SandboxFailed } else { rule };
    let is_filled = rule == Rule::SandboxFailed && ran.disk_is_shared && machine.is_none() && was_full(ran);
    (rule, machine.or(is_filled.then_some("the disk of temporary files is full")))
}

fn was_full(ran: &Ran) -> bool {
    ran.disk_is_full || messages(&ran.messages).last().is_some_and(|last| last.end.as_deref() == Some("disk_full"))
}

/// Returns whether a full disk may explain a verdict. It does not if a program took more than its own share.
fn may_be_for_want_of_room(rule: Rule) -> bool {
    !matches!(
        rule,
        Rule::TestsPassed
            | Rule::OutputsEqual
            | Rule::Finished
            | Rule::NoTests
            | Rule::TestsUnusable
            | Rule::OutputLimit
    )
}

/// Keeps the characters that a name may have: the response chooses the type of its exception.
fn plain_name(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(NAME_CHARS_MAX).collect()
}

fn signal_name(signal: i32) -> String {
    let known =
        [(4, "SIGILL"), (6, "SIGABRT"), (7, "SIGBUS"), (8, "SIGFPE"), (9, "SIGKILL"), (11, "SIGSEGV"), (31, "SIGSYS")];
    let name = known.iter().find(|(number, _)| *number == signal).map(|(_, name)| (*name).to_owned());
    name.unwrap_or_else(|| format!("SIG{signal}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(program: End, tests: Option<End>, said: &str) -> Ran {
        let messages = format!("{{\"strategy\":\"code_block\"}}\n{said}\n").into_bytes();
        let (stdout, stderr) = (Vec::new(), Vec::new());
        Ran { program, tests, stdout, stderr, messages, disk_is_full: false, disk_is_shared: true }
    }

    #[test]
    fn a_disk_that_others_filled_and_a_kill_by_the_machine_are_no_verdict() {
        let raised = "{\"end\":\"exception\",\"detail\":\"OSError\"}";
        let full = "{\"end\":\"disk_full\"}";
        let done = Some(End::Exited(0));
        let story = |ran: Ran| {
            let story = Story::of_tests(ran);
            (story.rule, story.machine.is_some())
        };
        // The writer that filled the disk may be gone when the disk is checked.
        assert_eq!(story(ran(End::Stopped, done, full)), (Rule::SandboxFailed, true));
        assert_eq!(story(Ran { disk_is_full: true, ..ran(End::Stopped, done, raised) }), (Rule::SandboxFailed, true));
        assert_eq!(story(ran(End::Stopped, done, raised)), (Rule::Exception, false));
        // Only the program itself can fill a private disk.
        let own = Ran { disk_is_shared: false, ..ran(End::Stopped, done, full) };
        assert_eq!(story(own), (Rule::OutputLimit, false));
        // Taking more than its share is the program's own fault, even if no room was left afterwards.
        let greedy = Ran { disk_is_full: true, ..ran(End::OutputLimit, Some(End::Stopped), "") };
        assert_eq!(story(greedy), (Rule::OutputLimit, false));
        // Killed from outside, or not scheduled: all processes, or one.
        assert_eq!(story(ran(End::Machine, Some(End::Stopped), "")), (Rule::SandboxFailed, true));
        assert_eq!(
            story(ran(End::Machine, Some(End::Exited(GONE)), "{\"end\":\"gone\"}")),
            (Rule::SandboxFailed, true)
        );
        let script = Story::of_script(ran(End::Exited(1), None, full));
        assert_eq!((script.rule, script.machine.is_some()), (Rule::SandboxFailed, true));
    }
}
