//! Everything a run stands on, checked and opened in an order that fails early and clearly.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::SecretString;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::batches::{BatchOptions, Batches, usage_of};
use super::changes;
use super::error::RunError;
use super::intake;
use super::journal::Charging;
use super::limits;
use super::memory;
use super::programs::Programs;
use super::progress::Progress;
use super::sensitivity::Sensitivity;
use crate::config::identity::{Contents, RunIdentity};
use crate::config::{
    JudgeBackend, JudgeSettings, LoadedConfig, PolicyBackend, PolicySettings, SamplingSettings, Settings, Transport,
};
use crate::domain::{Kind, ResolvedModel};
use crate::http::batch::BatchClient;
use crate::http::retry::raised_cap;
use crate::hub::{self, HubSettings, ModelReference, OnProgress};
use crate::judge::cost::{Budget, Usage, Way, cost_max_usd, cost_usd};
use crate::judge::openai::{JsonMode, OpenAiJudge, OpenAiOptions};
use crate::judge::policy::PolicyJudge;
use crate::judge::{Flights, Judge, check, prompt, reply};
use crate::ledger::{BatchItem, BatchRecord, Ledger, LedgerError, OpenCall, Reader, RunRecord};
use crate::policy::{Addresses, CandlePolicy, OpenAiPolicy, Policy, PolicyError, PolicyIdentity};
use crate::shards::{self, Publisher, TABLES_VERSION};
use crate::sys::clock::unix_ms;
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
    readers: Mutex<Vec<Reader>>,
    _lock: DirLock,
}

impl Context {
    /// Opens a run: input, directory, model, judge, ledger; compares with the last run of the directory. Blocks for
    /// seconds, or as long as the model's download takes. To be called on a blocking thread of a tokio run-time.
    ///
    /// # Errors
    /// [`RunError`], with nothing changed but the directory, its ledger and a stored intake.
    pub fn open(options: RunOptions, stop: CancellationToken) -> Result<Self, RunError> {
        let RunOptions { config, out_dir, row_limit, changes, hub, on_download } = options;
        let settings = config.settings.clone();
        let input = intake::open(&config)?;
        let lock = lock_dir(&out_dir)?;
        let publisher = Publisher::new(&out_dir)?;
        for name in shards::remove_staged(&out_dir)? {
            tracing::info!("removed {name}, which an interrupted run had not finished writing");
        }
        let policy = open_policy(&config, &hub, &on_download, &stop)?;
        let judge = open_judge(&settings, &policy)?;
        let ledger = Ledger::open(&out_dir)?;
        let stored = intake::store(&input, &ledger, &out_dir)?;
        let has_programs = ledger.reader()?.intake_holds(&input.digest, Kind::Code)?;
        let programs = if has_programs { Programs::open(&settings.verify) } else { Programs::none() };
        let identity = identify(&settings, &input.digest, &policy, &programs, row_limit);
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
            readers: Mutex::default(),
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
        let programs = if has_programs { Programs::open(&settings.verify) } else { Programs::none() };
        let identity = identify(&settings, &last.input_digest, &policy, &programs, last.row_limit).of_stored_facts();
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
            readers: Mutex::default(),
            _lock: lock,
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
        let context = Arc::clone(self);
        let run = move || {
            let spare = context.readers().pop();
            let reader = spare.map_or_else(|| context.ledger.reader(), Ok::<_, LedgerError>)?;
            let result = work(&context, &reader);
            context.readers().push(reader);
            result
        };
        tokio::task::spawn_blocking(run).await.map_err(|error| RunError::Internal(error.to_string()))?
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

/// Restores a policy whose responses are stored.
fn restore_policy(settings: &Settings, last: &RunRecord, reader: &Reader) -> Result<Policy, RunError> {
    if settings.policy.backend == PolicyBackend::Openai {
        return Ok(Policy::OpenAi(Box::new(open_api_policy(&settings.policy, &settings.sampling)?)));
    }
    let unreadable = |detail: String| LedgerError::Unreadable { kind: "run", detail };
    let identity: PolicyIdentity = serde_json::from_str(&last.policy).map_err(|error| unreadable(error.to_string()))?;
    let source = reader.prompter(&identity.prompts)?.ok_or(RunError::PromptsUnknown)?;
    let prompter = serde_json::from_str(&source).map_err(|error| unreadable(error.to_string()))?;
    let prompts = identity.prompts.clone();
    let addresses =
        Addresses::restore(&prompter, identity, &settings.policy, &settings.sampling).map_err(PolicyError::from)?;
    if addresses.prompter().hash() != prompts {
        return Err(RunError::PromptsUnknown);
    }
    Ok(Policy::stored(addresses))
}

fn open_stored_judge(
    settings: &Settings,
    policy: &Policy,
    judging: Judging,
) -> Result<Option<Arc<dyn Judge>>, RunError> {
    match (settings.judge.backend, judging) {
        (JudgeBackend::None, _) => Ok(None),
        (JudgeBackend::Policy, Judging::Read) => {
            Ok(Some(Arc::new(PolicyJudge::stored(policy.identity(), settings.judge.max_tokens))))
        }
        (JudgeBackend::Policy, Judging::Asked) => Err(RunError::Judge {
            message: "the local policy is the judge, and its model is not loaded here".to_owned(),
            hint: "leave --judge out; then `thinkloom run` with the same settings, -o and --reconfigure asks it"
                .to_owned(),
        }),
        (JudgeBackend::Openai, Judging::Read) => Ok(Some(Arc::new(build_api_judge(&settings.judge, None)?))),
        (JudgeBackend::Openai, Judging::Asked) => Ok(Some(Arc::new(open_api_judge(&settings.judge)?))),
    }
}

/// The most that a judge call of an older format may have used: a prompt as long as they get.
const UNSIZED_PROMPT_TOKENS: u64 = 16_000;

/// Opens the budget with what stored replies of an API cost, and with the most that calls without one may have cost but
/// for those in batches that are carried on. A reply that does not say its tokens counts by its size.
fn open_budget(
    settings: &Settings,
    reader: &Reader,
    left: &[(BatchRecord, Vec<BatchItem>)],
) -> Result<Option<Arc<Budget>>, RunError> {
    let JudgeSettings { backend, budget_usd, prices_usd_per_mtok: prices, transport, .. } = &settings.judge;
    if *budget_usd == 0.0 || *backend != JudgeBackend::Openai {
        return Ok(None);
    }
    let mut spent_usd = 0.0;
    reader.for_each_reply(|record| {
        if !reply::is_local(record.body) {
            let size = Usage { completion_tokens: record.body.len() as u64, ..Usage::default() };
            let usage = reply::usage(record.body).unwrap_or(size);
            let way = if record.is_batched { Way::Batch } else { Way::Call };
            // A batch without its factor, from a time without a budget, counts as much as a call.
            let cost = cost_usd(&usage, prices, record.unix_ms, way);
            spent_usd += cost.or_else(|| cost_max_usd(&usage, prices, Way::Call)).unwrap_or(0.0);
        }
    })?;
    for OpenCall { size, batch_key, is_under_way } in reader.open_calls()? {
        let is_left = batch_key.as_ref().is_some_and(|key| left.iter().any(|(record, _)| record.batch_key == *key));
        if is_under_way && is_left {
            continue;
        }
        let unsized_call = Usage {
            prompt_tokens: UNSIZED_PROMPT_TOKENS,
            cache_hit_tokens: None,
            completion_tokens: u64::from(raised_cap(settings.judge.max_tokens)),
        };
        let usage = size.map_or(unsized_call, usage_of);
        spent_usd += cost_max_usd(&usage, prices, Way::Call).unwrap_or(0.0);
    }
    let way = if *transport == Transport::Batch { Way::Batch } else { Way::Call };
    Ok(Some(Arc::new(Budget::new(*budget_usd, prices.clone(), way, unix_ms, spent_usd))))
}

/// Builds the client of the judge's batch API, if the judge is an API.
fn open_batch_api(settings: &Settings) -> Result<Option<BatchClient>, RunError> {
    let JudgeSettings { backend, base_url, api_key_env, timeout_s, .. } = &settings.judge;
    if *backend != JudgeBackend::Openai {
        return Ok(None);
    }
    let key = std::env::var(api_key_env).ok().filter(|key| !key.trim().is_empty());
    let client = BatchClient::new(base_url, key.map(SecretString::from), Duration::from_secs(*timeout_s));
    client.map(Some).map_err(|error| RunError::Judge { message: error.to_string(), hint: error.hint().to_owned() })
}

/// Returns the batches that earlier starts left under way at this provider; warns of those at another.
fn batches_left(reader: &Reader, api: Option<&BatchClient>) -> Result<Vec<(BatchRecord, Vec<BatchItem>)>, RunError> {
    let mut left = Vec::new();
    for record in reader.batches()?.under_way {
        if api.is_some_and(|api| api.base_url() == record.base_url) {
            let items = reader.batch_items(&record.batch_key)?;
            left.push((record, items));
        } else {
            let BatchRecord { batch_key, base_url, requests, .. } = record;
            tracing::warn!(
                "batch {batch_key} ({requests} requests) is still under way at {base_url}; its replies come in when \
                 judge.base_url is that again"
            );
        }
    }
    Ok(left)
}

/// Opens the policy: finds or downloads the model and loads it, or builds the client. To be called on a blocking thread
/// of a tokio run-time.
///
/// # Errors
/// [`RunError`] if the model cannot be used.
pub fn open_policy(
    config: &LoadedConfig,
    hub: &HubSettings,
    on_download: &OnProgress,
    stop: &CancellationToken,
) -> Result<Policy, RunError> {
    let settings = &config.settings;
    if settings.policy.backend == PolicyBackend::Openai {
        return Ok(Policy::OpenAi(Box::new(open_api_policy(&settings.policy, &settings.sampling)?)));
    }
    // Before anything is downloaded.
    memory::check(&settings.policy)?;
    let model = resolve_model(config, hub, on_download, stop)?;
    Ok(Policy::Candle(Arc::new(CandlePolicy::load(&model, &settings.policy, &settings.sampling)?)))
}

/// Builds the policy behind HTTP; the key, if there is one, comes from the environment.
///
/// # Errors
/// [`RunError::PolicyServer`] if an address or the key cannot be used.
pub fn open_api_policy(policy: &PolicySettings, sampling: &SamplingSettings) -> Result<OpenAiPolicy, RunError> {
    let key = std::env::var(&policy.api_key_env).ok().filter(|key| !key.trim().is_empty());
    OpenAiPolicy::new(policy, sampling, key.map(SecretString::from)).map_err(|error| RunError::PolicyServer {
        status: None,
        message: format!("cannot {error}"),
        hint: error.hint().to_owned(),
    })
}

/// Finds the model, or downloads it until `stop` says otherwise.
fn resolve_model(
    config: &LoadedConfig,
    hub: &HubSettings,
    on_download: &OnProgress,
    stop: &CancellationToken,
) -> Result<ResolvedModel, RunError> {
    let reference = ModelReference::parse(&config.settings.policy.model, &config.base_dirs())?;
    let runtime = Handle::try_current().map_err(|error| RunError::Internal(error.to_string()))?;
    let resolved = runtime.block_on(stop.run_until_cancelled(hub::resolve(&reference, hub, on_download)));
    let model = resolved.ok_or(RunError::Stopped)??;
    if let Some(commit) = &model.commit {
        tracing::info!("model {}, commit {commit}, in {}", model.name, model.path.display());
    }
    Ok(model)
}

fn identify(
    settings: &Settings,
    input_digest: &str,
    policy: &Policy,
    programs: &Programs,
    row_limit: Option<u64>,
) -> RunIdentity {
    let contents = Contents {
        input: input_digest.to_owned(),
        policy: policy.fingerprint(),
        judge_prompt: prompt::prompt_hash(),
        checks: check::CHECKS_VERSION.to_string(),
        verifier: verify::VERSION.to_string(),
        sandbox: programs.lack().map(str::to_owned),
        tables: TABLES_VERSION.to_string(),
    };
    RunIdentity::new(settings, &contents, row_limit)
}

fn open_judge(settings: &Settings, policy: &Policy) -> Result<Option<Arc<dyn Judge>>, RunError> {
    match settings.judge.backend {
        JudgeBackend::None => Ok(None),
        JudgeBackend::Policy => {
            let Policy::Candle(policy) = policy else {
                return Err(RunError::Internal("a policy behind HTTP cannot judge itself".to_owned()));
            };
            let judge = PolicyJudge::new(Arc::clone(policy), settings.judge.max_tokens);
            Ok(Some(Arc::new(judge)))
        }
        JudgeBackend::Openai => Ok(Some(Arc::new(open_api_judge(&settings.judge)?))),
    }
}

/// Returns whether a server is on the loopback address, where no key is needed.
fn is_on_this_machine(base_url: &str) -> bool {
    let authority = base_url.split("://").nth(1).unwrap_or_default();
    ["127.", "localhost", "[::1]"].iter().any(|host| authority.starts_with(host))
}

/// Builds the HTTP judge; the key comes from the environment. A server on this machine needs none.
///
/// # Errors
/// [`RunError::Judge`] if the key is missing or an option cannot be used.
pub fn open_api_judge(settings: &JudgeSettings) -> Result<OpenAiJudge, RunError> {
    let key = std::env::var(&settings.api_key_env).ok().filter(|key| !key.trim().is_empty());
    let mut base_urls = std::iter::once(&settings.base_url).chain(&settings.more_base_urls);
    let is_local = base_urls.all(|url| is_on_this_machine(url));
    if key.is_none() && !is_local {
        return Err(RunError::Judge {
            message: format!("the environment variable {} holds no key", settings.api_key_env),
            hint: format!("export {}=..., or set judge.backend = \"policy\"", settings.api_key_env),
        });
    }
    build_api_judge(settings, key)
}

fn build_api_judge(settings: &JudgeSettings, key: Option<String>) -> Result<OpenAiJudge, RunError> {
    let base_urls = std::iter::once(&settings.base_url).chain(&settings.more_base_urls).cloned().collect();
    let extra: serde_json::Map<String, serde_json::Value> = settings.extra.clone().into_iter().collect();
    let mut options = OpenAiOptions::new(&settings.base_url, &settings.model);
    options.api_key = key.map(SecretString::from);
    options.concurrency_max = settings.concurrency_max;
    options.requests_per_minute = settings.requests_per_minute;
    options.tokens_per_minute = settings.tokens_per_minute;
    options.base_urls = base_urls;
    options.streaming = settings.stream;
    options.timeout = Duration::from_secs(settings.timeout_s);
    options.max_tokens = settings.max_tokens;
    options.json_mode = if settings.json_mode { JsonMode::On } else { JsonMode::Off };
    options.extra = (!extra.is_empty()).then_some(extra);
    OpenAiJudge::new(options)
        .map_err(|error| RunError::Judge { message: error.to_string(), hint: error.hint().to_owned() })
}
