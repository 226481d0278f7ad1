//! `thinkloom grade`

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::args::refuse_overwriting;
use super::failure::Failure;
use crate::config::{self, VerifySettings};
use crate::domain::{FinishReason, Kind, Mode, UnverifiableCause, Verdict};
use crate::pipeline::plan::evaluated_of;
use crate::pipeline::programs::open_pool;
use crate::telemetry::print_line;
use crate::template::read_response;
use crate::verify::{Case, CodeCase, CodePool, Pending, verify};

/// Arguments of `grade`.
#[derive(Debug, Args)]
#[command(
    after_help = "thinkloom runs cases of kind code with their tests, several at once, in a sandbox; `thinkloom \
                  doctor` checks the sandbox.\nExample: thinkloom grade --cases cases.jsonl -o verdicts.jsonl\n\
                  Guide: thinkloom help selection, sandbox"
)]
pub(super) struct GradeArgs {
    /// JSONL with {id, kind, gold, response, choices?, tests?, test_imports?, entry_point?, question?}; other keys are
    /// ignored; - for stdin.
    #[arg(long, value_name = "FILE")]
    cases: PathBuf,
    /// The output file for the verdicts; default: stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A config file with [verify] settings; without one the defaults apply.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Override a setting, for example --set verify.time_limit_s=5 (repeatable).
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

/// The most cases in progress, including finished cases that wait for an earlier case.
const UNDER_WAY_MAX: usize = 4096;

/// A response to verify.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct GradeCase {
    /// The id, copied to the verdict.
    id: serde_json::Value,
    /// math, numeric, choice, text or code.
    kind: String,
    /// The reference answer.
    #[serde(default)]
    gold: serde_json::Value,
    /// The whole response; think blocks are ignored.
    response: String,
    /// The texts of the choices, for kind choice.
    #[serde(default)]
    choices: Option<Vec<String>>,
    /// For kind code: assertions, or whole test programs, or objects {input, output} or {inputs, outputs}; one or a list,
    /// or a text with such a list or object in the notation of JSON or Python.
    #[serde(default)]
    tests: serde_json::Value,
    /// For kind code: import statements that the tests need; one or a list.
    #[serde(default)]
    test_imports: serde_json::Value,
    /// For kind code: the function that is passed to check() of a test program.
    #[serde(default)]
    entry_point: Option<String>,
    /// The question: a response may not restate it, and for kind code it may continue it.
    #[serde(default)]
    question: Option<String>,
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
    /// How the answer was found and compared, or why there is no verdict.
    reason: String,
    /// The time of the verification, in microseconds.
    micros: u64,
}

/// Runs the command.
pub(super) fn run(args: &GradeArgs) -> Result<(), Failure> {
    let settings = match &args.config {
        Some(path) => config::load(path, &args.overrides)?.settings,
        None => config::parse_with_overrides("", "the command line", &args.overrides)?,
    };
    let invalid = grade(args, settings.verify).map_err(Failure::Other)?;
    if invalid > 0 { Err(Failure::Code(4)) } else { Ok(()) }
}

/// Grades all cases and returns the number of invalid lines; the output has a line for each of them.
fn grade(args: &GradeArgs, settings: VerifySettings) -> anyhow::Result<u64> {
    let reader: Box<dyn BufRead> = if args.cases.as_os_str() == "-" {
        Box::new(BufReader::new(std::io::stdin()))
    } else {
        Box::new(BufReader::new(fs_err::File::open(&args.cases)?))
    };
    refuse_overwriting(args.output.as_deref(), std::iter::once(args.cases.as_path()))?;
    let writer: Box<dyn Write> = match &args.output {
        Some(path) => Box::new(BufWriter::new(fs_err::File::create(path)?)),
        None => Box::new(BufWriter::new(std::io::stdout().lock())),
    };
    let mut ordered = Ordered { writer, slots: VecDeque::new() };
    let mut grader = Grader { settings, pool: None };
    let mut invalid = 0;
    for (index, line) in reader.split(b'\n').enumerate() {
        let line = line.with_context(|| format!("cannot read {}", args.cases.display()))?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let started = serde_json::from_slice(&line).map_err(anyhow::Error::from).and_then(|case| grader.start(case));
        ordered.push(started.unwrap_or_else(|error| {
            invalid += 1;
            let place = format!("{}:{}", args.cases.display(), index + 1);
            print_line(&format!("error: {place}: invalid case: {error:#}; expected {{id, kind, gold, response}}"));
            Slot::Ready(invalid_case(&line, &error))
        }))?;
    }
    ordered.finish()?;
    Ok(invalid)
}

/// A case with its verdict, or a case in progress.
enum Slot {
    Ready(GradeVerdict),
    UnderWay(serde_json::Value, Pending),
}

impl Slot {
    fn wait(self) -> GradeVerdict {
        match self {
            Self::Ready(verdict) => verdict,
            Self::UnderWay(id, pending) => {
                let (verdict, micros) = pending.wait();
                let verdict = verdict.unwrap_or_else(|fault| {
                    print_line(&format!("error: case {id}: {fault}"));
                    Verdict::unverifiable(UnverifiableCause::SandboxFailed, None)
                });
                told(id, verdict, micros)
            }
        }
    }
}

/// Writes verdicts in the order of their cases, whatever the order in which verification ends.
struct Ordered {
    writer: Box<dyn Write>,
    slots: VecDeque<Slot>,
}

impl Ordered {
    fn push(&mut self, slot: Slot) -> anyhow::Result<()> {
        self.slots.push_back(slot);
        while matches!(self.slots.front(), Some(Slot::Ready(_))) || self.slots.len() > UNDER_WAY_MAX {
            self.write_first()?;
        }
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        while !self.slots.is_empty() {
            self.write_first()?;
        }
        Ok(self.writer.flush()?)
    }

    fn write_first(&mut self) -> anyhow::Result<()> {
        let Some(slot) = self.slots.pop_front() else { return Ok(()) };
        serde_json::to_writer(&mut self.writer, &slot.wait())?;
        Ok(self.writer.write_all(b"\n")?)
    }
}

/// Verifies cases. Programs run on a pool of threads, which the first program starts.
struct Grader {
    settings: VerifySettings,
    pool: Option<CodePool>,
}

impl Grader {
    fn start(&mut self, case: GradeCase) -> anyhow::Result<Slot> {
        let kind: Kind = match case.kind.as_str() {
            "multiple_choice" => Kind::Choice,
            name => name.parse()?,
        };
        let observed = read_response(&case.response, Mode::ThinkOff, FinishReason::Stop);
        if kind == Kind::Code {
            let code = CodeCase {
                tests: texts("tests", &case.tests)?,
                test_imports: texts("test_imports", &case.test_imports)?,
                entry_point: case.entry_point,
                question: case.question.unwrap_or_default(),
                response: observed.answer,
            };
            let pool = self.pool.get_or_insert_with(|| open_pool(&self.settings));
            return Ok(Slot::UnderWay(case.id, pool.submit(code)));
        }
        let gold = match &case.gold {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Null => String::new(),
            other => other.to_string(),
        };
        let started = tokio::time::Instant::now();
        let verdict = verify(&Case {
            kind,
            gold: &gold,
            choices: case.choices.as_deref().unwrap_or_default(),
            response: &observed.answer,
            question: case.question.as_deref().unwrap_or_default(),
            evaluated: evaluated_of(self.settings.evaluated),
        });
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        Ok(Slot::Ready(told(case.id, verdict, micros)))
    }
}

/// Reads a text, an object (as JSON), or a list of these; a list within a list becomes one text, its JSON.
fn texts(name: &str, value: &serde_json::Value) -> anyhow::Result<Vec<String>> {
    use serde_json::Value;
    match value {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Object(_) => Ok(vec![value.to_string()]),
        Value::Array(items) => {
            let lists: anyhow::Result<Vec<Vec<String>>> = items
                .iter()
                .map(|item| match item {
                    Value::String(_) | Value::Object(_) | Value::Null => texts(name, item),
                    Value::Array(_) => Ok(vec![item.to_string()]),
                    other => anyhow::bail!("{name} holds {other}, expected strings, objects or lists"),
                })
                .collect();
            Ok(lists?.concat())
        }
        other => anyhow::bail!("{name} is {other}, expected a string, an object or a list"),
    }
}

fn told(id: serde_json::Value, verdict: Verdict, micros: u64) -> GradeVerdict {
    let Verdict { outcome, extracted, reason } = verdict;
    GradeVerdict { id, verdict: outcome.name(), extracted, reason, micros }
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
