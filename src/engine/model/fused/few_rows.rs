//! Products of few rows with quantized weights: weights are expanded in registers and used at once.
//!
//! With few rows, writing expanded weights to cache and reading them back costs more than the products themselves, and
//! so does waiting for one addition after another; here the next weights are expanded during that wait. The order of
//! operations per output is the same as in `kernels`, so the results have the same bits.

use pulp::Simd;

use super::expand::Unpacker;
use super::matrix::{BLOCK_INPUTS, Format, PANEL_WIDTH, PanelView, UNIT_PANELS, UNIT_WIDTH};

/// Maximum rows that this module multiplies.
pub(super) const FEW_ROWS_MAX: usize = 4;

/// Multiplies up to [`FEW_ROWS_MAX`] rows of activations (`x`, `[rows, stride]`) with the two panels of a unit into
/// `sums`, `[rows][32]` f32. Returns false, without a result, unless both panels have the same quantized format.
#[inline(always)]
pub(super) fn multiply<S: Simd, const VECTORS: usize>(
    simd: S,
    panels: &mut dyn Iterator<Item = PanelView<'_>>,
    x: &[f32],
    stride: usize,
    sums: &mut [f32],
) -> bool {
    let (Some(first), Some(second)) = (panels.next(), panels.next()) else { return false };
    if first.format != second.format {
        return false;
    }
    let unit = Unit { format: first.format, words: [first.words, second.words], x, stride };
    match x.len() / stride {
        1 => unit.multiply::<S, VECTORS, 1>(simd, sums),
        2 => unit.multiply::<S, VECTORS, 2>(simd, sums),
        3 => unit.multiply::<S, VECTORS, 3>(simd, sums),
        FEW_ROWS_MAX => unit.multiply::<S, VECTORS, FEW_ROWS_MAX>(simd, sums),
        _ => false,
    }
}

/// Two panels of one format, over all blocks, and the rows to multiply them with.
struct Unit<'a> {
    format: Format,
    words: [&'a [u32]; UNIT_PANELS],
    x: &'a [f32],
    stride: usize,
}

/// `[row][panel][vector]`
type Sums<F, const VECTORS: usize, const ROWS: usize> = [[[F; VECTORS]; UNIT_PANELS]; ROWS];

impl Unit<'_> {
    #[inline(always)]
    fn multiply<S: Simd, const VECTORS: usize, const ROWS: usize>(&self, simd: S, out: &mut [f32]) -> bool {
        let sums: Sums<S::f32s, VECTORS, ROWS> = match self.format {
            Format::Bits4 => self.sums::<S, VECTORS, ROWS, 4, 5>(simd, BLOCK_INPUTS),
            Format::Bits8 { scale_inputs } => self.sums::<S, VECTORS, ROWS, 8, 2>(simd, scale_inputs),
            Format::F32 | Format::Bf16 | Format::F16 => return false,
        };
        for (sums, out) in sums.iter().zip(out.as_chunks_mut::<UNIT_WIDTH>().0) {
            for (sums, out) in sums.iter().zip(out.as_chunks_mut::<PANEL_WIDTH>().0) {
                S::as_mut_simd_f32s(out).0.copy_from_slice(sums);
            }
        }
        true
    }

    #[inline(always)]
    fn sums<S: Simd, const VECTORS: usize, const ROWS: usize, const BITS: u32, const DIRECT: usize>(
        &self,
        simd: S,
        scale_inputs: usize,
    ) -> Sums<S::f32s, VECTORS, ROWS> {
        // Plain loops throughout: a closure that is not inlined is compiled without the vector unit.
        let unpacker = Unpacker::<S, BITS, DIRECT>::new(simd);
        let per_word = Unpacker::<S, BITS, DIRECT>::PER_WORD;
        let groups = BLOCK_INPUTS / scale_inputs;
        let block_words = self.format.block_words();
        let zero = simd.splat_f32s(0.0);
        let mut sums = [[[zero; VECTORS]; UNIT_PANELS]; ROWS];
        let mut x: [&[f32]; ROWS] = [&[]; ROWS];
        let blocks = self.words[0].chunks_exact(block_words).zip(self.words[1].chunks_exact(block_words));
        for (block, (first, second)) in blocks.enumerate() {
            for (row, x) in x.iter_mut().enumerate() {
                *x = &self.x[row * self.stride + block * BLOCK_INPUTS..][..BLOCK_INPUTS];
            }
            let panels: [&[[S::u32s; VECTORS]]; UNIT_PANELS] =
                [S::as_simd_u32s(first).0.as_chunks().0, S::as_simd_u32s(second).0.as_chunks().0];
            for group in 0..groups {
                let mut minimums = [[zero; VECTORS]; UNIT_PANELS];
                let mut scales = [[[zero; DIRECT]; VECTORS]; UNIT_PANELS];
                for panel in 0..UNIT_PANELS {
                    for vector in 0..VECTORS {
                        minimums[panel][vector] = simd.transmute_f32s_u32s(panels[panel][groups + group][vector]);
                        scales[panel][vector] = unpacker.scales(simd, panels[panel][group][vector]);
                    }
                }
                for word in 0..scale_inputs / per_word {
                    let input = group * scale_inputs + word * per_word;
                    let at = 2 * groups + input / per_word;
                    for panel in 0..UNIT_PANELS {
                        for vector in 0..VECTORS {
                            let parts = unpacker.parts(simd, panels[panel][at][vector]);
                            for index in 0..per_word {
                                let (scales, minimum) = (&scales[panel][vector], minimums[panel][vector]);
                                let weight = unpacker.weight(simd, &parts, index, scales, minimum);
                                for row in 0..ROWS {
                                    let sum = &mut sums[row][panel][vector];
                                    *sum = simd.mul_add_e_f32s(simd.splat_f32s(x[row][input + index]), weight, *sum);
                                }
                            }
                        }
                    }
                }
            }
        }
        sums
    }
}
