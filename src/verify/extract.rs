//! Finds the answer in a response.
//!
//! Strategies in order of trust: boxes, an announced answer, a marker, the whole of a short response, the last math
//! span, the last number or letter. The verifiers choose which of them apply; here each is one pure function over the
//! text. All scans are linear or bounded; positions are byte offsets on character boundaries.
//!
//! No answer is taken from program text: a number at the end of `open('x') or 0` is not an answer.

use super::math::limits::TEXT_BYTES_MAX;

/// How an answer was found; the name is the first part of a verdict's reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strategy {
    /// `\boxed{...}` or `\fbox{...}`.
    Boxed,
    /// "final answer is".
    FinalAnswer,
    /// "answer is", "answer:".
    AnswerIs,
    /// `####`.
    HashMark,
    /// The response is the answer.
    Whole,
    /// The last `$...$`, `\(...\)` or `\[...\]`.
    MathSpan,
    /// The last line.
    LastLine,
    /// The last number.
    LastNumber,
    /// The last letter in brackets or bold.
    LastLetter,
}

impl Strategy {
    /// Returns the stable name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Boxed => "boxed",
            Self::FinalAnswer => "final_answer",
            Self::AnswerIs => "answer_is",
            Self::HashMark => "hash_mark",
            Self::Whole => "whole",
            Self::MathSpan => "math_span",
            Self::LastLine => "last_line",
            Self::LastNumber => "last_number",
            Self::LastLetter => "last_letter",
        }
    }
}

/// Boxes that are looked at from the end, at most.
const BOXES_MAX: usize = 32;
/// Longest text between two boxes of one answer, in bytes.
const CONNECTOR_BYTES_MAX: usize = 80;
/// How far back the last number is looked for, in bytes.
const TAIL_BYTES_MAX: usize = 16_384;
/// Announcements that are tried from the end, at most.
const PHRASES_MAX: usize = 4;

/// Returns what follows the last `</think>`, or everything.
pub(super) fn after_thinking(response: &str) -> &str {
    response.rsplit_once("</think>").map_or(response, |(_, answer)| answer)
}

/// Returns the content of the last box; boxes joined by "and", "or" or a comma form one list.
pub(super) fn boxed(text: &str) -> Option<String> {
    let mut starts: Vec<(usize, usize)> = Vec::new();
    let mut search_end = text.len();
    while starts.len() < BOXES_MAX {
        let head = text.get(..search_end)?;
        let found = [("\\boxed", 6), ("\\fbox", 5)]
            .into_iter()
            .filter_map(|(name, len)| head.rfind(name).map(|at| (at, at + len)));
        let Some((at, open)) = found.max() else { break };
        starts.push((at, open));
        search_end = at;
    }
    let mut contents: Vec<String> = Vec::new();
    let mut next_start: Option<usize> = None;
    for (start, open) in starts {
        let (content, end) = box_content(text, open)?;
        if let Some(next) = next_start {
            let Some(between) = text.get(end..next) else { break };
            if !is_connector(between) {
                break;
            }
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

/// Returns the content after a box command and the offset behind it; an unclosed box ends with its line.
fn box_content(text: &str, open: usize) -> Option<(&str, usize)> {
    let rest = text.get(open..)?;
    let Some(inner) = rest.trim_start().strip_prefix('{') else {
        // `\boxed 5`
        let body = rest.trim_start();
        let start = open + rest.len() - body.len();
        let len = body.find(|c: char| c.is_whitespace() || matches!(c, '$' | '.' | '\\')).unwrap_or(body.len());
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
        // Far beyond what can be read: the verifier will refuse it by its length.
        if depth == 0 || at > 2 * TEXT_BYTES_MAX {
            return Some((inner.get(..at)?, start + at + usize::from(depth == 0)));
        }
    }
    let line = inner.lines().next().unwrap_or("");
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
    // `y_2 =` in front of the next box names its value.
    if let Some((before, after)) = text.rsplit_once('=') {
        if !after.trim().is_empty() {
            return false;
        }
        let name = before.trim_end();
        let len =
            name.chars().rev().take_while(|c| c.is_alphanumeric() || *c == '_').map(char::len_utf8).sum::<usize>();
        text = name.get(..name.len() - len).unwrap_or("").to_owned();
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

/// Returns the last announced answer: the rest of its sentence, or of the formula it starts with.
pub(super) fn announced(text: &str) -> Option<(Strategy, &str)> {
    let lower = text.to_ascii_lowercase();
    let phrases = [
        ("final answer is", Strategy::FinalAnswer),
        ("final answer:", Strategy::FinalAnswer),
        ("answer is", Strategy::AnswerIs),
        ("answer:", Strategy::AnswerIs),
        ("correct choice is", Strategy::AnswerIs),
        ("correct option is", Strategy::AnswerIs),
        ("####", Strategy::HashMark),
    ];
    let mut search_end = lower.len();
    for _ in 0..PHRASES_MAX {
        let head = lower.get(..search_end)?;
        let found = phrases
            .iter()
            .filter_map(|(phrase, strategy)| head.rfind(phrase).map(|at| (at + phrase.len(), phrase.len(), *strategy)))
            .max_by_key(|(end, len, _)| (*end, *len));
        let (end, len, strategy) = found?;
        let sentence = sentence(text.get(end..)?);
        if sentence.chars().any(char::is_alphanumeric) {
            return Some((strategy, sentence));
        }
        search_end = end - len;
    }
    None
}

/// Returns the rest of a sentence; a formula on lines of its own is taken whole.
fn sentence(rest: &str) -> &str {
    let rest = rest.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, ':' | '*' | '=' | '#'));
    for (open, close) in [("\\[", "\\]"), ("$$", "$$")] {
        if let Some(inner) = rest.strip_prefix(open)
            && let Some((formula, _)) = inner.split_once(close)
        {
            return formula.trim();
        }
    }
    let line = rest.lines().next().unwrap_or("");
    let line = line.split("<|").next().unwrap_or("");
    let mut end = line.len();
    for (at, _) in line.match_indices(['.', '\u{3002}']) {
        let after = line.get(at..).and_then(|tail| tail.chars().nth(1));
        if after.is_none_or(char::is_whitespace) || line.get(at..).is_some_and(|tail| tail.starts_with('\u{3002}')) {
            end = at;
            break;
        }
    }
    trim_decoration(line.get(..end).unwrap_or(line))
}

/// Takes Markdown emphasis, quotes and closing punctuation off the ends.
pub(super) fn trim_decoration(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '*' | '"' | '`' | '\u{201c}' | '\u{201d}'))
        .trim_end_matches(['.', ',', ';', ':', '!', '?', '*', '\u{3002}'])
        .trim()
}

/// Returns the content of the last math span that is not empty, and what follows it.
pub(super) fn last_span(text: &str) -> Option<(&str, &str)> {
    let mut found = None;
    let mut rest = text;
    let mut closers_left = [true; 3];
    while let Some(at) = rest.find(['$', '\\']) {
        let tail = rest.get(at..)?;
        let (open, close, slot) = if tail.starts_with("\\(") {
            ("\\(", "\\)", 0)
        } else if tail.starts_with("\\[") {
            ("\\[", "\\]", 1)
        } else if tail.starts_with("$$") {
            ("$$", "$$", 2)
        } else if tail.starts_with('$') {
            ("$", "$", 2)
        } else {
            // Another command or an escaped character.
            let mut characters = tail.chars();
            characters.next();
            characters.next();
            rest = characters.as_str();
            continue;
        };
        let inner = tail.get(open.len()..)?;
        let split = if closers_left.get(slot) == Some(&true) { inner.split_once(close) } else { None };
        let Some((content, after)) = split else {
            if let Some(left) = closers_left.get_mut(slot) {
                *left = false;
            }
            rest = inner;
            continue;
        };
        // A dollar span never crosses a paragraph: the first sign was a price.
        if open == "$" && content.contains("\n\n") {
            rest = inner;
            continue;
        }
        if !content.trim().is_empty() {
            found = Some((content.trim(), after));
        }
        rest = after;
    }
    found
}

/// Returns the last number as written: sign, separators, decimals, simple fraction, exponent, percent sign.
pub(super) fn last_number(text: &str) -> Option<String> {
    let mut start = text.len().saturating_sub(TAIL_BYTES_MAX);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let tail: Vec<char> = text.get(start..)?.chars().collect();
    let last = tail.iter().rposition(char::is_ascii_digit)?;
    if is_program_text(&line_around(&tail, last)) {
        return None;
    }
    let digit = |at: usize| tail.get(at).is_some_and(char::is_ascii_digit);
    let mut first = last;
    while let Some(before) = first.checked_sub(1) {
        let joins = match tail.get(before) {
            Some('.' | ',' | '/') => before > 0 && digit(before - 1),
            Some('e' | 'E') => before > 0 && digit(before - 1),
            Some('+' | '-') => before > 1 && matches!(tail.get(before - 1), Some('e' | 'E')) && digit(before - 2),
            Some(character) => character.is_ascii_digit(),
            None => false,
        };
        if !joins {
            // `.5`
            if tail.get(before) == Some(&'.') && first == last.min(first) && digit(first) {
                first = before;
            }
            break;
        }
        first = before;
    }
    let mut number: String = tail.get(first..=last)?.iter().collect();
    if let Some(at) = number.rfind(',')
        && !separators_fit(&number)
    {
        number = number.get(at + 1..)?.to_owned();
    } else if let Some(before) = first.checked_sub(1)
        && matches!(tail.get(before), Some('-' | '\u{2212}'))
        && !before.checked_sub(1).and_then(|at| tail.get(at)).is_some_and(|c| c.is_alphanumeric() || *c == ')')
    {
        number.insert(0, '-');
    }
    let after: String = tail.get(last + 1..)?.iter().take(3).collect();
    if after.trim_start().starts_with(['%', '\u{ff05}']) || after.trim_start().starts_with("\\%") {
        number.push('%');
    }
    Some(number)
}

/// Returns whether the commas of a number separate thousands, or one comma stands for the decimal point.
fn separators_fit(number: &str) -> bool {
    let whole = number.split('.').next().unwrap_or("");
    let mut groups = whole.split(',');
    let first = groups.next().unwrap_or("");
    let rest: Vec<&str> = groups.collect();
    let thousands = (1..=3).contains(&first.len()) && rest.iter().all(|group| group.len() == 3);
    thousands || (rest.len() == 1 && !number.contains('.'))
}

fn line_around(text: &[char], at: usize) -> String {
    let start = text.iter().take(at).rposition(|c| *c == '\n').map_or(0, |newline| newline + 1);
    text.iter().skip(start).take_while(|c| **c != '\n').collect()
}

/// Returns whether a line is program text: calls on string literals, dunder names, lambdas, imports.
pub(super) fn is_program_text(line: &str) -> bool {
    const MARKS: &[&str] = &[
        "__", "lambda ", "lambda:", "('", "(\"", "['", "[\"", "import ", "eval(", "exec(", "open(", "system(",
        "globals(", "getattr(",
    ];
    MARKS.iter().any(|mark| line.contains(mark))
}

/// Returns the last line that is not blank.
pub(super) fn last_line(text: &str) -> Option<&str> {
    text.lines().rev().find(|line| !line.trim().is_empty()).map(str::trim)
}
