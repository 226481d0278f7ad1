//! Where a run keeps what it learns and what it makes: the ledger, the output directory, and the readers of the ledger.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use super::blocking::Blocking;
use super::error::RunError;
use crate::ledger::{Ledger, LedgerError, Reader};
use crate::shards::Publisher;
use crate::sys::files::DirLock;

/// The ledger and the files of a run.
pub struct Stores {
    /// The ledger.
    pub ledger: Ledger,
    /// The files.
    pub publisher: Publisher,
    blocking: Blocking,
    readers: Mutex<Vec<Reader>>,
    /// As many reads at once as [`Blocking::reads_max`]: each has a connection with a page cache of its own.
    read_permits: Arc<Semaphore>,
    _lock: Option<DirLock>,
}

impl Stores {
    /// Joins a ledger and the files beside it; `lock` is held for as long as the stores live.
    pub(super) fn new(ledger: Ledger, publisher: Publisher, blocking: Blocking, lock: Option<DirLock>) -> Self {
        let read_permits = Arc::new(Semaphore::new(blocking.reads_max()));
        Self { ledger, publisher, blocking, readers: Mutex::default(), read_permits, _lock: lock }
    }

    /// Runs a blocking function over a reader of the ledger, away from the async threads.
    ///
    /// # Errors
    /// The function's own; [`RunError::Internal`] if it panics.
    pub async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Reader) -> Result<T, RunError> + Send + 'static,
    ) -> Result<T, RunError> {
        // Never closed.
        let permit = Arc::clone(&self.read_permits).acquire_owned().await.ok();
        let stores = Arc::clone(self);
        let read = move || {
            let _permit = permit;
            let spare = stores.readers().pop();
            let reader = spare.map_or_else(|| stores.ledger.reader(), Ok::<_, LedgerError>)?;
            let result = work(&reader);
            stores.readers().push(reader);
            result
        };
        self.blocking.run(read).await?
    }

    fn readers(&self) -> MutexGuard<'_, Vec<Reader>> {
        // Readers are put back whole or not at all.
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
