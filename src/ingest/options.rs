//! How rows are read.

use super::FieldNames;
use crate::config::{AnswerIs, InputSettings};
use crate::domain::Kind;

/// How rows are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InputOptions {
    /// Where the fields are.
    pub fields: FieldNames,
    /// One kind for all rows; the rows' own kinds are then not looked at.
    pub kind: Option<Kind>,
    /// What the answers of choice questions are.
    pub answer_is: AnswerIs,
    /// Columns that go along.
    pub keep: Vec<String>,
}

impl From<&InputSettings> for InputOptions {
    fn from(settings: &InputSettings) -> Self {
        let InputSettings { paths: _, kind, answer_is, keep, fields } = settings.clone();
        Self { fields, kind, answer_is, keep }
    }
}
