//! Queries for observers of a directory that another process may be writing: the shards with work, changes since the
//! last look, and the files that the ledger explains.

use super::error::LedgerError;
use super::facts::ShardRecord;
use super::reader::{Reader, SHARD_COLUMNS, read_shard};

impl Reader {
    /// Returns the numbers of excluded rows among the rows `start..end` of an intake, by reason.
    pub fn intake_reasons(&self, input_digest: &str, start: u64, end: u64) -> Result<Vec<(String, u64)>, LedgerError> {
        let sql = "SELECT excluded_reason, count(*) FROM intake WHERE input_digest = ?1 AND ordinal >= ?2 \
                   AND ordinal < ?3 AND excluded_reason IS NOT NULL GROUP BY excluded_reason";
        self.many(sql, (input_digest, start, end), |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// Returns a number that changes whenever another connection has added facts since the last call on this
    /// connection.
    pub fn version(&self) -> Result<i64, LedgerError> {
        Ok(self.one("PRAGMA data_version", [], |row| row.get(0))?.unwrap_or(0))
    }

    /// Returns whether a response, or a failed attempt at one, is stored.
    pub fn has_responses(&self) -> Result<bool, LedgerError> {
        let has = |table: &str| self.one(&format!("SELECT EXISTS (SELECT 1 FROM {table})"), [], |row| row.get(0));
        Ok(has("rollout")?.unwrap_or(false) || (self.format >= 3 && has("rollout_failure")?.unwrap_or(false)))
    }

    /// Returns the groups of `group_rows` consecutive rows of an intake in which a query has a response, ascending.
    /// Returns `None` if any attempt at a response failed, because failures do not record their query.
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

    /// Returns whether a run published a file of this name and hash, or recorded it before publishing.
    pub fn explains(&self, file_name: &str, sha256: &str) -> Result<bool, LedgerError> {
        let begun = if self.format < 5 { "" } else { "UNION ALL SELECT file_name, sha256 FROM shard_begun" };
        let sql = format!(
            "SELECT EXISTS (SELECT 1 FROM (SELECT file_name, sha256 FROM shard {begun}) \
             WHERE file_name = ?1 AND sha256 = ?2)"
        );
        Ok(self.one(&sql, (file_name, sha256), |row| row.get(0))?.unwrap_or(false))
    }

    /// Returns the files that a run recorded before publishing, published or not. A name occurs several times if a part
    /// of a shard was published before the whole shard.
    pub fn begun_shards(&self, fingerprint: &str) -> Result<Vec<ShardRecord>, LedgerError> {
        if self.format < 5 {
            return Ok(Vec::new());
        }
        let sql =
            format!("SELECT {SHARD_COLUMNS} FROM shard_begun WHERE fingerprint = ?1 ORDER BY table_name, shard_index");
        self.many(&sql, [fingerprint], read_shard)
    }
}
