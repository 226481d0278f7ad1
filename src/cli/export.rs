//! `thinkloom export`

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::failure::{Failure, print};
use crate::config::{PolicyBackend, Settings};
use crate::export::check::Checked;
use crate::export::{
    CheckOptions, ExportError, Flavour, Format, Layout, ModelTemplate, Plan, Report, Source, Task, TokenizerFiles,
    TrainerVersion, TrainingRow, WriteOptions, check_all, write,
};
use crate::ledger::{IntakeRow, Reader};
use crate::pipeline::inventory;
use crate::policy::{PolicyIdentity, StoredPrompter};
use crate::telemetry::print_line;

/// Arguments of `export`.
#[derive(Debug, Args)]
#[command(after_help = "Without --task thinkloom writes every task of the trainer, each in its own directory, with a \
                  training config. It first compares the published files with manifest.json; of an unfinished run it \
                  exports the published queries.\nThe exit code is 1 if the chat template would mangle a row.\n\
                  Example: thinkloom export out --format trl --flavour auto --template models/Qwen3-8B --layout text -o out-trl\n\
                  Guide: thinkloom help export")]
pub(super) struct ExportArgs {
    /// The output directory of a run.
    dir: PathBuf,
    /// The trainer: trl, verl, llamafactory, swift or axolotl; with --check the default is all of them.
    #[arg(long)]
    format: Option<Format>,
    /// Who chooses the mode: auto (the model, which learns mode tag and judge block) or controlled (the user, by the
    /// mode tag at the end of the prompt).
    #[arg(long, default_value = "auto")]
    flavour: Flavour,
    /// Who renders the chat template: messages (the trainer) or text (this program; needs a template).
    #[arg(long, default_value = "messages")]
    layout: Layout,
    /// Only this task: sft, rl, dpo or kto (repeatable).
    #[arg(long = "task", value_name = "TASK")]
    tasks: Vec<Task>,
    /// The model to be trained, as a model directory, GGUF file or chat template file; default: the policy's own
    /// template, if it is known. thinkloom renders every row with the template, as the trainer would, and writes
    /// nothing if the template would mangle a row.
    #[arg(long, value_name = "PATH")]
    template: Option<PathBuf>,
    /// Write without the check against a chat template.
    #[arg(long, conflicts_with_all = ["template", "wrap_template", "check"])]
    unchecked: bool,
    /// Add a chat_template.jinja that keeps whole responses, and check with this template.
    #[arg(long)]
    wrap_template: bool,
    /// Only check, write nothing.
    #[arg(long, conflicts_with = "output")]
    check: bool,
    /// With --check: print one JSON object per row, with the rendered text and the range with loss (offsets in
    /// characters), and the same in tokens if the model's tokenizer is known.
    #[arg(long, requires = "check")]
    json: bool,
    /// The version of the trainer, for example 0.7.0: decides the layout of rows that changed between versions (verl's
    /// sft); default: the newest version that exports were proven with.
    #[arg(long, value_name = "VERSION", requires = "format")]
    trainer_version: Option<TrainerVersion>,
    /// The longest row that the training configs let through, in tokens; a warning names the rows that it cuts.
    /// Default: the longest row fits, unless it exceeds the model's context.
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    max_length: Option<u32>,
    /// The output directory of the export.
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Replace an earlier export.
    #[arg(long)]
    overwrite: bool,
    /// The licence in the export's card, as a Hub id; without it the card names none.
    #[arg(long, value_name = "ID")]
    license: Option<String>,
}

/// Runs the command.
pub(super) fn run(args: &ExportArgs) -> Result<(), Failure> {
    let outcome = if args.check { check(args) } else { export(args) };
    outcome.map_err(|error| {
        let code = if matches!(error, ExportError::Usage(_)) { 2 } else { 1 };
        let is_own = args.template.is_none() && matches!(error, ExportError::Mangled { .. });
        print_line(&format!("error: {error}"));
        if let Some(hint) = error.hint() {
            let unchecked = if is_own {
                "; the check used the policy's own template: --template names another model, --unchecked turns the \
                 check off"
            } else {
                ""
            };
            print_line(&format!("hint: {hint}{unchecked}"));
        }
        Failure::Code(code)
    })
}

/// The message for a missing template.
const UNKNOWN_TEMPLATE: &str = "the policy's chat template is not known (servers do not publish it); name the \
                                template of the model to be trained with --template, as a model directory, GGUF file \
                                or template file";

fn usage(text: &str) -> ExportError {
    ExportError::Usage(text.to_owned())
}

fn template(args: &ExportArgs) -> Result<Option<ModelTemplate>, ExportError> {
    let model = match &args.template {
        Some(path) => Some(ModelTemplate::read(path)?),
        None if args.unchecked => None,
        None => policy_template(&args.dir)?,
    };
    if args.wrap_template { model.map(ModelTemplate::wrap).transpose() } else { Ok(model) }
}

/// Returns the chat template of the sampled policy: from the ledger, otherwise from the model at the path of the run's
/// settings, if the model is there. The templates of servers are not known.
fn policy_template(dir: &Path) -> Result<Option<ModelTemplate>, ExportError> {
    let find = || -> Option<(StoredPrompter, TokenizerFiles)> {
        let reader = Reader::open(dir).ok()?;
        let run = reader.latest_run().ok()??;
        let settings: Settings = toml::from_str(&run.settings).ok()?;
        if settings.policy.backend != PolicyBackend::Candle {
            return None;
        }
        let identity: PolicyIdentity = serde_json::from_str(&run.policy).ok()?;
        let stored = reader.prompter(&identity.prompts).ok()?;
        let stored = stored.and_then(|source| serde_json::from_str::<StoredPrompter>(&source).ok());
        let model = Path::new(&settings.policy.model);
        Some((stored.or_else(|| StoredPrompter::of_model(model).ok())?, TokenizerFiles::read(model)))
    };
    find().map(|(stored, files)| ModelTemplate::of_policy("of the policy".into(), stored, files)).transpose()
}

/// Returns a function from a query's position in the input to its choices, which the shards do not have; it finds none
/// if the directory has no ledger.
fn choices(dir: &Path) -> impl Fn(i64) -> Vec<String> {
    let ledger = Reader::open(dir).ok().and_then(|reader| {
        let digest = reader.latest_run().ok()??.input_digest;
        Some((reader, digest))
    });
    move |ordinal| {
        let find = || -> Option<Vec<String>> {
            let (reader, digest) = ledger.as_ref()?;
            let at = u64::try_from(ordinal).ok()?;
            match reader.intake(digest, at, at + 1).ok()?.pop()? {
                IntakeRow::Query(query) => Some(query.choices),
                IntakeRow::Excluded(_) => None,
            }
        };
        find().unwrap_or_default()
    }
}

/// Opens the shards of a run after comparing them with the manifest.
fn open(dir: &Path) -> Result<Source, ExportError> {
    let found =
        inventory(dir).map_err(|error| ExportError::Unreadable { message: error.to_string(), hint: error.hint() })?;
    if let Some(problems) = found.problems() {
        return Err(ExportError::Damaged { dir: dir.to_owned(), problems });
    }
    if let Some(warning) = found.extra_warning() {
        print_line(&warning);
    }
    if !found.is_finished() && !found.shards.is_empty() {
        let so_far = match found.progress {
            Some((settled, queries)) => format!("{settled} of {queries} queries are published and exported"),
            None => "without manifest and ledger, the number of missing queries is unknown".to_owned(),
        };
        print_line(&format!("warning: the run in {} is not finished: {so_far}", dir.display()));
    }
    Source::new(dir, found.shards, found.manifest)
}

fn tasks(args: &ExportArgs, plan: Plan) -> Result<Vec<Task>, ExportError> {
    let known = plan.tasks();
    if let Some(task) = args.tasks.iter().find(|task| !known.contains(task)) {
        let names: Vec<&str> = known.iter().map(|task| task.name()).collect();
        let Plan { format, layout, .. } = plan;
        let remedy = if (format, layout, task) == (Format::Swift, Layout::Text, &Task::Rl) {
            ": ms-swift renders the prompts of rollouts itself, and would render a finished prompt twice; use --layout messages"
        } else {
            ""
        };
        return Err(ExportError::Usage(format!(
            "{format} has no task {task} in layout {layout}; it has {}{remedy}",
            names.join(", ")
        )));
    }
    let wanted = |task: &Task| args.tasks.is_empty() || args.tasks.contains(task);
    Ok(known.iter().copied().filter(wanted).collect())
}

fn export(args: &ExportArgs) -> Result<(), ExportError> {
    let format =
        args.format.ok_or_else(|| usage("name a trainer: --format trl, verl, llamafactory, swift or axolotl"))?;
    let out = args.output.as_deref().ok_or_else(|| usage("name the output directory: -o DIR"))?;
    let version = args.trainer_version.unwrap_or(format.default_version());
    let plan = Plan { format, flavour: args.flavour, layout: args.layout, version };
    if plan.layout == Layout::Text && args.unchecked {
        return Err(usage("--layout text needs the chat template; remove --unchecked"));
    }
    if plan.layout == Layout::Text && plan.format == Format::Verl {
        return Err(usage(
            "verl renders prompts itself; use --layout messages, with --wrap-template if the template \
                          mangles rows",
        ));
    }
    let tasks = tasks(args, plan)?;
    let source = open(&args.dir)?;
    let model = template(args)?;
    if model.is_none() && (plan.layout == Layout::Text || args.wrap_template) {
        return Err(usage(UNKNOWN_TEMPLATE));
    }
    let options = WriteOptions {
        plan,
        tasks: &tasks,
        model: model.as_ref(),
        ships_template: args.wrap_template,
        overwrites: args.overwrite,
        license: args.license.as_deref(),
        max_length: max_length(args),
        choices: &choices(&args.dir),
    };
    let report = write(&source, out, &options)?;
    tell_left_out(plan, &report);
    tell_old_rows(plan, &tasks);
    tell_endless(model.as_ref());
    tell_cut(plan, &report, args, model.as_ref());
    let rows: Vec<String> = report.iter().map(|(task, entry)| format!("{} {task}", entry.rows)).collect();
    let checked = match &model {
        Some(model) if args.template.is_none() => {
            format!("every row is complete with the template {}", model.path().display())
        }
        Some(_) => "every row is complete with the template".to_owned(),
        None if args.unchecked => "not checked against a chat template (--unchecked)".to_owned(),
        None => "not checked: the policy's chat template is not known; `--check --template MODEL` checks the \
                 export"
            .to_owned(),
    };
    say(&format!("{}: {format} {}, rows: {}; {checked}\n", out.display(), plan.flavour, rows.join(", ")))
}

fn tell_left_out(plan: Plan, report: &Report) {
    for (task, entry) in report.iter().filter(|(_, entry)| entry.left_out > 0) {
        print_line(&format!(
            "warning: {} {task}: skipped {} rows of kind code: an export has no tests, so they cannot be scored",
            plan.format, entry.left_out
        ));
    }
}

/// Warns of a template that does not end a response.
fn tell_endless(model: Option<&ModelTemplate>) {
    if model.is_some_and(|model| model.end_of_turn().is_empty()) {
        print_line(
            "warning: the chat template writes nothing after a response, so that the model may not learn to end one; \
             name a template that ends the assistant's turn",
        );
    }
}

/// Warns of what verl's older trainer does with its rows.
fn tell_old_rows(plan: Plan, tasks: &[Task]) {
    if plan.format == Format::Verl && !plan.has_verl_messages() && tasks.contains(&Task::Sft) {
        print_line(
            "warning: verl sft: fsdp_sft_trainer of this version learns the prompt's last token and not the end token; \
             leave out --trainer-version for rows that sft_trainer reads whole (verl 0.7.0 and newer)",
        );
    }
}

fn max_length(args: &ExportArgs) -> Option<usize> {
    args.max_length.and_then(|tokens| usize::try_from(tokens).ok())
}

/// The most rows that a warning names.
const NAMED_ROWS: usize = 10;

/// Warns of rows that the limits of the configs cut.
fn tell_cut(plan: Plan, report: &Report, args: &ExportArgs, model: Option<&ModelTemplate>) {
    let context = model.and_then(ModelTemplate::context);
    let limit = match (max_length(args), context) {
        (Some(asked), Some(context)) if context < asked => format!("the model's context of {context} tokens"),
        (Some(asked), _) => format!("--max-length {asked}"),
        (None, context) => format!("the model's context of {} tokens", context.unwrap_or_default()),
    };
    for (task, entry) in report.iter().filter(|(_, entry)| !entry.cut.is_empty()) {
        let named = entry.cut.iter().take(NAMED_ROWS).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = entry.cut.len().saturating_sub(NAMED_ROWS);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let may = if entry.are_exact { "cuts" } else { "may cut" };
        print_line(&format!(
            "warning: {} {task}: {limit} {may} {} rows, query (mode): tokens: {named}{more}",
            plan.format,
            entry.cut.len()
        ));
    }
}

fn say(text: &str) -> Result<(), ExportError> {
    print(text).map_err(|_| ExportError::Io(std::io::ErrorKind::BrokenPipe.into()))
}

fn check(args: &ExportArgs) -> Result<(), ExportError> {
    let source = open(&args.dir)?;
    let model = template(args)?.ok_or_else(|| usage(UNKNOWN_TEMPLATE))?;
    tell_endless(Some(&model));
    let formats = args.format.map_or(Format::ALL.to_vec(), |format| vec![format]);
    let mut out = BufWriter::new(std::io::stdout().lock());
    if !args.json {
        writeln!(
            out,
            "template {} (SHA-256 {}), flavour {}, layout {}",
            model.path().display(),
            model.hash(),
            args.flavour,
            args.layout
        )?;
    }
    let mut is_mangled = false;
    for format in formats {
        let version = args.trainer_version.unwrap_or(format.default_version());
        let plan = Plan { format, flavour: args.flavour, layout: args.layout, version };
        if plan.layout == Layout::Text && format == Format::Verl {
            continue;
        }
        let tasks = match args.format {
            Some(_) => tasks(args, plan)?,
            None => {
                plan.tasks().iter().copied().filter(|task| args.tasks.is_empty() || args.tasks.contains(task)).collect()
            }
        };
        let options =
            CheckOptions { plan, tasks: &tasks, model: &model, max_length: max_length(args), wants_tokens: args.json };
        let report = check_all(&source, &options, &mut |task, row, checked| {
            if args.json {
                writeln!(out, "{}", row_json(plan, task, row, checked))?;
            }
            Ok(())
        })?;
        tell_left_out(plan, &report);
        tell_old_rows(plan, &tasks);
        tell_cut(plan, &report, args, Some(&model));
        is_mangled |= report.values().any(|entry| entry.mangled > 0);
        if !args.json {
            out.write_all(report_text(plan, &report).as_bytes())?;
        }
    }
    out.flush()?;
    if is_mangled { Err(ExportError::Told) } else { Ok(()) }
}

fn row_json(plan: Plan, task: Task, row: &TrainingRow, checked: &Checked) -> serde_json::Value {
    let characters = |text: &str, end: usize| text.get(..end).map_or(0, |text| text.chars().count());
    let rendered = checked.rendered.as_ref();
    json!({
        "format": plan.format.name(),
        "flavour": plan.flavour.name(),
        "task": task.name(),
        "query_id": row.query_id,
        "mode": row.mode.name(),
        "response": row.response,
        "text": rendered.map(|rendered| &rendered.text),
        "loss_start": rendered.map(|rendered| characters(&rendered.text, rendered.loss_start)),
        "loss_end": rendered.map(|rendered| characters(&rendered.text, rendered.loss_end)),
        "input_ids": checked.tokens.as_ref().map(|tokens| &tokens.ids),
        "loss_tokens": checked.tokens.as_ref().map(|tokens| [tokens.loss.start, tokens.loss.end]),
        "problems": checked.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn report_text(plan: Plan, report: &Report) -> String {
    let mut text = String::new();
    for (task, entry) in report {
        let name = format!("{} {task}", plan.format);
        if entry.mangled > 0 {
            text.push_str(&format!("{name}: MANGLED, {} of {} rows\n", entry.mangled, entry.rows));
            for example in &entry.examples {
                text.push_str(&format!("  {example}\n"));
            }
        } else {
            let loss = entry.loss.as_ref().map_or_else(
                || "no loss, prompts only".to_owned(),
                |(head, tail)| format!("loss from {head:?} to {tail:?}"),
            );
            let longest = if entry.are_exact {
                format!("longest {} tokens", entry.lengths.row)
            } else {
                format!(
                    "longest at most {} tokens (no usable tokenizer and weights beside the template)",
                    entry.lengths.row
                )
            };
            text.push_str(&format!("{name}: whole, {} rows, {longest}; {loss}\n", entry.rows));
        }
    }
    text
}
