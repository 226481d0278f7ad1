//! The memory of the KV blocks. Module `kv` tracks which block belongs to which sequence; this module only stores
//! numbers.

use super::buffer::SharedBuffer;
use super::kernels::round_to_bf16;
use super::math::LANES;
use crate::error::EngineError;
use crate::model::BlockId;
use crate::model::{BLOCK_TOKENS, KvType, ModelConfig};

/// Keys and values of all blocks, in words of 32 bits: one f32, or two bf16 of neighbouring head dimensions (the lower
/// one in the low half). The operating system commits the memory of a block when the block is first written.
///
/// The order is `[layer][kv_head][block]` of keys and values. In keys the position is the fast axis, `[words of a
/// head][16]`, so that one register chain computes the scores of 16 positions. Values are `[words of a head / 16,
/// padded][16 positions][16]`, so that each pass over them reads sequentially.
pub(super) struct KvStore {
    kv_type: KvType,
    kv_heads: usize,
    blocks: usize,
    /// Words of one head at one position.
    head_words: usize,
    words: SharedBuffer<u32>,
}

/// Keys and values of one block, for one layer and one key head.
#[derive(Clone, Copy)]
pub(super) struct HeadBlock<'a> {
    /// `[words of a head][16]`
    pub keys: &'a [u32],
    /// `[words of a head / 16, padded][16 positions][16]`
    pub values: &'a [u32],
}

impl KvStore {
    /// Reserves room for `blocks` blocks of a model.
    ///
    /// # Errors
    /// [`EngineError::OutOfMemory`] if the operating system refuses the address space.
    pub(super) fn new(config: &ModelConfig, kv_type: KvType, blocks: usize) -> Result<Self, EngineError> {
        let head_words = config.head_dim * kv_type.size() / size_of::<u32>();
        let (kv_heads, layers) = (config.kv_heads, config.layers.len());
        let mut store = Self { kv_type, kv_heads, blocks, head_words, words: SharedBuffer::new(0) };
        let words = (layers * kv_heads * store.head_block_words()).saturating_mul(blocks);
        let out_of_memory = EngineError::OutOfMemory { bytes: words.saturating_mul(size_of::<u32>()) };
        store.words = SharedBuffer::try_new(words).ok_or(out_of_memory)?;
        Ok(store)
    }

    /// Returns the number format.
    pub(super) fn kv_type(&self) -> KvType {
        self.kv_type
    }

    fn key_words(&self) -> usize {
        self.head_words * BLOCK_TOKENS
    }

    fn value_words(&self) -> usize {
        self.head_words.next_multiple_of(LANES) * BLOCK_TOKENS
    }

    fn head_block_words(&self) -> usize {
        self.key_words() + self.value_words()
    }

    fn head_start(&self, layer: usize, block: BlockId, kv_head: usize) -> usize {
        ((layer * self.kv_heads + kv_head) * self.blocks + block.0) * self.head_block_words()
    }

    /// Writes one position's key and value (`[head_dim]` each) of one layer and head.
    ///
    /// # Safety
    /// No other thread may read or write this layer and head of the block in the meantime, except to write other
    /// positions through this function.
    pub(super) unsafe fn write(
        &self,
        layer: usize,
        (block, slot): (BlockId, usize),
        kv_head: usize,
        key: &[f32],
        value: &[f32],
    ) {
        let start = self.head_start(layer, block, kv_head);
        let word = |numbers: &[f32], index: usize| match self.kv_type {
            KvType::F32 => numbers[index].to_bits(),
            KvType::Bf16 => {
                let mut halves = [0; 2];
                round_to_bf16(&numbers[2 * index..2 * index + 2], &mut halves);
                u32::from(halves[0]) | u32::from(halves[1]) << 16
            }
        };
        for index in 0..self.head_words {
            let at = start + index * BLOCK_TOKENS + slot;
            // SAFETY: this word belongs to this position alone.
            let slot = unsafe { self.words.write(at..at + 1) };
            slot[0] = word(key, index);
        }
        for first in (0..self.head_words).step_by(LANES) {
            let at = start + self.key_words() + first * BLOCK_TOKENS + slot * LANES;
            let count = LANES.min(self.head_words - first);
            // SAFETY: these words belong to this position alone.
            let slots = unsafe { self.words.write(at..at + count) };
            for (index, slot) in slots.iter_mut().enumerate() {
                *slot = word(value, first + index);
            }
        }
    }

    /// Returns the keys and values of one layer and key head in a block.
    ///
    /// # Safety
    /// No thread may write this layer and head of the block while the result lives.
    pub(super) unsafe fn head(&self, layer: usize, block: BlockId, kv_head: usize) -> HeadBlock<'_> {
        let start = self.head_start(layer, block, kv_head);
        let middle = start + self.key_words();
        // SAFETY: guaranteed by the caller.
        unsafe {
            HeadBlock {
                keys: self.words.read(start..middle),
                values: self.words.read(middle..middle + self.value_words()),
            }
        }
    }
}
