//! The counters of the server, which `GET /metrics` prints.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

/// The counters of the server.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Requests by route and status.
    requests: Mutex<BTreeMap<(String, u16), u64>>,
    /// Responses whose client disconnected before their end.
    pub(super) cancelled: AtomicU64,
    /// Rows of reward requests, faulty rows included.
    pub(super) rewarded: AtomicU64,
}

impl Metrics {
    pub(super) fn requests(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, u16), u64>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
