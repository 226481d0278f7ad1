//! Parses lists and tables that datasets write into one cell: JSON, Python literals, and the output of pandas and
//! NumPy.
//!
//! `["a", "b"]`, `['a', 'b']`, `['a' 'b']` and `{'text': array(['a', 'b'], dtype=object)}` are accepted alike. Numbers
//! keep their digits. A text that is truncated (`...`), unclosed, or nested deeper than [`DEPTH_MAX`] is rejected. This
//! module does not know the use of a list.

/// The maximum depth of nesting.
const DEPTH_MAX: usize = 8;

/// A value of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Literal {
    /// A string.
    Text(String),
    /// A number or a boolean, in its spelling.
    Bare(String),
    /// `null`, `None` or `nan`.
    Null,
    /// A list, a tuple or an array.
    List(Vec<Self>),
    /// An object or a dict, in the order of its text.
    Table(Vec<(String, Self)>),
}

/// Parses a whole text as one value; `None` if it is not one value.
pub(super) fn parse(text: &str) -> Option<Literal> {
    let mut reader = Reader { rest: text };
    let value = reader.value(0)?;
    reader.skip_blanks();
    reader.rest.is_empty().then_some(value)
}

/// Returns whether a text begins like a list or a table, so that parsing it may succeed.
pub(super) fn looks_nested(text: &str) -> bool {
    let text = text.trim_start();
    text.starts_with(['[', '{', '(']) || text.starts_with("array(")
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Consumes a character and the blanks before it, if it comes next.
    fn takes(&mut self, wanted: char) -> bool {
        self.skip_blanks();
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self, depth: usize) -> Option<Literal> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.skip_blanks();
        match self.rest.chars().next()? {
            '[' | '(' => self.list(depth),
            '{' => self.table(depth),
            '"' | '\'' => self.string().map(Literal::Text),
            _ => self.word(depth),
        }
    }

    /// Parses items up to the closing bracket; NumPy writes no commas between items.
    fn list(&mut self, depth: usize) -> Option<Literal> {
        let close = if self.takes('[') { ']' } else { ')' };
        if close == ')' && !self.takes('(') {
            return None;
        }
        let mut items = Vec::new();
        while !self.takes(close) {
            items.push(self.value(depth + 1)?);
            self.takes(',');
        }
        Some(Literal::List(items))
    }

    fn table(&mut self, depth: usize) -> Option<Literal> {
        self.takes('{').then_some(())?;
        let mut members = Vec::new();
        while !self.takes('}') {
            let key = match self.value(depth + 1)? {
                Literal::Text(key) | Literal::Bare(key) => key,
                Literal::Null | Literal::List(_) | Literal::Table(_) => return None,
            };
            self.takes(':').then_some(())?;
            members.push((key, self.value(depth + 1)?));
            if !self.takes(',') {
                self.takes('}').then_some(())?;
                break;
            }
        }
        Some(Literal::Table(members))
    }

    /// Parses a number, a name for a value, or a call around a value: `array([...], dtype=object)`, `np.str_('a')`.
    fn word(&mut self, depth: usize) -> Option<Literal> {
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '+' | '-');
        let length = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(length);
        self.rest = rest;
        match word {
            "true" | "false" | "True" | "False" => return Some(Literal::Bare(word.to_owned())),
            "null" | "None" | "nan" | "NaN" | "<NA>" => return Some(Literal::Null),
            _ if word.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
                return word.parse::<f64>().is_ok().then(|| Literal::Bare(word.to_owned()));
            }
            _ => {}
        }
        let is_name = word.starts_with(|c: char| c.is_alphabetic() || c == '_');
        if !is_name || !self.rest.starts_with('(') {
            return None;
        }
        self.takes('(');
        let value = self.value(depth + 1)?;
        while self.takes(',') {
            let (key, rest) = self.rest.split_once('=')?;
            if !key.trim().chars().all(|c| c.is_alphanumeric() || c == '_') {
                return None;
            }
            self.rest = rest;
            self.argument()?;
        }
        self.takes(')').then_some(value)
    }

    /// Skips the value of a named argument: a word or a string.
    fn argument(&mut self) -> Option<()> {
        self.skip_blanks();
        if self.rest.starts_with(['"', '\'']) {
            return self.string().map(|_| ());
        }
        let length = self.rest.find([',', ')']).unwrap_or(self.rest.len());
        self.rest = self.rest.get(length..)?;
        Some(())
    }

    fn string(&mut self) -> Option<String> {
        let quote = self.rest.chars().next()?;
        let body = self.rest.get(quote.len_utf8()..)?;
        let mut is_escaped = false;
        let end = body.char_indices().find_map(|(at, c)| {
            let closes = c == quote && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            closes.then_some(at)
        })?;
        let (content, rest) = (body.get(..end)?, body.get(end + quote.len_utf8()..)?);
        let token = self.rest.get(..end + 2 * quote.len_utf8())?;
        self.rest = rest;
        if !content.contains('\\') {
            return Some(content.to_owned());
        }
        // JSON joins surrogate pairs, and Python does not write them. A string with escapes that only Python has is not
        // JSON.
        let json = if quote == '"' { serde_json::from_str(token).ok() } else { None };
        json.or_else(|| unescaped(content))
    }
}

/// Replaces Python's escapes.
fn unescaped(content: &str) -> Option<String> {
    let mut text = String::with_capacity(content.len());
    let mut rest = content;
    while let Some(at) = rest.find('\\') {
        text.push_str(rest.get(..at)?);
        rest = rest.get(at + 1..)?;
        let kind = rest.chars().next()?;
        rest = rest.get(kind.len_utf8()..)?;
        let digits = match kind {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        if digits > 0 {
            let code = u32::from_str_radix(rest.get(..digits)?, 16).ok()?;
            text.push(char::from_u32(code)?);
            rest = rest.get(digits..)?;
            continue;
        }
        match kind {
            'n' => text.push('\n'),
            't' => text.push('\t'),
            'r' => text.push('\r'),
            '\\' | '\'' | '"' => text.push(kind),
            // A continued line.
            '\n' => {}
            _ => text.extend(['\\', kind]),
        }
    }
    text.push_str(rest);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Option<Vec<String>> {
        let Literal::List(items) = parse(text)? else { return None };
        let text = |item: Literal| match item {
            Literal::Text(text) | Literal::Bare(text) => Some(text),
            Literal::Null | Literal::List(_) | Literal::Table(_) => None,
        };
        items.into_iter().map(text).collect()
    }

    #[test]
    fn lists_of_json_python_and_numpy_are_read_alike() {
        for written in [
            r#"["a", "it's", "1.50"]"#,
            r#"['a', "it's", '1.50']"#,
            "['a' \"it's\" 1.50]",
            "['a'\n \"it's\"\n 1.50]",
            "('a', \"it's\", 1.50,)",
            "array(['a', \"it's\", '1.50'], dtype=object)",
            "[np.str_('a'), np.str_(\"it's\"), np.float64(1.50)]",
        ] {
            assert_eq!(texts(written).as_deref(), Some(&["a", "it's", "1.50"].map(str::to_owned)[..]), "{written}");
        }
        assert_eq!(texts("[]").as_deref(), Some(&[][..]));
        assert_eq!(texts("[1 -2 3e5 True]").unwrap(), ["1", "-2", "3e5", "True"]);
    }

    #[test]
    fn escapes_of_both_languages_are_read() {
        assert_eq!(texts(r#"["\ud83d\ude00\/\u00e9"]"#).unwrap(), ["\u{1f600}/\u{e9}"]);
        assert_eq!(texts(r"['\xe9\u00e9\n\\frac{1}{2}\'']").unwrap(), ["\u{e9}\u{e9}\n\\frac{1}{2}'"]);
        assert_eq!(texts(r#"["it\'s \\pi"]"#).unwrap(), ["it's \\pi"]);
        assert_eq!(texts(r"['\d']").unwrap(), [r"\d"]);
    }

    #[test]
    fn tables_keep_their_order_and_hold_arrays() {
        let table = parse("{'text': array(['x', 'y'], dtype=object), 'label': ['B', 'A']}").unwrap();
        let list = |items: [&str; 2]| Literal::List(items.map(|item| Literal::Text(item.to_owned())).to_vec());
        assert_eq!(
            table,
            Literal::Table(vec![("text".to_owned(), list(["x", "y"])), ("label".to_owned(), list(["B", "A"]))])
        );
        assert_eq!(parse("{}"), Some(Literal::Table(Vec::new())));
        assert_eq!(parse("{1: None}"), Some(Literal::Table(vec![("1".to_owned(), Literal::Null)])));
    }

    #[test]
    fn what_is_cut_short_open_foreign_or_deep_is_nothing() {
        for bad in [
            "",
            "[",
            "['a'",
            "['a' ... 'z']",
            "['a', 'b'] x",
            "['a\\']",
            "{'a'}",
            "{'a': 1 'b': 2}",
            "[a, b]",
            "f(",
            "1-2x",
            "array(['a'], dtype=object",
            "array(['a'], 3)",
            "{['a']: 1}",
            "['\\xg1']",
            "['\\ud800']",
            "open('x', mode='w'",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(DEPTH_MAX + 1)).is_some());
        assert_eq!(parse(&nested(DEPTH_MAX + 2)), None);
        assert_eq!(parse(&"[".repeat(100_000)), None);
    }
}
