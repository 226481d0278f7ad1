//! The accepted texts of other queries in the same shard, and whether a new text nearly repeats one of them.
//!
//! The caller decides which texts are compared: those of earlier queries, whose conversations are all settled. A
//! rejection is therefore a function of stored facts, whatever the order in which replies arrived.

use std::collections::{HashMap, HashSet};

use sha2::{Digest, Sha256};

use super::triples;
use crate::judge::kind::JudgeKind;

/// At this share of common word triples (Jaccard), an API judge's text nearly repeats another query's text.
pub const NEAR_COPY_MIN: f64 = 0.6;
/// The same limit for a small local model, which has a small vocabulary.
pub const NEAR_COPY_MIN_LOCAL: f64 = 0.9;

/// Accepted texts, as sets of hashed word triples: about 1 KB per text.
#[derive(Debug, Clone)]
pub struct Neighbours {
    bound: f64,
    /// The number of triples of each text.
    sizes: Vec<usize>,
    /// The texts that hold a triple.
    holders: HashMap<u64, Vec<u32>>,
}

impl Neighbours {
    /// Creates an empty set; the kind of judge decides the limit.
    #[must_use]
    pub fn new(kind: JudgeKind) -> Self {
        let bound = match kind {
            JudgeKind::Api => NEAR_COPY_MIN,
            JudgeKind::Local => NEAR_COPY_MIN_LOCAL,
        };
        Self { bound, sizes: Vec::new(), holders: HashMap::new() }
    }

    /// Returns whether a text nearly repeats one of the accepted texts. A text of fewer than three words repeats none.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "they are counted")]
    pub fn resemble(&self, text: &str) -> bool {
        if self.sizes.is_empty() {
            return false;
        }
        let own = hashes(text);
        let mut common: HashMap<u32, usize> = HashMap::new();
        for holder in own.iter().filter_map(|triple| self.holders.get(triple)).flatten() {
            *common.entry(*holder).or_default() += 1;
        }
        common.into_iter().any(|(index, common)| {
            let size = self.sizes.get(index as usize).copied().unwrap_or(0);
            // Word counts are far below 2^52.
            let likeness = common as f64 / (size + own.len() - common) as f64;
            likeness >= self.bound
        })
    }

    /// Adds the accepted text of the next query.
    pub fn add(&mut self, text: &str) {
        let index = u32::try_from(self.sizes.len()).unwrap_or(u32::MAX);
        let own = hashes(text);
        self.sizes.push(own.len());
        #[expect(clippy::iter_over_hash_type, reason = "each goes into a list of its own")]
        for triple in own {
            self.holders.entry(triple).or_default().push(index);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "from set to set")]
fn hashes(text: &str) -> HashSet<u64> {
    let hash = |triple: &String| {
        let digest = Sha256::digest(triple.as_bytes());
        digest.iter().take(8).fold(0_u64, |bits, byte| (bits << 8) | u64::from(*byte))
    };
    triples(text).iter().map(hash).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Two opposing rates of the pipes have to be combined before any time can be found at all here.";

    #[test]
    fn a_text_resembles_its_near_copy_and_no_other() {
        let mut api = Neighbours::new(JudgeKind::Api);
        assert!(!api.resemble(TEXT), "there is none yet");
        api.add("It asks for one well known fact, with nothing to derive.");
        api.add(TEXT);
        assert!(api.resemble(TEXT) && api.resemble(&TEXT.to_uppercase()));
        assert!(api.resemble(&TEXT.replace("pipes", "taps")), "one word of many is another");
        assert!(!api.resemble("Two trains leave at once, and their distance shrinks by the sum of both speeds."));
        assert!(!api.resemble("Two opposing") && !api.resemble(""));
        let mut local = Neighbours::new(JudgeKind::Local);
        local.add(TEXT);
        assert!(local.resemble(TEXT) && !local.resemble(&TEXT.replace("pipes", "taps")), "its bound is laxer");
    }

    #[test]
    fn the_bound_is_met_at_its_value() {
        // Ten words are eight triples; with n of them in common likeness is n / (16 - n).
        let words = |start: usize| (start..start + 10).map(|word| format!("w{word}")).collect::<Vec<_>>().join(" ");
        let mut api = Neighbours::new(JudgeKind::Api);
        api.add(&words(0));
        // 6 / 10 and 5 / 11.
        assert!(api.resemble(&words(2)) && !api.resemble(&words(3)));
    }
}
