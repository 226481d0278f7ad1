use super::super::InputOptions;
use super::super::choices::Reading;
use super::super::fields::EXCERPT_CHARS;
use super::*;

/// Reads a row of a file whose answers are letters.
fn parse(text: &str, options: &InputOptions) -> (Head, Result<Body, Fault>) {
    parse_row(text, &Shape::plain(options), FileAnswers::of(Reading::Letter))
}

fn body(text: &str) -> Body {
    parse(text, &InputOptions::default()).1.unwrap()
}

fn fault(text: &str) -> Fault {
    parse(text, &InputOptions::default()).1.unwrap_err()
}

#[track_caller]
fn assert_fault(text: &str, reason: ExclusionReason, detail_part: &str) {
    let fault = fault(text);
    assert_eq!(fault.reason, reason, "{text}: {}", fault.detail);
    assert!(fault.detail.contains(detail_part), "{text}: {}", fault.detail);
}

#[test]
fn a_full_row_is_read_and_the_question_is_trimmed() {
    let text = r#"{"id":"x","question":" Q? \n","answer":" 4 ","kind":"numeric","source":"set","other":[1,{}]}"#;
    let (head, body) = parse(text, &InputOptions::default());
    assert_eq!(head, Head { id: Some("x".to_owned()), source: Some("set".to_owned()), ..Head::default() });
    let body = body.unwrap();
    assert_eq!((body.kind, body.question.as_str(), body.gold.as_str()), (Kind::Numeric, "Q?", "4"));
}

#[test]
fn text_that_is_no_json_object_is_refused_with_what_it_is() {
    use ExclusionReason::{InvalidSyntax, WrongType};
    assert_fault(r#"{"question":"a"#, InvalidSyntax, "ends too early at column 14");
    assert_fault(r#"{"question":}"#, InvalidSyntax, "column 13");
    assert_fault(r#"{"question":"a"} x"#, InvalidSyntax, "column 18");
    assert_fault("not json", InvalidSyntax, "not valid JSON");
    assert_fault(r#"["a"]"#, WrongType, "a list ([\"a\"])");
    assert_fault("5", WrongType, "a number (5)");
    assert_fault("null", WrongType, "null");
    assert_fault(r#"{"question":"\ud800","answer":"1"}"#, InvalidSyntax, "`question`");
    assert_fault(&"[".repeat(100_000), InvalidSyntax, "ends too early");
}

#[test]
fn a_question_must_be_a_string_that_is_not_blank() {
    use ExclusionReason::{MissingField, WrongType};
    assert_fault(r#"{"answer":"1"}"#, MissingField, "`question` is absent");
    assert_fault(r#"{"question":null,"answer":"1"}"#, MissingField, "`question` is absent");
    assert_fault(r#"{"question":" \n","answer":"1"}"#, MissingField, "`question` is empty");
    assert_fault(r#"{"question":12,"answer":"1"}"#, WrongType, "`question` is a number (12), expected a string");
    assert_fault(r#"{"question":["a","b"],"answer":"1"}"#, WrongType, "a list");
    assert_eq!(body(r#"{"question":["a"],"answer":"1"}"#).question, "a");
}

#[test]
fn numbers_as_answers_are_kept_as_they_are_written() {
    for number in ["1.50", "-0", "1e3", "123456789012345678901234567890", "0.1000"] {
        assert_eq!(body(&format!(r#"{{"question":"q","answer":{number}}}"#)).gold, number);
    }
    assert_eq!(body(r#"{"question":"q","answer":[1.50]}"#).gold, "1.50");
    assert_eq!(body(r#"{"question":"q","answer":true}"#).gold, "true");
    assert_fault(r#"{"question":"q","answer":["1","2"]}"#, ExclusionReason::WrongType, "2 different answers");
    assert_fault(r#"{"question":"q","answer":{"unit":"cm"}}"#, ExclusionReason::WrongType, "an object of unit");
}

#[test]
fn a_gold_may_be_empty_only_for_code_with_tests() {
    use ExclusionReason::MissingGold;
    assert_fault(r#"{"question":"q"}"#, MissingGold, "`answer` is absent");
    assert_fault(r#"{"question":"q","answer":" "}"#, MissingGold, "`answer` is empty");
    assert_fault(r#"{"question":"q","kind":"code","tests":[]}"#, MissingGold, "or tests");
    assert_fault(r#"{"question":"q","kind":"code","tests":[" "]}"#, MissingGold, "or tests");
    assert_fault(r#"{"question":"q","kind":"math","tests":["t"]}"#, MissingGold, "absent");
    let code = body(r#"{"question":"q","kind":"code","tests":["t"]}"#);
    assert_eq!((code.gold.as_str(), code.tests), ("", vec!["t".to_owned()]));
    assert_eq!(body(r#"{"question":"q","kind":"code","answer":"    return 1\n"}"#).gold, "    return 1\n");
}

#[test]
fn tests_are_a_list_of_strings_or_objects_or_one_of_them() {
    assert_eq!(body(r#"{"question":"q","kind":"code","tests":"assert f()"}"#).tests, ["assert f()"]);
    assert_eq!(body(r#"{"question":"q","kind":"code","tests":["a","b"]}"#).tests, ["a", "b"]);
    assert_fault(r#"{"question":"q","kind":"code","tests":5}"#, ExclusionReason::WrongType, "or one of them");
    assert_fault(r#"{"question":"q","kind":"code","tests":["a",5]}"#, ExclusionReason::WrongType, "a number (5)");
    let streams = r#"{"input": "1", "output": 2}"#;
    assert_eq!(body(&format!(r#"{{"question":"q","kind":"code","tests":[{streams}]}}"#)).tests, [streams]);
    assert_eq!(body(&format!(r#"{{"question":"q","kind":"code","tests":{streams}}}"#)).tests, [streams]);
    // Nested values go to the verifier unchanged.
    let listed = r#"["assert f() == 1", "assert f() != 2"]"#;
    assert_eq!(body(&format!(r#"{{"question":"q","kind":"code","tests":[{listed}, null, ""]}}"#)).tests, [listed]);
    for written in ["['assert f() == 1' 'assert f() != 2']", "['assert f() == 1', 'assert f() != 2']"] {
        let row = body(&format!(r#"{{"question":"q","kind":"code","tests":"{written}"}}"#));
        assert_eq!(row.tests, ["assert f() == 1", "assert f() != 2"]);
    }
    for kept in ["[assert f() == 1]", "[1, 2]", "assert f(['a']) == 1", "['a'] + f()"] {
        assert_eq!(body(&format!(r#"{{"question":"q","kind":"code","tests":"{kept}"}}"#)).tests, [kept]);
    }
}

#[test]
fn what_tests_need_is_optional_and_kept_only_for_code() {
    let row = |kind: &str| {
        let fields = r#""tests":["t"],"test_imports":["import math",""],"entry_point":" f ""#;
        body(&format!(r#"{{"question":"q","answer":"1","kind":"{kind}",{fields}}}"#))
    };
    let code = row("code");
    assert_eq!((code.test_imports, code.entry_point.as_deref()), (vec!["import math".to_owned()], Some("f")));
    for imports in ["\"import re\"", "\"['import re']\"", r#""[\"import re\"]""#, "[\"import re\"]"] {
        let row = format!(r#"{{"question":"q","tests":["t"],"test_imports":{imports}}}"#);
        assert_eq!(body(&row).test_imports, ["import re"], "{imports}");
    }
    let math = row("math");
    assert!(math.test_imports.is_empty() && math.entry_point.is_none());
    assert_fault(r#"{"question":"q","tests":["t"],"entry_point":1}"#, ExclusionReason::WrongType, "`entry_point`");
}

#[test]
fn the_kind_is_the_one_set_for_all_else_the_rows_own_else_a_guess() {
    let guess = |rest: &str| body(&format!(r#"{{"question":"q","answer":"A"{rest}}}"#)).kind;
    assert_eq!(guess(""), Kind::Math);
    assert_eq!(guess(r#","kind":"","choices":[],"tests":[]"#), Kind::Math);
    assert_eq!(guess(r#","choices":["x","y"]"#), Kind::Choice);
    assert_eq!(guess(r#","choices":{"text":["x","y"],"label":["A","B"]}"#), Kind::Choice);
    assert_eq!(guess(r#","choices":{"text":[],"label":[]}"#), Kind::Math);
    assert_eq!(guess(r#","choices":"[]""#), Kind::Math);
    assert_eq!(guess(r#","tests":["x"]"#), Kind::Code);
    assert_eq!(guess(r#","kind":"text","choices":["x","y"]"#), Kind::Text);
    assert_eq!(guess(r#","kind":"multiple_choice","choices":["x","y"]"#), Kind::Choice);
    assert_eq!(guess(r#","kind":"integer""#), Kind::Numeric);
    let known = "expected one of: math, numeric, choice, text, code";
    assert_fault(r#"{"question":"q","answer":"1","kind":"essay"}"#, ExclusionReason::UnknownKind, known);
    assert_fault(r#"{"question":"q","answer":"1","kind":"Math"}"#, ExclusionReason::UnknownKind, known);
    assert_fault(r#"{"question":"q","answer":"1","kind":3}"#, ExclusionReason::WrongType, "`kind`");
    let options = InputOptions { kind: Some(Kind::Text), ..InputOptions::default() };
    let (_, set) = parse(r#"{"question":"q","answer":"1","kind":"essay"}"#, &options);
    assert_eq!(set.unwrap().kind, Kind::Text);
}

#[test]
fn choices_and_tests_are_kept_only_for_their_kind() {
    let row = body(r#"{"question":"q","answer":"1","kind":"math","choices":["a","b"],"tests":["t"]}"#);
    assert!(row.choices.is_empty() && row.tests.is_empty());
}

fn choice_row(gold: &str, count: usize) -> String {
    let choices: Vec<String> = (0..count).map(|index| format!("\"text {index}\"")).collect();
    format!(r#"{{"question":"q","kind":"choice","answer":{gold},"choices":[{}]}}"#, choices.join(","))
}

#[test]
fn two_to_26_choices_are_accepted() {
    assert_eq!(body(&choice_row("\"B\"", 2)).gold, "B");
    assert_eq!(body(&choice_row("\"z\"", 26)).gold, "Z");
    assert_fault(&choice_row("\"A\"", 1), ExclusionReason::InvalidValue, "holds 1 choices, expected 2 to 26");
    assert_fault(&choice_row("\"A\"", 27), ExclusionReason::InvalidValue, "holds 27 choices");
    assert_fault(r#"{"question":"q","kind":"choice","answer":"A"}"#, ExclusionReason::MissingField, "`choices`");
    assert_eq!(body(r#"{"question":"q","kind":"choice","answer":"B","choices":["a",2]}"#).choices, ["a", "2"]);
    for choices in ["[\"a\",null]", "\"a\"", "{}", "[[\"a\"],\"b\"]", "5"] {
        let row = format!(r#"{{"question":"q","kind":"choice","answer":"A","choices":{choices}}}"#);
        assert_fault(&row, ExclusionReason::WrongType, "`choices`");
    }
}

fn gold_under(reading: Reading, gold: &str, choices: &str) -> Result<String, Fault> {
    let row = format!(r#"{{"question":"q","kind":"choice","answer":{gold},"choices":{choices}}}"#);
    parse_row(&row, &Shape::default(), FileAnswers::of(reading)).1.map(|body| body.gold)
}

#[test]
fn a_choice_gold_becomes_its_letter_under_the_reading_of_its_file() {
    use Reading::{Index0, Index1, Letter, Text};
    for (reading, gold, choices, letter) in [
        (Letter, "\" b \"", "[\"x\",\"y\"]", "B"),
        (Letter, "\"(B)\"", "[\"x\",\"y\"]", "B"),
        (Letter, "\"C\"", "[\"C\",\"x\",\"y\"]", "C"),
        (Letter, "\"a\"", "[\"x\",\"a\"]", "A"),
        (Text, "\"a\"", "[\"x\",\"a\"]", "B"),
        (Text, "\"y z\"", "[\"x\",\" y z \"]", "B"),
        (Text, "3", "[\"4\",\"3\"]", "B"),
        (Text, "3", "[4, 3]", "B"),
        (Text, "\"same\"", "[\"x\",\"same\",\"same\"]", "B"),
        (Index0, "1", "[\"2\",\"1\",\"0\"]", "B"),
        (Index1, "1", "[\"2\",\"1\",\"0\"]", "A"),
        (Index0, "\"0\"", "[\"x\",\"y\"]", "A"),
        (Index1, "2.0", "[\"x\",\"y\"]", "B"),
        (Letter, "\"2\"", r#"{"text":["4","6"],"label":["1","2"]}"#, "B"),
        (Text, "6", r#"{"text":["4","6"],"label":["1","2"]}"#, "B"),
    ] {
        assert_eq!(gold_under(reading, gold, choices).unwrap(), letter, "{reading:?} {gold} {choices}");
    }
}

#[test]
fn a_choice_gold_that_names_none_excludes_its_row_and_one_of_another_reading_stops_the_file() {
    use Reading::{Index0, Index1, Letter, Text};
    for (reading, gold, choices, part) in [
        (Letter, "\"C\"", "[\"x\",\"y\"]", "names no choice, expected the letter of a choice, of which there are 2"),
        (Letter, "\"-\"", "[\"x\",\"y\"]", "names no choice"),
        (Index0, "7", "[\"x\",\"y\"]", "names no choice"),
        (Index1, "-1", "[\"x\",\"y\"]", "names no choice"),
        (Text, "\"SAME\"", "[\"same\",\"Same\"]", "stands for several choices"),
        (Letter, "\"1\"", r#"{"text":["a","b"],"label":["1","1"]}"#, "stands for several choices"),
    ] {
        let fault = gold_under(reading, gold, choices).unwrap_err();
        assert_eq!((fault.reason, &fault.scope), (ExclusionReason::InvalidValue, &Scope::Gold), "{}", fault.detail);
        assert!(fault.detail.contains(part), "{}", fault.detail);
    }
    for (reading, gold, choices, part) in [
        (
            Letter,
            "1",
            "[\"x\",\"y\"]",
            "the number of a choice, counted from 0 (B), or the number of a choice, counted from 1 (A)",
        ),
        (Letter, "\"y\"", "[\"x\",\"y\"]", "the text of a choice (B)"),
        (Index0, "2", "[\"x\",\"y\"]", "the number of a choice, counted from 1 (B)"),
        (Index1, "0", "[\"x\",\"y\"]", "the number of a choice, counted from 0 (A)"),
        (Text, "\"B\"", "[\"x\",\"y\"]", "the letter of a choice (B)"),
    ] {
        let fault = gold_under(reading, gold, choices).unwrap_err();
        let Scope::File(Contradiction { found, .. }) = &fault.scope else { panic!("{fault:?}") };
        assert_eq!(found, part);
    }
}

#[test]
fn ids_are_scalars_and_survive_a_bad_row() {
    let id = |id: &str| parse(&format!(r#"{{"id":{id},"question":"q","answer":"1"}}"#), &InputOptions::default());
    assert_eq!(id("\"a b\"").0.id.as_deref(), Some("a b"));
    assert_eq!(id("-7").0.id.as_deref(), Some("-7"));
    assert_eq!(id("\" \"").0.id, None);
    assert_eq!(id("null").0.id, None);
    for written in ["1.5", "1e3", "true", "123456789012345678901234567890"] {
        assert_eq!(id(written).0.id.as_deref(), Some(written));
    }
    for bad in ["[1]", "{}"] {
        let (head, body) = id(bad);
        assert_eq!((head.id, body.unwrap_err().reason), (None, ExclusionReason::WrongType), "{bad}");
    }
    let (head, body) = parse(r#"{"id":3,"source":"s","question":""}"#, &InputOptions::default());
    assert_eq!(head, Head { id: Some("3".to_owned()), source: Some("s".to_owned()), ..Head::default() });
    assert!(body.is_err());
}

#[test]
fn a_source_is_a_string_and_blank_is_absent() {
    let row = |source: &str| {
        parse(&format!(r#"{{"source":{source},"question":"q","answer":"1"}}"#), &InputOptions::default())
    };
    assert_eq!(row("\" set \"").0.source.as_deref(), Some("set"));
    assert_eq!(row("\"\"").0.source, None);
    assert_eq!(row("5").1.unwrap_err().reason, ExclusionReason::WrongType);
}

#[test]
fn the_last_of_duplicate_keys_counts() {
    assert_eq!(body(r#"{"question":"a","question":"b","answer":"1"}"#).question, "b");
    assert_fault(r#"{"question":"a","question":5,"answer":"1"}"#, ExclusionReason::WrongType, "a number (5)");
}

#[test]
fn field_names_with_dots_are_literal_first_and_then_paths() {
    let mut options = InputOptions::default();
    options.fields.answer = "extra.gold.value".to_owned();
    let gold = |text: &str| parse(text, &options).1.map(|body| body.gold);
    assert_eq!(gold(r#"{"question":"q","extra":{"gold":{"value":7}}}"#).unwrap(), "7");
    assert_eq!(gold(r#"{"question":"q","extra":{"gold.value":8}}"#).unwrap(), "8");
    assert_eq!(gold(r#"{"question":"q","extra.gold.value":9,"extra":{"gold":{"value":7}}}"#).unwrap(), "9");
    for bad in [r#"{"question":"q","extra":{"gold":7}}"#, r#"{"question":"q","extra":"gold"}"#, r#"{"question":"q"}"#] {
        assert_eq!(gold(bad).unwrap_err().reason, ExclusionReason::MissingGold, "{bad}");
    }
}

#[test]
fn details_quote_at_most_60_characters_of_a_value() {
    let exact = "\u{e9}".repeat(EXCERPT_CHARS);
    assert_eq!(excerpt(&exact), exact);
    assert_eq!(excerpt(&format!("{exact}x")), format!("{exact}..."));
    let long = format!(r#"{{"question":"q","answer":"1","kind":"{}"}}"#, "k".repeat(10_000));
    assert!(fault(&long).detail.len() < 200);
}
