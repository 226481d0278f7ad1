//! Compares reference answers as texts, without mathematics.

use unicode_normalization::UnicodeNormalization;

use super::shingles::hash_bytes;
use super::wording;
use crate::domain::Kind;

/// Returns a key that equal reference answers share, never 0; `None` without an answer to compare.
///
/// The key of a program depends on its tests, in any order, or on its text if there are none; the key of a choice
/// depends on the choice's text, since letters depend on the order of choices. Numbers are equal in any spelling
/// (`1,000`, `1000.0`, `$1000`). All other answers are compared as text, composed and with runs of whitespace as one
/// space; for kinds `choice` and `text` in lower case. `1/2` and `0.5` have different keys.
#[must_use]
pub fn gold_key(kind: Kind, gold: &str, choices: &[String], tests: &[String]) -> Option<u64> {
    let text = match kind {
        Kind::Code if !tests.is_empty() => {
            let mut tests: Vec<String> = tests.iter().map(|test| collapse(test)).collect();
            tests.sort_unstable();
            tests.join("\n")
        }
        Kind::Code => collapse(gold),
        Kind::Choice => choice_text(gold, choices).map_or_else(|| collapse(gold), collapse).to_lowercase(),
        Kind::Text => number(gold).unwrap_or_else(|| collapse(gold).to_lowercase()),
        Kind::Math | Kind::Numeric => number(gold).unwrap_or_else(|| collapse(gold)),
    };
    (!text.is_empty()).then(|| hash_bytes(text.as_bytes()).max(1))
}

/// Returns whether two queries with near texts and this answer may be the same question: see [`wording::is_telling`].
/// For a choice, the choice's text counts.
#[must_use]
pub fn is_telling(kind: Kind, gold: &str, choices: &[String]) -> bool {
    let text = if kind == Kind::Choice { choice_text(gold, choices) } else { Some(gold) };
    text.is_some_and(|text| wording::is_telling(kind, text))
}

fn choice_text<'a>(gold: &str, choices: &'a [String]) -> Option<&'a str> {
    let mut letters = gold.trim().bytes();
    let index = letters.next()?.to_ascii_uppercase().checked_sub(b'A')?;
    if letters.next().is_some() { None } else { choices.get(usize::from(index)).map(String::as_str) }
}

fn collapse(text: &str) -> String {
    let composed: String = text.nfkc().collect();
    composed.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns a plain decimal number in its canonical spelling.
fn number(text: &str) -> Option<String> {
    let text = collapse(text);
    let text = text.trim_end_matches(['.', '$']).trim_start_matches("\\$").trim_start_matches('$').trim();
    let (sign, digits) = match text.strip_prefix(['-', '\u{2212}']) {
        Some(digits) => ("-", digits.trim_start_matches('$')),
        None => ("", text.trim_start_matches('+')),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let groups: Vec<&str> = whole.split(',').collect();
    let is_grouped = groups.len() == 1 || groups.iter().skip(1).all(|group| group.len() == 3);
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let whole = groups.concat();
    if !is_grouped || (whole.is_empty() && part.is_empty()) || !is_digits(&whole) || !is_digits(part) {
        return None;
    }
    let (whole, part) = (whole.trim_start_matches('0'), part.trim_end_matches('0'));
    let whole = if whole.is_empty() { "0" } else { whole };
    let sign = if whole == "0" && part.is_empty() { "" } else { sign };
    Some(if part.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: Kind, gold: &str) -> Option<u64> {
        gold_key(kind, gold, &[], &[])
    }

    #[test]
    fn numbers_are_equal_however_they_are_written() {
        for same in ["1000", "1,000", "1000.0", "$1000", "1000.", " 01000 ", "\\$1,000.00"] {
            assert_eq!(key(Kind::Numeric, same), key(Kind::Math, "1000"), "{same}");
        }
        for other in ["1001", "-1000", "1000.5", "1000 cm", "10,00", "1000%"] {
            assert_ne!(key(Kind::Numeric, other), key(Kind::Numeric, "1000"), "{other}");
        }
        assert_eq!(key(Kind::Numeric, "-0.0"), key(Kind::Numeric, "0"));
        assert_ne!(key(Kind::Math, "a"), key(Kind::Math, "A"));
        assert_eq!(key(Kind::Text, "Paris"), key(Kind::Text, " paris"));
        assert_eq!(key(Kind::Math, " "), None);
    }

    #[test]
    fn choices_are_compared_by_text_and_programs_by_their_tests() {
        let list = |items: &[&str]| items.iter().map(|&item| item.to_owned()).collect::<Vec<_>>();
        let choice = |gold: &str, choices: &[&str]| gold_key(Kind::Choice, gold, &list(choices), &[]);
        assert_eq!(choice("A", &["ice", "fire"]), choice("b", &["fire", "Ice"]));
        assert_ne!(choice("A", &["ice", "fire"]), choice("B", &["ice", "fire"]));
        let code = |gold: &str, tests: &[&str]| gold_key(Kind::Code, gold, &[], &list(tests));
        assert_eq!(code("x = 1", &["a", "b"]), code("y = 2", &["b", "a"]));
        assert_ne!(code("x = 1", &["a"]), code("x = 1", &["b"]));
        assert_ne!(code("x = 1", &[]), code("x = 2", &[]));
    }
}
