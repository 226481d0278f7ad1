//! The file of a ledger: its path, how it is opened, and the formats that this version reads.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::FORMAT_VERSION;
use super::error::LedgerError;

/// The path of a ledger and the file system under it.
#[derive(Debug)]
pub(super) struct LedgerFile {
    pub(super) path: PathBuf,
    /// The name of a registered SQLite VFS, if it is not the system's own.
    pub(super) vfs: Option<String>,
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
    // The bundled SQLite may plan by the values of parameters, and then plans a statement again for each new value. The
    // ledger's statements look up keys, so that one plan fits all values.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(failed)?;
    // Foreign keys cost one look-up per row and tie facts to their evidence (I4).
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;").map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Rejects a ledger of a newer format before anything is written to it. Returns the format, or 0 for a new file.
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

/// Keeps SQLite from counting its memory: the program does not read the figures, and every allocation of every
/// connection would wait for their lock. Has no effect if SQLite has started already.
fn stop_counting_memory() {
    static ONCE: Once = Once::new();
    // SAFETY: the call takes one integer, and changes nothing once SQLite has started. No other thread of this program
    // starts SQLite now: every opener of a first connection waits here.
    ONCE.call_once(|| unsafe {
        rusqlite::ffi::sqlite3_config(rusqlite::ffi::SQLITE_CONFIG_MEMSTATUS, 0);
    });
}
