//! `[judge]`: the model that justifies the choice of the mode.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::batch::BatchSettings;
use super::prices::PriceSettings;
use super::streaming::Streaming;

/// The judge: the model that justifies the choice of the mode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JudgeBackend {
    /// An OpenAI-style chat API.
    Openai,
    /// The hosted policy model; offline.
    #[default]
    Policy,
    /// No judge: the justification stays empty.
    None,
}

/// How requests reach an API judge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// One chat call per justification; `direct` is an alias.
    #[default]
    #[serde(alias = "direct")]
    Chat,
    /// The provider's batch API: cheaper at most providers, and slower.
    Batch,
}

/// The treatment of a query if the checks reject all its justifications.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnRejected {
    /// Exclude the query.
    #[default]
    Exclude,
    /// Keep the sample without a justification; `justification_status` marks it.
    Keep,
}

/// `[judge]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JudgeSettings {
    /// The judge.
    pub backend: JudgeBackend,
    /// The base URL of the API; `/chat/completions` is appended.
    pub base_url: String,
    /// More base URLs of the same model; calls go to the least loaded server, and servers that are down are skipped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more_base_urls: Vec<String>,
    /// How requests reach the judge.
    pub transport: Transport,
    /// The requested model; the served name is recorded.
    pub model: String,
    /// The environment variable with the key. Never write the key itself into a file.
    pub api_key_env: String,
    /// Whether the key may be sent unencrypted: to an `http://` address on another machine, also through a proxy.
    pub allow_http: bool,
    /// The most calls in flight to each server, 1..=4096; fewer while the server reports overload.
    pub concurrency_max: usize,
    /// The rate limit of each server; 0: none known.
    pub requests_per_minute: u32,
    /// The rate limit of each server, prompts and replies together; 0: none known.
    pub tokens_per_minute: u32,
    /// Attempts per query, counted over all restarts, 1..=100.
    pub attempts_max: u32,
    /// The token limit of a reply.
    pub max_tokens: u32,
    /// The time-out of one call, in seconds.
    pub timeout_s: u64,
    /// How long the run waits during an outage of the judge before it stops, resumably, in seconds; 0: no limit. No
    /// query is charged for an outage.
    pub patience_s: u64,
    /// Whether to stream: `"auto"` (if a reply may be long), `true` or `false`.
    pub stream: Streaming,
    /// Whether to request the API's JSON mode (`response_format`); `false` for servers that reject it.
    pub json_mode: bool,
    /// The treatment of a query if all its justifications are rejected: `exclude` or `keep`.
    pub on_rejected: OnRejected,
    /// The most that an API judge may cost over all starts, in USD: the run stops, resumably, before a call that might
    /// exceed it. 0: no limit. A limit needs all prices.
    pub budget_usd: f64,
    /// Keys that are omitted from the request body, for servers that reject them: `temperature`, `response_format`, or
    /// `max_tokens` if prices and budget are not set. A rejected `response_format` is omitted without an entry here,
    /// and a rejected `max_tokens` is sent as `max_completion_tokens`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub omit: Vec<String>,
    /// More keys for the request body, for example `thinking = { type = "disabled" }`.
    pub extra: BTreeMap<String, serde_json::Value>,
    /// The settings for the provider's batch API.
    pub batch: BatchSettings,
    /// The provider's prices.
    pub prices_usd_per_mtok: PriceSettings,
}

impl Default for JudgeSettings {
    fn default() -> Self {
        Self {
            backend: JudgeBackend::Policy,
            base_url: "https://api.deepseek.com".to_owned(),
            more_base_urls: Vec::new(),
            transport: Transport::Chat,
            model: "deepseek-chat".to_owned(),
            api_key_env: "DEEPSEEK_API_KEY".to_owned(),
            allow_http: false,
            concurrency_max: 64,
            requests_per_minute: 0,
            tokens_per_minute: 0,
            attempts_max: 5,
            max_tokens: 400,
            timeout_s: 600,
            patience_s: 3600,
            stream: Streaming::Auto,
            json_mode: true,
            on_rejected: OnRejected::Exclude,
            budget_usd: 0.0,
            omit: Vec::new(),
            extra: BTreeMap::new(),
            batch: BatchSettings::default(),
            prices_usd_per_mtok: PriceSettings::default(),
        }
    }
}
