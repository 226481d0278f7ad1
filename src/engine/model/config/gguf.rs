//! Reads the decoder's shape from a GGUF file's metadata, as llama.cpp does.

use super::rope::{YarnRule, check_factor, check_theta};
use super::{
    CONTEXT_MAX, HEAD_DIM_MAX, HEADS_MAX, Heads, LayerKind, ModelConfig, RopeConfig, RopeLayout, RopeScaling,
    VOCABULARY_MAX, WIDTH_MAX, check_epsilon, shown_name,
};
use crate::error::EngineError;
use crate::weights::{GgufFile, PartRules, Presence};

/// Tensor with a divisor for each rotary frequency.
const ROPE_FACTORS: &str = "rope_freqs.weight";

/// Supported architectures.
const SUPPORTED: &str = "llama, mistral3, qwen2, qwen3, smollm3";

/// SmolLM3 uses no rotary positions in every n-th layer; llama.cpp also has the number only in its code.
const SMOLLM3_NO_ROPE_INTERVAL: usize = 4;

/// Keys of decoders that differ from this one, each with the values that mean "not used".
const FOREIGN_KEYS: &[(&str, &[f64])] = &[
    ("expert_count", &[0.0]),
    ("embedding_scale", &[0.0, 1.0]),
    ("residual_scale", &[0.0, 1.0]),
    ("logit_scale", &[0.0, 1.0]),
    ("attn_logit_softcapping", &[0.0]),
    ("final_logit_softcapping", &[0.0]),
    ("router_logit_softcapping", &[0.0]),
    ("attention.clamp_kqv", &[0.0]),
    ("attention.max_alibi_bias", &[0.0]),
    ("attention.output_scale", &[0.0, 1.0]),
    ("attention.temperature_length", &[0.0]),
    ("attention.temperature_scale", &[0.0]),
    ("attention.causal", &[1.0]),
    ("use_parallel_residual", &[0.0]),
    ("rope.scaling.yarn_log_multiplier", &[0.0]),
    ("rope.scaling.yarn_ext_factor", &[1.0, -1.0]),
    ("rope.scaling.yarn_attn_factor", &[1.0]),
    ("rope.scaling.attn_factor", &[0.0, 1.0]),
];

/// The metadata of one architecture, by keys without the architecture's prefix.
struct Metadata<'a> {
    file: &'a GgufFile,
    architecture: &'a str,
}

impl Metadata<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn size(&self, name: &str, max: usize) -> Result<usize, EngineError> {
        self.file.size(&self.key(name), max)
    }

    fn optional_size(&self, name: &str, max: usize) -> Result<Option<usize>, EngineError> {
        if self.file.value(&self.key(name)).is_some() { self.size(name, max).map(Some) } else { Ok(None) }
    }

    fn malformed(&self, name: &str, detail: &str) -> EngineError {
        self.file.malformed(format!("metadata key {} {detail}", self.key(name)))
    }

    fn float(&self, name: &str) -> Result<Option<f32>, EngineError> {
        self.file.float(&self.key(name))
    }

    fn unsupported(&self, name: &str, detail: &str) -> EngineError {
        self.file.unsupported(format!("metadata key {} {detail}", self.key(name)))
    }

    /// Returns a number of any type, truth values included.
    fn number(&self, name: &str) -> Result<Option<f64>, EngineError> {
        let key = self.key(name);
        if let Ok(number) = self.file.float(&key) {
            return Ok(number.map(f64::from));
        }
        if let Ok(flag) = self.file.boolean(&key) {
            return Ok(flag.map(|flag| f64::from(u8::from(flag))));
        }
        Ok(self.file.unsigned(&key)?.map(|number| number as f64))
    }

    fn refuse_foreign_keys(&self, head_dim: usize) -> Result<(), EngineError> {
        for (name, unused) in FOREIGN_KEYS {
            match self.number(name)? {
                Some(number) if !unused.contains(&number) => {
                    return Err(self.unsupported(name, &format!("is {number}, which the decoder does not support")));
                }
                _ => {}
            }
        }
        let usual = 1.0 / (head_dim as f64).sqrt();
        match self.number("attention.scale")? {
            Some(scale) if scale != 0.0 && (scale - usual).abs() > 1e-6 => {
                Err(self.unsupported("attention.scale", &format!("is {scale}; supported: 1 / sqrt({head_dim})")))
            }
            _ => Ok(()),
        }
    }

    fn epsilon(&self) -> Result<f32, EngineError> {
        let name = "attention.layer_norm_rms_epsilon";
        check_epsilon(self.float(name)?.unwrap_or(1e-5)).map_err(|detail| self.malformed(name, &detail))
    }

    /// Reads the rotary embedding; `context` is the context in the metadata.
    fn rope(&self, layout: RopeLayout, head_dim: usize, context: usize) -> Result<RopeConfig, EngineError> {
        let theta = self.float("rope.freq_base")?.unwrap_or(10_000.0);
        check_theta(f64::from(theta)).map_err(|detail| self.malformed("rope.freq_base", &detail))?;
        let rope = RopeConfig { theta, layout, scaling: self.scaling(theta, head_dim, context)? };
        rope.check(head_dim).map_err(|detail| self.file.malformed(detail))?;
        Ok(rope)
    }

    /// Reads the scaling of the frequencies; `context` is the context in the metadata.
    fn scaling(&self, theta: f32, head_dim: usize, context: usize) -> Result<RopeScaling, EngineError> {
        let factor = match self.float("rope.scaling.factor")? {
            Some(factor) => factor,
            None => self.float("rope.scale_linear")?.unwrap_or(0.0),
        };
        // As in llama.cpp, a factor of zero means one, and a missing type means linear.
        let factor = if factor == 0.0 { 1.0 } else { factor };
        check_factor(f64::from(factor)).map_err(|detail| self.malformed("rope.scaling.factor", &detail))?;
        let kind = self.file.string(&self.key("rope.scaling.type"))?.unwrap_or("linear");
        let factors = match self.file.has_tensor(ROPE_FACTORS) {
            true => Some(self.file.vector(ROPE_FACTORS, head_dim / 2)?),
            false => None,
        };
        match (kind, factors) {
            ("none", None) => Ok(RopeScaling::None),
            ("none", Some(factors)) => Ok(RopeScaling::Factors(factors)),
            ("linear", None) if factor == 1.0 => Ok(RopeScaling::None),
            ("linear", None) => Ok(RopeScaling::Linear(factor)),
            ("linear", Some(factors)) => {
                Ok(RopeScaling::Factors(factors.into_iter().map(|own| own * factor).collect()))
            }
            ("yarn", None) if self.architecture != "mistral3" => {
                let original = self.optional_size("rope.scaling.original_context_length", CONTEXT_MAX)?;
                let beta = |name: &str, usual: f32| {
                    let beta = f64::from(self.float(name)?.unwrap_or(usual));
                    check_factor(beta).map_err(|detail| self.malformed(name, &detail))
                };
                let rule = YarnRule {
                    factor: f64::from(factor),
                    original_context: original.unwrap_or(context) as f64,
                    beta_fast: beta("rope.scaling.yarn_beta_fast", 32.0)?,
                    beta_slow: beta("rope.scaling.yarn_beta_slow", 1.0)?,
                    magnitude: None,
                    rounds_ends: true,
                };
                Ok(rule.scaling(f64::from(theta), head_dim))
            }
            (kind, factors) => {
                let place = if factors.is_some() { format!(" beside {ROPE_FACTORS}") } else { String::new() };
                let detail = format!(
                    "is \"{kind}\"{place} in a {} model; supported: none, linear, yarn, {ROPE_FACTORS}",
                    self.architecture
                );
                Err(self.unsupported("rope.scaling.type", &detail))
            }
        }
    }

    /// Reads the sliding window. llama.cpp neither writes nor reads a window for these architectures. Mistral 0.1,
    /// whose architecture is `llama`, has the window in all layers; for other architectures the layers with a window
    /// are unknown.
    fn window(&self, context: usize) -> Result<Option<usize>, EngineError> {
        let name = "attention.sliding_window";
        let window = self.file.unsigned(&self.key(name))?.and_then(|window| usize::try_from(window).ok());
        match window.filter(|window| (1..context).contains(window)) {
            Some(window) if !matches!(self.architecture, "llama" | "mistral3") => {
                let detail = format!("is {window}, but the layers with a window are unknown");
                Err(self.unsupported(name, &detail))
            }
            window => Ok(window),
        }
    }
}

impl ModelConfig {
    /// Reads the configuration of a GGUF file, rejects models that the decoder does not implement, and checks the
    /// tensors.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] or [`EngineError::Malformed`], naming the key or the tensor.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, EngineError> {
        let architecture = file.string("general.architecture")?.unwrap_or("none");
        let layout = match architecture {
            "llama" | "mistral3" | "smollm3" => RopeLayout::Interleaved,
            "qwen2" | "qwen3" => RopeLayout::HalfSplit,
            _ => {
                return Err(file.unsupported(format!("its architecture is \"{architecture}\"; supported: {SUPPORTED}")));
            }
        };
        let metadata = Metadata { file, architecture };
        let hidden = metadata.size("embedding_length", WIDTH_MAX)?;
        let heads = metadata.size("attention.head_count", HEADS_MAX)?;
        let kv_heads = metadata.optional_size("attention.head_count_kv", HEADS_MAX)?.unwrap_or(heads);
        let stated = metadata.optional_size("attention.key_length", HEAD_DIM_MAX)?;
        let stated = Heads { heads, kv_heads, head_dim: stated };
        let head_dim = stated.head_dim(hidden).map_err(|detail| file.malformed(detail))?;
        for name in ["attention.value_length", "rope.dimension_count"] {
            match metadata.optional_size(name, HEAD_DIM_MAX)? {
                Some(width) if width != head_dim => {
                    return Err(
                        metadata.unsupported(name, &format!("is {width}; supported: the head width, {head_dim}"))
                    );
                }
                _ => {}
            }
        }
        metadata.refuse_foreign_keys(head_dim)?;
        let vocabulary = match file.shape("token_embd.weight") {
            Some([vocabulary, _]) if *vocabulary <= VOCABULARY_MAX => *vocabulary,
            Some([vocabulary, _]) => {
                let detail =
                    format!("tensor token_embd.weight has {vocabulary} rows; at most {VOCABULARY_MAX} are read");
                return Err(file.malformed(detail));
            }
            _ => return Err(file.malformed("tensor token_embd.weight is missing or not a matrix".to_owned())),
        };
        let context = metadata.size("context_length", CONTEXT_MAX)?;
        let window = metadata.window(context)?;
        let uses_rope =
            |layer: usize| architecture != "smollm3" || !(layer + 1).is_multiple_of(SMOLLM3_NO_ROPE_INTERVAL);
        let layers = metadata.size("block_count", file.layers_max())?;
        let layers = (0..layers).map(|layer| LayerKind { uses_rope: uses_rope(layer), window });
        let config = Self {
            name: shown_name(file.string("general.name")?.unwrap_or(architecture)),
            architecture: architecture.to_owned(),
            hidden,
            ffn: metadata.size("feed_forward_length", WIDTH_MAX)?,
            heads,
            kv_heads,
            head_dim,
            vocabulary,
            context,
            epsilon: metadata.epsilon()?,
            rope: metadata.rope(layout, head_dim, context)?,
            layers: layers.collect(),
        };
        file.check_parts(&config, part_rules(architecture))?;
        Ok(config)
    }
}

/// Returns which tensors an architecture has. The metadata does not mention biases: biases that the architecture does
/// not define are used if they are present, as in llama.cpp.
fn part_rules(architecture: &str) -> PartRules {
    let (input_bias, head_norms) = match architecture {
        "qwen2" => (Presence::Required, Presence::Absent),
        "qwen3" => (Presence::Optional, Presence::Required),
        _ => (Presence::Optional, Presence::Absent),
    };
    let output_bias = if architecture == "qwen2" { Presence::Absent } else { Presence::Optional };
    PartRules { output: Presence::Optional, input_bias, output_bias, head_norms }
}
