//! Patterns that cut text before merging, matched in time linear in the text.
//!
//! Patterns come with models and are written for backtracking engines, which take hours on some patterns. Here each
//! pattern runs on finite automata instead, with one construct that automata lack: the look-ahead `\s+(?!\S)`, which
//! almost all models have as a separate alternative. It matches white space up to the end of the text, and, before any
//! other character, all of the white space except its last character. Therefore two alternatives replace it, and the
//! matches of the second one lose their last character.
//!
//! A pattern whose meaning could differ between the two kinds of engines is rejected by name (see [`check_portable`]).
//! A search for the leftmost match may read the rest of the text again for every match, so patterns outside [`KNOWN`]
//! look at most [`WINDOW_BYTES`] ahead, and patterns in [`KNOWN`] look at most [`KNOWN_WINDOW_BYTES`] ahead; longer
//! pieces are cut at the window's end.

use regex_automata::meta::Regex;
use regex_automata::util::syntax;
use regex_automata::{Input, Match, PatternID};
use tokenizers::Offsets;

/// Maximum bytes of a pattern; models have up to 1,400.
const PATTERN_BYTES_MAX: usize = 16 << 10;
/// Maximum bytes of the automaton; automata of models take less than 1 MB.
const AUTOMATON_BYTES_MAX: usize = 16 << 20;
/// Maximum bytes of one piece for patterns outside [`KNOWN`].
const WINDOW_BYTES: usize = 4 << 10;
/// The same limit for patterns in [`KNOWN`]: merging takes some hundred bytes of memory per byte of a piece.
const KNOWN_WINDOW_BYTES: usize = 256 << 10;

/// GPT-2's pattern.
pub(super) const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Llama 3's pattern.
pub(crate) const LLAMA3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
/// Qwen 2's pattern.
pub(super) const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
/// The pattern of Mistral's Tekken.
pub(super) const TEKKEN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
/// Patterns that were examined: on any text, they look only a bounded distance beyond their matches, so pieces may have
/// any length.
pub(super) const KNOWN: &[&str] = &[GPT2, LLAMA3, QWEN2, TEKKEN];

/// The only supported look-ahead.
const LOOK_AHEAD: &str = r"\s+(?!\S)";

/// A compiled pattern.
#[derive(Debug, Clone)]
pub struct Pattern {
    regex: Regex,
    /// The alternative whose matches lose their last character, if the pattern has one.
    shortened: Option<PatternID>,
    window: usize,
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// A message that says why the pattern is not supported.
    pub fn new(pattern: &str) -> Result<Self, String> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(format!("it has {} bytes; at most {PATTERN_BYTES_MAX} are read", pattern.len()));
        }
        check_portable(pattern)?;
        let (mut parts, mut shortened) = (Vec::new(), None);
        for alternative in alternatives(pattern) {
            if alternative == LOOK_AHEAD {
                parts.push(r"\s+\z");
                shortened = Some(PatternID::must(parts.len()));
                parts.push(r"\s+\s");
            } else {
                parts.push(alternative);
            }
        }
        // In Ruby's syntax, which the original engine uses, `$` matches at line ends also.
        let config = syntax::Config::new().multi_line(true);
        let mut parsed = Vec::new();
        for part in parts {
            let part = syntax::parse_with(part, &config);
            parsed.push(part.map_err(|error| error.to_string().lines().last().unwrap_or_default().to_owned())?);
        }
        if parsed.iter().any(|part| part.properties().minimum_len().is_none_or(|length| length == 0)) {
            return Err("it matches the empty text".to_owned());
        }
        let limits = Regex::config().nfa_size_limit(Some(AUTOMATON_BYTES_MAX));
        let regex = Regex::builder().configure(limits).build_many_from_hir(&parsed);
        let regex = regex.map_err(|error| format!("it is too large: {error}"))?;
        let window = if KNOWN.contains(&pattern) { KNOWN_WINDOW_BYTES } else { WINDOW_BYTES };
        Ok(Self { regex, shortened, window })
    }

    /// Compiles a pattern that matches `text` literally.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn literal(text: &str) -> Result<Self, String> {
        let escaped: String = text.chars().map(|letter| format!("\\x{{{:x}}}", u32::from(letter))).collect();
        let pattern = Self::new(&escaped)?;
        // A literal never looks further than its own length.
        Ok(Self { window: usize::MAX, ..pattern })
    }

    /// Returns the next match at or after byte `start`.
    fn next(&self, text: &str, start: usize) -> Option<(usize, usize)> {
        let half = self.window / 2;
        let mut from = start;
        let mut found = loop {
            let found = self.search(text, from);
            let is_last = self.end_of_window(text, from) == text.len();
            match found {
                // A match that begins in the first half has at least half a window before it is cut.
                Some(found) if is_last || found.start() - from <= half => break found,
                None if is_last => return None,
                // No match begins in the first half.
                _ => from = boundary(text, from + half),
            }
        };
        if found.start() > from {
            // Search again, so that the match has a whole window.
            found = self.search(text, found.start())?;
        }
        let mut matched = found.range();
        if Some(found.pattern()) == self.shortened {
            let last = text.get(matched.clone()).and_then(|text| text.chars().next_back());
            matched.end -= last.map_or(0, char::len_utf8);
        }
        Some((matched.start, matched.end))
    }

    fn search(&self, text: &str, from: usize) -> Option<Match> {
        self.regex.search(&Input::new(text).range(from..self.end_of_window(text, from)))
    }

    fn end_of_window(&self, text: &str, from: usize) -> usize {
        boundary(text, from.saturating_add(self.window))
    }
}

/// Returns the last byte position up to `at` at which a character begins or the text ends.
fn boundary(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

impl tokenizers::tokenizer::pattern::Pattern for &Pattern {
    fn find_matches(&self, inside: &str) -> tokenizers::Result<Vec<(Offsets, bool)>> {
        if inside.is_empty() {
            return Ok(vec![((0, 0), false)]);
        }
        let (mut pieces, mut at) = (Vec::new(), 0);
        while let Some((start, end)) = self.next(inside, at).filter(|(start, end)| start < end) {
            if at < start {
                pieces.push(((at, start), false));
            }
            pieces.push(((start, end), true));
            at = end;
        }
        if at < inside.len() {
            pieces.push(((at, inside.len()), false));
        }
        Ok(pieces)
    }
}

/// Splits a pattern at the bars outside of groups and classes.
fn alternatives(pattern: &str) -> Vec<&str> {
    let (mut found, mut start) = (Vec::new(), 0);
    let (mut groups, mut classes, mut is_escaped) = (0_usize, 0_usize, false);
    for (at, letter) in pattern.char_indices() {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '[' => classes += 1,
            ']' => classes = classes.saturating_sub(1),
            '(' if classes == 0 => groups += 1,
            ')' if classes == 0 => groups = groups.saturating_sub(1),
            '|' if classes == 0 && groups == 0 => {
                found.extend(pattern.get(start..at));
                start = at + 1;
            }
            _ => {}
        }
    }
    found.extend(pattern.get(start..));
    found
}

/// Checks that each construct of a pattern has the same meaning in the engine that the pattern was written for:
/// Oniguruma with Ruby's syntax. In that engine a second `+` makes a repetition possessive, `(?i)` extends over the
/// bars of its group, classes between colons are not limited to ASCII, and `\x` without braces is a byte.
fn check_portable(pattern: &str) -> Result<(), String> {
    let refuse =
        |what: &str| Err(format!("it has {what}, which thinkloom may match differently from the model's tokenizer"));
    let (mut classes, mut after_repeat) = (0_usize, false);
    let mut rest = pattern;
    while let Some(letter) = rest.chars().next() {
        let tail = rest.get(letter.len_utf8()..).unwrap_or_default();
        let mut step = letter.len_utf8();
        let mut repeats = false;
        match letter {
            '\\' => {
                let escaped = tail.chars().next().unwrap_or('\\');
                step += escaped.len_utf8();
                let is_known = matches!(escaped, 'p' | 'P' | 's' | 'S' | 'd' | 'D' | 'r' | 'n' | 't' | 'f')
                    || escaped == 'z' && classes == 0
                    || escaped == 'x' && tail.starts_with("x{")
                    || escaped.is_ascii_punctuation()
                    || escaped == ' ';
                if !is_known {
                    return refuse(&format!("\\{escaped}"));
                }
                // Inside the braces of a property or a number, no character is syntax.
                if matches!(escaped, 'p' | 'P' | 'x') && tail.get(1..).is_some_and(|tail| tail.starts_with('{')) {
                    step += tail.find('}').unwrap_or(tail.len() - 1);
                }
            }
            '[' => {
                if tail.starts_with(':') && classes > 0 {
                    return refuse("a class between colons");
                }
                if tail.starts_with(']') || tail.starts_with("^]") {
                    return refuse("a class that begins with its end");
                }
                classes += 1;
            }
            ']' if classes > 0 => classes -= 1,
            '-' | '~' if classes > 0 && tail.starts_with(letter) => return refuse("a difference of classes"),
            _ if classes > 0 => {}
            '^' => return refuse("^"),
            '(' if tail.starts_with('?') => {
                let opening = ["?:", "?i:"].iter().find(|opening| tail.starts_with(**opening));
                match opening {
                    Some(opening) => step += opening.len(),
                    None if rest.starts_with(r"(?!\S)") => step = r"(?!\S)".len(),
                    None => return refuse(&format!("({}", tail.chars().take(3).collect::<String>())),
                }
            }
            '*' | '+' | '?' | '{' if after_repeat && letter != '?' => return refuse("a repetition of a repetition"),
            '{' => {
                let Some(end) = tail.find('}') else { return refuse("a brace that is not closed") };
                let counts = tail.get(..end).unwrap_or_default();
                let is_count = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                let (from, to) = counts.split_once(',').unwrap_or((counts, counts));
                if !is_count(from) || !(to.is_empty() || is_count(to)) {
                    return refuse("a brace that is not a count");
                }
                step += end + 1;
                if tail.get(end + 1..).is_some_and(|tail| tail.starts_with(['?', '+'])) {
                    return refuse("a repetition of a repetition");
                }
                repeats = true;
            }
            '*' | '+' | '?' => repeats = !after_repeat,
            _ => {}
        }
        // A question mark after a repetition makes the repetition lazy; no further repetition may follow.
        after_repeat = repeats || after_repeat && letter == '?' && classes == 0;
        rest = rest.get(step..).unwrap_or_default();
    }
    // A look-ahead that is not a separate alternative.
    let is_elsewhere = |alternative: &&str| alternative.contains("(?!") && *alternative != LOOK_AHEAD;
    match alternatives(pattern).iter().any(is_elsewhere) {
        true => refuse("a look-ahead other than \\s+(?!\\S) as an alternative of its own"),
        false => Ok(()),
    }
}

#[cfg(test)]
#[path = "pattern_tests.rs"]
mod tests;
