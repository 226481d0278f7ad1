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

/// Parses the raw body of a reply of a judge of this kind.
pub fn parse(body: &str, kind: JudgeKind) -> Result<ParsedReply, ReplyProblem> {
    let reply = ChatReply::parse(body).map_err(|error| match error {
        WireError::Blank => ReplyProblem::BlankBody,
        WireError::NotJson { problem } => ReplyProblem::NotJson { problem },
    })?;
    if let Some(ErrorInfo { message, code }) = reply.error {
        return Err(ReplyProblem::ErrorObject { message: one_line(&message, DETAIL_CHARS_MAX), code });
    }
    let justification = justification(&reply.choice.unwrap_or_default(), kind)?;
    Ok(ParsedReply { justification, served_model: reply.model, usage: reply.usage.map(Usage::from) })
}

/// Returns the token counts of a raw body, usable or not: an unusable reply is paid for, too. A count of zero tokens
/// for a non-empty text is ignored.
#[must_use]
pub fn usage(body: &str) -> Option<Usage> {
    let reply = ChatReply::parse(body).ok()?;
    let usage = reply.usage.map(Usage::from)?;
    let has_text = reply.choice.and_then(|choice| choice.content).is_some_and(|text| !text.trim().is_empty());
    (usage.completion_tokens > 0 || !has_text).then_some(usage)
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
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const TEXT: &str = "Two rates must be combined before a time can be found. Steps help.";

    fn body(content: Value, finish: Value) -> String {
        json!({
            "model": "deepseek-v4",
            "choices": [{"message": {"content": content, "reasoning_content": "hidden"}, "finish_reason": finish,
                         "native_finish_reason": "whatever"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 5, "prompt_cache_hit_tokens": 4},
        })
        .to_string()
    }

    fn text_of(content: &str) -> Result<String, ReplyProblem> {
        parse(&body(json!(content), json!("stop")), JudgeKind::Local).map(|reply| reply.justification)
    }

    fn analysis_of(content: &str, finish: &str) -> Result<String, ReplyProblem> {
        parse(&body(json!(content), json!(finish)), JudgeKind::Api).map(|reply| reply.justification)
    }

    #[test]
    fn the_object_is_found_in_fences_and_prose_and_behind_thinking() {
        let object = json!({"analysis": TEXT, "more": {"a": 1}}).to_string();
        for content in [
            object.clone(),
            format!("```json\n{object}\n```"),
            format!("Here is {{it}}:\n{object}\nDone."),
            format!("<think>\n{{\"analysis\": \"no\"}}\n</think>\n{object}"),
        ] {
            assert_eq!(analysis_of(&content, "stop").as_deref(), Ok(TEXT), "{content}");
        }
        // A complete object is complete, whatever ended the reply after it.
        assert_eq!(analysis_of(&object, "length").as_deref(), Ok(TEXT));
    }

    #[test]
    fn content_without_the_object_is_malformed_and_says_why() {
        let cut = "{\"analysis\": \"Two rates";
        for (content, why) in [
            (TEXT, "no object"),
            ("[1]", "no object"),
            ("{\"text\": \"x\"}", "missing field `analysis`"),
            ("{\"analysis\": 7}", "invalid type"),
            (cut, "EOF"),
        ] {
            let Err(ReplyProblem::Malformed { problem, said }) = analysis_of(content, "stop") else {
                panic!("{content}")
            };
            assert!(problem.contains(why) && said == content, "{content}: {problem}");
        }
        assert_eq!(analysis_of(cut, "length"), Err(ReplyProblem::Truncated));
        assert_eq!(analysis_of("{\"analysis\": \" \"}", "stop"), Err(ReplyProblem::BlankContent));
    }

    #[test]
    fn an_object_in_the_reasoning_counts_only_if_there_is_no_content() {
        let ended = |content: Value, reasoning: &str, finish: &str| {
            let choice = json!({"message": {"content": content, "reasoning": reasoning}, "finish_reason": finish});
            parse(&json!({"choices": [choice]}).to_string(), JudgeKind::Api).map(|reply| reply.justification)
        };
        let with = |content: Value, reasoning: &str| ended(content, reasoning, "stop");
        let object = json!({"analysis": TEXT}).to_string();
        assert_eq!(ended(json!(null), &object, "length"), Err(ReplyProblem::Truncated));
        assert_eq!(with(json!(null), &object).as_deref(), Ok(TEXT));
        assert_eq!(with(json!(null), "let me see"), Err(ReplyProblem::BlankContent));
        assert!(matches!(with(json!("x"), &object), Err(ReplyProblem::Malformed { .. })));
    }

    #[test]
    fn a_good_reply_gives_text_model_and_usage() {
        let reply = parse(&format!("\n\n{}", body(json!(TEXT), json!("stop"))), JudgeKind::Local).unwrap();
        let usage = Usage { prompt_tokens: 9, cache_hit_tokens: Some(4), completion_tokens: 5 };
        let served_model = Some("deepseek-v4".to_owned());
        assert_eq!(reply, ParsedReply { justification: TEXT.to_owned(), served_model, usage: Some(usage) });
    }

    #[test]
    fn every_unusable_reply_has_its_own_problem() {
        let cases = [
            (" \n".to_owned(), ReplyProblem::BlankBody),
            (body(json!(null), json!("stop")), ReplyProblem::BlankContent),
            (body(json!("   "), json!("stop")), ReplyProblem::BlankContent),
            (body(json!(""), json!(null)), ReplyProblem::BlankContent),
            (body(json!("```\n```"), json!("stop")), ReplyProblem::BlankContent),
            ("{}".to_owned(), ReplyProblem::BlankContent),
            (r#"{"choices":[]}"#.to_owned(), ReplyProblem::BlankContent),
            (body(json!(null), json!("length")), ReplyProblem::Truncated),
            (body(json!("Too short."), json!("length")), ReplyProblem::Truncated),
            (body(json!(TEXT), json!("content_filter")), ReplyProblem::ContentFilter),
            (body(json!(TEXT), json!("aborted")), ReplyProblem::CutByServer { finish: "aborted".to_owned() }),
            (body(json!(TEXT), json!("CANCELLED")), ReplyProblem::CutByServer { finish: "CANCELLED".to_owned() }),
            (body(json!(TEXT), json!("SAFETY")), ReplyProblem::ContentFilter),
            (body(json!(null), json!("odd")), ReplyProblem::UnknownFinish { finish: "odd".to_owned() }),
            (body(json!(null), json!("MAX_TOKENS")), ReplyProblem::Truncated),
        ];
        for (body, expected) in cases {
            assert_eq!(parse(&body, JudgeKind::Local), Err(expected), "{body}");
        }
        assert!(matches!(parse("<html>", JudgeKind::Local), Err(ReplyProblem::NotJson { .. })));
    }

    #[test]
    fn an_error_object_counts_before_choices() {
        let mut value: Value = serde_json::from_str(&body(json!(TEXT), json!(null))).unwrap();
        value["error"] = json!({"message": "server\nbusy", "code": "busy"});
        let problem = parse(&value.to_string(), JudgeKind::Local).unwrap_err();
        let expected = ReplyProblem::ErrorObject { message: "server busy".to_owned(), code: Some("busy".to_owned()) };
        assert_eq!(problem, expected);
        assert_eq!(problem.class(), Class::Transient);
        value["error"] = json!({"message": "no", "type": "insufficient_quota"});
        assert_eq!(parse(&value.to_string(), JudgeKind::Local).unwrap_err().class(), Class::FatalRun);
        value["choices"][0]["finish_reason"] = json!("stop");
        assert_eq!(parse(&value.to_string(), JudgeKind::Local).unwrap().justification, TEXT, "it came too late");
    }

    #[test]
    fn an_end_of_any_name_will_do_beside_text() {
        let object = json!({"analysis": TEXT}).to_string();
        for finish in ["eos", "STOP", "end_turn", "", "COMPLETE", "tool_calls", "something_new"] {
            assert_eq!(analysis_of(&object, finish).as_deref(), Ok(TEXT), "{finish}");
            let local = parse(&body(json!(TEXT), json!(finish)), JudgeKind::Local).map(|reply| reply.justification);
            assert_eq!(local.as_deref(), Ok(TEXT), "{finish}");
        }
    }

    #[test]
    fn thinking_in_other_tags_is_dropped_as_well() {
        let object = json!({"analysis": TEXT}).to_string();
        for thought in [
            "<thought>{a}</thought>\n",
            "[THINK]x[/THINK]",
            "<|channel|>analysis<|message|>x<|end|><|start|>assistant<|channel|>final<|message|>",
        ] {
            assert_eq!(analysis_of(&format!("{thought}{object}"), "stop").as_deref(), Ok(TEXT), "{thought}");
        }
    }

    #[test]
    fn a_null_finish_is_accepted_beside_text() {
        assert_eq!(parse(&body(json!(TEXT), json!(null)), JudgeKind::Local).unwrap().justification, TEXT);
    }

    #[test]
    fn a_truncated_reply_is_cut_at_its_last_sentence_end() {
        let cut = |content: &str| {
            parse(&body(json!(content), json!("length")), JudgeKind::Local).map(|reply| reply.justification)
        };
        assert_eq!(cut(&format!("{TEXT} And then 3.5 of")).unwrap(), TEXT);
        // 40 characters are enough, 39 are not.
        let at = format!("{}. tail", "x".repeat(39));
        let below = format!("{}. tail", "x".repeat(38));
        assert_eq!(cut(&at).unwrap().chars().count(), CUT_CHARS_MIN);
        assert_eq!(cut(&below), Err(ReplyProblem::Truncated));
    }

    #[test]
    fn thinking_labels_quotes_and_fences_are_removed() {
        for wrapped in [
            format!("<think>\nlet me see\n</think>\n\n{TEXT}"),
            format!("let me see\n</think>\n{TEXT}"),
            format!("Justification: {TEXT}"),
            format!("**Justification:** {TEXT}"),
            format!("\"{TEXT}\""),
            format!("\u{201c}{TEXT}\u{201d}"),
            format!("```text\n{TEXT}\n```"),
            format!("```\nJustification: \"{TEXT}\"\n```"),
            format!("  {TEXT}\r\n"),
        ] {
            assert_eq!(text_of(&wrapped).as_deref(), Ok(TEXT), "{wrapped}");
        }
        let quoted = "\"Two\" and \"three\" must be told apart.";
        assert_eq!(text_of(quoted).as_deref(), Ok(quoted));
        let colon = "This needs care: signs flip.";
        assert_eq!(text_of(colon).as_deref(), Ok(colon));
    }

    #[test]
    fn blank_lines_and_control_characters_are_dropped() {
        assert_eq!(text_of("one \r\n\r\n\n\ttwo\u{0}\n   \nthree").as_deref(), Ok("one\n\ttwo\nthree"));
    }

    #[test]
    fn long_text_is_cut_at_the_bound() {
        let at = "\u{e9}".repeat(TEXT_CHARS_MAX);
        assert_eq!(text_of(&at).as_deref(), Ok(at.as_str()));
        assert_eq!(text_of(&format!("{at}\u{e9}")).as_deref(), Ok(at.as_str()));
        let sentences = "This is one whole sentence. ".repeat(200);
        let cut = text_of(&sentences).unwrap();
        assert!(cut.ends_with("sentence.") && cut.chars().count() <= TEXT_CHARS_MAX && cut.len() > 3900);
    }

    #[test]
    fn usage_is_read_from_unusable_replies_too() {
        assert_eq!(usage(&body(json!(null), json!("length"))).map(|usage| usage.completion_tokens), Some(5));
        assert_eq!(usage("no json"), None);
        for count in ["0", "-5", "1e300", "18446744073709551615", "null"] {
            let body = format!(
                r#"{{"choices":[{{"message":{{"content":"text"}}}}],"usage":{{"prompt_tokens":9,"completion_tokens":{count}}}}}"#
            );
            assert_eq!(usage(&body), None, "{count}: a text takes tokens");
        }
    }
}
