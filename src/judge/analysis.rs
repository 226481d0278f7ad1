//! The JSON object in the reply of an API judge.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The JSON object that an API judge replies with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JudgeReply {
    /// One to three sentences in the question's language: what the question demands and why the chosen mode suits it.
    pub analysis: String,
}
