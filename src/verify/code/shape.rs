//! Recognises the shape of tests: Python, calls of a function, or inputs and outputs of a program; also as text in a
//! string.

use serde::Serialize;
use serde_json::Value;

use super::literal;

/// The deepest nesting of strings in strings.
const DEPTH_MAX: usize = 6;
/// The keys that name the function in an object that calls one.
const FUNCTION_KEYS: &[&str] = &["fn_name", "func_name", "function_name"];

/// The tests of a query.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    /// Assertions or test programs.
    Program(Vec<String>),
    /// Calls of a function with expected results.
    Calls(Calls),
    /// Inputs with the expected outputs.
    Streams(Vec<(String, String)>),
    /// No test, or no test that could fail.
    None,
    /// Mismatched inputs and outputs, or several shapes at once.
    Unusable,
}

/// Calls of one function.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Calls {
    /// The function's name; without one, the program's definitions decide.
    pub(super) name: Option<String>,
    /// The calls in order.
    pub(super) calls: Vec<Call>,
}

/// One call with its expected result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Call {
    /// The arguments.
    args: Option<Value>,
    /// The arguments as text, one literal a line.
    text: Option<String>,
    expected: Value,
    /// The origin of the arguments: `list` or `text`.
    given: &'static str,
}

/// One test after unpacking.
enum Piece {
    Text(String),
    Object(Value),
}

impl Shape {
    /// Determines the shape of tests.
    pub(super) fn of(tests: &[String]) -> Self {
        let mut pieces = Vec::new();
        for test in tests {
            unpack(test, 0, &mut pieces);
        }
        let mut texts = Vec::new();
        let mut objects = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => texts.push(text),
                Piece::Object(object) => objects.push(object),
            }
        }
        match (texts.is_empty(), objects.is_empty()) {
            (true, true) => Self::None,
            (false, true) => Self::Program(texts),
            (false, false) => Self::Unusable,
            (true, false) => Self::of_objects(&objects),
        }
    }

    fn of_objects(objects: &[Value]) -> Self {
        let are_calls = objects.iter().any(is_call);
        if are_calls && !objects.iter().all(is_call) {
            return Self::Unusable;
        }
        let pairs = objects.iter().map(pairs_of).collect::<Option<Vec<_>>>();
        let Some(pairs) = pairs.map(|pairs| pairs.concat()) else { return Self::Unusable };
        if pairs.is_empty() {
            return Self::None;
        }
        if are_calls {
            let names: Vec<Option<&str>> = objects.iter().map(function_name).collect();
            let first = names.first().copied().flatten();
            if names.iter().any(|name| *name != first) {
                return Self::Unusable;
            }
            let calls = pairs.into_iter().map(|(input, output)| call_of(input, output)).collect();
            return Self::Calls(Calls { name: first.map(str::to_owned), calls });
        }
        let texts = |(input, output): &(Value, Value)| Some((text_of(input)?, text_of(output)?));
        match pairs.iter().map(texts).collect::<Option<Vec<_>>>() {
            // Every program without output would pass.
            Some(pairs) if pairs.iter().all(|(_, output)| output.trim().is_empty()) => Self::None,
            Some(pairs) => Self::Streams(pairs),
            None => Self::Unusable,
        }
    }
}

/// Unpacks text in strings, and drops texts that are not tests.
fn unpack(test: &str, depth: usize, pieces: &mut Vec<Piece>) {
    let text = test.trim();
    if text.is_empty() {
        return;
    }
    match literal::read(text) {
        Some(value) if depth < DEPTH_MAX => unpack_value(value, depth, pieces),
        Some(_) => {}
        None => pieces.push(Piece::Text(test.to_owned())),
    }
}

fn unpack_value(value: Value, depth: usize, pieces: &mut Vec<Piece>) {
    match value {
        Value::String(text) => unpack(&text, depth + 1, pieces),
        Value::Array(items) if depth < DEPTH_MAX => {
            for item in items {
                unpack_value(item, depth + 1, pieces);
            }
        }
        Value::Object(_) if value.get("input").or_else(|| value.get("inputs")).is_some() => {
            pieces.push(Piece::Object(value));
        }
        _ => {}
    }
}

fn function_name(object: &Value) -> Option<&str> {
    let places = [Some(object), object.get("metadata")];
    let named =
        |place: &Value| FUNCTION_KEYS.iter().find_map(|key| place.get(key)?.as_str().map(str::to_owned)).is_some();
    let place = places.into_iter().flatten().find(|place| named(place))?;
    FUNCTION_KEYS.iter().find_map(|key| place.get(key)?.as_str()).filter(|name| !name.is_empty())
}

/// Returns whether an object calls a function. A program that reads its input has no name to call.
fn is_call(object: &Value) -> bool {
    function_name(object).is_some() || object.get("testtype").and_then(Value::as_str) == Some("functional")
}

fn pairs_of(object: &Value) -> Option<Vec<(Value, Value)>> {
    if let (Some(input), Some(output)) = (object.get("input"), object.get("output")) {
        return match (input, output) {
            // Several cases in parallel lists.
            (Value::Array(inputs), Value::Array(outputs)) if inputs.len() == outputs.len() && !is_call(object) => {
                Some(inputs.iter().cloned().zip(outputs.iter().cloned()).collect())
            }
            _ => Some(vec![(input.clone(), output.clone())]),
        };
    }
    let inputs = object.get("inputs")?.as_array()?;
    let outputs = object.get("outputs")?.as_array()?;
    (inputs.len() == outputs.len()).then(|| inputs.iter().cloned().zip(outputs.iter().cloned()).collect())
}

fn call_of(input: Value, expected: Value) -> Call {
    match input {
        Value::String(text) => Call { args: None, text: Some(text), expected, given: "text" },
        args => Call { args: Some(args), text: None, expected, given: "list" },
    }
}

/// Returns a stream's text: a string, a number, or a list of lines.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(lines) => lines.iter().map(text_of).collect::<Option<Vec<_>>>().map(|lines| lines.join("\n")),
        Value::Null | Value::Bool(_) | Value::Object(_) => None,
    }
}

/// Returns whether a test program contains a word that can make it fail; `false` only if the program surely cannot
/// fail.
///
/// Only the sandbox, which parses the program, can decide whether that word depends on the tested program.
pub(super) fn may_fail(text: &str) -> bool {
    let code = without_strings(text);
    let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).peekable();
    while let Some(word) = words.next() {
        let is_vain = matches!(words.peek(), Some(&"True" | &"1"));
        match word {
            "assert" if !is_vain => return true,
            "assert" => {}
            "raise" | "raises" | "exit" | "_exit" | "quit" | "check" | "unittest" => return true,
            _ if word.starts_with("assert") || word.starts_with("fail") || word.starts_with("test") => return true,
            _ => {}
        }
    }
    false
}

/// Returns a program without its strings and comments.
fn without_strings(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['"', '\'', '#']) {
        let (before, from) = rest.split_at(at);
        code.push_str(before);
        code.push(' ');
        rest = if from.starts_with('#') {
            from.split_once('\n').map_or("", |(_, after)| after)
        } else {
            after_string(from)
        };
        if from.starts_with('#') {
            code.push('\n');
        }
    }
    code.push_str(rest);
    code
}

/// Returns the text after the string that begins a text.
fn after_string(text: &str) -> &str {
    let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| text.starts_with(quote)).unwrap_or("'");
    let mut rest = text.get(quote.len()..).unwrap_or_default();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(quote) {
            return after;
        }
        let mut chars = rest.chars();
        if chars.next() == Some('\\') {
            chars.next();
        }
        rest = chars.as_str();
    }
    rest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shape(tests: &[&str]) -> Shape {
        Shape::of(&tests.iter().map(|test| (*test).to_owned()).collect::<Vec<_>>())
    }

    fn streams(pairs: &[(&str, &str)]) -> Shape {
        Shape::Streams(pairs.iter().map(|(input, output)| ((*input).to_owned(), (*output).to_owned())).collect())
    }

    fn programs(texts: &[&str]) -> Shape {
        Shape::Program(texts.iter().map(|text| (*text).to_owned()).collect())
    }

    #[test]
    fn shapes_are_told_apart_and_what_does_not_fit_is_unusable() {
        assert_eq!(shape(&["assert f(1) == 2"]), programs(&["assert f(1) == 2"]));
        assert_eq!(shape(&["{'input': f(1)}"]), programs(&["{'input': f(1)}"]));
        assert_eq!(shape(&[r#"{"input": "1\n", "output": "2"}"#]), streams(&[("1\n", "2")]));
        assert_eq!(
            shape(&[r#"{"inputs": ["1", ["2", 3]], "outputs": [5, "6"]}"#]),
            streams(&[("1", "5"), ("2\n3", "6")])
        );
        assert_eq!(shape(&[r#"{"input": ["1", "2"], "output": ["3", "4"]}"#]), streams(&[("1", "3"), ("2", "4")]));
        for none in [
            &[][..],
            &[" \n"],
            &[r#"{"inputs": [], "outputs": []}"#],
            &["[]"],
            &["{}"],
            &["()"],
            &["None"],
            &["nan"],
            &["''"],
            &["{\"assert\": 1}"],
            &["[1, 2]"],
            &[r#"{"input": "1", "output": " "}"#],
        ] {
            assert_eq!(shape(none), Shape::None, "{none:?}");
        }
        for unusable in [
            &[r#"{"inputs": ["1"], "outputs": []}"#][..],
            &[r#"{"input": "1"}"#],
            &[r#"{"input": {}, "output": "1"}"#],
            &[r#"{"input": "1", "output": "2"}"#, "assert f(1) == 2"],
            &[r#"{"input": "1", "output": "2"}"#, r#"{"input": "1", "output": "2", "testtype": "functional"}"#],
            &[r#"{"fn_name": "f", "inputs": [[1]], "outputs": [2, 3]}"#],
        ] {
            assert_eq!(shape(unusable), Shape::Unusable, "{unusable:?}");
        }
    }

    #[test]
    fn text_in_strings_is_unpacked_however_often() {
        let asserts = programs(&["assert f(1) == 2", "assert f(\"a\") == 'b'"]);
        for test in [
            r#"["assert f(1) == 2", "assert f(\"a\") == 'b'"]"#,
            r#"['assert f(1) == 2', 'assert f("a") == \'b\'']"#,
            "['assert f(1) == 2'\n 'assert f(\"a\") == \\'b\\'']",
            r#"('assert f(1) == 2', "assert f(\"a\") == 'b'")"#,
            r#""[\"assert f(1) == 2\", \"assert f(\\\"a\\\") == 'b'\"]""#,
        ] {
            assert_eq!(shape(&[test]), asserts, "{test}");
        }
        let live = r#"[{"input": "2 3\n", "output": "5\n", "testtype": "stdin"}]"#;
        assert_eq!(shape(&[live]), streams(&[("2 3\n", "5\n")]));
        assert_eq!(shape(&[&json!([live]).to_string()]), streams(&[("2 3\n", "5\n")]));
        assert_eq!(shape(&[&format!("{live:?}")]), streams(&[("2 3\n", "5\n")]));
    }

    #[test]
    fn functions_that_are_called_are_told_by_name_or_by_the_kind_of_test() {
        let Shape::Calls(calls) = shape(&[r#"{"fn_name": "add", "inputs": [[2, 3], [5, 6]], "outputs": [5, 11]}"#])
        else {
            panic!("no calls");
        };
        assert_eq!((calls.name.as_deref(), calls.calls.len()), (Some("add"), 2));
        let live = r#"[{"input": "2\n3", "output": "5", "testtype": "functional", "metadata": {"func_name": "add"}}]"#;
        let Shape::Calls(calls) = shape(&[live]) else { panic!("no calls") };
        assert_eq!(calls.name.as_deref(), Some("add"));
        let expected = Call { args: None, text: Some("2\n3".to_owned()), expected: json!("5"), given: "text" };
        assert_eq!(calls.calls, [expected]);
    }

    #[test]
    fn words_in_strings_and_comments_make_nothing_fail() {
        for vain in [
            "f(1) == 2",
            "print(f(1) == 2)",
            "x = 'assert f(1)'",
            "# assert f(1)\nf(1)",
            "assert True",
            "import math",
            "",
        ] {
            assert!(!may_fail(vain), "{vain}");
        }
        for text in
            ["assert f(1) == 2", "x = 'it\\'s'\nassert x", "def test_f(): pass", "self.assertEqual(1, 2)", "raise X"]
        {
            assert!(may_fail(text), "{text}");
        }
    }
}
