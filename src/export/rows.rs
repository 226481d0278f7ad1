//! Training rows and preference pairs as plain data, independent of the trainer.

use super::Flavour;
use crate::domain::Mode;
use crate::shards::SampleRow;
use crate::template::{ResponseBody, StructuredResponse, render};

/// One response to learn from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainingRow {
    /// The query's id.
    pub query_id: String,
    /// Position of the query in the input.
    pub ordinal: i64,
    /// The dataset of the query.
    pub source: String,
    /// The kind of answer.
    pub kind: String,
    /// The difficulty label.
    pub difficulty: String,
    /// The question as written in the input.
    pub question: String,
    /// The reference answer.
    pub gold: String,
    /// The choices of a multiple-choice query, if they are known and the task needs them.
    pub choices: Vec<String>,
    /// The mode of the response.
    pub mode: Mode,
    /// The user's turn; in the controlled flavour it ends in the mode tag.
    pub user: String,
    /// The text to learn.
    pub response: String,
    /// The parts of the response that must reach the model, by name.
    pub parts: Vec<(&'static str, String)>,
}

/// Two responses to one prompt, of which the first is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The difference between the responses: `shorter` (the shortest against the longest correct response), `correct`
    /// (correct against incorrect) or `mode` (the chosen mode against the other mode).
    pub kind: &'static str,
    /// The wanted response.
    pub chosen: TrainingRow,
    /// The rejected response.
    pub rejected: TrainingRow,
    /// The lengths of both responses as sampled, in tokens.
    pub tokens: (i32, i32),
}

/// The mode-dependent parts of a response.
#[derive(Debug, Clone, Copy)]
pub struct Body<'a> {
    /// The mode.
    pub mode: Mode,
    /// The reasoning; used in Think-on only.
    pub thinking: &'a str,
    /// The answer.
    pub answer: &'a str,
}

impl TrainingRow {
    /// Builds the row of a sample's own response.
    #[must_use]
    pub fn new(sample: &SampleRow, flavour: Flavour) -> Option<Self> {
        let mode = sample.mode.parse().ok()?;
        let thinking = sample.thinking.as_deref().unwrap_or_default();
        Self::with_body(sample, flavour, Body { mode, thinking, answer: &sample.answer })
    }

    /// Builds a row from a sample's prompt and another response; `None` if the response contains tags of the template.
    ///
    /// The justification is the sample's, even for a response in the other mode: two responses of a pair then differ
    /// from the mode tag on, and the model learns this difference.
    #[must_use]
    pub fn with_body(sample: &SampleRow, flavour: Flavour, body: Body<'_>) -> Option<Self> {
        let Body { mode, thinking, answer } = body;
        let justification = sample.justification.clone().unwrap_or_default();
        let structured = match mode {
            Mode::ThinkOn => ResponseBody::ThinkOn { thinking: thinking.to_owned(), answer: answer.to_owned() },
            Mode::ThinkOff => ResponseBody::ThinkOff { answer: answer.to_owned() },
        };
        let whole = render(&StructuredResponse { justification: justification.clone(), body: structured }).ok()?;
        let tag = format!("<{mode}>");
        let mut parts = Vec::new();
        if flavour == Flavour::Auto {
            parts.push(("judge block", format!("<judge>\n{justification}\n</judge>")));
            parts.push(("mode tag", tag.clone()));
        }
        if mode == Mode::ThinkOn {
            parts.push(("think block", format!("<think>\n{thinking}\n</think>")));
        }
        parts.push(("answer block", format!("<answer>\n{answer}\n</answer>")));
        let (user, response) = match flavour {
            Flavour::Auto => (sample.prompt.clone(), whole),
            Flavour::Controlled => {
                let (_, body) = whole.split_once(&format!("{tag}\n"))?;
                (format!("{}\n\n{tag}", sample.prompt), body.to_owned())
            }
        };
        Some(Self {
            query_id: sample.query_id.clone(),
            ordinal: sample.ordinal,
            source: sample.source.clone(),
            kind: sample.kind.clone(),
            difficulty: sample.difficulty.clone(),
            question: sample.question.clone(),
            gold: sample.gold.clone(),
            choices: Vec::new(),
            mode,
            user,
            response,
            parts,
        })
    }
}
