//! Parses a judge's raw reply into a usable justification or a named problem.
//!
//! The parser is pure, so that a stored reply can be parsed again after a change of this parser. Rules, in order:
//! 1. An error object has priority over the rest of the body, whatever the HTTP status, unless the reply is complete.
//! 2. Usable text is accepted with any finish reason, except those of a content filter and of a server that gave up
//!    (`http::finish`). A reply that the token limit truncated is accepted if the text can be cut at a sentence end
//!    after at least [`CUT_CHARS_MIN`] characters.
//! 3. Only `content` is read, not the reasoning fields (rule 4 has an exception); thinking at its beginning is dropped
//!    (`template::thinking`), and so are a code fence, quotes and a "Justification:" label around the text.
//! 4. An API judge's text is the `analysis` of a JSON object ([`JudgeReply`], `schemas/judge_reply.schema.json`),
//!    anywhere in the content, even if the object is not quite valid JSON (`json`). Some servers put the whole object
//!    into a reasoning field; the parser reads it there if the content is null and the reply is complete. A local
//!    judge's text is its whole content.
//! 5. Blank lines within the text are dropped, and the text is cut to [`TEXT_CHARS_MAX`] characters.
//!
//! `check` then judges the text.

#![warn(clippy::indexing_slicing)] // what is read here comes from anywhere

use std::sync::OnceLock;

use crate::http::retry::{Class, Evidence, classify};
use crate::http::wire::{ChatReply, Choice, ErrorInfo, WireError};
use crate::http::{DETAIL_CHARS_MAX, one_line};

use super::json::find_analysis;
use super::kind::JudgeKind;
use super::usage::Usage;
use crate::domain::{FinishReason, Mode};
use crate::http::finish::{Ending, warn_of_unknown};
use crate::template::thinking;

pub use super::analysis::JudgeReply;

/// The maximum length of a justification, in characters.
pub const TEXT_CHARS_MAX: usize = 4000;
/// The minimum length of a text from a reply that the token limit truncated, in characters.
pub const CUT_CHARS_MIN: usize = 40;

/// Characters of a malformed content that are kept, to show them to the judge in the next request.
const MALFORMED_CHARS_MAX: usize = 2000;

/// A judge's raw reply. Its body is parsed once, and breaker, budget, journal and conversation share the result. Replies
/// with equal bodies are equal.
#[derive(Clone)]
pub struct RawReply {
    body: String,
    wire: OnceLock<Box<Result<ChatReply, WireError>>>,
}

impl RawReply {
    /// Builds a reply from the body of a response.
    #[must_use]
    pub fn new(body: String) -> Self {
        Self { body, wire: OnceLock::new() }
    }

    /// Returns the body.
    #[must_use]
    pub fn body(&self) -> &str {
        &self.body
    }

    fn wire(&self) -> Result<&ChatReply, &WireError> {
        self.wire.get_or_init(|| Box::new(ChatReply::parse(&self.body))).as_ref().as_ref()
    }

    /// Parses the reply of a judge of this kind.
    pub fn parse(&self, kind: JudgeKind) -> Result<ParsedReply, ReplyProblem> {
        let reply = self.wire().map_err(|error| match error {
            WireError::Blank => ReplyProblem::BlankBody,
            WireError::NotJson { problem } => ReplyProblem::NotJson { problem: problem.clone() },
        })?;
        if let Some(ErrorInfo { message, code }) = &reply.error {
            let (message, code) = (one_line(message, DETAIL_CHARS_MAX), code.clone());
            return Err(ReplyProblem::ErrorObject { message, code });
        }
        let nothing = Choice::default();
        let justification = justification(reply.choice.as_ref().unwrap_or(&nothing), kind)?;
        Ok(ParsedReply { justification, served_model: reply.model.clone(), usage: reply.usage.map(Usage::from) })
    }

    /// Returns the token counts, usable or not: an unusable reply is paid for, too. A count of zero tokens for a non-empty
    /// text is ignored.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        let reply = self.wire().ok()?;
        let usage = reply.usage.map(Usage::from)?;
        let content = reply.choice.as_ref().and_then(|choice| choice.content.as_ref());
        let has_text = content.is_some_and(|text| !text.trim().is_empty());
        (usage.completion_tokens > 0 || !has_text).then_some(usage)
    }

    /// Returns the served model's name in the reply.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.wire().ok()?.model.as_deref()
    }
}

impl std::fmt::Debug for RawReply {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("RawReply").field(&self.body).finish()
    }
}

impl PartialEq for RawReply {
    fn eq(&self, other: &Self) -> bool {
        self.body == other.body
    }
}

impl Eq for RawReply {}

/// A usable reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedReply {
    /// The justification: plain text of 1 to [`TEXT_CHARS_MAX`] characters, without blank lines.
    pub justification: String,
    /// The model that served the request, if the reply names it.
    pub served_model: Option<String>,
    /// Token counts, if the reply has them.
    pub usage: Option<Usage>,
}

/// Why a reply is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyProblem {
    /// The body holds only white space.
    #[error("the reply is blank")]
    BlankBody,
    /// The body is not a JSON object.
    #[error("the reply is not a JSON object: {problem}")]
    NotJson {
        /// The parser's error text.
        problem: String,
    },
    /// The body is an error object.
    #[error("the reply is an error: {message}")]
    ErrorObject {
        /// The server's error text.
        message: String,
        /// The machine-readable code, if any.
        code: Option<String>,
    },
    /// The server stopped generation early for its own reasons.
    #[error("the server cut the reply short ({finish})")]
    CutByServer {
        /// The finish reason.
        finish: String,
    },
    /// A content filter removed or stopped the text.
    #[error("the provider's content filter stopped the reply")]
    ContentFilter,
    /// The reply ended for a reason that is not a normal end.
    #[error("the reply ended with finish reason \"{finish}\"")]
    UnknownFinish {
        /// The finish reason.
        finish: String,
    },
    /// The token limit was reached before a sentence of useful length was complete.
    #[error("the reply was truncated by its token limit")]
    Truncated,
    /// The reply holds no text, or only blanks and wrapping.
    #[error("the reply holds no text")]
    BlankContent,
    /// The content is not the requested JSON object.
    #[error("the content is not the JSON object that was asked for: {problem}")]
    Malformed {
        /// The problem of the content.
        problem: String,
        /// The content, or its beginning.
        said: String,
    },
}

impl ReplyProblem {
    /// Returns the class of the problem, by the one retry table.
    #[must_use]
    pub fn class(&self) -> Class {
        classify(match self {
            Self::BlankBody => Evidence::BlankBody,
            Self::NotJson { .. } => Evidence::NotJson,
            Self::ErrorObject { code, .. } => Evidence::ErrorObject { code: code.as_deref() },
            Self::CutByServer { .. } => Evidence::CutByServer,
            Self::ContentFilter => Evidence::ContentFilter,
            Self::Truncated => Evidence::Length,
            Self::UnknownFinish { .. } | Self::BlankContent | Self::Malformed { .. } => Evidence::Unusable,
        })
    }
}

/// Parses a stored body, see [`RawReply::parse`].
pub fn parse(body: &str, kind: JudgeKind) -> Result<ParsedReply, ReplyProblem> {
    RawReply::new(body.to_owned()).parse(kind)
}

/// Returns the token counts of a stored body, see [`RawReply::usage`].
#[must_use]
pub fn usage(body: &str) -> Option<Usage> {
    RawReply::new(body.to_owned()).usage()
}

fn justification(choice: &Choice, kind: JudgeKind) -> Result<String, ReplyProblem> {
    let name = || one_line(choice.finish_reason.as_deref().unwrap_or_default(), 40);
    let ending = choice.ending();
    match ending {
        Ending::Stop | Ending::Length => {}
        Ending::Unknown if choice.content.as_ref().is_none_or(|content| content.trim().is_empty()) => {
            return Err(ReplyProblem::UnknownFinish { finish: name() });
        }
        Ending::Unknown => warn_of_unknown(choice.finish_reason.as_deref()),
        Ending::Cut => return Err(ReplyProblem::CutByServer { finish: name() }),
        Ending::Filtered => return Err(ReplyProblem::ContentFilter),
    }
    let is_cut = ending == Ending::Length;
    let content = without_thinking(choice.content.as_deref().unwrap_or_default());
    let content = content.trim();
    let (text, is_whole) = match kind {
        JudgeKind::Local => (collapse(unwrap_text(content)), !is_cut),
        // The limit ended the reply during its thinking: the reasoning field holds no answer.
        JudgeKind::Api if content.is_empty() && is_cut => return Err(ReplyProblem::Truncated),
        JudgeKind::Api if content.is_empty() => {
            let reasoning = choice.reasoning.as_deref().unwrap_or_default().trim();
            // Thinking that only mentions an object is not one.
            let elsewhere = Some(reasoning).filter(|text| text.starts_with('{') && text.ends_with('}'));
            let analysis = elsewhere.and_then(|object| find_analysis(object).ok());
            (analysis.map(|analysis| collapse(unwrap_text(&analysis))).unwrap_or_default(), true)
        }
        JudgeKind::Api => match find_analysis(content) {
            Ok(analysis) => (collapse(unwrap_text(&analysis)), true),
            Err(_) if is_cut => return Err(ReplyProblem::Truncated),
            Err(problem) => {
                let said = content.chars().take(MALFORMED_CHARS_MAX).collect();
                return Err(ReplyProblem::Malformed { problem, said });
            }
        },
    };
    if text.is_empty() {
        return Err(if is_cut { ReplyProblem::Truncated } else { ReplyProblem::BlankContent });
    }
    if !is_whole {
        return cut_at_sentence_end(&text, TEXT_CHARS_MAX).ok_or(ReplyProblem::Truncated);
    }
    if text.chars().count() <= TEXT_CHARS_MAX {
        return Ok(text);
    }
    Ok(cut_at_sentence_end(&text, TEXT_CHARS_MAX)
        .unwrap_or_else(|| text.chars().take(TEXT_CHARS_MAX).collect::<String>().trim_end().to_owned()))
}

/// Drops thinking at the beginning, including a block whose opening tag was part of the prompt.
///
/// A block that is never closed stays, and `check` then rejects the text because of the tag.
fn without_thinking(content: &str) -> String {
    if content.trim_start().starts_with('{') {
        return content.to_owned();
    }
    let split = thinking::split(content, Mode::ThinkOff, FinishReason::Stop);
    if split.answer.trim().is_empty() { content.to_owned() } else { split.answer }
}

/// Removes code fences, quotes and labels around the text, as deep as they are nested.
fn unwrap_text(text: &str) -> &str {
    let mut text = text.trim();
    // Each round removes a layer or ends the loop; no judge nests deeper.
    for _ in 0..4 {
        let inner = without_quotes(without_label(without_fence(text)));
        if inner.len() == text.len() {
            break;
        }
        text = inner;
    }
    text
}

fn without_fence(text: &str) -> &str {
    let Some(inner) = text.strip_prefix("```") else { return text };
    let inner = inner.split_once('\n').map_or(inner, |(_language, rest)| rest).trim_end();
    inner.strip_suffix("```").unwrap_or(inner).trim()
}

fn without_label(text: &str) -> &str {
    let bare = text.trim_start_matches(['*', '#', ' ']);
    let Some((label, rest)) = bare.split_once(':') else { return text };
    if !label.trim_end_matches(['*', ' ']).eq_ignore_ascii_case("justification") {
        return text;
    }
    rest.trim_start_matches('*').trim()
}

fn without_quotes(text: &str) -> &str {
    for (open, close) in [('"', '"'), ('\'', '\''), ('\u{201c}', '\u{201d}')] {
        let inner = text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
        // With a quote inside, the outer quotes may not form a pair.
        if let Some(inner) = inner.filter(|inner| !inner.contains([open, close])) {
            return inner.trim();
        }
    }
    text
}

/// Drops blank lines, blanks at line ends, and control characters except tabs.
fn collapse(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.chars().filter(|c| !c.is_control() || *c == '\t').collect::<String>().trim_end().to_owned())
        .filter(|line| !line.is_empty())
        .collect();
    lines.join("\n").trim().to_owned()
}

/// Returns the longest prefix of at most `chars_max` characters that ends a sentence, if its length is at least
/// [`CUT_CHARS_MIN`].
fn cut_at_sentence_end(text: &str, chars_max: usize) -> Option<String> {
    let mut end = None;
    let mut chars = text.char_indices().enumerate().peekable();
    while let Some((index, (offset, c))) = chars.next() {
        if index >= chars_max {
            break;
        }
        let wide = matches!(c, '\u{3002}' | '\u{ff01}' | '\u{ff1f}');
        // "3.14" and "e.g.," continue; a stop at the end of the text or before a blank ends a sentence.
        let followed = chars.peek().is_none_or(|(_, (_, next))| next.is_whitespace());
        if index + 1 >= CUT_CHARS_MIN && (wide || (matches!(c, '.' | '!' | '?') && followed)) {
            end = Some(offset + c.len_utf8());
        }
    }
    end.and_then(|end| text.get(..end)).map(str::to_owned)
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
