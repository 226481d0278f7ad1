//! Why a schema cannot be followed, or a text not go on.

/// Why a schema cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the JSON schema cannot be followed at {path}: {detail}")]
pub struct SchemaError {
    /// Where, as a path from the root.
    pub path: String,
    /// What is wrong.
    pub detail: String,
}

/// Why a text cannot be followed, although its schema could be compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the JSON schema leaves too many ways to go on at this place of the text, or at too many; use fewer alternatives or less nesting"
)]
pub struct TooComplex;
