//! `parse` and `render`: the structured response.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyType;
use thinkloom_domain::{FinishReason, Mode};
use thinkloom_reward::template::{
    self, ResponseBody, StructuredReading, StructuredResponse as Parts, parse_body, read_structured,
};

use crate::errors::{detached, text_of};

/// A completion, split into the parts of a structured response as far as it has them.
#[pyclass(frozen, eq, get_all, module = "thinkloom")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StructuredResponse {
    /// "think_on", "think_off", or "none" if the completion shows no mode.
    mode: String,
    /// The text of the judge block, or None.
    justification: Option<String>,
    /// The reasoning, or None.
    thinking: Option<String>,
    /// The answer; the whole text if nothing else is in it.
    answer: String,
    /// Whether the completion is exactly a structured response.
    well_formed: bool,
    /// Why the completion is not well-formed, or None.
    fault: Option<String>,
    /// The characters of the judge block with the mode tag: the segment of the first of HiPO's two advantages.
    judge_chars: usize,
}

#[pymethods]
impl StructuredResponse {
    #[new]
    #[pyo3(signature = (mode, justification, thinking, answer, well_formed, fault, judge_chars))]
    fn new(
        mode: String,
        justification: Option<String>,
        thinking: Option<String>,
        answer: String,
        well_formed: bool,
        fault: Option<String>,
        judge_chars: usize,
    ) -> Self {
        Self { mode, justification, thinking, answer, well_formed, fault, judge_chars }
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let text = |value: &Option<String>| value.into_pyobject(py)?.repr().map(|text| text.to_string());
        Ok(format!(
            "StructuredResponse(mode='{}', justification={}, thinking={}, answer={}, well_formed={}, fault={}, \
             judge_chars={})",
            self.mode,
            text(&self.justification)?,
            text(&self.thinking)?,
            text(&Some(self.answer.clone()))?,
            if self.well_formed { "True" } else { "False" },
            text(&self.fault)?,
            self.judge_chars
        ))
    }

    /// Lets workers send values to each other.
    #[allow(clippy::type_complexity, reason = "the arguments of the constructor")]
    fn __reduce__<'py>(
        slf: &Bound<'py, Self>,
    ) -> (Bound<'py, PyType>, (String, Option<String>, Option<String>, String, bool, Option<String>, usize)) {
        let Self { mode, justification, thinking, answer, well_formed, fault, judge_chars } = slf.get().clone();
        (slf.get_type(), (mode, justification, thinking, answer, well_formed, fault, judge_chars))
    }
}

fn named<T: std::str::FromStr<Err: std::fmt::Display>>(argument: &str, name: &Bound<'_, PyAny>) -> PyResult<T> {
    text_of(argument, name)?.parse().map_err(|error| PyValueError::new_err(format!("{argument}: {error}")))
}

/// Splits a completion into judge block, thinking and answer.
///
/// Lenient: parts may be missing or unclosed; `well_formed` and `fault` say what a strict reader finds. `finish_reason`
/// "length" tells that the completion was cut. `forced_mode` is the mode whose tag ends the prompt, so that the
/// completion begins after it.
///
/// >>> import thinkloom
/// >>> text = thinkloom.render("think_off", "A single step.", "4")
/// >>> parsed = thinkloom.parse(text)
/// >>> parsed.mode, parsed.justification, parsed.answer, parsed.well_formed
/// ('think_off', 'A single step.', '4', True)
/// >>> text[:parsed.judge_chars]
/// '<judge>\nA single step.\n</judge>\n\n<think_off>'
#[pyfunction]
#[pyo3(signature = (completion, *, finish_reason=None, forced_mode=None),
       text_signature = "(completion, *, finish_reason='stop', forced_mode=None)")]
pub(crate) fn parse(
    py: Python<'_>,
    completion: &Bound<'_, PyAny>,
    finish_reason: Option<&Bound<'_, PyAny>>,
    forced_mode: Option<&Bound<'_, PyAny>>,
) -> PyResult<StructuredResponse> {
    let completion = &*text_of("completion", completion)?;
    let finish_reason = finish_reason.map(|name| named("finish_reason", name)).transpose()?;
    let finish_reason = finish_reason.unwrap_or(FinishReason::Stop);
    let forced: Option<Mode> = forced_mode.map(|name| named("forced_mode", name)).transpose()?;
    detached(py, || {
        let read = read_structured(completion);
        let read = StructuredReading { mode: read.mode.or(forced), ..read };
        let observed = read.observe(finish_reason);
        let fault = match forced {
            Some(mode) => parse_body(completion, mode).err(),
            None => template::parse(completion).err(),
        };
        let judge_end = if forced.is_some() { 0 } else { read.judge_end(completion) };
        StructuredResponse {
            mode: read.shown_mode(finish_reason).name().to_owned(),
            justification: read.justification.map(str::to_owned),
            thinking: observed.thinking,
            answer: observed.answer,
            well_formed: fault.is_none(),
            fault: fault.map(|fault| fault.to_string()),
            judge_chars: completion.get(..judge_end).unwrap_or_default().chars().count(),
        }
    })
}

/// Returns a structured response with these parts.
///
/// `mode` is "think_on", which needs `thinking`, or "think_off", which takes none.
///
/// >>> import thinkloom
/// >>> print(thinkloom.render("think_on", "Several steps.", "4", thinking="2 + 2 = 4"))
/// <judge>
/// Several steps.
/// </judge>
/// <BLANKLINE>
/// <think_on>
/// <think>
/// 2 + 2 = 4
/// </think>
/// <BLANKLINE>
/// <answer>
/// 4
/// </answer>
///
/// Raises ValueError if a part has one of the template's tags, or the mode does not fit the parts.
#[pyfunction]
#[pyo3(signature = (mode, justification, answer, thinking=None))]
pub(crate) fn render(
    mode: &Bound<'_, PyAny>,
    justification: &Bound<'_, PyAny>,
    answer: &Bound<'_, PyAny>,
    thinking: Option<&Bound<'_, PyAny>>,
) -> PyResult<String> {
    let (justification, answer) = (text_of("justification", justification)?, text_of("answer", answer)?);
    let thinking = thinking.map(|thinking| text_of("thinking", thinking)).transpose()?;
    let body = match (named("mode", mode)?, thinking) {
        (Mode::ThinkOn, Some(thinking)) => ResponseBody::ThinkOn { thinking, answer },
        (Mode::ThinkOff, None) => ResponseBody::ThinkOff { answer },
        (Mode::ThinkOn, None) => return Err(PyValueError::new_err("mode is think_on, and thinking is None")),
        (Mode::ThinkOff, Some(_)) => {
            return Err(PyValueError::new_err("mode is think_off, which has no thinking; thinking must be None"));
        }
    };
    template::render(&Parts { justification, body }).map_err(|error| PyValueError::new_err(error.to_string()))
}
