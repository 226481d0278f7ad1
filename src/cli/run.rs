//! `thinkloom run`

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::deadline::Deadline;
use super::display::{Display, duration, percent};
use super::{ConfigArgs, Failure, models, print};
use crate::config::PolicySettings;
use crate::pipeline::{self, ChangePolicy, Context, LOG_INTERVAL, RunError, RunOptions, Summary, forecast, memory};
use crate::policy::Policy;
use crate::sys::clock::unix_ms;
use crate::sys::memory::bound_arenas;

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(after_help = "Example: thinkloom run -c thinkloom.toml -o out --limit 100 --set sampling.samples_per_mode=4")]
pub struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The output directory; output.dir of the config otherwise.
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Take only the first N rows of the input.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Stop, resumably (exit code 3), after a length of time (2h30m) or at a moment (2026-11-26T06:00:00Z).
    #[arg(long, value_name = "WHEN")]
    deadline: Option<Deadline>,
    /// Sample a few queries and forecast tokens, time and money; nothing is kept.
    #[arg(long)]
    dry_run: bool,
    /// Go on although something that decides the data changed since the last run of the directory.
    #[arg(long)]
    reconfigure: bool,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: &RunArgs) -> Result<(), Failure> {
    bound_arenas();
    let config = args.config.load()?;
    let out_dir = args.output.clone().unwrap_or_else(|| config.dir.join(&config.settings.output.dir));
    let changes = if args.reconfigure { ChangePolicy::Redo } else { ChangePolicy::Refuse };
    let (hub, on_download) = (models::hub_settings(), models::on_download());
    let options = RunOptions { config, out_dir, row_limit: args.limit, changes, hub, on_download };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build().map_err(Failure::other)?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        spawn_signal_watch(stop.clone(), "stopping: running responses are finished and kept (again to stop at once)");
        if let Some(deadline) = args.deadline {
            spawn_deadline(deadline, stop.clone());
        }
        if args.dry_run {
            let forecast = forecast::forecast(options, stop).await?;
            return print(&if args.json { forecast.to_json() } else { forecast.to_text() });
        }
        let open = tokio::task::spawn_blocking(move || Context::open(options, stop));
        let opened = open.await.map_err(Failure::other)?;
        if let (true, Err(RunError::Changed(report))) = (args.json, &opened) {
            print(&format!("{:#}\n", serde_json::json!(**report)))?;
        }
        let context = Arc::new(opened?);
        let started = std::time::Instant::now();
        let summary = run_with_display(&context).await?;
        warn_of_strangers(&context)?;
        print(&if args.json {
            to_json(&context, &summary)
        } else {
            to_text(&context, &summary, started.elapsed().as_secs_f64())
        })?;
        if summary.error_exclusions > 0 { Err(Failure::Code(4)) } else { Ok(()) }
    })
}

async fn run_with_display(context: &Arc<Context>) -> Result<Summary, RunError> {
    tracing::info!("{} input rows, output in {}", context.rows, context.dir.display());
    let settings = &context.settings;
    let model = &context.policy.identity().model;
    match &context.policy {
        Policy::Candle(policy) => {
            let (engine, positions) = (policy.engine().description(), policy.engine().config().context);
            tracing::info!("{model}: {}", memory::describe(&engine, &settings.policy, positions));
            tracing::info!("{}", memory::describe_kv(&engine, &settings.sampling, positions));
        }
        // Nothing is sampled.
        Policy::Stored(_) => {}
        Policy::OpenAi(_) => {
            let PolicySettings { base_urls, concurrency, .. } = &settings.policy;
            tracing::info!("{model}: at {}, up to {concurrency} calls in flight to each", base_urls.join(", "));
        }
        Policy::Scripted(_) => {}
    }
    let display = Display::new(context.rows);
    let mut tick = tokio::time::interval(display.interval(LOG_INTERVAL));
    let run = pipeline::run(context);
    let mut run = std::pin::pin!(run);
    // The first tick comes at once and has nothing to show.
    tick.tick().await;
    loop {
        tokio::select! {
            result = &mut run => return result,
            _ = tick.tick() => display.update(&context.progress.snapshot(context.policy.stats())),
        }
    }
}

/// The first Ctrl-C (or SIGTERM, or the terminal's end) stops the run cleanly, the second ends the process at once; both
/// are safe.
pub(super) fn spawn_signal_watch(stop: CancellationToken, message: &'static str) {
    tokio::spawn(async move {
        wait_for_signal().await;
        tracing::warn!("{message}");
        stop.cancel();
        wait_for_signal().await;
        std::process::exit(130);
    });
}

fn spawn_deadline(deadline: Deadline, stop: CancellationToken) {
    tokio::spawn(async move {
        tokio::time::sleep(deadline.wait(unix_ms())).await;
        tracing::warn!("the deadline has come: running responses are finished and kept");
        stop.cancel();
    });
}

async fn wait_for_signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let (Ok(mut terminate), hang_up) = (signal(SignalKind::terminate()), hang_up()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
                () = hang_up => {}
            }
            return;
        }
    }
    if tokio::signal::ctrl_c().await.is_err() {
        // Without signals there is nothing to wait for; the run goes on to its end.
        std::future::pending::<()>().await;
    }
}

/// Waits for the terminal to go away; for ever if that was to be survived (`nohup`).
#[cfg(unix)]
async fn hang_up() {
    use tokio::signal::unix::{SignalKind, signal};
    if !crate::sys::signals::is_hang_up_ignored()
        && let Ok(mut hang_up) = signal(SignalKind::hangup())
    {
        hang_up.recv().await;
        return;
    }
    std::future::pending().await
}

/// Says which files under `data/` the ledger does not know: readers of all shards would read them too.
fn warn_of_strangers(context: &Context) -> Result<(), RunError> {
    for name in pipeline::strangers(&context.dir, &context.ledger.reader()?)? {
        tracing::warn!("{name} was not written by a run and is left alone (hint: move it away if it is not yours)");
    }
    Ok(())
}

fn preemptions(context: &Context) -> u64 {
    context.policy.stats().preemptions.load(Ordering::Relaxed)
}

fn to_json(context: &Context, summary: &Summary) -> String {
    let json = serde_json::json!({
        "counts": summary.counts,
        "error_exclusions": summary.error_exclusions,
        "preemptions": preemptions(context),
    });
    format!("{json:#}\n")
}

fn to_text(context: &Context, summary: &Summary, elapsed_s: f64) -> String {
    let counts = &summary.counts;
    let snapshot = context.progress.snapshot(context.policy.stats());
    let dir = context.dir.display();
    let reasons: Vec<String> =
        counts.exclusions_by_reason.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    let preempted = match preemptions(context) {
        0 => String::new(),
        count => format!("; {count} times a response gave its KV memory up and was computed again"),
    };
    let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    format!(
        "done in {elapsed}: {queries} queries = {samples} samples + {exclusions} exclusions{reasons}\n\
         think-on share of samples: {share}; rollouts: {rollouts}; {speed:.0} tokens per second{preempted}\n\
         written to {dir}:\n  \
           data/samples     the training rows\n  \
           data/rollouts    every response with its verdict\n  \
           data/exclusions  every query without a sample, with its reason\n\
         look at it:\n  \
           thinkloom status {dir} --check\n  \
           thinkloom inspect {dir}\n  \
           duckdb -c \"SELECT mode, difficulty, count(*) FROM '{dir}/data/samples/*.parquet' GROUP BY ALL ORDER BY ALL\"\n",
        elapsed = duration(elapsed_s),
        queries = counts.queries,
        samples = counts.samples,
        exclusions = counts.exclusions,
        share = percent(snapshot.think_on, snapshot.samples),
        rollouts = counts.rollouts,
        speed = snapshot.tokens_per_second,
    )
}
