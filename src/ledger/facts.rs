//! The facts that the ledger stores, and the records that it returns.

use crate::domain::{
    AttemptOutcome, Exclusion, Mode, Query, QueryId, RawReply, Rollout, RolloutKey, Verdict, stable_names,
};

/// A fact to be stored.
#[derive(Debug, Clone)]
pub enum Fact {
    /// A configuration under which the directory is run.
    Run(RunRecord),
    /// A start of the program.
    Start {
        /// Fingerprint of the run.
        fingerprint: String,
        /// The family of kernels that this start samples with.
        numerics: String,
    },
    /// A response.
    Rollout {
        /// The query it answers.
        query_id: QueryId,
        /// The response.
        rollout: Rollout,
        /// The mode that the response shows.
        observed_mode: Mode,
    },
    /// The reply of a server to an attempt that gave no response. The reply behind a response is stored with the
    /// response.
    RolloutReply {
        /// The response.
        rollout_key: RolloutKey,
        /// 1-based.
        attempt: u32,
        /// The reply.
        reply: RawReply,
    },
    /// A failed attempt at a response.
    RolloutFailure {
        /// The response.
        rollout_key: RolloutKey,
        /// The failure.
        failure: RolloutFailure,
    },
    /// A response that was abandoned because it is too long to change the row.
    RolloutCut {
        /// The response.
        rollout_key: RolloutKey,
        /// The response has more completion tokens than this.
        longer_than: u32,
    },
    /// The source of a hosted model's prompts.
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
    /// A judge call, stored before it is made.
    JudgeAttempt {
        /// Content address of the request.
        request_key: String,
        /// 1-based.
        attempt: u32,
        /// The query that the call is about.
        query_id: QueryId,
        /// The largest usage that the call can be charged for.
        size: CallSize,
    },
    /// Judge calls that go to a batch API together, stored before they are sent.
    JudgeBatch {
        /// Hash of the items.
        batch_key: String,
        /// The address of the API.
        base_url: String,
        /// Request keys and attempts.
        items: Vec<(String, u32)>,
    },
    /// A step of a batch.
    JudgeBatchStep {
        /// Hash of the batch's items.
        batch_key: String,
        /// The step.
        step: BatchStep,
        /// The provider's id of the file or of the batch; for the last step, the last status.
        value: String,
    },
    /// The reply to a judge call.
    JudgeReply {
        /// Content address of the request.
        request_key: String,
        /// 1-based.
        attempt: u32,
        /// The body as it was received.
        body: String,
    },
    /// A failed judge call.
    JudgeFailure {
        /// Content address of the request.
        request_key: String,
        /// 1-based.
        attempt: u32,
        /// The outcome.
        outcome: AttemptOutcome,
        /// HTTP status, if there was one.
        status: Option<u16>,
        /// One line without secrets.
        detail: String,
    },
    /// Attempts that no longer count.
    Forgiven {
        /// 1-based number of the round of `--retry-failed`.
        round: u32,
        /// Content address of the response, or of the judge request.
        key: String,
        /// The latest attempt that no longer counts.
        attempt: u32,
    },
    /// A request key that a server refused.
    ServerRefusal(ServerRefusal),
    /// A file, recorded before it is published.
    ShardBegun(ShardRecord),
    /// A published file.
    Shard(ShardRecord),
}

/// The largest usage that a judge call can be charged for; zero if the call is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallSize {
    /// Tokens of the prompt.
    pub prompt_tokens_max: u64,
    /// Tokens of the reply.
    pub completion_tokens_max: u64,
}

/// A step of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BatchStep {
    /// The provider has the batch's file.
    Uploaded,
    /// The provider has created the batch.
    Created,
    /// Every result of the batch is stored.
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
    /// Digest of the intake that the run reads.
    pub input_digest: String,
    /// Number of input rows that the run takes, if limited.
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
    /// Number of rows.
    pub rows: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// First input row of the shard.
    pub first_ordinal: u64,
    /// One past the last input row of the shard.
    pub end_ordinal: u64,
}

/// A request key that a server refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerRefusal {
    /// `policy` or `judge`.
    pub side: &'static str,
    /// The address of the first server.
    pub base_url: String,
    /// The requested model.
    pub model: String,
    /// The key.
    pub key: String,
    /// The server's words, one line.
    pub words: String,
}

/// A failed attempt at a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutFailure {
    /// 1-based.
    pub attempt: u32,
    /// The outcome.
    pub outcome: AttemptOutcome,
    /// HTTP status, if there was one.
    pub status: Option<u16>,
    /// One line without secrets.
    pub detail: String,
}

/// One frozen input row.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "nearly all rows are queries")]
pub enum IntakeRow {
    /// A query.
    Query(Query),
    /// A row that is not a query, or a duplicate.
    Excluded(Exclusion),
}

/// One judge attempt with its outcome, if known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRecord {
    /// 1-based.
    pub attempt: u32,
    /// The body of the reply, if there is one.
    pub reply: Option<String>,
    /// Outcome, status and detail, if it failed.
    pub failure: Option<(AttemptOutcome, Option<u16>, String)>,
    /// Whether the attempt no longer counts.
    pub is_forgiven: bool,
}
