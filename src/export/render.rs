//! Predicts the text that a trainer makes of a row, and the part of the text that carries loss.
//!
//! Pure functions that follow the trainers' code:
//! - TRL renders the prompt with the generation prompt, then the whole conversation. The text beyond the prompt's
//!   length carries loss, whether or not the conversation begins with the prompt.
//! - verl renders each message alone. All of the assistant's turn after its beginning carries loss. Until 0.7.0 it
//!   rendered the prompt, and appended the unchanged response and the end-of-sequence token.
//! - axolotl renders the conversation with the response and with a stand-in. The differing text carries loss, and so
//!   does the end-of-turn token after it. Preferences become texts for TRL.
//! - LLaMA-Factory and ms-swift put texts into slots (`slots`).
//! - In the layout `text` the trainer renders nothing, and its tokenizer may add a begin token.

use super::model::{ModelTemplate, Switch};
use super::{Flavour, Format, Layout, Plan, RenderError, Task, TrainingRow, slots};

/// Another response, which shows where a template's own text ends.
const STANDIN: &str = "[[response]]";

/// A row as the trainer trains on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The whole text, with a begin token that the tokenizer adds.
    pub text: String,
    /// The byte at which loss begins.
    pub loss_start: usize,
    /// The byte at which loss ends.
    pub loss_end: usize,
    /// The rendered prompt, if the trainer renders one and the text does not begin with it.
    pub stray_prompt: Option<String>,
    /// A token that the trainer's tokenizer puts before or after the text and the model's own template does not.
    pub added: Option<String>,
    /// How the trainer cuts the text into the parts that it tokenizes.
    pub cut: Cut,
}

/// How a trainer cuts a text into the parts that it tokenizes, and where loss then begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Not at all; loss begins where the tokens differ from those of the prompt alone.
    Whole,
    /// Not at all; loss falls on each token that has a byte in the range.
    Span,
    /// Before and after the text with loss.
    Loss,
    /// As [`Cut::Loss`], and loss falls on one token earlier: on the last token of the prompt, and not on the end token.
    OneEarly,
    /// After the user's turn, at this byte; loss begins after as many tokens as the assistant's beginning has alone.
    Turn(usize),
}

/// The finished prompt and response of the layout `text`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The prompt, up to the beginning of the response, without `begin`.
    pub prompt: String,
    /// The response and the end of its turn.
    pub response: String,
    /// The token that the trainer's tokenizer puts before the prompt; empty if it puts none.
    pub begin: String,
    /// See [`Rendered::added`].
    pub added: Option<String>,
}

/// Returns the variables that the trainer passes to the template for a row.
#[must_use]
pub fn switch(plan: Plan, row: &TrainingRow) -> Switch {
    match (plan.flavour, plan.format) {
        (Flavour::Controlled, Format::Trl) => Switch::Mode(row.mode),
        _ => Switch::Default,
    }
}

/// Returns whether a trainer asks its tokenizer for special tokens when it tokenizes finished text.
///
/// TRL calls the tokenizer itself, axolotl does so for preferences only, and ms-swift's template `dummy` puts what the
/// tokenizer would add. LLaMA-Factory, and axolotl for `input_output`, add nothing.
const fn asks_for_special_tokens(format: Format, task: Task) -> bool {
    match format {
        Format::Trl | Format::Swift => true,
        Format::Axolotl => !matches!(task, Task::Sft),
        Format::LlamaFactory | Format::Verl => false,
    }
}

/// Returns the row in the layout `text`.
///
/// The prompt never ends in an open think block: the response begins with the judge block or opens its own block. It
/// contains the begin token exactly if the trainer's tokenizer does not add it.
///
/// # Errors
/// [`RenderError`] if the template rejects the row, or if the model's files do not say what its tokenizer adds.
pub fn finish(plan: Plan, task: Task, row: &TrainingRow, model: &ModelTemplate) -> Result<Finished, RenderError> {
    let mut prompt = model.prompt(&row.user, Switch::Default)?;
    prompt.truncate(prompt.len() - open_block(&prompt).len());
    let response = format!("{}{}", row.response, model.end_of_turn());
    if !asks_for_special_tokens(plan.format, task) {
        return Ok(Finished { prompt, response, begin: String::new(), added: None });
    }
    let begin = model.begin_token().ok_or(RenderError::UnknownBegin)?.to_owned();
    let rest = prompt.strip_prefix(&begin).map(str::to_owned);
    let added = [rest.is_none().then_some(begin.as_str()), Some(model.end_token())];
    let added = added.into_iter().flatten().rfind(|token| !token.is_empty()).map(str::to_owned);
    Ok(Finished { prompt: rest.unwrap_or(prompt), response, begin, added })
}

/// Returns the text that the trainer makes of a row.
///
/// # Errors
/// As [`finish`].
pub fn render(plan: Plan, task: Task, row: &TrainingRow, model: &ModelTemplate) -> Result<Rendered, RenderError> {
    let split = |prompt: String, rest: &str| {
        let loss_start = prompt.len();
        let text = prompt + rest;
        Rendered { loss_start, loss_end: text.len(), text, stray_prompt: None, added: None, cut: Cut::Loss }
    };
    if plan.layout == Layout::Text {
        return finished_text(plan, task, row, model);
    }
    let switch = switch(plan, row);
    Ok(match plan.format {
        Format::Trl => {
            let prompt = model.prompt(&row.user, switch)?;
            let text = model.conversation(&row.user, &row.response, switch)?;
            let loss_start = floor_boundary(&text, prompt.len());
            let is_stray = !text.starts_with(&prompt);
            let stray_prompt = is_stray.then_some(prompt);
            Rendered { loss_start, loss_end: text.len(), text, stray_prompt, added: None, cut: Cut::Whole }
        }
        Format::Verl if plan.has_verl_messages() => by_message(row, model)?,
        Format::Verl => {
            let rendered = split(model.prompt(&row.user, switch)?, &format!("{}{}", row.response, model.eos()));
            Rendered { cut: Cut::OneEarly, ..rendered }
        }
        Format::Axolotl if task != Task::Sft => axolotl_preference(row, model)?,
        Format::Axolotl => {
            let text = model.conversation(&row.user, &row.response, switch)?;
            let other = model.conversation(&row.user, STANDIN, switch)?;
            let start = common_prefix(&text, &other);
            let end = text.len() - common_suffix(&text[start..], &other[start.min(other.len())..]);
            let has_eos = !model.eos().is_empty() && text[end..].starts_with(model.eos());
            let loss_end = if has_eos { end + model.eos().len() } else { end };
            Rendered { text, loss_start: start, loss_end, stray_prompt: None, added: None, cut: Cut::Span }
        }
        Format::LlamaFactory => {
            let tail = slots::llamafactory(model).map(|slots| slots::llamafactory_tail(slots, model));
            let tail = tail.map_err(RenderError::NoSlots)?;
            split(model.prompt(&row.user, switch)?, &format!("{}{tail}", row.response))
        }
        Format::Swift => {
            split(slots::swift_prompt(&row.user, model)?, &format!("{}{}", row.response, model.turn_tail()))
        }
    })
}

fn finished_text(plan: Plan, task: Task, row: &TrainingRow, model: &ModelTemplate) -> Result<Rendered, RenderError> {
    let Finished { prompt, mut response, begin, added } = finish(plan, task, row, model)?;
    if asks_for_special_tokens(plan.format, task) {
        end(&mut response, model);
    }
    let loss_start = begin.len() + prompt.len();
    let text = [begin, prompt, response].concat();
    let is_whole = matches!((plan.format, task), (Format::Trl, _) | (Format::Axolotl, Task::Dpo | Task::Kto));
    let cut = if is_whole { Cut::Whole } else { Cut::Loss };
    Ok(Rendered { loss_start, loss_end: text.len(), text, stray_prompt: None, added, cut })
}

/// Appends the end token, as trainers do where a finished text has another end.
fn end(response: &mut String, model: &ModelTemplate) {
    if !model.eos().is_empty() && !response.ends_with(model.eos()) {
        response.push_str(model.eos());
    }
}

/// Returns what verl makes of a row's messages: it renders and tokenizes each alone, and refuses a conversation that is
/// not the sum of its messages.
fn by_message(row: &TrainingRow, model: &ModelTemplate) -> Result<Rendered, RenderError> {
    let turns = |turns: &[(&str, &str)], opens: bool| model.turns(turns, opens);
    let once = turns(&[("user", "")], false)?;
    let twice = turns(&[("user", ""), ("user", "")], false)?;
    let opened = turns(&[("user", "")], true)?;
    // What stands before the first message, which verl takes off the others.
    let before = once.len().saturating_sub(twice.len().saturating_sub(once.len()));
    let opening = opened.len().saturating_sub(once.len());
    let user = turns(&[("user", &row.user)], false)?;
    let assistant = turns(&[("assistant", &row.response)], false)?;
    let text = model.conversation(&row.user, &row.response, Switch::Default)?;
    if assistant.get(before..).is_none_or(|rest| [user.as_str(), rest].concat() != text) {
        return Err(RenderError::NoSlots(
            "verl renders each message alone, and the template renders the conversation otherwise".to_owned(),
        ));
    }
    let loss_start = floor_boundary(&text, user.len() + opening);
    let cut = Cut::Turn(user.len());
    Ok(Rendered { loss_start, loss_end: text.len(), text, stray_prompt: None, added: None, cut })
}

/// Returns what axolotl makes of a preference's messages: texts, which TRL tokenizes with special tokens.
fn axolotl_preference(row: &TrainingRow, model: &ModelTemplate) -> Result<Rendered, RenderError> {
    let own = model.prompt(&row.user, Switch::Default)?;
    let begin = model.begin_token().ok_or(RenderError::UnknownBegin)?.to_owned();
    let whole = model.turns(&[("user", "[[dummy_message]]"), ("assistant", &row.response)], false)?;
    let mut response = whole.rfind(&row.response).map_or(whole.as_str(), |at| &whole[at..]).trim_end().to_owned();
    end(&mut response, model);
    let end_token = (!model.end_token().is_empty()).then(|| model.end_token().to_owned());
    let added = end_token.or_else(|| (!begin.is_empty()).then(|| begin.clone()));
    let loss_start = begin.len() + own.len();
    let text = [begin, own, response].concat();
    Ok(Rendered { loss_start, loss_end: text.len(), text, stray_prompt: None, added, cut: Cut::Whole })
}

/// Returns the prompt that reinforcement learning samples from.
///
/// # Errors
/// As [`finish`].
pub fn rollout_prompt(plan: Plan, row: &TrainingRow, model: &ModelTemplate) -> Result<Rendered, RenderError> {
    if plan.layout == Layout::Text {
        let mut rendered = finished_text(plan, Task::Rl, row, model)?;
        rendered.text.truncate(rendered.loss_start);
        rendered.loss_end = rendered.loss_start;
        return Ok(rendered);
    }
    let text = match plan.format {
        Format::Swift => slots::swift_prompt(&row.user, model)?,
        // The rows cannot pass the mode.
        _ => model.prompt(&row.user, Switch::Default)?,
    };
    let end = text.len();
    Ok(Rendered { text, loss_start: end, loss_end: end, stray_prompt: None, added: None, cut: Cut::Whole })
}

/// Returns the open think block at the end of a prompt, or an empty text.
#[must_use]
pub fn open_block(prompt: &str) -> &str {
    let block = slots::think_block(prompt);
    if block.contains("</think>") { "" } else { block }
}

fn common_prefix(left: &str, right: &str) -> usize {
    let same = left.char_indices().zip(right.chars()).find(|((_, left), right)| left != right);
    same.map_or(left.len().min(right.len()), |((index, _), _)| index)
}

fn common_suffix(left: &str, right: &str) -> usize {
    left.chars()
        .rev()
        .zip(right.chars().rev())
        .take_while(|(left, right)| left == right)
        .map(|(c, _)| c.len_utf8())
        .sum()
}

fn floor_boundary(text: &str, index: usize) -> usize {
    (0..=index.min(text.len())).rev().find(|&index| text.is_char_boundary(index)).unwrap_or(0)
}
