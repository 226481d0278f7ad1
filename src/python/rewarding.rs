//! `reward`: the rows of groups, with both advantages.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, RecordBatchReader};
use arrow::datatypes::DataType::{Binary, BinaryView, FixedSizeBinary, LargeBinary};
use arrow::datatypes::Field;
use arrow::error::ArrowError;
use arrow::json::LineDelimitedWriter;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use thinkloom::cli::embedded;
use thinkloom_domain::OtherMode;
use thinkloom_reward::rollouts::{Aside, Gained, Reading, Rollouts, TokenBytes, read_rows};
use thinkloom_reward::row::{GradeRules, KEYS};
use thinkloom_reward::{RewardSettings, RewardSettings as Rule};

use crate::capsule;
use crate::errors::{ThinkloomError, detached, failed, wrong_type};
use crate::process;
use crate::programs::default_settings;
use crate::verifying::evaluated_named;

/// The rows between two looks at Ctrl-C.
const ROWS_UNHEARD: usize = 8192;

/// Returns a setting under its name; an unknown value is an error that names the setting and its values.
fn named<T: std::str::FromStr<Err: std::fmt::Display>>(name: &str, value: &Bound<'_, PyAny>) -> PyResult<T> {
    let text: String = value.extract().map_err(|_| wrong_type(name, value, "str"))?;
    text.parse().map_err(|error| PyValueError::new_err(format!("{name}: {error}")))
}

/// Reads the settings of the rule, and the rules for rows.
fn settings(given: &Bound<'_, PyDict>) -> PyResult<(RewardSettings, GradeRules)> {
    let mut rule = Rule::default();
    let mut rules = GradeRules { evaluated: evaluated_named(None)?, other_mode: OtherMode::default() };
    for (name, value) in given {
        let name: String = name.extract()?;
        let number = || match value.is_instance_of::<pyo3::types::PyBool>() {
            true => Err(wrong_type(&name, &value, "float")),
            false => value.extract::<f64>().map_err(|_| wrong_type(&name, &value, "float")),
        };
        let flag = || value.extract::<bool>().map_err(|_| wrong_type(&name, &value, "bool"));
        match name.as_str() {
            "format_weight" => rule.format_weight = number()?,
            "omega" => rule.omega = number()?,
            "length_weight" => rule.length_weight = number()?,
            "gamma" => rule.gamma = number()?,
            "epsilon" => rule.epsilon = number()?,
            "bias_adjustment" => rule.bias_adjustment = flag()?,
            "global_term" => rule.global_term = flag()?,
            "boost" => rule.boost = named(&name, &value)?,
            "deviation" => rule.deviation = named(&name, &value)?,
            "local_normalization" => rule.local_normalization = named(&name, &value)?,
            "method" => rule.method = named(&name, &value)?,
            "evaluated" => rules.evaluated = evaluated_named(Some(&value))?,
            "other_mode" => {
                rules.other_mode =
                    match value.extract::<String>().map_err(|_| wrong_type(&name, &value, "str"))?.as_str() {
                        "incorrect" => OtherMode::Incorrect,
                        "as_verified" => OtherMode::AsVerified,
                        other => {
                            let fault = format!("other_mode is {other:?}; allowed: incorrect, as_verified");
                            return Err(PyValueError::new_err(fault));
                        }
                    };
            }
            other => return Err(PyTypeError::new_err(format!("reward() has no setting {other:?}"))),
        }
    }
    rule.check().map_err(|fault| PyValueError::new_err(fault.to_string()))?;
    Ok((rule, rules))
}

/// Returns the rows of an Arrow table as JSON texts, with the columns that `reward` reads; None if it is no table.
#[pyfunction]
pub(crate) fn json_rows<'py>(py: Python<'py>, table: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyList>>> {
    let Some(reader) = capsule::table("rows", table)? else { return Ok(None) };
    let schema = reader.schema();
    let is_kept = |field: &&Arc<Field>| KEYS.contains(&field.name().as_str());
    for field in schema.fields().iter().filter(is_kept) {
        // JSON has none of these; arrow would write their digits.
        if matches!(field.data_type(), Binary | LargeBinary | BinaryView | FixedSizeBinary(_)) {
            let fault = format!("rows has the column {} of {}, expected strings", field.name(), field.data_type());
            return Err(PyTypeError::new_err(fault));
        }
    }
    let read = || -> Result<Vec<u8>, ArrowError> {
        let mut writer = LineDelimitedWriter::new(Vec::new());
        for batch in reader {
            let batch = batch?;
            let fields = schema.fields().iter().enumerate();
            let kept: Vec<usize> = fields.filter(|(_, field)| is_kept(field)).map(|(at, _)| at).collect();
            let batch = batch.project(&kept)?;
            for column in batch.columns() {
                column.to_data().validate_full()?;
            }
            writer.write(&batch)?;
        }
        writer.finish()?;
        Ok(writer.into_inner())
    };
    let unusable = |error: ArrowError| PyTypeError::new_err(format!("rows has unusable Arrow data: {error}"));
    let lines = detached(py, read)?.map_err(unusable)?;
    let rows = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    PyList::new(py, rows.map(|row| PyBytes::new(py, row)).collect::<Vec<_>>()).map(Some)
}

/// Computes the rewards of rows, each a JSON text. `thinkloom.reward` calls this.
#[pyfunction]
pub(crate) fn reward_rows<'py>(
    py: Python<'py>,
    rows: Vec<Vec<u8>>,
    tokenizer: Option<PathBuf>,
    given: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyList>> {
    let (rule, rules) = settings(given)?;
    let vocabulary = tokenizer.map(|path| detached(py, || process::vocabulary(path))?.map_err(failed)).transpose()?;
    let counter = vocabulary.as_deref().map(|vocabulary| {
        move |completion: &str, ids: Option<&[u32]>| embedded::token_bytes(vocabulary, completion, ids)
    });
    let token_bytes = counter.as_ref().map(|counter| counter as &TokenBytes<'_>);
    let reading = Reading { rules, token_bytes, needs_lengths: rule.length_weight > 0.0 };
    let programs = default_settings(py)?;
    let texts: Vec<&[u8]> = rows.iter().map(Vec::as_slice).collect();
    let mut rollouts = Rollouts::default();
    for chunk in texts.chunks(ROWS_UNHEARD) {
        let added = detached(py, || -> Result<(), String> {
            // Not on rayon's own pool: a forked process has none of its threads.
            let read = process::threads()?.install(|| read_rows(chunk, reading));
            let mut submit = |case| process::sandbox(&programs).submit(case);
            let mut aside = Aside { submit: &mut submit, tell: &mut |_, _| {} };
            rollouts.add(read, &mut aside).map_err(|error| error.to_string())
        })?;
        added.map_err(ThinkloomError::new_err)?;
        py.check_signals()?;
    }
    let rewarded = detached(py, || rollouts.rewarded(&rule))?;
    let gained = (0..rows.len()).map(|row| to_dict(py, &rollouts.gained(&rewarded, row)));
    PyList::new(py, gained.collect::<PyResult<Vec<_>>>()?)
}

fn to_dict<'py>(py: Python<'py>, gained: &Gained<'_>) -> PyResult<Bound<'py, PyDict>> {
    let row = PyDict::new(py);
    row.set_item("mode", gained.mode)?;
    row.set_item("correct", gained.correct)?;
    row.set_item("format_ok", gained.format_ok)?;
    row.set_item("verdict", gained.verdict)?;
    row.set_item("extracted", gained.extracted)?;
    row.set_item("verdict_reason", gained.verdict_reason)?;
    row.set_item("reward", gained.reward)?;
    row.set_item("mean_reward", gained.mean_reward)?;
    row.set_item("mean_reward_mode", gained.mean_reward_mode)?;
    row.set_item("advantage_judge", gained.advantage_judge)?;
    row.set_item("advantage_answer", gained.advantage_answer)?;
    row.set_item("judge_chars", gained.judge_chars)?;
    row.set_item("judge_tokens", gained.judge_tokens)?;
    row.set_item("completion_tokens", gained.completion_tokens)?;
    row.set_item("error", gained.error)?;
    Ok(row)
}
