//! Reads the rollouts of a table, applies the reward rule, and writes the rows with their rewards.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use arrow::array::{Array, RecordBatch};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{cast, is_not_null};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use rayon::prelude::*;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::cli::table::{Chunk, Table, parquet_batches};
use crate::config::VerifySettings;
use crate::domain::{ByMode, OtherMode, ShownMode, UnverifiableCause, Verdict};
use crate::engine::{EngineError, Vocabulary};
use crate::pipeline::plan::evaluated_of;
use crate::pipeline::programs::open_pool;
use crate::reward::row::{GradeRules, Graded, Grading, KEYS, LENGTH_MISSING, RewardRow, RowFault, grade};
use crate::reward::segments::judge_tokens;
use crate::reward::{Response, RewardSettings, Rewarded, rewards};
use crate::telemetry::print_line;
use crate::verify::CodePool;

/// The maximum number of faulty rows that are printed; further ones are only counted.
const FAULTS_TOLD_MAX: u64 = 10;
/// The maximum tokens of a completion without `token_ids`; longer than any model's response.
const COMPLETION_TOKENS_MAX: usize = 1 << 18;

/// Columns that are always written; they replace columns of the same name.
const OUTPUT_KEYS: &[&str] = &[
    "reward",
    "mean_reward",
    "mean_reward_mode",
    "advantage_judge",
    "advantage_answer",
    "judge_chars",
    "judge_tokens",
    "error",
];

/// Columns that are written if a row lacks the value; they then replace columns of the same name.
const FILLED_KEYS: &[&str] =
    &["mode", "correct", "format_ok", "verdict", "extracted", "verdict_reason", "completion_tokens"];

/// The parts of a rollout that the reward rule needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// The group; `None` for a faulty row.
    pub(super) group: Option<u32>,
    pub(super) response: Response,
    /// Whether the row itself has mode, correct, format_ok, completion_tokens.
    given: [bool; 4],
    /// Whether the row has keys that must be replaced.
    has_output_keys: bool,
    judge_chars: Option<u32>,
    judge_tokens: Option<u32>,
}

/// All rollouts.
pub(super) struct Store {
    pub(super) entries: Vec<Entry>,
    pub(super) groups: usize,
    /// Verdicts computed by this command, by row; a map, since few rows have one.
    verdicts: HashMap<usize, Verdict>,
    pub(super) faults: HashMap<usize, String>,
}

/// The rewards of all rollouts and groups.
pub(super) struct AllRewards {
    /// By row; all 0 for a faulty row.
    pub(super) rows: Vec<Rewarded>,
    /// By group: the mean of all rewards, the adjusted means of the modes, whether the group was adjusted.
    pub(super) groups: Vec<(f64, ByMode<Option<f64>>, bool)>,
}

/// A parsed row.
struct ReadRow {
    query_id: String,
    grading: Grading,
    given: [bool; 4],
    has_output_keys: bool,
    judge_chars: Option<u32>,
    judge_tokens: Option<u32>,
}

/// How rows are read.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    /// Counts tokens.
    pub(super) vocabulary: Option<&'a Vocabulary>,
    /// Whether the rule needs the length of each completion.
    pub(super) needs_lengths: bool,
    /// What a response of the other mode than was asked for counts as.
    pub(super) other_mode: OtherMode,
}

/// Reads all rows. Verifies texts on all cores, and programs in the sandbox; the first program opens the sandbox.
pub(super) fn gather(table: &Table, verify: VerifySettings, reading: Reading<'_>) -> anyhow::Result<Store> {
    let mut store = Store { entries: Vec::new(), groups: 0, verdicts: HashMap::new(), faults: HashMap::new() };
    let mut groups: HashMap<String, u32> = HashMap::new();
    let mut pool: Option<CodePool> = None;
    let rules = GradeRules { evaluated: evaluated_of(verify.evaluated), other_mode: reading.other_mode };
    let mut chunk = Chunk::default();
    let mut reader = table.read(KEYS);
    while let Some(file) = reader.next(&mut chunk)? {
        let rows = chunk.rows();
        let name = table.files().get(file).map_or("", |file| file.name.as_str());
        let place = |line| format!("{name}:{line}");
        let read: Vec<Result<ReadRow, RowFault>> =
            rows.par_iter().map(|(text, _)| read_row(text, rules, reading)).collect();
        let mut waiting = Vec::new();
        for (read, (text, line)) in read.into_iter().zip(rows) {
            let index = store.entries.len();
            match read {
                Ok(ReadRow { query_id, grading, given, has_output_keys, judge_chars, judge_tokens }) => {
                    let (group, graded) = match grading {
                        Grading::Ready(graded) => (Some(group_of(&mut groups, query_id)?), graded),
                        // The row joins its group when it has a verdict.
                        Grading::Program(graded, case) => {
                            let pool = pool.get_or_insert_with(|| open_pool(&verify));
                            waiting.push((index, line, query_id, graded.clone(), pool.submit(*case)));
                            (None, graded)
                        }
                    };
                    let Graded { response, verdict, .. } = graded;
                    if let Some(verdict) = verdict {
                        store.verdicts.insert(index, verdict);
                    }
                    store.entries.push(Entry { group, response, given, has_output_keys, judge_chars, judge_tokens });
                }
                Err(fault) => store.push_fault(&place(line), text, fault),
            }
        }
        for (index, line, query_id, graded, pending) in waiting {
            let verdict = pending.wait().0.unwrap_or_else(|fault| {
                print_line(&format!("error: row {}: {fault}", index + 1));
                Verdict::unverifiable(UnverifiableCause::SandboxFailed, None)
            });
            match graded.with_verdict(verdict) {
                Ok(graded) => {
                    let group = group_of(&mut groups, query_id)?;
                    if let Some(entry) = store.entries.get_mut(index) {
                        (entry.group, entry.response) = (Some(group), graded.response);
                    }
                    store.verdicts.extend(graded.verdict.map(|verdict| (index, verdict)));
                }
                Err(fault) => store.add_fault(index, &place(line), fault),
            }
        }
    }
    store.groups = groups.len();
    Ok(store)
}

/// Returns the number of a group; a new name gets the next number.
fn group_of(groups: &mut HashMap<String, u32>, query_id: String) -> anyhow::Result<u32> {
    let next = u32::try_from(groups.len()).context("more than 2^32 groups")?;
    Ok(*groups.entry(query_id).or_insert(next))
}

/// Returns the tokens of a completion.
fn tokens_of(completion: &str, vocabulary: &Vocabulary) -> Result<Vec<u32>, RowFault> {
    vocabulary.encode_within(completion, COMPLETION_TOKENS_MAX).map_err(|error| match error {
        EngineError::TextTooLong { bytes, .. } => RowFault(format!(
            "the completion has {bytes} bytes, more than {COMPLETION_TOKENS_MAX} tokens; add its token_ids to the row"
        )),
        error => RowFault(error.to_string()),
    })
}

fn read_row(text: &[u8], rules: GradeRules, reading: Reading<'_>) -> Result<ReadRow, RowFault> {
    let row: RewardRow<'_> =
        serde_json::from_slice(text).map_err(|error| RowFault(format!("the row is not a rollout: {error}")))?;
    let query_id = row.query_id.clone().ok_or_else(|| RowFault("the row has no query_id".to_owned()))?.into_text();
    let given = row.gives();
    let completion = row.completion.clone();
    let token_ids = row.token_ids.clone();
    let mut grading = grade(row, rules)?;
    let (Grading::Ready(graded) | Grading::Program(graded, _)) = &mut grading;
    let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let head = completion.as_deref().zip(graded.judge_end).and_then(|(text, end)| text.get(..end));
    let judge_chars = head.map(|head| narrow(head.chars().count()));
    let counted = match (reading.vocabulary, &completion, graded.judge_end) {
        (Some(vocabulary), Some(completion), Some(judge_end)) => {
            let is_sampled = token_ids.is_some();
            let ids = match token_ids {
                Some(ids) => ids,
                None => tokens_of(completion, vocabulary)?,
            };
            let bytes = || ids.iter().map(|&id| vocabulary.token_bytes(id).len());
            // Some tokenizers prepend a space.
            let lead = if is_sampled { 0 } else { bytes().sum::<usize>().saturating_sub(completion.len()) };
            let judge_end = if judge_end == 0 { 0 } else { judge_end + lead };
            Some((narrow(judge_tokens(bytes(), judge_end)), narrow(ids.len())))
        }
        _ => None,
    };
    let (judge_tokens, counted) = counted.unzip();
    let lengths = &mut graded.response.completion_tokens;
    *lengths = lengths.or(counted);
    if reading.needs_lengths && lengths.is_none() {
        return Err(RowFault(LENGTH_MISSING.to_owned()));
    }
    let text = std::str::from_utf8(text).unwrap_or_default();
    let is_filled = given.contains(&false) && FILLED_KEYS.iter().any(|key| text.contains(key));
    let has_output_keys = is_filled || OUTPUT_KEYS.iter().any(|key| text.contains(key));
    Ok(ReadRow { query_id, grading, given, has_output_keys, judge_chars, judge_tokens })
}

impl Store {
    fn add_fault(&mut self, index: usize, place: &str, RowFault(fault): RowFault) {
        if (self.faults.len() as u64) < FAULTS_TOLD_MAX {
            print_line(&format!("error: {place}: {fault}"));
        }
        self.faults.insert(index, fault);
    }

    fn push_fault(&mut self, place: &str, text: &[u8], fault: RowFault) {
        self.add_fault(self.entries.len(), place, fault);
        let response =
            Response { mode: ShownMode::None, is_correct: false, is_well_formed: false, completion_tokens: None };
        let has_output_keys =
            std::str::from_utf8(text).is_ok_and(|text| OUTPUT_KEYS.iter().any(|key| text.contains(key)));
        let given = [true; 4];
        self.entries.push(Entry {
            group: None,
            response,
            given,
            has_output_keys,
            judge_chars: None,
            judge_tokens: None,
        });
    }

    /// Applies the reward rule to every group.
    pub(super) fn rewarded(&self, rule: &RewardSettings) -> AllRewards {
        // Sort the rows by group, in row order (counting sort).
        let mut starts = vec![0_usize; self.groups + 1];
        let group_of = |entry: &Entry| entry.group.map(|group| group as usize);
        for group in self.entries.iter().filter_map(group_of) {
            starts[group + 1] += 1;
        }
        for index in 1..starts.len() {
            starts[index] += starts[index - 1];
        }
        let mut next = starts.clone();
        let mut order = vec![0_u32; starts.last().copied().unwrap_or_default()];
        for (row, group) in self.entries.iter().enumerate().filter_map(|(row, entry)| Some((row, group_of(entry)?))) {
            order[next[group]] = row as u32;
            next[group] += 1;
        }
        let mut all =
            AllRewards { rows: vec![Rewarded::default(); self.entries.len()], groups: Vec::with_capacity(self.groups) };
        let mut responses = Vec::new();
        for bounds in starts.windows(2) {
            let rows = &order[bounds[0]..bounds[1]];
            responses.clear();
            responses.extend(rows.iter().map(|&row| self.entries[row as usize].response));
            let group = rewards(&responses, rule);
            for (&row, rewarded) in rows.iter().zip(group.responses) {
                all.rows[row as usize] = rewarded;
            }
            all.groups.push((group.mean, group.mode_means, group.is_adjusted));
        }
        all
    }

    fn added<'a>(&'a self, rewarded: &AllRewards, index: usize) -> Added<'a> {
        let Some((entry, row)) = self.entries.get(index).zip(rewarded.rows.get(index)) else { return Added::default() };
        let Some(group) = entry.group.and_then(|group| rewarded.groups.get(group as usize)) else {
            return Added { error: self.faults.get(&index).map(String::as_str), ..Added::default() };
        };
        let Response { mode, is_correct, is_well_formed, completion_tokens } = entry.response;
        let verdict = self.verdicts.get(&index);
        let [has_mode, has_correct, has_format, has_length] = entry.given;
        Added {
            mode: (!has_mode).then(|| mode.name()),
            correct: (!has_correct).then_some(is_correct),
            format_ok: (!has_format).then_some(is_well_formed),
            verdict: verdict.map(|verdict| verdict.outcome.name()),
            extracted: verdict.and_then(|verdict| verdict.extracted.as_deref()),
            verdict_reason: verdict.map(|verdict| verdict.reason.as_str()),
            reward: Some(row.reward),
            mean_reward: Some(group.0),
            mean_reward_mode: mode.mode().and_then(|mode| group.1[mode]),
            advantage_judge: Some(row.advantage_judge),
            advantage_answer: Some(row.advantage_answer),
            judge_chars: entry.judge_chars,
            judge_tokens: entry.judge_tokens,
            completion_tokens: completion_tokens.filter(|_| !has_length),
            error: None,
        }
    }
}

/// The columns that a row gets.
#[derive(Debug, Default, Serialize)]
struct Added<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correct: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format_ok: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extracted: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict_reason: Option<&'a str>,
    reward: Option<f64>,
    mean_reward: Option<f64>,
    mean_reward_mode: Option<f64>,
    advantage_judge: Option<f64>,
    advantage_answer: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    judge_chars: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    judge_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// Returns the Parquet columns of [`Added`].
fn added_columns() -> Vec<(&'static str, DataType)> {
    use DataType::{Boolean, Float64, Int32, Utf8};
    vec![
        ("mode", Utf8),
        ("correct", Boolean),
        ("format_ok", Boolean),
        ("verdict", Utf8),
        ("extracted", Utf8),
        ("verdict_reason", Utf8),
        ("reward", Float64),
        ("mean_reward", Float64),
        ("mean_reward_mode", Float64),
        ("advantage_judge", Float64),
        ("advantage_answer", Float64),
        ("judge_chars", Int32),
        ("judge_tokens", Int32),
        ("completion_tokens", Int32),
        ("error", Utf8),
    ]
}

/// Writes the rows as JSON lines, each with its added keys.
pub(super) fn write_lines(
    table: &Table,
    store: &Store,
    rewarded: &AllRewards,
    mut writer: impl Write,
) -> anyhow::Result<()> {
    let columns = all_columns(table)?;
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let mut chunk = Chunk::default();
    let mut reader = table.read(&columns);
    let mut index = 0;
    let mut gained = Vec::new();
    while reader.next(&mut chunk)?.is_some() {
        for (text, _) in chunk.rows() {
            gained.clear();
            serde_json::to_writer(&mut gained, &store.added(rewarded, index))?;
            let entry = store.entries.get(index);
            // A row without a group may be invalid JSON.
            let must_replace = entry.is_none_or(|entry| entry.has_output_keys || entry.group.is_none());
            write_row(&mut writer, text, &gained, must_replace)?;
            index += 1;
        }
    }
    Ok(writer.flush()?)
}

/// Writes one row: its own text up to the closing brace, then the added keys.
fn write_row(writer: &mut impl Write, text: &[u8], gained: &[u8], must_replace: bool) -> anyhow::Result<()> {
    let replaced = if must_replace { without_keys(text, gained).map(Cow::Owned) } else { Some(Cow::Borrowed(text)) };
    let object = replaced.as_deref().map(<[u8]>::trim_ascii);
    let own = object.and_then(|text| text.strip_prefix(b"{")?.strip_suffix(b"}")).map(<[u8]>::trim_ascii);
    let gained = gained.strip_prefix(b"{").unwrap_or(gained);
    writer.write_all(b"{")?;
    match own {
        Some(own) if !own.is_empty() => {
            writer.write_all(own)?;
            writer.write_all(b",")?;
        }
        Some(_) => {}
        // Not an object: keep its text under `row`, next to its error.
        None => {
            serde_json::to_writer(&mut *writer, "row")?;
            writer.write_all(b":")?;
            serde_json::to_writer(&mut *writer, &String::from_utf8_lossy(text))?;
            writer.write_all(b",")?;
        }
    }
    writer.write_all(gained)?;
    Ok(writer.write_all(b"\n")?)
}

/// Returns an object's text without the replaced keys, the others in their order; `None` if the text is not an object.
fn without_keys(text: &[u8], gained: &[u8]) -> Option<Vec<u8>> {
    type Object = std::collections::BTreeMap<String, Box<RawValue>>;
    let (row, gained): (Object, Object) = (serde_json::from_slice(text).ok()?, serde_json::from_slice(gained).ok()?);
    let mut order: Vec<(&String, &RawValue)> = row.iter().map(|(key, value)| (key, value.as_ref())).collect();
    order.retain(|(key, _)| !OUTPUT_KEYS.contains(&key.as_str()) && !gained.contains_key(*key));
    let text = std::str::from_utf8(text).ok()?;
    let place = |key: &str| text.find(&serde_json::to_string(key).unwrap_or_default()).unwrap_or(text.len());
    order.sort_by_key(|(key, _)| place(key));
    let pairs: Vec<String> = order
        .iter()
        .map(|(key, value)| format!("{}:{}", serde_json::to_string(key).unwrap_or_default(), value.get()))
        .collect();
    Some(format!("{{{}}}", pairs.join(",")).into_bytes())
}

/// Returns the columns of Parquet files that are copied: all but the replaced ones.
fn all_columns(table: &Table) -> anyhow::Result<Vec<String>> {
    let Some(file) = table.files().first().filter(|_| table.is_parquet()) else { return Ok(Vec::new()) };
    let (schema, _) = parquet_batches(file, Some(&[]))?;
    let names = schema.fields().iter().map(|field| field.name().clone());
    Ok(names.filter(|name| !OUTPUT_KEYS.contains(&name.as_str())).collect())
}

/// Writes the rows as one Parquet file, each with its added columns.
pub(super) fn write_parquet(table: &Table, store: &Store, rewarded: &AllRewards, path: &Path) -> anyhow::Result<()> {
    let kept = all_columns(table)?;
    let kept: Vec<&str> = kept.iter().map(String::as_str).collect();
    let fields = added_columns().into_iter();
    let added_schema: SchemaRef =
        Arc::new(Schema::new(fields.map(|(name, kind)| Field::new(name, kind, true)).collect::<Vec<_>>()));
    let mut writer: Option<ArrowWriter<fs_err::File>> = None;
    let mut index = 0;
    for file in table.files() {
        let (_, batches) = parquet_batches(file, Some(&kept))?;
        for batch in batches {
            let batch = batch.with_context(|| format!("cannot read {}", file.name))?;
            let rows: Vec<Added<'_>> =
                (index..index + batch.num_rows()).map(|row| store.added(rewarded, row)).collect();
            index += batch.num_rows();
            let batch = joined(&batch, &rows, &added_schema)?;
            if writer.is_none() {
                let level = ZstdLevel::try_new(3)?;
                let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
                let file = fs_err::File::create(path)?;
                writer = Some(ArrowWriter::try_new(file, batch.schema(), Some(properties))?);
            }
            if let Some(writer) = &mut writer {
                writer
                    .write(&batch)
                    .with_context(|| format!("the columns of {} differ from those of the files before", file.name))?;
            }
        }
    }
    writer.context("the input has no rows")?.close()?;
    Ok(())
}

/// Adds the columns of `rows` to a batch. A column that the batch already has keeps its values; the added values fill
/// its nulls.
fn joined(batch: &RecordBatch, rows: &[Added<'_>], schema: &SchemaRef) -> anyhow::Result<RecordBatch> {
    let mut decoder = arrow::json::ReaderBuilder::new(Arc::clone(schema)).build_decoder()?;
    decoder.serialize(rows)?;
    let added = decoder.flush()?.context("the JSON decoder returned no rows")?;
    let mut fields = batch.schema().fields().to_vec();
    let mut columns = batch.columns().to_vec();
    for (field, gained) in added.schema_ref().fields().iter().zip(added.columns()) {
        match fields.iter().position(|own| own.name() == field.name()) {
            Some(place) if columns[place].null_count() > 0 => {
                let gained = cast(gained, columns[place].data_type())?;
                columns[place] = zip(&is_not_null(&columns[place])?, &columns[place], &gained)?;
            }
            Some(_) => {}
            None => {
                fields.push(Arc::clone(field));
                columns.push(Arc::clone(gained));
            }
        }
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}
