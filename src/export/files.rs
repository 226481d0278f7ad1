//! Writes the shards of a run to an export directory: checks the rows, writes the files, and moves them to their place
//! (`place`).

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::check::{Checked, check};
use super::layout::{FileKind, Item, file_kind, lay_out, schema};
use super::lengths::{Lengths, Limits, bound, tokens};
use super::pairs::pairs;
use super::place::Place;
use super::report::{Choices, Facts, FileList, LIST_FILE, Report, TaskReport, WriteOptions};
use super::snippets;
use super::source::{Source, SourceShard, WithRollouts};
use super::{ExportError, ModelTemplate, Pair, Plan, Task, TrainingRow};
use crate::domain::Kind;
use crate::domain::digest::sha256;
use crate::shards::{encode_as, sha256_of_file};

/// The most tokens that an unknown chat template adds to a row, roughly.
const TEMPLATE_TOKENS: usize = 512;

/// The most examples that an error message shows.
const EXAMPLES: usize = 3;

/// The rows of a task from one shard.
struct Batch<'a> {
    items: Vec<Item<'a>>,
    /// See [`TaskReport::left_out`].
    left_out: u64,
}

/// Receives the rows that a shard gives for a task.
type TakeBatch<'t> = dyn FnMut(Task, Batch<'_>) -> Result<(), ExportError> + 't;

/// Calls `take` for every task of every shard.
fn for_each_batch(
    source: &Source,
    plan: Plan,
    tasks: &[Task],
    choices: &Choices<'_>,
    take: &mut TakeBatch<'_>,
) -> Result<(), ExportError> {
    let of_choice = |row: &TrainingRow| row.kind == Kind::Choice.name();
    let needs_rollouts = tasks.iter().any(|task| matches!(task, Task::Dpo | Task::Kto));
    let with_rollouts = if needs_rollouts { WithRollouts::Yes } else { WithRollouts::No };
    for shard in source.shards(with_rollouts) {
        let SourceShard { samples, rollouts } = shard?;
        let mut rows: Vec<TrainingRow> =
            samples.iter().filter_map(|sample| TrainingRow::new(sample, plan.flavour)).collect();
        if tasks.contains(&Task::Rl) {
            rows.iter_mut().filter(|row| of_choice(row)).for_each(|row| row.choices = choices(row.ordinal));
        }
        let pairs: Vec<Pair> = if needs_rollouts {
            let of = |ordinal: i64| rollouts.get(&ordinal).map_or(&[][..], Vec::as_slice);
            samples.iter().flat_map(|sample| pairs(sample, of(sample.ordinal), plan.flavour)).collect()
        } else {
            Vec::new()
        };
        for &task in tasks {
            let items: Vec<Item<'_>> = match task {
                Task::Sft => rows.iter().map(Item::Row).collect(),
                Task::Rl => rows.iter().filter(|row| can_be_scored(row)).map(Item::Row).collect(),
                Task::Dpo => pairs.iter().map(Item::Pair).collect(),
                Task::Kto => labelled(&rows, &pairs),
            };
            let left_out = if task == Task::Rl { rows.len() - items.len() } else { 0 };
            take(task, Batch { items, left_out: left_out as u64 })?;
        }
    }
    Ok(())
}

/// Returns whether an export's columns suffice to score a response to the row's prompt. The published tables do not
/// contain a program's tests, so every program would count as wrong.
fn can_be_scored(row: &TrainingRow) -> bool {
    row.kind != Kind::Code.name()
}

/// Returns every sample as wanted, and every rejected response of a pair, once, as not wanted.
///
/// Neighbours have different queries and responses, as far as possible: trainers estimate the KL term of KTO from a
/// prompt with the response of the row before it, and ms-swift drops a row whose neighbour has its own response.
pub(super) fn labelled<'a>(rows: &'a [TrainingRow], pairs: &'a [Pair]) -> Vec<Item<'a>> {
    let mut by_query: BTreeMap<i64, Vec<&TrainingRow>> = BTreeMap::new();
    for pair in pairs {
        let others = by_query.entry(pair.rejected.ordinal).or_default();
        if others.iter().all(|other| other.response != pair.rejected.response) {
            others.push(&pair.rejected);
        }
    }
    let mut items: Vec<(&TrainingRow, bool)> = rows.iter().map(|row| (row, true)).collect();
    let rounds = by_query.values().map(Vec::len).max().unwrap_or(0);
    for round in 0..rounds {
        items.extend(by_query.values().filter_map(|others| Some((*others.get(round)?, false))));
    }
    for index in 1..items.len() {
        let (before, _) = items[index - 1];
        let other =
            items[index..].iter().position(|(row, _)| row.ordinal != before.ordinal && row.response != before.response);
        items.swap(index, index + other.unwrap_or(0));
    }
    items.into_iter().map(|(row, label)| Item::Labelled(row, label)).collect()
}

/// Receives the result of each check.
type TellChecked<'t> = dyn FnMut(Task, &TrainingRow, &Checked) -> Result<(), ExportError> + 't;

/// The rules of a check.
pub struct CheckOptions<'a> {
    /// Trainer, flavour and layout.
    pub plan: Plan,
    /// The tasks.
    pub tasks: &'a [Task],
    /// The model's template.
    pub model: &'a ModelTemplate,
    /// See [`WriteOptions::max_length`].
    pub max_length: Option<usize>,
    /// Whether every result has its tokens, if the model's tokenizer is known.
    pub wants_tokens: bool,
}

/// Checks every row of every task against a template, and calls `tell` with each result.
///
/// # Errors
/// [`ExportError`] if a shard cannot be read, or the tokenizer fails; the error of `tell`.
pub fn check_all(
    source: &Source,
    options: &CheckOptions<'_>,
    tell: &mut TellChecked<'_>,
) -> Result<Report, ExportError> {
    let &CheckOptions { plan, tasks, model, max_length, wants_tokens } = options;
    let of = TaskReport { are_exact: model.vocabulary().is_some(), ..TaskReport::default() };
    let mut report: Report = tasks.iter().map(|&task| (task, of.clone())).collect();
    let bound = bound(max_length, model.context());
    for_each_batch(source, plan, tasks, &|_| Vec::new(), &mut |task, batch| {
        let entry = report.entry(task).or_default();
        entry.left_out += batch.left_out;
        for item in batch.items {
            entry.rows += 1;
            let mut is_mangled = false;
            for row in item.responses() {
                let mut checked = check(plan, task, row, model);
                measure(entry, task, row, &mut checked, model, Measured { bound, wants_tokens })?;
                note(entry, row, &checked);
                is_mangled |= !checked.problems.is_empty();
                tell(task, row, &checked)?;
            }
            entry.mangled += u64::from(is_mangled);
        }
        Ok(())
    })?;
    Ok(report)
}

/// How exactly a row is measured.
#[derive(Clone, Copy)]
struct Measured {
    bound: Option<usize>,
    wants_tokens: bool,
}

/// Enters the lengths of a row into the report.
fn measure(
    entry: &mut TaskReport,
    task: Task,
    row: &TrainingRow,
    checked: &mut Checked,
    model: &ModelTemplate,
    Measured { bound, wants_tokens }: Measured,
) -> Result<(), ExportError> {
    let Some(rendered) = &checked.rendered else { return Ok(()) };
    let end = [&row.response, model.end_of_turn()].concat();
    let response = if task == Task::Rl { &end } else { &rendered.text[rendered.loss_start..rendered.loss_end] };
    let at_most = Lengths::at_most(&rendered.text[..rendered.loss_start], response);
    let is_shorter = at_most.max(entry.lengths) == entry.lengths && bound.is_none_or(|bound| at_most.row <= bound);
    let lengths = match model.vocabulary() {
        None => at_most,
        // A text has no more tokens than bytes.
        Some(_) if is_shorter && !wants_tokens => return Ok(()),
        Some(vocabulary) => {
            let found = tokens(rendered, vocabulary)?;
            let response = if task == Task::Rl { vocabulary.encode(response)?.len() } else { found.loss.len() };
            let row = if task == Task::Rl { found.ids.len() + response } else { found.ids.len() };
            let lengths = Lengths { prompt: found.loss.start, response, row };
            checked.tokens = Some(found);
            lengths
        }
    };
    entry.lengths = entry.lengths.max(lengths);
    if bound.is_some_and(|bound| lengths.row > bound) {
        entry.cut.push(format!("{} ({}): {}", row.query_id, row.mode, lengths.row));
    }
    Ok(())
}

fn note(entry: &mut TaskReport, row: &TrainingRow, checked: &Checked) {
    for problem in checked.problems.iter().map(ToString::to_string) {
        // One row of each fault says more than several rows of one.
        let is_new = entry.examples.iter().all(|example| !example.ends_with(&problem));
        if entry.examples.len() < EXAMPLES && is_new {
            entry.examples.push(format!("{} ({}): {problem}", row.query_id, row.mode));
        }
    }
    if let (None, true, Some(rendered)) = (&entry.loss, checked.problems.is_empty(), &checked.rendered) {
        let learnt = rendered.text.get(rendered.loss_start..rendered.loss_end).unwrap_or_default();
        let count = learnt.chars().count();
        let head = learnt.chars().take(24).collect();
        entry.loss = (count > 0).then(|| (head, learnt.chars().skip(count.saturating_sub(24)).collect()));
    }
}

/// Checks and writes an export. If it fails, `out` stays as it was.
///
/// # Errors
/// [`ExportError::Mangled`] if the template would mangle a row; [`ExportError::Occupied`] if `out` is in use;
/// [`ExportError`] if a file cannot be read or written.
pub fn write(source: &Source, out: &Path, options: &WriteOptions<'_>) -> Result<Report, ExportError> {
    let place = Place::look(out, options.overwrites)?;
    let checked = match options.model {
        Some(model) => {
            let WriteOptions { plan, tasks, max_length, .. } = *options;
            let check = CheckOptions { plan, tasks, model, max_length, wants_tokens: false };
            let report = check_all(source, &check, &mut |_, _, _| Ok(()))?;
            refuse_mangled(&report, options)?;
            Some(report)
        }
        None => None,
    };
    let staged = place.stage()?;
    let mut folder = Folder { dir: staged.path().to_owned(), files: BTreeMap::new() };
    let mut report = write_rows(source, options, &mut folder)?;
    for (task, of) in checked.into_iter().flatten() {
        report.insert(task, TaskReport { rows: report[&task].rows, left_out: report[&task].left_out, ..of });
    }
    let context = options.model.and_then(ModelTemplate::context);
    let bound = bound(options.max_length, context);
    let limits: BTreeMap<Task, Limits> =
        report.iter().map(|(&task, entry)| (task, Limits::new(entry.lengths, bound))).collect();
    let facts = Facts { report: &report, limits: &limits, data: &folder.files.clone() };
    for (name, text) in snippets::files(options, source, &facts)? {
        folder.put(&name, text.as_bytes())?;
    }
    let Plan { format, flavour, layout, version } = options.plan;
    let by_name = |task: &Task| task.name().to_owned();
    let list = FileList {
        thinkloom_version: env!("CARGO_PKG_VERSION").to_owned(),
        format: format.name().to_owned(),
        flavour: flavour.name().to_owned(),
        layout: layout.name().to_owned(),
        trainer_version: version.to_string(),
        proven_with: format.proven_with().iter().map(ToString::to_string).collect(),
        fingerprint: source.manifest.as_ref().map(|manifest| manifest.fingerprint.clone()),
        template: options.model.map(ModelTemplate::hash),
        rows: report.iter().map(|(task, entry)| (by_name(task), entry.rows)).collect(),
        limits: limits.iter().map(|(task, limits)| (by_name(task), *limits)).collect(),
        cut: report
            .iter()
            .filter(|(_, entry)| !entry.cut.is_empty())
            .map(|(task, entry)| (by_name(task), entry.cut.clone()))
            .collect(),
        files: folder.files.clone(),
        replaces: Vec::new(),
    };
    folder.put(LIST_FILE, list.to_json()?.as_bytes())?;
    place.settle(staged, &list)?;
    Ok(report)
}

fn refuse_mangled(report: &Report, options: &WriteOptions<'_>) -> Result<(), ExportError> {
    let mangled: u64 = report.values().map(|entry| entry.mangled).sum();
    if mangled == 0 {
        return Ok(());
    }
    let mut examples = Vec::new();
    for (task, entry) in report.iter().filter(|(_, entry)| entry.mangled > 0) {
        examples.push(format!("  {task}: {} of {} rows", entry.mangled, entry.rows));
        examples.extend(entry.examples.iter().map(|example| format!("    {example}")));
    }
    Err(ExportError::Mangled {
        rows: mangled,
        of: report.values().map(|entry| entry.rows).sum(),
        examples: examples.join("\n"),
        hint: snippets::remedy(options.plan),
    })
}

fn write_rows(source: &Source, options: &WriteOptions<'_>, folder: &mut Folder) -> Result<Report, ExportError> {
    let plan = options.plan;
    let mut report: Report = options.tasks.iter().map(|&task| (task, TaskReport::default())).collect();
    let mut lines: BTreeMap<Task, BufWriter<fs_err::File>> = BTreeMap::new();
    let mut indices: BTreeMap<Task, usize> = BTreeMap::new();
    for_each_batch(source, plan, options.tasks, options.choices, &mut |task, batch| {
        if options.model.is_none() {
            measure_unrendered(report.entry(task).or_default(), &batch.items, options.max_length);
        }
        let rows: Vec<Value> =
            batch.items.iter().map(|item| lay_out(plan, task, item, options.model)).collect::<Result<_, _>>()?;
        let entry = report.entry(task).or_default();
        entry.rows += rows.len() as u64;
        entry.left_out += batch.left_out;
        let index = indices.entry(task).or_default();
        match file_kind(plan.format) {
            // A task without rows still has a file, so that loaders find the columns.
            FileKind::Parquet if rows.is_empty() && *index > 0 => {}
            FileKind::Parquet => {
                let bytes = encode_as(task.name(), schema(plan, task), &rows)?;
                folder.put(&format!("{task}/train-{index:05}.parquet"), &bytes)?;
            }
            FileKind::Jsonl => {
                let file = match lines.entry(task) {
                    std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                    std::collections::btree_map::Entry::Vacant(entry) => entry.insert(folder.open_lines(task)?),
                };
                for row in rows {
                    serde_json::to_writer(&mut *file, &row).map_err(std::io::Error::from)?;
                    file.write_all(b"\n")?;
                }
            }
        }
        *index += 1;
        Ok(())
    })?;
    for (task, file) in lines {
        file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
        folder.record(&jsonl_name(task))?;
    }
    Ok(report)
}

/// Enters the greatest possible lengths of rows that no template has rendered.
fn measure_unrendered(entry: &mut TaskReport, items: &[Item<'_>], bound: Option<usize>) {
    for row in items.iter().flat_map(Item::responses) {
        let Lengths { prompt, response, .. } = Lengths::at_most(&row.user, &row.response);
        let prompt = prompt + TEMPLATE_TOKENS;
        let lengths = Lengths { prompt, response, row: prompt + response };
        entry.lengths = entry.lengths.max(lengths);
        if bound.is_some_and(|bound| lengths.row > bound) {
            entry.cut.push(format!("{} ({}): at most {}", row.query_id, row.mode, lengths.row));
        }
    }
}

fn jsonl_name(task: Task) -> String {
    format!("{task}/train.jsonl")
}

/// A directory that the writer fills.
struct Folder {
    dir: PathBuf,
    files: BTreeMap<String, String>,
}

impl Folder {
    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
        let path = self.dir.join(name);
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent)?;
        }
        let mut file = fs_err::File::create(&path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        self.files.insert(name.to_owned(), sha256(bytes));
        Ok(())
    }

    fn open_lines(&self, task: Task) -> Result<BufWriter<fs_err::File>, ExportError> {
        let path = self.dir.join(jsonl_name(task));
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent)?;
        }
        Ok(BufWriter::new(fs_err::File::create(path)?))
    }

    fn record(&mut self, name: &str) -> Result<(), ExportError> {
        let hash = sha256_of_file(&self.dir.join(name))?;
        self.files.insert(name.to_owned(), hash);
        Ok(())
    }
}
