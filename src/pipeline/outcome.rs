//! What becomes of an input row.

use crate::domain::{Exclusion, Mode};
use crate::shards::SampleRow;

/// What became of an input row.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It became a training row.
    Sample(Sample),
    /// It did not, for one reason.
    Excluded(Exclusion),
}

/// A training row, with its mode for the counters.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The mode.
    pub mode: Mode,
    /// The row.
    pub row: Box<SampleRow>,
}
