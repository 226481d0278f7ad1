//! What a verifier decides about one response.

use super::stable_names;

/// Why a response could be neither confirmed nor refuted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnverifiableCause {
    /// The response contains code, and no sandbox is available.
    NoSandbox,
    /// The sandbox works, but the machine failed to run the program.
    SandboxFailed,
    /// The query has no test for a program.
    NoTests,
    /// The tests of a program are unusable: they are not Python, or need a module that is not installed.
    TestsUnusable,
    /// The reference answer cannot be parsed.
    UnreadableGold,
    /// The response has an answer that cannot be parsed as the kind requires.
    UnreadableAnswer,
    /// Both answers were parsed, but their equality could not be decided.
    Undecided,
    /// The verifier exceeded its budget (nodes, digits, depth).
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

/// The possible outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VerdictOutcome {
    /// The answer equals the gold.
    Correct,
    /// The answer differs from the gold, or there is no answer.
    Incorrect,
    /// The verifier could not decide; never counts as correct.
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
    /// The outcome.
    pub outcome: VerdictOutcome,
    /// The answer found in the response, if any.
    pub extracted: Option<String>,
    /// How the verifier found and compared the answer (`boxed:rational_equal`), or the cause of `unverifiable`.
    pub reason: String,
}

impl Verdict {
    /// Returns whether the response counts as correct.
    #[must_use]
    pub fn is_correct(&self) -> bool {
        self.outcome == VerdictOutcome::Correct
    }

    /// Builds an `unverifiable` verdict. Its reason is the cause's stable name.
    #[must_use]
    pub fn unverifiable(cause: UnverifiableCause, extracted: Option<String>) -> Self {
        Self { outcome: VerdictOutcome::Unverifiable, extracted, reason: cause.name().to_owned() }
    }
}
