//! `thinkloom grade`

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Failure;
use crate::domain::{FinishReason, Kind, Mode};
use crate::telemetry::print_line;
use crate::template::read_response;
use crate::verify::{Case, verify};

/// Arguments of `grade`.
#[derive(Debug, Args)]
#[command(after_help = "Example: thinkloom grade --cases cases.jsonl -o verdicts.jsonl")]
pub struct GradeArgs {
    /// JSONL with {id, kind, gold, response, choices?, tests?}; other keys are ignored; - for stdin.
    #[arg(long, value_name = "FILE")]
    cases: PathBuf,
    /// Where the verdicts go; stdout otherwise.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// A response to be verified.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct GradeCase {
    /// Copied to the verdict.
    id: serde_json::Value,
    /// math, numeric, choice, text or code.
    kind: String,
    /// The reference answer.
    #[serde(default)]
    gold: serde_json::Value,
    /// The whole response; what stands in a think block is not looked at.
    response: String,
    /// The texts of the choices, for kind choice.
    #[serde(default)]
    choices: Vec<String>,
}

/// A verdict.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct GradeVerdict {
    /// The id of the case.
    id: serde_json::Value,
    /// correct, incorrect or unverifiable.
    verdict: &'static str,
    /// The answer that was found.
    extracted: Option<String>,
    /// How it was found and compared, or why there is no verdict.
    reason: String,
    /// Microseconds it took.
    micros: u64,
}

/// Runs the command.
pub(super) fn run(args: &GradeArgs) -> Result<(), Failure> {
    let invalid = grade(args).map_err(Failure::Other)?;
    if invalid > 0 { Err(Failure::Code(4)) } else { Ok(()) }
}

/// Grades all cases and returns how many lines were none; each of those keeps its place in the output.
fn grade(args: &GradeArgs) -> anyhow::Result<u64> {
    let reader: Box<dyn BufRead> = if args.cases.as_os_str() == "-" {
        Box::new(BufReader::new(std::io::stdin()))
    } else {
        Box::new(BufReader::new(fs_err::File::open(&args.cases)?))
    };
    let mut writer: Box<dyn Write> = match &args.output {
        Some(path) => Box::new(BufWriter::new(fs_err::File::create(path)?)),
        None => Box::new(BufWriter::new(std::io::stdout().lock())),
    };
    let mut invalid = 0;
    for (index, line) in reader.split(b'\n').enumerate() {
        let line = line.with_context(|| format!("cannot read {}", args.cases.display()))?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let verdict = match serde_json::from_slice(&line).map_err(anyhow::Error::from).and_then(grade_case) {
            Ok(verdict) => verdict,
            Err(error) => {
                invalid += 1;
                let place = format!("{}:{}", args.cases.display(), index + 1);
                print_line(&format!("error: {place}: no case: {error:#}; expected {{id, kind, gold, response}}"));
                invalid_case(&line, &error)
            }
        };
        serde_json::to_writer(&mut writer, &verdict)?;
        writer.write_all(b"\n")?;
    }
    writer.flush()?;
    Ok(invalid)
}

fn invalid_case(line: &[u8], error: &anyhow::Error) -> GradeVerdict {
    let id = serde_json::from_slice::<serde_json::Value>(line).ok().and_then(|case| case.get("id").cloned());
    GradeVerdict {
        id: id.unwrap_or_default(),
        verdict: crate::domain::VerdictOutcome::Unverifiable.name(),
        extracted: None,
        reason: format!("invalid_case: {error:#}"),
        micros: 0,
    }
}

fn grade_case(case: GradeCase) -> anyhow::Result<GradeVerdict> {
    let kind: Kind = match case.kind.as_str() {
        "multiple_choice" => Kind::Choice,
        name => name.parse()?,
    };
    let gold = match &case.gold {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    };
    let started = Instant::now();
    let observed = read_response(&case.response, Mode::ThinkOff, FinishReason::Stop);
    let verdict = verify(&Case { kind, gold: &gold, choices: &case.choices, response: &observed.answer });
    let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    Ok(GradeVerdict {
        id: case.id,
        verdict: verdict.outcome.name(),
        extracted: verdict.extracted,
        reason: verdict.reason,
        micros,
    })
}
