//! The one writer: a thread that commits facts in groups. Where nothing may run beside the caller, as in a simulation,
//! the same work is a future ([`InlineWriter`]).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use std::thread::JoinHandle;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::attempts::Attempts;
use super::error::LedgerError;
use super::facts::{AttemptRecord, Fact, IntakeRow};
use super::insert::{InsertError, insert_once, integer, optional, text};
use super::reader::Reader;
use super::{ADDED_COLUMNS, FILE_NAME, FORMAT_VERSION};
use crate::sys::clock::Clock;

/// Commits that may wait for the writer; a sender waits beyond it.
const QUEUE_MAX: usize = 256;

/// Commits that share one transaction.
const GROUP_MAX: usize = 128;

/// Where a ledger lies.
#[derive(Debug)]
pub(super) struct LedgerFile {
    pub(super) path: PathBuf,
    /// The name of SQLite's file system under the file, if it is not the system's own.
    pub(super) vfs: Option<String>,
}

/// What a ledger is opened over, where that is not the machine itself.
#[derive(Debug, Clone)]
pub struct LedgerOptions {
    /// Stamps facts.
    pub clock: Clock,
    /// The name of a file system that is registered with SQLite; the system's own otherwise.
    pub vfs: Option<String>,
    /// When commits are acknowledged.
    pub acknowledge: Acknowledge,
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
        let (attempts, look_ups) = Attempts::start(Arc::clone(&file))?;
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

    /// Opens or creates a ledger without starting any thread: commits are made by the returned writer, which the caller
    /// runs as a task, and look-ups by whoever asks.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn open_inline(dir: &Path, options: LedgerOptions) -> Result<(Self, InlineWriter), LedgerError> {
        let LedgerOptions { clock, vfs, acknowledge } = options;
        let file = Arc::new(LedgerFile { path: dir.join(FILE_NAME), vfs });
        let connection = open_for_writing(&file)?;
        let (commits, queue) = mpsc::channel(QUEUE_MAX);
        let writer = Writer { connection, file: Arc::clone(&file), clock };
        let attempts = Attempts::inline(Arc::clone(&file));
        let thread = Arc::new(WriterThread(None));
        Ok((Self { file, commits, attempts, _thread: thread }, InlineWriter { writer, queue, acknowledge }))
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

pub(super) fn open_connection(file: &LedgerFile, flags: OpenFlags) -> Result<Connection, LedgerError> {
    stop_counting_memory();
    let path = file.path.as_path();
    let failed = |error| sqlite_error(path, error);
    let connection = match &file.vfs {
        None => Connection::open_with_flags(path, flags),
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs.as_str()),
    };
    let connection = connection.map_err(failed)?;
    connection.busy_timeout(std::time::Duration::from_secs(30)).map_err(failed)?;
    // The bundled SQLite may plan by the values of parameters, and so plans a statement again for each new value. Ours look
    // up keys: one plan is right for all.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(failed)?;
    // Foreign keys cost a look-up per row and tie facts to their evidence (I4).
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;").map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Keeps SQLite from counting its memory: nobody asks for the figures, and every allocation of every connection would wait
/// for their lock. Does nothing where SQLite is in use already.
fn stop_counting_memory() {
    static ONCE: Once = Once::new();
    // SAFETY: it takes one integer, and changes nothing once SQLite has started. Of this crate no other thread is starting
    // SQLite: whoever opens a first connection waits here.
    ONCE.call_once(|| unsafe {
        rusqlite::ffi::sqlite3_config(rusqlite::ffi::SQLITE_CONFIG_MEMSTATUS, 0);
    });
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

/// Refuses a ledger of a newer format, before anything is written into it; returns its format, 0 if it has none yet.
pub(super) fn check_format(connection: &Connection, path: &Path) -> Result<i64, LedgerError> {
    let failed = |error| sqlite_error(path, error);
    let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'format'";
    if connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(failed)? == 0 {
        return Ok(0);
    }
    let newest: Option<i64> =
        connection.query_row("SELECT max(version) FROM format", [], |row| row.get(0)).map_err(failed)?;
    match newest {
        Some(found) if found > FORMAT_VERSION => {
            Err(LedgerError::Newer { path: path.display().to_string(), found, known: FORMAT_VERSION })
        }
        found => Ok(found.unwrap_or(0)),
    }
}

pub(super) fn sqlite_error(path: &Path, source: rusqlite::Error) -> LedgerError {
    LedgerError::Sqlite { path: path.display().to_string(), source: Arc::new(source) }
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
    acknowledge: Acknowledge,
}

impl InlineWriter {
    /// Commits until all handles of the ledger are gone. `pace` is awaited before each transaction, as a disk would be;
    /// `observe` is told of every acknowledgement just before it is given.
    pub async fn run(
        mut self,
        mut pace: impl FnMut() -> futures::future::BoxFuture<'static, ()> + Send,
        mut observe: impl FnMut(&[Fact], &Result<(), LedgerError>) + Send,
    ) {
        while let Some(first) = self.queue.recv().await {
            if self.acknowledge == Acknowledge::BeforeCommit {
                let (done, _) = oneshot::channel();
                let Commit { facts, done: waiting } = first;
                observe(&facts, &Ok(()));
                let _ = waiting.send(Ok(()));
                pace().await;
                self.writer.commit(vec![Commit { facts, done }]);
                continue;
            }
            pace().await;
            for (commit, result) in self.writer.commit(group(first, &mut self.queue)) {
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
