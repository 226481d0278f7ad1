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

/// Why a mode preset closed the thinking of a response, whose answer then followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCause {
    /// One of the preset's trigger strings was reached, such as the model's own closing tag.
    Trigger,
    /// The model ended its turn while it was thinking.
    EndOfTurn,
    /// The token limit of the thinking was reached first.
    TokenLimit,
}

stable_names!(CloseCause { Trigger => "trigger", EndOfTurn => "end_of_turn", TokenLimit => "token_limit" });

/// A response as it was sampled; nothing in it is parsed.
#[derive(Debug, Clone, PartialEq)]
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
    /// Why sampling ended; of two phases, the last.
    pub finish_reason: FinishReason,
    /// Why the preset closed the thinking; `None` if it did not.
    pub forced_close: Option<CloseCause>,
    /// Sum of the log-probabilities of the sampled tokens; `None` where it was not recorded.
    pub logprob_sum: Option<f64>,
    /// Tokens of `prompt`.
    pub prompt_tokens: u32,
    /// Tokens of `text`, those that the preset forced included.
    pub completion_tokens: u32,
    /// How it was read, where a server sent it.
    pub reading: Reading,
}

/// How a response was read from a server's reply.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reading {
    /// Whether `completion_tokens` is an estimate.
    pub length_estimated: bool,
    /// Whether its text or end is another than what it was stored with: a later reader read the stored reply again.
    pub is_reread: bool,
    /// The length by which it is compared with its query's others, where that is not `completion_tokens`.
    pub compared_tokens: Option<u32>,
    /// The reply, until it is stored.
    pub reply: Option<RawReply>,
}

/// A server's reply as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawReply {
    /// Version of the reading that read it first.
    pub reader: u32,
    /// Its body; of a stream, the body that it would have had in one piece.
    pub body: String,
}
