//! The stores of a run: the ledger with its pool of readers, and the output directory.

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
    /// One permit per read, [`Blocking::reads_max`] in all: each reader is a connection with a page cache of its own.
    read_permits: Arc<Semaphore>,
    _lock: Option<DirLock>,
}

impl Stores {
    /// Joins a ledger and the files beside it; `lock` is held as long as the stores live.
    pub(super) fn new(ledger: Ledger, publisher: Publisher, blocking: Blocking, lock: Option<DirLock>) -> Self {
        let read_permits = Arc::new(Semaphore::new(blocking.reads_max()));
        Self { ledger, publisher, blocking, readers: Mutex::default(), read_permits, _lock: lock }
    }

    /// Runs a blocking function with a reader of the ledger on a blocking thread.
    pub async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Reader) -> Result<T, RunError> + Send + 'static,
    ) -> Result<T, RunError> {
        // The semaphore is never closed.
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
        // The lock guards a list of whole readers, which is valid after a panic.
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
