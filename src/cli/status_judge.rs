//! What `status` says of the judge: spend, cache hits, rejections, and how much its texts resemble each other.
//!
//! Rejections are counted by checking stored replies again against the published row of their query; a reply of a query
//! that is excluded or not yet published cannot be, and is left out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use serde::Serialize;

use super::display::duration;
use crate::config::{JudgeBackend, Settings};
use crate::domain::{Kind, Mode};
use crate::judge::check::{Rejection, Subject, Triples, check, known_texts, triples};
use crate::judge::cost::{Usage, Way, cost_max_usd, cost_usd};
use crate::judge::{JudgeKind, reply};
use crate::ledger::{BatchTotals, CallSize, IntakeRow, Reader, RunRecord, ShardRecord};
use crate::pipeline::RunError;
use crate::pipeline::plan::gold_value;
use crate::shards::read_columns;
use crate::sys::clock::unix_ms;

/// Hash functions whose minima stand for a text, in groups: texts with one group alike count as near-copies. With 8
/// groups of 4, half of the pairs are found whose word triples agree by about 0.57.
const GROUPS: u64 = 8;
const GROUP_HASHES: u64 = 4;

/// What is known of the judge's work and its cost.
#[derive(Debug, Clone, Default, Serialize)]
pub struct JudgeStatus {
    /// Prompt tokens of all replies that state them.
    pub prompt_tokens: u64,
    /// Of these, tokens that the provider says it found in its cache; absent if it never says.
    pub cache_hit_tokens: Option<u64>,
    /// Generated tokens.
    pub completion_tokens: u64,
    /// `cache_hit_tokens` over the prompt tokens of the replies that state both, in 0..=1.
    pub cache_hit_rate: Option<f64>,
    /// What all stored replies cost, in USD; absent if any part of it is unknown.
    pub spend_usd: Option<f64>,
    /// The most that calls without a reply may have cost besides, in USD; absent if a price is unknown.
    pub unanswered_usd_max: Option<f64>,
    /// Calls without a reply that may have been charged: interrupted, or under way in a batch.
    pub unanswered: u64,
    /// The day of the prices, if the config says one.
    pub prices_as_of: Option<String>,
    /// The batches of the provider's batch API.
    pub batches: BatchTotals,
    /// Spend over published samples.
    pub spend_per_sample_usd: Option<f64>,
    /// Spend over settled rows, for all rows.
    pub spend_projected_usd: Option<f64>,
    /// Published samples by `justification_status`.
    pub statuses: BTreeMap<String, u64>,
    /// Readable replies to queries with a published sample.
    pub replies_checked: u64,
    /// Of these, replies that a check rejects, by reason.
    pub rejections: BTreeMap<String, u64>,
    /// Share of the checked replies that are rejected.
    pub rejection_rate: Option<f64>,
    /// Published justifications that nearly repeat an earlier one.
    pub near_copies: u64,
}

/// A published sample, as far as its replies are checked against it.
struct Published {
    justification: Option<(String, String)>,
    mode: Mode,
    gold: String,
    question: String,
}

/// Gathers it. `settled` of `queries` input rows are published in `samples` (shard records of that table). Blocks.
///
/// # Errors
/// [`RunError`] if the ledger cannot be read.
pub(super) fn gather(
    dir: &Path,
    reader: &Reader,
    run: &RunRecord,
    settings: Option<&Settings>,
    samples: &[&ShardRecord],
    (settled, queries): (u64, u64),
) -> Result<JudgeStatus, RunError> {
    let mut status = JudgeStatus::default();
    let (published, count) = read_samples(dir, samples, &mut status);
    let backend = settings.map(|settings| settings.judge.backend).unwrap_or_default();
    let kind = if backend == JudgeBackend::Openai { JudgeKind::Api } else { JudgeKind::Local };
    let choices = choices_of(reader, run, queries)?;
    let prices = settings.map(|settings| settings.judge.prices_usd_per_mtok.clone()).unwrap_or_default();
    let (mut usd, mut stated) = (Some(0.0), 0_u64);
    reader.for_each_reply(|record| {
        let (id, body) = (record.query_id, record.body);
        let usage = reply::usage(body);
        if let Some(Usage { prompt_tokens, cache_hit_tokens, completion_tokens }) = usage {
            status.prompt_tokens += prompt_tokens;
            status.completion_tokens += completion_tokens;
            if let Some(hits) = cache_hit_tokens {
                *status.cache_hit_tokens.get_or_insert(0) += hits;
                stated += prompt_tokens;
            }
        }
        if !reply::is_local(body) {
            let way = if record.is_batched { Way::Batch } else { Way::Call };
            let cost = usage.and_then(|usage| cost_usd(&usage, &prices, record.unix_ms, way));
            usd = usd.zip(cost).map(|(sum, cost)| sum + cost);
        }
        let (Some(row), Ok(parsed)) = (published.get(id), reply::parse(body, kind)) else { return };
        let choices = choices.get(id).map(Vec::as_slice).unwrap_or_default();
        let subject = Subject { question: &row.question, gold: &row.gold, choices, mode: row.mode };
        status.replies_checked += 1;
        if let Err(rejection) = check(&parsed.justification, &subject, known_texts(kind), kind) {
            *status.rejections.entry(rejection.to_string()).or_default() += 1;
        } else if row.justification.as_ref().is_some_and(|(text, model)| {
            // It passed, and still another text of the same judge was taken: it nearly repeats a neighbour's.
            *text != parsed.justification && Some(model) == parsed.served_model.as_ref()
        }) {
            *status.rejections.entry(Rejection::NearCopy.to_string()).or_default() += 1;
        }
    })?;
    status.unanswered_usd_max = Some(0.0);
    for call in reader.open_calls()? {
        status.unanswered += 1;
        let way = if call.batch_key.is_some() { Way::Batch } else { Way::Call };
        let cost = call.size.and_then(|CallSize { prompt_tokens_max, completion_tokens_max }| {
            let (prompt_tokens, completion_tokens) = (prompt_tokens_max, completion_tokens_max);
            cost_max_usd(&Usage { prompt_tokens, cache_hit_tokens: None, completion_tokens }, &prices, way)
        });
        status.unanswered_usd_max = status.unanswered_usd_max.zip(cost).map(|(sum, cost)| sum + cost);
    }
    status.prices_as_of = prices.as_of.clone();
    status.batches = reader.batches()?;
    let share = |part: f64, all: u64| (all > 0).then(|| part / all as f64);
    let rejected: u64 = status.rejections.values().sum();
    status.rejection_rate = share(rejected as f64, status.replies_checked);
    status.cache_hit_rate = status.cache_hit_tokens.and_then(|hits| share(hits as f64, stated));
    status.spend_usd = usd;
    status.spend_per_sample_usd = usd.and_then(|usd| share(usd, count));
    status.spend_projected_usd = usd.and_then(|usd| share(usd * queries as f64, settled));
    Ok(status)
}

/// Reads the published samples; counts their statuses and near-copies. Files that cannot be read are left out.
fn read_samples(dir: &Path, samples: &[&ShardRecord], status: &mut JudgeStatus) -> (HashMap<String, Published>, u64) {
    const COLUMNS: [&str; 8] =
        ["query_id", "mode", "kind", "gold", "prompt", "justification", "justification_status", "judge_model"];
    let mut published = HashMap::new();
    let (mut seen, mut count) = (HashSet::new(), 0);
    for record in samples {
        let Ok(rows) = read_columns(&dir.join(&record.file_name), &COLUMNS) else { continue };
        for row in rows {
            count += 1;
            let Ok([id, mode, kind, gold, question, text, state, model]) = <[Option<String>; 8]>::try_from(row) else {
                continue;
            };
            *status.statuses.entry(state.unwrap_or_else(|| "none".to_owned())).or_default() += 1;
            if text.as_ref().is_some_and(|text| resembles(&mut seen, text)) {
                status.near_copies += 1;
            }
            let mode = mode.and_then(|mode| mode.parse().ok());
            let kind: Option<Kind> = kind.and_then(|kind| kind.parse().ok());
            let gold = kind.zip(gold).map(|(kind, gold)| gold_value(kind, &gold));
            if let (Some(id), Some(mode), Some(gold), Some(question)) = (id, mode, gold, question) {
                published.insert(id, Published { justification: text.zip(model), mode, gold, question });
            }
        }
    }
    (published, count)
}

/// Returns the choices of the queries that have some.
fn choices_of(reader: &Reader, run: &RunRecord, queries: u64) -> Result<HashMap<String, Vec<String>>, RunError> {
    const PAGE_ROWS: u64 = 1000;
    let mut choices = HashMap::new();
    for start in (0..queries).step_by(PAGE_ROWS as usize) {
        for row in reader.intake(&run.input_digest, start, (start + PAGE_ROWS).min(queries))? {
            if let IntakeRow::Query(query) = row
                && !query.choices.is_empty()
            {
                choices.insert(query.id.0, query.choices);
            }
        }
    }
    Ok(choices)
}

/// Returns whether a text resembles one that was seen before, and remembers it.
fn resembles(seen: &mut HashSet<(u64, u64)>, text: &str) -> bool {
    let triples = triples(text);
    if triples.is_empty() {
        return false;
    }
    let groups: Vec<(u64, u64)> = (0..GROUPS).map(|group| (group, minima(&triples, group))).collect();
    let is_near = groups.iter().any(|group| seen.contains(group));
    seen.extend(groups);
    is_near
}

fn minima(triples: &Triples, group: u64) -> u64 {
    let mut all = DefaultHasher::new();
    for index in 0..GROUP_HASHES {
        let hash = |triple: &String| {
            let mut hasher = DefaultHasher::new();
            (group, index, triple).hash(&mut hasher);
            hasher.finish()
        };
        triples.iter().map(hash).min().hash(&mut all);
    }
    all.finish()
}

impl JudgeStatus {
    /// Returns lines for people.
    pub(super) fn to_text(&self) -> String {
        let usd =
            |usd: Option<f64>| usd.map_or_else(|| "unknown (prices missing)".to_owned(), |usd| format!("${usd:.4}"));
        let rate =
            |rate: Option<f64>| rate.map_or_else(|| "unknown".to_owned(), |rate| format!("{:.1}%", 100.0 * rate));
        let list = |map: &BTreeMap<String, u64>| {
            let parts: Vec<String> = map.iter().map(|(name, count)| format!("{count} {name}")).collect();
            if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
        };
        let mut spend = format!("spend {}", usd(self.spend_usd));
        if self.spend_usd.is_some() {
            let per_sample = self.spend_per_sample_usd.map(|usd| format!(", ${usd:.6} per sample"));
            let projected = self.spend_projected_usd.map(|usd| format!(", ${usd:.4} projected for all"));
            spend.push_str(&per_sample.unwrap_or_default());
            spend.push_str(&projected.unwrap_or_default());
            let as_of = self.prices_as_of.as_ref().map(|day| format!(" (prices of {day})"));
            spend.push_str(&as_of.unwrap_or_default());
        }
        if self.unanswered > 0 {
            let most = self.unanswered_usd_max.map(|usd| format!(", for at most ${usd:.4}")).unwrap_or_default();
            spend.push_str(&format!("; {} calls without a reply may be charged{most}", self.unanswered));
        }
        format!(
            "judge money  {} prompt + {} completion tokens; cache hits {}; {spend}\n\
             {}\
             judge texts  {}; {} replies checked, {} rejected ({}); {} near-copies of another query's text\n",
            self.prompt_tokens,
            self.completion_tokens,
            rate(self.cache_hit_rate),
            batches_to_text(&self.batches),
            list(&self.statuses),
            self.replies_checked,
            self.rejections.values().sum::<u64>(),
            list(&self.rejections),
            self.near_copies,
        )
    }
}

/// Returns a line about batches; nothing if there never was one.
fn batches_to_text(batches: &BatchTotals) -> String {
    let BatchTotals { under_way, ended_requests, ended } = batches;
    if under_way.is_empty() && ended.is_empty() {
        return String::new();
    }
    let requests: u64 = under_way.iter().map(|batch| batch.requests).sum();
    let oldest = under_way.iter().map(|batch| unix_ms().saturating_sub(batch.begun_unix_ms)).max();
    let oldest = oldest.map(|ms| format!(", the oldest for {}", duration(ms.max(0) as f64 / 1000.0)));
    let ids: Vec<&str> = under_way.iter().filter_map(|batch| batch.provider_id.as_deref()).collect();
    let ids = if ids.is_empty() { String::new() } else { format!(" ({})", ids.join(", ")) };
    let ended_list: Vec<String> = ended.iter().map(|(status, count)| format!("{count} {status}")).collect();
    let ended_list = if ended_list.is_empty() { "none".to_owned() } else { ended_list.join(", ") };
    format!(
        "judge batch  {} under way with {requests} requests{}{ids}; ended: {ended_list}, {ended_requests} requests\n",
        under_way.len(),
        oldest.unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_copies_are_found_and_other_texts_are_not() {
        let mut seen = HashSet::new();
        let text = "two relations must be combined in the right order before the price of one pen can be found here";
        assert!(!resembles(&mut seen, text));
        assert!(resembles(&mut seen, &text.to_uppercase()));
        assert!(!resembles(&mut seen, "it asks for one well known fact with nothing to work out or to check at all"));
        assert!(!resembles(&mut seen, "short text") && !resembles(&mut seen, "short text"), "no triples, no judgement");
    }

    #[test]
    fn what_is_unknown_is_said_to_be_unknown() {
        let text = JudgeStatus::default().to_text();
        assert!(text.contains("spend unknown") && text.contains("cache hits unknown"), "{text}");
        let known = JudgeStatus {
            spend_usd: Some(0.5),
            spend_per_sample_usd: Some(0.25),
            spend_projected_usd: Some(5.0),
            cache_hit_rate: Some(0.5),
            rejections: BTreeMap::from([("leaks_answer".to_owned(), 3)]),
            ..JudgeStatus::default()
        };
        let text = known.to_text();
        for part in ["$0.5000, $0.250000 per sample, $5.0000 projected", "50.0%", "3 rejected (3 leaks_answer)"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
