//! JSON by schema: which bytes may come next in a text, and which tokens therefore.
//!
//! A schema is compiled into [`Grammar`], a bounded number of nodes (`rules`); a [`Matcher`] follows a text byte by byte as a
//! stack of levels (`machine`) and gives the set of tokens that keep the text a beginning of some instance (`walk`). It also
//! knows how many bytes the text still needs at least, so that a text is always brought to its end within its token limit: a
//! token is allowed only if as many tokens are left as bytes are needed after it (every vocabulary has a token for each
//! byte).
//!
//! Texts are written compactly, with at most one space behind `:`, `,`, `{` and `[`: a small model that may write white
//! space anywhere writes nothing else. Properties come in the order of the schema, if it is an [`OrderedSchema`], else of
//! their names. What a schema may say is in [`schema`]; what is not listed there is refused by name, never passed over.
//!
//! Schemas come from anyone. What is compiled is bounded, a level has no more items than the schema has parts, and the work
//! of a step and the memory of a text have bounds of their own ([`TooComplex`]).
//!
//! Own code, because the library for it (llguidance) turns on `serde_json/preserve_order` for the whole program, which
//! would change the content address of every stored fact.

#[doc(hidden)]
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

pub use error::{SchemaError, TooComplex};
pub use ordered::OrderedSchema;
pub use token_set::TokenSet;

use self::machine::{Item, Level, Move};
use self::rules::Rules;
use self::walk::{Limit, TOKEN_BYTES_MAX, Walk};
use super::tokenizer::TokenTrie;

/// Token sets that are kept for use again, per grammar.
const CACHED_SETS_MAX: usize = 256;
/// Items of the levels that the kept sets are found by, per grammar.
const CACHED_ITEMS_MAX: usize = 1 << 15;
/// Items and costs of all levels of one text.
const LEVEL_ITEMS_MAX: usize = 1 << 17;
/// Items that one step may look at and make: about a tenth of a second, and far beyond what schemas of the usual kind take.
const STEP_WORK_MAX: usize = 1 << 21;
/// What the steps of a text may take in the long run, each, and what any run of them may take besides. Everybody's next
/// token waits for a step: no text may take the most on each of its steps.
const TOKEN_WORK_MAX: usize = 1 << 17;
const TEXT_WORK_MAX: usize = 1 << 23;
/// Bytes that the rest of a character takes at most: `u0000` behind a backslash.
const CHARACTER_BYTES_MAX: u32 = 5;

/// A compiled schema.
#[derive(Debug)]
pub struct Grammar {
    rules: Rules,
    /// Where a test wants its matchers to panic.
    #[cfg(test)]
    planted: Option<Planted>,
    sets: Mutex<Sets>,
}

/// A panic for tests.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// When a token is taken.
    Advance,
    /// When tokens are asked for.
    Allowed,
}

/// The levels that decide what may come next, innermost last.
type LevelsKey = Vec<Box<[Item]>>;

/// Kept token sets, by the levels that decide them.
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
    /// [`SchemaError`] for what is no schema, or says what is not supported, or is larger than schemas may be.
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

    /// Returns the least bytes, and so tokens, that an instance takes.
    #[must_use]
    pub fn tokens_min(&self) -> u32 {
        self.rules.minimum(self.rules.root())
    }

    /// Returns how many bytes a token can add at most to what the costliest way to go on needs: what it begins may take more
    /// than what was counted in its place. That may be so for a property or item of the last level and of each that it opens,
    /// for the values of these, once more for a value that is a literal (one of several, and of several lengths), and for the
    /// rest of a key, string or character.
    fn growth(&self, trie: &TokenTrie) -> u32 {
        self.rules.widest().saturating_mul(trie.brackets_max().saturating_add(2)).saturating_add(CHARACTER_BYTES_MAX)
    }
}

/// Follows one text.
#[derive(Debug, Clone)]
pub struct Matcher {
    grammar: Arc<Grammar>,
    /// The values that have begun and not ended, outermost first: as many as the text has open brackets and one more, and
    /// each takes a byte to close, so that the token limit bounds them.
    below: Vec<Level>,
    /// What is expected next; nothing if the text is no beginning of an instance.
    top: Vec<Item>,
    /// Items and costs in `below`.
    level_items: usize,
    /// Items that may still be looked at and made. What another text has found already and a grammar keeps costs little: a
    /// text near the bound may fail alone that would come through in company.
    work_left: usize,
}

impl Matcher {
    /// Starts at the beginning of an instance.
    #[must_use]
    pub fn new(grammar: Arc<Grammar>) -> Self {
        Self { grammar, below: Vec::new(), top: vec![Item::Root], level_items: 0, work_left: TEXT_WORK_MAX }
    }

    /// Takes the bytes of a token; returns whether the text is still a beginning of an instance.
    pub fn advance(&mut self, bytes: &[u8]) -> bool {
        #[cfg(test)]
        assert!(self.grammar.planted != Some(Planted::Advance), "planted in advance");
        for &byte in bytes {
            while !self.take(byte) {}
        }
        !self.top.is_empty()
    }

    /// Takes a byte; returns whether it is taken, or else a level has ended before it.
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

    /// Returns whether the text is an instance as it is.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        match self.below.as_slice() {
            [] => self.top.contains(&Item::End),
            // A number at the outermost level may go on.
            [level] => {
                let nodes = machine::completed(&self.grammar.rules, &self.top);
                !machine::closed(&self.grammar.rules, &level.waiting, &nodes, &mut 0).is_empty()
            }
            _ => false,
        }
    }

    /// Returns whether nothing can follow.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.top.iter().all(|item| *item == Item::End)
    }

    /// Returns the least bytes that bring the text to its end.
    fn needed(&self) -> u32 {
        machine::needed(&self.grammar.rules, &self.top, self.costs())
    }

    /// Returns how many bytes the text needs at most behind any token that goes on with it.
    fn far(&self, trie: &TokenTrie) -> u32 {
        let most = machine::most(&self.grammar.rules, &self.top, self.most_below());
        most.saturating_add(self.grammar.growth(trie))
    }

    /// Returns the tokens that may come next if `tokens_left`, that token included, are left.
    ///
    /// # Errors
    /// [`TooComplex`] if finding them takes more work than a step may, or the text more work or memory than a text may.
    pub fn allowed(&mut self, trie: &TokenTrie, tokens_left: u32) -> Result<Arc<TokenSet>, TooComplex> {
        #[cfg(test)]
        assert!(self.grammar.planted != Some(Planted::Allowed), "planted in allowed");
        if self.level_items > LEVEL_ITEMS_MAX || self.work_left == 0 {
            return Err(TooComplex);
        }
        let work_max = self.work_left.min(STEP_WORK_MAX);
        let (set, work) = self.found(trie, tokens_left, work_max)?;
        // What cheap steps leave over is not saved up: else a long text could end in as long a run of the costliest steps.
        self.work_left = (self.work_left + TOKEN_WORK_MAX).saturating_sub(work).min(TEXT_WORK_MAX);
        Ok(set)
    }

    /// Returns the tokens that may come next, and the work of finding them.
    fn found(&self, trie: &TokenTrie, tokens_left: u32, work_max: usize) -> Result<(Arc<TokenSet>, usize), TooComplex> {
        let rules = &self.grammar.rules;
        // A token may open values that need more than the text did before; far from the limit that does not matter.
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
