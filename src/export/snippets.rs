//! Writes the files next to an export's data: the trainer's config, the card, and the template if it is shipped.

use std::fmt::Write;

use super::card::card;
use super::lengths::Limits;
use super::model::{Frame, ModelTemplate, Slots};
use super::report::{Facts, WriteOptions};
use super::slots;
use super::source::Source;
use super::{Format, Layout, Plan, RenderError, Task};

/// The name of the template in an export.
pub(super) const TEMPLATE_FILE: &str = "chat_template.jinja";

/// Returns the remedy for a template that mangles rows.
#[must_use]
pub(super) fn remedy(plan: Plan) -> String {
    let wrap = "add --wrap-template: the export then brings a chat_template.jinja, the model's own with whole responses, \
                for training and for serving";
    match (plan.format, plan.layout) {
        (_, Layout::Text) => {
            "name the model's directory with --template: its tokenizer.json says what the tokenizer adds; \
                              or use --layout messages"
                .to_owned()
        }
        (Format::Trl | Format::Axolotl | Format::LlamaFactory, Layout::Messages) => {
            format!("add --layout text: the rows then hold text that no template touches; or {wrap}")
        }
        _ => wrap.to_owned(),
    }
}

/// The recipes with thinkloom's reward: the default of every export for reinforcement learning.
const TRL_REWARD: &str = include_str!("../../fixtures/recipes/trl_reward.py");
const VERL_REWARD: &str = include_str!("../../fixtures/recipes/verl_reward.py");
const SWIFT_REWARD: &str = include_str!("../../fixtures/recipes/swift_reward.py");

/// Returns the files next to the data, with their names.
pub(super) fn files(
    options: &WriteOptions<'_>,
    source: &Source,
    facts: &Facts<'_>,
) -> Result<Vec<(String, String)>, RenderError> {
    let mut files = configs(options, facts)?;
    if let (true, Some(model)) = (options.ships_template, options.model) {
        files.push((TEMPLATE_FILE.to_owned(), model.source().to_owned()));
    }
    let card = card(options, source, facts, &files);
    files.push(("README.md".to_owned(), card));
    Ok(files)
}

fn configs(options: &WriteOptions<'_>, facts: &Facts<'_>) -> Result<Vec<(String, String)>, RenderError> {
    let plan = options.plan;
    let one = |task: Task| -> Result<(String, String), RenderError> {
        let limits = facts.limits.get(&task).copied().unwrap_or_default();
        let (name, text) = match plan.format {
            Format::Trl => trl(options, task, limits),
            Format::Verl => verl(options, task, limits, facts),
            Format::LlamaFactory => llamafactory(options, task, limits),
            Format::Swift => swift(plan, task, limits, facts.report.get(&task).map_or(0, |entry| entry.rows)),
            Format::Axolotl => axolotl(options, task, limits, facts),
        };
        let cuts = facts.report.get(&task).is_some_and(|entry| !entry.cut.is_empty());
        Ok((name, if cuts { text.replace(ROW_NOTE, CUT_NOTE) } else { text }))
    };
    let mut files = options.tasks.iter().map(|&task| one(task)).collect::<Result<Vec<_>, _>>()?;
    if plan.format == Format::LlamaFactory {
        files.push(("dataset_info.json".to_owned(), dataset_info(options.tasks)));
    }
    if plan.format == Format::Swift && plan.layout == Layout::Messages {
        files.push((SWIFT_TEMPLATE_FILE.to_owned(), swift_template(options.model)?));
    }
    let recipe = match plan.format {
        Format::Trl => Some(("trl_reward.py", TRL_REWARD)),
        Format::Verl => Some(("verl_reward.py", VERL_REWARD)),
        Format::Swift => Some(("swift_reward.py", SWIFT_REWARD)),
        Format::LlamaFactory | Format::Axolotl => None,
    };
    if let (Some((name, text)), true) = (recipe, options.tasks.contains(&Task::Rl)) {
        files.push((name.to_owned(), text.to_owned()));
    }
    Ok(files)
}

/// What every config for reinforcement learning says about its reward.
const REWARD_NOTE: &str = "# The reward asks `thinkloom serve` (THINKLOOM_URL, or http://127.0.0.1:8000), which judges all kinds of answers.\n";

fn trl(options: &WriteOptions<'_>, task: Task, limits: Limits) -> (String, String) {
    let command = if task == Task::Rl { "grpo" } else { task.name() };
    let mut text = format!("# trl {command} --config trl-{task}.yaml, in this directory\n");
    if options.ships_template && task != Task::Sft {
        let _ = writeln!(
            text,
            "# Put {TEMPLATE_FILE} in place of the model's own first: this command has no option for it."
        );
    }
    let _ = write!(text, "model_name_or_path: YOUR/MODEL\ndataset_name: ./{task}\noutput_dir: trained-{task}\n");
    if task == Task::Rl {
        let Limits { completion, .. } = limits;
        let _ = write!(
            text,
            "{REWARD_NOTE}reward_funcs: [trl_reward.thinkloom_reward]\nmax_completion_length: {completion} # {COMPLETION_NOTE}\n"
        );
    } else {
        let _ = writeln!(text, "max_length: {}                 # {ROW_NOTE}", limits.row);
    }
    if task == Task::Sft {
        text.push_str(
            "completion_only_loss: true       # loss on the response only: judge block, mode tag, thinking, answer\n",
        );
        if options.ships_template {
            let _ = writeln!(text, "chat_template_path: {TEMPLATE_FILE}");
        }
    }
    (format!("trl-{task}.yaml"), text)
}

/// Why a limit of rows has its value.
const ROW_NOTE: &str = "the longest row fits; a cut response would teach to stop early";
/// The same if the user or the model allows less than the longest row.
const CUT_NOTE: &str = "longer rows are cut, which teaches to stop early; export.json names them";
/// Why a limit of completions has its value.
const COMPLETION_NOTE: &str = "twice the longest response of the export";

fn verl(options: &WriteOptions<'_>, task: Task, limits: Limits, facts: &Facts<'_>) -> (String, String) {
    // verl opens the given path as a file: it supports neither directories nor globs.
    let folder = format!("{task}/");
    let files: Vec<&str> = facts.data.keys().map(String::as_str).filter(|name| name.starts_with(&folder)).collect();
    let files = files.join(", ");
    let template = match options.model {
        // JSON text is YAML text as well.
        Some(model) if options.ships_template => {
            format!("custom_chat_template: {}", serde_json::Value::from(model.source()))
        }
        _ => String::new(),
    };
    let set = |indent: usize| match template.as_str() {
        "" => String::new(),
        line => format!("{:indent$}{line}\n", ""),
    };
    let from = "--config-dir=. --config-name";
    let Limits { row, prompt, completion } = limits;
    let text = match task {
        Task::Rl => format!(
            "# python -m verl.trainer.main_ppo {from}=verl-rl, in this directory; test data and batch sizes are yours to set\n\
             defaults: [ppo_trainer, _self_]\n\
             data:\n  train_files: [{files}]\n  val_files: [{files}]\n  prompt_key: prompt\n  max_prompt_length: {prompt}\n  \
             max_response_length: {completion} # {COMPLETION_NOTE}\n  filter_overlong_prompts: true\n  return_raw_chat: true\n\
             algorithm: {{adv_estimator: grpo}}\n\
             actor_rollout_ref:\n  model:\n    path: YOUR/MODEL\n{}  \
             actor: {{use_dynamic_bsz: true, ppo_max_token_len_per_gpu: {}}} # at least one whole response\n  \
             rollout: {{name: vllm, n: 8}}\n{REWARD_NOTE}\
             # Newer versions have the reward's key in `reward`, older ones at the top.\n\
             reward:\n  custom_reward_function: {{path: verl_reward.py, name: compute_score}}\n\
             custom_reward_function: {{path: verl_reward.py, name: compute_score}}\n",
            set(4),
            (prompt + completion).max(16_384)
        ),
        _ if options.plan.has_verl_messages() => format!(
            "# torchrun --standalone --nproc_per_node=8 -m verl.trainer.sft_trainer {from}=verl-sft, in this directory\n\
             defaults: [sft_trainer_engine, _self_]\nmodel:\n  path: YOUR/MODEL\n{}\
             data:\n  train_files: [{files}]\n  messages_key: messages\n  max_length: {row} # {ROW_NOTE}\n  truncation: error\n  \
             max_token_len_per_gpu: {}    # at least one whole row\n",
            set(2),
            row.max(8_192)
        ),
        _ => {
            let shipped = if options.ships_template {
                format!(
                    "# The model's directory must hold {TEMPLATE_FILE} of this export in place of its own template.\n"
                )
            } else {
                String::new()
            };
            format!(
                "# torchrun --standalone --nproc_per_node=8 -m verl.trainer.fsdp_sft_trainer {from}=verl-sft, in this directory\n\
                 # This trainer learns the prompt's last token and not the end token. sft_trainer of the same version does not, with the\n\
                 # rows of `thinkloom export` without --trainer-version.\n\
                 {shipped}defaults: [sft_trainer, _self_]\nmodel:\n  partial_pretrain: YOUR/MODEL\n\
                 data:\n  train_files: [{files}]\n  val_files: [{files}]\n  prompt_key: prompt\n  response_key: response\n  \
                 max_length: {row} # {ROW_NOTE}\n  truncation: error\n  \
                 multiturn: {{enable: false}}       # the single-turn data set writes the response as it is\n"
            )
        }
    };
    (format!("verl-{task}.yaml"), text)
}

fn llamafactory(options: &WriteOptions<'_>, task: Task, limits: Limits) -> (String, String) {
    let plan = options.plan;
    let stage = if task == Task::Dpo { "dpo" } else { task.name() };
    let template = match (plan.layout, options.model.map(slots::llamafactory)) {
        (Layout::Text, _) => "template: empty                  # the text is finished\n",
        (Layout::Messages, Some(Ok(Slots::Chatml))) => {
            "template: qwen3_nothink          # ChatML without a system turn and without a think block, the model's own prompt\n"
        }
        // The trainer then cuts its slots from the model's own chat template.
        (Layout::Messages, _) => "# No `template`: the trainer follows the model's own chat template.\n",
    };
    let shipped = if options.ships_template {
        format!("# The model's directory must hold {TEMPLATE_FILE} of this export in place of its own template.\n")
    } else {
        String::new()
    };
    let text = format!(
        "# llamafactory-cli train llamafactory-{task}.yaml, in this directory\n{shipped}model_name_or_path: YOUR/MODEL\n\
         stage: {stage}\ndo_train: true\ndataset_dir: .\ndataset: thinkloom_{task}\n{template}\
         cutoff_len: {:<18} # {ROW_NOTE}\noutput_dir: trained-{task}\n",
        limits.row
    );
    (format!("llamafactory-{task}.yaml"), text)
}

fn dataset_info(tasks: &[Task]) -> String {
    let mut entries = serde_json::Map::new();
    for &task in tasks {
        let entry = match task {
            Task::Dpo => serde_json::json!({
                "file_name": "dpo", "formatting": "alpaca", "ranking": true,
                "columns": {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"},
            }),
            Task::Kto => serde_json::json!({
                "file_name": "kto", "formatting": "alpaca",
                "columns": {"prompt": "instruction", "response": "output", "kto_tag": "kto_tag"},
            }),
            Task::Sft | Task::Rl => serde_json::json!({
                "file_name": "sft", "formatting": "alpaca",
                "columns": {"prompt": "instruction", "response": "output"},
            }),
        };
        entries.insert(format!("thinkloom_{task}"), entry);
    }
    format!("{:#}\n", serde_json::Value::Object(entries))
}

/// The file that registers the model's own prompt with ms-swift.
const SWIFT_TEMPLATE_FILE: &str = "swift_template.py";

fn swift(plan: Plan, task: Task, limits: Limits, rows: u64) -> (String, String) {
    let command = match task {
        Task::Sft => "swift sft".to_owned(),
        Task::Rl => "swift rlhf --rlhf_type grpo".to_owned(),
        Task::Dpo | Task::Kto => format!("swift rlhf --rlhf_type {task}"),
    };
    let mut lines = vec![command, "--model YOUR/MODEL".to_owned(), format!("--dataset {task}/train.jsonl")];
    let plugins = if task == Task::Rl { " swift_reward.py" } else { "" };
    match plan.layout {
        Layout::Text => lines.push("--template dummy".to_owned()),
        Layout::Messages => {
            lines.push(format!("--external_plugins {SWIFT_TEMPLATE_FILE}{plugins}"));
            lines.push("--template thinkloom".to_owned());
        }
    }
    match task {
        Task::Rl => {
            lines.push("--reward_funcs thinkloom".to_owned());
            lines.push("--num_generations 8 --per_device_train_batch_size 8".to_owned());
            lines.push(format!("--max_length {}", limits.prompt));
            lines.push(format!("--max_completion_length {}", limits.completion));
        }
        Task::Kto => {
            // ms-swift drops a row that is alone in its batch: its KL term needs another row's response.
            let batch = (2..=16).rev().find(|batch| rows % batch != 1).unwrap_or(16);
            lines.push(format!("--gradient_accumulation_steps {batch}"));
            lines.push(format!("--max_length {}", limits.row));
        }
        Task::Sft | Task::Dpo => lines.push(format!("--max_length {}", limits.row)),
    }
    lines.push("--truncation_strategy delete".to_owned());
    lines.push("--add_non_thinking_prefix false".to_owned());
    lines.push("--disable_ignore_empty_think true".to_owned());
    lines.push(format!("--output_dir trained-{task} \"$@\""));
    let reward = if task == Task::Rl { REWARD_NOTE } else { "" };
    let own = if plan.layout == Layout::Messages {
        "# swift_template.py registers the model's own prompt as the template `thinkloom`.\n"
    } else {
        ""
    };
    let text = format!(
        "#!/bin/sh\n# The mode decision must carry loss, and nothing may be put before it: no think block is added, and an empty one\n\
         # is not left out of the loss. Rows above the limit are left out, not cut.\n\
         # If ms-swift does not know the model by its directory's name, add --model_type (llama, qwen3, ...).\n{own}{reward}{}\n",
        lines.join(" \\\n  ")
    );
    (format!("swift-{task}.sh"), text)
}

/// Returns the file that registers the model's own prompt with ms-swift; ChatML without a model.
fn swift_template(model: Option<&ModelTemplate>) -> Result<String, RenderError> {
    let chatml = Frame::chatml();
    let Frame { head, middle, tail } = model.map(slots::frame).transpose()?.unwrap_or(&chatml);
    // JSON text is a Python literal as well.
    let literal = |text: &str| serde_json::Value::from(text).to_string();
    let from = match model {
        Some(model) => format!("the chat template of SHA-256 {}", model.hash()),
        None => "ChatML, because the export knew no model: put your model's prompt here".to_owned(),
    };
    Ok(format!(
        "\"\"\"Registers a model's own prompt with ms-swift, as the template `thinkloom`.\n\nFrom {from}.\n\"\"\"\n\
         from swift.template import TemplateMeta, register_template\n\n\
         register_template(TemplateMeta(\"thinkloom\", prefix=[], prompt=[{}],\n                               \
         chat_sep=None, suffix=[{}]))\n",
        literal(&[head.as_str(), "{{QUERY}}", middle].concat()),
        literal(tail),
    ))
}

fn axolotl(options: &WriteOptions<'_>, task: Task, limits: Limits, facts: &Facts<'_>) -> (String, String) {
    let is_text = options.plan.layout == Layout::Text;
    let mut text = format!("# axolotl train axolotl-{task}.yaml\nbase_model: YOUR/MODEL\n");
    if task != Task::Sft {
        let _ = writeln!(text, "rl: {task}");
    }
    if options.ships_template && !is_text {
        let _ = writeln!(text, "chat_template: jinja\nchat_template_jinja: {TEMPLATE_FILE}");
    }
    let _ = writeln!(text, "datasets:\n  - path: {task}/train.jsonl\n    ds_type: json\n    split: train");
    text.push_str(match (task, is_text) {
        (Task::Sft | Task::Rl, true) => "    type: input_output            # segments, of which the second carries loss\n",
        (Task::Sft | Task::Rl, false) => {
            "    type: chat_template\n    field_messages: messages\n    roles_to_train: [assistant]\n    train_on_eos: turn\n"
        }
        (Task::Dpo, true) => {
            "    type:\n      field_prompt: prompt\n      field_chosen: chosen\n      field_rejected: rejected\n      prompt_format: \"{prompt}\"\n      chosen_format: \"{chosen}\"\n      rejected_format: \"{rejected}\"\n"
        }
        (Task::Dpo, false) => {
            "    type: chat_template.default\n    field_messages: messages\n    field_chosen: chosen\n    field_rejected: rejected\n"
        }
        (Task::Kto, _) => {
            "    type:\n      field_prompt: prompt\n      field_completion: completion\n      field_label: label\n      prompt_format: \"{prompt}\"\n      completion_format: \"{completion}\"\n"
        }
    });
    let _ = write!(
        text,
        "sequence_len: {} # {ROW_NOTE}\nexcess_length_strategy: raise\nlearning_rate: 1.0e-5\nmicro_batch_size: 2\n\
         gradient_accumulation_steps: 4\noutput_dir: trained-{task}\n\
         dataset_prepared_path: prepared-{task}-{} # named by the rows: axolotl reuses prepared rows whatever the file holds now\n",
        limits.row,
        facts.identity(options, task)
    );
    if task == Task::Kto {
        text.push_str("remove_unused_columns: false     # the trainer asks for it\n");
    }
    (format!("axolotl-{task}.yaml"), text)
}
