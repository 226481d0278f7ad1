//! Conversions to column values.

use rusqlite::types::Value;

/// Returns an integer column. SQLite's integers are signed; counts and ordinals never reach the sign bit.
pub(super) fn integer(number: u64) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

pub(super) fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

pub(super) fn optional(value: Option<Value>) -> Value {
    value.unwrap_or(Value::Null)
}
