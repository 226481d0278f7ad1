//! A policy behind OpenAI-compatible servers: vLLM, SGLang, llama-server, a gateway.
//!
//! The mode is switched by what the preset knows of the model: arguments for the server's chat template, a body key, or
//! words and examples. The prompt that is recorded is the JSON of what decides it (messages and switches). A response is
//! recorded as its text would have come from the model itself: thinking that the server split off
//! (`reasoning_content`, `reasoning`) stands in a think block again, tags in the content stay where they are. A length
//! limit inside the thought leaves the block open.
//!
//! A response's content address covers the server's model, its revision from the config, the whole body, the seed and
//! the sample index, but not the address of the server: all servers serve the same model. What is behind the name is the
//! user's to say (`policy.revision`). One call makes one attempt; loops and records are the caller's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::prompt::{Prompts, RenderedPrompt};
use super::{FREE, PolicyIdentity, Preset, RolloutTask, TaskParts};
use crate::config::{ModePresetName, PolicySettings, SamplingSettings};
use crate::domain::{ByMode, FinishReason, Kind, Mode, Query, Rollout};
use crate::engine::EngineStats;
use crate::http::client::{ChatClient, ClientError, ClientOptions, Delivery};
use crate::http::retry::{Evidence, classify};
use crate::http::wire::{ChatReply, Choice, ErrorInfo};
use crate::http::{CallFailure, DETAIL_CHARS_MAX, one_line};

/// Version of everything between a rollout's key and its text that the key does not spell out.
const SAMPLING_VERSION: u32 = 1;
/// What `prompted` says first; part of the program.
const SYSTEM_PROMPTS: &str = include_str!("../../prompts/policy_http.toml");
/// Bytes of a prompt per token, where nobody counted.
const BYTES_PER_TOKEN: usize = 3;
/// Bytes per token beyond which a server must have cut the prompt.
const CUT_BYTES_PER_TOKEN: usize = 16;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SystemPrompts {
    system: ByMode<String>,
}

/// Why a response could not be sampled.
#[derive(Debug)]
pub enum HttpSampleError {
    /// The program stops: nothing new is sent.
    Draining,
    /// One attempt failed.
    Call(CallFailure),
}

/// A policy behind HTTP.
#[derive(Debug)]
pub struct OpenAiPolicy {
    client: ChatClient,
    prompts: Prompts,
    system: ByMode<String>,
    preset: Preset,
    identity: PolicyIdentity,
    sampling: SamplingSettings,
    extra: Map<String, Value>,
    streaming: crate::config::Streaming,
    stats: EngineStats,
    stop: CancellationToken,
    has_warned: AtomicBool,
}

impl OpenAiPolicy {
    /// Builds the policy; connects to nothing.
    ///
    /// # Errors
    /// [`ClientError`] if an address or the key cannot be used.
    ///
    /// # Panics
    /// If the mode preset is `auto`, which the settings' own check refuses for this backend.
    pub fn new(
        policy: &PolicySettings,
        sampling: &SamplingSettings,
        api_key: Option<SecretString>,
    ) -> Result<Self, ClientError> {
        let client = ChatClient::new(&ClientOptions {
            base_urls: policy.base_urls.clone(),
            api_key,
            concurrency_max: policy.concurrency,
            requests_per_minute: policy.requests_per_minute,
            tokens_per_minute: policy.tokens_per_minute,
            timeout: Duration::from_secs(policy.timeout_s),
        })?;
        assert!(policy.mode_preset != ModePresetName::Auto, "settings are checked");
        let preset = Preset::resolve(policy.mode_preset, "");
        let system: SystemPrompts =
            toml::from_str(SYSTEM_PROMPTS).expect("prompts/policy_http.toml is checked by a test");
        let prompts = Prompts::built_in();
        let mut hasher = Sha256::new();
        for part in [Prompts::SOURCE, SYSTEM_PROMPTS, preset.name()] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        let identity = PolicyIdentity {
            model: policy.model.clone(),
            revision: policy.revision.clone(),
            preset: preset.name().to_owned(),
            prompts: hex::encode(hasher.finalize()),
        };
        Ok(Self {
            client,
            prompts,
            system: system.system,
            preset,
            identity,
            sampling: sampling.clone(),
            extra: policy.extra.clone().into_iter().collect(),
            streaming: policy.stream,
            stats: EngineStats::default(),
            stop: CancellationToken::new(),
            has_warned: AtomicBool::new(false),
        })
    }

    /// Returns who the policy is.
    #[must_use]
    pub fn identity(&self) -> &PolicyIdentity {
        &self.identity
    }

    /// Returns a SHA-256 in hex over model, revision, preset, prompts, extra body keys and this room's version.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let identity = json!({"version": SAMPLING_VERSION, "policy": self.identity, "extra": self.extra});
        hex::encode(Sha256::digest(identity.to_string().as_bytes()))
    }

    /// Returns the running totals.
    #[must_use]
    pub fn stats(&self) -> &EngineStats {
        &self.stats
    }

    /// Refuses what is not under way yet.
    pub fn drain(&self) {
        self.stop.cancel();
    }

    /// Returns the rollouts that a query asks for, N per mode in order of sample index.
    #[must_use]
    pub fn tasks(&self, query: &Query) -> ByMode<Vec<RolloutTask>> {
        ByMode::from_fn(|mode| {
            let prompt = self.prompt(query, mode);
            let samples = 0..self.sampling.samples_per_mode;
            samples.map(|sample_index| self.task(&prompt, mode, sample_index)).collect()
        })
    }

    /// Returns N responses for which no mode is asked: the conversation is the user's text, as in the training rows.
    #[must_use]
    pub fn free_tasks(&self, query: &Query) -> Vec<RolloutTask> {
        let text = json!({"messages": [{"role": "user", "content": query.user_text()}]}).to_string();
        let prompt = RenderedPrompt { text, prefill: String::new(), stops: Vec::new(), close: None };
        let samples = 0..self.sampling.samples_per_mode;
        samples.map(|sample_index| self.task_as(FREE, &prompt, Mode::ThinkOn, sample_index)).collect()
    }

    /// Returns what is sent besides model, limits and sampling.
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
            // The template opens the thought; only an answer's turn that is begun already can skip it.
            Preset::DeepseekR1 if !is_on => {
                prefill = self.preset.opening(mode, "", "");
                messages.push(json!({"role": "assistant", "content": prefill}));
                prompt.insert("continue_final_message".to_owned(), json!(true));
                prompt.insert("add_generation_prompt".to_owned(), json!(false));
            }
            Preset::DeepseekR1 | Preset::Prompted => {}
        }
        prompt.insert("messages".to_owned(), Value::Array(messages));
        // The examples end every answer of one line with it, and small models go on with questions of their own.
        let stops = if is_prompted && !is_on && query.kind != Kind::Code { vec!["\n".to_owned()] } else { Vec::new() };
        RenderedPrompt { text: Value::Object(prompt).to_string(), prefill, stops, close: None }
    }

    fn task(&self, prompt: &RenderedPrompt, mode: Mode, sample_index: u32) -> RolloutTask {
        self.task_as(mode.name(), prompt, mode, sample_index)
    }

    fn task_as(&self, asked: &str, prompt: &RenderedPrompt, mode: Mode, sample_index: u32) -> RolloutTask {
        let tokens_max = match mode {
            Mode::ThinkOn => self.sampling.think_on_tokens_max,
            Mode::ThinkOff => self.sampling.think_off_tokens_max,
        };
        let SamplingSettings { temperature, top_k, top_p, min_p, seed, .. } = self.sampling;
        let identity = json!({
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
        RolloutTask::new(&identity, seed, TaskParts { mode, sample_index, prompt: prompt.clone(), tokens_max })
    }

    /// Returns the whole body of a response's request.
    fn body(&self, task: &RolloutTask) -> Bytes {
        let mut body: Map<String, Value> = serde_json::from_str(&task.prompt.text).unwrap_or_default();
        let SamplingSettings { temperature, top_k, top_p, min_p, .. } = self.sampling;
        // 31 bits: servers differ in how wide a seed may be.
        let seed = task.seed >> 32;
        let mut set = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
        set("model", json!(self.identity.model));
        set("max_tokens", json!(task.tokens_max));
        set("temperature", json!(temperature));
        set("top_p", json!(top_p));
        set("seed", json!(seed));
        // Not every server knows these; they are sent only where they say something.
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
            // Template arguments of one's own stand beside the switch.
            if let (Some(table), Some(more)) = (body.get_mut(name).and_then(Value::as_object_mut), value.as_object()) {
                table.extend(more.clone());
                continue;
            }
            body.insert(name.clone(), value.clone());
        }
        Value::Object(body).to_string().into()
    }

    /// Samples one response, in one attempt.
    ///
    /// Cancel-safe in that nothing is recorded; a server may have computed it all the same.
    ///
    /// # Errors
    /// [`HttpSampleError`].
    pub async fn sample(&self, task: &RolloutTask) -> Result<Rollout, HttpSampleError> {
        let body = self.body(task);
        let estimate = u32::try_from(body.len() / BYTES_PER_TOKEN).unwrap_or(u32::MAX).saturating_add(task.tokens_max);
        let admission = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(HttpSampleError::Draining),
            admission = self.client.admit(estimate) => admission,
        };
        let is_streamed = self.streaming.is_wanted(task.tokens_max);
        let delivery = if is_streamed { Delivery::Stream } else { Delivery::Whole };
        let reply = self.client.post_chat(&body, delivery, admission).await.map_err(HttpSampleError::Call)?;
        let read = read_reply(&reply, task).map_err(|evidence| HttpSampleError::Call(unusable(evidence, &reply)))?;
        self.stats.sampled_tokens.fetch_add(u64::from(read.completion_tokens), Ordering::Relaxed);
        self.stats.prompt_tokens.fetch_add(u64::from(read.prompt_tokens), Ordering::Relaxed);
        self.warn_of_cut_prompts(task, read.prompt_tokens);
        Ok(Rollout {
            key: task.key.clone(),
            mode: task.mode,
            sample_index: task.sample_index,
            seed: task.seed,
            prompt: task.prompt.text.clone(),
            prefill: task.prompt.prefill.clone(),
            text: read.text,
            finish_reason: read.finish_reason,
            forced_close: None,
            logprob_sum: None,
            prompt_tokens: read.prompt_tokens,
            completion_tokens: read.completion_tokens,
        })
    }

    /// Some servers cut a prompt that is too long without a word.
    fn warn_of_cut_prompts(&self, task: &RolloutTask, prompt_tokens: u32) {
        let is_cut = task.prompt.text.len() / CUT_BYTES_PER_TOKEN > prompt_tokens as usize;
        if is_cut && !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the policy's server counts {prompt_tokens} tokens for a prompt of {} bytes: it may cut prompts (look at \
                 its context length, num_ctx in Ollama)",
                task.prompt.text.len()
            );
        }
    }
}

/// What a reply says of a response.
#[derive(Debug, PartialEq, Eq)]
struct ReadReply {
    text: String,
    finish_reason: FinishReason,
    prompt_tokens: u32,
    completion_tokens: u32,
}

/// Reads a reply's body; what is no response is evidence for the retry table.
fn read_reply<'a>(body: &'a str, task: &RolloutTask) -> Result<ReadReply, Evidence<'a>> {
    let reply = ChatReply::parse(body).map_err(|error| match error {
        crate::http::wire::WireError::Blank => Evidence::BlankBody,
        crate::http::wire::WireError::NotJson { .. } => Evidence::NotJson,
    })?;
    if let Some(ErrorInfo { code, .. }) = reply.error {
        // The table needs a name that outlives this reply; only the known ones matter to it.
        return Err(Evidence::ErrorObject { code: code.and_then(|code| find(body, &code)) });
    }
    let choice = reply.choice.unwrap_or_default();
    let finish_reason = match choice.finish_reason.as_deref() {
        Some("stop") | None => FinishReason::Stop,
        Some("length") => FinishReason::Length,
        Some("content_filter") => return Err(Evidence::ContentFilter),
        Some("insufficient_system_resource" | "aborted") => return Err(Evidence::CutByServer),
        Some(_) => return Err(Evidence::Unusable),
    };
    let usage = reply.usage.unwrap_or_default();
    let narrow = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    let text = response_text(choice, finish_reason, usage.completion_tokens).ok_or(Evidence::Unusable)?;
    let estimated = |bytes: usize| u32::try_from(bytes.div_ceil(BYTES_PER_TOKEN)).unwrap_or(u32::MAX);
    let counted = |count: u32, bytes: usize| if count > 0 { count } else { estimated(bytes) };
    Ok(ReadReply {
        finish_reason,
        prompt_tokens: counted(narrow(usage.prompt_tokens), task.prompt.text.len()),
        completion_tokens: counted(narrow(usage.completion_tokens), text.len()),
        text,
    })
}

fn find<'a>(body: &'a str, code: &str) -> Option<&'a str> {
    let start = body.find(code)?;
    body.get(start..start + code.len())
}

/// Puts a response together as the model wrote it; `None` if the reply holds none.
fn response_text(choice: Choice, finish_reason: FinishReason, completion_tokens: u64) -> Option<String> {
    let reasoning = choice.reasoning.filter(|reasoning| !reasoning.trim().is_empty());
    let is_blank = choice.content.as_ref().is_none_or(|content| content.trim().is_empty());
    let content = choice.content.unwrap_or_default();
    match reasoning {
        Some(reasoning) if !is_blank => Some(format!("<think>\n{}\n</think>\n\n{content}", reasoning.trim())),
        // The limit was reached inside the thought; never an answer.
        Some(reasoning) if finish_reason == FinishReason::Length => Some(format!("<think>\n{}", reasoning.trim())),
        // A parser of the server's lost the answer.
        Some(_) => None,
        None if !is_blank => Some(content),
        // A model may end its turn at once; more tokens than that went somewhere else.
        None if finish_reason == FinishReason::Stop && completion_tokens == 1 => Some(content),
        None => None,
    }
}

fn unusable(evidence: Evidence<'_>, body: &str) -> CallFailure {
    let what = match evidence {
        Evidence::BlankBody => "the reply is blank".to_owned(),
        Evidence::NotJson => "the reply is not a JSON object".to_owned(),
        Evidence::ErrorObject { .. } => format!("the reply is an error: {body}"),
        Evidence::ContentFilter => "the provider's content filter stopped the response".to_owned(),
        Evidence::CutByServer => "the server cut the response short".to_owned(),
        _ => "the reply holds no response".to_owned(),
    };
    let detail = one_line(&what, DETAIL_CHARS_MAX);
    // What came was a success as far as HTTP goes.
    CallFailure { class: classify(evidence), status: Some(200), retry_after: None, detail }
}

#[cfg(test)]
#[path = "openai_tests.rs"]
mod tests;
