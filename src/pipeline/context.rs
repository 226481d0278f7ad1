//! Everything a run stands on, checked and opened in an order that fails early and clearly.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::batches::{BatchOptions, Batches};
use super::changes;
use super::error::RunError;
use super::intake::{self, Input};
use super::journal::Charging;
use super::limits;
use super::opening::{
    batches_left, open_batch_api, open_budget, open_judge, open_policy, open_stored_judge, restore_policy,
};
use super::programs::Programs;
use super::progress::Progress;
use super::screen::Screen;
use super::sensitivity::Sensitivity;
use crate::config::identity::{ANSWERS_KEY, Contents, RunIdentity};
use crate::config::{JudgeBackend, LoadedConfig, Settings, Transport};
use crate::domain::Kind;
use crate::http::batch::BatchClient;
use crate::hub::{HubSettings, OnProgress};
use crate::judge::cost::Budget;
use crate::judge::{Flights, Judge, check, prompt};
use crate::ledger::{BatchItem, BatchRecord, Ledger, LedgerError, Reader, RunRecord};
use crate::policy::Policy;
use crate::shards::{self, Publisher, TABLES_VERSION};
use crate::sys::files::{DirLock, lock_dir};
use crate::verify;

/// What to do when something that decides the data changed since the last run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangePolicy {
    /// Say what changed and stop.
    Refuse,
    /// Redo what depends on it.
    Redo,
}

/// Where the facts of a run come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Facts {
    /// What is missing is sampled and asked for.
    Live,
    /// Those that are stored are all there is; verdicts are made where they are missing.
    Stored,
}

/// Whether a judge is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judging {
    /// For what has no stored reply.
    Asked,
    /// Never: stored replies are read.
    Read,
}

/// What a run is asked to do.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The config.
    pub config: LoadedConfig,
    /// The output directory.
    pub out_dir: PathBuf,
    /// Take only the first rows of the input.
    pub row_limit: Option<u64>,
    /// What to do about changes.
    pub changes: ChangePolicy,
    /// Where models that are no paths come from.
    pub hub: HubSettings,
    /// Who is told how far a model's download is.
    pub on_download: OnProgress,
}

/// What a run stands on besides its config: opened by [`Context::open`] over this machine, or given by a simulation.
pub struct Parts {
    /// The files.
    pub publisher: Publisher,
    /// The ledger.
    pub ledger: Ledger,
    /// The policy.
    pub policy: Policy,
    /// The judge, unless nobody judges.
    pub judge: Option<Arc<dyn Judge>>,
    /// Where work that blocks is done.
    pub blocking: Blocking,
    /// The hold on the output directory, if it is a real one.
    pub lock: Option<DirLock>,
}

/// Where work that blocks is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocking {
    /// On threads of the run-time, beside the async ones.
    Threads,
    /// By whoever asks, so that a run on one thread does everything in one order.
    Inline,
}

impl Blocking {
    /// Does a piece of work and returns its result.
    ///
    /// # Errors
    /// [`RunError::Internal`] if it panics on a thread of its own.
    pub async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, RunError> {
        match self {
            Self::Threads => {
                tokio::task::spawn_blocking(work).await.map_err(|error| RunError::Internal(error.to_string()))
            }
            Self::Inline => Ok(work()),
        }
    }
}

/// An opened run.
pub struct Context {
    /// The settings.
    pub settings: Settings,
    /// The output directory.
    pub dir: PathBuf,
    /// The policy.
    pub policy: Policy,
    /// The judge, unless nobody judges.
    pub judge: Option<Arc<dyn Judge>>,
    /// What runs programs.
    pub programs: Programs,
    /// Whether judge calls can be charged.
    pub charging: Charging,
    /// Where facts come from.
    pub facts: Facts,
    /// Whether the judge may be asked where facts are stored ones.
    pub judging: Judging,
    /// How a selection depends on its settings, gathered while shards are built, if that is wanted.
    pub sensitivity: Option<Mutex<Sensitivity>>,
    /// The ledger.
    pub ledger: Ledger,
    /// The files.
    pub publisher: Publisher,
    /// What decides the data.
    pub identity: RunIdentity,
    /// The run as the ledger knows it.
    pub run: RunRecord,
    /// Input rows of the run.
    pub rows: u64,
    /// Short hash over all prompts.
    pub prompt_version: String,
    /// The requests under way, by their content addresses.
    pub flights: Flights,
    /// What judge calls may cost, if that is limited.
    pub budget: Option<Arc<Budget>>,
    /// The batches of judge calls, if there are any.
    pub batches: Option<Batches>,
    /// Counters.
    pub progress: Arc<Progress>,
    /// Set when the run is to stop.
    pub stop: CancellationToken,
    /// Where work that blocks is done.
    pub blocking: Blocking,
    readers: Mutex<Vec<Reader>>,
    /// As many reads at once as [`limits::reads_max`]: each has a connection with a page cache of its own.
    read_permits: Arc<Semaphore>,
    _lock: Option<DirLock>,
}

impl Context {
    /// Opens a run: input, directory, model, judge, ledger; compares with the last run of the directory. Blocks for
    /// seconds, or as long as the model's download takes. To be called on a blocking thread of a tokio run-time.
    ///
    /// # Errors
    /// [`RunError`], with nothing changed but the directory, its ledger and a stored intake.
    pub fn open(options: RunOptions, stop: CancellationToken) -> Result<Self, RunError> {
        let RunOptions { config, out_dir, hub, on_download, .. } = &options;
        let settings = &config.settings;
        let input = intake::open(config)?;
        let lock = lock_dir(out_dir)?;
        let publisher = Publisher::new(out_dir)?;
        for name in shards::remove_staged(out_dir)? {
            tracing::info!("removed {name}, which an interrupted run had not finished writing");
        }
        let policy = open_policy(config, hub, on_download, &stop)?;
        let judge = open_judge(settings, &policy)?;
        let ledger = Ledger::open(out_dir)?;
        let parts = Parts { publisher, ledger, policy, judge, blocking: Blocking::Threads, lock: Some(lock) };
        Self::assemble(options, input, parts, stop)
    }

    /// Opens a run over parts that the caller chose; the options' output directory is only what messages name. Blocks.
    ///
    /// # Errors
    /// As [`Context::open`].
    pub fn with_parts(options: RunOptions, parts: Parts, stop: CancellationToken) -> Result<Self, RunError> {
        let input = intake::open(&options.config)?;
        Self::assemble(options, input, parts, stop)
    }

    fn assemble(options: RunOptions, input: Input, parts: Parts, stop: CancellationToken) -> Result<Self, RunError> {
        let RunOptions { config, out_dir, row_limit, changes, .. } = options;
        let Parts { publisher, ledger, policy, judge, blocking, lock } = parts;
        let settings = config.settings;
        // Only a real directory has room for an index beside the ledger.
        let mut screen = Screen::new(&settings.verify);
        let stored = intake::store(&input, &ledger, lock.is_some().then_some(out_dir.as_path()), &mut screen)?;
        let has_programs = ledger.reader()?.intake_holds(&input.digest, Kind::Code)?;
        let programs = match screen.into_pool() {
            _ if !has_programs => Programs::none(&settings.verify),
            Some(pool) => Programs::with_pool(&settings.verify, pool),
            None => Programs::open(&settings.verify),
        };
        let read = ReadInput { digest: &input.digest, answers: input.answers(), row_limit };
        let identity = identify(&settings, read, &policy, &programs);
        let rows = row_limit.map_or(stored, |limit| limit.min(stored));
        let run = RunRecord {
            fingerprint: identity.fingerprint(),
            identity: identity.to_json(),
            input_digest: input.digest,
            row_limit,
            queries_per_shard: settings.output.queries_per_shard,
            settings: toml::to_string(&settings).unwrap_or_default(),
            policy: serde_json::to_string(policy.identity()).unwrap_or_default(),
        };
        let prompt_version = prompt_version(&policy);
        let api = open_batch_api(&settings)?;
        let left = batches_left(&ledger.reader()?, api.as_ref())?;
        let budget = open_budget(&settings, &ledger.reader()?, &left)?;
        let charging = charging(&settings);
        let mut context = Self {
            settings,
            dir: out_dir,
            policy,
            judge,
            programs,
            charging,
            facts: Facts::Live,
            judging: Judging::Asked,
            sensitivity: None,
            ledger,
            publisher,
            identity,
            run,
            rows,
            prompt_version,
            flights: Flights::default(),
            budget,
            batches: None,
            progress: Arc::new(Progress::new(rows)),
            stop,
            blocking,
            readers: Mutex::default(),
            read_permits: Arc::new(Semaphore::new(limits::reads_max())),
            _lock: lock,
        };
        changes::confirm(&context, changes)?;
        context.batches = context.start_batches(api, left);
        Ok(context)
    }

    /// Opens what stored facts alone give: the ledger of `dir` is a copy, and its last run is decided again under other
    /// settings. Loads no model and calls nobody, unless the judge may be asked. Blocks.
    ///
    /// # Errors
    /// [`RunError`] if the facts cannot be used.
    pub fn open_stored(options: StoredOptions, lock: DirLock, stop: CancellationToken) -> Result<Self, RunError> {
        let StoredOptions { dir, settings, last, judging } = options;
        let publisher = Publisher::new(&dir)?;
        let ledger = Ledger::open(&dir)?;
        let reader = ledger.reader()?;
        let policy = restore_policy(&settings, &last, &reader)?;
        let judge = open_stored_judge(&settings, &policy, judging)?;
        let has_programs = reader.intake_holds(&last.input_digest, Kind::Code)?;
        let programs = if has_programs { Programs::open(&settings.verify) } else { Programs::none(&settings.verify) };
        let read = ReadInput { digest: &last.input_digest, answers: answers_of(&last)?, row_limit: last.row_limit };
        let identity = identify(&settings, read, &policy, &programs).of_stored_facts();
        let stored = reader.intake_rows(&last.input_digest)?;
        let rows = last.row_limit.map_or(stored, |limit| limit.min(stored));
        let run = RunRecord {
            fingerprint: identity.fingerprint(),
            identity: identity.to_json(),
            queries_per_shard: settings.output.queries_per_shard,
            settings: toml::to_string(&settings).unwrap_or_default(),
            ..last
        };
        let budget = open_budget(&settings, &reader, &[])?;
        Ok(Self {
            sensitivity: Some(Mutex::new(Sensitivity::new(&settings))),
            prompt_version: prompt_version(&policy),
            charging: charging(&settings),
            settings,
            dir,
            policy,
            judge,
            programs,
            facts: Facts::Stored,
            judging,
            ledger,
            publisher,
            identity,
            run,
            rows,
            flights: Flights::default(),
            budget,
            batches: None,
            progress: Arc::new(Progress::new(rows)),
            stop,
            blocking: Blocking::Threads,
            readers: Mutex::default(),
            read_permits: Arc::new(Semaphore::new(limits::reads_max())),
            _lock: Some(lock),
        })
    }

    /// Starts what carries batches of judge calls, if calls go in batches or an earlier start left some under way.
    fn start_batches(&self, api: Option<BatchClient>, left: Vec<(BatchRecord, Vec<BatchItem>)>) -> Option<Batches> {
        let is_wanted = self.settings.judge.transport == Transport::Batch || !left.is_empty();
        let options = BatchOptions {
            api: api.filter(|_| is_wanted)?,
            ledger: self.ledger.clone(),
            settings: self.settings.judge.batch.clone(),
            prices: self.settings.judge.prices_usd_per_mtok.clone(),
            progress: Arc::clone(&self.progress),
            budget: self.budget.clone(),
            stop: self.stop.clone(),
            capacity: limits::judging_queries_max(&self.settings),
            left,
        };
        Some(Batches::start(options))
    }

    /// Runs a blocking function over a reader of the ledger, away from the async threads.
    ///
    /// # Errors
    /// The function's own; [`RunError::Internal`] if it panics.
    pub async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self, &Reader) -> Result<T, RunError> + Send + 'static,
    ) -> Result<T, RunError> {
        // Never closed.
        let permit = Arc::clone(&self.read_permits).acquire_owned().await.ok();
        let context = Arc::clone(self);
        let read = move || {
            let _permit = permit;
            let spare = context.readers().pop();
            let reader = spare.map_or_else(|| context.ledger.reader(), Ok::<_, LedgerError>)?;
            let result = work(&context, &reader);
            context.readers().push(reader);
            result
        };
        self.blocking.run(read).await?
    }

    fn readers(&self) -> std::sync::MutexGuard<'_, Vec<Reader>> {
        // Readers are put back whole or not at all.
        self.readers.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Returns whether justifications that are not stored are asked for.
    #[must_use]
    pub fn asks_judge(&self) -> bool {
        self.judging == Judging::Asked
    }

    /// Returns the number of shards of the run.
    #[must_use]
    pub fn shard_count(&self) -> u64 {
        self.rows.div_ceil(self.run.queries_per_shard)
    }

    /// Returns the input rows that a shard covers.
    #[must_use]
    pub fn shard_range(&self, index: u64) -> std::ops::Range<u64> {
        let start = index * self.run.queries_per_shard;
        start..(start + self.run.queries_per_shard).min(self.rows)
    }
}

/// Returns a short hash over all prompts.
fn prompt_version(policy: &Policy) -> String {
    let prompts = format!("{}{}", policy.identity().prompts, prompt::prompt_hash());
    hex::encode(&Sha256::digest(prompts.as_bytes())[..6])
}

fn charging(settings: &Settings) -> Charging {
    if settings.judge.backend == JudgeBackend::Openai { Charging::Charged } else { Charging::Free }
}

/// What is decided again from stored facts.
#[derive(Debug, Clone)]
pub struct StoredOptions {
    /// The output directory, with its copy of the ledger.
    pub dir: PathBuf,
    /// The settings.
    pub settings: Settings,
    /// The run that is decided again.
    pub last: RunRecord,
    /// Whether the judge may be asked.
    pub judging: Judging,
}

/// The input as it was read.
struct ReadInput<'a> {
    digest: &'a str,
    /// See [`Contents::answers`].
    answers: Option<String>,
    row_limit: Option<u64>,
}

/// Returns what the answers of choice questions were found to be in an earlier run.
fn answers_of(run: &RunRecord) -> Result<Option<String>, RunError> {
    let identity: RunIdentity = serde_json::from_str(&run.identity)
        .map_err(|error| LedgerError::Unreadable { kind: "run", detail: error.to_string() })?;
    Ok(identity.parts().get(ANSWERS_KEY).cloned())
}

fn identify(settings: &Settings, input: ReadInput<'_>, policy: &Policy, programs: &Programs) -> RunIdentity {
    let contents = Contents {
        input: input.digest.to_owned(),
        policy: policy.fingerprint(),
        judge_prompt: prompt::prompt_hash(),
        checks: check::CHECKS_VERSION.to_string(),
        verifier: verify::VERSION.to_string(),
        sandbox: programs.lack().map(str::to_owned),
        tables: TABLES_VERSION.to_string(),
        answers: input.answers,
    };
    RunIdentity::new(settings, &contents, input.row_limit)
}
