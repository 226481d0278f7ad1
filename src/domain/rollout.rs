//! One response of the policy model.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Mode, stable_names};

/// The content address of a rollout: the hexadecimal SHA-256 of everything that decides its text.
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
    /// The response reached the token limit first.
    Length,
}

stable_names!(FinishReason { Stop => "stop", Length => "length" });

/// Why a mode preset closed the thinking of a response, before the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCause {
    /// The response reached one of the preset's trigger strings, such as the model's own closing tag.
    Trigger,
    /// The model ended its turn within its thinking.
    EndOfTurn,
    /// The thinking reached its token limit first.
    TokenLimit,
}

stable_names!(CloseCause { Trigger => "trigger", EndOfTurn => "end_of_turn", TokenLimit => "token_limit" });

/// A response as sampled, unparsed.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    /// The content address.
    pub key: RolloutKey,
    /// The requested mode.
    pub mode: Mode,
    /// 0-based index among the N samples of its mode.
    pub sample_index: u32,
    /// The seed of the rollout's random stream: the first 63 bits of the hash of run seed and key.
    pub seed: u64,
    /// The whole prompt sent to the model, chat template and prefill included.
    pub prompt: String,
    /// The end of `prompt` that belongs to the response (for example `<think>\n`); may be empty.
    pub prefill: String,
    /// The raw text after the prompt.
    pub text: String,
    /// Why sampling ended; after two phases, why the last one ended.
    pub finish_reason: FinishReason,
    /// Why the preset closed the thinking; `None` if the preset did not close it.
    pub forced_close: Option<CloseCause>,
    /// The sum of the log-probabilities of the sampled tokens; `None` if not recorded.
    pub logprob_sum: Option<f64>,
    /// The number of tokens of `prompt`.
    pub prompt_tokens: u32,
    /// The number of tokens of `text`, including tokens that the preset forced.
    pub completion_tokens: u32,
    /// How the response was read from a server's reply.
    pub reading: Reading,
}

/// How a response was read from a server's reply.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reading {
    /// Whether `completion_tokens` is an estimate.
    pub length_estimated: bool,
    /// Whether the text or the finish reason differs from the stored one, because a later reader parsed the stored
    /// reply again.
    pub is_reread: bool,
    /// The length that decides comparisons with the query's other responses, if it differs from `completion_tokens`.
    pub compared_tokens: Option<u32>,
    /// The reply, until the ledger stores it.
    pub reply: Option<RawReply>,
}

/// A server's reply as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawReply {
    /// The version of the reader that first parsed the reply.
    pub reader: u32,
    /// The body; for a stream, the body of the equivalent reply in one piece.
    pub body: String,
}
