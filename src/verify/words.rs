//! Numbers written in words: English (`forty-two`, `three hundred and five`) and Chinese.
//!
//! Supports whole numbers below ten million million. A text with any other word is not a number.

/// Most words or characters of a number in words.
const PARTS_MAX: usize = 24;

const SMALL: &[&str] = &[
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

const SCALES: &[(&str, u64)] = &[("thousand", 1_000), ("million", 1_000_000), ("billion", 1_000_000_000)];

/// Returns the number that a text gives in words.
pub(super) fn number(text: &str) -> Option<u64> {
    if text.len() > 200 {
        return None;
    }
    english(text).or_else(|| chinese(text.trim()))
}

/// Returns the factor of a scale word after digits: `million`, or the Chinese word for ten thousand.
pub(super) fn scale(word: &str) -> Option<u64> {
    match word {
        "hundred" => return Some(100),
        "dozen" => return Some(12),
        "trillion" => return Some(1_000_000_000_000),
        // Ten thousand; a hundred million.
        "\u{4e07}" | "\u{842c}" => return Some(10_000),
        "\u{4ebf}" | "\u{5104}" => return Some(100_000_000),
        _ => {}
    }
    SCALES.iter().find(|(name, _)| *name == word).map(|(_, factor)| *factor)
}

/// Returns whether a text names the scale of a factor: "million" for 1,000,000.
pub(super) fn names_scale(text: &str, factor: u64) -> bool {
    let lower = text.to_lowercase();
    let named = |word: &str| {
        scale(word) == Some(factor) || word.strip_suffix('s').is_some_and(|singular| scale(singular) == Some(factor))
    };
    lower.split(|c: char| !c.is_alphanumeric()).any(named)
}

/// Returns a text without its final scale word, if the question names that scale: "30 million" for "how many million".
pub(super) fn without_asked_scale<'a>(question: &str, text: &'a str) -> Option<&'a str> {
    let bare = text.trim_end_matches(|c: char| !c.is_alphabetic());
    let start = bare.rfind(|c: char| !c.is_ascii_alphabetic()).map_or(0, |at| at + 1);
    let word = bare.get(start..)?.to_ascii_lowercase();
    let factor = scale(&word)?;
    let front = text.get(..start)?.trim_end().trim_end_matches("\\text{").trim_end();
    (names_scale(question, factor) && front.ends_with(|c: char| c.is_ascii_digit())).then_some(front)
}

fn english(text: &str) -> Option<u64> {
    let lower = text.trim().to_lowercase();
    let words: Vec<&str> = lower.split([' ', '-']).filter(|word| !word.is_empty()).collect();
    if words.is_empty() || words.len() > PARTS_MAX {
        return None;
    }
    let mut total: u64 = 0;
    let mut group: u64 = 0;
    let mut last_scale = u64::MAX;
    let mut ready = Ready::Any;
    for (at, word) in words.iter().enumerate() {
        if *word == "and" {
            // "and" must follow a hundred or a scale, and never ends a number.
            if at == 0 || at + 1 == words.len() || ready == Ready::Units {
                return None;
            }
        } else if let Some(value) = small(word) {
            let fits = match ready {
                Ready::Any => true,
                Ready::Units => (1..10).contains(&value),
                Ready::Nothing => false,
            };
            if !fits {
                return None;
            }
            group += value;
            ready = Ready::Nothing;
        } else if let Some(tens) = TENS.iter().position(|name| name == word) {
            if ready != Ready::Any {
                return None;
            }
            group += 10 * (u64::try_from(tens).ok()? + 2);
            ready = Ready::Units;
        } else if *word == "hundred" {
            if !(1..10).contains(&group) {
                return None;
            }
            group *= 100;
            ready = Ready::Any;
        } else {
            let factor = SCALES.iter().find(|(name, _)| name == word)?.1;
            if group == 0 || factor >= last_scale {
                return None;
            }
            total += group * factor;
            group = 0;
            last_scale = factor;
            ready = Ready::Any;
        }
    }
    Some(total + group)
}

/// The words that may follow within a group of three digits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ready {
    Any,
    Units,
    Nothing,
}

fn small(word: &str) -> Option<u64> {
    SMALL.iter().position(|name| *name == word).and_then(|value| u64::try_from(value).ok())
}

fn chinese(text: &str) -> Option<u64> {
    if text.is_empty() || text.chars().count() > PARTS_MAX {
        return None;
    }
    let mut total: u64 = 0;
    let mut section: u64 = 0;
    let mut digit: Option<u64> = None;
    let mut unit_max = u64::MAX;
    let mut section_max = u64::MAX;
    for character in text.chars() {
        if let Some(value) = chinese_digit(character) {
            // Two digits side by side are not a number in this notation, except after a leading zero.
            if digit.is_some_and(|before| before != 0) {
                return None;
            }
            digit = Some(value);
            continue;
        }
        let unit = match character {
            '\u{5341}' | '\u{62fe}' => 10,
            '\u{767e}' | '\u{4f70}' => 100,
            '\u{5343}' | '\u{4edf}' => 1_000,
            '\u{4e07}' | '\u{842c}' => 10_000,
            '\u{4ebf}' | '\u{5104}' => 100_000_000,
            _ => return None,
        };
        if unit < 10_000 {
            // `twelve` is written as "ten two".
            if unit >= unit_max || (digit.is_none() && unit != 10) {
                return None;
            }
            section += digit.take().filter(|value| *value != 0).unwrap_or(1) * unit;
            unit_max = unit;
        } else {
            section += digit.take().unwrap_or(0);
            if section == 0 || unit >= section_max {
                return None;
            }
            total += section * unit;
            section = 0;
            unit_max = u64::MAX;
            section_max = unit;
        }
    }
    Some(total + section + digit.unwrap_or(0))
}

fn chinese_digit(character: char) -> Option<u64> {
    Some(match character {
        '\u{96f6}' | '\u{3007}' => 0,
        '\u{4e00}' => 1,
        '\u{4e8c}' | '\u{4e24}' => 2,
        '\u{4e09}' => 3,
        '\u{56db}' => 4,
        '\u{4e94}' => 5,
        '\u{516d}' => 6,
        '\u{4e03}' => 7,
        '\u{516b}' => 8,
        '\u{4e5d}' => 9,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn written_numbers_are_read_and_other_words_are_not() {
        for (text, value) in [
            ("seven", 7),
            ("Forty-two", 42),
            ("three hundred and five", 305),
            ("one hundred", 100),
            ("two million three hundred thousand and one", 2_300_001),
            ("\u{4e09}", 3),
            ("\u{5341}\u{4e8c}", 12),
            ("\u{4e8c}\u{5341}", 20),
            ("\u{4e00}\u{767e}\u{96f6}\u{4e94}", 105),
            ("\u{4e24}\u{4e07}\u{4e09}\u{5343}", 23_000),
            ("\u{4e00}\u{4ebf}", 100_000_000),
        ] {
            assert_eq!(number(text), Some(value), "{text}");
        }
        for text in
            ["", "and", "five and", "twenty twelve", "one two", "hundred", "forty-ten", "apples", "x", "\u{767e}"]
        {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
