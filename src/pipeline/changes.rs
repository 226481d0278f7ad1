//! What changed since the last run of a directory, said before anything is redone.

use serde::Serialize;

use super::context::{ChangePolicy, Context};
use super::error::RunError;
use super::outlook::{self, Outlook};
use crate::config::identity::{Change, RunIdentity};
use crate::ledger::LedgerError;

/// Characters of a value that are shown; hashes are longer.
const VALUE_CHARS_MAX: usize = 40;

/// Changes with what they lead to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChangeReport {
    /// The keys that changed, sorted.
    pub changes: Vec<ChangedKey>,
    /// What is left to do under the new configuration.
    pub outlook: Outlook,
}

/// One key that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangedKey {
    /// The key.
    pub key: String,
    /// Its value at the last run.
    pub before: Option<String>,
    /// Its value now.
    pub after: Option<String>,
    /// What a change of this key may redo, in words.
    pub redoes: String,
}

impl From<Change> for ChangedKey {
    fn from(change: Change) -> Self {
        let Change { key, before, after, redo } = change;
        Self { key, before, after, redoes: redo.to_string() }
    }
}

impl std::fmt::Display for ChangeReport {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let short = |value: &Option<String>| match value {
            None => "unset".to_owned(),
            Some(text) if text.len() > VALUE_CHARS_MAX => format!("{}...", text.chars().take(12).collect::<String>()),
            Some(text) => text.clone(),
        };
        for ChangedKey { key, before, after, redoes } in &self.changes {
            writeln!(formatter, "  {key}: {} -> {}; {redoes}", short(before), short(after))?;
        }
        write!(formatter, "what there is to do now:\n{}", self.outlook.to_text().trim_end())
    }
}

/// Compares a run that is about to go on with the last one of its directory. Reads every fact of the run if something
/// changed. Blocks.
///
/// # Errors
/// [`RunError::Changed`] if something that decides the data changed and `changes` does not allow it.
pub fn confirm(context: &Context, changes: ChangePolicy) -> Result<(), RunError> {
    let reader = context.ledger.reader()?;
    let Some(last) = reader.latest_run()? else { return Ok(()) };
    let earlier: RunIdentity = serde_json::from_str(&last.identity)
        .map_err(|error| LedgerError::Unreadable { kind: "run", detail: error.to_string() })?;
    let found = context.identity.changes_from(&earlier);
    if found.is_empty() {
        return Ok(());
    }
    let changed = found.into_iter().map(ChangedKey::from).collect();
    let report = ChangeReport { changes: changed, outlook: outlook::look_ahead(context, &reader)? };
    match changes {
        ChangePolicy::Refuse => Err(RunError::Changed(Box::new(report))),
        ChangePolicy::Redo => {
            tracing::info!("the configuration changed:\n{report}");
            Ok(())
        }
    }
}
