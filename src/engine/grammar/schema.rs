//! JSON schemas to nodes.
//!
//! Supported: `type` (one or a list), `enum`, `const`, `properties`, `required`, `additionalProperties`, `items`,
//! `prefixItems`, `minItems`, `maxItems`, `minLength`, `maxLength`, `anyOf`, `oneOf` (as `anyOf`), `allOf` of one schema, `$ref` to
//! `#/$defs/...` or `#/definitions/...` or `#`, `minimum` and `maximum` of whole numbers whose range is small, and the
//! empty schema. Annotations (`title`, `description`, `default`, `examples`, `format`, ...) are passed over. Where an
//! object names properties, others come only if `additionalProperties` asks for them.

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{Node, Property};

/// Nodes of one schema.
const NODES_MAX: usize = 4096;
/// Schemas within schemas.
const DEPTH_MAX: usize = 64;
/// Whole numbers that a range is written out for.
const RANGE_MAX: i64 = 1024;
/// Most characters or items that a schema may ask for.
const LENGTH_MAX: u64 = 1 << 20;

/// Keywords that say nothing about what is valid here.
const ANNOTATIONS: &[&str] = &[
    "$schema",
    "$id",
    "$comment",
    "$defs",
    "definitions",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "format",
    ORDER,
];

/// Under which an object of a schema keeps the order of its properties, which a map does not.
const ORDER: &str = "\u{0}order";

/// A JSON value whose objects remember the order of what stands under `properties`.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderedSchema(pub Value);

impl<'de> Deserialize<'de> for OrderedSchema {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OrderedVisitor).map(|(value, _)| Self(value))
    }
}

/// A value, and the names of its fields in order.
struct OrderedField(Value, Vec<Value>);

impl<'de> Deserialize<'de> for OrderedField {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OrderedVisitor).map(|(value, names)| Self(value, names))
    }
}

struct OrderedVisitor;

impl<'de> Visitor<'de> for OrderedVisitor {
    type Value = (Value, Vec<Value>);

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let (mut fields, mut names) = (Map::new(), Vec::new());
        while let Some((name, OrderedField(value, inner))) = access.next_entry::<String, OrderedField>()? {
            if name == "properties" {
                fields.insert(ORDER.to_owned(), Value::Array(inner));
            }
            names.push(Value::String(name.clone()));
            fields.insert(name, value);
        }
        Ok((Value::Object(fields), names))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(OrderedSchema(item)) = access.next_element()? {
            items.push(item);
        }
        Ok((Value::Array(items), Vec::new()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok((Value::Bool(value), Vec::new()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok((value.into(), Vec::new()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok((value.into(), Vec::new()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok((value.into(), Vec::new()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok((value.into(), Vec::new()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok((Value::Null, Vec::new()))
    }
}

/// Why a schema cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the JSON schema cannot be followed at {path}: {detail}")]
pub struct SchemaError {
    /// Where, as a path from the root.
    pub path: String,
    /// What is wrong.
    pub detail: String,
}

/// Compiles a schema; returns the nodes and which of them is the root.
pub(super) fn compile(schema: &Value) -> Result<(Vec<Node>, u32), SchemaError> {
    let mut compiler = Compiler { root: schema, nodes: Vec::new(), references: HashMap::new(), any: None };
    let root = compiler.reference("#", "#")?;
    Ok((compiler.nodes, root))
}

struct Compiler<'a> {
    root: &'a Value,
    nodes: Vec<Node>,
    /// Nodes of what is referred to, also while it is being compiled.
    references: HashMap<String, u32>,
    any: Option<u32>,
}

fn fault<T>(path: &str, detail: impl Into<String>) -> Result<T, SchemaError> {
    Err(SchemaError { path: path.to_owned(), detail: detail.into() })
}

impl Compiler<'_> {
    fn push(&mut self, node: Node, path: &str) -> Result<u32, SchemaError> {
        if self.nodes.len() >= NODES_MAX {
            return fault(path, format!("it has more than {NODES_MAX} parts"));
        }
        self.nodes.push(node);
        Ok((self.nodes.len() - 1) as u32)
    }

    /// Returns the node of `#` or `#/...`, which may still be in the making.
    fn reference(&mut self, pointer: &str, path: &str) -> Result<u32, SchemaError> {
        if let Some(&node) = self.references.get(pointer) {
            return Ok(node);
        }
        let Some(place) = pointer.strip_prefix('#') else {
            return fault(path, format!("$ref {pointer} leads out of the schema"));
        };
        let Some(schema) = self.root.pointer(place) else {
            return fault(path, format!("$ref {pointer} leads nowhere"));
        };
        let node = self.push(Node::Choice(Vec::new()), path)?;
        self.references.insert(pointer.to_owned(), node);
        let target = self.schema(schema, pointer)?;
        if let Some(place) = self.nodes.get_mut(node as usize) {
            *place = Node::Choice(vec![target]);
        }
        Ok(node)
    }

    /// Any JSON value.
    fn any(&mut self, path: &str) -> Result<u32, SchemaError> {
        if let Some(any) = self.any {
            return Ok(any);
        }
        let any = self.push(Node::Choice(Vec::new()), path)?;
        self.any = Some(any);
        let mut kinds = Vec::new();
        for kind in ["object", "array", "string", "number", "boolean", "null"] {
            kinds.push(self.of_type(kind, &Map::new(), path)?);
        }
        if let Some(place) = self.nodes.get_mut(any as usize) {
            *place = Node::Choice(kinds);
        }
        Ok(any)
    }

    fn schema(&mut self, schema: &Value, path: &str) -> Result<u32, SchemaError> {
        if path.matches('/').count() > DEPTH_MAX {
            return fault(path, format!("it is nested deeper than {DEPTH_MAX}"));
        }
        let fields = match schema {
            Value::Bool(true) => return self.any(path),
            Value::Object(fields) => fields,
            other => return fault(path, format!("{other} is no schema")),
        };
        if let Some(pointer) = fields.get("$ref") {
            let Some(pointer) = pointer.as_str() else { return fault(path, "$ref is no text") };
            only(fields, &["$ref"], path)?;
            return self.reference(pointer, path);
        }
        for (name, is_many) in [("anyOf", true), ("oneOf", true), ("allOf", false)] {
            let Some(list) = fields.get(name) else { continue };
            only(fields, &[name, "type"], path)?;
            let Some(list) = list.as_array().filter(|list| !list.is_empty()) else {
                return fault(path, format!("{name} is no list of schemas"));
            };
            if !is_many && list.len() > 1 {
                return fault(path, "allOf of several schemas is not supported");
            }
            let mut nodes = Vec::new();
            for (index, schema) in list.iter().enumerate() {
                nodes.push(self.schema(schema, &format!("{path}/{name}/{index}"))?);
            }
            return self.push(Node::Choice(nodes), path);
        }
        if let Some(values) = fields.get("enum").or_else(|| fields.get("const")) {
            only(fields, &["enum", "const", "type"], path)?;
            let list = match (fields.get("enum"), values) {
                (Some(_), Value::Array(list)) if !list.is_empty() => list.clone(),
                (Some(_), _) => return fault(path, "enum is no list of values"),
                (None, value) => vec![value.clone()],
            };
            return self.push(Node::Literals(list.iter().map(|value| value.to_string().into_bytes()).collect()), path);
        }
        match fields.get("type") {
            Some(Value::String(kind)) => self.of_type(kind, fields, path),
            Some(Value::Array(kinds)) => {
                let mut nodes = Vec::new();
                for kind in kinds {
                    let Some(kind) = kind.as_str() else { return fault(path, "type is no text") };
                    let own: Map<String, Value> = fields
                        .iter()
                        .filter(|(name, _)| belongs(name, kind))
                        .map(|(a, b)| (a.clone(), b.clone()))
                        .collect();
                    nodes.push(self.of_type(kind, &own, path)?);
                }
                self.push(Node::Choice(nodes), path)
            }
            Some(other) => fault(path, format!("type is {other}")),
            None if fields.contains_key("properties") => self.of_type("object", fields, path),
            None if fields.contains_key("items") || fields.contains_key("prefixItems") => {
                self.of_type("array", fields, path)
            }
            None => {
                only(fields, &[], path)?;
                self.any(path)
            }
        }
    }

    fn of_type(&mut self, kind: &str, fields: &Map<String, Value>, path: &str) -> Result<u32, SchemaError> {
        let node = match kind {
            "object" => return self.object(fields, path),
            "array" => return self.array(fields, path),
            "string" => {
                only(fields, &["type", "minLength", "maxLength"], path)?;
                let (min, max) = lengths(fields, "minLength", "maxLength", path)?;
                Node::Text { min, max }
            }
            "integer" => {
                only(fields, &["type", "minimum", "maximum"], path)?;
                match (fields.get("minimum"), fields.get("maximum")) {
                    (None, None) => Node::Number { is_integer: true },
                    (Some(low), Some(high)) => Node::Literals(range(low, high, path)?),
                    _ => return fault(path, "minimum and maximum are supported only together"),
                }
            }
            "number" => {
                only(fields, &["type"], path)?;
                Node::Number { is_integer: false }
            }
            "boolean" => {
                only(fields, &["type"], path)?;
                Node::Literals(vec![b"true".to_vec(), b"false".to_vec()])
            }
            "null" => {
                only(fields, &["type"], path)?;
                Node::Literals(vec![b"null".to_vec()])
            }
            other => return fault(path, format!("type {other} is unknown")),
        };
        self.push(node, path)
    }

    fn object(&mut self, fields: &Map<String, Value>, path: &str) -> Result<u32, SchemaError> {
        only(fields, &["type", "properties", "required", "additionalProperties"], path)?;
        let required: Vec<&str> = match fields.get("required") {
            None => Vec::new(),
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            Some(other) => return fault(path, format!("required is {other}")),
        };
        let empty = Map::new();
        let described = match fields.get("properties") {
            None => &empty,
            Some(Value::Object(described)) => described,
            Some(other) => return fault(path, format!("properties is {other}")),
        };
        // What is required but not described may be anything.
        let undescribed = required.iter().copied().filter(|name| !described.contains_key(*name));
        let in_order = fields.get(ORDER).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let in_order = in_order.iter().filter_map(Value::as_str).filter(|name| described.contains_key(*name));
        let mut names: Vec<&str> = Vec::new();
        for name in in_order.chain(described.keys().map(String::as_str)).chain(undescribed) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let mut properties = Vec::new();
        for name in names {
            let path = format!("{path}/properties/{name}");
            let node = match described.get(name) {
                Some(schema) => self.schema(schema, &path)?,
                None => self.any(&path)?,
            };
            let key = Value::String(name.to_owned()).to_string().into_bytes();
            properties.push(Property { key, node, is_required: required.contains(&name) });
        }
        let additional = match fields.get("additionalProperties") {
            None if properties.is_empty() => Some(self.any(path)?),
            None | Some(Value::Bool(false)) => None,
            Some(schema) => Some(self.schema(schema, &format!("{path}/additionalProperties"))?),
        };
        self.push(Node::Object { properties, additional }, path)
    }

    fn array(&mut self, fields: &Map<String, Value>, path: &str) -> Result<u32, SchemaError> {
        only(fields, &["type", "items", "prefixItems", "minItems", "maxItems"], path)?;
        let mut prefix = Vec::new();
        match fields.get("prefixItems") {
            None => {}
            Some(Value::Array(schemas)) => {
                for (index, schema) in schemas.iter().enumerate() {
                    prefix.push(self.schema(schema, &format!("{path}/prefixItems/{index}"))?);
                }
            }
            Some(other) => return fault(path, format!("prefixItems is {other}")),
        }
        let items = match fields.get("items") {
            Some(Value::Bool(false)) => None,
            None => Some(self.any(path)?),
            Some(schema) => Some(self.schema(schema, &format!("{path}/items"))?),
        };
        let (min, max) = lengths(fields, "minItems", "maxItems", path)?;
        let max = if items.is_none() { max.min(prefix.len() as u32) } else { max };
        if min > max {
            return fault(path, "no array has so many items");
        }
        self.push(Node::Array { prefix, items, min, max }, path)
    }
}

/// Whether a keyword concerns a type, in a schema that allows several.
fn belongs(name: &str, kind: &str) -> bool {
    match name {
        "properties" | "required" | "additionalProperties" => kind == "object",
        "items" | "prefixItems" | "minItems" | "maxItems" => kind == "array",
        "minLength" | "maxLength" => kind == "string",
        "minimum" | "maximum" => kind == "integer" || kind == "number",
        _ => true,
    }
}

/// Refuses keywords that are neither in the list nor annotations.
fn only(fields: &Map<String, Value>, known: &[&str], path: &str) -> Result<(), SchemaError> {
    let is_known = |name: &&String| known.contains(&name.as_str()) || ANNOTATIONS.contains(&name.as_str());
    match fields.keys().find(|name| !is_known(name)) {
        None => Ok(()),
        Some(name) => fault(path, format!("{name} is not supported here")),
    }
}

fn lengths(fields: &Map<String, Value>, least: &str, most: &str, path: &str) -> Result<(u32, u32), SchemaError> {
    let read = |name: &str| match fields.get(name) {
        None => Ok(None),
        Some(value) => match value.as_u64().filter(|&length| length <= LENGTH_MAX) {
            Some(length) => Ok(Some(length as u32)),
            None => fault(path, format!("{name} is {value}, expected a whole number up to {LENGTH_MAX}")),
        },
    };
    let (min, max) = (read(least)?.unwrap_or(0), read(most)?.unwrap_or(u32::MAX));
    if min > max { fault(path, format!("{least} is above {most}")) } else { Ok((min, max)) }
}

fn range(low: &Value, high: &Value, path: &str) -> Result<Vec<Vec<u8>>, SchemaError> {
    match (low.as_i64(), high.as_i64()) {
        (Some(low), Some(high)) if low <= high && high.saturating_sub(low) < RANGE_MAX => {
            Ok((low..=high).map(|number| number.to_string().into_bytes()).collect())
        }
        _ => fault(
            path,
            format!("minimum and maximum must be whole numbers with at most {RANGE_MAX} from one to the other"),
        ),
    }
}
