//! THE structured response template: rendered and parsed here, and nowhere else.
//!
//! The layout is KAT-V1's, as far as it is public:
//!
//! ```text
//! <judge>                          <judge>
//! {justification}                  {justification}
//! </judge>                         </judge>
//!
//! <think_on>                       <think_off>
//! <think>                          <answer>
//! {thinking}                       {answer}
//! </think>                         </answer>
//!
//! <answer>
//! {answer}
//! </answer>
//! ```
//!
//! The mode tag is bare and unclosed. [`render`] refuses parts that hold any of the template's tags, so that
//! [`parse`] gives back exactly what was rendered. [`read_response`] reads what a model wrote on its own, and is
//! lenient: tags may be missing, unclosed, or stand in the prompt.

pub mod thinking;

use thinkloom_domain::{FinishReason, Mode};

/// Every tag of the template. Text that holds one cannot be a part of a structured response.
pub const TAGS: &[&str] =
    &["<judge>", "</judge>", "<think_on>", "<think_off>", "<think>", "</think>", "<answer>", "</answer>"];

/// The parts of a structured response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StructuredResponse {
    /// Why this mode suits the query; may be empty.
    pub justification: String,
    /// What follows the mode tag.
    pub body: ResponseBody,
}

/// The mode-dependent part of a structured response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResponseBody {
    /// Think-on.
    ThinkOn {
        /// The reasoning.
        thinking: String,
        /// The answer.
        answer: String,
    },
    /// Think-off.
    ThinkOff {
        /// The answer.
        answer: String,
    },
}

impl ResponseBody {
    /// Returns the mode.
    #[must_use]
    pub fn mode(&self) -> Mode {
        match self {
            Self::ThinkOn { .. } => Mode::ThinkOn,
            Self::ThinkOff { .. } => Mode::ThinkOff,
        }
    }
}

/// A part holds a tag of the template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {part} holds the template's own tag {tag}")]
pub struct TemplateCollision {
    /// `justification`, `thinking` or `answer`.
    pub part: &'static str,
    /// The tag.
    pub tag: &'static str,
}

/// Why a text is no structured response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no structured response: {0}")]
pub struct ParseError(&'static str);

/// Returns the first tag of the template that a text holds.
#[must_use]
pub fn find_tag(text: &str) -> Option<&'static str> {
    TAGS.iter().copied().find(|tag| text.contains(tag))
}

/// Renders a structured response.
///
/// # Errors
/// [`TemplateCollision`] if a part holds one of [`TAGS`].
pub fn render(response: &StructuredResponse) -> Result<String, TemplateCollision> {
    let check = |part, text: &str| match find_tag(text) {
        Some(tag) => Err(TemplateCollision { part, tag }),
        None => Ok(()),
    };
    let justification = &response.justification;
    check("justification", justification)?;
    match &response.body {
        ResponseBody::ThinkOn { thinking, answer } => {
            check("thinking", thinking)?;
            check("answer", answer)?;
            Ok(format!(
                "<judge>\n{justification}\n</judge>\n\n<think_on>\n<think>\n{thinking}\n</think>\n\n<answer>\n{answer}\n</answer>"
            ))
        }
        ResponseBody::ThinkOff { answer } => {
            check("answer", answer)?;
            Ok(format!("<judge>\n{justification}\n</judge>\n\n<think_off>\n<answer>\n{answer}\n</answer>"))
        }
    }
}

/// Parses what [`render`] wrote; the exact inverse.
///
/// # Errors
/// [`ParseError`] for any text that `render` does not write.
pub fn parse(text: &str) -> Result<StructuredResponse, ParseError> {
    let rest = text.strip_prefix("<judge>\n").ok_or(ParseError("it does not begin with <judge>"))?;
    let (justification, rest) = rest.split_once("\n</judge>\n\n").ok_or(ParseError("the judge block is not closed"))?;
    let read_answer = |rest: &str| {
        let answer = rest.strip_prefix("<answer>\n").and_then(|rest| rest.strip_suffix("\n</answer>"));
        answer.map(str::to_owned).ok_or(ParseError("the answer block is not where it should be"))
    };
    let body = if let Some(rest) = rest.strip_prefix("<think_on>\n<think>\n") {
        let (thinking, rest) = rest.split_once("\n</think>\n\n").ok_or(ParseError("the think block is not closed"))?;
        ResponseBody::ThinkOn { thinking: thinking.to_owned(), answer: read_answer(rest)? }
    } else if let Some(rest) = rest.strip_prefix("<think_off>\n") {
        ResponseBody::ThinkOff { answer: read_answer(rest)? }
    } else {
        return Err(ParseError("no mode tag follows the judge block"));
    };
    let response = StructuredResponse { justification: justification.to_owned(), body };
    match render(&response) {
        Ok(rendered) if rendered == text => Ok(response),
        _ => Err(ParseError("a part holds one of the template's tags")),
    }
}

/// A completion that should be a structured response, taken apart as far as it is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StructuredReading<'a> {
    /// What stands in the judge block, trimmed; `None` if there is no such block.
    pub justification: Option<&'a str>,
    /// The mode that the mode tag names; `None` without one.
    pub mode: Option<Mode>,
    /// What follows judge block and mode tag.
    pub body: &'a str,
}

impl StructuredReading<'_> {
    /// Returns the byte of the completion at which judge block and mode tag end; 0 without either.
    #[must_use]
    pub fn judge_end(&self, completion: &str) -> usize {
        completion.len() - self.body.len()
    }

    /// Splits the body into thinking and answer; see [`read_response`]. Without a mode tag the mode is the one that the
    /// body shows.
    #[must_use]
    pub fn observe(&self, finish_reason: FinishReason) -> ObservedResponse {
        read_response(self.body, self.mode.unwrap_or(Mode::ThinkOff), finish_reason)
    }
}

/// Finds judge block and mode tag in a model's own structured response, leniently:
/// - the judge block ends with the first `</judge>`; a mode tag behind it belongs to it, wherever it stands before the
///   first `<think>` or `<answer>`;
/// - without `</judge>`, a mode tag before the first `<think>` or `<answer>` ends the block;
/// - a `<judge>` at the beginning that nothing ends makes the whole text the block;
/// - otherwise there is no block, and tags further on are the answer's own text.
#[must_use]
pub fn read_structured(completion: &str) -> StructuredReading<'_> {
    let opens = completion.trim_start().starts_with("<judge>");
    let content_start = completion.find("<judge>").map(|at| at + "<judge>".len());
    let body_tag = |from: usize| {
        let rest = completion.get(from..).unwrap_or_default();
        let found = ["<think>", "<answer>"].iter().filter_map(|tag| rest.find(tag)).min();
        found.map_or(completion.len(), |at| from + at)
    };
    let mode_tag = |from: usize| -> Option<(Mode, usize, usize)> {
        let head = completion.get(from..body_tag(from))?;
        let tags = [(Mode::ThinkOn, "<think_on>"), (Mode::ThinkOff, "<think_off>")];
        let found = tags.iter().filter_map(|(mode, tag)| head.find(tag).map(|at| (*mode, from + at, tag.len())));
        found.min_by_key(|(_, at, _)| *at).map(|(mode, at, length)| (mode, at, at + length))
    };
    // A closing tag inside the thinking or the answer closes nothing.
    let close = completion.find("</judge>").filter(|&at| opens || at < body_tag(0));
    let content = |end: usize| {
        let start = content_start.filter(|&start| start <= end)?;
        completion.get(start..end).map(str::trim)
    };
    let (justification, mode, end) = match close {
        Some(close) => {
            let after = close + "</judge>".len();
            let tag = mode_tag(after);
            let justification = content(close).or_else(|| completion.get(..close).map(str::trim));
            (justification, tag.map(|tag| tag.0), tag.map_or(after, |tag| tag.2))
        }
        None => match mode_tag(0) {
            Some((mode, start, end)) => (content(start), Some(mode), end),
            None if opens => (content(completion.len()), None, completion.len()),
            None => (None, None, 0),
        },
    };
    StructuredReading { justification, mode, body: completion.get(end..).unwrap_or_default() }
}

/// What a model's own response shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedResponse {
    /// The reasoning, if there is any that is not blank.
    pub thinking: Option<String>,
    /// What follows the reasoning; empty if the response ended inside it.
    pub answer: String,
    /// Think-on if there is reasoning in a think block, closed or not.
    pub mode: Mode,
}

/// Splits a model's own response into thinking and answer.
///
/// `response` is the prefill (the end of the prompt that belongs to the response) followed by the sampled text. The
/// rules, from how models behave (vendors' reasoning parsers):
/// - thinking is set off by one of many tags, channels or sentences ([`thinking`]);
/// - everything up to the last `</think>` is thinking, with or without an opening tag; what stands before an opening
///   tag is neither thinking nor answer;
/// - an opening `<think>` that is never closed makes the rest thinking, and the answer empty; in a Think-off response
///   only at its beginning, because further on it may be a mention;
/// - tags that are quoted, between backticks or in a fenced block, are mentions;
/// - without any tag the whole response is the answer, but a Think-on response without a tag that hit its token limit
///   is a truncated thought;
/// - a blank think block is no thinking;
/// - `<answer>` tags (or other models' tags of that kind) around the whole answer are taken off, the closing one may be
///   missing.
#[must_use]
pub fn read_response(response: &str, requested: Mode, finish_reason: FinishReason) -> ObservedResponse {
    observed(thinking::split(response, requested, finish_reason))
}

/// Splits a response as the first reading of this program did; see [`thinking::first_split`].
#[must_use]
pub fn read_first(response: &str, requested: Mode, finish_reason: FinishReason) -> ObservedResponse {
    observed(thinking::first_split(response, requested, finish_reason))
}

fn observed(split: thinking::Split) -> ObservedResponse {
    let thinking::Split { thinking, answer } = split;
    let mode = if thinking.is_some() { Mode::ThinkOn } else { Mode::ThinkOff };
    ObservedResponse { thinking, answer: thinking::without_answer_tags(&answer).to_owned(), mode }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn on(justification: &str, thinking: &str, answer: &str) -> StructuredResponse {
        let body = ResponseBody::ThinkOn { thinking: thinking.to_owned(), answer: answer.to_owned() };
        StructuredResponse { justification: justification.to_owned(), body }
    }

    fn off(justification: &str, answer: &str) -> StructuredResponse {
        let body = ResponseBody::ThinkOff { answer: answer.to_owned() };
        StructuredResponse { justification: justification.to_owned(), body }
    }

    #[test]
    fn both_modes_render_as_documented() {
        assert_eq!(
            render(&on("Why.", "2+2", "4")).unwrap(),
            "<judge>\nWhy.\n</judge>\n\n<think_on>\n<think>\n2+2\n</think>\n\n<answer>\n4\n</answer>"
        );
        assert_eq!(
            render(&off("Why.", "4")).unwrap(),
            "<judge>\nWhy.\n</judge>\n\n<think_off>\n<answer>\n4\n</answer>"
        );
    }

    /// Texts that like to look like the template, tags and line breaks included.
    fn tricky_text() -> impl Strategy<Value = String> {
        let pieces = prop_oneof![
            3 => "[a-z \\n<>/_]{0,12}".prop_map(|text| text),
            1 => proptest::sample::select(TAGS).prop_map(str::to_owned),
            1 => Just("\n\n".to_owned()),
            1 => Just("\n</jud".to_owned()),
        ];
        proptest::collection::vec(pieces, 0..4).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn parse_inverts_render_and_render_refuses_tags(
            justification in tricky_text(), thinking in tricky_text(), answer in tricky_text(), is_on in any::<bool>(),
        ) {
            let response =
                if is_on { on(&justification, &thinking, &answer) } else { off(&justification, &answer) };
            let holds_tag = [&justification, &answer].into_iter().chain(is_on.then_some(&thinking)).any(|part| find_tag(part).is_some());
            match render(&response) {
                Ok(text) => {
                    prop_assert!(!holds_tag);
                    let read = read_structured(&text);
                    prop_assert_eq!(read.justification, Some(justification.trim()));
                    prop_assert_eq!(read.mode, Some(response.body.mode()));
                    prop_assert_eq!(parse(&text), Ok(response));
                }
                Err(_) => prop_assert!(holds_tag),
            }
        }

        #[test]
        fn whatever_parses_renders_back_to_itself(text in tricky_text()) {
            for text in [text.clone(), format!("<judge>\n{text}\n</judge>\n\n<think_off>\n<answer>\n{text}\n</answer>")] {
                if let Ok(response) = parse(&text) {
                    prop_assert_eq!(render(&response).unwrap(), text);
                }
            }
        }

        #[test]
        fn reading_never_panics_and_trims(text in tricky_text()) {
            let read = read_response(&text, Mode::ThinkOff, FinishReason::Stop);
            prop_assert_eq!(read.answer.trim(), &read.answer);
            prop_assert_eq!(read.mode == Mode::ThinkOn, read.thinking.is_some());
        }
    }

    #[test]
    fn torn_or_reordered_templates_are_refused() {
        let whole = render(&on("Why.", "2+2", "4")).unwrap();
        for end in 0..whole.len() {
            assert!(parse(&whole[..end]).is_err());
        }
        assert!(parse(&whole.replace("<think_on>", "<think_off>")).is_err());
        assert!(parse(&format!("{whole}\n")).is_err());
    }

    fn read(text: &str, mode: Mode, finish_reason: FinishReason) -> (Option<String>, String, Mode) {
        let ObservedResponse { thinking, answer, mode } = read_response(text, mode, finish_reason);
        (thinking, answer, mode)
    }

    #[test]
    fn judge_block_and_mode_tag_are_found_leniently() {
        use Mode::{ThinkOff, ThinkOn};
        // Text, justification, mode, what follows.
        type Case = (&'static str, Option<&'static str>, Option<Mode>, &'static str);
        let cases: &[Case] = &[
            ("<judge>\nWhy.\n</judge>\n\n<think_off>\n<answer>4", Some("Why."), Some(ThinkOff), "\n<answer>4"),
            ("Sure. <judge>Why.</judge><think_on><think>", Some("Why."), Some(ThinkOn), "<think>"),
            ("Why.</judge><think_on>x", Some("Why."), Some(ThinkOn), "x"),
            (
                "<judge>Why.</judge>\n<answer>say <think_on></answer>",
                Some("Why."),
                None,
                "\n<answer>say <think_on></answer>",
            ),
            ("<judge>Why. <think_off>\n4", Some("Why."), Some(ThinkOff), "\n4"),
            ("<think_on>\n<think>a</think>4", None, Some(ThinkOn), "\n<think>a</think>4"),
            ("<judge>and so on", Some("and so on"), None, ""),
            ("<think>is </judge> a tag?</think>4", None, None, "<think>is </judge> a tag?</think>4"),
            ("The tags are <answer> and <think_on>.", None, None, "The tags are <answer> and <think_on>."),
            ("", None, None, ""),
        ];
        for (text, justification, mode, body) in cases {
            let read = read_structured(text);
            assert_eq!((read.justification, read.mode, read.body), (*justification, *mode, *body), "{text}");
            assert_eq!(&text[read.judge_end(text)..], *body);
        }
    }

    #[test]
    fn models_own_responses_are_read_leniently() {
        use FinishReason::{Length, Stop};
        use Mode::{ThinkOff, ThinkOn};
        let some = |text: &str| Some(text.to_owned());
        let text = |text: &str| text.to_owned();
        // Whole block; no opening tag; nested mention: the last closing tag counts.
        assert_eq!(read("<think>\nA\n</think>\n\nB", ThinkOn, Stop), (some("A"), text("B"), ThinkOn));
        assert_eq!(read("A</think>B", ThinkOn, Stop), (some("A"), text("B"), ThinkOn));
        assert_eq!(read("<think>a</think>b</think>c", ThinkOn, Stop), (some("a</think>b"), text("c"), ThinkOn));
        // Text before the opening tag; a block opened twice.
        assert_eq!(read("Sure.\n<think>A</think>B", ThinkOn, Stop), (some("A"), text("B"), ThinkOn));
        assert_eq!(read("<think>\n<think>\nA</think>B", ThinkOn, Stop), (some("A"), text("B"), ThinkOn));
        assert_eq!(read("Sure.\n<think>A is", ThinkOn, Length), (some("A is"), text(""), ThinkOn));
        assert_eq!(read("Write <think> so.", ThinkOff, Stop), (None, text("Write <think> so."), ThinkOff));
        // No closing tag is no answer, even if the model ended its turn.
        assert_eq!(read("<think>\nA", ThinkOn, Stop), (some("A"), text(""), ThinkOn));
        // Truncated thoughts are never answers.
        assert_eq!(read("<think>\nA is", ThinkOn, Length), (some("A is"), text(""), ThinkOn));
        assert_eq!(read("A is", ThinkOn, Length), (some("A is"), text(""), ThinkOn));
        // Think-off: no block, or an empty one; a length stop leaves a partial answer.
        assert_eq!(read("B", ThinkOff, Stop), (None, text("B"), ThinkOff));
        assert_eq!(read("<think>\n\n</think>\n\nB", ThinkOff, Stop), (None, text("B"), ThinkOff));
        assert_eq!(read("B and", ThinkOff, Length), (None, text("B and"), ThinkOff));
        // A soft-switch model that thinks all the same is seen.
        assert_eq!(read("<think>A</think>B", ThinkOff, Stop), (some("A"), text("B"), ThinkOn));
        // Think-on that answers at once is seen as Think-off.
        assert_eq!(read("B", ThinkOn, Stop), (None, text("B"), ThinkOff));
        // Answer tags.
        assert_eq!(read("A</think><answer>\nB\n</answer>", ThinkOn, Stop), (some("A"), text("B"), ThinkOn));
        assert_eq!(read("<answer>B", ThinkOff, Length), (None, text("B"), ThinkOff));
        assert_eq!(read("<think>A</think><response>B</response>", ThinkOn, Stop), (some("A"), text("B"), ThinkOn));
    }
}
