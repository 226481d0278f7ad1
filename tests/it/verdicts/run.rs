//! Runs the probes, and counts and reports the wrong verdicts.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use thinkloom::domain::{Kind, VerdictOutcome};
use thinkloom::verify::{Case, verify};

use super::golds::Gold;
use super::probes::{self, Probe};

/// Threads that verify at once.
const THREADS: usize = 2;
/// Examples kept of one kind of failure.
const EXAMPLES_MAX: usize = 3;
/// Failures kept of one name by one thread.
const FAILURES_MAX: usize = 1_000;
/// Fewest altered and lawful responses that a gold must yield.
const ALTERED_MIN: usize = 10;
const LAWFUL_MIN: usize = 20;

/// A probe that got another verdict than it must.
#[derive(Debug, Clone)]
pub struct Failure {
    pub gold: Gold,
    pub probe: Probe,
    pub outcome: &'static str,
    pub reason: String,
}

/// Counts of one name or one set.
#[derive(Debug, Clone, Copy, Default)]
pub struct Count {
    pub golds: usize,
    pub altered: usize,
    pub false_correct: usize,
    /// Altered responses on which no verdict was given.
    pub altered_unverifiable: usize,
    pub lawful: usize,
    pub false_incorrect: usize,
    pub unverifiable: usize,
    /// Golds with fewer probes than wanted.
    pub thin: usize,
}

impl Count {
    fn add(&mut self, other: &Self) {
        self.golds += other.golds;
        self.altered += other.altered;
        self.false_correct += other.false_correct;
        self.altered_unverifiable += other.altered_unverifiable;
        self.lawful += other.lawful;
        self.false_incorrect += other.false_incorrect;
        self.unverifiable += other.unverifiable;
        self.thin += other.thin;
    }
}

/// What a run found.
#[derive(Debug, Default)]
pub struct Report {
    pub total: Count,
    pub sets: BTreeMap<String, Count>,
    pub names: BTreeMap<String, Count>,
    pub failures: Vec<Failure>,
}

/// Verifies every probe of every gold.
pub fn run(golds: &[Gold]) -> Report {
    let share = golds.len().div_ceil(THREADS).max(1);
    let parts: Vec<Report> = std::thread::scope(|scope| {
        let handles: Vec<_> = golds.chunks(share).map(|part| scope.spawn(|| run_part(part))).collect();
        handles.into_iter().map(|handle| handle.join().expect("no verdict panics")).collect()
    });
    let mut report = Report::default();
    for part in parts {
        report.total.add(&part.total);
        for (name, count) in part.sets {
            report.sets.entry(name).or_default().add(&count);
        }
        for (name, count) in part.names {
            report.names.entry(name).or_default().add(&count);
        }
        report.failures.extend(part.failures);
    }
    report
}

fn run_part(golds: &[Gold]) -> Report {
    let mut report = Report::default();
    for gold in golds {
        let probes = probes::of(gold);
        let lawful = probes.iter().filter(|probe| probe.expected).count();
        let thin = lawful < LAWFUL_MIN || probes.len() - lawful < ALTERED_MIN;
        let whole = Count { golds: 1, thin: usize::from(thin), ..Count::default() };
        report.total.add(&whole);
        report.sets.entry(gold.set.clone()).or_default().add(&whole);
        for probe in probes {
            let (count, failure) = verdict(gold, probe);
            report.total.add(&count.1);
            report.sets.entry(gold.set.clone()).or_default().add(&count.1);
            let of_name = report.names.entry(count.0).or_default();
            of_name.add(&count.1);
            let kept = of_name.false_correct + of_name.false_incorrect + of_name.unverifiable;
            report.failures.extend(failure.filter(|_| kept <= FAILURES_MAX));
        }
    }
    report
}

fn verdict(gold: &Gold, probe: Probe) -> ((String, Count), Option<Failure>) {
    let case = Case {
        kind: gold.kind,
        gold: &gold.gold,
        choices: &gold.choices,
        response: &probe.response,
        question: &gold.question,
        ..Case::default()
    };
    let verdict = verify(&case);
    let mut count = Count::default();
    let is_false = match (probe.expected, verdict.outcome) {
        (true, VerdictOutcome::Incorrect) => {
            count.false_incorrect = 1;
            true
        }
        (true, VerdictOutcome::Unverifiable) => {
            count.unverifiable = 1;
            true
        }
        (false, VerdictOutcome::Correct) => {
            count.false_correct = 1;
            true
        }
        (false, VerdictOutcome::Unverifiable) => {
            count.altered_unverifiable = 1;
            false
        }
        _ => false,
    };
    if probe.expected {
        count.lawful = 1;
    } else {
        count.altered = 1;
    }
    let name = format!("{:8} {}", gold.kind.name(), probe.name);
    let failure = is_false.then(|| Failure {
        gold: gold.clone(),
        probe,
        outcome: verdict.outcome.name(),
        reason: verdict.reason,
    });
    ((name, count), failure)
}

/// Writes the counts and the first examples.
pub fn summary(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |name: &str, count: &Count| {
        let _ = writeln!(
            text,
            "{name:44} golds={:6} altered={:8} FALSE_CORRECT={:6} (unverifiable {}) lawful={:8} false_incorrect={:6} unverifiable={:6} thin={}",
            count.golds,
            count.altered,
            count.false_correct,
            count.altered_unverifiable,
            count.lawful,
            count.false_incorrect,
            count.unverifiable,
            count.thin
        );
    };
    for (name, count) in &report.sets {
        line(name, count);
    }
    line("TOTAL", &report.total);
    for (name, count) in &report.names {
        if count.altered > 0 {
            let _ = writeln!(
                text,
                "{name:44} altered={:7} FALSE_CORRECT={:6} unverifiable={}",
                count.altered, count.false_correct, count.altered_unverifiable
            );
        } else {
            let _ = writeln!(
                text,
                "{name:44} lawful={:7} false_incorrect={:6} unverifiable={:6}",
                count.lawful, count.false_incorrect, count.unverifiable
            );
        }
        let full = |failure: &&Failure| format!("{:8} {}", failure.gold.kind.name(), failure.probe.name) == *name;
        for failure in report.failures.iter().filter(full).take(EXAMPLES_MAX) {
            let _ = writeln!(
                text,
                "      {:?} / {:?} {} {}",
                failure.gold.gold, failure.probe.response, failure.outcome, failure.reason
            );
        }
    }
    text
}

/// Writes one failure as a line of JSON, in the shape of a case of `thinkloom grade`.
pub fn json_line(failure: &Failure) -> String {
    let gold = &failure.gold;
    let mut row = serde_json::json!({
        "kind": gold.kind.name(),
        "gold": gold.gold,
        "question": gold.question,
        "response": failure.probe.response,
        "expected": failure.probe.expected,
        "group": format!("gen:{}", failure.probe.name),
        "set": gold.set,
        "got": failure.outcome,
        "reason": failure.reason,
    });
    if gold.kind == Kind::Choice {
        row["choices"] = serde_json::json!(gold.choices);
    }
    row.to_string()
}
