//! Errors of compiling a schema, and of following a text.

/// A schema that cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the JSON schema cannot be compiled at {path}: {detail}")]
pub struct SchemaError {
    /// Path from the root to the part that is wrong.
    pub path: String,
    /// What is wrong.
    pub detail: String,
}

/// A text became too complex to follow, although its schema could be compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the JSON schema allows too many continuations of this text; use fewer alternatives or less nesting")]
pub(crate) struct TooComplex;
