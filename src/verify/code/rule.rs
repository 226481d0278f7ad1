//! The ways in which the run of a response ends, by stable names.

use thinkloom_domain::stable_names;

/// The event that decided the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// All tests ran to their end.
    TestsPassed,
    /// Every output is the expected one.
    OutputsEqual,
    /// An assertion of the tests failed.
    TestFailed,
    /// An output differs from the expected one.
    OutputDiffers,
    /// A script ended; its output decides.
    Finished,
    /// The program raised an uncaught exception.
    Exception,
    /// The program is not Python.
    SyntaxError,
    /// The response contains no program.
    NoCode,
    /// The program used up its CPU time or its wall-clock time.
    TimeOut,
    /// The program used up its memory.
    MemoryLimit,
    /// The program wrote too much.
    OutputLimit,
    /// The program requested an action that the sandbox refuses.
    Refused,
    /// A signal ended the program.
    Killed,
    /// The program exited before the tests ended.
    EarlyExit,
    /// The tests applied an operation to an object of the program that only the program could decide.
    OpaqueResult,
    /// The query has no test for the program.
    NoTests,
    /// The tests themselves are unusable.
    TestsUnusable,
    /// The machine failed.
    SandboxFailed,
}

stable_names!(Rule {
    TestsPassed => "tests_passed",
    OutputsEqual => "outputs_equal",
    TestFailed => "test_failed",
    OutputDiffers => "output_differs",
    Finished => "finished",
    Exception => "exception",
    SyntaxError => "syntax_error",
    NoCode => "no_code",
    TimeOut => "time_out",
    MemoryLimit => "memory_limit",
    OutputLimit => "output_limit",
    Refused => "refused",
    Killed => "killed",
    EarlyExit => "early_exit",
    OpaqueResult => "opaque_result",
    NoTests => "no_tests",
    TestsUnusable => "tests_unusable",
    SandboxFailed => "sandbox_failed",
});

impl Rule {
    /// Returns the rule with this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rule| rule.name() == name)
    }

    /// The rules that a program may report over a channel that it can write to: none of them helps the program.
    pub(super) const AT_FAULT: &[Self] = &[
        Self::TestFailed,
        Self::Exception,
        Self::SyntaxError,
        Self::MemoryLimit,
        Self::OutputLimit,
        Self::Refused,
        Self::EarlyExit,
        Self::Finished,
    ];
}
