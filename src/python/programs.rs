//! `verify_code` and `verify_code_batch`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use thinkloom::config::{Settings, VerifySettings};
use thinkloom_domain::{UnverifiableCause, Verdict as Decided};
use thinkloom_verify::{CodeCase, Pending};

use crate::column::{self, Cell, Column, common_rows, is_sequence, items, text};
use crate::errors::{fault_of, interruptible, type_name};
use crate::process;
use crate::verdict::Verdict;
use crate::verifying::{answer_of, optional, required};

/// The rows that are handed to the sandbox at a time.
const ROWS_AT_ONCE: usize = 256;

/// Builds the settings of the sandbox.
fn settings(
    py: Python<'_>,
    limits: (i64, i64, i64),
    strict: bool,
    python: Option<String>,
    workers: u32,
) -> PyResult<VerifySettings> {
    let default = VerifySettings::default();
    // A number beyond the type is beyond the range, too, which the check names.
    let narrow = |limit: i64| u32::try_from(limit).unwrap_or(if limit < 0 { 0 } else { u32::MAX });
    let (time_limit_s, memory_limit_mib, output_limit_kib) = (narrow(limits.0), narrow(limits.1), narrow(limits.2));
    let python = match python {
        Some(python) => python,
        // Tests may need the packages of the caller's environment. An embedded interpreter has no executable.
        None => py
            .import("sys")?
            .getattr("executable")?
            .extract::<Option<String>>()?
            .filter(|path| !path.is_empty())
            .unwrap_or(default.python.clone()),
    };
    let settings =
        VerifySettings { strict, workers, python, time_limit_s, memory_limit_mib, output_limit_kib, ..default };
    let all = Settings { verify: settings, ..Settings::default() };
    all.check()
        .map_err(|(key, fault)| PyValueError::new_err(format!("{} {fault}", key.trim_start_matches("verify."))))?;
    Ok(all.verify)
}

/// Returns the default settings, with the caller's own interpreter.
pub(crate) fn default_settings(py: Python<'_>) -> PyResult<VerifySettings> {
    let VerifySettings { strict, workers, time_limit_s, memory_limit_mib, output_limit_kib, .. } =
        VerifySettings::default();
    settings(py, (time_limit_s.into(), memory_limit_mib.into(), output_limit_kib.into()), strict, None, workers)
}

/// Reads tests: a text, a dict of inputs and outputs (as JSON), or a list of these.
fn tests(argument: &str, value: &Bound<'_, PyAny>) -> PyResult<Cell<Vec<String>>> {
    if value.is_none() {
        return Ok(Ok(None));
    }
    match test(argument, value)? {
        Ok(None) => {}
        one => return Ok(one.map(|one| one.map(|one| vec![one]))),
    }
    if !is_sequence(value) {
        return Ok(Err(format!("{argument} is {}, expected str, dict, or a list of these", type_name(value))));
    }
    let mut found = Vec::new();
    for item in items(argument, value)? {
        match test(argument, &item)? {
            Ok(Some(one)) => found.push(one),
            Ok(None) => {
                let kind = type_name(&item);
                return Ok(Err(format!("{argument} has {kind} among its tests, expected str or dict")));
            }
            Err(fault) => return Ok(Err(fault)),
        }
    }
    Ok(Ok(Some(found)))
}

/// Reads one test; `None` if the value is none.
fn test(argument: &str, value: &Bound<'_, PyAny>) -> PyResult<Cell<String>> {
    if value.is_instance_of::<PyString>() {
        return text(argument, value);
    }
    if !value.is_instance_of::<PyDict>() {
        return Ok(Ok(None));
    }
    let py = value.py();
    let dumped = || py.import("json")?.call_method1("dumps", (value,))?.extract::<String>();
    Ok(match dumped() {
        Ok(text) => Ok(Some(text)),
        Err(error) => Err(format!("{argument}: {}", fault_of(py, error)?)),
    })
}

fn finished(pending: Pending) -> Verdict {
    pending.wait().0.map_or_else(
        |fault| {
            let decided = Decided::unverifiable(UnverifiableCause::SandboxFailed, None);
            Decided { reason: format!("{}: {fault}", decided.reason), ..decided }.into()
        },
        Verdict::from,
    )
}

/// Runs the program of a response with its tests, in a sandbox.
///
/// `tests` are assertions or whole test programs, or dicts `{"input", "output"}` or `{"inputs", "outputs"}`; one or a
/// list. `test_imports` are import statements that the tests need, `entry_point` is the function that `check` of a test
/// program gets, and `question` may begin the function that the response continues. `python` is the interpreter of the
/// programs; None is the caller's own. A verdict is "unverifiable" with the reason "no_sandbox" where the system has no
/// sandbox for programs; `strict=False` runs them without the layers that it lacks.
///
/// The first call opens the sandbox of this process; later calls use it.
///
/// >>> import thinkloom
/// >>> thinkloom.verify_code("assert add(2, 3) == 5", "```python\ndef add(a, b):\n    return a + b\n```").verdict
/// 'correct'
#[pyfunction]
#[pyo3(signature = (tests, response, *, test_imports=None, entry_point=None, question=None, time_limit_s=10,
                    memory_limit_mib=1024, output_limit_kib=1024, strict=true, python=None))]
#[expect(clippy::too_many_arguments, reason = "the signature of the Python function")]
pub(crate) fn verify_code(
    py: Python<'_>,
    tests: &Bound<'_, PyAny>,
    response: &Bound<'_, PyAny>,
    test_imports: Option<&Bound<'_, PyAny>>,
    entry_point: Option<&Bound<'_, PyAny>>,
    question: Option<&Bound<'_, PyAny>>,
    time_limit_s: i64,
    memory_limit_mib: i64,
    output_limit_kib: i64,
    strict: bool,
    python: Option<String>,
) -> PyResult<Verdict> {
    let limits = (time_limit_s, memory_limit_mib, output_limit_kib);
    let settings = settings(py, limits, strict, python, 0)?;
    let told = PyTypeError::new_err::<String>;
    let read_text = |argument, value: Option<&Bound<'_, PyAny>>| -> PyResult<Option<String>> {
        value.map_or(Ok(Ok(None)), |value| text(argument, value))?.map_err(told)
    };
    let read_tests = |argument, value: Option<&Bound<'_, PyAny>>| -> PyResult<Vec<String>> {
        let read = value.map_or(Ok(Ok(None)), |value| self::tests(argument, value))?.map_err(told)?;
        Ok(read.unwrap_or_default())
    };
    let case = CodeCase {
        tests: read_tests("tests", Some(tests))?,
        test_imports: read_tests("test_imports", test_imports)?,
        entry_point: read_text("entry_point", entry_point)?,
        question: read_text("question", question)?.unwrap_or_default(),
        response: required("response", text("response", response)?).map_err(told)?,
    };
    interruptible(py, move |_| finished(process::sandbox(&settings).submit(with_answer(case))))
}

/// Replaces the response by its answer part.
fn with_answer(case: CodeCase) -> CodeCase {
    CodeCase { response: answer_of(&case.response), ..case }
}

/// The arguments of a batch.
struct Batch {
    tests: Column<Vec<String>>,
    response: Column<String>,
    test_imports: Column<Vec<String>>,
    entry_point: Column<String>,
    question: Column<String>,
}

impl Batch {
    fn case(&self, row: usize) -> Result<CodeCase, String> {
        Ok(with_answer(CodeCase {
            tests: self.tests.at(row)?.cloned().unwrap_or_default(),
            test_imports: self.test_imports.at(row)?.cloned().unwrap_or_default(),
            entry_point: self.entry_point.at(row)?.cloned(),
            question: self.question.at(row)?.cloned().unwrap_or_default(),
            response: self.response.at(row)?.cloned().ok_or("response is None")?,
        }))
    }
}

/// Runs the programs of many responses, several at once; returns a list with a Verdict for each row.
///
/// `tests` has an element for each row, of the form that `verify_code` takes; so has `test_imports`. The other columns
/// may be one value for all rows. A row that is no case gets the verdict "unverifiable" with the reason
/// "invalid_case: ...". `workers` is the number of programs that run at once; 0 is one for each core.
///
/// >>> import thinkloom
/// >>> double = "```python\ndef double(x):\n    return 2 * x\n```"
/// >>> verdicts = thinkloom.verify_code_batch(["assert double(4) == 8", "assert double(4) == 9"], [double, double])
/// >>> [verdict.verdict for verdict in verdicts]
/// ['correct', 'incorrect']
#[pyfunction]
#[pyo3(signature = (tests, response, *, test_imports=None, entry_point=None, question=None, time_limit_s=10,
                    memory_limit_mib=1024, output_limit_kib=1024, strict=true, python=None, workers=0))]
#[expect(clippy::too_many_arguments, reason = "the signature of the Python function")]
pub(crate) fn verify_code_batch(
    py: Python<'_>,
    tests: &Bound<'_, PyAny>,
    response: &Bound<'_, PyAny>,
    test_imports: Option<&Bound<'_, PyAny>>,
    entry_point: Option<&Bound<'_, PyAny>>,
    question: Option<&Bound<'_, PyAny>>,
    time_limit_s: i64,
    memory_limit_mib: i64,
    output_limit_kib: i64,
    strict: bool,
    python: Option<String>,
    workers: i64,
) -> PyResult<Vec<Verdict>> {
    let workers = u32::try_from(workers)
        .map_err(|_| PyValueError::new_err(format!("workers is {workers}; allowed: 0 to 1024")))?;
    let limits = (time_limit_s, memory_limit_mib, output_limit_kib);
    let settings = settings(py, limits, strict, python, workers)?;
    let lists = |argument: &'static str, value: &Bound<'_, PyAny>| -> PyResult<Column<Vec<String>>> {
        if value.is_instance_of::<PyString>() || value.is_instance_of::<PyDict>() {
            let fault = format!("{argument} is {}, expected an element for each row", type_name(value));
            return Err(PyTypeError::new_err(fault));
        }
        if value.hasattr("__arrow_c_array__")? || value.hasattr("__arrow_c_stream__")? {
            return column::of_lists(argument, value);
        }
        if !is_sequence(value) {
            let fault = format!("{argument} is {}, expected a list with an element for each row", type_name(value));
            return Err(PyTypeError::new_err(fault));
        }
        let cells = items(argument, value)?.into_iter().map(|item| self::tests(argument, &item));
        cells.collect::<PyResult<Vec<_>>>().map(Column::Each)
    };
    let batch = Batch {
        tests: lists("tests", tests)?,
        response: column::of_texts("response", response, text, false)?,
        test_imports: test_imports.map_or(Ok(Column::One(Ok(None))), |value| lists("test_imports", value))?,
        entry_point: optional("entry_point", entry_point)?,
        question: optional("question", question)?,
    };
    let rows = common_rows(&[
        batch.tests.counted("tests"),
        batch.response.counted("response"),
        batch.test_imports.counted("test_imports"),
        batch.entry_point.counted("entry_point"),
        batch.question.counted("question"),
    ])?;
    let batch = Arc::new(batch);
    let mut verdicts = Vec::with_capacity(rows);
    while verdicts.len() < rows {
        let rows = verdicts.len()..rows.min(verdicts.len() + ROWS_AT_ONCE);
        let (batch, settings) = (Arc::clone(&batch), settings.clone());
        let found = interruptible(py, move |gone| {
            let pool = process::sandbox(&settings);
            // Programs that wait in the queue do not run once nobody waits for them.
            let is_wanted = || !gone.load(Ordering::Relaxed);
            let begin = |row| batch.case(row).map(|case| pool.submit(case));
            let pending: Vec<_> = rows.take_while(|_| is_wanted()).map(begin).collect();
            let ended = |begun: Result<Pending, String>| begun.map_or_else(|fault| Verdict::invalid(&fault), finished);
            pending.into_iter().take_while(|_| is_wanted()).map(ended).collect::<Vec<_>>()
        })?;
        verdicts.extend(found);
    }
    Ok(verdicts)
}
