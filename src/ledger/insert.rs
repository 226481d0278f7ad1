//! Adding rows that never change (I2).

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

/// Columns that are not compared when a fact is written again: when it was recorded, for which query first, how it was
/// read, and what an older format does not have.
const UNCOMPARED: &[&str] = &[
    "recorded_unix_ms",
    "started_unix_ms",
    "begun_unix_ms",
    "prompt_tokens_max",
    "completion_tokens_max",
    "query_id",
    "settings",
    "observed_mode",
];

/// Integers are stored signed; counts and ordinals never reach the sign bit.
pub(super) fn integer(number: u64) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

pub(super) fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

pub(super) fn optional(value: Option<Value>) -> Value {
    value.unwrap_or(Value::Null)
}

/// Why a fact could not be inserted.
#[derive(Debug)]
pub(super) enum InsertError {
    Sqlite(rusqlite::Error),
    Conflict { kind: &'static str, key: String },
}

impl From<rusqlite::Error> for InsertError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Inserts a row whose first `key_width` columns are its key; an existing row must have the same content (I2).
pub(super) fn insert_once(
    connection: &Connection,
    table: &'static str,
    key_width: usize,
    columns: &[(&str, Value)],
) -> Result<(), InsertError> {
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let marks: Vec<String> = (1..=columns.len()).map(|index| format!("?{index}")).collect();
    let sql = format!("INSERT OR IGNORE INTO {table} ({}) VALUES ({})", names.join(", "), marks.join(", "));
    let values = || columns.iter().map(|(_, value)| value);
    if connection.prepare_cached(&sql)?.execute(params_from_iter(values()))? == 1 {
        return Ok(());
    }
    let conditions: Vec<String> =
        names.iter().take(key_width).enumerate().map(|(index, name)| format!("{name} = ?{}", index + 1)).collect();
    let sql = format!("SELECT {} FROM {table} WHERE {}", names.join(", "), conditions.join(" AND "));
    let is_same = connection.prepare_cached(&sql)?.query_row(params_from_iter(values().take(key_width)), |row| {
        for (index, (name, value)) in columns.iter().enumerate() {
            if !UNCOMPARED.contains(name) && row.get::<_, Value>(index)? != *value {
                return Ok(false);
            }
        }
        Ok(true)
    })?;
    if is_same {
        return Ok(());
    }
    let key: Vec<String> = values().take(key_width).map(|value| format!("{value:?}")).collect();
    Err(InsertError::Conflict { kind: table, key: key.join(", ") })
}
