//! Simulates the whole pipeline on a machine where one seed decides everything.
//!
//! The real ledger (SQLite with its real log), writer, pipeline, attempt loops, HTTP clients and shard encoder run on
//! one thread, in simulated time, on a disk that loses unsynced data (`disk`, `vfs`). The servers of policy and judge
//! have outages, and their replies are torn, late or endless (`servers`); some seeds use a policy in the process
//! (`outside`). A seed gives several lives that end badly, with edits of the config between them, and a last life that
//! may succeed. `audit` checks the disk after every life and after every published shard. The final files must have,
//! byte for byte, the contents that an undisturbed run of the last config publishes. Each seed sets the delays of
//! servers, disk and threads; a life without progress is a breach.
//!
//! `SIM_SEED=n` replays one seed and prints its events, `SIM_SEEDS=n` runs n seeds, `SIM_SECONDS=n` runs seeds for n
//! seconds (`make sim`, `make soak`). The engine's tests cover I8; here the simulation only checks that sampled
//! responses hold slots.

#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test may end in a panic, and uses files and clocks as they are; nothing outside uses its items"
)]

mod audit;
mod disk;
mod life;
mod outside;
mod points;
mod random;
mod scenario;
mod servers;
mod vfs;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use scenario::{Bug, Report, simulate};

/// Seeds that every test run tries.
const SEEDS: u64 = 200;

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

#[track_caller]
fn assert_holds(report: &Report) {
    assert!(
        report.breaches.is_empty(),
        "seed {} breaks: {:#?}\nlast events:\n  {}\nreplay it with: make sim SEED={}",
        report.seed,
        report.breaches,
        report.tail.join("\n  "),
        report.seed
    );
}

/// Runs a seed twice and returns what it did.
fn run_twice(seed: u64) -> Report {
    let (first, second) = (simulate(seed, Bug::None), simulate(seed, Bug::None));
    assert_holds(&first);
    assert_eq!((first.events, first.hash), (second.events, second.hash), "seed {seed} is not deterministic");
    first
}

/// What all seeds saw together; each is counted once.
#[derive(Default)]
struct Totals {
    runs: u64,
    lives: u64,
    events: u64,
    audits: u64,
    faults: BTreeMap<&'static str, u64>,
}

impl Totals {
    fn add(&mut self, report: Report) {
        self.runs += 1;
        self.lives += report.lives;
        self.events += report.events;
        self.audits += report.audits;
        for (kind, count) in report.faults {
            *self.faults.entry(kind).or_default() += count;
        }
    }
}

#[test]
fn every_seed_keeps_all_invariants_and_gives_the_same_events_twice() {
    if let Some(seed) = variable("SIM_SEED") {
        let report = run_twice(seed);
        println!("{report:#?}");
        return;
    }
    let started = Instant::now();
    let deadline = variable("SIM_SECONDS").map(|seconds| started + Duration::from_secs(seconds));
    let seeds = variable("SIM_SEEDS").unwrap_or(if deadline.is_some() { u64::MAX } else { SEEDS });
    let next = AtomicU64::new(variable("SIM_FROM").unwrap_or(0));
    let end = next.load(Ordering::Relaxed).saturating_add(seeds);
    let totals: Mutex<Totals> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                        break;
                    }
                    let report = run_twice(seed);
                    totals.lock().unwrap().add(report);
                }
            });
        }
    });
    let Totals { runs, lives, events, audits, faults } = totals.into_inner().unwrap();
    println!("{runs} seeds, each twice: {lives} lives, {events} events, {audits} audits, no breach; faults by kind:");
    for (kind, count) in &faults {
        println!("  {count:>7} {kind}");
    }
    println!("in {:.0} s", started.elapsed().as_secs_f64());
    if seeds >= SEEDS && deadline.is_none() {
        let machine = ["kill", "power cut", "disk full", "failed sync", "config edited", "asked to stop"];
        let servers = ["judge 429", "policy torn reply", "judge endless reply", "policy late reply", "outage: 502"];
        for kind in machine.into_iter().chain(servers).chain(["asked to stop at an event"]) {
            assert!(faults.contains_key(kind), "{kind} never struck in {runs} seeds");
        }
    }
}

/// Holds that one of the first seeds finds a planted bug, by a breach that says so.
fn assert_found(bug: Bug, within: u64, words: &str) {
    for seed in 0..within {
        let report = simulate(seed, bug);
        if let Some(breach) = report.breaches.iter().find(|breach| breach.contains(words)) {
            println!("{bug:?}: found by seed {seed} in life {}: {breach}", report.lives);
            return;
        }
    }
    panic!("{bug:?} is not found by {within} seeds");
}

#[test]
fn an_acknowledgement_before_the_commit_is_found() {
    assert_found(Bug::AcknowledgesFirst, 50, "was acknowledged and is not there");
}

#[test]
fn a_wiring_that_gets_stuck_when_the_judge_is_slow_is_found() {
    assert_found(Bug::NestedStages, 100, "stuck");
}

#[test]
fn a_stream_whose_end_is_taken_for_its_last_event_is_found() {
    assert_found(Bug::EndIsDone, 200, "I6");
}

#[test]
fn an_attempt_that_is_charged_for_a_kill_is_found() {
    assert_found(Bug::ChargesKills, 50, "I9");
}

#[test]
fn a_disk_whose_syncs_do_nothing_is_found() {
    assert_found(Bug::SyncsDoNothing, 50, "");
}
