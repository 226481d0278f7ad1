//! Causal attention of single rows over paged keys and values.
//!
//! A sequence's keys and values lie in blocks of [`BLOCK_TOKENS`] positions. Keys are stored with the position as the
//! fast axis (`[head_dim][16]`), so that scores of 16 positions come out of one register chain without horizontal
//! sums; values as `[16][head_dim]`. Query heads that share a key head share its loads (grouped-query attention).
//! A row's result depends on its own query and the positions up to its own, in ascending order, and on nothing else.

use super::math::exp;

/// Positions in one block of keys and values.
pub const BLOCK_TOKENS: usize = 16;

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

impl pulp::NullaryFnOnce for Attend<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        match self.queries.len() / self.head_dim {
            4 => attend_group::<4>(self),
            3 => attend_group::<3>(self),
            2 => attend_group::<2>(self),
            _ => attend_group::<1>(self),
        }
    }
}

#[inline(always)]
fn attend_group<const GROUP: usize>(task: Attend<'_, '_>) {
    let Attend { queries, blocks, length, head_dim, scores, out } = task;
    let blocks = &blocks[..length.div_ceil(BLOCK_TOKENS)];
    let padded = blocks.len() * BLOCK_TOKENS;
    scores.clear();
    scores.resize(GROUP * padded, MASKED);
    let scale = 1.0 / (head_dim as f32).sqrt();
    for (index, block) in blocks.iter().enumerate() {
        let mut sums = [[0.0_f32; BLOCK_TOKENS]; GROUP];
        for (d, keys) in block.keys.chunks_exact(BLOCK_TOKENS).enumerate() {
            let keys: &[f32; BLOCK_TOKENS] = keys.try_into().expect("chunks_exact gives whole blocks");
            for (head, sums) in sums.iter_mut().enumerate() {
                let query = queries[head * head_dim + d];
                for (sum, key) in sums.iter_mut().zip(keys) {
                    *sum = query.mul_add(*key, *sum);
                }
            }
        }
        let visible = (length - index * BLOCK_TOKENS).min(BLOCK_TOKENS);
        for (head, sums) in sums.iter().enumerate() {
            let start = head * padded + index * BLOCK_TOKENS;
            for (score, sum) in scores[start..start + visible].iter_mut().zip(sums) {
                *score = sum * scale;
            }
        }
    }
    for weights in scores.chunks_exact_mut(padded) {
        softmax(weights);
    }
    for start in (0..head_dim).step_by(BLOCK_TOKENS) {
        let width = (head_dim - start).min(BLOCK_TOKENS);
        let mut sums = [[0.0_f32; BLOCK_TOKENS]; GROUP];
        for (index, block) in blocks.iter().enumerate() {
            let visible = (length - index * BLOCK_TOKENS).min(BLOCK_TOKENS);
            for (t, row) in block.values.chunks_exact(head_dim).enumerate().take(visible) {
                let values = &row[start..start + width];
                for (head, sums) in sums.iter_mut().enumerate() {
                    let weight = scores[head * padded + index * BLOCK_TOKENS + t];
                    for (sum, value) in sums.iter_mut().zip(values) {
                        *sum = weight.mul_add(*value, *sum);
                    }
                }
            }
        }
        for (head, sums) in sums.iter().enumerate() {
            let at = head * head_dim + start;
            out[at..at + width].copy_from_slice(&sums[..width]);
        }
    }
}

/// Replaces scores (a multiple of 16 of them) by their softmax.
#[inline(always)]
fn softmax(scores: &mut [f32]) {
    let mut highest = [MASKED; BLOCK_TOKENS];
    for chunk in scores.chunks_exact(BLOCK_TOKENS) {
        for (highest, score) in highest.iter_mut().zip(chunk) {
            *highest = if *score > *highest { *score } else { *highest };
        }
    }
    let highest = highest.iter().copied().fold(MASKED, f32::max);
    let mut sums = [0.0_f32; BLOCK_TOKENS];
    for chunk in scores.chunks_exact_mut(BLOCK_TOKENS) {
        for (sum, score) in sums.iter_mut().zip(chunk) {
            let weight = if *score <= MASKED { 0.0 } else { exp(*score - highest) };
            *score = weight;
            *sum += weight;
        }
    }
    let inverse = 1.0 / sums.iter().sum::<f32>();
    for score in scores {
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
