//! Tests of programs in the real sandbox.
//!
//! These tests fail on a machine that lacks a layer, and name the layer: no test is skipped.

mod forgeries_tests;
mod harm_tests;
mod responses_tests;
mod shapes_tests;
mod travel_tests;
mod trouble_tests;

use crate::sandbox::{Sandbox, SandboxOptions};
use crate::{CodeCase, CodeVerifier};
use thinkloom_domain::VerdictOutcome;

/// Returns a verifier with this CPU time per program, in seconds.
fn verifier(time_limit_s: u32) -> CodeVerifier {
    let options = SandboxOptions {
        strict: true,
        python: "python3".to_owned(),
        time_limit_s,
        memory_limit_mib: 512,
        output_limit_kib: 256,
    };
    CodeVerifier::new(Ok(Sandbox::open(&options).unwrap()))
}

/// Returns a case with a fenced program and its tests.
fn case(program: &str, tests: &[&str]) -> CodeCase {
    CodeCase {
        tests: tests.iter().map(|test| (*test).to_owned()).collect(),
        response: format!("```python\n{program}\n```"),
        ..CodeCase::default()
    }
}

/// Returns the reason of a verdict, and checks that the reason fits the outcome.
fn reason(verifier: &CodeVerifier, case: &CodeCase) -> String {
    let verdict = verifier.verify(case).unwrap();
    let is_right = verdict.reason.ends_with(":tests_passed") || verdict.reason.ends_with(":outputs_equal");
    assert_eq!(is_right, verdict.outcome == VerdictOutcome::Correct, "{}", verdict.reason);
    verdict.reason
}

/// Checks programs against tests, each with the required end of its reason, and shows all that differ.
#[track_caller]
fn assert_ends(expected: &[(&str, CodeCase)]) {
    let verifier = verifier(4);
    let wrong: Vec<String> = expected
        .iter()
        .map(|(end, case)| (end, case, reason(&verifier, case)))
        .filter(|(end, _, reason)| !reason.ends_with(**end))
        .map(|(end, case, reason)| format!("{end} expected, not {reason}: {} / {:?}", case.response, case.tests))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
