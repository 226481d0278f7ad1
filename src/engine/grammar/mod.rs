//! JSON by schema: which bytes may come next in a text, and which tokens therefore.
//!
//! A schema is compiled into [`Grammar`], a few nodes; a [`Matcher`] follows a text byte by byte as a set of stacks and
//! gives the set of tokens that keep the text a beginning of some instance. It also knows how many bytes each stack
//! still needs at least, so that a text is always brought to its end within its token limit: a token is allowed only if
//! as many tokens are left as bytes are needed after it (every vocabulary has a token for each byte).
//!
//! Texts are written compactly, with at most one space behind `:`, `,`, `{` and `[`: a small model that may write white
//! space anywhere writes nothing else. Properties come in the order of the schema, if it is an [`OrderedSchema`], else of their names. What a schema may say is in
//! [`schema`]; what is not listed there is refused by name, never passed over.
//!
//! Own code, because the library for it (llguidance) turns on `serde_json/preserve_order` for the whole program, which
//! would change the content address of every stored fact.

mod schema;
mod stack;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

pub use schema::{OrderedSchema, SchemaError};

use self::stack::{NEVER, Stack, minimum, normalized, step};
use super::tokenizer::TokenTrie;

/// Token sets that are kept for use again, per grammar.
const CACHED_SETS_MAX: usize = 1024;
/// No token stands for more bytes.
const TOKEN_BYTES_MAX: u32 = 256;

/// What a value may be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    /// One of these texts.
    Literals(Vec<Vec<u8>>),
    /// One of these nodes.
    Choice(Vec<u32>),
    /// An object; free keys have values of `additional`.
    Object { properties: Vec<Property>, additional: Option<u32> },
    /// An array.
    Array { prefix: Vec<u32>, items: Option<u32>, min: u32, max: u32 },
    /// A string of so many characters.
    Text { min: u32, max: u32 },
    /// A number.
    Number { is_integer: bool },
}

/// A property of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Property {
    /// The key as JSON, in quotes.
    key: Vec<u8>,
    node: u32,
    is_required: bool,
}

/// A compiled schema.
#[derive(Debug)]
pub struct Grammar {
    nodes: Vec<Node>,
    root: u32,
    /// Least bytes of an instance, by node.
    minimums: Vec<u32>,
    sets: Mutex<HashMap<Vec<Stack>, Arc<TokenSet>>>,
}

impl PartialEq for Grammar {
    fn eq(&self, other: &Self) -> bool {
        (&self.nodes, self.root) == (&other.nodes, other.root)
    }
}

impl Grammar {
    /// Compiles a JSON schema.
    ///
    /// # Errors
    /// [`SchemaError`] for what is no schema, or says what is not supported.
    pub fn compile(schema: &serde_json::Value) -> Result<Self, SchemaError> {
        let (nodes, root) = schema::compile(schema)?;
        let minimums = stack::node_minimums(&nodes);
        Ok(Self { nodes, root, minimums, sets: Mutex::default() })
    }

    /// Returns the least bytes, and so tokens, that an instance takes.
    #[must_use]
    pub fn tokens_min(&self) -> u32 {
        self.minimums.get(self.root as usize).copied().unwrap_or(0)
    }
}

/// A set of token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSet {
    bits: Vec<u64>,
}

impl TokenSet {
    /// Returns the empty set over a vocabulary of this size.
    #[must_use]
    pub fn empty(vocabulary: usize) -> Self {
        Self { bits: vec![0; vocabulary.div_ceil(64)] }
    }

    /// Adds a token.
    pub fn insert(&mut self, token: u32) {
        if let Some(word) = self.bits.get_mut(token as usize / 64) {
            *word |= 1 << (token % 64);
        }
    }

    /// Returns whether a token is in it.
    #[must_use]
    pub fn contains(&self, token: u32) -> bool {
        self.bits.get(token as usize / 64).is_some_and(|word| word >> (token % 64) & 1 == 1)
    }

    /// Returns whether it has no token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bits.iter().all(|&word| word == 0)
    }

    /// Returns the tokens, ascending.
    pub fn tokens(&self) -> impl Iterator<Item = u32> {
        self.bits
            .iter()
            .zip(0_u32..)
            .flat_map(|(&word, index)| (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| index * 64 + bit))
    }
}

/// Follows one text.
#[derive(Debug, Clone)]
pub struct Matcher {
    grammar: Arc<Grammar>,
    /// Every way in which the text may go on; an empty stack is the end of the instance.
    stacks: Vec<Stack>,
}

impl Matcher {
    /// Starts at the beginning of an instance.
    #[must_use]
    pub fn new(grammar: Arc<Grammar>) -> Self {
        let stacks = vec![stack::start(grammar.root)];
        Self { grammar, stacks }
    }

    /// Takes the bytes of a token; returns whether the text is still a beginning of an instance.
    pub fn advance(&mut self, bytes: &[u8]) -> bool {
        for &byte in bytes {
            self.stacks = advanced(&self.grammar, &self.stacks, byte);
        }
        !self.stacks.is_empty()
    }

    /// Returns whether the text is an instance as it is.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.stacks.iter().any(stack::may_end)
    }

    /// Returns whether nothing can follow.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.stacks.iter().all(Vec::is_empty)
    }

    /// Returns the tokens that may come next if `tokens_left`, that token included, are left.
    #[must_use]
    pub fn allowed(&self, trie: &TokenTrie, tokens_left: u32) -> Arc<TokenSet> {
        let needed = self.needed(&self.stacks);
        // A token may open values that need more than the text did before; far from the limit that does not matter.
        let widest = self.grammar.minimums.iter().copied().max().unwrap_or(0);
        let is_tight = tokens_left <= needed.saturating_add(widest).saturating_add(TOKEN_BYTES_MAX);
        if is_tight {
            return Arc::new(self.walk(trie, &self.stacks, tokens_left.saturating_sub(1)));
        }
        let mut key: Vec<Stack> = self.stacks.iter().map(|stack| normalized(stack, TOKEN_BYTES_MAX)).collect();
        key.sort_unstable();
        key.dedup();
        let sets = || self.grammar.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(set) = sets().get(&key) {
            return Arc::clone(set);
        }
        let set = Arc::new(self.walk(trie, &key, u32::MAX));
        let mut sets = sets();
        if sets.len() >= CACHED_SETS_MAX {
            sets.clear();
        }
        sets.insert(key, Arc::clone(&set));
        set
    }

    fn needed(&self, stacks: &[Stack]) -> u32 {
        stacks.iter().map(|stack| minimum(&self.grammar, stack)).min().unwrap_or(u32::MAX)
    }

    /// Tries every token, byte by byte through the trie.
    fn walk(&self, trie: &TokenTrie, stacks: &[Stack], needed_max: u32) -> TokenSet {
        let mut set = TokenSet::empty(trie.vocabulary());
        let mut open = vec![(TokenTrie::ROOT, stacks.to_vec())];
        while let Some((node, stacks)) = open.pop() {
            for (byte, child) in trie.children(node) {
                let next = advanced(&self.grammar, &stacks, byte);
                // A way that never ends, such as a comma behind the last property, is none, however far the limit is.
                let needed = self.needed(&next);
                if next.is_empty() || needed >= NEVER {
                    continue;
                }
                if needed <= needed_max {
                    trie.tokens(child).iter().for_each(|&token| set.insert(token));
                }
                open.push((child, next));
            }
        }
        set
    }
}

fn advanced(grammar: &Grammar, stacks: &[Stack], byte: u8) -> Vec<Stack> {
    let mut next = Vec::with_capacity(stacks.len());
    for stack in stacks {
        step(grammar, stack.clone(), byte, &mut next);
    }
    if next.len() > 1 {
        next.sort_unstable();
        next.dedup();
    }
    next
}
