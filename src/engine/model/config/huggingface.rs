//! Reads the decoder's shape from the `config.json` of a Hugging Face directory, as transformers does.

use super::rope::{Llama3Rule, YarnRule, check_factor, check_theta};
use super::{
    CONTEXT_MAX, HEAD_DIM_MAX, HEADS_MAX, Heads, LayerKind, ModelConfig, RopeConfig, RopeLayout, RopeScaling,
    VOCABULARY_MAX, WIDTH_MAX, check_epsilon, shown_name,
};
use crate::error::EngineError;
use crate::weights::{JsonObject, ModelDirectory, Part, PartRules, Presence};

/// Supported model classes.
const SUPPORTED: &str = "LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM, SmolLM3ForCausalLM";

/// A class of models in transformers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    SmolLm3,
}

impl Class {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "LlamaForCausalLM" => Some(Self::Llama),
            "MistralForCausalLM" => Some(Self::Mistral),
            "Qwen2ForCausalLM" => Some(Self::Qwen2),
            "Qwen3ForCausalLM" => Some(Self::Qwen3),
            "SmolLM3ForCausalLM" => Some(Self::SmolLm3),
            _ => None,
        }
    }

    /// Returns the architecture's name in GGUF.
    fn architecture(self) -> &'static str {
        match self {
            Self::Llama | Self::Mistral => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::SmolLm3 => "smollm3",
        }
    }

    /// Returns the base of the rotary frequencies for configs that do not state it.
    fn default_theta(self) -> f64 {
        if self == Self::SmolLm3 { 2_000_000.0 } else { 10_000.0 }
    }
}

impl ModelConfig {
    /// Reads the configuration of a directory, rejects models that the decoder does not implement, and checks the
    /// tensors.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] or [`EngineError::Malformed`], naming the key or the tensor.
    pub fn from_directory(directory: &ModelDirectory) -> Result<Self, EngineError> {
        let json = directory.config();
        let class = class(json)?;
        refuse_foreign_keys(json)?;
        let hidden = json.size("hidden_size", WIDTH_MAX)?;
        let heads = json.size("num_attention_heads", HEADS_MAX)?;
        let kv_heads = json.optional_size("num_key_value_heads", HEADS_MAX)?.unwrap_or(heads);
        let stated = Heads { heads, kv_heads, head_dim: json.optional_size("head_dim", HEAD_DIM_MAX)? };
        let head_dim = stated.head_dim(hidden).map_err(|detail| directory.malformed(detail))?;
        let vocabulary = json.size("vocab_size", VOCABULARY_MAX)?;
        let positions = json.size("max_position_embeddings", CONTEXT_MAX)?;
        let (rope, context) = rope(json, class, head_dim, positions)?;
        rope.check(head_dim).map_err(|detail| json.malformed(&detail, "rope_scaling"))?;
        let config = Self {
            name: name_of(directory, class),
            architecture: class.architecture().to_owned(),
            hidden,
            ffn: json.size("intermediate_size", WIDTH_MAX)?,
            heads,
            kv_heads,
            head_dim,
            vocabulary,
            context,
            epsilon: check_epsilon(json.float("rms_norm_eps")?.unwrap_or(1e-6) as f32)
                .map_err(|detail| json.malformed(&detail, "rms_norm_eps"))?,
            rope,
            layers: layers(json, class, json.size("num_hidden_layers", directory.layers_max())?, context)?,
        };
        match directory.shape(Part::Embedding) {
            Some([rows, width]) if (*rows, *width) != (vocabulary, hidden) => {
                let key = if *rows == vocabulary { "hidden_size" } else { "vocab_size" };
                return Err(json.malformed(&format!("does not fit the embedding, which is [{rows}, {width}]"), key));
            }
            _ => {}
        }
        directory.check_parts(&config, part_rules(directory, class)?)?;
        Ok(config)
    }
}

fn name_of(directory: &ModelDirectory, class: Class) -> String {
    // An absolute path ends in a name; the path `.` does not.
    let path = std::path::absolute(directory.path()).unwrap_or_else(|_| directory.path().to_owned());
    path.file_name().map_or_else(|| class.architecture().to_owned(), |name| shown_name(&name.to_string_lossy()))
}

fn class(json: &JsonObject) -> Result<Class, EngineError> {
    let names = json.list("architectures", "strings", serde_json::Value::as_str)?.unwrap_or_default();
    let class = names.iter().find_map(|name| Class::from_name(name));
    let unsupported = || json.unsupported(&format!("is {names:?}; supported: {SUPPORTED}"), "architectures");
    class.ok_or_else(unsupported)
}

fn refuse_foreign_keys(json: &JsonObject) -> Result<(), EngineError> {
    if let Some(quantization) = json.object("quantization_config")? {
        let method = quantization.string("quant_method")?.unwrap_or("unknown");
        let detail = format!("marks the weights as quantized ({method}); use the bf16 weights or a GGUF file");
        return Err(json.unsupported(&detail, "quantization_config"));
    }
    match json.string("hidden_act")? {
        None | Some("silu") => {}
        Some(other) => return Err(json.unsupported(&format!("is \"{other}\"; supported: silu"), "hidden_act")),
    }
    if json.boolean("mlp_bias")?.unwrap_or(false) {
        return Err(json.unsupported("is true; supported: feed-forward parts without bias", "mlp_bias"));
    }
    match json.float("partial_rotary_factor")? {
        None | Some(1.0) => Ok(()),
        Some(factor) => Err(json.unsupported(&format!("is {factor}; supported: 1"), "partial_rotary_factor")),
    }
}

/// Reads the rotary embedding, and the context, which YaRN extends. transformers 4 writes `rope_theta` and
/// `rope_scaling`; transformers 5 writes one object `rope_parameters`.
fn rope(
    json: &JsonObject,
    class: Class,
    head_dim: usize,
    positions: usize,
) -> Result<(RopeConfig, usize), EngineError> {
    let (key, object) = match json.object("rope_parameters")? {
        Some(object) => ("rope_parameters", Some(object)),
        None => ("rope_scaling", json.object("rope_scaling")?),
    };
    let own_theta = match &object {
        Some(object) => object.float("rope_theta")?,
        None => None,
    };
    let theta = match own_theta {
        Some(theta) => theta,
        None => json.float("rope_theta")?.unwrap_or(class.default_theta()),
    };
    let theta = check_theta(theta).map_err(|detail| json.malformed(&detail, "rope_theta"))?;
    let config = |scaling| RopeConfig { theta: theta as f32, layout: RopeLayout::HalfSplit, scaling };
    let Some(object) = object else { return Ok((config(RopeScaling::None), positions)) };
    if let Some(layer_kind) = object.keys().find(|key| key.ends_with("_attention")) {
        return Err(object.unsupported("has a rotary embedding of its own; supported: one for all layers", layer_kind));
    }
    match object.float("partial_rotary_factor")? {
        None | Some(1.0) => {}
        Some(factor) => return Err(object.unsupported(&format!("is {factor}; supported: 1"), "partial_rotary_factor")),
    }
    let kind = match object.string("rope_type")? {
        Some(kind) => kind,
        None => object.string("type")?.unwrap_or("default"),
    };
    let factor = || positive(&object, "factor");
    match kind {
        "default" => Ok((config(RopeScaling::None), positions)),
        "linear" => Ok((config(RopeScaling::Linear(factor()? as f32)), positions)),
        "llama3" => {
            let rule = Llama3Rule {
                factor: factor()?,
                low_frequency_factor: positive(&object, "low_freq_factor")?,
                high_frequency_factor: positive(&object, "high_freq_factor")?,
                original_context: original_context(&object)?
                    .ok_or_else(|| object.malformed("is missing", "original_max_position_embeddings"))?,
            };
            if rule.high_frequency_factor <= rule.low_frequency_factor {
                return Err(object.malformed("is not above low_freq_factor", "high_freq_factor"));
            }
            Ok((config(rule.scaling(theta, head_dim)), positions))
        }
        "yarn" => {
            let rule = yarn(&object, positions)?;
            let widened = (rule.original_context * rule.factor).round() as usize;
            if widened > CONTEXT_MAX {
                return Err(object.malformed(&format!("widens the context to {widened} positions"), "factor"));
            }
            Ok((config(rule.scaling(theta, head_dim)), positions.max(widened)))
        }
        other => {
            let detail = format!("has the rule \"{other}\"; supported: default, linear, llama3, yarn");
            Err(json.unsupported(&detail, key))
        }
    }
}

fn positive(object: &JsonObject, key: &str) -> Result<f64, EngineError> {
    let number = object.float(key)?.ok_or_else(|| object.malformed("is missing", key))?;
    check_factor(number).map_err(|detail| object.malformed(&detail, key))
}

/// Returns the positions before scaling, if the config states them; models have whole numbers, some written as floats.
fn original_context(object: &JsonObject) -> Result<Option<f64>, EngineError> {
    let key = "original_max_position_embeddings";
    match object.float(key)? {
        Some(number) if !(1.0..=CONTEXT_MAX as f64).contains(&number) => {
            Err(object.malformed(&format!("is {number}; it must be from 1 to {CONTEXT_MAX}"), key))
        }
        other => Ok(other),
    }
}

fn yarn(object: &JsonObject, positions: usize) -> Result<YarnRule, EngineError> {
    let original_context = original_context(object)?.unwrap_or(positions as f64);
    let optional = |key: &str| if object.get(key).is_some() { positive(object, key).map(Some) } else { Ok(None) };
    let factor = optional("factor")?.unwrap_or(positions as f64 / original_context);
    let log_scale = |weight: f64| if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 };
    let magnitude = match (object.float("attention_factor")?, object.float("mscale")?, object.float("mscale_all_dim")?)
    {
        (Some(magnitude), ..) => Some(magnitude),
        (None, Some(own), Some(all)) if own != 0.0 && all != 0.0 => Some(log_scale(own) / log_scale(all)),
        _ => None,
    };
    Ok(YarnRule {
        factor,
        original_context,
        beta_fast: optional("beta_fast")?.unwrap_or(32.0),
        beta_slow: optional("beta_slow")?.unwrap_or(1.0),
        magnitude,
        rounds_ends: object.boolean("truncate")?.unwrap_or(true),
    })
}

fn layers(json: &JsonObject, class: Class, count: usize, context: usize) -> Result<Vec<LayerKind>, EngineError> {
    let rotated = rotated_layers(json, class, count)?;
    // Mistral has no switch: a window in the config is always used.
    let is_used = class == Class::Mistral || json.boolean("use_sliding_window")?.unwrap_or(false);
    let window = match json.optional_size("sliding_window", usize::MAX)? {
        // The default of transformers, which applies only if the key is absent (not null).
        None if !json.has("sliding_window") && class != Class::SmolLm3 => Some(4096),
        window => window,
    };
    let window = window.filter(|_| is_used && class != Class::Llama);
    let window = window.filter(|window| *window < context);
    let types = json.list("layer_types", "strings", serde_json::Value::as_str)?;
    if let Some(types) = &types
        && types.len() < count
    {
        return Err(json.malformed(&format!("names {} layers of {count}", types.len()), "layer_types"));
    }
    let full_below = json.unsigned("max_window_layers")?.unwrap_or(28);
    let is_sliding =
        |layer: usize| match types.as_ref().and_then(|types| types.get(layer)) {
            Some(&"sliding_attention") => Ok(true),
            Some(&"full_attention") => Ok(false),
            Some(other) => Err(json
                .unsupported(&format!("has \"{other}\"; supported: full_attention, sliding_attention"), "layer_types")),
            None => Ok(match class {
                Class::Qwen2 | Class::Qwen3 => layer >= full_below,
                Class::SmolLm3 => !rotated.get(layer).copied().unwrap_or(true),
                Class::Llama | Class::Mistral => true,
            }),
        };
    let kind = |(layer, uses_rope): (usize, &bool)| {
        Ok(LayerKind { uses_rope: *uses_rope, window: if is_sliding(layer)? { window } else { None } })
    };
    rotated.iter().enumerate().map(kind).collect()
}

/// Returns for each layer whether queries and keys are rotated.
fn rotated_layers(json: &JsonObject, class: Class, count: usize) -> Result<Vec<bool>, EngineError> {
    if class != Class::SmolLm3 {
        return Ok(vec![true; count]);
    }
    match json.list("no_rope_layers", "0 and 1", serde_json::Value::as_u64)? {
        // Despite the key's name, 1 marks a layer that is rotated.
        Some(flags) if flags.len() >= count => Ok(flags.into_iter().take(count).map(|flag| flag != 0).collect()),
        Some(flags) => Err(json.malformed(&format!("names {} layers of {count}", flags.len()), "no_rope_layers")),
        None => {
            let interval = json.optional_size("no_rope_layer_interval", usize::MAX)?.unwrap_or(4);
            Ok((1..=count).map(|layer| !layer.is_multiple_of(interval)).collect())
        }
    }
}

fn part_rules(directory: &ModelDirectory, class: Class) -> Result<PartRules, EngineError> {
    let has_bias = directory.config().boolean("attention_bias")?.unwrap_or(false);
    let when = |is_there: bool| if is_there { Presence::Required } else { Presence::Absent };
    // Mistral and Qwen2 ignore the key.
    let reads_key = matches!(class, Class::Llama | Class::Qwen3 | Class::SmolLm3);
    Ok(PartRules {
        output: when(!directory.is_tied()?),
        input_bias: when(class == Class::Qwen2 || reads_key && has_bias),
        output_bias: when(reads_key && has_bias),
        head_norms: when(class == Class::Qwen3),
    })
}
