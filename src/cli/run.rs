//! `thinkloom run`

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;

use super::args::ConfigArgs;
use super::deadline::Deadline;
use super::display::{Display, duration, percent};
use super::failure::{Failure, print};
use super::stopping::Stopping;
use super::{models, publish, rows};
use crate::config::PolicySettings;
use crate::pipeline::standing::Resumption;
use crate::pipeline::{
    self, ChangePolicy, Context, LOG_INTERVAL, Retried, RunError, RunOptions, Summary, forecast, memory,
    publish_settled, refuse_foreign, standing,
};
use crate::policy::Policy;
use crate::sys::clock::unix_ms;
use crate::sys::memory::bound_arenas;
use crate::telemetry::print_line;

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: thinkloom run -c thinkloom.toml -o out --limit 100 --set sampling.samples_per_mode=4\n\
                  Guide: thinkloom help config, data, judge, servers, selection, recovery"
)]
pub(super) struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The output directory; default: output.dir of the config.
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Use only the first N rows of the input.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Stop, resumably (exit code 3), after a duration (2h30m) or at a time (2026-11-26T06:00:00Z).
    #[arg(long, value_name = "WHEN")]
    deadline: Option<Deadline>,
    /// Print the queries that the first input rows become, sample a few queries, and forecast tokens, time and money.
    /// The dry run stores nothing.
    #[arg(long)]
    dry_run: bool,
    /// Continue although a setting, the input, the model or a prompt has changed since the last run of the directory.
    #[arg(long)]
    reconfigure: bool,
    /// Repeat all failed requests: queries that exhausted their attempts at the policy or the judge, were rejected, or
    /// coincided with outages.
    #[arg(long, conflicts_with = "dry_run")]
    retry_failed: bool,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
}

/// How a run reacts to a request to stop.
const FINISHED: &str = "finishing and storing the responses and calls in flight";

/// Runs the command.
pub(super) fn run(args: &RunArgs) -> Result<(), Failure> {
    bound_arenas();
    let stopping = Stopping::watch(args.deadline.map(|deadline| deadline.wait(unix_ms())))?;
    let config = args.config.load()?;
    let out_dir = args.output.clone().unwrap_or_else(|| config.dir.join(&config.settings.output.dir));
    let changes = if args.reconfigure { ChangePolicy::Redo } else { ChangePolicy::Refuse };
    let (hub, on_download) = (models::hub_settings(), models::on_download());
    // Before anything is read or written, so that a foreign directory stays unchanged.
    refuse_foreign(&out_dir)?;
    let options = RunOptions { config, out_dir, row_limit: args.limit, changes, hub, on_download };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build().map_err(Failure::other)?;
    let result = runtime.block_on(work(args, options, &stopping));
    // Abandoned work ends with the process.
    runtime.shutdown_background();
    result
}

async fn work(args: &RunArgs, options: RunOptions, stopping: &Stopping) -> Result<(), Failure> {
    let stop = stopping.token();
    if args.dry_run {
        let rows = rows::of_config(&options.config).map_err(RunError::from)?;
        if !args.json {
            print(&format!("{}\n", rows.join("\n")))?;
        }
        let forecast = tokio::select! {
            biased;
            forecast = forecast::forecast(options, stop) => forecast?,
            () = stopping.is_given_up() => return Err(RunError::Stopped.into()),
        };
        return print(&if args.json { forecast.to_json() } else { forecast.to_text() });
    }
    let opened = stopping.unless_stopped(move || Ok(Context::open(options, stop)?)).await;
    if let (true, Err(Failure::Run(RunError::Changed(report)))) = (args.json, &opened) {
        print(&format!("{:#}\n", serde_json::json!(**report)))?;
    }
    let mut context = Arc::new(opened?);
    if args.retry_failed {
        retry_failed(&mut context).await?;
    }
    // After this time a run ends by itself and keeps everything received.
    stopping.finishes(FINISHED, Some(pipeline::drain_deadline(&context.run.settings)), PUBLISH_AT_STOP_MAX);
    let started = tokio::time::Instant::now();
    let summary = match run_with_display(&context).await {
        Ok(summary) => summary,
        Err(error) => {
            if error.exit_code() == STOPPED {
                publish_at_stop(&context).await;
            }
            return Err(error.into());
        }
    };
    warn_of_strangers(&context)?;
    print(&if args.json {
        to_json(&context, &summary)
    } else {
        to_text(&context, &summary, started.elapsed().as_secs_f64())
    })?;
    if summary.error_exclusions > 0 { Err(Failure::Code(4)) } else { Ok(()) }
}

async fn retry_failed(context: &mut Arc<Context>) -> Result<(), RunError> {
    match pipeline::retry_failed(context).await? {
        Retried { of_policy: 0, of_judge: 0 } => tracing::info!("no failed requests to repeat"),
        Retried { of_policy, of_judge } => {
            tracing::info!(
                "repeating failed requests of {of_policy} queries at the policy, of {of_judge} at the \
                            judge"
            );
        }
    }
    Ok(())
}

/// The exit code of a stopped, resumable run.
const STOPPED: u8 = 3;
/// The most time for publishing settled queries after a stop; `thinkloom publish` has no such limit.
const PUBLISH_AT_STOP_MAX: Duration = Duration::from_secs(20);

/// Publishes the settled queries, and prints the progress and the next commands. A failure here is only logged, so that
/// it does not hide why the run ended; the next start reports it again.
async fn publish_at_stop(context: &Arc<Context>) {
    match publish_settled(context, PUBLISH_AT_STOP_MAX).await {
        Ok(publication) => {
            let dir = context.run.dir.display().to_string();
            print_line(&publish::to_text(&publication, context.run.rows, &dir));
            print_line(&format!(
                "next: run the same command to continue; `thinkloom view {dir}` and `thinkloom export {dir}` work on \
                 the results so far"
            ));
        }
        Err(error) => tracing::warn!("cannot publish the settled queries: {error}"),
    }
}

async fn run_with_display(context: &Arc<Context>) -> Result<Summary, RunError> {
    tracing::info!("{} input rows, output in {}", context.run.rows, context.run.dir.display());
    let Resumption { settled, is_exact } = context.read(standing::resumption).await?;
    if settled > 0 {
        let more = if is_exact { "" } else { " or more" };
        tracing::info!("resumed at {settled} of {} queries{more}", context.run.rows);
        context.progress.resume_at(settled);
    }
    let settings = &context.run.settings;
    let model = &context.actors.policy.identity().model;
    match &context.actors.policy {
        Policy::Candle(policy) => {
            let (engine, positions) = (policy.engine().description(), policy.engine().config().context);
            tracing::info!("{model}: {}", memory::describe(&engine, &settings.policy, positions));
            tracing::info!("{}", memory::describe_kv(&engine, &settings.sampling, positions));
        }
        // Without sampling there is no device to report.
        Policy::Stored(_) => {}
        Policy::OpenAi(_) => {
            let PolicySettings { base_urls, concurrency, .. } = &settings.policy;
            tracing::info!("{model}: at {}, up to {concurrency} calls in flight to each", base_urls.join(", "));
        }
        #[cfg(feature = "testing")]
        Policy::Scripted(_) => {}
    }
    let display = Display::new(context.run.rows);
    let mut tick = tokio::time::interval(display.interval(LOG_INTERVAL));
    let run = pipeline::run(context);
    let mut run = std::pin::pin!(run);
    // The first tick is immediate and has nothing to show.
    tick.tick().await;
    loop {
        tokio::select! {
            result = &mut run => return result,
            _ = tick.tick() => {
                context.progress.set_notice(context.actors.notice());
                display.update(&context.progress.snapshot(context.actors.policy.stats()));
            }
        }
    }
}

/// Reports files under `data/` that are not in the ledger: programs that read all shards would read them too.
fn warn_of_strangers(context: &Context) -> Result<(), RunError> {
    for name in pipeline::strangers(&context.run.dir, &context.stores.ledger.reader()?)? {
        tracing::warn!(
            "no run wrote {name}; the file stays (hint: move the file away; programs that read all shards \
                        would read it)"
        );
    }
    Ok(())
}

fn preemptions(context: &Context) -> u64 {
    context.actors.policy.stats().preemptions.load(Ordering::Relaxed)
}

fn to_json(context: &Context, summary: &Summary) -> String {
    let json = serde_json::json!({
        "counts": summary.counts,
        "error_exclusions": summary.error_exclusions,
        "error_words": summary.words,
        "preemptions": preemptions(context),
    });
    format!("{json:#}\n")
}

fn to_text(context: &Context, summary: &Summary, elapsed_s: f64) -> String {
    let counts = &summary.counts;
    let snapshot = context.progress.snapshot(context.actors.policy.stats());
    let dir = context.run.dir.display();
    let reasons: Vec<String> =
        counts.exclusions_by_reason.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    let preempted = match preemptions(context) {
        0 => String::new(),
        count => format!("; {count} responses were preempted for KV memory and recomputed"),
    };
    let words: String = summary.words.iter().map(|(words, count)| format!("  {count} x {words}\n")).collect();
    let failed = match summary.error_exclusions {
        0 => String::new(),
        count => format!(
            "{words}errors excluded {count} queries: `thinkloom view {dir}` shows them first with the reason; after \
             fixing the cause, run the same command with --retry-failed\n"
        ),
    };
    let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    format!(
        "done in {elapsed}: {queries} queries = {samples} samples + {exclusions} exclusions{reasons}\n\
         think-on share of samples: {share}; rollouts: {rollouts}; {speed:.0} tokens per second{preempted}\n\
         written to {dir}:\n  \
           data/samples     the training rows\n  \
           data/rollouts    every response with its verdict\n  \
           data/exclusions  every query without a sample, with its reason\n\
         {failed}look at it:\n  \
           thinkloom view {dir}\n  \
           thinkloom status {dir} --check\n  \
           thinkloom report {dir}\n  \
           duckdb -c \"SELECT mode, difficulty, count(*) FROM '{dir}/data/samples/*.parquet' GROUP BY ALL ORDER BY ALL\"\n\
         train on it:\n  \
           thinkloom export {dir} --format trl -o {dir}-trl\n",
        elapsed = duration(elapsed_s),
        queries = counts.queries,
        samples = counts.samples,
        exclusions = counts.exclusions,
        share = percent(snapshot.think_on, snapshot.samples),
        rollouts = counts.rollouts,
        speed = snapshot.tokens_per_second,
    )
}
