//! `verify`, `verify_batch` and `extract`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyType;
use thinkloom_domain::Kind;
use thinkloom_reward::template::read_response;
use thinkloom_verify::{Case, Evaluated};

use crate::column::{self, Column, common_rows};
use crate::errors::{ThinkloomError, caught, detached, text_of};
use crate::process;
use crate::verdict::Verdict;

/// The rows between two looks at Ctrl-C, for each thread.
const ROWS_UNHEARD: usize = 2048;
/// The rows that a thread takes at a time.
const ROWS_AT_ONCE: usize = 16;

/// Builds what the verifiers share between calls.
pub(crate) fn warm_up() {
    let response = "The answer is 1.";
    for kind in [Kind::Math, Kind::Numeric, Kind::Text] {
        let _ = thinkloom_verify::verify(&Case { kind, gold: "1", response, ..Case::default() });
    }
    let choices = ["1".to_owned(), "2".to_owned()];
    let _ = thinkloom_verify::verify(&Case {
        kind: Kind::Choice,
        gold: "A",
        choices: &choices,
        response,
        ..Case::default()
    });
}

/// Reads the name of a kind.
fn kind_named(name: &str) -> Result<Kind, String> {
    let kind = match name {
        "multiple_choice" => Kind::Choice,
        name => name.parse().map_err(|error| format!("kind: {error}"))?,
    };
    if kind == Kind::Code {
        return Err("kind is code, which needs tests: verify_code, verify_code_batch".to_owned());
    }
    Ok(kind)
}

/// Reads the argument `kind` of one case.
fn kind_of(value: Option<&Bound<'_, PyAny>>) -> PyResult<Kind> {
    let Some(value) = value else { return Ok(Kind::Math) };
    kind_named(&text_of("kind", value)?).map_err(PyValueError::new_err)
}

/// Reads the setting `evaluated`.
pub(crate) fn evaluated_named(value: Option<&Bound<'_, PyAny>>) -> PyResult<Evaluated> {
    let Some(value) = value else { return Ok(Evaluated::Required) };
    match text_of("evaluated", value)?.as_str() {
        "required" => Ok(Evaluated::Required),
        "any" => Ok(Evaluated::Any),
        other => Err(PyValueError::new_err(format!("evaluated is {other:?}; allowed: required, any"))),
    }
}

/// Returns the answer part of a response, without its thinking: what `thinkloom grade` verifies.
pub(crate) fn answer_of(response: &str) -> String {
    let mode = thinkloom_domain::Mode::ThinkOff;
    read_response(response, mode, thinkloom_domain::FinishReason::Stop).answer
}

/// Returns a value that must be there.
pub(crate) fn required<T>(argument: &str, cell: Result<Option<T>, String>) -> Result<T, String> {
    cell?.ok_or_else(|| format!("{argument} is None"))
}

/// Verifies one response against a reference answer.
///
/// `gold` is a str, int or float: an answer, or a solution with its answer in a box or after `####`. `response` is the
/// whole response; thinking in it is skipped. `kind` is "math", "numeric", "choice" (with `choices`, the texts of the
/// choices; `gold` is a letter or one of the texts) or "text". `question` helps to detect an answer that only restates
/// it. With `evaluated="any"`, an answer may leave arithmetic undone: `1/2 + 1/4` equals `3/4`.
///
/// Bounded in time and memory for any text, without signals; runs on any thread.
///
/// >>> import thinkloom
/// >>> thinkloom.verify("72", "48/2 = 24, and 48 + 24 = 72. The answer is 72.").verdict
/// 'correct'
/// >>> thinkloom.verify("B", "The answer is (C).", kind="choice", choices=["red", "green", "blue"]).reason
/// 'answer_is:other_choice'
///
/// Raises TypeError and ValueError, which name the argument.
#[pyfunction]
#[pyo3(signature = (gold, response, kind=None, choices=None, question=None, *, evaluated=None),
       text_signature = "(gold, response, kind='math', choices=None, question=None, *, evaluated='required')")]
pub(crate) fn verify(
    py: Python<'_>,
    gold: &Bound<'_, PyAny>,
    response: &Bound<'_, PyAny>,
    kind: Option<&Bound<'_, PyAny>>,
    choices: Option<&Bound<'_, PyAny>>,
    question: Option<&Bound<'_, PyAny>>,
    evaluated: Option<&Bound<'_, PyAny>>,
) -> PyResult<Verdict> {
    let kind = kind_of(kind)?;
    let evaluated = evaluated_named(evaluated)?;
    let told = PyTypeError::new_err::<String>;
    let gold = required("gold", column::gold("gold", gold)?).map_err(told)?;
    let response = required("response", column::text("response", response)?).map_err(told)?;
    let choices = choices.map_or(Ok(Ok(None)), |choices| column::texts("choices", choices))?.map_err(told)?;
    let choices = choices.unwrap_or_default();
    let question = question.map_or(Ok(Ok(None)), |question| column::text("question", question))?.map_err(told)?;
    let question = question.unwrap_or_default();
    detached(py, || {
        let (gold, response) = (gold.as_str(), &answer_of(&response));
        let case = Case { kind, gold, choices: &choices, response, question: &question, evaluated };
        thinkloom_verify::verify(&case).into()
    })
}

/// The arguments of a batch.
struct Batch {
    gold: Column<String>,
    response: Column<String>,
    kind: Column<String>,
    choices: Column<Vec<String>>,
    question: Column<String>,
    evaluated: Evaluated,
}

impl Batch {
    fn verdict(&self, row: usize) -> Verdict {
        match caught(|| self.decide(row)) {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(fault)) | Err(fault) => Verdict::invalid(&fault),
        }
    }

    fn decide(&self, row: usize) -> Result<Verdict, String> {
        let missing = |argument: &str| format!("{argument} is None");
        let kind = kind_named(self.kind.at(row)?.map_or("math", String::as_str))?;
        let gold = self.gold.at(row)?.ok_or_else(|| missing("gold"))?;
        let response = self.response.at(row)?.ok_or_else(|| missing("response"))?;
        let choices = self.choices.at(row)?.map(Vec::as_slice).unwrap_or_default();
        let question = self.question.at(row)?.map(String::as_str).unwrap_or_default();
        let response = &answer_of(response);
        let case = Case { kind, gold, choices, response, question, evaluated: self.evaluated };
        Ok(thinkloom_verify::verify(&case).into())
    }
}

/// Verifies many responses on all cores; returns a list with a Verdict for each row.
///
/// Each argument is a list, a tuple, a numpy array or an Arrow column (of pyarrow, polars or pandas) with a value for
/// each row. `gold`, `kind` and `question` may also be one value for all rows, and `choices` one list of texts. A row
/// that cannot be judged gets the verdict "unverifiable" with the reason "invalid_case: ..."; the others are judged.
/// `threads` bounds the threads; None is all cores.
///
/// >>> import thinkloom
/// >>> verdicts = thinkloom.verify_batch(["1/2", "9"], ["It is 0.5.", "It is 8."])
/// >>> [verdict.verdict for verdict in verdicts]
/// ['correct', 'incorrect']
///
/// Raises TypeError if an argument is no column, ValueError if two differ in length.
#[pyfunction]
#[pyo3(signature = (gold, response, kind=None, choices=None, question=None, *, evaluated=None, threads=None),
       text_signature = "(gold, response, kind=None, choices=None, question=None, *, evaluated='required', threads=None)")]
#[expect(clippy::too_many_arguments, reason = "the signature of the Python function")]
pub(crate) fn verify_batch(
    py: Python<'_>,
    gold: &Bound<'_, PyAny>,
    response: &Bound<'_, PyAny>,
    kind: Option<&Bound<'_, PyAny>>,
    choices: Option<&Bound<'_, PyAny>>,
    question: Option<&Bound<'_, PyAny>>,
    evaluated: Option<&Bound<'_, PyAny>>,
    threads: Option<i64>,
) -> PyResult<Vec<Verdict>> {
    let batch = Batch {
        gold: column::of_texts("gold", gold, column::gold, true)?,
        response: column::of_texts("response", response, column::text, false)?,
        kind: optional("kind", kind)?,
        choices: choices.map_or(Ok(Column::One(Ok(None))), |choices| column::of_lists("choices", choices))?,
        question: optional("question", question)?,
        evaluated: evaluated_named(evaluated)?,
    };
    if let Column::One(Ok(Some(kind))) = &batch.kind {
        kind_named(kind).map_err(PyValueError::new_err)?;
    }
    if let (name, None) = batch.response.counted("response") {
        return Err(PyTypeError::new_err(format!("{name} is one text, expected a list, an array or an Arrow column")));
    }
    let rows = common_rows(&[
        batch.response.counted("response"),
        batch.gold.counted("gold"),
        batch.kind.counted("kind"),
        batch.choices.counted("choices"),
        batch.question.counted("question"),
    ])?;
    let mut verdicts = Vec::with_capacity(rows);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = match threads {
        Some(threads) if threads < 1 => {
            return Err(PyValueError::new_err(format!("threads is {threads}, expected None or at least 1")));
        }
        asked => asked.and_then(|asked| usize::try_from(asked).ok()).unwrap_or(cores).min(cores),
    };
    while verdicts.len() < rows {
        let first = verdicts.len();
        let end = rows.min(first + ROWS_UNHEARD * threads);
        let found = detached(py, || on_threads(first..end, threads, &|row| batch.verdict(row)))?;
        verdicts.extend(found.map_err(ThinkloomError::new_err)?);
        py.check_signals()?;
    }
    Ok(verdicts)
}

/// Reads an optional column of texts.
pub(crate) fn optional(argument: &'static str, value: Option<&Bound<'_, PyAny>>) -> PyResult<Column<String>> {
    value.map_or(Ok(Column::One(Ok(None))), |value| column::of_texts(argument, value, column::text, false))
}

/// Computes a value for each row on some threads, in order of the rows.
fn on_threads<T: Send>(
    rows: std::ops::Range<usize>,
    threads: usize,
    compute: &(dyn Fn(usize) -> T + Sync),
) -> Result<Vec<T>, String> {
    if threads == 1 || rows.len() <= ROWS_AT_ONCE {
        return Ok(rows.map(compute).collect());
    }
    let pool = process::threads()?;
    let next = AtomicUsize::new(rows.start);
    let blocks: Mutex<Vec<(usize, Vec<T>)>> = Mutex::new(Vec::new());
    let work = || {
        loop {
            let first = next.fetch_add(ROWS_AT_ONCE, Ordering::Relaxed);
            if first >= rows.end {
                return;
            }
            let block = (first..rows.end.min(first + ROWS_AT_ONCE)).map(compute).collect();
            blocks.lock().unwrap_or_else(PoisonError::into_inner).push((first, block));
        }
    };
    pool.in_place_scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|_| work());
        }
        work();
    });
    let mut blocks = blocks.into_inner().unwrap_or_else(PoisonError::into_inner);
    blocks.sort_unstable_by_key(|(first, _)| *first);
    Ok(blocks.into_iter().flat_map(|(_, block)| block).collect())
}

/// The answer that a response gives.
#[pyclass(frozen, eq, hash, get_all, module = "thinkloom")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Extracted {
    /// The answer as the response writes it.
    text: String,
    /// Where it was found: "boxed", "answer_is", "last_line", ...
    strategy: String,
}

#[pymethods]
impl Extracted {
    #[new]
    fn new(text: String, strategy: String) -> Self {
        Self { text, strategy }
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("Extracted(text={}, strategy='{}')", self.text.as_str().into_pyobject(py)?.repr()?, self.strategy))
    }

    /// Lets workers send values to each other.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyType>, (String, String)) {
        let Self { text, strategy } = slf.get().clone();
        (slf.get_type(), (text, strategy))
    }
}

/// Returns the answer that a response gives, or None if it gives none.
///
/// `verify` searches in the same places; it may read a sentence further, since it knows the gold.
///
/// >>> import thinkloom
/// >>> thinkloom.extract("Half of 8 is 4, so the answer is 4.")
/// Extracted(text='4', strategy='answer_is')
/// >>> thinkloom.extract("I do not know.") is None
/// True
#[pyfunction]
#[pyo3(signature = (response, kind=None, choices=None), text_signature = "(response, kind='math', choices=None)")]
pub(crate) fn extract(
    py: Python<'_>,
    response: &Bound<'_, PyAny>,
    kind: Option<&Bound<'_, PyAny>>,
    choices: Option<&Bound<'_, PyAny>>,
) -> PyResult<Option<Extracted>> {
    let kind = kind_of(kind)?;
    let told = PyTypeError::new_err::<String>;
    let response = required("response", column::text("response", response)?).map_err(told)?;
    let choices = choices.map_or(Ok(Ok(None)), |choices| column::texts("choices", choices))?.map_err(told)?;
    detached(py, || {
        let found = thinkloom_verify::find_answer(kind, &choices.unwrap_or_default(), &answer_of(&response));
        found.map(|(strategy, text)| Extracted { text, strategy: strategy.to_owned() })
    })
}
