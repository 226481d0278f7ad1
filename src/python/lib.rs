//! The Python package `thinkloom`: the module `thinkloom._thinkloom`, which the Python files in `package/` complete.
//!
//! # Files
//! | file | role |
//! |---|---|
//! | `errors` | panics and failures as Python exceptions |
//! | `process` | the threads and sandboxes of the current process, which a fork does not inherit |
//! | `column` | arguments of a batch: lists, numpy arrays, Arrow columns |
//! | `capsule` | Arrow data from and to other libraries (the PyCapsule interface) |
//! | `verdict` | the class `Verdict` |
//! | `verifying`, `programs` | `verify`, `verify_batch`, `extract`; `verify_code`, `verify_code_batch` |
//! | `response` | `parse` and `render` |
//! | `rewarding` | `reward` |
//! | `run` | `Run` and its tables |
//! | `deduplicating` | `dedup` |
//!
//! # Rules of this package
//! - No function holds the interpreter's lock while it computes, installs a signal handler, or starts a thread before it
//!   needs one. Every function may be called from any thread.
//! - A panic becomes `ThinkloomError`; in a batch, the row's verdict carries it.
//! - A forked process must not use the threads of its parent. `process` gives each process its own.
//!
//! This package does not know how commands print, and no rule is written here.

mod capsule;
mod column;
mod deduplicating;
mod errors;
mod process;
mod programs;
mod response;
mod rewarding;
mod run;
mod verdict;
mod verifying;

use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// The compiled part of the package `thinkloom`.
#[pymodule(gil_used = false)]
mod _thinkloom {
    #[pymodule_export]
    use super::deduplicating::dedup_lines;
    #[pymodule_export]
    use super::errors::ThinkloomError;
    #[pymodule_export]
    use super::process::close;
    #[pymodule_export]
    use super::programs::{verify_code, verify_code_batch};
    #[pymodule_export]
    use super::response::{StructuredResponse, parse, render};
    #[pymodule_export]
    use super::rewarding::{json_rows, reward_rows};
    #[pymodule_export]
    use super::run::{Run, Table};
    #[pymodule_export]
    use super::verdict::Verdict;
    #[pymodule_export]
    use super::verifying::{Extracted, extract, verify, verify_batch};
    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        // Builds what the verifiers share: a fork while another thread builds it would leave the child waiting.
        super::verifying::warm_up();
        module.add("ROW_KEYS", PyTuple::new(module.py(), thinkloom_reward::row::KEYS)?)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
