//! Why a row is no query.

use crate::domain::ExclusionReason;

/// Why a row is no query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) reason: ExclusionReason,
    pub(super) detail: String,
    pub(super) scope: Scope,
}

impl Fault {
    /// Builds a fault from its reason and its one-sentence detail.
    pub(super) fn new(reason: ExclusionReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), scope: Scope::Row }
    }

    pub(super) fn of_gold(detail: String) -> Self {
        Self { scope: Scope::Gold, ..Self::new(ExclusionReason::InvalidValue, detail) }
    }
}

/// What is wrong where a row is no query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// The row.
    Row,
    /// Its gold, which is there and cannot be read.
    Gold,
    /// How golds are read: this one is something else than the others of its file.
    File(Contradiction),
}

/// A gold that is something else than it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contradiction {
    /// The beginning of the gold.
    pub(super) answer: String,
    /// What it may be.
    pub(super) found: String,
}
