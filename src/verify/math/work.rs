//! What one comparison carries from part to part: what it may still spend, what is asked, and how parts are compared.
//!
//! Tuples hold lists and lists hold tuples, so whatever compares containers must compare parts of any shape. It does so by
//! [`Work::compare`], and needs to know nothing of the file that tells shapes apart (`compare`).

use super::expression::Expression;
use super::outcome::Outcome;
use super::polynomial::Budget;
use super::question::Asked;

/// Compares a gold's part with an answer's.
type Comparison = fn(&Expression, &Expression, &mut Work) -> Outcome;

/// What a comparison may still spend: on exact arithmetic, and on evaluation.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) exact: Budget,
    pub(super) evaluation: Budget,
    /// What the question asks of an answer with several parts.
    pub(super) asked: Asked,
    /// How parts of any shape are compared.
    comparison: Comparison,
}

impl Work {
    /// Begins a comparison in which nothing is spent.
    pub(super) fn new(asked: Asked, comparison: Comparison) -> Self {
        Self { exact: Budget::new(), evaluation: Budget::new(), asked, comparison }
    }

    /// Compares two parts of any shape.
    pub(super) fn compare(&mut self, gold: &Expression, answer: &Expression) -> Outcome {
        (self.comparison)(gold, answer, self)
    }
}
