//! Promises that hold for any model file: the test bodies that the fuzz targets (`tests/fuzz`) and the property tests
//! share.
//!
//! Each body receives the bytes of one model file, reads the file completely as the program would, and panics if a
//! promise is broken: a file is either read or rejected with an error that names it, and the values that were read are
//! within the bounds that the kernels assume.

use std::path::Path;

use serde_json::json;

use super::diagnosis::name_suspect;
use super::model::ModelConfig;
use super::tokenizer::Vocabulary;
use super::weights::{ModelDirectory, Weights};

/// Texts that each tokenizer encodes.
const TEXTS: &[&str] =
    &["", "a", "hello the thing", "  two\n\n \t'LL 1234 \u{e9}\u{4f60}\u{1f600}", "<|im_start|>aaaa"];

/// Reads a GGUF file.
///
/// # Panics
/// If a promise is broken.
pub fn gguf(bytes: &[u8]) {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let path = dir.path().join("model.gguf");
    fs_err::write(&path, bytes).expect("a temporary file can be written");
    let weights = match Weights::open(&path) {
        Ok(weights) => weights,
        Err(error) => return check_error(&error, &path),
    };
    check_weights(&weights, &path);
}

/// Reads a safetensors file, as the weights of a small model.
///
/// # Panics
/// As [`gguf`].
pub fn safetensors(bytes: &[u8]) {
    with_file("model.safetensors", bytes);
}

/// Reads a `config.json`, beside the weights and the tokenizer of a small model.
///
/// # Panics
/// As [`gguf`].
pub fn config_json(bytes: &[u8]) {
    with_file("config.json", bytes);
}

/// Reads a `tokenizer.json`, beside the weights of a small model, and encodes some texts.
///
/// # Panics
/// As [`gguf`].
pub fn tokenizer_json(bytes: &[u8]) {
    with_file("tokenizer.json", bytes);
}

/// Reads a small model in which one file is replaced.
fn with_file(name: &str, bytes: &[u8]) {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let write = |name: &str, bytes: &[u8]| {
        fs_err::write(dir.path().join(name), bytes).expect("a temporary file can be written");
    };
    write("model.safetensors", &small_weights());
    write("config.json", small_config().to_string().as_bytes());
    write("tokenizer.json", small_tokenizer().to_string().as_bytes());
    write(name, bytes);
    match ModelDirectory::open(dir.path()) {
        Ok(directory) => check_weights(&Weights::Directory(directory), dir.path()),
        Err(error) => check_error(&error, dir.path()),
    }
}

fn check_error(error: &super::EngineError, path: &Path) {
    let text = error.to_string();
    let name = path.to_string_lossy();
    assert!(text.contains(name.as_ref()), "the error does not name the file: {text}");
    // The path occurs once, and text quoted from a file is cut.
    assert!(text.len() < name.len() + 4000 && !text.contains('\u{1b}'), "the error is no message: {text}");
}

fn check_weights(weights: &Weights, path: &Path) {
    match weights.config() {
        Ok(config) => {
            check_config(&config, weights);
            // The search for a suspect works whatever the numbers are.
            let _ = name_suspect(path);
        }
        Err(error) => check_error(&error, path),
    }
    match Vocabulary::from_weights(weights) {
        Ok(vocabulary) => check_vocabulary(&vocabulary, path),
        Err(error) => check_error(&error, path),
    }
}

fn check_config(config: &ModelConfig, weights: &Weights) {
    assert!(config.heads > 0 && config.kv_heads > 0 && config.heads.is_multiple_of(config.kv_heads), "heads");
    assert!(config.head_dim > 0 && config.head_dim.is_multiple_of(2) && config.head_dim <= 1 << 14, "head width");
    assert!(config.context > 0 && config.vocabulary > 0 && !config.layers.is_empty(), "empty");
    assert!(config.epsilon > 0.0 && config.epsilon < 1.0, "epsilon");
    let (frequencies, magnitude) = config.rope.inverse_frequencies(config.head_dim);
    assert!(frequencies.len() == config.head_dim / 2 && frequencies.iter().all(|number| number.is_finite()), "rope");
    assert!(magnitude.is_finite() && magnitude > 0.0, "the factor on cosine and sine");
    // The byte count of twice the largest number of blocks that memory can hold does not overflow.
    let bytes = config.block_bytes(4);
    assert!(bytes > 0 && bytes.checked_mul(64).is_some(), "the bytes of a block overflow");
    // The data that the headers declare can be read to its end.
    let norm = weights.vector(super::weights::Part::OutputNorm, config.hidden);
    assert!(norm.is_err() || norm.is_ok_and(|norm| norm.len() == config.hidden), "a vector of another length");
}

fn check_vocabulary(vocabulary: &Vocabulary, path: &Path) {
    for text in TEXTS {
        match vocabulary.encode(text) {
            Ok(ids) => assert!(ids.iter().all(|id| (*id as usize) < vocabulary.size()), "an id without a token"),
            Err(error) => check_error(&error, path),
        }
    }
    assert!(!vocabulary.end_tokens().is_empty(), "nothing ends a turn");
    let rows = vocabulary.size();
    assert!(vocabulary.rows_without_token(rows).len() <= rows, "more rows than there are");
}

/// Returns a safetensors file with the tensors of a llama model of one layer of width 4, all zero.
fn small_weights() -> Vec<u8> {
    let layer = |part: &str| format!("model.layers.0.{part}.weight");
    let mut tensors = vec![
        ("model.embed_tokens.weight".to_owned(), vec![300, 4]),
        ("model.norm.weight".to_owned(), vec![4]),
        (layer("input_layernorm"), vec![4]),
        (layer("post_attention_layernorm"), vec![4]),
    ];
    for part in ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"] {
        tensors.push((layer(part), vec![4, 4]));
    }
    for part in ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"] {
        tensors.push((layer(part), vec![4, 4]));
    }
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for (name, shape) in tensors {
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        header.insert(name, json!({ "dtype": "BF16", "shape": shape, "data_offsets": [start, end] }));
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.into_bytes());
    file.resize(file.len() + end, 0);
    file
}

/// Returns the `config.json` of `small_weights`.
#[must_use]
pub fn small_config() -> serde_json::Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 300, "hidden_size": 4,
        "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
        "tie_word_embeddings": true, "eos_token_id": 0,
        "rope_scaling": { "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16 },
    })
}

/// Returns a `tokenizer.json` with an example of each part that the engine reads.
#[must_use]
pub fn small_tokenizer() -> serde_json::Value {
    json!({
        "version": "1.0",
        "added_tokens": [{ "id": 0, "content": "<|im_end|>", "single_word": false, "lstrip": false, "rstrip": false,
                           "normalized": false, "special": true }],
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "NFC" }, { "type": "Replace", "pattern": { "String": "  " }, "content": " " }] },
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": super::tokenizer::EXAMPLE_PATTERN }, "behavior": "Isolated",
              "invert": false },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false }] },
        "post_processor": null,
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": { "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                   "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                   "vocab": { "<|im_end|>": 0, "a": 1, "h": 2, "e": 3, "he": 4, "\u{120}": 5 },
                   "merges": ["h e"] },
    })
}

#[cfg(test)]
#[path = "fuzz_tests.rs"]
mod tests;
