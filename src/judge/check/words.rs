//! Splits texts into lower-case words, and matches small patterns over the words.

/// Marks the end of a clause among words.
pub(super) const BREAK: &str = "|";

/// Words that invert the rest of their clause.
const NEGATIONS: &[&str] = &[
    "no", "not", "nothing", "never", "without", "hardly", "neither", "nor", "cannot", "rarely", "little", "none",
    "rather", "than", "instead",
];
/// The maximum number of words between a negation and the phrase that it negates.
const NEGATION_REACH: usize = 5;
/// The maximum number of words that `*` matches.
const GAP_WORDS_MAX: usize = 2;

/// Returns whether a character belongs to a script without blanks between words.
pub(super) fn is_ideographic(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}')
}

/// Splits a text into lower-case words; each ideograph is one word, and clause ends are [`BREAK`]s.
///
/// "doesn't" becomes "does not", so that one list of negations suffices.
pub(super) fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase().replace('\u{2019}', "'").replace("can't", "can not").replace("n't", " not");
    let mut found: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut chars = lower.chars().peekable();
    while let Some(c) = chars.next() {
        if c.is_alphanumeric() && !is_ideographic(c) {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            found.push(std::mem::take(&mut word));
        }
        let ends_clause = match c {
            ';' | ':' | '!' | '?' | '\n' | '\u{3002}' | '\u{ff0c}' | '\u{ff1b}' | '\u{3001}' => true,
            // "3.5" and "1,000" continue after the sign.
            '.' | ',' => chars.peek().is_none_or(|next| !next.is_ascii_digit()),
            _ => false,
        };
        if is_ideographic(c) {
            found.push(c.to_string());
        } else if ends_clause {
            found.push(BREAK.to_owned());
        }
    }
    if !word.is_empty() {
        found.push(word);
    }
    found
}

/// A sequence of words to find: `a/b` is either word, `a?` is optional, `*` is up to two words of the same clause, none
/// of them a negation.
#[derive(Debug)]
pub(super) struct Pattern(Vec<Element>);

#[derive(Debug)]
enum Element {
    Gap,
    Word { alternatives: Vec<&'static str>, is_optional: bool },
}

impl Pattern {
    /// Parses a pattern; each pattern is parsed once, because every reply is matched against about a hundred of them.
    pub(super) fn new(text: &'static str) -> Self {
        let element = |text: &'static str| match (text, text.strip_suffix('?')) {
            ("*", _) => Element::Gap,
            (_, Some(text)) => Element::Word { alternatives: text.split('/').collect(), is_optional: true },
            (text, None) => Element::Word { alternatives: text.split('/').collect(), is_optional: false },
        };
        Self(text.split(' ').map(element).collect())
    }

    /// Parses a list of patterns.
    pub(super) fn all(texts: &[&'static str]) -> Vec<Self> {
        texts.iter().map(|text| Self::new(text)).collect()
    }

    /// Returns whether `words` hold the pattern without a negation.
    pub(super) fn is_said(&self, words: &[String]) -> bool {
        self.places(words).any(|start| !is_negated(words, start))
    }

    /// Returns whether `words` hold the pattern, negated or not.
    pub(super) fn is_mentioned(&self, words: &[String]) -> bool {
        self.places(words).next().is_some()
    }

    fn places<'a>(&'a self, words: &'a [String]) -> impl Iterator<Item = usize> + 'a {
        (0..words.len()).filter(move |&start| matches_at(words.get(start..).unwrap_or_default(), &self.0))
    }
}

fn matches_at(words: &[String], pattern: &[Element]) -> bool {
    let Some((element, rest)) = pattern.split_first() else { return true };
    match element {
        Element::Gap => {
            let is_skipped = |word: &&String| *word != BREAK && !NEGATIONS.contains(&word.as_str());
            let clause = words.iter().take(GAP_WORDS_MAX).take_while(is_skipped).count();
            (0..=clause).any(|skip| matches_at(words.get(skip..).unwrap_or_default(), rest))
        }
        Element::Word { alternatives, is_optional } => {
            let is_here = words.first().is_some_and(|word| alternatives.contains(&word.as_str()));
            (is_here && matches_at(words.get(1..).unwrap_or_default(), rest))
                || (*is_optional && matches_at(words, rest))
        }
    }
}

fn is_negated(words: &[String], start: usize) -> bool {
    let before = words.get(..start).unwrap_or_default().iter().rev().take(NEGATION_REACH);
    before.take_while(|word| *word != BREAK && *word != "but").any(|word| NEGATIONS.contains(&word.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_lower_case_and_clauses_end() {
        let found = words("It doesn\u{2019}t need 3.5 steps, Anna's does. \u{4e8c}x");
        let expected = ["it", "does", "not", "need", "3", "5", "steps", "|", "anna", "s", "does", "|", "\u{4e8c}", "x"];
        assert_eq!(found, expected);
    }

    #[test]
    fn patterns_have_alternatives_optional_words_and_gaps_and_heed_negations() {
        let says = |text: &str, pattern: &'static str| Pattern::new(pattern).is_said(&words(text));
        assert!(says("it needs some care", "needs/requires care/some"));
        assert!(says("requires careful reasoning", "requires careful? reasoning"));
        assert!(says("requires reasoning", "requires careful? reasoning"));
        assert!(says("requires a very careful", "requires * careful"));
        assert!(!says("requires a very very careful", "requires * careful"));
        assert!(!says("requires it, careful", "requires * careful"));
        assert!(!says("is not simple", "is * simple"));
        assert!(!says("it does not really need care", "need care"));
        assert!(says("not hard, but they need care", "need care"));
        assert!(says("It is not hard; it must be derived", "must be derived"));
    }
}
