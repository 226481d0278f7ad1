//! All bounds of the pipeline (I7). The bounds of other rooms are in their own modules: the engine's mailbox and
//! waiting queue hold two sequences per slot, the ledger's queue 256 commits.

use std::time::Duration;

use crate::config::{BatchSettings, BudgetPolicy, JudgeBackend, PolicyBackend, Settings, Transport};

/// Input rows read from the ledger at a time.
pub(super) const INTAKE_PAGE_ROWS: u64 = 64;

/// How long running sequences may continue after a request to stop.
const DRAIN_DEADLINE: Duration = Duration::from_secs(20);

/// How long calls to servers may continue after a request to stop. Their replies may be paid for.
const DRAIN_DEADLINE_HTTP: Duration = Duration::from_secs(60);

/// How long the local model's responses may continue after the judge refused the account.
pub(super) const REFUSED_GRACE: Duration = Duration::from_millis(500);

/// Returns the largest number of concurrent reads of the ledger: enough that some wait for the disk while others
/// compute, and that queries are read while shards are closed, each of which is one long read. Each takes about 3 MB.
#[must_use]
pub(super) fn reads_max() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| 2 * cores.get()).clamp(SHARDS_CLOSING_MAX + 4, 16)
}

/// Decided queries that wait for a judge that is slower than the sampling, or unreachable. Only the queries are in
/// memory.
pub(super) const DECIDED_QUERIES_MAX: usize = 4096;

/// Time between two checks of the watchdog.
pub(super) const WATCHDOG_INTERVAL: Duration = Duration::from_secs(60);

/// Shards that are being closed at once: their last justifications are requested, and they are published.
pub(super) const SHARDS_CLOSING_MAX: usize = 4;

/// Returns how long work in progress may continue after a request to stop.
#[must_use]
pub fn drain_deadline(settings: &Settings) -> Duration {
    let is_remote = settings.policy.backend == PolicyBackend::Openai || settings.judge.backend == JudgeBackend::Openai;
    if is_remote { DRAIN_DEADLINE_HTTP } else { DRAIN_DEADLINE }
}

/// Time between two log lines of progress without a terminal.
pub const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Largest number of queries being sampled at once: enough that every slot has work while some queries wait for their
/// last samples, and not more.
#[must_use]
pub(super) fn sampling_queries_max(settings: &Settings) -> usize {
    let rollouts_per_query = match settings.sampling.budget {
        BudgetPolicy::Full => 2 * settings.sampling.samples_per_mode as usize,
        // A query's last rounds request one or two responses at a time.
        BudgetPolicy::Curtailed | BudgetPolicy::Frugal => 2,
    };
    let slots = match settings.policy.backend {
        PolicyBackend::Candle => settings.policy.slots,
        PolicyBackend::Openai => settings.policy.concurrency * settings.policy.base_urls.len().max(1),
    };
    (slots * 3).div_ceil(rollouts_per_query).max(2) + 2
}

/// Largest number of queries being judged at once.
#[must_use]
pub(super) fn judging_queries_max(settings: &Settings) -> usize {
    let BatchSettings { requests_max, under_way_max, .. } = settings.judge.batch;
    if settings.judge.backend == JudgeBackend::Openai && settings.judge.transport == Transport::Batch {
        // While the largest number of batches is in progress, the next one fills.
        return requests_max * (under_way_max + 1);
    }
    let addresses = 1 + settings.judge.more_base_urls.len();
    let calls = settings.judge.concurrency_max.max(1) * addresses;
    // Queries whose reply is being committed or parsed need no slot; the next ones are ready to take it.
    calls * 2
}
