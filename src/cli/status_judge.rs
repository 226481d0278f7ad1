//! The judge's part of `status`: spend, cache hits, rejections, near-copies among the justifications.
//!
//! Rejections are counted by checking the stored replies again, each against the sample of its query, published or
//! not. A text that nearly repeats the text of an earlier query counts as rejected, if the sample has another text or
//! none. If a query is excluded because its justifications were rejected, each of its readable replies counts as
//! rejected for the last reason. Replies of other queries cannot be checked and are not counted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use serde::Serialize;

use super::display::duration;
use crate::config::{JudgeBackend, Settings};
use crate::domain::{ExclusionReason, Kind, Mode};
use crate::judge::JudgeKind;
use crate::judge::check::{Rejection, Subject, Triples, check, known_texts, triples};
use crate::judge::cost::{Usage, Way, cost_max_usd, cost_usd};
use crate::judge::reply::{self, ParsedReply};
use crate::ledger::{BatchTotals, IntakeRow, Reader, RunRecord, ShardRecord};
use crate::pipeline::RunError;
use crate::pipeline::plan::gold_value;
use crate::pipeline::standing::{Survey, SurveyedSample};
use crate::pipeline::usage::{Providers, is_free};
use crate::shards::{Table, read_columns};
use crate::sys::clock::unix_ms;

/// The min-hash signature of a text has 8 groups of 4 hash functions. Texts that share a group count as near-copies. A
/// pair whose word triples have a similarity of about 0.57 is found with a probability of one half.
const GROUPS: u64 = 8;
const GROUP_HASHES: u64 = 4;

/// The work and the cost of the judge.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct JudgeStatus {
    /// Prompt tokens of all replies that report them.
    pub prompt_tokens: u64,
    /// Of these, tokens that the provider reports as cache hits; absent if no reply reports them.
    pub cache_hit_tokens: Option<u64>,
    /// Generated tokens.
    pub completion_tokens: u64,
    /// `cache_hit_tokens` over the prompt tokens of the replies that report both, in 0..=1.
    pub cache_hit_rate: Option<f64>,
    /// The cost of all stored replies, in USD; absent if any part of the cost is unknown.
    pub spend_usd: Option<f64>,
    /// A sentence about replies that used more tokens than their calls allowed; absent if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overrun: Option<String>,
    /// The maximum additional cost of calls without a reply, in USD; absent if a price is unknown.
    pub unanswered_usd_max: Option<f64>,
    /// Calls without a reply that the provider may have charged: interrupted, or in a batch in progress.
    pub unanswered: u64,
    /// The day of the prices, if the config has one.
    pub prices_as_of: Option<String>,
    /// The batches of the provider's batch API.
    pub batches: BatchTotals,
    /// The spend per sample, published or not.
    pub spend_per_sample_usd: Option<f64>,
    /// The projected spend for all rows: the spend per settled row, times all rows.
    pub spend_projected_usd: Option<f64>,
    /// Samples by `justification_status`, published or not.
    pub statuses: BTreeMap<String, u64>,
    /// Readable replies that can be checked: their query has a sample, or is excluded because of its justifications.
    pub replies_checked: u64,
    /// Of these, replies that a check rejects, by reason.
    pub rejections: BTreeMap<String, u64>,
    /// The share of rejected replies among the checked replies, in 0..=1.
    pub rejection_rate: Option<f64>,
    /// Justifications of samples that nearly repeat an earlier justification.
    pub near_copies: u64,
}

/// The fields of a sample that its replies are checked against.
struct Published {
    justification: Option<(String, String)>,
    /// Whether the judge's texts were all rejected and the sample was kept without a justification.
    is_rejected: bool,
    mode: Mode,
    gold: String,
    question: String,
}

impl Published {
    /// Returns whether a text that passes all other checks must have been rejected as a near-copy: the sample has no
    /// justification, or another justification of the same judge.
    fn has_near_copy(&self, reply: &ParsedReply) -> bool {
        let is_other = |(text, model): &(String, String)| {
            *text != reply.justification && Some(model) == reply.served_model.as_ref()
        };
        self.is_rejected || self.justification.as_ref().is_some_and(is_other)
    }
}

/// The settled queries of a run, against which the judge's replies are checked.
pub(super) struct Selection<'a> {
    /// The published files of the run.
    pub records: &'a [ShardRecord],
    /// The outcomes of queries in incomplete shards.
    pub survey: &'a Survey,
    /// The number of settled input rows.
    pub settled: u64,
    /// The number of input rows.
    pub queries: u64,
}

/// Gathers the status of the judge. Blocks.
pub(super) fn gather(
    dir: &Path,
    reader: &Reader,
    run: &RunRecord,
    settings: Option<&Settings>,
    selection: &Selection<'_>,
) -> Result<JudgeStatus, RunError> {
    let &Selection { records, survey, settled, queries } = selection;
    let mut status = JudgeStatus::default();
    let mut samples = Samples::default();
    read_samples(dir, records, &mut samples, &mut status);
    survey.samples.iter().for_each(|sample| samples.add(sample.clone().into(), &mut status));
    let Samples { published, count, .. } = samples;
    let rejected = rejected(dir, records, survey);
    let judge = settings.map(|settings| settings.judge.clone()).unwrap_or_default();
    let backend = judge.backend;
    let kind = if backend == JudgeBackend::Openai { JudgeKind::Api } else { JudgeKind::Local };
    let choices = choices_of(reader, run, queries)?;
    let prices = judge.prices_usd_per_mtok.clone();
    let (mut usd, mut stated) = (Some(0.0), 0_u64);
    reader.for_each_reply(|record| {
        let (id, body) = (record.query_id, record.body);
        let usage = reply::usage(body);
        if let Some(Usage { prompt_tokens, cache_hit_tokens, completion_tokens }) = usage {
            status.prompt_tokens = status.prompt_tokens.saturating_add(prompt_tokens);
            status.completion_tokens = status.completion_tokens.saturating_add(completion_tokens);
            if let Some(hits) = cache_hit_tokens {
                status.cache_hit_tokens = Some(status.cache_hit_tokens.unwrap_or(0).saturating_add(hits));
                stated = stated.saturating_add(prompt_tokens);
            }
        }
        if !is_free(&record, backend) {
            let way = if record.is_batched { Way::Batch } else { Way::Call };
            let cost = usage.and_then(|usage| cost_usd(&usage, &prices, record.unix_ms, way));
            usd = usd.zip(cost).map(|(sum, cost)| sum + cost);
        }
        let Ok(parsed) = reply::parse(body, kind) else { return };
        if let Some(check) = rejected.get(id) {
            status.replies_checked += 1;
            *status.rejections.entry(check.clone()).or_default() += 1;
        }
        let Some(row) = published.get(id) else { return };
        let choices = choices.get(id).map(Vec::as_slice).unwrap_or_default();
        let subject = Subject { question: &row.question, gold: &row.gold, choices, mode: row.mode };
        status.replies_checked += 1;
        if let Err(rejection) = check(&parsed.justification, &subject, known_texts(kind), kind) {
            *status.rejections.entry(rejection.to_string()).or_default() += 1;
        } else if row.has_near_copy(&parsed) {
            *status.rejections.entry(Rejection::NearCopy.to_string()).or_default() += 1;
        }
    })?;
    let providers = Providers::gather(reader, &judge)?;
    status.overrun = providers.present().1.words();
    status.unanswered_usd_max = Some(0.0);
    for call in reader.open_calls()? {
        status.unanswered += 1;
        let way = if call.batch_key.is_some() { Way::Batch } else { Way::Call };
        let cost = call.size.and_then(|size| cost_max_usd(&providers.most(call.unix_ms, size), &prices, way));
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

/// The columns of a sample, as stored in the table.
struct Row {
    id: Option<String>,
    mode: Option<String>,
    kind: Option<String>,
    gold: Option<String>,
    question: Option<String>,
    justification: Option<(String, String)>,
    state: Option<String>,
}

impl From<SurveyedSample> for Row {
    fn from(sample: SurveyedSample) -> Self {
        let SurveyedSample { query_id, mode, kind, gold, prompt, justification, justification_status, .. } = sample;
        Self {
            id: Some(query_id),
            mode: Some(mode),
            kind: Some(kind),
            gold: Some(gold),
            question: Some(prompt),
            justification,
            state: Some(justification_status),
        }
    }
}

/// The samples of a run that were counted so far.
#[derive(Default)]
struct Samples {
    published: HashMap<String, Published>,
    count: u64,
    seen: HashSet<(u64, u64)>,
}

impl Samples {
    /// Adds a sample: counts its status, and counts its justification if it is a near-copy.
    fn add(&mut self, row: Row, status: &mut JudgeStatus) {
        self.count += 1;
        let Row { id, mode, kind, gold, question, justification, state } = row;
        let state = state.unwrap_or_else(|| "none".to_owned());
        let is_rejected = state.starts_with("rejected:");
        *status.statuses.entry(state).or_default() += 1;
        if justification.as_ref().is_some_and(|(text, _)| resembles(&mut self.seen, text)) {
            status.near_copies += 1;
        }
        let mode = mode.and_then(|mode| mode.parse().ok());
        let kind: Option<Kind> = kind.and_then(|kind| kind.parse().ok());
        let gold = kind.zip(gold).map(|(kind, gold)| gold_value(kind, &gold));
        if let (Some(id), Some(mode), Some(gold), Some(question)) = (id, mode, gold, question) {
            self.published.insert(id, Published { justification, is_rejected, mode, gold, question });
        }
    }
}

/// Reads the published samples; skips unreadable files.
fn read_samples(dir: &Path, records: &[ShardRecord], samples: &mut Samples, status: &mut JudgeStatus) {
    const COLUMNS: [&str; 8] =
        ["query_id", "mode", "kind", "gold", "prompt", "justification", "justification_status", "judge_model"];
    for record in records.iter().filter(|record| record.table == Table::Samples.name()) {
        let Ok(rows) = read_columns(&dir.join(&record.file_name), &COLUMNS) else { continue };
        for row in rows {
            let Ok([id, mode, kind, gold, question, text, state, model]) = <[Option<String>; 8]>::try_from(row) else {
                continue;
            };
            samples.add(Row { id, mode, kind, gold, question, justification: text.zip(model), state }, status);
        }
    }
}

/// Returns the queries excluded because of rejected justifications, each with its last reason.
fn rejected(dir: &Path, records: &[ShardRecord], survey: &Survey) -> HashMap<String, String> {
    let mut rejected: HashMap<String, String> = survey.rejected.iter().cloned().collect();
    for record in records.iter().filter(|record| record.table == Table::Exclusions.name()) {
        let columns = ["query_id", "reason", "detail"];
        for row in read_columns(&dir.join(&record.file_name), &columns).unwrap_or_default() {
            let Ok([Some(id), Some(reason), Some(detail)]) = <[Option<String>; 3]>::try_from(row) else { continue };
            if reason == ExclusionReason::JustificationRejected.name()
                && let Some((check, _)) = detail.split_once(':')
            {
                rejected.insert(id, check.to_owned());
            }
        }
    }
    rejected
}

/// Returns the choices of each query that has choices.
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

/// Returns whether a text is a near-copy of an earlier one, and adds the text to `seen`.
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
        #[expect(clippy::disallowed_methods, reason = "the least is the same in any order")]
        triples.iter().map(hash).min().hash(&mut all);
    }
    all.finish()
}

impl JudgeStatus {
    /// Returns the status as lines of text for people.
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
        if let Some(words) = &self.overrun {
            spend.push_str(&format!("; {words}"));
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

/// Returns a line about batches; empty if the run never had a batch.
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
