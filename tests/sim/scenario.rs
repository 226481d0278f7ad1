//! Derives a scenario from a seed: a config, lives that end badly, edits between them, and a last life that finishes.

use std::collections::BTreeMap;

use thinkloom::pipeline::RunError;

use crate::audit::exclusions;
use crate::disk::{CrashKind, Faults};
use crate::life::{End, Plan, Setting, World};
use crate::outside::{Machine, Rates};
use crate::random::Random;

/// Lives that a run may take to finish once nothing but servers misbehaves.
const LAST_LIVES_MAX: u32 = 20;
/// Operations of the disk among which a crash is placed.
const OPERATIONS: u64 = 500;

/// Events among which a kill or a request to stop is placed.
const EVENTS: u64 = 1500;

/// A bug that is planted to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// None.
    None,
    /// The writer acknowledges before it commits.
    AcknowledgesFirst,
    /// The disk's syncs do nothing.
    SyncsDoNothing,
    /// The stream of justifications polls that of responses.
    NestedStages,
    /// The end of a reply's stream is taken for its last event.
    EndIsDone,
    /// An attempt that a kill cut is recorded as one that failed.
    ChargesKills,
}

/// What a simulation saw.
#[derive(Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Lives of the process.
    pub lives: u64,
    /// Events.
    pub events: u64,
    /// A hash over all events and the next random number.
    pub hash: u64,
    /// Audits made.
    pub audits: u64,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// What does not hold.
    pub breaches: Vec<String>,
    /// The last events.
    pub tail: Vec<String>,
}

/// Draws a config.
fn config(random: &mut Random) -> (u64, Vec<String>) {
    let queries = 6 + random.below(7);
    let mut lines = vec![
        "input.paths = [\"queries.jsonl\"]".to_owned(),
        format!("sampling.samples_per_mode = {}", 1 + random.below(3)),
        format!("output.queries_per_shard = {}", 2 + random.below(5)),
        format!("select.random_mode_rate = 0.{}", random.below(4)),
    ];
    if random.percent(40) {
        lines.push("policy.backend = \"openai\"".to_owned());
        lines.push("policy.base_urls = [\"http://policy.invalid/v1\"]".to_owned());
        lines.push("policy.mode_preset = \"qwen3\"".to_owned());
        lines.push("policy.attempts_max = 50".to_owned());
        lines.push(format!("policy.concurrency = {}", 1 + random.below(8)));
        lines.push(format!("policy.timeout_s = {}", 300 + random.below(600)));
        lines.push(format!("policy.stream = {}", streaming(random)));
    } else {
        lines.push(format!("policy.slots = {}", 1 + random.below(8)));
    }
    lines.push(format!("sampling.budget = \"{}\"", budget(random)));
    match random.below(8) {
        0 => lines.push("judge.backend = \"none\"".to_owned()),
        kind => {
            lines.push("judge.backend = \"openai\"".to_owned());
            lines.push("judge.base_url = \"http://judge.invalid/v1\"".to_owned());
            lines.push(format!("judge.concurrency_max = {}", 1 + random.below(4)));
            lines.push(format!("judge.timeout_s = {}", 300 + random.below(600)));
            lines.push(format!("judge.stream = {}", streaming(random)));
            // A tight bound is reached when calls are cut off; it holds, and costs justifications.
            lines.push(format!("judge.attempts_max = {}", if kind == 1 { 3 } else { 60 }));
            if kind == 2 {
                lines.push("judge.on_rejected = \"keep\"".to_owned());
            }
        }
    }
    (queries, lines)
}

/// Draws whether replies are streamed.
fn streaming(random: &mut Random) -> &'static str {
    ["true", "true", "false", "\"auto\""][random.below(4) as usize]
}

/// Draws which responses are sampled.
fn budget(random: &mut Random) -> &'static str {
    ["full", "curtailed", "frugal"][random.below(3) as usize]
}

/// Draws an edit of the config.
fn edit(random: &mut Random) -> String {
    match random.below(6) {
        0 => format!("select.tie_margin = 0.{}", 1 + random.below(8)),
        1 => format!("sampling.samples_per_mode = {}", 1 + random.below(4)),
        2 => format!("select.random_mode_rate = 0.{}", random.below(9)),
        3 => format!("sampling.seed = {}", random.below(3)),
        4 => format!("sampling.budget = \"{}\"", budget(random)),
        _ => format!("output.queries_per_shard = {}", 2 + random.below(5)),
    }
}

/// Draws a machine: any part of it may be the slow one, and bounds are narrow now and then.
fn machine(random: &mut Random) -> Machine {
    let mut one_of = |choices: &[u64]| choices[random.below(choices.len() as u64) as usize];
    let (policy_ms, judge_ms) = (one_of(&[30, 3000, 60_000]), one_of(&[30, 2000, 60_000]));
    let (commit_ms, work_ms) = (one_of(&[8, 8, 1000]), one_of(&[2, 8, 2000]));
    let (reads_max, queue_max) = (one_of(&[1, 2, 8]) as usize, one_of(&[1, 4, 256]) as usize);
    Machine { policy_ms, judge_ms, commit_ms, work_ms, reads_max, queue_max, is_shared: random.percent(20) }
}

/// Draws what goes wrong in a life.
fn bad_life(random: &mut Random, machine: Machine) -> Plan {
    let Machine { policy_ms, judge_ms, commit_ms, work_ms, .. } = machine;
    // About as long as a life takes.
    let life_ms = 20_000 + 10 * policy_ms.max(judge_ms).max(10 * commit_ms.max(work_ms));
    let mut plan = Plan {
        rates: Rates {
            transient: random.below(40),
            refused: 2 * u64::from(random.percent(10)),
            slow: random.below(6),
            outage: random.below(6),
            outages_max: 2,
            is_long: random.percent(10),
        },
        crash: Some(if random.percent(60) { CrashKind::Power } else { CrashKind::Kill }),
        clock_goes_back: random.percent(10),
        ..Plan::default()
    };
    let range = if random.percent(30) { 60 } else { OPERATIONS };
    let at = 1 + random.below(range);
    match random.below(14) {
        0..=4 => plan.faults.crash_at = Some(at),
        5 => plan.crash_after_ms = Some(random.below(life_ms)),
        6 => plan.stop_after_ms = Some(random.below(life_ms)),
        7 => plan.faults.full_from = Some(at),
        8 => plan.faults.failed_sync_at = Some(at),
        9 | 10 => plan.stop_at = Some(1 + random.below(EVENTS)),
        11 | 12 => plan.kill_at = Some(1 + random.below(EVENTS)),
        _ => {
            // A full disk, and a crash while it is full.
            plan.faults = Faults { full_from: Some(at), crash_at: Some(at + random.below(40)), ..Faults::default() };
        }
    }
    plan
}

/// Runs one seed.
pub fn simulate(seed: u64, bug: Bug) -> Report {
    let mut random = Random::new(seed, "scenario");
    let (queries, lines) = config(&mut random);
    let setting = Setting::new(queries, &lines);
    let machine = machine(&mut random);
    let mut world = World::new(seed, &setting, machine, bug);
    let mut overrides: Vec<String> = Vec::new();
    let mut lives = 0;
    for _ in 0..1 + random.below(5) {
        let plan = bad_life(&mut random, machine);
        lives += 1;
        let end = world.live(&setting.config(&overrides), &plan);
        check_end(&world, &end, &plan);
        let (_, _, _, breaches) = world.outside.summary();
        if bug != Bug::None && !breaches.is_empty() {
            return report(seed, lives, &world);
        }
        if random.percent(25) {
            overrides.push(edit(&mut random));
            world.outside.fault("config edited");
        }
    }
    let last = Plan {
        rates: Rates { transient: 15, slow: 2, outage: 2, outages_max: 1, ..Rates::default() },
        ..Plan::default()
    };
    let config = setting.config(&overrides);
    for turn in 0.. {
        lives += 1;
        let end = world.live(&config, &last);
        check_end(&world, &end, &last);
        if matches!(end, End::Finished | End::Stuck) {
            break;
        }
        if turn == LAST_LIVES_MAX {
            world.outside.breach(format!("the run is not finished after {turn} undisturbed lives: {end:?}"));
            break;
        }
    }
    compare(&mut world, &setting, &config);
    report(seed, lives, &world)
}

/// A life that nothing disturbed must not fail; one that something did must say so.
fn check_end(world: &World, end: &End, plan: &Plan) {
    let End::Failed(error) = end else { return };
    let is_explained = match error {
        RunError::Stopped => plan.stop_after_ms.is_some() || plan.stop_at.is_some(),
        RunError::Outage { .. } => plan.rates.is_long,
        RunError::Ledger(_) | RunError::Shard(_) => {
            plan.faults.full_from.is_some() || plan.faults.failed_sync_at.is_some()
        }
        // A journal that fails is the ledger's failure, told by the judge's loop.
        RunError::Ask(_) | RunError::PolicyServer { .. } => true,
        _ => false,
    };
    if !is_explained {
        world.outside.breach(format!("a life failed without a cause: {error}"));
    }
    let is_told_what_to_do = error.hint().is_some();
    if !is_told_what_to_do {
        world.outside.breach(format!("an error without a hint: {error}"));
    }
}

fn report(seed: u64, lives: u64, world: &World) -> Report {
    let (events, hash, faults, breaches) = world.outside.summary();
    let audits = world.auditor.lock().unwrap().audits;
    Report { seed, lives, events, hash, audits, faults, breaches, tail: world.outside.tail() }
}

/// I6: the files are those of an undisturbed run of the same config.
fn compare(world: &mut World, setting: &Setting, config: &thinkloom::config::LoadedConfig) {
    let mut undisturbed = World::new(0, setting, Machine::default(), Bug::None);
    let end = undisturbed.live(config, &Plan::default());
    if !matches!(end, End::Finished) {
        world.outside.breach(format!("the undisturbed run ends with {end:?}"));
        return;
    }
    // A tight bound on attempts may give up on what the undisturbed run got; responses are the same all the same.
    let is_tight = config.settings.judge.attempts_max < 10;
    let (expected, found) = (undisturbed.files(), world.files());
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    if names(&expected) != names(&found) {
        world.outside.breach(format!("I6: files {:?} instead of {:?}", names(&found), names(&expected)));
    }
    for (name, bytes) in &found {
        let is_compared = !is_tight || name.starts_with("data/rollouts") || name == "views.sql";
        if is_compared && expected.get(name) != Some(bytes) {
            let rows = |files: &BTreeMap<String, Vec<u8>>| files.get(name).map(|bytes| exclusions(bytes));
            let is_told = name.starts_with("data/exclusions");
            let how =
                if is_told { format!(": {:?} instead of {:?}", rows(&found), rows(&expected)) } else { String::new() };
            world.outside.breach(format!("I6: {name} has other bytes than those of an undisturbed run{how}"));
        }
    }
}
