//! Converts characters to their plain forms before anything is parsed.
//!
//! Full-width forms, digits of other scripts, mathematical letters, unusual spaces and dashes become ASCII; invisible
//! characters are removed. Characters with a meaning of their own stay: superscripts, vulgar fractions, Greek, Chinese.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;

/// The zero digits of other scripts; the nine other digits follow each zero.
const ZEROS: &[u32] = &[
    0x0660, 0x06f0, 0x07c0, 0x0966, 0x09e6, 0x0a66, 0x0ae6, 0x0b66, 0x0be6, 0x0c66, 0x0ce6, 0x0d66, 0x0e50, 0x0ed0,
    0x0f20, 0x1040, 0x17e0, 0x1810,
];

/// Returns the text in plain characters.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut result = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii() {
            result.push(character);
        } else {
            push(character, &mut result);
        }
    }
    Cow::Owned(result)
}

/// Returns the texts in plain characters.
pub(super) fn plain_each(texts: &[String]) -> Vec<String> {
    texts.iter().map(|text| plain(text).into_owned()).collect()
}

/// Returns the longest prefix of a text with at most this many bytes; cuts no character.
pub(super) fn front(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or("")
}

/// Returns the longest suffix of a text with at most this many bytes; cuts no character.
pub(super) fn back(text: &str, bytes_max: usize) -> &str {
    let mut start = text.len().saturating_sub(bytes_max);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text.get(start..).unwrap_or("")
}

fn push(character: char, result: &mut String) {
    match character {
        // Zero-width characters, byte order mark, invisible operators, variation selectors.
        '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{ad}' | '\u{fe00}'..='\u{fe0f}' => {}
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => result.push(' '),
        '\u{2212}' | '\u{2010}' | '\u{2011}' | '\u{fe63}' => result.push('-'),
        '\u{2018}' | '\u{2019}' | '\u{2032}' => result.push('\''),
        '\u{3010}' | '\u{3014}' => result.push('['),
        '\u{3011}' | '\u{3015}' => result.push(']'),
        '\u{66b}' => result.push('.'),
        '\u{66c}' => result.push(','),
        '\u{2103}' => result.push_str("\u{b0}C"),
        '\u{2109}' => result.push_str("\u{b0}F"),
        '\u{ff01}'..='\u{ff5e}' | '\u{ffe5}' | '\u{1d400}'..='\u{1d7ff}' => {
            result.extend(std::iter::once(character).nfkc());
        }
        _ => result.push(digit(character).unwrap_or(character)),
    }
}

fn digit(character: char) -> Option<char> {
    let code = u32::from(character);
    let zero = ZEROS.iter().find(|zero| (**zero..**zero + 10).contains(&code))?;
    char::from_digit(code - zero, 10)
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn other_digits_dashes_and_spaces_become_ascii_and_meaning_stays() {
        assert_eq!(plain("\u{ff11}\u{ff12}\u{ff0c}\u{ff08}x\u{ff09}"), "12,(x)");
        assert_eq!(plain("\u{663}\u{96b}\u{1d7d7}\u{1d465}"), "359x");
        assert_eq!(plain("a\u{a0}b\u{200b}c\u{2212}1"), "a bc-1");
        assert_eq!(plain("20\u{2103}"), "20\u{b0}C");
        for kept in ["x\u{b2}", "\u{bd}", "\u{3c0}", "\u{4e09}\u{3002}", "\u{211d}"] {
            assert_eq!(plain(kept), kept);
        }
    }
}
