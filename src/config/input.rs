//! How golds and answers are read, by names that stand in the config.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the reference answers of choice questions are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnswerIs {
    /// What all rows of a file have in common; a file that leaves a doubt is refused.
    #[default]
    Auto,
    /// The letter of a choice, or its label where choices have labels.
    Letter,
    /// The number of a choice, the first being 0.
    Index0,
    /// The number of a choice, the first being 1.
    Index1,
    /// The text of a choice.
    Text,
}

/// Which arithmetic an answer may leave to be done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EvaluatedRule {
    /// None where the gold is a rational number; and no answer may restate the task.
    #[default]
    Required,
    /// Any: `1/2 + 1/4` meets `3/4`.
    Any,
}
