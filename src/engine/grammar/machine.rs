//! The items expected at one level of a text, and the effect of a byte on that level.
//!
//! In JSON the text alone shows where a value begins and ends. So the state of a text is a stack of levels, one for
//! each value that has begun and not ended, and each level is a set of [`Item`]s: every way in which the grammar may
//! have reached this point. All ways have the same stack height, and an item names only nodes of the grammar, never
//! other items. Therefore a level has at most as many items as the grammar has parts, however many ways lead through
//! its choices (a determinized visibly pushdown automaton, Alur and Madhusudan 2004).
//!
//! Only a number does not show its own end: the next byte that cannot continue the number closes it.

use std::collections::HashMap;

use super::rules::{NEVER, Node, Rules, clamped};
use super::text::{Number, Text, TextStep};

/// Minimum and maximum characters of a free key.
const FREE_KEY_MIN: u32 = 1;
const FREE_KEY_MAX: u32 = 64;

/// An expected part. `property` is an index; the index after the last property means a free key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Item {
    /// The whole instance.
    Root,
    /// The rest of the instance, while its value is in progress.
    RootWait,
    /// Nothing more.
    End,
    /// The rest of an object, after its brace.
    ObjectOpen { node: u32, may_space: bool },
    /// The rest of a property's key.
    Key { node: u32, property: u32, at: u32 },
    /// The rest of a free key, after its opening quote.
    FreeKey { node: u32, text: Text },
    /// A colon.
    Colon { node: u32, property: u32 },
    /// A property's value.
    PropertyValue { node: u32, property: u32, may_space: bool },
    /// The rest of an object while a property's value is in progress.
    ObjectWait { node: u32, property: u32 },
    /// The rest of an object, after a value: properties from `next` on are still allowed.
    ObjectNext { node: u32, next: u32 },
    /// A property, after a comma.
    PropertyNext { node: u32, next: u32, may_space: bool },
    /// The rest of an array, after its bracket.
    ArrayOpen { node: u32, may_space: bool },
    /// The value with index `count`, after a comma.
    ArrayValue { node: u32, count: u32, may_space: bool },
    /// The rest of an array while the value with index `count` is in progress.
    ArrayWait { node: u32, count: u32 },
    /// The rest of an array, after `count` values.
    ArrayNext { node: u32, count: u32 },
    /// The rest of a string.
    Text { node: u32, text: Text },
    /// The rest of one of the literals `low..high`, all of which begin with the same `at` bytes.
    Literal { node: u32, low: u32, high: u32, at: u32 },
    /// The rest of a number.
    Number { node: u32, number: Number },
    /// Nothing more of this value.
    Done { node: u32 },
}

/// The effect of a byte on the top level.
#[derive(Debug)]
pub(super) enum Move {
    /// The level becomes these items; an empty list means that the text cannot continue.
    Stay(Vec<Item>),
    /// The level waits with these items, and a new value has begun.
    Open { waiting: Vec<Item>, top: Vec<Item> },
    /// The value of the level was one of these nodes, and is complete.
    Close(Vec<u32>),
    /// As `Close`, but the byte belongs to the next level.
    CloseBefore(Vec<u32>),
}

/// A level of a text that waits for the value on top of it.
#[derive(Debug, Clone)]
pub(super) struct Level {
    pub(super) waiting: Vec<Item>,
    /// Least bytes from the end of the awaited value to the end of the instance.
    pub(super) costs: Costs,
    /// The same for the most expensive way.
    pub(super) most: u32,
}

/// The successors of a level's items.
#[derive(Default)]
struct Next {
    items: Vec<Item>,
    waiting: Vec<Item>,
    /// Properties that were examined.
    properties: usize,
}

/// Returns the effect of a byte on a level; `work` counts the items examined and created, in this call and its callees.
pub(super) fn step(rules: &Rules, items: &[Item], byte: u8, work: &mut usize) -> Move {
    let mut next = Next::default();
    for item in items {
        step_item(rules, *item, byte, &mut next);
    }
    *work += items.len() + next.items.len() + next.properties;
    let waiting = distinct(next.waiting);
    let top = begun(rules, &waiting, byte, work);
    if !top.is_empty() {
        return match ended(rules, &top) {
            Some(nodes) => Move::Stay(closed(rules, &waiting, &nodes, work)),
            None => Move::Open { waiting, top },
        };
    }
    if next.items.is_empty() {
        let nodes = completed(rules, items);
        return if nodes.is_empty() { Move::Stay(Vec::new()) } else { Move::CloseBefore(nodes) };
    }
    let items = distinct(next.items);
    match ended(rules, &items) {
        Some(nodes) => Move::Close(nodes),
        None => Move::Stay(items),
    }
}

/// Returns the items of a waiting level after its value was one of `nodes` (ascending).
pub(super) fn closed(rules: &Rules, waiting: &[Item], nodes: &[u32], work: &mut usize) -> Vec<Item> {
    *work += waiting.len();
    // Values with the same alternatives are looked up once, and the shorter of the two lists is searched in the longer
    // one. Otherwise a wide choice among numbers would cost the square of its width.
    let mut is_one: HashMap<(u32, u32), bool> = HashMap::new();
    let mut accepts = |value: u32| {
        *is_one.entry(rules.part(value)).or_insert_with(|| {
            let alternatives = rules.alternatives(value);
            let (few, many) =
                if alternatives.len() < nodes.len() { (alternatives, nodes) } else { (nodes, alternatives) };
            *work += few.len();
            few.iter().any(|node| many.binary_search(node).is_ok())
        })
    };
    let after = |item: &Item| match *item {
        Item::RootWait => Some((rules.root(), Item::End)),
        Item::ObjectWait { node, property } => {
            let object = rules.object(node)?;
            Some((object.value(property)?, Item::ObjectNext { node, next: object.next(property) }))
        }
        Item::ArrayWait { node, count } => {
            let array = rules.array(node)?;
            Some((array.value(count)?, Item::ArrayNext { node, count: array.next(count) }))
        }
        _ => None,
    };
    let all = waiting.iter().filter_map(after).filter_map(|(value, item)| accepts(value).then_some(item));
    distinct(all.collect())
}

/// Returns the nodes for which the level's value is already complete, ascending.
pub(super) fn completed(rules: &Rules, items: &[Item]) -> Vec<u32> {
    let node = |item: &Item| match *item {
        Item::Done { node } => Some(node),
        Item::Number { node, number } => number.may_end().then_some(node),
        // Of the literals with this beginning, the shortest is sorted first.
        Item::Literal { node, low, high, at } => {
            let first = rules.literals(node, low, high).first();
            first.is_some_and(|text| text.len() == at as usize).then_some(node)
        }
        _ => None,
    };
    let mut nodes: Vec<u32> = items.iter().filter_map(node).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

/// Returns the nodes of the level's value if the value is complete and cannot continue.
fn ended(rules: &Rules, items: &[Item]) -> Option<Vec<u32>> {
    let is_over = !items.is_empty() && items.iter().all(|item| matches!(item, Item::Done { .. }));
    is_over.then(|| completed(rules, items))
}

fn distinct(mut items: Vec<Item>) -> Vec<Item> {
    items.sort_unstable();
    items.dedup();
    items
}

/// Returns the node of the value that an item awaits.
fn awaited(rules: &Rules, item: &Item) -> Option<u32> {
    match *item {
        Item::RootWait => Some(rules.root()),
        Item::ObjectWait { node, property } => rules.object(node)?.value(property),
        Item::ArrayWait { node, count } => rules.array(node)?.value(count),
        _ => None,
    }
}

/// Returns the items that begin the awaited values with this byte.
fn begun(rules: &Rules, waiting: &[Item], byte: u8, work: &mut usize) -> Vec<Item> {
    // Many values may have the same alternatives.
    let mut values: Vec<((u32, u32), u32)> =
        waiting.iter().filter_map(|item| awaited(rules, item)).map(|value| (rules.part(value), value)).collect();
    values.sort_unstable();
    values.dedup_by_key(|(part, _)| *part);
    let mut nodes: Vec<u32> = values.iter().flat_map(|&(_, value)| rules.alternatives(value)).copied().collect();
    *work += waiting.len() + nodes.len();
    nodes.sort_unstable();
    nodes.dedup();
    let start = |node: u32| match rules.node(node)? {
        Node::Literals(texts) => literal(rules, node, (0, texts.len() as u32), 0, byte),
        Node::Object(object) if byte == b'{' => Some(Item::ObjectOpen { node, may_space: !object.is_compact }),
        Node::Array(array) if byte == b'[' => Some(Item::ArrayOpen { node, may_space: !array.is_compact }),
        &Node::Text { min, max } if byte == b'"' => Some(Item::Text { node, text: Text::new(min, max) }),
        &Node::Number { is_integer } => Number::start(byte, is_integer).map(|number| Item::Number { node, number }),
        _ => None,
    };
    distinct(nodes.into_iter().filter_map(start).collect())
}

/// Returns the item for the literals whose next byte is `byte`.
fn literal(rules: &Rules, node: u32, (low, high): (u32, u32), at: u32, byte: u8) -> Option<Item> {
    let texts = rules.literals(node, low, high);
    // The list is sorted, and a literal that ends here comes first, so the result is a range of the list.
    let before = texts.partition_point(|text| text.get(at as usize).is_none_or(|&other| other < byte)) as u32;
    let upto = texts.partition_point(|text| text.get(at as usize).is_none_or(|&other| other <= byte)) as u32;
    if before == upto {
        return None;
    }
    let (low, high, at) = (low + before, low + upto, at + 1);
    let is_over =
        high - low == 1 && rules.literals(node, low, high).first().is_some_and(|text| text.len() == at as usize);
    Some(if is_over { Item::Done { node } } else { Item::Literal { node, low, high, at } })
}

fn step_item(rules: &Rules, item: Item, byte: u8, next: &mut Next) {
    match item {
        Item::Root => next.waiting.push(Item::RootWait),
        Item::ObjectOpen { .. }
        | Item::Key { .. }
        | Item::FreeKey { .. }
        | Item::Colon { .. }
        | Item::PropertyValue { .. }
        | Item::ObjectNext { .. }
        | Item::PropertyNext { .. } => step_object(rules, item, byte, next),
        Item::ArrayOpen { .. } | Item::ArrayValue { .. } | Item::ArrayNext { .. } => {
            step_array(rules, item, byte, next);
        }
        Item::Text { node, text } => match text.step(byte) {
            TextStep::More(text) => next.items.push(Item::Text { node, text }),
            TextStep::End => next.items.push(Item::Done { node }),
            TextStep::Never => {}
        },
        Item::Literal { node, low, high, at } => next.items.extend(literal(rules, node, (low, high), at, byte)),
        Item::Number { node, number } => {
            next.items.extend(number.step(byte).map(|number| Item::Number { node, number }));
        }
        Item::RootWait | Item::ObjectWait { .. } | Item::ArrayWait { .. } | Item::End | Item::Done { .. } => {}
    }
}

fn step_object(rules: &Rules, item: Item, byte: u8, next: &mut Next) {
    let may_end = |node: u32, from: u32| rules.object_rest(node, from) == 1;
    let keys = |node: u32, from: u32, next: &mut Next| {
        let Some(object) = rules.object(node) else { return };
        let key = |property: u32| match (property as usize) < object.properties.len() {
            true => Item::Key { node, property, at: 1 },
            false => Item::FreeKey { node, text: Text::new(FREE_KEY_MIN, FREE_KEY_MAX) },
        };
        let properties = rules.candidates(node, from).inspect(|_| next.properties += 1);
        next.items.extend(properties.filter(|&property| rules.may_come(node, property)).map(key));
    };
    let may_space = |node: u32| rules.object(node).is_some_and(|object| !object.is_compact);
    match (item, byte) {
        (Item::ObjectOpen { node, may_space: true }, b' ') => {
            next.items.push(Item::ObjectOpen { node, may_space: false });
        }
        (Item::ObjectOpen { node, .. }, b'}') if may_end(node, 0) => next.items.push(Item::Done { node }),
        (Item::ObjectOpen { node, .. }, b'"') => keys(node, 0, next),
        (Item::PropertyNext { node, next: from, may_space: true }, b' ') => {
            next.items.push(Item::PropertyNext { node, next: from, may_space: false });
        }
        (Item::PropertyNext { node, next: from, .. }, b'"') => keys(node, from, next),
        (Item::ObjectNext { node, next: from }, b'}') if may_end(node, from) => next.items.push(Item::Done { node }),
        (Item::ObjectNext { node, next: from }, b',') if rules.behind_comma(node, from) < NEVER => {
            next.items.push(Item::PropertyNext { node, next: from, may_space: may_space(node) });
        }
        (Item::Key { node, property, at }, _) => {
            let key = rules.object(node).and_then(|object| object.properties.get(property as usize));
            let Some(key) = key.map(|property| &property.key) else { return };
            if key.get(at as usize) == Some(&byte) {
                let is_over = at as usize + 1 == key.len();
                let item =
                    if is_over { Item::Colon { node, property } } else { Item::Key { node, property, at: at + 1 } };
                next.items.push(item);
            }
        }
        (Item::FreeKey { node, text }, _) => match text.step(byte) {
            TextStep::More(text) => next.items.push(Item::FreeKey { node, text }),
            TextStep::End => {
                let property = rules.object(node).map_or(0, |object| object.properties.len() as u32);
                next.items.push(Item::Colon { node, property });
            }
            TextStep::Never => {}
        },
        (Item::Colon { node, property }, b':') => {
            next.items.push(Item::PropertyValue { node, property, may_space: may_space(node) });
        }
        (Item::PropertyValue { node, property, may_space: true }, b' ') => {
            next.items.push(Item::PropertyValue { node, property, may_space: false });
        }
        (Item::PropertyValue { node, property, .. }, _) => next.waiting.push(Item::ObjectWait { node, property }),
        _ => {}
    }
}

fn step_array(rules: &Rules, item: Item, byte: u8, next: &mut Next) {
    let may_add = |node: u32, count: u32| rules.item_rest(node, count).is_some();
    match (item, byte) {
        (Item::ArrayOpen { node, may_space: true }, b' ') => {
            next.items.push(Item::ArrayOpen { node, may_space: false });
        }
        (Item::ArrayOpen { node, .. }, b']') if rules.array(node).is_some_and(|array| array.min == 0) => {
            next.items.push(Item::Done { node });
        }
        (Item::ArrayOpen { .. }, b']') => {}
        (Item::ArrayOpen { node, .. }, _) if may_add(node, 0) => next.waiting.push(Item::ArrayWait { node, count: 0 }),
        (Item::ArrayValue { node, count, may_space: true }, b' ') => {
            next.items.push(Item::ArrayValue { node, count, may_space: false });
        }
        (Item::ArrayValue { node, count, .. }, _) => next.waiting.push(Item::ArrayWait { node, count }),
        (Item::ArrayNext { node, count }, b']') if rules.array(node).is_some_and(|array| count >= array.min) => {
            next.items.push(Item::Done { node });
        }
        (Item::ArrayNext { node, count }, b',') if may_add(node, count) => {
            let may_space = rules.array(node).is_some_and(|array| !array.is_compact);
            next.items.push(Item::ArrayValue { node, count, may_space });
        }
        _ => {}
    }
}

/// Least bytes from the end of a value to the end of the whole instance, by the value's node, ascending.
pub(super) type Costs = Vec<(u32, u32)>;

fn cost_of(costs: &[(u32, u32)], node: u32) -> u32 {
    let found = costs.binary_search_by_key(&node, |(node, _)| *node);
    found.ok().and_then(|place| costs.get(place)).map_or(NEVER, |(_, cost)| *cost)
}

/// Returns, for each awaited value, the least bytes from its end to the end of the instance; `below` holds the costs of
/// the level below.
pub(super) fn costs(rules: &Rules, waiting: &[Item], below: &[(u32, u32)], work: &mut usize) -> Costs {
    // Keyed by the alternatives of the value, because many values may have the same alternatives.
    let mut by_part: HashMap<(u32, u32), (u32, u32)> = HashMap::new();
    for item in waiting {
        let Some(value) = awaited(rules, item) else { continue };
        let (node, own) = own(rules, item);
        let cost = clamped(own + node.map_or(0, |node| u64::from(cost_of(below, node))));
        let (_, least) = by_part.entry(rules.part(value)).or_insert((value, NEVER));
        *least = cost.min(*least);
    }
    #[expect(clippy::disallowed_methods, reason = "sorted below")]
    let each =
        by_part.values().flat_map(|&(value, cost)| rules.alternatives(value).iter().map(move |&node| (node, cost)));
    let mut all: Costs = each.collect();
    *work += waiting.len() + all.len();
    all.sort_unstable();
    all.dedup_by_key(|(node, _)| *node);
    all
}

/// Returns the work of computing the needs of a level: its items, and the literals that the items may still become.
pub(super) fn weight(items: &[Item]) -> usize {
    let of = |item: &Item| match *item {
        Item::Literal { low, high, .. } => high.saturating_sub(low) as usize,
        _ => 1,
    };
    items.iter().map(of).sum()
}

/// Returns the least bytes that complete a text; `below` holds the costs of the level below the top level.
pub(super) fn needed(rules: &Rules, items: &[Item], below: &[(u32, u32)]) -> u32 {
    let of = |item: &Item| {
        let (node, own) = own(rules, item);
        clamped(own + node.map_or(0, |node| u64::from(cost_of(below, node))))
    };
    items.iter().map(of).min().unwrap_or(NEVER)
}

/// Returns the most bytes that any way of a level needs; `below` is the value of the level below.
pub(super) fn most(rules: &Rules, items: &[Item], below: u32) -> u32 {
    let all = items.iter().map(|item| clamped(own(rules, item).1 + u64::from(below)));
    all.max().unwrap_or(0)
}

/// Returns the node of an item, and the least bytes to the end of that node's value; for a waiting item, the bytes are
/// counted from the end of the awaited value.
fn own(rules: &Rules, item: &Item) -> (Option<u32>, u64) {
    let (node, bytes) = match *item {
        Item::Root => return (None, rules.minimum(rules.root()).into()),
        Item::RootWait | Item::End => return (None, 0),
        Item::ObjectOpen { node, .. } => (node, rules.object_open(node)),
        Item::Key { node, property, at } => (node, rules.property_rest(node, property).saturating_sub(at.into())),
        Item::FreeKey { node, text } => {
            let property = rules.object(node).map_or(0, |object| object.properties.len() as u32);
            (node, text.rest() + 1 + rules.value_rest(node, property))
        }
        Item::Colon { node, property } => (node, 1 + rules.value_rest(node, property)),
        Item::PropertyValue { node, property, .. } => (node, rules.value_rest(node, property)),
        Item::ObjectWait { node, property } => {
            let next = rules.object(node).map_or(0, |object| object.next(property));
            (node, rules.object_rest(node, next))
        }
        Item::ObjectNext { node, next } => (node, rules.object_rest(node, next)),
        Item::PropertyNext { node, next, .. } => (node, rules.behind_comma(node, next).into()),
        Item::ArrayOpen { node, .. } => (node, rules.array_rest(node, 0)),
        Item::ArrayValue { node, count, .. } => (node, rules.item_rest(node, count).unwrap_or(NEVER.into())),
        Item::ArrayWait { node, count } => (node, rules.array_rest(node, count + 1)),
        Item::ArrayNext { node, count } => (node, rules.array_rest(node, count)),
        Item::Text { node, text } => (node, text.rest()),
        Item::Literal { node, low, high, at } => {
            let least = rules.literals(node, low, high).iter().map(|text| text.len() as u64).min();
            (node, least.map_or(NEVER.into(), |least| least.saturating_sub(at.into())))
        }
        Item::Number { node, number } => (node, u64::from(!number.may_end())),
        Item::Done { node } => (node, 0),
    };
    (Some(node), bytes)
}

/// Returns a level that allows the same tokens, in which all lengths beyond a token's reach are equal.
pub(super) fn within_reach(items: &[Item], reach: u32) -> Vec<Item> {
    let cut = |item: &Item| match *item {
        Item::Text { node, text } => Item::Text { node, text: text.within_reach(reach) },
        other => other,
    };
    distinct(items.iter().map(cut).collect())
}
