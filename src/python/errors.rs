//! Panics and failures as Python exceptions.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;

pyo3::create_exception!(
    thinkloom,
    ThinkloomError,
    PyRuntimeError,
    "thinkloom failed: a file of a run cannot be read, the machine cannot run a program, or thinkloom has a defect."
);

/// Returns a failure with its causes.
pub(crate) fn failed(error: impl Into<anyhow::Error>) -> PyErr {
    ThinkloomError::new_err(format!("{:#}", error.into()))
}

/// The stack that a computation has at least, in bytes: twice what the deepest formula that the verifiers follow takes.
const STACK_MIN: usize = 512 << 10;
/// The stack of a computation whose caller's thread has less.
const STACK_NEW: usize = 2 << 20;

/// Computes without the interpreter's lock; a panic becomes [`ThinkloomError`].
pub(crate) fn detached<T: Send>(py: Python<'_>, compute: impl FnOnce() -> T + Send) -> PyResult<T> {
    // `threading.stack_size` sets any size, and a stack that overflows ends the process.
    py.detach(|| caught(|| stacker::maybe_grow(STACK_MIN, STACK_NEW, compute))).map_err(ThinkloomError::new_err)
}

/// Returns a panic as text. The state that a panic leaves half-written is dropped with the computation.
pub(crate) fn caught<T>(compute: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(compute)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        format!("thinkloom has a defect: it panicked: {text}")
    })
}

/// Returns the name of a value's type, for messages.
pub(crate) fn type_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().qualname().map_or_else(|_| "an unknown type".to_owned(), |name| name.to_string())
}

/// Returns the error for an argument of a wrong type.
pub(crate) fn wrong_type(argument: &str, value: &Bound<'_, PyAny>, expected: &str) -> PyErr {
    PyTypeError::new_err(format!("{argument} is {}, expected {expected}", type_name(value)))
}
