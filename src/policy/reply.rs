//! Interprets a server's reply as a response; pure, so that a stored reply can be parsed again.
//!
//! | the reply holds | interpretation |
//! |---|---|
//! | content, and thinking beside it or in it | the text as the model wrote it, thinking in a think block |
//! | only thinking, ended by the token limit | truncated thinking: the block stays open |
//! | only thinking, with a closing tag in it | a text that the server's parser did not split |
//! | only thinking, in Think-off | the answer: such parsers label all text as thinking |
//! | only thinking, in Think-on | thinking that was never closed |
//! | no text, ended by the token limit | an empty response: the server withholds the thinking |
//! | no text, one token | an empty response |
//! | no text, more tokens | no response: the server lost the text |
//!
//! Text with any finish reason is a response, except for a content filter or a server that gave up: such text is
//! incomplete, is stored as received, and the request is sent again or refused. Text without a finish reason is
//! complete too, unless its stream broke off.
//!
//! Lengths are the server's counts, plus the reasoning count if the server reports it separately (`http::wire`). A
//! missing count, or a count too small for the text, is replaced by an estimate from the text's bytes, and marked.

#![warn(clippy::indexing_slicing)] // what is read here comes from anywhere

use crate::domain::{FinishReason, Mode, Reading, Rollout};
use crate::http::finish::Ending;
use crate::http::retry::Evidence;
use crate::http::wire::{ChatReply, Choice, ErrorInfo, WireError, WireUsage};

/// The version of this interpretation. It is raised when the same body could give another response; bodies that an
/// earlier version parsed are then parsed again.
pub const READER: u32 = 3;

/// Bytes of a text per token, for estimates.
const BYTES_PER_TOKEN: usize = 3;
/// A maximum of bytes per token that no text longer than a line exceeds.
const BYTES_PER_TOKEN_MAX: u64 = 16;
/// A text below this length, in bytes, may be a single unusual token.
const ODD_BYTES_MAX: usize = 400;

/// The response in a reply.
#[derive(Debug, PartialEq, Eq)]
pub struct ReadReply {
    /// The text as the model wrote it.
    pub text: String,
    /// Why the response ended.
    pub finish_reason: FinishReason,
    /// Tokens of the prompt, counted or estimated.
    pub prompt_tokens: u32,
    /// Tokens of the text.
    pub completion_tokens: u32,
    /// Whether the token counts are an estimate.
    pub length_estimated: bool,
    /// The finish reason, if it is unknown.
    pub unknown_finish: Option<String>,
    /// The name of the model in the reply.
    pub model: Option<String>,
}

/// Parses the reply to a prompt in a mode.
///
/// # Errors
/// For a reply without a response, the evidence for the retry table.
pub fn read<'a>(body: &'a str, prompt: &str, mode: Mode) -> Result<ReadReply, Evidence<'a>> {
    let reply = ChatReply::parse(body).map_err(|error| match error {
        WireError::Blank => Evidence::BlankBody,
        WireError::NotJson { .. } => Evidence::NotJson,
    })?;
    if let Some(ErrorInfo { code, .. }) = reply.error {
        // The table needs a code that outlives this reply; only the known codes matter to it.
        return Err(Evidence::ErrorObject { code: code.and_then(|code| find(body, &code)) });
    }
    if reply.is_fragment {
        return Err(Evidence::Interrupted);
    }
    let (choice, model) = (reply.choice.unwrap_or_default(), reply.model);
    let (ending, name) = (choice.ending(), choice.finish_reason.clone());
    let finish_reason = match ending {
        Ending::Stop | Ending::Unknown => FinishReason::Stop,
        Ending::Length => FinishReason::Length,
        Ending::Filtered => return Err(Evidence::ContentFilter),
        Ending::Cut => return Err(Evidence::CutByServer),
    };
    let usage = reply.usage.unwrap_or_default();
    let text = response_text(choice, mode, finish_reason, usage.completion_tokens).ok_or(Evidence::Unusable)?;
    let (completion_tokens, length_estimated) = length(&usage, text.len());
    let prompt_tokens = if usage.prompt_tokens > 0 { narrow(usage.prompt_tokens) } else { estimate(prompt.len()) };
    let unknown_finish = name.filter(|_| ending == Ending::Unknown);
    Ok(ReadReply { text, finish_reason, prompt_tokens, completion_tokens, length_estimated, unknown_finish, model })
}

/// Parses the stored reply of a response again. If this version finds no response in it, the earlier interpretation
/// stays.
#[must_use]
pub fn reread(rollout: Rollout, body: &str) -> Rollout {
    let Ok(read) = read(body, &rollout.prompt, rollout.mode) else { return rollout };
    let is_same = read.text == rollout.text && read.finish_reason == rollout.finish_reason;
    let reading = Reading { length_estimated: read.length_estimated, is_reread: !is_same, ..rollout.reading };
    let ReadReply { text, finish_reason, prompt_tokens, completion_tokens, .. } = read;
    Rollout { text, finish_reason, prompt_tokens, completion_tokens, reading, ..rollout }
}

/// Estimates the length of a response from its bytes: the only measure that all responses have.
#[must_use]
pub fn estimated_tokens(rollout: &Rollout) -> u32 {
    estimate(rollout.text.len())
}

fn estimate(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(BYTES_PER_TOKEN)).unwrap_or(u32::MAX)
}

fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Returns the number of tokens in a text, and whether it is an estimate.
fn length(usage: &WireUsage, bytes: usize) -> (u32, bool) {
    let holds = |tokens: u64| {
        tokens > 0 && (bytes <= ODD_BYTES_MAX || tokens.saturating_mul(BYTES_PER_TOKEN_MAX) >= bytes as u64)
    };
    let counted = usage.completion_tokens;
    let with_reasoning = usage.reasoning_tokens.map(|reasoning| counted.saturating_add(reasoning));
    match [Some(counted), with_reasoning].into_iter().flatten().find(|tokens| holds(*tokens)) {
        Some(tokens) => (narrow(tokens), false),
        None => (estimate(bytes), true),
    }
}

fn find<'a>(body: &'a str, code: &str) -> Option<&'a str> {
    let start = body.find(code)?;
    body.get(start..start + code.len())
}

/// Assembles a response as the model wrote it; `None` if the reply holds none. The table is in the module's doc.
fn response_text(choice: Choice, mode: Mode, finish_reason: FinishReason, tokens: u64) -> Option<String> {
    let reasoning = choice.reasoning.filter(|reasoning| !reasoning.trim().is_empty());
    let content = choice.content.unwrap_or_default();
    let is_blank = content.trim().is_empty();
    let Some(reasoning) = reasoning else {
        // A model may end its turn at once.
        let is_empty_response = finish_reason == FinishReason::Length || tokens == 1;
        return (!is_blank || is_empty_response).then_some(content);
    };
    let reasoning = reasoning.trim();
    let opened = if reasoning.starts_with("<think>") { reasoning.to_owned() } else { format!("<think>\n{reasoning}") };
    if is_blank {
        let is_answer =
            mode == Mode::ThinkOff && finish_reason == FinishReason::Stop && !reasoning.contains("</think>");
        return Some(if is_answer { reasoning.to_owned() } else { opened });
    }
    // Some servers repeat in the content the separate thinking, or the tag that ended it.
    if content.trim_start().starts_with(['<', '[', '\u{25c1}']) && content.contains(reasoning) {
        return Some(content);
    }
    let content = content.trim_start().strip_prefix("</think>").map_or(content.as_str(), str::trim_start);
    let reasoning = reasoning.strip_prefix("<think>").unwrap_or(reasoning);
    let reasoning = reasoning.strip_suffix("</think>").unwrap_or(reasoning).trim();
    Some(format!("<think>\n{reasoning}\n</think>\n\n{content}"))
}

/// Returns a reply's body if a later version of the parser may find a response in it.
#[must_use]
pub fn worth_keeping(body: &str) -> Option<String> {
    let reply = ChatReply::parse(body).ok()?;
    let choice = reply.choice?;
    (choice.content.is_some() || choice.reasoning.is_some()).then(|| body.to_owned())
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
