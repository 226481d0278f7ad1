//! Looking up judge attempts from async code: one thread with one reading connection, which answers in groups.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::error::LedgerError;
use super::facts::AttemptRecord;
use super::reader::Reader;

/// Look-ups that may wait; a sender waits beyond it.
const QUEUE_MAX: usize = 256;

struct LookUp {
    request_key: String,
    done: oneshot::Sender<Result<Vec<AttemptRecord>, LedgerError>>,
}

/// A handle to the thread, which ends when the last clone is dropped.
#[derive(Clone)]
pub(super) struct Attempts {
    queue: mpsc::Sender<LookUp>,
}

impl Attempts {
    /// Starts the thread; it opens its connection at the first look-up.
    pub(super) fn start(path: Arc<std::path::PathBuf>) -> Result<Self, LedgerError> {
        let (queue, look_ups) = mpsc::channel(QUEUE_MAX);
        std::thread::Builder::new()
            .name("ledger-read".to_owned())
            .spawn(move || answer_until_closed(&path, look_ups))
            .map_err(|_| LedgerError::Closed)?;
        Ok(Self { queue })
    }

    pub(super) async fn of(&self, request_key: String) -> Result<Vec<AttemptRecord>, LedgerError> {
        let (done, result) = oneshot::channel();
        self.queue.send(LookUp { request_key, done }).await.map_err(|_| LedgerError::Closed)?;
        result.await.map_err(|_| LedgerError::Closed)?
    }
}

fn answer_until_closed(path: &Path, mut look_ups: mpsc::Receiver<LookUp>) {
    let mut reader: Option<Reader> = None;
    while let Some(LookUp { request_key, done }) = look_ups.blocking_recv() {
        let result = match &reader {
            Some(reader) => reader.attempts(&request_key),
            None => Reader::open_file(path).and_then(|opened| {
                let result = opened.attempts(&request_key);
                reader = Some(opened);
                result
            }),
        };
        // An asker that is gone has no use for the answer.
        let _ = done.send(result);
    }
}
