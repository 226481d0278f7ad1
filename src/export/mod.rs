//! Trainer-ready datasets from published shards.
//!
//! A sample becomes one [`TrainingRow`]: the user's turn and the response to learn. In the flavour [`Flavour::Auto`]
//! the model chooses the mode, and learns the whole structured response with justification and mode tag. In
//! [`Flavour::Controlled`] the user chooses: the mode tag ends the user's turn, and the model learns the part of the
//! structured response after the tag.
//!
//! The trainer decides the layout of a row (`layout`). [`render`] predicts the text that the trainer makes with a
//! model's chat template, and [`check`] judges it: an export contains no row that the template would mangle.
//!
//! Limits: memory holds one shard's samples at a time and, for preference pairs, its responses. This room does not know
//! the origin of the rows, and touches no ledger.

mod card;
pub mod check;
mod files;
mod layout;
pub mod lengths;
mod model;
mod pairs;
mod place;
pub mod render;
mod report;
mod rows;
mod slots;
mod snippets;
mod source;

use std::path::PathBuf;

pub use files::{CheckOptions, check_all, write};
pub use model::{ModelTemplate, TokenizerFiles};
pub use report::{Choices, Report, TaskReport, WriteOptions};
pub use rows::{Pair, TrainingRow};
pub use source::{Source, SourceShard};

use crate::domain::stable_names;
use crate::domain::text::with_causes;
use crate::policy::TemplateError;
use crate::shards::ShardError;

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

stable_names!(Format {
    Trl => "trl", Verl => "verl", LlamaFactory => "llamafactory", Swift => "swift", Axolotl => "axolotl",
});

/// Who chooses the mode of the trained model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// The model: it learns justification and mode tag.
    Auto,
    /// The user: the mode tag ends the user's turn.
    Controlled,
}

stable_names!(Flavour { Auto => "auto", Controlled => "controlled" });

/// A training task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Task {
    /// Supervised fine-tuning.
    Sft,
    /// Reinforcement learning with verifiable rewards: prompts and references.
    Rl,
    /// Preference pairs.
    Dpo,
    /// Single responses, labelled as wanted or not.
    Kto,
}

stable_names!(Task { Sft => "sft", Rl => "rl", Dpo => "dpo", Kto => "kto" });

/// Who renders the chat template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// The trainer: rows hold messages.
    Messages,
    /// thinkloom: rows hold finished text.
    Text,
}

stable_names!(Layout { Messages => "messages", Text => "text" });

/// The choices that decide the rows of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The trainer.
    pub format: Format,
    /// Who chooses the mode.
    pub flavour: Flavour,
    /// Who renders the chat template.
    pub layout: Layout,
    /// The version of the trainer.
    pub version: TrainerVersion,
}

/// A version of a trainer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrainerVersion(pub u16, pub u16, pub u16);

impl std::fmt::Display for TrainerVersion {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl std::str::FromStr for TrainerVersion {
    type Err = String;

    /// Parses `1.16.0`; a missing number is 0, and a suffix of the last number is passed over.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fault = || format!("\"{text}\" is not a version such as 0.9.1");
        let mut numbers = [0_u16; 3];
        for (index, part) in text.splitn(3, '.').enumerate() {
            let digits = part.find(|letter: char| !letter.is_ascii_digit()).map_or(part, |end| &part[..end]);
            numbers[index] = digits.parse().map_err(|_| fault())?;
        }
        Ok(Self(numbers[0], numbers[1], numbers[2]))
    }
}

impl Format {
    /// Returns the versions of the trainer whose own code reads exports as the check says, the newest first; `make
    /// consumers-train` runs them.
    #[must_use]
    pub const fn proven_with(self) -> &'static [TrainerVersion] {
        match self {
            Self::Trl => &[TrainerVersion(1, 16, 0)],
            Self::Verl => &[TrainerVersion(0, 9, 1), TrainerVersion(0, 7, 0)],
            Self::LlamaFactory => &[TrainerVersion(0, 9, 5)],
            Self::Swift => &[TrainerVersion(4, 6, 0)],
            Self::Axolotl => &[TrainerVersion(0, 19, 0)],
        }
    }

    /// Returns the version that an export is for, unless another one is named.
    #[must_use]
    pub const fn default_version(self) -> TrainerVersion {
        self.proven_with()[0]
    }
}

impl Plan {
    /// Returns the choices for the newest version that the export was proven with.
    #[must_use]
    pub const fn newest(format: Format, flavour: Flavour, layout: Layout) -> Self {
        Self { format, flavour, layout, version: format.default_version() }
    }

    /// Returns whether verl's fine-tuning reads `messages`; until 0.7.0 it read a prompt and a response.
    #[must_use]
    pub fn has_verl_messages(self) -> bool {
        self.version > TrainerVersion(0, 7, 0)
    }

    /// Returns the tasks that the trainer supports in this layout.
    #[must_use]
    pub fn tasks(self) -> &'static [Task] {
        match (self.format, self.layout) {
            (Format::Trl, _) | (Format::Swift, Layout::Messages) => &[Task::Sft, Task::Rl, Task::Dpo, Task::Kto],
            (Format::Verl, _) => &[Task::Sft, Task::Rl],
            // ms-swift renders the prompts of rollouts, and would render a finished prompt once more.
            (Format::LlamaFactory, _) | (Format::Axolotl | Format::Swift, Layout::Text) => {
                &[Task::Sft, Task::Dpo, Task::Kto]
            }
            // axolotl does not put KTO datasets through a chat template.
            (Format::Axolotl, Layout::Messages) => &[Task::Sft, Task::Dpo],
        }
    }
}

/// Why a trainer cannot render a row.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The template rejects the row.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The trainer cannot make the model's prompt; the fault.
    #[error("{0}")]
    NoSlots(String),
    /// The files of the model do not say what its tokenizer puts before a text.
    #[error(
        "it is not known whether the model's tokenizer adds a begin token: name the model's directory, with its \
         tokenizer.json"
    )]
    UnknownBegin,
}

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A published file cannot be read, or a new file cannot be encoded.
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
    /// The model's directory has no usable chat template.
    #[error("{path}: {detail}")]
    NoTemplate {
        /// The path of the template or of the model.
        path: PathBuf,
        /// The fault.
        detail: String,
    },
    /// The model's tokenizer fails.
    #[error(transparent)]
    Tokenizer(#[from] crate::engine::EngineError),
    /// The chat template cannot be compiled or rendered.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The trainer cannot render a row.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// The template would mangle rows.
    #[error("{rows} of {of} rows would be mangled by the chat template; nothing was written\n{examples}")]
    Mangled {
        /// The number of mangled rows.
        rows: u64,
        /// The number of checked rows.
        of: u64,
        /// The losses of the first of them.
        examples: String,
        /// The remedy.
        hint: String,
    },
    /// The list of published files cannot be determined.
    #[error("{message}")]
    Unreadable {
        /// The fault.
        message: String,
        /// The remedy, if any.
        hint: Option<String>,
    },
    /// Published files are missing or changed.
    #[error("{dir} differs from the published files: {problems}")]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// The fault of each file.
        problems: String,
    },
    /// The output directory is in use.
    #[error("{dir} is not empty")]
    Occupied {
        /// The directory.
        dir: PathBuf,
    },
    /// Rows would be mangled; the report has already named them.
    #[error("the chat template would mangle rows")]
    Told,
    /// Options that exclude each other.
    #[error("{0}")]
    Usage(String),
}

impl ExportError {
    /// Returns the remedy.
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
                Some("run `thinkloom run` with the run's config: it writes these files again from the ledger".to_owned())
            }
            Self::Mangled { hint, .. } => Some(hint.clone()),
            Self::Occupied { .. } => {
                Some("choose another directory, or add --overwrite to replace an earlier export".to_owned())
            }
            Self::Io(_) | Self::Template(_) | Self::Tokenizer(_) | Self::Render(_) | Self::Told | Self::Usage(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
