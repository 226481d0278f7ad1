//! Panics and failures as Python exceptions.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use pyo3::exceptions::{PyException, PyMemoryError, PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyString;

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

/// Returns the words of an exception that a value raised.
///
/// # Errors
/// The exception itself if it must end the caller: Ctrl-C, an exit, a lack of memory.
pub(crate) fn fault_of(py: Python<'_>, error: PyErr) -> PyResult<String> {
    let is_fault = error.is_instance_of::<PyException>(py) && !error.is_instance_of::<PyMemoryError>(py);
    if is_fault { Ok(error.to_string()) } else { Err(error) }
}

/// How long a computation goes on before the caller looks for Ctrl-C.
const LOOK: Duration = Duration::from_millis(50);

/// Whether the caller of a computation has gone.
pub(crate) type Gone = Arc<AtomicBool>;

/// Computes on a thread of its own, and ends with Ctrl-C. The computation hears of that by its argument; what it does not
/// give up goes on to its end, unheard.
///
/// # Errors
/// `KeyboardInterrupt`, or what another signal handler raises; [`ThinkloomError`] for a panic, or without a thread.
pub(crate) fn interruptible<T: Send + 'static>(
    py: Python<'_>,
    compute: impl FnOnce(&Gone) -> T + Send + 'static,
) -> PyResult<T> {
    let (sender, receiver) = sync_channel(1);
    let gone = Gone::default();
    let known = Arc::clone(&gone);
    let work = move || {
        // The caller may have gone.
        let _ = sender.send(caught(|| compute(&known)));
    };
    let begun = std::thread::Builder::new().name("thinkloom-call".to_owned()).spawn(work);
    begun.map_err(|error| ThinkloomError::new_err(format!("cannot start a thread: {error}")))?;
    let mut receiver = receiver;
    loop {
        let (kept, heard) = py.detach(move || {
            let heard = receiver.recv_timeout(LOOK);
            (receiver, heard)
        });
        receiver = kept;
        match heard {
            Ok(found) => return found.map_err(ThinkloomError::new_err),
            Err(RecvTimeoutError::Timeout) => {
                py.check_signals().inspect_err(|_| gone.store(true, Ordering::Relaxed))?
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(ThinkloomError::new_err("thinkloom has a defect: a computation ended without a result"));
            }
        }
    }
}

/// Reads a text that must be there.
///
/// # Errors
/// `TypeError` that names the argument.
pub(crate) fn text_of(argument: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    let text = value.cast::<PyString>().map_err(|_| wrong_type(argument, value, "str"))?;
    unicode(argument, text).map_err(PyTypeError::new_err)
}

/// Copies a text, or says why it is none: Python's texts may have half a surrogate pair.
pub(crate) fn unicode(argument: &str, text: &Bound<'_, PyString>) -> Result<String, String> {
    text.to_str().map(str::to_owned).map_err(|_| format!("{argument} is no Unicode text: it has half a surrogate pair"))
}

/// Returns the name of a value's type, for messages.
pub(crate) fn type_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().qualname().map_or_else(|_| "an unknown type".to_owned(), |name| name.to_string())
}

/// Returns the error for an argument of a wrong type.
pub(crate) fn wrong_type(argument: &str, value: &Bound<'_, PyAny>, expected: &str) -> PyErr {
    PyTypeError::new_err(format!("{argument} is {}, expected {expected}", type_name(value)))
}
