//! The memory behind the KV blocks. Which block belongs to whom is `kv`'s business; here are only the numbers.

use super::attention::HeadBlock;
use crate::engine::kv::BlockId;
use crate::engine::model::{BLOCK_TOKENS, ModelConfig};

/// Keys and values of all blocks, f32, allocated block by block when first used.
///
/// A block is `[layer][keys, values][kv_head][head_dim * 16]`.
pub struct KvStore {
    kv_heads: usize,
    head_dim: usize,
    block_floats: usize,
    blocks: Vec<Box<[f32]>>,
}

impl KvStore {
    /// Builds an empty store for a model.
    #[must_use]
    pub fn new(config: &ModelConfig) -> Self {
        let block_floats = config.block_bytes(1);
        Self { kv_heads: config.kv_heads, head_dim: config.head_dim, block_floats, blocks: Vec::new() }
    }

    /// Allocates the blocks that are about to be used for the first time.
    pub fn ensure(&mut self, blocks: impl Iterator<Item = BlockId>) {
        for block in blocks {
            if block.0 >= self.blocks.len() {
                self.blocks.resize_with(block.0 + 1, Box::default);
            }
            if self.blocks[block.0].is_empty() {
                self.blocks[block.0] = vec![0.0; self.block_floats].into_boxed_slice();
            }
        }
    }

    /// Writes one position's keys and values (`[kv_heads * head_dim]` each) of one layer.
    pub fn write(&mut self, layer: usize, block: BlockId, slot: usize, keys: &[f32], values: &[f32]) {
        let (head_dim, head_floats) = (self.head_dim, self.head_dim * BLOCK_TOKENS);
        let start = layer * 2 * self.kv_heads * head_floats;
        let buffer = &mut self.blocks[block.0][start..start + 2 * self.kv_heads * head_floats];
        let (key_buffer, value_buffer) = buffer.split_at_mut(self.kv_heads * head_floats);
        for head in 0..self.kv_heads {
            let key_head = &mut key_buffer[head * head_floats..(head + 1) * head_floats];
            let row = &keys[head * head_dim..(head + 1) * head_dim];
            for (target, key) in key_head.iter_mut().skip(slot).step_by(BLOCK_TOKENS).zip(row) {
                *target = *key;
            }
            let at = head * head_floats + slot * head_dim;
            value_buffer[at..at + head_dim].copy_from_slice(&values[head * head_dim..(head + 1) * head_dim]);
        }
    }

    /// Returns the keys and values of one layer and key head in a block.
    #[must_use]
    pub fn head(&self, layer: usize, block: BlockId, kv_head: usize) -> HeadBlock<'_> {
        let head_floats = self.head_dim * BLOCK_TOKENS;
        let start = (layer * 2 * self.kv_heads + kv_head) * head_floats;
        let buffer = &self.blocks[block.0];
        let values_start = start + self.kv_heads * head_floats;
        HeadBlock {
            keys: &buffer[start..start + head_floats],
            values: &buffer[values_start..values_start + head_floats],
        }
    }
}
