//! The policy within this process: the engine together with the prompts of its model.

use super::addresses::Addresses;
use super::compiled::TemplateError;
use super::error::PolicyError;
use super::preset::Preset;
use super::prompt::Prompter;
use super::{PolicyIdentity, RolloutTask, Sampled};
use crate::config::{DeviceName, PolicySettings, SamplingSettings};
use crate::domain::{ByMode, Query, Reading, ResolvedModel, Rollout};
use crate::engine::{DeviceChoice, Engine, EngineError, EngineOptions, EngineStats, SequenceSpec, model_digest};

/// Returns the device for a setting; `auto` is the fastest device that this build supports on this machine.
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
        kv_type: policy.kv_type,
        device: device(policy.device),
        executor: policy.executor,
        kernels: policy.kernels,
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
    /// [`PolicyError`] if the model is not usable.
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
        let prompter = prompter.with_judge_block(policy.judge_block.clone());
        let identity = PolicyIdentity {
            model: model.name.clone(),
            revision: model_digest(path)?,
            preset: preset.name().to_owned(),
            prompts: prompter.hash(),
        };
        Ok(Self { engine, addresses: Addresses::new(prompter, identity, policy, sampling) })
    }

    /// Returns the addresses of the policy's responses.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Returns the policy's identity.
    #[must_use]
    pub fn identity(&self) -> &PolicyIdentity {
        self.addresses.identity()
    }

    /// Returns the engine's running totals.
    #[must_use]
    pub fn stats(&self) -> &EngineStats {
        self.engine.stats()
    }

    /// Returns the engine, for computations that are not rollouts.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns the prompt renderer.
    #[must_use]
    pub fn prompter(&self) -> &Prompter {
        self.addresses.prompter()
    }

    /// Returns the rollouts of a query, N per mode, in order of sample index. A question that exceeds every context is
    /// not rendered: [`Self::check_fit`] rejects its tasks.
    ///
    /// # Errors
    /// [`TemplateError`] if the chat template rejects the query.
    pub fn tasks(&self, query: &Query) -> Result<ByMode<Vec<RolloutTask>>, TemplateError> {
        match self.oversize_bytes(query) {
            Some(bytes) => Ok(self.addresses.oversize_tasks(query, bytes)),
            None => self.addresses.tasks(query),
        }
    }

    /// Returns N free responses, which request no mode, as [`Self::tasks`] does.
    pub fn free_tasks(&self, query: &Query) -> Result<Vec<RolloutTask>, TemplateError> {
        match self.oversize_bytes(query) {
            Some(bytes) => Ok(self.addresses.oversize_tasks(query, bytes).on),
            None => self.addresses.free_tasks(query),
        }
    }

    /// Returns the length in bytes of a question that is too long for the model, however it is tokenized.
    fn oversize_bytes(&self, query: &Query) -> Option<usize> {
        let bytes = query.question.len() + query.choices.iter().map(String::len).sum::<usize>();
        (!self.engine.vocabulary().may_hold(bytes, self.engine.config().context)).then_some(bytes)
    }

    /// Returns whether a response fits into the model's context at all.
    ///
    /// # Errors
    /// The errors of [`Engine::check_fit`], and [`EngineError::TextTooLong`].
    pub fn check_fit(&self, task: &RolloutTask) -> Result<(), EngineError> {
        self.engine.check_fit(&self.spec(task)?).map(|_| ())
    }

    /// Samples one response. Cancel-safe.
    pub async fn sample(&self, task: &RolloutTask) -> Result<Rollout, EngineError> {
        let completion = self.engine.sample(self.spec(task)?).await?;
        Ok(task.rollout(Sampled {
            text: completion.text,
            finish_reason: completion.finish_reason,
            forced_close: completion.forced_close,
            // A non-finite sum cannot be stored; only a damaged model produces one.
            logprob_sum: Some(completion.log_probability).filter(|sum| sum.is_finite()),
            prompt_tokens: completion.prompt_tokens,
            completion_tokens: completion.completion_tokens,
            reading: Reading::default(),
        }))
    }

    fn spec(&self, task: &RolloutTask) -> Result<SequenceSpec, EngineError> {
        let sampling = self.addresses.sampling();
        let context = self.engine.config().context;
        if let Some(bytes) = task.oversize_bytes {
            return Err(EngineError::TextTooLong { bytes, context });
        }
        let (tokens_max, close) = task.prompt.phases(task.tokens_max);
        Ok(SequenceSpec {
            prompt: self.engine.vocabulary().encode_within(&task.prompt.text, context)?,
            tokens_max,
            stops: task.prompt.stops.clone(),
            close,
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
