//! Generates the page `config` from the schema of the settings.

use std::fmt::Write;

use serde_json::{Map, Value};

use crate::config::Settings;

/// The maximum characters of a line, without the indent of values.
const WIDTH: usize = 116;

/// The text before the generated reference.
const INTRODUCTION: &str = r#"# Config

A run reads its settings from a TOML file: `thinkloom.toml` in the working directory, or the file that `-c FILE` names.
`thinkloom init DIR` writes a commented one with every common key at its default; a key that you leave out keeps its
default. An unknown key, a wrong type or a value out of range ends the command with exit code 2, and the error names the
key and the most similar known key.

- **Override one setting for one command**: `--set sampling.samples_per_mode=4` (repeatable). The value is parsed as
  TOML; if that fails, it is a text. `--set` accepts every key below.
- **Relative paths** (`input.paths`, `policy.model`, `dedup.benchmarks`) are looked up in the directory of the config
  file, then in the working directory. `output.dir` is relative to the config file; `-o DIR` replaces it.
- **API keys** are never in the file: `api_key_env` names the environment variable that holds the key.
- **The cost of a change** (which settings cause new sampling, and which may change freely) is described in
  [recovery](recovery.md).
- `thinkloom schema config` prints the JSON Schema of this file; `thinkloom doctor` checks what the settings need.

Environment variables: `THINKLOOM_LOG=debug` sets the log level, `NO_COLOR` disables colours, `NO_PROGRESS` disables
progress bars. `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN`, `HF_ENDPOINT` and `HF_HUB_OFFLINE` are described in
[models](models.md).

The rest of this page is generated from the program. Ranges are written `1..=1024`, both ends included.
"#;

/// Returns the page `config`: every section and key with type, default and meaning.
///
/// # Panics
/// Never: the default settings can be written as TOML.
#[must_use]
pub fn config_page() -> String {
    let schema = schemars::schema_for!(Settings).to_value();
    let mut page = Reference { schema: &schema, text: INTRODUCTION.to_owned() };
    let properties = schema["properties"].as_object().cloned().unwrap_or_default();
    let order = sections_in_order();
    let mut names: Vec<&String> = properties.keys().collect();
    names.sort_by_key(|name| order.iter().position(|known| known == *name).unwrap_or(usize::MAX));
    for name in names {
        page.section(name, &properties[name.as_str()]);
    }
    page.text
}

/// Returns the sections in the order of the settings' type; a schema does not keep this order.
fn sections_in_order() -> Vec<String> {
    let text = toml::to_string(&Settings::default()).unwrap_or_default();
    let headings = text.lines().filter_map(|line| line.strip_prefix('[')?.strip_suffix(']'));
    headings.map(str::to_owned).collect()
}

/// The writer of the reference.
struct Reference<'a> {
    schema: &'a Value,
    text: String,
}

impl<'a> Reference<'a> {
    /// Returns the schema that `schema` refers to, or `schema` itself if it refers to none.
    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let alternatives = schema["anyOf"].as_array().into_iter().flatten();
        let direct = schema.get("$ref").or_else(|| alternatives.filter_map(|one| one.get("$ref")).next());
        let Some(path) = direct.and_then(Value::as_str) else { return schema };
        self.schema.pointer(path.trim_start_matches('#')).unwrap_or(schema)
    }
}

impl Reference<'_> {
    /// Writes a section: its keys, then its subsections.
    fn section(&mut self, name: &str, schema: &Value) {
        let whole = Reference { schema: self.schema, text: String::new() };
        let target = whole.resolve(schema).clone();
        let meaning = schema["description"].as_str().or_else(|| target["description"].as_str()).unwrap_or_default();
        let _ = write!(self.text, "\n## `[{name}]`\n\n{}\n\n", wrapped(meaning, 0));
        let properties = target["properties"].as_object().cloned().unwrap_or_default();
        let mut inner = Vec::new();
        for (key, property) in &properties {
            let resolved = whole.resolve(property).clone();
            if resolved["properties"].is_object() {
                inner.push((format!("{name}.{key}"), property.clone()));
            } else {
                self.key(key, property, &resolved);
            }
        }
        for (name, property) in inner {
            self.section(&name, &property);
        }
    }

    /// Writes a key, and its values if they are a closed set.
    fn key(&mut self, key: &str, property: &Value, target: &Value) {
        let default = match property.get("default") {
            Some(default) => format!(", default `{}`", as_toml(default)),
            None => String::new(),
        };
        let own = property["description"].as_str().or_else(|| target["description"].as_str()).unwrap_or_default();
        let line = format!("- `{key}` ({}{default}): {own}", type_name(property, target));
        let _ = writeln!(self.text, "{}", wrapped(&line, 2));
        for value in target["oneOf"].as_array().into_iter().flatten() {
            let (name, meaning) = (as_toml(&value["const"]), value["description"].as_str().unwrap_or_default());
            let _ = writeln!(self.text, "  {}", wrapped(&format!("- `{name}`: {meaning}"), 4));
        }
    }
}

/// Returns the name of a value's type in TOML.
fn type_name(property: &Value, target: &Value) -> &'static str {
    let stated = if target["type"].is_null() { &property["type"] } else { &target["type"] };
    let first = stated.as_array().and_then(|types| types.first()).unwrap_or(stated);
    match first.as_str() {
        Some("string") => "text",
        Some("integer") => "integer",
        Some("number") => "number",
        Some("boolean") => "true or false",
        Some("array") => "list",
        Some("object") => "table",
        _ if target["oneOf"].is_array() => "one of",
        _ => "text or true or false",
    }
}

/// Returns a JSON value in TOML syntax.
fn as_toml(value: &Value) -> String {
    match value {
        Value::Object(object) if object.is_empty() => "{}".to_owned(),
        Value::Object(object) => as_inline_table(object),
        other => other.to_string(),
    }
}

fn as_inline_table(object: &Map<String, Value>) -> String {
    let pairs: Vec<String> = object.iter().map(|(key, value)| format!("{key} = {}", as_toml(value))).collect();
    format!("{{ {} }}", pairs.join(", "))
}

/// Wraps a text to lines of at most [`WIDTH`] characters; indents all lines but the first.
fn wrapped(text: &str, indent: usize) -> String {
    let (mut lines, mut width) = (String::new(), 0);
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > WIDTH {
            let _ = write!(lines, "\n{:indent$}", "");
            width = indent;
        } else if width > 0 {
            lines.push(' ');
            width += 1;
        }
        lines.push_str(word);
        width += length;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_break_between_words_and_keep_their_indent() {
        let text = format!("- a {}", "bcdefgh ".repeat(30));
        let lines = wrapped(&text, 2);
        assert!(lines.lines().count() > 1);
        assert!(lines.lines().all(|line| line.chars().count() <= WIDTH && !line.ends_with(' ')), "{lines}");
        assert!(lines.lines().skip(1).all(|line| line.starts_with("  b")), "{lines}");
        assert_eq!(lines.split_whitespace().collect::<Vec<_>>(), text.split_whitespace().collect::<Vec<_>>());
    }
}
