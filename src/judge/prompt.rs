//! The judge's prompts, built into the binary: `prompts/judge.jinja` for models behind an API, and
//! `prompts/judge_local.toml` for the local policy model, which may be too small to follow a rubric.
//!
//! The constant rubric is the system message and comes first; all varying parts follow, the question last, so that a
//! provider's prefix cache covers the rubric. Excerpts are bounded in characters.
//!
//! The text depends on the question, the chosen mode with its reason, and the chosen response, but not on counts: a
//! change that keeps the decision (more samples, other bins, a curtailed budget) leads to the same request, whose reply
//! is already stored. A justification must not mention counts anyway.

use std::sync::LazyLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, context};
use serde::Deserialize;

use super::analysis::JudgeReply;
use super::check::Rejection;
use super::kind::JudgeKind;
use crate::domain::digest::PartsHasher;
use crate::domain::text::ends;
use crate::domain::{Mode, ModeReason};
use crate::http::wire::Message;

const TEMPLATE: &str = include_str!("../../prompts/judge.jinja");
const LOCAL: &str = include_str!("../../prompts/judge_local.toml");
/// Characters that an excerpt of thinking or answer keeps from the beginning.
const EXCERPT_HEAD_CHARS: usize = 1200;
/// Characters that an excerpt of thinking or answer keeps from the end.
const EXCERPT_TAIL_CHARS: usize = 400;
/// Characters that an excerpt of the question keeps from the beginning; only questions with pasted documents are
/// longer.
const QUESTION_HEAD_CHARS: usize = 6000;
/// Characters that an excerpt of the question keeps from the end.
const QUESTION_TAIL_CHARS: usize = 2000;

/// The built-in template, compiled once.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the default delimiters"));
    environment.add_template("judge.jinja", TEMPLATE).expect("prompts/judge.jinja is checked by a test");
    environment
});

/// The case that a judge justifies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct JudgeCase<'a> {
    /// The question as a user would type it, choices included.
    pub question: &'a str,
    /// The value that the verifier parses from the reference answer; no text may reveal it, and no prompt holds it.
    pub gold: &'a str,
    /// The texts of the choices.
    pub choices: &'a [String],
    /// The chosen mode.
    pub mode: Mode,
    /// Why the mode was chosen.
    pub reason: ModeReason,
    /// The chosen response's thinking, if it has any.
    pub thinking: Option<&'a str>,
    /// The chosen response's answer.
    pub answer: &'a str,
}

/// Renders the system and the user message.
pub fn messages(case: &JudgeCase<'_>) -> Result<Vec<Message>, minijinja::Error> {
    let mut rendered = ENVIRONMENT.get_template("judge.jinja")?.render_captured(context! {
        question => excerpt(case.question, QUESTION_HEAD_CHARS, QUESTION_TAIL_CHARS),
        mode => case.mode.name(),
        reason => case.reason.name(),
        thinking => case.thinking.map(|text| excerpt(text, EXCERPT_HEAD_CHARS, EXCERPT_TAIL_CHARS)),
        answer => excerpt(case.answer, EXCERPT_HEAD_CHARS, EXCERPT_TAIL_CHARS),
    })?;
    let system = rendered.with_state_mut(|state| state.render_block("system"))?;
    let user = rendered.with_state_mut(|state| state.render_block("user"))?;
    Ok(vec![Message::system(system.trim()), Message::user(user.trim())])
}

/// Renders the message to a judge whose text a check rejected.
#[must_use]
pub fn rejected(rejection: Rejection) -> Message {
    follow_up("rejected", context! { advice => rejection.advice() })
}

/// Renders the message to a judge whose reply is not the requested object.
#[must_use]
pub fn malformed(problem: &str) -> Message {
    follow_up("malformed", context! { problem })
}

fn follow_up(block: &str, values: minijinja::Value) -> Message {
    let render = || -> Result<String, minijinja::Error> {
        let template = ENVIRONMENT.get_template("judge.jinja")?;
        template.render_captured(values)?.with_state_mut(|state| state.render_block(block))
    };
    Message::user(render().expect("prompts/judge.jinja is checked by a test").trim())
}

/// Returns the example texts in a judge's prompt.
#[must_use]
pub fn examples(kind: JudgeKind) -> Vec<String> {
    match kind {
        JudgeKind::Api => {
            let objects = TEMPLATE.lines().filter_map(|line| serde_json::from_str::<JudgeReply>(line).ok());
            objects.map(|reply| reply.analysis).collect()
        }
        JudgeKind::Local => {
            let text = |example: &LocalExample| format!("{} {}", LOCAL_PROMPT.opening.of(example.mode), example.text);
            LOCAL_PROMPT.examples.iter().map(text).collect()
        }
    }
}

static LOCAL_PROMPT: LazyLock<LocalPrompt> =
    LazyLock::new(|| toml::from_str(LOCAL).expect("prompts/judge_local.toml is checked by a test"));

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
/// assistant's own turn, which the model continues.
#[must_use]
pub fn local_messages(case: &JudgeCase<'_>) -> Vec<Message> {
    let prompt = &*LOCAL_PROMPT;
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
    PartsHasher::of([TEMPLATE, LOCAL]).hex()
}

/// Returns `text`, trimmed; if it is longer than head and tail together, its head and tail with a mark between them.
fn excerpt(text: &str, head_chars: usize, tail_chars: usize) -> String {
    let text = text.trim();
    match ends(text, head_chars, tail_chars, 1) {
        None => text.to_owned(),
        Some((head, tail)) => format!("{head}\n[...]\n{tail}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case() -> JudgeCase<'static> {
        JudgeCase {
            question: "If 3x + 5 = 20, what is <x> & \"why\"?",
            gold: "5",
            choices: &[],
            mode: Mode::ThinkOn,
            reason: ModeReason::HigherPassRate,
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
        assert!(!user.contains("\n\n\n") && user.contains("reasons first\n\nExcerpt"), "{user}");
        assert!(!on[0].content.contains("{%") && !user.contains('{'));
        assert!(on[0].content.contains("json"), "servers want the word for their JSON mode");
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
        let random = user_text(&JudgeCase { reason: ModeReason::Random, ..case() });
        assert!(random.contains("at random") && !random.contains("reliable"), "{random}");
        assert!(!random.contains("\n\n\n"), "{random}");
    }

    #[test]
    fn follow_ups_say_what_was_wrong_and_examples_are_read_from_the_prompts() {
        let message = rejected(Rejection::TooShort);
        assert!(message.role == "user" && message.content.contains("too short"), "{message:?}");
        assert!(malformed("it is no JSON").content.contains("it is no JSON"));
        for (kind, count) in [(JudgeKind::Api, 2), (JudgeKind::Local, 6)] {
            assert_eq!(examples(kind).len(), count, "{kind:?}");
        }
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
