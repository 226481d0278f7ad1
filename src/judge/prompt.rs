//! The judge's prompts, built into the binary: `prompts/judge.jinja` for models behind an API, and
//! `prompts/judge_local.toml` for the local policy model, which may be too small to follow a rubric.
//!
//! The fixed rubric is the system message and comes first, everything that varies comes after it and the question
//! last, so that a provider's prefix cache serves the rubric. Excerpts are bounded in characters. The text depends on
//! the question, the decision, the label and the chosen response only, never on how many samples were drawn.

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, context};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::domain::{Mode, ModeReason};
use crate::http::wire::Message;

const TEMPLATE: &str = include_str!("../../prompts/judge.jinja");
const LOCAL: &str = include_str!("../../prompts/judge_local.toml");
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
    let mut rendered = template.render_captured(context! {
        question => excerpt(case.question, QUESTION_HEAD_CHARS, QUESTION_TAIL_CHARS),
        mode => case.mode.name(),
        reason => case.reason.name(),
        difficulty => case.difficulty,
        thinking => case.thinking.map(|text| excerpt(text, EXCERPT_HEAD_CHARS, EXCERPT_TAIL_CHARS)),
        answer => excerpt(case.answer, EXCERPT_HEAD_CHARS, EXCERPT_TAIL_CHARS),
    })?;
    let system = rendered.with_state_mut(|state| state.render_block("system"))?;
    let user = rendered.with_state_mut(|state| state.render_block("user"))?;
    Ok(vec![Message::system(system.trim()), Message::user(user.trim())])
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LocalPrompt {
    system: String,
    opening: ByModeText,
    asked: ByModeText,
    examples: Vec<LocalExample>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ByModeText {
    think_on: String,
    think_off: String,
}

impl ByModeText {
    fn of(&self, mode: Mode) -> &str {
        match mode {
            Mode::ThinkOn => &self.think_on,
            Mode::ThinkOff => &self.think_off,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LocalExample {
    mode: Mode,
    question: String,
    text: String,
}

/// Renders the conversation for a small local model: examples, then the question, and last the beginning of the
/// assistant's own turn, which the model goes on with.
#[must_use]
pub fn local_messages(case: &JudgeCase<'_>) -> Vec<Message> {
    let prompt: LocalPrompt = toml::from_str(LOCAL).expect("prompts/judge_local.toml is checked by a test");
    let asked = |question: &str, mode| Message::user(format!("Question: {question}\n\n{}", prompt.asked.of(mode)));
    let mut messages = vec![Message::system(prompt.system.clone())];
    for example in &prompt.examples {
        messages.push(asked(&example.question, example.mode));
        messages.push(Message::assistant(format!("{} {}", prompt.opening.of(example.mode), example.text)));
    }
    messages.push(asked(&excerpt(case.question, QUESTION_HEAD_CHARS, QUESTION_TAIL_CHARS), case.mode));
    messages.push(Message::assistant(prompt.opening.of(case.mode)));
    messages
}

/// Returns the SHA-256 of both prompts, in hex.
#[must_use]
pub fn prompt_hash() -> String {
    let mut hasher = Sha256::new();
    for prompt in [TEMPLATE, LOCAL] {
        hasher.update((prompt.len() as u64).to_le_bytes());
        hasher.update(prompt.as_bytes());
    }
    hex::encode(hasher.finalize())
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
    fn a_local_model_sees_examples_then_the_question_then_the_beginning_of_its_own_answer() {
        for mode in [Mode::ThinkOn, Mode::ThinkOff] {
            let messages = local_messages(&JudgeCase { mode, ..case() });
            let [.., question, opening] = messages.as_slice() else { panic!("{messages:?}") };
            assert_eq!((question.role.as_str(), opening.role.as_str()), ("user", "assistant"));
            assert!(question.content.contains(case().question));
            assert!(opening.content.ends_with("because"));
            let all: String = messages.iter().map(|message| message.content.as_str()).collect();
            assert!(!all.contains(case().answer), "it must not give away what it has not seen");
            assert!(crate::template::TAGS.iter().all(|tag| !all.contains(tag)));
        }
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
