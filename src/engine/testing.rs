//! Models for the tests of this crate: the tiny committed model, and random models of every family and file format.
//!
//! A random model's tensors are a pure function of its description, with Hugging Face's names and layouts; the GGUF
//! writer converts them as llama.cpp's converter does. So one description written in two formats gives the same model,
//! and another implementation of the decoder can use its tensors.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_json::json;

use super::tokenizer::Vocabulary;
use super::weights::GgufFile;

/// Returns the path of `fixtures/tiny-llama.gguf`, which `tests/tools/make_tiny_model.py` wrote.
pub(crate) fn tiny_model_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/tiny-llama.gguf")
}

/// Loads the vocabulary of the tiny model: one token per byte, and a few special tokens.
pub(crate) fn tiny_vocabulary() -> Vocabulary {
    Vocabulary::from_gguf(&GgufFile::open(&tiny_model_path()).unwrap()).unwrap()
}

/// A family of decoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// Llama 2 and models with the same structure.
    Llama,
    /// Llama 3.1: scaled rotary frequencies.
    Llama3,
    /// Mistral 0.1: a sliding window over all layers.
    Mistral,
    /// Biases on queries, keys and values; tied embeddings.
    Qwen2,
    /// Norms on queries and keys, an explicit head width; tied embeddings.
    Qwen3,
    /// Every fourth layer without rotary positions; tied embeddings.
    SmolLm3,
}

impl Family {
    /// All families.
    pub(crate) const ALL: [Self; 6] =
        [Self::Llama, Self::Llama3, Self::Mistral, Self::Qwen2, Self::Qwen3, Self::SmolLm3];
}

/// A way to store a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// One file as llama.cpp's converter writes it.
    Gguf,
    /// A directory as transformers writes it.
    Directory,
}

/// Description of a random model. Matrices are `[outputs, inputs]`.
#[derive(Debug, Clone)]
pub(crate) struct RandomModel {
    /// The family of the model.
    pub family: Family,
    /// Seed of the numbers.
    pub seed: u64,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward part.
    pub ffn: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Layers.
    pub layers: usize,
    /// Tokens, at least [`VOCABULARY_MIN`].
    pub vocabulary: usize,
    /// Positions.
    pub context: usize,
    /// Number of positions that a position attends to.
    pub window: Option<usize>,
    /// Whether the output matrix is the embedding.
    pub is_tied: bool,
    /// Storage type of matrices; a directory supports only F32, F16 and BF16.
    pub dtype: GgmlDType,
}

/// Minimum tokens of a random model: special tokens, bytes and merges.
pub(crate) const VOCABULARY_MIN: usize = 3 + 256 + 4;

const SPECIALS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
/// `\u{120}` is the space of GPT-2's byte alphabet.
const MERGES: [(&str, &str); 4] = [("h", "e"), ("\u{120}", "t"), ("\u{120}t", "he"), ("i", "n")];
const EPSILON: f64 = 1e-5;
const THETA: f64 = 10_000.0;
const CHAT_TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + \
    message['content'] + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' \
    }}{% endif %}";

/// Writes the family's random model and returns the path to open.
pub(crate) fn random_model(family: Family, format: Format, dir: &Path) -> PathBuf {
    RandomModel::new(family).write(format, dir)
}

impl RandomModel {
    /// Describes the family's model: two layers (SmolLM3: four) of width 64.
    pub(crate) fn new(family: Family) -> Self {
        Self {
            family,
            seed: 1,
            hidden: 64,
            ffn: 96,
            heads: 4,
            kv_heads: 2,
            head_dim: if family == Family::Qwen3 { 32 } else { 16 },
            layers: if family == Family::SmolLm3 { 4 } else { 2 },
            vocabulary: 288,
            context: 512,
            window: (family == Family::Mistral).then_some(8),
            is_tied: matches!(family, Family::Qwen2 | Family::Qwen3 | Family::SmolLm3),
            dtype: GgmlDType::F32,
        }
    }

    /// Returns all parameters by their Hugging Face names, f32.
    pub(crate) fn tensors(&self) -> BTreeMap<String, Tensor> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut found = BTreeMap::new();
        let mut add = |name: String, shape: &[usize], centre: f32, spread: f32| {
            let count = shape.iter().product();
            let unit = |bits: u32| bits as f32 / u32::MAX as f32 * 2.0 - 1.0;
            let numbers: Vec<f32> = (0..count).map(|_| centre + spread * unit(rng.next_u32())).collect();
            found.insert(name, Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap());
        };
        // Uniform numbers with this spread keep the variance of the numbers that they are multiplied with.
        let spread = |inputs: usize| (3.0 / inputs as f32).sqrt();
        let (queries, keys) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        add("model.embed_tokens.weight".to_owned(), &[self.vocabulary, self.hidden], 0.0, 1.0);
        for layer in 0..self.layers {
            let name = |part: &str| format!("model.layers.{layer}.{part}");
            add(name("input_layernorm.weight"), &[self.hidden], 1.0, 0.2);
            add(name("post_attention_layernorm.weight"), &[self.hidden], 1.0, 0.2);
            for (part, outputs, inputs) in [
                ("self_attn.q_proj.weight", queries, self.hidden),
                ("self_attn.k_proj.weight", keys, self.hidden),
                ("self_attn.v_proj.weight", keys, self.hidden),
                ("self_attn.o_proj.weight", self.hidden, queries),
                ("mlp.gate_proj.weight", self.ffn, self.hidden),
                ("mlp.up_proj.weight", self.ffn, self.hidden),
                ("mlp.down_proj.weight", self.hidden, self.ffn),
            ] {
                add(name(part), &[outputs, inputs], 0.0, spread(inputs));
            }
            if self.family == Family::Qwen2 {
                for (part, outputs) in [("q", queries), ("k", keys), ("v", keys)] {
                    add(name(&format!("self_attn.{part}_proj.bias")), &[outputs], 0.0, 0.5);
                }
            }
            if self.family == Family::Qwen3 {
                add(name("self_attn.q_norm.weight"), &[self.head_dim], 1.0, 0.2);
                add(name("self_attn.k_norm.weight"), &[self.head_dim], 1.0, 0.2);
            }
        }
        add("model.norm.weight".to_owned(), &[self.hidden], 1.0, 0.2);
        if !self.is_tied {
            add("lm_head.weight".to_owned(), &[self.vocabulary, self.hidden], 0.0, spread(self.hidden));
        }
        found
    }

    /// Returns `config.json`.
    pub(crate) fn config_json(&self) -> serde_json::Value {
        let (model_type, class) = match self.family {
            Family::Llama | Family::Llama3 => ("llama", "LlamaForCausalLM"),
            Family::Mistral => ("mistral", "MistralForCausalLM"),
            Family::Qwen2 => ("qwen2", "Qwen2ForCausalLM"),
            Family::Qwen3 => ("qwen3", "Qwen3ForCausalLM"),
            Family::SmolLm3 => ("smollm3", "SmolLM3ForCausalLM"),
        };
        let mut config = json!({
            "architectures": [class],
            "model_type": model_type,
            "vocab_size": self.vocabulary,
            "hidden_size": self.hidden,
            "intermediate_size": self.ffn,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "max_position_embeddings": self.context,
            "rms_norm_eps": EPSILON,
            "rope_theta": THETA,
            "hidden_act": "silu",
            "tie_word_embeddings": self.is_tied,
            "bos_token_id": 1,
            "eos_token_id": 2,
        });
        let mut set = |key: &str, value: serde_json::Value| config[key] = value;
        if self.family != Family::Qwen2 {
            set("head_dim", json!(self.head_dim));
            set("attention_bias", json!(false));
        }
        if self.family == Family::Llama3 {
            let scaling = json!({
                "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            });
            set("rope_scaling", scaling);
        }
        if self.family == Family::SmolLm3 {
            let no_rope: Vec<u32> = (1..=self.layers).map(|layer| u32::from(layer % 4 != 0)).collect();
            set("no_rope_layers", json!(no_rope));
            set("no_rope_layer_interval", json!(4));
        }
        if self.family != Family::Mistral {
            set("use_sliding_window", json!(self.window.is_some()));
            set("max_window_layers", json!(0));
        }
        set("sliding_window", json!(self.window));
        config
    }

    /// Writes the model: `model.gguf` in the directory, or the directory itself. Returns the path to open.
    pub(crate) fn write(&self, format: Format, dir: &Path) -> PathBuf {
        match format {
            Format::Gguf => self.write_gguf_edited(&dir.join("model.gguf"), |_, _| {}),
            Format::Directory => self.write_directory(dir),
        }
    }

    fn write_directory(&self, dir: &Path) -> PathBuf {
        let dtype = match self.dtype {
            GgmlDType::F16 => DType::F16,
            GgmlDType::BF16 => DType::BF16,
            _ => DType::F32,
        };
        let stored = |(name, tensor): (String, Tensor)| (name, tensor.to_dtype(dtype).unwrap());
        let tensors: std::collections::HashMap<String, Tensor> = self.tensors().into_iter().map(stored).collect();
        candle_core::safetensors::save(&tensors, dir.join("model.safetensors")).unwrap();
        let write = |name: &str, content: serde_json::Value| {
            fs_err::write(dir.join(name), serde_json::to_string_pretty(&content).unwrap()).unwrap();
        };
        write("config.json", self.config_json());
        write("generation_config.json", json!({ "eos_token_id": [2, 0], "bos_token_id": 1 }));
        write("tokenizer.json", self.tokenizer_json());
        let tokenizer_config = json!({
            "bos_token": SPECIALS[1],
            "eos_token": { "content": SPECIALS[2] },
            "chat_template": CHAT_TEMPLATE,
        });
        write("tokenizer_config.json", tokenizer_config);
        dir.to_owned()
    }

    /// Returns `tokenizer.json`.
    pub(crate) fn tokenizer_json(&self) -> serde_json::Value {
        let words = |start: &str, numbers: &str, letters: &str| {
            format!("{start}|{letters}|{numbers}| ?[^\\s\\p{{L}}\\p{{N}}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+")
        };
        let letters = "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+";
        let contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
        let regex = match self.family {
            Family::Qwen2 | Family::Qwen3 => words(contractions, "\\p{N}", letters),
            _ => words(contractions, "\\p{N}{1,3}", letters),
        };
        let specials: Vec<_> = SPECIALS.iter().enumerate().map(|(id, name)| special_token(id, name)).collect();
        let vocabulary: BTreeMap<String, usize> =
            self.token_names().into_iter().enumerate().filter(|(id, _)| *id < VOCABULARY_MIN).map(swap).collect();
        let merges: Vec<String> = MERGES.iter().map(|(left, right)| format!("{left} {right}")).collect();
        json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": specials,
            "normalizer": if matches!(self.family, Family::Qwen2 | Family::Qwen3) { json!({ "type": "NFC" }) }
                else { json!(null) },
            "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
                { "type": "Split", "pattern": { "Regex": regex }, "behavior": "Isolated", "invert": false },
                { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false },
            ]},
            "post_processor": null,
            "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                "vocab": vocabulary, "merges": merges,
            },
        })
    }

    /// Returns all token names in order of id, padded to the vocabulary's size.
    fn token_names(&self) -> Vec<String> {
        let printable = |byte: u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let mut names: Vec<String> = SPECIALS.iter().map(|name| (*name).to_owned()).collect();
        let mut next = 0x100;
        for byte in 0..256 {
            let letter = if printable(byte) { byte } else { next };
            next += u32::from(!printable(byte));
            names.push(char::from_u32(letter).unwrap().to_string());
        }
        names.extend(MERGES.iter().map(|(left, right)| format!("{left}{right}")));
        assert!(self.vocabulary >= names.len(), "{} tokens are needed", names.len());
        names.extend((names.len()..self.vocabulary).map(|id| format!("[PAD{id}]")));
        names
    }

    /// Writes a GGUF file after editing its metadata and tensors. Returns the file's path.
    pub(crate) fn write_gguf_edited(
        &self,
        path: &Path,
        edit: impl FnOnce(&mut Vec<(String, Value)>, &mut BTreeMap<String, QTensor>),
    ) -> PathBuf {
        let mut tensors = BTreeMap::new();
        for (name, tensor) in self.tensors() {
            let is_vector = tensor.rank() == 1;
            let tensor = match name.as_str() {
                name if name.contains(".q_proj.") => self.permuted(&tensor, self.heads),
                name if name.contains(".k_proj.") => self.permuted(&tensor, self.kv_heads),
                _ => tensor,
            };
            let dtype = if is_vector { GgmlDType::F32 } else { self.dtype };
            tensors.insert(gguf_name(&name), QTensor::quantize(&tensor, dtype).unwrap());
        }
        if self.family == Family::Llama3 {
            let factors = Tensor::new(self.llama3_factors(), &Device::Cpu).unwrap();
            tensors.insert("rope_freqs.weight".to_owned(), QTensor::quantize(&factors, GgmlDType::F32).unwrap());
        }
        let mut metadata = self.gguf_metadata();
        edit(&mut metadata, &mut tensors);
        let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
        let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let mut file = fs_err::File::create(path).unwrap();
        gguf_file::write(&mut file, &metadata, &tensors).unwrap();
        path.to_owned()
    }

    /// Returns the metadata that llama.cpp's converter writes.
    pub(crate) fn gguf_metadata(&self) -> Vec<(String, Value)> {
        let (architecture, pre) = match self.family {
            Family::Llama | Family::Llama3 | Family::Mistral => ("llama", "llama-bpe"),
            Family::Qwen2 => ("qwen2", "qwen2"),
            Family::Qwen3 => ("qwen3", "qwen2"),
            Family::SmolLm3 => ("smollm3", "smaug-bpe"),
        };
        let text = |text: &str| Value::String(text.to_owned());
        let size = |size: usize| Value::U32(u32::try_from(size).unwrap());
        let mut found = vec![("general.architecture".to_owned(), text(architecture))];
        let mut add = |key: &str, value: Value| found.push((format!("{architecture}.{key}"), value));
        add("block_count", size(self.layers));
        add("context_length", size(self.context));
        add("embedding_length", size(self.hidden));
        add("feed_forward_length", size(self.ffn));
        add("attention.head_count", size(self.heads));
        add("attention.head_count_kv", size(self.kv_heads));
        add("attention.layer_norm_rms_epsilon", Value::F32(EPSILON as f32));
        add("rope.freq_base", Value::F32(THETA as f32));
        if self.family != Family::Qwen2 {
            add("attention.key_length", size(self.head_dim));
            add("attention.value_length", size(self.head_dim));
        }
        if architecture == "llama" || architecture == "smollm3" {
            add("rope.dimension_count", size(self.head_dim));
            add("vocab_size", size(self.vocabulary));
        }
        if let Some(window) = self.window {
            add("attention.sliding_window", size(window));
        }
        let names = self.token_names();
        let kind = |id: usize| match id {
            id if id < SPECIALS.len() => 3,
            id if id < VOCABULARY_MIN => 1,
            _ => 5,
        };
        let merges = MERGES.iter().map(|(left, right)| text(&format!("{left} {right}"))).collect();
        let mut add = |key: &str, value: Value| found.push((format!("tokenizer.{key}"), value));
        add("ggml.model", text("gpt2"));
        add("ggml.pre", text(pre));
        add("ggml.token_type", Value::Array((0..names.len()).map(|id| Value::I32(kind(id))).collect()));
        add("ggml.tokens", Value::Array(names.into_iter().map(Value::String).collect()));
        add("ggml.merges", Value::Array(merges));
        add("ggml.bos_token_id", Value::U32(1));
        add("ggml.eos_token_id", Value::U32(2));
        add("ggml.add_bos_token", Value::Bool(false));
        add("chat_template", text(CHAT_TEMPLATE));
        found
    }

    /// Reorders a projection's rows as llama.cpp's converter does for families whose rotary pairs are neighbours:
    /// within each head, `(i, i + head_dim / 2)` become `(2 i, 2 i + 1)`.
    fn permuted(&self, tensor: &Tensor, heads: usize) -> Tensor {
        if matches!(self.family, Family::Qwen2 | Family::Qwen3) {
            return tensor.clone();
        }
        let inputs = tensor.dim(1).unwrap();
        let halves = tensor.reshape((heads, 2, self.head_dim / 2, inputs)).unwrap();
        let pairs = halves.transpose(1, 2).unwrap().contiguous().unwrap();
        pairs.reshape((heads * self.head_dim, inputs)).unwrap()
    }

    /// Returns the divisors of Llama 3.1's rule with the numbers of [`Self::config_json`], `[head_dim / 2]`.
    fn llama3_factors(&self) -> Vec<f32> {
        let (factor, low, high, context) = (8.0, 1.0, 4.0, 64.0);
        (0..self.head_dim / 2)
            .map(|index| {
                let wavelength = std::f64::consts::TAU * THETA.powf(2.0 * index as f64 / self.head_dim as f64);
                let smooth = (context / wavelength - low) / (high - low);
                let divisor = match wavelength {
                    short if short < context / high => 1.0,
                    long if long > context / low => factor,
                    _ => 1.0 / ((1.0 - smooth) / factor + smooth),
                };
                divisor as f32
            })
            .collect()
    }
}

fn swap((id, name): (usize, String)) -> (String, usize) {
    (name, id)
}

fn special_token(id: usize, name: &str) -> serde_json::Value {
    json!({
        "id": id, "content": name, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        "special": true,
    })
}

/// Translates a parameter's name as llama.cpp's converter does.
fn gguf_name(name: &str) -> String {
    let mut name = name.replace("model.layers.", "blk.");
    for (theirs, ours) in [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ] {
        name = name.replace(theirs, ours);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::{LayerPart, Part, Weights};

    #[test]
    fn a_random_model_is_written_as_gguf_with_permuted_queries() {
        let dir = tempfile::tempdir().unwrap();
        let model = RandomModel::new(Family::Llama);
        let weights = Weights::open(&model.write(Format::Gguf, dir.path())).unwrap();
        let tensors = model.tensors();
        let theirs: Vec<f32> =
            tensors["model.layers.1.self_attn.q_proj.weight"].flatten_all().unwrap().to_vec1().unwrap();
        let ours = weights.matrix(Part::Layer(1, LayerPart::Query), 64, 64).unwrap().to_f32().unwrap();
        let row = |numbers: &[f32], row: usize| numbers[row * 64..(row + 1) * 64].to_vec();
        for (ours_row, theirs_row) in [(0, 0), (1, 8), (2, 1), (16, 16), (17, 24), (63, 63)] {
            assert_eq!(row(&ours, ours_row), row(&theirs, theirs_row), "row {ours_row}");
        }
        assert_eq!(weights.config().unwrap().layers.len(), 2);
    }
}
