//! The class `Verdict`.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyType;
use thinkloom_domain::{Verdict as Decided, VerdictOutcome};

/// What a verifier decides about one response. Truthy only if the response is correct.
///
/// `verdict` is "correct", "incorrect" or "unverifiable"; `extracted` is the answer that was found, or None. `reason`
/// says how the answer was found and compared ("boxed:rational_equal"), or names the cause of an unverifiable verdict.
///
/// >>> import thinkloom
/// >>> verdict = thinkloom.verify("1/2", r"So it is \boxed{0.5}.")
/// >>> verdict
/// Verdict(verdict='correct', extracted='0.5', reason='boxed:rational_equal')
/// >>> bool(verdict)
/// True
#[pyclass(frozen, eq, hash, module = "thinkloom", name = "Verdict")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Verdict {
    outcome: VerdictOutcome,
    /// The answer that was found, or None.
    #[pyo3(get)]
    extracted: Option<String>,
    /// How the answer was found and compared, or the cause of an unverifiable verdict.
    #[pyo3(get)]
    reason: String,
}

impl Verdict {
    /// Returns the verdict on a row that is no case.
    pub(crate) fn invalid(fault: &str) -> Self {
        let reason = format!("invalid_case: {fault}");
        Self { outcome: VerdictOutcome::Unverifiable, extracted: None, reason }
    }
}

impl From<Decided> for Verdict {
    fn from(Decided { outcome, extracted, reason }: Decided) -> Self {
        Self { outcome, extracted, reason }
    }
}

#[pymethods]
impl Verdict {
    #[new]
    #[pyo3(signature = (verdict, extracted, reason))]
    fn new(verdict: &str, extracted: Option<String>, reason: String) -> PyResult<Self> {
        let outcome = verdict.parse().map_err(|error| PyValueError::new_err(format!("verdict: {error}")))?;
        Ok(Self { outcome, extracted, reason })
    }

    /// "correct", "incorrect" or "unverifiable".
    #[getter]
    fn verdict(&self) -> &'static str {
        self.outcome.name()
    }

    fn __bool__(&self) -> bool {
        self.outcome == VerdictOutcome::Correct
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let text = |value: &Option<String>| value.into_pyobject(py)?.repr().map(|text| text.to_string());
        let (extracted, reason) = (text(&self.extracted)?, text(&Some(self.reason.clone()))?);
        Ok(format!("Verdict(verdict='{}', extracted={extracted}, reason={reason})", self.outcome.name()))
    }

    /// Lets workers send verdicts to each other.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyType>, (&'static str, Option<String>, String)) {
        let Self { outcome, extracted, reason } = slf.get().clone();
        (slf.get_type(), (outcome.name(), extracted, reason))
    }
}
