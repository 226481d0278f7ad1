//! The prompts of trainers that render with slots, not with the model's chat template.
//!
//! LLaMA-Factory and ms-swift put the texts of a conversation between fixed texts. They cut these from the model's own
//! chat template, or know them by a name. Here the cutting is done as they do it (LLaMA-Factory 0.9.5,
//! `data/template.py: parse_template`), and its result is compared with the model's own prompt: an export names only a
//! template that gives exactly this prompt.

use super::RenderError;
use super::model::{Frame, ModelTemplate, Slots, Switch};

/// A stand-in for the texts of a conversation, as LLaMA-Factory has it.
const CONTENT: &str = "{{content}}";
/// A user's text without any meaning to templates.
const USER: &str = "@@user-turn@@";
/// The slots of LLaMA-Factory's template `qwen3_nothink` around a user's text: ChatML without a system turn.
const CHATML: [&str; 2] = ["<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"];
/// What `qwen3_nothink` writes after a response.
const CHATML_TAIL: &str = "<|im_end|>\n";

/// Returns how LLaMA-Factory gets the model's own prompt, or what it would get instead.
pub(super) fn llamafactory(model: &ModelTemplate) -> Result<Slots, String> {
    model.found().slots.get_or_init(|| find_slots(model)).clone()
}

fn find_slots(model: &ModelTemplate) -> Result<Slots, String> {
    let own = model.prompt(USER, Switch::Default).map_err(|error| error.to_string())?;
    let cut = match cut(model) {
        Ok(_) if model.has_named_templates() => {
            Err("the model has several by name, and it then uses none at all".to_owned())
        }
        Ok(slots) if slots.thinks => Err("it puts a think block of its own before responses".to_owned()),
        Ok(slots) if slots.prompt.replacen(CONTENT, USER, 1) != own => {
            Err(format!("it makes the prompt {:?} of the template's {own:?}", slots.prompt.replacen(CONTENT, USER, 1)))
        }
        Ok(_) => Ok(Slots::FromTemplate),
        Err(detail) => Err(detail),
    };
    match cut {
        Err(_) if own == [CHATML[0], USER, CHATML[1]].concat() && model.end_of_turn() == CHATML_TAIL.trim_end() => {
            Ok(Slots::Chatml)
        }
        cut => cut.map_err(|detail| format!("LLaMA-Factory cannot follow the chat template: {detail}")),
    }
}

/// Returns the text that LLaMA-Factory writes after a response.
pub(super) fn llamafactory_tail(slots: Slots, model: &ModelTemplate) -> &str {
    match slots {
        Slots::FromTemplate => model.turn_tail(),
        Slots::Chatml => CHATML_TAIL,
    }
}

impl Frame {
    /// Returns ChatML without a system turn.
    pub(super) fn chatml() -> Self {
        let [head, middle] = CHATML.map(str::to_owned);
        Self { head, middle, tail: CHATML_TAIL.to_owned() }
    }
}

/// Returns the frame of the model's own template, without a think block before the response.
pub(super) fn frame(model: &ModelTemplate) -> Result<&Frame, RenderError> {
    let found = model.found().frame.get_or_init(|| find_frame(model));
    found.as_ref().map_err(|detail| RenderError::NoSlots(detail.clone()))
}

fn find_frame(model: &ModelTemplate) -> Result<Frame, String> {
    let own = model.prompt(USER, Switch::Default).map_err(|error| error.to_string())?;
    let (head, middle) =
        own.split_once(USER).ok_or_else(|| "the chat template does not write the user's text as it is".to_owned())?;
    let middle = &middle[..middle.len() - think_block(middle).len()];
    Ok(Frame { head: head.to_owned(), middle: middle.to_owned(), tail: model.turn_tail().to_owned() })
}

/// Returns the prompt that ms-swift makes with the frame of the model's template.
pub(super) fn swift_prompt(user: &str, model: &ModelTemplate) -> Result<String, RenderError> {
    let Frame { head, middle, .. } = frame(model)?;
    Ok([head, user, middle].concat())
}

/// The slots that are cut from a template.
struct Cut {
    /// The prompt of a conversation, with [`CONTENT`] in place of the user's text.
    prompt: String,
    /// Whether a think block is put before responses.
    thinks: bool,
}

/// Cuts a chat template into slots.
fn cut(model: &ModelTemplate) -> Result<Cut, String> {
    // It takes what the tokenizer makes of no text for the beginning of every prompt.
    let prefix = &[model.begin_token().unwrap_or_default(), model.end_token()].concat();
    let skip = prefix.chars().count();
    let rest = |text: String, skip: usize| text.chars().skip(skip).collect::<String>();
    let render = |messages: &[(&str, &str)], opens: bool| {
        model
            .turns(messages, opens)
            .map_err(|error| format!("the template rejects a conversation that it is cut by: {error}"))
    };
    let system = rest(render(&[("system", CONTENT)], false)?, skip);
    let with_empty_system = rest(render(&[("system", ""), ("user", CONTENT)], true)?, skip);
    let mut user = rest(render(&[("user", CONTENT)], true)?, skip);
    let whole = render(&[("user", CONTENT), ("assistant", CONTENT)], false)?;
    let assistant = rest(whole, skip + user.chars().count());
    let thinks = assistant.contains("<think>");
    if !assistant.contains(CONTENT) {
        return Err("the assistant's turn does not begin with the prompt".to_owned());
    }
    let mut own_system = String::new();
    if user.chars().count() > with_empty_system.chars().count() {
        let text = difference(&with_empty_system, &user);
        own_system = system.replacen(CONTENT, &text, 1);
        user = rest(user, own_system.chars().count());
        if text.is_empty() {
            own_system.clear();
        }
    }
    Ok(Cut { prompt: format!("{prefix}{own_system}{user}"), thinks })
}

/// Returns the characters of `long` that a walk through both texts does not find in `short`.
fn difference(short: &str, long: &str) -> String {
    let mut short = short.chars().peekable();
    let mut difference = String::new();
    for letter in long.chars() {
        match short.peek() {
            Some(same) if *same == letter => _ = short.next(),
            Some(_) => difference.push(letter),
            None => break,
        }
    }
    difference
}

/// Returns the think block at the end of a prompt, open, or closed and empty; otherwise an empty text.
pub(super) fn think_block(prompt: &str) -> &str {
    let Some(start) = prompt.rfind("<think>") else { return "" };
    let block = &prompt[start..];
    let inside = block["<think>".len()..].trim();
    if inside.is_empty() || inside == "</think>" { block } else { "" }
}
