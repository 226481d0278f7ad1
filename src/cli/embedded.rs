//! What commands print as JSON, and what they compute with, for programs that embed thinkloom: the Python package.

pub use super::reward::token_bytes;

use std::path::Path;

use anyhow::anyhow;

use super::failure::{Failure, with_hint};
use super::{dedup, status};
use crate::config::Settings;

/// Returns what `thinkloom status --json` prints for the directory of a run; `check` audits every invariant.
///
/// # Errors
/// If the directory has no run, or its ledger cannot be read.
pub fn run_status(dir: &Path, check: bool) -> anyhow::Result<serde_json::Value> {
    status::value(dir, check).map_err(into_error)
}

/// Returns what `thinkloom dedup` writes, as JSON lines. `queries` and `against` are paths, globs allowed.
///
/// # Errors
/// If a file cannot be read.
pub fn dedup_lines(queries: &[String], against: &[String], settings: Settings) -> anyhow::Result<Vec<u8>> {
    dedup::lines(queries, against, settings).map_err(into_error)
}

fn into_error(failure: Failure) -> anyhow::Error {
    match failure {
        Failure::Run(error) => anyhow!(with_hint(&error, error.hint().as_deref())),
        Failure::Other(error) => error,
        Failure::Code(code) => anyhow!("exit code {code}"),
    }
}
