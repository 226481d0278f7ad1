//! `thinkloom schema`

use clap::Args;
use schemars::schema_for;

use super::dedup::DedupLine;
use super::failure::{Failure, print};
use super::grade::{GradeCase, GradeVerdict};
use crate::config::Settings;
use crate::judge::reply::JudgeReply;
use crate::shards::{Table, describe_json};

/// Arguments of `schema`.
#[derive(Debug, Args)]
#[command(after_help = "Example: thinkloom schema samples")]
pub(super) struct SchemaArgs {
    /// One of config, dedup_line, grade_case, grade_verdict, judge_reply, samples, rollouts, exclusions; without a
    /// name, all of them as one JSON object.
    name: Option<String>,
    /// Print the schema config as a page of the guide (`thinkloom help config`).
    #[arg(long, requires = "name")]
    markdown: bool,
}

type BuildSchema = fn() -> String;

/// Every schema: its name and its builder. A test compares them with the files under `schemas/`.
const SCHEMAS: &[(&str, BuildSchema)] = &[
    ("config", || pretty(schema_for!(Settings))),
    ("dedup_line", || pretty(schema_for!(DedupLine))),
    ("grade_case", || pretty(schema_for!(GradeCase))),
    ("grade_verdict", || pretty(schema_for!(GradeVerdict))),
    ("judge_reply", || pretty(schema_for!(JudgeReply))),
    ("samples", || describe_json(Table::Samples)),
    ("rollouts", || describe_json(Table::Rollouts)),
    ("exclusions", || describe_json(Table::Exclusions)),
];

fn pretty(schema: schemars::Schema) -> String {
    format!("{:#}\n", schema.to_value())
}

/// Returns all schemas as one object.
fn all() -> Result<serde_json::Value, Failure> {
    let parse = |(name, build): &(&str, BuildSchema)| Ok(((*name).to_owned(), serde_json::from_str(&build())?));
    let schemas: serde_json::Result<serde_json::Map<String, serde_json::Value>> = SCHEMAS.iter().map(parse).collect();
    schemas.map(serde_json::Value::Object).map_err(Failure::other)
}

/// Runs the command.
pub(super) fn run(args: &SchemaArgs) -> Result<(), Failure> {
    if args.markdown {
        if args.name.as_deref() == Some("config") {
            return print(&crate::guide::config_page());
        }
        crate::telemetry::print_line("error: --markdown works only with the schema config; other schemas are JSON");
        return Err(Failure::Code(2));
    }
    let Some(name) = &args.name else {
        return print(&format!("{:#}\n", all()?));
    };
    match SCHEMAS.iter().find(|(known, _)| known == name) {
        Some((_, build)) => {
            let text = build();
            print(text.trim_end()).and_then(|()| print("\n"))
        }
        None => {
            let known: Vec<&str> = SCHEMAS.iter().map(|(name, _)| *name).collect();
            crate::telemetry::print_line(&format!("error: no schema {name}; known: {}", known.join(", ")));
            Err(Failure::Code(2))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_schemas_are_what_the_program_prints() {
        for (name, build) in SCHEMAS {
            // The schema of the judge's reply has the file ending that JSON schemas commonly have.
            let ending = if *name == "judge_reply" { "schema.json" } else { "json" };
            let path = format!("{}/schemas/{name}.{ending}", env!("CARGO_MANIFEST_DIR"));
            if std::env::var_os("UPDATE_SCHEMAS").is_some() {
                std::fs::write(&path, build()).unwrap();
            }
            let committed = std::fs::read_to_string(&path).unwrap_or_default();
            // Without `assert_eq`, which would print both schemas, whole.
            assert!(committed == build(), "{path} is stale: run UPDATE_SCHEMAS=1 cargo test --release --lib schema");
        }
    }
}
