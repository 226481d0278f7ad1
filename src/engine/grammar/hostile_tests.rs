//! Schemas designed to crash, stall or exhaust the program: each is rejected with a short error, or followed within
//! bounds.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::testing::tiny_vocabulary;
use super::*;

fn refusal(schema: &Value) -> String {
    let error = Grammar::compile(schema).expect_err("the schema is refused").to_string();
    assert!(error.len() < 1000, "a short error, not one of {} bytes", error.len());
    error
}

fn start(schema: &Value) -> Matcher {
    Matcher::new(Arc::new(Grammar::compile(schema).unwrap()))
}

/// Builds a schema with `$defs` named `0`, `1`, ... that refers to the first definition.
fn definitions(each: impl IntoIterator<Item = Value>) -> Value {
    let defs: Map<String, Value> =
        each.into_iter().enumerate().map(|(index, schema)| (index.to_string(), schema)).collect();
    json!({"$defs": defs, "$ref": "#/$defs/0"})
}

fn reference(index: usize) -> Value {
    json!({"$ref": format!("#/$defs/{index}")})
}

#[test]
fn a_schema_that_refers_to_itself_without_a_byte_in_between_is_refused_by_name() {
    let any_of = json!({"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "null"}]}}, "$ref": "#/$defs/a"});
    assert!(refusal(&any_of).contains("#/$defs/a -> #/$defs/a"), "{}", refusal(&any_of));
    assert!(refusal(&json!({"$ref": "#"})).contains("refers to itself"));
    let behind = json!({"anyOf": [{"type": "null"}, {"oneOf": [{"type": "string"}, {"allOf": [{"$ref": "#"}]}]}]});
    assert!(refusal(&behind).contains("# -> #"));
    // A ring of several definitions that does not contain the root.
    let ring = definitions([
        json!({"type": "array", "items": reference(1)}),
        json!({"anyOf": [{"type": "null"}, reference(2)]}),
        json!({"allOf": [reference(3)]}),
        reference(1),
    ]);
    assert!(refusal(&ring).contains("#/$defs/1 -> #/$defs/2 -> #/$defs/3 -> #/$defs/1"), "{}", refusal(&ring));
    let long = definitions((0..3000).map(|index| reference((index + 1) % 3000)));
    assert!(refusal(&long).contains("refers to itself"));
    // A ring that takes at least one byte per round describes a tree.
    let tree = json!({"anyOf": [{"type": "null"}, {"type": "array", "items": {"$ref": "#"}}]});
    assert!(start(&tree).advance(b"[[null,[]],null]"));
}

#[test]
fn a_chain_of_references_costs_no_stack() {
    let chain = |length: usize, last: Value| {
        definitions((0..length).map(|index| if index + 1 < length { reference(index + 1) } else { last.clone() }))
    };
    let mut matcher = start(&chain(2000, json!({"const": 7})));
    assert!(matcher.advance(b"7") && matcher.is_complete());
    assert!(refusal(&chain(100_000, json!(true))).contains("more than 4096 parts"));
    // A chain of the same length through parts that are not choices.
    let nested = (0..1500).map(|index| match index % 3 {
        _ if index == 1499 => json!(true),
        0 => json!({"type": "array", "prefixItems": [reference(index + 1)], "items": false, "minItems": 1}),
        1 => json!({"properties": {"a": reference(index + 1)}, "required": ["a"]}),
        _ => json!({"anyOf": [reference(index + 1), {"type": "null"}]}),
    });
    let grammar = Grammar::compile(&definitions(nested)).unwrap();
    assert!(grammar == grammar && grammar.tokens_min() > 4);
    let mut deep = json!({"type": "null"});
    for _ in 0..100 {
        deep = json!({"type": "array", "items": deep});
    }
    assert!(refusal(&deep).contains("nested deeper than 64"));
    let mut literal = json!(1);
    for _ in 0..100 {
        literal = json!([literal]);
    }
    assert!(refusal(&json!({"const": literal})).contains("nested deeper than 64"));
}

#[test]
fn diamonds_and_wide_choices_do_not_multiply() {
    // Each definition refers twice to the next one: 2^40 ways, one alternative.
    let diamond = (0..41).map(|index| match index {
        40 => json!({"type": "string"}),
        _ => json!({"anyOf": [reference(index + 1), {"allOf": [reference(index + 1)]}]}),
    });
    let mut matcher = start(&definitions(diamond));
    assert!(matcher.advance(b"\"x") && matcher.top.len() == 1);
    // The same with an object at each crossing: 2^n ways through the text, two items at each level.
    let crossing = json!({
        "$defs": {"a": {
            "properties": {"a": {"$ref": "#/$defs/a"}, "b": {"$ref": "#/$defs/a"}},
            "additionalProperties": {"$ref": "#/$defs/a"},
        }},
        "$ref": "#/$defs/a",
    });
    let mut matcher = start(&crossing);
    for _ in 0..200 {
        assert!(matcher.advance(b"{\"a\":"));
        assert!(matcher.top.len() <= 4 && matcher.below.iter().all(|level| level.waiting.len() <= 4));
    }
    assert!(matcher.needed() == 202);
    // Many alternatives with the same beginning, at each level.
    let alike = (0..120).map(|index| json!({"type": "array", "items": {"$ref": "#"}, "minItems": index}));
    let mut matcher = start(&json!({"anyOf": alike.collect::<Vec<_>>()}));
    for _ in 0..50 {
        assert!(matcher.advance(b"[") && matcher.top.len() <= 120);
    }
    let set = matcher.allowed(tiny_vocabulary().trie(), 100_000).unwrap();
    assert!(!set.is_empty());
}

#[test]
fn sizes_of_schemas_are_bounded_before_they_are_compiled() {
    let many = |count: usize, each: &dyn Fn(usize) -> Value| (0..count).map(each).collect::<Vec<Value>>();
    let nulls = many(20_000, &|_| json!({"type": "null"}));
    let names: Map<String, Value> = (0..20_000).map(|index| (format!("p{index}"), json!(true))).collect();
    let long = "x".repeat(2 << 20);
    for (schema, what) in [
        (json!({"anyOf": nulls}), "properties, alternatives and entries"),
        (json!({"prefixItems": nulls}), "properties, alternatives and entries"),
        (json!({"properties": names}), "properties, alternatives and entries"),
        (
            json!({"type": "object", "required": names.keys().collect::<Vec<_>>()}),
            "properties, alternatives and entries",
        ),
        (json!({"anyOf": many(5000, &|_| json!({"type": "null"}))}), "more than 4096 parts"),
        (json!({"enum": many(70_000, &|index| json!(index))}), "values of enum and const"),
        (json!({"const": many(20_000, &|_| json!([]))}), "parts"),
        (json!({"const": long}), "bytes"),
        (json!({"enum": [long]}), "bytes"),
        (json!({"type": "object", "required": [long]}), "bytes"),
        (json!({"$ref": format!("#/{long}")}), "leads nowhere"),
        (json!({ "type": long }), "unknown"),
        (json!({ long.clone(): 1 }), "not supported"),
        (json!(long), "is not a schema"),
        (json!({"minItems": 1_000_000_000, "type": "array"}), "expected a whole number"),
        (json!({"minLength": 1e300, "type": "string"}), "expected a whole number"),
        (json!({"maxItems": -1, "type": "array"}), "expected a whole number"),
    ] {
        assert!(refusal(&schema).contains(what), "{}", refusal(&schema));
    }
    // Nested unions, each of them wide: more alternatives than nodes.
    let wide = (0..300).map(|index| match index {
        299 => json!({"enum": [1]}),
        _ => json!({"anyOf": [reference(index + 1), {"type": "array", "minItems": index}]}),
    });
    assert!(refusal(&definitions(wide)).contains("alternatives once its references are followed"));
    let kinds = json!({"type": many(50_000, &|_| json!("object")), "properties": {"a": true}});
    assert!(start(&kinds).advance(b"{\"a\":1}"), "a type that is named again is no other");
}

#[test]
fn lengths_that_multiply_beyond_any_text_are_refused() {
    let million = json!({"type": "string", "minLength": 1 << 20});
    let items = |items: Value| json!({"type": "array", "minItems": 1 << 20, "items": items});
    assert_eq!(Grammar::compile(&million).unwrap().tokens_min(), (1 << 20) + 2);
    for schema in [
        items(million.clone()),
        items(items(items(items(json!(true))))),
        json!({"type": "array", "minItems": 1, "items": {"$ref": "#"}}),
    ] {
        assert!(refusal(&schema).contains("no text is an instance"));
    }
    let optional = json!({"properties": {"a": items(million), "b": true, "c": {"$ref": "#/$defs/c"}},
        "$defs": {"c": {"properties": {"c": {"$ref": "#/$defs/c"}}, "required": ["c"]}}});
    let matcher = start(&optional);
    for (text, goes_on) in [("{\"b\":1}", true), ("{\"a", false), ("{\"b\":1,", false), ("{\"c", false)] {
        assert_eq!(matcher.clone().advance(text.as_bytes()), goes_on, "{text}");
    }
}

#[test]
fn schemas_are_read_by_position_and_not_by_name() {
    let read = |text: &str| serde_json::from_str::<OrderedSchema>(text).unwrap().0;
    let named = read(
        r#"{"properties": {"properties": {"type": "null"}, "const": {"properties": {"b": {}, "a": {}}}, "$ref": {"const": 1}}}"#,
    );
    assert!(start(&named).advance(br#"{"properties":null,"const":{"b":1,"a":2},"$ref":1}"#));
    let literal = read(r#"{"const": {"properties": {"z": 1, "a": {"properties": [], "enum": 2}}, "$ref": "x"}}"#);
    let mut matcher = start(&literal);
    let text = br#"{"$ref":"x","properties":{"a":{"enum":2,"properties":[]},"z":1}}"#;
    assert!(matcher.advance(text) && matcher.is_finished());
    assert!(!start(&literal).advance(b"{ "), "literals are written without spaces");
    let nul = read(r#"{"properties": {"\u0000order": {"const": {"\u0000order": [1], "b": 2}}, "a": {}}}"#);
    assert!(start(&nul).advance(br#"{"\u0000order":{"\u0000order":[1],"b":2},"a":0}"#));
    assert!(refusal(&read(r#"{"\u0000order": ["a"], "properties": {}}"#)).contains("not supported"));
    let definition = read(r##"{"$defs": {"properties": {"enum": ["b", "a"]}}, "$ref": "#/$defs/properties"}"##);
    assert!(start(&definition).advance(b"\"b\""));
    let mixed = json!({"enum": [1, 12, "1", [1, {"a": null}], {"a": []}, true]});
    for text in ["1", "12", "\"1\"", "[1,{\"a\":null}]", "{\"a\":[]}", "true"] {
        let mut matcher = start(&mixed);
        assert!(matcher.advance(text.as_bytes()) && matcher.is_complete(), "{text}");
        assert_eq!(matcher.is_finished(), text != "1", "{text}");
    }
    for text in ["13", "123", "[1]", "{}", "tru "] {
        let mut matcher = start(&mixed);
        assert!(!(matcher.advance(text.as_bytes()) && matcher.is_complete()), "{text}");
    }
}

#[test]
fn a_text_that_holds_too_many_open_levels_is_an_error_of_its_own() {
    let alike = (0..2000).map(|index| json!({"type": "array", "items": {"$ref": "#"}, "maxItems": index + 1}));
    let mut matcher = start(&json!({"anyOf": alike.collect::<Vec<_>>()}));
    let vocabulary = tiny_vocabulary();
    assert!(matcher.allowed(vocabulary.trie(), 100_000).is_ok());
    assert!(matcher.advance(&[b'['; 200]));
    assert_eq!(matcher.allowed(vocabulary.trie(), 100_000), Err(TooComplex));
    assert!(!matcher.is_finished() && !matcher.is_complete());
}

/// An array of objects that no text distinguishes: each has a number, and may have a property with a long name.
fn alike(count: usize, name: usize) -> Value {
    let one = json!({
        "type": "object",
        "properties": {"a": {"type": "number"}, "k".repeat(name): {"type": "null"}},
        "required": ["a"],
    });
    json!({"type": "array", "items": {"anyOf": vec![one; count]}})
}

#[test]
fn closing_a_number_costs_as_much_as_it_has_ways_and_not_their_square() {
    let vocabulary = tiny_vocabulary();
    let work = |count: usize, limit: Limit| {
        let mut matcher = start(&alike(count, 1));
        assert!(matcher.advance(b"[{\"a\":1") && matcher.top.len() == count);
        let [.., level] = matcher.below.as_slice() else { panic!("no level") };
        let nodes = machine::completed(&matcher.grammar.rules, &matcher.top);
        let mut closing = 0;
        assert_eq!(machine::closed(&matcher.grammar.rules, &level.waiting, &nodes, &mut closing).len(), count);
        assert!((count..=4 * count).contains(&closing), "{closing} for {count}");
        let walk = Walk::new(&matcher.grammar.rules, limit, usize::MAX);
        walk.tokens(vocabulary.trie(), &matcher.below, &matcher.top).unwrap().1
    };
    for limit in [Limit::None, Limit::Needed(100)] {
        let (some, twice) = (work(300, limit), work(600, limit));
        assert!(some > 300 && twice < 5 * some / 2, "{some} and {twice}");
    }
}

#[test]
fn a_value_that_many_properties_may_be_is_looked_at_once() {
    // 1000 objects, each with its own choice that leads to the same 1000 alternatives.
    let wide = json!({"anyOf": vec![json!({"type": "array", "maxItems": 1}); 1000]});
    let one = json!({"properties": {"a": {"anyOf": [{"$ref": "#/$defs/wide"}]}}});
    let mut matcher = start(&json!({"$defs": {"wide": wide}, "anyOf": vec![one; 1000]}));
    assert!(matcher.advance(b"{\"a\":") && matcher.top.len() == 1000);
    let mut work = 0;
    machine::step(&matcher.grammar.rules, &matcher.top, b'[', &mut work);
    assert!((2000..10_000).contains(&work), "{work}");
}

#[test]
fn a_text_whose_every_step_is_work_fails_and_one_of_the_usual_kind_does_not() {
    let vocabulary = tiny_vocabulary();
    let mut matcher = start(&alike(1000, 1000));
    assert_eq!(matcher.work_left, TEXT_WORK_MAX);
    assert!(matcher.advance(b"["));
    // A small budget, so that the test needs few steps.
    matcher.work_left = 1 << 19;
    let mut steps = 0;
    while matcher.allowed(vocabulary.trie(), 500).is_ok() {
        steps += 1;
        assert!(steps < 10 && matcher.advance(b"{\"a\":1},"));
    }
    assert!(steps > 0 && matcher.work_left < STEP_WORK_MAX && !matcher.is_finished());
    let mut other = start(&alike(1000, 1000));
    assert!(other.advance(b"[") && other.allowed(vocabulary.trie(), 500).is_ok(), "it fails alone");
    // Cheap steps never raise the budget above its initial value.
    let usual = json!({"type": "array", "items": {
        "properties": {"name": {"type": "string"}, "tags": {"items": {"enum": ["a", "b"]}}, "k".repeat(1000): {}},
        "required": ["name"],
    }});
    let mut matcher = start(&usual);
    assert!(matcher.advance(b"["));
    for _ in 0..30 {
        assert!(
            matcher.allowed(vocabulary.trie(), 500).is_ok() && matcher.advance(b"{\"name\":\"x\",\"tags\":[\"a\"]},")
        );
    }
    assert!(matcher.work_left > TEXT_WORK_MAX - TOKEN_WORK_MAX && matcher.work_left <= TEXT_WORK_MAX);
}

#[test]
fn long_names_that_are_required_keep_no_set_from_being_used_again() {
    let vocabulary = tiny_vocabulary();
    let name = "k".repeat(300);
    let schema = json!({"properties": {"a": {"type": "string"}, &name: {"type": "null"}}, "required": ["a", name]});
    let mut matcher = start(&schema);
    assert!(matcher.far(vocabulary.trie()) < matcher.needed() + 10);
    assert!(matcher.advance(b"{\"a\":\"x"));
    let left = matcher.needed() + 10;
    let first = matcher.allowed(vocabulary.trie(), left).unwrap();
    assert!(matcher.advance(b"y") && Arc::ptr_eq(&first, &matcher.allowed(vocabulary.trie(), left).unwrap()));
}

#[test]
fn an_object_within_an_optional_value_still_ends_within_the_limit() {
    // Each optional `a` begins before the required property after it is present.
    let schema = json!({
        "properties": {"a": {"$ref": "#"}, "b": {"type": "string", "minLength": 30}, "k".repeat(300): {"type": "null"}},
        "required": ["b"],
    });
    let grammar = Grammar::compile(&schema).unwrap();
    for spare in [0, 20, 45, 100, 400] {
        let text: Vec<u8> =
            serde_json::to_vec(&schema).unwrap().into_iter().chain([spare as u8]).chain([7; 50]).collect();
        fuzz::grammar(&text);
        assert!(grammar.tokens_min() + spare > 30);
    }
}

/// Schemas of all kinds with arbitrary references among each other.
fn schemas() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        3 => (0..6_usize).prop_map(reference),
        1 => Just(json!({"$ref": "#"})),
        1 => Just(json!(true)),
        1 => (0..4_u32, 0..5_u32).prop_map(|(min, more)| json!({"type": "string", "minLength": min, "maxLength": min + more})),
        1 => Just(json!({"type": ["integer", "null", "string"]})),
        1 => prop::collection::vec(prop_oneof![
            Just(json!(1)), Just(json!(12)), Just(json!("a")), Just(json!("ab")), Just(json!([1, {"a": []}])), Just(json!({"a": 1})), Just(json!(true)),
        ], 1..4).prop_map(|values| json!({"enum": values})),
        1 => (-3..3_i32, 0..20_i32).prop_map(|(low, more)| json!({"type": "integer", "minimum": low, "maximum": low + more})),
    ];
    let schema = leaf.prop_recursive(3, 24, 4, |inner| {
        let list = prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            2 => list.clone().prop_map(|list| json!({"anyOf": list})),
            1 => inner.clone().prop_map(|one| json!({"allOf": [one]})),
            2 => (list, prop::collection::vec(any::<bool>(), 3), prop::option::of(inner.clone())).prop_map(object),
            2 => (inner.clone(), prop::collection::vec(inner, 0..3), 0..4_u32, prop::option::of(0..4_u32)).prop_map(
                |(items, prefix, min, more)| {
                    let mut schema = json!({"type": "array", "items": items, "prefixItems": prefix, "minItems": min});
                    more.into_iter().for_each(|more| schema["maxItems"] = json!(min + more));
                    schema
                }
            ),
        ]
    });
    prop::collection::vec(schema, 1..6).prop_map(definitions)
}

fn object((properties, required, additional): (Vec<Value>, Vec<bool>, Option<Value>)) -> Value {
    let names = ["a", "aa", "b"];
    let described: Map<String, Value> = names.iter().map(|name| (*name).to_owned()).zip(properties).collect();
    let required: Vec<&str> =
        names.into_iter().zip(required).filter_map(|(name, is_it)| is_it.then_some(name)).collect();
    let mut schema = json!({"type": "object", "properties": described, "required": required});
    additional.into_iter().for_each(|additional| schema["additionalProperties"] = additional);
    schema
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_schema_is_refused_or_followed_within_its_bounds(
        schema in schemas(), choices in prop::collection::vec(any::<u8>(), 1..80),
    ) {
        let mut bytes = serde_json::to_vec(&schema).unwrap();
        bytes.extend(choices);
        fuzz::grammar(&bytes);
    }
}
