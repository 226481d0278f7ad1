//! The lives of the process on one disk. Each life opens the run, works, and ends with success, an error or a crash.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use thinkloom::config::{self, BudgetPolicy, JudgeBackend, LoadedConfig, PolicyBackend};
use thinkloom::domain::AttemptOutcome;
use thinkloom::http::client::ChatClient;
use thinkloom::hub::{HubSettings, OnProgress};
use thinkloom::judge::Judge;
use thinkloom::ledger::{Acknowledge, Fact, Ledger, LedgerOptions};
use thinkloom::pipeline::{
    self, Blocking, ChangePolicy, Context, Parts, RunError, RunOptions, SimulatedThreads, Wiring,
};
use thinkloom::policy::{OpenAiPolicy, Policy, ScriptedPolicy};
use thinkloom::shards::Publisher;
use thinkloom::sys::clock::Clock;
use tokio_util::sync::CancellationToken;

use crate::audit::{Auditor, attempts_without_end, name_of};
use crate::disk::{CrashKind, Disk, Faults};
use crate::outside::{Bounds, Machine, Moments, Outside, Rates, SimulatedFiles, published, sample};
use crate::random::Random;
use crate::scenario::Bug;
use crate::servers::{Channel, WatchedJudge};
use crate::vfs::Vfs;

/// The simulated root.
const ROOT: &str = "/";
/// The start of simulated time, in milliseconds since 1970.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// An input and a config, on the real file system, because they are only read.
pub struct Setting {
    folder: TempDir,
    golds: BTreeMap<String, String>,
}

impl Setting {
    /// Writes `queries` rows (a bad one and a duplicate among them, if there is room) and a config of `lines`.
    pub fn new(queries: u64, lines: &[String]) -> Self {
        let folder = TempDir::with_prefix("thinkloom-sim-").unwrap();
        let (mut golds, mut input) = (BTreeMap::new(), String::new());
        for index in 0..queries {
            let (id, gold) = (format!("q{index:02}"), (index % 4 + 1).to_string());
            let question = match index {
                5 => "Which number belongs to card 4?".to_owned(),
                _ => format!("Which number belongs to card {index}?"),
            };
            let row = json!({"id": id, "question": question, "answer": gold, "kind": "numeric"});
            input.push_str(&if index == 3 { "{\"id\": \"torn\n".to_owned() } else { format!("{row}\n") });
            golds.insert(id, gold);
        }
        std::fs::write(folder.path().join("queries.jsonl"), input).unwrap();
        std::fs::write(folder.path().join("thinkloom.toml"), lines.join("\n")).unwrap();
        Self { folder, golds }
    }

    /// Reads the config with overrides.
    pub fn config(&self, overrides: &[String]) -> LoadedConfig {
        config::load(&self.folder.path().join("thinkloom.toml"), overrides).unwrap()
    }
}

/// What happens in one life.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// What the disk does.
    pub faults: Faults,
    /// How a crash leaves the disk.
    pub crash: Option<CrashKind>,
    /// A crash or a request to stop after so many milliseconds.
    pub crash_after_ms: Option<u64>,
    /// A request to stop after so many milliseconds.
    pub stop_after_ms: Option<u64>,
    /// A kill at this event of the life.
    pub kill_at: Option<u64>,
    /// A request to stop at this event of the life.
    pub stop_at: Option<u64>,
    /// What judge and policy do.
    pub rates: Rates,
    /// Whether the clock goes backwards.
    pub clock_goes_back: bool,
}

/// How a life ended.
#[derive(Debug)]
pub enum End {
    /// The run is finished.
    Finished,
    /// It crashed.
    Crashed,
    /// It ended with an error.
    Failed(RunError),
    /// It would go on for ever.
    Stuck,
}

/// One disk with the world around it.
pub struct World {
    /// The disk.
    pub disk: Arc<Disk>,
    /// The world.
    pub outside: Outside,
    /// The auditor.
    pub auditor: Arc<Mutex<Auditor>>,
    random: Random,
    seed: u64,
    machine: Machine,
    bug: Bug,
    lives: u64,
    points: Vec<u64>,
}

impl World {
    /// Returns the world of a seed.
    pub fn new(seed: u64, setting: &Setting, machine: Machine, bug: Bug) -> Self {
        let disk = Disk::new();
        let outside = Outside::new(seed, machine, Arc::clone(&disk), setting.golds.clone());
        let random = Random::new(seed, "restarts");
        Self { disk, outside, auditor: Arc::default(), random, seed, machine, bug, lives: 0, points: Vec::new() }
    }

    /// Lives once, audits what is left, and leaves the disk as the next life finds it.
    pub fn live(&mut self, config: &LoadedConfig, plan: &Plan) -> End {
        self.lives += 1;
        let is_lying = self.bug == Bug::SyncsDoNothing;
        let crashed = self.disk.begin(Faults { is_lying, ..plan.faults.clone() });
        let settings = &config.settings;
        let bounds = Bounds {
            sampling_queries: sampling_queries_max(config),
            judge_calls: settings.judge.concurrency_max,
            slots: match settings.policy.backend {
                PolicyBackend::Candle => settings.policy.slots,
                PolicyBackend::Openai => settings.policy.concurrency,
            },
        };
        let stop = CancellationToken::new();
        let moments = Moments { kill: plan.kill_at, stop: plan.stop_at.map(|at| (at, stop.clone())) };
        self.outside.begin(plan.rates, bounds, moments);
        self.outside.event(&format!("life {} {plan:?}", self.lives));
        let vfs = Vfs::new(Arc::clone(&self.disk), self.seed ^ self.lives);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let end = runtime.block_on(self.run(config, plan, &vfs, &crashed, stop));
        drop(runtime);
        drop(vfs);
        self.points = self.disk.operations().1;
        let end = if self.disk.is_crashed() { End::Crashed } else { end };
        for (kind, _) in self.disk.hits() {
            self.outside.fault(kind);
        }
        if let End::Crashed = end {
            let kind = plan.crash.unwrap_or(CrashKind::Kill);
            self.outside.fault(if kind == CrashKind::Power { "power cut" } else { "kill" });
            self.disk.restart(kind, &mut self.random);
        }
        // Not the error's inside: it may hold a backtrace, which is the test's own. Nor its digits: the time of day that a
        // person is told is the machine's.
        self.outside.event(&match &end {
            End::Failed(error) => {
                format!("ended with {}", error.to_string().replace(|c: char| c.is_ascii_digit(), "#"))
            }
            end => format!("ended {end:?}"),
        });
        self.auditor.lock().unwrap().audit(&self.disk, &self.outside, settings.judge.attempts_max);
        self.remove_staged();
        end
    }

    async fn run(
        &self,
        config: &LoadedConfig,
        plan: &Plan,
        vfs: &Vfs,
        crashed: &CancellationToken,
        stop: CancellationToken,
    ) -> End {
        let started = tokio::time::Instant::now();
        let goes_back = plan.clock_goes_back;
        let clock = Clock::simulated(move || {
            let elapsed = i64::try_from(started.elapsed().as_millis()).unwrap();
            EPOCH_MS + if goes_back { -elapsed } else { elapsed }
        });
        let acknowledge = match self.bug {
            Bug::AcknowledgesFirst => Acknowledge::BeforeCommit,
            _ => Acknowledge::AfterCommit,
        };
        let queue_max = self.machine.queue_max;
        let options = LedgerOptions { clock, vfs: Some(vfs.name()), acknowledge, queue_max };
        let context = match self.open(config, options, &stop) {
            Ok(context) => Arc::new(context),
            Err(error) => return End::Failed(error),
        };
        let (outside, disk) = (self.outside.clone(), Arc::clone(&self.disk));
        let (crash_after, stop_after) = (plan.crash_after_ms, plan.stop_after_ms);
        tokio::spawn(async move {
            match (crash_after, stop_after) {
                (Some(milliseconds), _) => {
                    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                    disk.crash();
                }
                (None, Some(milliseconds)) => {
                    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                    outside.fault("asked to stop");
                    stop.cancel();
                }
                (None, None) => {}
            }
        });
        tokio::select! {
            biased;
            () = crashed.cancelled() => End::Crashed,
            result = pipeline::run(&context) => match result {
                Ok(_) => End::Finished,
                Err(error) => End::Failed(error),
            },
            problem = self.outside.stuck() => {
                self.outside.breach(problem);
                End::Stuck
            }
        }
    }

    fn open(
        &self,
        config: &LoadedConfig,
        options: LedgerOptions,
        stop: &CancellationToken,
    ) -> Result<Context, RunError> {
        let settings = &config.settings;
        let (ledger, writer) = Ledger::open_inline(Path::new(ROOT), options)?;
        let observe = self.observer(settings.judge.attempts_max);
        let outside = self.outside.clone();
        tokio::spawn(writer.run(move || outside.pace(), observe));
        if self.bug == Bug::ChargesKills {
            self.charge_kills(&ledger);
        }
        let policy = match settings.policy.backend {
            PolicyBackend::Openai => {
                let channel = |_: &reqwest::Url| Ok(Channel::to_policy(&self.outside, self.bug));
                let client = ChatClient::over(&OpenAiPolicy::client_options(&settings.policy, None), channel);
                Policy::OpenAi(Box::new(OpenAiPolicy::over(client.unwrap(), &settings.policy, &settings.sampling)))
            }
            PolicyBackend::Candle => {
                let outside = self.outside.clone();
                let script = ScriptedPolicy::new("script-1", &settings.sampling, move |call| sample(&outside, call));
                Policy::Scripted(Box::new(script))
            }
        };
        let judge: Option<Arc<dyn Judge>> = match settings.judge.backend {
            JudgeBackend::None => None,
            _ => {
                let options = pipeline::judge_options(&settings.judge, None);
                Some(Arc::new(WatchedJudge::new(&self.outside, options, self.bug)))
            }
        };
        let outside = self.outside.clone();
        let threads = SimulatedThreads { pace: Arc::new(move || outside.work()), reads_max: self.machine.reads_max };
        let parts = Parts {
            publisher: Publisher::with_files(Path::new(ROOT), Box::new(SimulatedFiles(self.outside.clone()))),
            ledger,
            policy,
            judge,
            blocking: Blocking::Simulated(threads),
            wiring: if self.bug == Bug::NestedStages { Wiring::Nested } else { Wiring::Stages },
            lock: None,
        };
        let options = RunOptions {
            config: config.clone(),
            out_dir: ROOT.into(),
            row_limit: None,
            changes: ChangePolicy::Redo,
            hub: HubSettings::from_variables(|_| None),
            on_download: OnProgress::new(|_| {}),
        };
        Context::with_parts(options, parts, stop.clone())
    }

    /// The bug that takes a kill for a failure of the call that it cut: records one for each attempt without an end.
    fn charge_kills(&self, ledger: &Ledger) {
        let facts: Vec<Fact> = attempts_without_end(&self.disk)
            .into_iter()
            .map(|(request_key, attempt)| Fact::JudgeFailure {
                request_key,
                attempt,
                outcome: AttemptOutcome::TransportError,
                status: None,
                detail: "the process was killed".to_owned(),
            })
            .collect();
        let ledger = ledger.clone();
        tokio::spawn(async move { ledger.commit(facts).await });
    }

    /// Returns what looks at every acknowledgement; after every published shard the whole disk is audited.
    fn observer(
        &self,
        attempts_max: u32,
    ) -> impl FnMut(&[Fact], &Result<(), thinkloom::ledger::LedgerError>) + Send + use<> {
        let (outside, disk, auditor) = (self.outside.clone(), Arc::clone(&self.disk), Arc::clone(&self.auditor));
        move |facts, result| {
            if let Err(error) = result {
                outside.event(&format!("commit failed: {error}"));
                return;
            }
            if disk.is_crashed() {
                return;
            }
            for (name, content) in facts.iter().filter_map(name_of) {
                outside.acknowledge(name, content);
            }
            if facts.iter().any(|fact| matches!(fact, Fact::Shard(_))) {
                auditor.lock().unwrap().audit(&disk, &outside, attempts_max);
            }
        }
    }

    /// Removes what a dead process had staged, as the real directory's opening does.
    fn remove_staged(&self) {
        self.disk.begin(Faults::default());
        for name in self.disk.names() {
            if name.contains('#') {
                self.disk.remove(&name).unwrap();
            }
        }
    }

    /// Returns the operations of the last life that made something durable.
    pub fn points(&self) -> Vec<u64> {
        self.points.clone()
    }

    /// Returns the published files with their bytes. `spend.json` counts the calls that it took, interruptions included, so
    /// that its bytes are left out.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let bytes = |name: &String| self.disk.find(name).and_then(|file| self.disk.bytes(file)).unwrap();
        let compared = |name: &String| if name == "spend.json" { Vec::new() } else { bytes(name) };
        published(&self.disk).into_iter().map(|name| (name.clone(), compared(&name))).collect()
    }
}

/// The bound of `pipeline/limits.rs`, stated again from its description: three times the slots' worth of queries (of two
/// responses each where the budget is not full), at least two, and two more.
fn sampling_queries_max(config: &LoadedConfig) -> usize {
    let settings = &config.settings;
    let slots = match settings.policy.backend {
        PolicyBackend::Candle => settings.policy.slots,
        PolicyBackend::Openai => settings.policy.concurrency * settings.policy.base_urls.len(),
    };
    let per_query = match settings.sampling.budget {
        BudgetPolicy::Full => 2 * settings.sampling.samples_per_mode as usize,
        BudgetPolicy::Curtailed | BudgetPolicy::Frugal => 2,
    };
    (3 * slots).div_ceil(per_query).max(2) + 2
}
