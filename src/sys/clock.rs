//! Wall-clock time. Used for rates and displays; never a part of the data, so that a clock that is wrong or goes
//! backwards changes no shard.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Returns milliseconds since 1970; 0 if the clock stands before.
#[must_use]
pub fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Where the time of day is read. Clones share it.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> i64 + Send + Sync>);

impl Clock {
    /// Returns the system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(unix_ms))
    }

    /// Returns a clock that shows what `read` says, in milliseconds since 1970.
    #[must_use]
    pub fn simulated(read: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Returns milliseconds since 1970.
    #[must_use]
    pub fn unix_ms(&self) -> i64 {
        (self.0)()
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Clock")
    }
}
