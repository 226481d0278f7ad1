//! The features of a query for deduplication, computed from the query alone.

use super::contamination::{Benchmarks, Hit};
use super::exact::exact_key;
use super::gold::{gold_key, is_telling};
use super::minhash::{Bands, MinHasher};
use super::{shingles, words};
use crate::config::DedupSettings;
use crate::domain::{Kind, Query};

/// The parts of a query that deduplication uses.
#[derive(Debug, Clone, Copy)]
pub struct Document<'a> {
    /// The kind of the answer.
    pub kind: Kind,
    /// The question.
    pub question: &'a str,
    /// The reference answer; may be empty.
    pub answer: &'a str,
    /// The choices, in order.
    pub choices: &'a [String],
    /// The tests of a program.
    pub tests: &'a [String],
}

impl<'a> From<&'a Query> for Document<'a> {
    fn from(query: &'a Query) -> Self {
        let Query { kind, question, gold, choices, tests, .. } = query;
        Self { kind: *kind, question, answer: gold, choices, tests }
    }
}

impl Document<'_> {
    /// Returns the normalised text of the question and the choices. Each choice is a sentence of its own.
    #[must_use]
    pub fn normalized(&self) -> String {
        let mut text = words::normalize(self.question);
        for choice in self.choices {
            words::normalize_into(choice, &mut text);
        }
        text
    }
}

/// The features of a query.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    /// The exact key, equal for exact duplicates.
    pub exact: u128,
    /// The answer key, equal for equal answers; `None` without an answer.
    pub gold: Option<u64>,
    /// Whether the answer is specific enough that near texts with this answer may ask the same question.
    pub is_gold_telling: bool,
    /// The normalised text of question and choices.
    pub text: String,
    /// One key per band; empty if near-duplicates are not searched for or the text has no words.
    pub keys: Vec<u32>,
    /// The benchmark item that contains the query.
    pub hit: Option<Hit>,
}

/// Computes [`Features`]. Threads share one extractor.
#[derive(Debug)]
pub struct Extractor {
    ngram: usize,
    hasher: Option<MinHasher>,
    benchmarks: Benchmarks,
}

impl Extractor {
    /// Builds an extractor.
    #[must_use]
    pub fn new(settings: &DedupSettings, benchmarks: Benchmarks) -> Self {
        let shape = Bands { bands: settings.bands as usize, rows: settings.band_rows as usize };
        let hasher = (settings.near_duplicate_threshold < 1.0).then(|| MinHasher::new(shape));
        Self { ngram: settings.ngram as usize, hasher, benchmarks }
    }

    /// Returns the number of keys in [`Features::keys`] of a text with words.
    #[must_use]
    pub fn bands(&self) -> usize {
        self.hasher.as_ref().map_or(0, |hasher| hasher.shape().bands)
    }

    /// Computes the features of a query.
    #[must_use]
    pub fn features(&self, document: &Document<'_>) -> Features {
        let text = document.normalized();
        let mut keys = Vec::new();
        if let Some(hasher) = &self.hasher {
            let (mut words, mut ngrams, mut signature) = (Vec::new(), Vec::new(), Vec::new());
            shingles::within_sentences_into(&text, self.ngram, &mut words, &mut ngrams);
            if !ngrams.is_empty() {
                hasher.keys_into(&ngrams, &mut signature, &mut keys);
            }
        }
        let Document { kind, question, answer, choices, tests } = *document;
        Features {
            exact: exact_key(kind, question, choices),
            gold: gold_key(kind, answer, choices, tests),
            is_gold_telling: is_telling(kind, answer, choices),
            keys,
            hit: self.benchmarks.find(&text, question, answer),
            text,
        }
    }
}
