//! The sorts of judges.

/// What sort of judge is asked: how it replies, how it is told of a rejection, how strictly its texts are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JudgeKind {
    /// A model behind an API: replies with a JSON object, is told why a text was rejected, and checked in full.
    Api,
    /// A small local model: replies with plain text, is asked again when a text was rejected, and is checked less
    /// strictly (no demand on the language; only a near-verbatim copy is boilerplate).
    Local,
}
