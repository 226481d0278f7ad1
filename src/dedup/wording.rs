//! Decides whether two texts with the same answer differ in wording alone, and whether an answer is so unspecific that
//! many questions share it.
//!
//! Texts differ in wording alone if each has few words that the other lacks (`WORDS_MIN`, one in `SHARE`), and if the
//! words that decide an answer are the same in both, in the same order: numbers, in digits or words; units; negations;
//! properties such as `even`; symbols, single letters and commands of formulas.

use super::words::{SENTENCE_END, normalize};
use crate::domain::Kind;

/// The fewest words of the shorter text: between two shorter texts, a single different word may be the whole question.
const WORDS_MIN: usize = 20;
/// The number of different words that is always allowed, and, for a longer text, the number of words per allowed one.
const DIFFERENT: usize = 2;
const SHARE: usize = 10;

const NUMBERS: &str = "\
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen \
    seventeen eighteen nineteen twenty thirty forty fourty fifty sixty seventy eighty ninety hundred \
    hundreds thousand thousands million millions billion billions trillion dozen dozens half halves third \
    thirds quarter quarters fourth fourths fifth fifths sixth sixths seventh sevenths eighth eighths ninth \
    ninths tenth tenths twice thrice double doubled doubles triple tripled triples quadruple quadrupled \
    percent percentage";
const UNITS: &str = "\
    second seconds sec secs minute minutes min mins hour hours hr hrs day days week weeks month months year \
    years decade decades century centuries inch inches foot feet ft yard yards yd mile miles mi meter meters \
    metre metres kilometer kilometers kilometre kilometres km centimeter centimeters centimetre centimetres \
    cm millimeter millimeters mm gram grams kilogram kilograms kilo kilos kg mg milligram milligrams pound \
    pounds lb lbs ounce ounces oz ton tons tonne tonnes liter liters litre litres milliliter milliliters ml \
    gallon gallons quart quarts pint pints cup cups teaspoon teaspoons tablespoon tablespoons dollar dollars \
    cent cents penny pennies nickel nickels dime dimes euro euros usd degree degrees radian radians celsius \
    fahrenheit kelvin acre acres hectare hectares mph kph kmh volt volts watt watts joule joules newton \
    newtons pascal pascals hertz hz mol mole moles byte bytes bit bits kb mb gb";
const NEGATIONS: &str = "\
    no not never none nor neither nothing nobody nowhere without cannot except unless false untrue incorrect \
    non dont doesnt didnt isnt arent wasnt werent hasnt havent hadnt cant couldnt wont wouldnt shouldnt \
    mustnt neednt aint";
/// Properties that change a problem.
const PROPERTIES: &str = "\
    even odd positive negative prime composite rational irrational greatest least largest smallest maximum \
    minimum maximize minimize max increasing decreasing acute obtuse interior exterior horizontal vertical";
/// Words of unspecific answers.
const EMPTY: &str = "\
    yes no true false both neither either none all any of the above these only i ii iii iv and or nor \
    correct incorrect right wrong always never sometimes possible impossible maybe cannot be determined not \
    unknown is are it statement statements valid invalid even odd choice option answer text textbf mathrm \
    boxed";

/// Returns whether an answer is specific enough that two near texts with this answer may ask the same question: the
/// answer is not a program, not a letter, and does not consist of words such as `yes`, `false`, `none of the above`.
#[must_use]
pub fn is_telling(kind: Kind, answer: &str) -> bool {
    let normalized = normalize(answer);
    let mut words = normalized.split([' ', SENTENCE_END]);
    let says = |word: &str| word.chars().any(char::is_alphanumeric) && !holds(EMPTY, word) && !is_letter(word);
    kind != Kind::Code && words.any(says)
}

/// Returns whether a list of words contains a word.
fn holds(list: &str, word: &str) -> bool {
    list.split(' ').any(|listed| listed == word)
}

/// Returns whether two normalised texts differ in wording alone.
pub(super) fn differ_in_wording_only(one: &str, other: &str) -> bool {
    let (one, other) = (words(one), words(other));
    let shorter = one.len().min(other.len());
    if shorter < WORDS_MIN || one.len().max(other.len()) - shorter > DIFFERENT.max(shorter / SHARE) {
        return false;
    }
    let allowed = DIFFERENT.max(shorter / SHARE);
    let (mut left, mut right) = (one.clone(), other.clone());
    left.sort_unstable();
    right.sort_unstable();
    beyond(&left, &right) <= allowed && beyond(&right, &left) <= allowed && deciding(&one).eq(deciding(&other))
}

fn words(text: &str) -> Vec<&str> {
    text.split([' ', SENTENCE_END]).filter(|word| !word.is_empty()).collect()
}

/// Returns how many of some sorted words are missing in others. Repeated words count as often as they occur.
fn beyond(words: &[&str], others: &[&str]) -> usize {
    let (mut count, mut place) = (0, 0);
    for word in words {
        while others.get(place).is_some_and(|other| other < word) {
            place += 1;
        }
        if others.get(place) == Some(word) { place += 1 } else { count += 1 }
    }
    count
}

/// Returns the words that decide an answer, in order.
fn deciding<'a>(words: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    let before = std::iter::once("").chain(words.iter().copied());
    words.iter().copied().zip(before).filter(|(word, before)| decides(word) || *before == "\\").map(|(word, _)| word)
}

fn decides(word: &str) -> bool {
    let has_digit = || word.bytes().any(|byte| byte.is_ascii_digit());
    let is_symbol = || word.chars().all(|character| !character.is_alphabetic());
    let is_listed = || [NUMBERS, UNITS, NEGATIONS, PROPERTIES].iter().any(|list| holds(list, word));
    has_digit() || is_symbol() || is_letter(word) && !matches!(word, "a" | "i") || is_listed()
}

fn is_letter(word: &str) -> bool {
    word.len() == 1 && word.starts_with(|character: char| character.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EGGS: &str = "Janet's ducks lay 16 eggs per day. She eats three for breakfast every morning and does not bake. She \
                        sells the remainder at the farmers' market daily for $2 per fresh duck egg. How much in dollars does \
                        she make every day at the farmers' market?";

    fn is_same(from: &str, to: &str) -> bool {
        assert!(EGGS.contains(from), "{from}");
        differ_in_wording_only(&normalize(EGGS), &normalize(&EGGS.replace(from, to)))
    }

    #[test]
    fn another_word_is_wording_and_another_number_unit_or_negation_is_not() {
        for (from, to) in
            [("ducks", "hens"), ("remainder", "rest"), ("Janet", "Mary"), ("daily ", ""), ("make", "earn")]
        {
            assert!(is_same(from, to), "{from} {to}");
        }
        for (from, to) in [
            ("16", "18"),
            ("three", "four"),
            ("three ", ""),
            ("$2", "$3"),
            ("dollars", "cents"),
            ("per day", "per week"),
            ("does not bake", "does bake"),
            ("does not bake", "does then bake"),
            ("does she", "doesn't she"),
            ("eggs per", "- per"),
        ] {
            assert!(!is_same(from, to), "{from} {to}");
        }
    }

    #[test]
    fn numbers_that_change_places_many_words_and_short_texts_are_more_than_wording() {
        let swapped = EGGS.replace("16", "#").replace("$2", "$16").replace('#', "2");
        assert!(!differ_in_wording_only(&normalize(EGGS), &normalize(&swapped)));
        let many = EGGS
            .replace("ducks lay", "chickens give")
            .replace("breakfast every morning", "lunch each noon")
            .replace("sells", "trades");
        assert!(!differ_in_wording_only(&normalize(EGGS), &normalize(&many)));
        let ask =
            |country: &str| normalize(&format!("What is the official language of the large country of {country}?"));
        assert!(!differ_in_wording_only(&ask("Canada"), &ask("Australia")));
        let formula = |name: &str| normalize(&EGGS.replace("How much", &format!("With $\\{name} x$, how much")));
        assert!(!differ_in_wording_only(&formula("sin"), &formula("cos")));
    }

    #[test]
    fn answers_that_many_questions_have_tell_nothing() {
        for answer in
            ["yes", "No.", "TRUE", "True, False", "none of the above", "B", "I and II only", "", "x", "\\text{even}"]
        {
            assert!(!is_telling(Kind::Text, answer), "{answer}");
        }
        for answer in ["5", "-1/2", "Paris", "not Paris", "true north"] {
            assert!(is_telling(Kind::Text, answer), "{answer}");
        }
        assert!(!is_telling(Kind::Code, "x = 1"));
    }
}
