//! Compares the matcher with serde_json as an independent reader, and checks that every text ends within its limit.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::testing::tiny_vocabulary;
use super::*;

fn matcher(schema: &Value) -> Matcher {
    Matcher::new(Arc::new(Grammar::compile(schema).unwrap()))
}

/// Returns whether the grammar accepts a text as an instance.
fn accepts(schema: &Value, text: &str) -> bool {
    let mut matcher = matcher(schema);
    matcher.advance(text.as_bytes()) && matcher.is_complete()
}

fn person() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 8},
            "age": {"type": "integer"},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1, "maxItems": 2},
            "note": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/note"}]}
        },
        "required": ["name", "tags"],
        "additionalProperties": false,
        "$defs": {"note": {"type": "object", "properties": {"next": {"$ref": "#/$defs/note"}}}}
    })
}

#[test]
fn instances_are_accepted_and_others_refused() {
    let schema = person();
    for text in [
        r#"{"age":3,"name":"Ann","tags":["a"]}"#,
        r#"{"name": "Ann", "tags": ["a", "b"]}"#,
        r#"{"name":"\u00e9\n","note":null,"tags":["b"]}"#,
        r#"{"name":"x","note":{"next":{}},"tags":["b"]}"#,
    ] {
        assert!(accepts(&schema, text), "{text}");
        assert!(serde_json::from_str::<Value>(text).is_ok());
    }
    for text in [
        "{}",
        r#"{"name":"Ann"}"#,
        r#"{"name":"","tags":["a"]}"#,
        r#"{"name":"ninechars","tags":["a"]}"#,
        r#"{"name":"Ann","tags":[]}"#,
        r#"{"name":"Ann","tags":["a","b","a"]}"#,
        r#"{"name":"Ann","tags":["c"]}"#,
        r#"{"name":"Ann","tags":["a"],}"#,
        r#"{"name":"Ann","tags":["a"],"other":1}"#,
        r#"{"tags":["a"],"name":"Ann"}"#,
        r#"{"name":"Ann","tags":["a",]}"#,
        r#"{"name":"Ann","tags":[,"a"]}"#,
        r#"{"name":"Ann","tags":["a""b"]}"#,
        r#"{  "name":"Ann","tags":["a"]}"#,
        r#"{"name":"Ann","tags":["a"]} "#,
        "[]",
    ] {
        assert!(!accepts(&schema, text), "{text}");
    }
}

#[test]
fn properties_come_in_the_order_of_the_schema_text() {
    let text = r#"{"type": "object", "properties": {"z": {"type": "null"}, "a": {"const": 1.5}}, "required": ["a"]}"#;
    let OrderedSchema(schema) = serde_json::from_str(text).unwrap();
    assert!(accepts(&schema, r#"{"z":null,"a":1.5}"#) && !accepts(&schema, r#"{"a":1.5,"z":null}"#));
}

#[test]
fn numbers_strings_and_ranges_are_json() {
    let number = json!({"type": "number"});
    for text in ["0", "-1", "10.5", "1e5", "1E-5", "0.001"] {
        assert!(accepts(&number, text), "{text}");
    }
    for text in ["01", "-", "1.", ".5", "+1", "1e", "0x1", "NaN", "1e999", "1 "] {
        assert!(!accepts(&number, text), "{text}");
    }
    assert!(accepts(&json!({"type": "integer"}), "12") && !accepts(&json!({"type": "integer"}), "1.2"));
    let grade = json!({"type": "integer", "minimum": -1, "maximum": 10});
    assert!(accepts(&grade, "10") && accepts(&grade, "-1") && !accepts(&grade, "11") && !accepts(&grade, "010"));
    let text = json!({"type": "string"});
    for good in ["\"\"", "\"a\\\"b\"", "\"\u{e9}\u{20ac}\u{1f600}\"", "\"\\ud7ff\""] {
        assert!(accepts(&text, good) && serde_json::from_str::<Value>(good).is_ok(), "{good}");
    }
    for bad in ["\"", "\"\n\"", "\"\\x\"", "\"\\ud800\"", "\"\\u12\"", "'a'"] {
        assert!(!accepts(&text, bad), "{bad}");
    }
    let mut broken = matcher(&text);
    assert!(!broken.advance(b"\"\xc3\x28"), "half a character");
    let any = json!({});
    assert!(accepts(&any, r#"{"a":[1,{"b":null}],"c":"d"}"#) && !accepts(&any, r#"{"a":}"#));
}

#[test]
fn what_cannot_be_followed_is_refused_by_name() {
    let refuse = |schema: Value| Grammar::compile(&schema).unwrap_err().to_string();
    assert!(refuse(json!({"type": "string", "pattern": "a+"})).contains("pattern is not supported"));
    assert!(refuse(json!({"properties": {"a": {"not": {}}}})).contains("#/properties/a: not"));
    assert!(refuse(json!({"$ref": "other.json"})).contains("leads out"));
    assert!(refuse(json!({"$ref": "#/$defs/x"})).contains("leads nowhere"));
    assert!(refuse(json!({"type": "float"})).contains("unknown"));
    assert!(refuse(json!({"type": "array", "minItems": 2, "items": false})).contains("no array"));
    assert!(refuse(json!({"type": "string", "minLength": 3, "maxLength": 2})).contains("above"));
    assert!(refuse(json!([])).contains("not a schema"));
    assert!(refuse(json!({"type": "integer", "minimum": 0, "maximum": 1024})).contains("1024"));
}

/// Writes a text token by token; `choices` picks among the allowed tokens.
fn written(schema: &Value, choices: &[usize], tokens_max: u32) -> String {
    let vocabulary = tiny_vocabulary();
    let trie = vocabulary.trie();
    let mut matcher = matcher(schema);
    let mut bytes = Vec::new();
    for (step, left) in (1..=tokens_max).rev().enumerate() {
        let allowed: Vec<u32> = matcher.allowed(trie, left).unwrap().tokens().collect();
        if allowed.is_empty() {
            break;
        }
        let token = allowed[choices[step % choices.len()] % allowed.len()];
        assert!(matcher.advance(vocabulary.token_bytes(token)));
        bytes.extend_from_slice(vocabulary.token_bytes(token));
        if matcher.is_finished() {
            break;
        }
    }
    assert!(matcher.is_complete(), "{}", String::from_utf8_lossy(&bytes));
    String::from_utf8(bytes).unwrap()
}

proptest! {
    #[test]
    fn every_text_is_an_instance_and_ends_within_its_limit(
        choices in proptest::collection::vec(0_usize..1000, 1..60), spare in 0_u32..300,
    ) {
        for schema in [person(), json!({"type": "object"}), json!({}), json!({"type": "array", "minItems": 3})] {
            let least = Grammar::compile(&schema).unwrap().tokens_min();
            let text = written(&schema, &choices, least + spare);
            prop_assert!(serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
            prop_assert!(accepts(&schema, &text));
        }
    }
}

#[test]
fn sets_far_from_the_limit_are_kept_and_the_same_as_fresh_ones() {
    let vocabulary = tiny_vocabulary();
    let (schema, trie) = (json!({"type": "string", "maxLength": 100_000}), vocabulary.trie());
    let mut matcher = matcher(&schema);
    matcher.advance(b"\"ab");
    let first = matcher.allowed(trie, 50_000).unwrap();
    matcher.advance(b"c");
    assert!(Arc::ptr_eq(&first, &matcher.allowed(trie, 50_000).unwrap()), "one more character changes nothing");
    let walk = Walk::new(&matcher.grammar.rules, Limit::None, STEP_WORK_MAX);
    let (fresh, _) = walk.tokens(trie, &matcher.below, &matcher.top).unwrap();
    assert_eq!(*first, fresh);
}
