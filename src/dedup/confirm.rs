//! Computes the exact similarity of candidate pairs.

use std::collections::HashMap;
use std::rc::Rc;

use rayon::prelude::*;

use super::shingles::{Shingles, hash_bytes};
use super::spelling::{can_be_misspelt, respell};
use super::store::{RowStore, StoreError};
use super::wording::differ_in_wording_only;
use super::words::SENTENCE_END;
use crate::config::{DedupSettings, Variants};

/// The number of later rows that one thread confirms at a time. The earlier texts are split once for all of them,
/// because rows of one template are compared with the same texts repeatedly.
const CHUNK: usize = 256;
/// The approximate bytes of split texts that a thread keeps.
const KEPT_BYTES_MAX: usize = 8 << 20;

/// Two rows with near texts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Edge {
    pub(super) later: u32,
    pub(super) earlier: u32,
    pub(super) similarity: f32,
}

/// A normalised text, split into n-grams and words.
struct Text {
    text: String,
    shingles: Shingles,
    /// Hashes of the words, sorted, each once.
    words: Vec<u64>,
    /// Hashes of the words that may be misspelt.
    misspellable: Vec<u64>,
}

impl Text {
    fn new(text: String, n: usize) -> Self {
        let sentences = sentences(&text);
        let hashes = |is_meant: fn(&str) -> bool| {
            let meant = sentences.iter().flatten().filter(|word| is_meant(word));
            let mut hashes: Vec<u64> = meant.map(|word| hash_bytes(word.as_bytes())).collect();
            hashes.sort_unstable();
            hashes.dedup();
            hashes
        };
        let (words, misspellable) = (hashes(|_| true), hashes(can_be_misspelt));
        let shingles = Shingles::of(sentences.iter().map(Vec::as_slice), n);
        Self { text, shingles, words, misspellable }
    }

    /// Returns the approximate size in bytes.
    fn size(&self) -> usize {
        let numbers = [&self.shingles.across, &self.shingles.within, &self.words, &self.misspellable];
        self.text.len() + numbers.iter().map(|numbers| 8 * numbers.len()).sum::<usize>()
    }

    /// Returns whether a word may be a misspelling of a word of the other text.
    fn may_be_respelt(&self, other: &Self) -> bool {
        self.misspellable.iter().any(|word| other.words.binary_search(word).is_err())
    }
}

fn sentences(text: &str) -> Vec<Vec<&str>> {
    text.split(SENTENCE_END).map(|sentence| sentence.split(' ').filter(|word| !word.is_empty()).collect()).collect()
}

/// Returns the similarity of two texts, in 0..=1: the greater Jaccard index of their word n-grams, across and within
/// sentences, after spelling mistakes are corrected.
fn similarity(one: &Text, other: &Text, n: usize, threshold: f64) -> f64 {
    let plain = one.shingles.similarity(&other.shingles);
    if plain >= threshold || !one.may_be_respelt(other) {
        return plain;
    }
    let respelt = respell(&sentences(&one.text), &sentences(&other.text))
        .map(|sentences| Shingles::of(sentences.iter().map(Vec::as_slice), n).similarity(&other.shingles));
    respelt.map_or(plain, |similarity| plain.max(similarity))
}

/// Returns the candidate pairs whose similarity reaches the threshold, in the pairs' order. If different answers make
/// variants, only the first of a row's pairs with different answers is returned: the row belongs to the family of its
/// earliest relative.
pub(super) fn confirm(store: &RowStore, pairs: &[u64], settings: &DedupSettings) -> Result<Vec<Edge>, StoreError> {
    let groups: Vec<&[u64]> = pairs.chunk_by(|a, b| a >> 32 == b >> 32).collect();
    let edges: Result<Vec<Vec<Edge>>, StoreError> = groups
        .par_chunks(CHUNK)
        .map(|groups| {
            let mut edges = Vec::new();
            let mut texts = Texts { store, n: settings.ngram as usize, kept: HashMap::new(), bytes: 0 };
            for group in groups {
                confirm_group(&mut texts, group, settings, &mut edges)?;
            }
            Ok(edges)
        })
        .collect();
    Ok(edges?.into_iter().flatten().collect())
}

/// Split texts by row.
struct Texts<'a> {
    store: &'a RowStore,
    n: usize,
    kept: HashMap<u32, Rc<Text>>,
    bytes: usize,
}

impl Texts<'_> {
    fn of(&mut self, row: u32) -> Result<Rc<Text>, StoreError> {
        if let Some(text) = self.kept.get(&row) {
            return Ok(Rc::clone(text));
        }
        let text = Rc::new(Text::new(self.store.record(row)?.text, self.n));
        if self.bytes > KEPT_BYTES_MAX {
            self.kept.clear();
            self.bytes = 0;
        }
        self.bytes += text.size();
        self.kept.insert(row, Rc::clone(&text));
        Ok(text)
    }
}

fn confirm_group(
    texts: &mut Texts<'_>,
    group: &[u64],
    settings: &DedupSettings,
    edges: &mut Vec<Edge>,
) -> Result<(), StoreError> {
    let Some(later) = group.first().map(|pair| (pair >> 32) as u32) else { return Ok(()) };
    let later_text = texts.of(later)?;
    let mut has_relative = false;
    for &pair in group {
        let earlier = pair as u32;
        let is_variant = settings.variants == Variants::Keep && texts.store.answers_differ(later, earlier);
        if is_variant && has_relative {
            continue;
        }
        let threshold = settings.near_duplicate_threshold;
        let earlier_text = texts.of(earlier)?;
        let found = similarity(&later_text, &earlier_text, texts.n, threshold);
        let is_same_in_other_words = || {
            found >= settings.same_answer_threshold
                && texts.store.share_telling_answer(later, earlier)
                && differ_in_wording_only(&later_text.text, &earlier_text.text)
        };
        if found >= threshold || is_same_in_other_words() {
            has_relative |= is_variant;
            edges.push(Edge { later, earlier, similarity: found as f32 });
        }
    }
    Ok(())
}
