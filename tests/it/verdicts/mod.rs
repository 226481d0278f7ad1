//! Generates verdict cases: each gold is altered in ways that change its value, and typeset in ways that keep its
//! value.
//!
//! The golds come from the files that `VERDICT_GOLDS` names (a directory, a file, or several separated by colons), by
//! default from `fixtures/verify/golds.jsonl`. The generator uses an alteration only if it can prove that the value
//! changes, by exact fractions or by evaluating formulas at generated points; it skips the others. The gold seeds all
//! random choices, so a run is reproducible. `VERDICT_FAILURES` names a file for the probes with a wrong verdict. The
//! generator does not use the verifiers' code.

mod alter_parts;
mod alter_value;
mod alter_words;
mod choices;
mod dresses;
mod eval;
mod exact;
mod golds;
mod lawful;
mod number;
mod probes;
mod rare;
mod run;
mod shape;
mod units;

use std::io::Write as _;

/// Runs the generator as the environment asks, prints the counts, and returns them.
pub fn run_from_environment() -> run::Report {
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/verify/golds.jsonl");
    let golds = golds::read(&std::env::var("VERDICT_GOLDS").unwrap_or_else(|_| fixture.to_owned()));
    let report = run::run(&golds);
    println!("{}", run::summary(&report));
    if let Ok(path) = std::env::var("VERDICT_FAILURES") {
        let mut file =
            std::io::BufWriter::new(std::fs::File::create(path).expect("the file for failures can be written"));
        for failure in &report.failures {
            writeln!(file, "{}", run::json_line(failure)).expect("a failure can be written");
        }
    }
    report
}

/// Largest share of lawful responses that may be `incorrect`.
#[cfg(test)]
const FALSE_INCORRECT_MAX: f64 = 0.005;

#[test]
fn altered_golds_are_never_correct_and_typeset_golds_are() {
    let report = run_from_environment();
    let total = report.total;
    assert!(
        total.golds > 0 && total.altered > 10 * total.golds && total.lawful > 20 * total.golds,
        "too few probes: {total:?}"
    );
    assert!(100 * total.thin <= total.golds, "too many golds with too few probes: {total:?}");
    assert_eq!(total.false_correct, 0, "altered golds were judged correct");
    let share = total.false_incorrect as f64 / total.lawful as f64;
    assert!(
        share <= FALSE_INCORRECT_MAX,
        "{} of {} lawful responses were judged incorrect",
        total.false_incorrect,
        total.lawful
    );
}
