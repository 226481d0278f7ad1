//! Compares the logits of both executors with candle-transformers' own models, in f32: every family on random weights,
//! and the default model. `--nocapture` shows the differences.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{llama, mistral, qwen2, qwen3, smol::smollm3};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_json::json;

use super::tensor::tests::options;
use super::*;
use crate::model::BlockId;
use crate::testing::{Family, Format, RandomModel};
use crate::tokenizer::Vocabulary;
use crate::weights::{LayerPart, Part, transformers_name};

/// A model of candle-transformers.
enum Oracle {
    Llama(llama::Llama, Box<llama::Cache>),
    Mistral(mistral::Model),
    Qwen2(qwen2::ModelForCausalLM),
    Qwen3(qwen3::ModelForCausalLM),
    SmolLm3(smollm3::ModelForCausalLM),
}

impl Oracle {
    fn load(family: Family, mut config: serde_json::Value, tensors: HashMap<String, Tensor>) -> Self {
        let weights = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        match family {
            Family::Llama | Family::Llama3 => {
                let config: llama::LlamaConfig = serde_json::from_value(config).unwrap();
                let config = config.into_config(false);
                let cache = llama::Cache::new(true, DType::F32, &config, &Device::Cpu).unwrap();
                Self::Llama(llama::Llama::load(weights, &config).unwrap(), Box::new(cache))
            }
            Family::Mistral => {
                // The oracle's mask shows a position `sliding_window` others in addition to itself; transformers counts
                // the position itself.
                config["sliding_window"] = json!(config["sliding_window"].as_u64().unwrap() - 1);
                Self::Mistral(mistral::Model::new(&serde_json::from_value(config).unwrap(), weights).unwrap())
            }
            Family::Qwen2 => {
                // The oracle rejects null, and reads the key whether or not the window is in use.
                config["sliding_window"] = config["max_position_embeddings"].clone();
                Self::Qwen2(qwen2::ModelForCausalLM::new(&serde_json::from_value(config).unwrap(), weights).unwrap())
            }
            Family::Qwen3 => {
                Self::Qwen3(qwen3::ModelForCausalLM::new(&serde_json::from_value(config).unwrap(), weights).unwrap())
            }
            Family::SmolLm3 => Self::SmolLm3(
                smollm3::ModelForCausalLM::new(&serde_json::from_value(config).unwrap(), weights).unwrap(),
            ),
        }
    }

    /// Runs the tokens after `past` earlier tokens, which were run before; returns the logits after the last token.
    fn logits(&mut self, tokens: &[u32], past: usize) -> Vec<f32> {
        let input = |tokens: &[u32]| Tensor::new(tokens, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        let new = input(&tokens[past..]);
        let logits = match self {
            Self::Llama(model, cache) => model.forward(&new, past, cache),
            Self::Mistral(model) => {
                // The oracle applies no window to the keys of earlier calls.
                model.clear_kv_cache();
                model.forward(&input(tokens), 0)
            }
            Self::Qwen2(model) => model.forward(&new, past),
            Self::Qwen3(model) => model.forward(&new, past),
            Self::SmolLm3(model) => model.forward(&new, past),
        };
        logits.unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }
}

/// Returns the executor's logits after tokens `past..` of a sequence whose earlier tokens were run before.
fn logits(executor: &mut Executor, tokens: &[u32], past: usize) -> Vec<f32> {
    let row = |(position, &token)| Row { token, position, table: 0, wants_logits: position + 1 == tokens.len() };
    let rows = tokens.iter().enumerate().skip(past).map(row).collect();
    let table = (0..tokens.len().div_ceil(BLOCK_TOKENS)).map(BlockId).collect();
    executor.logits(&StepInput { rows, tables: vec![table] }).unwrap()
}

/// Compares the logits after a prompt and after each of the following tokens; returns the largest absolute difference
/// and the largest logit.
fn compare(oracle: &mut Oracle, executor: &mut Executor, tokens: &[u32], prompt: usize) -> (f32, f32) {
    let (mut difference, mut largest) = (0.0_f32, 0.0_f32);
    let mut past = 0;
    for end in prompt..=tokens.len() {
        let theirs = oracle.logits(&tokens[..end], past);
        let ours = logits(executor, &tokens[..end], past);
        assert_eq!(ours.len(), theirs.len());
        for (a, b) in ours.iter().zip(&theirs) {
            assert!(a.is_finite() && b.is_finite());
            difference = difference.max((a - b).abs());
            largest = largest.max(b.abs());
        }
        past = end;
    }
    (difference, largest)
}

fn random_tokens(count: usize, vocabulary: usize) -> Vec<u32> {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    (0..count).map(|_| rng.next_u32() % u32::try_from(vocabulary).unwrap()).collect()
}

const EXECUTORS: [(ExecutorChoice, KernelChoice); 3] = [
    (ExecutorChoice::Fused, KernelChoice::Avx2),
    (ExecutorChoice::Tensor, KernelChoice::Auto),
    (ExecutorChoice::Fused, KernelChoice::Amx),
];

/// f32 kernels differ in the order of their sums; AMX rounds factors to 8 bits.
fn tolerance(kernels: KernelChoice) -> f32 {
    if kernels == KernelChoice::Amx { 5e-2 } else { 1e-5 }
}

/// Loads an executor; `None` if this CPU does not support its kernels.
fn load(weights: &Weights, executor: ExecutorChoice, kernels: KernelChoice) -> Option<Executor> {
    let options = ExecutorOptions { kernels, ..options(executor, DeviceChoice::Cpu, KvType::F32) };
    match Executor::load(weights, &options) {
        Err(EngineError::NoDevice { .. }) if kernels == KernelChoice::Amx => None,
        loaded => Some(loaded.unwrap()),
    }
}

#[test]
fn logits_of_every_family_are_those_of_candle_transformers() {
    for family in Family::ALL {
        let model = RandomModel::new(family);
        let tokens = random_tokens(40, model.vocabulary);
        for format in [Format::Gguf, Format::Directory] {
            let dir = tempfile::tempdir().unwrap();
            let weights = Weights::open(&model.write(format, dir.path())).unwrap();
            for (executor, kernels) in EXECUTORS {
                let Some(mut ours) = load(&weights, executor, kernels) else { continue };
                let mut oracle = Oracle::load(family, model.config_json(), model.tensors().into_iter().collect());
                let (difference, largest) = compare(&mut oracle, &mut ours, &tokens, 25);
                println!("{family:?} {format:?} {}: {difference:.2e} of {largest:.2}", ours.numerics());
                assert!(
                    largest > 0.5 && difference < tolerance(kernels) * largest,
                    "{family:?} {format:?} {executor:?} {kernels:?}: {difference} of {largest}"
                );
            }
        }
    }
}

/// Returns the parameters of a GGUF file of the Llama family, f32, with transformers' names and order of rows.
fn dequantized(weights: &Weights, config: &ModelConfig) -> HashMap<String, Tensor> {
    let ModelConfig { hidden, ffn, heads, kv_heads, head_dim, vocabulary, .. } = *config;
    let (queries, keys) = (heads * head_dim, kv_heads * head_dim);
    let mut found = HashMap::new();
    let mut add = |part, outputs: usize, inputs: usize| {
        let numbers = match inputs {
            1 => weights.vector(part, outputs).unwrap(),
            _ => weights.matrix(part, outputs, inputs).unwrap().to_f32().unwrap(),
        };
        let mut tensor = Tensor::from_vec(numbers, (outputs, inputs), &Device::Cpu).unwrap();
        if matches!(part, Part::Layer(_, LayerPart::Query | LayerPart::Key)) {
            // llama.cpp's converter turned the pairs (i, i + head_dim / 2) of a head into neighbours.
            let pairs = tensor.reshape((outputs / head_dim, head_dim / 2, 2, inputs)).unwrap();
            tensor = pairs.transpose(1, 2).unwrap().contiguous().unwrap().reshape((outputs, inputs)).unwrap();
        }
        let tensor = if inputs == 1 { tensor.squeeze(1).unwrap() } else { tensor };
        found.insert(transformers_name(part), tensor);
    };
    add(Part::Embedding, vocabulary, hidden);
    add(Part::OutputNorm, hidden, 1);
    for layer in 0..config.layers.len() {
        for (part, outputs, inputs) in [
            (LayerPart::AttentionNorm, hidden, 1),
            (LayerPart::FfnNorm, hidden, 1),
            (LayerPart::Query, queries, hidden),
            (LayerPart::Key, keys, hidden),
            (LayerPart::Value, keys, hidden),
            (LayerPart::AttentionOutput, hidden, queries),
            (LayerPart::Gate, ffn, hidden),
            (LayerPart::Up, ffn, hidden),
            (LayerPart::Down, hidden, ffn),
        ] {
            add(Part::Layer(layer, part), outputs, inputs);
        }
    }
    found
}

#[test]
fn logits_of_the_default_model_are_those_of_candle_transformers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(path.is_file(), "`make model` fetches {}", path.display());
    let weights = Weights::open(&path).unwrap();
    let config = weights.config().unwrap();
    let json = json!({
        "hidden_size": config.hidden,
        "intermediate_size": config.ffn,
        "vocab_size": config.vocabulary,
        "num_hidden_layers": config.layers.len(),
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1e5,
        "max_position_embeddings": config.context,
        "tie_word_embeddings": true,
    });
    let tokens = Vocabulary::from_weights(&weights).unwrap().encode("<|im_start|>user\nWhat is 2+7?").unwrap();
    for (executor, kernels) in EXECUTORS {
        let Some(mut ours) = load(&weights, executor, kernels) else { continue };
        let mut oracle = Oracle::load(Family::Llama, json.clone(), dequantized(&weights, &config));
        let (difference, largest) = compare(&mut oracle, &mut ours, &tokens, tokens.len() - 1);
        println!("SmolLM2-135M-Instruct {}: {difference:.2e} of {largest:.2}", ours.numerics());
        assert!(
            largest > 5.0 && difference < tolerance(kernels) * largest,
            "{executor:?} {kernels:?}: {difference} of {largest}"
        );
    }
}
