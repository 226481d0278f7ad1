//! Decides whether a benchmark contains a query.
//!
//! # Rules
//! | rule | an item contains a query if |
//! |---|---|
//! | `exact` | their words are the same, in order |
//! | `share` | six tenths of the item's words (`dedup.contamination_share`), and at least ten, are in word 5-grams that the query also has and that are not stock phrases; or nine tenths are in any shared 5-grams; or the words are exactly the same |
//! | `ngram_8` | they share a word 8-gram (open-r1, s1) |
//! | `ngram_13` | they share a word 13-gram (GPT-3) |
//! | `near_duplicate` | the Jaccard similarity of their word n-grams reaches `dedup.near_duplicate_threshold` |
//!
//! A stock phrase is a 5-gram of three or more items of one benchmark ("what is the sum of the"). The words of `exact`,
//! `share` and `near_duplicate` are those of [`super::words`]. `ngram_8` and `ngram_13` split text as open-r1 does:
//! lower case, split at whitespace, punctuation kept.
//!
//! Questions are compared with questions. If configured, answers of at least eight words are compared with answers.
//!
//! N-grams do **not** find paraphrases: of 1,319 rephrased GSM8K questions, 53 share an 8-gram with their original.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use serde::{Deserialize, Serialize};

use super::shingles::{Shingles, hash_bytes, jaccard};
use super::words;
use crate::config::{ContaminationRule, ContaminationScope, DedupSettings};

/// The number of words in an n-gram of rule `share`.
const SHARE_NGRAM: usize = 5;
/// The number of items of one benchmark that makes their common 5-gram a stock phrase.
const STOCK_ITEMS: usize = 3;
/// The fewest words in shared 5-grams that are not stock phrases: two different short questions about one subject share
/// half of their words.
const TELLING_WORDS_MIN: usize = 10;
/// The share of an item's words in any shared 5-grams, stock phrases included, that suffices alone.
const WHOLE_SHARE: f64 = 0.9;
/// The fewest words of a compared answer.
const ANSWER_WORDS_MIN: usize = 8;
/// The most characters of the reported overlap.
const OVERLAP_CHARS: usize = 200;

/// An item of a benchmark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BenchmarkItem {
    /// The benchmark's name, which is its file's name.
    pub benchmark: String,
    /// The item's id.
    pub id: String,
    /// The question, with its choices.
    pub question: String,
    /// The answer; may be empty.
    pub answer: String,
}

/// The benchmark item that contains a query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// The benchmark.
    pub benchmark: String,
    /// The item's id.
    pub item: String,
    /// The rule that found the item.
    pub rule: ContaminationRule,
    /// The compared part: `question` or `answer`.
    pub part: String,
    /// The share or similarity for rules `share` and `near_duplicate`, 1 for all other rules.
    pub score: f64,
    /// The longest common text, at most 200 characters.
    pub overlap: String,
}

impl std::fmt::Display for Hit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { benchmark, item, rule, part, score, overlap } = self;
        write!(formatter, "{part} stands in item {item} of {benchmark}, by rule {rule} ({score:.2}): \"{overlap}\"")
    }
}

/// A hasher for keys that are already hashes.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash_bytes(bytes);
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

type Map<V> = HashMap<u64, V, BuildHasherDefault<KeyHasher>>;
type Set = HashSet<u64, BuildHasherDefault<KeyHasher>>;

/// One part of an item.
#[derive(Debug)]
struct Text {
    item: usize,
    words: Vec<String>,
    /// The 5-grams in order of their first word.
    grams: Vec<u64>,
    shingles: Shingles,
}

/// The lookup tables for questions, or for answers.
#[derive(Debug, Default)]
struct Index {
    texts: Vec<Text>,
    exact: Map<usize>,
    by_gram: Map<Vec<u32>>,
    stock: Set,
    ngrams: Vec<(ContaminationRule, usize, Map<usize>)>,
}

/// The index of all benchmarks. Memory: about 1.5 kB per item, and half as much more with rule `ngram_8` or `ngram_13`.
#[derive(Debug, Default)]
pub struct Benchmarks {
    items: Vec<(String, String)>,
    rules: Vec<ContaminationRule>,
    share_min: f64,
    ngram: usize,
    threshold: f64,
    questions: Index,
    answers: Option<Index>,
}

impl Benchmarks {
    /// Builds the index over all items.
    #[must_use]
    pub fn new(items: &[BenchmarkItem], settings: &DedupSettings) -> Self {
        let mut rules = settings.contamination_rules.clone();
        rules.sort_unstable();
        rules.dedup();
        let n = settings.ngram as usize;
        let question = |item: &BenchmarkItem| item.question.clone();
        let answer = |item: &BenchmarkItem| item.answer.clone();
        let has_answers = settings.contamination_scope == ContaminationScope::PromptsAndAnswers;
        Self {
            questions: Index::new(items, question, 1, &rules, n),
            answers: has_answers.then(|| Index::new(items, answer, ANSWER_WORDS_MIN, &rules, n)),
            items: items.iter().map(|item| (item.benchmark.clone(), item.id.clone())).collect(),
            rules,
            share_min: settings.contamination_share,
            ngram: n,
            threshold: settings.near_duplicate_threshold,
        }
    }

    /// Returns the item that contains a query, by the first matching rule. `words` is the query's normalised text with
    /// the choices; `question` and `answer` are as written in the input.
    #[must_use]
    pub fn find(&self, words: &str, question: &str, answer: &str) -> Option<Hit> {
        if self.items.is_empty() {
            return None;
        }
        let hit = self.find_part(&self.questions, words, question, "question");
        let answers = || self.answers.as_ref().filter(|_| answer.split_whitespace().count() >= ANSWER_WORDS_MIN);
        hit.or_else(|| answers().and_then(|index| self.find_part(index, &words::normalize(answer), answer, "answer")))
    }

    fn find_part(&self, index: &Index, normalized: &str, raw: &str, part: &str) -> Option<Hit> {
        let words: Vec<&str> = normalized.split_whitespace().collect();
        if words.is_empty() {
            return None;
        }
        let found = self.rules.iter().find_map(|&rule| {
            let found = match rule {
                ContaminationRule::Exact => index.find_exact(&words),
                ContaminationRule::Share => {
                    index.find_exact(&words).or_else(|| index.find_share(&words, self.share_min))
                }
                ContaminationRule::NearDuplicate => index.find_near(&words, self.ngram, self.threshold),
                ContaminationRule::Ngram8 | ContaminationRule::Ngram13 => index.find_ngram(rule, raw),
            };
            found.map(|found| (rule, found))
        });
        let (rule, Found { item, score, overlap }) = found?;
        let (benchmark, item) = self.items.get(item)?.clone();
        let overlap = overlap.chars().take(OVERLAP_CHARS).collect();
        Some(Hit { benchmark, item, rule, part: part.to_owned(), score, overlap })
    }
}

struct Found {
    item: usize,
    score: f64,
    overlap: String,
}

impl Index {
    fn new(
        items: &[BenchmarkItem],
        part: impl Fn(&BenchmarkItem) -> String,
        words_min: usize,
        rules: &[ContaminationRule],
        n: usize,
    ) -> Self {
        let mut index = Self::default();
        for &rule in rules {
            match rule {
                ContaminationRule::Ngram8 => index.ngrams.push((rule, 8, Map::default())),
                ContaminationRule::Ngram13 => index.ngrams.push((rule, 13, Map::default())),
                _ => {}
            }
        }
        let needs_similarity = rules.contains(&ContaminationRule::NearDuplicate);
        for (number, item) in items.iter().enumerate() {
            let raw = part(item);
            let normalized = words::normalize(&raw);
            let list: Vec<&str> = normalized.split_whitespace().collect();
            if list.len() < words_min {
                continue;
            }
            for (_, length, grams) in &mut index.ngrams {
                for gram in plain_ngrams(&raw, *length) {
                    grams.entry(hash_bytes(gram.as_bytes())).or_insert(number);
                }
            }
            let place = index.texts.len();
            index.exact.entry(hash_words(&list)).or_insert(place);
            index.texts.push(Text {
                item: number,
                grams: grams_of(&list),
                shingles: if needs_similarity {
                    Shingles::of([list.as_slice()].into_iter(), n)
                } else {
                    Shingles::default()
                },
                words: list.into_iter().map(str::to_owned).collect(),
            });
        }
        index.find_stock_phrases(items);
        for (place, text) in index.texts.iter().enumerate() {
            let mut grams: Vec<u64> = text.grams.iter().filter(|gram| !index.stock.contains(gram)).copied().collect();
            grams.sort_unstable();
            grams.dedup();
            for gram in grams {
                index.by_gram.entry(gram).or_default().push(place as u32);
            }
        }
        index
    }

    /// Counts the 5-grams of each benchmark by the different texts that contain them, so that a duplicated benchmark
    /// does not double its stock phrases.
    fn find_stock_phrases(&mut self, items: &[BenchmarkItem]) {
        let mut counts: HashMap<(&str, u64), usize> = HashMap::new();
        let mut seen: HashSet<(&str, u64)> = HashSet::new();
        for text in &self.texts {
            let benchmark = items.get(text.item).map_or("", |item| item.benchmark.as_str());
            let words: Vec<&str> = text.words.iter().map(String::as_str).collect();
            if !seen.insert((benchmark, hash_words(&words))) {
                continue;
            }
            let grams: BTreeSet<u64> = text.grams.iter().copied().collect();
            for gram in grams {
                *counts.entry((benchmark, gram)).or_default() += 1;
            }
        }
        self.stock = counts.into_iter().filter(|(_, count)| *count >= STOCK_ITEMS).map(|((_, gram), _)| gram).collect();
    }

    fn find_exact(&self, words: &[&str]) -> Option<Found> {
        let text = self.exact.get(&hash_words(words)).and_then(|&place| self.texts.get(place))?;
        Some(Found { item: text.item, score: 1.0, overlap: text.words.join(" ") })
    }

    /// Returns the texts that share a 5-gram with these words, stock phrases excepted, in order, and the words'
    /// 5-grams.
    fn relatives(&self, words: &[&str]) -> (Vec<u32>, Set) {
        let grams: Set = grams_of(words).into_iter().collect();
        #[expect(clippy::disallowed_methods, reason = "sorted below")]
        let mut places: Vec<u32> = grams.iter().filter_map(|gram| self.by_gram.get(gram)).flatten().copied().collect();
        places.sort_unstable();
        places.dedup();
        (places, grams)
    }

    fn find_share(&self, words: &[&str], share_min: f64) -> Option<Found> {
        let (places, grams) = self.relatives(words);
        let mut best: Option<Found> = None;
        for text in places.into_iter().filter_map(|place| self.texts.get(place as usize)) {
            let count = text.words.len() as f64;
            let any = text.covered(|gram| grams.contains(gram));
            let telling = text.covered(|gram| grams.contains(gram) && !self.stock.contains(gram));
            let words = |covered: &[bool]| covered.iter().filter(|covered| **covered).count();
            let (whole, share) = (words(&any) as f64 / count, words(&telling) as f64 / count);
            let is_share = share >= share_min && words(&telling) >= TELLING_WORDS_MIN;
            let score = if whole >= WHOLE_SHARE { whole } else { share };
            if (whole >= WHOLE_SHARE || is_share) && best.as_ref().is_none_or(|best| score > best.score) {
                best = Some(Found { item: text.item, score, overlap: text.longest(&any) });
            }
        }
        best
    }

    fn find_near(&self, words: &[&str], n: usize, threshold: f64) -> Option<Found> {
        if let Some(found) = self.find_exact(words) {
            return Some(found);
        }
        let own = Shingles::of([words].into_iter(), n).across;
        let (places, grams) = self.relatives(words);
        let texts = places.into_iter().filter_map(|place| self.texts.get(place as usize));
        let scored = texts.map(|text| (jaccard(&text.shingles.across, &own), text));
        let (score, text) =
            scored.filter(|(score, _)| *score >= threshold).reduce(|a, b| if b.0 > a.0 { b } else { a })?;
        let overlap = text.longest(&text.covered(|gram| grams.contains(gram)));
        Some(Found { item: text.item, score, overlap })
    }

    fn find_ngram(&self, rule: ContaminationRule, raw: &str) -> Option<Found> {
        let (_, length, known) = self.ngrams.iter().find(|(name, ..)| *name == rule)?;
        plain_ngrams(raw, *length).into_iter().find_map(|gram| {
            let &item = known.get(&hash_bytes(gram.as_bytes()))?;
            Some(Found { item, score: 1.0, overlap: gram })
        })
    }
}

impl Text {
    /// Returns which words are in a 5-gram for which `is_shared` holds.
    fn covered(&self, is_shared: impl Fn(&u64) -> bool) -> Vec<bool> {
        let mut covered = vec![false; self.words.len()];
        for (start, _) in self.grams.iter().enumerate().filter(|(_, gram)| is_shared(gram)) {
            covered.iter_mut().skip(start).take(SHARE_NGRAM).for_each(|word| *word = true);
        }
        covered
    }

    /// Returns the longest run of covered words.
    fn longest(&self, covered: &[bool]) -> String {
        let places: Vec<usize> = (0..covered.len()).collect();
        let is_covered = |place: usize| covered.get(place).copied().unwrap_or(false);
        let runs = places.chunk_by(|a, b| is_covered(*a) == is_covered(*b));
        let longest =
            runs.filter(|run| run.first().is_some_and(|&place| is_covered(place))).max_by_key(|run| run.len());
        let words = longest.unwrap_or_default().iter().filter_map(|&place| self.words.get(place).map(String::as_str));
        words.collect::<Vec<_>>().join(" ")
    }
}

fn hash_words(words: &[&str]) -> u64 {
    words.iter().fold(words.len() as u64, |state, word| {
        hash_bytes(&[state.to_le_bytes(), hash_bytes(word.as_bytes()).to_le_bytes()].concat())
    })
}

/// Returns the 5-grams in order; a shorter text gives one gram of all its words.
fn grams_of(words: &[&str]) -> Vec<u64> {
    let length = SHARE_NGRAM.min(words.len().max(1));
    words.windows(length).map(hash_words).collect()
}

/// Returns the word n-grams of the lower-case text, split at whitespace; none for a text with fewer words.
fn plain_ngrams(text: &str, length: usize) -> Vec<String> {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower.split_whitespace().collect();
    words.windows(length).map(|words| words.join(" ")).collect()
}

#[cfg(test)]
#[path = "contamination_tests.rs"]
mod tests;
