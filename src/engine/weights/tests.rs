//! Model files of both formats: which ones are read, and which ones are rejected.

use std::collections::HashMap;
use std::path::Path;

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;
use candle_core::{DType, Tensor};
use serde_json::json;

use super::*;
use crate::testing::{Family, Format, RandomModel, random_model};

fn opened(path: &Path) -> Result<Weights, String> {
    Weights::open(path).map_err(|error| error.to_string())
}

#[track_caller]
fn assert_refused<T>(result: Result<T, String>, expected: &str) {
    let message = result.err().expect("the model is refused");
    assert!(message.contains(expected), "{message}");
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
}

#[test]
fn every_part_is_read_from_a_directory_in_each_of_its_types() {
    for (dtype, stored) in [(GgmlDType::F32, DType::F32), (GgmlDType::F16, DType::F16), (GgmlDType::BF16, DType::BF16)]
    {
        let dir = tempfile::tempdir().unwrap();
        let model = RandomModel { dtype, ..RandomModel::new(Family::Qwen2) };
        let weights = opened(&model.write(Format::Directory, dir.path())).unwrap();
        let config = weights.config().unwrap();
        let tensors = model.tensors();
        let rounded = |name: &str| floats(&tensors[name].to_dtype(stored).unwrap());
        let down = weights.matrix(Part::Layer(1, LayerPart::Down), config.hidden, config.ffn).unwrap();
        assert_eq!(down.dtype, dtype);
        assert_eq!(down.to_f32().unwrap(), rounded("model.layers.1.mlp.down_proj.weight"));
        assert_eq!(down.rows_f32(3..5).unwrap(), rounded("model.layers.1.mlp.down_proj.weight")[3 * 96..5 * 96]);
        let bias = weights.optional_vector(Part::Layer(0, LayerPart::KeyBias), 32).unwrap();
        assert_eq!(bias.unwrap(), rounded("model.layers.0.self_attn.k_proj.bias"));
        assert_eq!(weights.optional_vector(Part::Layer(0, LayerPart::KeyNorm), 16).unwrap(), None);
        assert!(!weights.has(Part::Output), "tied");
        let short = weights.vector(Part::OutputNorm, 63).map_err(|error| error.to_string());
        assert_refused(short, "tensor model.norm.weight has shape [64], expected [63]");
    }
}

#[test]
fn every_quantization_that_is_supported_is_read() {
    use GgmlDType::{BF16, F16, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
    for dtype in [F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2K, Q3K, Q4K, Q5K, Q6K] {
        let dir = tempfile::tempdir().unwrap();
        let model =
            RandomModel { dtype, hidden: 256, heads: 8, head_dim: 32, ffn: 256, ..RandomModel::new(Family::Qwen3) };
        let weights = opened(&model.write(Format::Gguf, dir.path())).unwrap();
        weights.config().unwrap();
        let up = weights.matrix(Part::Layer(0, LayerPart::Up), 256, 256).unwrap();
        let original = floats(&model.tensors()["model.layers.0.mlp.up_proj.weight"]);
        let worst =
            up.to_f32().unwrap().iter().zip(&original).map(|(read, own)| (read - own).abs()).fold(0.0, f32::max);
        assert!(worst < 0.08, "{dtype:?}: off by {worst} of 0.11");
        assert_eq!(up.rows_f32(7..9).unwrap(), up.to_f32().unwrap()[7 * 256..9 * 256], "{dtype:?}");
    }
}

/// Writes the random llama model as several safetensors files with an index, and then applies `change`.
fn sharded(change: impl FnOnce(&Path)) -> Result<Weights, String> {
    let dir = tempfile::tempdir().unwrap();
    let model = RandomModel::new(Family::Llama);
    let path = model.write(Format::Directory, dir.path());
    fs_err::remove_file(path.join("model.safetensors")).unwrap();
    let mut shards: [HashMap<String, Tensor>; 2] = Default::default();
    let mut map = HashMap::new();
    for (index, (name, tensor)) in model.tensors().into_iter().enumerate() {
        map.insert(name.clone(), shard_name(index % 2));
        shards[index % 2].insert(name, tensor);
    }
    for (index, tensors) in shards.iter().enumerate() {
        candle_core::safetensors::save(tensors, path.join(shard_name(index))).unwrap();
    }
    let index = json!({ "metadata": {}, "weight_map": map });
    fs_err::write(path.join("model.safetensors.index.json"), index.to_string()).unwrap();
    change(&path);
    let weights = opened(&path)?;
    weights.config().map_err(|error| error.to_string())?;
    Ok(weights)
}

fn shard_name(index: usize) -> String {
    format!("model-{:05}-of-00002.safetensors", index + 1)
}

fn edit_index(dir: &Path, edit: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) {
    let path = dir.join("model.safetensors.index.json");
    let mut index: serde_json::Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
    edit(index["weight_map"].as_object_mut().unwrap());
    fs_err::write(path, index.to_string()).unwrap();
}

#[test]
fn shards_are_read_as_one_model() {
    let weights = sharded(|_| {}).unwrap();
    let tensors = RandomModel::new(Family::Llama).tensors();
    for part in [Part::Embedding, Part::Output] {
        let name = if part == Part::Output { "lm_head.weight" } else { "model.embed_tokens.weight" };
        assert_eq!(weights.matrix(part, 288, 64).unwrap().to_f32().unwrap(), floats(&tensors[name]));
    }
}

#[test]
fn shards_that_their_index_does_not_describe_are_refused() {
    let norm = "model.norm.weight";
    assert_refused(sharded(|dir| fs_err::remove_file(dir.join(shard_name(1))).unwrap()), "model-00002-of-00002");
    let unlisted = sharded(|dir| edit_index(dir, |map| drop(map.remove(norm).unwrap())));
    assert_refused(unlisted, "tensor model.norm.weight of model-0000");
    let elsewhere = sharded(|dir| {
        edit_index(dir, |map| drop(map.insert("extra.weight".to_owned(), json!(shard_name(0)))));
    });
    assert_refused(elsewhere, "tensor extra.weight is listed for model-00001-of-00002.safetensors, which does not");
    let outside = sharded(|dir| {
        edit_index(dir, |map| drop(map.insert(norm.to_owned(), json!("../a.safetensors"))));
    });
    assert_refused(outside, "is listed in \"../a.safetensors\", which is not a safetensors file beside the index");
    let no_map = sharded(|dir| fs_err::write(dir.join("model.safetensors.index.json"), "{}").unwrap());
    assert_refused(no_map, "key weight_map is missing");
}

#[test]
fn a_directory_without_weights_or_config_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert_refused(opened(dir.path()), "the directory has no config.json; use a GGUF file or");
    fs_err::write(dir.path().join("config.json"), "{}").unwrap();
    assert_refused(opened(dir.path()), "it has neither model.safetensors nor");
    fs_err::write(dir.path().join("config.json"), "[]").unwrap();
    assert_refused(opened(dir.path()), "config.json is not a usable model file: not a JSON object");
    assert_refused(opened(&dir.path().join("none")), "cannot read the model");
}

/// Describes a tensor as a safetensors header does.
fn entry(dtype: &str, shape: &[usize], from: usize, to: usize) -> serde_json::Value {
    json!({ "dtype": dtype, "shape": shape, "data_offsets": [from, to] })
}

/// Opens a directory whose only safetensors file has this header, followed by `bytes` bytes.
fn with_header(header: &serde_json::Value, bytes: usize) -> Result<Weights, String> {
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join("config.json"), "{}").unwrap();
    let header = header.to_string().into_bytes();
    let mut content = (header.len() as u64).to_le_bytes().to_vec();
    content.extend(header);
    content.resize(content.len() + bytes, 0);
    fs_err::write(dir.path().join("model.safetensors"), content).unwrap();
    opened(dir.path())
}

#[test]
fn safetensors_headers_that_lie_are_refused() {
    let good = json!({ "a": entry("F32", &[2, 2], 0, 16), "b": entry("BF16", &[3], 16, 22) });
    assert!(with_header(&good, 22).is_ok());
    assert_refused(with_header(&good, 21), "do not end where the file ends (");
    assert_refused(with_header(&good, 23), "do not end where the file ends (");
    let overlap = json!({ "a": entry("F32", &[2, 2], 0, 16), "b": entry("BF16", &[3], 14, 20) });
    assert_refused(with_header(&overlap, 22), "tensor b does not begin where the previous tensor ends");
    let gap = json!({ "a": entry("F32", &[2, 2], 0, 16), "b": entry("BF16", &[3], 18, 24) });
    assert_refused(with_header(&gap, 24), "tensor b does not begin where the previous tensor ends");
    let misshapen = json!({ "a": entry("F32", &[2, 3], 0, 16) });
    assert_refused(with_header(&misshapen, 16), "a tensor's shape and type do not fit its offsets");
    let far = json!({ "a": entry("U8", &[1 << 61], 0, 1 << 61), "b": entry("U8", &[1 << 61], 1 << 61, 1 << 62) });
    assert_refused(with_header(&far, 22), "do not end where the file ends (");
    let huge = json!({ "a": { "dtype": "F32", "shape": [u64::MAX, u64::MAX], "data_offsets": [0, 16] } });
    assert_refused(with_header(&huge, 16), "no readable safetensors header");
    for odd in [json!([0, -1]), json!([0, 1.5]), json!(null), json!([0, "16"]), json!([16, 0])] {
        let odd = json!({ "a": { "dtype": "F32", "shape": [4], "data_offsets": odd } });
        assert_refused(with_header(&odd, 16), "model.safetensors");
    }
    let unknown = json!({ "a": entry("Q4", &[2, 3], 0, 16) });
    assert_refused(with_header(&unknown, 16), "no readable safetensors header");
    let dir = tempfile::tempdir().unwrap();
    let path = random_model(Family::Llama, Format::Directory, dir.path());
    for length in [0, 7, 100, 40_000] {
        let file = fs_err::OpenOptions::new().write(true).open(path.join("model.safetensors")).unwrap();
        file.set_len(length).unwrap();
        assert_refused(opened(&path), "model.safetensors");
        let _ = random_model(Family::Llama, Format::Directory, dir.path());
    }
}

#[test]
fn a_tensor_that_stands_in_a_header_twice_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join("config.json"), "{}").unwrap();
    let one = entry("F32", &[1], 0, 4);
    let open = |header: String| {
        let mut content = (header.len() as u64).to_le_bytes().to_vec();
        content.extend(header.into_bytes());
        content.extend([0; 4]);
        fs_err::write(dir.path().join("model.safetensors"), content).unwrap();
        opened(dir.path())
    };
    assert!(open(format!("{{\"a\": {one}}}")).is_ok());
    assert_refused(open(format!("{{\"a\": {one}, \"a\": {one}}}")), "tensor a occurs twice in its header");
    assert_refused(open(format!("{{\"a\": {}", "[".repeat(100_000))), "no readable safetensors header");
}

#[test]
fn split_counts_that_no_model_has_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (number, count) in [(0, u64::MAX), (0, 10_001), (u64::MAX, 2), (2, 2)] {
        let path = RandomModel::new(Family::Llama).write_gguf_edited(&dir.path().join("model.gguf"), |metadata, _| {
            metadata.push(("split.no".to_owned(), Value::U64(number)));
            metadata.push(("split.count".to_owned(), Value::U64(count)));
        });
        assert_refused(opened(&path), &format!("split.no is {number} of a split.count of {count}"));
    }
}

#[test]
fn numbers_of_another_type_are_refused_by_tensor() {
    let dir = tempfile::tempdir().unwrap();
    let model = RandomModel::new(Family::Llama);
    let path = model.write(Format::Directory, dir.path());
    let mut tensors: HashMap<String, Tensor> = model.tensors().into_iter().collect();
    let name = "model.layers.1.self_attn.v_proj.weight";
    tensors.insert(name.to_owned(), tensors[name].to_dtype(DType::F64).unwrap());
    candle_core::safetensors::save(&tensors, path.join("model.safetensors")).unwrap();
    let config = opened(&path).unwrap().config().map_err(|error| error.to_string());
    assert_refused(config, "self_attn.v_proj.weight is stored as F64; supported: BF16, F16, F32");
}

#[test]
fn f32_that_is_not_aligned_is_read_right() {
    for padding in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        let header = json!({ "odd": entry("BF16", &[1], 0, 2), "even": entry("F32", &[2], 2, 10) });
        let header = format!("{header}{}", " ".repeat(padding));
        let mut content = (header.len() as u64).to_le_bytes().to_vec();
        content.extend(header.bytes());
        content.extend([0; 2]);
        content.extend([1.5_f32, -2.25].iter().flat_map(|number| number.to_le_bytes()));
        let path = dir.path().join("a.safetensors");
        fs_err::write(&path, content).unwrap();
        let file = super::safetensors::SafetensorsFile::open(&path).unwrap();
        assert_eq!(file.tensor("even", &[2]).unwrap().to_f32().unwrap(), [1.5, -2.25]);
    }
}

fn patched(bytes: &[u8], name: &str, kind: u32, dimensions: usize) -> Vec<u8> {
    let mut patched = bytes.to_vec();
    let at = bytes.windows(name.len()).position(|window| window == name.as_bytes()).unwrap();
    let kind_at = at + name.len() + 4 + 8 * dimensions;
    patched[kind_at..kind_at + 4].copy_from_slice(&kind.to_le_bytes());
    patched
}

#[test]
fn a_gguf_tensor_of_an_unread_type_is_named_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = random_model(Family::Llama, Format::Gguf, dir.path());
    let bytes = fs_err::read(&path).unwrap();
    for (kind, name) in [(20, "IQ4_NL"), (39, "MXFP4"), (99, "number 99"), (15, "Q8K"), (9, "Q8_1")] {
        fs_err::write(&path, patched(&bytes, "blk.1.ffn_up.weight", kind, 2)).unwrap();
        assert_refused(opened(&path), &format!("tensor blk.1.ffn_up.weight is stored as {name}; supported: F32, "));
    }
    // Rows of 64 and 96 numbers are not whole blocks of 256.
    fs_err::write(&path, patched(&bytes, "blk.1.ffn_up.weight", 12, 2)).unwrap();
    assert_refused(opened(&path), "blk.1.ffn_up.weight of shape [96, 64] has rows that are not whole blocks of 256");
}

/// Writes a GGUF model as two files, named as llama.cpp's splitter names them, and opens one of them.
fn split(open: usize, change: impl FnOnce(&Path)) -> Result<Weights, String> {
    let dir = tempfile::tempdir().unwrap();
    let part = |number: usize| dir.path().join(format!("model-{number:05}-of-00002.gguf"));
    let model = RandomModel::new(Family::Qwen2);
    let count = model.tensors().len();
    let entries = |number: u16| {
        [
            ("split.no".to_owned(), Value::U16(number)),
            ("split.count".to_owned(), Value::U16(2)),
            ("split.tensors.count".to_owned(), Value::I32(i32::try_from(count).unwrap())),
        ]
    };
    model.write_gguf_edited(&part(1), |metadata, tensors| {
        metadata.extend(entries(0));
        tensors.retain(|name, _| !name.starts_with("blk.1."));
    });
    model.write_gguf_edited(&part(2), |metadata, tensors| {
        *metadata = entries(1).into();
        tensors.retain(|name, _| name.starts_with("blk.1."));
    });
    change(dir.path());
    let weights = opened(&part(open))?;
    weights.config().map_err(|error| error.to_string())?;
    weights.digest().map_err(|error| error.to_string())?;
    Ok(weights)
}

#[test]
fn a_split_gguf_file_is_read_as_one_model() {
    let weights = split(1, |_| {}).unwrap();
    let norm = weights.vector(Part::Layer(1, LayerPart::FfnNorm), 64).unwrap();
    let tensors = RandomModel::new(Family::Qwen2).tensors();
    assert_eq!(norm, floats(&tensors["model.layers.1.post_attention_layernorm.weight"]));
    assert_refused(split(2, |_| {}), "it is part 2 of 2; use the first part, ");
    assert_refused(
        split(1, |dir| fs_err::remove_file(dir.join("model-00002-of-00002.gguf")).unwrap()),
        "00002-of-00002",
    );
    let mixed = split(1, |dir| {
        fs_err::copy(dir.join("model-00001-of-00002.gguf"), dir.join("model-00002-of-00002.gguf")).unwrap();
    });
    assert_refused(mixed, "model-00002-of-00002.gguf is not a usable model file: split.no is 0, expected 1");
}

#[test]
fn the_digest_covers_every_file_that_decides_what_a_model_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = random_model(Family::Qwen3, Format::Directory, dir.path());
    let digest = || opened(&path).unwrap().digest().unwrap();
    let first = digest();
    assert_eq!(digest(), first);
    fs_err::write(path.join("README.md"), "says nothing").unwrap();
    assert_eq!(digest(), first);
    let mut seen = vec![first];
    for name in
        ["chat_template.jinja", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]
    {
        let mut content = fs_err::read(path.join(name)).unwrap_or_default();
        content.push(b' ');
        fs_err::write(path.join(name), content).unwrap();
        assert!(!seen.contains(&digest()), "{name}");
        seen.push(digest());
    }
    let mut content = fs_err::read(path.join("model.safetensors")).unwrap();
    *content.last_mut().unwrap() ^= 1;
    fs_err::write(path.join("model.safetensors"), content).unwrap();
    assert!(!seen.contains(&digest()));
}

#[test]
fn the_digest_of_a_gguf_file_is_that_of_its_bytes() {
    use sha2::Digest;
    let path = crate::testing::tiny_model_path();
    let expected = hex::encode(sha2::Sha256::digest(fs_err::read(&path).unwrap()));
    assert_eq!(model_digest(&path).unwrap(), expected);
}
