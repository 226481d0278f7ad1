//! The facts, and how each is inserted: once, or found to be there already with the same content.

use rusqlite::Connection;
use rusqlite::types::Value;
use sha2::{Digest, Sha256};

use super::insert::{InsertError, insert_once, integer, optional, text};
use super::texts;
use crate::domain::{AttemptOutcome, Exclusion, Mode, Query, QueryId, Rollout, RolloutKey, Verdict, stable_names};

/// A fact to be added.
#[derive(Debug, Clone)]
pub enum Fact {
    /// A configuration under which the directory is run.
    Run(RunRecord),
    /// A start of the program.
    Start {
        /// Fingerprint of the run.
        fingerprint: String,
        /// The family of kernels that samples from now on.
        numerics: String,
    },
    /// A response.
    Rollout {
        /// The query it answers.
        query_id: QueryId,
        /// The response.
        rollout: Rollout,
        /// The mode that it shows.
        observed_mode: Mode,
    },
    /// An attempt at a response that brought none.
    RolloutFailure {
        /// The response.
        rollout_key: RolloutKey,
        /// How it failed.
        failure: RolloutFailure,
    },
    /// A response that was given up because it is too long to matter.
    RolloutCut {
        /// The response.
        rollout_key: RolloutKey,
        /// It has more completion tokens than this.
        longer_than: u32,
    },
    /// What the prompts of a hosted model are made of.
    Prompter {
        /// The hash in the policy's identity.
        hash: String,
        /// JSON.
        source: String,
    },
    /// A verdict on a response.
    Verdict {
        /// Content address of the judgement.
        key: String,
        /// The response.
        rollout_key: RolloutKey,
        /// The verdict.
        verdict: Verdict,
    },
    /// A judge call that is about to be made.
    JudgeAttempt {
        /// Content address of the request.
        request_key: String,
        /// 1-based.
        attempt: u32,
        /// The query it is about.
        query_id: QueryId,
        /// The most that it can be charged for.
        size: CallSize,
    },
    /// Judge calls that are about to be handed to a batch API together.
    JudgeBatch {
        /// Hash of what it holds.
        batch_key: String,
        /// Where the API is.
        base_url: String,
        /// Request keys and attempts.
        items: Vec<(String, u32)>,
    },
    /// A batch came further.
    JudgeBatchStep {
        /// Hash of what it holds.
        batch_key: String,
        /// How far.
        step: BatchStep,
        /// The provider's id of its file or of the batch; the last status.
        value: String,
    },
    /// What a judge call brought.
    JudgeReply {
        /// Content address of the request.
        request_key: String,
        /// 1-based.
        attempt: u32,
        /// The body as it came.
        body: String,
    },
    /// How a judge call failed.
    JudgeFailure {
        /// Content address of the request.
        request_key: String,
        /// 1-based.
        attempt: u32,
        /// How.
        outcome: AttemptOutcome,
        /// HTTP status, if there was one.
        status: Option<u16>,
        /// One line, no secrets.
        detail: String,
    },
    /// A file that is about to be published.
    ShardBegun(ShardRecord),
    /// A published file.
    Shard(ShardRecord),
}

/// The most that a judge call can be charged for; nothing if it is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallSize {
    /// Tokens of the prompt.
    pub prompt_tokens_max: u64,
    /// Tokens of the reply.
    pub completion_tokens_max: u64,
}

/// How far a batch came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BatchStep {
    /// The provider has its file.
    Uploaded,
    /// The provider works on it.
    Created,
    /// Everything that it brought is stored.
    Ended,
}

stable_names!(BatchStep { Uploaded => "uploaded", Created => "created", Ended => "ended" });

/// A configuration under which a directory was run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRecord {
    /// Hash of the identity.
    pub fingerprint: String,
    /// The identity (JSON object).
    pub identity: String,
    /// Which intake it reads.
    pub input_digest: String,
    /// How many rows of the input it takes, if not all.
    pub row_limit: Option<u64>,
    /// Input rows per shard.
    pub queries_per_shard: u64,
    /// The settings (TOML).
    pub settings: String,
    /// The policy's identity (JSON object).
    pub policy: String,
}

/// A published file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardRecord {
    /// Fingerprint of the run that published it.
    pub fingerprint: String,
    /// `samples`, `rollouts` or `exclusions`.
    pub table: String,
    /// 0-based index.
    pub index: u64,
    /// Path under the output directory, with `/`.
    pub file_name: String,
    /// SHA-256 of the bytes, in hex.
    pub sha256: String,
    /// Rows in it.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// First input row it covers.
    pub first_ordinal: u64,
    /// Input row after the last it covers.
    pub end_ordinal: u64,
}

/// How an attempt at a response failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutFailure {
    /// 1-based.
    pub attempt: u32,
    /// How.
    pub outcome: AttemptOutcome,
    /// HTTP status, if there was one.
    pub status: Option<u16>,
    /// One line, no secrets.
    pub detail: String,
}

/// One frozen input row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntakeRow {
    /// A query.
    Query(Query),
    /// A row that is none, or a duplicate.
    Excluded(Exclusion),
}

/// One judge attempt with what is known of its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRecord {
    /// 1-based.
    pub attempt: u32,
    /// The body, if a reply came.
    pub reply: Option<String>,
    /// Outcome and status, if it failed.
    pub failure: Option<(AttemptOutcome, Option<u16>)>,
}

impl Fact {
    /// Adds the fact in the open transaction, as recorded at `now_ms`.
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
            // It is there: its key is all that is compared.
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

/// Adds the attempt as most are: as something new. There is one for every call, and comparing costs more than adding.
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

/// Adds the reply as most are: as something new.
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
    let prompt_sha256 = hex::encode(Sha256::digest(rollout.prompt.as_bytes()));
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
        ],
    )
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
