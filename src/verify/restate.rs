//! Detects answers that only restate the task: the expression that the question asks to transform.
//!
//! $x^2+5x+6$ does not answer "Factor $x^2+5x+6$", though it equals $(x+2)(x+3)$. The rule applies only if the question
//! asks for a transformation, the answer is a whole formula of the question (apart from typesetting), and the gold is
//! not. Numbers in lowest form, names, and tuples of these never restate.

use super::math;
use super::statement;

/// Words by which a question asks for a transformation of an expression.
const TRANSFORMING: &[&str] = &[
    "factor",
    "factorise",
    "factorize",
    "expand",
    "simplify",
    "evaluate",
    "compute",
    "calculate",
    "rationalize",
    "rationalise",
    "convert",
    "express",
    "write",
    "rewrite",
    "reduce",
    "multiply",
    "divide",
    "combine",
    "add",
    "subtract",
    "distribute",
    "differentiate",
    "integrate",
    "solve",
    "work",
    "factored",
    "simplified",
    "expanded",
    "reduced",
    "simplest",
];
/// Longest question that is examined, in bytes.
const QUESTION_BYTES_MAX: usize = 4_096;

/// Returns whether an answer repeats the question's own expression.
pub(super) fn restates(question: &str, gold: &str, answer: &str) -> bool {
    if question.is_empty() || question.len() > QUESTION_BYTES_MAX || math::is_irreducible(answer) {
        return false;
    }
    let lower = question.to_ascii_lowercase();
    let mut words = lower.split(|c: char| !c.is_ascii_alphabetic());
    if !words.any(|word| TRANSFORMING.contains(&word)) {
        return false;
    }
    let last = math::last_side_text(answer);
    let given = |text: &str| math::same_typesetting(text, answer) || math::same_typesetting(text, last);
    !given(gold)
        && statement::formulas(question).iter().any(|formula| given(formula) && !math::same_typesetting(formula, gold))
}
