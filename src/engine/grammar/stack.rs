//! One way in which a text may go on: what is expected, innermost last.

use super::{Grammar, Node, Property};

/// What is expected; the last item comes first.
pub(super) type Stack = Vec<Item>;

/// Digits that each part of a number may have.
const DIGITS_MAX: u8 = 15;
/// Stands for a length that cannot be reached.
pub(super) const NEVER: u32 = u32::MAX / 4;

/// Something that is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Item {
    /// A value.
    Value(u32),
    /// The rest of a literal.
    Literal { node: u32, index: u32, at: u32 },
    /// The rest of a property's key.
    Key { node: u32, property: u32, at: u32 },
    /// The rest of a string, behind its opening quote.
    Text { min: u32, max: u32, within: Within },
    /// The rest of an object: properties from `next` on may still come.
    Object { node: u32, next: u32, is_begun: bool },
    /// A property, behind a comma.
    Property { node: u32, next: u32 },
    /// The rest of an array with `count` values.
    Array { node: u32, count: u32 },
    /// The rest of a number.
    Number { part: Part, digits: u8, is_integer: bool },
    /// A colon.
    Colon,
    /// At most one space.
    Space,
}

/// Where in a character of a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Within {
    /// Between characters.
    Nothing,
    /// Behind a backslash.
    Escape,
    /// In `\uXXXX`, with so many digits left; the first was a `d`, which may begin a surrogate.
    Hex { left: u8, is_after_d: bool },
    /// In a character of several bytes: so many are left, and the next is in this range.
    Utf8 { left: u8, low: u8, high: u8 },
}

/// Where in a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Part {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
}

impl Part {
    fn may_end(self) -> bool {
        matches!(self, Self::Zero | Self::Whole | Self::Fraction | Self::Exponent)
    }
}

/// Returns the stack at the beginning of an instance.
pub(super) fn start(root: u32) -> Stack {
    vec![Item::Value(root)]
}

/// Returns whether nothing more has to come.
pub(super) fn may_end(stack: &Stack) -> bool {
    match stack.as_slice() {
        [] => true,
        [Item::Number { part, .. }] => part.may_end(),
        _ => false,
    }
}

/// Returns a stack for which the same tokens are allowed, with lengths beyond a token's reach cut down.
pub(super) fn normalized(stack: &Stack, reach: u32) -> Stack {
    let cut = |item: &Item| match *item {
        Item::Text { min, max, within } => Item::Text { min: min.min(reach), max: max.min(reach), within },
        other => other,
    };
    stack.iter().map(cut).collect()
}

/// Adds every stack that follows a byte.
pub(super) fn step(grammar: &Grammar, mut stack: Stack, byte: u8, out: &mut Vec<Stack>) {
    let Some(item) = stack.pop() else { return };
    match item {
        Item::Space if byte == b' ' => out.push(stack),
        Item::Space => step(grammar, stack, byte, out),
        Item::Colon if byte == b':' => {
            stack.push(Item::Space);
            out.push(stack);
        }
        Item::Colon => {}
        Item::Value(node) => step_value(grammar, stack, node, byte, out),
        Item::Literal { node, index, at } => {
            let Some(Node::Literals(texts)) = grammar.nodes.get(node as usize) else { return };
            let Some(text) = texts.get(index as usize) else { return };
            push_rest(stack, text, at, byte, out, |at| Item::Literal { node, index, at });
        }
        Item::Key { node, property, at } => {
            let Some(Property { key, .. }) = property_of(grammar, node, property) else { return };
            push_rest(stack, key, at, byte, out, |at| Item::Key { node, property, at });
        }
        Item::Text { min, max, within } => step_text(stack, (min, max, within), byte, out),
        Item::Object { node, next, is_begun } => {
            if byte == b'}' && required_after(grammar, node, next).next().is_none() {
                out.push(stack);
            } else if byte == b',' && is_begun {
                stack.extend([Item::Property { node, next }, Item::Space]);
                out.push(stack);
            } else if !is_begun {
                step_property(grammar, &stack, node, next, byte, out);
            }
        }
        Item::Property { node, next } => step_property(grammar, &stack, node, next, byte, out),
        Item::Array { node, count } => step_array(grammar, stack, node, count, byte, out),
        Item::Number { part, digits, is_integer } => {
            if part.may_end() {
                step(grammar, stack.clone(), byte, out);
            }
            if let Some((part, digits)) = next_part(part, digits, is_integer, byte) {
                stack.push(Item::Number { part, digits, is_integer });
                out.push(stack);
            }
        }
    }
}

fn push_rest(mut stack: Stack, text: &[u8], at: u32, byte: u8, out: &mut Vec<Stack>, item: impl Fn(u32) -> Item) {
    if text.get(at as usize) == Some(&byte) {
        if (at as usize) + 1 < text.len() {
            stack.push(item(at + 1));
        }
        out.push(stack);
    }
}

fn step_value(grammar: &Grammar, mut stack: Stack, node: u32, byte: u8, out: &mut Vec<Stack>) {
    match grammar.nodes.get(node as usize) {
        None => {}
        Some(Node::Literals(texts)) => {
            for (text, index) in texts.iter().zip(0..) {
                push_rest(stack.clone(), text, 0, byte, out, |at| Item::Literal { node, index, at });
            }
        }
        Some(Node::Choice(nodes)) => {
            for &node in nodes {
                step_value(grammar, stack.clone(), node, byte, out);
            }
        }
        Some(Node::Object { .. }) if byte == b'{' => {
            stack.extend([Item::Object { node, next: 0, is_begun: false }, Item::Space]);
            out.push(stack);
        }
        Some(Node::Array { .. }) if byte == b'[' => {
            stack.extend([Item::Array { node, count: 0 }, Item::Space]);
            out.push(stack);
        }
        Some(&Node::Text { min, max }) if byte == b'"' => {
            stack.push(Item::Text { min, max, within: Within::Nothing });
            out.push(stack);
        }
        Some(&Node::Number { is_integer }) => {
            let part = match byte {
                b'-' => Part::Minus,
                b'0' => Part::Zero,
                b'1'..=b'9' => Part::Whole,
                _ => return,
            };
            stack.push(Item::Number { part, digits: 1, is_integer });
            out.push(stack);
        }
        Some(Node::Object { .. } | Node::Array { .. } | Node::Text { .. }) => {}
    }
}

fn step_text(mut stack: Stack, (min, max, within): (u32, u32, Within), byte: u8, out: &mut Vec<Stack>) {
    let begun = |within| Some((min.saturating_sub(1), max - 1, within));
    let next = match within {
        Within::Nothing => match byte {
            b'"' if min == 0 => {
                out.push(stack);
                return;
            }
            b'"' | 0..=0x1f | 0x7f => None,
            _ if max == 0 => None,
            b'\\' => begun(Within::Escape),
            0x20..=0x7e => begun(Within::Nothing),
            0xc2..=0xdf => begun(Within::Utf8 { left: 1, low: 0x80, high: 0xbf }),
            0xe0 => begun(Within::Utf8 { left: 2, low: 0xa0, high: 0xbf }),
            0xed => begun(Within::Utf8 { left: 2, low: 0x80, high: 0x9f }),
            0xe1..=0xef => begun(Within::Utf8 { left: 2, low: 0x80, high: 0xbf }),
            0xf0 => begun(Within::Utf8 { left: 3, low: 0x90, high: 0xbf }),
            0xf1..=0xf3 => begun(Within::Utf8 { left: 3, low: 0x80, high: 0xbf }),
            0xf4 => begun(Within::Utf8 { left: 3, low: 0x80, high: 0x8f }),
            _ => None,
        },
        Within::Escape => match byte {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some((min, max, Within::Nothing)),
            b'u' => Some((min, max, Within::Hex { left: 4, is_after_d: false })),
            _ => None,
        },
        // Surrogates come in pairs or not at all; nothing needs them.
        Within::Hex { left: 3, is_after_d: true } if !byte.is_ascii_digit() || byte > b'7' => None,
        Within::Hex { left: 1, .. } if byte.is_ascii_hexdigit() => Some((min, max, Within::Nothing)),
        Within::Hex { left, .. } if byte.is_ascii_hexdigit() => {
            let is_after_d = left == 4 && matches!(byte, b'd' | b'D');
            Some((min, max, Within::Hex { left: left - 1, is_after_d }))
        }
        Within::Hex { .. } => None,
        Within::Utf8 { left, low, high } if (low..=high).contains(&byte) => Some(match left {
            1 => (min, max, Within::Nothing),
            _ => (min, max, Within::Utf8 { left: left - 1, low: 0x80, high: 0xbf }),
        }),
        Within::Utf8 { .. } => None,
    };
    if let Some((min, max, within)) = next {
        stack.push(Item::Text { min, max, within });
        out.push(stack);
    }
}

fn properties_of(grammar: &Grammar, node: u32) -> (&[Property], Option<u32>) {
    match grammar.nodes.get(node as usize) {
        Some(Node::Object { properties, additional }) => (properties, *additional),
        _ => (&[], None),
    }
}

fn property_of(grammar: &Grammar, node: u32, property: u32) -> Option<&Property> {
    properties_of(grammar, node).0.get(property as usize)
}

fn required_after(grammar: &Grammar, node: u32, next: u32) -> impl Iterator<Item = &Property> {
    properties_of(grammar, node).0.iter().skip(next as usize).filter(|property| property.is_required)
}

/// Begins any property that may come next: up to the first that must come, or a free one if none must.
fn step_property(grammar: &Grammar, stack: &Stack, node: u32, next: u32, byte: u8, out: &mut Vec<Stack>) {
    if byte != b'"' {
        return;
    }
    let (properties, additional) = properties_of(grammar, node);
    for (property, index) in properties.iter().zip(0_u32..).skip(next as usize) {
        let mut begun = stack.clone();
        begun.extend([
            Item::Object { node, next: index + 1, is_begun: true },
            Item::Value(property.node),
            Item::Colon,
            Item::Key { node, property: index, at: 1 },
        ]);
        out.push(begun);
        if property.is_required {
            return;
        }
    }
    if let Some(value) = additional {
        let mut begun = stack.clone();
        let next = properties.len() as u32;
        let text = Item::Text { min: 1, max: 64, within: Within::Nothing };
        begun.extend([Item::Object { node, next, is_begun: true }, Item::Value(value), Item::Colon, text]);
        out.push(begun);
    }
}

fn step_array(grammar: &Grammar, mut stack: Stack, node: u32, count: u32, byte: u8, out: &mut Vec<Stack>) {
    let Some(Node::Array { prefix, items, min, max }) = grammar.nodes.get(node as usize) else { return };
    if byte == b']' {
        if count >= *min {
            out.push(stack);
        }
        return;
    }
    let Some(value) = prefix.get(count as usize).copied().or(*items).filter(|_| count < *max) else { return };
    // Beyond what any bound looks at, counts need not be told apart.
    let told_apart = (prefix.len() as u32).max(*min).max(1);
    let is_first = count == 0;
    let count = if *max == u32::MAX { (count + 1).min(told_apart) } else { count + 1 };
    if is_first {
        stack.push(Item::Array { node, count });
        step_value(grammar, stack, value, byte, out);
    } else if byte == b',' {
        stack.extend([Item::Array { node, count }, Item::Value(value), Item::Space]);
        out.push(stack);
    }
}

fn next_part(part: Part, digits: u8, is_integer: bool, byte: u8) -> Option<(Part, u8)> {
    let is_digit = byte.is_ascii_digit();
    let more = (digits < DIGITS_MAX).then_some(digits + 1);
    match (part, byte) {
        (Part::Minus, b'0') => Some((Part::Zero, 1)),
        (Part::Minus, _) if is_digit => Some((Part::Whole, 1)),
        (Part::Whole, _) if is_digit => more.map(|digits| (Part::Whole, digits)),
        (Part::Zero | Part::Whole, b'.') if !is_integer => Some((Part::Point, 0)),
        (Part::Point, _) if is_digit => Some((Part::Fraction, 1)),
        (Part::Fraction, _) if is_digit => more.map(|digits| (Part::Fraction, digits)),
        (Part::Zero | Part::Whole | Part::Fraction, b'e' | b'E') if !is_integer => Some((Part::E, 0)),
        (Part::E, b'+' | b'-') => Some((Part::Sign, 0)),
        (Part::E | Part::Sign, _) if is_digit => Some((Part::Exponent, 1)),
        // Two digits: what is larger is no finite number for many readers.
        (Part::Exponent, _) if is_digit && digits < 2 => Some((Part::Exponent, digits + 1)),
        _ => None,
    }
}

/// Returns the least bytes that bring a stack to its end.
pub(super) fn minimum(grammar: &Grammar, stack: &Stack) -> u32 {
    let of = |node: u32| grammar.minimums.get(node as usize).copied().unwrap_or(NEVER);
    stack.iter().fold(0_u32, |sum, item| sum.saturating_add(item_minimum(&grammar.nodes, &of, item)).min(NEVER))
}

fn item_minimum(nodes: &[Node], of: &dyn Fn(u32) -> u32, item: &Item) -> u32 {
    match *item {
        Item::Space => 0,
        Item::Colon => 1,
        Item::Value(node) => of(node),
        Item::Literal { node, index, at } => match nodes.get(node as usize) {
            Some(Node::Literals(texts)) => texts.get(index as usize).map_or(0, |text| text.len() as u32 - at),
            _ => 0,
        },
        Item::Key { node, property, at } => match nodes.get(node as usize) {
            Some(Node::Object { properties, .. }) => {
                properties.get(property as usize).map_or(0, |property| property.key.len() as u32 - at)
            }
            _ => 0,
        },
        Item::Text { min, within, .. } => {
            let rest = match within {
                Within::Nothing => 0,
                Within::Escape => 1,
                Within::Hex { left, .. } | Within::Utf8 { left, .. } => u32::from(left),
            };
            min + rest + 1
        }
        Item::Object { node, next, is_begun } => object_minimum(nodes, of, node, next, u32::from(is_begun)),
        Item::Property { node, next } => property_minimum(nodes, of, node, next),
        Item::Array { node, count } => array_minimum(nodes, of, node, count),
        Item::Number { part, .. } => u32::from(!part.may_end()),
    }
}

/// A property costs its key, a colon and its value; all but the first of an object a comma besides.
fn object_minimum(nodes: &[Node], of: &dyn Fn(u32) -> u32, node: u32, next: u32, commas: u32) -> u32 {
    let Some(Node::Object { properties, .. }) = nodes.get(node as usize) else { return 1 };
    let required = properties.iter().skip(next as usize).filter(|property| property.is_required);
    let (sum, count) = required.fold((0_u32, 0_u32), |(sum, count), Property { key, node, .. }| {
        (sum.saturating_add(key.len() as u32 + 1).saturating_add(of(*node)).min(NEVER), count + 1)
    });
    let commas = if count == 0 { 0 } else { count - 1 + commas };
    sum + commas + 1
}

/// Behind a comma a property must come; whether it must by the schema or not, this is what it takes at least.
fn property_minimum(nodes: &[Node], of: &dyn Fn(u32) -> u32, node: u32, next: u32) -> u32 {
    let Some(Node::Object { properties, additional }) = nodes.get(node as usize) else { return 1 };
    let mut least = additional.map_or(NEVER, |value| 4_u32.saturating_add(of(value)));
    for (property, index) in properties.iter().zip(0_u32..).skip(next as usize) {
        let own = (property.key.len() as u32 + 1).saturating_add(of(property.node));
        let rest = object_minimum(nodes, of, node, index + 1, 1);
        least = least.min(own.saturating_add(rest));
        if property.is_required {
            return least.min(NEVER);
        }
    }
    least.saturating_add(1).min(NEVER)
}

fn array_minimum(nodes: &[Node], of: &dyn Fn(u32) -> u32, node: u32, count: u32) -> u32 {
    let Some(Node::Array { prefix, items, min, .. }) = nodes.get(node as usize) else { return 1 };
    let mut sum = 1_u32;
    for index in count..(*min).max(count) {
        let value = prefix.get(index as usize).copied().or(*items).map_or(NEVER, of);
        sum = sum.saturating_add(value).saturating_add(u32::from(index > 0)).min(NEVER);
    }
    sum
}

/// Returns the least bytes of an instance, by node: the least fixed point, because schemas may refer to themselves.
pub(super) fn node_minimums(nodes: &[Node]) -> Vec<u32> {
    let mut found = vec![NEVER; nodes.len()];
    loop {
        let of = |node: u32| found.get(node as usize).copied().unwrap_or(NEVER);
        let minimum = |node: u32| match nodes.get(node as usize) {
            Some(Node::Literals(texts)) => texts.iter().map(|text| text.len() as u32).min().unwrap_or(NEVER),
            Some(Node::Choice(nodes)) => nodes.iter().map(|&node| of(node)).min().unwrap_or(NEVER),
            Some(Node::Object { .. }) => object_minimum(nodes, &of, node, 0, 0).saturating_add(1),
            Some(Node::Array { .. }) => array_minimum(nodes, &of, node, 0).saturating_add(1),
            Some(Node::Text { min, .. }) => min + 2,
            Some(Node::Number { .. }) => 1,
            None => NEVER,
        };
        let next: Vec<u32> = (0..nodes.len() as u32).map(|node| minimum(node).min(NEVER)).collect();
        if next == found {
            return found;
        }
        found = next;
    }
}
