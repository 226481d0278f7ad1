//! Inserts rows that never change (I2).

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::texts;

/// Columns that are not compared when a fact is written again: its time, its first query, the reader version, and
/// columns that an older format lacks.
const UNCOMPARED: &[&str] = &[
    "recorded_unix_ms",
    "started_unix_ms",
    "begun_unix_ms",
    "prompt_tokens_max",
    "completion_tokens_max",
    "query_id",
    "settings",
    "observed_mode",
    "words",
    "length_estimated",
    "reader",
];

/// The two columns of one text (see `texts`).
const PACKED: &[&str] = &["text", "text_zstd"];

/// Returns the text of the two columns in [`PACKED`], if the row has them and they can be unpacked.
fn packed_text(names: &[&str], values: &[Value]) -> Option<String> {
    let column = |name: &str| values.get(names.iter().position(|other| *other == name)?);
    let Some(Value::Text(plain)) = column("text") else { return None };
    let packed = if let Some(Value::Blob(packed)) = column("text_zstd") { Some(packed.as_slice()) } else { None };
    texts::unpack(plain.clone(), packed).ok()
}

/// The reason for a failed insertion.
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

/// Inserts a row whose first `key_width` columns are its key. An existing row must have the same content (I2).
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
    let stored = connection.prepare_cached(&sql)?.query_row(params_from_iter(values().take(key_width)), |row| {
        (0..columns.len()).map(|index| row.get::<_, Value>(index)).collect::<rusqlite::Result<Vec<Value>>>()
    })?;
    let is_same = columns
        .iter()
        .zip(&stored)
        .all(|((name, value), stored)| UNCOMPARED.contains(name) || PACKED.contains(name) || stored == value);
    // The text counts, not the compression by the version that stored it.
    if is_same && packed_text(&names, &stored) == packed_text(&names, &values().cloned().collect::<Vec<_>>()) {
        return Ok(());
    }
    let key: Vec<String> = values().take(key_width).map(|value| format!("{value:?}")).collect();
    Err(InsertError::Conflict { kind: table, key: key.join(", ") })
}
