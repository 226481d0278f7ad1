//! From logits to a token: temperature, top-k, top-p (nucleus sampling, Holtzman et al. 2020) and min-p (Nguyen et al.
//! 2024).
//!
//! The rule follows the order of Hugging Face's and vLLM's samplers (llama.cpp applies the temperature last):
//!
//! 1. The weight of a token is `exp((logit - highest) / temperature)`; the most likely token has weight 1.
//! 2. Tokens are ranked by logit, ties by id, lowest id first. Each cut keeps a prefix of this ranking.
//! 3. top-k keeps the first k tokens.
//! 4. top-p keeps the fewest tokens whose weights sum to `top_p` times the weight that top-k kept.
//! 5. min-p keeps the tokens with a weight of at least `min_p`.
//! 6. The random number picks among the kept tokens, in the order of their ids, in proportion to their weights.
//!
//! Temperature 0 picks the first token of the ranking. The result depends on the logits and the draw alone: sums are
//! computed in one fixed order, by 16 lanes in blocks of 256 logits, without fused operations, so that all vector units
//! give the same bits. Blocks whose most likely token is less likely than e^-32 of the most likely token of all are
//! left out of the sums, because their weights are below the rounding error of the sums.
//!
//! A logit that is NaN or plus infinity is an error: the model is broken. Minus infinity means that the token is never
//! picked; a row in which every logit is minus infinity is an error.

use super::model::{Draw, PickFault, Picked, exp};

/// Lanes of the partial sums: wide enough for any vector unit, and fixed so that sums are the same everywhere.
const LANES: usize = 16;

/// Logits per block; the highest logit and the weight of each block are stored.
const BLOCK: usize = 256;

/// Distance below the highest logit, in units of the temperature, beyond which a block's weight counts as 0.
const DEPTH_MAX: f32 = 32.0;

/// Distances below the highest logit, in units of the temperature, at which the nucleus is searched, one after another.
const NUCLEUS_DEPTHS: [f32; 4] = [5.0, 9.0, 14.0, f32::INFINITY];

/// Buffers of one pick that the next pick reuses.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// Highest logit of each block.
    highest: Vec<f32>,
    /// Weight of each block.
    weights: Vec<f32>,
    /// Tokens that may be kept, in the encoding of [`rank`].
    candidates: Vec<u64>,
}

/// Picks the next token from one row of logits by the rule of this module. For many rows, [`pick_with`] saves the
/// allocations.
///
/// # Errors
/// [`PickFault::NotFinite`], or [`PickFault::NoToken`] if the draw allows none of the tokens.
pub(crate) fn pick(logits: &[f32], draw: &Draw) -> Result<Picked, PickFault> {
    pick_with(&mut Scratch::default(), logits, draw)
}

/// As [`pick`], with buffers that are reused.
pub(crate) fn pick_with(scratch: &mut Scratch, logits: &[f32], draw: &Draw) -> Result<Picked, PickFault> {
    if let Some(allowed) = &draw.allowed {
        // The other tokens count as absent, for the log-probabilities also.
        let (ids, kept): (Vec<u32>, Vec<f32>) =
            allowed.tokens().filter_map(|id| Some((id, *logits.get(id as usize)?))).unzip();
        if kept.is_empty() {
            return Err(PickFault::NoToken);
        }
        let picked = pick_with(scratch, &kept, &Draw { allowed: None, ..draw.clone() })?;
        let token = ids.get(picked.token as usize).copied().ok_or(PickFault::NoToken)?;
        return Ok(Picked { token, ..picked });
    }
    pulp::Arch::new().dispatch(Pick { scratch, logits, draw })
}

/// One pick. A closure would be called instead of inlined, and so would not be compiled for the current vector unit.
struct Pick<'a> {
    scratch: &'a mut Scratch,
    logits: &'a [f32],
    draw: &'a Draw,
}

impl pulp::WithSimd for Pick<'_> {
    type Output = Result<Picked, PickFault>;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> Self::Output {
        pick_in(self.scratch, self.logits, self.draw)
    }
}

#[inline(always)]
fn pick_in(scratch: &mut Scratch, logits: &[f32], draw: &Draw) -> Result<Picked, PickFault> {
    let (highest, faults) = find_highest(logits, &mut scratch.highest);
    if faults > 0 || !highest.is_finite() {
        return Err(PickFault::NotFinite);
    }
    let plain = weigh(logits, Scale { highest, inverse: 1.0 }, scratch);
    let token = if draw.temperature <= 0.0 {
        likeliest(logits, highest, &scratch.highest)
    } else {
        // With a temperature so low that its inverse is infinite, the most likely token would get 0 * infinity.
        let inverse = (1.0 / draw.temperature).min(f32::MAX);
        draw_token(scratch, logits, draw, Scale { highest, inverse }, plain)
    };
    let distance = logits.get(token as usize).map_or(f32::NAN, |logit| logit - highest);
    Ok(Picked { token, log_probability: (f64::from(distance) - plain.ln()) as f32 })
}

/// The scale from logits to weights.
#[derive(Clone, Copy)]
struct Scale {
    highest: f32,
    inverse: f32,
}

impl Scale {
    #[inline(always)]
    fn weight(self, logit: f32) -> f32 {
        exp((logit - self.highest) * self.inverse)
    }
}

/// Returns the full blocks of a row, and the last partial block, if any, padded with logits of weight 0.
#[inline(always)]
fn blocks(logits: &[f32]) -> (&[[f32; BLOCK]], Option<[f32; BLOCK]>) {
    let (full, rest) = logits.as_chunks::<BLOCK>();
    let mut last = [f32::NEG_INFINITY; BLOCK];
    last.iter_mut().zip(rest).for_each(|(filled, &logit)| *filled = logit);
    (full, (!rest.is_empty()).then_some(last))
}

#[inline(always)]
fn higher(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// Returns the highest logit and a nonzero number if some logits are NaN, and stores the highest logit of each block.
#[inline(always)]
fn find_highest(logits: &[f32], by_block: &mut Vec<f32>) -> (f32, u32) {
    let (full, last) = blocks(logits);
    let mut faults = [0_u32; LANES];
    by_block.clear();
    // Plain loops instead of iterator adapters, because closures inside library functions are not compiled for the
    // current vector unit.
    for block in full {
        by_block.push(block_highest(block, &mut faults));
    }
    if let Some(block) = &last {
        by_block.push(block_highest(block, &mut faults));
    }
    let highest = by_block.iter().copied().fold(f32::NEG_INFINITY, higher);
    (highest, faults.iter().fold(0, |all, fault| all | fault))
}

#[inline(always)]
fn block_highest(block: &[f32; BLOCK], faults: &mut [u32; LANES]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in block.as_chunks::<LANES>().0 {
        for ((lane, fault), &logit) in lanes.iter_mut().zip(faults.iter_mut()).zip(chunk) {
            *lane = higher(*lane, logit);
            *fault |= u32::from(logit.is_nan());
        }
    }
    reduce(lanes, higher)
}

/// Returns the weight of all tokens, and stores the weight of each block.
#[inline(always)]
fn weigh(logits: &[f32], scale: Scale, scratch: &mut Scratch) -> f64 {
    let (full, last) = blocks(logits);
    let Scratch { highest, weights, .. } = scratch;
    weights.clear();
    for (block, &block_highest) in full.iter().zip(highest.iter()) {
        weights.push(block_weight(block, block_highest, scale));
    }
    if let (Some(block), Some(&block_highest)) = (&last, highest.last()) {
        weights.push(block_weight(block, block_highest, scale));
    }
    weights.iter().map(|&weight| f64::from(weight)).sum()
}

#[inline(always)]
fn block_weight(block: &[f32; BLOCK], block_highest: f32, scale: Scale) -> f32 {
    if (scale.highest - block_highest) * scale.inverse > DEPTH_MAX {
        return 0.0;
    }
    let mut lanes = [0.0_f32; LANES];
    for chunk in block.as_chunks::<LANES>().0 {
        for (lane, &logit) in lanes.iter_mut().zip(chunk) {
            *lane += scale.weight(logit);
        }
    }
    reduce(lanes, |a, b| a + b)
}

/// Reduces the lanes as a tree, in the order in which vector units reduce them.
#[inline(always)]
fn reduce(mut lanes: [f32; LANES], join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for index in 0..width {
            lanes[index] = join(lanes[index], lanes[index + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// Returns the lowest id among the highest logits.
fn likeliest(logits: &[f32], highest: f32, by_block: &[f32]) -> u32 {
    let block = by_block.iter().position(|&block| block == highest).unwrap_or(0);
    let start = block * BLOCK;
    let within = logits.iter().skip(start).position(|&logit| logit == highest).unwrap_or(0);
    (start + within) as u32
}

#[inline(always)]
fn draw_token(scratch: &mut Scratch, logits: &[f32], draw: &Draw, scale: Scale, plain: f64) -> u32 {
    let top_k = if draw.top_k as usize >= logits.len() { 0 } else { draw.top_k as usize };
    let is_cut = top_k > 0 || draw.top_p < 1.0 || draw.min_p > 0.0;
    // The middle of the interval that the random number represents: at exactly 0, the lowest id would be picked,
    // however unlikely it is.
    let share = f64::from(draw.uniform) + 1.0 / f64::from(1_u32 << 25);
    // Tokens that min-p certainly drops are not gathered; the margin leaves the rounding of exp to the exact test.
    let min_p_depth = if draw.min_p > 0.0 { -draw.min_p.ln() + 1e-3 } else { f32::INFINITY };
    if top_k > 0 {
        gather_top(scratch, logits, top_k);
        let total = scratch.candidates.iter().map(|&entry| f64::from(scale.weight(logit_of(entry)))).sum::<f64>();
        keep_nucleus(&mut scratch.candidates, scale, f64::from(draw.top_p) * total);
    } else if draw.top_p < 1.0 {
        let total = if scale.inverse == 1.0 { plain } else { weigh(logits, scale, scratch) };
        let target = f64::from(draw.top_p) * total;
        for depth in NUCLEUS_DEPTHS {
            let depth = depth.min(min_p_depth);
            gather_above(scratch, logits, scale, depth);
            scratch.candidates.sort_unstable_by(|a, b| b.cmp(a));
            if keep_nucleus(&mut scratch.candidates, scale, target) || depth == min_p_depth {
                break;
            }
        }
    } else if is_cut {
        gather_above(scratch, logits, scale, min_p_depth);
    } else {
        let total = if scale.inverse == 1.0 { plain } else { weigh(logits, scale, scratch) };
        return walk_all(scratch, logits, scale, share * total);
    }
    let candidates = &mut scratch.candidates;
    if draw.min_p > 0.0 {
        candidates.retain(|&entry| scale.weight(logit_of(entry)) >= draw.min_p);
    }
    candidates.sort_unstable_by_key(|&entry| id_of(entry));
    let weights = || candidates.iter().map(|&entry| f64::from(scale.weight(logit_of(entry))));
    let mut rest = share * weights().sum::<f64>();
    for (weight, &entry) in weights().zip(candidates.iter()) {
        rest -= weight;
        if rest < 0.0 {
            return id_of(entry);
        }
    }
    // Rounding may leave a small rest; it goes to the last token with a positive weight.
    let last = candidates.iter().rev().find(|&&entry| scale.weight(logit_of(entry)) > 0.0);
    last.or(candidates.last()).map_or(0, |&entry| id_of(entry))
}

/// Returns a number that is higher for tokens that rank earlier: the logit's bits, mapped to integers of the same
/// order, above the complement of the id.
#[inline(always)]
fn rank(logit: f32, id: u32) -> u64 {
    // Adding 0 turns -0 into +0.
    let bits = (logit + 0.0).to_bits();
    let ordered = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    u64::from(ordered) << 32 | u64::from(!id)
}

#[inline(always)]
fn logit_of(entry: u64) -> f32 {
    let ordered = (entry >> 32) as u32;
    f32::from_bits(if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered })
}

#[inline(always)]
fn id_of(entry: u64) -> u32 {
    !(entry as u32)
}

/// Gathers the tokens whose logit is at least `floor`.
#[inline(always)]
fn gather(scratch: &mut Scratch, logits: &[f32], floor: f32) {
    scratch.candidates.clear();
    for (index, (block, &highest)) in logits.chunks(BLOCK).zip(&scratch.highest).enumerate() {
        if highest >= floor {
            let first = (index * BLOCK) as u32;
            let ids = first..;
            let found = block.iter().zip(ids).filter(|(logit, _)| **logit >= floor);
            scratch.candidates.extend(found.map(|(&logit, id)| rank(logit, id)));
        }
    }
}

/// Gathers the tokens at most `depth` below the highest logit, in units of the temperature.
#[inline(always)]
fn gather_above(scratch: &mut Scratch, logits: &[f32], scale: Scale, depth: f32) {
    let floor = if depth.is_finite() { scale.highest - depth / scale.inverse } else { f32::NEG_INFINITY };
    gather(scratch, logits, floor);
}

/// Gathers the first `count` tokens of the ranking, in ranking order.
#[inline(always)]
fn gather_top(scratch: &mut Scratch, logits: &[f32], count: usize) {
    // Each block has one token at its highest logit: if `count` blocks reach a level, at least `count` tokens reach it.
    let mut floor = f32::NEG_INFINITY;
    if count <= scratch.highest.len() {
        scratch.weights.clear();
        scratch.weights.extend_from_slice(&scratch.highest);
        floor = *scratch.weights.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a)).1;
    }
    gather(scratch, logits, floor);
    let candidates = &mut scratch.candidates;
    if count < candidates.len() {
        candidates.select_nth_unstable_by(count - 1, |a, b| b.cmp(a));
        candidates.truncate(count);
    }
    candidates.sort_unstable_by(|a, b| b.cmp(a));
}

/// Cuts a ranking after the first tokens whose weights sum to `target`; returns whether the sum reaches `target`.
#[inline(always)]
fn keep_nucleus(ranking: &mut Vec<u64>, scale: Scale, target: f64) -> bool {
    let mut mass = 0.0_f64;
    for (index, &entry) in ranking.iter().enumerate() {
        mass += f64::from(scale.weight(logit_of(entry)));
        if mass >= target {
            ranking.truncate(index + 1);
            return true;
        }
    }
    false
}

/// Picks among all tokens: first the block, then the token in the block.
#[inline(always)]
fn walk_all(scratch: &Scratch, logits: &[f32], scale: Scale, target: f64) -> u32 {
    let mut rest = target;
    let mut last = 0;
    for (index, (block, &weight)) in logits.chunks(BLOCK).zip(&scratch.weights).enumerate() {
        if weight == 0.0 {
            continue;
        }
        if rest >= f64::from(weight) {
            rest -= f64::from(weight);
            last = index;
            continue;
        }
        let mut within = rest;
        for (offset, &logit) in block.iter().enumerate() {
            within -= f64::from(scale.weight(logit));
            if within < 0.0 {
                return (index * BLOCK + offset) as u32;
            }
        }
        last = index;
        break;
    }
    // Rounding may leave a small rest; it goes to the most likely token of the last block.
    let block = logits.chunks(BLOCK).nth(last).unwrap_or_default();
    let ranked = block.iter().zip((last * BLOCK) as u32..).map(|(&logit, id)| rank(logit, id));
    ranked.max().map_or(0, id_of)
}

#[cfg(test)]
#[path = "sampler_tests.rs"]
mod tests;
