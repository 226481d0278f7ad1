//! THE structured response template. Only this module renders and parses it.
//!
//! The layout is KAT-V1's, as far as KAT-V1's is public:
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
//! The mode tag is bare and unclosed. [`render`] rejects parts that contain any of the template's tags, so that
//! [`parse`] returns exactly the rendered parts. [`read_response`] parses a model's own text and is lenient: tags may
//! be missing, unclosed, or in the prompt.

pub mod thinking;

use thinkloom_domain::{FinishReason, Mode, ShownMode};

/// Every tag of the template. A text that contains one cannot be a part of a structured response.
pub const TAGS: &[&str] =
    &["<judge>", "</judge>", "<think_on>", "<think_off>", "<think>", "</think>", "<answer>", "</answer>"];

/// The parts of a structured response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StructuredResponse {
    /// Why this mode suits the query; may be empty.
    pub justification: String,
    /// The text after the mode tag.
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

/// A part contains a tag of the template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {part} holds the template's own tag {tag}")]
pub struct TemplateCollision {
    /// The part: `justification`, `thinking` or `answer`.
    pub part: &'static str,
    /// The tag.
    pub tag: &'static str,
}

/// Why a text is not a structured response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a structured response: {0}")]
pub struct ParseError(&'static str);

/// Returns the first tag of the template in a text.
#[must_use]
pub fn find_tag(text: &str) -> Option<&'static str> {
    TAGS.iter().copied().find(|tag| text.contains(tag))
}

/// Renders a structured response, and rejects a part that contains one of [`TAGS`].
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

/// Parses the output of [`render`]: the exact inverse, which rejects every other text.
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

/// The beginning of a structured response.
pub const JUDGE_OPENING: &str = "<judge>\n";

/// Returns the text between a justification and the body of a structured response in a mode.
#[must_use]
pub fn judge_closing(mode: Mode) -> String {
    format!("\n</judge>\n\n<{mode}>\n")
}

/// Parses the part of a structured response that follows its mode tag; as strict as [`parse`].
///
/// # Errors
/// [`ParseError`] if the tag of `mode` and `text` are not the end of a rendered response.
pub fn parse_body(text: &str, mode: Mode) -> Result<ResponseBody, ParseError> {
    parse(&format!("<judge>\n\n</judge>\n\n<{mode}>\n{text}")).map(|response| response.body)
}

/// A completion that should be a structured response, split as far as it is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StructuredReading<'a> {
    /// The trimmed content of the judge block; `None` without a judge block.
    pub justification: Option<&'a str>,
    /// The mode that the mode tag names; `None` without a mode tag.
    pub mode: Option<Mode>,
    /// The text after the judge block and the mode tag.
    pub body: &'a str,
}

impl StructuredReading<'_> {
    /// Returns the byte of the completion at which the judge block and the mode tag end; 0 without either.
    #[must_use]
    pub fn judge_end(&self, completion: &str) -> usize {
        completion.len() - self.body.len()
    }

    /// Returns the mode that the response shows: that of its mode tag; without one, Think-on if the body reasons, and
    /// Think-off if it is a complete answer. A response that was cut, or ended, before it showed either has no mode.
    #[must_use]
    pub fn shown_mode(&self, finish_reason: FinishReason) -> ShownMode {
        let is_answer = finish_reason == FinishReason::Stop && !self.body.trim().is_empty();
        let of_body = || match self.observe(finish_reason) {
            ObservedResponse { thinking: Some(_), .. } => ShownMode::ThinkOn,
            _ if is_answer => ShownMode::ThinkOff,
            _ => ShownMode::None,
        };
        self.mode.map_or_else(of_body, ShownMode::from)
    }

    /// Splits the body into thinking and answer; see [`read_response`]. Without a mode tag, the mode is the one that
    /// the body shows.
    #[must_use]
    pub fn observe(&self, finish_reason: FinishReason) -> ObservedResponse {
        read_response(self.body, self.mode.unwrap_or(Mode::ThinkOff), finish_reason)
    }
}

/// Finds the judge block and the mode tag in a model's own structured response, leniently:
/// - the judge block ends with the first `</judge>`; a mode tag after the block belongs to the block, if the tag
///   precedes the first `<think>` or `<answer>`;
/// - without `</judge>`, a mode tag before the first `<think>` or `<answer>` ends the block;
/// - an unended `<judge>` at the beginning makes the whole text the block;
/// - otherwise the text has no block, and later tags belong to the answer's own text.
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

/// The parts of a model's own response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedResponse {
    /// The reasoning, if it is not blank.
    pub thinking: Option<String>,
    /// The text after the reasoning; empty if the response ended inside the reasoning.
    pub answer: String,
    /// Think-on if the response has reasoning in a think block, closed or not.
    pub mode: Mode,
}

/// Splits a model's own response into thinking and answer.
///
/// `response` is the prefill (the end of the prompt that belongs to the response) followed by the sampled text. The
/// rules follow the behaviour of models (vendors' reasoning parsers):
/// - one of many tags, channels or sentences marks the thinking ([`thinking`]);
/// - the text up to the last `</think>` is thinking, with or without an opening tag; the text before an opening tag is
///   neither thinking nor answer;
/// - an unclosed `<think>` makes the rest thinking, and the answer empty; in a Think-off response only at the
///   beginning, because a later one may be a mention;
/// - quoted tags, between backticks or in a fenced block, are mentions;
/// - without any tag, the whole response is the answer, except that a Think-on response that reached its token limit is
///   a truncated thought;
/// - a blank think block is not thinking;
/// - `<answer>` tags (or other models' tags of that kind) around the whole answer are removed; the closing tag may be
///   missing.
#[must_use]
pub fn read_response(response: &str, requested: Mode, finish_reason: FinishReason) -> ObservedResponse {
    observed(thinking::split(response, requested, finish_reason))
}

/// Splits a response by the first version of these rules; see [`thinking::first_split`].
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

    /// Texts that resemble the template, including its tags and line breaks.
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
        // Text, justification, mode, body.
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
        // Without a closing tag there is no answer, even if the model ended its turn.
        assert_eq!(read("<think>\nA", ThinkOn, Stop), (some("A"), text(""), ThinkOn));
        // Truncated thoughts are never answers.
        assert_eq!(read("<think>\nA is", ThinkOn, Length), (some("A is"), text(""), ThinkOn));
        assert_eq!(read("A is", ThinkOn, Length), (some("A is"), text(""), ThinkOn));
        // Think-off: no block, or an empty one; a response that reached the token limit has a partial answer.
        assert_eq!(read("B", ThinkOff, Stop), (None, text("B"), ThinkOff));
        assert_eq!(read("<think>\n\n</think>\n\nB", ThinkOff, Stop), (None, text("B"), ThinkOff));
        assert_eq!(read("B and", ThinkOff, Length), (None, text("B and"), ThinkOff));
        // A soft-switch model that thinks in Think-off is read as Think-on.
        assert_eq!(read("<think>A</think>B", ThinkOff, Stop), (some("A"), text("B"), ThinkOn));
        // A Think-on response that answers at once is read as Think-off.
        assert_eq!(read("B", ThinkOn, Stop), (None, text("B"), ThinkOff));
        // Answer tags.
        assert_eq!(read("A</think><answer>\nB\n</answer>", ThinkOn, Stop), (some("A"), text("B"), ThinkOn));
        assert_eq!(read("<answer>B", ThinkOff, Length), (None, text("B"), ThinkOff));
        assert_eq!(read("<think>A</think><response>B</response>", ThinkOn, Stop), (some("A"), text("B"), ThinkOn));
    }
}
