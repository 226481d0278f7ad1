//! Tests of whole verdicts: extraction, kinds, hostile input, properties.

use proptest::prelude::*;

use super::{Case, Evaluated, check_gold, is_text_only, verify};
use thinkloom_domain::{Kind, Verdict, VerdictOutcome};

fn verdict(kind: Kind, gold: &str, response: &str) -> Verdict {
    verify(&Case { kind, gold, choices: &[], response, ..Case::default() })
}

fn outcome(kind: Kind, gold: &str, response: &str) -> VerdictOutcome {
    verdict(kind, gold, response).outcome
}

fn choices() -> Vec<String> {
    ["Paris", "The Nile", "a red giant", "Paris and Rome"].map(str::to_owned).to_vec()
}

fn choose(gold: &str, response: &str) -> Verdict {
    verify(&Case { kind: Kind::Choice, gold, choices: &choices(), response, ..Case::default() })
}

#[test]
fn the_strategy_that_found_the_answer_is_named_in_the_reason() {
    let reason = |response: &str| verdict(Kind::Math, "42", response).reason;
    assert_eq!(reason(r"So \boxed{41} and then \boxed{42.0}."), "boxed:rational_equal");
    assert_eq!(
        reason("Final Answer: The final answer is $42.0$. I hope it is correct."),
        "final_answer:rational_equal"
    );
    assert_eq!(reason("The answer is 42."), "answer_is:string_equal");
    assert_eq!(reason("6*7 is\n#### 42"), "hash_mark:string_equal");
    assert_eq!(reason("We get $x = 42$ here."), "math_span:rational_equal");
    assert_eq!(reason("42.00"), "whole:rational_equal");
    assert_eq!(reason("First compute 6*7.\n42"), "last_number:string_equal");
    assert_eq!(reason("I do not know."), "no_answer");
    assert_eq!(reason(""), "no_answer");
    assert_eq!(verdict(Kind::Numeric, "42", "So\nA: 42").reason, "last_number:rational_equal");
    assert_eq!(choose("B", "Answer: B").reason, "answer_is:same_choice");
    assert_eq!(verdict(Kind::Text, "Rome", "Thinking of it.\nRome").reason, "last_line:same_text");
}

#[test]
fn boxes_nest_join_and_may_stay_open() {
    let correct = |gold: &str, response: &str| outcome(Kind::Math, gold, response) == VerdictOutcome::Correct;
    assert!(correct(r"\frac{1}{\sqrt{2}}", r"$\boxed{\frac{1}{\sqrt{2}}}$"));
    assert!(correct("7", "thus \\boxed{7"));
    assert!(correct("7", r"thus \boxed 7."));
    assert!(correct("7", r"\fbox{7}"));
    assert!(correct("1,2,3", r"\boxed{1} and \boxed{2} and \boxed{3}"));
    assert!(correct("2,3", r"\boxed{1} thus but \boxed{2} and \boxed{3}"));
    assert!(correct("k=45, n=2", r"\boxed{k = 45} \quad \text{and} \quad \boxed{n = 2}"));
    assert!(!correct("2", r"\boxed{1} and \boxed{2}"));
    assert!(!correct("1", r"\boxed{1} is wrong, so \boxed{2}"));
    assert!(correct("2", r"The solution gives \boxed{1} first. Then we double it: \boxed{2}"));
}

#[test]
fn only_what_follows_the_last_thinking_counts() {
    let response = r"<think> \boxed{42} </think> wrong: \boxed{43}";
    assert_eq!(outcome(Kind::Math, "42", response), VerdictOutcome::Incorrect);
    assert_eq!(outcome(Kind::Math, "43", response), VerdictOutcome::Correct);
    assert_eq!(verdict(Kind::Math, "42", r"\boxed{42}</think>").reason, "no_answer");
}

#[test]
fn numbers_are_read_in_their_usual_dress() {
    for (gold, response) in [
        ("1234", "The total is 1,234 dollars."),
        ("1234", "\\boxed{\\$1{,}234}"),
        ("18", "She makes $18 every day."),
        ("77", "costs $80-$3 = $<<80-3=77>>77.\nA: 77"),
        ("-5", "the answer is \u{2212}5"),
        ("0.25", "\\boxed{25\\%}"),
        ("25", "#### 25%"),
        ("0.75", "answer: 3/4"),
        ("0.5", "\\boxed{\\frac{1}{2}}"),
        ("150000", "The answer is 1.5e5"),
        ("150000", r"\boxed{1.5 \times 10^5}"),
        ("5", r"\boxed{x = 5}"),
        ("10", r"\boxed{10 \text{ apples}}"),
        ("2.74", "Soucis : 2,74 $ a.."),
        ("27.0", r"\boxed{27}"),
        ("3.142", "The answer is 3.14159"),
        ("1,200", "1200"),
    ] {
        let verdict = verdict(Kind::Numeric, gold, response);
        assert_eq!(verdict.outcome, VerdictOutcome::Correct, "{gold} against {response}: {verdict:?}");
    }
    for (gold, response) in [
        ("1234", "The total is 1,235 dollars."),
        ("5", "the answer is -5"),
        ("0.25", r"\boxed{0.25\%}"),
        ("0.3", r"\boxed{0.25}"),
        ("27.0", r"\boxed{27.04}"),
        ("10", r"\boxed{100}"),
        ("5", r"\boxed{x}"),
        ("5", "no number here"),
        ("2", "The answer is 1 and 3"),
        ("0", "open('marker', 'w').write('x') or 0"),
    ] {
        let verdict = verdict(Kind::Numeric, gold, response);
        assert_eq!(verdict.outcome, VerdictOutcome::Incorrect, "{gold} against {response}: {verdict:?}");
    }
}

#[test]
fn numbers_beyond_the_bounds_and_several_numbers_are_unverifiable() {
    assert_eq!(verdict(Kind::Numeric, "5", r"\boxed{1e999999}").reason, "over_budget");
    assert_eq!(verdict(Kind::Numeric, "5", &format!("\\boxed{{{}}}", "9".repeat(3_000))).reason, "over_budget");
    assert_eq!(verdict(Kind::Numeric, "5", r"\boxed{5 \text{ or } 6}").reason, "boxed:several_numbers");
    assert_eq!(verdict(Kind::Numeric, "5", "That gives 5!").reason, "ambiguous");
    assert_eq!(verdict(Kind::Numeric, "many", "5").reason, "unreadable_gold");
}

#[test]
fn choices_are_named_by_letter_or_text() {
    for response in [
        "B",
        "(b)",
        "B.",
        "**B**",
        "The answer is B",
        "The answer is **B. The Nile**",
        r"\boxed{\text{B}}",
        r"$\boxed{B}$",
        "the Nile.",
        "It is long.\n\nAnswer: (B)",
        r"\boxed{\text{The Nile}}",
        "The answer is (B) because A is a city.",
        "I compared the rivers one by one.\nSo it must be B",
    ] {
        assert!(choose("B", response).is_correct(), "{response}: {:?}", choose("B", response));
        assert!(choose("b", response).is_correct());
        assert!(choose("The Nile", response).is_correct());
    }
    for response in ["A", "(c)", "2", "1", "The answer is E", "", "The answer is a red giant"] {
        assert_eq!(choose("B", response).outcome, VerdictOutcome::Incorrect, "{response}: {:?}", choose("B", response));
    }
}

#[test]
fn a_letter_wins_over_a_choice_of_that_text_and_case_tells_texts_apart() {
    let choices = ["Rr", "rr", "A"].map(str::to_owned);
    let correct = |gold: &str, response: &str| {
        verify(&Case { kind: Kind::Choice, gold, choices: &choices, response, ..Case::default() }).is_correct()
    };
    assert!(correct("A", r"\boxed{A}"));
    assert!(!correct("C", r"\boxed{A}"));
    assert!(correct("B", "The answer is rr"));
    assert!(!correct("A", "The answer is rr"));
}

#[test]
fn several_choices_in_one_answer_are_not_the_one_that_is_asked_for() {
    assert_eq!(choose("B", r"\boxed{A or B}").reason, "boxed:several_choices");
    assert_eq!(choose("B", "The answer is A and B").reason, "answer_is:several_choices");
    assert_eq!(choose("B", r"\boxed{B. a red giant}").reason, "boxed:contradicts_itself");
    assert_eq!(choose("E", "B").reason, "unreadable_gold");
}

#[test]
fn texts_are_normalised_at_their_ends_only() {
    let correct = |gold: &str, response: &str| outcome(Kind::Text, gold, response) == VerdictOutcome::Correct;
    assert!(correct("The Nile", "nile."));
    assert!(correct("caf\u{e9}", "CAFE\u{301}"));
    assert!(correct("New York", r"\boxed{\text{new   york}}"));
    assert!(correct("Rome", "The answer is \"Rome\"."));
    assert!(!correct("New York", "York"));
    assert!(!correct("Rome", "The answer is Paris. Rome is older."));
    assert!(!correct("can't", "cant"));
}

#[test]
fn code_without_a_sandbox_is_never_run_and_unverifiable() {
    let verdict = verdict(Kind::Code, "", "Here:\n```python\nprint(1)\n```\ndone");
    assert_eq!(verdict.reason, "no_sandbox");
    assert_eq!(verdict.extracted.as_deref(), Some("print(1)\n"));
    assert_eq!(
        super::verify(&Case { kind: Kind::Code, gold: "", choices: &[], response: "none", ..Case::default() })
            .extracted,
        None
    );
}

fn asked(question: &str, gold: &str, response: &str) -> String {
    verify(&Case { kind: Kind::Math, gold, response, question, ..Case::default() }).reason
}

#[test]
fn arithmetic_that_is_left_to_be_done_is_no_answer_unless_the_settings_allow_it() {
    for (gold, undone) in [
        ("3/4", r"\frac{1}{2}+\frac{1}{4}"),
        ("1517", r"37 \cdot 41"),
        ("5", r"\sum_{i=1}^{5} 1"),
        ("120", r"\binom{10}{3}"),
        ("720", "6!"),
        ("4", r"\sqrt{16}"),
        ("5", "10/2"),
        ("9", "3^2"),
        ("7", "|-7|"),
        ("3", r"\log_2 8"),
        ("1/2", r"\sin 30^\circ"),
        ("1, 4", "1, 2+2"),
        ("(2, 6)", r"(2, 3 \cdot 2)"),
        ("[0, 9]", "[0, 3^2]"),
        ("x = 8", "x = 5 + 3"),
        ("12 cm", r"(5+7) \text{ cm}"),
    ] {
        let response = format!("\\boxed{{{undone}}}");
        assert_eq!(verdict(Kind::Math, gold, &response).reason, "boxed:work_left_undone", "{gold} {undone}");
        let case = Case { gold, response: &response, evaluated: Evaluated::Any, ..Case::default() };
        assert!(verify(&case).is_correct(), "{gold} {undone}");
    }
    for (gold, done) in [
        ("3/4", r"\frac{6}{8}"),
        ("3/4", "0.75"),
        ("1.5", r"1\frac{1}{2}"),
        ("48000", r"4.8 \times 10^4"),
        ("1000", "10^3"),
        ("0.3", r"30\%"),
        ("8", "5 + 3 = 8"),
        ("2\\sqrt{3}", r"\sqrt{12}"),
        ("\\frac{\\sqrt{3}}{2}", r"\sin 60^\circ"),
        ("2^{10}", "4^5"),
        ("2^{10}", "1024"),
        ("\\binom{10}{3}", r"\binom{10}{7}"),
        ("5 feet 3 inches", "5 feet 3 inches"),
        ("-3", "-3"),
    ] {
        let verdict = verdict(Kind::Math, gold, &format!("\\boxed{{{done}}}"));
        assert!(verdict.is_correct(), "{gold} {done} {verdict:?}");
    }
}

#[test]
fn the_task_given_back_is_no_answer_where_the_question_tells_to_transform_it() {
    let restated = "boxed:restates_the_question";
    assert_eq!(asked("What is 10 in binary?", "1010", r"\boxed{1010_2}"), "boxed:same_digits");
    assert_eq!(asked("Factor $x^2+7x+12$.", "(x+3)(x+4)", r"\boxed{x^2+7x+12}"), restated);
    assert_eq!(asked("Expand $(x+3)(x+4)$.", "x^2+7x+12", r"\boxed{(x + 3)\left(x + 4\right)}"), restated);
    assert_eq!(asked(r"Simplify $\frac{2x^2}{4x}$.", r"\frac{x}{2}", r"\boxed{\dfrac{2x^2}{4x}}"), restated);
    assert_eq!(
        asked(r"Rationalize $\frac{1}{\sqrt{2}}$", r"\frac{\sqrt{2}}{2}", r"\boxed{\frac{1}{\sqrt2}}"),
        restated
    );
    assert_eq!(asked("Factor x^2+7x+12.", "(x+3)(x+4)", r"\boxed{x^2+7x+12}"), restated);
    for (question, gold, response) in [
        ("Factor $x^2+7x+12$.", "(x+3)(x+4)", r"\boxed{(x+4)(x+3)}"),
        // No transformation is requested, or not of this expression.
        ("Which function has the derivative $2x+7$: $x^2+7x+12$?", "x^2+7x+12", r"\boxed{x^2+7x+12}"),
        ("Factor $x^2-9$ with $x+3$ in mind, and divide by $x-3$.", "x+3", r"\boxed{x+3}"),
        // A number in lowest form that the question contains.
        ("Simplify $\\frac{3}{4} + 0$, as in $\\frac{3}{4}$.", "0.75", r"\boxed{\frac{3}{4}}"),
    ] {
        let reason = asked(question, gold, response);
        assert!(!reason.contains("restates"), "{question} {reason}");
    }
}

#[test]
fn program_text_yields_no_number() {
    for response in ["(lambda: open('m'))() or 0", "__import__('os').system('x') or 0", "eval('0') or 0"] {
        assert_eq!(outcome(Kind::Math, "0", response), VerdictOutcome::Incorrect, "{response}");
    }
}

#[test]
fn unreadable_golds_are_found_at_ingest() {
    assert_eq!(check_gold(Kind::Numeric, "1,234.5", &[]), Ok(()));
    assert_eq!(check_gold(Kind::Numeric, "\\frac{1}{2}", &[]), Ok(()));
    assert!(check_gold(Kind::Numeric, "many", &[]).is_err());
    assert!(check_gold(Kind::Numeric, "3 or 4", &[]).is_err());
    assert_eq!(check_gold(Kind::Choice, "b", &choices()), Ok(()));
    assert_eq!(check_gold(Kind::Choice, "a red giant", &choices()), Ok(()));
    assert!(check_gold(Kind::Choice, "E", &choices()).is_err());
    assert!(check_gold(Kind::Choice, "2", &choices()).is_err());
    assert_eq!(check_gold(Kind::Math, "\\unknown", &[]), Ok(()));
    for unread in ["\\unknown{3}", "((3", "3 +* / 4"] {
        assert!(is_text_only(Kind::Math, unread), "{unread}");
    }
    for read in ["42", "\\frac12", "\\text{no solution}", "Sunday", "12:30", "so \\boxed{7}", "(1, 2]"] {
        assert!(!is_text_only(Kind::Math, read), "{read}");
    }
    assert!(!is_text_only(Kind::Text, "\\unknown{3}"));
    assert!(check_gold(Kind::Text, " ", &[]).is_err());
    assert_eq!(check_gold(Kind::Code, "", &[]), Ok(()));
}

#[test]
fn hostile_responses_end_with_a_verdict_on_a_small_stack() {
    let hostile = vec![
        format!("\\boxed{}", "{".repeat(10_000)),
        "\\boxed{".repeat(10_000),
        format!("{}1{}", "(".repeat(10_000), ")".repeat(10_000)),
        "x ".repeat(500_000),
        "\\text{".repeat(150_000),
        "\\mathrm{a".repeat(100_000),
        "$".repeat(1_000_000),
        "\\(".repeat(500_000),
        "answer is ".repeat(100_000),
        "1,".repeat(500_000),
        "-".repeat(1_000_000),
        "(a) ".repeat(250_000),
        r"\boxed{9^{9^{9^9}}}".to_owned(),
        r"\boxed{999999999999!}".to_owned(),
        format!("\\boxed{{{}}}", r"\frac{1}{1+".repeat(200)),
        format!("\\boxed{{{}}}", r"\sqrt{2}+".repeat(300) + "1"),
        format!("\\boxed{{{}}}", "(x+y)".repeat(400)),
        format!("\\boxed{{{}}}", "[1,".repeat(600)),
    ];
    let run = move || {
        for response in &hostile {
            for kind in [Kind::Math, Kind::Numeric, Kind::Choice, Kind::Text, Kind::Code] {
                let verdict = verify(&Case {
                    kind,
                    gold: "7",
                    choices: &["8".to_owned(), "7".to_owned()],
                    response,
                    ..Case::default()
                });
                assert!(!verdict.is_correct(), "{kind} {response:.60}");
                assert!(
                    !verify(&Case { kind, gold: response, choices: &[], response: "7", ..Case::default() })
                        .is_correct()
                );
            }
        }
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap().join().unwrap();
}

/// Random expressions, built from these pieces.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        (0u32..100).prop_map(|n| n.to_string()),
        prop::sample::select(vec!["x", "y", r"\pi ", "0.5", "i", "2^{n}", r"3\%", r"30^\circ "])
            .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}+{b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}-{b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} \\cdot {b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("\\frac{{{a}}}{{{b}}}")),
            inner.clone().prop_map(|a| format!("\\sqrt{{{a}}}")),
            inner.clone().prop_map(|a| format!("\\left({a}\\right)^{{2}}")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("{a}, {b}")),
        ]
    })
}

proptest! {
    #[test]
    fn verify_never_panics(gold in ".{0,40}", response in r"(\PC|[\\{}$()^_/.,0-9a-z ]|boxed|frac|answer is ){0,60}") {
        for kind in [Kind::Math, Kind::Numeric, Kind::Choice, Kind::Text, Kind::Code] {
            let case = Case { kind, gold: &gold, choices: std::slice::from_ref(&gold), response: &response, ..Case::default() };
            let first = verify(&case);
            prop_assert_eq!(first, verify(&case));
            let _ = check_gold(kind, &gold, &[]);
        }
    }

    #[test]
    fn mathematics_equals_itself_when_boxed(gold in expression()) {
        let response = format!("So the result is \\boxed{{{gold}}}.");
        let verdict = verdict(Kind::Math, &gold, &response);
        prop_assert!(verdict.is_correct(), "{:?}", verdict);
    }

    #[test]
    fn respelling_never_refutes_an_expression(gold in expression()) {
        let respelled = gold.replace("\\frac", "\\dfrac").replace("\\cdot", "\\times").replace('(', "\\left(").replace(')', "\\right)");
        let respelled = respelled.replace("\\left\\left", "\\left").replace("\\right\\right", "\\right");
        let verdict = verdict(Kind::Math, &gold, &format!("\\boxed{{{respelled}}}"));
        prop_assert!(verdict.is_correct(), "{} {:?}", gold, verdict);
    }

    #[test]
    fn adding_one_is_never_correct(gold in expression()) {
        prop_assume!(!gold.contains([',', '%', 'n']) && !gold.contains("circ"));
        let verdict = verdict(Kind::Math, &gold, &format!("\\boxed{{{gold}+1}}"));
        prop_assert!(!verdict.is_correct(), "{} {:?}", gold, verdict);
    }
}
