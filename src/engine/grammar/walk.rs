//! Tests all tokens together: a walk through the trie of all tokens, with an automaton that is built during the walk.
//!
//! Equal levels are one state, and the effect of a byte on a state is computed once; most of the trie is then a table
//! lookup. The cost of a new state is the number of its items, and a limit on this work ends the walk.

use std::borrow::Cow;
use std::collections::HashMap;

use super::error::TooComplex;
use super::machine::{self, Costs, Item, Level, Move};
use super::rules::{NEVER, Rules};
use super::token_set::TokenSet;
use crate::tokenizer::TokenTrie;

/// Tokens of more bytes are never allowed.
pub(super) const TOKEN_BYTES_MAX: u32 = 256;

/// Represents the levels below those that a token can reach.
const BOTTOM: u32 = 0;

/// The effect of a byte on a state, as ids of states, tails and sets of nodes.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    Dead,
    Stay(u32),
    Open { waiting: u32, top: u32 },
    Close(u32),
    CloseBefore(u32),
}

/// A distinct level.
struct State {
    items: Vec<Item>,
    /// By byte: indices into `outcomes`, 0 for bytes that were not computed yet; empty until the first byte is
    /// computed.
    moves: Vec<u32>,
}

/// A waiting level, on top of others.
struct Tail<'a> {
    waiting: u32,
    below: u32,
    costs: Cow<'a, [(u32, u32)]>,
}

/// The limit that tokens must respect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// Tokens may begin any part that can end.
    None,
    /// After the token, at most this many bytes are needed.
    Needed(u32),
}

pub(super) struct Walk<'a> {
    rules: &'a Rules,
    limit: Limit,
    states: Vec<State>,
    outcomes: Vec<Outcome>,
    state_ids: HashMap<Vec<Item>, u32>,
    tails: Vec<Tail<'a>>,
    /// Keyed by the waiting state and the tail below it.
    tail_ids: HashMap<(u32, u32), u32>,
    nodes: Vec<Vec<u32>>,
    node_ids: HashMap<Vec<u32>, u32>,
    /// The successor of a waiting state after its value was one of a set of nodes; keyed by both.
    closed: HashMap<(u32, u32), u32>,
    /// Keyed by state and tail.
    needed: HashMap<(u32, u32), u32>,
    /// Items that were examined and created.
    work: usize,
    work_max: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(rules: &'a Rules, limit: Limit, work_max: usize) -> Self {
        let bottom = Tail { waiting: 0, below: BOTTOM, costs: Cow::Borrowed(&[]) };
        Self {
            rules,
            limit,
            states: Vec::new(),
            outcomes: vec![Outcome::Dead],
            state_ids: HashMap::new(),
            tails: vec![bottom],
            tail_ids: HashMap::new(),
            nodes: Vec::new(),
            node_ids: HashMap::new(),
            closed: HashMap::new(),
            needed: HashMap::new(),
            work: 0,
            work_max,
        }
    }

    /// Returns the tokens that continue a text whose levels are `below` and, on top, `top`, and the work of finding
    /// them.
    ///
    /// # Errors
    /// [`TooComplex`] if the work exceeds the limit.
    pub(super) fn tokens(
        mut self,
        trie: &TokenTrie,
        below: &'a [Level],
        top: &[Item],
    ) -> Result<(TokenSet, usize), TooComplex> {
        let mut tail = BOTTOM;
        for level in reachable(below) {
            let waiting = self.state(level.waiting.clone())?;
            self.tails.push(Tail { waiting, below: tail, costs: Cow::Borrowed(&level.costs) });
            tail = self.tails.len() as u32 - 1;
            if let Some(below) = self.tails.get(tail as usize).map(|tail| tail.below) {
                self.tail_ids.insert((waiting, below), tail);
            }
        }
        let mut set = TokenSet::empty(trie.vocabulary());
        let top = self.state(top.to_vec())?;
        let mut open = vec![(TokenTrie::ROOT, top, tail, 0)];
        while let Some((node, top, tail, bytes)) = open.pop() {
            for (byte, child) in trie.children(node) {
                let Some((top, tail)) = self.follow(top, tail, byte)? else { continue };
                if self.is_within(top, tail)? {
                    trie.tokens(child).iter().for_each(|&token| set.insert(token));
                }
                if bytes + 1 < TOKEN_BYTES_MAX {
                    open.push((child, top, tail, bytes + 1));
                }
            }
        }
        Ok((set, self.work))
    }

    fn state(&mut self, items: Vec<Item>) -> Result<u32, TooComplex> {
        if let Some(&state) = self.state_ids.get(&items) {
            return Ok(state);
        }
        // The state's table counts as work also.
        self.spend(items.len() + 64)?;
        let state = self.states.len() as u32;
        self.state_ids.insert(items.clone(), state);
        self.states.push(State { items, moves: Vec::new() });
        Ok(state)
    }

    fn spend(&mut self, work: usize) -> Result<(), TooComplex> {
        self.work += work;
        if self.work > self.work_max { Err(TooComplex) } else { Ok(()) }
    }

    /// Follows a byte; `None` if no text continues with it.
    fn follow(&mut self, mut top: u32, mut tail: u32, byte: u8) -> Result<Option<(u32, u32)>, TooComplex> {
        loop {
            let (nodes, is_taken) = match self.outcome(top, byte)? {
                Outcome::Dead => return Ok(None),
                Outcome::Stay(top) => return Ok(Some((top, tail))),
                Outcome::Open { waiting, top } => return Ok(Some((top, self.tail(waiting, tail)?))),
                Outcome::Close(nodes) => (nodes, true),
                Outcome::CloseBefore(nodes) => (nodes, false),
            };
            let Some((waiting, below)) = self.tails.get(tail as usize).map(|tail| (tail.waiting, tail.below)) else {
                return Ok(None);
            };
            if tail == BOTTOM {
                return Ok(None);
            }
            top = self.close(waiting, nodes)?;
            tail = below;
            if self.states.get(top as usize).is_none_or(|state| state.items.is_empty()) {
                return Ok(None);
            }
            if is_taken {
                return Ok(Some((top, tail)));
            }
        }
    }

    fn outcome(&mut self, state: u32, byte: u8) -> Result<Outcome, TooComplex> {
        let Some(State { items, moves }) = self.states.get(state as usize) else { return Ok(Outcome::Dead) };
        let known = moves.get(usize::from(byte)).copied().unwrap_or(0);
        if let Some(&outcome) = self.outcomes.get(known as usize).filter(|_| known > 0) {
            return Ok(outcome);
        }
        let mut work = 0;
        let next = machine::step(self.rules, items, byte, &mut work);
        self.spend(work)?;
        let outcome = match next {
            Move::Stay(items) if items.is_empty() => Outcome::Dead,
            Move::Stay(items) => Outcome::Stay(self.state(items)?),
            Move::Open { waiting, top } => Outcome::Open { waiting: self.state(waiting)?, top: self.state(top)? },
            Move::Close(nodes) => Outcome::Close(self.node_set(nodes)?),
            Move::CloseBefore(nodes) => Outcome::CloseBefore(self.node_set(nodes)?),
        };
        let known = self.outcomes.len() as u32;
        self.outcomes.push(outcome);
        if let Some(State { moves, .. }) = self.states.get_mut(state as usize) {
            if moves.is_empty() {
                *moves = vec![0; 256];
            }
            if let Some(place) = moves.get_mut(usize::from(byte)) {
                *place = known;
            }
        }
        Ok(outcome)
    }

    fn node_set(&mut self, nodes: Vec<u32>) -> Result<u32, TooComplex> {
        // Each byte that does not continue a number closes it: the set of its nodes must be one id, so that it is
        // closed once.
        if let Some(&set) = self.node_ids.get(&nodes) {
            return Ok(set);
        }
        self.spend(nodes.len())?;
        let set = self.nodes.len() as u32;
        self.node_ids.insert(nodes.clone(), set);
        self.nodes.push(nodes);
        Ok(set)
    }

    fn close(&mut self, waiting: u32, nodes: u32) -> Result<u32, TooComplex> {
        if let Some(&state) = self.closed.get(&(waiting, nodes)) {
            return Ok(state);
        }
        let items = self.states.get(waiting as usize).map(|state| state.items.as_slice()).unwrap_or_default();
        let set = self.nodes.get(nodes as usize).map(Vec::as_slice).unwrap_or_default();
        let mut work = 0;
        let items = machine::closed(self.rules, items, set, &mut work);
        self.spend(work)?;
        let state = self.state(items)?;
        self.closed.insert((waiting, nodes), state);
        Ok(state)
    }

    fn tail(&mut self, waiting: u32, below: u32) -> Result<u32, TooComplex> {
        if let Some(&tail) = self.tail_ids.get(&(waiting, below)) {
            return Ok(tail);
        }
        let mut work = 0;
        let costs = match (self.limit, self.states.get(waiting as usize), self.tails.get(below as usize)) {
            (Limit::Needed(_), Some(state), Some(tail)) => {
                machine::costs(self.rules, &state.items, &tail.costs, &mut work)
            }
            _ => Costs::new(),
        };
        self.spend(work)?;
        self.tails.push(Tail { waiting, below, costs: Cow::Owned(costs) });
        let tail = self.tails.len() as u32 - 1;
        self.tail_ids.insert((waiting, below), tail);
        Ok(tail)
    }

    fn is_within(&mut self, top: u32, tail: u32) -> Result<bool, TooComplex> {
        let Limit::Needed(most) = self.limit else { return Ok(true) };
        if let Some(&needed) = self.needed.get(&(top, tail)) {
            return Ok(needed <= most);
        }
        let (needed, work) = match (self.states.get(top as usize), self.tails.get(tail as usize)) {
            (Some(state), Some(tail)) => {
                (machine::needed(self.rules, &state.items, &tail.costs), machine::weight(&state.items))
            }
            _ => (NEVER, 0),
        };
        self.spend(work)?;
        self.needed.insert((top, tail), needed);
        Ok(needed <= most)
    }
}

/// Returns the levels that a token can reach: each level that ends takes at least one byte.
pub(super) fn reachable(below: &[Level]) -> &[Level] {
    below.get(below.len().saturating_sub(TOKEN_BYTES_MAX as usize + 1)..).unwrap_or_default()
}
