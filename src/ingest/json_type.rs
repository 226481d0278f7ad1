//! The type of a JSON value.

use serde_json::value::RawValue;

/// The type of a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JsonType {
    Null,
    Boolean,
    Number,
    String,
    List,
    Object,
}

impl JsonType {
    pub(super) fn phrase(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::List => "a list",
            Self::Object => "an object",
        }
    }
}

/// Returns the type of a valid JSON value, which its first byte determines.
pub(super) fn json_type(raw: &RawValue) -> JsonType {
    match raw.get().trim_start().bytes().next() {
        Some(b'{') => JsonType::Object,
        Some(b'[') => JsonType::List,
        Some(b'"') => JsonType::String,
        Some(b't' | b'f') => JsonType::Boolean,
        Some(b'n') | None => JsonType::Null,
        Some(_) => JsonType::Number,
    }
}
