//! Recognises misspelt words, for comparing two nearly equal texts.
//!
//! Two words are spellings of one word if both have at least four letters, neither contains a digit, one edit (an
//! insertion, deletion, substitution or swap of neighbours) leads from one to the other, or two edits for words of
//! eight letters or more, and their first letters are equal or swapped (`boys` is not `toys`, `increase` is not
//! `decrease`, `million` is not `billion`).

/// The most words that either text may have beyond the other: texts that differ in more words differ in meaning.
const DIFFERENT_MAX: usize = 8;

/// Returns the words of `text`, each misspelt one spelt as in `other`; `None` if no word changes.
#[must_use]
pub(super) fn respell<'a>(text: &[Vec<&'a str>], other: &[Vec<&'a str>]) -> Option<Vec<Vec<&'a str>>> {
    let own = beyond(text, other)?;
    beyond(other, text)?;
    // Any word of the other text may be meant, even one that this text spells correctly elsewhere.
    let mut known: Vec<&str> = other.iter().flatten().copied().collect();
    known.sort_unstable();
    let meant =
        |word: &&'a str| known.iter().find(|candidate| is_spelling(word, candidate)).map(|found| (*word, *found));
    let spellings: Vec<(&str, &str)> = own.iter().filter_map(meant).collect();
    if spellings.is_empty() {
        return None;
    }
    let spell = |word: &&'a str| spellings.iter().find(|(from, _)| from == word).map_or(*word, |(_, to)| *to);
    Some(text.iter().map(|sentence| sentence.iter().map(spell).collect()).collect())
}

/// Returns the different words of `text` that `other` lacks; `None` if they are too many.
fn beyond<'a>(text: &[Vec<&'a str>], other: &[Vec<&'a str>]) -> Option<Vec<&'a str>> {
    let mut known: Vec<&str> = other.iter().flatten().copied().collect();
    known.sort_unstable();
    let mut found: Vec<&str> = Vec::new();
    for word in text.iter().flatten() {
        if known.binary_search(word).is_err() && !found.contains(word) {
            if found.len() == DIFFERENT_MAX {
                return None;
            }
            found.push(word);
        }
    }
    Some(found)
}

/// Returns whether a word is long enough and contains no digit.
#[must_use]
pub(super) fn can_be_misspelt(word: &str) -> bool {
    word.chars().nth(3).is_some() && !word.bytes().any(|byte| byte.is_ascii_digit())
}

fn is_spelling(one: &str, other: &str) -> bool {
    if one.len().abs_diff(other.len()) > 8 || !can_be_misspelt(one) || !can_be_misspelt(other) {
        return false;
    }
    let (a, b): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let shorter = a.len().min(b.len());
    let (first, other_first) = (a.get(..2), b.get(..2));
    let is_swapped = matches!((first, other_first), (Some([x, y]), Some([u, v])) if x == v && y == u);
    let allowed = if shorter >= 8 { 2 } else { 1 };
    (a.first() == b.first() || is_swapped) && strsim::osa_distance(one, other) <= allowed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_hand_are_spellings_and_other_words_are_not() {
        for (one, other) in [
            ("apples", "aples"),
            ("apples", "appels"),
            ("their", "thier"),
            ("altogether", "altogehtr"),
            ("when", "hwen"),
        ] {
            assert!(is_spelling(one, other) && is_spelling(other, one), "{one} {other}");
        }
        for (one, other) in [
            ("boys", "toys"),
            ("cat", "cut"),
            ("million", "billion"),
            ("increase", "decrease"),
            ("minimum", "maximum"),
            ("x2345", "x2346"),
            ("four", "five"),
            ("interior", "exterior"),
            ("thirteen", "thirty"),
            ("red", "reds"),
        ] {
            assert!(!is_spelling(one, other), "{one} {other}");
        }
    }

    #[test]
    fn a_text_is_respelt_as_the_other_spells_it() {
        let words = |text: &'static str| vec![text.split(' ').collect::<Vec<_>>()];
        let (one, other) = (words("tom boughht three aples at 5"), words("tom bought three apples at 6"));
        assert_eq!(respell(&one, &other), Some(words("tom bought three apples at 5")));
        assert_eq!(respell(&words("tom bought"), &other), None);
        let (twice, right) = (words("some apples and more aples"), words("some apples and more apples"));
        assert_eq!(respell(&twice, &right), Some(right.clone()));
        assert_eq!(respell(&words("a1 b1 c1 d1 e1 f1 g1 h1 i1 boughht"), &other), None);
    }
}
