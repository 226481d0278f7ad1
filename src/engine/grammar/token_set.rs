//! A set of tokens, one bit for each.

/// A set of token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSet {
    bits: Vec<u64>,
}

impl TokenSet {
    /// Returns the empty set over a vocabulary of this size.
    #[must_use]
    pub fn empty(vocabulary: usize) -> Self {
        Self { bits: vec![0; vocabulary.div_ceil(64)] }
    }

    /// Adds a token.
    pub fn insert(&mut self, token: u32) {
        if let Some(word) = self.bits.get_mut(token as usize / 64) {
            *word |= 1 << (token % 64);
        }
    }

    /// Returns whether the set contains a token.
    #[must_use]
    pub fn contains(&self, token: u32) -> bool {
        self.bits.get(token as usize / 64).is_some_and(|word| word >> (token % 64) & 1 == 1)
    }

    /// Returns whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bits.iter().all(|&word| word == 0)
    }

    /// Returns the tokens, ascending.
    pub fn tokens(&self) -> impl Iterator<Item = u32> {
        self.bits
            .iter()
            .zip(0_u32..)
            .flat_map(|(&word, index)| (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| index * 64 + bit))
    }
}
