//! Reads failures: attempts that count, attempts that `--retry-failed` cleared, and request keys that servers refused.

use super::error::LedgerError;
use super::facts::RolloutFailure;
use super::reader::{Reader, parse};
use crate::domain::RolloutKey;

impl Reader {
    /// Returns the failed attempts at a response that count, in order.
    pub fn rollout_failures(&self, key: &RolloutKey) -> Result<Vec<RolloutFailure>, LedgerError> {
        if self.format < 3 {
            return Ok(Vec::new());
        }
        let forgiven = if self.format < 6 {
            ""
        } else {
            "AND attempt > coalesce((SELECT max(attempt) FROM forgiven WHERE key = ?1), 0)"
        };
        let sql = format!(
            "SELECT attempt, outcome, status, detail FROM rollout_failure WHERE rollout_key = ?1 {forgiven} ORDER BY attempt"
        );
        let rows = self.many(&sql, [&key.0], |row| {
            Ok((row.get(0)?, row.get::<_, String>(1)?, row.get::<_, Option<u16>>(2)?, row.get(3)?))
        })?;
        rows.into_iter()
            .map(|(attempt, outcome, status, detail)| {
                Ok(RolloutFailure { attempt, outcome: parse("rollout_failure", &outcome)?, status, detail })
            })
            .collect()
    }

    /// Returns the number of the latest failed attempt at a response, whether or not it counts; 0 if there is none.
    pub fn latest_rollout_failure(&self, key: &RolloutKey) -> Result<u32, LedgerError> {
        if self.format < 3 {
            return Ok(0);
        }
        let sql = "SELECT coalesce(max(attempt), 0) FROM rollout_failure WHERE rollout_key = ?1";
        Ok(self.one(sql, [&key.0], |row| row.get(0))?.unwrap_or(0))
    }

    /// Returns the number of `--retry-failed` rounds.
    pub fn retry_rounds(&self) -> Result<u32, LedgerError> {
        if self.format < 6 {
            return Ok(0);
        }
        Ok(self.one("SELECT coalesce(max(round), 0) FROM forgiven", [], |row| row.get(0))?.unwrap_or(0))
    }

    /// Returns whether any response, and whether any judge reply, is stored.
    pub fn holds_any(&self) -> Result<(bool, bool), LedgerError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM rollout), EXISTS (SELECT 1 FROM judge_reply)";
        Ok(self.one(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?.unwrap_or_default())
    }

    /// Returns the request keys that a side's servers refused for a model, in the order in which they were recorded.
    /// `base_url` limits the result to one address.
    pub fn refused_keys(&self, side: &str, model: &str, base_url: Option<&str>) -> Result<Vec<String>, LedgerError> {
        if self.format < 6 {
            return Ok(Vec::new());
        }
        let sql = "SELECT key FROM server_refusal WHERE side = ?1 AND model = ?2 AND (?3 IS NULL OR base_url = ?3) \
                   ORDER BY sequence";
        let mut keys: Vec<String> = Vec::new();
        for key in self.many(sql, (side, model, base_url), |row| row.get::<_, String>(0))? {
            // Another address of the same model may have refused the same key.
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        Ok(keys)
    }
}
