//! How far a download is, and who is told.

use std::fmt;
use std::sync::Arc;

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes on the disk.
    pub done: u64,
    /// Bytes of all files that were not there at the start.
    pub total: u64,
}

/// Who is told how far a download is; called for every part that arrives.
#[derive(Clone)]
pub struct OnProgress(Arc<dyn Fn(Progress) + Send + Sync>);

impl OnProgress {
    /// Wraps a function, which must not block.
    #[must_use]
    pub fn new(function: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self(Arc::new(function))
    }

    pub(super) fn call(&self, progress: Progress) {
        (self.0)(progress);
    }
}

impl fmt::Debug for OnProgress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("OnProgress")
    }
}
