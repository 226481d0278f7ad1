//! Converts panics to errors.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs work whose panic must not spread, and returns the panic's message if the work panics. After a panic, the data
/// that the work changed may be in any state: the caller drops that data.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| message(payload.as_ref()))
}

/// Returns the message of a panic.
pub(crate) fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}
