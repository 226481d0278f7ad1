//! JSON by schema: the bytes, and therefore the tokens, that may come next in a text.
//!
//! A schema is compiled into a [`Grammar`], a bounded number of nodes (`rules`). A [`Matcher`] follows a text byte by
//! byte as a stack of levels (`machine`) and returns the set of tokens after which the text is still the beginning of
//! an instance (`walk`). The matcher also computes the minimum number of bytes that the text still needs, so that every
//! text ends within its token limit: a token is allowed only if the tokens left after it are at least the bytes needed
//! after it (every vocabulary has a token for each byte).
//!
//! Texts are compact, with at most one space after `:`, `,`, `{` and `[`: a small model that may write white space
//! anywhere writes nothing else. Properties follow the order of the schema if it is an [`OrderedSchema`], otherwise the
//! order of their names. Module [`schema`] lists the supported keywords; any other keyword is rejected by name, never
//! ignored.
//!
//! Schemas are untrusted input. The compiled size is bounded, a level has at most as many items as the schema has
//! parts, and the work of a step and the memory of a text have bounds of their own ([`TooComplex`]).
//!
//! This code does not use the library for the task (llguidance), because llguidance enables `serde_json/preserve_order`
//! for the whole program, which would change the content address of every stored fact.

#![warn(clippy::indexing_slicing)] // what is read here comes from anywhere

#[cfg(any(test, feature = "testing"))]
pub mod fuzz;
mod error;
mod machine;
mod ordered;
mod path;
mod rules;
mod schema;
mod text;
mod token_set;
mod walk;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

pub use error::SchemaError;
pub(crate) use error::TooComplex;
pub use ordered::OrderedSchema;
pub(crate) use token_set::TokenSet;

use self::machine::{Item, Level, Move};
use self::rules::Rules;
use self::walk::{Limit, TOKEN_BYTES_MAX, Walk};
use super::tokenizer::TokenTrie;

/// Maximum cached token sets per grammar.
const CACHED_SETS_MAX: usize = 256;
/// Maximum items of the levels that serve as keys of the cached sets, per grammar.
const CACHED_ITEMS_MAX: usize = 1 << 15;
/// Maximum items and costs of all levels of one text.
const LEVEL_ITEMS_MAX: usize = 1 << 17;
/// Maximum items that one step may examine and create: about a tenth of a second, far above the needs of usual schemas.
const STEP_WORK_MAX: usize = 1 << 21;
/// Long-term average of the work of a text's steps, and the additional work that any run of steps may take. The next
/// token of every sequence waits for a step, so no text may use the maximum in each of its steps.
const TOKEN_WORK_MAX: usize = 1 << 17;
const TEXT_WORK_MAX: usize = 1 << 23;
/// Maximum bytes of the rest of a character: `u0000` after a backslash.
const CHARACTER_BYTES_MAX: u32 = 5;

/// A compiled schema.
#[derive(Debug)]
pub struct Grammar {
    rules: Rules,
    /// Where a test makes the matchers panic.
    #[cfg(test)]
    planted: Option<Planted>,
    sets: Mutex<Sets>,
}

/// A panic that a test plants.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// When a token is added.
    Advance,
    /// When the allowed tokens are computed.
    Allowed,
}

/// The levels that decide which bytes may come next, innermost last.
type LevelsKey = Vec<Box<[Item]>>;

/// Cached token sets, by the levels that decide them.
#[derive(Debug, Default)]
struct Sets {
    by_levels: HashMap<LevelsKey, Arc<TokenSet>>,
    items: usize,
}

impl PartialEq for Grammar {
    fn eq(&self, other: &Self) -> bool {
        self.rules == other.rules
    }
}

impl Grammar {
    /// Compiles a JSON schema.
    ///
    /// # Errors
    /// [`SchemaError`] for a value that is not a schema, uses unsupported keywords, or exceeds a limit.
    pub fn compile(schema: &serde_json::Value) -> Result<Self, SchemaError> {
        Ok(Self {
            rules: schema::compile(schema)?,
            #[cfg(test)]
            planted: None,
            sets: Mutex::default(),
        })
    }

    /// Plants a panic.
    #[cfg(test)]
    pub fn planted(self, planted: Planted) -> Self {
        Self { planted: Some(planted), ..self }
    }

    /// Returns the least bytes, and therefore tokens, of an instance.
    #[must_use]
    pub fn tokens_min(&self) -> u32 {
        self.rules.minimum(self.rules.root())
    }

    /// Returns the most bytes that a token can add to the needs of the most expensive continuation: the parts that the
    /// token begins may need more than the parts that were counted before. This holds for a property or item of the top
    /// level and of each level that the token opens, for the values of these, once more for a value that is a literal
    /// (one of several, with several lengths), and for the rest of a key, string or character.
    fn growth(&self, trie: &TokenTrie) -> u32 {
        self.rules.widest().saturating_mul(trie.brackets_max().saturating_add(2)).saturating_add(CHARACTER_BYTES_MAX)
    }
}

/// Follows one text.
#[derive(Debug, Clone)]
pub(crate) struct Matcher {
    grammar: Arc<Grammar>,
    /// The values that have begun and not ended, outermost first. Their number is the open brackets of the text plus
    /// one, and each takes a byte to close, so the token limit bounds them.
    below: Vec<Level>,
    /// The items expected next; empty if the text is not the beginning of an instance.
    top: Vec<Item>,
    /// Number of items and costs in `below`.
    level_items: usize,
    /// Remaining budget of items to examine and create. Results that another text of the same grammar has cached cost
    /// little, so a text near the limit may fail alone and succeed in company.
    work_left: usize,
}

impl Matcher {
    /// Starts at the beginning of an instance.
    #[must_use]
    pub(crate) fn new(grammar: Arc<Grammar>) -> Self {
        Self { grammar, below: Vec::new(), top: vec![Item::Root], level_items: 0, work_left: TEXT_WORK_MAX }
    }

    /// Adds the bytes of a token; returns whether the text is still the beginning of an instance.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> bool {
        #[cfg(test)]
        assert!(self.grammar.planted != Some(Planted::Advance), "planted in advance");
        for &byte in bytes {
            while !self.take(byte) {}
        }
        !self.top.is_empty()
    }

    /// Processes a byte; returns false if a level ended before the byte, which then still has to be processed.
    fn take(&mut self, byte: u8) -> bool {
        let rules = &self.grammar.rules;
        let mut work = 0;
        let (nodes, is_taken) = match machine::step(rules, &self.top, byte, &mut work) {
            Move::Stay(items) => {
                self.top = items;
                self.spend(work);
                return true;
            }
            Move::Open { waiting, top } => {
                let costs = machine::costs(rules, &waiting, self.costs(), &mut work);
                let most = machine::most(rules, &waiting, self.most_below());
                self.level_items += waiting.len() + costs.len();
                self.below.push(Level { waiting, costs, most });
                self.top = top;
                self.spend(work);
                return true;
            }
            Move::Close(nodes) => (nodes, true),
            Move::CloseBefore(nodes) => (nodes, false),
        };
        self.top = match self.below.pop() {
            Some(Level { waiting, costs, .. }) => {
                self.level_items -= waiting.len() + costs.len();
                machine::closed(rules, &waiting, &nodes, &mut work)
            }
            None => Vec::new(),
        };
        self.spend(work);
        is_taken
    }

    fn spend(&mut self, work: usize) {
        self.work_left = self.work_left.saturating_sub(work);
    }

    fn costs(&self) -> &[(u32, u32)] {
        self.below.last().map(|level| level.costs.as_slice()).unwrap_or_default()
    }

    fn most_below(&self) -> u32 {
        self.below.last().map_or(0, |level| level.most)
    }

    /// Returns whether the text is a complete instance.
    #[must_use]
    pub(crate) fn is_complete(&self) -> bool {
        match self.below.as_slice() {
            [] => self.top.contains(&Item::End),
            // A number at the outermost level may still continue.
            [level] => {
                let nodes = machine::completed(&self.grammar.rules, &self.top);
                !machine::closed(&self.grammar.rules, &level.waiting, &nodes, &mut 0).is_empty()
            }
            _ => false,
        }
    }

    /// Returns whether nothing can follow the text.
    #[must_use]
    pub(crate) fn is_finished(&self) -> bool {
        self.top.iter().all(|item| *item == Item::End)
    }

    /// Returns the least bytes that complete the text.
    #[cfg(any(test, feature = "testing"))]
    fn needed(&self) -> u32 {
        machine::needed(&self.grammar.rules, &self.top, self.costs())
    }

    /// Returns the most bytes that the text needs after any token that continues it.
    fn far(&self, trie: &TokenTrie) -> u32 {
        let most = machine::most(&self.grammar.rules, &self.top, self.most_below());
        most.saturating_add(self.grammar.growth(trie))
    }

    /// Returns the tokens that may come next if `tokens_left` tokens are left, the next token included.
    ///
    /// # Errors
    /// [`TooComplex`] if the search exceeds the work limit of a step, or if the text exceeds its work or memory limit.
    pub(crate) fn allowed(&mut self, trie: &TokenTrie, tokens_left: u32) -> Result<Arc<TokenSet>, TooComplex> {
        #[cfg(test)]
        assert!(self.grammar.planted != Some(Planted::Allowed), "planted in allowed");
        if self.level_items > LEVEL_ITEMS_MAX || self.work_left == 0 {
            return Err(TooComplex);
        }
        let work_max = self.work_left.min(STEP_WORK_MAX);
        let (set, work) = self.found(trie, tokens_left, work_max)?;
        // Work that cheap steps save is not carried beyond the initial budget; otherwise a long text could end with an
        // equally long run of the most expensive steps.
        self.work_left = (self.work_left + TOKEN_WORK_MAX).saturating_sub(work).min(TEXT_WORK_MAX);
        Ok(set)
    }

    /// Returns the tokens that may come next, and the work of finding them.
    fn found(&self, trie: &TokenTrie, tokens_left: u32, work_max: usize) -> Result<(Arc<TokenSet>, usize), TooComplex> {
        let rules = &self.grammar.rules;
        // A token may open values that need more bytes than the text did before; far from the limit this has no effect.
        if tokens_left <= self.far(trie) {
            let walk = Walk::new(rules, Limit::Needed(tokens_left.saturating_sub(1)), work_max);
            let (set, work) = walk.tokens(trie, &self.below, &self.top)?;
            return Ok((Arc::new(set), work + machine::weight(&self.top)));
        }
        let top = machine::within_reach(&self.top, TOKEN_BYTES_MAX);
        let levels = walk::reachable(&self.below).iter().map(|level| level.waiting.as_slice());
        let key: LevelsKey = levels.chain([top.as_slice()]).map(Box::from).collect();
        let key_work = machine::weight(&self.top) + key.iter().map(|items| items.len()).sum::<usize>();
        let sets = || self.grammar.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(set) = sets().by_levels.get(&key) {
            return Ok((Arc::clone(set), key_work));
        }
        let (set, work) = Walk::new(rules, Limit::None, work_max).tokens(trie, &self.below, &top)?;
        let set = Arc::new(set);
        sets().keep(key, Arc::clone(&set));
        Ok((set, work + key_work))
    }
}

impl Sets {
    fn keep(&mut self, key: LevelsKey, set: Arc<TokenSet>) {
        let items: usize = key.iter().map(|items| items.len()).sum();
        if self.by_levels.len() >= CACHED_SETS_MAX || self.items + items > CACHED_ITEMS_MAX {
            self.by_levels.clear();
            self.items = 0;
        }
        if items <= CACHED_ITEMS_MAX {
            self.items += items;
            self.by_levels.insert(key, set);
        }
    }
}
