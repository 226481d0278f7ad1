//! The one writer: a thread that commits facts in groups. Where nothing may run beside the caller, as in a simulation,
//! the same work is a future ([`InlineWriter`]).

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use futures::future::BoxFuture;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::attempts::{self, Attempts, LookUp};
use super::error::LedgerError;
use super::facts::{AttemptRecord, Fact, IntakeRow};
use super::file::{LedgerFile, check_format, open_connection, sqlite_error};
use super::insert::{InsertError, insert_once};
use super::reader::Reader;
use super::values::{integer, optional, text};
use super::{ADDED_COLUMNS, FILE_NAME, FORMAT_VERSION};
use crate::sys::clock::Clock;

/// Commits that may wait for the writer, and look-ups that may wait for theirs; a sender waits beyond it.
const QUEUE_MAX: usize = 256;

/// Commits that share one transaction.
const GROUP_MAX: usize = 128;

/// What a ledger is opened over, where that is not the machine itself.
#[derive(Debug, Clone)]
pub struct LedgerOptions {
    /// Stamps facts.
    pub clock: Clock,
    /// The name of a file system that is registered with SQLite; the system's own otherwise.
    pub vfs: Option<String>,
    /// When commits are acknowledged.
    pub acknowledge: Acknowledge,
    /// Commits that may wait for the writer, and look-ups that may wait for theirs: at least one.
    pub queue_max: usize,
}

/// When a commit is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledge {
    /// When it is durable.
    AfterCommit,
    /// Before that: a defect, for tests that must find it. Nothing but a test can ask for it.
    #[doc(hidden)]
    BeforeCommit,
}

struct Commit {
    facts: Vec<Fact>,
    done: oneshot::Sender<Result<(), LedgerError>>,
}

/// A handle to an open ledger. Clones share its threads. Dropping the last one blocks until these have committed what waits
/// and closed the file.
#[derive(Clone)]
pub struct Ledger {
    file: Arc<LedgerFile>,
    commits: mpsc::Sender<Commit>,
    attempts: Attempts,
    // The last field: what the thread waits for is gone before it is waited for.
    _thread: Arc<WriterThread>,
}

/// The thread that writes, waited for when dropped: SQLite folds its log into the file as the last connection closes, and a
/// process that ends before that leaves the log beside the file.
struct WriterThread(Option<JoinHandle<()>>);

impl Drop for WriterThread {
    fn drop(&mut self) {
        // One that panicked has no more to close.
        let _ = self.0.take().map(JoinHandle::join);
    }
}

impl Ledger {
    /// Opens or creates the ledger of an output directory and starts its writer. The caller holds the directory's
    /// lock.
    ///
    /// # Errors
    /// [`LedgerError::Newer`] for a newer format, [`LedgerError::Sqlite`] if the file cannot be used.
    pub fn open(dir: &Path) -> Result<Self, LedgerError> {
        let file = Arc::new(LedgerFile { path: dir.join(FILE_NAME), vfs: None });
        let connection = open_for_writing(&file)?;
        let (commits, queue) = mpsc::channel(QUEUE_MAX);
        let mut writer = Writer { connection, file: Arc::clone(&file), clock: Clock::system() };
        let (attempts, look_ups) = Attempts::start(Arc::clone(&file), QUEUE_MAX)?;
        let write = move || {
            writer.write_until_closed(queue);
            // Of two connections that close at once, none is the last, and the log stays.
            let _ = look_ups.join();
            drop(writer);
        };
        let thread =
            std::thread::Builder::new().name("ledger".to_owned()).spawn(write).map_err(|_| LedgerError::Closed)?;
        Ok(Self { file, commits, attempts, _thread: Arc::new(WriterThread(Some(thread))) })
    }

    /// Returns a handle that adds nothing: every commit fails with [`LedgerError::Closed`]. For those who look at a
    /// directory that somebody else may be writing.
    #[must_use]
    pub fn read_only(dir: &Path) -> Self {
        let file = Arc::new(LedgerFile { path: dir.join(FILE_NAME), vfs: None });
        // Whoever receives is gone at once.
        let ((commits, _), (attempts, _)) = (mpsc::channel(1), Attempts::waiting(1));
        Self { file, commits, attempts, _thread: Arc::new(WriterThread(None)) }
    }

    /// Opens or creates a ledger without starting any thread: commits and look-ups are made by the returned writer, which
    /// the caller runs as a task.
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

    /// Adds facts in one transaction; returns when they are durable.
    ///
    /// Not cancel-safe in the sense that dropping the future may still commit; facts are content-addressed, so that
    /// committing again is no change.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if one contradicts a stored fact (none of them is added then);
    /// [`LedgerError::Sqlite`] if the commit fails.
    pub async fn commit(&self, facts: Vec<Fact>) -> Result<(), LedgerError> {
        let (done, result) = oneshot::channel();
        self.commits.send(Commit { facts, done }).await.map_err(|_| LedgerError::Closed)?;
        result.await.map_err(|_| LedgerError::Closed)?
    }

    /// Returns all attempts of a judge request, in order, every acknowledged one included.
    ///
    /// # Errors
    /// As [`Reader::attempts`].
    pub async fn attempts(&self, request_key: &str) -> Result<Vec<AttemptRecord>, LedgerError> {
        self.attempts.of(request_key.to_owned()).await
    }

    /// Opens a reader of its own. Blocks.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`] if the file cannot be used.
    pub fn reader(&self) -> Result<Reader, LedgerError> {
        Reader::open_file(&self.file)
    }

    /// Freezes an input: all its rows in one transaction, so that an intake is there whole or not at all. Blocks.
    ///
    /// # Errors
    /// The iterator's own errors; [`LedgerError::Sqlite`] if the commit fails.
    pub fn store_intake<E: From<LedgerError>>(
        &self,
        input_digest: &str,
        rows: impl Iterator<Item = Result<IntakeRow, E>>,
    ) -> Result<u64, E> {
        let path = self.file.path.as_path();
        let failed = |error| sqlite_error(path, error);
        let mut connection = open_connection(&self.file, OpenFlags::default())?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let mut count = 0;
        for row in rows {
            insert_intake(&transaction, input_digest, &row?).map_err(|error| insert_error(path, error))?;
            count += 1;
        }
        transaction.commit().map_err(failed)?;
        Ok(count)
    }
}

/// Opens or creates the file for the one that writes it.
fn open_for_writing(file: &LedgerFile) -> Result<Connection, LedgerError> {
    let mut connection = open_connection(file, OpenFlags::default())?;
    // Keys are hashes: every page of an index may be next. The cache is in KiB, the log is folded in by its pages.
    connection
        .execute_batch("PRAGMA cache_size = -16384; PRAGMA wal_autocheckpoint = 4000;")
        .map_err(|error| sqlite_error(&file.path, error))?;
    prepare(&mut connection, &file.path)?;
    Ok(connection)
}

fn prepare(connection: &mut Connection, path: &Path) -> Result<(), LedgerError> {
    let failed = |error| sqlite_error(path, error);
    connection.execute_batch("PRAGMA journal_mode = WAL;").map_err(failed)?;
    check_format(connection, path)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    transaction.execute_batch(include_str!("schema.sql")).map_err(failed)?;
    add_columns(&transaction).map_err(failed)?;
    transaction.execute("INSERT OR IGNORE INTO format (version) VALUES (?1)", [FORMAT_VERSION]).map_err(failed)?;
    transaction.commit().map_err(failed)
}

/// Brings the tables of an older ledger to this format. Rows stay as they are.
fn add_columns(connection: &Connection) -> rusqlite::Result<()> {
    for (table, column, kind) in ADDED_COLUMNS {
        let sql = "SELECT count(*) FROM pragma_table_info(?1) WHERE name = ?2";
        if connection.query_row(sql, (table, column), |row| row.get::<_, i64>(0))? == 0 {
            connection.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {column} {kind};"))?;
        }
    }
    Ok(())
}

fn insert_error(path: &Path, error: InsertError) -> LedgerError {
    match error {
        InsertError::Sqlite(source) => sqlite_error(path, source),
        InsertError::Conflict { kind, key } => LedgerError::Conflict { kind, key },
    }
}

/// What commits.
struct Writer {
    connection: Connection,
    file: Arc<LedgerFile>,
    clock: Clock,
}

impl Writer {
    fn write_until_closed(&mut self, mut queue: mpsc::Receiver<Commit>) {
        while let Some(first) = queue.blocking_recv() {
            for (commit, result) in self.commit(group(first, &mut queue)) {
                // A sender that is gone has no use for the answer.
                let _ = commit.done.send(result);
            }
        }
    }

    /// Commits a group in one transaction; or, if that fails, each of it in one of its own, for one bad commit must not
    /// fail the others.
    fn commit(&mut self, group: Vec<Commit>) -> Vec<(Commit, Result<(), LedgerError>)> {
        if self.insert_all(group.iter().flat_map(|commit| &commit.facts)).is_ok() {
            return group.into_iter().map(|commit| (commit, Ok(()))).collect();
        }
        let one_by_one = group.into_iter().map(|commit| {
            let result = self.insert_all(commit.facts.iter());
            (commit, result)
        });
        one_by_one.collect()
    }

    fn insert_all<'a>(&mut self, facts: impl Iterator<Item = &'a Fact>) -> Result<(), LedgerError> {
        let path = self.file.path.as_path();
        let failed = |error| sqlite_error(path, error);
        let now_ms = self.clock.unix_ms();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        for fact in facts {
            fact.insert(&transaction, now_ms).map_err(|error| insert_error(path, error))?;
        }
        transaction.commit().map_err(failed)
    }
}

/// Returns a commit with those that wait behind it.
fn group(first: Commit, queue: &mut mpsc::Receiver<Commit>) -> Vec<Commit> {
    let mut group = vec![first];
    while group.len() < GROUP_MAX {
        match queue.try_recv() {
            Ok(commit) => group.push(commit),
            Err(_) => break,
        }
    }
    group
}

/// The writer of a ledger that was opened without threads.
pub struct InlineWriter {
    writer: Writer,
    queue: mpsc::Receiver<Commit>,
    look_ups: mpsc::Receiver<LookUp>,
    acknowledge: Acknowledge,
}

impl InlineWriter {
    /// Commits and looks up until all handles of the ledger are gone. `pace` is awaited before each transaction and each
    /// look-up, as a disk would be; `observe` is told of every acknowledgement just before it is given.
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

fn insert_intake(connection: &Connection, input_digest: &str, row: &IntakeRow) -> Result<(), InsertError> {
    let list = |items: &Vec<String>| text(serde_json::to_string(items).unwrap_or_default());
    let common = |ordinal, file: &str, line, source: &str| {
        vec![
            ("input_digest", text(input_digest)),
            ("ordinal", integer(ordinal)),
            ("file", text(file)),
            ("line", integer(line)),
            ("source", text(source)),
        ]
    };
    let columns = match row {
        IntakeRow::Query(query) => {
            let mut columns = common(query.ordinal, &query.origin.file, query.origin.line, &query.source);
            columns.extend([
                ("query_id", text(&query.id.0)),
                ("kind", text(query.kind.name())),
                ("question", text(&query.question)),
                ("gold", text(&query.gold)),
                ("choices", list(&query.choices)),
                ("tests", list(&query.tests)),
                ("test_imports", optional((!query.test_imports.is_empty()).then(|| list(&query.test_imports)))),
                ("entry_point", optional(query.entry_point.as_deref().map(text))),
                ("subject", optional(query.labels.subject.as_deref().map(text))),
                ("category", optional(query.labels.category.as_deref().map(text))),
                ("variant_of", optional(query.labels.variant_of.as_ref().map(|id| text(&id.0)))),
                ("extra", optional(query.labels.extra.as_deref().map(text))),
            ]);
            columns
        }
        IntakeRow::Excluded(exclusion) => {
            let origin = &exclusion.origin;
            let mut columns = common(exclusion.ordinal, &origin.file, origin.line, &exclusion.source);
            columns.extend([
                ("query_id", optional(exclusion.query_id.as_ref().map(|id| text(&id.0)))),
                ("excluded_reason", text(exclusion.reason.name())),
                ("excluded_detail", text(&exclusion.detail)),
            ]);
            columns
        }
    };
    insert_once(connection, "intake", 2, &columns)
}
