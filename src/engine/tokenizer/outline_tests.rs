//! `tokenizer.json` files that exceed the limits of any model, or on which the library fails.

use serde_json::{Value, json};

use crate::testing::{Family, Format, RandomModel};
use crate::tokenizer::Vocabulary;
use crate::weights::Weights;

/// Writes a directory with a changed `tokenizer.json`, and opens its vocabulary.
fn with(change: impl FnOnce(&mut Value)) -> Result<Vocabulary, String> {
    with_family(Family::Qwen3, change)
}

fn with_family(family: Family, change: impl FnOnce(&mut Value)) -> Result<Vocabulary, String> {
    let dir = tempfile::tempdir().unwrap();
    let model = RandomModel::new(family);
    let path = model.write(Format::Directory, dir.path());
    let mut json = model.tokenizer_json();
    change(&mut json);
    fs_err::write(path.join("tokenizer.json"), json.to_string()).unwrap();
    Weights::open(&path).and_then(|weights| Vocabulary::from_weights(&weights)).map_err(|error| error.to_string())
}

#[track_caller]
fn assert_refused(result: Result<Vocabulary, String>, expected: &str) {
    let message = result.err().expect("the tokenizer is refused");
    assert!(message.contains(expected), "{message}");
}

fn added(id: u64, content: &str) -> Value {
    json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true })
}

#[test]
fn a_token_id_without_a_row_is_refused_by_token_id_and_rows() {
    for id in [288_u64, 4_294_967_294, 4_294_967_295, u64::MAX] {
        let refused = with(|json| json["model"]["vocab"]["far"] = json!(id));
        assert_refused(refused, &format!("token \"far\" has the id {id}, but the embedding has 288 rows"));
    }
    assert!(with(|json| json["model"]["vocab"]["far"] = json!(287)).is_ok());
    for odd in [json!(-1), json!(1.5), json!("1"), json!(null), json!([1])] {
        assert_refused(with(|json| json["model"]["vocab"]["far"] = odd), "tokenizer.json is not a usable model file");
    }
    // Added tokens get the ids after all other tokens.
    let many = with(|json| {
        let tokens = json["added_tokens"].as_array_mut().unwrap();
        tokens.extend((0..40).map(|index| added(300 + index, &format!("<extra{index}>"))));
    });
    assert_refused(many, "but the embedding has 288 rows");
}

#[test]
fn numbers_and_sizes_beyond_any_models_are_refused_before_anything_is_built() {
    let long = "x".repeat(super::TOKEN_BYTES_MAX + 1);
    assert_refused(with(|json| json["model"]["vocab"][&long] = json!(280)), "has 1025 bytes; at most 1024 are read");
    let longest = &long[1..];
    assert!(with(|json| json["model"]["vocab"][longest] = json!(280)).is_ok());
    assert_refused(
        with(|json| json["added_tokens"].as_array_mut().unwrap().push(added(280, &long))),
        "at most 1024 are read",
    );
    let copies = super::ADDED_MAX + 1;
    let many = with(|json| json["added_tokens"] = Value::Array(vec![added(0, "<|endoftext|>"); copies]));
    assert_refused(many, "key added_tokens has 131073 tokens; at most 131072 are read");
    assert_refused(with(|json| json["version"] = json!("2.0")), "key version is \"2.0\"");
    assert_refused(with(|json| drop(json.as_object_mut().unwrap().remove("model"))), "key model is missing");
    assert_refused(with(|json| json["model"]["type"] = json!("WordPiece")), "key model.type is \"WordPiece\"");
    assert_refused(with(|json| json["model"]["dropout"] = json!(0.5)), "key model.dropout is not 0");
}

#[test]
fn json_that_nests_or_multiplies_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = RandomModel::new(Family::Qwen3).write(Format::Directory, dir.path());
    let open = || {
        Weights::open(&path).and_then(|weights| Vocabulary::from_weights(&weights)).map_err(|error| error.to_string())
    };
    for text in [
        format!("{{\"normalizer\": {}", "[".repeat(1_000_000)),
        format!("{{\"model\": {}1{}}}", "{\"a\":".repeat(100_000), "}".repeat(100_000)),
        format!("{{\"decoder\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000)),
    ] {
        fs_err::write(path.join("tokenizer.json"), text).unwrap();
        assert!(open().is_err_and(|message| message.contains("tokenizer.json")));
    }
    fs_err::write(path.join("tokenizer.json"), format!("{{\"a\":[{}1]}}", "1,".repeat(9 << 20))).unwrap();
    assert_refused(open(), "it has more than 8388608 values");
}

#[test]
fn normalizers_that_multiply_texts_are_refused() {
    let replace = |pattern: Value, content: &str| json!({ "type": "Replace", "pattern": pattern, "content": content });
    let text = |text: &str| json!({ "String": text });
    let sequence = |steps: Vec<Value>| json!({ "type": "Sequence", "normalizers": steps });
    let with = |normalizer: Value| with(|json| json["normalizer"] = normalizer);
    assert_refused(with(replace(text("a"), &"a".repeat(100))), "\"Replace\" lengthens texts");
    assert_refused(with(replace(text("a"), &"a".repeat(1000))), "has texts of more than 256 bytes");
    assert_refused(with(sequence(vec![replace(text("a"), "aa"); 60])), "\"Replace\" lengthens texts");
    assert_refused(with(sequence(vec![replace(text("a"), "b"); 60])), "more than 32 steps");
    assert_refused(with(replace(text(""), "a")), "has a pattern that is not a text");
    assert_refused(with(replace(json!({ "Regex": "(a+)+b" }), "a")), "has a pattern that is not a text");
    assert_refused(with(json!({ "type": "Prepend", "prepend": "a".repeat(300) })), "\"Prepend\" lengthens texts");
    let bytes = json!({ "type": "ByteLevel" });
    assert_refused(with(sequence(vec![bytes.clone(), sequence(vec![bytes])])), "\"ByteLevel\" occurs twice");
    assert_refused(with(json!({ "type": "Precompiled", "precompiled_charsmap": "AAAA" })), "is not known to be safe");
    let nested = (0..60).fold(json!({ "type": "NFC" }), |inner, _| sequence(vec![inner]));
    assert_refused(with(nested), "more than 32 steps");
    // Llama 2's normalizer.
    let usual = sequence(vec![json!({ "type": "Prepend", "prepend": "\u{2581}" }), replace(text(" "), "\u{2581}")]);
    assert!(with(usual).is_ok());
    assert!(with(json!(null)).is_ok());
}

#[test]
fn cutting_that_cannot_be_run_in_linear_time_is_refused_by_pattern() {
    let split =
        |pattern: Value| json!({ "type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false });
    let with = |cut: Value| with(|json| json["pre_tokenizer"] = cut);
    assert_refused(with(split(json!({ "Regex": "(a+)+(?=b)" }))), "the pattern \"(a+)+(?=b)\" cannot be run");
    assert_refused(with(split(json!({ "Regex": "(((((a{500}){500}){500}){500}){500}" }))), "cannot be run");
    assert_refused(with(split(json!(null))), "Split has no pattern");
    assert_refused(with(json!({ "type": "Nonsense" })), "the step \"Nonsense\" is not known");
    assert_refused(with(json!({ "type": "FixedLength", "length": 0 })), "FixedLength has the length 0");
    let many = vec![split(json!({ "String": "a" })); 40];
    assert_refused(with(json!({ "type": "Sequence", "pretokenizers": many })), "it has more than 32 steps");
    // A pattern on which backtracking engines take hours is accepted.
    let vocabulary = with(json!({ "type": "Sequence", "pretokenizers": [
        split(json!({ "Regex": "(?:a+)+b" })), split(json!({ "String": "b" })),
        { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
    ]}));
    assert_eq!(vocabulary.unwrap().encode(&"a".repeat(20_000)).unwrap().len(), 20_000);
}

#[test]
fn a_library_that_panics_is_an_error_that_names_the_file() {
    let path = std::path::Path::new("model/tokenizer.json");
    for message in [
        super::super::library::guarded::<()>(path, || panic!("index out of {}", "bounds")),
        super::super::library::guarded::<()>(path, || panic!("index out of bounds")),
        super::super::library::guarded::<()>(path, || Err("index out of bounds".into())),
    ] {
        let message = message.unwrap_err().to_string();
        assert_eq!(
            message,
            "model/tokenizer.json is not a usable model file: its tokenizer failed: index out of bounds"
        );
    }
}

#[test]
fn end_tokens_without_a_row_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = RandomModel::new(Family::Qwen3).write(Format::Directory, dir.path());
    let open = |ids: Value| {
        fs_err::write(path.join("generation_config.json"), json!({ "eos_token_id": ids }).to_string()).unwrap();
        Weights::open(&path).and_then(|weights| Vocabulary::from_weights(&weights)).map_err(|error| error.to_string())
    };
    assert_refused(open(json!([2, 288])), "the end-of-sequence token has the id 288, but the embedding has 288 rows");
    assert_refused(open(json!(4_294_967_295_u64)), "has the id 4294967295");
    assert_refused(open(json!(4_294_967_296_u64)), "is not a token id");
    assert_refused(open(json!(vec![2; 300])), "end-of-sequence tokens are named; at most 256");
    assert!(open(json!([2, 287])).is_ok());
}

#[test]
fn rows_without_a_token_are_known_in_both_formats() {
    for family in Family::ALL {
        let dir = tempfile::tempdir().unwrap();
        for format in [Format::Gguf, Format::Directory] {
            let path = RandomModel::new(family).write(format, dir.path());
            let vocabulary = Vocabulary::load(&path).unwrap();
            let expected: Vec<u32> = (263..288).collect();
            assert_eq!(vocabulary.rows_without_token(288), expected, "{family:?} {format:?}");
        }
    }
    let gap = with(|json| json["model"]["vocab"]["far"] = json!(270)).unwrap();
    assert_eq!(gap.rows_without_token(272), [263, 264, 265, 266, 267, 268, 269, 271]);
}
