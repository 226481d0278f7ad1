//! Settings for the interpretation of golds and answers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The form of the reference answers to choice questions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnswerIs {
    /// The form that fits all rows of a file; a file that allows several forms is rejected.
    #[default]
    Auto,
    /// The letter of a choice, or its label if the choices have labels.
    Letter,
    /// The number of a choice, counted from 0.
    Index0,
    /// The number of a choice, counted from 1.
    Index1,
    /// The text of a choice.
    Text,
}

/// Whether an answer may be an unevaluated expression.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EvaluatedRule {
    /// No, if the gold is a rational number. In addition, no answer may restate the task.
    #[default]
    Required,
    /// Yes: `1/2 + 1/4` matches `3/4`.
    Any,
}
