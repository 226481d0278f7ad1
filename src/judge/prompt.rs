//! The judge's prompt: `prompts/judge.jinja`, built into the binary.
//!
//! The fixed rubric is the system message and comes first, everything that varies comes after it and the question
//! last, so that a provider's prefix cache serves the rubric. Excerpts are bounded in characters. The text depends on
//! the question, the decision, the label and the chosen response only, never on how many samples were drawn.

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, context};
use sha2::{Digest, Sha256};

use crate::domain::{ByMode, Mode, ModeReason, PassCounts};
use crate::http::wire::Message;

const TEMPLATE: &str = include_str!("../../prompts/judge.jinja");
/// Characters kept of the head of a thinking or answer excerpt.
const EXCERPT_HEAD_CHARS: usize = 1200;
/// Characters kept of the tail of a thinking or answer excerpt.
const EXCERPT_TAIL_CHARS: usize = 400;
/// Characters kept of the head of the question; only documents pasted into a question are longer.
const QUESTION_HEAD_CHARS: usize = 6000;
/// Characters kept of the tail of the question.
const QUESTION_TAIL_CHARS: usize = 2000;

/// What the judge is asked about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct JudgeCase<'a> {
    /// The question as a user would type it, choices included.
    pub question: &'a str,
    /// The chosen mode.
    pub mode: Mode,
    /// Why it was chosen.
    pub reason: ModeReason,
    /// Counts of both modes; given to the template, which does not print them (see there why).
    pub counts: ByMode<PassCounts>,
    /// Mean completion tokens of both modes; given to the template, which does not print them.
    pub mean_tokens: ByMode<f64>,
    /// The difficulty label; may be empty.
    pub difficulty: &'a str,
    /// The chosen response's thinking, if it has any.
    pub thinking: Option<&'a str>,
    /// The chosen response's answer.
    pub answer: &'a str,
}

/// Renders the system and the user message.
///
/// # Errors
/// An error of the template engine; the built-in template gives none.
pub fn messages(case: &JudgeCase<'_>) -> Result<Vec<Message>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    let template = environment.template_from_named_str("judge.jinja", TEMPLATE)?;
    let rate = |mode: Mode| context! { sampled => case.counts[mode].sampled, correct => case.counts[mode].correct };
    let mut rendered = template.render_captured(context! {
        question => excerpt(case.question, QUESTION_HEAD_CHARS, QUESTION_TAIL_CHARS),
        mode => case.mode.name(),
        reason => case.reason.name(),
        counts => context! { on => rate(Mode::ThinkOn), off => rate(Mode::ThinkOff) },
        mean_tokens => context! { on => case.mean_tokens.on, off => case.mean_tokens.off },
        difficulty => case.difficulty,
        thinking => case.thinking.map(|text| excerpt(text, EXCERPT_HEAD_CHARS, EXCERPT_TAIL_CHARS)),
        answer => excerpt(case.answer, EXCERPT_HEAD_CHARS, EXCERPT_TAIL_CHARS),
    })?;
    let system = rendered.with_state_mut(|state| state.render_block("system"))?;
    let user = rendered.with_state_mut(|state| state.render_block("user"))?;
    Ok(vec![Message::system(system.trim()), Message::user(user.trim())])
}

/// Returns the SHA-256 of the template, in hex.
#[must_use]
pub fn prompt_hash() -> String {
    hex::encode(Sha256::digest(TEMPLATE.as_bytes()))
}

/// Returns `text`, trimmed, or its head and tail with a mark between them if it is longer than both.
fn excerpt(text: &str, head_chars: usize, tail_chars: usize) -> String {
    let text = text.trim();
    let chars = text.chars().count();
    if chars <= head_chars + tail_chars {
        return text.to_owned();
    }
    let head: String = text.chars().take(head_chars).collect();
    let tail: String = text.chars().skip(chars - tail_chars).collect();
    format!("{head}\n[...]\n{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case() -> JudgeCase<'static> {
        JudgeCase {
            question: "If 3x + 5 = 20, what is <x> & \"why\"?",
            mode: Mode::ThinkOn,
            reason: ModeReason::HigherPassRate,
            counts: ByMode {
                on: PassCounts { sampled: 97, correct: 89 },
                off: PassCounts { sampled: 83, correct: 13 },
            },
            mean_tokens: ByMode { on: 911.0, off: 151.0 },
            difficulty: "medium",
            thinking: Some("subtract five"),
            answer: "x = 5",
        }
    }

    fn user_text(case: &JudgeCase<'_>) -> String {
        messages(case).unwrap().remove(1).content
    }

    #[test]
    fn the_rubric_is_the_same_for_every_case_and_the_question_comes_last() {
        let on = messages(&case()).unwrap();
        let off = messages(&JudgeCase { mode: Mode::ThinkOff, question: "2+2?", ..case() }).unwrap();
        assert_eq!(on[0], off[0]);
        assert_eq!((on[0].role.as_str(), on[1].role.as_str()), ("system", "user"));
        let user = &on[1].content;
        let position = |part: &str| user.find(part).unwrap_or_else(|| panic!("{part} is not in {user}"));
        assert!(position("subtract five") < position("x = 5"));
        assert!(position("x = 5") < position("what is <x> & \"why\"?"));
        assert!(!user.contains("\n\n\n") && user.contains("medium.\n\nExcerpt"), "{user}");
        assert!(!on[0].content.contains('{') && !user.contains('{'));
    }

    #[test]
    fn mode_and_reason_choose_the_wording() {
        let on = user_text(&case());
        assert!(on.starts_with("Chosen way: reasoning first") && on.contains("more reliable when it reasons first"));
        let off = user_text(&JudgeCase { mode: Mode::ThinkOff, thinking: None, ..case() });
        assert!(off.starts_with("Chosen way: directly") && off.contains("when it answers at once"));
        assert!(!off.contains("reasoning that was then written"));
        let tie = user_text(&JudgeCase { mode: Mode::ThinkOff, reason: ModeReason::Tie, ..case() });
        assert!(tie.contains("equally reliable"));
        let random = user_text(&JudgeCase { reason: ModeReason::Random, difficulty: "", ..case() });
        assert!(!random.contains("Background") && !random.contains("\n\n\n"), "{random}");
    }

    #[test]
    fn the_request_does_not_depend_on_how_much_was_sampled() {
        let other = JudgeCase { counts: ByMode::default(), mean_tokens: ByMode::default(), ..case() };
        assert_eq!(messages(&case()).unwrap(), messages(&other).unwrap());
    }

    #[test]
    fn excerpts_are_bounded_on_character_boundaries() {
        let at = "\u{e9}".repeat(EXCERPT_HEAD_CHARS + EXCERPT_TAIL_CHARS);
        assert_eq!(excerpt(&at, EXCERPT_HEAD_CHARS, EXCERPT_TAIL_CHARS), at);
        let over = format!("a{at}z");
        let cut = excerpt(&over, EXCERPT_HEAD_CHARS, EXCERPT_TAIL_CHARS);
        assert_eq!(cut.chars().count(), EXCERPT_HEAD_CHARS + EXCERPT_TAIL_CHARS + 7);
        assert!(cut.starts_with('a') && cut.ends_with('z') && cut.contains("\n[...]\n"));
        let long = "word ".repeat(100_000);
        let user = user_text(&JudgeCase { question: &long, thinking: Some(&long), answer: &long, ..case() });
        assert!(user.chars().count() < 13_000);
    }

    #[test]
    fn the_template_itself_holds_no_template_tag_and_is_ascii() {
        assert!(TEMPLATE.is_ascii());
        assert!(crate::template::TAGS.iter().all(|tag| !TEMPLATE.contains(tag)));
        assert_eq!(prompt_hash().len(), 64);
    }
}
