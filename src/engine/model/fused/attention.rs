//! Causal attention of single rows over paged keys and values.
//!
//! Query heads with the same key head share its loads (grouped-query attention). A row's result depends only on its own
//! query and the positions it sees, in ascending order; every sum has one fixed order, on every vector unit.

use pulp::Simd;

use super::kernels::Kernels;
use super::kv_store::HeadBlock;
use super::math::{LANES, exp};
use crate::model::{BLOCK_TOKENS, KvType};

/// Score of masked positions: low enough that their weight is exactly zero.
const MASKED: f32 = -1e30;

/// Maximum query heads that are processed in one pass over the keys.
const GROUP_MAX: usize = 4;

/// One row's attention for the query heads of one key head.
pub(super) struct Attention<'a> {
    /// `[group, head_dim]`
    pub queries: &'a [f32],
    /// The blocks that hold the positions visible to the row.
    pub blocks: &'a [HeadBlock<'a>],
    /// Positions of `blocks` that the row sees; the first position may be inside the first block.
    pub visible: std::ops::Range<usize>,
    /// Width of a head.
    pub head_dim: usize,
    /// Number format of keys and values.
    pub kv_type: KvType,
    /// `[group, head_dim]`
    pub out: &'a mut [f32],
    /// Scratch memory.
    pub scores: &'a mut Vec<f32>,
}

/// Computes `softmax(q k^T / sqrt(head_dim)) v` over the visible positions.
pub(super) fn attend(kernels: Kernels, attention: Attention<'_>) {
    let Attention { queries, blocks, visible, head_dim, kv_type, out, scores } = attention;
    for (queries, out) in queries.chunks(GROUP_MAX * head_dim).zip(out.chunks_mut(GROUP_MAX * head_dim)) {
        let visible = visible.clone();
        kernels.dispatch(Attention { queries, blocks, visible, head_dim, kv_type, out, scores });
    }
}

impl pulp::WithSimd for Attention<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match BLOCK_TOKENS / S::F32_LANES {
            1 => self.run::<S, 1>(simd),
            2 => self.run::<S, 2>(simd),
            4 => self.run::<S, 4>(simd),
            _ => self.run::<pulp::Scalar, BLOCK_TOKENS>(pulp::Scalar),
        }
    }
}

impl Attention<'_> {
    #[inline(always)]
    fn run<S: Simd, const VECTORS: usize>(self, simd: S) {
        match self.queries.len() / self.head_dim {
            4 => self.group::<S, 4, VECTORS>(simd),
            3 => self.group::<S, 3, VECTORS>(simd),
            2 => self.group::<S, 2, VECTORS>(simd),
            _ => self.group::<S, 1, VECTORS>(simd),
        }
    }

    #[inline(always)]
    fn group<S: Simd, const GROUP: usize, const VECTORS: usize>(mut self, simd: S) {
        let padded = self.blocks.len() * BLOCK_TOKENS;
        let mut scores = std::mem::take(self.scores);
        scores.clear();
        scores.resize(GROUP * padded, MASKED);
        for (index, block) in self.blocks.iter().enumerate() {
            let sums = match self.kv_type {
                KvType::F32 => self.score::<S, GROUP, VECTORS>(simd, block.keys),
                KvType::Bf16 => self.score_halves::<S, GROUP, VECTORS>(simd, block.keys),
            };
            let scale = simd.splat_f32s(1.0 / (self.head_dim as f32).sqrt());
            for (head, sums) in sums.iter().enumerate() {
                let start = head * padded + index * BLOCK_TOKENS;
                let target = S::as_mut_simd_f32s(&mut scores[start..start + BLOCK_TOKENS]).0;
                for (target, sum) in target.iter_mut().zip(sums) {
                    *target = simd.mul_f32s(*sum, scale);
                }
            }
        }
        for weights in scores.chunks_exact_mut(padded) {
            weights[..self.visible.start].fill(MASKED);
            weights[self.visible.end..].fill(MASKED);
            softmax::<S, VECTORS>(simd, weights);
        }
        match self.kv_type {
            KvType::F32 => self.weigh::<S, GROUP, VECTORS>(simd, &scores),
            KvType::Bf16 => self.weigh_halves::<S, GROUP, VECTORS>(simd, &scores),
        }
        *self.scores = scores;
    }

    /// Computes the products of all queries with 16 keys. Even and odd dimensions are summed separately, for twice as
    /// many independent chains of additions.
    #[inline(always)]
    fn score<S: Simd, const GROUP: usize, const VECTORS: usize>(
        &self,
        simd: S,
        keys: &[u32],
    ) -> [[S::f32s; VECTORS]; GROUP] {
        let mut sums = [[[simd.splat_f32s(0.0); VECTORS]; GROUP]; 2];
        let (keys, _) = S::as_simd_u32s(keys).0.as_chunks::<VECTORS>();
        let queries: [&[f32]; GROUP] =
            std::array::from_fn(|head| &self.queries[head * self.head_dim..][..self.head_dim]);
        for (pair, keys) in keys.as_chunks::<2>().0.iter().enumerate() {
            for (half, keys) in keys.iter().enumerate() {
                for head in 0..GROUP {
                    let query = simd.splat_f32s(queries[head][2 * pair + half]);
                    for vector in 0..VECTORS {
                        let key = simd.transmute_f32s_u32s(keys[vector]);
                        sums[half][head][vector] = simd.mul_add_e_f32s(query, key, sums[half][head][vector]);
                    }
                }
            }
        }
        add_halves(simd, sums)
    }

    /// As [`Self::score`], with two dimensions per word.
    #[inline(always)]
    fn score_halves<S: Simd, const GROUP: usize, const VECTORS: usize>(
        &self,
        simd: S,
        keys: &[u32],
    ) -> [[S::f32s; VECTORS]; GROUP] {
        let mut sums = [[[simd.splat_f32s(0.0); VECTORS]; GROUP]; 2];
        let (keys, _) = S::as_simd_u32s(keys).0.as_chunks::<VECTORS>();
        let queries: [&[f32]; GROUP] =
            std::array::from_fn(|head| &self.queries[head * self.head_dim..][..self.head_dim]);
        for (pair, keys) in keys.iter().enumerate() {
            for vector in 0..VECTORS {
                let (low, high) = split_halves(simd, keys[vector]);
                for head in 0..GROUP {
                    let (even, odd) = (queries[head][2 * pair], queries[head][2 * pair + 1]);
                    sums[0][head][vector] = simd.mul_add_e_f32s(simd.splat_f32s(even), low, sums[0][head][vector]);
                    sums[1][head][vector] = simd.mul_add_e_f32s(simd.splat_f32s(odd), high, sums[1][head][vector]);
                }
            }
        }
        add_halves(simd, sums)
    }

    /// Sums the values, weighted by `weights` (`[GROUP][padded]`), over as many chunks of 16 dimensions at once as the
    /// registers can hold.
    #[inline(always)]
    fn weigh<S: Simd, const GROUP: usize, const VECTORS: usize>(&mut self, simd: S, weights: &[f32]) {
        let mut start = 0;
        if VECTORS == 1 {
            while start + 4 * LANES <= self.head_dim {
                self.weigh_chunks::<S, GROUP, VECTORS, 4>(simd, weights, start);
                start += 4 * LANES;
            }
        }
        if VECTORS <= 2 && GROUP <= 3 {
            while start + 2 * LANES <= self.head_dim {
                self.weigh_chunks::<S, GROUP, VECTORS, 2>(simd, weights, start);
                start += 2 * LANES;
            }
        }
        while start < self.head_dim {
            self.weigh_chunks::<S, GROUP, VECTORS, 1>(simd, weights, start);
            start += LANES;
        }
    }

    #[inline(always)]
    fn weigh_chunks<S: Simd, const GROUP: usize, const VECTORS: usize, const CHUNKS: usize>(
        &mut self,
        simd: S,
        weights: &[f32],
        start: usize,
    ) {
        let mut sums = [[[simd.splat_f32s(0.0); VECTORS]; CHUNKS]; GROUP];
        self.each_value::<GROUP, CHUNKS>(weights, start, |words, weights| {
            for chunk in 0..CHUNKS {
                let (words, _) = S::as_simd_u32s(words[chunk]).0.as_chunks::<VECTORS>();
                for head in 0..GROUP {
                    let weight = simd.splat_f32s(weights[head]);
                    for vector in 0..VECTORS {
                        let value = simd.transmute_f32s_u32s(words[0][vector]);
                        let sum = &mut sums[head][chunk][vector];
                        *sum = simd.mul_add_e_f32s(weight, value, *sum);
                    }
                }
            }
        });
        for (head, sums) in sums.iter().enumerate() {
            for (chunk, sums) in sums.iter().enumerate() {
                let first = start + chunk * LANES;
                let end = (first + LANES).min(self.head_dim);
                let target = &mut self.out[head * self.head_dim + first..head * self.head_dim + end];
                target.copy_from_slice(&to_array::<S, VECTORS>(sums)[..end - first]);
            }
        }
    }

    /// As [`Self::weigh`], with two dimensions per word.
    #[inline(always)]
    fn weigh_halves<S: Simd, const GROUP: usize, const VECTORS: usize>(&mut self, simd: S, weights: &[f32]) {
        let head_words = self.head_dim / 2;
        for start in (0..head_words).step_by(LANES) {
            let mut sums = [[[simd.splat_f32s(0.0); VECTORS]; 2]; GROUP];
            self.each_value::<GROUP, 1>(weights, start, |[words], weights| {
                let (words, _) = S::as_simd_u32s(words).0.as_chunks::<VECTORS>();
                for (head, [low, high]) in sums.iter_mut().enumerate() {
                    let weight = simd.splat_f32s(weights[head]);
                    for vector in 0..VECTORS {
                        let (value_low, value_high) = split_halves(simd, words[0][vector]);
                        low[vector] = simd.mul_add_e_f32s(weight, value_low, low[vector]);
                        high[vector] = simd.mul_add_e_f32s(weight, value_high, high[vector]);
                    }
                }
            });
            let end = (start + LANES).min(head_words);
            for (head, [low, high]) in sums.iter().enumerate() {
                let (low, high) = (to_array::<S, VECTORS>(low), to_array::<S, VECTORS>(high));
                let target = &mut self.out[head * self.head_dim + 2 * start..head * self.head_dim + 2 * end];
                for (pair, target) in target.chunks_exact_mut(2).enumerate() {
                    target.copy_from_slice(&[low[pair], high[pair]]);
                }
            }
        }
    }

    /// Calls `add` with `CHUNKS` times 16 words of each visible position's value, from word `start` on, and the weights
    /// of the position's heads.
    #[inline(always)]
    fn each_value<const GROUP: usize, const CHUNKS: usize>(
        &self,
        weights: &[f32],
        start: usize,
        mut add: impl FnMut([&[u32; LANES]; CHUNKS], [f32; GROUP]),
    ) {
        const BLOCK_WORDS: usize = LANES * BLOCK_TOKENS;
        let padded = self.blocks.len() * BLOCK_TOKENS;
        for (index, block) in self.blocks.iter().enumerate() {
            let first = index * BLOCK_TOKENS;
            let slots = self.visible.start.max(first) - first..self.visible.end.min(first + BLOCK_TOKENS) - first;
            let values: [&[[u32; LANES]]; CHUNKS] = std::array::from_fn(|chunk| {
                block.values[(start * BLOCK_TOKENS) + chunk * BLOCK_WORDS..][..BLOCK_WORDS].as_chunks().0
            });
            let weights: [&[f32]; GROUP] =
                std::array::from_fn(|head| &weights[head * padded + first..][..BLOCK_TOKENS]);
            for slot in slots {
                add(std::array::from_fn(|chunk| &values[chunk][slot]), std::array::from_fn(|head| weights[head][slot]));
            }
        }
    }
}

/// Adds the sums of the even and the odd dimensions.
#[inline(always)]
fn add_halves<S: Simd, const GROUP: usize, const VECTORS: usize>(
    simd: S,
    [even, odd]: [[[S::f32s; VECTORS]; GROUP]; 2],
) -> [[S::f32s; VECTORS]; GROUP] {
    std::array::from_fn(|head| std::array::from_fn(|vector| simd.add_f32s(even[head][vector], odd[head][vector])))
}

#[inline(always)]
fn split_halves<S: Simd>(simd: S, words: S::u32s) -> (S::f32s, S::f32s) {
    let low = simd.wrapping_dyn_shl_u32s(words, simd.splat_u32s(16));
    let high = simd.and_u32s(words, simd.splat_u32s(0xffff_0000));
    (simd.transmute_f32s_u32s(low), simd.transmute_f32s_u32s(high))
}

#[inline(always)]
fn to_array<S: Simd, const VECTORS: usize>(vectors: &[S::f32s; VECTORS]) -> [f32; LANES] {
    let mut numbers = [0.0; LANES];
    S::as_mut_simd_f32s(&mut numbers).0.copy_from_slice(vectors);
    numbers
}

/// Replaces scores by their softmax; the number of scores is a multiple of 16.
#[inline(always)]
fn softmax<S: Simd, const VECTORS: usize>(simd: S, scores: &mut [f32]) {
    let mut highest = simd.splat_f32s(MASKED);
    for score in S::as_simd_f32s(scores).0 {
        highest = simd.max_f32s(highest, *score);
    }
    let highest = simd.reduce_max_f32s(highest);
    for score in scores.iter_mut() {
        *score = if *score <= MASKED { 0.0 } else { exp(*score - highest) };
    }
    let mut sums = [simd.splat_f32s(0.0); VECTORS];
    for weights in S::as_simd_f32s(scores).0.as_chunks::<VECTORS>().0 {
        for (sum, weight) in sums.iter_mut().zip(weights) {
            *sum = simd.add_f32s(*sum, *weight);
        }
    }
    let inverse = 1.0 / to_array::<S, VECTORS>(&sums).iter().sum::<f32>();
    for score in scores.iter_mut() {
        *score *= inverse;
    }
}
