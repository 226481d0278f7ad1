//! What those ask who look at a directory that somebody else may be working on: where work was begun, what changed, and
//! which files are explained.

use super::error::LedgerError;
use super::facts::ShardRecord;
use super::reader::{Reader, SHARD_COLUMNS, read_shard};

impl Reader {
    /// Returns how many of the rows `start..end` of an intake are no queries, by reason.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger cannot be read.
    pub fn intake_reasons(&self, input_digest: &str, start: u64, end: u64) -> Result<Vec<(String, u64)>, LedgerError> {
        let sql = "SELECT excluded_reason, count(*) FROM intake WHERE input_digest = ?1 AND ordinal >= ?2 \
                   AND ordinal < ?3 AND excluded_reason IS NOT NULL GROUP BY excluded_reason";
        self.many(sql, (input_digest, start, end), |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// Returns a number that changes whenever somebody else has added facts since the last call on this connection.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger cannot be read.
    pub fn version(&self) -> Result<i64, LedgerError> {
        Ok(self.one("PRAGMA data_version", [], |row| row.get(0))?.unwrap_or(0))
    }

    /// Returns whether a response is stored, or an attempt at one that brought none.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger cannot be read.
    pub fn has_responses(&self) -> Result<bool, LedgerError> {
        let has = |table: &str| self.one(&format!("SELECT EXISTS (SELECT 1 FROM {table})"), [], |row| row.get(0));
        Ok(has("rollout")?.unwrap_or(false) || (self.format >= 3 && has("rollout_failure")?.unwrap_or(false)))
    }

    /// Returns the groups of `group_rows` consecutive rows of an intake in which a query has a response, ascending; none
    /// if an attempt at some response failed, for failures do not say their query.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger cannot be read.
    pub fn groups_with_rollouts(&self, input_digest: &str, group_rows: u64) -> Result<Option<Vec<u64>>, LedgerError> {
        if !self.has_responses()? {
            return Ok(Some(Vec::new()));
        }
        let has_failures = match self.format {
            ..3 => false,
            _ => self.one("SELECT EXISTS (SELECT 1 FROM rollout_failure)", [], |row| row.get(0))?.unwrap_or(false),
        };
        if has_failures {
            return Ok(None);
        }
        let sql = "SELECT DISTINCT ordinal / ?2 FROM intake WHERE input_digest = ?1 \
                   AND EXISTS (SELECT 1 FROM rollout WHERE rollout.query_id = intake.query_id) ORDER BY 1";
        self.many(sql, (input_digest, group_rows), |row| row.get(0)).map(Some)
    }

    /// Returns whether some run published a file of this name and hash, or was about to.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger cannot be read.
    pub fn explains(&self, file_name: &str, sha256: &str) -> Result<bool, LedgerError> {
        let begun = if self.format < 5 { "" } else { "UNION ALL SELECT file_name, sha256 FROM shard_begun" };
        let sql = format!(
            "SELECT EXISTS (SELECT 1 FROM (SELECT file_name, sha256 FROM shard {begun}) \
             WHERE file_name = ?1 AND sha256 = ?2)"
        );
        Ok(self.one(&sql, (file_name, sha256), |row| row.get(0))?.unwrap_or(false))
    }

    /// Returns the files that a run was about to publish, whatever became of them: several of one name where a part of a
    /// shard was published before all of it.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger cannot be read.
    pub fn begun_shards(&self, fingerprint: &str) -> Result<Vec<ShardRecord>, LedgerError> {
        if self.format < 5 {
            return Ok(Vec::new());
        }
        let sql =
            format!("SELECT {SHARD_COLUMNS} FROM shard_begun WHERE fingerprint = ?1 ORDER BY table_name, shard_index");
        self.many(&sql, [fingerprint], read_shard)
    }
}
