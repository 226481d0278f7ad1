//! The fault of a row: the reason why the row becomes no query.

use crate::domain::ExclusionReason;

/// The fault of a row: the reason why the row becomes no query.
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

/// The part of the input that is faulty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// The row.
    Row,
    /// The gold of the row, which exists and is unreadable.
    Gold,
    /// The interpretation of golds: this gold has another form than the other golds of its file.
    File(Contradiction),
}

/// A gold whose form contradicts the form that the file's golds have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contradiction {
    /// The beginning of the gold.
    pub(super) answer: String,
    /// Its possible interpretations.
    pub(super) found: String,
}
