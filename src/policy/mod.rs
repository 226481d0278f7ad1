//! The policy: the model whose responses become training data, addressed by query and mode.
//!
//! This room turns queries into prompts (`prompt`, `preset`) and gives every response its content address; the tokens
//! are the engine's, or a server's (`openai`). It knows nothing of verdicts, ledgers or judges.

mod addresses;
mod chat_template;
#[cfg(test)]
mod family_tests;
mod hosted;
mod openai;
mod preset;
mod prompt;
mod scripted;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use addresses::{Addresses, StoredPrompter};
pub use chat_template::ChatTemplate;
pub use hosted::{Policy, SampleError};
pub use openai::{HttpSampleError, OpenAiPolicy};
pub use preset::Preset;
pub use prompt::{ChatMessage, Prompter, RenderedPrompt, TemplateError};
pub use scripted::{ScriptedCall, ScriptedPolicy, ScriptedReply};

use crate::config::{DeviceName, ExecutorName, KernelName, KvTypeName, PolicySettings, SamplingSettings};
use crate::domain::{Mode, ResolvedModel, Rollout, RolloutKey};
use crate::engine::{
    DeviceChoice, Engine, EngineError, EngineOptions, EngineStats, ExecutorChoice, KernelChoice, KvType, SequenceSpec,
    model_digest,
};

/// Version of everything between a rollout's key and its text that the key does not spell out: kernels, sampler,
/// stop rules. Raised when the same key could give another text on the same family of kernels.
const SAMPLING_VERSION: u32 = 3;

/// Under which responses are addressed for which no mode is asked.
const FREE: &str = "free";

/// What can go wrong with a policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The model cannot be loaded or run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Its chat template cannot be used.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// It has none.
    #[error("{0} carries no chat template")]
    NoChatTemplate(String),
}

impl PolicyError {
    /// Returns what the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Engine(error) => error.hint(),
            Self::Template(_) | Self::NoChatTemplate(_) => Some("use an instruction-tuned model"),
        }
    }
}

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
    /// Seed of its random stream (see [`Rollout::seed`]).
    pub seed: u64,
    stream_key: [u8; 32],
    prompt: RenderedPrompt,
    tokens_max: u32,
    /// The completion tokens beyond which the response is of no use, if there is such a bound; no part of the address.
    pub useful_tokens_max: Option<u32>,
}

/// What a task is about, apart from its address.
struct TaskParts {
    mode: Mode,
    sample_index: u32,
    prompt: RenderedPrompt,
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
        Self { key, mode, sample_index, seed, stream_key, prompt, tokens_max, useful_tokens_max: None }
    }
}

/// Returns the device that a setting names; `auto` is the fastest that this build can use on this machine.
#[must_use]
pub fn device(name: DeviceName) -> DeviceChoice {
    match name {
        DeviceName::Auto => DeviceChoice::best(),
        DeviceName::Cpu => DeviceChoice::Cpu,
        DeviceName::Cuda(index) => DeviceChoice::Cuda(index),
        DeviceName::Metal => DeviceChoice::Metal,
    }
}

fn engine_options(policy: &PolicySettings) -> EngineOptions {
    EngineOptions {
        slots: policy.slots,
        threads: policy.threads,
        kv_cache_bytes: policy.kv_cache_mib.saturating_mul(1 << 20),
        kv_type: match policy.kv_type {
            KvTypeName::F32 => KvType::F32,
            KvTypeName::Bf16 => KvType::Bf16,
        },
        device: device(policy.device),
        executor: match policy.executor {
            ExecutorName::Auto => ExecutorChoice::Auto,
            ExecutorName::Fused => ExecutorChoice::Fused,
            ExecutorName::Tensor => ExecutorChoice::Tensor,
        },
        kernels: match policy.kernels {
            KernelName::Auto => KernelChoice::Auto,
            KernelName::Avx2 => KernelChoice::Avx2,
            KernelName::Avx512 => KernelChoice::Avx512,
            KernelName::Amx => KernelChoice::Amx,
        },
    }
}

/// A hosted model with its prompts.
pub struct CandlePolicy {
    engine: Engine,
    addresses: Addresses,
}

impl CandlePolicy {
    /// Loads the model and prepares its prompts. Blocks for seconds.
    ///
    /// # Errors
    /// [`PolicyError`] if the model cannot be used.
    pub fn load(
        model: &ResolvedModel,
        policy: &PolicySettings,
        sampling: &SamplingSettings,
    ) -> Result<Self, PolicyError> {
        let path = model.path.as_path();
        let engine = Engine::load(path, engine_options(policy))?;
        let vocabulary = engine.vocabulary();
        let template =
            vocabulary.chat_template().ok_or_else(|| PolicyError::NoChatTemplate(path.display().to_string()))?;
        let preset = Preset::resolve(policy.mode_preset, template);
        let prompter = Prompter::new(template, vocabulary.bos_text(), vocabulary.eos_text(), preset)?;
        let identity = PolicyIdentity {
            model: model.name.clone(),
            revision: model_digest(path)?,
            preset: preset.name().to_owned(),
            prompts: prompter.hash(),
        };
        Ok(Self { engine, addresses: Addresses::new(prompter, identity, policy, sampling) })
    }

    /// Returns the addresses of its responses.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Returns who the policy is.
    #[must_use]
    pub fn identity(&self) -> &PolicyIdentity {
        self.addresses.identity()
    }

    /// Returns the engine's running totals.
    #[must_use]
    pub fn stats(&self) -> &EngineStats {
        self.engine.stats()
    }

    /// Returns the engine, for what is no rollout.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns the prompt renderer.
    #[must_use]
    pub fn prompter(&self) -> &Prompter {
        self.addresses.prompter()
    }

    /// Returns whether a response fits into the model's context at all.
    ///
    /// # Errors
    /// As [`Engine::check_fit`].
    pub fn check_fit(&self, task: &RolloutTask) -> Result<(), EngineError> {
        self.engine.check_fit(&self.spec(task)?).map(|_| ())
    }

    /// Samples one response. Cancel-safe.
    ///
    /// # Errors
    /// As [`Engine::sample`].
    pub async fn sample(&self, task: &RolloutTask) -> Result<Rollout, EngineError> {
        let completion = self.engine.sample(self.spec(task)?).await?;
        Ok(Rollout {
            key: task.key.clone(),
            mode: task.mode,
            sample_index: task.sample_index,
            seed: task.seed,
            prompt: task.prompt.text.clone(),
            prefill: task.prompt.prefill.clone(),
            text: completion.text,
            finish_reason: completion.finish_reason,
            forced_close: completion.forced_close,
            // What is no number cannot be stored; only a damaged model gives it.
            logprob_sum: Some(completion.log_probability).filter(|sum| sum.is_finite()),
            prompt_tokens: completion.prompt_tokens,
            completion_tokens: completion.completion_tokens,
        })
    }

    fn spec(&self, task: &RolloutTask) -> Result<SequenceSpec, EngineError> {
        let sampling = self.addresses.sampling();
        Ok(SequenceSpec {
            prompt: self.engine.vocabulary().encode(&task.prompt.text)?,
            tokens_max: task.tokens_max,
            stops: task.prompt.stops.clone(),
            close: task.prompt.close.clone(),
            temperature: sampling.temperature as f32,
            top_k: sampling.top_k,
            top_p: sampling.top_p as f32,
            min_p: sampling.min_p as f32,
            stream_key: task.stream_key,
            useful_tokens_max: task.useful_tokens_max,
            ..SequenceSpec::default()
        })
    }
}
