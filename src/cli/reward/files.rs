//! Reads the rollouts of a table, and writes its rows with their rewards.

use std::borrow::Cow;
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
use serde_json::value::RawValue;

use crate::cli::table::{Chunk, Table, parquet_batches};
use crate::config::VerifySettings;
use crate::domain::OtherMode;
use crate::engine::{EngineError, Vocabulary};
use crate::pipeline::plan::evaluated_of;
use crate::pipeline::programs::open_pool;
use crate::reward::rollouts::{AllRewards, Aside, Entry, Gained, Reading, Rollouts, TokenBytes, read_rows};
use crate::reward::row::{GradeRules, KEYS, RowFault};
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

/// How the command reads rows.
#[derive(Clone, Copy)]
pub(super) struct Options<'a> {
    /// Counts tokens.
    pub(super) vocabulary: Option<&'a Vocabulary>,
    /// Whether the rule needs the length of each completion.
    pub(super) needs_lengths: bool,
    /// What a response of the other mode than was asked for counts as.
    pub(super) other_mode: OtherMode,
}

/// Reads all rows. Verifies texts on all cores, and programs in the sandbox; the first program opens the sandbox.
pub(super) fn gather(table: &Table, verify: &VerifySettings, options: Options<'_>) -> anyhow::Result<Rollouts> {
    let mut rollouts = Rollouts::default();
    let mut pool: Option<CodePool> = None;
    let rules = GradeRules { evaluated: evaluated_of(verify.evaluated), other_mode: options.other_mode };
    let counter = options
        .vocabulary
        .map(|vocabulary| move |completion: &str, ids: Option<&[u32]>| token_bytes(vocabulary, completion, ids));
    let counter = counter.as_ref().map(|counter| counter as &TokenBytes<'_>);
    let reading = Reading { rules, token_bytes: counter, needs_lengths: options.needs_lengths };
    let mut chunk = Chunk::default();
    let mut reader = table.read(KEYS);
    let mut told = 0;
    while let Some(file) = reader.next(&mut chunk)? {
        let (rows, lines): (Vec<&[u8]>, Vec<u64>) = chunk.rows().into_iter().unzip();
        let name = table.files().get(file).map_or("", |file| file.name.as_str());
        let mut tell = |row: usize, fault: &str| {
            if told < FAULTS_TOLD_MAX {
                print_line(&format!("error: {name}:{}: {fault}", lines.get(row).copied().unwrap_or_default()));
            }
            told += 1;
        };
        let mut submit = |case| pool.get_or_insert_with(|| open_pool(verify)).submit(case);
        rollouts.add(read_rows(&rows, reading), &mut Aside { submit: &mut submit, tell: &mut tell })?;
    }
    Ok(rollouts)
}

/// Returns the number of bytes of each token of a completion: of the sampled tokens, if there are any.
///
/// # Errors
/// [`RowFault`] for a completion that is longer than any model's response.
pub fn token_bytes(
    vocabulary: &Vocabulary,
    completion: &str,
    token_ids: Option<&[u32]>,
) -> Result<Vec<usize>, RowFault> {
    let bytes = |ids: &[u32]| ids.iter().map(|&id| vocabulary.token_bytes(id).len()).collect();
    if let Some(ids) = token_ids {
        return Ok(bytes(ids));
    }
    let encoded = vocabulary.encode_within(completion, COMPLETION_TOKENS_MAX).map_err(|error| match error {
        EngineError::TextTooLong { bytes, .. } => RowFault(format!(
            "the completion has {bytes} bytes, more than {COMPLETION_TOKENS_MAX} tokens; add its token_ids to the row"
        )),
        error => RowFault(error.to_string()),
    });
    encoded.map(|ids| bytes(&ids))
}

/// Returns the columns that a row of the output gets.
fn added<'a>(rollouts: &'a Rollouts, rewarded: &AllRewards, index: usize) -> Gained<'a> {
    let given = rollouts.entries().get(index).map_or([true; 4], |entry| entry.given);
    rollouts.gained(rewarded, index).beside(given)
}

/// Returns whether a row may have keys that the output replaces. A row without a group may be invalid JSON.
fn must_replace(entry: Option<&Entry>, text: &[u8]) -> bool {
    let Some(Entry { group: Some(_), given, .. }) = entry else { return true };
    let text = std::str::from_utf8(text).unwrap_or_default();
    let is_filled = given.contains(&false) && FILLED_KEYS.iter().any(|key| text.contains(key));
    is_filled || OUTPUT_KEYS.iter().any(|key| text.contains(key))
}

/// Returns the Parquet columns of [`Gained`].
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
    rollouts: &Rollouts,
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
            serde_json::to_writer(&mut gained, &added(rollouts, rewarded, index))?;
            let must_replace = must_replace(rollouts.entries().get(index), text);
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
pub(super) fn write_parquet(
    table: &Table,
    rollouts: &Rollouts,
    rewarded: &AllRewards,
    path: &Path,
) -> anyhow::Result<()> {
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
            let rows: Vec<Gained<'_>> =
                (index..index + batch.num_rows()).map(|row| added(rollouts, rewarded, row)).collect();
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
fn joined(batch: &RecordBatch, rows: &[Gained<'_>], schema: &SchemaRef) -> anyhow::Result<RecordBatch> {
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
