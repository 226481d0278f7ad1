//! Trainer-ready datasets from published shards.
//!
//! A sample becomes one [`TrainingRow`]: what the user says and what the model is to learn. In the flavour
//! [`Flavour::Auto`] the model chooses the mode, so the whole structured response, justification and mode tag included,
//! is learnt. In [`Flavour::Controlled`] the user chooses: the mode tag ends the user's turn, and what follows the tag
//! in the structured response is learnt.
//!
//! How a row is written is a matter of the trainer (`layout`); what the trainer makes of it with a model's chat
//! template is predicted by [`render`] and judged by [`check`]: nothing is written that a template would mangle.
//!
//! Limits: one shard's samples and, for preference pairs, its responses are in memory at a time. This room does not know
//! how rows came about, and touches no ledger.

pub mod check;
mod files;
mod layout;
mod model;
mod pairs;
mod place;
pub mod render;
mod report;
mod rows;
mod snippets;
mod source;

use std::path::PathBuf;

pub use files::{check_all, write};
pub use model::ModelTemplate;
pub use report::{Report, TaskReport, WriteOptions};
pub use rows::{Pair, TrainingRow};
pub use source::{Source, SourceShard};

use crate::policy::TemplateError;
use crate::shards::ShardError;

/// A closed set of names on the command line.
macro_rules! names {
    ($type:ident { $($variant:ident => $name:literal),+ $(,)? }) => {
        impl $type {
            /// Every value, in the order in which they are documented.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the stable name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(self.name())
            }
        }

        impl std::str::FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let found = Self::ALL.iter().copied().find(|value| value.name() == text);
                let names: Vec<&str> = Self::ALL.iter().map(|value| value.name()).collect();
                found.ok_or_else(|| format!("expected one of {}", names.join(", ")))
            }
        }
    };
}

/// A trainer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Hugging Face TRL.
    Trl,
    /// verl.
    Verl,
    /// LLaMA-Factory.
    LlamaFactory,
    /// ms-swift.
    Swift,
    /// axolotl.
    Axolotl,
}

names!(Format {
    Trl => "trl", Verl => "verl", LlamaFactory => "llamafactory", Swift => "swift", Axolotl => "axolotl",
});

/// Who chooses the mode once the model is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// The model: justification and mode tag are learnt.
    Auto,
    /// The user: the mode tag ends the user's turn.
    Controlled,
}

names!(Flavour { Auto => "auto", Controlled => "controlled" });

/// What is trained for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Task {
    /// Supervised fine-tuning.
    Sft,
    /// Reinforcement learning with verifiable rewards: prompts and references.
    Rl,
    /// Preference pairs.
    Dpo,
    /// Single responses, wanted or not.
    Kto,
}

names!(Task { Sft => "sft", Rl => "rl", Dpo => "dpo", Kto => "kto" });

/// Who renders the chat template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// The trainer: rows hold messages.
    Messages,
    /// This program: rows hold finished text.
    Text,
}

names!(Layout { Messages => "messages", Text => "text" });

/// What decides the rows of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The trainer.
    pub format: Format,
    /// Who chooses the mode.
    pub flavour: Flavour,
    /// Who renders.
    pub layout: Layout,
}

impl Plan {
    /// Returns the tasks that the trainer has in this layout.
    #[must_use]
    pub fn tasks(self) -> &'static [Task] {
        match (self.format, self.layout) {
            (Format::Trl | Format::Swift, _) => &[Task::Sft, Task::Rl, Task::Dpo, Task::Kto],
            (Format::Verl, _) => &[Task::Sft, Task::Rl],
            (Format::LlamaFactory, _) | (Format::Axolotl, Layout::Text) => &[Task::Sft, Task::Dpo, Task::Kto],
            // Its KTO datasets are not put through a chat template.
            (Format::Axolotl, Layout::Messages) => &[Task::Sft, Task::Dpo],
        }
    }
}

/// Why an export cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A published file cannot be read, or a file not be encoded.
    #[error("{}", with_causes(.0))]
    Shard(#[from] ShardError),
    /// A file or directory cannot be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The directory holds no published samples.
    #[error("{dir} holds no published samples (data/samples/train-*.parquet)")]
    NoSamples {
        /// The directory.
        dir: PathBuf,
    },
    /// The model's directory has no chat template, or one that is no template.
    #[error("{path}: {detail}")]
    NoTemplate {
        /// What was looked at.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The chat template cannot be compiled or rendered.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The template would mangle rows.
    #[error("{rows} of {of} rows would be mangled by the chat template; nothing was written\n{examples}")]
    Mangled {
        /// How many.
        rows: u64,
        /// Of how many.
        of: u64,
        /// What would be lost, for the first of them.
        examples: String,
        /// What to do.
        hint: String,
    },
    /// What was published cannot be found out.
    #[error("{message}")]
    Unreadable {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// Published files are missing, or are not what was published.
    #[error("{dir} is not what was published: {problems}")]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// What is wrong with which files.
        problems: String,
    },
    /// Something stands in the way of the output.
    #[error("{dir} is not empty")]
    Occupied {
        /// The directory.
        dir: PathBuf,
    },
    /// Rows would be mangled, as was told already.
    #[error("the chat template would mangle rows")]
    Told,
    /// Options that do not go together.
    #[error("{0}")]
    Usage(String),
}

impl ExportError {
    /// Returns what a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Shard(error) => error.hint().map(str::to_owned),
            Self::NoSamples { .. } => Some("name the output directory of a run that has published shards".to_owned()),
            Self::NoTemplate { .. } => Some(
                "name a model directory with chat_template.jinja or tokenizer_config.json, a GGUF file, or a template file"
                    .to_owned(),
            ),
            Self::Unreadable { hint, .. } => hint.clone(),
            Self::Damaged { .. } => {
                Some("`thinkloom run` with the run's config writes such files again from the ledger".to_owned())
            }
            Self::Mangled { hint, .. } => Some(hint.clone()),
            Self::Occupied { .. } => {
                Some("choose another directory, or add --overwrite to replace an earlier export".to_owned())
            }
            Self::Io(_) | Self::Template(_) | Self::Told | Self::Usage(_) => None,
        }
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests;
