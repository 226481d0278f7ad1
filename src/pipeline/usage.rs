//! The judge's usage: calls, tokens and money, over all starts of a directory.

use std::collections::BTreeMap;

use serde::Serialize;

use super::batches::usage_of;
use super::error::RunError;
use crate::config::{JudgeBackend, JudgeSettings, Settings};
use crate::judge::cost::{Usage, Way, cost_usd};
use crate::judge::overrun::Overrun;
use crate::judge::reply;
use crate::ledger::{CallSize, Reader, ReplyRecord};

/// The judge's usage.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Spend {
    /// Calls that were made.
    pub attempts: u64,
    /// Calls with a reply.
    pub replies: u64,
    /// Calls without a reply.
    pub failures: u64,
    /// Prompt tokens of all replies with token counts.
    pub prompt_tokens: u64,
    /// Of these, tokens found in the provider's cache; null if no reply states them.
    pub cache_hit_tokens: Option<u64>,
    /// Generated tokens.
    pub completion_tokens: u64,
    /// The cost of the replies, in USD; null if any part of it is unknown.
    pub spend_usd: Option<f64>,
}

impl Spend {
    /// Returns one JSON object and a line end.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string(self).expect("numbers always serialise");
        text.push('\n');
        text
    }
}

/// Sums the usage of stored judge replies. A local judge costs nothing. Blocks.
pub fn spend(reader: &Reader, settings: &Settings) -> Result<Spend, RunError> {
    let judge = reader.totals()?.judge;
    let mut spend = Spend {
        attempts: judge.attempts,
        replies: judge.replies,
        failures: judge.failures,
        spend_usd: Some(0.0),
        ..Spend::default()
    };
    reader.for_each_reply(|record| {
        if let Some(Usage { prompt_tokens, cache_hit_tokens, completion_tokens }) = reply::usage(record.body) {
            spend.prompt_tokens = spend.prompt_tokens.saturating_add(prompt_tokens);
            spend.completion_tokens = spend.completion_tokens.saturating_add(completion_tokens);
            if let Some(hits) = cache_hit_tokens {
                spend.cache_hit_tokens = Some(spend.cache_hit_tokens.unwrap_or(0).saturating_add(hits));
            }
        }
        spend.spend_usd = spend.spend_usd.zip(cost(&record, settings)).map(|(sum, cost)| sum + cost);
    })?;
    Ok(spend)
}

/// Returns whether a reply is from a local judge, which costs nothing. The recorded call decides, not the reply's own
/// words; without a record, the judge in the settings decides.
#[must_use]
pub fn is_free(record: &ReplyRecord<'_>, backend: JudgeBackend) -> bool {
    record.is_free().unwrap_or(backend != JudgeBackend::Openai)
}

/// An API as in runs' identities: the address and the model, as JSON.
type ApiName = (Option<String>, Option<String>);

/// The APIs that judged in a directory, and the overruns of each: one provider's overruns do not predict another's.
#[derive(Debug, Default)]
pub struct Providers {
    /// The API from each moment on, in milliseconds since 1970 and in order.
    changes: Vec<(i64, ApiName)>,
    known: BTreeMap<ApiName, (u64, Overrun)>,
    present: ApiName,
}

impl Providers {
    /// Collects the APIs of all starts, with the settings' judge as the present one. Blocks.
    pub fn gather(reader: &Reader, judge: &JudgeSettings) -> Result<Self, RunError> {
        let json = |text: &str| serde_json::to_string(text).ok();
        let mut providers = Self { present: (json(&judge.base_url), json(&judge.model)), ..Self::default() };
        for (unix_ms, identity) in reader.starts()? {
            let mut parts: BTreeMap<String, String> = serde_json::from_str(&identity).unwrap_or_default();
            let name = (parts.remove("judge.base_url"), parts.remove("judge.model"));
            // A start without an API leaves the list unchanged.
            let is_api = name.0.is_some();
            if is_api && providers.changes.last().is_none_or(|(_, latest)| *latest != name) {
                providers.changes.push((unix_ms, name));
            }
        }
        reader.for_each_reply(|record| {
            if is_free(&record, judge.backend) {
                return;
            }
            let (replies, overrun) = providers.known.entry(providers.name_at(record.unix_ms).clone()).or_default();
            *replies += 1;
            if let (Some(used), Some(size)) = (reply::usage(record.body), record.size) {
                overrun.note(&used, &usage_of(size));
            }
        })?;
        Ok(providers)
    }

    /// Returns the API at a moment: that of the latest start before it, or the present one without such a start.
    fn name_at(&self, unix_ms: i64) -> &ApiName {
        let before = self.changes.iter().rev().find(|(since, _)| *since <= unix_ms);
        before.or(self.changes.first()).map_or(&self.present, |(_, name)| name)
    }

    /// Returns how many replies the present API has given, and the factor by which they exceeded their limits.
    #[must_use]
    pub fn present(&self) -> (u64, Overrun) {
        self.known.get(&self.present).copied().unwrap_or_default()
    }

    /// Returns the largest possible usage of a call at a moment, from the overruns of its API.
    #[must_use]
    pub fn most(&self, unix_ms: i64, size: CallSize) -> Usage {
        let (_, overrun) = self.known.get(self.name_at(unix_ms)).copied().unwrap_or_default();
        overrun.scaled(&usage_of(size))
    }
}

/// Returns the cost of a reply in USD; `None` if unknown.
fn cost(record: &ReplyRecord<'_>, settings: &Settings) -> Option<f64> {
    let JudgeSettings { backend, prices_usd_per_mtok: prices, .. } = &settings.judge;
    if is_free(record, *backend) {
        return Some(0.0);
    }
    let way = if record.is_batched { Way::Batch } else { Way::Call };
    cost_usd(&reply::usage(record.body)?, prices, record.unix_ms, way)
}

/// Returns the time of each judge reply, in milliseconds since 1970 and in order, and its cost in USD; `None` if any
/// cost is unknown. Blocks.
pub fn costs(reader: &Reader, settings: &Settings) -> Result<Option<Vec<(i64, f64)>>, RunError> {
    let mut costs = Some(Vec::new());
    reader.for_each_reply(|record| match cost(&record, settings) {
        Some(usd) => {
            costs.as_mut().into_iter().for_each(|costs: &mut Vec<(i64, f64)>| costs.push((record.unix_ms, usd)));
        }
        None => costs = None,
    })?;
    if let Some(costs) = &mut costs {
        costs.sort_by_key(|(time, _)| *time);
    }
    Ok(costs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::QueryId;
    use crate::http::wire::Message;
    use crate::judge::openai::{OpenAiJudge, OpenAiOptions};
    use crate::judge::{AskError, Cap, JudgeRequest};
    use crate::ledger::{Fact, Ledger, RunRecord};

    fn run(model: &str) -> [Fact; 2] {
        let parts =
            BTreeMap::from([("judge.base_url", "\"http://j\"".to_owned()), ("judge.model", format!("{model:?}"))]);
        let run = RunRecord {
            fingerprint: model.to_owned(),
            identity: serde_json::to_string(&parts).unwrap(),
            input_digest: "d".to_owned(),
            row_limit: None,
            queries_per_shard: 1,
            settings: String::new(),
            policy: "{}".to_owned(),
        };
        [Fact::Run(run), Fact::Start { fingerprint: model.to_owned(), numerics: "n".to_owned() }]
    }

    fn judge(model: &str) -> JudgeSettings {
        let (base_url, model) = ("http://j".to_owned(), model.to_owned());
        JudgeSettings { backend: JudgeBackend::Openai, base_url, model, ..JudgeSettings::default() }
    }

    /// A call with a limit of 10 tokens, and its reply, if any.
    async fn call(ledger: &Ledger, key: &str, body: Option<&str>) {
        let size = CallSize { prompt_tokens_max: 100, completion_tokens_max: 10 };
        let (request_key, query_id) = (key.to_owned(), QueryId("q".to_owned()));
        let mut facts = vec![Fact::JudgeAttempt { request_key: request_key.clone(), attempt: 1, query_id, size }];
        facts.extend(body.map(|body| Fact::JudgeReply { request_key, attempt: 1, body: body.to_owned() }));
        ledger.commit(facts).await.unwrap();
    }

    /// Advances the clock, so that later facts have later times.
    async fn later() {
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    }

    /// Returns a ledger of two judges. The first used 125 times the limit of a call, and one of its calls has no reply.
    /// The second used twice the limit, and one of its replies has no token counts.
    async fn two_judges(folder: &std::path::Path) -> Ledger {
        let ledger = Ledger::open(folder).unwrap();
        let used = |tokens: u64| format!(r#"{{"usage":{{"prompt_tokens":50,"completion_tokens":{tokens}}}}}"#);
        ledger.commit(run("a").into()).await.unwrap();
        call(&ledger, "a1", Some(&used(1250))).await;
        call(&ledger, "a2", None).await;
        later().await;
        ledger.commit(run("b").into()).await.unwrap();
        later().await;
        call(&ledger, "b1", Some(&used(20))).await;
        call(&ledger, "b2", Some("{}")).await;
        ledger
    }

    #[tokio::test]
    async fn what_one_judges_replies_overran_is_not_held_against_another() {
        let folder = tempfile::tempdir().unwrap();
        let reader = two_judges(folder.path()).await.reader().unwrap();
        let of = |model: &str| Providers::gather(&reader, &judge(model)).unwrap();
        let factor = |model: &str| (of(model).present().0, of(model).present().1.factor());
        assert_eq!((factor("a"), factor("b"), factor("c")), ((1, 125.0), (2, 2.0), (0, 1.0)));
        // The call without a reply went to the first API.
        let open = reader.open_calls().unwrap();
        let most = |call: &crate::ledger::OpenCall| of("c").most(call.unix_ms, call.size.unwrap()).completion_tokens;
        assert_eq!(open.iter().map(most).collect::<Vec<_>>(), [1250]);
    }

    #[tokio::test]
    async fn what_does_not_say_its_tokens_counts_at_the_next_start_as_it_did_when_it_came() {
        let folder = tempfile::tempdir().unwrap();
        let reader = two_judges(folder.path()).await.reader().unwrap();
        let mut settings = Settings { judge: judge("b"), ..Settings::default() };
        settings.judge.budget_usd = 1e-6;
        let prices = &mut settings.judge.prices_usd_per_mtok;
        (prices.input_cache_hit, prices.input_cache_miss, prices.output) = (Some(1.0), Some(1.0), Some(1.0));
        let budget = crate::pipeline::opening::open_budget(&settings, &reader, &[]).unwrap().unwrap();
        let judge = OpenAiJudge::new(OpenAiOptions::new("http://127.0.0.1:1", "b")).unwrap();
        let request = JudgeRequest::new(&judge, &[Message::user("question")]);
        let Err(AskError::Budget { spent_usd, overrun, .. }) = budget.reserve(&request, Cap::AsAsked).await else {
            panic!("it is spent")
        };
        // A call of 100 and 10 tokens that may have used 125 times the 10, and one that may have used twice the 10.
        let tokens = (50 + 1250) + (100 + 1250) + (50 + 20) + (100 + 20);
        assert!((spent_usd * 1e6 - f64::from(tokens)).abs() < 1e-6, "{spent_usd}");
        assert!(overrun.contains("2.0 times"), "{overrun}");
    }
}
