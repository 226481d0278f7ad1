//! The policy: the model whose responses become training data, addressed by query and mode.
//!
//! This room turns queries into prompts (`prompt`, `preset`) and gives every response its content address; the tokens
//! are the engine's, or a server's (`openai`). It knows nothing of verdicts, ledgers or judges.

mod addresses;
mod candle;
mod chat_template;
mod compiled;
mod error;
#[cfg(test)]
mod family_tests;
#[doc(hidden)]
pub mod fuzz;
mod hosted;
mod openai;
mod preset;
mod prompt;
pub mod reply;
mod sample_error;
mod scripted;
mod served;
mod served_names;
mod stored_prompter;
#[cfg(unix)]
mod template_process;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use addresses::Addresses;
pub use candle::{CandlePolicy, device};
pub use chat_template::ChatTemplate;
pub use compiled::TemplateError;
pub use error::PolicyError;
pub use hosted::Policy;
pub use openai::{AttemptError, OpenAiPolicy};
pub use preset::Preset;
pub use prompt::{Prompter, RenderedPrompt};
pub use sample_error::SampleError;
pub use scripted::{ScriptedCall, ScriptedPolicy, ScriptedReply};
pub use stored_prompter::StoredPrompter;
#[cfg(unix)]
pub use template_process::{render_apart, serve_if_asked};

use crate::domain::{Mode, RolloutKey};
pub use crate::http::wire::Message;

/// Version of everything between a rollout's key and its text that the key does not spell out: kernels, sampler,
/// stop rules. Raised when the same key could give another text on the same family of kernels. That rows without a token
/// are never picked did not raise it: models hardly ever picked one, and directories without such a pick would have been
/// sampled again for nothing.
const SAMPLING_VERSION: u32 = 3;

/// Under which responses are addressed for which no mode is asked.
const FREE: &str = "free";

/// Who the policy is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyIdentity {
    /// What the model is called: its file's or directory's name, its id on the Hub, or what servers know it by.
    pub model: String,
    /// SHA-256 of the model's file or files, in hex; of a served model what the config says.
    pub revision: String,
    /// The resolved mode preset.
    pub preset: String,
    /// SHA-256 over all that shapes prompts besides the query.
    pub prompts: String,
}

/// One response to be sampled.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutTask {
    /// Content address: what is asked, of whom, and how.
    pub key: RolloutKey,
    /// The mode.
    pub mode: Mode,
    /// 0-based index in its mode.
    pub sample_index: u32,
    /// Seed of its random stream (see [`Rollout::seed`](crate::domain::Rollout::seed)).
    pub seed: u64,
    stream_key: [u8; 32],
    /// One for all samples of a mode.
    prompt: Arc<RenderedPrompt>,
    tokens_max: u32,
    /// The completion tokens beyond which the response is of no use, if there is such a bound; no part of the address.
    pub useful_tokens_max: Option<u32>,
    /// Whether no mode is asked for.
    is_free: bool,
    /// Keys of the request's body that are left out.
    omitted: Vec<String>,
    /// Its addresses before servers refused keys, earliest first.
    former_keys: Vec<RolloutKey>,
    /// The bytes of a question that is too long to be made a prompt of, if it is: no response to it is ever sampled.
    oversize_bytes: Option<usize>,
}

/// What a task is about, apart from its address.
struct TaskParts {
    mode: Mode,
    sample_index: u32,
    prompt: Arc<RenderedPrompt>,
    tokens_max: u32,
}

impl RolloutTask {
    /// Addresses a task by its identity, which holds everything that decides the response, and derives its seed from that
    /// and the run's.
    fn new(identity: &serde_json::Value, run_seed: u64, parts: TaskParts) -> Self {
        let key = RolloutKey(hex::encode(Sha256::digest(identity.to_string().as_bytes())));
        let stream_key: [u8; 32] = {
            let mut hasher = Sha256::new();
            hasher.update(b"thinkloom rollout stream\0");
            hasher.update(run_seed.to_le_bytes());
            hasher.update(key.0.as_bytes());
            hasher.finalize().into()
        };
        let (first, _) = stream_key.split_first_chunk::<8>().expect("a SHA-256 has 32 bytes");
        // 63 bits: the column is a signed integer.
        let seed = u64::from_le_bytes(*first) >> 1;
        let TaskParts { mode, sample_index, prompt, tokens_max } = parts;
        Self {
            key,
            mode,
            sample_index,
            seed,
            stream_key,
            prompt,
            tokens_max,
            useful_tokens_max: None,
            is_free: false,
            omitted: Vec::new(),
            former_keys: Vec::new(),
            oversize_bytes: None,
        }
    }

    /// Returns the addresses under which the response may be stored: as it was asked for before servers refused keys,
    /// earliest first, then as it is asked for now. At most one of them is there.
    pub fn addresses(&self) -> impl Iterator<Item = &RolloutKey> {
        self.former_keys.iter().chain([&self.key])
    }

    /// Returns the address that stays the same whatever servers refuse: who samples holds on to this one.
    #[must_use]
    pub fn first_address(&self) -> &RolloutKey {
        self.former_keys.first().unwrap_or(&self.key)
    }
}
