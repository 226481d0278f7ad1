//! The options and the report of an export, and the list of its files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ExportError, ModelTemplate, Plan, Task};

/// The name of the file list in an export's directory.
pub(super) const LIST_FILE: &str = "export.json";

/// The options of an export.
#[derive(Debug)]
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
}

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
    /// The text that carries loss in the first whole row: its beginning and its end.
    pub loss: Option<(String, String)>,
}

/// The result of an export, by task.
pub type Report = BTreeMap<Task, TaskReport>;

/// The list of an export's files.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct FileList {
    pub(super) thinkloom_version: String,
    pub(super) format: String,
    pub(super) flavour: String,
    pub(super) layout: String,
    /// The fingerprint of the run, if known.
    pub(super) fingerprint: Option<String>,
    /// SHA-256 of the chat template that the check used.
    pub(super) template: Option<String>,
    pub(super) rows: BTreeMap<String, u64>,
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
