//! JSON whose objects remember the order of their keys, stored as a plain JSON value.
//!
//! `serde_json`'s map sorts its keys. Therefore every object with two or more keys has one additional key here,
//! [`ORDER`], whose value lists the names of the others in order. A key that begins with NUL, as [`ORDER`] does, gets
//! one more NUL in front, so that no key of the input (keyword, name of a property, part of a literal) can be mistaken
//! for the order.

use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// The key under which an object stores the order of its keys.
const ORDER: &str = "\u{0}order";

/// A JSON value whose objects remember the order of their keys.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderedSchema(pub Value);

impl<'de> Deserialize<'de> for OrderedSchema {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OrderedVisitor).map(Self)
    }
}

struct OrderedVisitor;

impl<'de> Visitor<'de> for OrderedVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let (mut fields, mut names) = (Map::new(), Vec::new());
        while let Some((name, OrderedSchema(value))) = access.next_entry::<String, OrderedSchema>()? {
            let key = if name.starts_with('\0') { format!("\0{name}") } else { name };
            if fields.insert(key.clone(), value).is_none() {
                names.push(Value::String(key));
            }
        }
        if names.len() > 1 {
            fields.insert(ORDER.to_owned(), Value::Array(names));
        }
        Ok(Value::Object(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(OrderedSchema(item)) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Value::Null)
    }
}

/// Returns the name that a stored key represents; `None` for [`ORDER`].
pub(super) fn name_of(key: &str) -> Option<&str> {
    if key == ORDER { None } else { Some(key.strip_prefix('\0').unwrap_or(key)) }
}

/// Returns the fields of an object by name, in the order of the text if it is known, otherwise in the order of the
/// names.
pub(super) fn in_order(fields: &Map<String, Value>) -> impl Iterator<Item = (&str, &Value)> {
    let order = fields.get(ORDER).and_then(Value::as_array).map(Vec::as_slice);
    let known = order.unwrap_or_default().iter().filter_map(Value::as_str);
    let sorted = if order.is_some() { None } else { Some(fields.keys().map(String::as_str)) };
    let keys = known.chain(sorted.into_iter().flatten());
    keys.filter_map(|key| Some((name_of(key)?, fields.get(key)?)))
}

/// Returns the fields of an object by name, in the order of the names.
pub(super) fn sorted(fields: &Map<String, Value>) -> impl Iterator<Item = (&str, &Value)> {
    fields.iter().filter_map(|(key, value)| Some((name_of(key)?, value)))
}
