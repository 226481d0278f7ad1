//! Detects the requirements of a question on a list: an order, or the coordinates of a point.
//!
//! The detection uses phrases: a requirement in any other wording is not detected. The growth of a function
//! ("increasing on") does not order the answers.

/// Longest question that is searched, in bytes; the text after it is ignored.
const TEXT_BYTES_MAX: usize = 16_384;

/// The requirements of a question on an answer with several parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// The order of a list matters.
    pub(super) order: bool,
    /// The answer is a point, a vector or a tuple.
    pub(super) coordinates: bool,
    /// The question names a base, so that digits need no base.
    pub(super) base: bool,
}

const ORDERS: &[&str] = &[
    "ascending",
    "descending",
    "respectively",
    "increasing order",
    "decreasing order",
    "order of increasing",
    "order of decreasing",
    "alphabetical",
    "chronological",
    "numerical order",
    "in that order",
    "in this order",
    "in the order",
    "in the same order",
    "in order from",
    "in order of",
    "correct order",
    "proper order",
    "order from",
    "order them",
    "sort ",
    "rank the",
    "rank them",
    "\u{4ece}\u{5c0f}\u{5230}\u{5927}",
    "\u{4ece}\u{5927}\u{5230}\u{5c0f}",
    "\u{4f9d}\u{6b21}",
    "\u{5206}\u{522b}",
];

const COORDINATES: &[&str] = &[
    "ordered pair",
    "ordered triple",
    "ordered quadruple",
    "coordinate",
    "vector",
    "tuple",
    "triple",
    "as a pair",
    "\u{5750}\u{6807}",
    "\u{6709}\u{5e8f}",
    "\u{5411}\u{91cf}",
];

/// Detects the requirements of a question.
pub(super) fn read(question: &str) -> Asked {
    if question.is_empty() {
        return Asked::default();
    }
    let text = crate::characters::front(question, TEXT_BYTES_MAX).to_lowercase();
    let base = ["base", "binary", "octal", "hexadecimal", "ternary"].iter().any(|word| text.contains(word));
    Asked { order: asks_order(&text), coordinates: asks_coordinates(&text), base }
}

fn asks_order(text: &str) -> bool {
    let free = text.contains("any order") || text.contains("order does not matter") || text.contains("order doesn't");
    if free {
        return false;
    }
    if ORDERS.iter().any(|phrase| text.contains(phrase)) {
        return true;
    }
    let words: Vec<&str> =
        text.split(|c: char| !c.is_alphabetic() && c != '\'').filter(|word| !word.is_empty()).collect();
    let superlative =
        |word: &&str| (word.len() > 4 && word.ends_with("est")) || matches!(*word, "least" | "most" | "best" | "worst");
    words.windows(4).any(|part| {
        let [first, to, second, third] = part else { return false };
        // "least to greatest", "the smallest to the largest".
        *to == "to" && superlative(first) && (superlative(second) || (*second == "the" && superlative(third)))
    }) || words.windows(3).any(|part| {
        let [first, second, third] = part else { return false };
        (superlative(first) && *second == "to" && superlative(third))
            // "in order", but not "in order to", "in order that".
            || (*first == "in" && *second == "order" && !matches!(*third, "to" | "that" | "for"))
        // "order A, B and C", "arrange the numbers".
    }) || words.ends_with(&["in", "order"])
        || words.first().is_some_and(|first| matches!(*first, "order" | "arrange" | "rank"))
}

fn asks_coordinates(text: &str) -> bool {
    if COORDINATES.iter().any(|phrase| text.contains(phrase)) {
        return true;
    }
    let names_point = text
        .split(|c: char| !c.is_alphabetic())
        .filter(|word| !word.is_empty())
        .any(|word| matches!(word, "point" | "vertex" | "midpoint" | "centroid" | "orthocenter" | "circumcenter"));
    names_point || has_letter_tuple(text)
}

/// Returns whether the text has letters in a bracket, separated by commas: `(x, y)`, `\left(a, b, c\right)`.
fn has_letter_tuple(text: &str) -> bool {
    text.split('(').skip(1).any(|rest| {
        let Some((inside, _)) = rest.split_once(')') else { return false };
        let inside = inside.trim_end_matches("\\right").trim_end_matches("\\big");
        let parts: Vec<&str> = inside.split(',').map(|part| part.trim().trim_matches('$')).collect();
        let is_letter = |part: &&str| {
            let (letter, index) = part.split_once('_').unwrap_or((part, ""));
            letter.len() == 1
                && letter.bytes().all(|byte| byte.is_ascii_alphabetic())
                && index.trim_matches(['{', '}']).chars().all(char::is_alphanumeric)
        };
        parts.len() > 1 && parts.iter().all(is_letter)
    })
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn an_order_is_asked_by_phrase_only() {
        for question in [
            "List the numbers from least to greatest.",
            "Order the fractions from the smallest to the largest",
            "Find $a$ and $b$, respectively.",
            "Give the roots in increasing order.",
            "Write the digits in order.",
            "Order $A$, $B$ and $C$.",
            "Sort the list 3, 1, 2.",
            "Write your answers in ascending order, separated by commas",
            "Name the boys from youngest to oldest.",
        ] {
            assert!(read(question).order, "{question}");
        }
        for question in [
            "",
            "Where is $f$ increasing?",
            "Find the interval on which the function is decreasing.",
            "In order to find $x$, solve the equation.",
            "List all roots, in any order.",
            "What is the order of the group?",
            "Find the greatest and the least value.",
            "How far is it from the nearest town to the river?",
        ] {
            assert!(!read(question).order, "{question}");
        }
    }

    #[test]
    fn coordinates_are_asked_by_phrase_or_by_a_tuple_of_letters() {
        for question in [
            "Find the ordered pair.",
            "Find all pairs $(x, y)$.",
            "What are the coordinates of $A$?",
            "Find the point where the lines meet.",
            "Compute $\\left(a, b, c\\right)$.",
            "Find $(x_1, x_{2})$.",
        ] {
            assert!(read(question).coordinates, "{question}");
        }
        for question in ["Find all roots.", "How many points are there?", "Compute $f(x)$.", "Solve (1, 2) for a"] {
            assert!(!read(question).coordinates, "{question}");
        }
    }
}
