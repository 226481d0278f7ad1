//! Opens a run: checks and opens its parts in an order that fails early, before costly steps.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::actors::Actors;
use super::batches::{BatchOptions, Batches};
use super::blocking::Blocking;
use super::context::Context;
use super::error::RunError;
use super::identity::{ReadInput, Run, identify, prompt_version};
use super::intake::{self, Input};
use super::opening::{
    batches_left, judge_breaker, open_batch_api, open_budget, open_judge, open_policy, patience, policy_breaker,
    remember_refusals,
};
use super::options::{Facts, Judging, RunOptions, Wiring};
use super::programs::Programs;
use super::progress::Progress;
use super::screen::Screen;
use super::stores::Stores;
use super::thinking::ThinkingWatch;
use super::{changes, directory, limits};
use crate::config::{PolicyBackend, Transport};
use crate::domain::Kind;
use crate::http::batch::BatchClient;
use crate::judge::Judge;
use crate::ledger::{BatchItem, BatchRecord, Ledger, RunRecord};
use crate::policy::Policy;
use crate::shards::{self, Publisher};
use crate::sys::files::{DirLock, LOCK_PATIENCE, lock_dir_patiently};

/// The parts of a run beside its config: opened by [`Context::open`] on this machine, or supplied by a simulation.
pub struct Parts {
    /// The files.
    pub publisher: Publisher,
    /// The ledger.
    pub ledger: Ledger,
    /// The policy.
    pub policy: Policy,
    /// The judge, if the run has one.
    pub judge: Option<Arc<dyn Judge>>,
    /// Where blocking work runs.
    pub blocking: Blocking,
    /// How the stages are connected.
    pub wiring: Wiring,
    /// The lock of the output directory, if it is a real one.
    pub lock: Option<DirLock>,
}

impl Context {
    /// Opens a run: input, directory, model, judge, ledger; compares it with the last run of the directory. Blocks for
    /// seconds, or until the model is downloaded. Call it on a blocking thread of a tokio runtime.
    ///
    /// # Errors
    /// [`RunError`]. Nothing is changed then, except that the directory, its ledger and a stored intake may exist.
    pub fn open(options: RunOptions, stop: CancellationToken) -> Result<Self, RunError> {
        let RunOptions { config, out_dir, hub, on_download, .. } = &options;
        let settings = &config.settings;
        // Before any file is read or created.
        directory::refuse_foreign(out_dir)?;
        tracing::info!("reading the input");
        let input = intake::open(config, Some(out_dir))?;
        let lock = lock_dir_patiently(out_dir, LOCK_PATIENCE, || stop.is_cancelled());
        let lock = lock.map_err(|error| if stop.is_cancelled() { RunError::Stopped } else { error.into() })?;
        let publisher = Publisher::new(out_dir)?;
        for name in shards::remove_staged(out_dir)? {
            tracing::info!("removed {name}, which an interrupted run had not finished writing");
        }
        if settings.policy.backend == PolicyBackend::Candle {
            tracing::info!("loading the model {}", settings.policy.model);
        }
        let policy = open_policy(config, hub, on_download, &stop)?;
        let judge = open_judge(settings, &policy)?;
        let ledger = Ledger::open(out_dir)?;
        let (blocking, wiring) = (Blocking::Threads, Wiring::Stages);
        let parts = Parts { publisher, ledger, policy, judge, blocking, wiring, lock: Some(lock) };
        Self::assemble(options, input, parts, stop)
    }

    /// Opens a run over parts that the caller supplies. The options' output directory is only named in messages.
    /// Blocks.
    pub fn with_parts(options: RunOptions, parts: Parts, stop: CancellationToken) -> Result<Self, RunError> {
        let input = intake::open(&options.config, None)?;
        Self::assemble(options, input, parts, stop)
    }

    fn assemble(options: RunOptions, input: Input, parts: Parts, stop: CancellationToken) -> Result<Self, RunError> {
        let RunOptions { config, out_dir, row_limit, changes, .. } = options;
        let Parts { publisher, ledger, policy, judge, blocking, wiring, lock } = parts;
        let settings = config.settings;
        // Only a real directory has a place for an index beside the ledger.
        let mut screen = Screen::new(&settings.verify);
        remember_refusals(&policy, judge.as_deref(), &ledger)?;
        let stored = intake::store(&input, &ledger, lock.is_some().then_some(out_dir.as_path()), &mut screen)?;
        let has_programs = ledger.reader()?.intake_holds(&input.digest, Kind::Code)?;
        let programs = match screen.into_pool() {
            _ if !has_programs => Programs::none(&settings.verify),
            Some(pool) => Programs::with_pool(&settings.verify, pool),
            None => Programs::open(&settings.verify),
        };
        let read = ReadInput { digest: &input.digest, answers: input.answers(), row_limit };
        let identity = identify(&settings, read, &policy, &programs).with_retries(ledger.reader()?.retry_rounds()?);
        let rows = row_limit.map_or(stored, |limit| limit.min(stored));
        let record = RunRecord {
            fingerprint: identity.fingerprint(),
            identity: identity.to_json(),
            input_digest: input.digest,
            row_limit,
            queries_per_shard: settings.output.queries_per_shard,
            settings: toml::to_string(&settings).unwrap_or_default(),
            policy: serde_json::to_string(policy.identity()).unwrap_or_default(),
        };
        let prompt_version = prompt_version(&policy);
        let (facts, judging) = (Facts::Live, Judging::Asked);
        let run = Run { settings, dir: out_dir, identity, record, rows, prompt_version, facts, judging };
        let api = open_batch_api(&run.settings)?;
        let left = batches_left(&ledger.reader()?, api.as_ref())?;
        let budget = open_budget(&run.settings, &ledger.reader()?, &left)?;
        let (has_responses, has_replies) = ledger.reader()?.holds_any()?;
        let policy_breaker = policy_breaker(&run.settings, &policy, has_responses);
        let judge_breaker = judge_breaker(&run.settings, judge.as_deref(), has_replies);
        let actors = Actors::new(policy, judge, programs, blocking.clone());
        let mut context = Self {
            actors: Actors { budget, policy_breaker, judge_breaker, ..actors },
            progress: Arc::new(Progress::new(rows)),
            thinking: ThinkingWatch::default(),
            sensitivity: None,
            stop,
            wiring,
            stores: Arc::new(Stores::new(ledger, publisher, blocking, lock)),
            run,
        };
        let reader = context.stores.ledger.reader()?;
        changes::confirm(&context.run, &context.actors, &reader, changes)?;
        drop(reader);
        context.actors.batches = context.start_batches(api, left);
        Ok(context)
    }

    /// Starts the batch task, if calls go in batches or an earlier start left some in progress.
    fn start_batches(&self, api: Option<BatchClient>, left: Vec<(BatchRecord, Vec<BatchItem>)>) -> Option<Batches> {
        let Run { settings, .. } = &self.run;
        let is_wanted = settings.judge.transport == Transport::Batch || !left.is_empty();
        let options = BatchOptions {
            api: api.filter(|_| is_wanted)?,
            judge: self.actors.judge.clone(),
            ledger: self.stores.ledger.clone(),
            settings: settings.judge.batch.clone(),
            prices: settings.judge.prices_usd_per_mtok.clone(),
            progress: Arc::clone(&self.progress),
            budget: self.actors.budget.clone(),
            patience: patience(settings.judge.patience_s),
            stop: self.stop.clone(),
            capacity: limits::judging_queries_max(settings),
            left,
        };
        Some(Batches::start(options))
    }
}
