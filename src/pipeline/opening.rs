//! Opens the parts of a run: the policy, the judge, the budget, and the batches in progress.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use secrecy::SecretString;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::error::RunError;
use super::memory;
use super::options::Judging;
use super::usage::{Providers, is_free};
use crate::config::{
    JudgeBackend, JudgeSettings, LoadedConfig, PolicyBackend, PolicySettings, SamplingSettings, Settings, Transport,
};
use crate::domain::ResolvedModel;
use crate::http::batch::BatchClient;
use crate::http::breaker::{Breaker, BreakerOptions};
use crate::http::client::{ClearText, ClientOptions, is_on_this_machine};
use crate::http::left_out::{Recorder, Refusal, Side};
use crate::http::retry::raised_cap;
use crate::http::wire::ChatReply;
use crate::hub::{self, HubSettings, ModelReference, OnProgress};
use crate::judge::cost::{Budget, Usage, Way, cost_max_usd, cost_usd};
use crate::judge::openai::{JsonMode, OpenAiJudge, OpenAiOptions};
use crate::judge::policy::PolicyJudge;
use crate::judge::{Judge, RawReply, reply};
use crate::ledger::{BatchItem, BatchRecord, Fact, Ledger, LedgerError, OpenCall, Reader, RunRecord, ServerRefusal};
use crate::policy::{Addresses, CandlePolicy, OpenAiPolicy, Policy, PolicyError, PolicyIdentity};
use crate::sys::clock::unix_ms;

/// Restores a policy whose responses are stored.
pub(super) fn restore_policy(settings: &Settings, last: &RunRecord, reader: &Reader) -> Result<Policy, RunError> {
    if settings.policy.backend == PolicyBackend::Openai {
        let policy = Policy::OpenAi(Box::new(open_api_policy(&settings.policy, &settings.sampling)?));
        // The addresses of its responses depend on the keys that servers refused.
        policy.remember(refused_keys(&policy, None, reader)?.0, None);
        return Ok(policy);
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
            message: "the judge is the local policy, whose model redecide does not load".to_owned(),
            hint: "leave --judge out, then run `thinkloom run` with the same settings, -o and --reconfigure: it calls the judge"
                .to_owned(),
        }),
        (JudgeBackend::Openai, Judging::Read) => Ok(Some(Arc::new(build_api_judge(&settings.judge, None)?))),
        (JudgeBackend::Openai, Judging::Asked) => Ok(Some(Arc::new(open_api_judge(&settings.judge)?))),
    }
}

/// Number of replies that are searched for the name of their model.
const NAMING_REPLIES: u32 = 16;

/// Passes the names of the models behind earlier replies to the policy and the judge.
fn remember_served(policy: &Policy, judge: Option<&dyn Judge>, reader: &Reader) -> Result<(), LedgerError> {
    if let Policy::OpenAi(policy) = policy {
        let identity = serde_json::to_string(policy.identity()).unwrap_or_default();
        let replies = reader.first_replies(&identity, NAMING_REPLIES)?;
        let model = |body: &String| ChatReply::parse(body).ok()?.model;
        replies.iter().find_map(model).iter().for_each(|name| policy.remember_served(name));
    }
    if let Some(judge) = judge {
        let replies = reader.latest_replies(1)?.into_iter().map(RawReply::new);
        replies.for_each(|reply| reply.model().into_iter().for_each(|model| judge.note_served(model)));
    }
    Ok(())
}

/// Passes the request keys that servers refused, and the models that replied, in earlier starts to the policy and the
/// judge. Makes both record further refused keys.
pub fn remember_refusals(policy: &Policy, judge: Option<&dyn Judge>, ledger: &Ledger) -> Result<(), LedgerError> {
    let reader = ledger.reader()?;
    let ledger = ledger.clone();
    let recorder: Recorder = Arc::new(move |refusal: Refusal| {
        let Refusal { side, base_url, model, key, words } = refusal;
        let refusal = ServerRefusal { side: side.name(), base_url, model, key, words };
        let ledger = ledger.clone();
        let commit = async move { ledger.commit(vec![Fact::ServerRefusal(refusal)]).await };
        commit.map(|done| done.map_err(|error| error.to_string())).boxed()
    });
    let (policy_keys, judge_keys) = refused_keys(policy, judge, &reader)?;
    policy.remember(policy_keys, Some(Arc::clone(&recorder)));
    if let Some(judge) = judge {
        judge.remember(judge_keys, Some(recorder));
    }
    remember_served(policy, judge, &reader)
}

/// Returns the request keys that the servers of policy and judge refused. A response's address does not depend on the
/// server, so that a policy's refusals hold for all servers of its model.
pub(super) fn refused_keys(
    policy: &Policy,
    judge: Option<&dyn Judge>,
    reader: &Reader,
) -> Result<(Vec<String>, Vec<String>), LedgerError> {
    let of_policy = reader.refused_keys(Side::Policy.name(), &policy.identity().model, None)?;
    let of_judge = match judge {
        Some(judge) => reader.refused_keys(Side::Judge.name(), judge.model(), Some(judge.identity()))?,
        None => Vec::new(),
    };
    Ok((of_policy, of_judge))
}

/// The largest prompt of a judge call of an older format, whose size is not recorded.
const UNSIZED_PROMPT_TOKENS: u64 = 16_000;

/// Opens the budget. The budget counts the cost of stored API replies, and the largest cost of calls without a reply,
/// except for calls in batches that are resumed. The largest cost includes the factor by which the provider's replies
/// exceeded their limits so far. A reply without token counts counts as a call without a reply; if the call's size is
/// not recorded either, each byte of the reply counts as a token.
pub(super) fn open_budget(
    settings: &Settings,
    reader: &Reader,
    left: &[(BatchRecord, Vec<BatchItem>)],
) -> Result<Option<Arc<Budget>>, RunError> {
    let JudgeSettings { backend, budget_usd, prices_usd_per_mtok: prices, transport, .. } = &settings.judge;
    if *budget_usd == 0.0 || *backend != JudgeBackend::Openai {
        return Ok(None);
    }
    let providers = Providers::gather(reader, &settings.judge)?;
    let mut spent_usd = 0.0;
    reader.for_each_reply(|record| {
        if !is_free(&record, *backend) {
            let size = Usage { completion_tokens: record.body.len() as u64, ..Usage::default() };
            let most = || record.size.map(|size| providers.most(record.unix_ms, size));
            let usage = reply::usage(record.body).or_else(most).unwrap_or(size);
            let way = if record.is_batched { Way::Batch } else { Way::Call };
            // A batch without its factor, from a time without a budget, counts as a single call.
            let cost = cost_usd(&usage, prices, record.unix_ms, way);
            spent_usd += cost.or_else(|| cost_max_usd(&usage, prices, Way::Call)).unwrap_or(0.0);
        }
    })?;
    for OpenCall { size, unix_ms, batch_key, is_under_way } in reader.open_calls()? {
        let is_left = batch_key.as_ref().is_some_and(|key| left.iter().any(|(record, _)| record.batch_key == *key));
        if is_under_way && is_left {
            continue;
        }
        let unsized_call = Usage {
            prompt_tokens: UNSIZED_PROMPT_TOKENS,
            cache_hit_tokens: None,
            completion_tokens: u64::from(raised_cap(settings.judge.max_tokens)),
        };
        let usage = size.map_or(unsized_call, |size| providers.most(unix_ms, size));
        spent_usd += cost_max_usd(&usage, prices, Way::Call).unwrap_or(0.0);
    }
    let way = if *transport == Transport::Batch { Way::Batch } else { Way::Call };
    let (replies, overrun) = providers.present();
    let budget = Budget::new(*budget_usd, prices.clone(), way, unix_ms, spent_usd).knowing(replies, overrun);
    Ok(Some(Arc::new(budget)))
}

/// Builds the client of the judge's batch API, if the judge is an API.
pub(super) fn open_batch_api(settings: &Settings) -> Result<Option<BatchClient>, RunError> {
    let JudgeSettings { backend, base_url, api_key_env, timeout_s, allow_http, .. } = &settings.judge;
    if *backend != JudgeBackend::Openai {
        return Ok(None);
    }
    let key = std::env::var(api_key_env).ok().filter(|key| !key.trim().is_empty());
    let clear_text = ClearText::from_setting(*allow_http);
    let timeout = Duration::from_secs(*timeout_s);
    let client = BatchClient::new(base_url, key.map(SecretString::from), clear_text, timeout);
    client.map(Some).map_err(|error| RunError::Judge { message: error.to_string(), hint: error.hint().to_owned() })
}

/// Builds the circuit breaker of the policy's servers, if the policy has servers. `was_served`: they have replied
/// before.
#[must_use]
pub fn policy_breaker(settings: &Settings, policy: &Policy, was_served: bool) -> Option<Arc<Breaker>> {
    let is_remote = settings.policy.backend == PolicyBackend::Openai;
    let patience = patience(settings.policy.patience_s);
    let (probe, servers) = (policy.probe(), settings.policy.base_urls.len());
    let options = BreakerOptions { side: "policy", patience, probe, was_served, servers, clock: unix_ms };
    is_remote.then(|| Arc::new(Breaker::new(options)))
}

/// Builds the circuit breaker of the judge's servers, if the judge has servers. `was_served`: they have replied before.
pub(super) fn judge_breaker(settings: &Settings, judge: Option<&dyn Judge>, was_served: bool) -> Option<Arc<Breaker>> {
    let judge = judge.filter(|_| settings.judge.backend == JudgeBackend::Openai)?;
    let patience = patience(settings.judge.patience_s);
    let (probe, servers) = (judge.probe(), 1 + settings.judge.more_base_urls.len());
    let options = BreakerOptions { side: "judge", patience, probe, was_served, servers, clock: unix_ms };
    Some(Arc::new(Breaker::new(options)))
}

/// Returns how long a side may give no reply before the run stops; `None` for no limit.
pub(super) fn patience(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// Returns the batches that earlier starts left in progress at this provider. Warns of batches at another one.
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
                "batch {batch_key} ({requests} requests) is still in progress at {base_url}; thinkloom collects its replies when \
                 judge.base_url is that address again"
            );
        }
    }
    Ok(left)
}

/// Opens the policy: finds or downloads the model and loads it, or builds the client. Call it on a blocking thread of a
/// tokio runtime.
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
    // Before a download.
    memory::check(&settings.policy)?;
    let model = resolve_model(config, hub, on_download, stop)?;
    Ok(Policy::Candle(Arc::new(CandlePolicy::load(&model, &settings.policy, &settings.sampling)?)))
}

/// Builds the policy behind HTTP. The key, if there is one, comes from the environment.
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

/// Finds the model, or downloads it unless `stop` is cancelled.
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

/// Builds the HTTP judge. The key comes from the environment. A server on this machine, or one without TLS, needs none.
///
/// # Errors
/// [`RunError::Judge`] if the key is missing or an option cannot be used.
pub fn open_api_judge(settings: &JudgeSettings) -> Result<OpenAiJudge, RunError> {
    let key = std::env::var(&settings.api_key_env).ok().filter(|key| !key.trim().is_empty());
    let mut base_urls = std::iter::once(&settings.base_url).chain(&settings.more_base_urls);
    let is_in_clear = |url: &str| url.trim().to_ascii_lowercase().starts_with("http://");
    let needs_none = base_urls.all(|url| is_on_this_machine(url) || is_in_clear(url));
    if key.is_none() && !needs_none {
        return Err(RunError::Judge {
            message: format!("the environment variable {} has no key", settings.api_key_env),
            hint: format!("export {}=..., or set judge.backend = \"policy\"", settings.api_key_env),
        });
    }
    build_api_judge(settings, key)
}

fn build_api_judge(settings: &JudgeSettings, key: Option<String>) -> Result<OpenAiJudge, RunError> {
    OpenAiJudge::new(judge_options(settings, key))
        .map_err(|error| RunError::Judge { message: error.to_string(), hint: error.hint().to_owned() })
}

/// Returns the options of an HTTP judge.
#[must_use]
pub fn judge_options(settings: &JudgeSettings, key: Option<String>) -> OpenAiOptions {
    let base_urls = std::iter::once(&settings.base_url).chain(&settings.more_base_urls).cloned().collect();
    let extra: serde_json::Map<String, serde_json::Value> = settings.extra.clone().into_iter().collect();
    let mut options = OpenAiOptions::new(&settings.base_url, &settings.model);
    options.client = ClientOptions {
        base_urls,
        api_key: key.map(SecretString::from),
        clear_text: ClearText::from_setting(settings.allow_http),
        concurrency_max: settings.concurrency_max,
        requests_per_minute: settings.requests_per_minute,
        tokens_per_minute: settings.tokens_per_minute,
        timeout: Duration::from_secs(settings.timeout_s),
    };
    options.streaming = settings.stream;
    options.max_tokens = settings.max_tokens;
    options.json_mode = if settings.json_mode { JsonMode::On } else { JsonMode::Off };
    options.omit.clone_from(&settings.omit);
    options.extra = (!extra.is_empty()).then_some(extra);
    options
}
