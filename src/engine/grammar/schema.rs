//! Compiles JSON schemas to nodes.
//!
//! Supported: `type` (one or a list), `enum`, `const`, `properties`, `required`, `additionalProperties`, `items`,
//! `prefixItems`, `minItems`, `maxItems`, `minLength`, `maxLength`, `anyOf`, `oneOf` (as `anyOf`), `allOf` of one
//! schema, `$ref` to `#/$defs/...` or `#/definitions/...` or `#`, `minimum` and `maximum` of whole numbers whose range
//! is small, and the empty schema. Annotations (`title`, `description`, `default`, `examples`, `format`, ...) are
//! ignored. If an object names properties, other properties are allowed only if `additionalProperties` allows them.
//!
//! The target of a `$ref` is compiled once and from a list, so chains and rings of references cost neither stack nor
//! copies. Only schemas nested in the text nest calls, and [`DEPTH_MAX`] bounds that nesting.

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::{Map, Value};

use super::error::SchemaError;
use super::ordered::{in_order, name_of, sorted};
use super::path::{Path, shown};
use super::rules::{Array, Node, Object, Property, Rules};

/// Maximum nodes of one schema.
const NODES_MAX: usize = 4096;
/// Maximum properties, alternatives and entries of one schema together.
const LINKS_MAX: usize = 1 << 14;
/// Maximum values of all `enum`s of one schema together.
const LITERALS_MAX: usize = 1 << 16;
/// Maximum bytes of all keys and literals of one schema together.
const LITERAL_BYTES_MAX: usize = 1 << 20;
/// Maximum nesting of schemas within schemas, and of values within values of `enum` and `const`.
const DEPTH_MAX: usize = 64;
/// Maximum whole numbers of a range; each is written out as a literal.
const RANGE_MAX: i64 = 1024;
/// Maximum characters or items that a schema may require.
const LENGTH_MAX: u64 = 1 << 20;

/// Keywords that do not affect which texts are valid here.
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
];

/// Compiles a schema.
pub(super) fn compile(schema: &Value) -> Result<Rules, SchemaError> {
    let mut compiler = Compiler {
        root: schema,
        nodes: Vec::new(),
        references: HashMap::new(),
        pending: VecDeque::new(),
        any: None,
        ranges: HashMap::new(),
        links: 0,
        literals: 0,
        literal_bytes: 0,
    };
    let root = compiler.reference("#", &Path::Start("#"))?;
    while let Some((pointer, schema, node)) = compiler.pending.pop_front() {
        let target = compiler.schema(schema, &Path::Start(&pointer), 0)?;
        compiler.set(node, Node::Choice(vec![target]));
    }
    let names = compiler.references.into_iter().map(|(pointer, node)| (node, pointer)).collect();
    Rules::new(compiler.nodes, root, &names)
}

struct Compiler<'a> {
    root: &'a Value,
    nodes: Vec<Node>,
    /// Nodes of the `$ref` targets, compiled or not.
    references: HashMap<String, u32>,
    /// `$ref` targets that are not compiled yet.
    pending: VecDeque<(String, &'a Value, u32)>,
    any: Option<u32>,
    ranges: HashMap<(i64, i64), u32>,
    links: usize,
    literals: usize,
    literal_bytes: usize,
}

impl<'a> Compiler<'a> {
    fn push(&mut self, node: Node, path: &Path<'_>) -> Result<u32, SchemaError> {
        if self.nodes.len() >= NODES_MAX {
            return path.fault(format!("it has more than {NODES_MAX} parts"));
        }
        self.nodes.push(node);
        Ok((self.nodes.len() - 1) as u32)
    }

    fn set(&mut self, node: u32, content: Node) {
        if let Some(place) = self.nodes.get_mut(node as usize) {
            *place = content;
        }
    }

    /// Counts properties, alternatives or entries before they are processed.
    fn count_links(&mut self, count: usize, path: &Path<'_>) -> Result<(), SchemaError> {
        self.links = self.links.saturating_add(count);
        if self.links > LINKS_MAX {
            return path.fault(format!("it has more than {LINKS_MAX} properties, alternatives and entries"));
        }
        Ok(())
    }

    fn count_bytes(&mut self, count: usize, path: &Path<'_>) -> Result<(), SchemaError> {
        self.literal_bytes = self.literal_bytes.saturating_add(count);
        if self.literal_bytes > LITERAL_BYTES_MAX {
            return path.fault(format!("its keys and literals have more than {LITERAL_BYTES_MAX} bytes"));
        }
        Ok(())
    }

    /// Returns the node of `#` or `#/...`, which may not be compiled yet.
    fn reference(&mut self, pointer: &str, path: &Path<'_>) -> Result<u32, SchemaError> {
        if let Some(&node) = self.references.get(pointer) {
            return Ok(node);
        }
        let Some(place) = pointer.strip_prefix('#') else {
            return path.fault(format!("$ref {} leads out of the schema", shown(pointer)));
        };
        let Some(schema) = self.root.pointer(place) else {
            return path.fault(format!("$ref {} leads nowhere", shown(pointer)));
        };
        self.count_bytes(pointer.len(), path)?;
        let node = self.push(Node::Choice(Vec::new()), path)?;
        self.references.insert(pointer.to_owned(), node);
        self.pending.push_back((pointer.to_owned(), schema, node));
        Ok(node)
    }

    /// Returns a node for any JSON value.
    fn any(&mut self, path: &Path<'_>) -> Result<u32, SchemaError> {
        if let Some(any) = self.any {
            return Ok(any);
        }
        let any = self.push(Node::Choice(Vec::new()), path)?;
        self.any = Some(any);
        let (object, array) = (
            Object { properties: Vec::new(), additional: Some(any), is_compact: false },
            Array { prefix: Vec::new(), items: Some(any), min: 0, max: u32::MAX, is_compact: false },
        );
        let words = ["false", "null", "true"].map(|word| word.as_bytes().into()).to_vec();
        let mut kinds = Vec::new();
        for node in [
            Node::Object(object),
            Node::Array(array),
            Node::Text { min: 0, max: u32::MAX },
            Node::Number { is_integer: false },
            Node::Literals(words),
        ] {
            kinds.push(self.push(node, path)?);
        }
        self.set(any, Node::Choice(kinds));
        Ok(any)
    }

    fn schema(&mut self, schema: &'a Value, path: &Path<'_>, depth: usize) -> Result<u32, SchemaError> {
        if depth > DEPTH_MAX {
            return path.fault(format!("it is nested deeper than {DEPTH_MAX} levels"));
        }
        let fields = match schema {
            Value::Bool(true) => return self.any(path),
            Value::Object(fields) => Fields { fields, kind: None },
            other => return path.fault(format!("{} is not a schema", shown(&other.to_string()))),
        };
        if let Some(pointer) = fields.get("$ref") {
            let Some(pointer) = pointer.as_str() else { return path.fault("$ref is not a text") };
            fields.only(&["$ref"], path)?;
            return self.reference(pointer, path);
        }
        for (name, is_many) in [("anyOf", true), ("oneOf", true), ("allOf", false)] {
            let Some(list) = fields.get(name) else { continue };
            fields.only(&[name, "type"], path)?;
            let Some(list) = list.as_array().filter(|list| !list.is_empty()) else {
                return path.fault(format!("{name} is not a list of schemas"));
            };
            if !is_many && list.len() > 1 {
                return path.fault("allOf of several schemas is not supported");
            }
            self.count_links(list.len(), path)?;
            let mut nodes = Vec::new();
            for (index, schema) in list.iter().enumerate() {
                nodes.push(self.schema(schema, &Path::Entry(path, name, index), depth + 1)?);
            }
            return self.push(Node::Choice(nodes), path);
        }
        if fields.get("enum").is_some() || fields.get("const").is_some() {
            fields.only(&["enum", "const", "type"], path)?;
            return match (fields.get("enum"), fields.get("const")) {
                (Some(Value::Array(list)), _) if !list.is_empty() => {
                    self.literals(list, &Path::Keyword(path, "enum"), 0)
                }
                (None, Some(value)) => self.literals(std::slice::from_ref(value), &Path::Keyword(path, "const"), 0),
                _ => path.fault("enum is not a list of values"),
            };
        }
        match fields.get("type") {
            Some(Value::String(kind)) => self.of_type(kind, fields, path, depth),
            Some(Value::Array(kinds)) => {
                let mut seen = HashSet::new();
                let mut nodes = Vec::new();
                for kind in kinds {
                    let Some(kind) = kind.as_str() else { return path.fault("type is not a text") };
                    if seen.insert(kind) {
                        nodes.push(self.of_type(kind, Fields { kind: Some(kind), ..fields }, path, depth)?);
                    }
                }
                self.push(Node::Choice(nodes), path)
            }
            Some(other) => path.fault(format!("type is {}", shown(&other.to_string()))),
            None if fields.get("properties").is_some() => self.of_type("object", fields, path, depth),
            None if fields.get("items").is_some() || fields.get("prefixItems").is_some() => {
                self.of_type("array", fields, path, depth)
            }
            None => {
                fields.only(&[], path)?;
                self.any(path)
            }
        }
    }

    fn of_type(&mut self, kind: &str, fields: Fields<'a>, path: &Path<'_>, depth: usize) -> Result<u32, SchemaError> {
        let words = |words: &[&str]| Node::Literals(words.iter().map(|word| word.as_bytes().into()).collect());
        let node = match kind {
            "object" => return self.object(fields, path, depth),
            "array" => return self.array(fields, path, depth),
            "string" => {
                fields.only(&["type", "minLength", "maxLength"], path)?;
                let (min, max) = fields.lengths("minLength", "maxLength", path)?;
                Node::Text { min, max }
            }
            "integer" => {
                fields.only(&["type", "minimum", "maximum"], path)?;
                match (fields.get("minimum"), fields.get("maximum")) {
                    (None, None) => Node::Number { is_integer: true },
                    (Some(low), Some(high)) => return self.range(low, high, path),
                    _ => return path.fault("minimum and maximum are supported only together"),
                }
            }
            "number" => {
                fields.only(&["type"], path)?;
                Node::Number { is_integer: false }
            }
            "boolean" => {
                fields.only(&["type"], path)?;
                words(&["false", "true"])
            }
            "null" => {
                fields.only(&["type"], path)?;
                words(&["null"])
            }
            other => return path.fault(format!("type {} is unknown", shown(other))),
        };
        self.push(node, path)
    }

    fn object(&mut self, fields: Fields<'a>, path: &Path<'_>, depth: usize) -> Result<u32, SchemaError> {
        fields.only(&["type", "properties", "required", "additionalProperties"], path)?;
        let required: HashSet<&str> = match fields.get("required") {
            None => HashSet::new(),
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            Some(other) => return path.fault(format!("required is {}", shown(&other.to_string()))),
        };
        let described = match fields.get("properties") {
            None => None,
            Some(Value::Object(described)) => Some(described),
            Some(other) => return path.fault(format!("properties is {}", shown(&other.to_string()))),
        };
        let mut names: Vec<(&str, Option<&Value>)> =
            described.into_iter().flat_map(in_order).map(|(name, schema)| (name, Some(schema))).collect();
        // A required property without a description may have any value.
        let seen: HashSet<&str> = names.iter().map(|(name, _)| *name).collect();
        let list = fields.get("required").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut undescribed = HashSet::new();
        let others = list.iter().filter_map(Value::as_str).filter(|name| !seen.contains(name));
        names.extend(others.filter(|name| undescribed.insert(*name)).map(|name| (name, None)));
        self.count_links(names.len(), path)?;
        let mut properties = Vec::new();
        for (name, schema) in names {
            let path = Path::Named(path, "properties", name);
            let node = match schema {
                Some(schema) => self.schema(schema, &path, depth + 1)?,
                None => self.any(&path)?,
            };
            properties.push(Property { key: self.key(name, &path)?, node, is_required: required.contains(name) });
        }
        let additional = match fields.get("additionalProperties") {
            None if properties.is_empty() => Some(self.any(path)?),
            None | Some(Value::Bool(false)) => None,
            Some(schema) => Some(self.schema(schema, &Path::Keyword(path, "additionalProperties"), depth + 1)?),
        };
        self.push(Node::Object(Object { properties, additional, is_compact: false }), path)
    }

    fn array(&mut self, fields: Fields<'a>, path: &Path<'_>, depth: usize) -> Result<u32, SchemaError> {
        fields.only(&["type", "items", "prefixItems", "minItems", "maxItems"], path)?;
        let mut prefix = Vec::new();
        match fields.get("prefixItems") {
            None => {}
            Some(Value::Array(schemas)) => {
                self.count_links(schemas.len(), path)?;
                for (index, schema) in schemas.iter().enumerate() {
                    prefix.push(self.schema(schema, &Path::Entry(path, "prefixItems", index), depth + 1)?);
                }
            }
            Some(other) => return path.fault(format!("prefixItems is {}", shown(&other.to_string()))),
        }
        let items = match fields.get("items") {
            Some(Value::Bool(false)) => None,
            None => Some(self.any(path)?),
            Some(schema) => Some(self.schema(schema, &Path::Keyword(path, "items"), depth + 1)?),
        };
        let (min, max) = fields.lengths("minItems", "maxItems", path)?;
        let max = if items.is_none() { max.min(prefix.len() as u32) } else { max };
        if min > max {
            return path.fault("no array has so many items");
        }
        self.push(Node::Array(Array { prefix, items, min, max, is_compact: false }), path)
    }

    /// Returns the node for one of some values, each written as compact JSON.
    fn literals(&mut self, values: &[Value], path: &Path<'_>, depth: usize) -> Result<u32, SchemaError> {
        if depth > DEPTH_MAX {
            return path.fault(format!("a value of it is nested deeper than {DEPTH_MAX} levels"));
        }
        self.literals += values.len();
        if self.literals > LITERALS_MAX {
            return path.fault(format!("it has more than {LITERALS_MAX} values of enum and const"));
        }
        let (mut texts, mut nodes) = (Vec::new(), Vec::new());
        for value in values {
            match value {
                Value::Array(items) => {
                    let mut prefix = Vec::new();
                    for item in items {
                        self.count_links(1, path)?;
                        prefix.push(self.literals(std::slice::from_ref(item), path, depth + 1)?);
                    }
                    let count = prefix.len() as u32;
                    let array = Array { prefix, items: None, min: count, max: count, is_compact: true };
                    nodes.push(self.push(Node::Array(array), path)?);
                }
                Value::Object(fields) => {
                    let mut properties = Vec::new();
                    for (name, value) in sorted(fields) {
                        self.count_links(1, path)?;
                        let node = self.literals(std::slice::from_ref(value), path, depth + 1)?;
                        properties.push(Property { key: self.key(name, path)?, node, is_required: true });
                    }
                    nodes.push(
                        self.push(Node::Object(Object { properties, additional: None, is_compact: true }), path)?,
                    );
                }
                scalar => {
                    let text = scalar.to_string().into_bytes().into_boxed_slice();
                    self.count_bytes(text.len(), path)?;
                    texts.push(text);
                }
            }
        }
        if !texts.is_empty() {
            texts.sort_unstable();
            texts.dedup();
            nodes.push(self.push(Node::Literals(texts), path)?);
        }
        self.count_links(nodes.len(), path)?;
        if let [only] = nodes.as_slice() { Ok(*only) } else { self.push(Node::Choice(nodes), path) }
    }

    fn key(&mut self, name: &str, path: &Path<'_>) -> Result<Box<[u8]>, SchemaError> {
        self.count_bytes(name.len(), path)?;
        Ok(Value::String(name.to_owned()).to_string().into_bytes().into_boxed_slice())
    }

    fn range(&mut self, low: &Value, high: &Value, path: &Path<'_>) -> Result<u32, SchemaError> {
        match (low.as_i64(), high.as_i64()) {
            (Some(low), Some(high)) if low <= high && high.saturating_sub(low) < RANGE_MAX => {
                if let Some(&node) = self.ranges.get(&(low, high)) {
                    return Ok(node);
                }
                let numbers: Vec<Value> = (low..=high).map(Value::from).collect();
                let node = self.literals(&numbers, path, 0)?;
                self.ranges.insert((low, high), node);
                Ok(node)
            }
            _ => path.fault(format!(
                "minimum and maximum must be whole numbers with at most {RANGE_MAX} from one to the other"
            )),
        }
    }
}

/// The keywords of a schema: all, or the keywords for one of the types that the schema allows.
#[derive(Clone, Copy)]
struct Fields<'a> {
    fields: &'a Map<String, Value>,
    kind: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.fields.get(name).filter(|_| self.kind.is_none_or(|kind| belongs(name, kind)))
    }

    /// Rejects keywords that are neither in the list nor annotations.
    fn only(&self, known: &[&str], path: &Path<'_>) -> Result<(), SchemaError> {
        let mut names = self.fields.keys().filter_map(|key| name_of(key));
        let is_known = |name: &str| known.contains(&name) || ANNOTATIONS.contains(&name);
        match names.find(|name| !is_known(name) && self.kind.is_none_or(|kind| belongs(name, kind))) {
            None => Ok(()),
            Some(name) => path.fault(format!("{} is not supported here", shown(name))),
        }
    }

    fn lengths(&self, least: &str, most: &str, path: &Path<'_>) -> Result<(u32, u32), SchemaError> {
        let read = |name: &str| match self.get(name) {
            None => Ok(None),
            Some(value) => match value.as_u64().filter(|&length| length <= LENGTH_MAX) {
                Some(length) => Ok(Some(length as u32)),
                None => {
                    let value = shown(&value.to_string());
                    path.fault(format!("{name} is {value}, expected a whole number up to {LENGTH_MAX}"))
                }
            },
        };
        let (min, max) = (read(least)?.unwrap_or(0), read(most)?.unwrap_or(u32::MAX));
        if min > max { path.fault(format!("{least} is above {most}")) } else { Ok((min, max)) }
    }
}

/// Returns whether a keyword applies to a type, in a schema that allows several types.
fn belongs(name: &str, kind: &str) -> bool {
    match name {
        "properties" | "required" | "additionalProperties" => kind == "object",
        "items" | "prefixItems" | "minItems" | "maxItems" => kind == "array",
        "minLength" | "maxLength" => kind == "string",
        "minimum" | "maximum" => kind == "integer" || kind == "number",
        _ => true,
    }
}
