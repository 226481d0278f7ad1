//! Accept and reject tests of every rule of mathematical equality.

use super::{Outcome, equal};

fn is_equal(gold: &str, answer: &str) -> bool {
    matches!(equal(gold, answer), Outcome::Equal(_))
}

fn assert_equal(pairs: &[(&str, &str)]) {
    for (gold, answer) in pairs {
        assert!(is_equal(gold, answer), "{gold} against {answer}: {:?}", equal(gold, answer));
        assert!(is_equal(answer, gold), "{answer} against {gold}: {:?}", equal(answer, gold));
    }
}

fn assert_different(pairs: &[(&str, &str)]) {
    for (gold, answer) in pairs {
        let outcome = equal(gold, answer);
        assert!(matches!(outcome, Outcome::Different(_)), "{gold} against {answer}: {outcome:?}");
    }
}

#[test]
fn spellings_of_one_number_are_equal_and_other_numbers_differ() {
    assert_equal(&[
        (r"\frac{1}{2}", "0.5"),
        (r"\frac12", r"\dfrac{2}{4}"),
        (r"\tfrac 34", "3/4"),
        ("10{,}000", "10,000"),
        (r"1,\!000,\!000", "1000000"),
        ("1 000", "1000"),
        ("1000.99", "1,000.99"),
        (r"12\frac{3}{5}", r"\frac{63}{5}"),
        (r"-1\frac{1}{2}", "-1.5"),
        ("1 1/2", "1.5"),
        (r"0.\overline{3}", r"\frac13"),
        (r"\$18.90", "18.9"),
        (r"3\cdot 4 \times 2 \div 6", "4"),
        ("2^{-2}", "0.25"),
        ("5!", "120"),
        (r"\binom{5}{2}", "10"),
        (r"\lfloor 3.7 \rfloor", "3"),
        (r"|-3|", "3"),
        (r"\text{13}", "13"),
        ("x\u{b2}", "x^2"),
        ("\u{bd}", "0.5"),
    ]);
    assert_different(&[
        (r"\frac12", "0.51"),
        ("1,234", "1,235"),
        ("12", "1,23"),
        (r"12\frac{3}{5}", r"12\frac{2}{5}"),
        ("-3", "3"),
        ("5!", "25"),
        ("0.335", "0.336"),
        ("42", ""),
    ]);
}

#[test]
fn radicals_have_one_exact_form() {
    assert_equal(&[
        (r"\sqrt{8}", r"2\sqrt2"),
        (r"\frac{1}{\sqrt2}", r"\frac{\sqrt2}{2}"),
        (r"\sqrt[3]{16}", r"2\sqrt[3]{2}"),
        (r"\frac{10\sqrt{10.5}}{27}", r"\frac{5\sqrt{42}}{27}"),
        (r"(1+\sqrt2)^2", r"3+2\sqrt{2}"),
        (r"\frac{1}{2-\sqrt3}", r"2+\sqrt3"),
        (r"\sqrt{-4}", "2i"),
        (r"\sqrt[3]{-8}", "-2"),
        (r"2^{1/2}", r"\sqrt2"),
        (r"(2+i)(2-i)", "5"),
        (r"\sqrt{x}^2", "x"),
    ]);
    assert_different(&[
        (r"\sqrt{8}", r"2\sqrt3"),
        (r"1+\sqrt2", r"1-\sqrt2"),
        (r"\sqrt{2}+\sqrt{3}", r"\sqrt{5}"),
        ("2+i", "2-i"),
        (r"\sqrt{x^2}", "x"),
    ]);
}

#[test]
fn polynomials_and_rational_functions_compare_exactly() {
    assert_equal(&[
        ("x^2 + 2x + 1", "(x+1)^2"),
        ("7x(x-1)(x-2)", "7x^3-21x^2+14x"),
        (r"\frac{x^2-1}{x-1}", "x+1"),
        (r"\frac{\pi r}{h+r}", r"\pi r/(r+h)"),
        ("2^{n+1}", r"2\cdot 2^n"),
        ("4^n", "2^{2n}"),
        ("e^{2x}", "(e^x)^2"),
        (r"\frac{1}{3\sqrt[3]{x}^2}", r"\frac{1}{3x^{2/3}}"),
        (r"\log_2 8", "3"),
        (r"\ln 8", r"3\ln 2"),
        (r"\cos 60^\circ", r"\frac12"),
        (r"\tan\frac{\pi}{4}", "1"),
        (r"2 \sin b \cos a", r"2\cos(a)\sin(b)"),
        ("3/4\\pi", r"\frac{3\pi}{4}"),
    ]);
    assert_different(&[
        ("x^2+2x-1", "(x+1)^2"),
        ("x+2n+1", "x+1"),
        ("f(x)", "f(y)"),
        (r"7\pi", "7"),
        (r"\cos x", r"\sin x"),
        ("4t", "4s"),
        (r"\cos 13^\circ", r"\cos 14^\circ"),
    ]);
}

#[test]
fn percent_degree_and_unit_marks_may_be_missing() {
    assert_equal(&[
        ("0.335", r"33.5\%"),
        ("50", r"50\%"),
        ("0.335", "33.5 percent"),
        (r"74^\circ", "74"),
        (r"74^{\circ}", "74\u{b0}"),
        (r"17\text{ any text}", "17"),
        (r"\frac13 \textbf{meters}", "1/3"),
        (r"5 \text{ cm}^2", "5"),
        ("10 meters", "10"),
    ]);
    assert_different(&[("0.335", r"0.335\%"), (r"0.5\%", "0.5"), (r"74^\circ", "75"), (r"17\text{ ways}", "18")]);
}

#[test]
fn only_long_enough_decimals_are_rounded() {
    assert!(is_equal("3.1416", "3.14159"));
    assert!(is_equal(r"\frac83", "2.6667"));
    assert!(is_equal(r"\sqrt2", "1.41421"));
    assert_different(&[
        ("0.5", "0.45"),
        ("3.1416", "3.1415"),
        ("3.15", "3.14159"),
        (r"\frac83", "2.67"),
        (r"\frac83", "2.6666"),
        ("27.0", "27.04"),
        ("2", "2.0001"),
        (r"\sqrt2", "1.4143"),
    ]);
}

#[test]
fn tuples_keep_their_order_and_intervals_their_brackets() {
    assert_equal(&[
        ("(7,6)", r"\left( 7, 6 \right)"),
        ("(1,3)", "{1,3}"),
        ("(p,q)=(3,2)", "(3,2)"),
        ("(1,\\frac92)", "(1, 4.5)"),
        ("[0,9)", r"\left[0, 9\right)"),
        (r"(2,12) \cup (12,102)", r"x \in (12,102) \cup (2,12)"),
        (r"(-\infty,\infty)", r"\mathbb{R}"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", "(1,2)"),
    ]);
    assert_different(&[
        ("(7,6)", "(6,7)"),
        ("(0,9)", "[0,9)"),
        ("(1,2)", "(1,2,3)"),
        ("2", "(0,1)"),
        ("D = (0,1)", "D = (0,1.5)"),
    ]);
}

#[test]
fn lists_and_sets_match_without_order() {
    assert_equal(&[
        (r"\{3,2,1\}", r"\{1,2,3\}"),
        ("1,-2", "-2, 1"),
        (r"6 \text{ and } 8", "8, 6"),
        (r"\pm 2021", "-2021, 2021"),
        (r"1\pm\sqrt5", r"1-\sqrt5, 1+\sqrt5"),
        (r"x = -5,\ p = \frac{14}{3}", r"-5, \frac{14}{3}"),
        ("(3,3),(1,1)", "(1,1), (3,3)"),
        (r"15\frac{39}{40} \text{ or } \frac{639}{40}", r"\frac{639}{40}"),
        ("$21,16$ or $11$", "11,16,21"),
    ]);
    assert_different(&[
        (r"\{1,2,3\}", r"\{1,2\}"),
        ("1,2", "1,2,3"),
        ("12", "{1,2,3}"),
        (r"\pm 2", "2"),
        ("(3,3),(1,1)", "(3,3),(1,2)"),
    ]);
}

#[test]
fn matrices_compare_cell_by_cell_and_add_up() {
    assert_equal(&[
        (r"\begin{pmatrix}1 & 2 \\ 3 & 4\end{pmatrix}", r"\begin{bmatrix}1&2\\3&4\\\end{bmatrix}"),
        (r"\begin{pmatrix}6 & 8\end{pmatrix}", r"\begin{pmatrix}1 & 2\end{pmatrix}+\begin{pmatrix}5 & 6\end{pmatrix}"),
        (r"\begin{pmatrix}2 & 4\end{pmatrix}", r"2\begin{pmatrix}1 & 2\end{pmatrix}"),
    ]);
    assert_different(&[
        (r"\begin{pmatrix}1 & 2\end{pmatrix}", r"\begin{pmatrix}1 & 3\end{pmatrix}"),
        (r"\begin{pmatrix}1 & 2\end{pmatrix}", r"\begin{pmatrix}1 \\ 2\end{pmatrix}"),
    ]);
}

#[test]
fn equations_and_inequalities_are_equal_up_to_a_factor() {
    assert_equal(&[
        ("x = 3", "3"),
        ("y = x^2+2x+1", "(x+1)^2"),
        ("f(x)=1", "1"),
        ("x = 11", "x = 5+5+1 = 7 = 11"),
        ("11", r"x\approx11"),
        ("2x+4y-3=0", r"y=-\frac12x+\frac34"),
        ("x < 1", "-x > -1"),
        (r"x \leq 5", r"5 \geq x"),
        ("x != 3", r"x \neq 3"),
        (r"-2 \le x \le 7", "[-2,7]"),
        ("0<f(x)<1", "(0,1)"),
        (r"x > 5", r"(5,\infty)"),
        (r"V_{1}:V_{2}=11:21", "11:21"),
    ]);
    assert_different(&[
        ("x < 3", "x > 3"),
        ("x < 3", r"x \le 3"),
        ("x = 3", "4"),
        ("x = 3", "z = 3"),
        ("2x+4y-3=0", "2x+4y+3=0"),
        ("11:21", "21:11"),
    ]);
}

#[test]
fn words_compare_as_words_and_prose_is_unreadable() {
    assert_equal(&[(r"\text{Evelyn}", "evelyn"), (r"\text{(E)}", "E"), (r"\text{A,D}", "A, D")]);
    assert_different(&[("odd", r"\text{oddd}"), (r"\text{E}", "F"), ("42", "open('marker') or 42")]);
    assert_eq!(equal(r"\int_0^1 x\,dx", "7"), Outcome::UnreadableGold);
    assert_eq!(equal("7", r"\int_0^1 x\,dx"), Outcome::UnreadableAnswer);
    assert_eq!(equal("7", "I think that it is 7 or so"), Outcome::Different("unreadable_answer"));
    assert_eq!(equal(r"\int_0^1 x\,dx", r"\int_0^{1} x\,dx"), Outcome::UnreadableGold);
}

#[test]
fn the_rule_that_confirms_is_named_and_evaluation_is_no_proof() {
    assert_eq!(equal(r"\sqrt{3+2\sqrt2}", r"1+\sqrt2"), Outcome::Equal("sixty_digits_equal"));
    assert_eq!(equal("1", r"\sin^2 x + \cos^2 x"), Outcome::Equal("sixty_digits_equal"));
    assert_eq!(equal("(x+y)^{60}", r"(y+x)^{59}(x+y)"), Outcome::Equal("points_equal"));
    assert_eq!(equal("(x+y)^{60}", r"(y+x)^{59}(x+2y)"), Outcome::Different("points_differ"));
    assert_eq!(equal(r"\frac{n!}{(n-1)!}", "n"), Outcome::Equal("sixty_digits_equal"));
    assert_eq!(equal(r"\lfloor x\rfloor", "x"), Outcome::Different("value_differs"));
    assert_eq!(equal("(-1)^n", r"\cos(n\pi)"), Outcome::Equal("sixty_digits_equal"));
}

#[test]
fn what_neither_proof_nor_digits_decide_is_undecided() {
    // One side contains a term too small for sixty digits.
    assert_eq!(equal("1", r"1+e^{-1000}\cdot\sin 1"), Outcome::Undecided);
    assert_eq!(equal(r"\tanh(1000)", "1"), Outcome::Undecided);
    assert_eq!(equal(r"\sqrt{x^2+y^2}=5", "x^2+y^2=25"), Outcome::Undecided);
    assert_eq!(equal("1:20", "2:40"), Outcome::Undecided);
    assert_different(&[(r"\sqrt{3+2\sqrt2}", r"1+\sqrt3")]);
}

#[test]
fn hostile_expressions_end_at_once() {
    let over = |text: &str| assert_eq!(equal("7", text), Outcome::OverBudget, "{text:.40}");
    over("9^{9^{9^9}}");
    over(&"{".repeat(3_000));
    over(&"-".repeat(3_000));
    over(&"9".repeat(5_000));
    over("(999999999)!");
    assert_eq!(equal("7", "7+(a+b+c+d+m+f+g+h)^{40}-(a+b+c+d+m+f+g+h)^{40}"), Outcome::Equal("points_equal"));
    over("7+(a+b+c+d+m+f+g+h)^{4000}-(a+b+c+d+m+f+g+h)^{4000}");
    assert_different(&[("7", "(a+b+c+d+m+f+g+h)^{40}")]);
    over(&format!("1{}", "/1".repeat(1_000)));
    over(&format!("1{}", "!".repeat(1_000)));
    over(&format!("{}1{}", "(".repeat(500), ")".repeat(500)));
    over(&format!("{}x", r"\sqrt ".repeat(400)));
    assert!(!is_equal("7", "1/0"));
    assert!(!is_equal("7", &r"\frac".repeat(500)));
}

#[test]
fn limits_hold_at_their_maximum_and_break_one_above() {
    use super::limits::{DEPTH_MAX, DIGITS_MAX, FACTORIAL_MAX, TEXT_BYTES_MAX};
    let digits = "7".repeat(DIGITS_MAX);
    assert!(
        is_equal(&digits, &format!("{digits}.0").replacen('7', "07", 0)) || is_equal(&digits, &format!("({digits})"))
    );
    assert_eq!(equal("7", &"7".repeat(DIGITS_MAX + 1)), Outcome::OverBudget);
    let nested = |depth: usize| format!("{}x{}", "(".repeat(depth), ")".repeat(depth));
    assert!(is_equal("x", &nested(DEPTH_MAX / 2 - 1)));
    assert_eq!(equal("x", &nested(DEPTH_MAX + 1)), Outcome::OverBudget);
    assert!(is_equal(&format!("{FACTORIAL_MAX}!"), &format!("({FACTORIAL_MAX})!+0")));
    assert_eq!(equal("7", &format!("{}!", FACTORIAL_MAX + 1)), Outcome::OverBudget);
    assert!(is_equal("7", &format!("7{}", " ".repeat(TEXT_BYTES_MAX - 1))));
    assert_eq!(equal("8", &format!("7{}", " ".repeat(TEXT_BYTES_MAX))), Outcome::OverBudget);
}
