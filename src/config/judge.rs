//! `[judge]`: who justifies the choice.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::batch::BatchSettings;
use super::prices::PriceSettings;
use super::streaming::Streaming;

/// Who justifies the choice of mode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JudgeBackend {
    /// An OpenAI-style chat API.
    Openai,
    /// The local policy model; offline.
    #[default]
    Policy,
    /// Nobody: the justification stays empty.
    None,
}

/// How an API judge is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// One chat call per justification; `direct` is another name for it.
    #[default]
    #[serde(alias = "direct")]
    Chat,
    /// The provider's batch API: cheaper at most providers, and slower.
    Batch,
}

/// What becomes of a query whose justifications the checks reject, each of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnRejected {
    /// It is excluded.
    #[default]
    Exclude,
    /// It is kept without a justification, and marked so.
    Keep,
}

/// `[judge]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JudgeSettings {
    /// Who justifies.
    pub backend: JudgeBackend,
    /// Where the API is; `/chat/completions` is appended.
    pub base_url: String,
    /// More addresses of the same model; calls go to the least loaded, and a dead one is set aside.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more_base_urls: Vec<String>,
    /// How it is asked.
    pub transport: Transport,
    /// The model to ask for; the served name is recorded.
    pub model: String,
    /// The environment variable that holds the key. The key itself never stands in a file.
    pub api_key_env: String,
    /// Whether the key may be sent in clear: to an `http://` address that is not on this machine, or through a proxy to one.
    pub allow_http: bool,
    /// Calls in flight to each address, 1..=4096; fewer while the server says that it is overloaded.
    pub concurrency_max: usize,
    /// Limit of each address; 0: none known.
    pub requests_per_minute: u32,
    /// Limit of each address, prompts and replies together; 0: none known.
    pub tokens_per_minute: u32,
    /// Attempts per query, counted over all restarts, 1..=100.
    pub attempts_max: u32,
    /// Limit of a justification, in tokens.
    pub max_tokens: u32,
    /// Limit of one call, in seconds.
    pub timeout_s: u64,
    /// How long a judge that brings nothing is waited for before the run stops, resumably, in seconds; 0: for ever. No
    /// query is charged for its faults.
    pub patience_s: u64,
    /// `"auto"` (where a reply may be long), `true` or `false`.
    pub stream: Streaming,
    /// Whether an API is asked for its JSON mode (`response_format`); `false` for servers that refuse it.
    pub json_mode: bool,
    /// What becomes of a query whose justifications are all rejected: `exclude` or `keep`.
    pub on_rejected: OnRejected,
    /// What an API judge may cost over all starts, in USD: the run stops, resumably, before a call that might exceed it.
    /// 0: no limit. A limit needs all prices.
    pub budget_usd: f64,
    /// Keys that are left out of the request body, for servers that refuse them: `temperature`, `response_format`, or
    /// `max_tokens` where there are no prices and no limit. A refused `response_format` is left out without being listed
    /// here, and a refused `max_tokens` is sent as `max_completion_tokens`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub omit: Vec<String>,
    /// More keys for the request body, for example `thinking = { type = "disabled" }`.
    pub extra: BTreeMap<String, serde_json::Value>,
    /// How the provider's batch API is used.
    pub batch: BatchSettings,
    /// What the provider charges.
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
