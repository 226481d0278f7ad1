//! Writes the files next to an export's data: the trainer's config, the card, and the template if it is shipped.

use std::fmt::Write;

use super::layout::{FileKind, file_kind};
use super::report::{Report, WriteOptions};
use super::source::Source;
use super::{Flavour, Format, Layout, Plan, Task};

/// The name of the template in an export.
pub(super) const TEMPLATE_FILE: &str = "chat_template.jinja";

/// Returns the remedy for a template that mangles rows.
#[must_use]
pub(super) fn remedy(plan: Plan) -> String {
    let wrap = "add --wrap-template: the export then brings a chat_template.jinja, the model's own with whole responses, \
                for training and for serving";
    match (plan.format, plan.layout) {
        (Format::Trl | Format::Axolotl, Layout::Messages) => {
            format!("add --layout text: the rows then hold text that no template touches; or {wrap}")
        }
        _ => wrap.to_owned(),
    }
}

/// Returns the files next to the data, with their names. `data` are the names of the data files.
pub(super) fn files(
    options: &WriteOptions<'_>,
    source: &Source,
    report: &Report,
    data: &[String],
) -> Vec<(String, String)> {
    let mut files = configs(options, data);
    if let (true, Some(model)) = (options.ships_template, options.model) {
        files.push((TEMPLATE_FILE.to_owned(), model.source().to_owned()));
    }
    let card = card(options, source, report, &files);
    files.push(("README.md".to_owned(), card));
    files
}

fn configs(options: &WriteOptions<'_>, data: &[String]) -> Vec<(String, String)> {
    let plan = options.plan;
    let one = |task: Task| match plan.format {
        Format::Trl => trl(options, task),
        Format::Verl => verl(options, task, data),
        Format::LlamaFactory => llamafactory(plan, task),
        Format::Swift => swift(plan, task),
        Format::Axolotl => axolotl(options, task),
    };
    let mut files: Vec<(String, String)> = options.tasks.iter().map(|&task| one(task)).collect();
    if plan.format == Format::LlamaFactory {
        files.push(("dataset_info.json".to_owned(), dataset_info(options.tasks)));
    }
    files
}

fn trl(options: &WriteOptions<'_>, task: Task) -> (String, String) {
    let command = if task == Task::Rl { "grpo" } else { task.name() };
    let mut text = format!(
        "# trl {command} --config trl-{task}.yaml\nmodel_name_or_path: YOUR/MODEL\ndataset_name: ./{task}\n\
         output_dir: trained-{task}\n"
    );
    text.push_str(match task {
        Task::Sft => "completion_only_loss: true       # loss on the response only: judge block, mode tag, thinking, answer\nmax_length: 8192                 # longer rows are cut, and a cut response teaches to stop early\n",
        Task::Rl => "# accuracy_reward reads the column `solution` only. thinkloom's fixtures/recipes/trl_reward.py asks `thinkloom serve`, and\n# gives it `kind` and `question` too: GRPOTrainer(reward_funcs=[thinkloom_reward])\nreward_funcs: accuracy_reward\n",
        Task::Dpo | Task::Kto => "",
    });
    if options.ships_template && task == Task::Sft {
        let _ = writeln!(text, "chat_template_path: {TEMPLATE_FILE}");
    } else if options.ships_template {
        let _ = writeln!(
            text,
            "# Put {TEMPLATE_FILE} in place of the model's own first: tokenizer.chat_template = open(...).read()"
        );
    }
    (format!("trl-{task}.yaml"), text)
}

fn verl(options: &WriteOptions<'_>, task: Task, data: &[String]) -> (String, String) {
    // verl opens the given path as a file: it supports neither directories nor globs.
    let folder = format!("{task}/");
    let files: Vec<&str> = data.iter().map(String::as_str).filter(|name| name.starts_with(&folder)).collect();
    let files = files.join(", ");
    let template = if options.ships_template {
        format!("# The model's directory must hold {TEMPLATE_FILE} of this export in place of its own template.\n")
    } else {
        String::new()
    };
    let text = match task {
        Task::Rl => format!(
            "# python -m verl.trainer.main_ppo, with these settings\n{template}\
             data:\n  train_files: [{files}]\n  prompt_key: prompt\n  max_prompt_length: 2048\n  return_raw_chat: true\n\
             # `data_source` is the query's source. verl scores sources that it knows (openai/gsm8k, ...) itself; for others\n\
             # name a function of your own, such as thinkloom's fixtures/recipes/verl_reward.py, which asks `thinkloom serve` and gives\n\
             # it `kind` and `question` of `extra_info` too:\n# custom_reward_function: {{path: verl_reward.py, name: compute_score}}\n"
        ),
        _ => format!(
            "# torchrun -m verl.trainer.fsdp_sft_trainer, with these settings\n{template}\
             data:\n  train_files: [{files}]\n  prompt_key: prompt\n  response_key: response\n  max_length: 8192\n  truncation: error                # a cut response teaches to stop early\n  multiturn: {{enable: false}}       # the single-turn data set writes the response as it is\n"
        ),
    };
    (format!("verl-{task}.yaml"), text)
}

fn llamafactory(plan: Plan, task: Task) -> (String, String) {
    let stage = if task == Task::Dpo { "dpo" } else { task.name() };
    let template = match plan.layout {
        Layout::Text => "template: empty                 # the text is finished",
        Layout::Messages => {
            "template: qwen                  # your model's family WITHOUT reasoning (qwen, llama3, mistral, ...): qwen3 and\n\
             \u{20}                               # deepseekr1 put a think block of their own before the response"
        }
    };
    let text = format!(
        "# llamafactory-cli train llamafactory-{task}.yaml, in this directory\nmodel_name_or_path: YOUR/MODEL\nstage: {stage}\n\
         do_train: true\ndataset_dir: .\ndataset: thinkloom_{task}\n{template}\ncutoff_len: 8192\noutput_dir: trained-{task}\n"
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

fn swift(plan: Plan, task: Task) -> (String, String) {
    let command = match task {
        Task::Sft => "swift sft".to_owned(),
        Task::Rl => "swift rlhf --rlhf_type grpo --reward_funcs accuracy".to_owned(),
        Task::Dpo | Task::Kto => format!("swift rlhf --rlhf_type {task}"),
    };
    let template = match plan.layout {
        Layout::Text => "--template dummy",
        Layout::Messages => "--template chatml",
    };
    let text = format!(
        "#!/bin/sh\n# The mode decision must carry loss, and nothing may be put before it: no think block is added, and an empty one\n\
         # is not left out of the loss.{}\n{command} \\\n  --model YOUR/MODEL \\\n  --dataset {task}/train.jsonl \\\n  {template} \\\n  \
         --add_non_thinking_prefix false \\\n  --disable_ignore_empty_think true \\\n  --max_length 8192 \\\n  --output_dir trained-{task} \"$@\"\n",
        if plan.layout == Layout::Messages {
            " Name your model's template family in place of chatml, one without reasoning."
        } else {
            ""
        }
    );
    (format!("swift-{task}.sh"), text)
}

fn axolotl(options: &WriteOptions<'_>, task: Task) -> (String, String) {
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
    text.push_str("sequence_len: 8192\noutput_dir: trained\n");
    (format!("axolotl-{task}.yaml"), text)
}

fn card(options: &WriteOptions<'_>, source: &Source, report: &Report, files: &[(String, String)]) -> String {
    let Plan { format, flavour, layout } = options.plan;
    let mut text = "---\n".to_owned();
    if let Some(license) = options.license {
        let _ = writeln!(text, "license: {}", serde_json::Value::from(license));
    }
    text.push_str("tags:\n- thinkloom\n- reasoning\n- hybrid-thinking\n- synthetic\nconfigs:\n");
    for (index, task) in report.keys().enumerate() {
        let default = if index == 0 { "  default: true\n" } else { "" };
        let path = match file_kind(format) {
            FileKind::Parquet => format!("{task}/*.parquet"),
            FileKind::Jsonl => format!("{task}/train.jsonl"),
        };
        let _ = write!(text, "- config_name: {task}\n{default}  data_files:\n  - split: train\n    path: {path}\n");
    }
    let who = match flavour {
        Flavour::Auto => {
            "The model chooses the mode: the response holds the judge's justification, a bare mode tag (`<think_on>` or\n\
             `<think_off>`), the reasoning if there is any, and the answer, and all of it is learnt."
        }
        Flavour::Controlled => {
            "The user chooses the mode: the mode tag (`<think_on>` or `<think_off>`) ends the user's turn, and what follows it\n\
             in a structured response (reasoning, if there is any, and answer) is learnt."
        }
    };
    let _ = write!(text, "---\n\n# Think-on / Think-off data for {format}\n\n{who}\n\n| rows | count |\n|---|---:|\n");
    for (task, entry) in report {
        let _ = writeln!(text, "| {task} | {} |", entry.rows);
    }
    for (task, entry) in report.iter().filter(|(_, entry)| entry.left_out > 0) {
        let _ = write!(
            text,
            "\nRows of kind `code` that are not in `{task}`: {}. Their tests are not in an export, so a reward could not be computed.\n",
            entry.left_out
        );
    }
    text.push_str(
        "\nIn `dpo` the wanted response is the sample's own; `pair_kind` says what the other is: a longer correct one\n\
         (`shorter`), an incorrect one (`correct`), or one of the other mode (`mode`, with the same justification, so that\n\
         the two differ from the mode tag on). `kto` holds the same responses one by one.\n\n",
    );
    let _ = writeln!(text, "Layout `{layout}`. Settings: {}.", list(files));
    let checked = options.model.map(|model| {
        format!(
            "Every row was rendered with the chat template of SHA-256 `{}`: nothing is lost, and loss falls on the whole\nresponse.",
            model.hash()
        )
    });
    let unchecked =
        "The rows were not checked against a chat template: `thinkloom export --check --template MODEL` does so.";
    let _ = write!(text, "\n{}\n", checked.as_deref().unwrap_or(unchecked));
    if let Some(manifest) = &source.manifest {
        let _ = write!(
            text,
            "\n| provenance | |\n|---|---|\n| policy model | `{}` |\n| policy revision | `{}` |\n| prompt version | `{}` |\n| fingerprint | `{}` |\n| thinkloom | `{}` |\n",
            manifest.policy.model.replace(['`', '|', '\n'], " "),
            manifest.policy.revision.replace(['`', '|', '\n'], " "),
            manifest.prompt_version,
            manifest.fingerprint,
            manifest.thinkloom_version
        );
    }
    text
}

fn list(files: &[(String, String)]) -> String {
    files.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
