//! The outcome of an input row.

use crate::domain::{Exclusion, Mode};
use crate::shards::SampleRow;

/// The outcome of an input row.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// A training row.
    Sample(Sample),
    /// No training row, for one reason.
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
