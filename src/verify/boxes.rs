//! Boxed answers.
//!
//! Finds `\boxed{...}` and its variants: with nested braces, unclosed at the end of a line, with one bare token, and
//! `boxed{...}` without its backslash. The last box with content counts. Boxes joined to it by a comma, by "and" or by
//! "or" form one list with it.

use super::math::limits::TEXT_BYTES_MAX;

/// Most boxes that are examined, counted from the end.
const BOXES_MAX: usize = 32;
/// Longest text between two boxes of one answer, in bytes.
const CONNECTOR_BYTES_MAX: usize = 80;

/// Commands that draw a box; a command without a backslash needs a brace after it.
const COMMANDS: &[&str] = &["\\boxed", "\\fbox", "\\framebox", "\u{8}oxed", "boxed"];

/// Tokens that surround the answer of some models.
const TOKENS: (&str, &str) = ("<|begin_of_box|>", "<|end_of_box|>");

/// Returns the content of the last box; boxes joined by "and", "or" or a comma form one list.
pub(super) fn boxed(text: &str) -> Option<String> {
    if let Some((_, rest)) = text.rsplit_once(TOKENS.0) {
        let content = rest.split_once(TOKENS.1).map_or(rest, |(content, _)| content).trim();
        if !content.is_empty() {
            return drawn(content).or_else(|| Some(content.to_owned()));
        }
    }
    drawn(text)
}

/// Returns the content of the last box drawn by a command.
fn drawn(text: &str) -> Option<String> {
    let mut contents: Vec<String> = Vec::new();
    let mut next_start: Option<usize> = None;
    let mut search_end = text.len();
    for _ in 0..BOXES_MAX {
        let Some((start, open)) = last_command(text.get(..search_end)?, text) else { break };
        search_end = start;
        let (content, end) = content(text, open)?;
        if let Some(next) = next_start {
            let Some(between) = text.get(end..next) else { break };
            if !is_connector(between) {
                break;
            }
        }
        if content.trim().is_empty() {
            continue;
        }
        contents.push(content.trim().to_owned());
        next_start = Some(start);
    }
    contents.reverse();
    if contents.iter().all(|content| Some(content) == contents.first()) {
        contents.truncate(1);
    }
    (!contents.is_empty()).then(|| contents.join(", "))
}

/// Returns the start and the end of the last box command in `head`.
fn last_command(head: &str, text: &str) -> Option<(usize, usize)> {
    let mut end = head.len();
    for _ in 0..BOXES_MAX {
        let searched = head.get(..end)?;
        let (start, open) =
            COMMANDS.iter().filter_map(|name| searched.rfind(name).map(|at| (at, at + name.len()))).max_by_key(
                // `\boxed` contains `boxed`: the command that begins first counts.
                |(start, open)| (*open, std::cmp::Reverse(*start)),
            )?;
        let has_backslash = text.get(start..).is_some_and(|rest| rest.starts_with('\\'));
        let has_brace = text.get(open..).is_some_and(|rest| rest.trim_start().starts_with('{'));
        if has_backslash || has_brace {
            return Some((start, open));
        }
        end = start;
    }
    None
}

/// Returns the content after a box command and the offset after the content; an unclosed box ends with its line.
fn content(text: &str, open: usize) -> Option<(&str, usize)> {
    let rest = text.get(open..)?;
    let Some(inner) = rest.trim_start().strip_prefix('{') else {
        // `\boxed 5`
        let body = rest.trim_start();
        let start = open + rest.len() - body.len();
        let len = body
            .char_indices()
            .find(|&(at, c)| {
                let is_point =
                    c == '.' && body.get(at + 1..).is_some_and(|tail| tail.starts_with(|c: char| c.is_ascii_digit()));
                (c.is_whitespace() || matches!(c, '$' | '.' | '\\' | ',' | '}')) && !is_point
            })
            .map_or(body.len(), |(at, _)| at);
        return Some((body.get(..len)?, start + len));
    };
    let start = text.len() - inner.len();
    let mut depth = 1usize;
    let mut escaped = false;
    for (at, character) in inner.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => {
                escaped = true;
                continue;
            }
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        // Far beyond the parser's limit: the verifier rejects the content because of its length.
        if depth == 0 || at > 2 * TEXT_BYTES_MAX {
            return Some((inner.get(..at)?, start + at + usize::from(depth == 0)));
        }
    }
    let line = inner.lines().next().unwrap_or("");
    // A dollar sign or bracket that closes the formula also closes the box.
    let line = ["$", "\\)", "\\]"].iter().fold(line, |line, end| line.split(end).next().unwrap_or(line));
    Some((line, start + line.len()))
}

/// Returns whether the text between two boxes joins them into one answer.
fn is_connector(between: &str) -> bool {
    if between.len() > CONNECTOR_BYTES_MAX {
        return false;
    }
    let mut text = between.to_owned();
    for layout in
        ["\\quad", "\\qquad", "\\text", "\\mathrm", "\\(", "\\)", "\\[", "\\]", "\\,", "\\;", "\\ ", "$", "{", "}"]
    {
        text = text.replace(layout, " ");
    }
    // `y_2 =` before the next box names the box's value.
    if let Some((before, after)) = text.rsplit_once('=') {
        if !after.trim().is_empty() {
            return false;
        }
        let name = before.trim_end();
        let len =
            name.chars().rev().take_while(|c| c.is_alphanumeric() || *c == '_').map(char::len_utf8).sum::<usize>();
        text = name.get(..name.len() - len).unwrap_or("").to_owned();
    }
    let text = text.replace(['\u{3001}', '\u{ff0c}'], ",").replace(['\u{548c}', '\u{6216}', '&'], " and ");
    // Boxes side by side on one line.
    if text.trim().is_empty() && !between.contains('\n') {
        return true;
    }
    let joined = text.contains([',', ';']);
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';')).filter(|w| !w.is_empty()).collect();
    let is_part = |word: &str| {
        matches!(word, "for" | "part") || (word.len() == 3 && word.starts_with('(') && word.ends_with(')'))
    };
    let conjunction = words.iter().any(|word| matches!(*word, "and" | "or"));
    (joined || conjunction) && words.iter().all(|word| matches!(*word, "and" | "or") || is_part(word))
}
