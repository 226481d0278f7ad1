//! Causal attention of single rows over paged keys and values.
//!
//! A sequence's keys and values lie in blocks of [`BLOCK_TOKENS`] positions. Keys are stored with the position as the
//! fast axis (`[head_dim][16]`), so that scores of 16 positions come out of one register chain without horizontal
//! sums; values as `[16][head_dim]`. Query heads that share a key head share its loads (grouped-query attention).
//! A row's result depends on its own query and the positions up to its own, in ascending order, and on nothing else.

use pulp::Simd;

use super::math::exp;
use crate::engine::model::BLOCK_TOKENS;

/// What masked positions score: low enough that their weight is exactly zero.
const MASKED: f32 = -1e30;

/// Most query heads that are handled in one pass over the keys.
const GROUP_MAX: usize = 4;

/// Keys and values of one block, for one layer and one key head.
#[derive(Clone, Copy)]
pub struct HeadBlock<'a> {
    /// `[head_dim][16]`, f32.
    pub keys: &'a [f32],
    /// `[16][head_dim]`, f32.
    pub values: &'a [f32],
}

/// Attends with `queries` (`[group, head_dim]`) over the first `length` positions of `blocks`; writes
/// `[group, head_dim]` into `out`. `scores` is scratch space.
///
/// `softmax(q k^T / sqrt(head_dim)) v`; `length` is at least 1 and at most `16 * blocks.len()`.
pub fn attend(
    queries: &[f32],
    blocks: &[HeadBlock<'_>],
    length: usize,
    head_dim: usize,
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    let groups = queries.chunks(GROUP_MAX * head_dim).zip(out.chunks_mut(GROUP_MAX * head_dim));
    for (queries, out) in groups {
        let task = Attend { queries, blocks, length, head_dim, scores, out };
        pulp::Arch::new().dispatch(task);
    }
}

struct Attend<'a, 'b> {
    queries: &'a [f32],
    blocks: &'a [HeadBlock<'b>],
    length: usize,
    head_dim: usize,
    scores: &'a mut Vec<f32>,
    out: &'a mut [f32],
}

impl pulp::WithSimd for Attend<'_, '_> {
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

impl Attend<'_, '_> {
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
    fn group<S: Simd, const GROUP: usize, const VECTORS: usize>(self, simd: S) {
        let Attend { queries, blocks, length, head_dim, scores, out } = self;
        let blocks = &blocks[..length.div_ceil(BLOCK_TOKENS)];
        let padded = blocks.len() * BLOCK_TOKENS;
        scores.clear();
        scores.resize(GROUP * padded, MASKED);
        let scale = simd.splat_f32s(1.0 / (head_dim as f32).sqrt());
        for (index, block) in blocks.iter().enumerate() {
            let mut sums = [[simd.splat_f32s(0.0); VECTORS]; GROUP];
            let (keys, _) = S::as_simd_f32s(block.keys).0.as_chunks::<VECTORS>();
            for (d, keys) in keys.iter().enumerate() {
                for head in 0..GROUP {
                    let query = simd.splat_f32s(queries[head * head_dim + d]);
                    for vector in 0..VECTORS {
                        sums[head][vector] = simd.mul_add_e_f32s(query, keys[vector], sums[head][vector]);
                    }
                }
            }
            for (head, sums) in sums.iter().enumerate() {
                let start = head * padded + index * BLOCK_TOKENS;
                let target = S::as_mut_simd_f32s(&mut scores[start..start + BLOCK_TOKENS]).0;
                for (target, sum) in target.iter_mut().zip(sums) {
                    *target = simd.mul_f32s(*sum, scale);
                }
            }
        }
        for weights in scores.chunks_exact_mut(padded) {
            weights[length..].fill(MASKED);
            softmax(simd, weights);
        }
        for start in (0..head_dim).step_by(BLOCK_TOKENS) {
            let width = (head_dim - start).min(BLOCK_TOKENS);
            if width == BLOCK_TOKENS {
                weigh_values::<S, GROUP, VECTORS>(simd, blocks, scores, head_dim, start, length, out);
            } else {
                weigh_narrow_values::<GROUP>(blocks, scores, head_dim, start, length, out);
            }
        }
    }
}

/// Sums the values of 16 head dimensions from `start` on, weighted by `weights` (`[GROUP][padded]`), into `out`
/// (`[GROUP][head_dim]`).
#[inline(always)]
fn weigh_values<S: Simd, const GROUP: usize, const VECTORS: usize>(
    simd: S,
    blocks: &[HeadBlock<'_>],
    weights: &[f32],
    head_dim: usize,
    start: usize,
    length: usize,
    out: &mut [f32],
) {
    let padded = blocks.len() * BLOCK_TOKENS;
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; GROUP];
    for (index, block) in blocks.iter().enumerate() {
        let first = index * BLOCK_TOKENS;
        for (t, row) in block.values.chunks_exact(head_dim).enumerate().take(length - first) {
            let values = S::as_simd_f32s(&row[start..start + BLOCK_TOKENS]).0;
            for head in 0..GROUP {
                let weight = simd.splat_f32s(weights[head * padded + first + t]);
                for (sum, value) in sums[head].iter_mut().zip(values) {
                    *sum = simd.mul_add_e_f32s(weight, *value, *sum);
                }
            }
        }
    }
    for (head, sums) in sums.iter().enumerate() {
        let at = head * head_dim + start;
        S::as_mut_simd_f32s(&mut out[at..at + BLOCK_TOKENS]).0.copy_from_slice(sums);
    }
}

/// As [`weigh_values`], for the last dimensions of a head whose width is no multiple of 16.
#[inline(always)]
fn weigh_narrow_values<const GROUP: usize>(
    blocks: &[HeadBlock<'_>],
    weights: &[f32],
    head_dim: usize,
    start: usize,
    length: usize,
    out: &mut [f32],
) {
    let padded = blocks.len() * BLOCK_TOKENS;
    for head in 0..GROUP {
        for d in start..head_dim {
            let value = |t: usize| blocks[t / BLOCK_TOKENS].values[t % BLOCK_TOKENS * head_dim + d];
            out[head * head_dim + d] = (0..length).map(|t| weights[head * padded + t] * value(t)).sum();
        }
    }
}

/// Replaces scores (a multiple of 16 of them) by their softmax.
#[inline(always)]
fn softmax<S: Simd>(simd: S, scores: &mut [f32]) {
    let mut highest = simd.splat_f32s(MASKED);
    for score in S::as_simd_f32s(scores).0 {
        highest = simd.max_f32s(highest, *score);
    }
    let highest = simd.reduce_max_f32s(highest);
    for score in scores.iter_mut() {
        *score = if *score <= MASKED { 0.0 } else { exp(*score - highest) };
    }
    let mut sum = simd.splat_f32s(0.0);
    for weight in S::as_simd_f32s(scores).0 {
        sum = simd.add_f32s(sum, *weight);
    }
    let inverse = 1.0 / simd.reduce_sum_f32s(sum);
    for score in scores.iter_mut() {
        *score *= inverse;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys and values as plain rows `[length][head_dim]`, laid out into blocks.
    fn lay_out(rows: &[Vec<f32>], head_dim: usize) -> Vec<(Vec<f32>, Vec<f32>)> {
        rows.chunks(BLOCK_TOKENS)
            .map(|rows| {
                let mut keys = vec![9.0; head_dim * BLOCK_TOKENS];
                let mut values = vec![9.0; head_dim * BLOCK_TOKENS];
                for (t, row) in rows.iter().enumerate() {
                    for d in 0..head_dim {
                        keys[d * BLOCK_TOKENS + t] = row[d];
                        values[t * head_dim + d] = row[d] * 2.0 - 1.0;
                    }
                }
                (keys, values)
            })
            .collect()
    }

    #[test]
    fn attention_agrees_with_the_definition_and_ignores_later_positions() {
        let head_dim = 20;
        for (length, group) in [(1, 1), (16, 3), (17, 4), (37, 5)] {
            let row = |t: usize| (0..head_dim).map(|d| ((t * 7 + d * 3) % 11) as f32 / 11.0).collect::<Vec<_>>();
            let rows: Vec<Vec<f32>> = (0..length + 3).map(row).collect();
            let queries: Vec<f32> = (0..group * head_dim).map(|i| ((i * 5) % 13) as f32 / 6.5 - 1.0).collect();
            let storage = lay_out(&rows, head_dim);
            let blocks: Vec<HeadBlock<'_>> = storage.iter().map(|(keys, values)| HeadBlock { keys, values }).collect();
            let mut out = vec![0.0; group * head_dim];
            attend(&queries, &blocks, length, head_dim, &mut Vec::new(), &mut out);
            for head in 0..group {
                let query = &queries[head * head_dim..(head + 1) * head_dim];
                let score = |t: usize| {
                    let dot = query.iter().zip(&rows[t]).map(|(a, b)| f64::from(a * b)).sum::<f64>();
                    (dot / (head_dim as f64).sqrt()).exp()
                };
                let total: f64 = (0..length).map(score).sum();
                for d in 0..head_dim {
                    let value = |t: usize| f64::from(rows[t][d]) * 2.0 - 1.0;
                    let expected: f64 = (0..length).map(|t| score(t) / total * value(t)).sum();
                    assert!((f64::from(out[head * head_dim + d]) - expected).abs() < 1e-5);
                }
            }
        }
    }
}
