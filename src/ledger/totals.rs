//! Sums over the facts, for display: the progress of a run and its cost.

use super::error::LedgerError;
use super::facts::AttemptRecord;
use super::reader::{Reader, log_of};
use super::texts;
use crate::domain::digest::sha256;
use crate::domain::{Mode, OtherMode, PassCounts, Rollout, RolloutKey, Verdict};

/// Sums over the responses of one mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct ModeTotals {
    /// Stored responses.
    pub rollouts: u64,
    /// Completion tokens of the stored responses.
    pub completion_tokens: u64,
}

/// Sums over judge calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct JudgeTotals {
    /// Recorded calls, finished or not.
    pub attempts: u64,
    /// Stored replies.
    pub replies: u64,
    /// Failed calls.
    pub failures: u64,
}

/// Sums over all facts of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Totals {
    /// Think-on responses.
    pub think_on: ModeTotals,
    /// Think-off responses.
    pub think_off: ModeTotals,
    /// Judge calls.
    pub judge: JudgeTotals,
    /// Starts of the program.
    pub starts: u64,
}

impl Reader {
    /// Sums over all facts.
    pub fn totals(&self) -> Result<Totals, LedgerError> {
        let count = |table: &str| -> Result<u64, LedgerError> {
            Ok(self.one(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?.unwrap_or(0))
        };
        let sql = "SELECT mode, count(*), coalesce(sum(completion_tokens), 0) FROM rollout GROUP BY mode";
        let modes = self.many(sql, [], |row| {
            Ok((row.get::<_, String>(0)?, ModeTotals { rollouts: row.get(1)?, completion_tokens: row.get(2)? }))
        })?;
        let mode = |mode: Mode| {
            modes.iter().find(|(name, _)| name == mode.name()).map(|(_, totals)| *totals).unwrap_or_default()
        };
        Ok(Totals {
            think_on: mode(Mode::ThinkOn),
            think_off: mode(Mode::ThinkOff),
            judge: JudgeTotals {
                attempts: count("judge_attempt")?,
                replies: count("judge_reply")?,
                failures: count("judge_failure")?,
            },
            starts: count("start")?,
        })
    }

    /// Returns the bodies of the latest stored judge replies, at most `limit`.
    pub fn latest_replies(&self, limit: u64) -> Result<Vec<String>, LedgerError> {
        self.many("SELECT body FROM judge_reply ORDER BY rowid DESC LIMIT ?1", [limit], |row| row.get(0))
    }

    /// Returns completion tokens per second of sampling. The time between two neighbouring records counts if it is
    /// below one minute, which leaves out the pauses between runs.
    pub fn tokens_per_second(&self) -> Result<Option<f64>, LedgerError> {
        let sql = "WITH gaps AS (SELECT completion_tokens AS tokens, recorded_unix_ms - lag(recorded_unix_ms) \
                   OVER (ORDER BY recorded_unix_ms) AS gap FROM rollout) \
                   SELECT sum(tokens), sum(gap) FROM gaps WHERE gap < 60000";
        let found = self.one(sql, [], |row| Ok((row.get::<_, Option<f64>>(0)?, row.get::<_, Option<f64>>(1)?)))?;
        Ok(match found {
            Some((Some(tokens), Some(ms))) if ms > 0.0 => Some(tokens / ms * 1000.0),
            _ => None,
        })
    }

    /// Returns the pass counts over all stored verdicts of a mode.
    pub fn pass_counts(&self, mode: Mode, rule: OtherMode) -> Result<PassCounts, LedgerError> {
        let counts_as_correct = match rule {
            OtherMode::Incorrect => "outcome = 'correct' AND observed_mode = mode",
            OtherMode::AsVerified => "outcome = 'correct'",
        };
        let sql = format!(
            "SELECT count(*), coalesce(sum({counts_as_correct}), 0), coalesce(sum(observed_mode <> mode), 0) \
             FROM verdict JOIN rollout ON rollout_key = rollout.key WHERE mode = ?1"
        );
        let counts = |row: &rusqlite::Row<'_>| {
            Ok(PassCounts { sampled: row.get(0)?, correct: row.get(1)?, other_mode: row.get(2)? })
        };
        Ok(self.one(&sql, [mode.name()], counts)?.unwrap_or_default())
    }

    /// Returns all stored responses to a query with all verdicts on each, by mode and sample index.
    pub fn rollouts_of(&self, query_id: &str) -> Result<Vec<(Rollout, Vec<Verdict>)>, LedgerError> {
        let sql = "SELECT key FROM rollout WHERE query_id = ?1 ORDER BY mode DESC, sample_index, key";
        let keys: Vec<String> = self.many(sql, [query_id], |row| row.get(0))?;
        let mut found = Vec::with_capacity(keys.len());
        for key in keys.into_iter().map(RolloutKey) {
            let sql = "SELECT key FROM verdict WHERE rollout_key = ?1 ORDER BY rowid";
            let verdict_keys: Vec<String> = self.many(sql, [&key.0], |row| row.get(0))?;
            let verdicts = verdict_keys.iter().filter_map(|key| self.verdict(key).transpose());
            let verdicts = verdicts.collect::<Result<Vec<Verdict>, LedgerError>>()?;
            found.extend(self.rollout(&key)?.map(|rollout| (rollout, verdicts)));
        }
        Ok(found)
    }

    /// Returns all judge attempts about a query, with their request keys.
    pub fn attempts_of(&self, query_id: &str) -> Result<Vec<(String, AttemptRecord)>, LedgerError> {
        let sql = "SELECT DISTINCT request_key FROM judge_attempt WHERE query_id = ?1 ORDER BY request_key";
        let keys: Vec<String> = self.many(sql, [query_id], |row| row.get(0))?;
        let mut found = Vec::new();
        for key in keys {
            found.extend(self.attempts(&key)?.into_iter().map(|record| (key.clone(), record)));
        }
        Ok(found)
    }

    /// Returns the largest number of attempts of any judge request. Attempts that are not the query's fault do not
    /// count: nothing was sent, the server failed as a whole, the process ended, or `--retry-failed` cleared the
    /// attempt.
    pub fn attempts_max(&self) -> Result<u32, LedgerError> {
        let forgiven = if self.format < 6 {
            ""
        } else {
            "AND attempt > coalesce((SELECT max(forgiven.attempt) FROM forgiven WHERE key = request_key), 0)"
        };
        let sql = format!(
            "SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM judge_attempt \
             LEFT JOIN judge_failure USING (request_key, attempt) LEFT JOIN judge_reply USING (request_key, attempt) \
             WHERE (outcome IS NOT NULL OR body IS NOT NULL) \
             AND coalesce(outcome, '') NOT IN ('unreachable', 'refused', 'server_down') {forgiven} GROUP BY request_key)"
        );
        Ok(self.one(&sql, [], |row| row.get(0))?.unwrap_or(0))
    }

    /// Returns the number of prompts that do not match their hash, and of facts that reference missing facts (I2, I4).
    pub fn broken_facts(&self) -> Result<(u64, u64), LedgerError> {
        let mut changed = 0;
        let packed = if self.format < 4 { "NULL" } else { "text_zstd" };
        self.many(&format!("SELECT sha256, text, {packed} FROM prompt"), [], |row| {
            let (hash, text): (String, String) = (row.get(0)?, row.get(1)?);
            let text = texts::unpack(text, row.get::<_, Option<Vec<u8>>>(2)?.as_deref());
            changed += u64::from(!text.is_ok_and(|text| sha256(text) == hash));
            Ok(())
        })?;
        let dangling = self.many("PRAGMA foreign_key_check", [], |_| Ok(()))?;
        Ok((changed, dangling.len() as u64))
    }

    /// Returns the size of the ledger on the disk in bytes, its log included.
    pub fn bytes(&self) -> Result<u64, LedgerError> {
        let file: u64 = self
            .one("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size", [], |row| row.get(0))?
            .unwrap_or(0);
        // Without a log there is nothing to add.
        Ok(file + fs_err::metadata(log_of(&self.path)).map_or(0, |log| log.len()))
    }

    /// Calls `take` with the mode and the seed of every response with a verdict `correct`. A seed is a hash of the
    /// response's address, so that mode and seed identify the response; its first query may have another id by now.
    pub fn for_each_correct(&self, mut take: impl FnMut(&str, i64)) -> Result<(), LedgerError> {
        let sql = "SELECT mode, seed FROM rollout JOIN verdict ON rollout_key = rollout.key WHERE outcome = 'correct'";
        self.many(sql, [], |row| {
            take(row.get_ref(0)?.as_str()?, row.get(1)?);
            Ok(())
        })?;
        Ok(())
    }

    /// Returns the settings of every run, as TOML.
    pub fn run_settings(&self) -> Result<Vec<String>, LedgerError> {
        self.many("SELECT settings FROM run", [], |row| row.get(0))
    }
}
