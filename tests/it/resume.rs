//! Tests interruptions of every kind: the same command finishes the run, and its files have the bytes of an
//! undisturbed run (I6).

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::{
    Ledger, Mock, Outcome, Random, Running, Workspace, data_hashes, files_below, program, rows, until,
};

const QUERIES: usize = 16;
const N: usize = 3;
/// Seed of the moments at which runs are killed.
const SEED: u64 = 20;
/// Kills that a test wants at least, over all its rounds.
const KILLS_MIN: u32 = 8;
/// Longest time that a run lives before it is killed, in milliseconds; and how much it grows by with every kill, so that
/// runs come to their end on a busy machine too.
const LIFE_MS_MAX: u64 = 350;
const LIFE_MS_GROWTH: u64 = 25;

/// Settings that make a run last a second or two.
const SLOW: &[(&str, &str)] =
    &[("policy.slots", "2"), ("sampling.think_on_tokens_max", "260"), ("output.queries_per_shard", "4")];

fn slow(more: &[(&'static str, String)]) -> Workspace {
    let settings: Vec<(&str, &str)> =
        SLOW.iter().copied().chain(more.iter().map(|(key, value)| (*key, value.as_str()))).collect();
    Workspace::new(QUERIES, &settings)
}

/// Starts the run into `out` and kills it after `life`; returns false if it was finished before.
fn run_and_kill(workspace: &Workspace, out: &Path, life: Duration) -> bool {
    let started = Instant::now();
    let mut running = Running::start(workspace.command(&[]).arg("-o").arg(out));
    until("the moment to kill", || (started.elapsed() >= life || running.ended().is_some()).then_some(()));
    if running.kill() {
        return true;
    }
    workspace.run(&["-o", out.to_str().unwrap()]).assert_code(0);
    false
}

/// Kills runs until there were enough kills, each round in a new directory until it is finished; returns the kills and
/// the directories.
fn kill_until_finished(workspace: &Workspace) -> (u32, Vec<std::path::PathBuf>) {
    let mut random = Random(SEED);
    let (mut kills, mut finished) = (0, Vec::new());
    while kills < KILLS_MIN {
        let out = workspace.path(&format!("killed-{}", finished.len()));
        for kills_of_round in 0.. {
            let life = Duration::from_millis(random.below(LIFE_MS_MAX + LIFE_MS_GROWTH * kills_of_round));
            if !run_and_kill(workspace, &out, life) {
                break;
            }
            kills += 1;
        }
        finished.push(out);
    }
    (kills, finished)
}

fn assert_each_rollout_once(out: &Path) {
    let ledger = Ledger::open(out).unwrap();
    let per_query = "SELECT query_id || ':' || mode || ':' || count(*) || ':' || count(DISTINCT sample_index) \
                     FROM rollout GROUP BY query_id, mode";
    let groups = ledger.texts(per_query);
    assert_eq!(groups.len(), 2 * QUERIES);
    assert!(groups.iter().all(|group| group.ends_with(&format!(":{N}:{N}"))), "{groups:?}");
    assert_eq!(ledger.number("SELECT count(DISTINCT key) FROM rollout"), Some(ledger.count("rollout")));
    assert_eq!(ledger.count("rollout") as usize, QUERIES * 2 * N);
}

fn assert_audit_holds(out: &Path) {
    Outcome::of(program().arg("status").arg(out).arg("--check")).assert_code(0);
}

#[test]
fn killed_runs_finish_with_the_bytes_of_an_undisturbed_one() {
    let judge = Mock::start(&["--latency-ms", "2"]);
    let workspace = slow(&judge.settings());
    let whole = data_hashes(&workspace.run_whole("whole", &[]));
    let (kills, finished) = kill_until_finished(&workspace);
    assert!(kills >= KILLS_MIN);
    for out in &finished {
        assert_eq!(data_hashes(out), whole, "{}", out.display());
        assert_each_rollout_once(out);
        assert_audit_holds(out);
    }
}

#[test]
fn killed_runs_with_the_local_judge_ask_it_again_and_finish_with_the_same_bytes() {
    // The tiny model's own justifications never end; what is compared is how the giving up is recorded.
    let local = [("judge.backend", "\"policy\""), ("judge.max_tokens", "60"), ("judge.attempts_max", "2")];
    let workspace = slow(&local.map(|(key, value)| (key, value.to_owned())));
    let outcome = workspace.run(&["-o", workspace.path("whole").to_str().unwrap()]).assert_code(4);
    assert!(outcome.stdout.contains("judge_failed"), "{}", outcome.stdout);
    let whole = data_hashes(&workspace.path("whole"));
    let out = workspace.path("killed");
    let mut random = Random(SEED);
    for _ in 0..KILLS_MIN / 2 {
        let life = Duration::from_millis(random.below(LIFE_MS_MAX));
        assert!(run_and_kill(&workspace, &out, life), "the run takes longer than that");
    }
    workspace.run(&["-o", out.to_str().unwrap()]).assert_code(4);
    assert_eq!(data_hashes(&out), whole);
    assert_each_rollout_once(&out);
    assert_audit_holds(&out);
}

/// Starts a run and returns it once some of its rollouts are stored, and not all.
fn start_and_wait_for_rollouts(workspace: &Workspace) -> Running {
    let mut running = Running::start(&mut workspace.command(&[]));
    let stored = || Ledger::open(&workspace.out())?.number("SELECT count(*) FROM rollout");
    until("a stored rollout", || {
        let has_any = stored().is_some_and(|count| count > 0);
        assert!(running.ended().is_none(), "the run ended too early to be interrupted");
        has_any.then_some(())
    });
    running
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_keeps_what_it_sampled_exits_3_and_goes_on() {
    let workspace = slow(&[]);
    let whole = data_hashes(&workspace.run_whole("whole", &[]));
    let mut running = start_and_wait_for_rollouts(&workspace);
    running.interrupt();
    running.finish().assert_code(3).assert_says(&["stopping", "within 20 s", "run the same command again"]);
    let kept = Ledger::open(&workspace.out()).unwrap().texts("SELECT key FROM rollout");
    assert!(!kept.is_empty() && kept.len() < QUERIES * 2 * N, "{} rollouts", kept.len());

    let out = workspace.run_whole("out", &[]);
    let all = Ledger::open(&out).unwrap().texts("SELECT key FROM rollout");
    assert!(kept.iter().all(|key| all.binary_search(key).is_ok()), "no stored rollout is lost");
    assert_eq!(data_hashes(&out), whole);
    assert_each_rollout_once(&out);
}

#[cfg(unix)]
#[test]
fn a_second_interrupt_ends_the_process_at_once_and_is_safe() {
    let workspace = slow(&[("sampling.think_off_tokens_max", "4".to_owned())]);
    let whole = data_hashes(&workspace.run_whole("whole", &[]));
    let mut running = start_and_wait_for_rollouts(&workspace);
    running.interrupt();
    running.interrupt();
    let code = running.finish().code;
    // Two signals in quick succession may be one to the system.
    assert!(matches!(code, Some(130 | 3)), "{code:?}");
    assert_eq!(data_hashes(&workspace.run_whole("out", &[])), whole);
}

#[cfg(unix)]
#[test]
fn a_second_process_on_the_directory_waits_for_a_dying_one_and_is_refused_by_a_living_one() {
    let workspace = slow(&[("sampling.think_on_tokens_max", "2000".to_owned())]);
    let mut running = start_and_wait_for_rollouts(&workspace);
    // A process that stands still holds its lock for as long as it likes.
    running.signal("-STOP");
    workspace.run(&[]).assert_code(1).assert_says(&["another process", "waiting up to 10 s", "hint:"]);
    let second = Running::start(&mut workspace.command(&[]));
    std::thread::sleep(Duration::from_secs(1));
    assert!(running.kill(), "the first process went on");
    second.finish().assert_code(0).assert_says(&["waiting up to 10 s"]);
}

/// Runs something small to its end and returns its shards' hashes.
fn finished() -> (Workspace, BTreeMap<String, String>) {
    let workspace = Workspace::new(8, &[]);
    let hashes = data_hashes(&workspace.run_whole("out", &[]));
    (workspace, hashes)
}

#[test]
fn a_deleted_shard_is_written_again_with_the_same_bytes() {
    let (workspace, hashes) = finished();
    let out = workspace.out();
    for name in ["data/samples/train-00000.parquet", "data/exclusions/train-00001.parquet"] {
        std::fs::remove_file(out.join(name)).unwrap();
        Outcome::of(program().arg("status").arg(&out).arg("--check")).assert_code(1);
        let rollouts = Ledger::open(&out).unwrap().count("rollout");
        workspace.run(&[]).assert_code(0).assert_says(&[name, "is missing"]);
        assert_eq!(data_hashes(&out), hashes);
        assert_eq!(Ledger::open(&out).unwrap().count("rollout"), rollouts);
        assert_audit_holds(&out);
    }
}

#[test]
fn a_changed_shard_is_moved_aside_and_written_again() {
    let (workspace, hashes) = finished();
    let out = workspace.out();
    let name = "data/rollouts/train-00001.parquet";
    std::fs::write(out.join(name), "edited by hand").unwrap();
    workspace.run(&[]).assert_code(0).assert_says(&[name, "was changed after it was published"]);
    let mut after = data_hashes(&out);
    let aside: Vec<String> = after.keys().filter(|file| file.contains(".changed-")).cloned().collect();
    assert_eq!(aside.len(), 1, "{after:?}");
    assert_eq!(std::fs::read_to_string(out.join(&aside[0])).unwrap(), "edited by hand");
    after.remove(&aside[0]);
    assert_eq!(after, hashes);
    assert_eq!(rows(&out, "rollouts").len(), 8 * 2 * N, "readers do not take it for a shard");
    let audit = Outcome::of(program().arg("status").arg(&out).arg("--check")).assert_code(1);
    assert!(audit.stdout.contains(&aside[0]), "it is for a person to look at: {}", audit.stdout);
}

#[test]
fn all_shards_can_be_written_again_from_the_ledger_alone() {
    let (workspace, hashes) = finished();
    std::fs::remove_dir_all(workspace.path("out/data")).unwrap();
    std::fs::remove_file(workspace.path("out/manifest.json")).unwrap();
    let out = workspace.run_whole("out", &[]);
    assert_eq!(data_hashes(&out), hashes);
    assert!(files_below(&out).contains(&out.join("manifest.json")));
    assert_eq!(Ledger::open(&out).unwrap().count("rollout") as usize, 8 * 2 * N);
}
