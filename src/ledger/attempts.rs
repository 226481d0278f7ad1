//! Look-ups of judge attempts from async code. One thread with one reading connection answers look-ups in groups; a
//! ledger without threads answers them in a future.

use std::sync::Arc;
use std::thread::JoinHandle;

#[cfg(feature = "testing")]
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::error::LedgerError;
use super::facts::AttemptRecord;
use super::file::LedgerFile;
use super::reader::Reader;

pub(super) struct LookUp {
    request_key: String,
    done: oneshot::Sender<Result<Vec<AttemptRecord>, LedgerError>>,
}

/// A handle to the task or thread that looks attempts up. The task ends when the last clone is dropped.
#[derive(Clone)]
pub(super) struct Attempts(mpsc::Sender<LookUp>);

impl Attempts {
    /// Starts the thread, which opens its connection at the first look-up. `queue_max` look-ups may wait; further
    /// senders wait for a place.
    pub(super) fn start(file: Arc<LedgerFile>, queue_max: usize) -> Result<(Self, JoinHandle<()>), LedgerError> {
        let (attempts, look_ups) = Self::waiting(queue_max);
        let thread = std::thread::Builder::new()
            .name("ledger-read".to_owned())
            .spawn(move || answer_until_closed(&file, look_ups))
            .map_err(|_| LedgerError::Closed)?;
        Ok((attempts, thread))
    }

    /// Returns a handle and the queue behind it, which the caller must answer.
    pub(super) fn waiting(queue_max: usize) -> (Self, mpsc::Receiver<LookUp>) {
        let (queue, look_ups) = mpsc::channel(queue_max);
        (Self(queue), look_ups)
    }

    pub(super) async fn of(&self, request_key: String) -> Result<Vec<AttemptRecord>, LedgerError> {
        let (done, result) = oneshot::channel();
        self.0.send(LookUp { request_key, done }).await.map_err(|_| LedgerError::Closed)?;
        result.await.map_err(|_| LedgerError::Closed)?
    }
}

/// Answers look-ups until all handles are dropped. Before each look-up it awaits `pace`, which simulates the time of a
/// disk.
#[cfg(feature = "testing")]
pub(super) async fn answer(
    file: &LedgerFile,
    mut look_ups: mpsc::Receiver<LookUp>,
    pace: impl Fn() -> BoxFuture<'static, ()>,
) {
    let mut reader: Option<Reader> = None;
    while let Some(LookUp { request_key, done }) = look_ups.recv().await {
        pace().await;
        // The caller may have dropped its future; nobody needs this answer then.
        let _ = done.send(look_up(file, &mut reader, &request_key));
    }
}

fn answer_until_closed(file: &LedgerFile, mut look_ups: mpsc::Receiver<LookUp>) {
    let mut reader: Option<Reader> = None;
    while let Some(LookUp { request_key, done }) = look_ups.blocking_recv() {
        // The caller may have dropped its future; nobody needs this answer then.
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
