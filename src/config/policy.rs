//! The settings of the policy: which model, on what, and how it is asked to think.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::streaming::Streaming;

/// Where the policy runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PolicyBackend {
    /// In this process, weights read by candle.
    #[default]
    Candle,
    /// OpenAI-compatible servers.
    Openai,
}

/// How a model is asked to think or not to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModePresetName {
    /// Chosen by the chat template.
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
    /// `thinking` in the template (DeepSeek V3.1 and its kin).
    DeepseekV3,
    /// `thinking` in the request's body (DeepSeek's own API); for `backend = "openai"`.
    DeepseekApi,
    /// Few-shot examples, prefill and forced close, for models without a switch of their own.
    Prompted,
}

/// Which device runs the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeviceName {
    /// An NVIDIA GPU if this build supports one and it is there, else the CPU.
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

/// What runs the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExecutorName {
    /// `fused` on the CPU, `tensor` elsewhere.
    #[default]
    Auto,
    /// thinkloom's own kernels, for the CPU.
    Fused,
    /// candle's tensors, on any device.
    Tensor,
}

/// Kernels of the fused executor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KernelName {
    /// The fastest that the CPU has.
    #[default]
    Auto,
    /// f32 in vectors of up to 256 bits.
    Avx2,
    /// f32 in vectors of 512 bits.
    Avx512,
    /// bf16 products with f32 sums on AMX tiles.
    Amx,
}

/// How keys and values are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KvTypeName {
    /// 4 bytes a number.
    #[default]
    F32,
    /// 2 bytes a number.
    Bf16,
}

/// `[policy]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PolicySettings {
    /// Where the policy runs.
    pub backend: PolicyBackend,
    /// Of `backend = "openai"`: addresses of servers of one model; `/chat/completions` is appended. Responses go to the
    /// least loaded, and a dead one is set aside.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub base_urls: Vec<String>,
    /// Of `backend = "openai"`: the environment variable that holds the key, if there is one.
    pub api_key_env: String,
    /// Of `backend = "openai"`: whether the key may be sent in clear: to an `http://` address that is not on this machine,
    /// or through a proxy to one.
    pub allow_http: bool,
    /// Of `backend = "openai"`: what is behind the model's name (a version, a hash); a change samples again.
    pub revision: String,
    /// Of `backend = "openai"`: names under which the servers' replies may say that they are from this model. Its own name,
    /// dated, quantised, with a path or in another case, need not be listed; any other name stops the run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub served_names: Vec<String>,
    /// Of `backend = "openai"`: calls in flight to each address, 1..=4096; fewer while it says that it is overloaded.
    pub concurrency: usize,
    /// Of `backend = "openai"`: limit of each address; 0: none known.
    pub requests_per_minute: u32,
    /// Of `backend = "openai"`: limit of each address, prompts and responses together; 0: none known.
    pub tokens_per_minute: u32,
    /// Of `backend = "openai"`: attempts per response, counted over all restarts, 1..=100.
    pub attempts_max: u32,
    /// Of `backend = "openai"`: limit of one call, in seconds.
    pub timeout_s: u64,
    /// Of `backend = "openai"`: how long servers that bring nothing are waited for before the run stops, resumably, in
    /// seconds; 0: for ever. No query is charged for their faults.
    pub patience_s: u64,
    /// Of `backend = "openai"`: `"auto"` (where a response may be long), `true` or `false`.
    pub stream: Streaming,
    /// With `backend = "openai"` the name that the servers know the model by; else a GGUF file or a model directory, relative to the config file, else to the working directory; or the Hugging
    /// Face Hub id of one: `owner/name`, `owner/name@revision`, `owner/name:file.gguf`.
    pub model: String,
    /// `auto` (an NVIDIA GPU if this build supports one and it is there, else the CPU), `cpu`, `cuda`, `cuda:N` or
    /// `metal`.
    pub device: DeviceName,
    /// What runs the model.
    pub executor: ExecutorName,
    /// Kernels of the fused executor. Texts are the same bit for bit among `avx2` and `avx512`; `amx` rounds otherwise.
    pub kernels: KernelName,
    /// Sequences decoded together, 1..=1024.
    pub slots: usize,
    /// CPU threads; 0: all cores.
    pub threads: usize,
    /// Bound of the keys' and values' memory in MiB; sequences are recomputed when it runs out.
    pub kv_cache_mib: usize,
    /// How keys and values are stored; `bf16` takes half the memory and changes the texts.
    pub kv_type: KvTypeName,
    /// How the model is asked to think or not to.
    pub mode_preset: ModePresetName,
    /// Of `backend = "openai"`: keys that are left out of the request body, for servers that refuse them: `seed`,
    /// `max_tokens`, `temperature`, `top_p`, `top_k`, `min_p`, `stop`. A refused `seed` is left out without being listed
    /// here, and a refused `max_tokens` is sent as `max_completion_tokens`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub omit: Vec<String>,
    /// Of `backend = "openai"`: more keys for the request body.
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
            executor: ExecutorName::Auto,
            kernels: KernelName::Auto,
            slots: 32,
            threads: 0,
            kv_cache_mib: 2048,
            kv_type: KvTypeName::F32,
            mode_preset: ModePresetName::Auto,
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
