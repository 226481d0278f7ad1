//! The place of a part in a schema, and its display in errors.

use std::fmt;

use super::error::SchemaError;
use thinkloom_domain::text::shortened;

/// Characters of a name or value that an error shows.
const SHOWN_MAX: usize = 64;

/// A place in a schema: the path from the last reference target.
#[derive(Clone, Copy)]
pub(super) enum Path<'a> {
    /// The target of a `$ref`, or `#`.
    Start(&'a str),
    /// The value of a keyword.
    Keyword(&'a Path<'a>, &'a str),
    /// The value of a name under a keyword.
    Named(&'a Path<'a>, &'a str, &'a str),
    /// An entry of a list under a keyword.
    Entry(&'a Path<'a>, &'a str, usize),
}

impl fmt::Display for Path<'_> {
    // The recursion is as deep as the schema's nesting, which is bounded.
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
    /// Returns the error for the part at this path.
    pub(super) fn fault<T>(&self, detail: impl Into<String>) -> Result<T, SchemaError> {
        Err(SchemaError { path: self.to_string(), detail: detail.into() })
    }
}

/// Returns a text as an error shows it: cut if it is long.
pub(super) fn shown(text: &str) -> String {
    shortened(text, SHOWN_MAX)
}
