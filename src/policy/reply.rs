//! What a server's reply says of a response: a pure reading, so that a stored reply can be read again.
//!
//! | the reply holds | it is read as |
//! |---|---|
//! | content, and thinking beside it or in it | the text as the model wrote it, thinking in a think block |
//! | thinking alone, ended by the token limit | a thought that was cut: the block stays open |
//! | thinking alone with a closing tag in it | what a server's parser did not take apart |
//! | thinking alone, in Think-off | the answer: such parsers take all text for thinking |
//! | thinking alone, in Think-on | a thought that was never closed |
//! | no text, ended by the token limit | an empty response: the server keeps the thought for itself |
//! | no text, one token | an empty response |
//! | no text, more tokens | nothing: the text went somewhere else |
//!
//! Text beside any finish reason is a response, but for a content filter's and for a server's that gave up on the way: what
//! those cut is incomplete, is kept as it came, and is asked for again or refused. Text is complete as well without a finish
//! reason, but not in a stream that broke off.
//!
//! Lengths are the server's counts, with the reasoning where it counts that beside (`http::wire`). A count that is missing,
//! or that cannot hold the text, is replaced by an estimate from the text's bytes, and marked.

use crate::domain::{FinishReason, Mode, Reading, Rollout};
use crate::http::finish::Ending;
use crate::http::retry::Evidence;
use crate::http::wire::{ChatReply, Choice, ErrorInfo, WireError, WireUsage};

/// Version of this reading. Raised when the same body could be read as another response; stored bodies that an earlier one
/// read are then read again.
pub const READER: u32 = 3;

/// Bytes of a text per token, where nobody counted.
const BYTES_PER_TOKEN: usize = 3;
/// Bytes per token that no text has which is longer than a line.
const BYTES_PER_TOKEN_MAX: u64 = 16;
/// Texts below this length may be one odd token, in bytes.
const ODD_BYTES_MAX: usize = 400;

/// What a reply says of a response.
#[derive(Debug, PartialEq, Eq)]
pub struct ReadReply {
    /// The text as the model wrote it.
    pub text: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Tokens of the prompt, counted or estimated.
    pub prompt_tokens: u32,
    /// Tokens of the text.
    pub completion_tokens: u32,
    /// Whether these are an estimate.
    pub length_estimated: bool,
    /// The finish reason, if it is one that nobody knows.
    pub unknown_finish: Option<String>,
    /// The model that the reply says it is from.
    pub model: Option<String>,
}

/// Reads a reply to a prompt in some mode.
///
/// # Errors
/// What is no response is evidence for the retry table.
pub fn read<'a>(body: &'a str, prompt: &str, mode: Mode) -> Result<ReadReply, Evidence<'a>> {
    let reply = ChatReply::parse(body).map_err(|error| match error {
        WireError::Blank => Evidence::BlankBody,
        WireError::NotJson { .. } => Evidence::NotJson,
    })?;
    if let Some(ErrorInfo { code, .. }) = reply.error {
        // The table needs a name that outlives this reply; only the known ones matter to it.
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

/// Reads the stored reply behind a response again. What this reader makes nothing of stays as it was read first.
#[must_use]
pub fn reread(rollout: Rollout, body: &str) -> Rollout {
    let Ok(read) = read(body, &rollout.prompt, rollout.mode) else { return rollout };
    let is_same = read.text == rollout.text && read.finish_reason == rollout.finish_reason;
    let reading = Reading { length_estimated: read.length_estimated, is_reread: !is_same, ..rollout.reading };
    let ReadReply { text, finish_reason, prompt_tokens, completion_tokens, .. } = read;
    Rollout { text, finish_reason, prompt_tokens, completion_tokens, reading, ..rollout }
}

/// Estimates the length of a response from its bytes: the measure that all responses have.
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

/// Returns the tokens of a text, and whether they are an estimate.
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

/// Puts a response together as the model wrote it; `None` if the reply holds none. The module's doc has the table.
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
    // Some servers leave in the content what they also put beside it, or the tag that ended it.
    if content.trim_start().starts_with(['<', '[', '\u{25c1}']) && content.contains(reasoning) {
        return Some(content);
    }
    let content = content.trim_start().strip_prefix("</think>").map_or(content.as_str(), str::trim_start);
    let reasoning = reasoning.strip_prefix("<think>").unwrap_or(reasoning);
    let reasoning = reasoning.strip_suffix("</think>").unwrap_or(reasoning).trim();
    Some(format!("<think>\n{reasoning}\n</think>\n\n{content}"))
}

/// Returns a reply's body if anything of it can be of use to a later reader.
#[must_use]
pub fn worth_keeping(body: &str) -> Option<String> {
    let reply = ChatReply::parse(body).ok()?;
    let choice = reply.choice?;
    (choice.content.is_some() || choice.reasoning.is_some()).then(|| body.to_owned())
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
