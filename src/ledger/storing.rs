//! Inserts each fact: as a new row, or as a repetition of a row with the same content.

use rusqlite::Connection;
use rusqlite::types::Value;

use super::facts::{CallSize, Fact, RolloutFailure, RunRecord, ServerRefusal, ShardRecord};
use super::insert::{InsertError, insert_once};
use super::replies::insert_rollout_reply;
use super::texts;
use super::values::{integer, optional, text};
use crate::domain::digest::sha256;
use crate::domain::{Mode, QueryId, Rollout, RolloutKey, Verdict};

impl Fact {
    /// Adds the fact in the open transaction, with `now_ms` as its time.
    pub(super) fn insert(&self, connection: &Connection, now_ms: i64) -> Result<(), InsertError> {
        match self {
            Self::Run(run) => insert_run(connection, run),
            Self::Start { fingerprint, numerics } => {
                let sql = "INSERT INTO start (fingerprint, started_unix_ms, numerics) VALUES (?1, ?2, ?3)";
                connection.prepare_cached(sql)?.execute((fingerprint, now_ms, numerics))?;
                Ok(())
            }
            Self::Rollout { query_id, rollout, observed_mode } => {
                insert_rollout(connection, query_id, rollout, *observed_mode, now_ms)
            }
            Self::RolloutReply { rollout_key, attempt, reply } => {
                insert_rollout_reply(connection, rollout_key, *attempt, reply)
            }
            Self::RolloutFailure { rollout_key, failure } => insert_rollout_failure(connection, rollout_key, failure),
            Self::RolloutCut { rollout_key, longer_than } => insert_once(
                connection,
                "rollout_cut",
                2,
                &[("rollout_key", text(&rollout_key.0)), ("longer_than", integer(u64::from(*longer_than)))],
            ),
            Self::Prompter { hash, source } => {
                insert_once(connection, "prompter", 1, &[("hash", text(hash)), ("source", text(source))])
            }
            Self::Verdict { key, rollout_key, verdict } => insert_verdict(connection, key, rollout_key, verdict),
            Self::JudgeAttempt { request_key, attempt, query_id, size }
                if insert_attempt(connection, request_key, *attempt, query_id, *size, now_ms)? =>
            {
                Ok(())
            }
            Self::JudgeReply { request_key, attempt, body }
                if insert_reply(connection, request_key, *attempt, body, now_ms)? =>
            {
                Ok(())
            }
            // The row exists. Only its key is compared.
            Self::JudgeAttempt { .. } => Ok(()),
            Self::JudgeBatch { batch_key, base_url, items } => {
                insert_batch(connection, batch_key, base_url, items, now_ms)
            }
            Self::JudgeBatchStep { batch_key, step, value } => insert_once(
                connection,
                "judge_batch_step",
                2,
                &[
                    ("batch_key", text(batch_key)),
                    ("step", text(step.name())),
                    ("value", text(value)),
                    ("recorded_unix_ms", Value::Integer(now_ms)),
                ],
            ),
            Self::JudgeReply { request_key, attempt, body } => insert_once(
                connection,
                "judge_reply",
                2,
                &[("request_key", text(request_key)), ("attempt", integer(u64::from(*attempt))), ("body", text(body))],
            ),
            Self::JudgeFailure { request_key, attempt, outcome, status, detail } => insert_once(
                connection,
                "judge_failure",
                2,
                &[
                    ("request_key", text(request_key)),
                    ("attempt", integer(u64::from(*attempt))),
                    ("outcome", text(outcome.name())),
                    ("status", optional(status.map(|status| integer(u64::from(status))))),
                    ("detail", text(detail)),
                ],
            ),
            Self::Forgiven { round, key, attempt } => insert_once(
                connection,
                "forgiven",
                2,
                &[("key", text(key)), ("attempt", integer(u64::from(*attempt))), ("round", integer(u64::from(*round)))],
            ),
            Self::ServerRefusal(refusal) => insert_refusal(connection, refusal, now_ms),
            Self::ShardBegun(shard) => insert_shard(connection, "shard_begun", 4, shard),
            Self::Shard(shard) => insert_shard(connection, "shard", 3, shard),
        }
    }
}

fn insert_run(connection: &Connection, run: &RunRecord) -> Result<(), InsertError> {
    insert_once(
        connection,
        "run",
        1,
        &[
            ("fingerprint", text(&run.fingerprint)),
            ("identity", text(&run.identity)),
            ("input_digest", text(&run.input_digest)),
            ("row_limit", optional(run.row_limit.map(integer))),
            ("queries_per_shard", integer(run.queries_per_shard)),
            ("settings", text(&run.settings)),
            ("policy", text(&run.policy)),
        ],
    )
}

/// Inserts the attempt without comparing it first. Each call has one attempt, nearly all are new, and a comparison
/// costs more than the insertion.
fn insert_attempt(
    connection: &Connection,
    key: &str,
    attempt: u32,
    query_id: &QueryId,
    size: CallSize,
    now_ms: i64,
) -> Result<bool, InsertError> {
    let sql = "INSERT OR IGNORE INTO judge_attempt (request_key, attempt, query_id, started_unix_ms, \
               prompt_tokens_max, completion_tokens_max) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let CallSize { prompt_tokens_max, completion_tokens_max } = size;
    let row = (key, attempt, &query_id.0, now_ms, prompt_tokens_max, completion_tokens_max);
    Ok(connection.prepare_cached(sql)?.execute(row)? == 1)
}

/// Inserts the reply without comparing it first, since nearly all replies are new.
fn insert_reply(
    connection: &Connection,
    key: &str,
    attempt: u32,
    body: &str,
    now_ms: i64,
) -> Result<bool, InsertError> {
    let sql =
        "INSERT OR IGNORE INTO judge_reply (request_key, attempt, body, recorded_unix_ms) VALUES (?1, ?2, ?3, ?4)";
    Ok(connection.prepare_cached(sql)?.execute((key, attempt, body, now_ms))? == 1)
}

fn insert_batch(
    connection: &Connection,
    batch_key: &str,
    base_url: &str,
    items: &[(String, u32)],
    now_ms: i64,
) -> Result<(), InsertError> {
    insert_once(
        connection,
        "judge_batch",
        1,
        &[
            ("batch_key", text(batch_key)),
            ("base_url", text(base_url)),
            ("requests", integer(items.len() as u64)),
            ("begun_unix_ms", Value::Integer(now_ms)),
        ],
    )?;
    for (request_key, attempt) in items {
        let columns = [
            ("request_key", text(request_key)),
            ("attempt", integer(u64::from(*attempt))),
            ("batch_key", text(batch_key)),
        ];
        insert_once(connection, "judge_batch_item", 2, &columns)?;
    }
    Ok(())
}

fn insert_rollout(
    connection: &Connection,
    query_id: &QueryId,
    rollout: &Rollout,
    observed_mode: Mode,
    now_ms: i64,
) -> Result<(), InsertError> {
    let prompt_sha256 = sha256(&rollout.prompt);
    let [prompt, prompt_zstd] = texts::pack(&rollout.prompt);
    let columns = [("sha256", text(&prompt_sha256)), ("text", prompt), ("text_zstd", prompt_zstd)];
    insert_once(connection, "prompt", 1, &columns)?;
    let [stored_text, text_zstd] = texts::pack(&rollout.text);
    insert_once(
        connection,
        "rollout",
        1,
        &[
            ("key", text(&rollout.key.0)),
            ("query_id", text(&query_id.0)),
            ("mode", text(rollout.mode.name())),
            ("sample_index", integer(u64::from(rollout.sample_index))),
            ("seed", integer(rollout.seed)),
            ("prompt_sha256", text(prompt_sha256)),
            ("prefill", text(&rollout.prefill)),
            ("text", stored_text),
            ("finish_reason", text(rollout.finish_reason.name())),
            ("prompt_tokens", integer(u64::from(rollout.prompt_tokens))),
            ("completion_tokens", integer(u64::from(rollout.completion_tokens))),
            ("recorded_unix_ms", Value::Integer(now_ms)),
            ("forced_close", optional(rollout.forced_close.map(|cause| text(cause.name())))),
            ("logprob_sum", optional(rollout.logprob_sum.map(Value::Real))),
            ("observed_mode", text(observed_mode.name())),
            ("text_zstd", text_zstd),
            ("length_estimated", optional(rollout.reading.length_estimated.then(|| integer(1)))),
        ],
    )?;
    match &rollout.reading.reply {
        Some(reply) => insert_rollout_reply(connection, &rollout.key, 0, reply),
        None => Ok(()),
    }
}

fn insert_rollout_failure(
    connection: &Connection,
    rollout_key: &RolloutKey,
    failure: &RolloutFailure,
) -> Result<(), InsertError> {
    insert_once(
        connection,
        "rollout_failure",
        2,
        &[
            ("rollout_key", text(&rollout_key.0)),
            ("attempt", integer(u64::from(failure.attempt))),
            ("outcome", text(failure.outcome.name())),
            ("status", optional(failure.status.map(|status| integer(u64::from(status))))),
            ("detail", text(&failure.detail)),
        ],
    )
}

fn insert_verdict(
    connection: &Connection,
    key: &str,
    rollout_key: &RolloutKey,
    verdict: &Verdict,
) -> Result<(), InsertError> {
    insert_once(
        connection,
        "verdict",
        1,
        &[
            ("key", text(key)),
            ("rollout_key", text(&rollout_key.0)),
            ("outcome", text(verdict.outcome.name())),
            ("extracted", optional(verdict.extracted.as_deref().map(text))),
            ("reason", text(&verdict.reason)),
        ],
    )
}

fn insert_refusal(connection: &Connection, refusal: &ServerRefusal, now_ms: i64) -> Result<(), InsertError> {
    insert_once(
        connection,
        "server_refusal",
        4,
        &[
            ("side", text(refusal.side)),
            ("base_url", text(&refusal.base_url)),
            ("model", text(&refusal.model)),
            ("key", text(&refusal.key)),
            ("words", text(&refusal.words)),
            ("recorded_unix_ms", Value::Integer(now_ms)),
        ],
    )
}

fn insert_shard(
    connection: &Connection,
    table: &'static str,
    key_width: usize,
    shard: &ShardRecord,
) -> Result<(), InsertError> {
    insert_once(
        connection,
        table,
        key_width,
        &[
            ("fingerprint", text(&shard.fingerprint)),
            ("table_name", text(&shard.table)),
            ("shard_index", integer(shard.index)),
            ("sha256", text(&shard.sha256)),
            ("file_name", text(&shard.file_name)),
            ("rows", integer(shard.rows)),
            ("bytes", integer(shard.bytes)),
            ("first_ordinal", integer(shard.first_ordinal)),
            ("end_ordinal", integer(shard.end_ordinal)),
        ],
    )
}
