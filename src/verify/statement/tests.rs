//! Tests of statements, by kind of sentence.

use super::{Place, Stated, read};

fn check(place: Place, rows: &[(&str, Stated)]) {
    for (sentence, stated) in rows {
        assert_eq!(read(sentence, place), *stated, "{sentence:?}");
    }
}

fn one(text: &str) -> Stated {
    Stated::One(text.to_owned())
}

fn several(texts: &[&str]) -> Stated {
    Stated::Several(texts.iter().map(|text| (*text).to_owned()).collect())
}

#[test]
fn an_announced_sentence_states_what_comes_first_and_explains_with_the_rest() {
    check(
        Place::Announced,
        &[
            ("17, not 43", one("17")),
            ("not 43, but 17", one("17")),
            ("$17$ for $k = 5$", one("17")),
            ("17 feet (about 5.2 meters)", one("17 feet")),
            ("17 pears for 43 guests", one("17")),
            ("17 because 8 + 9 = 17", one("17")),
            ("that the smallest value of $k$ is $17$", one("17")),
            ("Ann pays $17 over the next 43 weeks", one("17")),
            ("2\u{221a}7 (about 5.29)", one("2\u{221a}7")),
            ("3 to the fourth power", Stated::Denied),
            ("the cube root of 17", Stated::Denied),
            ("17 divided by 4", Stated::Denied),
            ("17 squared", Stated::Denied),
        ],
    );
}

#[test]
fn a_free_sentence_states_its_conclusion() {
    check(
        Place::Free,
        &[
            ("8 plus 9 is 17", one("17")),
            ("She had 26 and sold 9, so 17", one("17")),
            ("In 5 years Tom will be 17 years old", one("17 years")),
            ("After 3 days there are 17 frogs left", one("17")),
            ("so the edge is 2\u{221a}7 cm", one("2\u{221a}7 cm")),
            ("The remainder when $n^2$ is divided by $m$ is 17", one("17")),
            ("so we obtain \\frac{17}{4}", one("\\frac{17}{4}")),
            ("= -203 ln 17", one("-203 ln 17")),
            ("There are seventeen ways", one("seventeen")),
            ("There are 12 boys and 15 girls", several(&["12", "15"])),
            ("The zeros are $-4$ and $9$", several(&["-4", "9"])),
            ("There are two cases: $n = 4$ or $n = 9$", several(&["n = 4", "n = 9"])),
            ("\u{6240}\u{4ee5}\u{4e00}\u{5171}\u{662f}17\u{4e2a}", one("17")),
        ],
    );
}

#[test]
fn what_is_denied_bounded_or_supposed_is_not_stated() {
    let rows: Vec<(&str, Stated)> = [
        "It is not 17.",
        "It can't be 17.",
        "less than 17",
        "at most 17",
        "no more than 17",
        "between 8 and 17",
        "17 is too small",
        "17 is not the answer",
        "anything but 17",
        "We can rule out 17",
        "It differs from 17",
        "> 17",
        "17 or more",
        "\u{7b54}\u{6848}\u{4e0d}\u{662f}17",
    ]
    .into_iter()
    .map(|sentence| (sentence, Stated::Denied))
    .collect();
    check(Place::Free, &rows);
}

#[test]
fn no_number_is_cut_out_of_a_word_a_reference_or_an_enumeration() {
    check(
        Place::Free,
        &[
            ("The code is K9", Stated::Nothing),
            ("See equation (9)", Stated::Nothing),
            ("This is the 3rd try", Stated::Nothing),
            ("3. Conclude", Stated::Nothing),
            ("Step 2", Stated::Nothing),
            ("We find a_17", one("a_17")),
            ("The area is 4\\pi^9", one("4\\pi^9")),
            ("That makes 17k", one("17k")),
            ("That gives 9!", Stated::Open(vec!["9".to_owned(), "9!".to_owned()])),
            ("7 out of 12", Stated::Open(vec!["7".to_owned(), "7/12".to_owned()])),
        ],
    );
}

#[test]
fn hostile_sentences_end_quickly() {
    for sentence in [
        "(".repeat(5_000),
        "$".repeat(5_000),
        "\u{221a}".repeat(5_000),
        "1 ".repeat(5_000),
        "not 1, ".repeat(3_000),
        "\\frac".repeat(2_000),
    ] {
        let _ = read(&sentence, Place::Free);
        let _ = super::has_prose(&sentence);
    }
}
