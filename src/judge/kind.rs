//! The kinds of judges.

/// The kind of a judge: its reply format, its reaction to a rejection, and the strictness of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JudgeKind {
    /// A model behind an API: its reply is a JSON object, the next request states why a text was rejected, and all checks
    /// apply.
    Api,
    /// A small local model: its reply is plain text, it is asked again after a rejection, and its checks are less
    /// strict (no check of the language; only a near-verbatim copy is boilerplate).
    Local,
}
