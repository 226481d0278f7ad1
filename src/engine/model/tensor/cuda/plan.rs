//! The device's input of a step, as one array of 32-bit numbers.

use crate::model::{BLOCK_TOKENS, Draw, StepInput};

/// Rows of the largest step that is recorded and replayed.
pub const GRAPH_ROWS_MAX: usize = 512;

/// The position of a padding row, which is neither stored nor attended to.
const NONE: u32 = u32::MAX;

/// The sections of the array, in array order. The sections before `Blocks` have one entry per row or per wanting row;
/// the blocks of all tables follow at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Token of each row.
    Tokens,
    /// Position of each row.
    Positions,
    /// Where each row's key and value are stored: 16 * block + position in the block.
    Slots,
    /// Where each row's blocks begin in `Blocks`.
    Starts,
    /// The row of each wanted token.
    Wanted,
    /// f32.
    Temperatures,
    /// f32.
    TopPs,
    /// f32.
    MinPs,
    /// f32.
    Uniforms,
    /// u32.
    TopKs,
    /// Blocks of all tables.
    Blocks,
}

/// The device's view of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Rows, padding included.
    pub rows: usize,
    /// Wanting rows, padding included.
    pub wanted: usize,
    numbers: Vec<u32>,
}

/// Returns the padded row count of a decoding step: few distinct counts, little padding.
#[must_use]
pub fn padded_rows(rows: usize) -> usize {
    match rows {
        0..=2 => rows,
        3..=4 => 4,
        5..=64 => rows.next_multiple_of(8),
        65..=256 => rows.next_multiple_of(16),
        _ => rows.next_multiple_of(64),
    }
}

impl Plan {
    /// Builds the array for a step, padded to `rows` rows and `wanted` wanting rows.
    #[must_use]
    pub fn new(input: &StepInput, draws: &[Draw], rows: usize, wanted: usize) -> Self {
        let mut plan = Self::idle(rows, wanted);
        let mut starts = Vec::with_capacity(input.tables.len());
        for table in &input.tables {
            starts.push((plan.numbers.len() - plan.offset(Section::Blocks)) as u32);
            plan.numbers.extend(table.iter().map(|block| block.0 as u32));
        }
        let mut next_wanted = 0;
        for (index, row) in input.rows.iter().enumerate() {
            let block = input.tables[row.table][row.position / BLOCK_TOKENS].0;
            plan.set(Section::Tokens, index, row.token);
            plan.set(Section::Positions, index, row.position as u32);
            plan.set(Section::Slots, index, (block * BLOCK_TOKENS + row.position % BLOCK_TOKENS) as u32);
            plan.set(Section::Starts, index, starts[row.table]);
            if row.wants_logits {
                plan.set(Section::Wanted, next_wanted, index as u32);
                next_wanted += 1;
            }
        }
        for (index, draw) in draws.iter().enumerate() {
            plan.set(Section::Temperatures, index, draw.temperature.to_bits());
            plan.set(Section::TopPs, index, draw.top_p.to_bits());
            plan.set(Section::MinPs, index, draw.min_p.to_bits());
            plan.set(Section::Uniforms, index, draw.uniform.to_bits());
            plan.set(Section::TopKs, index, draw.top_k);
        }
        plan
    }

    /// Builds the array for a step of padding rows only.
    #[must_use]
    pub fn idle(rows: usize, wanted: usize) -> Self {
        let mut plan = Self { rows, wanted, numbers: Vec::new() };
        plan.numbers.resize(plan.offset(Section::Blocks), 0);
        let positions = plan.offset(Section::Positions);
        plan.numbers[positions..positions + rows].fill(NONE);
        plan
    }

    /// Returns the array.
    #[must_use]
    pub fn numbers(&self) -> &[u32] {
        &self.numbers
    }

    /// Returns the offset of a section in the array.
    #[must_use]
    pub fn offset(&self, section: Section) -> usize {
        let section = section as usize;
        let of_rows = section.min(Section::Wanted as usize);
        of_rows * self.rows + (section - of_rows) * self.wanted
    }

    fn set(&mut self, section: Section, index: usize, number: u32) {
        let at = self.offset(section) + index;
        self.numbers[at] = number;
    }
}
