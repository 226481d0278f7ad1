//! Bookkeeping of KV blocks: their holders, and the prompt prefixes whose blocks are already computed.
//!
//! Plain data, no tensors. A block covers [`BLOCK_TOKENS`] positions. Full blocks of prompts are registered under a
//! hash of all tokens up to the block's end, so that the samples of one query, and the queries with the same
//! instruction, share blocks. A registered block without a holder stays cached until its memory is needed, or until the
//! cache exceeds its limit.
//!
//! Invariant I8: free + cached + held = total; a block is in exactly one of the three states.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hash, Hasher};

use sha2::{Digest, Sha256};

use super::model::{BLOCK_TOKENS, BlockId};

/// Identifies a prompt prefix that ends at a block's end: a truncated SHA-256 of its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PrefixHash([u8; 16]);

impl Hash for PrefixHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

/// A map from prefix hashes. The keys are hashes already, so they are not hashed again.
pub(crate) type PrefixMap<T> = HashMap<PrefixHash, T, BuildHasherDefault<PrefixHasher>>;

/// A set of prefix hashes.
pub(crate) type PrefixSet = HashSet<PrefixHash, BuildHasherDefault<PrefixHasher>>;

/// A hasher that returns the first 8 bytes of its input.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PrefixHasher(u64);

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

/// Returns the hashes of the full blocks of `tokens`; each hash covers all earlier tokens also.
#[must_use]
pub(crate) fn prefix_hashes(tokens: &[u32]) -> Vec<PrefixHash> {
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
    /// Time of the last release, by the pool's clock; orders the cache.
    released: u64,
}

/// Counts of blocks by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockCounts {
    /// Never used, or released without a prefix.
    pub free: usize,
    /// Without a holder, kept for their prefix.
    pub cached: usize,
    /// Held by at least one sequence.
    pub held: usize,
}

/// The pool of KV blocks.
#[derive(Debug)]
pub(crate) struct BlockPool {
    blocks: Vec<Block>,
    free: Vec<BlockId>,
    by_prefix: PrefixMap<BlockId>,
    cached: BTreeMap<u64, BlockId>,
    cached_max: usize,
    held: usize,
    clock: u64,
}

impl BlockPool {
    /// Builds a pool of `total` free blocks.
    #[must_use]
    pub(crate) fn new(total: usize) -> Self {
        Self {
            blocks: vec![Block::default(); total],
            free: (0..total).rev().map(BlockId).collect(),
            by_prefix: PrefixMap::default(),
            cached: BTreeMap::new(),
            cached_max: total,
            held: 0,
            clock: 0,
        }
    }

    /// Limits the cache to `cached_max` blocks. The pool reuses free blocks in the reverse order of their release: the
    /// operating system commits memory at its first write, so the committed memory stays close to the blocks held and
    /// cached at one time.
    #[must_use]
    pub(crate) fn with_cached_max(mut self, cached_max: usize) -> Self {
        self.cached_max = cached_max;
        self
    }

    /// Returns the number of blocks.
    #[cfg(test)]
    pub(crate) fn total(&self) -> usize {
        self.blocks.len()
    }

    /// Takes a block for one holder: a free block, else the cached block that was released first; `None` if all are
    /// held.
    pub(crate) fn take(&mut self) -> Option<BlockId> {
        let block = match self.free.pop() {
            Some(block) => block,
            None => self.forget_oldest()?,
        };
        self.blocks[block.0].holders = 1;
        self.held += 1;
        Some(block)
    }

    /// Removes the block that was released first from the cache.
    fn forget_oldest(&mut self) -> Option<BlockId> {
        let (_, block) = self.cached.pop_first()?;
        if let Some(prefix) = self.blocks[block.0].prefix.take() {
            self.by_prefix.remove(&prefix);
        }
        Some(block)
    }

    /// Adds a holder to the blocks of the longest known prefix among `hashes`, and returns these blocks in order.
    pub(crate) fn hold_prefix(&mut self, hashes: &[PrefixHash]) -> Vec<BlockId> {
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
    pub(crate) fn knows(&self, hash: PrefixHash) -> bool {
        self.by_prefix.contains_key(&hash)
    }

    /// Registers a held, fully computed block under its prefix. If the prefix is known already, the first block stays
    /// registered.
    pub(crate) fn register(&mut self, block: BlockId, hash: PrefixHash) {
        if self.blocks[block.0].prefix.is_none() && !self.by_prefix.contains_key(&hash) {
            self.blocks[block.0].prefix = Some(hash);
            self.by_prefix.insert(hash, block);
        }
    }

    /// Removes one holder from each block of a sequence; `blocks` is in sequence order. The last block is released
    /// first, and so leaves the cache first, because a later block cannot be found without the earlier ones.
    pub(crate) fn release(&mut self, blocks: impl IntoIterator<Item = BlockId, IntoIter: DoubleEndedIterator>) {
        for block in blocks.into_iter().rev() {
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
        while self.cached.len() > self.cached_max {
            let oldest = self.forget_oldest();
            self.free.extend(oldest);
        }
    }

    /// Returns the counts by state; their sum is the number of blocks (I8).
    #[must_use]
    pub(crate) fn counts(&self) -> BlockCounts {
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

    #[test]
    fn of_a_prompt_longer_than_the_cache_the_beginning_is_kept() {
        let mut pool = BlockPool::new(8).with_cached_max(2);
        let hashes = prefix_hashes(&(0..64).collect::<Vec<u32>>());
        let blocks: Vec<BlockId> = hashes.iter().filter_map(|_| pool.take()).collect();
        for (block, hash) in blocks.iter().zip(&hashes) {
            pool.register(*block, *hash);
        }
        pool.release(blocks.clone());
        assert_eq!(pool.hold_prefix(&hashes), blocks[..2]);
    }

    #[test]
    fn a_bounded_cache_forgets_what_was_released_first_and_uses_no_further_memory() {
        let mut pool = BlockPool::new(100).with_cached_max(2);
        let mut used = HashSet::new();
        for prompt in 0..20 {
            let hashes = prefix_hashes(&(prompt..prompt + 32).collect::<Vec<u32>>());
            let blocks = [pool.take().unwrap(), pool.take().unwrap()];
            for (block, hash) in blocks.into_iter().zip(&hashes) {
                pool.register(block, *hash);
            }
            used.extend(blocks);
            pool.release(blocks);
            assert_i8(&pool);
            assert_eq!(pool.counts().cached, 2);
            assert_eq!(pool.hold_prefix(&hashes), blocks, "the last prompt is known");
            pool.release(blocks);
        }
        assert_eq!(used.len(), 4, "two held, two cached");
    }

    proptest::proptest! {
        #[test]
        fn i8_holds_under_any_sequence_of_calls(
            cached_max in 0_usize..6,
            actions in proptest::collection::vec((0_u8..4, 0_usize..8), 0..200),
        ) {
            let mut pool = BlockPool::new(5).with_cached_max(cached_max);
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
