//! How running a response ended, by stable names.

use thinkloom_domain::stable_names;

/// What decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// All tests ran to their end.
    TestsPassed,
    /// Every output is the expected one.
    OutputsEqual,
    /// An assertion of the tests failed.
    TestFailed,
    /// An output is another than the expected one.
    OutputDiffers,
    /// A script came to its end; its output decides.
    Finished,
    /// An exception that nobody caught.
    Exception,
    /// The program is no Python.
    SyntaxError,
    /// The response holds no program.
    NoCode,
    /// CPU or wall-clock time ran out.
    TimeOut,
    /// Memory ran out.
    MemoryLimit,
    /// It wrote too much.
    OutputLimit,
    /// It asked for something that the sandbox refuses.
    Refused,
    /// A signal ended it.
    Killed,
    /// It left before the tests had come to their end.
    EarlyExit,
    /// The tests did something with an object of the program that only the program could decide.
    OpaqueResult,
    /// There is nothing to test it by.
    NoTests,
    /// The tests themselves do not work.
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
    /// Returns the rule of a name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rule| rule.name() == name)
    }

    /// What a response may be said to have ended by over a channel that it can write to: nothing that does it good.
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
