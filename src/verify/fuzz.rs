//! Invariants for arbitrary texts, shared by the fuzz targets (`tests/fuzz`) and the property tests.
//!
//! Each function accepts any text and panics if an invariant is violated. Texts may have any size and any UTF-8
//! content.

use super::{Case, code, extract, math, verify};
use thinkloom_domain::{Kind, UnverifiableCause, VerdictOutcome};

/// References that responses are compared with.
const GOLDS: &[&str] = &["42", r"\frac{1}{2}", "x^2+1", "(1,2)", "B", "Paris"];

/// Signs that make a statement of values.
const STATEMENTS: &[&str] = &[
    "=", "<", ">", "\u{2248}", "\u{2264}", "\u{2265}", "\u{2260}", "\u{2208}", "\\approx", "\\eq", "\\ge", "\\in",
    "\\le", "\\ne", "\\lt", "\\gt", "\\sim", "\\cong", "is", "equal",
];

/// Checks that any response ends in one verdict: the verdict is the same each time and has a reason, the answer is no
/// longer than the response with its wrappers, and a box at the end of the response is found.
///
/// # Panics
/// If one of these invariants is violated.
pub fn extractor(response: &str) {
    let choices = ["Paris", "The Nile", "42"].map(str::to_owned);
    for &kind in Kind::ALL {
        for gold in GOLDS {
            let case = Case { kind, gold, choices: &choices, response, ..Case::default() };
            let verdict = verify(&case);
            assert_eq!(verdict, verify(&case), "{kind} {gold}: the verdict changes");
            assert!(!verdict.reason.is_empty(), "{kind} {gold}: no reason");
            // Several boxes are joined with commas, and a plain form may need more bytes than the original character.
            let longest = response.len() * 4 + 16;
            assert!(verdict.extracted.as_ref().is_none_or(|answer| answer.len() <= longest), "{kind} {gold}: too long");
            assert!(!verdict.is_correct() || verdict.extracted.is_some(), "{kind} {gold}: correct without an answer");
        }
    }
    let part = extract::answer_part(response);
    assert!(response.contains(part), "the answer is no part of the response");
    assert_eq!(
        extract::answer_part(&format!("{response}</think>")).trim(),
        "",
        "text before the end of thinking counts"
    );
    // Whatever precedes it, a last box is the answer, unless an earlier box is joined to it.
    if part == response.trim() && !response.contains("box") {
        let boxed = format!("{response}\n\nSo we have \\boxed{{42}}");
        let verdict = verify(&Case { kind: Kind::Math, gold: "42", choices: &[], response: &boxed, ..Case::default() });
        assert_eq!(verdict.outcome, VerdictOutcome::Correct, "the last box is not the answer: {}", verdict.reason);
    }
}

/// Checks that any two texts can be compared: the outcome is the same each time, each text equals itself, surrounding
/// spaces do not matter, and one direction's exact equality is not refuted by the other direction.
///
/// # Panics
/// If one of these invariants is violated.
pub fn latex(gold: &str, answer: &str) {
    let outcome = math::equal(gold, answer);
    assert_eq!(outcome, math::equal(gold, answer), "the outcome changes");
    // Behind a backslash a space is part of a command.
    if !gold.ends_with('\\') && !answer.ends_with('\\') {
        let spaced = math::equal(&format!(" {gold}\n"), &format!("\t{answer} "));
        assert_eq!(outcome, spaced, "spaces around it change the outcome");
    }
    if !math::is_blank(gold) {
        assert_eq!(math::equal(gold, gold), math::Outcome::Equal("string_equal"), "a text differs from itself");
    }
    // Rounding, names and units may hold in one direction only; exact values may not. A statement is compared by its sides,
    // in which gold and answer differ: an answer `n + 0 = 1` has the value 1, and so has a gold `8 = 1`, but an answer `8 = 1`
    // contradicts itself.
    let is_value = |text: &str| !STATEMENTS.iter().any(|sign| text.contains(sign));
    let is_exact = is_value(gold)
        && is_value(answer)
        && matches!(outcome, math::Outcome::Equal("string_equal" | "rational_equal" | "algebraic_equal"));
    let back = math::equal(answer, gold);
    assert!(
        !(is_exact && matches!(back, math::Outcome::Different(_))),
        "{outcome:?}, and the other way round {back:?}"
    );
    for kind in [Kind::Math, Kind::Numeric, Kind::Text] {
        // The verifier never accepts a gold that ingest rejects.
        if super::check_gold(kind, gold, &[]).is_err() {
            let verdict = verify(&Case { kind, gold, choices: &[], response: "7", ..Case::default() });
            assert!(!verdict.is_correct(), "{kind}: an unreadable gold equals 7");
        }
    }
}

/// Checks that the response contains the lines of the found program texts, in order, and that a found text is found
/// again in its own fence.
///
/// # Panics
/// If one of these invariants is violated.
pub fn code_blocks(response: &str) {
    let blocks = code::program_blocks(response);
    assert_eq!(blocks, code::program_blocks(response), "the blocks change");
    let size: usize = blocks.iter().map(String::len).sum();
    assert!(size <= response.len() + blocks.len(), "blocks hold more than the response");
    // The text after the lines found so far. A line may be a part of a response's line: fences are indented, and other
    // marks occur within lines.
    let mut rest = response;
    for block in &blocks {
        assert!(!block.trim().is_empty(), "an empty block");
        for line in block.lines() {
            let (_, after) = rest.split_once(line).expect("a line that the response does not have, or not here");
            rest = after;
        }
        let is_fence = |line: &str| line.trim_start().starts_with("~~~");
        if !block.lines().any(is_fence) {
            let again = code::program_blocks(&format!("~~~python\n{block}~~~\n"));
            // Line ends are parsed once more, and there may have been several.
            let plain = |text: &String| text.replace('\r', "");
            assert_eq!(again.first().map(plain), Some(plain(block)), "a block is not found again");
        }
    }
    let verdict = verify(&Case { kind: Kind::Code, gold: "", choices: &[], response, ..Case::default() });
    assert_eq!(verdict.reason, UnverifiableCause::NoSandbox.name(), "code has a verdict without having run");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Builds texts from words that the parsers know, and from arbitrary text.
    fn texts(words: &'static [&'static str], longest: usize) -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            6 => prop::sample::select(words).prop_map(str::to_owned),
            2 => "[ -~]{1,6}",
            1 => "\\PC{1,4}",
            1 => Just(" ".to_owned()),
            1 => Just("\n".to_owned()),
        ];
        prop::collection::vec(piece, 0..longest).prop_map(|pieces| pieces.concat())
    }

    const RESPONSE: &[&str] = &[
        "\\boxed{",
        "\\boxed ",
        "\\fbox{",
        "{",
        "}",
        "$",
        "$$",
        "\\(",
        "\\)",
        "\\[",
        "\\]",
        "the answer is ",
        "Final answer: ",
        "**Answer:** ",
        "####",
        "\u{7b54}\u{6848}\u{662f}",
        "\u{3002}",
        "42",
        "1/2",
        "x^2+1",
        "(B)",
        "B.",
        "Paris",
        " and ",
        " or ",
        "</think>",
        "<think>",
        "<answer>",
        "</answer>",
        "```",
        "python\n",
        "print(7)",
        ",",
        "\\text{",
        "=",
        "\u{2212}",
        "\u{bd}",
    ];
    const LATEX: &[&str] = &[
        "\\frac",
        "\\sqrt",
        "[3]",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        "\\{",
        "\\}",
        "\\left",
        "\\right",
        "^",
        "_",
        "2",
        "3",
        "10",
        "0.5",
        "1,000",
        "x",
        "y",
        "\\pi",
        "e",
        "i",
        "+",
        "-",
        "*",
        "/",
        "\\cdot ",
        "=",
        "<",
        "\\le ",
        "\\in ",
        "\\cup ",
        "\\infty ",
        ",",
        ";",
        "\\%",
        "^\\circ",
        "\\text{ cm}",
        "\\pm ",
        "!",
        "\\binom",
        "\\log",
        "\\sin ",
        "|",
        "\\begin{pmatrix}",
        "\\end{pmatrix}",
        "&",
        "\\\\",
        "\\overline{3}",
        "and",
        "or",
        "\u{221e}",
        "\u{221a}",
        "\u{b2}",
        "\\sum",
        "\\int",
        "mod",
        "_2",
        "\\$",
        "3:4",
        "12:30",
        "\\emptyset",
        "\\mathbb{R}",
        "\\setminus ",
    ];
    const CODE: &[&str] = &[
        "```", "````", "~~~", "python", "py", "bash", "\n", "\n\n", "  ", "\t", "def f():", "return 1", "`",
        "{python}", "\r\n",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(600))]

        #[test]
        fn any_response_ends_in_one_verdict(response in texts(RESPONSE, 14)) {
            extractor(&response);
        }

        #[test]
        fn any_two_texts_compare(gold in texts(LATEX, 12), answer in texts(LATEX, 12)) {
            latex(&gold, &answer);
        }

        #[test]
        fn any_text_compares_with_its_own_parts(pieces in prop::collection::vec(prop::sample::select(LATEX), 1..14), cut in 0usize..14) {
            let answer = pieces[..cut.min(pieces.len())].concat();
            latex(&pieces.concat(), &answer);
        }

        #[test]
        fn any_response_gives_blocks_of_its_own_lines(response in texts(CODE, 24)) {
            code_blocks(&response);
        }
    }
}
