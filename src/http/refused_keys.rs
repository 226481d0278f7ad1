//! Finds the key of a request's body that a server refuses, from the server's error.
//!
//! Servers name the key in many ways: OpenAI's `param`, pydantic's `loc`, JSON schema's `additionalProperty`, or a
//! sentence with the key before or after the refusal. Only keys that were sent are considered. A key whose **value** is
//! refused (a limit that is too large, a temperature out of its range) is not refused, and neither is a key in an error
//! about the length of the prompt. `response_format` is the exception: its only value is `json_object`, so a server
//! that names it refuses it.

use serde_json::Value;

use super::retry::says_context_overflow;

/// The statuses of key refusals; 200 represents an error object in a successful response.
const STATUSES: &[u16] = &[200, 400, 406, 422, 500, 501];
/// Keys that every request needs.
const NEEDED: &[&str] = &["model", "messages"];
/// The maximum depth of the search in an error.
const DEPTH_MAX: usize = 8;
/// The maximum length of a sentence, in bytes; the rest is ignored.
const STATEMENT_BYTES_MAX: usize = 8000;

/// Error codes and types for an unsupported parameter.
const CODES: &[&str] = &[
    "unsupported_parameter",
    "unknown_parameter",
    "unsupported_value",
    "unrecognized_parameter",
    "unexpected_parameter",
    "invalid_parameter_name",
    "extra_forbidden",
    "value_error.extra",
    "unexpected_keyword_argument",
    "unrecognized_keys",
    "unknown_field",
];

/// Phrases of a refusal.
const REFUSALS: &[&str] = &[
    "unknown",
    "unsupported",
    "unrecognized",
    "unrecognised",
    "unexpected",
    "unpermitted",
    "extraneous",
    "extra_forbidden",
    "not support",
    "n't support",
    "no longer support",
    "not permitted",
    "not allowed",
    "not recognized",
    "not recognised",
    "not accepted",
    "not implemented",
    "not available",
    "not a valid parameter",
    "not a valid field",
    "not a recognized",
    "unavailable",
    "forbidden",
    "deprecated",
    "cannot find field",
    "no such field",
    "no such parameter",
    "only the default",
    "is allowed for this model",
    "invalid parameter",
    "invalid argument",
    "invalid field",
    "\u{4e0d}\u{652f}\u{6301}",
];

/// Phrases for two keys that exclude each other.
const EXCLUSIVE: &[&str] =
    &["cannot both", "can't both", "mutually exclusive", "cannot be used together", "only one of", "not both"];

/// Phrases about a value.
const VALUE_WORDS: &[&str] = &[
    "must be",
    "should be",
    "must have",
    "less than",
    "greater than",
    "at most",
    "at least",
    "too large",
    "too small",
    "too long",
    "too high",
    "too low",
    "out of range",
    "range of",
    "exceed",
    "maximum",
    "minimum",
    "<=",
    ">=",
    "between",
    "up to",
    "larger than",
    "smaller than",
    "wrong type",
    "invalid type",
];

/// Phrases of a refusal after which other keys are listed.
const CUTS: &[&str] = &[
    "expected one of",
    ", expected",
    "did you mean",
    "known propert",
    "valid field",
    "valid parameter",
    "supported parameter",
    "allowed parameter",
    "available parameter",
    "must be one of",
    " use ",
    "instead",
    "please",
    "to drop",
    " when ",
    " with `",
    " with '",
    " unless ",
    " because ",
    " if ",
];

/// Words that may occur between a refusal and an unquoted key that is a common word.
const FILLERS: &[&str] = &[
    "parameter",
    "parameters",
    "parameter(s",
    "argument",
    "arguments",
    "field",
    "fields",
    "key",
    "keys",
    "property",
    "properties",
    "input",
    "inputs",
    "extra",
    "request",
    "supplied",
    "the",
    "name",
    "body",
    "option",
    "options",
    "keyword",
    "is",
    "are",
    "was",
    "in",
    "on",
    "this",
    "model",
    "setting",
    "a",
    "an",
    "value",
    "currently",
    "of",
    "type",
    "by",
    "json",
    "query",
    "only",
];

/// Returns the key of a request that a server's error refuses, if there is one. `sent` are the keys of the request's
/// body.
#[must_use]
pub fn refused_key(status: u16, body: &str, sent: &[String]) -> Option<String> {
    if !STATUSES.contains(&status) {
        return None;
    }
    let sent: Vec<&str> = sent.iter().map(String::as_str).filter(|key| !NEEDED.contains(key)).collect();
    match serde_json::from_str::<Value>(body.trim()) {
        Ok(value) => {
            let mut statements = Vec::new();
            gather(&value, &mut statements, 0);
            if statements.iter().any(|statement| says_context_overflow(None, statement)) {
                return None;
            }
            let structured = in_structure(&value, &sent, 0);
            structured.or_else(|| statements.iter().find_map(|statement| in_text(statement, &sent)))
        }
        // An HTML page does not name a refused key.
        Err(_) if body.trim_start().starts_with('<') => None,
        Err(_) => in_text(body, &sent),
    }
    .map(str::to_owned)
}

/// Collects the sentences of an error, at any depth.
fn gather(value: &Value, statements: &mut Vec<String>, depth: usize) {
    const NAMES: &[&str] = &[
        "message",
        "msg",
        "detail",
        "details",
        "error",
        "errors",
        "title",
        "description",
        "reason",
        "raw",
        "error_description",
        "error_message",
        "errormessage",
        "cause",
        "error_msg",
    ];
    if depth > DEPTH_MAX {
        return;
    }
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if NAMES.contains(&name.to_lowercase().as_str()) => match nested(text) {
                        Some(inner) => gather(&inner, statements, depth + 1),
                        None => statements.push(text.clone()),
                    },
                    Value::Array(items) => {
                        let texts = items.iter().filter_map(Value::as_str).map(str::to_owned);
                        statements.extend(texts.filter(|_| NAMES.contains(&name.to_lowercase().as_str())));
                        gather(member, statements, depth + 1);
                    }
                    other => gather(other, statements, depth + 1),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, statements, depth + 1)),
        _ => {}
    }
}

/// Parses JSON that a gateway put into a text.
fn nested(text: &str) -> Option<Value> {
    let trimmed = text.trim();
    trimmed.starts_with(['{', '[']).then(|| serde_json::from_str(trimmed).ok()).flatten()
}

/// Searches for a key in the fields of an error, outside its sentences.
fn in_structure<'a>(value: &Value, sent: &[&'a str], depth: usize) -> Option<&'a str> {
    if depth > DEPTH_MAX {
        return None;
    }
    match value {
        Value::Object(members) => {
            let text = |name: &str| members.get(name).and_then(Value::as_str);
            let words: Vec<&str> =
                ["code", "type", "message", "msg", "detail"].iter().filter_map(|name| text(name)).collect();
            let named = named_key(members, sent);
            if let Some(key) = named
                && (key == "response_format" || refuses(&words))
            {
                return Some(key);
            }
            let listed = |key: &&&'a str| match members.get(**key) {
                Some(Value::String(said)) => refuses(&[said]),
                Some(Value::Array(said)) => said.iter().filter_map(Value::as_str).any(|said| refuses(&[said])),
                _ => false,
            };
            if let Some(key) = sent.iter().find(listed) {
                return Some(key);
            }
            let texts = members.values().filter_map(Value::as_str).filter_map(nested);
            let inner = texts.filter_map(|inner| in_structure(&inner, sent, depth + 1)).next();
            inner.or_else(|| members.values().find_map(|member| in_structure(member, sent, depth + 1)))
        }
        Value::Array(items) => items.iter().find_map(|item| in_structure(item, sent, depth + 1)),
        _ => None,
    }
}

/// Returns the key in an error object's `param`, `loc`, `additionalProperty`, `keys` or `field`.
fn named_key<'a>(members: &serde_json::Map<String, Value>, sent: &[&'a str]) -> Option<&'a str> {
    let known = |name: &str| {
        let first = name.trim_start_matches("body.").trim_start_matches("$.").trim_start_matches('/');
        let first = first.split(['.', '[', '/']).next().unwrap_or(first);
        sent.iter().copied().find(|key| is_spelling(key, &first.to_lowercase()))
    };
    let single = ["param", "parameter", "additionalProperty", "field", "property", "path", "instancePath"];
    if let Some(key) = single.iter().filter_map(|name| members.get(*name)?.as_str()).find_map(known) {
        return Some(key);
    }
    let several = ["loc", "keys", "path", "params"].iter().filter_map(|name| members.get(*name)?.as_array());
    // A deeper path in a key's value concerns that value.
    let mut several = several.filter_map(|parts| {
        parts.iter().filter_map(Value::as_str).find(|part| !matches!(*part, "body" | "query" | "root"))
    });
    let key = several.find_map(known);
    // AJV puts the key under `params`.
    key.or_else(|| known(members.get("params")?.get("additionalProperty")?.as_str()?))
}

/// Returns whether the words state that something is not supported, and not that its value is wrong.
fn refuses(words: &[&str]) -> bool {
    let lower: Vec<String> = words.iter().map(|words| words.to_lowercase()).collect();
    let is_code = lower.iter().any(|words| CODES.contains(&words.as_str()));
    let says = |list: &[&str]| lower.iter().any(|text| list.iter().any(|words| text.contains(words)));
    let is_about_keys = says(&["additional propert", "extra field", "extra input"]);
    is_code || is_about_keys || (says(REFUSALS) && !says(VALUE_WORDS))
}

fn is_spelling(key: &str, lower: &str) -> bool {
    key == lower || (key.contains('_') && key.replace('_', "") == lower)
}

/// Searches for a key in a server's sentences.
fn in_text<'a>(text: &str, sent: &[&'a str]) -> Option<&'a str> {
    let cut = text.char_indices().map(|(at, _)| at).find(|at| *at >= STATEMENT_BYTES_MAX).unwrap_or(text.len());
    let lower = text.get(..cut).unwrap_or(text).to_lowercase().replace(['\n', '\r', '\t'], " ");
    if says_context_overflow(None, &lower) {
        return None;
    }
    let is_named = |key: &str| !mentions(&lower, key).is_empty();
    if sent.contains(&"response_format") && is_named("response_format") {
        return sent.iter().copied().find(|key| *key == "response_format");
    }
    lower.split(". ").find_map(|sentence| in_sentence(sentence, sent))
}

/// Searches for the key nearest to a refusal.
fn in_sentence<'a>(sentence: &str, sent: &[&'a str]) -> Option<&'a str> {
    if EXCLUSIVE.iter().any(|words| sentence.contains(words)) {
        // Of two keys that exclude each other, the narrower one is omitted.
        let order = ["top_p", "top_k", "min_p", "temperature"];
        let mut order = order.iter().filter_map(|name| sent.iter().copied().find(|key| key == name));
        return order.find(|key| !mentions(sentence, key).is_empty());
    }
    let is_default_only = sentence.contains("only the default") || sentence.contains("is allowed for this model");
    if !is_default_only && VALUE_WORDS.iter().any(|words| sentence.contains(words)) {
        return None;
    }
    let refusals: Vec<(usize, usize)> = REFUSALS
        .iter()
        .flat_map(|words| sentence.match_indices(words).map(|(at, found)| (at, word_end(sentence, at + found.len()))))
        .collect();
    let mut nearest: Option<(usize, &'a str)> = None;
    for key in sent {
        for mention in mentions(sentence, key) {
            let gaps = refusals.iter().filter_map(|refusal| gap(sentence, *refusal, &mention, key));
            if let Some(gap) = gaps.min()
                && nearest.is_none_or(|(smallest, _)| gap < smallest)
            {
                nearest = Some((gap, key));
            }
        }
    }
    nearest.map(|(_, key)| key)
}

/// Returns the end of the word that covers a position.
fn word_end(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len())
}

/// An occurrence of a key.
struct Mention {
    start: usize,
    end: usize,
    is_quoted: bool,
}

/// Finds a key in a lower-case text, as a separate word.
fn mentions(text: &str, key: &str) -> Vec<Mention> {
    let joined = key.replace('_', "");
    let spellings = if joined == key { vec![key.to_owned()] } else { vec![key.to_owned(), joined] };
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let mut found = Vec::new();
    for spelling in spellings {
        for (start, _) in text.match_indices(&spelling) {
            let end = start + spelling.len();
            let before = text.get(..start).and_then(|before| before.chars().next_back());
            let after = text.get(end..).and_then(|after| after.chars().next());
            if before.is_some_and(is_word) || after.is_some_and(is_word) {
                continue;
            }
            let is_quoted = after.is_some_and(|c| matches!(c, '\'' | '"' | '`' | ']' | '\\' | '\u{201d}' | '\u{2019}'));
            found.push(Mention { start, end, is_quoted });
        }
    }
    found
}

/// Returns the distance of an occurrence from a refusal, if the refusal concerns the key.
fn gap(sentence: &str, (start, end): (usize, usize), mention: &Mention, key: &str) -> Option<usize> {
    let is_before = mention.end <= start;
    let between = if is_before { sentence.get(mention.end..start) } else { sentence.get(end..mention.start) }?;
    if !is_before && CUTS.iter().any(|words| between.contains(words)) {
        return None;
    }
    let limit = match (mention.is_quoted, key.contains('_')) {
        (true, _) => 60,
        (false, true) => 40,
        // A common word is a key only next to the refusal.
        (false, false) => {
            let words = between.split(|c: char| c.is_whitespace() || ":,;'\"`()[]{}".contains(c));
            let is_filler = |word: &str| FILLERS.contains(&word) || word.parse::<f64>().is_ok();
            let is_beside = words.filter(|word| !word.is_empty()).all(is_filler);
            if is_beside { 60 } else { 0 }
        }
    };
    (between.len() < limit).then_some(between.len())
}

#[cfg(test)]
#[path = "refused_keys_tests.rs"]
mod tests;
