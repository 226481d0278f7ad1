//! The dry run: samples a few queries in a temporary directory, and extrapolates.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::FutureExt;
use futures::future::join_all;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::actors::Actors;
use super::attempts::{Earlier, SampleStop, Sampled};
use super::context::Context;
use super::error::RunError;
use super::identity::Run;
use super::limits::INTAKE_PAGE_ROWS;
use super::opening::open_api_judge;
use super::options::RunOptions;
use super::plan::gold_value;
use crate::config::{JudgeBackend, Settings, Transport};
use crate::domain::{Query, Rollout, RolloutKey};
use crate::http::retry::hint;
use crate::judge::cost::{Usage, Way, cost_max_usd};
use crate::judge::prompt::JudgeCase;
use crate::ledger::{IntakeRow, Reader};
use crate::policy::{PolicyError, RolloutTask};
use crate::sys::files::temporary_dir;

/// Queries that are sampled.
const PROBE_QUERIES: usize = 4;

/// Assumed tokens of a justification (three sentences) before any was measured.
pub(super) const JUSTIFICATION_TOKENS: u64 = 90;

/// The expected cost of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Forecast {
    /// Input rows that are queries.
    pub queries: u64,
    /// Queries that were sampled for this forecast.
    pub probed_queries: usize,
    /// Responses of the whole run.
    pub rollouts: u64,
    /// Mean completion tokens of the probed responses, by mode.
    pub mean_tokens_on: f64,
    /// Mean completion tokens of the probed responses, by mode.
    pub mean_tokens_off: f64,
    /// Completion tokens of the whole run.
    pub completion_tokens: f64,
    /// Completion tokens per second of the probes; a long run with full slots is faster.
    pub tokens_per_second: f64,
    /// Seconds of sampling.
    pub sampling_s: f64,
    /// Judge calls, at most one per query.
    pub judge_calls: u64,
    /// Prompt tokens of one judge call, counted by the policy's own tokenizer, or estimated if the policy is behind
    /// HTTP.
    pub judge_prompt_tokens: u64,
    /// Cost in USD; absent if a price is unknown; 0 for a local judge.
    pub judge_usd: Option<f64>,
}

/// Samples some queries in a temporary directory and extrapolates. Makes no judge call.
///
/// # Errors
/// The errors of [`Context::open`] and of the policy.
pub async fn forecast(mut options: RunOptions, stop: CancellationToken) -> Result<Forecast, RunError> {
    // Rejects an unusable judge, although the forecast does not call it.
    if options.config.settings.judge.backend == JudgeBackend::Openai {
        open_api_judge(&options.config.settings.judge)?;
    }
    let folder = temporary_dir()?;
    options.out_dir = folder.path().to_owned();
    let context = tokio::task::spawn_blocking(move || Context::open(options, stop));
    let context = Arc::new(context.await.map_err(|error| RunError::Internal(error.to_string()))??);
    let (count, probes) = context.read(|context, reader| choose_probes(&context.run, reader)).await?;
    let started = tokio::time::Instant::now();
    let (mut lengths_on, mut lengths_off) = (Vec::new(), Vec::new());
    let mut tasks = Vec::new();
    let is_too_long =
        |task: &RolloutTask| context.actors.policy.check_fit(task).is_err_and(|error| error.is_too_long());
    for query in &probes {
        let both = context.actors.policy.tasks(query).map_err(PolicyError::from)?;
        // A run excludes such a query.
        if both.on.first().into_iter().chain(both.off.first()).any(is_too_long) {
            continue;
        }
        tasks.extend(both.on.into_iter().chain(both.off).map(|task| (query, task)));
    }
    for rollout in join_all(tasks.iter().map(|(query, task)| sample(&context, query, task))).await {
        let rollout = rollout?;
        let lengths = if rollout.mode == crate::domain::Mode::ThinkOn { &mut lengths_on } else { &mut lengths_off };
        lengths.push(f64::from(rollout.completion_tokens));
    }
    let elapsed_s = started.elapsed().as_secs_f64().max(1e-3);
    let sampled = context.actors.policy.stats().sampled_tokens.load(Ordering::Relaxed) as f64;
    let judge_prompt_tokens = match probes.first() {
        Some(query) => judge_prompt_tokens(&context.actors, query)?,
        None => 0,
    };
    let mean = |lengths: &[f64]| lengths.iter().sum::<f64>() / lengths.len().max(1) as f64;
    let (mean_tokens_on, mean_tokens_off) = (mean(&lengths_on), mean(&lengths_off));
    let samples = f64::from(context.run.settings.sampling.samples_per_mode);
    let completion_tokens = count as f64 * samples * (mean_tokens_on + mean_tokens_off);
    let tokens_per_second = sampled / elapsed_s;
    let judge_calls = if context.run.settings.judge.backend == JudgeBackend::None { 0 } else { count };
    Ok(Forecast {
        queries: count,
        probed_queries: probes.len(),
        rollouts: count * 2 * u64::from(context.run.settings.sampling.samples_per_mode),
        mean_tokens_on,
        mean_tokens_off,
        completion_tokens,
        tokens_per_second,
        sampling_s: completion_tokens / tokens_per_second.max(1e-3),
        judge_calls,
        judge_prompt_tokens,
        judge_usd: judge_usd(&context.run.settings, judge_calls, judge_prompt_tokens),
    })
}

/// Returns the number of queries, and some of them, spread over the input: its beginning may be its easy part.
fn choose_probes(run: &Run, reader: &Reader) -> Result<(u64, Vec<Query>), RunError> {
    let digest = &run.record.input_digest;
    let count = run.rows - reader.intake_exclusions(digest, run.rows)?;
    let mut probes: Vec<Query> = Vec::new();
    let mut start = 0;
    for turn in 0..PROBE_QUERIES as u64 {
        start = start.max(run.rows * turn / PROBE_QUERIES as u64);
        while start < run.rows && probes.len() as u64 <= turn {
            let end = (start + INTAKE_PAGE_ROWS).min(run.rows);
            for row in reader.intake(digest, start, end)? {
                start += 1;
                if let IntakeRow::Query(query) = row {
                    probes.push(query);
                    break;
                }
            }
        }
    }
    Ok((count, probes))
}

/// Samples one response, with the retries of a run.
async fn sample(context: &Context, query: &Query, task: &RolloutTask) -> Result<Rollout, RunError> {
    // The forecast stores nothing.
    let record = |_: &RolloutKey, _, _| async { Ok(()) }.boxed();
    // Whatever the status was, the account is not at fault.
    let failed = |message| RunError::PolicyServer { status: None, message, hint: hint(Some(500)).to_owned() };
    match context.caller().sample(&query.id, task, Earlier::default(), &record).await {
        Ok(Sampled::Response(rollout)) => Ok(*rollout),
        Ok(Sampled::GivenUp(detail)) => Err(failed(detail)),
        Ok(Sampled::TooLong) => Err(RunError::Stopped),
        Err(SampleStop::Suspect) => Err(failed("the servers fail repeatedly".to_owned())),
        Err(SampleStop::Run(error)) => Err(error),
    }
}

pub(super) fn judge_prompt_tokens(actors: &Actors, query: &Query) -> Result<u64, RunError> {
    let question = query.user_text();
    let gold = gold_value(query.kind, &query.gold);
    let case = JudgeCase {
        question: &question,
        gold: &gold,
        choices: &query.choices,
        mode: crate::domain::Mode::ThinkOff,
        reason: crate::domain::ModeReason::Tie,
        thinking: None,
        answer: &query.gold,
    };
    let Some(judge) = &actors.judge else { return Ok(0) };
    let messages = judge.messages(&case).map_err(|error| RunError::Internal(error.to_string()))?;
    Ok(actors.policy.count_tokens(&messages)?)
}

fn judge_usd(settings: &Settings, calls: u64, prompt_tokens: u64) -> Option<f64> {
    if settings.judge.backend != JudgeBackend::Openai {
        return Some(0.0);
    }
    let usage = Usage {
        prompt_tokens: calls * prompt_tokens,
        cache_hit_tokens: None,
        completion_tokens: calls * JUSTIFICATION_TOKENS,
    };
    let way = if settings.judge.transport == Transport::Batch { Way::Batch } else { Way::Call };
    cost_max_usd(&usage, &settings.judge.prices_usd_per_mtok, way)
}

impl Forecast {
    /// Returns the forecast as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        format!("{}\n", serde_json::to_string_pretty(self).unwrap_or_default())
    }

    /// Returns the forecast for display.
    #[must_use]
    pub fn to_text(&self) -> String {
        let money = match self.judge_usd {
            None => "unknown: set judge.prices_usd_per_mtok".to_owned(),
            Some(0.0) => "none".to_owned(),
            Some(usd) => {
                format!("about ${usd:.2} (no cache hits, peak prices, {JUSTIFICATION_TOKENS} tokens per reply assumed)")
            }
        };
        format!(
            "forecast from {} of {} queries, sampled now and discarded:\n\
             rollouts    {}\n\
             tokens      {:.0} (think-on {:.0}, think-off {:.0} per response)\n\
             sampling    {:.0} s at {:.0} tokens per second\n\
             judge       up to {} calls of about {} prompt tokens\n\
             money       {money}\n",
            self.probed_queries,
            self.queries,
            self.rollouts,
            self.completion_tokens,
            self.mean_tokens_on,
            self.mean_tokens_off,
            self.sampling_s,
            self.tokens_per_second,
            self.judge_calls,
            self.judge_prompt_tokens,
        )
    }
}
