//! The dataset card: `README.md` of the output directory, with the Hub's YAML front matter.
//!
//! A pure function of the manifest and [`CardFacts`]. Unless the settings name a licence, the card names none: it
//! depends on the questions and on the model, and the publisher of the dataset decides it.

use std::fmt::Write;

use super::{Manifest, Table, VIEWS_FILE, describe};

/// Facts for the card that the manifest lacks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CardFacts {
    /// The models that wrote justifications, if any.
    pub judge_models: Vec<String>,
    /// The licence, if the settings name one.
    pub license: Option<String>,
}

/// Returns the text of the dataset card.
#[must_use]
pub fn card(manifest: &Manifest, facts: &CardFacts) -> String {
    let mut text = front_matter(manifest, facts.license.as_deref());
    text.push_str(&introduction(manifest));
    text.push_str(&counts(manifest));
    text.push_str(&loading());
    text.push_str(&columns());
    text.push_str(&provenance(manifest, &facts.judge_models));
    text.push_str(&rules(manifest));
    text.push_str(&licence(facts.license.as_deref()));
    text
}

fn front_matter(manifest: &Manifest, license: Option<&str>) -> String {
    let name = format!("Hybrid Think-on / Think-off responses of {}", manifest.policy.model);
    // A JSON string is a valid double-quoted YAML scalar for every model name.
    let name = serde_json::Value::from(name);
    let mut text = format!(
        "---\npretty_name: {name}\ntask_categories:\n- text-generation\nsize_categories:\n- {}\n\
         tags:\n- thinkloom\n- reasoning\n- hybrid-thinking\n- synthetic\n",
        size_category(manifest.counts.samples)
    );
    if let Some(license) = license {
        let _ = writeln!(text, "license: {}", serde_json::Value::from(license));
    }
    text.push_str("configs:\n");
    for table in Table::ALL {
        let default = if table == Table::Samples { "  default: true\n" } else { "" };
        let (name, dir) = (table.name(), table.dir());
        let _ = write!(
            text,
            "- config_name: {name}\n{default}  data_files:\n  - split: train\n    path: {dir}/*.parquet\n"
        );
    }
    text.push_str("---\n\n");
    text
}

/// Returns the Hub's name for a number of rows.
const fn size_category(rows: u64) -> &'static str {
    match rows {
        0..1_000 => "n<1K",
        1_000..10_000 => "1K<n<10K",
        10_000..100_000 => "10K<n<100K",
        100_000..1_000_000 => "100K<n<1M",
        1_000_000..10_000_000 => "1M<n<10M",
        _ => "n>10M",
    }
}

fn introduction(manifest: &Manifest) -> String {
    format!(
        "# Hybrid Think-on / Think-off responses\n\n\
         For every query, {model} answered several times in two modes: Think-on (reason, then answer) and Think-off\n\
         (answer directly). Every response was verified against the reference answer. The mode with the higher pass\n\
         rate won, Think-off on a tie, and the shortest correct response of that mode became the sample. The method is\n\
         that of HiPO (arXiv 2509.23967).\n\n\
         - `samples`: the training rows, one per query that has a decision.\n\
         - `rollouts`: every response of both modes, with its verdict.\n\
         - `exclusions`: every query that gave no sample, with its reason.\n\n\
         `prompt` and `completion` of a sample are rendered and ready to train on. The completion holds the judge's\n\
         justification, a bare mode tag (`<think_on>` or `<think_off>`), the reasoning if there is any, and the answer.\n\n",
        model = code(&manifest.policy.model)
    )
}

fn counts(manifest: &Manifest) -> String {
    let counts = &manifest.counts;
    let mut text = "## Counts\n\n".to_owned();
    if !manifest.is_finished() {
        let _ = writeln!(
            text,
            "The run is not finished: {} of {} queries are outstanding, and shards that are incomplete will be written again.\n",
            manifest.outstanding, counts.queries
        );
    }
    text.push_str("| rows | count |\n|---|---:|\n");
    let rows = [
        ("queries", counts.queries),
        ("samples", counts.samples),
        ("rollouts", counts.rollouts),
        ("exclusions", counts.exclusions),
    ];
    for (name, count) in rows {
        let _ = writeln!(text, "| {name} | {count} |");
    }
    for (reason, count) in &counts.exclusions_by_reason {
        let _ = writeln!(text, "| exclusions: {} | {count} |", code(reason));
    }
    text.push('\n');
    text
}

fn loading() -> String {
    let samples = Table::Samples.dir();
    format!(
        "## Loading\n\n\
         ```python\n\
         import datasets\n\
         samples = datasets.load_dataset(\".\", \"samples\", split=\"train\")\n\n\
         import pyarrow.parquet\n\
         samples = pyarrow.parquet.read_table(\"{samples}\")\n\
         ```\n\n\
         ```sh\n\
         duckdb -init {VIEWS_FILE}\n\
         ```\n\n\
         The views: `samples`, `rollouts`, `exclusions`, `queries`, `pass_rates`, `reasons`, `lengths`, `observed`, `modes`,\n\
         `spend`.\n\n"
    )
}

fn columns() -> String {
    let mut text = "## Columns\n\n".to_owned();
    for table in Table::ALL {
        let _ = write!(text, "### {}\n\n| column | type | content |\n|---|---|---|\n", table.name());
        for column in describe(table) {
            let _ = writeln!(text, "| `{}` | `{}` | {} |", column.name, column.type_name, column.description);
        }
        text.push('\n');
    }
    text
}

fn provenance(manifest: &Manifest, judge_models: &[String]) -> String {
    let judges: Vec<String> = judge_models.iter().map(|name| code(name)).collect();
    let judges = if judges.is_empty() { "none".to_owned() } else { judges.join(", ") };
    let rows = [
        ("policy model", code(&manifest.policy.model)),
        ("policy revision", code(&manifest.policy.revision)),
        ("judge", judges),
        ("prompt version", code(&manifest.prompt_version)),
        ("fingerprint", code(&manifest.fingerprint)),
        ("tables version", manifest.tables_version.to_string()),
        ("thinkloom", code(&manifest.thinkloom_version)),
    ];
    let mut text = "## Provenance\n\n| | |\n|---|---|\n".to_owned();
    for (name, value) in rows {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    for (side, keys) in &manifest.left_out {
        let keys: Vec<String> = keys.iter().map(|key| left_out(key)).collect();
        let _ = writeln!(text, "| left out of the {side}'s requests | {} |", keys.join(", "));
    }
    text.push_str("\n`manifest.json` holds the same and the SHA-256 of every file.\n");
    text
}

/// Returns the name of a request key that was not sent.
fn left_out(key: &str) -> String {
    match key {
        "max_tokens" => format!("{} (or sent as {})", code(key), code("max_completion_tokens")),
        "seed" => format!("{} (the column is the one that would have been sent)", code(key)),
        key => code(key),
    }
}

/// Returns everything that decided the data, as the run recorded it.
fn rules(manifest: &Manifest) -> String {
    let mut text = "\n## What decided the data\n\n\
         The mode is Think-off where |pass_rate_on - pass_rate_off| < `select.tie_margin`, else the one with the higher pass\n\
         rate; a share `select.random_mode_rate` of the queries has a random mode. The response is the shortest correct one of\n\
         that mode. No verdict is a guess: an undecidable response is `unverifiable`.\n\n\
         | setting or content | value |\n|---|---|\n"
        .to_owned();
    for (key, value) in &manifest.identity {
        let _ = writeln!(text, "| {} | {} |", code(key), code(value));
    }
    text
}

fn licence(license: Option<&str>) -> String {
    match license {
        Some(license) => format!("\n## Licence\n\n{}, according to the maker of this dataset.\n", code(license)),
        None => {
            "\n## Licence\n\nThis card names none: the licence depends on the questions and on the models.\n".to_owned()
        }
    }
}

/// Returns foreign text as a Markdown code span that fits a table cell: one line, no back-ticks, no bars.
fn code(text: &str) -> String {
    let clean: String = text
        .chars()
        .map(|character| match character {
            '`' => '\'',
            '|' => '/',
            other if other.is_control() => ' ',
            other => other,
        })
        .collect();
    if clean.trim().is_empty() { "unknown".to_owned() } else { format!("`{clean}`") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shards::manifest::example;

    fn judged(models: &[&str]) -> CardFacts {
        CardFacts { judge_models: models.iter().map(|name| (*name).to_owned()).collect(), license: None }
    }

    #[test]
    fn a_licence_is_named_only_if_the_settings_name_one() {
        let named = card(&example(), &CardFacts { license: Some("cc-by-4.0".to_owned()), ..CardFacts::default() });
        assert!(named.contains("\nlicense: \"cc-by-4.0\"\n"), "{named}");
        assert!(!card(&example(), &CardFacts::default()).contains("license:"));
    }

    #[test]
    fn front_matter_names_every_table_and_no_licence() {
        let text = card(&example(), &CardFacts::default());
        let (front, body) = text.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap();
        for table in Table::ALL {
            assert!(front.contains(&format!("- config_name: {}\n", table.name())));
            assert!(front.contains(&format!("path: {}/*.parquet", table.dir())));
            assert!(body.contains(&format!("### {}\n", table.name())));
        }
        assert_eq!(front.matches("default: true").count(), 1);
        assert!(!front.contains("licen"));
        assert!(
            front.contains(r#"pretty_name: "Hybrid Think-on / Think-off responses of tiny | \"model\"""#),
            "{front}"
        );
    }

    #[test]
    fn card_shows_counts_columns_and_provenance() {
        let text = card(&example(), &judged(&["judge-a", "judge-b"]));
        for expected in [
            "| samples | 2 |",
            "| exclusions: `unsolved` | 1 |",
            "| `pass_rate_on` | `double` | correct_on / sampled_on",
            "| judge | `judge-a`, `judge-b` |",
            "| fingerprint | `f00d` |",
            "| `select.tie_margin` | `0.1` |",
            "size_categories:\n- n<1K\n",
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
        assert!(card(&example(), &CardFacts::default()).contains("| judge | none |"));
        assert!(!text.contains("left out of"));
        let keys = |keys: &[&str]| keys.iter().map(|&key| key.to_owned()).collect::<Vec<_>>();
        let left_out = [("policy".to_owned(), keys(&["seed", "top_p"])), ("judge".to_owned(), keys(&["max_tokens"]))];
        let text = card(&Manifest { left_out: left_out.into(), ..example() }, &CardFacts::default());
        for expected in [
            "| left out of the policy's requests | `seed` (the column is the one that would have been sent), `top_p` |",
            "| left out of the judge's requests | `max_tokens` (or sent as `max_completion_tokens`) |",
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
    }

    #[test]
    fn foreign_names_cannot_break_the_tables() {
        assert_eq!(code("a|b`c\nd"), "`a/b'c d`");
        assert_eq!(code(" "), "unknown");
        for line in card(&example(), &judged(&["x|y"])).lines().filter(|line| line.starts_with("| judge")) {
            assert_eq!(line.matches('|').count(), 3, "{line}");
        }
    }
}
