//! Bookkeeping of KV blocks: who holds which, and which prompt prefixes are already computed.
//!
//! Plain data, no tensors. A block covers [`BLOCK_TOKENS`] positions. Full blocks of prompts are registered under a
//! hash of all tokens up to their end, so that the samples of one query, and the queries under one instruction, share
//! them; a registered block that nobody holds stays cached until its memory is needed (least recently released first).
//!
//! I8: free + cached + held = total; a block is in exactly one of the three.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hash, Hasher};

use sha2::{Digest, Sha256};

use super::model::BLOCK_TOKENS;

/// Index of a KV block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub usize);

/// Identity of a prompt prefix that ends at a block's end: a truncated SHA-256 of its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefixHash([u8; 16]);

impl Hash for PrefixHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

/// A map from prefixes; their hash is a hash already.
pub type PrefixMap<T> = HashMap<PrefixHash, T, BuildHasherDefault<PrefixHasher>>;

/// A set of prefixes.
pub type PrefixSet = HashSet<PrefixHash, BuildHasherDefault<PrefixHasher>>;

/// Takes the first 8 bytes of what it is given.
#[derive(Debug, Clone, Copy, Default)]
pub struct PrefixHasher(u64);

impl Hasher for PrefixHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some((first, _)) = bytes.split_first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*first);
        }
    }
}

/// Returns the hashes of the full blocks of `tokens`, each covering everything before it too.
#[must_use]
pub fn prefix_hashes(tokens: &[u32]) -> Vec<PrefixHash> {
    let mut previous = [0_u8; 16];
    tokens
        .chunks_exact(BLOCK_TOKENS)
        .map(|block| {
            let mut hasher = Sha256::new();
            hasher.update(previous);
            for token in block {
                hasher.update(token.to_le_bytes());
            }
            previous.copy_from_slice(&hasher.finalize()[..16]);
            PrefixHash(previous)
        })
        .collect()
}

#[derive(Debug, Clone, Copy, Default)]
struct Block {
    holders: u32,
    prefix: Option<PrefixHash>,
    /// When it was released last; orders the cache.
    released: u64,
}

/// Counts of blocks by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockCounts {
    /// Never used, or released without a prefix.
    pub free: usize,
    /// Held by nobody, kept for their prefix.
    pub cached: usize,
    /// Held by at least one sequence.
    pub held: usize,
}

/// The pool of KV blocks.
#[derive(Debug)]
pub struct BlockPool {
    blocks: Vec<Block>,
    free: Vec<BlockId>,
    by_prefix: PrefixMap<BlockId>,
    cached: BTreeMap<u64, BlockId>,
    held: usize,
    clock: u64,
}

impl BlockPool {
    /// Builds a pool of `total` free blocks.
    #[must_use]
    pub fn new(total: usize) -> Self {
        Self {
            blocks: vec![Block::default(); total],
            free: (0..total).rev().map(BlockId).collect(),
            by_prefix: PrefixMap::default(),
            cached: BTreeMap::new(),
            held: 0,
            clock: 0,
        }
    }

    /// Returns how many blocks there are.
    #[cfg(test)]
    pub fn total(&self) -> usize {
        self.blocks.len()
    }

    /// Takes a block for one holder: a free one, else the cached one that was released first; `None` if all are held.
    pub fn take(&mut self) -> Option<BlockId> {
        let block = match self.free.pop() {
            Some(block) => block,
            None => {
                let (_, block) = self.cached.pop_first()?;
                if let Some(prefix) = self.blocks[block.0].prefix.take() {
                    self.by_prefix.remove(&prefix);
                }
                block
            }
        };
        self.blocks[block.0].holders = 1;
        self.held += 1;
        Some(block)
    }

    /// Adds a holder to the blocks of the longest known prefix among `hashes`, and returns them in order.
    pub fn hold_prefix(&mut self, hashes: &[PrefixHash]) -> Vec<BlockId> {
        let known: Vec<BlockId> = hashes.iter().map_while(|hash| self.by_prefix.get(hash).copied()).collect();
        for block in &known {
            let state = &mut self.blocks[block.0];
            if state.holders == 0 {
                self.cached.remove(&state.released);
                self.held += 1;
            }
            state.holders += 1;
        }
        known
    }

    /// Returns whether a prefix is known.
    #[must_use]
    pub fn knows(&self, hash: PrefixHash) -> bool {
        self.by_prefix.contains_key(&hash)
    }

    /// Makes a held, fully computed block known under its prefix. The first block of a prefix stays the known one.
    pub fn register(&mut self, block: BlockId, hash: PrefixHash) {
        if self.blocks[block.0].prefix.is_none() && !self.by_prefix.contains_key(&hash) {
            self.blocks[block.0].prefix = Some(hash);
            self.by_prefix.insert(hash, block);
        }
    }

    /// Takes one holder away from each block.
    pub fn release(&mut self, blocks: impl IntoIterator<Item = BlockId>) {
        for block in blocks {
            let state = &mut self.blocks[block.0];
            debug_assert!(state.holders > 0, "I8: a block is released once per holder");
            state.holders -= 1;
            if state.holders > 0 {
                continue;
            }
            self.held -= 1;
            if state.prefix.is_some() {
                self.clock += 1;
                state.released = self.clock;
                self.cached.insert(self.clock, block);
            } else {
                self.free.push(block);
            }
        }
    }

    /// Returns the counts by state; their sum is the number of blocks (I8).
    #[must_use]
    pub fn counts(&self) -> BlockCounts {
        BlockCounts { free: self.free.len(), cached: self.cached.len(), held: self.held }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_i8(pool: &BlockPool) {
        let BlockCounts { free, cached, held } = pool.counts();
        assert_eq!(free + cached + held, pool.total());
    }

    #[test]
    fn prefixes_differ_when_any_earlier_token_differs() {
        let tokens: Vec<u32> = (0..48).collect();
        let mut other = tokens.clone();
        other[0] = 99;
        assert_eq!(prefix_hashes(&tokens).len(), 3);
        assert_eq!(prefix_hashes(&tokens[..47]).len(), 2);
        assert!(prefix_hashes(&tokens).iter().zip(prefix_hashes(&other)).all(|(a, b)| *a != b));
    }

    #[test]
    fn a_released_prefix_is_found_again_until_its_memory_is_needed() {
        let mut pool = BlockPool::new(2);
        let hashes = prefix_hashes(&(0..32).collect::<Vec<u32>>());
        let first = pool.take().unwrap();
        pool.register(first, hashes[0]);
        pool.release([first]);
        assert_eq!(pool.hold_prefix(&hashes), vec![first]);
        assert_eq!(pool.hold_prefix(&hashes), vec![first]);
        assert_i8(&pool);
        pool.release([first, first]);
        assert_eq!(pool.counts(), BlockCounts { free: 1, cached: 1, held: 0 });
        let (a, b) = (pool.take().unwrap(), pool.take().unwrap());
        assert_ne!(a, b);
        assert_eq!(pool.take(), None);
        assert_eq!(pool.hold_prefix(&hashes), vec![]);
        assert_i8(&pool);
    }

    proptest::proptest! {
        #[test]
        fn i8_holds_under_any_sequence_of_calls(actions in proptest::collection::vec((0_u8..4, 0_usize..8), 0..200)) {
            let mut pool = BlockPool::new(5);
            let hashes = prefix_hashes(&(0..128).collect::<Vec<u32>>());
            let mut held: Vec<BlockId> = Vec::new();
            for (action, index) in actions {
                match action {
                    0 => held.extend(pool.take()),
                    1 if !held.is_empty() => pool.release([held.swap_remove(index % held.len())]),
                    2 if !held.is_empty() => pool.register(held[index % held.len()], hashes[index]),
                    3 => held.extend(pool.hold_prefix(&hashes[..index])),
                    _ => {}
                }
                assert_i8(&pool);
                let mut distinct = held.clone();
                distinct.sort_unstable();
                distinct.dedup();
                assert_eq!(pool.counts().held, distinct.len());
            }
        }
    }
}
