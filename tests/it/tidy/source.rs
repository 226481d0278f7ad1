//! A reader of Rust source for the checks: returns the code without comments, string literals and tests.

use std::path::Path;

use crate::support::root;

/// Code with comments and the insides of literals blanked out; lines are where they were.
pub struct Code(pub String);

impl Code {
    /// Returns the 1-based line of a byte offset.
    pub fn line_of(&self, offset: usize) -> usize {
        self.0[..offset].matches('\n').count() + 1
    }

    /// Returns every place of a piece of code as `file:line: piece`.
    pub fn places_of(&self, piece: &str, name: &str) -> Vec<String> {
        let is_whole = |start: &usize| {
            let before = self.0[..*start].chars().next_back();
            !piece.starts_with(char::is_alphabetic)
                || !before.is_some_and(|character| character.is_alphanumeric() || character == '_')
        };
        let starts = self.0.match_indices(piece).map(|(start, _)| start).filter(is_whole);
        starts.map(|start| format!("{name}:{}: {piece}", self.line_of(start))).collect()
    }
}

/// A Rust file.
pub struct Source {
    /// The path relative to the repository, with slashes.
    pub name: String,
    /// The text as it stands.
    pub raw: String,
    /// Its code, with everything under `#[cfg(test)]` blanked out too.
    pub code: Code,
    /// All its code.
    pub all_code: Code,
    /// Whether it holds nothing but tests and what they need.
    pub is_test: bool,
}

impl Source {
    /// Reads a file of the repository.
    pub fn read(path: &Path) -> Self {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
        Self::parse(&name, &std::fs::read_to_string(path).unwrap())
    }

    /// Takes a text for the file of a name.
    pub fn parse(name: &str, raw: &str) -> Self {
        let all_code = blank_texts(raw);
        let code = Code(blank_tests(&all_code));
        let stem = name.rsplit('/').next().unwrap_or(name).trim_end_matches(".rs");
        let is_test = name.starts_with("tests/") || stem.ends_with("tests") || stem == "testing";
        Self { name: name.to_owned(), raw: raw.to_owned(), code, all_code: Code(all_code), is_test }
    }
}

/// Blanks comments and the insides of string and character literals; keeps line ends.
fn blank_texts(raw: &str) -> String {
    let bytes = raw.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => find(bytes, at, b"\n"),
            b'/' if bytes[at..].starts_with(b"/*") => end_of_comment(bytes, at),
            b'r' if !follows_name(bytes, at) && raw_string_hashes(bytes, at).is_some() => {
                let hashes = raw_string_hashes(bytes, at).unwrap_or_default();
                let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
                find(bytes, at + hashes + 2, &close) + close.len()
            }
            b'"' => end_of_string(bytes, at),
            b'\'' => end_of_character(bytes, at),
            _ => {
                at += 1;
                continue;
            }
        };
        let end = end.min(bytes.len());
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8(out).expect("whole literals and comments are blanked")
}

fn find(bytes: &[u8], from: usize, needle: &[u8]) -> usize {
    let found = bytes[from.min(bytes.len())..].windows(needle.len()).position(|window| window == needle);
    found.map_or(bytes.len(), |offset| from + offset)
}

fn end_of_comment(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            (at, depth) = (at + 2, depth + 1);
        } else if bytes[at..].starts_with(b"*/") {
            (at, depth) = (at + 2, depth - 1);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// Returns the end of a character literal, or one past the quote of a lifetime.
fn end_of_character(bytes: &[u8], start: usize) -> usize {
    if bytes.get(start + 1) == Some(&b'\\') {
        return find(bytes, start + 3, b"'") + 1;
    }
    // One character of any width; a lifetime has no quote after its first letter.
    let width =
        std::str::from_utf8(&bytes[start + 1..]).ok().and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8);
    if bytes.get(start + 1 + width) == Some(&b'\'') { start + width + 2 } else { start + 1 }
}

fn follows_name(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() && bytes[at - 1] != b'b' || bytes[at - 1] == b'_')
}

/// Returns the number of hashes if a raw string begins here.
fn raw_string_hashes(bytes: &[u8], at: usize) -> Option<usize> {
    let hashes = bytes[at + 1..].iter().take_while(|byte| **byte == b'#').count();
    (bytes.get(at + 1 + hashes) == Some(&b'"')).then_some(hashes)
}

/// Blanks the items under `#[cfg(test)]`, up to their closing brace or semicolon.
fn blank_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = code.to_owned();
    let mut from = 0;
    while let Some(offset) = out[from..].find(MARK) {
        let start = from + offset;
        let end = end_of_item(&out, start + MARK.len());
        let blank: String = out[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(start..end, &blank);
        from = start + blank.len();
    }
    out
}

/// Returns the end of the item that begins at `from`: its closing brace, or a semicolon before any brace.
fn end_of_item(code: &str, from: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, character) in code[from..].char_indices() {
        match character {
            ';' if depth == 0 => return from + offset + 1,
            '{' | '[' | '(' => depth += 1,
            ']' | ')' => depth = depth.saturating_sub(1),
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return from + offset + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

#[test]
fn comments_texts_and_tests_are_no_code() {
    let text = "let a = \"x // y\"; // c\nlet b = r#\"q\"uote\"#; /* d /* e */ f */ let c = '\"';\n\
                let d: &'static str = b\"\\\"\"; let e = '\\''; g();\n#[cfg(test)]\nfn t() { h(); }\nfn u() {}\n";
    let source = Source::parse("src/x.rs", text);
    let squeezed = |code: &Code| code.0.split_whitespace().collect::<Vec<_>>().join(" ");
    let common = "let a = ; let b = ; let c = ; let d: & static str = b ; let e = ; g();";
    assert_eq!(squeezed(&source.code), format!("{common} fn u() {{}}"));
    assert_eq!(squeezed(&source.all_code), format!("{common} #[cfg(test)] fn t() {{ h(); }} fn u() {{}}"));
    assert_eq!(source.code.places_of("g()", "x"), ["x:3: g()"]);
    assert_eq!(source.code.0.lines().count(), text.lines().count());
}
