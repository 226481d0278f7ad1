//! Code: a response is right if its tests run to their end.
//!
//! # What is run
//! `blocks` finds the fenced blocks; the harness (inside the sandbox) parses them and chooses the last one that defines what
//! the tests call, with earlier blocks that define what it lacks, else the last one that is Python and does something. A block
//! that goes on where the one before was cut is joined to it, and one that the response speaks ill of comes last. Without fences
//! the whole response is taken if it is Python, else the lines of it that are: between prose, indented, or within a line. A
//! response may also be the body of a function that the question begins. Strategies: `code_block`, `whole`, `code_lines`,
//! `continuation`.
//!
//! # Tests
//! What is text in strings is unpacked first (`shape`, `literal`): JSON, Python literals, lists as numpy prints them.
//! - assertions, or whole test programs, in the order given; functions called `test...` and `unittest` classes in them are run;
//!   if they define `check` and do not call it, `check` is called with the entry point (HumanEval). A module that is not there
//!   and is called as programs are (`solution`, `main`) is the program;
//! - or calls: `{"fn_name", "inputs", "outputs"}`, or rows with `testtype: "functional"`. A method of `class Solution`
//!   stands for a function. Without a name the program's last function is meant;
//! - or inputs and outputs: JSON objects `{"input", "output"}` or `{"inputs": [...], "outputs": [...]}`, where the program
//!   is run once for each input (`outputs` compares).
//!
//! Tests that cannot fail are `no_tests`: no assertion that depends on the program and is reached, nothing that raises or
//! exits. [`CodeVerifier::check_tests`] tells without a response.
//!
//! # Who decides
//! The tests run in one confined process, the program in another (`harness`). Between them go calls and plain data: numbers,
//! strings, bytes, containers, `None`, `Decimal`, `Fraction`, dates; subclasses of those as the plain value; enumerations and
//! named tuples by their names; instances of classes that the tests define, which exist on both sides. All else stays where
//! it is, and the other side holds a handle. Arguments that were changed in place travel back, aliases are kept, functions among
//! the arguments are called back, iterators are drawn as the tests ask for items. Exceptions travel as names and texts.
//!
//! No special method of the program decides an assertion: comparison, truth, `in`, `len`, arithmetic, iteration, `hash`,
//! `isinstance` or `format` of a handle end the tests (`opaque_result`). Where the tests themselves construct a class, its methods
//! run, but `==` and truth are decided by data: two objects are equal if they hold the same, as of when the tests touched them
//! last, and one of them holds what the tests made it of. What the question's own code defines and does not ask for runs on the
//! side of the tests. Expected outputs of programs that read their input enter no sandbox; they are compared here.
//!
//! # What an attacker has
//! A program has its own process: its interpreter, the sources of the harness, standard streams, and a socket to the tests, over
//! which it may say what it likes. It has no descriptor, frame, class or token of the tests, and nothing that it says proves
//! anything: the verdict goes over a pipe that the tests' process alone holds, and what it reads is data in bounded messages
//! (`wire.py`; unknown tags end the tests). What it says of an object counts as of when the tests were last concerned with it,
//! so that it cannot be fitted to what they compare it with next. What a program may still do: be right because a test gives
//! the expected value away (as an argument, in a file that it writes first, as a class attribute or a constant that it reads
//! from the program itself); be wrong where no test looks; write files, in the directory that both share, which tests read
//! (a test that unpickles such a file runs what it holds); make the tests work long on large data, which their own limits
//! end. As a program without tests it can do nothing but print.
//!
//! # Rules
//! `correct`: `tests_passed`, `outputs_equal`. `incorrect`, because the response is at fault: `test_failed`,
//! `output_differs`, `exception:TYPE`, `syntax_error`, `no_code`, `time_out`, `memory_limit`, `output_limit`, `refused`
//! (it asked for what the sandbox forbids), `killed:SIGNAL`, `early_exit`, `opaque_result`. A reason is `strategy:rule`. A
//! module that the program lacks is `exception:ModuleNotFoundError`. `unverifiable`, because something else is: `no_sandbox`,
//! `no_tests`, `tests_unusable` (no Python, a module that is not installed), `sandbox_failed` (the machine: a full disk, no
//! memory, an interpreter that was ended).

mod blocks;
#[cfg(target_os = "linux")]
mod harness;
mod literal;
mod outputs;
mod pool;
mod rule;
mod shape;
mod story;
#[cfg(all(test, target_os = "linux"))]
mod tests;

pub use pool::{CodePool, Pending};

use serde::Serialize;

use super::sandbox::{Incomplete, Job, Role, Sandbox, SandboxFault};
pub(super) use blocks::program_blocks;
#[cfg(target_os = "linux")]
pub(super) use harness::HARNESS;
use rule::Rule;
use shape::{Call, Shape};
use story::Story;
use thinkloom_domain::{UnverifiableCause, Verdict};

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

/// Why tests can decide nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestsFault {
    /// There is none, or none that can fail.
    None,
    /// They cannot be run: unbalanced inputs and outputs, no Python, several shapes at once.
    Unusable,
}

/// What the harness is told; the program's side gets no test.
#[derive(Serialize)]
struct Payload<'a> {
    response: &'a str,
    blocks: &'a [String],
    doubtful: &'a [String],
    question: &'a str,
    entry_point: Option<&'a str>,
    tests: &'a [String],
    test_imports: &'a [String],
    fn_name: Option<&'a str>,
    calls: Option<&'a [Call]>,
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

    /// Returns what is wrong with the tests of a case, whatever its response: nothing of the response is run. Without a sandbox
    /// only what the text of the tests shows.
    ///
    /// # Errors
    /// [`SandboxFault`] if the machine failed to read them, which says nothing of the tests.
    pub fn check_tests(&self, case: &CodeCase) -> Result<Option<TestsFault>, SandboxFault> {
        let (Ok(sandbox), Shape::Program(tests)) = (&self.sandbox, Shape::of(&case.tests)) else {
            return Ok(check_tests(&case.tests).err());
        };
        let payload = json(&Payload { tests: &tests, ..payload(case, &[], &[]) });
        let ran = sandbox.run(&Job { role: Role::Check, payload: &payload, stdin: &[] })?;
        let story = Story::of_tests(ran);
        as_fault(&story)?;
        Ok(match story.rule {
            Rule::NoTests => Some(TestsFault::None),
            Rule::TestsUnusable => Some(TestsFault::Unusable),
            _ => None,
        })
    }

    /// Runs a response with its tests. Blocks until it has ended, within the sandbox's bounds per program.
    ///
    /// # Errors
    /// [`SandboxFault`] if the machine failed to run it, which says nothing of the response.
    pub fn verify(&self, case: &CodeCase) -> Result<Verdict, SandboxFault> {
        let found = blocks::find(&case.response);
        let unverifiable = |cause| Verdict::unverifiable(cause, found.texts.last().cloned());
        let Ok(sandbox) = &self.sandbox else { return Ok(unverifiable(UnverifiableCause::NoSandbox)) };
        let payload = payload(case, &found.texts, &found.doubtful);
        match Shape::of(&case.tests) {
            Shape::None => Ok(unverifiable(UnverifiableCause::NoTests)),
            Shape::Unusable => Ok(unverifiable(UnverifiableCause::TestsUnusable)),
            Shape::Program(tests) => test(sandbox, &Payload { tests: &tests, ..payload }),
            Shape::Calls(calls) => {
                test(sandbox, &Payload { fn_name: calls.name.as_deref(), calls: Some(&calls.calls), ..payload })
            }
            Shape::Streams(pairs) => compare_streams(sandbox, &payload, &pairs),
        }
    }
}

/// Checks, without running anything, that tests of kind `code` can fail and can be run at all.
///
/// # Errors
/// Returns why not.
pub fn check_tests(tests: &[String]) -> Result<(), TestsFault> {
    match Shape::of(tests) {
        Shape::None => Err(TestsFault::None),
        Shape::Unusable => Err(TestsFault::Unusable),
        Shape::Program(texts) if !texts.iter().any(|text| shape::may_fail(text)) => Err(TestsFault::None),
        Shape::Program(_) | Shape::Calls(_) | Shape::Streams(_) => Ok(()),
    }
}

/// Returns the last program text of a response, for verdicts without a run.
pub(super) fn last_block(response: &str) -> Option<String> {
    blocks::program_blocks(response).pop()
}

/// Returns what the harness is told of a case, without its tests.
fn payload<'a>(case: &'a CodeCase, blocks: &'a [String], doubtful: &'a [String]) -> Payload<'a> {
    Payload {
        response: &case.response,
        blocks,
        doubtful,
        question: &case.question,
        entry_point: case.entry_point.as_deref(),
        tests: &[],
        test_imports: &case.test_imports,
        fn_name: None,
        calls: None,
    }
}

fn json(payload: &Payload<'_>) -> Vec<u8> {
    // Of strings and JSON values: nothing that could fail.
    serde_json::to_vec(payload).unwrap_or_default()
}

/// Runs a program with tests that are run in a process of their own.
fn test(sandbox: &Sandbox, payload: &Payload<'_>) -> Result<Verdict, SandboxFault> {
    let ran = sandbox.run(&Job { role: Role::Tests, payload: &json(payload), stdin: &[] })?;
    let story = Story::of_tests(ran);
    as_fault(&story)?;
    Ok(story.verdict())
}

/// Returns the machine's failure, if that is what a story tells: it is no verdict.
fn as_fault(story: &Story) -> Result<(), SandboxFault> {
    match story.machine.filter(|_| story.rule == Rule::SandboxFailed) {
        Some(cause) => Err(SandboxFault::of("run a program")(std::io::Error::other(cause))),
        None => Ok(()),
    }
}

/// Runs a program once for each input, up to the first output that differs.
fn compare_streams(
    sandbox: &Sandbox,
    payload: &Payload<'_>,
    pairs: &[(String, String)],
) -> Result<Verdict, SandboxFault> {
    let payload = json(payload);
    let mut last = None;
    for (input, output) in pairs {
        let ran = sandbox.run(&Job { role: Role::Script, payload: &payload, stdin: input.as_bytes() })?;
        let mut story = Story::of_script(ran);
        as_fault(&story)?;
        // Nothing has to prove the end of a script: what it has written is its answer, however it left.
        if matches!(story.rule, Rule::Finished | Rule::EarlyExit) {
            let is_equal = outputs::are_equal(&String::from_utf8_lossy(&story.stdout), output);
            story.rule = if is_equal { Rule::OutputsEqual } else { Rule::OutputDiffers };
        }
        let verdict = story.verdict();
        if !verdict.is_correct() {
            return Ok(verdict);
        }
        last = Some(verdict);
    }
    Ok(last.unwrap_or_else(|| Verdict::unverifiable(UnverifiableCause::NoTests, None)))
}
