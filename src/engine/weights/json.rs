//! JSON objects of a model directory, read key by key; errors name the file and the key.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::files::{JSON_BYTES_MAX, read_json};
use crate::error::{EngineError, shown};

/// The JSON object of a file, or an object inside it.
#[derive(Debug, Clone)]
pub struct JsonObject {
    path: PathBuf,
    /// The prefix of keys in messages: empty, or the outer key and a dot.
    prefix: String,
    values: Map<String, Value>,
}

impl JsonObject {
    /// Reads a file.
    ///
    /// # Errors
    /// [`EngineError::Io`] if the file cannot be read, [`EngineError::Malformed`] if it is not a JSON object or exceeds
    /// the limits of [`read_json`].
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        Self::parse(path, &read_json(path, JSON_BYTES_MAX)?)
    }

    /// Parses the content of a file; `path` is the name in messages.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, EngineError> {
        let malformed = |detail: String| EngineError::Malformed { path: path.to_owned(), detail };
        let values = serde_json::from_slice(bytes).map_err(|error| malformed(format!("not a JSON object: {error}")))?;
        Ok(Self { path: path.to_owned(), prefix: String::new(), values })
    }

    /// Reads a file; `None` if it does not exist.
    pub fn open_if_there(path: &Path) -> Result<Option<Self>, EngineError> {
        if path.exists() { Self::open(path).map(Some) } else { Ok(None) }
    }

    /// Returns a value; `None` if the key is absent or null.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key).filter(|value| !value.is_null())
    }

    /// Returns whether a key is present, with any value or null.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    fn read<'a, T>(
        &'a self,
        key: &str,
        kind: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, EngineError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.malformed(&format!("is not {kind}"), key))
    }

    /// Returns a string, if the key is present.
    pub fn string(&self, key: &str) -> Result<Option<&str>, EngineError> {
        self.read(key, "a string", Value::as_str)
    }

    /// Returns an unsigned integer, if the key is present.
    pub fn unsigned(&self, key: &str) -> Result<Option<usize>, EngineError> {
        self.read(key, "an unsigned integer", |value| value.as_u64().and_then(|number| usize::try_from(number).ok()))
    }

    /// Returns an integer from 1 to `max`, if the key is present.
    pub fn optional_size(&self, key: &str, max: usize) -> Result<Option<usize>, EngineError> {
        match self.unsigned(key)? {
            Some(number) if !(1..=max).contains(&number) => {
                Err(self.malformed(&format!("is {number}; it must be from 1 to {max}"), key))
            }
            other => Ok(other),
        }
    }

    /// Returns a required integer from 1 to `max`.
    pub fn size(&self, key: &str, max: usize) -> Result<usize, EngineError> {
        self.optional_size(key, max)?.ok_or_else(|| self.malformed("is missing", key))
    }

    /// Returns a finite number, if the key is present.
    pub fn float(&self, key: &str) -> Result<Option<f64>, EngineError> {
        self.read(key, "a finite number", |value| value.as_f64().filter(|number| number.is_finite()))
    }

    /// Returns a truth value, if the key is present.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>, EngineError> {
        self.read(key, "a truth value", Value::as_bool)
    }

    /// Returns a list, if the key is present; `read` converts or rejects each item.
    pub fn list<'a, T>(
        &'a self,
        key: &str,
        kind: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<Vec<T>>, EngineError> {
        self.read(key, &format!("a list of {kind}"), |value| value.as_array()?.iter().map(&read).collect())
    }

    /// Returns an inner object, if the key is present.
    pub fn object(&self, key: &str) -> Result<Option<Self>, EngineError> {
        let values = self.read(key, "an object", Value::as_object)?;
        let prefix = format!("{}{key}.", self.prefix);
        Ok(values.map(|values| Self { path: self.path.clone(), prefix, values: values.clone() }))
    }

    /// Returns the keys of the object.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Builds the error for a key with a wrong value: "key hidden_size is missing".
    #[must_use]
    pub fn malformed(&self, what: &str, key: &str) -> EngineError {
        EngineError::Malformed { path: self.path.clone(), detail: shown(&format!("key {}{key} {what}", self.prefix)) }
    }

    /// Builds the error for a key whose value the engine does not support.
    #[must_use]
    pub fn unsupported(&self, what: &str, key: &str) -> EngineError {
        EngineError::Unsupported { path: self.path.clone(), detail: shown(&format!("key {}{key} {what}", self.prefix)) }
    }
}
