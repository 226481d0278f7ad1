//! Texts for people: errors with their causes, and long texts cut to what a line, a cell or a prompt holds.

use std::error::Error;

/// Joins an error with its causes: `a: b: c`. A cause that the text already ends in is not repeated.
#[must_use]
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in std::iter::successors(error.source(), |cause| (*cause).source()) {
        let cause = cause.to_string();
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// Returns the first and the last characters of a text, if at least `left_out_min` (and at least one) stand between
/// them; `None` if the text is too short to be cut. Looks at no more of it than that.
#[must_use]
pub fn ends(text: &str, head_chars: usize, tail_chars: usize, left_out_min: usize) -> Option<(&str, &str)> {
    let (head_end, _) = text.char_indices().nth(head_chars)?;
    let (head, rest) = text.split_at(head_end);
    let tail_start = match tail_chars.checked_sub(1) {
        None => rest.len(),
        Some(before_last) => rest.char_indices().nth_back(before_last)?.0,
    };
    let (left_out, tail) = rest.split_at(tail_start);
    left_out.chars().nth(left_out_min.saturating_sub(1)).map(|_| (head, tail))
}

/// Returns a text, or its first `chars_max` characters and three dots.
#[must_use]
pub fn shortened(text: &str, chars_max: usize) -> String {
    match ends(text, chars_max, 0, 1) {
        None => text.to_owned(),
        Some((head, _)) => format!("{head}..."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{words}")]
    struct Words {
        words: &'static str,
        source: Option<Box<Self>>,
    }

    fn words(words: &'static str, source: Option<Words>) -> Words {
        Words { words, source: source.map(Box::new) }
    }

    #[test]
    fn an_error_is_told_with_its_causes_and_none_of_them_twice() {
        let chain = words("cannot read a.csv", Some(words("line 3", Some(words("no comma", None)))));
        assert_eq!(with_causes(&chain), "cannot read a.csv: line 3: no comma");
        let repeating = words("cannot read a.csv: gone", Some(words("gone", None)));
        assert_eq!(with_causes(&repeating), "cannot read a.csv: gone");
        assert_eq!(with_causes(&words("alone", None)), "alone");
    }

    #[test]
    fn a_text_is_cut_between_its_ends_only_where_enough_is_left_out() {
        assert_eq!(ends("\u{e9}bcd\u{e9}", 2, 2, 1), Some(("\u{e9}b", "d\u{e9}")));
        assert_eq!(ends("abcd", 2, 2, 1), None);
        assert_eq!(ends("abcd", 2, 2, 0), None);
        assert_eq!(ends("abc", 2, 2, 1), None);
        assert_eq!(ends("abcde", 2, 2, 2), None);
        assert_eq!(ends("abcdef", 2, 2, 2), Some(("ab", "ef")));
        assert_eq!(ends("abc", 0, 0, 1), Some(("", "")));
        assert_eq!(ends("", 0, 0, 1), None);
        assert_eq!(shortened("\u{e9}\u{e9}\u{e9}", 3), "\u{e9}\u{e9}\u{e9}");
        assert_eq!(shortened("\u{e9}\u{e9}\u{e9}x", 3), "\u{e9}\u{e9}\u{e9}...");
    }
}
