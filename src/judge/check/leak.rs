//! Detects whether a justification reveals the reference answer.
//!
//! A numeric answer leaks if the text holds the value in digits or in words and the question does not, or if the text
//! presents the value as the answer. Small numbers in words, and digits that count steps or quantities, leak only when
//! the text presents them as the answer: "two relations" reveals nothing. A textual answer leaks if the justification
//! holds it as whole words and the question does not, or if the justification presents it as the answer; yes, no, true
//! and false leak only when presented.

use super::words::{BREAK, is_ideographic, words};

/// Words after which a text presents a value as the answer.
const CUES: &[&str] = &[
    "answer", "answers", "result", "results", "equals", "equal", "gives", "give", "yields", "yield", "solution",
    "total", "totals", "sum", "value", "choice", "option", "correct", "obtain", "obtains", "get",
];
/// The maximum number of words between a cue and the value.
const CUE_REACH: usize = 3;
/// Nouns whose number counts things in the argument.
const COUNTED: &[&str] = &[
    "step",
    "steps",
    "stage",
    "stages",
    "operation",
    "operations",
    "part",
    "parts",
    "condition",
    "conditions",
    "fact",
    "facts",
    "relation",
    "relations",
    "quantity",
    "quantities",
    "rate",
    "rates",
    "equation",
    "equations",
    "number",
    "numbers",
    "case",
    "cases",
    "digit",
    "digits",
    "unknown",
    "unknowns",
    "variable",
    "variables",
    "choices",
    "options",
];
/// Answers that are common words in any argument.
const ORDINARY: &[&str] = &["yes", "no", "true", "false", "none", "both", "all", "one", "a", "i"];
/// Number words up to this value are common words, too.
const SMALL_WORD_MAX: f64 = 10.0;

/// The maximum number of unit words after a number that is the answer.
const UNIT_WORDS_MAX: usize = 3;

/// The maximum number of letters that may follow a number without a blank.
const UNIT_LETTERS_MAX: usize = 3;

const UNITS: &[&str] = &[
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: &[&str] = &["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

/// A number in a text.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Found {
    value: f64,
    /// The range of the number among the words of the text.
    start: usize,
    end: usize,
    is_word: bool,
}

/// Returns whether `text`, with the words `said`, reveals `gold`, the answer of `question`; `choices` are the texts of
/// the options.
pub(super) fn gives_away(text: &str, said: &[String], question: &str, gold: &str, choices: &[String]) -> bool {
    if let Some(index) = chosen_letter(gold, choices) {
        let has_letter = names_letter(text, &gold.trim().to_uppercase());
        let choice = choices.get(index).map(String::as_str).unwrap_or_default();
        // The question holds the text of every option: an option's text leaks only when it is presented as the answer.
        return has_letter || (!choice.trim().is_empty() && presents(text, said, choice));
    }
    alternatives(gold).iter().any(|gold| match value_of(gold) {
        Some(value) => gives_number(said, text, question, value),
        None => gives_text(text, said, question, gold),
    })
}

/// Returns the alternative answers of a gold, each of which is correct: `Paris || City of Paris`, or a JSON list.
fn alternatives(gold: &str) -> Vec<String> {
    let listed = gold.trim_start().starts_with('[').then(|| serde_json::from_str::<Vec<String>>(gold).ok()).flatten();
    listed.unwrap_or_else(|| gold.split(" || ").map(|answer| answer.trim().to_owned()).collect())
}

fn chosen_letter(gold: &str, choices: &[String]) -> Option<usize> {
    let mut letters = gold.trim().chars();
    let letter = letters.next().filter(char::is_ascii_alphabetic)?;
    let index = (letter.to_ascii_uppercase() as usize).checked_sub('A' as usize)?;
    (letters.next().is_none() && index < choices.len()).then_some(index)
}

/// Returns whether a text names an option by its letter; a lower-case "a" is a word.
fn names_letter(text: &str, letter: &str) -> bool {
    let parts: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty()).collect();
    let is_cue = |word: &str| ["option", "choice", "answer", "letter"].contains(&word.to_lowercase().as_str());
    let named = |window: &[&str]| matches!(window, [cue, named] if is_cue(cue) && *named == letter);
    let is_named = |window: &[&str]| matches!(window, [cue, "is", named] if is_cue(cue) && *named == letter);
    let confirmed = |window: &[&str]| matches!(window, [named, "is", "correct" | "right"] if *named == letter);
    text.contains(&format!("({letter})"))
        || parts.windows(2).any(named)
        || parts.windows(3).any(|window| is_named(window) || confirmed(window))
}

/// Returns whether a text presents an option as the answer: by its value if the option is a number, else by its words.
fn presents(text: &str, said: &[String], choice: &str) -> bool {
    match value_of(choice) {
        Some(value) => numbers(text).iter().any(|found| is_same(found.value, value) && is_cued(said, found.start)),
        None => presented(said, &plain_words(choice)),
    }
}

fn gives_number(said: &[String], text: &str, question: &str, gold: f64) -> bool {
    let found: Vec<Found> = numbers(text).into_iter().filter(|found| is_same(found.value, gold)).collect();
    // The question is parsed only if the text holds numbers: it may be long, and most texts hold none.
    let is_asked = !found.is_empty() && numbers(question).iter().any(|found| is_same(found.value, gold));
    found.iter().any(|found| {
        let counts = said.get(found.end).is_some_and(|word| COUNTED.contains(&word.as_str()));
        let is_ordinary = is_asked || counts || (found.is_word && gold.abs() <= SMALL_WORD_MAX);
        !is_ordinary || (!counts && is_cued(said, found.start))
    })
}

fn gives_text(text: &str, said: &[String], question: &str, gold: &str) -> bool {
    let answer = plain_words(gold);
    let [first, ..] = answer.as_slice() else { return false };
    let is_ordinary = answer.len() == 1 && (ORDINARY.contains(&first.as_str()) || first.chars().count() < 2);
    let asked = words(question);
    if is_ordinary || contains(&asked, &answer) {
        return presented(said, &answer);
    }
    // Formulas differ in their blanks.
    let squeezed = |text: &str| text.to_lowercase().chars().filter(|c| !c.is_whitespace()).collect::<String>();
    let formula = squeezed(gold.trim_matches('$'));
    let is_formula = formula.chars().any(|c| !c.is_alphanumeric()) && formula.chars().count() >= 3;
    contains(said, &answer)
        || (is_formula && squeezed(text).contains(&formula) && !squeezed(question).contains(&formula))
}

/// Returns the words of a text without clause ends.
fn plain_words(text: &str) -> Vec<String> {
    words(text).into_iter().filter(|word| word != BREAK).collect()
}

fn contains(words: &[String], wanted: &[String]) -> bool {
    !wanted.is_empty() && words.windows(wanted.len()).any(|window| window == wanted)
}

/// Returns whether `wanted` follows a cue within its reach, or precedes "is correct" or "is the answer".
fn presented(words: &[String], wanted: &[String]) -> bool {
    let here = |start: usize| words.get(start..start + wanted.len()) == Some(wanted);
    (0..words.len()).filter(|&start| here(start)).any(|start| {
        let after = words.get(start + wanted.len()..).unwrap_or_default();
        let confirmed = after.first().is_some_and(|word| word == "is")
            && after.iter().take(4).any(|word| ["correct", "right", "answer"].contains(&word.as_str()));
        is_cued(words, start) || confirmed
    })
}

fn is_cued(words: &[String], start: usize) -> bool {
    let before = words.get(..start).unwrap_or_default().iter().rev();
    let clause: Vec<&String> = before.take_while(|word| *word != BREAK).take(CUE_REACH).collect();
    clause.iter().any(|word| CUES.contains(&word.as_str())) || words.get(..start).is_some_and(ends_in_cue_and_colon)
}

/// Returns whether the words end in a cue and a colon, as in "Answer: 12".
fn ends_in_cue_and_colon(before: &[String]) -> bool {
    matches!(before, [.., cue, stop] if stop == BREAK && CUES.contains(&cue.as_str()))
}

fn is_same(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
}

/// Returns the value of an answer that is one number: digits, a fraction, a percentage, `\boxed{}`, a number word, the
/// right side of `x = 5`, or a quantity with its unit.
fn value_of(gold: &str) -> Option<f64> {
    let gold = gold.trim().trim_matches('$').trim();
    let inner = gold.strip_prefix("\\boxed{").and_then(|rest| rest.strip_suffix('}')).unwrap_or(gold);
    let defined = inner.split_once('=').filter(|(name, _)| name.trim().chars().all(char::is_alphabetic));
    let value = defined.map_or(inner, |(_, value)| value.trim());
    bare_value(value).or_else(|| measured_value(value))
}

/// Returns the number of a quantity: `5 cm`, `5\text{ cm}`, `5^\circ`, `36 dollars`.
fn measured_value(text: &str) -> Option<f64> {
    let is_number = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | '/' | '-');
    let end = text.find(|c| !is_number(c))?;
    let (number, unit) = text.split_at(end);
    let unit = unit.replace("^\\circ", " ").replace("^{\\circ}", " ");
    let unit = ["\\text", "\\mathrm", "\\textrm", "\\mbox", "{", "}", "\\", "\u{b0}"]
        .iter()
        .fold(unit, |unit, wrapper| unit.replace(wrapper, " "));
    // `18x` is a term, not a quantity.
    let is_term = unit.chars().count() == 1 && unit.starts_with(char::is_alphabetic);
    let is_unit = !is_term && unit.chars().all(|c| c.is_alphabetic() || c.is_whitespace());
    (is_unit && unit.split_whitespace().count() <= UNIT_WORDS_MAX).then(|| bare_value(number)).flatten()
}

fn bare_value(inner: &str) -> Option<f64> {
    if let Some((above, below)) = latex_fraction(inner) {
        return Some(above / below);
    }
    let bare: String = inner.chars().filter(|c| !matches!(c, ',' | '%' | '$' | '\u{20ac}' | '\\' | ' ')).collect();
    let whole = |text: &str| text.parse::<f64>().ok().filter(|value| value.is_finite());
    if let Some((above, below)) = bare.split_once('/') {
        return Some(whole(above)? / whole(below)?).filter(|value| value.is_finite());
    }
    whole(&bare).or_else(|| word_value(&plain_words(inner)))
}

fn latex_fraction(text: &str) -> Option<(f64, f64)> {
    let rest = text.strip_prefix("\\frac{").or_else(|| text.strip_prefix("\\dfrac{"))?;
    let (above, below) = rest.split_once("}{")?;
    let pair = (above.parse().ok()?, below.strip_suffix('}')?.parse().ok()?);
    (pair.1 != 0.0).then_some(pair)
}

/// Returns the value of all of `words` as a number word up to 99.
fn word_value(words: &[String]) -> Option<f64> {
    let unit = |word: &String| UNITS.iter().position(|name| name == word);
    let ten = |word: &String| TENS.iter().position(|name| name == word).map(|index| 10 * (index + 2));
    let value = match words {
        [word] => unit(word).or_else(|| ten(word))?,
        [tens, units] => ten(tens)? + unit(units).filter(|units| (1..10).contains(units))?,
        _ => return None,
    };
    u8::try_from(value).ok().map(f64::from)
}

/// Returns the numbers of a text, in digits and in words.
fn numbers(text: &str) -> Vec<Found> {
    let mut found = digits(text);
    let said = words(text);
    let mut index = 0;
    while index < said.len() {
        let pair = said.get(index..index + 2).and_then(word_value).map(|value| (value, 2));
        let single = || said.get(index..=index).and_then(word_value).map(|value| (value, 1));
        match pair.or_else(single) {
            Some((value, length)) => {
                found.push(Found { value, start: index, end: index + length, is_word: true });
                index += length;
            }
            None => index += 1,
        }
    }
    found
}

/// Returns the numbers in digits: `1,200`, `3.5`, `-4`, and `a/b` both whole and as its parts.
fn digits(text: &str) -> Vec<Found> {
    let bytes = text.as_bytes();
    let mut found: Vec<Found> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let is_inside = at > 0 && bytes.get(at - 1).is_some_and(|&byte| byte.is_ascii_alphanumeric());
        if !bytes.get(at).is_some_and(u8::is_ascii_digit) || is_inside {
            at += 1;
            continue;
        }
        let begin = at;
        while let Some(&byte) = bytes.get(at) {
            let goes_on = matches!(byte, b'.' | b',') && bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
            if !byte.is_ascii_digit() && !goes_on {
                break;
            }
            at += 1;
        }
        // "18km" is a number, "3f9a" is not.
        let rest = bytes.get(at..).unwrap_or_default();
        let unit = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        if unit > UNIT_LETTERS_MAX || rest.iter().take(unit).any(u8::is_ascii_digit) {
            continue;
        }
        let token = text.get(begin..at).unwrap_or_default().replace(',', "");
        let Ok(size) = token.parse::<f64>() else { continue };
        let start = words(text.get(..begin).unwrap_or_default()).len();
        // A decimal point splits its digits into two words.
        let end = words(text.get(..at).unwrap_or_default()).len();
        let before = text.get(..begin).unwrap_or_default();
        let is_minus = before.ends_with(['-', '\u{2212}'])
            && !before.trim_end_matches(['-', '\u{2212}']).ends_with(char::is_alphanumeric);
        let value = if is_minus { -size } else { size };
        if let Some(above) = found.last().copied().filter(|_| before.ends_with('/')) {
            found.push(Found { value: above.value / size, start: above.start, end, is_word: false });
        }
        found.push(Found { value, start, end, is_word: false });
    }
    found
}

/// Returns the words and numbers of a text that carry meaning, for comparing texts; ideographs come in pairs.
pub(super) fn content_of(text: &str) -> Vec<String> {
    let all = plain_words(text);
    let is_long = |word: &&String| word.chars().count() >= 4 || word.chars().all(|c| c.is_ascii_digit());
    let single = all.iter().filter(is_long).cloned();
    let pairs = all.windows(2).filter(|pair| pair.concat().chars().all(is_ideographic)).map(<[String]>::concat);
    single.chain(pairs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaks(text: &str, question: &str, gold: &str) -> bool {
        gives_away(text, &words(text), question, gold, &[])
    }

    #[test]
    fn a_number_that_only_the_answer_holds_leaks_in_digits_words_and_fractions() {
        let question = "A pipe fills a tank in 6 hours, another drains it in 9. When is it full?";
        assert!(leaks("Combining both gives 18 hours.", question, "18"));
        assert!(leaks("It ends after eighteen hours.", question, "18"));
        assert!(leaks("The rate is 1/18 of it, so 18.0 hours.", question, "18"));
        assert!(leaks("It comes to 1,200 litres.", question, "$1200"));
        assert!(leaks("So half, that is 0.5 of it.", question, "\\frac{1}{2}"));
        assert!(leaks("So 1/2 of it.", question, "0.5"));
        assert!(leaks("That leaves -4.", "What is 3 - 7?", "-4"));
        assert!(leaks("It is twenty-four.", question, "24"));
        assert!(leaks("It drains 18km off.", question, "18"));
        assert!(!leaks("The rates of 6 and 9 hours are opposed (case a18, 18f9a).", question, "18"));
        assert!(!leaks("Two opposing rates need 2 steps.", question, "2"));
    }

    #[test]
    fn a_quantity_and_what_a_name_equals_leak_by_their_numbers() {
        let question = "A pipe fills a tank in 6 hours, another drains it in 9. When is it full?";
        for gold in ["18 hours", "18\\text{ hours}", "t = 18", "$t=18$", "18^\\circ", "18\u{b0}", "18 cubic metres"] {
            assert!(leaks("Combining both gives 18.", question, gold), "{gold}");
            assert!(leaks("It ends after eighteen of them.", question, gold), "{gold}");
            assert!(!leaks("Both rates have to be combined.", question, gold), "{gold}");
        }
        assert!(!leaks("Combining both gives 18.", question, "18x + 2"));
        assert!(!leaks("Combining both gives 18.", question, "18x"));
        assert!(!leaks("Combining both gives 18.", question, "x + y = 18z"));
    }

    #[test]
    fn each_of_the_answers_that_a_gold_allows_leaks() {
        let question = "What is the capital of France?";
        for gold in ["Paris || City of Light", "[\"Paris\", \"City of Light\"]"] {
            assert!(leaks("Everyone knows that it is Paris.", question, gold), "{gold}");
            assert!(leaks("Everyone knows the City of Light.", question, gold), "{gold}");
            assert!(!leaks("It is recalled at once.", question, gold), "{gold}");
        }
    }

    #[test]
    fn a_number_of_the_question_leaks_only_as_the_answer() {
        let question = "Which is larger, 12 or 9?";
        assert!(!leaks("Both 12 and 9 are compared at a glance.", question, "12"));
        assert!(leaks("The answer is 12, at a glance.", question, "12"));
        assert!(leaks("Answer: 12", question, "12"));
        assert!(!leaks("One well-known fact.", "How many moons has the earth?", "1"));
        assert!(leaks("The answer is one.", "How many moons has the earth?", "1"));
        assert!(!leaks("The result needs 2 steps.", "How many?", "2"));
    }

    #[test]
    fn a_text_leaks_as_whole_words_and_ordinary_words_only_as_the_answer() {
        let question = "What is the capital of France?";
        assert!(leaks("Everyone knows that it is PARIS.", question, "Paris"));
        assert!(!leaks("A comparison of cities is not needed.", question, "Paris"));
        assert!(!leaks("The capital of France is recalled at once.", question, "Paris"));
        assert!(leaks(
            "\u{8fd9}\u{91cc}\u{76f4}\u{63a5}\u{8bf4}\u{51fa}\u{5df4}\u{9ece}\u{3002}",
            "\u{6cd5}\u{56fd}\u{7684}\u{9996}\u{90fd}\u{662f}\u{54ea}\u{91cc}\u{ff1f}",
            "\u{5df4}\u{9ece}"
        ));
        assert!(!leaks("There is no need to derive it.", "Is 7 prime?", "no"));
        assert!(leaks("The answer is no.", "Is 9 prime?", "no"));
        assert!(leaks("It is x^2 + 1 here.", "Expand it.", "x^2+1"));
        assert!(!leaks("anything", question, ""));
    }

    #[test]
    fn a_choice_leaks_by_its_letter_or_when_its_text_is_presented() {
        let choices = ["chair".to_owned(), "pear".to_owned(), "12".to_owned()];
        let question = "Which is a fruit?\nA. chair\nB. pear\nC. 12";
        let leaks = |text: &str, gold: &str| gives_away(text, &words(text), question, gold, &choices);
        assert!(leaks("Option B is a fruit.", "B"));
        assert!(leaks("Clearly (B).", "B"));
        assert!(leaks("The answer is B, plainly.", "B"));
        assert!(leaks("The correct one is pear.", "B"));
        assert!(leaks("Only pear is the right one.", "B"));
        assert!(leaks("The answer is 12.", "C"));
        assert!(!leaks("A chair or a pear are told apart at a glance.", "B"));
        assert!(!leaks("A glance is enough, and the answer is a word.", "A"));
    }
}
