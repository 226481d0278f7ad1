//! `dedup`, over files; the Python function writes rows that are no files into one.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::errors::{failed, interruptible};

/// Returns what `thinkloom dedup` writes for files, as JSON lines. `overrides` are settings, `dedup.ngram=5`.
#[pyfunction]
pub(crate) fn dedup_lines(
    py: Python<'_>,
    queries: Vec<String>,
    against: Vec<String>,
    overrides: Vec<String>,
) -> PyResult<Vec<String>> {
    let settings = thinkloom::config::parse_with_overrides("", "the arguments", &overrides);
    let settings = settings.map_err(|error| PyValueError::new_err(error.to_string()))?;
    let lines = interruptible(py, move |_| thinkloom::cli::embedded::dedup_lines(&queries, &against, settings))?;
    let lines = String::from_utf8(lines.map_err(failed)?).map_err(failed)?;
    Ok(lines.lines().map(str::to_owned).collect())
}
