//! What an export writes, what became of it, and the list of its files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ExportError, ModelTemplate, Plan, Task};

/// The name of the list of an export's files, in its directory.
pub const LIST_FILE: &str = "export.json";

/// What is to be written, and from what.
#[derive(Debug)]
pub struct WriteOptions<'a> {
    /// Trainer, flavour and layout.
    pub plan: Plan,
    /// The tasks.
    pub tasks: &'a [Task],
    /// The model's template, if rows are to be checked against it.
    pub model: Option<&'a ModelTemplate>,
    /// Whether the template is written beside the data, for the trainer to use in place of the model's.
    pub ships_template: bool,
    /// Whether an earlier export is replaced.
    pub overwrites: bool,
    /// The licence to name in the card; none is named otherwise.
    pub license: Option<&'a str>,
}

/// How many rows a task has, and what a template does to them.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TaskReport {
    /// Rows.
    pub rows: u64,
    /// Rows of kind `code` that the task [`Task::Rl`] does without.
    pub left_out: u64,
    /// Rows that would be mangled.
    pub mangled: u64,
    /// What would happen to the first of them: `query id (mode): problem`.
    pub examples: Vec<String>,
    /// Where loss falls in the first whole row: how it begins, and how it ends.
    pub loss: Option<(String, String)>,
}

/// What became of an export, by task.
pub type Report = BTreeMap<Task, TaskReport>;

/// The list of an export's files.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct FileList {
    pub(super) thinkloom_version: String,
    pub(super) format: String,
    pub(super) flavour: String,
    pub(super) layout: String,
    /// The fingerprint of the run, if it is known.
    pub(super) fingerprint: Option<String>,
    /// SHA-256 of the chat template that the rows were checked against.
    pub(super) template: Option<String>,
    pub(super) rows: BTreeMap<String, u64>,
    /// SHA-256 by name.
    pub(super) files: BTreeMap<String, String>,
    /// Files of an earlier export that are being replaced; none once that is done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) replaces: Vec<String>,
}

impl FileList {
    pub(super) fn to_json(&self) -> Result<String, ExportError> {
        Ok(format!("{}\n", serde_json::to_string_pretty(self).map_err(std::io::Error::from)?))
    }
}
