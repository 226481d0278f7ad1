//! The policy: the model whose responses become training data, addressed by query and mode.
//!
//! This room turns queries into prompts (`prompt`, `preset`) and gives every response its content address; the engine
//! or a server (`openai`) produces the tokens. It knows nothing of verdicts, ledgers or judges.

mod addresses;
mod candle;
mod chat_template;
mod compiled;
mod error;
#[cfg(test)]
mod family_tests;
#[cfg(any(test, feature = "testing"))]
pub mod fuzz;
mod hosted;
mod openai;
mod preset;
mod prompt;
mod rendered;
pub mod reply;
mod sample_error;
#[cfg(feature = "testing")]
mod scripted;
mod served;
mod served_names;
mod stored_prompter;
mod structured;
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
pub use prompt::Prompter;
pub use rendered::RenderedPrompt;
pub use sample_error::SampleError;
#[cfg(feature = "testing")]
pub use scripted::{ScriptedCall, ScriptedPolicy, ScriptedReply};
pub use stored_prompter::StoredPrompter;
#[cfg(unix)]
pub use template_process::{render_apart, serve_if_asked};

use crate::domain::digest::sha256;
use crate::domain::{CloseCause, FinishReason, Mode, Reading, Rollout, RolloutKey};
pub use crate::http::wire::Message;

/// The version of all influences on a rollout's text that its key does not contain: kernels, sampler, stop rules. It is
/// raised when the same key could give another text on the same family of kernels. The rule that rows without a token
/// are never picked did not raise it: models hardly ever picked one, and a new version would have discarded all stored
/// responses.
const SAMPLING_VERSION: u32 = 3;

/// The name in the addresses of free responses, which request no mode.
const FREE: &str = "free";

/// The identity of the policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyIdentity {
    /// The name of the model: the name of its file or directory, its id on the Hub, or its name on the servers.
    pub model: String,
    /// SHA-256 of the model's file or files, in hex; for a served model, the revision in the config.
    pub revision: String,
    /// The resolved mode preset.
    pub preset: String,
    /// SHA-256 over everything that shapes prompts, except the query.
    pub prompts: String,
}

/// One response to sample.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutTask {
    /// Content address: a hash of the request, the policy and the settings.
    pub key: RolloutKey,
    /// The mode.
    pub mode: Mode,
    /// 0-based index in its mode.
    pub sample_index: u32,
    /// Seed of the response's random stream (see [`Rollout::seed`](crate::domain::Rollout::seed)).
    pub seed: u64,
    stream_key: [u8; 32],
    /// Shared by all samples of a mode.
    prompt: Arc<RenderedPrompt>,
    tokens_max: u32,
    /// The number of completion tokens after which the response is useless, if there is such a bound; not part of the
    /// address.
    pub useful_tokens_max: Option<u32>,
    /// Whether the task requests no mode.
    is_free: bool,
    /// Keys that are omitted from the request's body.
    omitted: Vec<String>,
    /// The task's addresses before servers refused keys, earliest first.
    former_keys: Vec<RolloutKey>,
    /// The length in bytes of a question that is too long for a prompt; no response to it is ever sampled.
    oversize_bytes: Option<usize>,
}

/// The parts of a task, except its address.
struct TaskParts {
    mode: Mode,
    sample_index: u32,
    prompt: Arc<RenderedPrompt>,
    tokens_max: u32,
}

/// What sampling adds to what was asked for; see [`Rollout`].
struct Sampled {
    text: String,
    finish_reason: FinishReason,
    forced_close: Option<CloseCause>,
    logprob_sum: Option<f64>,
    prompt_tokens: u32,
    completion_tokens: u32,
    reading: Reading,
}

impl RolloutTask {
    /// Builds the task and its address from the identity, which holds everything that decides the response; derives the
    /// task's seed from the identity and the run's seed.
    fn new(identity: &serde_json::Value, run_seed: u64, parts: TaskParts) -> Self {
        let key = RolloutKey(sha256(identity.to_string()));
        let stream_key: [u8; 32] = {
            let mut hasher = Sha256::new();
            hasher.update(b"thinkloom rollout stream\0");
            hasher.update(run_seed.to_le_bytes());
            hasher.update(key.0.as_bytes());
            hasher.finalize().into()
        };
        let (first, _) = stream_key.split_first_chunk::<8>().expect("a SHA-256 has 32 bytes");
        // 63 bits, because the column is a signed integer.
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

    /// Returns the response to the task.
    fn rollout(&self, sampled: Sampled) -> Rollout {
        let Sampled { text, finish_reason, forced_close, logprob_sum, prompt_tokens, completion_tokens, reading } =
            sampled;
        Rollout {
            key: self.key.clone(),
            mode: self.mode,
            sample_index: self.sample_index,
            seed: self.seed,
            prompt: self.prompt.text.clone(),
            prefill: self.prompt.prefill.clone(),
            text,
            finish_reason,
            forced_close,
            logprob_sum,
            prompt_tokens,
            completion_tokens,
            reading,
        }
    }

    /// Returns the addresses under which the response may be stored: the addresses before servers refused keys,
    /// earliest first, then the current address. At most one of them is stored.
    pub fn addresses(&self) -> impl Iterator<Item = &RolloutKey> {
        self.former_keys.iter().chain([&self.key])
    }

    /// Returns the address that never changes, whatever servers refuse: a caller that samples tracks the response by
    /// this address.
    #[must_use]
    pub fn first_address(&self) -> &RolloutKey {
        self.former_keys.first().unwrap_or(&self.key)
    }
}
