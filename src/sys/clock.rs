//! Wall-clock time. Used for rates and displays; never a part of the data.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns milliseconds since 1970; 0 if the clock stands before.
#[must_use]
pub fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
