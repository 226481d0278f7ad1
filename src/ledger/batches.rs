//! Reads the facts that decide the cost of judge calls: replies with their time and transport, calls that may have been
//! charged without a reply, and batches with their items.

use super::error::LedgerError;
use super::facts::{BatchStep, CallSize};
use super::reader::{Reader, parse};
use crate::domain::AttemptOutcome;

/// The part of a judge reply that its cost and its query depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyRecord<'a> {
    /// The query that the request was first made for.
    pub query_id: &'a str,
    /// The body as it was received.
    pub body: &'a str,
    /// When the reply was stored, in milliseconds since 1970; if that time is not recorded, when the request was sent.
    pub unix_ms: i64,
    /// Whether the reply came through the batch API.
    pub is_batched: bool,
    /// The largest usage that the call can be charged for; `None` if it was recorded before format 4.
    pub size: Option<CallSize>,
}

impl ReplyRecord<'_> {
    /// Returns whether the call was free, from its recorded size; `None` if no size was recorded.
    #[must_use]
    pub fn is_free(&self) -> Option<bool> {
        self.size.map(|size| size == CallSize::default())
    }
}

/// A judge call without a reply that may have been charged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCall {
    /// The largest usage that the call can be charged for; `None` if it was recorded before format 4.
    pub size: Option<CallSize>,
    /// When the request was sent, in milliseconds since 1970.
    pub unix_ms: i64,
    /// The batch that contains the call, if any.
    pub batch_key: Option<String>,
    /// Whether that batch has not ended, so that the reply may still arrive.
    pub is_under_way: bool,
}

/// A batch and its progress.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct BatchRecord {
    /// Hash of its items.
    pub batch_key: String,
    /// The address of the API.
    pub base_url: String,
    /// Number of requests in the batch.
    pub requests: u64,
    /// When the batch was recorded, in milliseconds since 1970.
    pub begun_unix_ms: i64,
    /// The provider's id of the uploaded file, once uploaded.
    pub file_id: Option<String>,
    /// The provider's id of the batch, once created.
    pub provider_id: Option<String>,
}

/// One attempt in a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchItem {
    /// Content address of the request.
    pub request_key: String,
    /// 1-based.
    pub attempt: u32,
    /// The largest usage that the attempt can be charged for.
    pub size: CallSize,
    /// Whether its reply or failure is stored.
    pub is_ended: bool,
}

/// The batches of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct BatchTotals {
    /// Batches that have not ended, oldest first.
    pub under_way: Vec<BatchRecord>,
    /// Number of requests in ended batches.
    pub ended_requests: u64,
    /// Number of ended batches by last status.
    pub ended: std::collections::BTreeMap<String, u64>,
}

impl Reader {
    /// Calls `take` with every stored judge reply, in the order of attempts.
    pub fn for_each_reply(&self, mut take: impl FnMut(ReplyRecord<'_>)) -> Result<(), LedgerError> {
        let (time, batch, more) = if self.format < 4 {
            ("started_unix_ms", "", "0, NULL, NULL")
        } else {
            (
                "coalesce(recorded_unix_ms, started_unix_ms)",
                "LEFT JOIN judge_batch_item USING (request_key, attempt)",
                "batch_key IS NOT NULL, prompt_tokens_max, completion_tokens_max",
            )
        };
        let sql = format!(
            "SELECT query_id, body, {time}, {more} FROM judge_attempt \
             JOIN judge_reply USING (request_key, attempt) {batch}"
        );
        self.many(&sql, [], |row| {
            let (query_id, body) = (row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
            let size = row.get::<_, Option<u64>>(4)?.zip(row.get::<_, Option<u64>>(5)?);
            let size = size.map(|(prompt_tokens_max, completion_tokens_max)| CallSize {
                prompt_tokens_max,
                completion_tokens_max,
            });
            take(ReplyRecord { query_id, body, unix_ms: row.get(2)?, is_batched: row.get(3)?, size });
            Ok(())
        })?;
        Ok(())
    }

    /// Returns the judge calls without a reply that may have been charged: the process ended, or the answer did not
    /// arrive. Free calls are left out.
    pub fn open_calls(&self) -> Result<Vec<OpenCall>, LedgerError> {
        let (size, batch) = if self.format < 4 {
            ("NULL, NULL, NULL, 0", "")
        } else {
            (
                "prompt_tokens_max, completion_tokens_max, item.batch_key, \
                 item.batch_key IS NOT NULL AND ended.value IS NULL AND outcome IS NULL",
                "LEFT JOIN judge_batch_item AS item USING (request_key, attempt) \
                 LEFT JOIN judge_batch_step AS ended ON ended.batch_key = item.batch_key AND ended.step = 'ended'",
            )
        };
        let sql = format!(
            "SELECT {size}, started_unix_ms FROM judge_attempt LEFT JOIN judge_reply USING (request_key, attempt) \
             LEFT JOIN judge_failure USING (request_key, attempt) {batch} \
             WHERE body IS NULL AND (outcome IS NULL OR outcome = ?1 OR (outcome = ?2 AND status IS NULL))"
        );
        let outcomes = [AttemptOutcome::TransportError.name(), AttemptOutcome::ServerDown.name()];
        let calls = self.many(&sql, outcomes, |row| {
            let (prompt, completion): (Option<u64>, Option<u64>) = (row.get(0)?, row.get(1)?);
            let size = prompt.zip(completion);
            let size = size.map(|(prompt_tokens_max, completion_tokens_max)| CallSize {
                prompt_tokens_max,
                completion_tokens_max,
            });
            Ok(OpenCall { size, unix_ms: row.get(4)?, batch_key: row.get(2)?, is_under_way: row.get(3)? })
        })?;
        Ok(calls.into_iter().filter(|call| call.size != Some(CallSize::default())).collect())
    }

    /// Returns all batches: open batches with their progress, ended batches as counts.
    pub fn batches(&self) -> Result<BatchTotals, LedgerError> {
        let mut totals = BatchTotals::default();
        if self.format < 4 {
            return Ok(totals);
        }
        let sql =
            "SELECT batch_key, base_url, requests, begun_unix_ms FROM judge_batch ORDER BY begun_unix_ms, batch_key";
        let records = self.many(sql, [], |row| {
            Ok(BatchRecord {
                batch_key: row.get(0)?,
                base_url: row.get(1)?,
                requests: row.get(2)?,
                begun_unix_ms: row.get(3)?,
                file_id: None,
                provider_id: None,
            })
        })?;
        for mut record in records {
            let sql = "SELECT step, value FROM judge_batch_step WHERE batch_key = ?1";
            let steps: Vec<(String, String)> =
                self.many(sql, [&record.batch_key], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let mut ended = None;
            for (step, value) in steps {
                match parse::<BatchStep>("judge_batch_step", &step)? {
                    BatchStep::Uploaded => record.file_id = Some(value),
                    BatchStep::Created => record.provider_id = Some(value),
                    BatchStep::Ended => ended = Some(value),
                }
            }
            match ended {
                None => totals.under_way.push(record),
                Some(status) => {
                    totals.ended_requests += record.requests;
                    *totals.ended.entry(status).or_default() += 1;
                }
            }
        }
        Ok(totals)
    }

    /// Returns the items of a batch, in the order of keys.
    pub fn batch_items(&self, batch_key: &str) -> Result<Vec<BatchItem>, LedgerError> {
        let sql = "SELECT request_key, attempt, coalesce(prompt_tokens_max, 0), coalesce(completion_tokens_max, 0), \
                   body IS NOT NULL OR outcome IS NOT NULL FROM judge_batch_item \
                   JOIN judge_attempt USING (request_key, attempt) \
                   LEFT JOIN judge_reply USING (request_key, attempt) \
                   LEFT JOIN judge_failure USING (request_key, attempt) \
                   WHERE batch_key = ?1 ORDER BY request_key, attempt";
        self.many(sql, [batch_key], |row| {
            let size = CallSize { prompt_tokens_max: row.get(2)?, completion_tokens_max: row.get(3)? };
            Ok(BatchItem { request_key: row.get(0)?, attempt: row.get(1)?, size, is_ended: row.get(4)? })
        })
    }
}
