//! Compares pattern matches with the engine that models' patterns are written for, on random texts.

use onig::Regex as Onig;
use proptest::prelude::*;
use tokenizers::tokenizer::pattern::Pattern as _;

use super::*;

/// Patterns of models outside [`KNOWN`]: DeepSeek's first ones, DeepSeek V3's, GPT-4o's, Falcon 3's digits.
const OTHERS: &[&str] = &[
    r"[\r\n]",
    r"\s?[A-Za-z\u{b5}\u{c0}-\u{d6}]+",
    r"\s?[!-/:-~\u{ff01}-\u{ff0f}\u{2018}-\u{201f}\u{3000}-\u{3002}]+",
    r"\s+$",
    r"[\u{4e00}-\u{9fa5}\u{800}-\u{4e00}\u{ac00}-\u{d7ff}]+",
    r"\p{N}{1,3}",
    r"[0-9][0-9][0-9]",
    r#"[!"\#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#,
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[\p{Han}]+|[^\s\p{Han}]+|\s+?",
];

/// Spells a pattern as a JSON file does: with characters instead of escapes.
fn spelled(pattern: &str) -> String {
    let mut out = String::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once("\\u{") {
        let (digits, after) = after.split_once('}').unwrap();
        out += before;
        out.push(char::from_u32(u32::from_str_radix(digits, 16).unwrap()).unwrap());
        rest = after;
    }
    out + rest
}

/// One pattern, compiled by both engines.
struct Both {
    pattern: String,
    ours: Pattern,
    theirs: Onig,
}

impl Both {
    fn new(pattern: &str) -> Self {
        let ours = Pattern { window: usize::MAX, ..Pattern::new(pattern).unwrap() };
        Self { pattern: pattern.to_owned(), ours, theirs: Onig::new(pattern).unwrap() }
    }

    fn agree_on(&self, text: &str) -> bool {
        let matches: Vec<Offsets> = (&self.ours)
            .find_matches(text)
            .unwrap()
            .into_iter()
            .filter_map(|(piece, is_match)| is_match.then_some(piece))
            .collect();
        matches.into_iter().eq(self.theirs.find_iter(text))
    }
}

thread_local! {
    static PATTERNS: Vec<Both> =
        KNOWN.iter().map(|pattern| Both::new(pattern)).chain(OTHERS.iter().map(|pattern| Both::new(&spelled(pattern)))).collect();
}

#[test]
fn every_character_is_in_the_same_classes_for_both_engines() {
    let letters: Vec<char> = ('\0'..=char::MAX).collect();
    let unassigned = Onig::new(r"\p{Cn}").unwrap();
    for class in [
        r"\s", r"\S", r"\d", r"\p{L}", r"\p{N}", r"\p{M}", r"\p{P}", r"\p{Lu}", r"\p{Ll}", r"\p{Lt}", r"\p{Lm}",
        r"\p{Lo}",
    ] {
        let both = Both::new(class);
        let differing = letters.chunks(512).filter(|chunk| !both.agree_on(&chunk.iter().collect::<String>()));
        let differing = differing.flatten().filter(|letter| !both.agree_on(&letter.to_string()));
        // Characters that only the newer table contains are left out: no model was trained on them.
        let differing: Vec<&char> =
            differing.filter(|letter| unassigned.find_iter(letter.encode_utf8(&mut [0; 4])).next().is_none()).collect();
        assert!(differing.is_empty(), "{class}: {differing:?}");
    }
}

proptest! {
    #[test]
    fn pieces_are_those_of_the_engine_that_patterns_are_written_for(
        texts in proptest::collection::vec(
            prop_oneof![
                Just(" ".to_owned()), Just("\n".to_owned()), Just("\r\n".to_owned()), Just("\t  ".to_owned()),
                Just("'S".to_owned()), Just("'ll".to_owned()), Just("don't".to_owned()), Just("\u{a0}".to_owned()),
                "[a-zA-Z]{1,4}", "[0-9]{1,5}", "[!-/:-@]{1,3}", "\\PC{1,3}", "[\u{4e00}-\u{4e20}]{1,3}", "[\u{300}-\u{30f}]",
            ],
            0..24,
        ),
    ) {
        let text = texts.concat();
        PATTERNS.with(|patterns| {
            for both in patterns {
                assert!(both.agree_on(&text), "{} on {text:?}", both.pattern);
            }
        });
    }

    #[test]
    fn no_pattern_whatever_panics_and_all_of_a_text_is_covered(pattern in "[\\\\()\\[\\]{}?*+|^$:!a-c\\-0-9psSdwzx,&~ ]{0,16}", text in "[a-c \n0-9]{0,32}") {
        if let Ok(compiled) = Pattern::new(&pattern) {
            let pieces = (&compiled).find_matches(&text).unwrap();
            let mut at = 0;
            for ((start, end), _) in &pieces {
                prop_assert_eq!(*start, at);
                at = *end;
            }
            prop_assert_eq!(at, text.len());
        }
    }
}

#[test]
fn patterns_that_would_backtrack_for_hours_end_at_once() {
    for pattern in [r"(?:a+)+b", r"(?:a|a)*b|a", r"(?:(?:a*)*)*b", r"[a-z]*[a-z]*[a-z]*[a-z]*!|a"] {
        let compiled = Pattern::new(pattern).unwrap();
        let text = "a".repeat(12_000);
        let pieces = (&compiled).find_matches(&text).unwrap();
        assert_eq!(pieces.last().map(|((_, end), _)| *end), Some(text.len()), "{pattern}");
    }
}

#[test]
fn a_window_without_a_match_is_passed_over() {
    let compiled = Pattern::new("b+c").unwrap();
    let text = format!("{}bbc{}bc", "a".repeat(10_000), "\u{e9}".repeat(10_000));
    let matches: Vec<_> =
        (&compiled).find_matches(&text).unwrap().into_iter().filter(|(_, is_match)| *is_match).collect();
    assert_eq!(matches, [((10_000, 10_003), true), ((30_003, 30_005), true)]);
}

#[test]
fn patterns_that_mean_something_else_here_are_refused_by_what_they_have() {
    for (pattern, expected) in [
        (r"\p{L}++", "a repetition of a repetition"),
        (r"a{2}+", "a repetition of a repetition"),
        (r"a?+", "a repetition of a repetition"),
        (r"(?i)a|b", "(?i)"),
        (r"(?<=a)b", "(?<="),
        (r"a(?=b)", "(?=b"),
        (r"x\s+(?!\S)", "a look-ahead other than"),
        (r"(?:\s+(?!\S))", "a look-ahead other than"),
        (r"(a)\1", r"\1"),
        (r"\bword", r"\b"),
        (r"\w+", r"\w"),
        (r"[[:alpha:]]", "a class between colons"),
        (r"^a", "^"),
        (r"a*", "the empty text"),
        (r"a{1000}{1000}", "a repetition of a repetition"),
        (r"(?:(?:a{1000}){1000}){1000}", "too large"),
        (r"\xff", r"\x"),
        (r"(((", "unclosed group"),
        (&format!("{}a{}", "(?:".repeat(2000), ")".repeat(2000)), "nest"),
    ] {
        let message = Pattern::new(pattern).map(|_| ()).unwrap_err();
        assert!(message.contains(expected), "{pattern:.40}: {message}");
    }
    assert!(Pattern::new(&"a".repeat(PATTERN_BYTES_MAX + 1)).is_err());
    assert!(Pattern::new(&"a".repeat(PATTERN_BYTES_MAX)).is_ok());
}

#[test]
fn a_literal_stands_for_itself() {
    let compiled = Pattern::literal("a.|b").unwrap();
    let pieces = (&compiled).find_matches("xa.|bax").unwrap();
    assert_eq!(pieces, [((0, 1), false), ((1, 5), true), ((5, 7), false)]);
}
