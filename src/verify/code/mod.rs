//! Code: a response is right if its tests run to their end.
//!
//! # What is run
//! `blocks` finds the fenced blocks; the driver (`driver.py`, inside the sandbox) parses them and chooses the last one
//! that defines what the tests call, with earlier blocks that define what it lacks, else the last one that is Python.
//! Without fences the whole response is taken if it is Python, else the lines of it that are. A response may also be
//! the body of a function that the question begins. Strategies: `code_block`, `whole`, `code_lines`, `continuation`.
//!
//! # Tests
//! - assertions, or whole test programs, in the order given; if they define `check` and do not call it, `check` is called
//!   with the entry point (HumanEval);
//! - or inputs and outputs: JSON objects `{"input", "output"}` or `{"inputs": [...], "outputs": [...]}`, where the program
//!   is run once for each input. Outputs are equal if their lines are, each trimmed, blank lines at both ends left out.
//!
//! Tests run in names of their own: what the response does to the built-ins, or to the modules that the tests import,
//! does not reach them. That they came to their end is proven by a random token on a channel of their own, which is read
//! only then: leaving early (`early_exit`) or printing something proves nothing.
//!
//! # Rules
//! `correct`: `tests_passed`, `outputs_equal`. `incorrect`, because the response is at fault: `test_failed`,
//! `output_differs`, `exception:TYPE`, `syntax_error`, `no_code`, `time_out`, `memory_limit`, `output_limit`, `refused`
//! (it asked for what the sandbox forbids), `killed:SIGNAL`, `early_exit`. A reason is `strategy:rule`. A module that is not
//! installed is `exception:ModuleNotFoundError`. `unverifiable`, because something else is: `no_sandbox`, `no_tests`,
//! `tests_unusable`, `sandbox_failed`.

mod blocks;
mod pool;
mod rule;
mod shape;

pub use pool::{CodePool, Pending};

use std::io::Read;

use serde::{Deserialize, Serialize};

use super::TestsFault;
use super::sandbox::{End, Incomplete, Job, Ran, Sandbox, SandboxFault};
use crate::domain::{UnverifiableCause, Verdict, VerdictOutcome};
pub(super) use blocks::program_blocks;
use rule::Rule;
use shape::{Shape, normalised};

const DRIVER: &str = include_str!("driver.py");
/// Bytes of the token.
const TOKEN_BYTES: usize = 16;
/// Longest name of an exception in a reason.
const NAME_CHARS_MAX: usize = 64;

/// A response to a query of kind `code`, with what it is tested by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CodeCase {
    /// Assertions, test programs, or objects of inputs and outputs.
    pub tests: Vec<String>,
    /// Import statements that the tests need.
    pub test_imports: Vec<String>,
    /// The function that is tested, for tests that define `check`.
    pub entry_point: Option<String>,
    /// The question: it may begin the function that a response continues.
    pub question: String,
    /// The answer part of a response.
    pub response: String,
}

/// Verifies code in a sandbox, from any number of threads.
#[derive(Debug)]
pub struct CodeVerifier {
    sandbox: Result<Sandbox, Incomplete>,
}

/// What the driver is told.
#[derive(Serialize)]
struct Payload<'a> {
    shape: &'static str,
    response: &'a str,
    blocks: &'a [String],
    question: &'a str,
    entry_point: Option<&'a str>,
    tests: &'a [String],
    test_imports: &'a [String],
}

/// What comes over the channel.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Message {
    strategy: Option<String>,
    program: Option<String>,
    end: Option<String>,
    detail: Option<String>,
    token: Option<String>,
}

/// How one run of the driver ended.
struct Story {
    strategy: Option<String>,
    program: Option<String>,
    rule: Rule,
    detail: Option<String>,
    stdout: Vec<u8>,
}

impl CodeVerifier {
    /// Takes a sandbox, or the reason why there is none: then every verdict is `no_sandbox`.
    #[must_use]
    pub fn new(sandbox: Result<Sandbox, Incomplete>) -> Self {
        Self { sandbox }
    }

    /// Returns the sandbox, or the reason why there is none.
    ///
    /// # Errors
    /// That reason.
    pub fn sandbox(&self) -> Result<&Sandbox, &Incomplete> {
        self.sandbox.as_ref()
    }

    /// Returns what is wrong with the tests of a case, whatever its response: nothing of the response is run.
    ///
    /// # Errors
    /// [`SandboxFault`] if the machine failed to read them, which says nothing of the tests.
    pub fn check_tests(&self, case: &CodeCase) -> Result<Option<TestsFault>, SandboxFault> {
        Ok(check_tests(&case.tests).err())
    }

    /// Runs a response with its tests. Blocks until it has ended, within the sandbox's bounds per program.
    ///
    /// # Errors
    /// [`SandboxFault`] if the machine failed to run it, which says nothing of the response.
    pub fn verify(&self, case: &CodeCase) -> Result<Verdict, SandboxFault> {
        let blocks = blocks::program_blocks(&case.response);
        let unverifiable = |cause| Verdict::unverifiable(cause, blocks.last().cloned());
        let Ok(sandbox) = &self.sandbox else { return Ok(unverifiable(UnverifiableCause::NoSandbox)) };
        match Shape::of(&case.tests) {
            Shape::None => Ok(unverifiable(UnverifiableCause::NoTests)),
            Shape::Unusable => Ok(unverifiable(UnverifiableCause::TestsUnusable)),
            Shape::Program => tell(sandbox, &payload(case, &blocks, "tests"), "").map(verdict),
            Shape::Streams(pairs) => compare_streams(sandbox, &payload(case, &blocks, "script"), &pairs),
        }
    }
}

/// Checks tests without running them.
pub(super) fn check_tests(tests: &[String]) -> Result<(), TestsFault> {
    match Shape::of(tests) {
        Shape::None => Err(TestsFault::None),
        Shape::Unusable => Err(TestsFault::Unusable),
        Shape::Program | Shape::Streams(_) => Ok(()),
    }
}

/// Returns the last program text of a response, for verdicts without a run.
pub(super) fn last_block(response: &str) -> Option<String> {
    blocks::program_blocks(response).pop()
}

fn payload<'a>(case: &'a CodeCase, blocks: &'a [String], shape: &'static str) -> Payload<'a> {
    Payload {
        shape,
        response: &case.response,
        blocks,
        question: &case.question,
        entry_point: case.entry_point.as_deref(),
        tests: &case.tests,
        test_imports: &case.test_imports,
    }
}

/// Runs a program once for each input, up to the first output that differs.
fn compare_streams(
    sandbox: &Sandbox,
    payload: &Payload<'_>,
    pairs: &[(String, String)],
) -> Result<Verdict, SandboxFault> {
    let mut last = None;
    for (input, output) in pairs {
        let mut story = tell(sandbox, payload, input)?;
        // Nothing has to prove the end of a script: what it has written is its answer, however it left.
        if matches!(story.rule, Rule::Finished | Rule::EarlyExit) {
            let is_equal = normalised(&String::from_utf8_lossy(&story.stdout)) == normalised(output);
            story.rule = if is_equal { Rule::OutputsEqual } else { Rule::OutputDiffers };
        }
        let verdict = verdict(story);
        if !verdict.is_correct() {
            return Ok(verdict);
        }
        last = Some(verdict);
    }
    Ok(last.unwrap_or_else(|| Verdict::unverifiable(UnverifiableCause::NoTests, None)))
}

/// Runs the driver once.
fn tell(sandbox: &Sandbox, payload: &Payload<'_>, stdin: &str) -> Result<Story, SandboxFault> {
    let token = random_token()?;
    let json = serde_json::to_string(payload).unwrap_or_default();
    let framed = format!("{:08x}{json}{token}", json.len());
    let ran = sandbox.run(&Job { driver: DRIVER, payload: framed.as_bytes(), stdin: stdin.as_bytes() })?;
    Ok(read_story(ran, &token))
}

fn random_token() -> Result<String, SandboxFault> {
    let mut bytes = [0; TOKEN_BYTES];
    let source = std::fs::File::open("/dev/urandom");
    source.and_then(|mut source| source.read_exact(&mut bytes)).map_err(SandboxFault::of("draw a token"))?;
    Ok(hex::encode(bytes))
}

/// Reads what a run left. Whatever comes after the first message may be the response's own; only the token proves one.
fn read_story(ran: Ran, token: &str) -> Story {
    let Ran { end, stdout, stderr, messages } = ran;
    let text = String::from_utf8_lossy(&messages);
    let mut messages = text.lines().map(|line| serde_json::from_str::<Message>(line).unwrap_or_default());
    let first = messages.next().unwrap_or_default();
    let last = if first.end.is_some() { first.clone() } else { messages.next_back().unwrap_or_default() };
    let plain = |rule: Rule| (rule, None);
    let (rule, detail) = match (end, last.end.as_deref()) {
        (End::TimeOut, _) => plain(Rule::TimeOut),
        (End::OutputLimit, _) => plain(Rule::OutputLimit),
        (End::Signalled(signal), _) => (Rule::Killed, Some(signal_name(signal))),
        (End::Exited(0), Some(name)) if name == Rule::TestsPassed.name() && last.token.as_deref() == Some(token) => {
            plain(Rule::TestsPassed)
        }
        // The driver ends before the program does, if at all.
        (End::Exited(0), Some(name)) if first.end.is_some() => {
            (Rule::named(name).unwrap_or(Rule::SandboxFailed), last.detail)
        }
        (End::Exited(_), Some(name)) if first.strategy.is_some() => match Rule::named(name) {
            Some(rule) if Rule::AT_FAULT.contains(&rule) => (rule, last.detail),
            _ => plain(Rule::EarlyExit),
        },
        (End::Exited(_), _) if first.strategy.is_some() => plain(Rule::EarlyExit),
        (End::Exited(code), _) => {
            let said = String::from_utf8_lossy(&stderr);
            tracing::warn!("the driver ended with code {code}: {}", said.lines().next_back().unwrap_or_default());
            plain(Rule::SandboxFailed)
        }
    };
    Story { strategy: first.strategy, program: first.program, rule, detail, stdout }
}

fn verdict(story: Story) -> Verdict {
    let Story { strategy, program, rule, detail, .. } = story;
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
