//! Builds the model's prompt from a query and a mode.

use minijinja::value::Serde;
use minijinja::{Value, context};
use serde::Deserialize;

use super::chat_template::ChatTemplate;
use super::compiled::TemplateError;
use super::preset::Preset;
use super::rendered::RenderedPrompt;
use super::stored_prompter::StoredPrompter;
use super::structured;
use crate::domain::digest::PartsHasher;
use crate::domain::{ByMode, Kind, Mode, Query};
use crate::engine::ForcedClose;
use crate::http::wire::Message;

/// The prompts file, part of the program: a change is a new prompt version.
const PROMPTS: &str = include_str!("../../prompts/policy.toml");

/// One value per kind of query.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ByKind<T> {
    math: T,
    numeric: T,
    choice: T,
    text: T,
    code: T,
}

impl<T> ByKind<T> {
    fn get(&self, kind: Kind) -> &T {
        match kind {
            Kind::Math => &self.math,
            Kind::Numeric => &self.numeric,
            Kind::Choice => &self.choice,
            Kind::Text => &self.text,
            Kind::Code => &self.code,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Example {
    question: String,
    #[serde(default)]
    choices: Vec<String>,
    thinking: String,
    answer: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct InstructPrompts {
    think_on: ByKind<String>,
    think_off: ByKind<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PromptedPrompts {
    instruction: ByKind<String>,
    examples: ByKind<Vec<Example>>,
}

/// The parsed prompts file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Prompts {
    instruct: InstructPrompts,
    prompted: PromptedPrompts,
}

impl Prompts {
    /// The text of the prompts file.
    pub(super) const SOURCE: &str = PROMPTS;

    /// Parses the prompts file, which is part of the program.
    pub(super) fn built_in() -> Self {
        toml::from_str(PROMPTS).expect("prompts/policy.toml is checked by a test")
    }

    /// Returns the messages of a query.
    pub(super) fn messages(&self, preset: Preset, query: &Query, mode: Mode) -> Vec<Message> {
        if preset == Preset::Prompted { self.few_shot(query, mode) } else { self.zero_shot(query, mode) }
    }

    fn zero_shot(&self, query: &Query, mode: Mode) -> Vec<Message> {
        let instructions = match mode {
            Mode::ThinkOn => &self.instruct.think_on,
            Mode::ThinkOff => &self.instruct.think_off,
        };
        vec![Message::user(format!("{}\n\n{}", query.user_text(), instructions.get(query.kind)))]
    }

    fn few_shot(&self, query: &Query, mode: Mode) -> Vec<Message> {
        let PromptedPrompts { instruction, examples } = &self.prompted;
        let instruction = instruction.get(query.kind);
        let mut messages = Vec::new();
        for example in examples.get(query.kind) {
            let shown = Query {
                question: example.question.clone(),
                choices: example.choices.clone(),
                tests: Vec::new(),
                entry_point: None,
                ..query.clone()
            };
            messages.push(Message::user(format!("{}\n{instruction}", shown.user_text())));
            let answer = match query.kind {
                Kind::Code => format!("```python\n{}\n```", example.answer),
                _ => format!("\\boxed{{{}}}", example.answer),
            };
            messages.push(Message::assistant(match mode {
                Mode::ThinkOn => format!("<think>\n{}\n</think>\n{answer}", example.thinking),
                Mode::ThinkOff => answer,
            }));
        }
        messages.push(Message::user(format!("{}\n{instruction}", query.user_text())));
        messages
    }
}

/// Renders prompts for one model.
pub struct Prompter {
    template: ChatTemplate,
    chat_template: String,
    bos_token: String,
    eos_token: String,
    preset: Preset,
    prompts: Prompts,
    /// The given judge block of the preset `structured`.
    judge_block: Option<String>,
}

impl Prompter {
    /// Compiles the chat template and parses the prompts file.
    ///
    /// # Errors
    /// [`TemplateError`] if the template is not supported Jinja.
    pub fn new(chat_template: &str, bos_token: &str, eos_token: &str, preset: Preset) -> Result<Self, TemplateError> {
        let template = ChatTemplate::new(chat_template)?;
        let prompts = Prompts::built_in();
        let (bos_token, eos_token) = (bos_token.to_owned(), eos_token.to_owned());
        let chat_template = chat_template.to_owned();
        Ok(Self { template, chat_template, bos_token, eos_token, preset, prompts, judge_block: None })
    }

    /// Sets the judge block that the preset `structured` opens a response with.
    #[must_use]
    pub fn with_judge_block(self, judge_block: Option<String>) -> Self {
        Self { judge_block, ..self }
    }

    /// Returns the parts that must be stored to render the prompts again without the model.
    #[must_use]
    pub fn stored(&self) -> StoredPrompter {
        StoredPrompter {
            chat_template: self.chat_template.clone(),
            bos_token: self.bos_token.clone(),
            eos_token: self.eos_token.clone(),
        }
    }

    /// Returns the preset.
    #[must_use]
    pub fn preset(&self) -> Preset {
        self.preset
    }

    /// Returns a SHA-256 in hex over everything that shapes prompts, except the query.
    #[must_use]
    pub fn hash(&self) -> String {
        let parts = [PROMPTS, self.preset.name(), &self.chat_template];
        let judge_block = self.judge_block.as_deref().filter(|_| self.preset == Preset::Structured);
        PartsHasher::of(parts.into_iter().chain(judge_block)).hex()
    }

    /// Renders both prompts of a query.
    ///
    /// # Errors
    /// [`TemplateError`] if the template rejects the query.
    pub fn render(&self, query: &Query) -> Result<ByMode<RenderedPrompt>, TemplateError> {
        Ok(ByMode { on: self.render_mode(query, Mode::ThinkOn)?, off: self.render_mode(query, Mode::ThinkOff)? })
    }

    /// Renders a query without a mode: the user's text alone, as in training rows.
    ///
    /// # Errors
    /// [`TemplateError`] if the template rejects the query.
    pub fn render_free(&self, query: &Query) -> Result<RenderedPrompt, TemplateError> {
        let text = self.render_chat(&[Message::user(query.user_text())], Mode::ThinkOn)?;
        let prefill = think_block_at_end(&text).unwrap_or_default().to_owned();
        Ok(RenderedPrompt { prefill, ..RenderedPrompt::plain(text) })
    }

    /// Renders a plain conversation up to the beginning of the assistant's turn.
    ///
    /// # Errors
    /// [`TemplateError`] if the template rejects the conversation.
    pub fn render_chat(&self, messages: &[Message], mode: Mode) -> Result<String, TemplateError> {
        let context = context! {
            messages => Value::from(Serde(messages)),
            add_generation_prompt => true,
            bos_token => &self.bos_token,
            eos_token => &self.eos_token,
        };
        let merged = minijinja::value::merge_maps([context, self.preset.template_arguments(mode)]);
        self.template.render(merged)
    }

    /// Opens a structured response in a mode after a rendered conversation, as the preset `structured` does.
    #[must_use]
    pub fn structured(&self, text: String, mode: Mode) -> RenderedPrompt {
        let prefill = think_block_at_end(&text).unwrap_or_default().to_owned();
        structured::opened(text, &prefill, mode, self.judge_block.as_deref())
    }

    fn render_mode(&self, query: &Query, mode: Mode) -> Result<RenderedPrompt, TemplateError> {
        if self.preset == Preset::Structured {
            return Ok(self.structured(self.render_free(query)?.text, mode));
        }
        let is_prompted = self.preset == Preset::Prompted;
        let messages = self.prompts.messages(self.preset, query, mode);
        let mut text = self.render_chat(&messages, mode)?;
        let answer_opening = if query.kind == Kind::Code { "```python\n" } else { "\\boxed{" };
        let opening = self.preset.opening(mode, &text, answer_opening);
        text.push_str(&opening);
        // A think block that the template opened belongs to the response.
        let prefill = think_block_at_end(&text).map_or(opening, str::to_owned);
        let (stops, close) =
            if is_prompted { prompted_rules(query.kind, mode, answer_opening) } else { (Vec::new(), None) };
        Ok(RenderedPrompt { text, prefill, stops, close, first_tokens_max: None })
    }
}

/// Returns the think block at the end of a prompt: open, or closed and empty.
fn think_block_at_end(prompt: &str) -> Option<&str> {
    let block = &prompt[prompt.rfind("<think>")?..];
    let inside = block.strip_prefix("<think>")?.trim();
    inside.strip_prefix("</think>").unwrap_or(inside).is_empty().then_some(block)
}

/// Returns the stop strings and the forced close of a few-shot response: a small model closes neither its thinking nor
/// its turn reliably.
fn prompted_rules(kind: Kind, mode: Mode, answer_opening: &str) -> (Vec<String>, Option<ForcedClose>) {
    let stops = if kind == Kind::Code { vec!["\n```".to_owned()] } else { vec!["\n".to_owned()] };
    let close = (mode == Mode::ThinkOn).then(|| ForcedClose {
        triggers: vec!["</think>".to_owned(), "\\boxed".to_owned(), "```".to_owned()],
        text: format!("\n</think>\n{answer_opening}"),
        tokens_max: if kind == Kind::Code { 256 } else { 48 },
    });
    (stops, close)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::QueryId;

    const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}";

    fn query(kind: Kind) -> Query {
        Query {
            id: QueryId("q".to_owned()),
            question: "What is 1 + 1?".to_owned(),
            gold: "2".to_owned(),
            choices: if kind == Kind::Choice { vec!["one".to_owned(), "two".to_owned()] } else { Vec::new() },
            ..Query::blank(kind)
        }
    }

    fn render(preset: Preset, kind: Kind) -> ByMode<RenderedPrompt> {
        Prompter::new(CHATML, "<s>", "</s>", preset).unwrap().render(&query(kind)).unwrap()
    }

    #[test]
    fn few_shot_prompts_end_in_their_prefill_for_every_kind() {
        for &kind in Kind::ALL {
            let prompts = render(Preset::Prompted, kind);
            assert!(prompts.on.text.ends_with("<|im_start|>assistant\n<think>\n"), "{}", prompts.on.text);
            assert_eq!(prompts.on.prefill, "<think>\n");
            assert!(prompts.on.close.is_some() && prompts.off.close.is_none());
            assert!(prompts.off.text.ends_with(&prompts.off.prefill) && !prompts.off.prefill.is_empty());
            assert!(!prompts.off.text.contains("<think>"), "Think-off examples show no thinking");
            assert!(prompts.on.text.contains("What is 1 + 1?"));
        }
        assert!(render(Preset::Prompted, Kind::Choice).off.text.contains("\nA. one\nB. two\n"));
    }

    #[test]
    fn a_prompt_for_code_says_what_the_tests_call_once_and_in_the_query_alone() {
        let user = |tests: &[&str], entry_point: Option<&str>| {
            let tests = tests.iter().map(|test| (*test).to_owned()).collect();
            let code = Query { tests, entry_point: entry_point.map(str::to_owned), ..query(Kind::Code) };
            Prompter::new(CHATML, "", "", Preset::Prompted).unwrap().render(&code).unwrap().off.text
        };
        let asserted =
            user(&["assert add(1, 1) == 2", "assert add(1, 2) == 3", "assert add(2, 2) == 4", "assert 9"], None);
        assert_eq!(asserted.matches("assert add(").count(), 3, "{asserted}");
        assert!(!asserted.contains("assert 9"));
        for text in [user(&["def check(c): ..."], Some("add")), user(&["def check(c): ...\n\ncheck(add)\n"], None)] {
            assert_eq!(text.matches("Name the function `add`.").count(), 1, "{text}");
        }
    }

    #[test]
    fn a_switch_in_the_template_is_used_and_its_think_block_belongs_to_the_response() {
        let prompts = render(Preset::Qwen3, Kind::Math);
        assert!(prompts.on.text.ends_with("<|im_start|>assistant\n"));
        assert_eq!(prompts.on.prefill, "");
        assert!(prompts.off.text.ends_with("<think>\n\n</think>\n\n"));
        assert_eq!(prompts.off.prefill, "<think>\n\n</think>\n\n");
        assert!(prompts.on.close.is_none());
        let prefilled = render(Preset::DeepseekR1, Kind::Math);
        assert_eq!(prefilled.on.prefill, "<think>\n");
    }

    #[test]
    fn a_template_that_refuses_or_does_not_parse_is_an_error() {
        assert!(Prompter::new("{% for %}", "", "", Preset::Prompted).is_err());
        let refusing = Prompter::new("{{ raise_exception('no') }}", "", "", Preset::Prompted).unwrap();
        assert!(refusing.render(&query(Kind::Text)).unwrap_err().to_string().contains("no"));
    }
}
