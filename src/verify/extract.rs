//! Finds the answer in a response.
//!
//! Strategies in order of trust: boxes (`boxes`), an announced answer or a marker (`phrases`), the whole of a short
//! response, the last math span, the last number or letter. The verifiers choose which of them apply; each is one pure
//! function over the text. All scans are linear or bounded; positions are byte offsets on character boundaries.
//!
//! No answer is taken from program text: a number at the end of `open('x') or 0` is not an answer.

use super::{math, words};

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

/// How far back the last number is looked for, in bytes.
const TAIL_BYTES_MAX: usize = 16_384;
/// What ends a model's thinking; only what follows the last one counts.
const THINKING_ENDS: &[&str] = &[
    "</think>",
    "</thinking>",
    "</thought>",
    "</thoughts>",
    "</reasoning>",
    "</reflection>",
    "</seed:think>",
    "\u{25c1}/think\u{25b7}",
    "[/THINK]",
    "<|END_THINKING|>",
    "<|channel|>final<|message|>",
    "[BEGIN FINAL RESPONSE]",
];
/// Tags around an answer.
const ANSWER_TAGS: &[(&str, &str)] =
    &[("<answer>", "</answer>"), ("<final_answer>", "</final_answer>"), ("<response>", "</response>")];

/// Returns the part of a response in which its answer stands: what follows the last end of thinking, and of that the
/// content of the last answer tag. Thinking that never ended holds no answer.
pub(super) fn answer_part(response: &str) -> &str {
    let end = THINKING_ENDS.iter().filter_map(|mark| response.rfind(mark).map(|at| at + mark.len())).max();
    let is_unended =
        end.is_none() && ["<think>", "<thinking>"].iter().any(|start| response.trim_start().starts_with(start));
    let answer = if is_unended { "" } else { end.and_then(|end| response.get(end..)).unwrap_or(response) };
    let tagged = ANSWER_TAGS.iter().filter_map(|(open, close)| {
        let (before, inner) = answer.rsplit_once(open)?;
        let content = inner.split_once(close).map_or(inner, |(content, _)| content);
        (!content.trim().is_empty()).then_some((before.len(), content))
    });
    tagged.max_by_key(|(at, _)| *at).map_or(answer, |(_, content)| content).trim()
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

/// Returns the last number as written: sign, separators, decimals, fraction, exponent, scale word, percent sign.
pub(super) fn last_number(text: &str) -> Option<String> {
    let mut start = text.len().saturating_sub(TAIL_BYTES_MAX);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let tail: Vec<char> = text.get(start..)?.chars().collect();
    let last = tail.iter().rposition(|c| is_digit_like(*c))?;
    if is_program_text(&line_around(&tail, last)) {
        return None;
    }
    let first = number_start(&tail, last);
    let mut number: String = tail.get(first..=last)?.iter().collect();
    let mut start = first;
    if let Some(raised) = raised_after(&tail, last) {
        let front: Vec<char> = tail.iter().take(last + 1).copied().chain(['^']).collect();
        let (_, power) = power_before(&front, front.len())?;
        return Some(format!("{power}{{{raised}}}"));
    }
    if let Some(at) = number.rfind(',')
        && !separators_fit(&number)
    {
        number = number.get(at + 1..)?.to_owned();
        start = last + 1 - number.chars().count();
    } else if let Some((begin, power)) = power_before(&tail, first) {
        number = format!("{power}{{{number}}}");
        start = begin;
    } else if let Some((begin, whole)) = mixed_before(&tail, first, &number) {
        number = format!("{whole} {number}");
        start = begin;
    }
    if let Some(before) = start.checked_sub(1)
        && matches!(tail.get(before), Some('-' | '\u{2212}'))
        && !before.checked_sub(1).and_then(|at| tail.get(at)).is_some_and(|c| c.is_alphanumeric() || *c == ')')
    {
        number.insert(0, '-');
    }
    let after: String = tail.get(last + 1..)?.iter().take(16).collect();
    let after = after.trim_start_matches(['}', ' ', '*']);
    if after.starts_with('%') || after.starts_with("\\%") {
        number.push('%');
    } else if let Some(scale) = leading_scale(after) {
        number.push(' ');
        number.push_str(scale);
    }
    Some(number)
}

/// Digits, and fractions of one character.
fn is_digit_like(character: char) -> bool {
    character.is_ascii_digit() || matches!(character, '\u{bc}'..='\u{be}' | '\u{2150}'..='\u{215e}')
}

/// Returns where the number begins that ends at `last`.
fn number_start(tail: &[char], last: usize) -> usize {
    let digit = |at: usize| tail.get(at).is_some_and(char::is_ascii_digit);
    let mut first = last;
    while let Some(before) = first.checked_sub(1) {
        let joins = match tail.get(before) {
            Some('.' | ',' | '/') => before > 0 && digit(before - 1),
            Some('\'') => before > 0 && digit(before - 1) && digit(before + 3) && !digit(before + 4),
            Some('e' | 'E') => before > 0 && digit(before - 1),
            Some('+' | '-') => before > 1 && matches!(tail.get(before - 1), Some('e' | 'E')) && digit(before - 2),
            Some(character) => character.is_ascii_digit(),
            None => false,
        };
        if !joins {
            // `.5`
            if tail.get(before) == Some(&'.') && digit(first) {
                first = before;
            }
            break;
        }
        first = before;
    }
    first
}

/// Returns the raised digits behind a number: `10\u{b3}`.
fn raised_after(tail: &[char], last: usize) -> Option<String> {
    let raised: String = tail.iter().skip(last + 1).map_while(|c| math::superscript(*c)).collect();
    (!raised.is_empty()).then_some(raised)
}

/// Returns the base and factor in front of an exponent: `1.5 \times 10^` of `1.5 \times 10^{3}`.
fn power_before(tail: &[char], first: usize) -> Option<(usize, String)> {
    let mut at = first;
    let back = |at: usize| at.checked_sub(1).and_then(|before| tail.get(before).copied());
    let negative = back(at) == Some('-');
    at -= usize::from(negative);
    at -= usize::from(back(at) == Some('{'));
    if back(at) != Some('^') {
        return None;
    }
    at -= 1;
    let base_end = at;
    while back(at).is_some_and(|c| c.is_ascii_digit() || c == '.') {
        at -= 1;
    }
    if at == base_end {
        return None;
    }
    let mut begin = at;
    let text: String = tail.get(..at)?.iter().collect();
    let trimmed = text.trim_end();
    for sign in ["\\times", "\\cdot", "\u{d7}", "*", "x"] {
        let Some(before) = trimmed.strip_suffix(sign) else { continue };
        let factor = before.trim_end();
        let len = factor.chars().rev().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ',')).count();
        if len > 0 {
            begin = factor.chars().count() - len;
        }
        break;
    }
    let power: String = tail.get(begin..base_end)?.iter().collect();
    // A plain `x` between numbers multiplies.
    let power = power.replace('x', "\u{d7}");
    Some((begin, format!("{power}^{}", if negative { "-" } else { "" })))
}

/// Returns the whole number in front of a fraction: `1` of `1 1/2`.
fn mixed_before(tail: &[char], first: usize, number: &str) -> Option<(usize, String)> {
    let is_vulgar = number.chars().all(|c| !c.is_ascii_digit());
    let is_proper = number.split_once('/').is_some_and(|(above, below)| {
        matches!((above.parse::<u32>(), below.parse::<u32>()), (Ok(above), Ok(below)) if above < below)
    });
    if !is_vulgar && !is_proper {
        return None;
    }
    let mut at = first;
    let space = at.checked_sub(1).and_then(|before| tail.get(before)) == Some(&' ');
    if !space && !is_vulgar {
        return None;
    }
    at -= usize::from(space);
    let end = at;
    while at.checked_sub(1).and_then(|before| tail.get(before)).is_some_and(char::is_ascii_digit) {
        at -= 1;
    }
    let joins =
        at.checked_sub(1).and_then(|before| tail.get(before)).is_some_and(|c| matches!(c, '.' | ',' | '/' | '+'));
    (at < end && !joins).then(|| Some((at, tail.get(at..end)?.iter().collect())))?
}

fn leading_scale(after: &str) -> Option<&str> {
    let word_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
    let word = after.get(..word_end).filter(|word| !word.is_empty());
    let character = after.chars().next().and_then(|c| after.get(..c.len_utf8()));
    word.or(character).filter(|word| words::scale(word).is_some())
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
