//! Finds the thinking in a model's own text by the tags, channels and sentences that models use.
//!
//! | family | thinking | answer |
//! |---|---|---|
//! | tags (`PAIRS`) | between the tags, or up to the closing tag if the prompt opened the block | after the closing tag |
//! | harmony channels, with or without their marks | `analysis` | `final` |
//! | sentences of Granite's | `Here is my thought process:` | `Here is my response:` |
//!
//! The beginning of a text decides, without regard to case. Later in the text only `<think>` opens a block anywhere.
//! The other tags, some of which are words of everyday markup, must begin a line near the beginning and be closed; in
//! Think-off those words count only at the very beginning. A quoted tag (between backticks, or in a fenced block) is a
//! mention.

use thinkloom_domain::{FinishReason, Mode};

/// The version of these rules.
pub const READING: u32 = 2;

/// The two parts of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// The trimmed thinking, if it is not blank.
    pub thinking: Option<String>,
    /// The rest of the text.
    pub answer: String,
}

/// Opening and closing tags.
const PAIRS: &[(&str, &str)] = &[
    THINK,
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<thoughts>", "</thoughts>"),
    ("<reasoning>", "</reasoning>"),
    ("<reason>", "</reason>"),
    ("<scratchpad>", "</scratchpad>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|think|>", "<|/think|>"),
    ("<|thinking|>", "<|/thinking|>"),
    ("\u{25c1}think\u{25b7}", "\u{25c1}/think\u{25b7}"),
    ("<unused94>thought", "<unused95>"),
    ("<|channel>thought", "<channel|>"),
];

/// The pair that most models use and that prompts open.
const THINK: (&str, &str) = ("<think>", "</think>");

/// Pairs around a whole answer. The closing tag may be missing.
const ANSWER_PAIRS: &[(&str, &str)] = &[
    ("<answer>", "</answer>"),
    ("<response>", "</response>"),
    ("<|begin_of_solution|>", "<|end_of_solution|>"),
    ("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
];

/// Granite's sentences.
const SENTENCES: [&[&str]; 2] =
    [&["Here is my thought process:", "Here's my thought process:"], &["Here is my response:", "Here's my response:"]];

/// The largest offset in bytes at which a pair other than `<think>` may open.
const LEAD_BYTES_MAX: usize = 200;

/// The most blank blocks before an answer that the reader skips.
const BLANK_BLOCKS_MAX: usize = 4;

/// Splits a text into thinking and answer.
#[must_use]
pub fn split(text: &str, requested: Mode, finish_reason: FinishReason) -> Split {
    let mut split = split_once(text, requested, finish_reason);
    // A model may write its own block after a block that the prompt opens and closes.
    for _ in 0..BLANK_BLOCKS_MAX {
        if split.thinking.is_some() || leading_pair(&split.answer).is_none() {
            break;
        }
        split = split_once(&split.answer.clone(), requested, finish_reason);
    }
    split
}

/// Returns an answer without the tags around it.
#[must_use]
pub fn without_answer_tags(answer: &str) -> &str {
    let answer = answer.trim();
    let unwrap = |(opening, closing): &(&str, &str)| {
        let inner: &str = answer.strip_prefix(opening)?;
        Some(inner.strip_suffix(closing).unwrap_or(inner).trim())
    };
    ANSWER_PAIRS.iter().find_map(unwrap).unwrap_or(answer)
}

fn split_once(text: &str, requested: Mode, finish_reason: FinishReason) -> Split {
    let is_truncated_thought = requested == Mode::ThinkOn && finish_reason == FinishReason::Length;
    let found = channels(text).or_else(|| sentences(text)).or_else(|| {
        tagged(text, requested, finish_reason).map(|(thinking, answer)| (thinking.to_owned(), answer.to_owned()))
    });
    let (thinking, answer) = match found {
        Some((thinking, answer)) => (Some(thinking), answer),
        None if is_truncated_thought => (Some(text.to_owned()), String::new()),
        None => (None, text.to_owned()),
    };
    let thinking = thinking.filter(|thinking| !is_blank(thinking)).map(|thinking| thinking.trim().to_owned());
    Split { thinking, answer }
}

/// The model may have written an empty block again after the prompt's empty block.
fn is_blank(thinking: &str) -> bool {
    let bare = PAIRS.iter().fold(thinking.trim().to_owned(), |text, (opening, closing)| {
        if text.is_empty() { text } else { text.replace(opening, "").replace(closing, "") }
    });
    bare.trim().is_empty()
}

/// Finds a block between tags: returns the thinking and the text after it.
fn tagged(text: &str, requested: Mode, finish_reason: FinishReason) -> Option<(&str, &str)> {
    if let Some(pair) = leading_pair(text) {
        return Some(leading_block(text, *pair, finish_reason));
    }
    // The text up to the last closing tag is thinking; the text before an opening tag is neither thinking nor answer.
    if let Some(at) = last_unquoted(text, THINK.1) {
        let (before, after) = (text.get(..at)?, text.get(at + THINK.1.len()..)?);
        let opened = before.split_once(THINK.0).map_or(before, |(_, opened)| opened);
        return Some((without_tag(opened, THINK.0), after));
    }
    if requested == Mode::ThinkOn
        && let Some(at) = text.find(THINK.0).filter(|at| !is_quoted(text, *at, THINK.0.len()))
    {
        return Some((without_tag(text.get(at + THINK.0.len()..)?, THINK.0), ""));
    }
    let may_open = |(opening, _): &&(&str, &str)| requested == Mode::ThinkOn || !is_everyday(opening);
    PAIRS.iter().skip(1).filter(may_open).find_map(|pair| later_block(text, *pair))
}

/// Returns whether a tag may be markup that the user requested.
fn is_everyday(tag: &str) -> bool {
    tag.trim_matches(['<', '>']).bytes().all(|byte| byte.is_ascii_alphabetic())
}

/// Reads a block at the beginning of a text. An unclosed block is thinking to the end.
fn leading_block<'a>(
    text: &'a str,
    (opening, closing): (&str, &str),
    finish_reason: FinishReason,
) -> (&'a str, &'a str) {
    let rest = text.trim_start();
    let rest = rest.get(opening.len()..).unwrap_or_default();
    let closes = find_all(rest, closing);
    let is_mention = |at: &&usize| is_quoted(rest, **at, closing.len());
    let unquoted = closes.iter().rev().find(|at| !is_mention(at));
    // A model that ended its turn has closed its thought, so the last closing tag counts although it looks quoted.
    let close = unquoted.or(closes.last().filter(|_| finish_reason == FinishReason::Stop));
    let (thinking, answer) = match close {
        Some(&at) => (rest.get(..at).unwrap_or_default(), rest.get(at + closing.len()..).unwrap_or_default()),
        None => (rest, ""),
    };
    (without_tag(thinking, opening), answer)
}

/// Reads a block of tags other than `<think>` that is not at the beginning: the prompt opened it, or a few words
/// precede it.
fn later_block<'a>(text: &'a str, (opening, closing): (&str, &str)) -> Option<(&'a str, &'a str)> {
    let close = last_unquoted(text, closing)?;
    let (before, after) = (text.get(..close)?, text.get(close + closing.len()..)?);
    let begins_line = |at: usize| text.get(..at).is_some_and(|lead| lead.trim_end_matches([' ', '\t']).ends_with('\n'));
    let opened = match before.find(opening) {
        Some(at) if at <= LEAD_BYTES_MAX && begins_line(at) && !is_quoted(text, at, opening.len()) => {
            before.get(at + opening.len()..)?
        }
        Some(_) => return None,
        // The prompt opened the block. The closing tag must then begin or end a line.
        None if begins_line(close) || after.is_empty() || after.starts_with(['\n', '\r']) => before,
        None => return None,
    };
    Some((opened, after))
}

/// Returns the pair that opens a text.
fn leading_pair(text: &str) -> Option<&'static (&'static str, &'static str)> {
    let start = text.trim_start();
    let opens = |opening: &str| start.get(..opening.len()).is_some_and(|head| head.eq_ignore_ascii_case(opening));
    PAIRS.iter().find(|(opening, _)| opens(opening))
}

/// Some models open the block that the prompt opened.
fn without_tag<'a>(thinking: &'a str, opening: &str) -> &'a str {
    thinking.trim_start().strip_prefix(opening).unwrap_or(thinking)
}

fn last_unquoted(text: &str, tag: &str) -> Option<usize> {
    text.rmatch_indices(tag).map(|(at, _)| at).find(|at| !is_quoted(text, *at, tag.len()))
}

/// Returns the positions of a tag, without regard to case.
fn find_all(text: &str, tag: &str) -> Vec<usize> {
    let (bytes, tag) = (text.as_bytes(), tag.as_bytes());
    bytes
        .windows(tag.len())
        .enumerate()
        .filter(|(_, window)| window.eq_ignore_ascii_case(tag))
        .map(|(at, _)| at)
        .collect()
}

/// Returns whether the text at a position is a mention: between backticks on one line, or in a closed fenced block.
fn is_quoted(text: &str, at: usize, length: usize) -> bool {
    let (before, after) = (text.get(..at).unwrap_or_default(), text.get(at + length..).unwrap_or_default());
    let line_before = before.rsplit('\n').next().unwrap_or_default();
    let line_after = after.split('\n').next().unwrap_or_default();
    let is_inline = line_before.matches('`').count() % 2 == 1 && line_after.contains('`');
    let fences = |text: &str| text.lines().filter(|line| line.trim_start().starts_with("```")).count();
    is_inline || (fences(before) % 2 == 1 && fences(after) % 2 == 1)
}

/// Reads harmony's channels, including texts that lost their marks with the other special tokens, and texts whose first
/// mark is in the prompt.
fn channels(text: &str) -> Option<(String, String)> {
    const CHANNEL: &str = "<|channel|>";
    const MESSAGE: &str = "<|message|>";
    let start = text.trim_start();
    if let Some(rest) = start.strip_prefix("analysis")
        && !start.contains(CHANNEL)
        && let Some((thinking, answer)) = rest.rsplit_once("assistantfinal")
    {
        return Some((thinking.to_owned(), answer.to_owned()));
    }
    let opens = start.starts_with(CHANNEL) || start.starts_with("<|start|>");
    let goes_on = ["<|start|>assistant<|channel|>", "<|channel|>final<|message|>"]
        .iter()
        .any(|mark| text.find(mark).is_some_and(|at| !is_quoted(text, at, mark.len())));
    if !text.contains(MESSAGE) || !(opens || goes_on) {
        return None;
    }
    let end = |part: &str| {
        let ends = ["<|end|>", "<|return|>", "<|call|>", "<|start|>"].iter().filter_map(|mark| part.find(mark)).min();
        part.get(..ends.unwrap_or(part.len())).unwrap_or_default().trim().to_owned()
    };
    let (mut thinking, mut answer) = (Vec::new(), Vec::new());
    let mut parts = text.split(CHANNEL);
    // The text before the first mark continues the channel that the prompt opened.
    let lead = parts.next().map(end).unwrap_or_default();
    thinking.extend(Some(lead).filter(|lead| !lead.is_empty()));
    for part in parts {
        let Some((name, said)) = part.split_once(MESSAGE) else { continue };
        match name.split_whitespace().next().unwrap_or_default() {
            "final" => answer.push(end(said)),
            "analysis" => thinking.push(end(said)),
            // A call, or the preamble of a call.
            _ => {}
        }
    }
    Some((thinking.join("\n\n"), answer.join("\n\n")))
}

/// Reads Granite's sentences.
fn sentences(text: &str) -> Option<(String, String)> {
    let start = text.trim_start();
    let [openings, middles] = SENTENCES;
    let rest = openings.iter().find_map(|opening| start.strip_prefix(opening))?;
    let middle = middles.iter().filter_map(|middle| rest.find(middle).map(|at| (at, middle.len()))).min();
    let (thinking, answer) = match middle {
        Some((at, length)) => (rest.get(..at)?, rest.get(at + length..)?),
        None => (rest, ""),
    };
    Some((thinking.to_owned(), answer.to_owned()))
}

/// Splits a text by the rules of reading 1, which knew only `<think>`. Stored verdicts of reading 1 judge the result of
/// this function, so the function decides which of them remain valid.
#[must_use]
pub fn first_split(text: &str, requested: Mode, finish_reason: FinishReason) -> Split {
    let is_truncated_thought = requested == Mode::ThinkOn && finish_reason == FinishReason::Length;
    let (thinking, answer) = if let Some((before, after)) = text.rsplit_once(THINK.1) {
        let opened = before.split_once(THINK.0).map_or(before, |(_, opened)| opened);
        (Some(without_tag(opened, THINK.0)), after)
    } else if let Some((before, rest)) = text.split_once(THINK.0)
        && (requested == Mode::ThinkOn || before.trim().is_empty())
    {
        (Some(without_tag(rest, THINK.0)), "")
    } else if is_truncated_thought {
        (Some(text), "")
    } else {
        (None, text)
    };
    let is_blank = |text: &str| text.replace(THINK.0, "").replace(THINK.1, "").trim().is_empty();
    let thinking = thinking.map(str::trim).filter(|thinking| !is_blank(thinking)).map(str::to_owned);
    Split { thinking, answer: answer.to_owned() }
}

#[cfg(test)]
#[path = "thinking_tests.rs"]
mod tests;
