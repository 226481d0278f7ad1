//! The options and the report of an export, and the list of its files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::lengths::{Lengths, Limits};
use super::{ExportError, ModelTemplate, Plan, Task};
use crate::domain::digest::sha256;

/// The name of the file list in an export's directory.
pub(super) const LIST_FILE: &str = "export.json";

/// The options of an export.
pub struct WriteOptions<'a> {
    /// Trainer, flavour and layout.
    pub plan: Plan,
    /// The tasks.
    pub tasks: &'a [Task],
    /// The model's template, if the rows are checked against it.
    pub model: Option<&'a ModelTemplate>,
    /// Whether the export contains the template, which the trainer uses in place of the model's.
    pub ships_template: bool,
    /// Whether this export replaces an earlier one.
    pub overwrites: bool,
    /// The licence that the card names, if any.
    pub license: Option<&'a str>,
    /// The longest row that the training configs let through, in tokens; otherwise as long as the longest row.
    pub max_length: Option<usize>,
    /// Returns the choices of a query by its position in the input, if they are known.
    pub choices: &'a Choices<'a>,
}

/// Returns the choices of a query, by its position in the input.
pub type Choices<'a> = dyn Fn(i64) -> Vec<String> + 'a;

/// The number of rows of a task, and the effect of a template on them.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TaskReport {
    /// Rows.
    pub rows: u64,
    /// Rows of kind `code` that the task [`Task::Rl`] leaves out.
    pub left_out: u64,
    /// Rows that would be mangled.
    pub mangled: u64,
    /// The faults of the first mangled rows: `query id (mode): problem`.
    pub examples: Vec<String>,
    /// The longest prompt, response and row, in tokens of the trainer without any limit.
    pub lengths: Lengths,
    /// Whether the lengths were counted with the model's tokenizer; otherwise a byte counts as a token.
    pub are_exact: bool,
    /// Rows longer than [`WriteOptions::max_length`] or the model's context: `query id (mode): tokens`.
    pub cut: Vec<String>,
    /// The text that carries loss in the first whole row: its beginning and its end.
    pub loss: Option<(String, String)>,
}

/// The result of an export, by task.
pub type Report = BTreeMap<Task, TaskReport>;

/// The facts about an export's rows that its configs and its card name.
pub(super) struct Facts<'a> {
    /// The rows of each task.
    pub(super) report: &'a Report,
    /// The limits of each task's config.
    pub(super) limits: &'a BTreeMap<Task, Limits>,
    /// SHA-256 of the data files, by name.
    pub(super) data: &'a BTreeMap<String, String>,
}

impl Facts<'_> {
    /// Returns a short name of a task's rows and of the template that renders them.
    pub(super) fn identity(&self, options: &WriteOptions<'_>, task: Task) -> String {
        let folder = format!("{task}/");
        let hashes = self.data.iter().filter(|(name, _)| name.starts_with(&folder)).map(|(_, hash)| hash.as_str());
        let template = options.model.map(ModelTemplate::hash);
        let mut name = sha256(hashes.chain(template.as_deref()).collect::<String>().as_bytes());
        name.truncate(12);
        name
    }
}

/// The list of an export's files.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct FileList {
    pub(super) thinkloom_version: String,
    pub(super) format: String,
    pub(super) flavour: String,
    pub(super) layout: String,
    /// The version of the trainer that the rows and configs are for.
    #[serde(default)]
    pub(super) trainer_version: String,
    /// The versions of the trainer whose own code read such exports as this program's check says.
    #[serde(default)]
    pub(super) proven_with: Vec<String>,
    /// The fingerprint of the run, if known.
    pub(super) fingerprint: Option<String>,
    /// SHA-256 of the chat template that the check used.
    pub(super) template: Option<String>,
    pub(super) rows: BTreeMap<String, u64>,
    /// The limits that the configs set, in tokens, by task.
    #[serde(default)]
    pub(super) limits: BTreeMap<String, Limits>,
    /// The rows that the limits cut, by task.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) cut: BTreeMap<String, Vec<String>>,
    /// SHA-256 by file name.
    pub(super) files: BTreeMap<String, String>,
    /// Files of an earlier export that this one is replacing; empty afterwards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) replaces: Vec<String>,
}

impl FileList {
    pub(super) fn to_json(&self) -> Result<String, ExportError> {
        Ok(format!("{}\n", serde_json::to_string_pretty(self).map_err(std::io::Error::from)?))
    }
}
