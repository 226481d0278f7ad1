//! Crashes a small run at each operation that makes data durable.

use crate::disk::{CrashKind, Faults};
use crate::life::{End, Plan, Setting, World};
use crate::outside::Machine;
use crate::scenario::Bug;

/// Queries of the run.
const QUERIES: u64 = 20;

fn setting() -> Setting {
    let lines = [
        "input.paths = [\"queries.jsonl\"]",
        "sampling.samples_per_mode = 2",
        "output.queries_per_shard = 8",
        "policy.slots = 4",
        "judge.backend = \"openai\"",
        "judge.concurrency_max = 2",
        "judge.attempts_max = 60",
    ];
    Setting::new(QUERIES, &lines.map(str::to_owned))
}

#[test]
fn a_crash_at_every_commit_and_publish_point_is_resumed_to_the_same_bytes() {
    let setting = setting();
    let config = setting.config(&[]);
    let mut whole = World::new(1, &setting, Machine::default(), Bug::None);
    assert!(matches!(whole.live(&config, &Plan::default()), End::Finished));
    let points = whole.points();
    let expected = whole.files();
    assert!(points.len() > 50 && expected.len() > 9, "{} points, {} files", points.len(), expected.len());
    // Right before a point nothing of it is durable, right after it all is. All three take a minute: otherwise in turn.
    let is_thorough = std::env::var_os("SIM_POINTS").is_some();
    let mut crashes = 0;
    for (turn, &point) in points.iter().enumerate() {
        let ways = [(point, CrashKind::Power), (point, CrashKind::Kill), (point + 1, CrashKind::Power)];
        let chosen = if is_thorough { &ways[..] } else { std::slice::from_ref(&ways[turn % ways.len()]) };
        for &(crash_at, kind) in chosen {
            crashes += 1;
            let mut world = World::new(1, &setting, Machine::default(), Bug::None);
            let faults = Faults { crash_at: Some(crash_at), ..Faults::default() };
            let plan = Plan { faults, crash: Some(kind), ..Plan::default() };
            let end = world.live(&config, &plan);
            // The very last operations belong to the closing of the ledger.
            assert!(matches!(end, End::Crashed | End::Finished), "{crash_at}: {end:?}");
            let end = world.live(&config, &Plan::default());
            assert!(matches!(end, End::Finished), "after a crash at {crash_at}: {end:?}");
            let (_, _, _, breaches) = world.outside.summary();
            assert!(breaches.is_empty(), "after a crash at {crash_at}: {breaches:#?}");
            assert!(world.files() == expected, "a crash at operation {crash_at} ({kind:?}) changes the bytes");
        }
    }
    println!("{} points, {crashes} crashes, all resumed byte-identical", points.len());
}
