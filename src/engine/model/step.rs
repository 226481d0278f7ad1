//! The input and output of a model's step: rows, block tables, draws, picked tokens.

use std::sync::Arc;

use crate::grammar::TokenSet;

/// Positions in one block of keys and values.
pub(crate) const BLOCK_TOKENS: usize = 16;

/// Index of a KV block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BlockId(pub usize);

/// One token of one sequence that a step runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    /// Token id.
    pub token: u32,
    /// 0-based position in its sequence.
    pub position: usize,
    /// Index into the step's block tables.
    pub table: usize,
    /// Whether a token is picked after this one.
    pub wants_logits: bool,
}

/// The complete input of one step.
///
/// Every row's position is inside its table's blocks; positions below it were run before or come earlier in this step;
/// a block that is written belongs to one sequence only.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct StepInput {
    /// Rows of one sequence are adjacent, with ascending positions.
    pub rows: Vec<Row>,
    /// One block table per sequence: the blocks that hold its positions, in order.
    pub tables: Vec<Vec<BlockId>>,
}

/// How one token is picked from its row of logits.
#[derive(Debug, Clone, PartialEq)]
pub struct Draw {
    /// 0 picks the highest logit; otherwise logits are divided by this value.
    pub temperature: f32,
    /// Nucleus, in (0, 1]; 1 keeps all tokens.
    pub top_p: f32,
    /// Number of most likely tokens that are kept; 0 keeps all.
    pub top_k: u32,
    /// Tokens less likely than this share of the most likely token are dropped; in 0..1; 0 keeps all.
    pub min_p: f32,
    /// The random number, in [0, 1).
    pub uniform: f32,
    /// The only tokens that may be picked; `None` allows all. Not supported on CUDA devices.
    pub allowed: Option<Arc<TokenSet>>,
}

impl Draw {
    /// Returns the draw that picks the highest logit.
    #[must_use]
    pub fn greedy() -> Self {
        Self { temperature: 0.0, top_p: 1.0, top_k: 0, min_p: 0.0, uniform: 0.0, allowed: None }
    }
}

/// A picked token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Picked {
    /// Token id.
    pub token: u32,
    /// Natural logarithm of the token's probability under the model: softmax over the whole vocabulary at temperature
    /// 1, independent of the draw's temperature and cuts.
    pub log_probability: f32,
}

/// Why no token could be picked after a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PickFault {
    /// The row's logits are not finite.
    NotFinite,
    /// No token is allowed.
    NoToken,
    /// The sampler panicked, with this message.
    Panicked(String),
}

/// The result of picking a token after a row.
pub(crate) type PickResult = Result<Picked, PickFault>;

/// Rows of the output matrix without a token: none of them may be picked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Nameless {
    /// Number of rows up to the last one with a token.
    pub(super) named: usize,
    /// Rows below `named` without a token, in order.
    pub(super) holes: Vec<u32>,
}

impl Nameless {
    /// Builds the value from the rows without a token, in order, of a matrix of `rows` rows.
    #[must_use]
    pub(crate) fn new(rows: usize, nameless: &[u32]) -> Self {
        let is_at_end = |(offset, row): &(usize, &u32)| **row as usize + offset + 1 == rows;
        let at_end = nameless.iter().rev().enumerate().take_while(is_at_end).count();
        Self { named: rows - at_end, holes: nameless.iter().take(nameless.len() - at_end).copied().collect() }
    }

    /// Returns the part of a row of logits that may be picked from, with minus infinity for the rows without a token.
    pub(crate) fn masked<'a>(&self, logits: &'a mut [f32]) -> &'a [f32] {
        for hole in &self.holes {
            if let Some(logit) = logits.get_mut(*hole as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
        logits.get(..self.named).unwrap_or(logits)
    }
}
