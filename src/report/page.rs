//! The page: figures, reader, style and script in one file, or a page without entries that a server fills.

use std::collections::BTreeSet;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::entries::Entry;
use super::svg::escape;

const PAGE: &str = include_str!("page.html");
/// The page's style.
pub const STYLE: &str = include_str!("style.css");
/// The page's script.
pub const SCRIPT: &str = include_str!("reader.js");

/// The inputs of a page.
#[derive(Debug)]
pub struct PageOptions<'a> {
    /// The name of the run.
    pub title: &'a str,
    /// One line about the run.
    pub subtitle: &'a str,
    /// The figures, as HTML.
    pub summary: &'a str,
}

/// The choices of the reader's filters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choices {
    /// Outcomes that occur.
    pub outcomes: BTreeSet<String>,
    /// Difficulty labels that occur.
    pub difficulties: BTreeSet<String>,
    /// Sources that occur.
    pub sources: BTreeSet<String>,
}

impl Choices {
    /// Adds the values of an entry.
    pub fn add(&mut self, entry: &Entry) {
        self.outcomes.insert(entry.outcome.clone());
        self.sources.insert(entry.source.clone());
        if !entry.difficulty.is_empty() {
            self.difficulties.insert(entry.difficulty.clone());
        }
    }

    /// Returns the choices by the name of their filter.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        json!({"outcome": self.outcomes, "difficulty": self.difficulties, "source": self.sources})
    }
}

/// Returns the page as one file that makes no request.
#[must_use]
pub fn file(options: &PageOptions<'_>, entries: &[Entry], of: u64) -> String {
    let mut choices = Choices::default();
    entries.iter().for_each(|entry| choices.add(entry));
    let note = if entries.len() as u64 == of {
        format!("All {of} queries.")
    } else {
        format!(
            "{} of {of} queries: a selection from every shard, failed queries first; `thinkloom view` shows all.",
            entries.len()
        )
    };
    let data = json!({"remote": false, "rows": entries}).to_string().replace('<', "\\u003c");
    // The browser runs only this script, whatever a text contains.
    let hash = base64(&Sha256::digest(SCRIPT.as_bytes()));
    let csp = format!("default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{hash}'");
    fill(
        options,
        &choices,
        &note,
        &Parts {
            csp: &csp,
            style: &format!("<style>{STYLE}</style>"),
            data: &format!("<script type=\"application/json\" id=\"reader-data\">{data}</script>"),
            script: &format!("<script>{SCRIPT}</script>"),
        },
    )
}

/// Returns the page of a server, which serves style and script itself. The reader requests changes every `every_ms`
/// milliseconds.
#[must_use]
pub fn shell(options: &PageOptions<'_>, choices: &Choices, every_ms: u64) -> String {
    let data = json!({"remote": true, "every_ms": every_ms});
    fill(
        options,
        choices,
        "Every query, settled or not, from the facts stored so far; the figures cover published shards.",
        &Parts {
            csp: "default-src 'none'; style-src 'self'; img-src data:; script-src 'self'; connect-src 'self'",
            style: "<link rel=\"stylesheet\" href=\"style.css\">",
            data: &format!("<script type=\"application/json\" id=\"reader-data\">{data}</script>"),
            script: "<script src=\"reader.js\" defer></script>",
        },
    )
}

struct Parts<'a> {
    csp: &'a str,
    style: &'a str,
    data: &'a str,
    script: &'a str,
}

fn fill(options: &PageOptions<'_>, choices: &Choices, note: &str, parts: &Parts<'_>) -> String {
    let list = |names: &BTreeSet<String>| -> String {
        names.iter().map(|name| format!("<option value=\"{0}\">{0}</option>", escape(name))).collect()
    };
    let (title, subtitle, note) = (escape(options.title), escape(options.subtitle), escape(note));
    let (outcomes, difficulties, sources) =
        (list(&choices.outcomes), list(&choices.difficulties), list(&choices.sources));
    let values = [
        ("csp", parts.csp),
        ("title", &title),
        ("subtitle", &subtitle),
        ("style", parts.style),
        ("summary", options.summary),
        ("note", &note),
        ("outcomes", &outcomes),
        ("difficulties", &difficulties),
        ("sources", &sources),
        ("version", env!("CARGO_PKG_VERSION")),
        ("data", parts.data),
        ("script", parts.script),
    ];
    // One pass, so that placeholders in inserted texts are not replaced.
    let mut page = String::new();
    let mut rest = PAGE;
    while let Some((before, after)) = rest.split_once('{') {
        page.push_str(before);
        let Some((name, after)) = after.split_once('}') else { break };
        page.push_str(values.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value));
        rest = after;
    }
    page + rest
}

/// Returns bytes in base64 (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number = chunk.iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let letter = LETTERS.get((number >> (18 - 6 * index) & 63) as usize).copied().map_or('=', char::from);
            text.push(if index <= chunk.len() { letter } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_the_standards() {
        let coded: Vec<String> = ["", "f", "fo", "foo", "foob"].iter().map(|text| base64(text.as_bytes())).collect();
        assert_eq!(coded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
    }
}
