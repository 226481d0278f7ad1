//! `make bench-judge`: measures the judge client against a mock server in a separate process.
//!
//! - throughput: 10,000 justifications at 0 ms latency, 64 in flight. The client makes every attempt durable before
//!   its call and every reply durable before using it. The baseline sends the same requests in a plain reqwest loop
//!   and stores nothing. Both are interleaved, each in a separate process, so that CPU time and memory can be told
//!   apart.
//! - latency: lognormal (median 100 ms, sigma 1), 256 in flight: the share of slot time in use until the last 256
//!   requests.
//! - limits: 600 requests and 60,000 tokens a minute, enforced by the server: the used share of the allowed
//!   throughput, and whether any 60 seconds exceeded the limit.
//!
//! Arguments: any of `throughput`, `latency`, `limits`; without arguments, all of them.

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

#[allow(dead_code, unused_imports, reason = "each binary uses another part of it")]
#[path = "../mock/mod.rs"]
mod mock;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::stream::{self, StreamExt};
use serde_json::{Value, json};
use thinkloom::domain::{Mode, ModeReason, QueryId};
use thinkloom::http::wire::Message;
use thinkloom::judge::openai::{OpenAiJudge, OpenAiOptions};
use thinkloom::judge::prompt::JudgeCase;
use thinkloom::judge::{AskOptions, Conversation, Judge, Judged, ask};
use thinkloom::ledger::Ledger;
use thinkloom::pipeline::{Charging, LedgerJournal, Progress};
use tokio_util::sync::CancellationToken;

use mock::{Entry, Knobs, Mock, Outcome, most_in_window, share_in_use};

const ROUNDS: usize = 5;
const MINUTE: Duration = Duration::from_secs(60);
/// About what a judge's fixed instructions take.
const RUBRIC_BYTES: usize = 1500;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.split_first() {
        Some((first, knobs)) if first == "--serve" => serve(knobs),
        Some((first, job)) if first == "--job" => {
            println!("{}", run_job(&serde_json::from_str(job.first().context("a job")?)?)?);
            Ok(())
        }
        _ => {
            let is_wanted = |name: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == name);
            if is_wanted("throughput") {
                throughput()?;
            }
            if is_wanted("latency") {
                latency()?;
            }
            if is_wanted("limits") {
                limits()?;
            }
            Ok(())
        }
    }
}

fn throughput() -> Result<()> {
    const REQUESTS: usize = 10_000;
    let server = Server::start(&[])?;
    let job = |client: &str| json!({"client": client, "url": server.url, "requests": REQUESTS, "concurrency": 64, "rubric": RUBRIC_BYTES});
    let (mut ours, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(spawn_job(&job("thinkloom"))?);
        plain.push(spawn_job(&job("plain"))?);
    }
    println!(
        "{REQUESTS} justifications at 0 ms, 64 in flight, median of {ROUNDS} interleaved rounds (lowest to highest):"
    );
    for (name, rounds) in [("thinkloom, all durable", &ours), ("plain reqwest loop", &plain)] {
        let per_second = spread(rounds, |round| REQUESTS as f64 / round["seconds"].as_f64().unwrap_or(f64::NAN), 0);
        let cpu = spread(rounds, |round| round["cpu_s"].as_f64().unwrap_or(f64::NAN) / REQUESTS as f64 * 1000.0, 3);
        let peak = spread(rounds, |round| round["peak_mb"].as_f64().unwrap_or(f64::NAN), 1);
        println!("  {name}: {per_second} requests/s, {cpu} CPU s per 1,000, {peak} MB peak");
    }
    let ratio = |index: usize| {
        let seconds = |round: &Value| round["seconds"].as_f64().unwrap_or(f64::NAN);
        seconds(&plain[index]) / seconds(&ours[index])
    };
    let mut ratios: Vec<f64> = (0..ROUNDS).map(ratio).collect();
    ratios.sort_by(f64::total_cmp);
    println!("  thinkloom / plain, requests per second: {:.2}", ratios[ROUNDS / 2]);
    Ok(())
}

fn latency() -> Result<()> {
    const SLOTS: usize = 256;
    let server = Server::start(&["--latency-ms", "100", "--latency-sigma", "1"])?;
    let requests = 10_000;
    spawn_job(&json!({
        "client": "thinkloom", "url": server.url, "requests": requests, "concurrency": SLOTS, "rubric": RUBRIC_BYTES
    }))?;
    let entries = server.log()?;
    ensure!(entries.len() == requests, "{} requests came", entries.len());
    println!(
        "lognormal latency (median 100 ms, sigma 1), {SLOTS} in flight: {:.3} of the slot time in use until the last {SLOTS}",
        share_in_use(&entries, SLOTS)
    );
    Ok(())
}

fn limits() -> Result<()> {
    // With short prompts requests are what is scarce, with longer ones tokens; side by side, for both take minutes.
    let long = std::thread::spawn(|| limit("prompts of 80 tokens", 120));
    limit("prompts of 50 tokens", 0)?;
    long.join().map_err(|_| anyhow::anyhow!("the second measurement panicked"))?
}

fn limit(what: &str, rubric: usize) -> Result<()> {
    const REQUESTS: usize = 1500;
    let server =
        Server::start(&["--requests-per-minute", "600", "--tokens-per-minute", "60000", "--latency-ms", "50"])?;
    let job = json!({
        "client": "thinkloom", "url": server.url, "requests": REQUESTS, "concurrency": 64, "rubric": rubric,
        "requests_per_minute": 600, "tokens_per_minute": 60_000,
    });
    spawn_job(&job)?;
    let entries = server.log()?;
    let refused = entries.iter().filter(|entry| entry.outcome == Outcome::OverLimit).count();
    let first = entries.iter().map(|entry| entry.at).min().unwrap_or_default();
    let last = entries.iter().map(|entry| entry.at).max().unwrap_or_default();
    let minutes = (last - first).as_secs_f64() / 60.0;
    let tokens: u64 = entries.iter().map(|entry| entry.tokens).sum();
    let (requests_most, tokens_most) = most_in_window(&entries, MINUTE);
    println!(
        "600 requests and 60,000 tokens a minute, {what}, {REQUESTS} requests in {minutes:.2} minutes: {:.3} of the \
         requests and {:.3} of the tokens allowed; at most {requests_most} requests and {tokens_most} tokens in any \
         60 s; {refused} of {} refused",
        (entries.len() - refused) as f64 / minutes / 600.0,
        tokens as f64 / minutes / 60_000.0,
        entries.len()
    );
    Ok(())
}

/// Returns the median of a figure, with the lowest and the highest.
fn spread(rounds: &[Value], figure: impl Fn(&Value) -> f64, digits: usize) -> String {
    let mut values: Vec<f64> = rounds.iter().map(figure).collect();
    values.sort_by(f64::total_cmp);
    let (low, median, high) = (values[0], values[values.len() / 2], values[values.len() - 1]);
    format!("{median:.digits$} ({low:.digits$} to {high:.digits$})")
}

/// The mock server in a process of its own; killed when dropped.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(knobs: &[&str]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.arg("--serve").args(knobs).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("stdout is piped")?).read_line(&mut line)?;
        let url = line.trim().strip_prefix("listening on ").context("the first line is the address")?.to_owned();
        Ok(Self { child, url })
    }

    fn log(&self) -> Result<Vec<Entry>> {
        let address = self.url.strip_prefix("http://").context("it speaks HTTP")?;
        let mut stream = TcpStream::connect(address)?;
        write!(stream, "GET /log HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        let (_, body) = reply.split_once("\r\n\r\n").context("a reply has a head and a body")?;
        body.lines().map(|line| Entry::from_json(line).with_context(|| line.to_owned())).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(knobs: &[String]) -> Result<()> {
    let mock = Mock::with(Knobs::parse(knobs).map_err(anyhow::Error::msg)?);
    println!("listening on {}", mock.base_url());
    mock.wait();
    Ok(())
}

fn spawn_job(job: &Value) -> Result<Value> {
    let output = Command::new(std::env::current_exe()?).arg("--job").arg(job.to_string()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Makes a job's requests, and returns what they took of this process.
fn run_job(job: &Value) -> Result<Value> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build()?;
    let started = Instant::now();
    match job["client"].as_str() {
        Some("plain") => runtime.block_on(plain(job))?,
        _ => runtime.block_on(durable(job))?,
    }
    let seconds = started.elapsed().as_secs_f64();
    Ok(json!({"seconds": seconds, "cpu_s": cpu_seconds()?, "peak_mb": peak_mb()?}))
}

fn number(job: &Value, name: &str) -> usize {
    job[name].as_u64().and_then(|number| usize::try_from(number).ok()).unwrap_or(0)
}

fn judge(job: &Value) -> Result<OpenAiJudge> {
    let mut options = OpenAiOptions::new(job["url"].as_str().context("an address")?, "judge-under-test");
    options.client.concurrency_max = number(job, "concurrency");
    options.client.requests_per_minute = u32::try_from(number(job, "requests_per_minute"))?;
    options.client.tokens_per_minute = u32::try_from(number(job, "tokens_per_minute"))?;
    Ok(OpenAiJudge::new(options)?)
}

/// A conversation as the pipeline begins it: fixed instructions first, the case last.
fn conversation(judge: &dyn Judge, job: &Value, index: usize) -> Conversation {
    let case = format!("Which number belongs to card {index}? Chosen way: direct answer. Difficulty: easy.");
    let rubric = "Say why this way suits. ".repeat(number(job, "rubric") / 24);
    let about = JudgeCase {
        question: &case,
        gold: "none",
        choices: &[],
        mode: Mode::ThinkOff,
        reason: ModeReason::Tie,
        thinking: None,
        answer: "none",
    };
    Conversation::with_messages(judge, &about, vec![Message::system(rubric), Message::user(case.clone())], 60)
}

async fn durable(job: &Value) -> Result<()> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let journal = LedgerJournal {
        ledger: Ledger::open(folder.path())?,
        charging: Charging::Charged,
        progress: Arc::new(Progress::new(number(job, "requests") as u64)),
        prices: thinkloom::config::PriceSettings::default(),
        batches: None,
    };
    let judge = judge(job)?;
    let options = AskOptions::new(CancellationToken::new());
    let (judge, journal, options) = (&judge, &journal, &options);
    let asks = (0..number(job, "requests")).map(|index| async move {
        let query = QueryId(format!("q{index:06}"));
        let judged = ask(judge, journal, &query, &mut conversation(judge, job, index), options).await?;
        ensure!(matches!(judged, Judged::Accepted(_)), "no justification: {judged:?}");
        Ok(())
    });
    // As many as the pipeline keeps under way: those whose reply is being committed need no slot.
    let mut results = stream::iter(asks).buffer_unordered(number(job, "concurrency") * 2);
    while let Some(result) = results.next().await {
        result?;
    }
    Ok(())
}

async fn plain(job: &Value) -> Result<()> {
    let judge = judge(job)?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let url = format!("{}/chat/completions", judge.identity());
    let (judge, client, url) = (&judge, &client, url.as_str());
    let posts = (0..number(job, "requests")).map(|index| async move {
        let body = conversation(judge, job, index).request().body.to_string();
        let post = client.post(url).header("content-type", "application/json").body(body);
        let reply: Value = post.send().await?.error_for_status()?.json().await?;
        ensure!(reply["choices"][0]["message"]["content"].is_string(), "no content");
        Ok(())
    });
    let mut results = stream::iter(posts).buffer_unordered(number(job, "concurrency"));
    while let Some(result) = results.next().await {
        result?;
    }
    Ok(())
}

/// Returns the CPU seconds of this process so far, of all threads.
fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The second field, a name, may hold blanks; what follows its bracket does not.
    let (_, fields) = stat.rsplit_once(") ").context("a stat line")?;
    let ticks: f64 = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    // Linux counts in hundredths for user space, whatever its own clock does.
    Ok(ticks / 100.0)
}

/// Returns the largest resident size of this process so far.
fn peak_mb() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("a peak")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1000.0)
}
