//! Opening what a run stands on: the policy, the judge, what it may cost, and the batches that were left under way.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::batches::usage_of;
use super::context::Judging;
use super::error::RunError;
use super::memory;
use crate::config::{
    JudgeBackend, JudgeSettings, LoadedConfig, PolicyBackend, PolicySettings, SamplingSettings, Settings, Transport,
};
use crate::domain::ResolvedModel;
use crate::http::batch::BatchClient;
use crate::http::retry::raised_cap;
use crate::hub::{self, HubSettings, ModelReference, OnProgress};
use crate::judge::cost::{Budget, Usage, Way, cost_max_usd, cost_usd};
use crate::judge::openai::{JsonMode, OpenAiJudge, OpenAiOptions};
use crate::judge::policy::PolicyJudge;
use crate::judge::{Judge, reply};
use crate::ledger::{BatchItem, BatchRecord, LedgerError, OpenCall, Reader, RunRecord};
use crate::policy::{Addresses, CandlePolicy, OpenAiPolicy, Policy, PolicyError, PolicyIdentity};
use crate::sys::clock::unix_ms;

/// Restores a policy whose responses are stored.
pub(super) fn restore_policy(settings: &Settings, last: &RunRecord, reader: &Reader) -> Result<Policy, RunError> {
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

pub(super) fn open_stored_judge(
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
pub(super) fn open_budget(
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
pub(super) fn open_batch_api(settings: &Settings) -> Result<Option<BatchClient>, RunError> {
    let JudgeSettings { backend, base_url, api_key_env, timeout_s, .. } = &settings.judge;
    if *backend != JudgeBackend::Openai {
        return Ok(None);
    }
    let key = std::env::var(api_key_env).ok().filter(|key| !key.trim().is_empty());
    let client = BatchClient::new(base_url, key.map(SecretString::from), Duration::from_secs(*timeout_s));
    client.map(Some).map_err(|error| RunError::Judge { message: error.to_string(), hint: error.hint().to_owned() })
}

/// Returns the batches that earlier starts left under way at this provider; warns of those at another.
pub(super) fn batches_left(
    reader: &Reader,
    api: Option<&BatchClient>,
) -> Result<Vec<(BatchRecord, Vec<BatchItem>)>, RunError> {
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

pub(super) fn open_judge(settings: &Settings, policy: &Policy) -> Result<Option<Arc<dyn Judge>>, RunError> {
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
