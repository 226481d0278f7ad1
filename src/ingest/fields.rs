//! The fields of one row as raw JSON, by name or path.
//!
//! Numbers keep their spelling, and fields without a reader are never decoded. If a key is repeated, the last one
//! counts. `null` counts as absent.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::fault::Fault;
use super::json_type::{JsonType, json_type};
use crate::domain::ExclusionReason;
use crate::domain::text::shortened;

/// Characters of a value that a fault's detail quotes.
pub(super) const EXCERPT_CHARS: usize = 60;

/// The fields of one row, not decoded.
pub(super) struct Fields<'a> {
    object: BTreeMap<String, &'a RawValue>,
}

impl<'a> Fields<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, Fault> {
        let object_error = match serde_json::from_str(text) {
            Ok(object) => return Ok(Self { object }),
            Err(error) => error,
        };
        let error = match serde_json::from_str::<&RawValue>(text) {
            Ok(raw) if json_type(raw) != JsonType::Object => {
                let found = format!("{} ({})", json_type(raw).phrase(), excerpt(raw.get()));
                let detail = format!("the row is {found}, expected a JSON object");
                return Err(Fault::new(ExclusionReason::WrongType, detail));
            }
            Ok(_) => object_error,
            Err(error) => error,
        };
        let cause = if error.is_eof() { "it ends too early" } else { "a syntax error" };
        let detail = format!("the row is not valid JSON: {cause} at column {}", error.column());
        Err(Fault::new(ExclusionReason::InvalidSyntax, detail))
    }

    /// Returns the names of all fields.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.object.keys().map(String::as_str)
    }

    /// Returns whether a field exists, null or not.
    pub(super) fn has(&self, name: &str) -> bool {
        lookup(&self.object, name).is_some()
    }

    /// Returns a field that exists and is not null. A name with dots is first tried literally, then as a path.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        lookup(&self.object, name).filter(|raw| json_type(raw) != JsonType::Null)
    }

    pub(super) fn string(&self, name: &str) -> Result<Option<String>, Fault> {
        let Some(raw) = self.get(name) else { return Ok(None) };
        if json_type(raw) != JsonType::String {
            return Err(wrong_type(name, raw, "a string"));
        }
        decode_string(raw, name).map(Some)
    }

    pub(super) fn strings(&self, name: &str, expected: &str) -> Result<Option<Vec<String>>, Fault> {
        let Some(raw) = self.get(name) else { return Ok(None) };
        let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) else {
            return Err(wrong_type(name, raw, expected));
        };
        let mut strings = Vec::with_capacity(items.len());
        for item in items {
            if json_type(item) != JsonType::String {
                return Err(wrong_item(name, item, expected));
            }
            strings.push(decode_string(item, name)?);
        }
        Ok(Some(strings))
    }

    /// Returns the row's id: a string that is not blank, or a number or a boolean in its spelling.
    pub(super) fn id(&self, name: &str) -> Result<Option<String>, Fault> {
        let Some(raw) = self.get(name) else { return Ok(None) };
        match json_type(raw) {
            JsonType::String => Ok(Some(decode_string(raw, name)?).filter(|id| !id.trim().is_empty())),
            JsonType::Number | JsonType::Boolean => Ok(Some(raw.get().to_owned())),
            _ => Err(wrong_type(name, raw, "a string, a number or a truth value")),
        }
    }

    pub(super) fn holds_something(&self, name: &str) -> bool {
        self.get(name).is_some_and(|raw| match json_type(raw) {
            JsonType::List => serde_json::from_str::<Vec<&RawValue>>(raw.get()).is_ok_and(|items| !items.is_empty()),
            JsonType::String => serde_json::from_str::<String>(raw.get()).is_ok_and(|text| !text.trim().is_empty()),
            _ => true,
        })
    }
}

fn lookup<'a>(object: &BTreeMap<String, &'a RawValue>, name: &str) -> Option<&'a RawValue> {
    if let Some(raw) = object.get(name) {
        return Some(raw);
    }
    let (first, rest) = name.split_once('.')?;
    within(object.get(first)?, rest)
}

/// Follows a path into an object or, by number, into a list.
fn within<'a>(raw: &'a RawValue, path: &str) -> Option<&'a RawValue> {
    if json_type(raw) != JsonType::List {
        let inner: BTreeMap<String, &'a RawValue> = serde_json::from_str(raw.get()).ok()?;
        return lookup(&inner, path);
    }
    let (place, rest) = path.split_once('.').map_or((path, None), |(place, rest)| (place, Some(rest)));
    let items: Vec<&'a RawValue> = serde_json::from_str(raw.get()).ok()?;
    let item = items.get(place.parse::<usize>().ok()?).copied()?;
    rest.map_or(Some(item), |rest| within(item, rest))
}

pub(super) fn decode_string(raw: &RawValue, name: &str) -> Result<String, Fault> {
    serde_json::from_str(raw.get()).map_err(|_| {
        let detail = format!("field `{name}` holds an escape that stands for no character, expected valid Unicode");
        Fault::new(ExclusionReason::InvalidSyntax, detail)
    })
}

pub(super) fn missing(name: &str, found: &str, expected: &str) -> Fault {
    Fault::new(ExclusionReason::MissingField, format!("field `{name}` {found}, expected {expected}"))
}

pub(super) fn wrong_type(name: &str, raw: &RawValue, expected: &str) -> Fault {
    let found = json_type(raw).phrase();
    let detail = format!("field `{name}` is {found} ({}), expected {expected}", excerpt(raw.get()));
    Fault::new(ExclusionReason::WrongType, detail)
}

pub(super) fn wrong_item(name: &str, item: &RawValue, expected: &str) -> Fault {
    let found = format!("a list that holds {} ({})", json_type(item).phrase(), excerpt(item.get()));
    Fault::new(ExclusionReason::WrongType, format!("field `{name}` is {found}, expected {expected}"))
}

/// Returns the beginning of a value, short enough for one line of a table.
pub(super) fn excerpt(text: &str) -> String {
    shortened(text, EXCERPT_CHARS)
}
