//! The settings of the policy: the model, its device or servers, and its mode preset.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::streaming::Streaming;
use crate::domain::{ExecutorChoice, KernelChoice, KvType};

/// Where the policy runs: in this process or behind servers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PolicyBackend {
    /// In this process; candle reads the weights.
    #[default]
    Candle,
    /// OpenAI-compatible servers.
    Openai,
}

/// How a model is asked to think or not to think.
// Prompts are built by `policy::Preset`, in which `auto` is resolved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModePresetName {
    /// Choose the preset by the chat template.
    #[default]
    Auto,
    /// `enable_thinking` in the template (Qwen3 hybrid models).
    Qwen3,
    /// `enable_thinking` in the template, one newline after the empty block (SmolLM3).
    Smollm3,
    /// Prefilled think block (DeepSeek-R1 and its distills).
    DeepseekR1,
    /// `thinking` in the template (Granite 3).
    Granite,
    /// `thinking` in the template (DeepSeek V3.1 and related models).
    DeepseekV3,
    /// `thinking` in the request's body (DeepSeek's own API); for `backend = "openai"`.
    DeepseekApi,
    /// Few-shot examples, prefill and forced close, for models without a switch.
    Prompted,
    /// For a model that was trained on thinkloom's structured responses: the prompt is the user's text, the response
    /// begins with a judge block (`judge_block`), and its mode tag is forced.
    Structured,
}

/// Which device runs the model, as it is asked for; `policy::device` resolves it to the engine's choice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeviceName {
    /// An NVIDIA GPU if this build supports one and the machine has it, otherwise the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The NVIDIA GPU with this number.
    Cuda(usize),
    /// Apple's GPU.
    Metal,
}

impl std::fmt::Display for DeviceName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Cpu => formatter.write_str("cpu"),
            Self::Cuda(index) => write!(formatter, "cuda:{index}"),
            Self::Metal => formatter.write_str("metal"),
        }
    }
}

impl std::str::FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown =
            || format!("policy.device is \"{text}\"; allowed: auto, cpu, cuda, cuda:N with a number N, metal");
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            "metal" => Ok(Self::Metal),
            _ => {
                let index = text.strip_prefix("cuda:").filter(|index| index.bytes().all(|byte| byte.is_ascii_digit()));
                index.and_then(|index| index.parse().ok()).map(Self::Cuda).ok_or_else(unknown)
            }
        }
    }
}

impl Serialize for DeviceName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DeviceName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for DeviceName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DeviceName".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "Which device runs the model.",
            "type": "string",
            "pattern": "^(auto|cpu|cuda|cuda:[0-9]+|metal)$",
        })
    }
}

/// `[policy]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PolicySettings {
    /// Where the policy runs: in this process or behind servers.
    pub backend: PolicyBackend,
    /// For `backend = "openai"`: base URLs of servers of one model; `/chat/completions` is appended. Requests go to the
    /// least loaded server, and servers that are down are skipped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub base_urls: Vec<String>,
    /// For `backend = "openai"`: the environment variable with the key, if the servers require one.
    pub api_key_env: String,
    /// For `backend = "openai"`: whether the key may be sent unencrypted: to an `http://` address on another machine,
    /// also through a proxy.
    pub allow_http: bool,
    /// For `backend = "openai"`: the version of the served model (any text, such as a hash); a change samples again.
    pub revision: String,
    /// For `backend = "openai"`: other model names that replies may have. The model's own name, dated, quantised, with
    /// a path or in another case, needs no entry; any other name stops the run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub served_names: Vec<String>,
    /// For `backend = "openai"`: the most calls in flight to each server, 1..=4096; fewer while the server reports
    /// overload.
    pub concurrency: usize,
    /// For `backend = "openai"`: the rate limit of each server; 0: none known.
    pub requests_per_minute: u32,
    /// For `backend = "openai"`: the rate limit of each server, prompts and responses together; 0: none known.
    pub tokens_per_minute: u32,
    /// For `backend = "openai"`: attempts per response, counted over all restarts, 1..=100.
    pub attempts_max: u32,
    /// For `backend = "openai"`: the time-out of one call, in seconds.
    pub timeout_s: u64,
    /// For `backend = "openai"`: how long the run waits during an outage of the servers before it stops, resumably, in
    /// seconds; 0: no limit. No query is charged for an outage.
    pub patience_s: u64,
    /// For `backend = "openai"`: whether to stream: `"auto"` (if a response may be long), `true` or `false`.
    pub stream: Streaming,
    /// For `backend = "openai"`: the name under which the servers serve the model. Otherwise a GGUF file or a model
    /// directory, relative to the config file, else to the working directory; or the Hugging Face Hub id of a model:
    /// `owner/name`,
    /// `owner/name@revision`, `owner/name:file.gguf`.
    pub model: String,
    /// `auto` (an NVIDIA GPU if this build supports one and the machine has it, otherwise the CPU), `cpu`, `cuda`,
    /// `cuda:N` or
    /// `metal`.
    pub device: DeviceName,
    /// The implementation that runs the model.
    pub executor: ExecutorChoice,
    /// Kernels of the fused executor. `avx2` and `avx512` give the same texts bit for bit; `amx` rounds differently.
    pub kernels: KernelChoice,
    /// Sequences decoded together, 1..=1024.
    pub slots: usize,
    /// CPU threads; 0: all cores.
    pub threads: usize,
    /// The most memory for keys and values, in MiB; when it is full, sequences are preempted and recomputed.
    pub kv_cache_mib: usize,
    /// The number format of stored keys and values; `bf16` takes half the memory and changes the texts.
    pub kv_type: KvType,
    /// How the model is asked to think or not to think.
    pub mode_preset: ModePresetName,
    /// For `mode_preset = "structured"`: the text of the judge block before the forced mode tag; without it the model
    /// writes the block itself (for `backend = "candle"` only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judge_block: Option<String>,
    /// For `backend = "openai"`: keys that are omitted from the request body, for servers that reject them: `seed`,
    /// `max_tokens`, `temperature`, `top_p`, `top_k`, `min_p`, `stop`. A rejected `seed` is omitted without an entry
    /// here, and a rejected `max_tokens` is sent as `max_completion_tokens`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub omit: Vec<String>,
    /// For `backend = "openai"`: more keys for the request body.
    pub extra: BTreeMap<String, serde_json::Value>,
}

impl Default for PolicySettings {
    fn default() -> Self {
        Self {
            backend: PolicyBackend::Candle,
            base_urls: Vec::new(),
            api_key_env: "POLICY_API_KEY".to_owned(),
            allow_http: false,
            revision: String::new(),
            served_names: Vec::new(),
            concurrency: 64,
            requests_per_minute: 0,
            tokens_per_minute: 0,
            attempts_max: 8,
            patience_s: 3600,
            timeout_s: 1800,
            stream: Streaming::Auto,
            omit: Vec::new(),
            extra: BTreeMap::new(),
            model: "models/SmolLM2-135M-Instruct.Q4_1.gguf".to_owned(),
            device: DeviceName::Auto,
            executor: ExecutorChoice::Auto,
            kernels: KernelChoice::Auto,
            slots: 32,
            threads: 0,
            kv_cache_mib: 2048,
            kv_type: KvType::F32,
            mode_preset: ModePresetName::Auto,
            judge_block: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_and_written_back() {
        for (text, device) in [
            ("auto", DeviceName::Auto),
            ("cpu", DeviceName::Cpu),
            ("cuda:0", DeviceName::Cuda(0)),
            ("cuda:12", DeviceName::Cuda(12)),
            ("metal", DeviceName::Metal),
        ] {
            assert_eq!(text.parse(), Ok(device));
            assert_eq!(device.to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(DeviceName::Cuda(0)));
        for text in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:+1", "CPU", "cuda:99999999999999999999"] {
            assert!(text.parse::<DeviceName>().is_err(), "{text}");
        }
    }
}
