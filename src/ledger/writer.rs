//! The only writer: a thread that commits facts in groups. In a simulation, which runs on one thread, a future does the
//! same work (`inline`).

#[cfg(feature = "testing")]
pub(super) mod inline;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::attempts::Attempts;
use super::error::LedgerError;
use super::facts::{AttemptRecord, Fact, IntakeRow};
use super::file::{LedgerFile, check_format, open_connection, sqlite_error};
use super::insert::{InsertError, insert_once};
use super::reader::Reader;
use super::values::{integer, optional, text};
use super::{ADDED_COLUMNS, FILE_NAME, FORMAT_VERSION};
use crate::sys::clock::Clock;

/// Commits that may wait for the writer, and look-ups that may wait for their thread. Further senders wait for a place.
const QUEUE_MAX: usize = 256;

/// Commits that share one transaction.
const GROUP_MAX: usize = 128;

struct Commit {
    facts: Vec<Fact>,
    done: oneshot::Sender<Result<(), LedgerError>>,
}

/// A handle to an open ledger. Clones share its threads. Dropping the last handle blocks until the threads have
/// committed all waiting facts and closed the file.
#[derive(Clone)]
pub struct Ledger {
    file: Arc<LedgerFile>,
    commits: mpsc::Sender<Commit>,
    attempts: Attempts,
    // The last field, so that the channels close before the drop waits for the thread.
    _thread: Arc<WriterThread>,
}

/// The writing thread, joined when dropped: SQLite folds its log into the file when the last connection closes, and a
/// process that ends earlier leaves the log beside the file.
struct WriterThread(Option<JoinHandle<()>>);

impl Drop for WriterThread {
    fn drop(&mut self) {
        // A thread that panicked has closed its connection already.
        let _ = self.0.take().map(JoinHandle::join);
    }
}

impl Ledger {
    /// Opens or creates the ledger of an output directory and starts its writer. The caller holds the directory's lock.
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
            // If two connections close at once, neither is the last, and the log stays.
            let _ = look_ups.join();
            drop(writer);
        };
        let thread =
            std::thread::Builder::new().name("ledger".to_owned()).spawn(write).map_err(|_| LedgerError::Closed)?;
        Ok(Self { file, commits, attempts, _thread: Arc::new(WriterThread(Some(thread))) })
    }

    /// Returns a handle that cannot write: every commit fails with [`LedgerError::Closed`]. For observers of a
    /// directory that another process may be writing.
    #[must_use]
    pub fn read_only(dir: &Path) -> Self {
        let file = Arc::new(LedgerFile { path: dir.join(FILE_NAME), vfs: None });
        // The receivers are dropped at once.
        let ((commits, _), (attempts, _)) = (mpsc::channel(1), Attempts::waiting(1));
        Self { file, commits, attempts, _thread: Arc::new(WriterThread(None)) }
    }

    /// Adds facts in one transaction. Returns when they are durable.
    ///
    /// Not cancel-safe: the facts may be committed after the future was dropped. Facts are content-addressed, so that
    /// committing them again changes nothing.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if one contradicts a stored fact (none of them is added then); [`LedgerError::Sqlite`]
    /// if the commit fails.
    pub async fn commit(&self, facts: Vec<Fact>) -> Result<(), LedgerError> {
        let (done, result) = oneshot::channel();
        self.commits.send(Commit { facts, done }).await.map_err(|_| LedgerError::Closed)?;
        result.await.map_err(|_| LedgerError::Closed)?
    }

    /// Returns all attempts of a judge request, in order, including every acknowledged one.
    pub async fn attempts(&self, request_key: &str) -> Result<Vec<AttemptRecord>, LedgerError> {
        self.attempts.of(request_key.to_owned()).await
    }

    /// Opens another reading connection. Blocks.
    pub fn reader(&self) -> Result<Reader, LedgerError> {
        Reader::open_file(&self.file)
    }

    /// Freezes an input: stores all its rows in one transaction, so that an intake is stored whole or not at all.
    /// Blocks.
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

/// Opens or creates the file for the writer.
fn open_for_writing(file: &LedgerFile) -> Result<Connection, LedgerError> {
    let mut connection = open_connection(file, OpenFlags::default())?;
    // Keys are hashes, so that any page of an index may be needed next. The cache size is in KiB, the checkpoint size
    // in pages.
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

/// Adds the columns that a ledger of an older format lacks. Existing rows are not changed.
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

/// The state of the writer.
struct Writer {
    connection: Connection,
    file: Arc<LedgerFile>,
    clock: Clock,
}

impl Writer {
    fn write_until_closed(&mut self, mut queue: mpsc::Receiver<Commit>) {
        while let Some(first) = queue.blocking_recv() {
            for (commit, result) in self.commit(group(first, &mut queue)) {
                // The sender may have dropped its future; nobody needs this answer then.
                let _ = commit.done.send(result);
            }
        }
    }

    /// Commits a group in one transaction. If that fails, commits each member in a transaction of its own, so that one
    /// bad commit does not fail the others.
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

/// Returns a commit together with the commits that wait behind it.
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
