//! The card of an export: its dataset configs for the Hub, what its rows are, and where they come from.

use std::fmt::Write;

use super::layout::{FileKind, file_kind};
use super::report::{Facts, WriteOptions};
use super::source::Source;
use super::{Flavour, Plan, Task};

/// Returns the card. `files` are the other files next to the data.
pub(super) fn card(
    options: &WriteOptions<'_>,
    source: &Source,
    facts: &Facts<'_>,
    files: &[(String, String)],
) -> String {
    let report = facts.report;
    let Plan { format, flavour, layout, version } = options.plan;
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
    let proven: Vec<String> = format.proven_with().iter().map(ToString::to_string).collect();
    let _ = writeln!(
        text,
        "For {format} {version}. The code of {format} {} reads such exports as the check says.",
        proven.join(" and ")
    );
    for (task, limits) in facts.limits {
        let _ = match task {
            Task::Rl => writeln!(
                text,
                "The config of `{task}` lets {} tokens of prompt and {} of completion through.",
                limits.prompt, limits.completion
            ),
            _ => writeln!(text, "The config of `{task}` lets rows of {} tokens through.", limits.row),
        };
    }
    for (task, entry) in report.iter().filter(|(_, entry)| !entry.cut.is_empty()) {
        let _ = writeln!(text, "It cuts {} rows of `{task}`; `export.json` names them.", entry.cut.len());
    }
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
