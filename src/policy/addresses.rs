//! The content addresses of a hosted model's responses: they need the model's prompts and identity, but not the model
//! itself.

use std::sync::Arc;

use super::stored_prompter::StoredPrompter;
use super::{
    FREE, PolicyIdentity, Preset, Prompter, RenderedPrompt, RolloutTask, SAMPLING_VERSION, TaskParts, TemplateError,
};
use crate::config::{ModePresetName, PolicySettings, SamplingSettings};
use crate::domain::digest::sha256;
use crate::domain::{ByMode, KvType, Mode, Query};

/// The policy's identity, prompts and sampling settings.
pub struct Addresses {
    prompter: Prompter,
    identity: PolicyIdentity,
    sampling: SamplingSettings,
    kv_type: KvType,
}

impl Addresses {
    /// Combines the parts of the addresses.
    #[must_use]
    pub fn new(
        prompter: Prompter,
        identity: PolicyIdentity,
        policy: &PolicySettings,
        sampling: &SamplingSettings,
    ) -> Self {
        Self { prompter, identity, sampling: sampling.clone(), kv_type: policy.kv_type }
    }

    /// Restores the addresses of a policy whose model is absent. The caller must compare the prompter's hash: it
    /// differs if this version of thinkloom builds prompts differently.
    ///
    /// # Errors
    /// [`TemplateError`] if the template is not usable.
    pub fn restore(
        stored: &StoredPrompter,
        identity: PolicyIdentity,
        policy: &PolicySettings,
        sampling: &SamplingSettings,
    ) -> Result<Self, TemplateError> {
        let StoredPrompter { chat_template, bos_token, eos_token } = stored;
        // The identity's name is the name of a resolved preset.
        let name = serde_json::from_value(identity.preset.as_str().into()).unwrap_or(ModePresetName::Auto);
        let preset = Preset::resolve(name, chat_template);
        let prompter = Prompter::new(chat_template, bos_token, eos_token, preset)?;
        let prompter = prompter.with_judge_block(policy.judge_block.clone());
        Ok(Self::new(prompter, identity, policy, sampling))
    }

    /// Returns the policy's identity.
    #[must_use]
    pub fn identity(&self) -> &PolicyIdentity {
        &self.identity
    }

    /// Returns the prompt renderer.
    #[must_use]
    pub fn prompter(&self) -> &Prompter {
        &self.prompter
    }

    /// Returns the sampling settings.
    #[must_use]
    pub fn sampling(&self) -> &SamplingSettings {
        &self.sampling
    }

    /// Returns a SHA-256 in hex over the weights and their name (rows carry the name), the preset, the prompts and the
    /// sampler's version.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let PolicyIdentity { model, revision, preset, prompts } = &self.identity;
        let text = format!("{SAMPLING_VERSION}\n{revision}\n{preset}\n{prompts}\n{model}");
        sha256(text)
    }

    /// Returns the rollouts of a query, N per mode, in order of sample index.
    ///
    /// # Errors
    /// [`TemplateError`] if the chat template rejects the query.
    pub fn tasks(&self, query: &Query) -> Result<ByMode<Vec<RolloutTask>>, TemplateError> {
        let prompts = self.prompter.render(query)?;
        Ok(ByMode::from_fn(|mode| {
            let (prompt, samples) = (Arc::new(prompts[mode].clone()), 0..self.sampling.samples_per_mode);
            samples.map(|sample_index| self.task(&prompt, mode, sample_index)).collect()
        }))
    }

    /// Returns N free responses, which request no mode: the prompt is the user's text, as in the training rows.
    ///
    /// # Errors
    /// [`TemplateError`] if the chat template rejects the query.
    pub fn free_tasks(&self, query: &Query) -> Result<Vec<RolloutTask>, TemplateError> {
        let prompt = Arc::new(self.prompter.render_free(query)?);
        let samples = 0..self.sampling.samples_per_mode;
        Ok(samples.map(|sample_index| self.task_as(FREE, &prompt, Mode::ThinkOn, sample_index)).collect())
    }

    /// Returns placeholders for the rollouts of a query whose question is too long to render. No response is stored
    /// under their addresses, which hold the question's hash instead of the prompt.
    pub(super) fn oversize_tasks(&self, query: &Query, bytes: usize) -> ByMode<Vec<RolloutTask>> {
        let text = sha256(&query.question);
        let prompt = Arc::new(RenderedPrompt::plain(text));
        ByMode::from_fn(|mode| {
            let task = |sample_index| RolloutTask {
                oversize_bytes: Some(bytes),
                ..self.task_as("oversize", &prompt, mode, sample_index)
            };
            (0..self.sampling.samples_per_mode).map(task).collect()
        })
    }

    fn task(&self, prompt: &Arc<RenderedPrompt>, mode: Mode, sample_index: u32) -> RolloutTask {
        self.task_as(mode.name(), prompt, mode, sample_index)
    }

    /// Builds a task with the name of its request in the address: its mode's name, or [`FREE`].
    fn task_as(&self, asked: &str, prompt: &Arc<RenderedPrompt>, mode: Mode, sample_index: u32) -> RolloutTask {
        let tokens_max = self.sampling.tokens_max(mode);
        let SamplingSettings { temperature, top_k, top_p, min_p, seed, .. } = self.sampling;
        let identity = serde_json::json!({
            "version": SAMPLING_VERSION,
            "weights": self.identity.revision,
            "prompt": prompt.as_ref(),
            "mode": asked,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "min_p": min_p,
            "kv_type": self.kv_type,
            "tokens_max": tokens_max,
            "seed": seed,
            "sample_index": sample_index,
        });
        RolloutTask::new(&identity, seed, TaskParts { mode, sample_index, prompt: Arc::clone(prompt), tokens_max })
    }
}
