//! What a comparison found, and why an expression has no value: the results that every file of this directory shares.

/// Why an expression has no exact value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The text is no mathematics this module reads.
    Unreadable,
    /// The text holds a command that is not known here: what it says is open.
    UnknownCommand,
    /// A bound was reached.
    OverBudget,
    /// The expression is no single number.
    Unsupported,
    /// Division by zero.
    Undefined,
}

/// What a comparison found; each carries the rule's stable name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Equal, and why.
    Equal(&'static str),
    /// Different, and why.
    Different(&'static str),
    /// Both sides were read; no rule decided.
    Undecided,
    /// A bound was reached before a decision.
    OverBudget,
    /// The gold could not be read.
    UnreadableGold,
    /// The answer holds notation that is not known here.
    UnreadableAnswer,
}
