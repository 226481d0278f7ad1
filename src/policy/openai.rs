//! A policy behind OpenAI-compatible servers: vLLM, SGLang, llama-server, a gateway.
//!
//! The preset knows how to switch the model's mode: with arguments for the server's chat template, a body key, or words
//! and examples. The recorded prompt is the JSON of everything that decides it (messages and switches). A response is
//! recorded as the text that the model itself would have written ([`super::reply`]), together with the body of its
//! reply.
//!
//! A response's content address covers the server's model, its revision from the config, the whole body, the seed and
//! the sample index, but not the address of the server: all servers serve the same model. The user is responsible for
//! what is behind the name (`policy.revision`); a reply that names another model stops the run (`served`). One call
//! makes one attempt; the caller owns loops and records.
//!
//! Omitted keys (`policy.omit`, or keys that a server refused: `http::left_out`) are part of the address, which is
//! unchanged if no key is omitted; a renamed limit does not count as an omitted key. After a refusal, later samples
//! have another address. A response that another server of the same model returned earlier, with the key, stays valid
//! under its former address: lookups try all addresses, earliest first, and samplers track a response by the first one.
//! Because refusals are facts that precede all responses under the new addresses, every later start tries the same
//! addresses in the same order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::prompt::Prompts;
use super::rendered::RenderedPrompt;
use super::served::Served;
use super::structured;
use super::{FREE, PolicyIdentity, Preset, RolloutTask, Sampled, TaskParts, reply};
use crate::config::{ModePresetName, PolicySettings, SamplingSettings};
use crate::domain::digest::{PartsHasher, sha256};
use crate::domain::{ByMode, Kind, Mode, Query, RawReply, Reading, Rollout};
use crate::engine::EngineStats;
use crate::http::breaker::Probe;
use crate::http::client::{ChatClient, ClearText, ClientError, ClientOptions, Delivery};
use crate::http::finish::warn_of_unknown;
use crate::http::left_out::{LeftOut, Recorder, Side};
use crate::http::retry::{Evidence, classify};
use crate::http::wire::ChatReply;
use crate::http::{CallFailure, DETAIL_CHARS_MAX, one_line};

/// The version of all influences on a rollout's text that its key does not contain.
const SAMPLING_VERSION: u32 = 1;
/// The system prompts of the preset `prompted`; part of the program.
const SYSTEM_PROMPTS: &str = include_str!("../../prompts/policy_http.toml");
/// Bytes of a request per token, before any reply reported a count.
const BYTES_PER_TOKEN: usize = 3;
/// At more bytes per token, a server must have truncated the prompt.
const CUT_BYTES_PER_TOKEN: usize = 16;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SystemPrompts {
    system: ByMode<String>,
}

/// Why one attempt over HTTP returned no response.
#[derive(Debug)]
pub enum AttemptError {
    /// The program stops: no new request is sent.
    Draining,
    /// One attempt failed.
    Call(CallFailure),
}

/// A policy behind HTTP.
#[derive(Debug)]
pub struct OpenAiPolicy {
    client: Arc<ChatClient>,
    prompts: Prompts,
    system: ByMode<String>,
    preset: Preset,
    judge_block: Option<String>,
    identity: PolicyIdentity,
    sampling: SamplingSettings,
    extra: Map<String, Value>,
    left_out: LeftOut,
    served: Served,
    streaming: crate::config::Streaming,
    stats: EngineStats,
    stop: CancellationToken,
    has_warned: AtomicBool,
    has_warned_of_estimates: AtomicBool,
}

impl OpenAiPolicy {
    /// Builds the policy; opens no connection.
    ///
    /// # Errors
    /// [`ClientError`] if an address or the key is not usable.
    ///
    /// # Panics
    /// If the mode preset is `auto`, which the check of the settings rejects for this backend.
    pub fn new(
        policy: &PolicySettings,
        sampling: &SamplingSettings,
        api_key: Option<SecretString>,
    ) -> Result<Self, ClientError> {
        Ok(Self::over(ChatClient::new(&Self::client_options(policy, api_key))?, policy, sampling))
    }

    /// Builds the policy over a given client; opens no connection.
    ///
    /// # Panics
    /// Under the condition of [`OpenAiPolicy::new`].
    #[must_use]
    pub fn over(client: ChatClient, policy: &PolicySettings, sampling: &SamplingSettings) -> Self {
        let client = Arc::new(client);
        assert!(policy.mode_preset != ModePresetName::Auto, "settings are checked");
        let preset = Preset::resolve(policy.mode_preset, "");
        let system: SystemPrompts =
            toml::from_str(SYSTEM_PROMPTS).expect("prompts/policy_http.toml is checked by a test");
        let prompts = Prompts::built_in();
        let parts = [Prompts::SOURCE, SYSTEM_PROMPTS, preset.name()];
        let judge_block = policy.judge_block.clone();
        let identity = PolicyIdentity {
            model: policy.model.clone(),
            revision: policy.revision.clone(),
            preset: preset.name().to_owned(),
            prompts: PartsHasher::of(parts.into_iter().chain(judge_block.as_deref())).hex(),
        };
        let names = (client.base_url(), policy.model.as_str());
        let left_out = LeftOut::new(Side::Policy, names, &policy.omit, policy.extra.keys());
        Self {
            left_out,
            served: Served::new(&policy.model, &policy.served_names),
            client,
            prompts,
            system: system.system,
            preset,
            judge_block,
            identity,
            sampling: sampling.clone(),
            extra: policy.extra.clone().into_iter().collect(),
            streaming: policy.stream,
            stats: EngineStats::default(),
            stop: CancellationToken::new(),
            has_warned: AtomicBool::new(false),
            has_warned_of_estimates: AtomicBool::new(false),
        }
    }

    /// Returns the options of a policy's client.
    #[must_use]
    pub fn client_options(policy: &PolicySettings, api_key: Option<SecretString>) -> ClientOptions {
        ClientOptions {
            base_urls: policy.base_urls.clone(),
            api_key,
            clear_text: ClearText::from_setting(policy.allow_http),
            concurrency_max: policy.concurrency,
            requests_per_minute: policy.requests_per_minute,
            tokens_per_minute: policy.tokens_per_minute,
            timeout: Duration::from_secs(policy.timeout_s),
        }
    }

    /// Returns the policy's identity.
    #[must_use]
    pub fn identity(&self) -> &PolicyIdentity {
        &self.identity
    }

    /// Returns a SHA-256 in hex over model, revision, preset, prompts, extra body keys and this room's version.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let identity = json!({"version": SAMPLING_VERSION, "policy": self.identity, "extra": self.extra});
        sha256(identity.to_string())
    }

    /// Sets the keys that servers refused in earlier starts, in the order of their refusal, and the recorder of further
    /// refusals.
    pub fn remember(&self, refused: Vec<String>, recorder: Option<Recorder>) {
        self.left_out.remember(refused, recorder);
    }

    /// Sets the model name that the replies of earlier starts held.
    pub fn remember_served(&self, name: &str) {
        self.served.remember(name);
    }

    /// Returns the keys that are omitted from the policy's requests, sorted.
    #[must_use]
    pub fn left_out(&self) -> Vec<String> {
        self.left_out.keys()
    }

    /// Returns the task with its current address, which differs if a key was refused after the task was built.
    #[must_use]
    pub fn current(&self, task: &RolloutTask) -> RolloutTask {
        if self.left_out.stages().last().is_some_and(|left_out| left_out.iter().eq(&task.omitted)) {
            return task.clone();
        }
        let RolloutTask { mode, sample_index, prompt, useful_tokens_max, .. } = task;
        let asked = if task.is_free { FREE } else { mode.name() };
        let useful_tokens_max = *useful_tokens_max;
        RolloutTask { useful_tokens_max, ..self.task_as(asked, prompt, *mode, *sample_index) }
    }

    /// Returns the running totals.
    #[must_use]
    pub fn stats(&self) -> &EngineStats {
        &self.stats
    }

    /// Returns a probe, which requests one token to see whether the servers reply.
    #[must_use]
    pub fn probe(&self) -> Probe {
        let (client, model) = (Arc::clone(&self.client), self.identity.model.clone());
        Arc::new(move || {
            let (client, model) = (Arc::clone(&client), model.clone());
            async move { client.probe(&model).await }.boxed()
        })
    }

    /// Rejects every response that is not yet in progress.
    pub fn drain(&self) {
        self.stop.cancel();
    }

    /// Returns the rollouts of a query, N per mode, in order of sample index.
    #[must_use]
    pub fn tasks(&self, query: &Query) -> ByMode<Vec<RolloutTask>> {
        ByMode::from_fn(|mode| {
            let prompt = Arc::new(self.prompt(query, mode));
            let samples = 0..self.sampling.samples_per_mode;
            samples.map(|sample_index| self.task(&prompt, mode, sample_index)).collect()
        })
    }

    /// Returns N free responses, which request no mode: the conversation is the user's text, as in the training rows.
    #[must_use]
    pub fn free_tasks(&self, query: &Query) -> Vec<RolloutTask> {
        let text = json!({"messages": [{"role": "user", "content": query.user_text()}]}).to_string();
        let prompt = Arc::new(RenderedPrompt::plain(text));
        let samples = 0..self.sampling.samples_per_mode;
        samples.map(|sample_index| self.task_as(FREE, &prompt, Mode::ThinkOn, sample_index)).collect()
    }

    /// Returns the prompt: everything in a request except model, limits and sampling.
    fn prompt(&self, query: &Query, mode: Mode) -> RenderedPrompt {
        let is_on = mode == Mode::ThinkOn;
        let is_prompted = self.preset == Preset::Prompted;
        let mut messages: Vec<Value> = Vec::new();
        if is_prompted {
            messages.push(json!({"role": "system", "content": self.system[mode]}));
        }
        messages.extend(self.prompts.messages(self.preset, query, mode).iter().map(|message| json!(message)));
        let mut prompt = Map::new();
        let mut prefill = String::new();
        match self.preset {
            Preset::Qwen3 | Preset::Smollm3 => {
                prompt.insert("chat_template_kwargs".to_owned(), json!({"enable_thinking": is_on}));
            }
            Preset::Granite | Preset::DeepseekV3 => {
                prompt.insert("chat_template_kwargs".to_owned(), json!({"thinking": is_on}));
            }
            Preset::DeepseekApi => {
                let kind = if is_on { "enabled" } else { "disabled" };
                prompt.insert("thinking".to_owned(), json!({"type": kind}));
            }
            // The template opens the thinking; only a prefilled assistant turn can skip it.
            Preset::DeepseekR1 if !is_on => {
                prefill = self.preset.opening(mode, "", "");
                continue_message(&mut prompt, &mut messages, &prefill);
            }
            Preset::DeepseekR1 | Preset::Prompted => {}
            Preset::Structured => {
                // The settings' check demands a block: a server cannot force the tag behind one that the model writes.
                let block = self.judge_block.as_deref();
                prefill = structured::opened(String::new(), "", mode, block).prefill;
                messages = vec![json!({"role": "user", "content": query.user_text()})];
                continue_message(&mut prompt, &mut messages, &prefill);
            }
        }
        prompt.insert("messages".to_owned(), Value::Array(messages));
        // The examples end each one-line answer with a line break, and small models continue with questions of their
        // own.
        let stops = if is_prompted && !is_on && query.kind != Kind::Code { vec!["\n".to_owned()] } else { Vec::new() };
        RenderedPrompt { prefill, stops, ..RenderedPrompt::plain(Value::Object(prompt).to_string()) }
    }

    fn task(&self, prompt: &Arc<RenderedPrompt>, mode: Mode, sample_index: u32) -> RolloutTask {
        self.task_as(mode.name(), prompt, mode, sample_index)
    }

    fn task_as(&self, asked: &str, prompt: &Arc<RenderedPrompt>, mode: Mode, sample_index: u32) -> RolloutTask {
        let tokens_max = self.sampling.tokens_max(mode);
        let SamplingSettings { temperature, top_k, top_p, min_p, seed, .. } = self.sampling;
        let mut identity = json!({
            "http": SAMPLING_VERSION,
            "model": self.identity.model,
            "revision": self.identity.revision,
            "prompt": prompt.text,
            "stops": prompt.stops,
            "extra": self.extra,
            "mode": asked,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "min_p": min_p,
            "tokens_max": tokens_max,
            "seed": seed,
            "sample_index": sample_index,
        });
        let mut former_keys = Vec::new();
        let mut stages = self.left_out.stages().into_iter().peekable();
        loop {
            let omitted: Vec<String> = stages.next().unwrap_or_default().into_iter().collect();
            if !omitted.is_empty() {
                identity["omitted"] = json!(omitted);
            }
            let parts = TaskParts { mode, sample_index, prompt: Arc::clone(prompt), tokens_max };
            let task = RolloutTask::new(&identity, seed, parts);
            if stages.peek().is_none() {
                return RolloutTask { is_free: asked == FREE, omitted, former_keys, ..task };
            }
            former_keys.push(task.key);
        }
    }

    /// Returns the whole body of a response's request.
    fn body(&self, task: &RolloutTask) -> Bytes {
        let mut body: Map<String, Value> = serde_json::from_str(&task.prompt.text).unwrap_or_default();
        let SamplingSettings { temperature, top_k, top_p, min_p, .. } = self.sampling;
        // 31 bits, because servers differ in the maximum width of a seed.
        let seed = task.seed >> 32;
        let mut set = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
        set("model", json!(self.identity.model));
        set("max_tokens", json!(task.tokens_max));
        set("temperature", json!(temperature));
        set("top_p", json!(top_p));
        set("seed", json!(seed));
        // Some servers do not support these keys; they are sent only if they have an effect.
        if top_k > 0 {
            set("top_k", json!(top_k));
        }
        if min_p > 0.0 {
            set("min_p", json!(min_p));
        }
        if !task.prompt.stops.is_empty() {
            set("stop", json!(task.prompt.stops));
        }
        for (name, value) in &self.extra {
            // The user's template arguments are merged with the switch.
            if let (Some(table), Some(more)) = (body.get_mut(name).and_then(Value::as_object_mut), value.as_object()) {
                table.extend(more.clone());
                continue;
            }
            body.insert(name.clone(), value.clone());
        }
        for key in &task.omitted {
            body.remove(key);
        }
        self.left_out.rename_limit(&mut body);
        Value::Object(body).to_string().into()
    }

    /// Samples one response, in one attempt. A request that is refused because of one of its keys does not count: it is
    /// sent again without the key, and the response then has the address from [`Self::current`].
    ///
    /// Cancel-safe: only refused keys are recorded. A server may have computed the response nevertheless.
    pub async fn sample(&self, task: &RolloutTask) -> Result<Rollout, AttemptError> {
        let mut turn = None;
        // Each round omits one key of the previous round, so the loop ends.
        let (task, body) = loop {
            let task = self.current(task);
            let body = self.body(&task);
            let prompt_tokens = u32::try_from(body.len() / BYTES_PER_TOKEN).unwrap_or(u32::MAX);
            let estimate = prompt_tokens.saturating_add(task.tokens_max);
            let ready = async {
                if turn.is_none() {
                    turn = self.served.turn().await;
                }
                self.client.admit(estimate).await
            };
            let admission = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(AttemptError::Draining),
                admission = ready => admission,
            };
            self.served.may_go_on().map_err(AttemptError::Call)?;
            let is_streamed = self.streaming.is_wanted(task.tokens_max);
            let delivery = self.left_out.delivery(if is_streamed { Delivery::Stream } else { Delivery::Whole });
            match self.client.post_chat(&body, delivery, admission).await {
                Ok(reply) => break (task, reply),
                Err(failure) => self.left_out.heed(failure).await.map_err(AttemptError::Call)?,
            }
        };
        self.left_out.succeeded();
        let read = reply::read(&body, &task.prompt.text, task.mode)
            .map_err(|evidence| AttemptError::Call(unusable(evidence, &body)))?;
        self.served.check(read.model.as_deref()).map_err(AttemptError::Call)?;
        drop(turn);
        warn_of_unknown(read.unknown_finish.as_deref());
        self.stats.sampled_tokens.fetch_add(u64::from(read.completion_tokens), Ordering::Relaxed);
        self.stats.prompt_tokens.fetch_add(u64::from(read.prompt_tokens), Ordering::Relaxed);
        self.warn_of_cut_prompts(&task, read.prompt_tokens);
        self.warn_of_estimates(read.length_estimated);
        Ok(task.rollout(Sampled {
            text: read.text,
            finish_reason: read.finish_reason,
            forced_close: None,
            logprob_sum: None,
            prompt_tokens: read.prompt_tokens,
            completion_tokens: read.completion_tokens,
            reading: Reading {
                length_estimated: read.length_estimated,
                reply: Some(RawReply { reader: reply::READER, body }),
                ..Reading::default()
            },
        }))
    }

    /// Without a server's counts, lengths are only approximate.
    fn warn_of_estimates(&self, length_estimated: bool) {
        if length_estimated && !self.has_warned_of_estimates.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the policy's server does not count the tokens of its responses, or counts them without the thinking: \
                 the lengths are estimated from bytes (column length_estimated)"
            );
        }
    }

    /// Some servers truncate a prompt that is too long without an error.
    fn warn_of_cut_prompts(&self, task: &RolloutTask, prompt_tokens: u32) {
        let is_cut = task.prompt.text.len() / CUT_BYTES_PER_TOKEN > prompt_tokens as usize;
        if is_cut && !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the policy's server counts {prompt_tokens} tokens for a prompt of {} bytes: it may truncate prompts \
                 (check its context length, num_ctx in Ollama)",
                task.prompt.text.len()
            );
        }
    }
}

/// Adds the beginning of the assistant's turn, which the server continues.
fn continue_message(prompt: &mut Map<String, Value>, messages: &mut Vec<Value>, opening: &str) {
    messages.push(json!({"role": "assistant", "content": opening}));
    prompt.insert("continue_final_message".to_owned(), json!(true));
    prompt.insert("add_generation_prompt".to_owned(), json!(false));
}

fn unusable(evidence: Evidence<'_>, body: &str) -> CallFailure {
    let what = match evidence {
        Evidence::BlankBody => "the reply is blank".to_owned(),
        Evidence::NotJson => "the reply is not a JSON object".to_owned(),
        Evidence::ErrorObject { .. } => {
            let error = ChatReply::parse(body).ok().and_then(|reply| reply.error);
            format!("the reply is an error: {}", error.map_or_else(|| body.to_owned(), |error| error.message))
        }
        Evidence::ContentFilter => "the provider's content filter stopped the response".to_owned(),
        Evidence::CutByServer => "the server cut the response short".to_owned(),
        _ => "the reply holds no response".to_owned(),
    };
    let detail = one_line(&what, DETAIL_CHARS_MAX);
    // The reply was a success for HTTP.
    let body = reply::worth_keeping(body);
    CallFailure { class: classify(evidence), status: Some(200), retry_after: None, detail, refused: None, body }
}

#[cfg(test)]
#[path = "openai_tests.rs"]
mod tests;
