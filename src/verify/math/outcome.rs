//! The results of comparisons and the faults of expressions, which every file of this directory shares.

/// Why an expression has no exact value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The text is not mathematics that this module can parse.
    Unreadable,
    /// The text contains an unknown command, so its meaning is open.
    UnknownCommand,
    /// A bound was reached.
    OverBudget,
    /// The expression is not a single number.
    Unsupported,
    /// Division by zero.
    Undefined,
}

/// The result of a comparison, with the stable name of the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Equal, and why.
    Equal(&'static str),
    /// Different, and why.
    Different(&'static str),
    /// Both sides were parsed; no rule decided.
    Undecided,
    /// A bound was reached before a decision.
    OverBudget,
    /// The gold could not be parsed.
    UnreadableGold,
    /// The answer contains unknown notation.
    UnreadableAnswer,
}
