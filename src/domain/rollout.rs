//! One response of the policy model.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Mode, stable_names};

/// The content address of a rollout: a SHA-256 in hex over everything that decides its text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RolloutKey(pub String);

impl fmt::Display for RolloutKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Why sampling ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// The model ended its turn, or a stop string of the mode preset was reached.
    Stop,
    /// The token limit was reached first.
    Length,
}

stable_names!(FinishReason { Stop => "stop", Length => "length" });

/// A response as it was sampled; nothing in it is parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// Content address.
    pub key: RolloutKey,
    /// The mode that was asked for.
    pub mode: Mode,
    /// 0-based index among the N samples of its mode.
    pub sample_index: u32,
    /// The seed of its random stream: the first 63 bits of the hash of run seed and key.
    pub seed: u64,
    /// The whole prompt sent to the model, chat template and prefill included.
    pub prompt: String,
    /// The end of `prompt` that belongs to the response (for example `<think>\n`); may be empty.
    pub prefill: String,
    /// The raw text that followed the prompt.
    pub text: String,
    /// Why sampling ended.
    pub finish_reason: FinishReason,
    /// Tokens of `prompt`.
    pub prompt_tokens: u32,
    /// Tokens of `text`, those that the preset forced included.
    pub completion_tokens: u32,
}
