//! Parses literals: JSON, Python's, and the lists without commas that numpy prints.
//!
//! A text is a literal only if the whole text is one; any other text is treated as a program. Tuples and sets become
//! arrays; `None`, `nan` and `inf` become null; keys of objects become texts.

use serde_json::{Map, Number, Value};

/// The deepest nesting of literals.
const DEPTH_MAX: usize = 32;

/// Returns the value of a text that is one literal and nothing else.
pub(super) fn read(text: &str) -> Option<Value> {
    let text = text.trim();
    // Most texts are programs, which begin with a word.
    let first = text.chars().next()?;
    if first.is_ascii_alphabetic() && !is_name_of_value(text) && !is_prefixed(text) {
        return None;
    }
    if let Ok(value) = serde_json::from_str(text) {
        return Some(value);
    }
    let mut reader = Reader { rest: text, depth: 0 };
    let value = reader.value()?;
    reader.skip_space();
    reader.rest.is_empty().then_some(value)
}

fn is_name_of_value(text: &str) -> bool {
    matches!(text, "None" | "nan" | "NaN" | "null" | "True" | "False" | "true" | "false" | "inf")
}

/// Returns whether the text begins with a prefixed string.
fn is_prefixed(text: &str) -> bool {
    text.starts_with(['r', 'u', 'R', 'U']) && matches!(text.as_bytes().get(1), Some(b'"' | b'\''))
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl Reader<'_> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, text: &str) -> bool {
        self.skip_space();
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self) -> Option<Value> {
        self.skip_space();
        match self.rest.chars().next()? {
            '[' => self.items('[', ']'),
            '(' => self.items('(', ')'),
            '{' => self.braces(),
            '"' | '\'' => self.strings(),
            c if c.is_ascii_digit() || matches!(c, '-' | '+' | '.') => self.number(),
            _ if is_prefixed(self.rest) => self.strings(),
            _ => self.name(),
        }
    }

    fn name(&mut self) -> Option<Value> {
        let length = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at_checked(length)?;
        let value = match name {
            "None" | "null" | "nan" | "NaN" | "inf" | "Infinity" => Value::Null,
            "True" | "true" => Value::Bool(true),
            "False" | "false" => Value::Bool(false),
            _ => return None,
        };
        self.rest = rest;
        Some(value)
    }

    fn number(&mut self) -> Option<Value> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-' | '_');
        let length = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at_checked(length)?;
        let value = match text.parse::<i64>() {
            Ok(number) => Value::from(number),
            Err(_) if text.ends_with(|c: char| c.is_ascii_digit() || c == '.') => {
                Value::Number(Number::from_f64(text.parse().ok()?)?)
            }
            Err(_) => return None,
        };
        self.rest = rest;
        Some(value)
    }

    /// Parses a string and the strings that follow it without a comma, which Python joins.
    fn strings(&mut self) -> Option<Value> {
        let mut text = self.string()?;
        loop {
            self.skip_space();
            if !self.rest.starts_with(['"', '\'']) && !is_prefixed(self.rest) {
                return Some(Value::String(text));
            }
            text.push_str(&self.string()?);
        }
    }

    fn string(&mut self) -> Option<String> {
        self.skip_space();
        let is_raw = self.rest.starts_with(['r', 'R']);
        self.rest = self.rest.strip_prefix(['r', 'R', 'u', 'U']).unwrap_or(self.rest);
        let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| self.rest.starts_with(quote))?;
        self.rest = self.rest.strip_prefix(quote)?;
        let mut text = String::new();
        loop {
            if let Some(rest) = self.rest.strip_prefix(quote) {
                self.rest = rest;
                return Some(text);
            }
            let mut chars = self.rest.chars();
            match chars.next()? {
                '\\' if is_raw => {
                    text.push('\\');
                    text.push(chars.next()?);
                }
                '\\' => {
                    self.rest = chars.as_str();
                    self.escape(&mut text)?;
                    continue;
                }
                '\n' if quote.len() == 1 => return None,
                c => text.push(c),
            }
            self.rest = chars.as_str();
        }
    }

    fn escape(&mut self, text: &mut String) -> Option<()> {
        let mut chars = self.rest.chars();
        let c = chars.next()?;
        self.rest = chars.as_str();
        let simple = match c {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'v' => '\u{b}',
            'a' => '\u{7}',
            '\\' | '\'' | '"' | '/' => c,
            '\n' => return Some(()),
            'x' | 'u' | 'U' => {
                let length = match c {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                let (digits, rest) = self.rest.split_at_checked(length)?;
                self.rest = rest;
                char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
            }
            '0'..='7' => {
                let length = self.rest.find(|c: char| !('0'..='7').contains(&c)).unwrap_or(self.rest.len()).min(2);
                let (digits, rest) = self.rest.split_at_checked(length)?;
                self.rest = rest;
                char::from_u32(u32::from_str_radix(&format!("{c}{digits}"), 8).ok()?)?
            }
            other => {
                text.push('\\');
                other
            }
        };
        text.push(simple);
        Some(())
    }

    fn items(&mut self, open: char, close: char) -> Option<Value> {
        self.deeper()?;
        self.take(open.encode_utf8(&mut [0; 4]));
        let close = close.to_string();
        let (mut items, mut has_comma) = (Vec::new(), false);
        while !self.take(&close) {
            let before = self.rest;
            items.push(self.value()?);
            if self.take(",") {
                has_comma = true;
            } else if !has_comma && items.len() == 1 && open == '[' {
                // numpy printed a list without any comma: strings that Python would join are separate items.
                self.rest = before;
                items = self.without_commas()?;
            } else if !self.rest.trim_start().starts_with(&close) {
                return None;
            }
        }
        self.depth -= 1;
        match (open, has_comma, items.len()) {
            // Brackets around one value do not make a tuple.
            ('(', false, 1) => items.pop(),
            _ => Some(Value::Array(items)),
        }
    }

    fn without_commas(&mut self) -> Option<Vec<Value>> {
        let mut items = Vec::new();
        loop {
            self.skip_space();
            if self.rest.starts_with(']') {
                return Some(items);
            }
            let is_string = self.rest.starts_with(['"', '\'']) || is_prefixed(self.rest);
            items.push(if is_string { Value::String(self.string()?) } else { self.value()? });
        }
    }

    /// Parses a dict or a set.
    fn braces(&mut self) -> Option<Value> {
        self.deeper()?;
        self.take("{");
        let (mut object, mut items) = (Map::new(), Vec::new());
        while !self.take("}") {
            let key = self.value()?;
            if self.take(":") {
                let name = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                object.insert(name, self.value()?);
            } else {
                items.push(key);
            }
            if !self.take(",") && !self.rest.trim_start().starts_with('}') {
                return None;
            }
        }
        self.depth -= 1;
        match (object.is_empty(), items.is_empty()) {
            (false, false) => None,
            (true, false) => Some(Value::Array(items)),
            _ => Some(Value::Object(object)),
        }
    }

    fn deeper(&mut self) -> Option<()> {
        self.depth += 1;
        (self.depth <= DEPTH_MAX).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn literals_of_json_python_and_numpy_are_read() {
        for (text, value) in [
            (r#"["assert f(1) == 2", "x"]"#, json!(["assert f(1) == 2", "x"])),
            ("['a', \"b'c\"]", json!(["a", "b'c"])),
            ("['a' 'b'\n 'c']", json!(["a", "b", "c"])),
            ("['a' 'b', 'c']", json!(["ab", "c"])),
            ("('a', 'b')", json!(["a", "b"])),
            ("('a')", json!("a")),
            ("('a',)", json!(["a"])),
            ("{'x': [1, 2.5, None], 2: True}", json!({"x": [1, 2.5, null], "2": true})),
            ("{1, 2}", json!([1, 2])),
            ("{}", json!({})),
            ("()", json!([])),
            ("'''a\nb'''", json!("a\nb")),
            (r"'a\n\x41\u00e9\'\101'", json!("a\nA\u{e9}'A")),
            (r"[r'\d']", json!([r"\d"])),
            ("nan", Value::Null),
            ("-3", json!(-3)),
            ("[1 2 3]", json!([1, 2, 3])),
        ] {
            assert_eq!(read(text), Some(value), "{text}");
        }
    }

    #[test]
    fn programs_are_no_literals() {
        for text in [
            "assert f(1) == 2",
            "f(1)",
            "[f(1)]",
            "'a' + 'b'",
            "['a'",
            "'a\nb'",
            "{'a': 1, 2}",
            "(f(1) == 2)",
            "b'x'",
            "1 +",
            "",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read(&"[".repeat(10_000)), None);
        assert_eq!(read(&format!("{}{}", "(".repeat(10_000), ")".repeat(10_000))), None);
    }

    proptest! {
        #[test]
        fn what_json_writes_is_read_again(items in proptest::collection::vec(".{0,20}", 0..5)) {
            let value = json!(items);
            prop_assert_eq!(read(&value.to_string()), Some(value));
        }

        #[test]
        fn any_text_ends(text in "[\\[\\](){}'\",:a1rN\\\\ \n-]{0,60}") {
            let _ = read(&text);
        }
    }
}
