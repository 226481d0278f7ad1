//! Expands stored weights to f32 in cache, vectorized.

use pulp::Simd;

use super::matrix::{BLOCK_INPUTS, Format, PANEL_WIDTH, PanelView};

/// Bits of 2^23 as f32: a small integer in its mantissa gives 2^23 plus that integer.
const TWO_TO_23: u32 = 0x4b00_0000;

/// Expands a panel's blocks into `out`, `[input][16]` f32; `VECTORS` registers hold 16 numbers.
#[inline(always)]
pub(super) fn expand_f32<S: Simd, const VECTORS: usize>(simd: S, panel: PanelView<'_>, out: &mut [f32]) {
    let blocks = panel.words.chunks_exact(panel.format.block_words());
    for (words, out) in blocks.zip(out.chunks_exact_mut(BLOCK_INPUTS * PANEL_WIDTH)) {
        let (words, _) = S::as_simd_u32s(words).0.as_chunks::<VECTORS>();
        let (out, _) = S::as_mut_simd_f32s(out).0.as_chunks_mut::<VECTORS>();
        match panel.format {
            Format::F32 => {
                for (out, words) in out.iter_mut().zip(words) {
                    *out = std::array::from_fn(|vector| simd.transmute_f32s_u32s(words[vector]));
                }
            }
            Format::Bf16 => expand_pairs(words, out, |word| (bf16_low(simd, word), bf16_high(simd, word))),
            Format::F16 => expand_pairs(words, out, |word| {
                let high = simd.wrapping_dyn_shr_u32s(word, simd.splat_u32s(16));
                (f16_low(simd, word), f16_low(simd, high))
            }),
            Format::Bits4 => expand_quantized::<S, VECTORS, 4, 8, 5>(simd, words, out, BLOCK_INPUTS),
            Format::Bits8 { scale_inputs } => {
                expand_quantized::<S, VECTORS, 8, 4, 2>(simd, words, out, scale_inputs);
            }
        }
    }
}

/// Expands words that hold two neighbouring inputs each.
#[inline(always)]
fn expand_pairs<F: Copy, U: Copy, const VECTORS: usize>(
    words: &[[U; VECTORS]],
    out: &mut [[F; VECTORS]],
    split: impl Fn(U) -> (F, F),
) {
    for (out, words) in out.as_chunks_mut::<2>().0.iter_mut().zip(words) {
        for vector in 0..VECTORS {
            (out[0][vector], out[1][vector]) = split(words[vector]);
        }
    }
}

#[inline(always)]
fn bf16_low<S: Simd>(simd: S, word: S::u32s) -> S::f32s {
    simd.transmute_f32s_u32s(simd.wrapping_dyn_shl_u32s(word, simd.splat_u32s(16)))
}

#[inline(always)]
fn bf16_high<S: Simd>(simd: S, word: S::u32s) -> S::f32s {
    simd.transmute_f32s_u32s(simd.and_u32s(word, simd.splat_u32s(0xffff_0000)))
}

/// Returns the f16 in a word's low half: its exponent and mantissa, moved to the place that f32 uses, give the number
/// divided by 2^112, subnormal numbers included. Not for infinities and NaN, which weights do not contain.
#[inline(always)]
fn f16_low<S: Simd>(simd: S, word: S::u32s) -> S::f32s {
    const TWO_TO_112: f32 = f32::from_bits((112 + 127) << 23);
    let magnitude = simd.wrapping_dyn_shl_u32s(simd.and_u32s(word, simd.splat_u32s(0x7fff)), simd.splat_u32s(13));
    let sign = simd.wrapping_dyn_shl_u32s(simd.and_u32s(word, simd.splat_u32s(0x8000)), simd.splat_u32s(16));
    let number = simd.mul_f32s(simd.transmute_f32s_u32s(magnitude), simd.splat_f32s(TWO_TO_112));
    simd.transmute_f32s_u32s(simd.or_u32s(simd.transmute_u32s_f32s(number), sign))
}

/// Extracts `BITS`-bit numbers from words of [`Self::PER_WORD`] numbers: `scale * q + minimum`, rounded once.
///
/// The first `DIRECT` numbers of a word are extracted without a shift: number `j` is then `2^(BITS j)` times too large
/// in the mantissa, and its scale is smaller by the same factor; both are exact. The other numbers follow after one
/// shift.
pub(super) struct Unpacker<S: Simd, const BITS: u32, const DIRECT: usize> {
    masks: [S::u32s; DIRECT],
    factors: [S::f32s; DIRECT],
    magic: S::u32s,
    two_to_23: S::f32s,
    shift: S::u32s,
}

impl<S: Simd, const BITS: u32, const DIRECT: usize> Unpacker<S, BITS, DIRECT> {
    /// Numbers per word.
    pub(super) const PER_WORD: usize = 32 / BITS as usize;

    /// Loads the constants into registers.
    #[inline(always)]
    pub(super) fn new(simd: S) -> Self {
        Self {
            masks: std::array::from_fn(|j| simd.splat_u32s(((1 << BITS) - 1) << (BITS * j as u32))),
            factors: std::array::from_fn(|j| simd.splat_f32s(power_of_two(-(BITS as i32) * j as i32))),
            magic: simd.splat_u32s(TWO_TO_23),
            two_to_23: simd.splat_f32s(f32::from_bits(TWO_TO_23)),
            shift: simd.splat_u32s(BITS * DIRECT as u32),
        }
    }

    /// Returns the scale for each number position that [`Self::weight`] reads.
    #[inline(always)]
    pub(super) fn scales(&self, simd: S, scale: S::u32s) -> [S::f32s; DIRECT] {
        std::array::from_fn(|j| simd.mul_f32s(simd.transmute_f32s_u32s(scale), self.factors[j]))
    }

    /// Returns a word in the form that [`Self::weight`] reads.
    #[inline(always)]
    pub(super) fn parts(&self, simd: S, word: S::u32s) -> [S::u32s; 2] {
        [word, simd.wrapping_dyn_shr_u32s(word, self.shift)]
    }

    /// Returns number `index` of a word.
    #[inline(always)]
    pub(super) fn weight(
        &self,
        simd: S,
        parts: &[S::u32s; 2],
        index: usize,
        scales: &[S::f32s; DIRECT],
        minimum: S::f32s,
    ) -> S::f32s {
        let (part, place) = (parts[index / DIRECT], index % DIRECT);
        let number = simd.or_u32s(simd.and_u32s(part, self.masks[place]), self.magic);
        let number = simd.sub_f32s(simd.transmute_f32s_u32s(number), self.two_to_23);
        simd.mul_add_e_f32s(number, scales[place], minimum)
    }
}

/// Expands a block of `BITS`-bit numbers; see [`Unpacker`].
#[inline(always)]
fn expand_quantized<S: Simd, const VECTORS: usize, const BITS: u32, const PER_WORD: usize, const DIRECT: usize>(
    simd: S,
    words: &[[S::u32s; VECTORS]],
    out: &mut [[S::f32s; VECTORS]],
    scale_inputs: usize,
) {
    let groups = BLOCK_INPUTS / scale_inputs;
    let unpacker = Unpacker::<S, BITS, DIRECT>::new(simd);
    let (scales, numbers) = words.split_at(2 * groups);
    let (out, _) = out.as_chunks_mut::<PER_WORD>();
    let words_per_group = scale_inputs / PER_WORD;
    let grouped = numbers.chunks_exact(words_per_group).zip(out.chunks_exact_mut(words_per_group));
    for (group, (numbers, out)) in grouped.enumerate() {
        for vector in 0..VECTORS {
            let minimum = simd.transmute_f32s_u32s(scales[groups + group][vector]);
            let scales = unpacker.scales(simd, scales[group][vector]);
            for (word, out) in numbers.iter().zip(out.iter_mut()) {
                let parts = unpacker.parts(simd, word[vector]);
                for (index, out) in out.iter_mut().enumerate() {
                    out[vector] = unpacker.weight(simd, &parts, index, &scales, minimum);
                }
            }
        }
    }
}

const fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((127 + exponent) as u32) << 23)
}
