//! Where in a schema something stands, and how it is shown in an error.

use std::fmt;

use super::error::SchemaError;

/// Characters of a name or value that an error shows.
const SHOWN_MAX: usize = 64;

/// A place in a schema: the way to it from what was referred to last.
#[derive(Clone, Copy)]
pub(super) enum Path<'a> {
    /// What a `$ref` names, or `#`.
    Start(&'a str),
    /// What stands under a keyword.
    Keyword(&'a Path<'a>, &'a str),
    /// What stands under a keyword and a name.
    Named(&'a Path<'a>, &'a str, &'a str),
    /// An entry of a list under a keyword.
    Entry(&'a Path<'a>, &'a str, usize),
}

impl fmt::Display for Path<'_> {
    // As deep as schemas may be nested.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Start(pointer) => write!(formatter, "{}", shown(pointer)),
            Self::Keyword(parent, keyword) => write!(formatter, "{parent}/{keyword}"),
            Self::Named(parent, keyword, name) => write!(formatter, "{parent}/{keyword}/{}", shown(name)),
            Self::Entry(parent, keyword, index) => write!(formatter, "{parent}/{keyword}/{index}"),
        }
    }
}

impl Path<'_> {
    /// Returns the error for what stands here.
    pub(super) fn fault<T>(&self, detail: impl Into<String>) -> Result<T, SchemaError> {
        Err(SchemaError { path: self.to_string(), detail: detail.into() })
    }
}

/// Returns a text that may be long as an error shows it.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
