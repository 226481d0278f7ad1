//! THE rule for the changes that a chat template may make to a row.
//!
//! A row is whole if the rendered text contains its response unchanged, the response carries loss from its first
//! character to its last, and the response directly follows the prompt. In the controlled flavour the prompt may
//! contain the opening of the think block, because the user chose the mode.

use super::lengths::Tokens;
use super::model::ModelTemplate;
use super::render::{Rendered, open_block, render, rollout_prompt};
use super::{Flavour, Format, Plan, RenderError, Task, TrainingRow};
use crate::domain::text::ends;

/// A fault of a row rendered by a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The template rejects the row.
    Refused(String),
    /// The rendered text lacks the user's turn.
    PromptLost,
    /// The rendered text lacks a part of the response.
    Lost {
        /// The part's name.
        part: &'static str,
        /// The part.
        text: String,
    },
    /// The rendered text contains all parts, but changed.
    Changed {
        /// The expected text at the first difference.
        expected: String,
        /// The found text at the first difference.
        found: String,
    },
    /// The template inserts text before the response, and this text carries loss.
    Inserted(String),
    /// A part of the response carries no loss.
    Unlearnt(String),
    /// The prompt leaves a think block open that the response does not continue.
    OpenBlock(String),
    /// The trainer's tokenizer adds a token to the text that the model's own template does not write.
    Added(String),
    /// The rendered conversation does not begin with the rendered prompt, so loss falls on the wrong characters.
    StrayPrompt(String),
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(error) => write!(formatter, "{error}"),
            Self::PromptLost => write!(formatter, "the template drops the user's turn"),
            Self::Lost { part, text } => {
                write!(
                    formatter,
                    "the template drops the {part}, {} characters: {}",
                    text.chars().count(),
                    excerpt(text)
                )
            }
            Self::Changed { expected, found } => {
                write!(formatter, "the template changes the response: {} becomes {}", excerpt(expected), excerpt(found))
            }
            Self::Inserted(text) => {
                write!(formatter, "the template inserts {} before the response, with loss", excerpt(text))
            }
            Self::Unlearnt(text) => write!(formatter, "{} carries no loss", excerpt(text)),
            Self::OpenBlock(text) => {
                write!(formatter, "the prompt ends in {}, so the response would be inside this block", excerpt(text))
            }
            Self::Added(token) => write!(
                formatter,
                "the trainer's tokenizer adds {} to the text, and the model's own template does not",
                excerpt(token)
            ),
            Self::StrayPrompt(end) => write!(
                formatter,
                "the conversation does not begin with the prompt, which ends in {}: loss falls in the wrong place",
                excerpt(end)
            ),
        }
    }
}

/// The result of rendering a row with a template.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The rendered text, unless the template rejects the row.
    pub rendered: Option<Rendered>,
    /// The faults; empty if the row is whole.
    pub problems: Vec<Problem>,
    /// The tokens of the text; `None` if they were not asked for, or if the model's tokenizer is not known.
    pub tokens: Option<Tokens>,
}

/// Checks a row against a template, rendered as the trainer would render it.
#[must_use]
pub fn check(plan: Plan, task: Task, row: &TrainingRow, model: &ModelTemplate) -> Checked {
    if task == Task::Rl {
        return check_prompt(plan, row, model);
    }
    match render(plan, task, row, model) {
        Ok(rendered) => Checked { problems: problems(plan, row, &rendered), rendered: Some(rendered), tokens: None },
        Err(error) => refused(&error),
    }
}

fn refused(error: &RenderError) -> Checked {
    Checked { rendered: None, problems: vec![Problem::Refused(error.to_string())], tokens: None }
}

fn check_prompt(plan: Plan, row: &TrainingRow, model: &ModelTemplate) -> Checked {
    let rendered = match rollout_prompt(plan, row, model) {
        Ok(rendered) => rendered,
        Err(error) => return refused(&error),
    };
    let mut problems = Vec::new();
    if !rendered.text.contains(row.user.trim()) {
        problems.push(Problem::PromptLost);
    }
    problems.extend(rendered.added.clone().map(Problem::Added));
    let block = open_block(&rendered.text);
    if !block.is_empty() {
        problems.push(Problem::OpenBlock(block.to_owned()));
    }
    Checked { rendered: Some(rendered), problems, tokens: None }
}

fn problems(plan: Plan, row: &TrainingRow, rendered: &Rendered) -> Vec<Problem> {
    let Rendered { text, loss_start, loss_end, stray_prompt, added, .. } = rendered;
    let mut problems: Vec<Problem> = added.clone().map(Problem::Added).into_iter().collect();
    if !text.contains(row.user.trim()) {
        problems.push(Problem::PromptLost);
    }
    if let Some(prompt) = stray_prompt {
        problems.push(Problem::StrayPrompt(prompt.lines().last().unwrap_or_default().to_owned()));
    }
    let Some(start) = text.rfind(&row.response) else {
        problems.extend(losses(row, text));
        return problems;
    };
    let end = start + row.response.len();
    let before = &text[..start];
    if start > *loss_start && stray_prompt.is_none() {
        problems.push(Problem::Inserted(text[*loss_start..start].to_owned()));
    }
    if start < *loss_start {
        let silent = &text[start..end.min(*loss_start)];
        // axolotl's rows cannot pass the mode to the template, so there the prompt opens no block.
        let opens_block = plan.flavour == Flavour::Controlled && plan.format != Format::Axolotl;
        let is_chosen = opens_block && silent.trim_end() == "<think>";
        if !is_chosen {
            problems.push(Problem::Unlearnt(silent.to_owned()));
        }
    }
    if end > *loss_end {
        problems.push(Problem::Unlearnt(text[*loss_end.max(&start)..end].to_owned()));
    }
    let block = open_block(before);
    if !block.is_empty() {
        problems.push(Problem::OpenBlock(block.to_owned()));
    }
    problems
}

/// Names the parts of a response that a text lacks or changes.
fn losses(row: &TrainingRow, text: &str) -> Vec<Problem> {
    let mut rest = text.split_once(row.user.trim()).map_or(text, |(_, rest)| rest);
    let mut problems = Vec::new();
    for (part, content) in &row.parts {
        match rest.split_once(content.as_str()) {
            Some((_, after)) => rest = after,
            None => problems.push(Problem::Lost { part, text: content.clone() }),
        }
    }
    if problems.is_empty() {
        let (expected, found) = divergence(row, text);
        problems.push(Problem::Changed { expected, found });
    }
    problems
}

/// Returns the expected and the found text at the first difference between a response and a text that contains its
/// first part.
fn divergence(row: &TrainingRow, text: &str) -> (String, String) {
    let first = row.parts.first().map_or("", |(_, content)| content.as_str());
    let start = text.rfind(first).unwrap_or(0);
    let pairs = row.response.chars().zip(text[start..].chars());
    let same = pairs.take_while(|(left, right)| left == right).count();
    let shown = |text: &str| text.chars().skip(same.saturating_sub(8)).take(40).collect();
    (shown(&row.response), shown(&text[start..]))
}

/// Returns a text in quotes, on one line, with a long middle cut out.
fn excerpt(text: &str) -> String {
    // What takes the place of a few characters is no shorter than they are.
    match ends(text, 40, 40, 6) {
        None => format!("{text:?}"),
        Some((head, tail)) => format!("{head:?} ... {tail:?}"),
    }
}
