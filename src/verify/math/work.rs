//! The state that one comparison passes from part to part: its remaining budgets, the question's requirements, and the
//! comparison of parts.
//!
//! Tuples may contain lists and lists may contain tuples, so the comparison of a container must compare parts of any
//! shape. It calls [`Work::compare`], and does not depend on the file that distinguishes the shapes (`compare`).

use super::expression::Expression;
use super::outcome::Outcome;
use super::polynomial::Budget;
use super::question::Asked;

/// Compares a part of the gold with a part of the answer.
type Comparison = fn(&Expression, &Expression, &mut Work) -> Outcome;

/// The remaining budgets of a comparison, for exact arithmetic and for evaluation.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) exact: Budget,
    pub(super) evaluation: Budget,
    /// The question's requirements on an answer with several parts.
    pub(super) asked: Asked,
    /// The comparison of parts of any shape.
    comparison: Comparison,
}

impl Work {
    /// Starts a comparison with full budgets.
    pub(super) fn new(asked: Asked, comparison: Comparison) -> Self {
        Self { exact: Budget::new(), evaluation: Budget::new(), asked, comparison }
    }

    /// Compares two parts of any shape.
    pub(super) fn compare(&mut self, gold: &Expression, answer: &Expression) -> Outcome {
        (self.comparison)(gold, answer, self)
    }
}
