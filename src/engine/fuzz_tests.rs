//! Valid files with flipped bits, replaced numbers, and truncated ends.

use proptest::prelude::*;

use super::*;
use crate::testing::{Family, Format, RandomModel, tiny_model_path};

/// Numbers that replace the numbers of headers.
const NUMBERS: &[u64] = &[0, 1, 3, 7, 255, 65_535, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 63, u64::MAX - 7, u64::MAX];

/// A change of a file.
#[derive(Debug, Clone)]
enum Change {
    Flip { at: usize, bit: u8 },
    Number { at: usize, number: u64, width: usize },
    Cut { at: usize },
    Copy { from: usize, to: usize, length: usize },
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let place = 0_usize..1 << 20;
    let change = prop_oneof![
        4 => (place.clone(), 0_u8..8).prop_map(|(at, bit)| Change::Flip { at, bit }),
        4 => (place.clone(), proptest::sample::select(NUMBERS), proptest::sample::select(&[1_usize, 4, 8][..]))
            .prop_map(|(at, number, width)| Change::Number { at, number, width }),
        1 => place.clone().prop_map(|at| Change::Cut { at }),
        2 => (place.clone(), place, 1_usize..64).prop_map(|(from, to, length)| Change::Copy { from, to, length }),
    ];
    proptest::collection::vec(change, 1..4)
}

/// Changes the first `head` bytes of a file.
fn changed(file: &[u8], head: usize, changes: &[Change]) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for change in changes {
        let head = head.min(bytes.len()).max(1);
        match *change {
            Change::Flip { at, bit } => bytes.iter_mut().skip(at % head).take(1).for_each(|byte| *byte ^= 1 << bit),
            Change::Number { at, number, width } => {
                for (byte, new) in bytes.iter_mut().skip(at % head).zip(number.to_le_bytes()).take(width) {
                    *byte = new;
                }
            }
            Change::Cut { at } => bytes.truncate(at % head),
            Change::Copy { from, to, length } => {
                let copied: Vec<u8> = bytes.iter().skip(from % head).take(length).copied().collect();
                bytes.iter_mut().skip(to % head).zip(copied).for_each(|(byte, new)| *byte = new);
            }
        }
    }
    bytes
}

/// Replaces one value of a JSON file: the `at`-th number or text becomes `new`.
fn swapped(json: &serde_json::Value, at: usize, new: &serde_json::Value) -> serde_json::Value {
    let mut json = json.clone();
    let mut count = 0;
    let mut waiting = vec![&mut json];
    let mut leaves = Vec::new();
    while let Some(value) = waiting.pop() {
        match value {
            serde_json::Value::Array(values) => waiting.extend(values.iter_mut()),
            serde_json::Value::Object(values) => waiting.extend(values.values_mut()),
            leaf => {
                count += 1;
                leaves.push(leaf);
            }
        }
    }
    if let Some(leaf) = leaves.into_iter().nth(at % count) {
        *leaf = new.clone();
    }
    json
}

fn odd_values() -> Vec<serde_json::Value> {
    let nested = (0..100).fold(json!(1), |inner, _| json!([inner]));
    vec![
        json!(0),
        json!(-1),
        json!(1),
        json!(3),
        json!(1e-300),
        json!(1e300),
        json!(0.5),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1_u64 << 40),
        json!(4_294_967_294_u64),
        json!(null),
        json!(true),
        json!(""),
        json!("\u{1b}[31m"),
        json!("(a+)+b"),
        json!([]),
        json!({}),
        nested,
        json!("x".repeat(5000)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_damaged_gguf_file_is_read_or_refused(changes in changes()) {
        let file = fs_err::read(tiny_model_path()).unwrap();
        gguf(&changed(&file, 24_000, &changes));
    }

    #[test]
    fn a_damaged_safetensors_file_is_read_or_refused(changes in changes()) {
        safetensors(&changed(&small_weights(), 2_000, &changes));
    }

    #[test]
    fn damaged_json_files_are_read_or_refused(changes in changes(), at in 0_usize..200, new in proptest::sample::select(odd_values())) {
        config_json(swapped(&small_config(), at, &new).to_string().as_bytes());
        tokenizer_json(swapped(&small_tokenizer(), at, &new).to_string().as_bytes());
        config_json(&changed(small_config().to_string().as_bytes(), 1 << 20, &changes));
        tokenizer_json(&changed(small_tokenizer().to_string().as_bytes(), 1 << 20, &changes));
    }

    #[test]
    fn bytes_of_any_kind_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        gguf(&bytes);
        safetensors(&bytes);
        config_json(&bytes);
        tokenizer_json(&bytes);
    }
}

#[test]
fn what_the_changes_start_from_is_read() {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in [
        ("model.safetensors", small_weights()),
        ("config.json", small_config().to_string().into_bytes()),
        ("tokenizer.json", small_tokenizer().to_string().into_bytes()),
    ] {
        fs_err::write(dir.path().join(name), bytes).unwrap();
    }
    let weights = Weights::open(dir.path()).unwrap();
    assert_eq!(weights.config().unwrap().context, 64);
    assert_eq!(Vocabulary::from_weights(&weights).unwrap().encode("he a<|im_end|>").unwrap(), [4, 5, 1, 0]);
    gguf(&fs_err::read(RandomModel::new(Family::Llama3).write(Format::Gguf, dir.path())).unwrap());
}

#[test]
fn a_number_that_is_none_is_named_with_its_tensor_and_place() {
    let dir = tempfile::tempdir().unwrap();
    let model = RandomModel::new(Family::Qwen3);
    let poisoned = |name: &str, at: usize| {
        let path = model.write(Format::Directory, dir.path());
        let mut tensors: std::collections::HashMap<_, _> = model.tensors().into_iter().collect();
        let shape = tensors[name].shape().clone();
        let mut numbers: Vec<f32> = tensors[name].flatten_all().unwrap().to_vec1().unwrap();
        numbers[at] = f32::NAN;
        let tensor = candle_core::Tensor::from_vec(numbers, shape, &candle_core::Device::Cpu).unwrap();
        tensors.insert(name.to_owned(), tensor);
        candle_core::safetensors::save(&tensors, path.join("model.safetensors")).unwrap();
        path
    };
    let path = poisoned("model.layers.1.mlp.up_proj.weight", 64 * 5 + 7);
    let found = super::super::diagnosis::name_suspect(&path);
    assert_eq!(found, "the model's tensor model.layers.1.mlp.up_proj.weight, row 5 holds NaN");
    let options = super::super::EngineOptions { slots: 1, kv_cache_bytes: 1 << 20, threads: 1, ..Default::default() };
    let path = poisoned("model.layers.0.input_layernorm.weight", 3);
    let error = super::super::Engine::load(&path, options).err().unwrap().to_string();
    assert!(error.ends_with("tensor model.layers.0.input_layernorm.weight has the number NaN at 3"), "{error}");
}
