//! The options of reading rows.

use super::FieldNames;
use crate::config::{AnswerIs, InputSettings};
use crate::domain::Kind;

/// The options of reading rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InputOptions {
    /// The columns of the fields.
    pub fields: FieldNames,
    /// One kind for all rows; the rows' own kinds are then ignored.
    pub kind: Option<Kind>,
    /// The form of the answers to choice questions.
    pub answer_is: AnswerIs,
    /// Columns to keep.
    pub keep: Vec<String>,
}

impl From<&InputSettings> for InputOptions {
    fn from(settings: &InputSettings) -> Self {
        let InputSettings { paths: _, kind, answer_is, keep, fields } = settings.clone();
        Self { fields, kind, answer_is, keep }
    }
}
