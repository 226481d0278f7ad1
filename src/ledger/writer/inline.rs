//! The writer as a future, for simulations: the same commits without a thread, over a disk and a clock of the caller's.

use std::path::Path;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::{Commit, Ledger, Writer, WriterThread, group, open_for_writing};
use crate::ledger::FILE_NAME;
use crate::ledger::attempts::{self, Attempts, LookUp};
use crate::ledger::error::LedgerError;
use crate::ledger::facts::Fact;
use crate::ledger::file::LedgerFile;
use crate::sys::clock::Clock;

/// The environment of a ledger: the machine, or a simulation of one.
#[derive(Debug, Clone)]
pub struct LedgerOptions {
    /// Gives facts their times.
    pub clock: Clock,
    /// The name of a registered SQLite VFS; `None` for the system's own.
    pub vfs: Option<String>,
    /// When commits are acknowledged.
    pub acknowledge: Acknowledge,
    /// Commits that may wait for the writer, and look-ups that may wait for theirs: at least one each.
    pub queue_max: usize,
}

/// When a commit is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledge {
    /// Once the commit is durable.
    AfterCommit,
    /// Before the commit is durable: a planted bug that the simulation must find.
    BeforeCommit,
}

impl Ledger {
    /// Opens or creates a ledger without starting a thread. The caller runs the returned writer as a task, which
    /// commits facts and answers look-ups.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn open_inline(dir: &Path, options: LedgerOptions) -> Result<(Self, InlineWriter), LedgerError> {
        let LedgerOptions { clock, vfs, acknowledge, queue_max } = options;
        let file = Arc::new(LedgerFile { path: dir.join(FILE_NAME), vfs });
        let connection = open_for_writing(&file)?;
        let (commits, queue) = mpsc::channel(queue_max);
        let writer = Writer { connection, file: Arc::clone(&file), clock };
        let (attempts, look_ups) = Attempts::waiting(queue_max);
        let thread = Arc::new(WriterThread(None));
        Ok((Self { file, commits, attempts, _thread: thread }, InlineWriter { writer, queue, look_ups, acknowledge }))
    }
}

/// The writer of a ledger that was opened without threads.
pub struct InlineWriter {
    writer: Writer,
    queue: mpsc::Receiver<Commit>,
    look_ups: mpsc::Receiver<LookUp>,
    acknowledge: Acknowledge,
}

impl InlineWriter {
    /// Commits facts and answers look-ups until all handles of the ledger are dropped. Before each transaction and each
    /// look-up it awaits `pace`, which simulates the time of a disk. Calls `observe` just before each acknowledgement.
    pub async fn run(
        self,
        pace: impl Fn() -> BoxFuture<'static, ()> + Send + Sync,
        observe: impl FnMut(&[Fact], &Result<(), LedgerError>) + Send,
    ) {
        let Self { mut writer, queue, look_ups, acknowledge } = self;
        let file = Arc::clone(&writer.file);
        let answers = attempts::answer(&file, look_ups, &pace);
        futures::join!(writer.write_paced(queue, acknowledge, &pace, observe), answers);
    }
}

impl Writer {
    async fn write_paced(
        &mut self,
        mut queue: mpsc::Receiver<Commit>,
        acknowledge: Acknowledge,
        pace: impl Fn() -> BoxFuture<'static, ()>,
        mut observe: impl FnMut(&[Fact], &Result<(), LedgerError>),
    ) {
        while let Some(first) = queue.recv().await {
            if acknowledge == Acknowledge::BeforeCommit {
                let (done, _) = oneshot::channel();
                let Commit { facts, done: waiting } = first;
                observe(&facts, &Ok(()));
                let _ = waiting.send(Ok(()));
                pace().await;
                self.commit(vec![Commit { facts, done }]);
                continue;
            }
            pace().await;
            for (commit, result) in self.commit(group(first, &mut queue)) {
                observe(&commit.facts, &result);
                let _ = commit.done.send(result);
            }
        }
    }
}
