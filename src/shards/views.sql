-- DuckDB views over the published tables.
-- Use: cd OUTPUT_DIRECTORY && duckdb -init views.sql
-- Paths are relative to the working directory; shards published later show up in the next query.

-- The training rows: one per query that has a decision.
CREATE OR REPLACE VIEW samples AS
SELECT * FROM read_parquet('data/samples/*.parquet');

-- Every response of both modes, with its verdict.
CREATE OR REPLACE VIEW rollouts AS
SELECT * FROM read_parquet('data/rollouts/*.parquet');

-- Every query that gave no sample, with its reason.
CREATE OR REPLACE VIEW exclusions AS
SELECT * FROM read_parquet('data/exclusions/*.parquet');

-- Pass rate of each query and mode, from the rollouts; excluded queries included. A response of the other mode than was
-- asked for is not counted as correct, unless the run's select.other_mode is as_verified.
CREATE OR REPLACE VIEW pass_rates AS
SELECT
    query_id,
    ordinal,
    mode,
    count(*) AS sampled,
    count(*) FILTER (WHERE verdict = 'correct' AND observed_mode = mode) AS correct,
    count(*) FILTER (WHERE verdict = 'unverifiable') AS unverifiable,
    count(*) FILTER (WHERE observed_mode <> mode) AS other_mode,
    count(*) FILTER (WHERE verdict = 'correct' AND observed_mode = mode) / count(*) AS pass_rate
FROM rollouts
GROUP BY query_id, ordinal, mode
ORDER BY ordinal, mode DESC;

-- Every query that was sampled: both pass rates, the gain of thinking (null where one mode was not sampled), and what
-- became of it.
CREATE OR REPLACE VIEW queries AS
SELECT
    query_id,
    ordinal,
    max(pass_rate) FILTER (WHERE pass_rates.mode = 'think_on') AS pass_rate_on,
    max(pass_rate) FILTER (WHERE pass_rates.mode = 'think_off') AS pass_rate_off,
    max(pass_rate) FILTER (WHERE pass_rates.mode = 'think_on')
        - max(pass_rate) FILTER (WHERE pass_rates.mode = 'think_off') AS gain,
    coalesce(any_value(samples.mode), any_value(exclusions.reason)) AS outcome,
    coalesce(any_value(samples.source), any_value(exclusions.source)) AS source,
    any_value(samples.difficulty) AS difficulty
FROM pass_rates
LEFT JOIN samples USING (query_id, ordinal)
LEFT JOIN exclusions USING (query_id, ordinal)
GROUP BY query_id, ordinal
ORDER BY ordinal;

-- The judge's usage over all starts: calls, tokens, money; spend_usd is null where prices are unknown.
CREATE OR REPLACE VIEW spend AS
SELECT *, spend_usd / nullif((SELECT count(*) FROM samples), 0) AS usd_per_sample
FROM read_json('spend.json', columns = {
    attempts: 'BIGINT', replies: 'BIGINT', failures: 'BIGINT', prompt_tokens: 'BIGINT',
    cache_hit_tokens: 'BIGINT', completion_tokens: 'BIGINT', spend_usd: 'DOUBLE'
});

-- Excluded queries by reason.
CREATE OR REPLACE VIEW reasons AS
SELECT
    reason,
    count(*) AS queries,
    count(*) / sum(count(*)) OVER () AS share,
    min(detail) AS example
FROM exclusions
GROUP BY reason
ORDER BY queries DESC, reason;

-- Response lengths in tokens, by mode and verdict.
CREATE OR REPLACE VIEW lengths AS
SELECT
    mode,
    verdict,
    count(*) AS responses,
    min(completion_tokens) AS tokens_min,
    avg(completion_tokens) AS tokens_mean,
    quantile_cont(completion_tokens, 0.5) AS tokens_median,
    quantile_cont(completion_tokens, 0.95) AS tokens_p95,
    max(completion_tokens) AS tokens_max,
    count(*) FILTER (WHERE finish_reason = 'length') AS cut_off,
    count(*) FILTER (WHERE forced_close = 'token_limit') AS thoughts_cut_off
FROM rollouts
GROUP BY mode, verdict
ORDER BY mode DESC, verdict;

-- The observed against the requested mode of responses, and the model's confidence in its tokens.
CREATE OR REPLACE VIEW observed AS
SELECT
    mode,
    observed_mode,
    forced_close,
    count(*) AS responses,
    count(*) FILTER (WHERE verdict = 'correct') / count(*) AS pass_rate,
    sum(logprob_sum) / nullif(sum(completion_tokens), 0) AS logprob_per_token
FROM rollouts
GROUP BY mode, observed_mode, forced_close
ORDER BY mode DESC, observed_mode DESC, forced_close;

-- Think rate, the share of samples in Think-on, by source and difficulty; mean pass rates over the queries of which the
-- mode was sampled.
CREATE OR REPLACE VIEW modes AS
SELECT
    source,
    difficulty,
    count(*) AS samples,
    count(*) FILTER (WHERE mode = 'think_on') AS think_on,
    count(*) FILTER (WHERE mode = 'think_on') / count(*) AS think_rate,
    avg(pass_rate_on) FILTER (WHERE sampled_on > 0) AS pass_rate_on,
    avg(pass_rate_off) FILTER (WHERE sampled_off > 0) AS pass_rate_off
FROM samples
GROUP BY source, difficulty
ORDER BY source, difficulty;
