//! Configurations of both formats, and the ones that are rejected.

use std::path::Path;

use candle_core::quantized::QTensor;
use candle_core::quantized::gguf_file::Value;
use serde_json::json;

use super::rope::{Llama3Rule, YarnRule};
use super::*;
use crate::testing::{Family, Format, RandomModel, random_model};
use crate::weights::Weights;

fn config(path: &Path) -> Result<ModelConfig, String> {
    Weights::open(path).and_then(|weights| weights.config()).map_err(|error| error.to_string())
}

#[track_caller]
fn assert_refused(result: Result<ModelConfig, String>, expected: &str) {
    let message = result.expect_err("the configuration is refused");
    assert!(message.contains(expected), "{message}");
}

#[test]
fn both_formats_of_a_model_have_the_same_shape() {
    for family in Family::ALL {
        let dir = tempfile::tempdir().unwrap();
        let gguf = config(&random_model(family, Format::Gguf, dir.path())).unwrap();
        let directory = config(&random_model(family, Format::Directory, dir.path())).unwrap();
        let layout = match family {
            Family::Qwen2 | Family::Qwen3 => RopeLayout::HalfSplit,
            _ => RopeLayout::Interleaved,
        };
        assert_eq!(gguf.rope.layout, layout, "{family:?}");
        assert_eq!(directory.rope.layout, RopeLayout::HalfSplit, "{family:?}");
        let renamed = ModelConfig { name: gguf.name.clone(), ..directory.clone() };
        let turned = ModelConfig { rope: RopeConfig { layout, ..directory.rope.clone() }, ..renamed };
        assert_eq!(turned, gguf, "{family:?}");
        assert_eq!(directory.name, dir.path().file_name().unwrap().to_str().unwrap());
        assert_eq!(gguf.layers.iter().filter(|layer| !layer.uses_rope).count(), usize::from(family == Family::SmolLm3));
        assert_eq!(gguf.layers.iter().all(|layer| layer.window == Some(8)), family == Family::Mistral, "{family:?}");
        assert_eq!(matches!(gguf.rope.scaling, RopeScaling::Factors(_)), family == Family::Llama3, "{family:?}");
    }
}

fn assert_near(found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((f64::from(*found) / expected - 1.0).abs() < 2e-6, "{found} is not {expected}");
    }
}

#[test]
fn yarn_gives_the_frequencies_of_transformers() {
    // Computed with `_compute_yarn_parameters` in double precision: Qwen2.5 (factor 4 over 32768, head width 128, base
    // 1e6), and a small model whose ramp covers most indices.
    let rule = YarnRule {
        factor: 4.0,
        original_context: 32768.0,
        beta_fast: 32.0,
        beta_slow: 1.0,
        magnitude: None,
        rounds_ends: true,
    };
    let RopeScaling::Yarn { inverse_frequencies, magnitude } = rule.scaling(1e6, 128) else { panic!("no YaRN") };
    let picked: Vec<f32> = [0, 10, 23, 24, 30, 39, 40, 63].iter().map(|index| inverse_frequencies[*index]).collect();
    assert_near(&picked, &QWEN_YARN);
    assert!((magnitude - 1.138_629_4).abs() < 1e-6, "{magnitude}");
    let small = YarnRule { original_context: 256.0, ..rule };
    let RopeScaling::Yarn { inverse_frequencies, .. } = small.scaling(1e4, 16) else { panic!("no YaRN") };
    assert_near(&inverse_frequencies, &SMALL_YARN);
    let fractional = YarnRule { rounds_ends: false, magnitude: Some(1.0), ..small };
    let RopeScaling::Yarn { inverse_frequencies, magnitude } = fractional.scaling(1e4, 16) else { panic!("no YaRN") };
    assert_near(&inverse_frequencies, &FRACTIONAL_YARN);
    assert_eq!(magnitude, 1.0);
}

#[test]
fn llama_3_divides_slow_frequencies_only() {
    // Computed with transformers' `_compute_llama3_parameters` for Llama 3.1 (head width 128, base 5e5): unscaled
    // divided by scaled.
    let rule =
        Llama3Rule { factor: 8.0, low_frequency_factor: 1.0, high_frequency_factor: 4.0, original_context: 8192.0 };
    let RopeScaling::Factors(factors) = rule.scaling(5e5, 128) else { panic!("no factors") };
    let picked: Vec<f32> = [0, 28, 29, 30, 32, 34, 35, 63].iter().map(|index| factors[*index]).collect();
    assert_near(&picked, &LLAMA3);
}

/// Removes a key from a config; null would keep the key.
const ABSENT: &str = "(absent)";

/// Writes a directory with a changed config, and reads it.
fn directory_with(family: Family, changes: serde_json::Value) -> Result<ModelConfig, String> {
    let dir = tempfile::tempdir().unwrap();
    let model = RandomModel::new(family);
    let path = model.write(Format::Directory, dir.path());
    let mut json = model.config_json();
    for (key, value) in changes.as_object().unwrap() {
        json[key] = value.clone();
        if value == ABSENT {
            json.as_object_mut().unwrap().remove(key);
        }
    }
    fs_err::write(path.join("config.json"), json.to_string()).unwrap();
    config(&path)
}

#[test]
fn a_directory_of_another_kind_of_decoder_is_refused_by_key() {
    let refused = |changes: serde_json::Value, expected: &str| {
        let message = directory_with(Family::Llama, changes).expect_err("the configuration is refused");
        assert!(message.contains("config.json") && message.contains(expected), "{message}");
    };
    refused(json!({ "architectures": ["MixtralForCausalLM"] }), "key architectures is [\"MixtralForCausalLM\"]");
    refused(json!({ "architectures": null }), "key architectures is []");
    refused(json!({ "quantization_config": { "quant_method": "fp8" } }), "key quantization_config marks the weights");
    refused(json!({ "hidden_act": "gelu" }), "key hidden_act is \"gelu\"; supported: silu");
    refused(json!({ "mlp_bias": true }), "key mlp_bias is true");
    refused(json!({ "partial_rotary_factor": 0.5 }), "key partial_rotary_factor is 0.5");
    refused(json!({ "rope_scaling": { "type": "dynamic", "factor": 2.0 } }), "key rope_scaling has the rule");
    refused(json!({ "rope_scaling": { "rope_type": "linear" } }), "key rope_scaling.factor is missing");
    refused(json!({ "rope_scaling": { "rope_type": "llama3", "factor": 8.0 } }), "rope_scaling.low_freq_factor");
    refused(json!({ "rope_parameters": { "sliding_attention": {} } }), "key rope_parameters.sliding_attention");
    refused(json!({ "hidden_size": "64" }), "key hidden_size is not an unsigned integer");
    refused(json!({ "hidden_size": null }), "key hidden_size is missing");
    refused(json!({ "num_attention_heads": 0 }), "key num_attention_heads is 0");
    refused(json!({ "vocab_size": 300 }), "key vocab_size does not fit the embedding, which is [288, 64]");
}

#[test]
fn a_directory_whose_tensors_do_not_fit_its_config_is_refused_by_tensor() {
    let refused = |family: Family, changes: serde_json::Value, expected: &str| {
        assert_refused(directory_with(family, changes), expected);
    };
    let llama = Family::Llama;
    refused(llama, json!({ "num_attention_heads": 3, "head_dim": null }), "3 query heads are not a multiple of 2");
    refused(llama, json!({ "intermediate_size": 128 }), "mlp.gate_proj.weight has shape [96, 64], expected [128, 64]");
    refused(llama, json!({ "num_hidden_layers": 3 }), "tensor model.layers.2.input_layernorm.weight is missing");
    refused(llama, json!({ "num_hidden_layers": 1 }), "tensor model.layers.1.input_layernorm.weight is not part");
    refused(llama, json!({ "attention_bias": true }), "tensor model.layers.0.self_attn.q_proj.bias is missing");
    refused(Family::Qwen3, json!({ "tie_word_embeddings": false }), "tensor lm_head.weight is missing");
    let as_llama = json!({ "architectures": ["LlamaForCausalLM"] });
    refused(Family::Qwen2, as_llama.clone(), "tensor model.layers.0.self_attn.k_proj.bias is not part of a llama");
    refused(Family::Qwen3, as_llama, "tensor model.layers.0.self_attn.k_norm.weight is not part of a llama");
    let as_qwen3 = json!({ "architectures": ["Qwen3ForCausalLM"] });
    refused(llama, as_qwen3, "tensor model.layers.0.self_attn.q_norm.weight is missing");
    // The unused output matrix of a tied model is ignored, as in transformers.
    assert!(directory_with(llama, json!({ "tie_word_embeddings": true })).is_ok());
}

#[test]
fn rotary_scaling_is_read_from_either_generation_of_transformers() {
    let rope = |changes: serde_json::Value| directory_with(Family::Llama, changes).unwrap().rope;
    let linear = rope(json!({ "rope_scaling": { "type": "linear", "factor": 4.0 } }));
    assert_eq!(linear.scaling, RopeScaling::Linear(4.0));
    let newer = rope(json!({ "rope_theta": null, "rope_parameters": { "rope_type": "default", "rope_theta": 5e5 } }));
    assert_eq!((newer.theta, newer.scaling), (5e5, RopeScaling::None));
    assert_eq!(rope(json!({ "rope_theta": null })).theta, 1e4);
    let old_yarn = json!({ "rope_scaling": {
        "type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256, "attention_factor": 1.25,
    }});
    let yarn = directory_with(Family::Llama, old_yarn).unwrap();
    assert_eq!(yarn.context, 1024);
    assert!(matches!(yarn.rope.scaling, RopeScaling::Yarn { magnitude: 1.25, .. }));
    let mscale = json!({ "rope_parameters": {
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "rope_theta": 1e4,
        "mscale": 1.0, "mscale_all_dim": 1.0,
    }});
    let yarn = directory_with(Family::Llama, mscale).unwrap();
    assert_eq!(yarn.context, 512, "the config's own context is larger");
    assert!(matches!(yarn.rope.scaling, RopeScaling::Yarn { magnitude: 1.0, .. }));
}

#[test]
fn windows_and_layers_without_rotation_follow_the_config() {
    let windows = |family: Family, changes: serde_json::Value| -> Vec<Option<usize>> {
        directory_with(family, changes).unwrap().layers.iter().map(|layer| layer.window).collect()
    };
    let some = Some(8);
    assert_eq!(windows(Family::Qwen2, json!({ "sliding_window": 8, "use_sliding_window": false })), [None, None]);
    let late = json!({ "sliding_window": 8, "use_sliding_window": true, "max_window_layers": 1 });
    assert_eq!(windows(Family::Qwen2, late), [None, some]);
    let listed = json!({ "sliding_window": 8, "use_sliding_window": true,
                         "layer_types": ["sliding_attention", "full_attention"] });
    assert_eq!(windows(Family::Qwen3, listed), [some, None]);
    assert_eq!(windows(Family::Mistral, json!({ "sliding_window": null })), [None, None]);
    assert_eq!(windows(Family::Mistral, json!({ "sliding_window": 4096 })), [None, None], "wider than the context");
    let absent = json!({ "sliding_window": ABSENT, "max_position_embeddings": 8192 });
    assert_eq!(windows(Family::Mistral, absent), [Some(4096), Some(4096)]);
    assert_eq!(windows(Family::Llama, json!({ "sliding_window": 8 })), [None, None], "Llama has none");
    let unknown = json!({ "layer_types": ["chunked_attention", "full_attention"] });
    assert_refused(directory_with(Family::Qwen2, unknown), "key layer_types has \"chunked_attention\"");
    assert_refused(directory_with(Family::Qwen2, json!({ "layer_types": [] })), "layer_types names 0 layers of 2");
    let rotated = |changes: serde_json::Value| -> Vec<bool> {
        directory_with(Family::SmolLm3, changes).unwrap().layers.iter().map(|layer| layer.uses_rope).collect()
    };
    assert_eq!(rotated(json!({ "no_rope_layers": null })), [true, true, true, false]);
    assert_eq!(rotated(json!({ "no_rope_layers": null, "no_rope_layer_interval": 2 })), [true, false, true, false]);
    assert_eq!(rotated(json!({ "no_rope_layers": [0, 1, 1, 1, 1] })), [false, true, true, true]);
    let short = directory_with(Family::SmolLm3, json!({ "no_rope_layers": [1, 1] }));
    assert_refused(short, "key no_rope_layers names 2 layers of 4");
}

type Metadata = Vec<(String, Value)>;
type Tensors = std::collections::BTreeMap<String, QTensor>;

fn gguf_with(family: Family, edit: impl FnOnce(&mut Metadata, &mut Tensors)) -> Result<ModelConfig, String> {
    let dir = tempfile::tempdir().unwrap();
    config(&RandomModel::new(family).write_gguf_edited(&dir.path().join("model.gguf"), edit))
}

fn gguf_with_key(family: Family, key: &str, value: Value) -> Result<ModelConfig, String> {
    gguf_with(family, |metadata, _| {
        metadata.retain(|(name, _)| name != key);
        metadata.push((key.to_owned(), value));
    })
}

#[test]
fn a_gguf_file_of_another_kind_of_decoder_is_refused_by_key() {
    let refused = |key: &str, value: Value, expected: &str| {
        assert_refused(gguf_with_key(Family::Llama, key, value), expected);
    };
    let text = |text: &str| Value::String(text.to_owned());
    refused("general.architecture", text("gemma3"), "its architecture is \"gemma3\"; supported: llama, mistral3");
    refused("llama.expert_count", Value::U32(8), "key llama.expert_count is 8");
    refused("llama.embedding_scale", Value::F32(12.0), "key llama.embedding_scale is 12");
    refused("llama.residual_scale", Value::F32(0.5), "key llama.residual_scale is 0.5");
    refused("llama.logit_scale", Value::F32(8.0), "key llama.logit_scale is 8");
    refused("llama.attention.scale", Value::F32(0.5), "key llama.attention.scale is 0.5; supported: 1 / sqrt(16)");
    refused("llama.attn_logit_softcapping", Value::F32(50.0), "key llama.attn_logit_softcapping is 50");
    refused("llama.attention.causal", Value::Bool(false), "key llama.attention.causal is 0");
    refused("llama.attention.value_length", Value::U32(32), "key llama.attention.value_length is 32");
    refused("llama.rope.dimension_count", Value::U32(8), "key llama.rope.dimension_count is 8");
    refused("llama.rope.scaling.type", text("longrope"), "key llama.rope.scaling.type is \"longrope\"");
    refused("llama.rope.scaling.yarn_attn_factor", Value::F32(2.0), "yarn_attn_factor is 2");
    refused("llama.attention.head_count_kv", Value::U32(3), "4 query heads are not a multiple of 3 key heads");
    refused("llama.block_count", Value::U32(0), "key llama.block_count is 0");
    refused("llama.block_count", text("2"), "key llama.block_count is not an unsigned integer");
    assert!(gguf_with_key(Family::Llama, "llama.attention.scale", Value::F32(0.25)).is_ok());
    let window = gguf_with_key(Family::Qwen2, "qwen2.attention.sliding_window", Value::U32(8));
    assert_refused(window, "key qwen2.attention.sliding_window is 8, but the layers with a window are unknown");
    assert!(gguf_with_key(Family::Qwen2, "qwen2.attention.sliding_window", Value::U32(512)).is_ok());
}

#[test]
fn numbers_of_a_gguf_file_beyond_any_models_are_refused_by_key() {
    let refused = |key: &str, value: Value, expected: &str| {
        assert_refused(gguf_with_key(Family::Llama, key, value), expected);
    };
    let layers = "it must be from 1 to 21";
    for count in [10_000_000_000, u64::MAX, 22, 0] {
        refused("llama.block_count", Value::U64(count), &format!("llama.block_count is {count}; {layers}"));
    }
    refused("llama.block_count", Value::I64(-1), "key llama.block_count is not an unsigned integer");
    for key in ["attention.head_count", "attention.head_count_kv", "embedding_length", "feed_forward_length"] {
        refused(&format!("llama.{key}"), Value::U64(0), &format!("llama.{key} is 0; it must be from 1 to"));
        refused(&format!("llama.{key}"), Value::U64(1 << 40), &format!("llama.{key} is 1099511627776; it must"));
    }
    for length in [0, 1 << 40, u64::MAX] {
        refused("llama.context_length", Value::U64(length), &format!("llama.context_length is {length}; it must"));
        refused("llama.attention.key_length", Value::U64(length), &format!("key_length is {length}; it must"));
    }
    for theta in [0.0, -1.0, 1.0, f32::NAN, f32::INFINITY, f32::MAX] {
        refused("llama.rope.freq_base", Value::F32(theta), "key llama.rope.freq_base is ");
    }
    for epsilon in [0.0, -1e-5, f32::NAN, f32::INFINITY, 1.0] {
        refused("llama.attention.layer_norm_rms_epsilon", Value::F32(epsilon), "layer_norm_rms_epsilon is ");
    }
    for factor in [-1.0, f32::NAN, f32::INFINITY, 1e-30, 1e30] {
        refused("llama.rope.scaling.factor", Value::F32(factor), "key llama.rope.scaling.factor is ");
    }
    refused("general.name", Value::U32(1), "metadata key general.name is not a string");
    let long = gguf_with_key(Family::Llama, "general.name", Value::String("\u{1b}[31m".repeat(10_000))).unwrap();
    assert!(long.name.chars().count() == 200 && !long.name.contains('\u{1b}'), "{:?}", long.name);
    let scaled = gguf_with(Family::Qwen2, |metadata, _| {
        metadata.push(("qwen2.rope.scaling.type".to_owned(), Value::String("yarn".to_owned())));
        metadata.push(("qwen2.attention.key_length".to_owned(), Value::U64(1 << 40)));
    });
    assert_refused(scaled, "key qwen2.attention.key_length is 1099511627776; it must be from 1 to 16384");
    let zero = gguf_with(Family::Llama3, |_, tensors| {
        let zeros = candle_core::Tensor::zeros(8, candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
        let zeros = QTensor::quantize(&zeros, candle_core::quantized::GgmlDType::F32).unwrap();
        tensors.insert("rope_freqs.weight".to_owned(), zeros);
    });
    assert_refused(zero, "the rotary frequencies computed from the model's settings are not finite");
}

#[test]
fn numbers_of_a_config_beyond_any_models_are_refused_by_key() {
    let refused = |family: Family, key: &str, value: serde_json::Value, expected: &str| {
        let mut changes = json!({});
        changes[key] = value;
        assert_refused(directory_with(family, changes), expected);
    };
    for count in [10_000_000_000, u64::MAX, 0] {
        let expected = format!("key num_hidden_layers is {count}; it must be from 1 to 21");
        refused(Family::Llama, "num_hidden_layers", json!(count), &expected);
    }
    for key in
        ["hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size", "intermediate_size"]
    {
        for number in [0, 1_u64 << 40, u64::MAX] {
            for family in [Family::Llama, Family::Llama3] {
                refused(family, key, json!(number), &format!("key {key} is {number}; it must be from 1 to"));
            }
        }
        for odd in [json!(-4), json!(64.5), json!("64"), json!([64]), json!(true)] {
            refused(Family::Llama, key, odd, &format!("key {key} is not an unsigned integer"));
        }
    }
    for theta in [json!(0), json!(-1.0), json!(1.0), json!(1e300)] {
        refused(Family::Llama, "rope_theta", theta, "key rope_theta is ");
    }
    for epsilon in [json!(0), json!(-1.0), json!(1e-300), json!(2)] {
        refused(Family::Llama, "rms_norm_eps", epsilon, "key rms_norm_eps is ");
    }
    let scaling = |kind: &str, key: &str, value: serde_json::Value| {
        let mut scaling = json!({ "rope_type": kind, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64, "beta_fast": 32.0, "beta_slow": 1.0 });
        scaling[key] = value;
        directory_with(Family::Llama, json!({ "rope_scaling": scaling }))
    };
    for kind in ["llama3", "yarn"] {
        for number in [json!(0), json!(-1), json!(1e-300), json!(1e300)] {
            for key in ["factor", "original_max_position_embeddings"] {
                assert_refused(scaling(kind, key, number.clone()), &format!("key rope_scaling.{key} is "));
            }
        }
    }
    assert_refused(scaling("yarn", "beta_fast", json!(0)), "key rope_scaling.beta_fast is 0");
    assert_refused(scaling("yarn", "attention_factor", json!(-1)), "the factor on rotary cosines computed");
    let wide = json!({ "rope_type": "yarn", "factor": 1e6, "original_max_position_embeddings": 1 << 20 });
    assert_refused(directory_with(Family::Llama, json!({ "rope_scaling": wide })), "factor widens the context to");
    assert!(scaling("yarn", "factor", json!(2)).is_ok());
}

#[test]
fn rotary_scaling_of_gguf_files_is_llama_cpps() {
    let scaling = |entries: &[(&str, Value)]| {
        let scaled = gguf_with(Family::Qwen2, |metadata, _| {
            metadata.extend(entries.iter().map(|(key, value)| (format!("qwen2.rope.{key}"), value.clone())));
        });
        scaled.unwrap().rope.scaling
    };
    let text = |text: &str| Value::String(text.to_owned());
    assert_eq!(scaling(&[("scale_linear", Value::F32(2.0))]), RopeScaling::Linear(2.0));
    assert_eq!(scaling(&[("scaling.factor", Value::F32(4.0))]), RopeScaling::Linear(4.0));
    assert_eq!(scaling(&[("scaling.type", text("none")), ("scaling.factor", Value::F32(4.0))]), RopeScaling::None);
    let yarn = scaling(&[
        ("scaling.type", text("yarn")),
        ("scaling.factor", Value::F32(4.0)),
        ("scaling.original_context_length", Value::U32(256)),
    ]);
    let RopeScaling::Yarn { inverse_frequencies, magnitude } = yarn else { panic!("no YaRN") };
    assert_near(&inverse_frequencies, &SMALL_YARN);
    assert!((magnitude - 1.138_629_4).abs() < 1e-6, "{magnitude}");
    let both = gguf_with(Family::Llama3, |metadata, _| {
        metadata.push(("llama.rope.scaling.type".to_owned(), text("yarn")));
    });
    assert_refused(both, "is \"yarn\" beside rope_freqs.weight");
}

#[test]
fn gguf_tensors_must_be_those_of_the_decoder() {
    let without = |family: Family, name: &str| gguf_with(family, |_, tensors| drop(tensors.remove(name).unwrap()));
    assert_refused(without(Family::Qwen2, "blk.1.attn_k.bias"), "tensor blk.1.attn_k.bias is missing");
    assert_refused(without(Family::Qwen3, "blk.0.attn_q_norm.weight"), "tensor blk.0.attn_q_norm.weight is missing");
    assert_refused(without(Family::Llama, "token_embd.weight"), "token_embd.weight is missing or not a matrix");
    let with = |name: &str| {
        gguf_with(Family::Llama, |_, tensors| {
            let zeros = candle_core::Tensor::zeros(64, candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
            let zeros = QTensor::quantize(&zeros, candle_core::quantized::GgmlDType::F32).unwrap();
            tensors.insert(name.to_owned(), zeros);
        })
    };
    for name in
        ["blk.0.ffn_down.bias", "blk.0.attn_sinks.weight", "blk.0.ffn_gate_inp.weight", "blk.2.attn_norm.weight"]
    {
        assert_refused(with(name), &format!("tensor {name} is not part of a decoder of architecture llama"));
    }
    assert!(with("blk.0.attn_rot_embd").is_ok(), "frequencies that follow from the metadata");
    assert!(with("blk.1.attn_output.bias").is_ok(), "the decoder has a place for it");
    assert_refused(with("blk.0.attn_q_norm.weight"), "tensor blk.0.attn_q_norm.weight is not part");
}

const QWEN_YARN: [f64; 8] = [
    1.0,
    0.1154781984689458,
    0.006978305848598663,
    0.005375321490790102,
    0.0010643609812470017,
    6.490394320837028e-05,
    4.445698525097307e-05,
    3.102344401879299e-07,
];
const SMALL_YARN: [f64; 8] = [
    1.0,
    0.2569350598886808,
    0.0625,
    0.01383496476323666,
    0.0025,
    0.0007905694150420947,
    0.00025,
    7.905694150420948e-05,
];
const FRACTIONAL_YARN: [f64; 8] = [
    1.0,
    0.25397231355700634,
    0.05539863663460478,
    0.00963994285097862,
    0.0025,
    0.0007905694150420947,
    0.00025,
    7.905694150420948e-05,
];
const LLAMA3: [f64; 8] =
    [1.0, 1.0, 1.207483871283662, 1.5534146285049255, 2.694529687894733, 5.257326588708467, 8.0, 8.0];
