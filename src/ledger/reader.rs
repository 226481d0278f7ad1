//! Reads facts. Every value is checked when it is read.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, Transaction};
use tempfile::TempDir;

use super::FILE_NAME;
use super::error::LedgerError;
use super::facts::{AttemptRecord, IntakeRow, RunRecord, ShardRecord};
use super::file::{LedgerFile, check_format, open_connection, sqlite_error};
use super::texts;
use crate::domain::{Exclusion, Kind, Origin, Query, QueryId, QueryLabels, Reading, Rollout, RolloutKey, Verdict};

/// A reading connection. The connection sees every fact that was acknowledged before the call, or before the enclosing
/// [`Snapshot`].
pub struct Reader {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
    /// The ledger's format at the time of opening. Columns of later formats cannot be read.
    pub(super) format: i64,
    /// The directory of the ledger's copy, if the copy is read in place of the file. Dropped after the connection.
    _copy: Option<TempDir>,
}

/// A read transaction; see [`Reader::snapshot`].
#[must_use = "reads after the drop may see newer facts"]
pub struct Snapshot<'a>(#[expect(dead_code, reason = "ends the transaction when dropped")] Option<Transaction<'a>>);

impl Reader {
    /// Opens the ledger of an output directory for reading. A run may be writing to it.
    ///
    /// # Errors
    /// [`LedgerError::Missing`] if there is no ledger, [`LedgerError::Newer`] for a newer format.
    pub fn open(dir: &Path) -> Result<Self, LedgerError> {
        let path = dir.join(FILE_NAME);
        if !path.is_file() {
            return Err(LedgerError::Missing(dir.display().to_string()));
        }
        match Self::open_file(&LedgerFile { path: path.clone(), vfs: None }) {
            // SQLite's shared memory is missing and the directory is read-only, so that no process is writing the
            // ledger.
            Err(error) if error.is_unwritable() && has_log(&path) => match copy(&path) {
                Ok(dir) => Self::over_copy(dir, &path),
                Err(_) => Err(error),
            },
            Err(error) if error.is_unwritable() => Self::over(open_at_rest(&path)?, &path),
            opened => opened,
        }
    }

    pub(super) fn open_file(file: &LedgerFile) -> Result<Self, LedgerError> {
        // Read-write, because a WAL database needs its shared-memory file even for reading. This connection writes no
        // row.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Self::over(open_connection(file, flags)?, &file.path)
    }

    fn over(connection: Connection, path: &Path) -> Result<Self, LedgerError> {
        connection.execute_batch("PRAGMA query_only = ON;").map_err(|error| sqlite_error(path, error))?;
        let format = check_format(&connection, path)?;
        Ok(Self { connection, path: path.to_owned(), format, _copy: None })
    }

    /// Opens a copy of `path` in `dir`, into which SQLite can fold the log.
    fn over_copy(dir: TempDir, path: &Path) -> Result<Self, LedgerError> {
        let file = LedgerFile { path: dir.path().join(FILE_NAME), vfs: None };
        let reader = Self::open_file(&file).map_err(|error| error.of(path))?;
        Ok(Self { path: path.to_owned(), _copy: Some(dir), ..reader })
    }

    /// Starts a read transaction: until the result is dropped, all reads see one state of the ledger, and no read takes
    /// locks of its own. Hold it for the reads of one query, not longer: SQLite cannot shorten its log meanwhile.
    pub fn snapshot(&self) -> Result<Snapshot<'_>, LedgerError> {
        // A snapshot inside another one needs no transaction of its own.
        let begin = self.connection.is_autocommit().then(|| self.connection.unchecked_transaction());
        begin.transpose().map(Snapshot).map_err(|error| sqlite_error(&self.path, error))
    }

    /// Returns the configuration of the latest start.
    pub fn latest_run(&self) -> Result<Option<RunRecord>, LedgerError> {
        let sql = "SELECT run.fingerprint, identity, input_digest, row_limit, queries_per_shard, settings, policy \
                   FROM run JOIN start USING (fingerprint) ORDER BY sequence DESC LIMIT 1";
        self.one(sql, [], |row| {
            Ok(RunRecord {
                fingerprint: row.get(0)?,
                identity: row.get(1)?,
                input_digest: row.get(2)?,
                row_limit: row.get(3)?,
                queries_per_shard: row.get(4)?,
                settings: row.get(5)?,
                policy: row.get(6)?,
            })
        })
    }

    /// Returns all starts in order: the time in milliseconds since 1970, and the identity (JSON object).
    pub fn starts(&self) -> Result<Vec<(i64, String)>, LedgerError> {
        let sql = "SELECT started_unix_ms, identity FROM start JOIN run USING (fingerprint) ORDER BY sequence";
        self.many(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// Returns the families of kernels other than `numerics` that earlier starts recorded.
    pub fn other_numerics(&self, numerics: &str) -> Result<Vec<String>, LedgerError> {
        if self.format < 2 {
            return Ok(Vec::new());
        }
        let sql = "SELECT DISTINCT numerics FROM start WHERE numerics <> ?1 ORDER BY numerics";
        self.many(sql, [numerics], |row| row.get(0))
    }

    /// Returns the number of rows of an intake; 0 if it is not stored.
    pub fn intake_rows(&self, input_digest: &str) -> Result<u64, LedgerError> {
        let sql = "SELECT count(*) FROM intake WHERE input_digest = ?1";
        Ok(self.one(sql, [input_digest], |row| row.get(0))?.unwrap_or(0))
    }

    /// Returns whether an intake contains a query of a kind.
    pub fn intake_holds(&self, input_digest: &str, kind: Kind) -> Result<bool, LedgerError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM intake WHERE input_digest = ?1 AND kind = ?2)";
        Ok(self.one(sql, (input_digest, kind.name()), |row| row.get(0))?.unwrap_or(false))
    }

    /// Returns how many of the first `rows` rows of an intake are excluded.
    pub fn intake_exclusions(&self, input_digest: &str, rows: u64) -> Result<u64, LedgerError> {
        let sql =
            "SELECT count(*) FROM intake WHERE input_digest = ?1 AND ordinal < ?2 AND excluded_reason IS NOT NULL";
        Ok(self.one(sql, (input_digest, rows), |row| row.get(0))?.unwrap_or(0))
    }

    /// Returns the rows `start..end` of an intake, in order.
    pub fn intake(&self, input_digest: &str, start: u64, end: u64) -> Result<Vec<IntakeRow>, LedgerError> {
        let select = self.select_intake();
        let sql = format!("{select} WHERE input_digest = ?1 AND ordinal >= ?2 AND ordinal < ?3 ORDER BY ordinal");
        self.many(&sql, (input_digest, start, end), read_intake)?.into_iter().collect()
    }

    /// Returns the rows of an intake with this query id, in order; usually one.
    pub fn intake_by_id(&self, input_digest: &str, id: &str) -> Result<Vec<IntakeRow>, LedgerError> {
        let select = self.select_intake();
        let sql = format!("{select} WHERE input_digest = ?1 AND query_id = ?2 ORDER BY ordinal");
        self.many(&sql, (input_digest, id), read_intake)?.into_iter().collect()
    }

    fn select_intake(&self) -> String {
        let added = if self.format < 3 { "NULL, NULL" } else { "test_imports, entry_point" };
        let labels = if self.format < 4 { "NULL, NULL, NULL" } else { "subject, category, variant_of" };
        let kept = if self.format < 6 { "NULL" } else { "extra" };
        format!("{INTAKE_COLUMNS}, {added}, {labels}, {kept} FROM intake")
    }

    /// Returns whether any response is stored.
    pub fn has_rollouts(&self) -> Result<bool, LedgerError> {
        Ok(self.one("SELECT 1 FROM rollout LIMIT 1", [], |_| Ok(()))?.is_some())
    }

    /// Returns the response stored under the first of several addresses that has one.
    pub fn rollout_at<'a>(
        &self,
        addresses: impl Iterator<Item = &'a RolloutKey>,
    ) -> Result<Option<Rollout>, LedgerError> {
        for key in addresses {
            if let Some(rollout) = self.rollout(key)? {
                return Ok(Some(rollout));
            }
        }
        Ok(None)
    }

    /// Returns a response by its key.
    pub fn rollout(&self, key: &RolloutKey) -> Result<Option<Rollout>, LedgerError> {
        let added = if self.format < 2 { "NULL, NULL" } else { "forced_close, logprob_sum" };
        let packed = if self.format < 4 { "NULL, NULL" } else { "prompt.text_zstd, rollout.text_zstd" };
        let marked = if self.format < 6 { "NULL" } else { "length_estimated" };
        let sql = format!(
            "SELECT mode, sample_index, seed, prompt.text, prefill, rollout.text, finish_reason, prompt_tokens, \
             completion_tokens, {added}, {packed}, {marked} FROM rollout JOIN prompt ON prompt_sha256 = sha256 WHERE key = ?1"
        );
        let found = self.one(&sql, [&key.0], |row| {
            Ok((
                [row.get::<_, String>(0)?, row.get::<_, String>(6)?],
                row.get::<_, Option<String>>(9)?,
                [row.get::<_, Option<Vec<u8>>>(11)?, row.get::<_, Option<Vec<u8>>>(12)?],
                Rollout {
                    key: key.clone(),
                    mode: crate::domain::Mode::ThinkOn,
                    sample_index: row.get(1)?,
                    seed: row.get(2)?,
                    prompt: row.get(3)?,
                    prefill: row.get(4)?,
                    text: row.get(5)?,
                    finish_reason: crate::domain::FinishReason::Stop,
                    forced_close: None,
                    logprob_sum: row.get(10)?,
                    prompt_tokens: row.get(7)?,
                    completion_tokens: row.get(8)?,
                    reading: Reading {
                        length_estimated: row.get::<_, Option<bool>>(13)?.unwrap_or(false),
                        ..Reading::default()
                    },
                },
            ))
        })?;
        let Some(([mode, finish_reason], forced_close, [prompt, text], rollout)) = found else { return Ok(None) };
        let (mode, finish_reason) = (parse("rollout", &mode)?, parse("rollout", &finish_reason)?);
        let forced_close = forced_close.map(|cause| parse("rollout", &cause)).transpose()?;
        let prompt = texts::unpack(rollout.prompt, prompt.as_deref())?;
        let text = texts::unpack(rollout.text, text.as_deref())?;
        Ok(Some(Rollout { mode, finish_reason, forced_close, prompt, text, ..rollout }))
    }

    /// For an abandoned response: returns the largest stored bound that its number of tokens exceeds.
    pub fn rollout_longer_than(&self, key: &RolloutKey) -> Result<Option<u32>, LedgerError> {
        if self.format < 4 {
            return Ok(None);
        }
        let sql = "SELECT max(longer_than) FROM rollout_cut WHERE rollout_key = ?1";
        Ok(self.one(sql, [&key.0], |row| row.get(0))?.flatten())
    }

    /// Returns the stored source of a prompter (JSON).
    pub fn prompter(&self, hash: &str) -> Result<Option<String>, LedgerError> {
        if self.format < 4 {
            return Ok(None);
        }
        self.one("SELECT source FROM prompter WHERE hash = ?1", [hash], |row| row.get(0))
    }

    /// Writes a copy of the whole ledger, as of this moment, to a new file. Blocks.
    pub fn copy_to(&self, path: &Path) -> Result<(), LedgerError> {
        let copy = || {
            // The pragma forbids writing any file, the copy included.
            self.connection.execute_batch("PRAGMA query_only = OFF")?;
            let copied = self.connection.execute("VACUUM INTO ?1", [path.to_string_lossy()]);
            self.connection.execute_batch("PRAGMA query_only = ON")?;
            copied
        };
        copy().map(drop).map_err(|error| sqlite_error(path, error))
    }

    /// Returns a verdict by its key.
    pub fn verdict(&self, key: &str) -> Result<Option<Verdict>, LedgerError> {
        let sql = "SELECT outcome, extracted, reason FROM verdict WHERE key = ?1";
        let found = self.one(sql, [key], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?, row.get::<_, String>(2)?))
        })?;
        let Some((outcome, extracted, reason)) = found else { return Ok(None) };
        Ok(Some(Verdict { outcome: parse("verdict", &outcome)?, extracted, reason }))
    }

    /// Returns all attempts of a judge request, in order.
    pub fn attempts(&self, request_key: &str) -> Result<Vec<AttemptRecord>, LedgerError> {
        let forgiven = if self.format < 6 {
            "0"
        } else {
            "attempt <= coalesce((SELECT max(attempt) FROM forgiven WHERE key = ?1), 0)"
        };
        let sql = format!(
            "SELECT attempt, body, outcome, status, coalesce(detail, ''), {forgiven} FROM judge_attempt \
             LEFT JOIN judge_reply USING (request_key, attempt) LEFT JOIN judge_failure USING (request_key, attempt) \
             WHERE request_key = ?1 ORDER BY attempt"
        );
        let rows = self.many(&sql, [request_key], |row| {
            let failure = match row.get::<_, Option<String>>(2)? {
                Some(outcome) => Some((outcome, row.get(3)?, row.get(4)?)),
                None => None,
            };
            Ok((row.get(0)?, row.get(1)?, failure, row.get(5)?))
        })?;
        rows.into_iter()
            .map(|(attempt, reply, failure, is_forgiven)| {
                let failure = failure
                    .map(|(outcome, status, detail): (String, _, _)| {
                        Ok::<_, LedgerError>((parse("judge_failure", &outcome)?, status, detail))
                    })
                    .transpose()?;
                Ok(AttemptRecord { attempt, reply, failure, is_forgiven })
            })
            .collect()
    }

    /// Returns the published files of a run, by table and index.
    pub fn shards(&self, fingerprint: &str) -> Result<Vec<ShardRecord>, LedgerError> {
        let sql = format!("SELECT {SHARD_COLUMNS} FROM shard WHERE fingerprint = ?1 ORDER BY table_name, shard_index");
        self.many(&sql, [fingerprint], read_shard)
    }

    /// Returns the files that other configurations of this directory published, or recorded before publishing.
    pub fn superseded_shards(&self, fingerprint: &str) -> Result<Vec<ShardRecord>, LedgerError> {
        let begun =
            if self.format < 5 { String::new() } else { format!("UNION SELECT {SHARD_COLUMNS} FROM shard_begun") };
        let sql = format!(
            "SELECT {SHARD_COLUMNS} FROM (SELECT {SHARD_COLUMNS} FROM shard {begun}) WHERE fingerprint <> ?1 \
             ORDER BY fingerprint, table_name, shard_index, sha256"
        );
        self.many(&sql, [fingerprint], read_shard)
    }

    /// Runs SQLite's own check of the file.
    ///
    /// # Errors
    /// [`LedgerError::Unreadable`] with the first problem found.
    pub fn check_integrity(&self) -> Result<(), LedgerError> {
        let verdict: String = self.one("PRAGMA quick_check(1)", [], |row| row.get(0))?.unwrap_or_default();
        if verdict == "ok" { Ok(()) } else { Err(LedgerError::Unreadable { kind: "page", detail: verdict }) }
    }

    pub(super) fn one<T>(
        &self,
        sql: &str,
        parameters: impl rusqlite::Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, LedgerError> {
        let run = || self.connection.prepare_cached(sql)?.query_row(parameters, read).optional();
        run().map_err(|error| sqlite_error(&self.path, error))
    }

    pub(super) fn many<T>(
        &self,
        sql: &str,
        parameters: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, LedgerError> {
        let run =
            || self.connection.prepare_cached(sql)?.query_map(parameters, read)?.collect::<rusqlite::Result<Vec<T>>>();
        run().map_err(|error| sqlite_error(&self.path, error))
    }
}

/// Returns the path of SQLite's log of a ledger.
pub(super) fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// Returns whether a ledger has a log, which may contain facts that are not in the file yet.
fn has_log(path: &Path) -> bool {
    fs_err::metadata(log_of(path)).is_ok_and(|log| log.len() > 0)
}

/// Copies a ledger with its log, for a run that was killed in a directory that has become read-only since.
#[expect(clippy::disallowed_methods, reason = "the caller names the ledger")]
fn copy(path: &Path) -> std::io::Result<TempDir> {
    let dir = tempfile::tempdir()?;
    let copy = dir.path().join(FILE_NAME);
    std::fs::copy(path, &copy)?;
    std::fs::copy(log_of(path), log_of(&copy))?;
    Ok(dir)
}

/// Opens a ledger that no process writes, without creating SQLite's companion files.
fn open_at_rest(path: &Path) -> Result<Connection, LedgerError> {
    let name = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(format!("file:{name}?immutable=1"), flags).map_err(|error| sqlite_error(path, error))
}

pub(super) fn parse<T: FromStr<Err: std::fmt::Display>>(kind: &'static str, name: &str) -> Result<T, LedgerError> {
    name.parse().map_err(|error: T::Err| LedgerError::Unreadable { kind, detail: error.to_string() })
}

pub(super) const SHARD_COLUMNS: &str =
    "fingerprint, table_name, shard_index, file_name, sha256, rows, bytes, first_ordinal, end_ordinal";

pub(super) fn read_shard(row: &Row<'_>) -> rusqlite::Result<ShardRecord> {
    Ok(ShardRecord {
        fingerprint: row.get(0)?,
        table: row.get(1)?,
        index: row.get(2)?,
        file_name: row.get(3)?,
        sha256: row.get(4)?,
        rows: row.get(5)?,
        bytes: row.get(6)?,
        first_ordinal: row.get(7)?,
        end_ordinal: row.get(8)?,
    })
}

const INTAKE_COLUMNS: &str = "SELECT ordinal, query_id, file, line, source, kind, question, gold, choices, tests, \
                              excluded_reason, excluded_detail";

fn read_intake(row: &Row<'_>) -> rusqlite::Result<Result<IntakeRow, LedgerError>> {
    let ordinal = row.get(0)?;
    let id = row.get::<_, Option<String>>(1)?.map(QueryId);
    let origin = Origin { file: row.get(2)?, line: row.get(3)? };
    let source = row.get(4)?;
    if let Some(reason) = row.get::<_, Option<String>>(10)? {
        let detail = row.get::<_, Option<String>>(11)?.unwrap_or_default();
        return Ok(parse("intake", &reason)
            .map(|reason| IntakeRow::Excluded(Exclusion { query_id: id, ordinal, source, origin, reason, detail })));
    }
    let column = |index: usize| row.get::<_, Option<String>>(index).map(Option::unwrap_or_default);
    let (kind, question, gold, choices, tests) = (column(5)?, column(6)?, column(7)?, column(8)?, column(9)?);
    let list = |json: &str| -> Result<Vec<String>, LedgerError> {
        serde_json::from_str(json)
            .map_err(|error| LedgerError::Unreadable { kind: "intake", detail: error.to_string() })
    };
    let (test_imports, entry_point): (Option<String>, Option<String>) = (row.get(12)?, row.get(13)?);
    let variant_of = row.get::<_, Option<String>>(16)?.map(QueryId);
    let labels = QueryLabels { subject: row.get(14)?, category: row.get(15)?, variant_of, extra: row.get(17)? };
    let build = || {
        let id = id.ok_or(LedgerError::Unreadable { kind: "intake", detail: "a query has no id".to_owned() })?;
        let kind = parse("intake", &kind)?;
        let (choices, tests) = (list(&choices)?, list(&tests)?);
        let test_imports = test_imports.as_deref().map(list).transpose()?.unwrap_or_default();
        Ok(IntakeRow::Query(Query {
            id,
            ordinal,
            source,
            origin,
            kind,
            question,
            gold,
            choices,
            tests,
            test_imports,
            entry_point,
            labels,
        }))
    };
    Ok(build())
}
