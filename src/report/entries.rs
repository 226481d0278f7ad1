//! The entries of the reader: a query's row and its responses.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::TEXT_CHARS_MAX;
use crate::domain::{ExclusionReason, Mode, Query, VerdictOutcome};
use crate::ledger::{IntakeRow, LedgerError, Reader, RunRecord};
use crate::pipeline::{Outcome, SettledRow, Standing, exclusion_row};
use crate::shards::{ExclusionRow, RolloutRow, RowFilter, SampleRow, ShardError, Table, read_rows, read_rows_of};

/// The outcome of a query that is not settled.
pub const OUTSTANDING: &str = "outstanding";

/// How a query ended, errors first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rank {
    /// Excluded because of an error.
    Failed,
    /// Excluded by rule.
    Excluded,
    /// Not settled.
    #[default]
    Outstanding,
    /// A sample.
    Sample,
}

impl Rank {
    /// Every rank, in order.
    pub const ALL: [Self; 4] = [Self::Failed, Self::Excluded, Self::Outstanding, Self::Sample];

    fn of_reason(reason: &str) -> Self {
        let is_error = reason.parse::<ExclusionReason>().map_or(true, ExclusionReason::is_error);
        if is_error { Self::Failed } else { Self::Excluded }
    }
}

/// A query.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Entry {
    /// Its id; empty if the input row has none.
    pub id: String,
    /// Its position in the input.
    pub ordinal: i64,
    /// Its source.
    pub source: String,
    /// The mode of its sample, or the reason of its exclusion; [`OUTSTANDING`] if it is not settled.
    pub outcome: String,
    /// Its place in the order of failures, see [`Rank`].
    pub rank: Rank,
    /// The kind of answer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The difficulty label.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub difficulty: String,
    /// The question.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub question: String,
    /// The reference answer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gold: String,
    /// Why the mode was chosen.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mode_reason: String,
    /// Pass rate in Think-on, if it was sampled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p_on: Option<f64>,
    /// Pass rate in Think-off, if it was sampled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p_off: Option<f64>,
    /// Why the mode suits the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub justification: Option<String>,
    /// The model that wrote the justification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judge_model: Option<String>,
    /// The chosen answer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub answer: String,
    /// The sample index of the chosen response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chosen_index: Option<i32>,
    /// The detail of an exclusion.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The responses in both modes; empty in lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rollouts: Vec<Response>,
}

/// A response.
#[derive(Debug, Clone, Serialize)]
pub struct Response {
    /// The requested mode.
    pub mode: String,
    /// Its index among the samples of its mode.
    pub index: i32,
    /// The verdict.
    pub verdict: String,
    /// The reason of the verdict.
    pub reason: String,
    /// The answer as the verifier parsed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extracted: Option<String>,
    /// Its length in tokens.
    pub tokens: i32,
    /// The finish reason.
    pub finish: String,
    /// The reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking: Option<String>,
    /// The answer.
    pub answer: String,
}

/// Returns a text, shortened if it is very long, with a note on the omitted characters.
fn bounded(text: String) -> String {
    let Some((at, _)) = text.char_indices().nth(TEXT_CHARS_MAX) else { return text };
    let more = text[at..].chars().count();
    format!("{}\n[{more} more characters are in the shards]", &text[..at])
}

/// Builds the entry of a sample.
#[must_use]
pub fn sample_entry(row: SampleRow) -> Entry {
    Entry {
        id: row.query_id,
        ordinal: row.ordinal,
        source: row.source,
        outcome: row.mode,
        rank: Rank::Sample,
        kind: row.kind,
        difficulty: row.difficulty,
        question: bounded(row.prompt),
        gold: bounded(row.gold),
        mode_reason: row.mode_reason,
        // The tables hold 0 for the rate of a mode that was not sampled.
        p_on: (row.sampled_on > 0).then_some(row.pass_rate_on),
        p_off: (row.sampled_off > 0).then_some(row.pass_rate_off),
        justification: row.justification.map(bounded),
        judge_model: row.judge_model,
        answer: bounded(row.answer),
        ..Entry::default()
    }
}

/// Builds the entry of an excluded row.
#[must_use]
pub fn exclusion_entry(row: ExclusionRow) -> Entry {
    Entry {
        rank: Rank::of_reason(&row.reason),
        id: row.query_id.unwrap_or_default(),
        ordinal: row.ordinal,
        source: row.source,
        outcome: row.reason,
        detail: format!("{} ({}:{})", bounded(row.detail), row.file, row.line),
        ..Entry::default()
    }
}

fn response(row: RolloutRow) -> Response {
    Response {
        mode: row.mode,
        index: row.sample_index,
        verdict: row.verdict,
        reason: row.verdict_reason,
        extracted: row.extracted.map(bounded),
        tokens: row.completion_tokens,
        finish: row.finish_reason,
        thinking: row.thinking.map(bounded),
        answer: bounded(row.answer),
    }
}

/// The numbers of verified and of correct responses.
#[derive(Debug, Clone, Copy, Default)]
struct Rates {
    on: (u32, u32),
    off: (u32, u32),
}

impl Rates {
    fn add(&mut self, mode: &str, verdict: &str) {
        let (sampled, correct) = if mode == Mode::ThinkOn.name() { &mut self.on } else { &mut self.off };
        *sampled += 1;
        *correct += u32::from(verdict == VerdictOutcome::Correct.name());
    }

    /// Sets the rates of an entry whose table has none.
    fn put(self, entry: &mut Entry) {
        let rate = |(sampled, correct): (u32, u32)| (sampled > 0).then(|| f64::from(correct) / f64::from(sampled));
        entry.p_on = entry.p_on.or(rate(self.on));
        entry.p_off = entry.p_off.or(rate(self.off));
    }
}

/// Adds responses to an entry, and marks the chosen one, which has the sample's seed.
#[must_use]
pub fn with_rollouts(mut entry: Entry, seed: Option<i64>, rollouts: Vec<RolloutRow>) -> Entry {
    let mut rates = Rates::default();
    rollouts.iter().for_each(|row| rates.add(&row.mode, &row.verdict));
    rates.put(&mut entry);
    let chosen = rollouts.iter().find(|row| Some(row.seed) == seed && row.mode == entry.outcome);
    entry.chosen_index = chosen.map(|row| row.sample_index);
    entry.rollouts = rollouts.into_iter().map(response).collect();
    entry
}

/// Returns a shard's entries in order. If `filter` selects one query, the entry has its responses. Blocks.
pub fn entries_of(dir: &Path, index: u32) -> Result<Vec<Entry>, ShardError> {
    let samples: Vec<SampleRow> = read_rows(&dir.join(Table::Samples.file_name(index)))?;
    let exclusions: Vec<ExclusionRow> = read_rows(&dir.join(Table::Exclusions.file_name(index)))?;
    let mut entries: Vec<Entry> =
        samples.into_iter().map(sample_entry).chain(exclusions.into_iter().map(exclusion_entry)).collect();
    entries.sort_by_key(|entry| entry.ordinal);
    let mut rates: HashMap<i64, Rates> = HashMap::new();
    let filter = RowFilter::columns(&["ordinal", "mode", "verdict"]);
    for row in read_rows_of::<RolloutOutcome>(&dir.join(Table::Rollouts.file_name(index)), &filter)? {
        rates.entry(row.ordinal).or_default().add(&row.mode, &row.verdict);
    }
    for entry in &mut entries {
        rates.remove(&entry.ordinal).unwrap_or_default().put(entry);
    }
    Ok(entries)
}

#[derive(Deserialize)]
struct RolloutOutcome {
    ordinal: i64,
    mode: String,
    verdict: String,
}

/// Adds question, reference and kind from the input to the entries of excluded queries, whose table lacks them.
pub fn complete(entries: &mut [Entry], reader: &Reader, run: &RunRecord) -> Result<(), LedgerError> {
    let is_bare = |entry: &&mut Entry| entry.question.is_empty();
    let mut bare: BTreeMap<i64, &mut Entry> =
        entries.iter_mut().filter(is_bare).map(|entry| (entry.ordinal, entry)).collect();
    let ordinal = |ordinal: Option<&i64>| ordinal.and_then(|ordinal| u64::try_from(*ordinal).ok());
    let (Some(first), Some(last)) = (ordinal(bare.keys().min()), ordinal(bare.keys().max())) else { return Ok(()) };
    for row in reader.intake(&run.input_digest, first, last + 1)? {
        let IntakeRow::Query(query) = row else { continue };
        if let Some(entry) = i64::try_from(query.ordinal).ok().and_then(|ordinal| bare.remove(&ordinal)) {
            ask(entry, &query);
        }
    }
    Ok(())
}

fn ask(entry: &mut Entry, query: &Query) {
    entry.question = bounded(query.user_text());
    entry.gold = bounded(query.gold.clone());
    entry.kind = query.kind.to_string();
}

/// Builds the entry of an input row from its state by the facts, with the responses in that state.
#[must_use]
pub fn standing_entry(standing: Standing) -> Entry {
    match standing {
        Standing::Settled { row: SettledRow { outcome, rollouts }, .. } => match outcome {
            Outcome::Sample(sample) => {
                let seed = Some(sample.row.seed);
                with_rollouts(sample_entry(*sample.row), seed, rollouts)
            }
            Outcome::Excluded(exclusion) => with_rollouts(exclusion_entry(exclusion_row(exclusion)), None, rollouts),
        },
        Standing::Open { query, lack, rollouts } => {
            let mut entry = outstanding_entry(&query);
            entry.detail = format!("no {} yet", lack.name());
            with_rollouts(entry, None, rollouts)
        }
    }
}

/// Builds the entry of an input row without any work.
#[must_use]
pub fn untouched_entry(row: IntakeRow) -> Entry {
    match row {
        IntakeRow::Excluded(exclusion) => exclusion_entry(exclusion_row(exclusion)),
        IntakeRow::Query(query) => outstanding_entry(&query),
    }
}

fn outstanding_entry(query: &Query) -> Entry {
    let mut entry = Entry {
        id: query.id.0.clone(),
        ordinal: i64::try_from(query.ordinal).unwrap_or(i64::MAX),
        source: query.source.clone(),
        outcome: OUTSTANDING.to_owned(),
        rank: Rank::Outstanding,
        ..Entry::default()
    };
    ask(&mut entry, query);
    entry
}

/// Returns the entries of a shard with their responses. Blocks.
pub fn whole_entries_of(dir: &Path, index: u32) -> Result<Vec<Entry>, ShardError> {
    let samples: Vec<SampleRow> = read_rows(&dir.join(Table::Samples.file_name(index)))?;
    let seeds: HashMap<i64, i64> = samples.iter().map(|row| (row.ordinal, row.seed)).collect();
    let mut rollouts: HashMap<i64, Vec<RolloutRow>> = HashMap::new();
    for row in read_rows::<RolloutRow>(&dir.join(Table::Rollouts.file_name(index)))? {
        rollouts.entry(row.ordinal).or_default().push(row);
    }
    let whole = |entry: Entry| {
        let responses = rollouts.remove(&entry.ordinal).unwrap_or_default();
        let seed = seeds.get(&entry.ordinal).copied();
        with_rollouts(entry, seed, responses)
    };
    Ok(entries_of(dir, index)?.into_iter().map(whole).collect())
}

/// Returns one query with its responses, from the shard that holds it. Blocks.
pub fn entry(dir: &Path, index: u32, ordinal: i64) -> Result<Option<Entry>, ShardError> {
    let filter = RowFilter::ordinal(ordinal);
    let rollouts = read_rows_of(&dir.join(Table::Rollouts.file_name(index)), &filter)?;
    let sample: Option<SampleRow> = read_rows_of(&dir.join(Table::Samples.file_name(index)), &filter)?.pop();
    if let Some(sample) = sample {
        let seed = Some(sample.seed);
        return Ok(Some(with_rollouts(sample_entry(sample), seed, rollouts)));
    }
    let exclusion: Option<ExclusionRow> = read_rows_of(&dir.join(Table::Exclusions.file_name(index)), &filter)?.pop();
    Ok(exclusion.map(|row| with_rollouts(exclusion_entry(row), None, rollouts)))
}
