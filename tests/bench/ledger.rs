//! `make bench-ledger`: a run of many queries whose responses cost nothing, so the bench measures only the pipeline:
//! ledger, verifiers, shards. Memory must not grow with the number of queries.
//!
//! Arguments: QUERIES (60,000) SAMPLES_PER_MODE (8) DIRECTORY (a temporary one). Prints JSON: peak and current memory
//! at a tenth and at the end; facts committed per second; ledger bytes per rollout; and three times: of resuming a
//! finished run, of resuming with one shard left, and of `status`. These three are measured with the program that the
//! variable `THINKLOOM` names.

#![allow(
    clippy::disallowed_methods,
    clippy::iter_over_hash_type,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a benchmark prints what the clock says; nothing outside uses its items"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::FutureExt;
use serde_json::json;
use thinkloom::config;
use thinkloom::domain::{FinishReason, Mode};
use thinkloom::hub::{HubSettings, OnProgress};
use thinkloom::ledger::{Ledger, Reader};
use thinkloom::pipeline::{self, Blocking, ChangePolicy, Context, Parts, RunOptions, Wiring};
use thinkloom::policy::{Policy, ScriptedCall, ScriptedPolicy, ScriptedReply};
use thinkloom::shards::Publisher;
use thinkloom::sys::files::lock_dir;
use thinkloom::sys::memory::bound_arenas;
use tokio_util::sync::CancellationToken;

/// Words that responses are made of; each response is another order of them.
const WORDS: &str = "the of a to in is we have number each so then total first apples left after minus plus times \
    because there are how many how much he she they gives takes buys sells cost dollars price pack box day week hour \
    minutes distance miles speed rate half twice three four five six seven eight nine ten twenty hundred remaining \
    altogether difference sum product divide multiply equals therefore answer step next now find need know problem \
    question let consider given if when which that this these those from with for on at by as it its not all some more \
    less than same other another between before during while until since";

fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Returns a response of about the length that small models give to word problems.
fn reply(call: &ScriptedCall, words: &[&str]) -> ScriptedReply {
    let mut state = hash(&call.key.0);
    let mut draw = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let count = if call.mode == Mode::ThinkOn { 120 + draw() % 120 } else { 10 + draw() % 30 };
    let mut text = String::new();
    for _ in 0..count {
        text.push_str(words[draw() % words.len()]);
        text.push_str(if draw() % 12 == 0 { ". " } else { " " });
    }
    let answer = draw() % 3;
    let text = match call.mode {
        Mode::ThinkOn => format!("{text}\n</think>\n\nThe answer is \\boxed{{{answer}}}."),
        Mode::ThinkOff => format!("{text}\n\\boxed{{{answer}}}."),
    };
    ScriptedReply { text, finish_reason: FinishReason::Stop, completion_tokens: count as u32 * 4 / 3 }
}

/// Returns a figure of this process's memory, in MiB.
fn memory_mib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or(0) / 1024
}

fn write_input(dir: &Path, queries: u64, samples: u64) -> Result<()> {
    use std::io::Write;
    let mut file = std::io::BufWriter::new(std::fs::File::create(dir.join("queries.jsonl"))?);
    for index in 0..queries {
        let question = format!(
            "A shop has {index} boxes with {} pens in each. It sells {} of the pens on the first day and gives some of \
             the rest away. How many boxes are left at the end of the day?",
            index % 97,
            index % 41
        );
        let row = json!({"id": format!("q{index}"), "question": question, "answer": (index % 3).to_string(), "kind": "numeric"});
        writeln!(file, "{row}")?;
    }
    file.flush()?;
    let config = format!(
        "input.paths = [\"queries.jsonl\"]\nsampling.samples_per_mode = {samples}\njudge.backend = \"none\"\n\
                 dedup.near_duplicate_threshold = 1.0\n"
    );
    Ok(std::fs::write(dir.join("thinkloom.toml"), config)?)
}

fn open(dir: &Path) -> Result<Context> {
    let config = config::load(&dir.join("thinkloom.toml"), &[])?;
    let out = dir.join("out");
    let lock = lock_dir(&out)?;
    let words: Arc<Vec<&str>> = Arc::new(WORDS.split_whitespace().collect());
    let script = move |call: ScriptedCall| {
        let words = Arc::clone(&words);
        async move { Ok(reply(&call, &words)) }.boxed()
    };
    let parts = Parts {
        publisher: Publisher::new(&out)?,
        ledger: Ledger::open(&out)?,
        policy: Policy::Scripted(Box::new(ScriptedPolicy::new("bench", &config.settings.sampling, script))),
        judge: None,
        blocking: Blocking::Threads,
        wiring: Wiring::Stages,
        lock: Some(lock),
    };
    let options = RunOptions {
        config,
        out_dir: out,
        row_limit: None,
        changes: ChangePolicy::Refuse,
        hub: HubSettings::from_variables(|_| None),
        on_download: OnProgress::new(|_| {}),
    };
    Ok(Context::with_parts(options, parts, CancellationToken::new())?)
}

/// Opens and runs to the end; returns seconds to open and seconds to run.
async fn run(dir: &Path) -> Result<(f64, f64)> {
    let started = Instant::now();
    let context = Arc::new(open(dir)?);
    let opened = started.elapsed().as_secs_f64();
    let watched = Arc::clone(&context);
    let watch = tokio::spawn(async move {
        let tenth = watched.run.rows.div_ceil(10);
        let stats = watched.actors.policy.stats();
        while watched.progress.snapshot(stats).settled < tenth {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        eprintln!("a tenth: peak {} MiB, now {} MiB", memory_mib("VmHWM"), memory_mib("VmRSS"));
    });
    pipeline::run(&context).await?;
    watch.await?;
    eprintln!("the end: peak {} MiB, now {} MiB", memory_mib("VmHWM"), memory_mib("VmRSS"));
    Ok((opened, started.elapsed().as_secs_f64() - opened))
}

fn main() -> Result<()> {
    // As `thinkloom run` does.
    bound_arenas();
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let number = |index: usize, default: u64| arguments.get(index).map_or(Ok(default), |text| text.parse());
    let (queries, samples) = (number(0, 60_000)?, number(1, 8)?);
    let program = std::env::var_os("THINKLOOM").context("THINKLOOM must name the program: use make bench-ledger")?;
    let temporary = tempfile::tempdir()?;
    let dir = arguments.get(2).map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    std::fs::create_dir_all(&dir)?;
    write_input(&dir, queries, samples)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build()?;
    let (opened, lasted) = runtime.block_on(run(&dir))?;
    let out = dir.join("out");
    let (rollouts, bytes) = {
        let reader = Reader::open(&out)?;
        let totals = reader.totals()?;
        (totals.think_on.rollouts + totals.think_off.rollouts, reader.bytes()?)
    };
    ensure!(rollouts == queries * samples * 2, "{rollouts} rollouts");
    // A rollout and a verdict each.
    let facts_per_s = 2.0 * rollouts as f64 / lasted;
    let (reopened, nothing_left) = runtime.block_on(run(&dir))?;
    let last_shard = (queries - 1) / 1000;
    for table in ["samples", "rollouts", "exclusions"] {
        std::fs::remove_file(out.join(format!("data/{table}/train-{last_shard:05}.parquet")))?;
    }
    let (_, one_shard_left) = runtime.block_on(run(&dir))?;
    let started = Instant::now();
    let status = std::process::Command::new(&program).arg("status").arg(&out).output()?;
    let status_s = started.elapsed().as_secs_f64();
    ensure!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    let text = String::from_utf8(status.stdout).context("status is text")?;
    eprint!("{text}");
    let report = json!({
        "queries": queries, "rollouts": rollouts, "open_s": opened, "run_s": lasted, "facts_per_s": facts_per_s,
        "peak_mib": memory_mib("VmHWM"), "ledger_bytes_per_rollout": bytes / rollouts,
        "resume": {"open_s": reopened, "nothing_left_s": nothing_left, "one_shard_left_s": one_shard_left},
        "status_s": status_s,
    });
    println!("{report:#}");
    Ok(())
}
