-- The facts of a run. Rows are only added, never updated or deleted, and no column is a status. The program computes
-- the remaining work from these facts, the config and the input.

-- Version of this layout. The program refuses to write a newer one.
CREATE TABLE IF NOT EXISTS format (version INTEGER PRIMARY KEY);

-- Every identity (config and contents) under which this directory was run; see config/identity.rs.
CREATE TABLE IF NOT EXISTS run (
    fingerprint TEXT PRIMARY KEY,
    identity TEXT NOT NULL,          -- JSON object
    input_digest TEXT NOT NULL,
    row_limit INTEGER,               -- only the first rows of the input, if set
    queries_per_shard INTEGER NOT NULL,
    settings TEXT NOT NULL,          -- TOML, for people
    policy TEXT NOT NULL             -- JSON: model, revision, preset, prompts
) STRICT;

-- Every start of the program in this directory, in order.
CREATE TABLE IF NOT EXISTS start (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    fingerprint TEXT NOT NULL REFERENCES run (fingerprint),
    started_unix_ms INTEGER NOT NULL,
    numerics TEXT                    -- family of kernels; null before format 2
) STRICT;

-- The frozen input: one row per input row. A whole input is stored in one transaction.
CREATE TABLE IF NOT EXISTS intake (
    input_digest TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    query_id TEXT,
    file TEXT NOT NULL,
    line INTEGER NOT NULL,
    source TEXT NOT NULL,
    kind TEXT,
    question TEXT,
    gold TEXT,
    choices TEXT,                    -- JSON list
    tests TEXT,                      -- JSON list
    excluded_reason TEXT,            -- set for a bad or duplicate row
    excluded_detail TEXT,
    test_imports TEXT,               -- JSON list; null before format 3
    entry_point TEXT,
    subject TEXT,                    -- from the input; null before format 4, as are the next two
    category TEXT,
    variant_of TEXT,                 -- query_id of the earliest of near texts with other answers
    extra TEXT,                      -- JSON object of the columns that input.keep names; null before format 6
    PRIMARY KEY (input_digest, ordinal)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS intake_by_query ON intake (query_id);

-- Prompts, stored once each.
CREATE TABLE IF NOT EXISTS prompt (
    sha256 TEXT PRIMARY KEY,         -- of the text, uncompressed
    text TEXT NOT NULL,              -- empty if compressed
    text_zstd BLOB                   -- the text, where compressing it helps; always null before format 4
) STRICT, WITHOUT ROWID;

-- Responses of the policy. The key covers everything that decides the text.
CREATE TABLE IF NOT EXISTS rollout (
    key TEXT PRIMARY KEY,
    query_id TEXT NOT NULL,          -- the query it was sampled for first
    mode TEXT NOT NULL,
    sample_index INTEGER NOT NULL,
    seed INTEGER NOT NULL,
    prompt_sha256 TEXT NOT NULL REFERENCES prompt (sha256),
    prefill TEXT NOT NULL,
    text TEXT NOT NULL,              -- empty if compressed
    finish_reason TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    recorded_unix_ms INTEGER NOT NULL,
    forced_close TEXT,               -- why the preset closed the thinking, if it did
    logprob_sum REAL,                -- over the sampled tokens; null before format 2
    observed_mode TEXT,              -- as the recording version parsed it; shards parse it again
    text_zstd BLOB,                  -- the text, where compressing it helps; always null before format 4
    length_estimated INTEGER         -- 1 where completion_tokens is an estimate; null before format 6
) STRICT;

CREATE INDEX IF NOT EXISTS rollout_by_query ON rollout (query_id);
-- For the sums of `status`, which then read no text.
CREATE INDEX IF NOT EXISTS rollout_by_time ON rollout (recorded_unix_ms, mode, completion_tokens);

-- Replies of servers, byte for byte: the one behind a response (attempt 0), or one to an attempt that gave no response.
CREATE TABLE IF NOT EXISTS rollout_reply (
    rollout_key TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    reader INTEGER NOT NULL,         -- version of the reader that parsed it first
    text TEXT NOT NULL,              -- empty if compressed
    text_zstd BLOB,
    PRIMARY KEY (rollout_key, attempt)
) STRICT;                            -- with rowid: bodies are appended, only their keys are sorted in

-- Failed attempts over HTTP at a response. An attempt that never left this machine is not recorded.
CREATE TABLE IF NOT EXISTS rollout_failure (
    rollout_key TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    status INTEGER,
    detail TEXT NOT NULL,
    PRIMARY KEY (rollout_key, attempt)
) STRICT, WITHOUT ROWID;

-- Abandoned responses: under a curtailed budget, a response longer than this cannot change the row.
CREATE TABLE IF NOT EXISTS rollout_cut (
    rollout_key TEXT NOT NULL,
    longer_than INTEGER NOT NULL,    -- completion tokens
    PRIMARY KEY (rollout_key, longer_than)
) STRICT, WITHOUT ROWID;

-- Sources of the prompts of hosted models, so that stored responses can be found without the model.
CREATE TABLE IF NOT EXISTS prompter (
    hash TEXT PRIMARY KEY,           -- as in the policy's identity
    source TEXT NOT NULL             -- JSON: chat template, first and last token
) STRICT, WITHOUT ROWID;

-- Verdicts. The key covers the rollout, the reference answer and the verifier's version.
CREATE TABLE IF NOT EXISTS verdict (
    key TEXT PRIMARY KEY,
    rollout_key TEXT NOT NULL REFERENCES rollout (key),
    outcome TEXT NOT NULL,
    extracted TEXT,
    reason TEXT NOT NULL
) STRICT;

CREATE INDEX IF NOT EXISTS verdict_outcome ON verdict (rollout_key, outcome);
DROP INDEX IF EXISTS verdict_by_rollout; -- of formats before 4, without the outcome

-- Judge calls, stored before they are made.
CREATE TABLE IF NOT EXISTS judge_attempt (
    request_key TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    query_id TEXT NOT NULL,
    started_unix_ms INTEGER NOT NULL,
    prompt_tokens_max INTEGER,       -- the largest chargeable usage; 0 if the call is free, null before format 4
    completion_tokens_max INTEGER,
    PRIMARY KEY (request_key, attempt)
) STRICT, WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS judge_attempt_by_query ON judge_attempt (query_id);

-- Replies to judge calls, byte for byte, stored before they are parsed.
CREATE TABLE IF NOT EXISTS judge_reply (
    request_key TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    body TEXT NOT NULL,
    recorded_unix_ms INTEGER,        -- decides between peak and off-peak prices; null before format 4
    PRIMARY KEY (request_key, attempt)
) STRICT;                            -- with rowid: bodies are appended, only their keys are sorted in

-- Failed judge calls.
CREATE TABLE IF NOT EXISTS judge_failure (
    request_key TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    status INTEGER,
    detail TEXT NOT NULL,
    PRIMARY KEY (request_key, attempt)
) STRICT, WITHOUT ROWID;

-- Batches of judge calls, stored before they are sent to the provider.
CREATE TABLE IF NOT EXISTS judge_batch (
    batch_key TEXT PRIMARY KEY,      -- hash of its items; sent to the provider as file name and metadata
    base_url TEXT NOT NULL,
    requests INTEGER NOT NULL,
    begun_unix_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The attempts in a batch.
CREATE TABLE IF NOT EXISTS judge_batch_item (
    request_key TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    batch_key TEXT NOT NULL REFERENCES judge_batch (batch_key),
    PRIMARY KEY (request_key, attempt)
) STRICT, WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS judge_batch_item_by_batch ON judge_batch_item (batch_key);

-- The steps of a batch: `uploaded` (the id of its file), `created` (the provider's id), `ended` (its last status, once
-- all its results are stored).
CREATE TABLE IF NOT EXISTS judge_batch_step (
    batch_key TEXT NOT NULL REFERENCES judge_batch (batch_key),
    step TEXT NOT NULL,
    value TEXT NOT NULL,
    recorded_unix_ms INTEGER NOT NULL,
    PRIMARY KEY (batch_key, step)
) STRICT, WITHOUT ROWID;

-- Failed attempts at a response or a judge reply that no longer count, because `--retry-failed` cleared them: the
-- attempts at this key up to this number.
CREATE TABLE IF NOT EXISTS forgiven (
    round INTEGER NOT NULL,          -- 1-based; each round publishes the shards again
    key TEXT NOT NULL,               -- of rollout_failure or judge_attempt
    attempt INTEGER NOT NULL,
    PRIMARY KEY (key, attempt)
) STRICT, WITHOUT ROWID;

-- Request keys that a side's servers refused, in the order in which they were recorded; since format 6. Later requests
-- leave the keys out, and the addresses of responses follow from the keys that are left out.
CREATE TABLE IF NOT EXISTS server_refusal (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    side TEXT NOT NULL,              -- `policy` or `judge`
    base_url TEXT NOT NULL,          -- of the first server
    model TEXT NOT NULL,
    key TEXT NOT NULL,
    words TEXT NOT NULL,             -- the server's first words
    recorded_unix_ms INTEGER NOT NULL,
    UNIQUE (side, base_url, model, key)
) STRICT;

-- Files, recorded before they are published. They explain files that an interrupted start left without a row in shard.
CREATE TABLE IF NOT EXISTS shard_begun (
    fingerprint TEXT NOT NULL REFERENCES run (fingerprint),
    table_name TEXT NOT NULL,
    shard_index INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    file_name TEXT NOT NULL,
    rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    first_ordinal INTEGER NOT NULL,
    end_ordinal INTEGER NOT NULL,    -- exclusive
    PRIMARY KEY (fingerprint, table_name, shard_index, sha256)
) STRICT, WITHOUT ROWID;

-- Published files. A row is added only after its file is durable.
CREATE TABLE IF NOT EXISTS shard (
    fingerprint TEXT NOT NULL REFERENCES run (fingerprint),
    table_name TEXT NOT NULL,
    shard_index INTEGER NOT NULL,
    file_name TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    first_ordinal INTEGER NOT NULL,
    end_ordinal INTEGER NOT NULL,    -- exclusive
    PRIMARY KEY (fingerprint, table_name, shard_index)
) STRICT, WITHOUT ROWID;
