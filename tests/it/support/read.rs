//! Reads a run's output without the program's own readers: Parquet through Arrow's JSON writer, and plain SQL.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Returns all rows of a table of a run, shard after shard in order of their names; null cells are absent.
pub fn rows(out: &Path, table: &str) -> Vec<Value> {
    let files = files_below(&out.join("data").join(table));
    files
        .iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "parquet"))
        .flat_map(|path| read(path))
        .collect()
}

fn read(path: &Path) -> Vec<Value> {
    let file = std::fs::File::open(path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
    for batch in reader {
        writer.write(&batch.unwrap()).unwrap();
    }
    writer.finish().unwrap();
    let lines = writer.into_inner();
    serde_json::Deserializer::from_slice(&lines).into_iter().map(Result::unwrap).collect()
}

/// Returns every file below a directory, sorted; none if there is no such directory.
pub fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { waiting.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// Returns the SHA-256 of a file in hex.
pub fn hash_of(path: &Path) -> String {
    hex::encode(Sha256::digest(std::fs::read(path).unwrap()))
}

/// Returns the SHA-256 of every file under a run's `data/`, by its path relative to the run.
pub fn data_hashes(out: &Path) -> BTreeMap<String, String> {
    let name = |path: &Path| path.strip_prefix(out).unwrap().to_str().unwrap().replace('\\', "/");
    files_below(&out.join("data")).iter().map(|path| (name(path), hash_of(path))).collect()
}

/// The facts of a run, read with plain SQL; another process may be writing them.
pub struct Ledger(Connection);

impl Ledger {
    /// Opens the ledger of a run, if it is there already.
    pub fn open(out: &Path) -> Option<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(out.join("ledger.sqlite"), flags).ok()?;
        connection.busy_timeout(std::time::Duration::from_secs(5)).ok()?;
        Some(Self(connection))
    }

    /// Returns the one number that a query gives; `None` where the table is not there yet.
    pub fn number(&self, sql: &str) -> Option<i64> {
        self.0.query_row(sql, [], |row| row.get(0)).ok()
    }

    /// Returns the rows of a table.
    #[track_caller]
    pub fn count(&self, table: &str) -> i64 {
        self.number(&format!("SELECT count(*) FROM {table}")).unwrap_or_else(|| panic!("no table {table}"))
    }

    /// Returns the first column of a query as text, sorted.
    pub fn texts(&self, sql: &str) -> Vec<String> {
        let mut statement = self.0.prepare(sql).unwrap();
        let mut found: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        found.sort();
        found
    }
}
