//! What a step of the model takes and gives: rows, block tables, draws, picked tokens.

use std::sync::Arc;

use crate::grammar::TokenSet;

/// Positions in one block of keys and values.
pub const BLOCK_TOKENS: usize = 16;

/// Index of a KV block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub usize);

/// One token of one sequence, to be run in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Token id.
    pub token: u32,
    /// 0-based position in its sequence.
    pub position: usize,
    /// Index into the step's block tables.
    pub table: usize,
    /// Whether a token is to be picked after this one.
    pub wants_logits: bool,
}

/// Everything one step needs to know.
///
/// Every row's position lies inside its table's blocks, positions below it have been run before or stand earlier in
/// this step, and blocks that are written belong to one sequence only.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StepInput {
    /// Rows of one sequence stand together, positions ascending.
    pub rows: Vec<Row>,
    /// One block table per sequence: the blocks that hold its positions, in order.
    pub tables: Vec<Vec<BlockId>>,
}

/// How one token is picked from its row of logits.
#[derive(Debug, Clone, PartialEq)]
pub struct Draw {
    /// 0 takes the highest logit; otherwise logits are divided by it.
    pub temperature: f32,
    /// Nucleus, in (0, 1]; 1 keeps all.
    pub top_p: f32,
    /// How many of the likeliest tokens are kept; 0 keeps all.
    pub top_k: u32,
    /// Tokens less likely than this share of the likeliest one are dropped, in 0..1; 0 keeps all.
    pub min_p: f32,
    /// The random number, in [0, 1).
    pub uniform: f32,
    /// The only tokens that may be picked, if not all; not on CUDA devices.
    pub allowed: Option<Arc<TokenSet>>,
}

impl Draw {
    /// Returns the draw that takes the highest logit.
    #[must_use]
    pub fn greedy() -> Self {
        Self { temperature: 0.0, top_p: 1.0, top_k: 0, min_p: 0.0, uniform: 0.0, allowed: None }
    }
}

/// A picked token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Picked {
    /// Its id.
    pub token: u32,
    /// Natural logarithm of its probability under the model: softmax over the whole vocabulary at temperature 1,
    /// whatever the draw's temperature and cuts were.
    pub log_probability: f32,
}

/// Why no token could be picked after a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PickFault {
    /// Its logits are not finite.
    NotFinite,
    /// None is allowed.
    NoToken,
    /// The sampler panicked, with this message.
    Panicked(String),
}

/// What came of picking a token after a row.
pub type PickResult = Result<Picked, PickFault>;

/// Rows of the output matrix for which there is no token: none of them may be picked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nameless {
    /// The rows up to the last one with a token.
    pub(super) named: usize,
    /// Those below that have none, in order.
    pub(super) holes: Vec<u32>,
}

impl Nameless {
    /// Takes the rows without a token, in order, of a matrix of `rows` rows.
    #[must_use]
    pub fn new(rows: usize, nameless: &[u32]) -> Self {
        let is_at_end = |(offset, row): &(usize, &u32)| **row as usize + offset + 1 == rows;
        let at_end = nameless.iter().rev().enumerate().take_while(is_at_end).count();
        Self { named: rows - at_end, holes: nameless.iter().take(nameless.len() - at_end).copied().collect() }
    }

    /// Returns the part of a row of logits that may be picked from, with nothing left to those that may not.
    pub fn masked<'a>(&self, logits: &'a mut [f32]) -> &'a [f32] {
        for hole in &self.holes {
            if let Some(logit) = logits.get_mut(*hole as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
        logits.get(..self.named).unwrap_or(logits)
    }
}
