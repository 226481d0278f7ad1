//! What tests look like: Python, or inputs and outputs.

use serde_json::Value;

/// The tests of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    /// Assertions or test programs.
    Program,
    /// Inputs with the outputs that are expected.
    Streams(Vec<(String, String)>),
    /// Nothing.
    None,
    /// Inputs and outputs that do not fit each other, or both shapes at once.
    Unusable,
}

impl Shape {
    /// Tells the shape: a test that is a JSON object with inputs and outputs is never a Python program that tests.
    pub(super) fn of(tests: &[String]) -> Self {
        let tests: Vec<&String> = tests.iter().filter(|test| !test.trim().is_empty()).collect();
        if tests.is_empty() {
            return Self::None;
        }
        let objects: Vec<Value> = tests.iter().filter_map(|test| stream_object(test)).collect();
        if objects.is_empty() {
            return Self::Program;
        }
        let pairs = objects.iter().map(pairs_of).collect::<Option<Vec<_>>>().map(|pairs| pairs.concat());
        match pairs {
            Some(pairs) if objects.len() == tests.len() && !pairs.is_empty() => Self::Streams(pairs),
            Some(pairs) if objects.len() == tests.len() && pairs.is_empty() => Self::None,
            _ => Self::Unusable,
        }
    }
}

fn stream_object(test: &str) -> Option<Value> {
    let test = test.trim();
    if !test.starts_with('{') {
        return None;
    }
    let value: Value = serde_json::from_str(test).ok()?;
    (value.get("input").is_some() || value.get("inputs").is_some()).then_some(value)
}

fn pairs_of(object: &Value) -> Option<Vec<(String, String)>> {
    // A function that is called with arguments is no program that reads its input.
    if object.get("fn_name").is_some_and(|name| !name.is_null()) {
        return None;
    }
    if let (Some(input), Some(output)) = (object.get("input"), object.get("output")) {
        return Some(vec![(text_of(input)?, text_of(output)?)]);
    }
    let inputs = object.get("inputs")?.as_array()?;
    let outputs = object.get("outputs")?.as_array()?;
    if inputs.len() != outputs.len() {
        return None;
    }
    inputs.iter().zip(outputs).map(|(input, output)| Some((text_of(input)?, text_of(output)?))).collect()
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

/// Returns the lines that count: each trimmed, without blank ones at both ends.
pub(super) fn normalised(text: &str) -> Vec<&str> {
    text.trim().lines().map(str::trim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(tests: &[&str]) -> Shape {
        Shape::of(&tests.iter().map(|test| (*test).to_owned()).collect::<Vec<_>>())
    }

    fn streams(pairs: &[(&str, &str)]) -> Shape {
        Shape::Streams(pairs.iter().map(|(input, output)| ((*input).to_owned(), (*output).to_owned())).collect())
    }

    #[test]
    fn shapes_are_told_apart_and_what_does_not_fit_is_unusable() {
        assert_eq!(shape(&["assert f(1) == 2"]), Shape::Program);
        assert_eq!(shape(&["{'input': f(1)}"]), Shape::Program);
        assert_eq!(shape(&[r#"{"input": "1\n", "output": "2"}"#]), streams(&[("1\n", "2")]));
        assert_eq!(
            shape(&[r#"{"inputs": ["1", ["2", 3]], "outputs": [5, "6"]}"#]),
            streams(&[("1", "5"), ("2\n3", "6")])
        );
        assert_eq!(shape(&[]), Shape::None);
        assert_eq!(shape(&[" \n"]), Shape::None);
        assert_eq!(shape(&[r#"{"inputs": [], "outputs": []}"#]), Shape::None);
        for unusable in [
            &[r#"{"inputs": ["1"], "outputs": []}"#][..],
            &[r#"{"input": "1"}"#],
            &[r#"{"input": {}, "output": "1"}"#],
            &[r#"{"fn_name": "f", "inputs": [[1]], "outputs": [2]}"#],
            &[r#"{"input": "1", "output": "2"}"#, "assert f(1) == 2"],
        ] {
            assert_eq!(shape(unusable), Shape::Unusable, "{unusable:?}");
        }
    }

    #[test]
    fn outputs_are_compared_by_trimmed_lines() {
        assert_eq!(normalised("\n1 \r\n  2\n\n"), normalised("1\n2"));
        assert_ne!(normalised("1\n\n2"), normalised("1\n2"), "a blank line in the middle counts");
        assert_ne!(normalised("1 2"), normalised("1  2"));
    }
}
