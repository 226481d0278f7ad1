//! The words of a text, normalised so that comparisons ignore typing.
//!
//! # Normalisation
//! Compatibility composition (NFKC) and lower case. Then the text is split into words and sentences:
//! - a run of letters, digits and combining marks is a word; an apostrophe inside a word is dropped (`Janet's` becomes
//!   `janets`), and so is a comma between digits (`1,000`); a point between digits stays (`3.5`);
//! - a character of a script without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese) is a word of its own, so
//!   that word n-grams are character n-grams in these scripts;
//! - `+ * / = < > ^ % \ | ~ & # @ _`, a hyphen that does not join letters, and symbols beyond ASCII are words;
//! - all other punctuation, brackets and `$` only separate words;
//! - `?`, `!`, `\u{3002}`, and a full stop before whitespace or at the end, end a sentence. Line ends do not, because
//!   text is wrapped anywhere.
//!
//! The result is one string: a space joins words, and a line feed joins sentences.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Separates sentences in normalised text.
pub const SENTENCE_END: char = '\n';

/// Appends the normalised text of `text` to `words`. Sentences of `text` do not continue earlier ones.
pub fn normalize_into(text: &str, words: &mut String) {
    if text.is_ascii() {
        Writer::new(words).write(text.chars());
    } else {
        let composed: String = text.nfkc().collect();
        Writer::new(words).write(composed.chars());
    }
}

/// Returns the normalised text.
#[must_use]
pub fn normalize(text: &str) -> String {
    let mut words = String::with_capacity(text.len());
    normalize_into(text, &mut words);
    words
}

struct Writer<'a> {
    words: &'a mut String,
    /// Whether the writer is inside a word.
    is_in_word: bool,
    separator: Option<char>,
}

impl<'a> Writer<'a> {
    fn new(words: &'a mut String) -> Self {
        let separator = (!words.is_empty()).then_some(SENTENCE_END);
        Self { words, is_in_word: false, separator }
    }

    fn write(&mut self, characters: std::str::Chars<'_>) {
        let mut rest = characters;
        let mut before = ' ';
        while let Some(character) = rest.next() {
            self.take(character, before, &rest);
            before = character;
        }
    }

    fn take(&mut self, character: char, before: char, rest: &std::str::Chars<'_>) {
        let mut ahead = rest.clone();
        match character {
            'a'..='z' | '0'..='9' => self.letter(character),
            'A'..='Z' => self.letter(character.to_ascii_lowercase()),
            ' ' | '\t' | '\n' | '\r' => self.end_word(),
            '?' | '!' | '\u{3002}' => self.end_sentence(),
            '.' => match ahead.next() {
                Some(next) if next.is_ascii_digit() && before.is_ascii_digit() => self.letter('.'),
                Some(next) if !next.is_whitespace() => self.end_word(),
                _ => self.end_sentence(),
            },
            ',' => {
                let is_group =
                    before.is_ascii_digit() && ahead.clone().take(3).filter(char::is_ascii_digit).count() == 3;
                if !(is_group && self.is_in_word) {
                    self.end_word();
                }
            }
            '\'' | '\u{2019}' => {
                if !(self.is_in_word && ahead.next().is_some_and(char::is_alphabetic)) {
                    self.end_word();
                }
            }
            '-' | '\u{2010}' | '\u{2011}' | '\u{2212}' => {
                let joins = before.is_alphabetic() && ahead.next().is_some_and(char::is_alphabetic);
                self.end_word();
                if !joins {
                    self.symbol('-');
                }
            }
            '+' | '*' | '/' | '=' | '<' | '>' | '^' | '%' | '\\' | '|' | '~' | '&' | '#' | '@' | '_' => {
                self.symbol(character);
            }
            _ if character.is_ascii() => self.end_word(),
            _ => self.beyond_ascii(character),
        }
    }

    fn beyond_ascii(&mut self, character: char) {
        if is_unspaced(character) {
            self.symbol(character);
        } else if character.is_alphanumeric() || is_combining_mark(character) {
            for lower in character.to_lowercase() {
                self.letter(lower);
            }
        } else if character.is_whitespace() || character.is_control() || is_punctuation(character) {
            self.end_word();
        } else {
            self.symbol(character);
        }
    }

    fn letter(&mut self, character: char) {
        if !self.is_in_word {
            self.words.extend(self.separator.take());
            self.is_in_word = true;
        }
        self.words.push(character);
    }

    fn end_word(&mut self) {
        if self.is_in_word {
            self.is_in_word = false;
            self.separator = Some(' ');
        }
    }

    fn symbol(&mut self, character: char) {
        self.end_word();
        self.letter(character);
        self.end_word();
    }

    fn end_sentence(&mut self) {
        self.end_word();
        if self.separator.is_some() {
            self.separator = Some(SENTENCE_END);
        }
    }
}

/// Returns whether a character belongs to a script without spaces.
fn is_unspaced(character: char) -> bool {
    matches!(character,
        '\u{0e00}'..='\u{0eff}' // Thai, Lao
        | '\u{1000}'..='\u{109f}' // Burmese
        | '\u{1780}'..='\u{17ff}' // Khmer
        | '\u{3005}'..='\u{3007}' | '\u{3040}'..='\u{30fa}' | '\u{30fc}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}'
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{3ffff}')
}

/// Returns whether a character beyond ASCII is punctuation, which only separates words.
fn is_punctuation(character: char) -> bool {
    matches!(character,
        '\u{a1}' | '\u{a7}' | '\u{ab}' | '\u{ad}' | '\u{b4}' | '\u{b6}' | '\u{b7}' | '\u{bb}' | '\u{bf}'
        | '\u{200b}'..='\u{200f}' | '\u{2012}'..='\u{2031}' | '\u{2039}'..='\u{203b}' | '\u{2060}' | '\u{feff}'
        | '\u{3001}' | '\u{3008}'..='\u{3011}' | '\u{3014}'..='\u{301f}' | '\u{30fb}' | '\u{ff5f}'..='\u{ff65}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_whitespace_wrapping_and_quotes_do_not_matter() {
        assert_eq!(normalize("Janet\u{2019}s DUCKS  lay\n16 eggs."), normalize("janet's ducks lay 16 \"eggs\"."));
        assert_eq!(normalize("Janet's ducks lay 16 eggs. How many?"), "janets ducks lay 16 eggs\nhow many");
    }

    #[test]
    fn numbers_stay_whole_and_operators_are_words() {
        assert_eq!(normalize("$1,000.50, i.e., 2.5% of x^2-y"), "1000.50 i e 2.5 % of x ^ 2 - y");
        assert_eq!(normalize("one-third of -3, 5 - 3"), "one third of - 3 5 - 3");
        assert_eq!(normalize("1,2,3"), "1 2 3");
        assert_ne!(normalize("x < 3"), normalize("x > 3"));
    }

    #[test]
    fn scripts_without_spaces_give_a_word_per_character_and_width_does_not_matter() {
        assert_eq!(
            normalize("\u{5c0f}\u{660e}\u{6709}\u{ff13}\u{4e2a}\u{ff0c}\u{82f9}\u{679c}\u{3002}\u{5171}\u{ff1f}"),
            "\u{5c0f} \u{660e} \u{6709} 3 \u{4e2a} \u{82f9} \u{679c}\n\u{5171}"
        );
        assert_eq!(normalize("\u{308a}\u{3093}\u{3054}"), "\u{308a} \u{3093} \u{3054}");
        assert_eq!(
            normalize("\u{0421}\u{043a}\u{043e}\u{043b}\u{044c}\u{043a}\u{043e} \u{c0ac}\u{acfc}"),
            "\u{0441}\u{043a}\u{043e}\u{043b}\u{044c}\u{043a}\u{043e} \u{c0ac}\u{acfc}"
        );
    }

    #[test]
    fn texts_without_words_are_empty() {
        assert_eq!(normalize(""), "");
        assert_eq!(normalize(" ... ?! ()"), "");
    }

    proptest::proptest! {
        #[test]
        fn normalising_again_changes_no_word(text in "[a-zA-Z0-9 .,!?()+*='$%\\-\u{4e00}-\u{4e10}]{0,60}") {
            let once = normalize(&text);
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            proptest::prop_assert_eq!(words(&normalize(&once)), words(&once));
        }
    }
}
