//! From a token's name in a vocabulary to the bytes that the token represents.

use std::collections::HashMap;

/// The spelling of bytes in the names of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// GPT-2's spelling: one letter per byte.
    ByteLevel,
    /// SentencePiece's spelling: text, with U+2581 for a space, and `<0x0A>` for single bytes.
    SentencePiece,
}

/// The letter that SentencePiece uses for a space.
pub(super) const SPACE_LETTER: char = '\u{2581}';

/// Translates names to bytes.
pub(super) struct Speller {
    spelling: Spelling,
    alphabet: HashMap<char, u8>,
}

impl Speller {
    /// Builds the translator.
    #[must_use]
    pub(super) fn new(spelling: Spelling) -> Self {
        Self { spelling, alphabet: byte_alphabet() }
    }

    /// Returns the bytes of an ordinary token. A name that is not spelled in the alphabet represents its own bytes.
    #[must_use]
    pub(super) fn bytes(&self, name: &str) -> Box<[u8]> {
        match self.spelling {
            Spelling::ByteLevel => {
                let bytes: Option<Box<[u8]>> = name.chars().map(|letter| self.alphabet.get(&letter).copied()).collect();
                bytes.unwrap_or_else(|| name.as_bytes().into())
            }
            Spelling::SentencePiece => name.replace(SPACE_LETTER, " ").into_bytes().into_boxed_slice(),
        }
    }
}

/// Returns the byte of a name such as `<0x0A>`.
#[must_use]
pub(super) fn byte_of_name(name: &str) -> Option<u8> {
    let digits = name.strip_prefix("<0x")?.strip_suffix('>')?;
    let is_byte = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if is_byte { u8::from_str_radix(digits, 16).ok() } else { None }
}

/// Returns GPT-2's byte alphabet: printable Latin-1 bytes represent themselves, the others are U+0100 and up in order.
fn byte_alphabet() -> HashMap<char, u8> {
    let mut alphabet = HashMap::with_capacity(256);
    let mut next = 0x100_u32;
    for byte in 0..=255_u8 {
        let is_printable = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let letter = if is_printable {
            char::from(byte)
        } else {
            let letter = char::from_u32(next).unwrap_or('\u{fffd}');
            next += 1;
            letter
        };
        alphabet.insert(letter, byte);
    }
    alphabet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_alphabet_is_gpt2s() {
        let alphabet = byte_alphabet();
        assert_eq!(alphabet.len(), 256);
        assert_eq!(alphabet.get(&'A'), Some(&b'A'));
        assert_eq!(alphabet.get(&'\u{120}'), Some(&b' '));
        assert_eq!(alphabet.get(&'\u{10a}'), Some(&b'\n'));
    }

    #[test]
    fn names_of_bytes_are_two_hexadecimal_digits_in_their_frame() {
        assert_eq!(byte_of_name("<0x0A>"), Some(10));
        assert_eq!(byte_of_name("<0xff>"), Some(255));
        assert_eq!(byte_of_name("<0x>"), None);
        assert_eq!(byte_of_name("<0x+1>"), None);
        assert_eq!(byte_of_name("<0x123>"), None);
        assert_eq!(byte_of_name("0x41"), None);
    }
}
