//! A compiled schema: its nodes, the alternatives of each node, and the least bytes of each node.
//!
//! Choices are flattened once, here: every node lists the choice-free nodes that it may be. A choice that leads back to
//! itself is rejected, and so is a root without instances. Every algorithm is a loop over flat lists, so no schema
//! decides the depth of the call stack.

use std::collections::{HashMap, HashSet};

use super::error::SchemaError;
use super::path::shown;

/// Represents a length that cannot be reached.
pub(super) const NEVER: u32 = u32::MAX / 4;
/// Maximum alternatives of all choices together, after flattening.
const ALTERNATIVES_MAX: usize = 1 << 14;
/// Maximum steps of flattening.
const FLATTENING_MAX: usize = 1 << 20;
/// Least bytes of a free key with its colon.
const FREE_KEY_MIN: u64 = 4;
/// Names that the error for a ring shows.
const RING_NAMES_MAX: usize = 6;

/// The content of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// One of these numbers, strings or words; ascending, without duplicates.
    Literals(Vec<Box<[u8]>>),
    /// One of these nodes.
    Choice(Vec<u32>),
    Object(Object),
    Array(Array),
    /// A string with `min` to `max` characters.
    Text {
        min: u32,
        max: u32,
    },
    Number {
        is_integer: bool,
    },
}

/// An object; the values of free keys are `additional`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    pub properties: Vec<Property>,
    pub additional: Option<u32>,
    /// Whether spaces are forbidden in the object.
    pub is_compact: bool,
}

/// A property of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Property {
    /// The key as JSON, in quotes.
    pub key: Box<[u8]>,
    pub node: u32,
    pub is_required: bool,
}

/// An array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Array {
    pub prefix: Vec<u32>,
    pub items: Option<u32>,
    pub min: u32,
    pub max: u32,
    /// Whether spaces are forbidden in the array.
    pub is_compact: bool,
}

impl Object {
    /// Returns the node of a property's value; the index after the last property means a free key.
    pub(super) fn value(&self, property: u32) -> Option<u32> {
        self.properties.get(property as usize).map(|property| property.node).or(self.additional)
    }

    /// Returns the first property that may follow `property`.
    pub(super) fn next(&self, property: u32) -> u32 {
        (property + 1).min(self.properties.len() as u32)
    }
}

impl Array {
    /// Returns the node of the value with this index.
    pub(super) fn value(&self, index: u32) -> Option<u32> {
        if index < self.max { self.prefix.get(index as usize).copied().or(self.items) } else { None }
    }

    /// Returns the count after one more value. Counts beyond every bound are equal.
    pub(super) fn next(&self, count: u32) -> u32 {
        let told_apart = (self.prefix.len() as u32).max(self.min).max(1);
        if self.max == u32::MAX { (count + 1).min(told_apart) } else { count + 1 }
    }
}

/// Sums that avoid iterating over an object's properties or an array's items.
#[derive(Debug)]
enum Sums {
    None,
    /// Indexed by the next property: the bytes of the required properties from there on, with the commas before them;
    /// the bytes of the required part after a comma; and the last property that may come next.
    Object {
        required: Vec<u64>,
        behind_comma: Vec<u32>,
        last: Vec<u32>,
    },
    /// Indexed by the number of values within the prefix: the bytes of these values.
    Array {
        prefix: Vec<u64>,
        item: u64,
    },
}

/// A compiled schema.
#[derive(Debug)]
pub(super) struct Rules {
    nodes: Vec<Node>,
    root: u32,
    /// Least bytes of an instance, by node.
    minimums: Vec<u32>,
    /// For each node, the range of `pool` with the choice-free nodes that it may be, ascending.
    alternatives: Vec<(u32, u32)>,
    pool: Vec<u32>,
    sums: Vec<Sums>,
    /// The most bytes that the beginning of one property or item, with its value, can add to the needs of a text.
    widest: u32,
}

impl PartialEq for Rules {
    fn eq(&self, other: &Self) -> bool {
        (&self.nodes, self.root) == (&other.nodes, other.root)
    }
}

impl Rules {
    /// Checks and prepares nodes; `names` are the names of the `$ref` targets.
    ///
    /// # Errors
    /// [`SchemaError`] for a ring of choices, too many alternatives, or a root without instances.
    pub(super) fn new(nodes: Vec<Node>, root: u32, names: &HashMap<u32, String>) -> Result<Self, SchemaError> {
        let order = choices_in_order(&nodes, names)?;
        let minimums = minimums(&nodes);
        if minimums.get(root as usize).is_none_or(|&minimum| minimum >= NEVER) {
            let detail = "no text is an instance of it: what must be in it never ends, or is too long".to_owned();
            return Err(SchemaError { path: "#".to_owned(), detail });
        }
        let (alternatives, pool) = flattened(&nodes, &order, &minimums)?;
        let sums = nodes.iter().map(|node| sums(node, &minimums)).collect();
        let mut rules = Self { nodes, root, minimums, alternatives, pool, sums, widest: 0 };
        rules.widest = rules.widest_of_all();
        Ok(rules)
    }

    pub(super) fn root(&self) -> u32 {
        self.root
    }

    pub(super) fn widest(&self) -> u32 {
        self.widest
    }

    pub(super) fn node(&self, node: u32) -> Option<&Node> {
        self.nodes.get(node as usize)
    }

    pub(super) fn object(&self, node: u32) -> Option<&Object> {
        match self.node(node) {
            Some(Node::Object(object)) => Some(object),
            _ => None,
        }
    }

    pub(super) fn array(&self, node: u32) -> Option<&Array> {
        match self.node(node) {
            Some(Node::Array(array)) => Some(array),
            _ => None,
        }
    }

    /// Returns the literals `low..high` of a node.
    pub(super) fn literals(&self, node: u32, low: u32, high: u32) -> &[Box<[u8]>] {
        match self.node(node) {
            Some(Node::Literals(texts)) => texts.get(low as usize..high as usize).unwrap_or_default(),
            _ => &[],
        }
    }

    /// Returns the least bytes of an instance of a node.
    pub(super) fn minimum(&self, node: u32) -> u32 {
        self.minimums.get(node as usize).copied().unwrap_or(NEVER)
    }

    /// Returns a key that is equal for nodes with the same list of alternatives.
    pub(super) fn part(&self, node: u32) -> (u32, u32) {
        self.alternatives.get(node as usize).copied().unwrap_or_default()
    }

    /// Returns the choice-free nodes that a node may be and that have instances, ascending.
    pub(super) fn alternatives(&self, node: u32) -> &[u32] {
        let (start, end) = self.part(node);
        self.pool.get(start as usize..end as usize).unwrap_or_default()
    }

    /// Returns the least bytes from the end of a value to the end of the object, with properties from `next` on still
    /// to come.
    pub(super) fn object_rest(&self, node: u32, next: u32) -> u64 {
        match self.sums.get(node as usize) {
            Some(Sums::Object { required, .. }) => required.get(next as usize).map_or(1, |bytes| bytes + 1),
            _ => 1,
        }
    }

    /// Returns the least bytes from the opening brace to the end of the object; the first property has no comma.
    pub(super) fn object_open(&self, node: u32) -> u64 {
        let rest = self.object_rest(node, 0);
        if rest > 1 { rest - 1 } else { rest }
    }

    /// Returns the least bytes from a comma, after which a property is required, to the end of the object.
    pub(super) fn behind_comma(&self, node: u32, next: u32) -> u32 {
        match self.sums.get(node as usize) {
            Some(Sums::Object { behind_comma, .. }) => behind_comma.get(next as usize).copied().unwrap_or(NEVER),
            _ => NEVER,
        }
    }

    /// Returns the properties from `next` up to the first required one, which is included, ascending; the index after
    /// the last property means a free key. Some of them may not come (see [`Rules::may_come`]).
    pub(super) fn candidates(&self, node: u32, next: u32) -> impl Iterator<Item = u32> {
        let last = match self.sums.get(node as usize) {
            Some(Sums::Object { last, .. }) => last.get(next as usize).copied(),
            _ => None,
        };
        last.into_iter().flat_map(move |last| next..=last)
    }

    /// Returns whether an object with this property can end.
    pub(super) fn may_come(&self, node: u32, property: u32) -> bool {
        self.property_rest(node, property) < u64::from(NEVER)
    }

    /// Returns the least bytes from the beginning of a property's key to the end of its object.
    pub(super) fn property_rest(&self, node: u32, property: u32) -> u64 {
        let key = self.object(node).and_then(|object| object.properties.get(property as usize));
        key.map_or(FREE_KEY_MIN, |property| property.key.len() as u64 + 1) + self.value_rest(node, property)
    }

    /// Returns the least bytes from the beginning of a property's value to the end of its object.
    pub(super) fn value_rest(&self, node: u32, property: u32) -> u64 {
        let Some(object) = self.object(node) else { return u64::from(NEVER) };
        let value = object.value(property).map_or(NEVER, |value| self.minimum(value));
        u64::from(value) + self.object_rest(node, object.next(property))
    }

    /// Returns the least bytes from the end of the first `count` values to the end of an array.
    pub(super) fn array_rest(&self, node: u32, count: u32) -> u64 {
        let (Some(array), Some(Sums::Array { prefix, item })) = (self.array(node), self.sums.get(node as usize)) else {
            return 1;
        };
        let upto = |count: u32| {
            let within = (count as usize).min(prefix.len() - 1);
            prefix.get(within).copied().unwrap_or(0) + (count as usize - within) as u64 * (item + 1)
        };
        // The first value has no comma, so the rest of an array without values yet costs one byte less than the sum.
        let first = u64::from(count == 0 && array.min > 0);
        if count >= array.min { 1 } else { upto(array.min) - upto(count) + 1 - first }
    }

    /// Returns the least bytes from the beginning of a value to the end of its array; `None` if no value may come.
    pub(super) fn item_rest(&self, node: u32, count: u32) -> Option<u64> {
        let array = self.array(node)?;
        let value = self.minimum(array.value(count)?);
        let rest = u64::from(value) + self.array_rest(node, count + 1);
        (value < NEVER && rest < u64::from(NEVER)).then_some(rest)
    }

    /// Returns the most bytes that the beginning of a part can add. Required parts add nothing, because they were
    /// counted before.
    fn widest_of_all(&self) -> u32 {
        let least = |node: u32| Some(u64::from(self.minimum(node))).filter(|&bytes| bytes < u64::from(NEVER));
        let (mut part, mut value) = (0, 0);
        let mut seen = HashSet::new();
        for (index, node) in (0_u32..).zip(&self.nodes) {
            match node {
                Node::Literals(texts) => {
                    let longest = texts.iter().map(|text| text.len() as u64).max().unwrap_or(0);
                    value = value.max(longest.saturating_sub(least(index).unwrap_or(longest)));
                }
                Node::Choice(_) if seen.insert(self.part(index)) => {
                    let longest = self.alternatives(index).iter().filter_map(|&node| least(node)).max().unwrap_or(0);
                    value = value.max(longest.saturating_sub(least(index).unwrap_or(longest)));
                }
                Node::Object(object) => {
                    let optional = object.properties.iter().filter(|property| !property.is_required);
                    let named = optional.filter_map(|one| Some(one.key.len() as u64 + 2 + least(one.node)?));
                    let free = object.additional.and_then(least).map(|bytes| FREE_KEY_MIN + 1 + bytes);
                    part = named.chain(free).max().unwrap_or(0).max(part);
                }
                Node::Array(array) => {
                    let optional = array.prefix.iter().skip(array.min as usize).chain(&array.items);
                    part = optional.filter_map(|&value| Some(least(value)? + 1)).max().unwrap_or(0).max(part);
                }
                _ => {}
            }
        }
        clamped(part + value)
    }
}

/// Returns `bytes`, limited to [`NEVER`].
pub(super) fn clamped(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(NEVER).min(NEVER)
}

/// Returns the choices in an order in which each one comes after the choices that it leads to.
#[expect(clippy::indexing_slicing, reason = "there is a place for every node, and links lead to nodes")]
fn choices_in_order(nodes: &[Node], names: &HashMap<u32, String>) -> Result<Vec<u32>, SchemaError> {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        No,
        Open,
        Done,
    }
    let links = |node: u32| match nodes.get(node as usize) {
        Some(Node::Choice(links)) => Some(links.as_slice()),
        _ => None,
    };
    let mut seen = vec![Seen::No; nodes.len()];
    let mut order = Vec::new();
    for start in 0..nodes.len() as u32 {
        // The path from `start`: each choice with the number of its links that were followed.
        let mut way: Vec<(u32, usize)> = Vec::new();
        if seen[start as usize] == Seen::No && links(start).is_some() {
            seen[start as usize] = Seen::Open;
            way.push((start, 0));
        }
        while let Some((node, followed)) = way.last_mut() {
            let Some(&next) = links(*node).and_then(|links| links.get(*followed)) else {
                seen[*node as usize] = Seen::Done;
                order.push(*node);
                way.pop();
                continue;
            };
            *followed += 1;
            match seen.get(next as usize) {
                Some(Seen::Open) => return Err(ring(&way, next, names)),
                Some(Seen::No) if links(next).is_some() => {
                    seen[next as usize] = Seen::Open;
                    way.push((next, 0));
                }
                _ => {}
            }
        }
    }
    Ok(order)
}

/// Builds the error for a choice that leads back to itself.
fn ring(way: &[(u32, usize)], first: u32, names: &HashMap<u32, String>) -> SchemaError {
    let members = way.iter().skip_while(|(node, _)| *node != first).filter_map(|(node, _)| names.get(node));
    let mut ring: Vec<String> = members.take(RING_NAMES_MAX).map(|name| shown(name)).collect();
    let path = ring.first().cloned().unwrap_or_else(|| "#".to_owned());
    ring.push(path.clone());
    let detail = format!(
        "it refers to itself without an object or array in between, so that it would never end: {}",
        ring.join(" -> ")
    );
    SchemaError { path, detail }
}

type Flattened = (Vec<(u32, u32)>, Vec<u32>);

/// Returns for every node the choice-free nodes that it may be, as ranges of a pool.
fn flattened(nodes: &[Node], order: &[u32], minimums: &[u32]) -> Result<Flattened, SchemaError> {
    let mut pool: Vec<u32> = Vec::new();
    let mut parts = vec![(0, 0); nodes.len()];
    for (node, part) in (0_u32..).zip(parts.iter_mut()) {
        let is_choice = matches!(nodes.get(node as usize), Some(Node::Choice(_)));
        if !is_choice && minimums.get(node as usize).is_some_and(|&minimum| minimum < NEVER) {
            *part = (pool.len() as u32, pool.len() as u32 + 1);
            pool.push(node);
        }
    }
    let singles = pool.len();
    let mut steps = 0;
    for &choice in order {
        let Some(Node::Choice(links)) = nodes.get(choice as usize) else { continue };
        let mut found: Vec<(u32, u32)> = links.iter().filter_map(|&link| parts.get(link as usize).copied()).collect();
        found.sort_unstable();
        found.dedup();
        // A choice with a single result shares that result's range.
        let part = if let [only] = found.as_slice() {
            *only
        } else {
            steps += found.iter().map(|(start, end)| (end - start) as usize).sum::<usize>();
            let members = found.iter().filter(|_| steps <= FLATTENING_MAX);
            #[expect(clippy::indexing_slicing, reason = "parts are ranges of the pool")]
            let mut all: Vec<u32> =
                members.flat_map(|&(start, end)| &pool[start as usize..end as usize]).copied().collect();
            all.sort_unstable();
            all.dedup();
            if steps > FLATTENING_MAX || pool.len() - singles + all.len() > ALTERNATIVES_MAX {
                let detail =
                    format!("it has more than {ALTERNATIVES_MAX} alternatives once its references are followed");
                return Err(SchemaError { path: "#".to_owned(), detail });
            }
            let start = pool.len() as u32;
            pool.extend(all);
            (start, pool.len() as u32)
        };
        if let Some(place) = parts.get_mut(choice as usize) {
            *place = part;
        }
    }
    Ok((parts, pool))
}

/// Returns the least bytes of an instance, by node: the least fixed point, because schemas may refer to themselves.
fn minimums(nodes: &[Node]) -> Vec<u32> {
    let mut found = vec![NEVER; nodes.len()];
    loop {
        let mut has_changed = false;
        // Most links lead to later nodes, some lead to earlier ones; with passes in both directions, few rounds are
        // enough.
        for index in (0..nodes.len()).rev().chain(0..nodes.len()) {
            let of = |node: u32| u64::from(found.get(node as usize).copied().unwrap_or(NEVER));
            let minimum = nodes.get(index).map_or(NEVER, |node| clamped(node_minimum(node, &of)));
            if let Some(place) = found.get_mut(index)
                && *place != minimum
            {
                *place = minimum;
                has_changed = true;
            }
        }
        if !has_changed {
            return found;
        }
    }
}

fn node_minimum(node: &Node, of: &dyn Fn(u32) -> u64) -> u64 {
    let never = u64::from(NEVER);
    match node {
        Node::Literals(texts) => texts.iter().map(|text| text.len() as u64).min().unwrap_or(never),
        Node::Choice(nodes) => nodes.iter().map(|&node| of(node)).min().unwrap_or(never),
        Node::Object(object) => {
            let required = object.properties.iter().filter(|property| property.is_required);
            let cost = |property: &Property| property.key.len() as u64 + 2 + of(property.node);
            let sum: u64 = required.map(cost).sum();
            // The sum contains one comma too many.
            2 + sum.saturating_sub(1)
        }
        Node::Array(Array { prefix, items, min, .. }) => {
            let first = prefix.iter().take(*min as usize).map(|&node| of(node) + 1).sum::<u64>();
            let others = u64::from(*min).saturating_sub(prefix.len() as u64);
            let item = if others == 0 { 0 } else { items.map_or(never, of) + 1 };
            2 + (first + others * item).saturating_sub(1)
        }
        Node::Text { min, .. } => u64::from(*min) + 2,
        Node::Number { .. } => 1,
    }
}

#[expect(clippy::indexing_slicing, reason = "the lists have one place more than there are properties")]
fn sums(node: &Node, minimums: &[u32]) -> Sums {
    let of = |node: u32| u64::from(minimums.get(node as usize).copied().unwrap_or(NEVER));
    match node {
        Node::Object(object) => {
            let count = object.properties.len();
            let mut required = vec![0; count + 1];
            let mut last = vec![count as u32; count + 1];
            let free = object.additional.map_or(NEVER, |value| clamped(FREE_KEY_MIN + of(value) + 1));
            let mut behind_comma = vec![free; count + 1];
            for (index, property) in object.properties.iter().enumerate().rev() {
                let own = property.key.len() as u64 + 1 + of(property.node);
                let with = clamped(own + required[index + 1] + 1);
                required[index] = required[index + 1] + if property.is_required { own + 1 } else { 0 };
                last[index] = if property.is_required { index as u32 } else { last[index + 1] };
                behind_comma[index] = if property.is_required { with } else { with.min(behind_comma[index + 1]) };
            }
            Sums::Object { required, behind_comma, last }
        }
        Node::Array(array) => {
            let mut prefix = vec![0];
            for &value in &array.prefix {
                prefix.push(prefix.last().copied().unwrap_or(0) + of(value) + 1);
            }
            Sums::Array { prefix, item: array.items.map_or(u64::from(NEVER), of) }
        }
        _ => Sums::None,
    }
}
