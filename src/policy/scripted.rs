//! A policy whose responses are a function in a test: only for tests and simulations; no config names it.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::rendered::RenderedPrompt;
use super::sample_error::SampleError;
use super::{PolicyIdentity, RolloutTask, Sampled, TaskParts};
use crate::config::SamplingSettings;
use crate::domain::digest::sha256;
use crate::domain::{ByMode, FinishReason, Mode, Query, QueryId, Reading, Rollout, RolloutKey};
use crate::engine::EngineStats;

/// The request to a script.
#[derive(Debug, Clone)]
pub struct ScriptedCall {
    /// The query.
    pub query_id: QueryId,
    /// Content address of the response.
    pub key: RolloutKey,
    /// The mode.
    pub mode: Mode,
    /// 0-based index in its mode.
    pub sample_index: u32,
}

/// The reply of a script.
#[derive(Debug, Clone)]
pub struct ScriptedReply {
    /// The response.
    pub text: String,
    /// Why the response ended.
    pub finish_reason: FinishReason,
    /// The response's length in tokens.
    pub completion_tokens: u32,
}

type Script = dyn Fn(ScriptedCall) -> BoxFuture<'static, Result<ScriptedReply, SampleError>> + Send + Sync;

/// A policy that follows a script.
pub struct ScriptedPolicy {
    identity: PolicyIdentity,
    sampling: SamplingSettings,
    script: Arc<Script>,
    stats: EngineStats,
    stop: CancellationToken,
}

impl ScriptedPolicy {
    /// Builds the policy; `revision` replaces the hash of the weights and must change with the script's texts.
    pub fn new(
        revision: &str,
        sampling: &SamplingSettings,
        script: impl Fn(ScriptedCall) -> BoxFuture<'static, Result<ScriptedReply, SampleError>> + Send + Sync + 'static,
    ) -> Self {
        let text = |text: &str| text.to_owned();
        let (model, preset, prompts) = (text("script"), text("script"), text("script"));
        Self {
            identity: PolicyIdentity { model, revision: text(revision), preset, prompts },
            sampling: sampling.clone(),
            script: Arc::new(script),
            stats: EngineStats::default(),
            stop: CancellationToken::new(),
        }
    }

    pub(super) fn identity(&self) -> &PolicyIdentity {
        &self.identity
    }

    pub(super) fn fingerprint(&self) -> String {
        sha256(&self.identity.revision)
    }

    pub(super) fn stats(&self) -> &EngineStats {
        &self.stats
    }

    pub(super) fn drain(&self) {
        self.stop.cancel();
    }

    pub(super) fn tasks(&self, query: &Query) -> ByMode<Vec<RolloutTask>> {
        let SamplingSettings { samples_per_mode, seed, .. } = self.sampling;
        ByMode::from_fn(|mode| {
            let tokens_max = self.sampling.tokens_max(mode);
            let prefill = if mode == Mode::ThinkOn { "<think>\n" } else { "" };
            // The query's id is at the beginning of the prompt, so that the script receives it.
            let text = format!("{}\n{}\n{prefill}", query.id, query.user_text());
            let prompt = RenderedPrompt { prefill: prefill.to_owned(), ..RenderedPrompt::plain(text) };
            let prompt = Arc::new(prompt);
            let task = |sample_index| {
                let identity = serde_json::json!({
                    "script": self.identity.revision,
                    "prompt": prompt.as_ref(),
                    "mode": mode,
                    "tokens_max": tokens_max,
                    "temperature": self.sampling.temperature,
                    "seed": seed,
                    "sample_index": sample_index,
                });
                let parts = TaskParts { mode, sample_index, prompt: Arc::clone(&prompt), tokens_max };
                RolloutTask::new(&identity, seed, parts)
            };
            (0..samples_per_mode).map(task).collect()
        })
    }

    pub(super) async fn sample(&self, task: &RolloutTask) -> Result<Rollout, SampleError> {
        if self.stop.is_cancelled() {
            return Err(SampleError::Draining);
        }
        let query_id = task.prompt.text.lines().next().unwrap_or_default();
        let (key, mode, sample_index) = (task.key.clone(), task.mode, task.sample_index);
        let call = ScriptedCall { query_id: QueryId(query_id.to_owned()), key, mode, sample_index };
        let reply = (self.script)(call).await?;
        if task.useful_tokens_max.is_some_and(|max| reply.completion_tokens > max) {
            return Err(SampleError::TooLong);
        }
        Ok(task.rollout(Sampled {
            text: reply.text,
            finish_reason: reply.finish_reason,
            forced_close: None,
            logprob_sum: Some(-f64::from(reply.completion_tokens)),
            prompt_tokens: u32::try_from(task.prompt.text.len()).unwrap_or(u32::MAX),
            completion_tokens: reply.completion_tokens,
            reading: Reading::default(),
        }))
    }
}
