//! The times at which facts were recorded: for plots of throughput and spend, never for data.

use super::error::LedgerError;
use super::reader::Reader;

impl Reader {
    /// Returns the time of each response, in milliseconds since 1970, and its length in tokens; oldest first.
    pub fn sampling_times(&self) -> Result<Vec<(i64, u64)>, LedgerError> {
        let sql = "SELECT recorded_unix_ms, completion_tokens FROM rollout ORDER BY recorded_unix_ms";
        self.many(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
    }
}
