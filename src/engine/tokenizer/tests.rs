//! Vocabularies of both formats. `tests/tools/tokenizer_oracle.py` checks the vocabularies of real models.

use std::path::Path;

use candle_core::quantized::gguf_file::Value;
use serde_json::json;

use super::Vocabulary;
use crate::testing::{Family, Format, RandomModel, tiny_vocabulary};
use crate::weights::Weights;

const TEXTS: &[&str] = &[
    "",
    "hello the thing",
    "don't DON'T we'Ve 'quoted'",
    "  two   three    \t\n\n \r\n x",
    "1 22 333 4444 55555 1,000.5",
    "\u{4f60}\u{597d}\u{3002} \u{c548}\u{b155} \u{1f600}\u{1f469}\u{200d}\u{1f467}",
    "<|im_start|>user\nthe<|im_end|>\n<|im_start|>",
    "<think>\n</think> \\boxed{42}",
    "caf\u{e9} Stra\u{df}e \u{b2}\u{bd}\u{664}",
    "[PAD270] <unused1>",
];

fn vocabulary(path: &Path) -> Result<Vocabulary, String> {
    Weights::open(path).and_then(|weights| Vocabulary::from_weights(&weights)).map_err(|error| error.to_string())
}

fn decoded(vocabulary: &Vocabulary, ids: &[u32]) -> Vec<u8> {
    ids.iter().flat_map(|id| vocabulary.token_bytes(*id).to_vec()).collect()
}

#[test]
fn both_formats_of_a_model_give_the_same_ids_and_bytes() {
    for family in Family::ALL {
        let dir = tempfile::tempdir().unwrap();
        let model = RandomModel::new(family);
        let gguf = vocabulary(&model.write(Format::Gguf, dir.path())).unwrap();
        let json = vocabulary(&model.write(Format::Directory, dir.path())).unwrap();
        for text in TEXTS {
            let ids = gguf.encode(text).unwrap();
            assert_eq!(json.encode(text).unwrap(), ids, "{family:?} {text:?}");
            assert_eq!(decoded(&gguf, &ids), text.as_bytes(), "{family:?} {text:?}");
            assert_eq!(decoded(&json, &ids), text.as_bytes(), "{family:?} {text:?}");
        }
        // Merged tokens, not single letters: "he", and "the" with its space.
        assert_eq!(gguf.encode("he the").unwrap(), [259, 261], "{family:?}");
        assert_eq!(gguf.encode("<|im_end|>").unwrap(), [2], "{family:?}");
        for vocabulary in [&gguf, &json] {
            let ends: Vec<u32> = (0..300).filter(|id| vocabulary.ends_turn(*id)).collect();
            assert_eq!(ends, [0, 2], "{family:?}");
            assert_eq!((vocabulary.bos_text(), vocabulary.eos_text()), ("<|im_start|>", "<|im_end|>"), "{family:?}");
            assert!(vocabulary.chat_template().unwrap().starts_with("{% for message"), "{family:?}");
        }
        assert_eq!((gguf.size(), json.size()), (288, 263), "{family:?}");
    }
}

#[test]
fn qwen_composes_what_was_written_in_parts_and_others_keep_it() {
    let ids = |family: Family, format: Format| {
        let dir = tempfile::tempdir().unwrap();
        let vocabulary = vocabulary(&RandomModel::new(family).write(format, dir.path())).unwrap();
        decoded(&vocabulary, &vocabulary.encode("cafe\u{301}").unwrap())
    };
    for format in [Format::Gguf, Format::Directory] {
        assert_eq!(ids(Family::Qwen2, format), "caf\u{e9}".as_bytes());
        assert_eq!(ids(Family::Llama, format), "cafe\u{301}".as_bytes());
    }
}

/// Writes a GGUF file with changed metadata: `Some` replaces a value, `None` removes it.
fn gguf_with(changes: &[(&str, Option<Value>)]) -> Result<Vocabulary, String> {
    let dir = tempfile::tempdir().unwrap();
    let model = RandomModel::new(Family::Llama);
    vocabulary(&model.write_gguf_edited(&dir.path().join("model.gguf"), |metadata, _| {
        for (key, value) in changes {
            metadata.retain(|(name, _)| name != key);
            metadata.extend(value.clone().map(|value| ((*key).to_owned(), value)));
        }
    }))
}

fn text(text: &str) -> Option<Value> {
    Some(Value::String(text.to_owned()))
}

fn texts(texts: &[&str]) -> Option<Value> {
    Some(Value::Array(texts.iter().map(|text| Value::String((*text).to_owned())).collect()))
}

#[track_caller]
fn assert_refused(result: Result<Vocabulary, String>, expected: &str) {
    let message = result.err().expect("the vocabulary is refused");
    assert!(message.contains(expected), "{message}");
}

#[test]
fn gguf_vocabularies_that_are_not_known_to_be_handled_right_are_refused_by_name() {
    let pre = |name: &str| gguf_with(&[("tokenizer.ggml.pre", text(name))]);
    for known in super::pre_tokenizer::KNOWN.split(", ") {
        assert!(pre(known).is_ok(), "{known}");
    }
    for unknown in ["default", "deepseek-llm", "falcon", "qwen35"] {
        assert_refused(pre(unknown), &format!("its pre-tokenizer is \"{unknown}\"; supported: smollm, "));
    }
    assert_refused(gguf_with(&[("tokenizer.ggml.pre", None)]), "its pre-tokenizer is \"default\"");
    assert_refused(gguf_with(&[("tokenizer.ggml.model", text("t5"))]), "its tokenizer model is \"t5\"");
    assert_refused(gguf_with(&[("tokenizer.ggml.model", text("llama"))]), "tokenizer.ggml.scores is missing");
}

#[test]
fn contradictory_gguf_vocabularies_are_refused() {
    assert_refused(gguf_with(&[("tokenizer.ggml.tokens", None)]), "tokenizer.ggml.tokens is missing");
    assert_refused(
        gguf_with(&[("tokenizer.ggml.tokens", text("a"))]),
        "tokenizer.ggml.tokens is not an array of strings",
    );
    assert_refused(gguf_with(&[("tokenizer.ggml.tokens", texts(&["a", "b", "a"]))]), "has \"a\" at 0 and 2");
    assert_refused(gguf_with(&[("tokenizer.ggml.tokens", texts(&["a", "b"]))]), "has 288 entries for 2 tokens");
    assert_refused(gguf_with(&[("tokenizer.ggml.merges", None)]), "tokenizer.ggml.merges is missing");
    assert_refused(gguf_with(&[("tokenizer.ggml.merges", texts(&["he"]))]), "has an entry that is not a pair");
    assert_refused(gguf_with(&[("tokenizer.ggml.merges", texts(&["he xyz"]))]), "its tokenizer failed: ");
    assert_refused(gguf_with(&[("tokenizer.ggml.eos_token_id", Some(Value::U32(288)))]), "is 288, outside");
}

#[test]
fn sentencepiece_merges_by_score_then_from_the_left_and_spells_the_rest_in_bytes() {
    let pieces = ["<unk>", "<s>", "</s>", "<0x78>", "\u{2581}", "a", "b", "\u{2581}a", "aa", "ab", "aab", "bb"];
    let kinds = [2, 3, 3, 6, 1, 1, 1, 1, 1, 1, 1, 1];
    let scores = [0.0, 0.0, 0.0, 0.0, -9.0, -8.0, -7.0, -6.0, -2.0, -2.0, -1.0, -4.0];
    let numbers = |kinds: &[i32]| Some(Value::Array(kinds.iter().map(|kind| Value::I32(*kind)).collect()));
    let with = |adds_space: bool| {
        gguf_with(&[
            ("tokenizer.ggml.model", text("llama")),
            ("tokenizer.ggml.tokens", texts(&pieces)),
            ("tokenizer.ggml.token_type", numbers(&kinds)),
            ("tokenizer.ggml.scores", Some(Value::Array(scores.iter().map(|score| Value::F32(*score)).collect()))),
            ("tokenizer.ggml.add_space_prefix", Some(Value::Bool(adds_space))),
        ])
        .unwrap()
    };
    let vocabulary = with(false);
    let encode = |text: &str| vocabulary.encode(text).unwrap();
    assert_eq!(encode("aab"), [10], "ab and aa score the same, aa stands further left, aab is best of all");
    assert_eq!(encode("aaab"), [8, 9], "the leftmost aa first, then ab; aab needs aa and b");
    assert_eq!(encode("abb"), [9, 6], "ab scores above bb");
    assert_eq!(encode("ax"), [5, 3]);
    assert_eq!(encode("y"), [0], "no byte token: unknown");
    assert_eq!(encode("a<s>a</s>"), [5, 1, 5, 2]);
    assert_eq!(encode(" a"), [7]);
    let prefixed = with(true);
    assert_eq!(prefixed.encode("a<s>b").unwrap(), [7, 1, 4, 6], "a space goes before the text and after markup");
    assert_eq!(prefixed.encode("").unwrap(), [0_u32; 0]);
    assert_eq!(decoded(&prefixed, &[7, 3, 1, 11]), b" ax<s>bb");
}

#[test]
fn gguf_vocabularies_with_numbers_beyond_any_models_are_refused() {
    assert_refused(gguf_with(&[("tokenizer.ggml.tokens", texts(&["x"; 0]))]), "the vocabulary is empty");
    let long = "x".repeat(1025);
    assert_refused(
        gguf_with(&[("tokenizer.ggml.tokens", texts(&["a", &long]))]),
        "has 1025 bytes; at most 1024 are read",
    );
    let names: Vec<String> = (0..289).map(|id| format!("t{id}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let many = gguf_with(&[("tokenizer.ggml.tokens", texts(&names)), ("tokenizer.ggml.token_type", None)]);
    assert_refused(many, "token \"t288\" has the id 288, but the embedding has 288 rows");
    for score in [f32::NAN, f32::INFINITY] {
        let scores = gguf_with(&[
            ("tokenizer.ggml.model", text("llama")),
            ("tokenizer.ggml.scores", Some(Value::Array(vec![Value::F32(score); 288]))),
        ]);
        assert_refused(scores, "tokenizer.ggml.scores is not an array of finite floats");
    }
    for kind in [Value::I32(-1), Value::F32(1.0)] {
        let kinds = gguf_with(&[("tokenizer.ggml.token_type", Some(Value::Array(vec![kind; 288])))]);
        assert_refused(kinds, "tokenizer.ggml.token_type is not an array of numbers");
    }
    assert!(gguf_with(&[("tokenizer.ggml.token_type", Some(Value::Array(vec![Value::U32(u32::MAX); 288])))]).is_ok());
    for id in [Value::U64(u64::MAX), Value::U32(288), Value::I32(-1)] {
        assert!(gguf_with(&[("tokenizer.ggml.bos_token_id", Some(id))]).is_err());
    }
}

/// Writes a directory, applies `change`, and opens its vocabulary.
fn directory_with(change: impl FnOnce(&Path)) -> Result<Vocabulary, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = RandomModel::new(Family::Qwen3).write(Format::Directory, dir.path());
    change(&path);
    vocabulary(&path)
}

fn write(dir: &Path, name: &str, content: &serde_json::Value) {
    fs_err::write(dir.join(name), content.to_string()).unwrap();
}

#[test]
fn a_directorys_chat_template_is_found_wherever_transformers_looks_for_it() {
    let template = |change: fn(&Path)| directory_with(change).unwrap().chat_template().map(str::to_owned);
    let own = template(|dir| {
        fs_err::write(dir.join("chat_template.jinja"), "in its own file").unwrap();
        write(dir, "chat_template.json", &json!({ "chat_template": "in JSON" }));
    });
    assert_eq!(own.as_deref(), Some("in its own file"));
    let json_file = template(|dir| write(dir, "chat_template.json", &json!({ "chat_template": "in JSON" })));
    assert_eq!(json_file.as_deref(), Some("in JSON"));
    let named = template(|dir| {
        let both = json!([{ "name": "tool_use", "template": "tools" }, { "name": "default", "template": "plain" }]);
        write(dir, "tokenizer_config.json", &json!({ "eos_token": null, "chat_template": both }));
    });
    assert_eq!(named.as_deref(), Some("plain"));
    assert_eq!(template(|dir| fs_err::remove_file(dir.join("tokenizer_config.json")).unwrap()), None);
    let unnamed = json!({ "chat_template": [{ "name": "tool_use", "template": "tools" }] });
    let refused = directory_with(|dir| write(dir, "tokenizer_config.json", &unnamed));
    assert_refused(refused, "tokenizer_config.json is not a usable model file: key chat_template has no default");
}

#[test]
fn end_tokens_come_from_every_file_that_names_some() {
    let ends = |vocabulary: Vocabulary| (0..300).filter(|id| vocabulary.ends_turn(*id)).collect::<Vec<u32>>();
    let one = directory_with(|dir| write(dir, "generation_config.json", &json!({ "eos_token_id": 261 })));
    assert_eq!(ends(one.unwrap()), [0, 2, 261]);
    let none = directory_with(|dir| fs_err::remove_file(dir.join("generation_config.json")).unwrap());
    assert_eq!(ends(none.unwrap()), [0, 2]);
    let odd = directory_with(|dir| write(dir, "generation_config.json", &json!({ "eos_token_id": "</s>" })));
    assert_refused(odd, "generation_config.json is not a usable model file: key eos_token_id is not a token id");
}

#[test]
fn a_directory_without_a_usable_tokenizer_is_refused() {
    assert_refused(directory_with(|dir| fs_err::remove_file(dir.join("tokenizer.json")).unwrap()), "no tokenizer.json");
    assert_refused(directory_with(|dir| fs_err::write(dir.join("tokenizer.json"), "{").unwrap()), "not a JSON object");
    let wordpiece = directory_with(|dir| {
        let mut json = RandomModel::new(Family::Qwen3).tokenizer_json();
        json["decoder"] = json!({ "type": "WordPiece", "prefix": "##", "cleanup": true });
        write(dir, "tokenizer.json", &json);
    });
    assert_refused(wordpiece, "key decoder is made of [\"WordPiece\"]; supported: ByteLevel, Metaspace");
}

#[test]
fn a_directorys_sentencepiece_tokens_stand_for_spaces_and_bytes() {
    let vocabulary = directory_with(|dir| {
        let tokens = json!({ "<unk>": 0, "<s>": 1, "</s>": 2, "<0x78>": 3, "\u{2581}": 4, "a": 5, "\u{2581}a": 6 });
        let special = |id: u32, name: &str| {
            json!({ "id": id, "content": name, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": true })
        };
        let spaces = json!({ "String": "\u{2581}" });
        let content = json!({
            "version": "1.0", "truncation": null, "padding": null, "pre_tokenizer": null, "post_processor": null,
            "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
            "normalizer": { "type": "Sequence", "normalizers": [
                { "type": "Prepend", "prepend": "\u{2581}" },
                { "type": "Replace", "pattern": { "String": " " }, "content": "\u{2581}" },
            ]},
            "decoder": { "type": "Sequence", "decoders": [
                { "type": "Replace", "pattern": spaces, "content": " " }, { "type": "ByteFallback" },
                { "type": "Fuse" }, { "type": "Strip", "content": " ", "start": 1, "stop": 0 },
            ]},
            "model": { "type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
                "vocab": tokens, "merges": ["\u{2581} a"] },
        });
        write(dir, "tokenizer.json", &content);
    });
    let vocabulary = vocabulary.unwrap();
    assert_eq!(vocabulary.encode("a ax</s>").unwrap(), [6, 6, 3, 2]);
    assert_eq!(decoded(&vocabulary, &[6, 6, 3, 2]), b" a ax</s>");
}

#[test]
fn special_tokens_in_a_text_count_as_themselves_and_none_are_added() {
    let vocabulary = tiny_vocabulary();
    assert_eq!(vocabulary.encode("<|im_start|>a").unwrap(), [1, 3 + 97]);
    assert_eq!(vocabulary.encode("a").unwrap(), [3 + 97]);
}

#[test]
fn long_texts_are_tokenized_where_they_fit_and_refused_before_where_they_cannot() {
    for family in [Family::Llama, Family::Qwen2] {
        let dir = tempfile::tempdir().unwrap();
        let vocabulary = vocabulary(&RandomModel::new(family).write(Format::Gguf, dir.path())).unwrap();
        // Prose, one long word, spaces, letters that are composed before they are cut, markup.
        for part in ["the thing, he said. ", "x", " ", "e\u{301}", "<|im_start|>he"] {
            let text = part.repeat((70 << 10) / part.len() + 1);
            let ids = vocabulary.encode(&text).unwrap();
            assert_eq!(vocabulary.encode_within(&text, ids.len()).unwrap(), ids, "{family:?} {part:?}");
            let refused = vocabulary.encode_within(&text, ids.len() / 3).unwrap_err();
            assert!(refused.is_too_long() && refused.to_string().contains(&text.len().to_string()), "{refused}");
        }
        // These texts are rejected before anything is tokenized.
        assert!(vocabulary.encode_within(&"x".repeat(100 << 20), 4096).unwrap_err().is_too_long());
        assert!(!vocabulary.may_hold(100 << 20, 4096) && vocabulary.may_hold(100, 1));
    }
    // Markup that takes the spaces around it, and rules that shorten a text, raise the bound.
    let bound = |family| {
        let dir = tempfile::tempdir().unwrap();
        let vocabulary = vocabulary(&RandomModel::new(family).write(Format::Directory, dir.path())).unwrap();
        vocabulary.text_bytes_max(1 << 14)
    };
    assert_eq!((bound(Family::Qwen2), bound(Family::Llama)), (512 << 10, 13 << 14));
}
