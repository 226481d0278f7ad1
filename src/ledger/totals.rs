//! Sums over the facts, for people: how far a run is and what it cost.

use super::error::LedgerError;
use super::reader::Reader;

/// Sums over the responses of one mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct ModeTotals {
    /// Stored responses.
    pub rollouts: u64,
    /// Their completion tokens.
    pub completion_tokens: u64,
}

/// Sums over judge calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct JudgeTotals {
    /// Calls that were about to be made.
    pub attempts: u64,
    /// Replies that came.
    pub replies: u64,
    /// Calls that failed.
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
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger cannot be read.
    pub fn totals(&self) -> Result<Totals, LedgerError> {
        let count = |table: &str| -> Result<u64, LedgerError> {
            Ok(self.one(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?.unwrap_or(0))
        };
        let mode = |mode: crate::domain::Mode| -> Result<ModeTotals, LedgerError> {
            let sql = "SELECT count(*), coalesce(sum(completion_tokens), 0) FROM rollout WHERE mode = ?1";
            let found = self.one(sql, [mode.name()], |row| {
                Ok(ModeTotals { rollouts: row.get(0)?, completion_tokens: row.get(1)? })
            })?;
            Ok(found.unwrap_or_default())
        };
        Ok(Totals {
            think_on: mode(crate::domain::Mode::ThinkOn)?,
            think_off: mode(crate::domain::Mode::ThinkOff)?,
            judge: JudgeTotals {
                attempts: count("judge_attempt")?,
                replies: count("judge_reply")?,
                failures: count("judge_failure")?,
            },
            starts: count("start")?,
        })
    }

    /// Returns the bodies of all judge replies, one after the other, for adding up their usage.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger cannot be read.
    pub fn for_each_reply(&self, mut take: impl FnMut(&str)) -> Result<(), LedgerError> {
        self.many("SELECT body FROM judge_reply", [], |row| {
            take(row.get_ref(0)?.as_str()?);
            Ok(())
        })?;
        Ok(())
    }

    /// Returns completion tokens per second while responses were being recorded: the time between two neighbouring
    /// records counts if it is below a minute, so that pauses between runs do not.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger cannot be read.
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
}
