//! Tests by kind of gold: lists, tuples, names, relations, units; and of the requirements of a question.

use super::{Outcome, equal, equal_for};

fn is_equal(question: &str, gold: &str, answer: &str) -> bool {
    matches!(equal_for(question, gold, answer), Outcome::Equal(_))
}

fn assert_all(question: &str, equal: &[(&str, &str)], different: &[(&str, &str)]) {
    for (gold, answer) in equal {
        assert!(is_equal(question, gold, answer), "{question}: {gold} against {answer}");
    }
    for (gold, answer) in different {
        let outcome = equal_for(question, gold, answer);
        assert!(matches!(outcome, Outcome::Different(_)), "{question}: {gold} against {answer}: {outcome:?}");
    }
}

#[test]
fn a_list_has_an_order_only_where_the_question_asks_for_one() {
    for question in [
        "List the numbers from least to greatest.",
        "Find the numbers of edges and of vertices, respectively.",
        "Give the roots in increasing order.",
        "Order $A$, $B$ and $C$ by size.",
    ] {
        let different = [("3, 8", "8, 3"), ("1, 4, 9", "9, 4, 1"), ("C, A, B", "A, B, C"), ("3, 8", "3, 8, 8")];
        assert_all(question, &[("3, 8", "3, 8"), ("1, 4, 9", r"1,\ 4,\ 9"), (r"\{3, 8\}", r"\{8, 3\}")], &different);
        // Names assign each value to its place.
        assert_all(question, &[("x=3, y=8", "y=8, x=3")], &[("x=3, y=8", "x=8, y=3")]);
    }
    for question in ["", "Find all roots.", "Where is $f$ increasing?", "In order to win, how many?", "Any order."] {
        assert_all(question, &[("3, 8", "8, 3"), ("C, A, B", "A, B, C")], &[("3, 8", "3, 9"), ("3, 8", "3")]);
    }
}

#[test]
fn a_bare_list_is_a_tuple_only_where_coordinates_are_named() {
    for question in ["Find the ordered pair $(x, y)$.", "What are the coordinates of $P$?", "Find the vector."] {
        assert_all(question, &[("(1,2)", "1, 2"), ("1, 2", "(1,2)")], &[("(1,2)", "2, 1"), ("(1,2)", "1, 2, 2")]);
    }
    for question in ["", "Find all roots.", "Solve for $x$."] {
        assert_all(question, &[("(1,2)", "x=1, y=2")], &[("(1,2)", "1, 2"), ("1, 2", "(1,2)"), ("(1,2)", r"\{1,2\}")]);
    }
}

#[test]
fn an_answer_that_contradicts_itself_is_different() {
    assert_eq!(equal("5", r"\frac{50}{7} \approx 5"), Outcome::Different("contradicts_itself"));
    assert_eq!(equal(r"2\sqrt5", r"2\sqrt5 \approx 9.47"), Outcome::Different("contradicts_itself"));
    assert_eq!(equal("15", r"15 \text{ m} \approx 49 \text{ kg}"), Outcome::Different("contradicts_itself"));
    assert!(is_equal("", "15", r"15 \text{ meters (about } 49 \text{ feet)}"));
    // A value in a second unit is not a second answer.
    assert!(!is_equal("", "49", r"15 \text{ meters (about } 49 \text{ feet)}"));
    assert!(is_equal("", "12500", r"12483 \approx 12500"));
    assert!(is_equal("", r"\frac53", r"\frac53 \approx 1.66"));
}

#[test]
fn elements_are_matched_one_to_one_however_they_overlap() {
    // There is only one assignment in which each decimal of the answer rounds to its own gold.
    assert!(is_equal("", r"\frac13, 0.3333", r"0.3333, \frac13"));
    assert!(is_equal("", "1, 2, 2, 3", "3, 2, 1, 2"));
    assert_all("", &[], &[("1, 2, 2, 3", "1, 2, 3, 3"), ("1, 2, 2, 3", "1, 1, 2, 3"), ("1, 2, 2, 3", "1, 2, 3")]);
    let many: Vec<String> = (0..64).map(|number| number.to_string()).collect();
    let turned: Vec<String> = many.iter().rev().cloned().collect();
    assert!(is_equal("", &many.join(", "), &turned.join(", ")));
    assert_eq!(equal(&many.join(", "), &format!("{}, 64", many.join(", "))), Outcome::OverBudget);
}

#[test]
fn units_agree_from_either_side_and_so_do_their_conflicts() {
    let lawful = [
        (r"5 \text{ m/s}", r"18 \text{ km/h}"),
        (r"864 \text{ in}^2", r"6 \text{ ft}^2"),
        (r"20^\circ\text{C}", r"68^\circ\text{F}"),
        (r"0^\circ\text{C}", r"273.15 \text{ K}"),
        (r"180^\circ", r"\pi \text{ rad}"),
        (r"9.8\ \mathrm{m\,s^{-2}}", "9.8 meters per second squared"),
        (r"4.2 \text{ J/(g K)}", r"4200 \text{ J kg}^{-1}\text{ K}^{-1}"),
        (r"1 \text{ kWh}", r"3.6 \times 10^6 \text{ J}"),
        (r"\$18.90", r"1890 \text{ cents}"),
        (r"10\,\mathrm{k}\Omega", r"10000 \text{ ohms}"),
        (r"5 \text{ km}", "5"),
        (r"17 \text{ ways}", "17"),
    ];
    for (left, right) in lawful {
        assert_all("", &[(left, right), (right, left)], &[]);
    }
    let conflicts = [
        (r"5 \text{ m/s}", r"5 \text{ m/s}^2"),
        (r"864 \text{ in}^2", r"864 \text{ in}^3"),
        (r"20^\circ\text{C}", r"20^\circ\text{F}"),
        (r"20 \text{ N}", r"20 \text{ J}"),
        (r"5 \text{ hours}", r"5 \text{ days}"),
        (r"18.8^\circ", r"18.8 \text{ radians}"),
        (r"50\%", r"50 \text{ kg}"),
        (r"\$48", r"48 \text{ cents}"),
        (r"x = 5 \text{ cm}", r"x = 5 \text{ m}"),
        (r"x > 5 \text{ cm}", r"x > 5 \text{ m}"),
        (r"(1 \text{ cm}, 2 \text{ cm})", r"(1 \text{ cm}, 2 \text{ m})"),
    ];
    for (left, right) in conflicts {
        assert_all("", &[], &[(left, right), (right, left)]);
    }
}

#[test]
fn letters_behind_numbers_are_variables_where_the_other_side_has_them() {
    assert_all("", &[("5m", "5 m"), ("5 m", "5m"), (r"2\pi h", r"2 \pi h"), ("3 m g h", "3mgh")], &[("5m", "5n")]);
    assert_all("", &[(r"4\Omega", r"4 \Omega"), ("2x + 3 m", "3m+2x")], &[("2 m n", "2 m")]);
}

#[test]
fn hostile_lists_units_and_layout_end_at_once() {
    let deep = format!("{}1{}", r"\frac{\text{m}}{".repeat(40), "}".repeat(40));
    for text in [
        "m/".repeat(1_000),
        format!("5 {}", r"\text{m} ".repeat(300)),
        "x=1 \\quad ".repeat(300),
        "x=1 \\\\ ".repeat(300),
        "]".repeat(600),
        "[0,".repeat(300),
        "5;".repeat(900),
        "f(".repeat(200),
        "\u{2461}".repeat(600),
        "1^\\circ 2' ".repeat(200),
        "x \\approx ".repeat(300),
        format!("5 {deep}"),
        "1,".repeat(1_000),
    ] {
        for (gold, answer) in [("7", text.as_str()), (text.as_str(), "7")] {
            assert!(!is_equal("", gold, answer), "{text:.40}");
        }
        // Any text equals itself.
        assert!(is_equal("", &text, &text), "{text:.40}");
    }
}
