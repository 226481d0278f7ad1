//! Everything a run stands on, checked and opened in an order that fails early and clearly.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::SecretString;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::error::RunError;
use super::intake::{self, Input};
use super::journal::Charging;
use super::memory;
use super::programs::Programs;
use super::progress::Progress;
use crate::config::identity::{Contents, RunIdentity};
use crate::config::{
    JudgeBackend, JudgeSettings, LoadedConfig, PolicyBackend, PolicySettings, SamplingSettings, Settings,
};
use crate::domain::{Kind, ResolvedModel};
use crate::hub::{self, HubSettings, ModelReference, OnProgress};
use crate::judge::cost::{Budget, Usage, cost_usd};
use crate::judge::openai::{JsonMode, OpenAiJudge, OpenAiOptions};
use crate::judge::policy::PolicyJudge;
use crate::judge::{Flights, Judge, check, prompt, reply};
use crate::ledger::{Ledger, LedgerError, Reader, RunRecord};
use crate::policy::{CandlePolicy, OpenAiPolicy, Policy};
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
        let stored = intake::store(&input, &ledger)?;
        let has_programs = ledger.reader()?.intake_holds(&input.digest, Kind::Code)?;
        let programs = if has_programs { Programs::open(&settings.verify) } else { Programs::none() };
        let identity = identify(&settings, &input, &policy, &programs, row_limit);
        compare_with_last(&ledger.reader()?, &identity, changes)?;
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
        let prompts = format!("{}{}", policy.identity().prompts, prompt::prompt_hash());
        let prompt_version = hex::encode(&Sha256::digest(prompts.as_bytes())[..6]);
        let budget = open_budget(&settings, &ledger.reader()?)?;
        let charging = if settings.judge.backend == JudgeBackend::Openai { Charging::Charged } else { Charging::Free };
        Ok(Self {
            settings,
            dir: out_dir,
            policy,
            judge,
            programs,
            charging,
            ledger,
            publisher,
            identity,
            run,
            rows,
            prompt_version,
            flights: Flights::default(),
            budget,
            progress: Arc::new(Progress::new(rows)),
            stop,
            readers: Mutex::default(),
            _lock: lock,
        })
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

/// Opens the budget with what stored replies of an API cost. A reply that does not say its tokens counts by its size.
fn open_budget(settings: &Settings, reader: &Reader) -> Result<Option<Arc<Budget>>, RunError> {
    let JudgeSettings { backend, budget_usd, prices_usd_per_mtok: prices, .. } = &settings.judge;
    if *budget_usd == 0.0 || *backend != JudgeBackend::Openai {
        return Ok(None);
    }
    let mut spent_usd = 0.0;
    reader.for_each_reply(|body| {
        if !reply::is_local(body) {
            let size = Usage { completion_tokens: body.len() as u64, ..Usage::default() };
            spent_usd += cost_usd(&reply::usage(body).unwrap_or(size), prices).unwrap_or(0.0);
        }
    })?;
    Ok(Some(Arc::new(Budget::new(*budget_usd, prices.clone(), spent_usd))))
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
    input: &Input,
    policy: &Policy,
    programs: &Programs,
    row_limit: Option<u64>,
) -> RunIdentity {
    let contents = Contents {
        input: input.digest.clone(),
        policy: policy.fingerprint(),
        judge_prompt: prompt::prompt_hash(),
        checks: check::CHECKS_VERSION.to_string(),
        verifier: verify::VERSION.to_string(),
        sandbox: programs.lack().map(str::to_owned),
        tables: TABLES_VERSION.to_string(),
    };
    RunIdentity::new(settings, &contents, row_limit)
}

fn compare_with_last(reader: &Reader, identity: &RunIdentity, changes: ChangePolicy) -> Result<(), RunError> {
    let Some(last) = reader.latest_run()? else { return Ok(()) };
    let earlier: RunIdentity = serde_json::from_str(&last.identity)
        .map_err(|error| LedgerError::Unreadable { kind: "run", detail: error.to_string() })?;
    let found = identity.changes_from(&earlier);
    if found.is_empty() {
        return Ok(());
    }
    let show = |value: &Option<String>| value.clone().unwrap_or_else(|| "unset".to_owned());
    let short =
        |text: String| if text.len() > 40 { format!("{}...", text.chars().take(12).collect::<String>()) } else { text };
    let lines: Vec<String> = found
        .iter()
        .map(|change| {
            let (before, after) = (short(show(&change.before)), short(show(&change.after)));
            format!("  {}: {before} -> {after}; {}", change.key, change.redo)
        })
        .collect();
    let totals = reader.totals()?;
    let cost = format!(
        "  stored so far: {} rollouts ({} tokens), {} judge replies; facts that still apply are used again",
        totals.think_on.rollouts + totals.think_off.rollouts,
        totals.think_on.completion_tokens + totals.think_off.completion_tokens,
        totals.judge.replies,
    );
    let text = format!("{}\n{cost}", lines.join("\n"));
    match changes {
        ChangePolicy::Refuse => Err(RunError::Changed { changes: text }),
        ChangePolicy::Redo => {
            tracing::info!("the configuration changed:\n{text}");
            Ok(())
        }
    }
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
    let base_urls: Vec<String> = std::iter::once(&settings.base_url).chain(&settings.more_base_urls).cloned().collect();
    let is_local = base_urls.iter().all(|url| is_on_this_machine(url));
    if key.is_none() && !is_local {
        return Err(RunError::Judge {
            message: format!("the environment variable {} holds no key", settings.api_key_env),
            hint: format!("export {}=..., or set judge.backend = \"policy\"", settings.api_key_env),
        });
    }
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
