//! What a verifier says of one response.

use super::stable_names;

/// Why a response could be neither confirmed nor refuted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnverifiableCause {
    /// The response holds code and no sandbox is available to run it.
    NoSandbox,
    /// The sandbox is there, but the machine failed to run the program.
    SandboxFailed,
    /// There is nothing to test a program by.
    NoTests,
    /// The tests of a program do not work themselves: they are no Python, or need a module that is not installed.
    TestsUnusable,
    /// The reference answer itself could not be read.
    UnreadableGold,
    /// An answer was found but could not be read as the kind demands.
    UnreadableAnswer,
    /// Both sides were read, but equality could not be decided.
    Undecided,
    /// A verifier's budget (nodes, digits, depth) ran out.
    OverBudget,
    /// The answer names several choices.
    Ambiguous,
}

stable_names!(UnverifiableCause {
    NoSandbox => "no_sandbox",
    SandboxFailed => "sandbox_failed",
    NoTests => "no_tests",
    TestsUnusable => "tests_unusable",
    UnreadableGold => "unreadable_gold",
    UnreadableAnswer => "unreadable_answer",
    Undecided => "undecided",
    OverBudget => "over_budget",
    Ambiguous => "ambiguous",
});

/// The three possible verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VerdictOutcome {
    /// The answer equals the gold.
    Correct,
    /// The answer differs from the gold, or there is no answer.
    Incorrect,
    /// Could not be decided; never counted as correct.
    Unverifiable,
}

stable_names!(VerdictOutcome {
    Correct => "correct",
    Incorrect => "incorrect",
    Unverifiable => "unverifiable",
});

/// A verdict with its evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What was decided.
    pub outcome: VerdictOutcome,
    /// The answer that was read from the response, if one was found.
    pub extracted: Option<String>,
    /// How the answer was found and compared (`boxed:rational_equal`), or the cause for `unverifiable`.
    pub reason: String,
}

impl Verdict {
    /// Returns whether the response counts as correct.
    #[must_use]
    pub fn is_correct(&self) -> bool {
        self.outcome == VerdictOutcome::Correct
    }

    /// Builds an `unverifiable` verdict whose reason is the cause's stable name.
    #[must_use]
    pub fn unverifiable(cause: UnverifiableCause, extracted: Option<String>) -> Self {
        Self { outcome: VerdictOutcome::Unverifiable, extracted, reason: cause.name().to_owned() }
    }
}
