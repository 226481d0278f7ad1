//! Predicts the text that a trainer makes of a row, and the part of the text that carries loss.
//!
//! Pure functions that follow the trainers' code:
//! - TRL renders the prompt with the generation prompt, then the whole conversation. The text beyond the prompt's
//!   length carries loss, whether or not the conversation begins with the prompt.
//! - verl's single-turn data set renders the prompt, and appends the unchanged response and the end-of-sequence token.
//! - axolotl renders the conversation with the response and with a stand-in. The differing text carries loss, and so
//!   does the end-of-turn token after it.
//! - LLaMA-Factory and ms-swift have templates of their own, which put text into slots. The configs of the export name
//!   templates without reasoning, so a response is written unchanged. The slots are taken from the model's template,
//!   with stand-ins.
//! - In the layout `text` the trainer renders nothing.

use super::model::{ModelTemplate, Switch};
use super::{Flavour, Format, Layout, Plan, TrainingRow};
use crate::policy::TemplateError;

/// Another response, which shows where a template's own text ends.
const STANDIN: &str = "[[response]]";

/// A row as the trainer trains on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The whole text.
    pub text: String,
    /// The byte at which loss begins.
    pub loss_start: usize,
    /// The byte at which loss ends.
    pub loss_end: usize,
    /// The rendered prompt, if the trainer renders one and the text does not begin with it.
    pub stray_prompt: Option<String>,
}

/// The finished prompt and response of the layout `text`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The prompt, up to the beginning of the response.
    pub prompt: String,
    /// The response and the end of its turn.
    pub response: String,
}

/// Returns the variables that the trainer passes to the template for a row.
#[must_use]
pub fn switch(plan: Plan, row: &TrainingRow) -> Switch {
    match (plan.flavour, plan.format) {
        (Flavour::Controlled, Format::Trl) => Switch::Mode(row.mode),
        _ => Switch::Default,
    }
}

/// Returns the row in the layout `text`.
///
/// The prompt never ends in an open think block: the response begins with the judge block or opens its own block. If
/// the trainer's tokenizer adds the begin-of-sequence token, the prompt does not contain it.
pub fn finish(plan: Plan, row: &TrainingRow, model: &ModelTemplate) -> Result<Finished, TemplateError> {
    let mut prompt = model.prompt(&row.user, Switch::Default)?;
    prompt.truncate(prompt.len() - open_block(&prompt).len());
    let adds_bos = matches!(plan.format, Format::Trl | Format::Swift);
    if adds_bos && !model.bos().is_empty() {
        prompt = prompt.strip_prefix(model.bos()).map(str::to_owned).unwrap_or(prompt);
    }
    Ok(Finished { prompt, response: format!("{}{}", row.response, model.end_of_turn()) })
}

/// Returns the text that the trainer makes of a row.
pub fn render(plan: Plan, row: &TrainingRow, model: &ModelTemplate) -> Result<Rendered, TemplateError> {
    let joined = |prompt: String, rest: &str| {
        let loss_start = prompt.len();
        let text = prompt + rest;
        Rendered { loss_start, loss_end: text.len(), text, stray_prompt: None }
    };
    if plan.layout == Layout::Text {
        let Finished { prompt, response } = finish(plan, row, model)?;
        return Ok(joined(prompt, &response));
    }
    let switch = switch(plan, row);
    Ok(match plan.format {
        Format::Trl => {
            let prompt = model.prompt(&row.user, switch)?;
            let text = model.conversation(&row.user, &row.response, switch)?;
            let loss_start = floor_boundary(&text, prompt.len());
            let is_stray = !text.starts_with(&prompt);
            Rendered { loss_start, loss_end: text.len(), text, stray_prompt: is_stray.then_some(prompt) }
        }
        Format::Verl => joined(model.prompt(&row.user, switch)?, &format!("{}{}", row.response, model.eos())),
        Format::Axolotl => {
            let text = model.conversation(&row.user, &row.response, switch)?;
            let other = model.conversation(&row.user, STANDIN, switch)?;
            let start = common_prefix(&text, &other);
            let end = text.len() - common_suffix(&text[start..], &other[start.min(other.len())..]);
            let has_eos = !model.eos().is_empty() && text[end..].starts_with(model.eos());
            let loss_end = if has_eos { end + model.eos().len() } else { end };
            Rendered { text, loss_start: start, loss_end, stray_prompt: None }
        }
        Format::LlamaFactory | Format::Swift => {
            let mut prompt = model.prompt(&row.user, switch)?;
            prompt.truncate(prompt.len() - think_block(&prompt).len());
            joined(prompt, &format!("{}{}", row.response, model.end_of_turn()))
        }
    })
}

/// Returns the prompt that reinforcement learning samples from.
pub fn rollout_prompt(plan: Plan, row: &TrainingRow, model: &ModelTemplate) -> Result<String, TemplateError> {
    match plan.layout {
        Layout::Text => finish(plan, row, model).map(|finished| finished.prompt),
        // The rows cannot pass the mode.
        Layout::Messages => model.prompt(&row.user, Switch::Default),
    }
}

/// Returns the open think block at the end of a prompt, or an empty text.
#[must_use]
pub fn open_block(prompt: &str) -> &str {
    let block = think_block(prompt);
    if block.contains("</think>") { "" } else { block }
}

/// Returns the think block at the end of a prompt, open, or closed and empty; otherwise an empty text.
fn think_block(prompt: &str) -> &str {
    let Some(start) = prompt.rfind("<think>") else { return "" };
    let block = &prompt[start..];
    let inside = block["<think>".len()..].trim();
    if inside.is_empty() || inside == "</think>" { block } else { "" }
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
