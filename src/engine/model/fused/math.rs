//! The numeric kernels of a decoder step, over plain f32 slices.
//!
//! Every kernel works row by row in one fixed order of operations, so that a row's result depends on nothing but the
//! row: not on how many rows share the step, and not on how many threads there are. SIMD comes from `pulp`'s run-time
//! dispatch, so that one binary runs on any CPU of its architecture. Products are fused with sums where the CPU can,
//! so results are the same bits on one machine, and differ in low bits between CPUs with and without FMA.

use pulp::Simd;
use rayon::prelude::*;

/// Columns of a weight matrix that one kernel call covers: two AVX registers of f32.
pub const PANEL_WIDTH: usize = 16;

/// Rows of the input that share each load of the weights: 6 x 16 accumulators fill 12 of 16 AVX registers.
const ROWS_PER_TILE: usize = 6;

/// Numbers below which a copy stays on one thread.
const PARALLEL_COPY_MIN: usize = 1 << 18;

/// Returns e^x with a relative error below 3e-7 for x in -87..=88; saturates outside.
///
/// Cephes' polynomial on x - n ln 2, free of branches and of library calls, so that loops over it vectorise.
#[inline(always)]
#[must_use]
#[allow(clippy::excessive_precision)] // the constants are published in this form
pub fn exp(x: f32) -> f32 {
    // Adding this makes the low mantissa bits hold the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_375;
    let r = r + n * 2.121_944_4e-4;
    let mut p = 1.987_569_15e-4_f32;
    p = p * r + 1.398_199_95e-3;
    p = p * r + 8.333_451_9e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 5.000_000_1e-1;
    p = p * r * r + r + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits());
    p * f32::from_bits(exponent.wrapping_add(127) << 23)
}

/// A weight matrix `[n, k]` (n outputs, k inputs) in panels of [`PANEL_WIDTH`] outputs: `[n / 16][k][16]`, f32,
/// padded with zeros to whole panels.
pub struct PackedMatrix {
    outputs: usize,
    inputs: usize,
    panels: Vec<f32>,
}

impl PackedMatrix {
    /// Packs a row-major `[n, k]` f32 matrix of k inputs.
    #[must_use]
    pub fn pack(weights: &[f32], inputs: usize) -> Self {
        let outputs = weights.len() / inputs;
        let mut panels = vec![0.0; outputs.div_ceil(PANEL_WIDTH) * PANEL_WIDTH * inputs];
        panels.par_chunks_mut(PANEL_WIDTH * inputs).enumerate().for_each(|(panel_index, panel)| {
            let first = panel_index * PANEL_WIDTH;
            let rows = weights[first * inputs..].chunks_exact(inputs).take(PANEL_WIDTH);
            for (column, row) in rows.enumerate() {
                for (slot, &weight) in panel.iter_mut().skip(column).step_by(PANEL_WIDTH).zip(row) {
                    *slot = weight;
                }
            }
        });
        Self { outputs, inputs, panels }
    }

    /// Returns the bytes it occupies.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.panels.len() * size_of::<f32>()
    }

    /// Returns `x W^T`: `x` is `[m, k]` row-major, the result `[m, n]` row-major, all f32.
    ///
    /// Each output is one chain of fused multiply-adds over k in ascending order, whatever m is.
    #[must_use]
    pub fn multiply(&self, x: &[f32]) -> Vec<f32> {
        let (k, n) = (self.inputs, self.outputs);
        let m = x.len() / k;
        let tiles = interleave_rows(x, k);
        let panel_count = n.div_ceil(PANEL_WIDTH);
        let mut by_panel = vec![0.0_f32; panel_count * m * PANEL_WIDTH];
        by_panel.par_chunks_mut(m * PANEL_WIDTH).zip(self.panels.par_chunks(k * PANEL_WIDTH)).for_each(
            |(out, panel)| {
                pulp::Arch::new().dispatch(PanelProduct { tiles: &tiles, panel, out, inputs: k });
            },
        );
        // Panels are computed apart so that threads write to disjoint memory; now rows become contiguous.
        let mut result = vec![0.0_f32; m * n];
        let gather = |(row, out): (usize, &mut [f32])| {
            for (panel, out) in by_panel.chunks_exact(m * PANEL_WIDTH).zip(out.chunks_mut(PANEL_WIDTH)) {
                let start = row * PANEL_WIDTH;
                out.copy_from_slice(&panel[start..start + out.len()]);
            }
        };
        // Waking the other threads costs more than a small copy.
        if m * n < PARALLEL_COPY_MIN {
            result.chunks_mut(n).enumerate().for_each(gather);
        } else {
            result.par_chunks_mut(n).enumerate().for_each(gather);
        }
        result
    }
}

/// Groups rows into tiles of up to [`ROWS_PER_TILE`] and stores each tile as `[k][rows of the tile]`, so that the
/// kernel reads its inputs in order.
fn interleave_rows(x: &[f32], inputs: usize) -> Vec<f32> {
    let mut tiles = vec![0.0_f32; x.len()];
    let tile_size = ROWS_PER_TILE * inputs;
    for (tile, x) in tiles.chunks_mut(tile_size).zip(x.chunks(tile_size)) {
        let rows = x.len() / inputs;
        for (row, values) in x.chunks_exact(inputs).enumerate() {
            for (slot, value) in tile.iter_mut().skip(row).step_by(rows).zip(values) {
                *slot = *value;
            }
        }
    }
    tiles
}

struct PanelProduct<'a> {
    tiles: &'a [f32],
    panel: &'a [f32],
    out: &'a mut [f32],
    inputs: usize,
}

impl pulp::WithSimd for PanelProduct<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Vectors per panel; anything but these lane counts is narrower and still right, only slower.
        match PANEL_WIDTH / S::F32_LANES {
            1 => self.run::<S, 1>(simd),
            2 => self.run::<S, 2>(simd),
            4 => self.run::<S, 4>(simd),
            _ => self.run::<pulp::Scalar, PANEL_WIDTH>(pulp::Scalar),
        }
    }
}

impl PanelProduct<'_> {
    #[inline(always)]
    fn run<S: Simd, const VECTORS: usize>(self, simd: S) {
        let (panel, _) = S::as_simd_f32s(self.panel).0.as_chunks::<VECTORS>();
        let outs = self.out.chunks_mut(ROWS_PER_TILE * PANEL_WIDTH);
        for (tile, out) in self.tiles.chunks(ROWS_PER_TILE * self.inputs).zip(outs) {
            match tile.len() / self.inputs {
                6 => multiply_tile::<S, 6, VECTORS>(simd, tile, panel, out),
                5 => multiply_tile::<S, 5, VECTORS>(simd, tile, panel, out),
                4 => multiply_tile::<S, 4, VECTORS>(simd, tile, panel, out),
                3 => multiply_tile::<S, 3, VECTORS>(simd, tile, panel, out),
                2 => multiply_tile::<S, 2, VECTORS>(simd, tile, panel, out),
                _ => multiply_tile::<S, 1, VECTORS>(simd, tile, panel, out),
            }
        }
    }
}

/// Multiplies a tile `[k][ROWS]` with a panel `[k][VECTORS]` into `out`, `[ROWS][16]`.
#[inline(always)]
fn multiply_tile<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    tile: &[f32],
    panel: &[[S::f32s; VECTORS]],
    out: &mut [f32],
) {
    let (values, _) = tile.as_chunks::<ROWS>();
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
    for (values, weights) in values.iter().zip(panel) {
        for row in 0..ROWS {
            let value = simd.splat_f32s(values[row]);
            for vector in 0..VECTORS {
                sums[row][vector] = simd.mul_add_e_f32s(value, weights[vector], sums[row][vector]);
            }
        }
    }
    let (out, _) = S::as_mut_simd_f32s(out).0.as_chunks_mut::<VECTORS>();
    for (out, sums) in out.iter_mut().zip(&sums) {
        *out = *sums;
    }
}

/// Writes the root-mean-square norm of each row of `x` (`[m, width]`), scaled by `weight` (`[width]`).
///
/// `y = x / sqrt(mean(x^2) + epsilon) * weight` (Zhang and Sennrich, 2019).
#[must_use]
pub fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32) -> Vec<f32> {
    let width = weight.len();
    let mut out = vec![0.0; x.len()];
    out.par_chunks_mut(width).zip(x.par_chunks(width)).for_each(|(out, x)| {
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                let mut lanes = [0.0_f32; 16];
                for chunk in x.chunks(16) {
                    for (lane, value) in lanes.iter_mut().zip(chunk) {
                        *lane += value * value;
                    }
                }
                let mean = lanes.iter().sum::<f32>() / width as f32;
                let scale = 1.0 / (mean + epsilon).sqrt();
                for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
                    *out = x * scale * weight;
                }
            },
        );
    });
    out
}

/// Returns `silu(gate) * up` for rows that hold their gates and then their ups (`[m, 2 width]` to `[m, width]`),
/// `silu(x) = x / (1 + e^-x)` (SwiGLU, Shazeer 2020).
#[must_use]
pub fn swiglu(gates_and_ups: &[f32], width: usize) -> Vec<f32> {
    let mut out = vec![0.0; gates_and_ups.len() / 2];
    out.par_chunks_mut(width).zip(gates_and_ups.par_chunks(2 * width)).for_each(|(out, row)| {
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                let (gates, ups) = row.split_at(width);
                for ((out, &gate), &up) in out.iter_mut().zip(gates).zip(ups) {
                    *out = gate / (1.0 + exp(-gate)) * up;
                }
            },
        );
    });
    out
}

/// Adds `delta` to `x` element by element.
pub fn add_assign(x: &mut [f32], delta: &[f32]) {
    for (x, delta) in x.iter_mut().zip(delta) {
        *x += delta;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        (0..length)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((state >> 40) as f32 / (1_u64 << 24) as f32) - 0.5
            })
            .collect()
    }

    #[test]
    fn exp_agrees_with_the_library() {
        for step in -8700..=8800 {
            let x = step as f32 / 100.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) - exact).abs() <= exact * 3e-7, "exp({x}) = {}", exp(x));
        }
        assert!(exp(-1000.0) < 1e-37);
    }

    #[test]
    fn multiply_agrees_with_the_definition_for_every_tile_shape() {
        for (m, k, n) in [(1, 8, 16), (2, 5, 17), (7, 33, 40), (13, 64, 3)] {
            let (x, w) = (noise(m * k, 1), noise(n * k, 2));
            let got = PackedMatrix::pack(&w, k).multiply(&x);
            for row in 0..m {
                for column in 0..n {
                    let terms = (0..k).map(|i| f64::from(x[row * k + i]) * f64::from(w[column * k + i]));
                    let expected = terms.sum::<f64>();
                    assert!((f64::from(got[row * n + column]) - expected).abs() < 1e-5);
                }
            }
        }
    }

    #[test]
    fn a_row_of_a_product_has_the_same_bits_in_any_batch() {
        let (k, n) = (96, 80);
        let matrix = PackedMatrix::pack(&noise(n * k, 3), k);
        let x = noise(40 * k, 4);
        let whole = matrix.multiply(&x);
        for (first, rows) in [(0, 1), (3, 2), (5, 6), (11, 13), (39, 1)] {
            let part = matrix.multiply(&x[first * k..(first + rows) * k]);
            assert_eq!(part, whole[first * n..(first + rows) * n]);
        }
    }

    #[test]
    fn norm_and_swiglu_agree_with_their_definitions() {
        let x = noise(37, 5);
        let weight = noise(37, 6);
        let mean = x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / 37.0;
        for ((got, x), w) in rms_norm(&x, &weight, 1e-5).iter().zip(&x).zip(&weight) {
            let expected = f64::from(*x) / (mean + 1e-5).sqrt() * f64::from(*w);
            assert!((f64::from(*got) - expected).abs() < 1e-6);
        }
        let gates_and_ups = [x.as_slice(), weight.as_slice()].concat();
        for ((got, g), u) in swiglu(&gates_and_ups, 37).iter().zip(&x).zip(&weight) {
            let expected = f64::from(*g) / (1.0 + (-f64::from(*g)).exp()) * f64::from(*u);
            assert!((f64::from(*got) - expected).abs() < 1e-6);
        }
    }
}
