//! Looking up judge attempts from async code: one thread with one reading connection, which answers in groups; or, where
//! nothing may run beside the caller, the caller itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use super::error::LedgerError;
use super::facts::AttemptRecord;
use super::reader::Reader;
use super::writer::LedgerFile;

/// Look-ups that may wait; a sender waits beyond it.
const QUEUE_MAX: usize = 256;

pub(super) struct LookUp {
    request_key: String,
    done: oneshot::Sender<Result<Vec<AttemptRecord>, LedgerError>>,
}

/// A handle to what looks attempts up.
#[derive(Clone)]
pub(super) enum Attempts {
    /// A thread, which ends when the last clone is dropped.
    Thread(mpsc::Sender<LookUp>),
    /// The caller.
    Inline(Arc<LedgerFile>, Arc<Mutex<Option<Reader>>>),
}

impl Attempts {
    /// Starts the thread; it opens its connection at the first look-up.
    pub(super) fn start(file: Arc<LedgerFile>) -> Result<(Self, JoinHandle<()>), LedgerError> {
        let (queue, look_ups) = mpsc::channel(QUEUE_MAX);
        let thread = std::thread::Builder::new()
            .name("ledger-read".to_owned())
            .spawn(move || answer_until_closed(&file, look_ups))
            .map_err(|_| LedgerError::Closed)?;
        Ok((Self::Thread(queue), thread))
    }

    /// Looks up where it is asked for.
    pub(super) fn inline(file: Arc<LedgerFile>) -> Self {
        Self::Inline(file, Arc::default())
    }

    pub(super) async fn of(&self, request_key: String) -> Result<Vec<AttemptRecord>, LedgerError> {
        match self {
            Self::Thread(queue) => {
                let (done, result) = oneshot::channel();
                queue.send(LookUp { request_key, done }).await.map_err(|_| LedgerError::Closed)?;
                result.await.map_err(|_| LedgerError::Closed)?
            }
            Self::Inline(file, reader) => {
                // A look-up that panicked has left the connection as it was.
                look_up(file, &mut reader.lock().unwrap_or_else(PoisonError::into_inner), &request_key)
            }
        }
    }
}

fn answer_until_closed(file: &LedgerFile, mut look_ups: mpsc::Receiver<LookUp>) {
    let mut reader: Option<Reader> = None;
    while let Some(LookUp { request_key, done }) = look_ups.blocking_recv() {
        // An asker that is gone has no use for the answer.
        let _ = done.send(look_up(file, &mut reader, &request_key));
    }
}

fn look_up(
    file: &LedgerFile,
    reader: &mut Option<Reader>,
    request_key: &str,
) -> Result<Vec<AttemptRecord>, LedgerError> {
    if let Some(reader) = reader {
        return reader.attempts(request_key);
    }
    reader.insert(Reader::open_file(file)?).attempts(request_key)
}
