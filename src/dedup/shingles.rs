//! Word n-grams of normalised text, as hashes, and the Jaccard similarity of two sets of them.

use super::words::SENTENCE_END;

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
const BASE: u64 = 0xd6e8_feb8_6659_fd93;

/// Returns a 64-bit hash of bytes, the same on every machine and in every version of the index.
#[must_use]
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut state = MULTIPLIER ^ bytes.len() as u64;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let word = chunk.iter().rev().fold(0_u64, |word, &byte| word << 8 | u64::from(byte));
        state = fold(state ^ word, BASE);
    }
    let rest = chunks.remainder().iter().rev().fold(0_u64, |word, &byte| word << 8 | u64::from(byte));
    fold(fold(state ^ rest, BASE), MULTIPLIER)
}

/// XORs the two halves of a 128-bit product.
const fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    (product as u64) ^ ((product >> 64) as u64)
}

/// Appends the hashes of a word sequence's n-grams; fewer than `n` words give one gram of all of them.
fn ngrams_into(words: &[u64], n: usize, out: &mut Vec<u64>) {
    if words.is_empty() {
        return;
    }
    let first = words.get(..n).unwrap_or(words);
    let mut sum = first.iter().fold(0_u64, |sum, &word| sum.wrapping_mul(BASE).wrapping_add(word));
    out.push(fold(sum ^ first.len() as u64, MULTIPLIER));
    let leading = (1..n).fold(1_u64, |power, _| power.wrapping_mul(BASE));
    for (&gone, &come) in words.iter().zip(words.iter().skip(n)) {
        sum = sum.wrapping_sub(gone.wrapping_mul(leading)).wrapping_mul(BASE).wrapping_add(come);
        out.push(fold(sum ^ n as u64, MULTIPLIER));
    }
}

/// The n-grams of a text, across its sentences and within them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shingles {
    /// Over the whole text.
    pub across: Vec<u64>,
    /// Within each sentence; these n-grams do not depend on the order of sentences.
    pub within: Vec<u64>,
}

impl Shingles {
    /// Returns the n-grams of normalised text, each set sorted and without repetitions.
    #[must_use]
    pub fn of<'a>(sentences: impl Iterator<Item = &'a [&'a str]>, n: usize) -> Self {
        let (mut all, mut within) = (Vec::new(), Vec::new());
        for sentence in sentences {
            let start = all.len();
            all.extend(sentence.iter().map(|word| hash_bytes(word.as_bytes())));
            ngrams_into(all.get(start..).unwrap_or_default(), n, &mut within);
        }
        let mut across = Vec::with_capacity(all.len());
        ngrams_into(&all, n, &mut across);
        for set in [&mut across, &mut within] {
            set.sort_unstable();
            set.dedup();
        }
        Self { across, within }
    }

    /// Returns the greater of the two Jaccard similarities, in 0..=1.
    #[must_use]
    pub fn similarity(&self, other: &Self) -> f64 {
        jaccard(&self.across, &other.across).max(jaccard(&self.within, &other.within))
    }
}

/// Appends the n-grams within the sentences of normalised text to `out`, with repetitions and unsorted. `words` is a
/// scratch buffer.
pub fn within_sentences_into(text: &str, n: usize, words: &mut Vec<u64>, out: &mut Vec<u64>) {
    out.clear();
    for sentence in text.split(SENTENCE_END) {
        words.clear();
        words.extend(sentence.split(' ').filter(|word| !word.is_empty()).map(|word| hash_bytes(word.as_bytes())));
        ngrams_into(words, n, out);
    }
}

/// Returns the size of the intersection over that of the union of two sorted sets, in 0..=1; 0 if both are empty.
#[must_use]
pub fn jaccard(a: &[u64], b: &[u64]) -> f64 {
    let (mut i, mut j, mut shared) = (0, 0, 0_usize);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        shared += usize::from(x == y);
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    let union = a.len() + b.len() - shared;
    if union == 0 { 0.0 } else { shared as f64 / union as f64 }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn shingles(text: &str, n: usize) -> Shingles {
        let sentences: Vec<Vec<&str>> =
            text.split('\n').map(|sentence| sentence.split_whitespace().collect()).collect();
        Shingles::of(sentences.iter().map(Vec::as_slice), n)
    }

    #[test]
    fn hashes_are_the_same_on_every_machine() {
        assert_eq!(hash_bytes(b""), 0xd79b_0957_4bb4_eca3);
        assert_ne!(hash_bytes(b"a"), hash_bytes(b"a\0"));
        assert_ne!(hash_bytes(b"12345678"), hash_bytes(b"123456780"));
    }

    #[test]
    fn short_texts_are_one_ngram_and_differ_from_longer_ones() {
        assert_eq!(shingles("a b", 5).across.len(), 1);
        assert_eq!(shingles("a b c d e", 5).across.len(), 1);
        assert_eq!(shingles("a b c d e f", 5).across.len(), 2);
        assert_eq!(shingles("", 5), Shingles::default());
        assert_eq!(shingles("a b", 5).similarity(&shingles("a b", 5)), 1.0);
        assert_eq!(shingles("a b", 5).similarity(&shingles("a b c", 5)), 0.0);
        assert_eq!(shingles("", 5).similarity(&shingles("", 5)), 0.0);
    }

    #[test]
    fn the_order_of_sentences_does_not_matter_but_that_of_words_does() {
        let one = shingles("tom has three red apples\nhe eats one of them now", 3);
        let other = shingles("he eats one of them now\ntom has three red apples", 3);
        assert_eq!(one.similarity(&other), 1.0);
        assert!(one.similarity(&shingles("apples red three has tom\nhe eats one of them now", 3)) < 0.6);
    }

    proptest::proptest! {
        #[test]
        fn similarity_is_the_jaccard_index_of_the_sets_of_word_ngrams(
            a in proptest::collection::vec("[abc]", 0..14), b in proptest::collection::vec("[abc]", 0..14), n in 1_usize..4
        ) {
            let set = |words: &[String]| -> BTreeSet<Vec<String>> {
                if words.is_empty() { BTreeSet::new() } else { words.windows(n.min(words.len())).map(<[String]>::to_vec).collect() }
            };
            let (x, y) = (set(&a), set(&b));
            let union = x.union(&y).count();
            let expected = if union == 0 { 0.0 } else { x.intersection(&y).count() as f64 / union as f64 };
            let found = jaccard(&shingles(&a.join(" "), n).across, &shingles(&b.join(" "), n).across);
            proptest::prop_assert_eq!(found, expected);
        }
    }
}
