//! The facts.

use crate::domain::{
    AttemptOutcome, Exclusion, Mode, Query, QueryId, RawReply, Rollout, RolloutKey, Verdict, stable_names,
};

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
    /// What a server sent in an attempt at a response that brought none; that of the response itself is stored with it.
    RolloutReply {
        /// The response.
        rollout_key: RolloutKey,
        /// 1-based.
        attempt: u32,
        /// The reply.
        reply: RawReply,
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
    /// Attempts that count no more.
    Forgiven {
        /// 1-based number of the round in which everything that failed was asked for again.
        round: u32,
        /// Content address of the response, or of the judge's request.
        key: String,
        /// The latest of the attempts.
        attempt: u32,
    },
    /// A server refused a key of a request's body.
    ServerRefusal(ServerRefusal),
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

/// A key of a request's body that a server refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerRefusal {
    /// `policy` or `judge`.
    pub side: &'static str,
    /// Where its servers are: the first address.
    pub base_url: String,
    /// The model that was asked for.
    pub model: String,
    /// The key.
    pub key: String,
    /// What the server said, one line.
    pub words: String,
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
#[allow(clippy::large_enum_variant, reason = "nearly all rows are queries")]
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
    /// Outcome, status and detail, if it failed.
    pub failure: Option<(AttemptOutcome, Option<u16>, String)>,
    /// Whether it counts no more.
    pub is_forgiven: bool,
}
