//! Exact similarity of candidate pairs.

use rayon::prelude::*;

use super::shingles::Shingles;
use super::spelling::respell;
use super::store::{RowStore, StoreError};
use super::words::SENTENCE_END;

/// Later rows that one thread confirms at a time.
const CHUNK: usize = 256;

/// Two rows whose texts are near.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Edge {
    pub(super) later: u32,
    pub(super) earlier: u32,
    pub(super) similarity: f32,
}

/// A text with its n-grams.
struct Text<'a> {
    sentences: Vec<Vec<&'a str>>,
    shingles: Shingles,
}

impl<'a> Text<'a> {
    fn new(sentences: Vec<Vec<&'a str>>, n: usize) -> Self {
        let shingles = Shingles::of(sentences.iter().map(Vec::as_slice), n);
        Self { sentences, shingles }
    }

    fn parse(text: &'a str, n: usize) -> Self {
        let words = |sentence: &'a str| sentence.split(' ').filter(|word| !word.is_empty()).collect();
        Self::new(text.split(SENTENCE_END).map(words).collect(), n)
    }
}

/// Returns the similarity of two texts: the greater Jaccard index of their word n-grams, across and within sentences,
/// after slips of spelling are put right. In 0..=1.
fn similarity(one: &Text<'_>, other: &Text<'_>, n: usize, threshold: f64) -> f64 {
    let plain = one.shingles.similarity(&other.shingles);
    if plain >= threshold {
        return plain;
    }
    let respelt = respell(&one.sentences, &other.sentences);
    respelt.map_or(plain, |sentences| plain.max(Text::new(sentences, n).shingles.similarity(&other.shingles)))
}

/// Returns the candidate pairs whose similarity reaches the threshold, in the pairs' order.
pub(super) fn confirm(store: &RowStore, pairs: &[u64], n: usize, threshold: f64) -> Result<Vec<Edge>, StoreError> {
    let groups: Vec<&[u64]> = pairs.chunk_by(|a, b| a >> 32 == b >> 32).collect();
    let edges: Result<Vec<Vec<Edge>>, StoreError> = groups
        .par_chunks(CHUNK)
        .map(|groups| {
            let mut edges = Vec::new();
            for group in groups {
                confirm_group(store, group, n, threshold, &mut edges)?;
            }
            Ok(edges)
        })
        .collect();
    Ok(edges?.into_iter().flatten().collect())
}

fn confirm_group(
    store: &RowStore,
    group: &[u64],
    n: usize,
    threshold: f64,
    edges: &mut Vec<Edge>,
) -> Result<(), StoreError> {
    let Some(later) = group.first().map(|pair| (pair >> 32) as u32) else { return Ok(()) };
    let later_text = store.record(later)?.text;
    let later_text = Text::parse(&later_text, n);
    for &pair in group {
        let earlier = pair as u32;
        let earlier_text = store.record(earlier)?.text;
        let found = similarity(&later_text, &Text::parse(&earlier_text, n), n, threshold);
        if found >= threshold {
            edges.push(Edge { later, earlier, similarity: found as f32 });
        }
    }
    Ok(())
}
