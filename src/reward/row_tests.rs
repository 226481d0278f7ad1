//! Rows of every kind, and what they are graded as.

use super::*;
use ShownMode::{None, ThinkOff, ThinkOn};

const RULES: GradeRules = GradeRules { evaluated: Evaluated::Required, other_mode: OtherMode::Incorrect };
const ON: &str = "<judge>\nWhy.\n</judge>\n\n<think_on>\n<think>\n2+2\n</think>\n\n<answer>\n4\n</answer>";

fn of(mode: ShownMode, is_correct: bool, is_well_formed: bool) -> Response {
    Response { mode, is_correct, is_well_formed, completion_tokens: Option::None }
}

fn ready(json: serde_json::Value) -> Graded {
    let text = json.to_string();
    match grade(serde_json::from_str(&text).unwrap(), RULES).unwrap() {
        Grading::Ready(graded) => graded,
        Grading::Program(..) => unreachable!("no program was asked for"),
    }
}

fn fault(json: serde_json::Value) -> String {
    let text = json.to_string();
    grade(serde_json::from_str(&text).unwrap(), RULES).unwrap_err().to_string()
}

#[test]
fn what_is_given_is_taken() {
    let graded = ready(serde_json::json!({"query_id": 7, "mode": "think_off", "correct": 1, "format_ok": false}));
    assert_eq!(
        (graded.response, graded.judge_end, graded.verdict),
        (of(ThinkOff, true, false), Option::None, Option::None)
    );
    let graded = ready(serde_json::json!({"mode": "think_off", "correct": false, "completion": ON}));
    assert_eq!(graded.response, of(ThinkOff, false, true));
    let given = serde_json::json!({"mode": "none", "correct": false, "format_ok": 0, "completion_tokens": 7});
    assert_eq!(ready(given).response, Response { completion_tokens: Some(7), ..of(None, false, false) });
    let float = serde_json::json!({"mode": "think_on", "correct": 1, "format_ok": 1, "completion_tokens": 12.0});
    assert_eq!(ready(float).response.completion_tokens, Some(12));
    for wrong in ["1.5", "-1", "4294967296"] {
        let text = format!(r#"{{"mode": "think_on", "completion_tokens": {wrong}}}"#);
        let fault = serde_json::from_str::<RewardRow<'_>>(&text).unwrap_err().to_string();
        assert!(fault.contains("completion_tokens is"), "{fault}");
    }
    let counted = serde_json::json!({"completion": ON, "correct": true, "token_ids": [1, 2, 3]});
    assert_eq!(ready(counted).response.completion_tokens, Some(3));
}

#[test]
fn what_is_not_given_is_read_from_the_completion_and_verified() {
    let graded = ready(serde_json::json!({"completion": ON, "kind": "numeric", "gold": 4}));
    assert_eq!(graded.response, of(ThinkOn, true, true));
    assert_eq!(&ON[..graded.judge_end.unwrap()], "<judge>\nWhy.\n</judge>\n\n<think_on>");
    assert_eq!(graded.verdict.unwrap().outcome, VerdictOutcome::Correct);
    // The answer is right, the form is wrong: one byte after the end is enough.
    let graded = ready(serde_json::json!({"completion": format!("{ON}\n"), "gold": "4"}));
    assert_eq!(graded.response, of(ThinkOn, true, false));
    // An answer inside the thinking does not count.
    let cut = "<judge>W</judge><think_on><think>It is 4";
    let graded = ready(serde_json::json!({"completion": cut, "gold": "4", "finish_reason": "length"}));
    assert_eq!(graded.response, of(ThinkOn, false, false));
    let graded = ready(serde_json::json!({"completion": "<think_off><answer>B</answer>", "gold": "B",
        "choices": ["one", "two"]}));
    assert!(graded.response.is_correct);
}

#[test]
fn after_a_forced_mode_tag_the_rest_of_the_structured_response_is_well_formed() {
    let row = |mode: &str, completion: &str| {
        ready(serde_json::json!({"forced_mode": mode, "completion": completion, "gold": "4"})).response
    };
    let (_, on) = ON.split_once("<think_on>\n").unwrap();
    let off = "<answer>\n4\n</answer>";
    assert_eq!(row("think_on", on), of(ThinkOn, true, true));
    assert_eq!(row("think_off", off), of(ThinkOff, true, true));
    // The other mode's body, a second judge block, and a byte too many are not what follows the tag; and an answer in
    // the other mode is none in this one.
    assert_eq!(row("think_off", on), of(ThinkOff, false, false));
    assert_eq!(row("think_off", ON), of(ThinkOff, false, false));
    assert_eq!(row("think_on", off), of(ThinkOn, false, false));
    assert_eq!(row("think_on", ON), of(ThinkOn, true, false));
    assert_eq!(row("think_off", &format!("{off}\n")), of(ThinkOff, true, false));
    let cut = "<think>\nIt is 4";
    assert_eq!(row("think_on", cut), of(ThinkOn, false, false));
    let without = ready(serde_json::json!({"completion": off, "gold": "4"})).response;
    assert!(!without.is_well_formed, "without a forced mode, judge block and mode tag are missing");
    assert!(fault(serde_json::json!({"forced_mode": "on", "completion": off})).contains("forced_mode"));
    let both = serde_json::json!({"forced_mode": "think_on", "mode": "think_off", "completion": off, "gold": "4"});
    assert!(fault(both).contains("forced_mode is think_on"));
    let graded = ready(serde_json::json!({"forced_mode": "think_on", "completion": on, "gold": "4"}));
    assert_eq!(graded.judge_end, Some(0), "no token of the completion belongs to the judge block");
    let again = ready(serde_json::json!({"forced_mode": "think_on", "completion": ON, "gold": "4"}));
    assert_eq!(again.judge_end, Some(0), "nor one of a second block");
}

#[test]
fn a_response_that_was_cut_before_it_showed_a_mode_is_of_none() {
    let mode = |completion: &str, finish_reason: &str| {
        let row = serde_json::json!({"completion": completion, "finish_reason": finish_reason, "gold": "4"});
        ready(row).response.mode
    };
    for looping in ["<judge>\nThis is This is", "This is This is", "<judge>Why.</judge>", ""] {
        assert_eq!(mode(looping, "length"), None, "{looping}");
    }
    for unfinished in ["<judge>\nThis is", "<judge>Why.</judge>\n", " "] {
        assert_eq!(mode(unfinished, "stop"), None, "{unfinished}");
    }
    assert_eq!(mode("4", "stop"), ThinkOff);
    assert_eq!(mode("<judge>Why.</judge><think_off>", "length"), ThinkOff);
    assert_eq!(mode("<think>a a a", "length"), ThinkOn);
    assert_eq!(mode("<judge>Why.</judge><think>a</think>4", "stop"), ThinkOn);
}

#[test]
fn rows_of_a_run_are_well_formed_if_they_could_be_rendered() {
    let row = |observed: &str, answer: &str, verdict: &str| {
        ready(serde_json::json!({"mode": "think_off", "observed_mode": observed, "answer": answer,
            "verdict": verdict, "thinking": null}))
        .response
    };
    assert_eq!(row("think_off", "4", "correct"), of(ThinkOff, true, true));
    assert_eq!(row("think_on", "4", "correct"), of(ThinkOff, false, false), "it thought in Think-off");
    let forced = serde_json::json!({"forced_mode": "think_off", "observed_mode": "think_on", "correct": true, "format_ok": true});
    assert!(!ready(forced).response.is_correct, "the row says so itself");
    let free = serde_json::json!({"mode": "none", "observed_mode": "think_on", "correct": true, "format_ok": false});
    assert!(ready(free).response.is_correct, "no mode was asked for");
    assert_eq!(row("think_off", "<answer>4", "unverifiable"), of(ThinkOff, false, false));
}

#[test]
fn programs_come_back_as_cases() {
    let text = serde_json::json!({"completion": ON, "kind": "code", "tests": ["assert f(1) == 2"]}).to_string();
    let grading = grade(serde_json::from_str(&text).unwrap(), RULES);
    let Ok(Grading::Program(graded, case)) = grading else { unreachable!("it is a program") };
    assert_eq!((case.response.as_str(), graded.response.is_correct), ("4", false));
    let passed = Verdict { outcome: VerdictOutcome::Correct, extracted: Option::None, reason: String::new() };
    assert!(graded.clone().with_verdict(passed).unwrap().response.is_correct);
    for cause in [
        UnverifiableCause::NoTests,
        UnverifiableCause::TestsUnusable,
        UnverifiableCause::NoSandbox,
        UnverifiableCause::SandboxFailed,
    ] {
        let fault = graded.clone().with_verdict(Verdict::unverifiable(cause, Option::None)).unwrap_err().to_string();
        assert!(fault.contains(cause.name()), "{fault}");
    }
    let undecided = Verdict::unverifiable(UnverifiableCause::Undecided, Option::None);
    assert!(!graded.with_verdict(undecided).unwrap().response.is_correct, "that is the response's own");
}

#[test]
fn golds_and_tests_that_decide_nothing_are_faults_and_no_rewards() {
    let gold = fault(serde_json::json!({"completion": ON, "kind": "numeric", "gold": "many"}));
    assert!(gold.contains("unreadable_gold") && gold.contains("many"), "{gold}");
    let gold = fault(serde_json::json!({"completion": ON, "gold": "C", "choices": ["one", "two"]}));
    assert!(gold.contains("unreadable_gold"), "{gold}");
    let tests = fault(serde_json::json!({"completion": ON, "kind": "code", "tests": []}));
    assert!(tests.contains("no_tests"), "{tests}");
    let tests = serde_json::json!({"completion": ON, "tests": {"inputs": ["1"], "outputs": []}});
    assert!(fault(tests).contains("tests_unusable"));
}

#[test]
fn what_is_missing_or_malformed_is_named() {
    let json = |json| fault(json);
    assert!(json(serde_json::json!({"correct": true, "format_ok": true})).contains("no mode"));
    assert!(json(serde_json::json!({"mode": "on"})).contains("think_on, think_off"));
    assert!(json(serde_json::json!({"mode": "think_on", "correct": true})).contains("no format_ok"));
    assert!(json(serde_json::json!({"mode": "think_on", "format_ok": true})).contains("no correct"));
    assert!(json(serde_json::json!({"completion": ON})).contains("no gold"));
    let half = serde_json::json!({"mode": "think_on", "format_ok": 0.5, "correct": 1});
    assert!(json(half).contains("format_ok is 0.5"));
    assert!(json(serde_json::json!({"completion": ON, "verdict": "right"})).contains("verdict"));
}
