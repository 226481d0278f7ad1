//! The rows of each trainer's files, and their fixed schemas.
//!
//! All columns are nullable, and no reader infers a schema. Structs that a trainer unpacks (`chat_template_kwargs`) are
//! in every row, because a null struct fails. Columns that a trainer ignores (`query_id`, `source`, `mode`,
//! `difficulty`, lengths) have names that no trainer maps to its own columns. Rows of the task `rl` have what a reward
//! function needs: the `kind` selects the verifier, `choices` are those of a multiple-choice query, an answer must not
//! restate the `question`, and `forced_mode` is the mode whose tag ends the prompt.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use serde_json::{Map, Value, json};

use super::render::{Finished, finish};
use super::{ExportError, Flavour, Format, Layout, ModelTemplate, Pair, Plan, Task, TrainingRow};
use crate::domain::Mode;

/// The format of a trainer's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    /// Parquet, one file per published shard.
    Parquet,
    /// JSON lines, one file.
    Jsonl,
}

/// Returns the format of a trainer's files: Parquet, if the trainer's documentation supports it.
#[must_use]
pub(super) const fn file_kind(format: Format) -> FileKind {
    match format {
        Format::Trl | Format::Verl | Format::LlamaFactory => FileKind::Parquet,
        Format::Swift | Format::Axolotl => FileKind::Jsonl,
    }
}

/// One row of a task, before its columns are laid out.
#[derive(Debug, Clone)]
pub(super) enum Item<'a> {
    /// For [`Task::Sft`] and [`Task::Rl`].
    Row(&'a TrainingRow),
    /// For [`Task::Dpo`].
    Pair(&'a Pair),
    /// For [`Task::Kto`]: a response, and whether the response is wanted.
    Labelled(&'a TrainingRow, bool),
}

impl<'a> Item<'a> {
    /// Returns the responses of the row: of a pair first the wanted one.
    pub(super) fn responses(&self) -> Vec<&'a TrainingRow> {
        match self {
            Item::Row(row) | Item::Labelled(row, _) => vec![row],
            Item::Pair(pair) => vec![&pair.chosen, &pair.rejected],
        }
    }
}

/// Returns the row of a trainer's file. The layout [`Layout::Text`] needs a template.
pub(super) fn lay_out(
    plan: Plan,
    task: Task,
    item: &Item<'_>,
    model: Option<&ModelTemplate>,
) -> Result<Value, ExportError> {
    let (row, other) = match item {
        Item::Row(row) | Item::Labelled(row, _) => (*row, None),
        Item::Pair(pair) => (&pair.chosen, Some(&pair.rejected)),
    };
    let texts = |row: &TrainingRow| -> Result<Finished, ExportError> {
        match (plan.layout, model) {
            (Layout::Messages, _) => Ok(Finished {
                prompt: row.user.clone(),
                response: row.response.clone(),
                begin: String::new(),
                added: None,
            }),
            (Layout::Text, Some(model)) => Ok(finish(plan, task, row, model)?),
            (Layout::Text, None) => Err(ExportError::Usage("the layout text needs --template".to_owned())),
        }
    };
    let Finished { prompt, response, .. } = texts(row)?;
    let rejected = other.map(texts).transpose()?.map(|finished| finished.response);
    let parts = Parts { row, prompt, response, rejected };
    let mut columns = match plan.format {
        Format::Trl => trl(plan, task, &parts),
        Format::Verl => verl(plan, task, &parts),
        Format::LlamaFactory => llamafactory(&parts),
        Format::Swift => swift(plan, task, &parts),
        Format::Axolotl => axolotl(plan, task, &parts),
    };
    if let Item::Labelled(_, label) = item {
        let name = if plan.format == Format::LlamaFactory { "kto_tag" } else { "label" };
        columns.insert(name.to_owned(), json!(label));
    }
    // verl has its own struct for these columns.
    if (plan.format, task) != (Format::Verl, Task::Rl) {
        columns.insert("query_id".to_owned(), json!(row.query_id));
        columns.insert("source".to_owned(), json!(row.source));
        columns.insert("mode".to_owned(), json!(row.mode.name()));
        columns.insert("difficulty".to_owned(), json!(row.difficulty));
    }
    if let Item::Pair(pair) = item {
        columns.insert("pair_kind".to_owned(), json!(pair.kind));
        columns.insert("chosen_tokens".to_owned(), json!(pair.tokens.0));
        columns.insert("rejected_tokens".to_owned(), json!(pair.tokens.1));
    }
    Ok(Value::Object(columns))
}

/// A row's texts in the layout.
struct Parts<'a> {
    row: &'a TrainingRow,
    prompt: String,
    response: String,
    rejected: Option<String>,
}

fn message(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

/// Adds what a reward function needs to a row of the task `rl`.
fn scored(plan: Plan, row: &TrainingRow, columns: Value) -> Value {
    let mut columns = object(columns);
    columns.insert("solution".to_owned(), json!(row.gold));
    columns.extend(object(judged_by(plan, row)));
    Value::Object(columns)
}

/// Returns what decides a response's reward besides the reference answer, under the names that rewards read.
fn judged_by(plan: Plan, row: &TrainingRow) -> Value {
    let choices = (!row.choices.is_empty()).then_some(&row.choices);
    let forced = (plan.flavour == Flavour::Controlled).then(|| row.mode.name());
    json!({"kind": row.kind, "question": row.question, "choices": choices, "forced_mode": forced})
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(columns) => columns,
        _ => Map::new(),
    }
}

fn trl(plan: Plan, task: Task, parts: &Parts<'_>) -> Map<String, Value> {
    let Parts { row, prompt, response, rejected } = parts;
    let said = |role: &str, text: &str| match plan.layout {
        Layout::Messages => json!([message(role, text)]),
        Layout::Text => json!(text),
    };
    let prompt = said("user", prompt);
    let mut columns = object(match (task, rejected) {
        (Task::Rl, _) => scored(plan, row, json!({"prompt": prompt})),
        (_, Some(rejected)) => {
            json!({"prompt": prompt, "chosen": said("assistant", response), "rejected": said("assistant", rejected)})
        }
        (_, None) => json!({"prompt": prompt, "completion": said("assistant", response)}),
    });
    if passes_switch(plan, task) {
        let is_on = row.mode == Mode::ThinkOn;
        columns.insert("chat_template_kwargs".to_owned(), json!({"enable_thinking": is_on, "thinking": is_on}));
    }
    columns
}

/// Returns whether rows pass their mode to the template.
fn passes_switch(plan: Plan, task: Task) -> bool {
    let is_told = plan.flavour == Flavour::Controlled && plan.layout == Layout::Messages;
    plan.format == Format::Trl && is_told && task != Task::Rl
}

fn verl(plan: Plan, task: Task, parts: &Parts<'_>) -> Map<String, Value> {
    let Parts { row, prompt, response, .. } = parts;
    object(match task {
        Task::Rl => json!({
            "data_source": row.source,
            "prompt": [message("user", prompt)],
            "ability": row.kind,
            "reward_model": {"style": "rule", "ground_truth": row.gold},
            "extra_info": extra_info(plan, row),
        }),
        _ if plan.has_verl_messages() => {
            json!({"messages": [message("user", prompt), message("assistant", response)]})
        }
        _ => json!({"prompt": prompt, "response": response}),
    })
}

fn extra_info(plan: Plan, row: &TrainingRow) -> Value {
    let mut extra = object(json!({
        "split": "train",
        "index": row.ordinal,
        "query_id": row.query_id,
        "mode": row.mode.name(),
        "difficulty": row.difficulty,
    }));
    extra.extend(object(judged_by(plan, row)));
    Value::Object(extra)
}

fn llamafactory(parts: &Parts<'_>) -> Map<String, Value> {
    let Parts { prompt, response, rejected, .. } = parts;
    object(match rejected {
        Some(rejected) => json!({"instruction": prompt, "chosen": response, "rejected": rejected}),
        None => json!({"instruction": prompt, "output": response}),
    })
}

fn swift(plan: Plan, task: Task, parts: &Parts<'_>) -> Map<String, Value> {
    let Parts { row, prompt, response, rejected } = parts;
    let user = message("user", prompt);
    object(match (task, rejected) {
        (Task::Rl, _) => scored(plan, row, json!({"messages": [user]})),
        (_, Some(rejected)) => {
            json!({"messages": [user, message("assistant", response)], "rejected_response": rejected})
        }
        (_, None) => json!({"messages": [user, message("assistant", response)]}),
    })
}

fn axolotl(plan: Plan, task: Task, parts: &Parts<'_>) -> Map<String, Value> {
    let Parts { prompt, response, rejected, .. } = parts;
    let is_text = plan.layout == Layout::Text;
    object(match (task, rejected) {
        (_, Some(rejected)) if is_text => json!({"prompt": prompt, "chosen": response, "rejected": rejected}),
        (_, Some(rejected)) => json!({
            "messages": [message("user", prompt)],
            "chosen": message("assistant", response),
            "rejected": message("assistant", rejected),
        }),
        (Task::Kto, None) => json!({"prompt": prompt, "completion": response}),
        (_, None) if is_text => {
            json!({"segments": [{"label": false, "text": prompt}, {"label": true, "text": response}]})
        }
        (_, None) => json!({"messages": [message("user", prompt), message("assistant", response)]}),
    })
}

/// Returns the schema of a trainer's Parquet files.
#[must_use]
pub(super) fn schema(plan: Plan, task: Task) -> SchemaRef {
    let field = |name: &str, data_type: DataType| Field::new(name, data_type, true);
    let text = |name: &str| field(name, DataType::Utf8);
    let texts = |name: &str| field(name, DataType::List(Arc::new(field("element", DataType::Utf8))));
    let members = |names: &[&str]| DataType::Struct(names.iter().map(|name| text(name)).collect());
    let list = |name: &str| {
        let element = Field::new("element", members(&["role", "content"]), true);
        field(name, DataType::List(Arc::new(element)))
    };
    let said = |name: &str| if plan.layout == Layout::Text { text(name) } else { list(name) };
    let mut fields = match (plan.format, task) {
        (Format::Verl, Task::Rl) => {
            let extra = ["kind", "question", "forced_mode", "query_id", "mode", "difficulty"].map(text);
            let extra: Fields =
                [text("split"), field("index", DataType::Int64), texts("choices")].into_iter().chain(extra).collect();
            let reward = members(&["style", "ground_truth"]);
            let columns = [text("data_source"), list("prompt"), text("ability"), field("reward_model", reward)];
            return Arc::new(Schema::new(
                columns.into_iter().chain([field("extra_info", DataType::Struct(extra))]).collect::<Vec<_>>(),
            ));
        }
        (Format::Verl, _) if plan.has_verl_messages() => vec![list("messages")],
        (Format::Verl, _) => vec![text("prompt"), text("response")],
        (Format::LlamaFactory, Task::Dpo) => vec![text("instruction"), text("chosen"), text("rejected")],
        (Format::LlamaFactory, _) => vec![text("instruction"), text("output")],
        (_, Task::Rl) => {
            let mut fields = vec![said("prompt"), texts("choices")];
            fields.extend(["solution", "kind", "question", "forced_mode"].map(text));
            fields
        }
        (_, Task::Dpo) => vec![said("prompt"), said("chosen"), said("rejected")],
        (_, _) => vec![said("prompt"), said("completion")],
    };
    if passes_switch(plan, task) {
        let flags = ["enable_thinking", "thinking"].map(|name| field(name, DataType::Boolean));
        fields.push(field("chat_template_kwargs", DataType::Struct(Fields::from_iter(flags))));
    }
    if task == Task::Kto {
        let name = if plan.format == Format::LlamaFactory { "kto_tag" } else { "label" };
        fields.push(field(name, DataType::Boolean));
    }
    fields.extend(["query_id", "source", "mode", "difficulty"].map(text));
    if task == Task::Dpo {
        fields.push(text("pair_kind"));
        fields.extend(["chosen_tokens", "rejected_tokens"].map(|name| field(name, DataType::Int32)));
    }
    Arc::new(Schema::new(fields))
}
