//! Code: a response is correct if its tests run to their end.
//!
//! # The program
//! `blocks` finds the fenced blocks. The harness (inside the sandbox) parses them and chooses the last block that
//! defines the names that the tests call, together with earlier blocks that define missing names; otherwise the last
//! block that is Python and has an effect. A block that continues the truncated block before it is joined to that
//! block, and a block that the response calls wrong is tried last. Without fences, the whole response is the program if
//! it is Python; otherwise the response's Python lines are: between prose, indented, or within a line. A response may
//! also be the body of a function that the question begins. Strategies: `code_block`, `whole`, `code_lines`,
//! `continuation`.
//!
//! # Tests
//! Text in strings is unpacked first (`shape`, `literal`): JSON, Python literals, lists as numpy prints them. Tests are
//! - assertions, or whole test programs, in the given order; functions called `test...` and `unittest` classes in them
//!   are run; if they define `check` and do not call it, `check` is called with the entry point (HumanEval). A missing
//!   module with a typical program name (`solution`, `main`) is the program;
//! - or calls: `{"fn_name", "inputs", "outputs"}`, or rows with `testtype: "functional"`. A method of `class Solution`
//!   counts as a function. Without a name, the program's last function is called;
//! - or inputs and outputs: JSON objects `{"input", "output"}` or `{"inputs": [...], "outputs": [...]}`; the program
//!   runs once for each input (`outputs` compares).
//!
//! Tests that cannot fail are `no_tests`: they have no reachable assertion that depends on the program, and nothing
//! that raises or exits. [`CodeVerifier::check_tests`] detects them without a response.
//!
//! # Decisions
//! The tests run in one confined process, the program in another (`harness`). They exchange calls and plain data:
//! numbers, strings, bytes, containers, `None`, `Decimal`, `Fraction`, dates; subclasses of those as the plain value;
//! enumerations and named tuples by their names; instances of classes that the tests define, which exist on both sides.
//! All other objects stay in their process, and the other side holds a handle. Arguments that were changed in place
//! travel back, aliases are kept, functions among the arguments are called back, iterators advance as the tests request
//! items. Exceptions travel as names and texts.
//!
//! No special method of the program decides an assertion: comparison, truth, `in`, `len`, arithmetic, iteration,
//! `hash`, `isinstance` or `format` of a handle end the tests (`opaque_result`). If the tests themselves construct a
//! class, its methods run, but data decides `==` and truth: two objects are equal if they hold the same data, as of the
//! tests' last access, and one of them holds the data that the tests constructed it from. Definitions of the question's
//! own code that the question does not request run in the tests' process. Expected outputs of programs that read their
//! input never enter a sandbox; this module compares them.
//!
//! # Attacks
//! A program has its own process: its interpreter, the sources of the harness, standard streams, and a socket to the
//! tests, over which it may send anything. It has no descriptor, frame, class or token of the tests, and its messages
//! prove nothing: the verdict travels over a pipe that only the tests' process holds, and the tests read data in
//! bounded messages (`wire.py`; unknown tags end the tests). The program's statements about an object count as of the
//! tests' last operation on it, so that the program cannot adapt them to the next comparison. A program can still
//! pass if a test reveals the expected value (as an argument, in a file that the test writes first, as a class attribute
//! or a constant that the test reads from the program itself), or if it is wrong only in untested cases. It can write
//! files in the shared directory, which tests read (a test that unpickles such a file executes its content), and it can
//! make the tests work long on large data, until their own limits end them. A program without tests can only print.
//!
//! # Rules
//! `correct`: `tests_passed`, `outputs_equal`. `incorrect`, because the response is at fault: `test_failed`,
//! `output_differs`, `exception:TYPE`, `syntax_error`, `no_code`, `time_out`, `memory_limit`, `output_limit`, `refused`
//! (a request that the sandbox forbids), `killed:SIGNAL`, `early_exit`, `opaque_result`. A reason is `strategy:rule`. A
//! module that the program lacks is `exception:ModuleNotFoundError`. `unverifiable`, because something else is at
//! fault: `no_sandbox`, `no_tests`, `tests_unusable` (not Python, or a module that is not installed), `sandbox_failed`
//! (the machine: a full disk, no memory, a killed interpreter).

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
#[cfg(any(test, feature = "testing"))]
pub(super) use blocks::program_blocks;
#[cfg(target_os = "linux")]
pub(super) use harness::HARNESS;
use rule::Rule;
use shape::{Call, Shape};
use story::Story;
use thinkloom_domain::{UnverifiableCause, Verdict};

/// A response to a query of kind `code`, with its tests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CodeCase {
    /// Assertions, test programs, or objects of inputs and outputs.
    pub tests: Vec<String>,
    /// Import statements that the tests need.
    pub test_imports: Vec<String>,
    /// The tested function, for tests that define `check`.
    pub entry_point: Option<String>,
    /// The question; it may begin the function that a response continues.
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
    /// There is no test, or no test that can fail.
    None,
    /// The tests cannot be run: unbalanced inputs and outputs, not Python, several shapes at once.
    Unusable,
}

/// The message to the harness; the program's process receives no test.
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
    /// Builds a verifier from a sandbox, or from the reason for its absence: every verdict is then `no_sandbox`.
    #[must_use]
    pub fn new(sandbox: Result<Sandbox, Incomplete>) -> Self {
        Self { sandbox }
    }

    /// Returns the sandbox, or the reason for its absence.
    pub fn sandbox(&self) -> Result<&Sandbox, &Incomplete> {
        self.sandbox.as_ref()
    }

    /// Returns the fault of a case's tests, independent of its response, which is not run. Without a sandbox, checks
    /// only the text of the tests.
    ///
    /// # Errors
    /// [`SandboxFault`] if the machine failed to check the tests; this implies nothing about the tests.
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

    /// Runs a response with its tests. Blocks until the end of the run, within the sandbox's limits per program.
    ///
    /// # Errors
    /// [`SandboxFault`] if the machine failed to run the response; this implies nothing about the response.
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

/// Checks that tests of kind `code` can fail and can be run at all, without running anything.
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

/// Returns the harness's message for a case, without its tests.
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
    // The payload has only strings and JSON values, so this cannot fail.
    serde_json::to_vec(payload).unwrap_or_default()
}

/// Runs a program with tests that run in their own process.
fn test(sandbox: &Sandbox, payload: &Payload<'_>) -> Result<Verdict, SandboxFault> {
    let ran = sandbox.run(&Job { role: Role::Tests, payload: &json(payload), stdin: &[] })?;
    let story = Story::of_tests(ran);
    as_fault(&story)?;
    Ok(story.verdict())
}

/// Returns the machine's failure, if the machine failed: such a story gives no verdict.
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
        // Nothing must prove the end of a script: its output is its answer, however it exited.
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
